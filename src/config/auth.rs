//! `[auth]` and `[[auth.token]]`: who may connect, and what they may do.

use super::{
    Place, Problem, Server,
    reader::{Limit, Reader, Source, Wanted},
    sections::texts,
    value,
};
use std::{fmt, path::PathBuf, str::FromStr, time::Duration};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// `[auth]`: who may connect, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// How a client shows who it is. Default [`AuthKind::None`].
    pub kind: AuthKind,
    /// Says that [`AuthKind::None`] is meant though other machines can connect. Default false.
    pub open_to_all: bool,
    /// How a client that may not connect is told so. Default [`RefusalStyle::Http`].
    pub refusal: RefusalStyle,
    /// The name of the cookie that may hold the token. Default `statesync_token`. Empty: none.
    pub cookie: String,
    /// The signatures that a JWT may have; each key in `key_files` is for one of them.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Files with public keys (PEM), or with the secret of HS256. At most [`MAX_KEY_FILES`].
    pub key_files: Vec<PathBuf>,
    /// Where `key_files` stands, for errors that are found when they are read.
    pub key_files_place: FoundAt,
    /// What `aud` of a JWT must be or have; empty, the default: only those without `aud` are good.
    pub audience: String,
    /// What `iss` of a JWT must be; empty, the default: anything.
    pub issuer: String,
    /// How far the clocks of the server and of the issuer may differ, 0 s to 10 min. Default 30 s.
    pub leeway: Duration,
    /// The claim of a JWT that says what its bearer may do. Default `statesync`.
    pub claim: String,
    /// What the bearer of a JWT without that claim may do, in every room. Default: read and act.
    pub default_rights: Rights,
    /// Every `[[auth.token]]`.
    pub tokens: Vec<Token>,
}

/// Keys that a JWT is checked with: each costs a check of a signature for each wrong token.
pub const MAX_KEY_FILES: usize = 16;

/// Where a key stands. All are equal: where settings stand does not make them differ.
#[derive(Clone, Debug, Default)]
pub struct FoundAt(pub Place);

impl PartialEq for FoundAt {
    fn eq(&self, _: &FoundAt) -> bool {
        true
    }
}

impl Eq for FoundAt {}

/// The value of `auth.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthKind {
    /// `none`: nobody is asked.
    None,
    /// `token`: one of `[[auth.token]]`.
    Token,
    /// `jwt`: a JSON Web Token (RFC 7519) signed with one of `auth.key_files`.
    Jwt,
}

/// The value of `auth.refusal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalStyle {
    /// `http`: status 401 instead of the upgrade.
    Http,
    /// `message`: the upgrade, the text `unauthorized`, and a normal close.
    Message,
}

/// A signature of RFC 7518, section 3.1, or RFC 8037, section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256: the secret can also sign.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl JwtAlgorithm {
    /// Its name, as in a JWT's `alg`.
    pub fn name(self) -> &'static str {
        let named = ALGORITHMS.iter().find(|(_, algorithm)| *algorithm == self);
        named.map_or("", |(name, _)| name)
    }
}

pub(super) const KINDS: [(&str, AuthKind); 3] =
    [("none", AuthKind::None), ("token", AuthKind::Token), ("jwt", AuthKind::Jwt)];
pub(super) const REFUSALS: [(&str, RefusalStyle); 2] =
    [("http", RefusalStyle::Http), ("message", RefusalStyle::Message)];
const ALGORITHMS: [(&str, JwtAlgorithm); 4] = [
    ("HS256", JwtAlgorithm::Hs256),
    ("RS256", JwtAlgorithm::Rs256),
    ("ES256", JwtAlgorithm::Es256),
    ("EdDSA", JwtAlgorithm::EdDsa),
];

