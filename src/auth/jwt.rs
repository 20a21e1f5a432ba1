//! JSON Web Tokens (RFC 7519). The crate checks signatures and the claims `aud` and `iss`; times are
//! compared here, with the time that comes in.

use super::{Bearer, Grant, UnixSeconds};
use crate::config::{self, JwtAlgorithm, Problem, Rights};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{fmt, path::Path};

/// An HMAC key may not be shorter than what the hash gives (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// What RSA keys of 2,048 bits, the fewest that RFC 7518, section 3.3, allows, to 4,096 bits, the
/// most that the crate takes, have as DER.
const RSA_DER_BYTES: std::ops::RangeInclusive<usize> = 260..=530;

/// A key and the one signature that it is for. A public key can therefore never be taken for the
/// secret of an HMAC (RFC 8725, section 2.1).
struct Key {
    algorithm: JwtAlgorithm,
    key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key for {}", self.algorithm.name())
    }
}

/// Checks tokens.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<Key>,
    audience: String,
    issuer: String,
    leeway_seconds: u64,
    claim: String,
    default_rights: Rights,
}

/// The claims that are used here.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// An element of the claim that says what the bearer may do.
#[derive(Deserialize)]
struct GrantClaim {
    rooms: Vec<String>,
    rights: Vec<String>,
}

