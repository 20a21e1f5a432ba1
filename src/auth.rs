//! Who may do what in which room. Pure: what stands in files comes in through an argument, and so
//! does the time.

mod jwt;
#[cfg(test)]
mod tests;

use crate::config::{self, AuthKind, Problem, Rights, RoomPattern, TokenSource, checked_token};
use sha2::{Digest, Sha256};
use std::{fmt, path::Path};
use subtle::ConstantTimeEq;

/// A longer token is not looked at. JSON Web Tokens have some hundred bytes, few a thousand.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A time, in seconds since 1970 as in a JSON Web Token (RFC 7519, section 2, `NumericDate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

/// What a connection may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Whose it is; `None` if that is not known.
    pub subject: Option<String>,
    /// What it may do in its room.
    pub rights: Rights,
    /// When that ends.
    pub expires_at: Option<UnixSeconds>,
}

/// Why a connection is none of somebody who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthorized {
    /// There is no token, and the room is not for everyone.
    NoToken,
    /// The token is not good.
    BadToken(&'static str),
}

impl fmt::Display for Unauthorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken => f.write_str("a token is needed here, and there is none"),
            Self::BadToken(why) => write!(f, "the token is not good: {why}"),
        }
    }
}

/// What the bearer of a token may do, in the rooms that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    rooms: Vec<RoomPattern>,
    rights: Rights,
}

impl Grant {
    fn in_room(&self, path: &str) -> Rights {
        match self.rooms.iter().any(|pattern| pattern.matches(path)) {
            true => self.rights,
            false => Rights::NONE,
        }
    }
}

/// A token of the configuration, without the token.
#[derive(Debug)]
struct KnownToken {
    hash: [u8; 32],
    subject: String,
    grant: Grant,
}

/// Who connects. The default is somebody without a token.
#[derive(Debug, Clone, Default)]
pub struct Bearer {
    subject: Option<String>,
    grants: Vec<Grant>,
    expires_at: Option<UnixSeconds>,
}

#[derive(Debug)]
enum Check {
    Nobody,
    Tokens(Vec<KnownToken>),
    Jwt(jwt::Verifier),
}

/// What `[auth]` says, ready to be asked.
#[derive(Debug)]
pub struct Auth(Check);

impl Auth {
    /// Reads the secrets that the configuration names, through `read`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn open(
        config: &config::Auth,
        read: impl Fn(&Path) -> Result<String, String>,
    ) -> Result<Self, Vec<Problem>> {
        Ok(Self(match config.kind {
            AuthKind::None => Check::Nobody,
            AuthKind::Token => Check::Tokens(known_tokens(config, &read)?),
            AuthKind::Jwt => Check::Jwt(jwt::Verifier::open(config, &read)?),
        }))
    }

    /// Whether tokens matter at all.
    pub fn asks_for_tokens(&self) -> bool {
        !matches!(self.0, Check::Nobody)
    }

    /// Whose the token is, and what it grants.
    ///
    /// # Errors
    /// Why it is not good.
    pub fn bearer(&self, token: Option<&str>, now: UnixSeconds) -> Result<Bearer, Unauthorized> {
        let Some(token) = token else { return Ok(Bearer::default()) };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Unauthorized::BadToken("it is too long"));
        }
        match &self.0 {
            Check::Nobody => Ok(Bearer::default()),
            Check::Tokens(known) => {
                let known = find(known, token).ok_or(Unauthorized::BadToken("it is not known"))?;
                let (subject, grants) = (Some(known.subject.clone()), vec![known.grant.clone()]);
                Ok(Bearer { subject, grants, expires_at: None })
            }
            Check::Jwt(verifier) => verifier.verify(token, now).map_err(Unauthorized::BadToken),
        }
    }

    /// What the bearer may do in the room at `path`, where those without a token may do `anonymous`.
    ///
    /// # Errors
    /// A token is needed to be there.
    pub fn access(
        &self,
        bearer: &Bearer,
        path: &str,
        anonymous: Option<Rights>,
    ) -> Result<Access, Unauthorized> {
        let default = match self.0 {
            Check::Nobody => Rights::READ_AND_ACT,
            Check::Tokens(_) | Check::Jwt(_) => Rights::NONE,
        };
        let granted: Rights = bearer.grants.iter().map(|grant| grant.in_room(path)).collect();
        let rights = granted.with(anonymous.unwrap_or(default));
        match bearer.subject {
            None if !rights.read && self.asks_for_tokens() => Err(Unauthorized::NoToken),
            _ => {
                let Bearer { subject, expires_at, .. } = bearer.clone();
                Ok(Access { subject, rights, expires_at })
            }
        }
    }
}

/// Compares hashes, and all of them: how long it takes says nothing about any token.
fn find<'a>(known: &'a [KnownToken], token: &str) -> Option<&'a KnownToken> {
    let hash = hash(token);
    known.iter().fold(None, |found, known| match bool::from(known.hash.ct_eq(&hash)) {
        true => Some(known),
        false => found,
    })
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn known_tokens(
    config: &config::Auth,
    read: &impl Fn(&Path) -> Result<String, String>,
) -> Result<Vec<KnownToken>, Vec<Problem>> {
    let (mut known, mut problems) = (Vec::<KnownToken>::new(), Vec::new());
    for token in &config.tokens {
        let secret = match &token.source {
            TokenSource::Inline(secret) | TokenSource::Variable { token: secret, .. } => {
                Ok(secret.clone())
            }
            TokenSource::File(file) => read(file)
                .and_then(|text| checked_token(text.trim_end()))
                .map_err(|message| token.problem("token_file", format!("{file:?}: {message}"))),
        };
        match secret.map(|secret| hash(secret.expose())) {
            Ok(hash) if known.iter().any(|other| other.hash == hash) => {
                problems
                    .push(token.problem("subject", "another [[auth.token]] has the same token"));
            }
            Ok(hash) => known.push(KnownToken {
                hash,
                subject: token.subject.clone(),
                grant: Grant { rooms: token.rooms.clone(), rights: token.rights },
            }),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(known) } else { Err(problems) }
}