/// What somebody may do in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights {
    /// Be in the room and see what it says.
    pub read: bool,
    /// Send actions.
    pub act: bool,
    /// What only those may do who run the room.
    pub administer: bool,
}

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self { read: false, act: false, administer: false };
    /// To read and to act.
    pub const READ_AND_ACT: Self = Self { read: true, act: true, administer: false };

    /// The right with this name alone.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "read" => Some(Self { read: true, ..Self::NONE }),
            "act" => Some(Self { act: true, ..Self::NONE }),
            "administer" => Some(Self { administer: true, ..Self::NONE }),
            _ => None,
        }
    }

    /// What one of the two allows.
    pub fn with(self, other: Self) -> Self {
        Self {
            read: self.read || other.read,
            act: self.act || other.act,
            administer: self.administer || other.administer,
        }
    }

    /// The names of what is allowed.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [(self.read, "read"), (self.act, "act"), (self.administer, "administer")];
        all.into_iter().filter(|(is_allowed, _)| *is_allowed).map(|(_, name)| name)
    }
}

impl FromIterator<Rights> for Rights {
    fn from_iter<I: IntoIterator<Item = Rights>>(rights: I) -> Self {
        rights.into_iter().fold(Self::NONE, Self::with)
    }
}

/// The rooms that a right is for: a path such as `/chat`, or all paths that begin so: `/games/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomPattern(String);

impl RoomPattern {
    /// Whether the room at `path` is meant.
    pub fn matches(&self, path: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => path == self.0,
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoomPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fixed = text.strip_suffix("/*").unwrap_or(text);
        if fixed.contains('*') {
            return Err(format!("{text:?}: \"*\" stands only at the end, as in \"/games/*\""));
        }
        if !text.starts_with('/') {
            return Err(format!(
                "{text:?} does not start with \"/\": write {:?}",
                format!("/{text}")
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Text that must not be seen: it is not in [`fmt::Debug`], and there is no [`fmt::Display`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What stands for a secret where one is shown.
    pub const MASK: &str = "***";

    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::MASK)
    }
}

/// One `[[auth.token]]`: a token and what its bearer may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub source: TokenSource,
    /// Who its bearer is.
    pub subject: String,
    /// The rooms in which its bearer has the rights. Default: all.
    pub rooms: Vec<RoomPattern>,
    /// What its bearer may do there. Default: read and act.
    pub rights: Rights,
    /// Where the table stands.
    pub place: FoundAt,
}

impl Token {
    /// A problem with one key of this table.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        Problem {
            place: self.place.0.clone(),
            key: format!("auth.token.{key}"),
            message: message.into(),
        }
    }
}

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `token`: the file has it.
    Inline(Secret),
    /// `token_file`: the first line of another file.
    File(PathBuf),
    /// `token_variable`: an environment variable.
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        token: Secret,
    },
}

impl Default for Auth {
    fn default() -> Auth {
        Auth {
            kind: AuthKind::None,
            open_to_all: false,
            refusal: RefusalStyle::Http,
            cookie: "statesync_token".to_owned(),
            algorithms: Vec::new(),
            key_files: Vec::new(),
            key_files_place: FoundAt::default(),
            audience: String::new(),
            issuer: String::new(),
            leeway: Duration::from_secs(30),
            claim: "statesync".to_owned(),
            default_rights: Rights::READ_AND_ACT,
            tokens: Vec::new(),
        }
    }
}

/// Reads `[auth]`; the addresses of `server` say who can connect.
pub(super) fn auth(reader: &mut Reader<'_>, server: &Server) -> Auth {
    let default = Auth::default();
    let mut section = reader.section("auth");
    let mut auth = Auth {
        kind: section.choice("kind", default.kind, &KINDS),
        open_to_all: section.flag("open_to_all", default.open_to_all),
        refusal: section.choice("refusal", default.refusal, &REFUSALS),
        cookie: section.text("cookie", default.cookie, cookie_name),
        algorithms: section.read("algorithms", Wanted::List, default.algorithms, |value| {
            texts(value, |text| value::word(text, &ALGORITHMS))
        }),
        key_files: section
            .read("key_files", Wanted::List, default.key_files, |value| texts(value, file_name)),
        key_files_place: FoundAt(section.place_of("key_files")),
        audience: section.text("audience", default.audience, |text| Ok(text.to_owned())),
        issuer: section.text("issuer", default.issuer, |text| Ok(text.to_owned())),
        leeway: section.duration(
            "leeway",
            default.leeway,
            Limit {
                least: Duration::ZERO,
                most: Duration::from_secs(600),
                reason: "a token lives so much longer than it says; set the clocks instead",
            },
        ),
        claim: section.text("claim", default.claim, |text| Ok(text.to_owned())),
        default_rights: section.read("default_rights", Wanted::List, default.default_rights, |v| {
            Ok(texts(v, right)?.into_iter().collect())
        }),
        tokens: Vec::new(),
    };
    let tables = section.tables("token");
    drop(section);
    auth.tokens = tables.into_iter().filter_map(|(at, table)| token(reader, at, table)).collect();
    check(reader, &auth, server);
    auth
}