impl Verifier {
    pub fn open(
        config: &config::Auth,
        read: &impl Fn(&Path) -> Result<String, String>,
    ) -> Result<Self, Vec<Problem>> {
        let problem = |message| Problem {
            place: config.key_files_place.0.clone(),
            key: "auth.key_files".to_owned(),
            message,
        };
        let (mut keys, mut problems) = (Vec::new(), Vec::new());
        for file in &config.key_files {
            let key = read(file).and_then(|text| key(&text)).and_then(|key| {
                match config.algorithms.contains(&key.algorithm) {
                    true => Ok(key),
                    false => Err(format!("{key:?}, which auth.algorithms does not have")),
                }
            });
            match key {
                Ok(key) => keys.push(key),
                Err(message) => problems.push(problem(format!("{file:?}: {message}"))),
            }
        }
        let is_keyless = |wanted: &&JwtAlgorithm| keys.iter().all(|key| key.algorithm != **wanted);
        if problems.is_empty()
            && let Some(algorithm) = config.algorithms.iter().find(is_keyless)
        {
            problems.push(problem(format!("none of them is a key for {}", algorithm.name())));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            keys,
            audience: config.audience.clone(),
            issuer: config.issuer.clone(),
            leeway_seconds: config.leeway.as_secs(),
            claim: config.claim.clone(),
            default_rights: config.default_rights,
        })
    }

    /// Checks a token.
    ///
    /// # Errors
    /// What is wrong with it, for its bearer.
    pub fn verify(&self, token: &str, now: UnixSeconds) -> Result<Bearer, &'static str> {
        let claims = self.claims(token)?;
        let seconds = |date: f64| match date.is_finite() && date >= 0.0 {
            // Cut to what 64 bits hold.
            true => Ok(date as u64),
            false => Err("its times are no times"),
        };
        let expires_at = seconds(claims.exp)?.saturating_add(self.leeway_seconds);
        if now.0 >= expires_at {
            return Err("it has expired");
        }
        if let Some(nbf) = claims.nbf
            && now.0.saturating_add(self.leeway_seconds) < seconds(nbf)?
        {
            return Err("it is not valid yet");
        }
        let grants = self.grants(claims.others)?;
        // With the leeway: a token that was just good enough must not end its session at once.
        let expires_at = Some(UnixSeconds(expires_at));
        Ok(Bearer { subject: Some(claims.sub), grants, expires_at })
    }

    /// What the token says, if a key of its algorithm has signed that, and it is for us.
    fn claims(&self, token: &str) -> Result<Claims, &'static str> {
        let no_token = "it is no JSON Web Token";
        let header = decode_header(token).map_err(|_| no_token)?;
        if header.crit.is_some() {
            // RFC 7515, section 4.1.11.
            return Err("it needs something that this server does not know");
        }
        let mut result = Err("its algorithm is not accepted");
        for Key { algorithm, key } in &self.keys {
            if crate_algorithm(*algorithm) != header.alg {
                continue;
            }
            match decode::<Claims>(token, key, &self.validation(*algorithm)) {
                Ok(token) => return Ok(token.claims),
                Err(error) => result = Err(meaning(&error)),
            }
        }
        result
    }

    fn validation(&self, algorithm: JwtAlgorithm) -> Validation {
        let mut validation = Validation::new(crate_algorithm(algorithm));
        // `sub` and `exp` are needed by `Claims`.
        let mut required = Vec::new();
        if !self.audience.is_empty() {
            validation.set_audience(&[&self.audience]);
            required.push("aud");
        }
        if !self.issuer.is_empty() {
            validation.set_issuer(&[&self.issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims::<&str>(&required);
        // By the time that comes in.
        validation.validate_exp = false;
        validation
    }

    fn grants(&self, mut others: Map<String, Value>) -> Result<Vec<Grant>, &'static str> {
        let every_room = || "/*".parse().ok();
        match others.remove(&self.claim) {
            None => Ok(vec![Grant {
                rooms: every_room().into_iter().collect(),
                rights: self.default_rights,
            }]),
            Some(value) => {
                let claims: Vec<GrantClaim> = serde_json::from_value(value)
                    .map_err(|_| "its rights are no list of rights")?;
                Ok(claims.iter().map(GrantClaim::grant).collect())
            }
        }
    }
}

impl GrantClaim {
    /// What is not understood is not granted: a newer issuer may know more.
    fn grant(&self) -> Grant {
        Grant {
            rooms: self.rooms.iter().filter_map(|pattern| pattern.parse().ok()).collect(),
            rights: self.rights.iter().filter_map(|name| Rights::named(name)).collect(),
        }
    }
}

fn crate_algorithm(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

fn meaning(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::InvalidAudience => "it is for somebody else",
        ErrorKind::InvalidIssuer => "it is by somebody else",
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => {
            "a claim that is needed (sub, exp, and aud or iss if they are set) is missing or wrong"
        }
        ErrorKind::InvalidSignature => "its signature is not by a key of this server",
        _ => "it is no JSON Web Token",
    }
}

/// The key in a file: a public one in PEM, or else the secret of an HMAC.
fn key(text: &str) -> Result<Key, String> {
    let text = text.trim();
    if text.contains("-----") {
        return public_key(text);
    }
    if text.len() < MIN_SECRET_BYTES || text.lines().count() > 1 {
        return Err(format!(
            "neither a public key in PEM nor a secret of {MIN_SECRET_BYTES} or more bytes on one \
             line"
        ));
    }
    let key = DecodingKey::from_secret(text.as_bytes());
    Ok(Key { algorithm: JwtAlgorithm::Hs256, key })
}

fn public_key(pem: &str) -> Result<Key, String> {
    if pem.contains("PRIVATE KEY-----") {
        return Err("this is a private key: the server needs only the public one".into());
    }
    let bytes = pem.as_bytes();
    let unusable = "no public key in PEM of RSA, P-256 or Ed25519";
    let (algorithm, key) = if let Ok(key) = DecodingKey::from_ed_pem(bytes) {
        (JwtAlgorithm::EdDsa, key)
    } else if let Ok(key) = DecodingKey::from_ec_pem(bytes) {
        (JwtAlgorithm::Es256, key)
    } else if let Ok(key) = DecodingKey::from_rsa_pem(bytes) {
        if !RSA_DER_BYTES.contains(&key.as_bytes().len()) {
            return Err("an RSA key must have 2048 to 4096 bits".into());
        }
        (JwtAlgorithm::Rs256, key)
    } else {
        return Err(unusable.into());
    };
    // A key that cannot check anything (another curve, say) must be found now.
    match jsonwebtoken::crypto::verify("", b"", &key, crate_algorithm(algorithm)) {
        Ok(_) => Ok(Key { algorithm, key }),
        Err(_) => Err(unusable.into()),
    }
}