/// Reports what does not go together.
fn check(reader: &mut Reader<'_>, auth: &Auth, server: &Server) {
    match (auth.kind, server.exposed()) {
        (AuthKind::None, Some((key, address))) if !auth.open_to_all => {
            let message = format!(
                "\"none\" lets anybody who reaches {address} act: set kind = \"token\" or \
                 \"jwt\", or, if that is meant, write open_to_all = true under [auth]"
            );
            reader.contradiction("auth.kind", key, message);
        }
        (AuthKind::Token | AuthKind::Jwt, _) if auth.open_to_all => {
            let message = "goes only with kind = \"none\"; with others, say in a [[room]] who may \
                           without a token: anonymous = [\"read\"]";
            reader.contradiction("auth.open_to_all", "auth.kind", message.to_owned());
        }
        _ => {}
    }
    check_tokens(reader, auth);
    check_jwt(reader, auth);
}

fn check_tokens(reader: &mut Reader<'_>, auth: &Auth) {
    match (auth.kind, auth.tokens.first()) {
        (AuthKind::Token, None) if !reader.has_problem_with("auth.token") => {
            let message = "\"token\" needs at least one token: add [[auth.token]]".to_owned();
            reader.contradiction("auth.kind", "auth.kind", message);
        }
        (AuthKind::None | AuthKind::Jwt, Some(token)) => {
            reader.problems.push(Problem {
                key: "auth.token".into(),
                ..token.problem("", "would not be asked for: write kind = \"token\" under [auth]")
            });
        }
        _ => {}
    }
}

fn check_jwt(reader: &mut Reader<'_>, auth: &Auth) {
    let mut contradiction = |key, other, message: &str| {
        reader.contradiction(key, other, message.to_owned());
    };
    if auth.kind == AuthKind::Jwt {
        if auth.algorithms.is_empty() {
            let message = "empty: name the signatures that are good, such as [\"ES256\"]";
            contradiction("auth.algorithms", "auth.kind", message);
        }
        if auth.key_files.is_empty() {
            let message = "empty: name the files with the public keys, or with the secret of HS256";
            contradiction("auth.key_files", "auth.kind", message);
        }
    } else if !auth.key_files.is_empty() {
        let message = "would not be used: write kind = \"jwt\"";
        contradiction("auth.key_files", "auth.kind", message);
    }
    if auth.key_files.len() > MAX_KEY_FILES {
        let message = format!("more than {MAX_KEY_FILES}: each wrong token would cost too much");
        contradiction("auth.key_files", "auth.key_files", &message);
    }
}

/// One `[[auth.token]]`. `None` if it is wrong, which is reported. No message shows a value here:
/// it may be the token.
fn token(reader: &mut Reader<'_>, at: usize, mut table: DeTable<'_>) -> Option<Token> {
    let place = reader.source.place(at);
    let before = reader.problems.len();
    let rights = list(reader, &mut table, "rights", right);
    let rooms = list(reader, &mut table, "rooms", RoomPattern::from_str);
    let source = token_source(reader, &place, &mut table);
    let has_subject = table.contains_key("subject");
    let subject = text(reader, &mut table, "subject");
    if !has_subject || subject.as_deref() == Some("") {
        let message = "missing: say who the bearer of the token is, such as subject = \"robot\"";
        reader.add(place.clone(), "auth.token.subject", message);
    }
    for key in table.keys() {
        let known = ["token", "token_file", "token_variable", "subject", "rooms", "rights"];
        let meant = value::suggestion(key.get_ref(), known);
        let message = format!("unknown key{meant}; known are {}", known.join(", "));
        let at = reader.source.place(key.span().start);
        reader.add(at, &format!("auth.token.{}", key.get_ref()), message);
    }
    if reader.problems.len() > before {
        return None;
    }
    Some(Token {
        source: source?,
        subject: subject?,
        rooms: rooms.unwrap_or_else(|| vec![RoomPattern("/*".to_owned())]),
        rights: rights.map_or(Rights::READ_AND_ACT, |rights| rights.into_iter().collect()),
        place: FoundAt(place),
    })
}

fn token_source(
    reader: &mut Reader<'_>,
    place: &Place,
    table: &mut DeTable<'_>,
) -> Option<TokenSource> {
    let before = reader.problems.len();
    let inline =
        text(reader, table, "token").map(|text| checked_token(&text).map(TokenSource::Inline));
    let file =
        text(reader, table, "token_file").map(|text| file_name(&text).map(TokenSource::File));
    let variable = text(reader, table, "token_variable").map(|name| {
        let value = reader.variable(&name);
        let value = value.ok_or(format!("the environment variable {name} is not set"))?;
        Ok(TokenSource::Variable { token: checked_token(&value)?, name })
    });
    let mut sources = [("token", inline), ("token_file", file), ("token_variable", variable)]
        .into_iter()
        .filter_map(|(key, source)| Some((key, source?)));
    match (sources.next(), sources.next()) {
        (Some((_, Ok(source))), None) => Some(source),
        (Some((key, Err(message))), None) => {
            reader.add(place.clone(), &format!("auth.token.{key}"), message);
            None
        }
        (None, _) if reader.problems.len() > before => None,
        _ => {
            let message = "needs exactly one of token, token_file and token_variable";
            reader.add(place.clone(), "auth.token", message);
            None
        }
    }
}

/// The token, if it can stand in a header.
///
/// # Errors
/// What is wrong with it, without showing it.
pub fn checked_token(text: &str) -> Result<Secret, String> {
    if text == Secret::MASK {
        return Err("this is what check-config shows in its place: write the token".into());
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token is one or more visible ASCII characters, without spaces".into());
    }
    Ok(Secret::new(text))
}

fn text(reader: &mut Reader<'_>, table: &mut DeTable<'_>, key: &str) -> Option<String> {
    let value = table.remove(key)?;
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => {
            let place = reader.source.place(value.span().start);
            reader.add(place, &format!("auth.token.{key}"), "want a string");
            None
        }
    }
}

fn list<T>(
    reader: &mut Reader<'_>,
    table: &mut DeTable<'_>,
    key: &str,
    convert: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let value = table.remove(key)?;
    match texts(&value, convert) {
        Ok(list) => Some(list),
        Err(faults) => {
            for fault in faults {
                let place = reader.source.place(fault.span.start);
                reader.add(place, &format!("auth.token.{key}"), fault.message);
            }
            None
        }
    }
}

/// `anonymous` of a `[[room]]`.
pub(super) fn anonymous(
    source: Source<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Rights, Vec<(Place, String)>> {
    let without_name = |text: &str| match right(text)? {
        Rights { administer: true, .. } => {
            Err("\"administer\" needs a token: who administers a room must be known".to_owned())
        }
        right => Ok(right),
    };
    texts(value, without_name).map(|rights| rights.into_iter().collect()).map_err(|faults| {
        faults.into_iter().map(|f| (source.place(f.span.start), f.message)).collect()
    })
}

fn right(text: &str) -> Result<Rights, String> {
    let known = ["read", "act", "administer"];
    let meant = || value::suggestion(text, known);
    Rights::named(text)
        .ok_or_else(|| format!("{text:?} is no right{}; rights are {}", meant(), known.join(", ")))
}

/// RFC 6265, section 4.1.1: a cookie's name is a token of HTTP.
fn cookie_name(text: &str) -> Result<String, String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match text.chars().find(|c| !is_token(*c)) {
        Some(wrong) => Err(format!("{text:?}: a cookie's name has no {wrong:?}")),
        None => Ok(text.to_owned()),
    }
}

fn file_name(text: &str) -> Result<PathBuf, String> {
    if text.trim().is_empty() {
        return Err("empty: write the name of a file".into());
    }
    Ok(text.into())
}
