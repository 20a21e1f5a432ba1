//! The configuration: a TOML file, overridden by environment variables.
//!
//! `config/default.toml` is compiled in, and is the reference for every key: what it does, its
//! unit, its default and why. A key that a file does not set has the same default as there; a
//! test holds the two together. Everything that is wrong is reported at once, each with its place.
//!
//! [`Config::load`] is the only function here that reads a file.

#![forbid(unsafe_code)]

mod auth;
mod place;
mod reader;
mod room;
mod sections;
#[cfg(test)]
mod tests;
mod value;
mod write;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value};

use self::reader::Reader;
pub use self::{
    auth::{
        Auth, AuthKind, FoundAt, JwtAlgorithm, MAX_KEY_FILES, RefusalStyle, Rights, RoomPattern,
        Secret, Token, TokenSource, checked_token,
    },
    place::{ConfigErrors, Place, Problem},
    reader::{Source, found},
    value::suggestion,
};

/// `config/default.toml` as it was when the program was built.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// The largest file that is read: a mistaken path must not fill the memory.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The name under which problems in [`DEFAULT_TOML`] are reported.
pub const DEFAULT_TOML_NAME: &str = "the embedded default.toml";

/// All settings of a server, checked: every value is in its range and none contradicts another.
///
/// What the rooms' own arguments mean is checked by the room kinds, not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[server]`: addresses, threads, and how long a shutdown may take.
    pub server: Server,
    /// `[limits]`: what one client, and all together, may take.
    pub limits: Limits,
    /// `[origins]`: which web pages may connect.
    pub origins: Origins,
    /// `[auth]`: who may connect, and what they may do.
    pub auth: Auth,
    /// `[heartbeat]`: how a dead connection is noticed.
    pub heartbeat: Heartbeat,
    /// `[delivery]`: how events reach slow clients, and how often presence is told.
    pub delivery: Delivery,
    /// `[compression]`: which messages are compressed, and how.
    pub compression: Compression,
    /// `[journal]`: where applied actions are kept.
    pub journal: Journal,
    /// `[dedup]`: for which clients it is known what became of their actions.
    pub dedup: Dedup,
    /// `[log]`: what is logged, and how.
    pub log: Log,
    /// Every `[[room]]`, in the order of the file. Without any: the rooms of `default.toml`.
    pub rooms: Vec<Room>,
}

fn checked((config, problems): (Config, Vec<Problem>)) -> Result<Config, ConfigErrors> {
    if problems.is_empty() { Ok(config) } else { Err(ConfigErrors::sorted(problems)) }
}

/// `[server]`: addresses, threads, and how long a shutdown may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Addresses to listen on, each `HOST:PORT` or `[IPV6]:PORT`; empty only if `tls.bind` is not.
    /// A name means all its addresses; port 0 means any free port. Default `["localhost:6789"]`:
    /// reachable from this machine only.
    pub bind: Vec<String>,
    /// Threads that serve connections, 1 to 1024. In the file 0, the default, means one per core;
    /// it is resolved here. The upper limit catches typing errors: threads beyond the cores get in
    /// each other's way.
    pub workers: usize,
    /// How long a shutdown may take in all, 10 ms to 10 min. Default 10 s: service managers and
    /// container runtimes commonly kill after 10 s to 90 s.
    pub shutdown_timeout: Duration,
    /// How long the peer has to answer a Close frame before the socket is closed, 10 ms to 1 min,
    /// not above `shutdown_timeout`. Default 2 s: several round trips on a bad line.
    pub close_timeout: Duration,
    /// `[server.tls]`: addresses that speak TLS.
    pub tls: Tls,
}

/// `[server.tls]`: addresses that speak TLS 1.2 and 1.3 (`https://`, `wss://`), and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Addresses to listen on, as in `server.bind`, beside those. Default: none.
    pub bind: Vec<String>,
    /// The PEM file with the certificate, the server's own first, then those that it is signed
    /// with; set exactly if `bind` is not empty (in the file, `""` is not set). It is read at
    /// start. A relative path begins at the directory in which the server was started.
    pub cert: Option<PathBuf>,
    /// The PEM file with the certificate's private key, not encrypted: PKCS#8, PKCS#1 or SEC1.
    /// Default: the one in `cert`.
    pub key: Option<PathBuf>,
}

/// `[limits]`: what one client, and all together, may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at a time in all, 1 to 10,000,000. Default 10,000: half of 20,000 open files, a
    /// common limit of a process. There is no "off": nothing is unbounded.
    pub max_connections: usize,
    /// Connections at a time from one address; 0, the default, is off. Off, because behind a
    /// proxy all clients share its address.
    pub max_connections_per_address: usize,
    /// Bytes of one message from a client, 125 B to 64 MiB (key `max_message`). Default 64 KiB.
    /// Below 125 B a control frame would not fit (RFC 6455, section 5.5); above 64 MiB a few
    /// clients could fill the memory.
    pub max_message_bytes: usize,
    /// How long a client may take from the connection to the end of its request's headers, 10 ms
    /// to 5 min; a TLS handshake before that has the same time of its own. Default 5 s: enough for a slow line, short for those who only hold sockets.
    pub handshake_timeout: Duration,
    /// Actions that one session may send in a second, on average; 0, the default, is off.
    pub actions_per_second: u32,
    /// Actions that one session may send at once, 1 to 1,000,000. Default 64: all that a client may
    /// have sent without an answer.
    pub actions_burst: u32,
    /// Actions that all sessions of one address may send in a second; 0, the default, is off.
    pub actions_per_second_per_address: u32,
    /// Sessions that one address may begin in a second; 0, the default, is off.
    pub connections_per_second_per_address: u32,
    /// How long a room that was made on first use is held ready while nobody is there, 1 s to 1 day.
    /// Default 10 min: people come back after a coffee. What it keeps is not lost then: only that
    /// stays, until somebody comes.
    pub room_idle_timeout: Duration,
}

/// `[origins]`: which web pages may connect. Clients that are no browsers send no origin and pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    /// A page passes if one of these matches its origin. Empty: no page passes. Default: the
    /// three words `same-host`, `loopback` and `null`, safe while `bind` is loopback only.
    pub allow: Vec<OriginRule>,
}

/// One entry of `origins.allow`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OriginRule {
    /// `same-host`: the page's host is the one that the request's `Host` names, on any port.
    SameHost,
    /// `loopback`: a page from localhost, 127.0.0.0/8 or ::1, on any port.
    Loopback,
    /// `null`: a page opened from a file, or a sandboxed one.
    Null,
    /// One origin, in the form browsers send: lower-case `scheme://host[:port]`, the scheme's
    /// default port dropped, a name beyond ASCII in its IDNA form.
    Exact(String),
}

/// `[heartbeat]`: how a dead connection is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// How long a connection may be quiet before it is sent a Ping, 10 ms to 1 h. Default 20 s:
    /// proxies and address translators commonly forget a quiet connection after 30 s to 60 s.
    pub interval: Duration,
    /// How long after that a sign of life may take before the connection counts as dead, 10 ms to
    /// 1 h. Default 20 s: a mobile line may stall for several seconds and come back.
    pub timeout: Duration,
}

/// `[delivery]`: how events reach slow clients, and how often presence is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes that may wait for one client, 1 KiB to 64 MiB (key `max_pending`). Default 64 KiB.
    /// Past it, states that it has not been sent give way to the newest. Below 1 KiB hardly a
    /// few events fit; above 64 MiB a few slow clients could fill the memory.
    pub max_pending_bytes: usize,
    /// The shortest time between two `users` events when many come and go, 0 s to 10 s. Default
    /// 50 ms: people see no delay. 0 is off: then N newcomers cost N² events.
    pub presence_interval: Duration,
}

/// `[compression]`: which messages are compressed, and how (RFC 7692).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Whether compression is agreed with clients that offer it. Default true.
    pub enabled: bool,
    /// Messages of so many bytes or more are compressed, 0 B to 64 MiB (key `min_size`). Default
    /// 512 B: JSON of this size shrinks to a half, of 128 bytes hardly at all.
    pub min_size_bytes: usize,
    /// zlib's level, 1 (fast) to 9 (small). Default 3: a few percent more bytes than
    /// 6, zlib's own, in a third of the time, for which the others of the thread wait.
    pub level: u8,
    /// The base-2 logarithm of the window in bytes, 9 to 15. Default 15, the largest. A client may
    /// ask for a smaller one, and gets it. Not 8: zlib cannot compress with it.
    pub window_bits: u8,
    /// zlib's memory level, 1 to 9. Default 8, zlib's own.
    pub memory_level: u8,
}

/// `[journal]`: where applied actions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The kind of journal. Default [`JournalKind::Disk`].
    pub kind: JournalKind,
    /// The directory of a journal on disk; made if it is not there. A relative path begins at the
    /// directory in which the server was started. Default `statesync-data`.
    pub path: PathBuf,
    /// When a journal on disk is synced. Default [`JournalSync::Always`].
    pub sync: JournalSync,
    /// How often, where `sync` is [`JournalSync::Interval`]: 10 ms to 1 min. Default 1 s.
    pub sync_interval: Duration,
}

/// The value of `journal.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JournalKind {
    /// `memory`: the state lives as long as the process.
    Memory,
    /// `disk`: the state outlives the process.
    Disk,
}

/// The value of `journal.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JournalSync {
    /// `always`: before an action is acknowledged and anyone is told of it.
    Always,
    /// `interval`: every `sync_interval`.
    Interval,
    /// `never`: whenever the system likes.
    Never,
}

/// `[dedup]`: for which clients it is known what became of their actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// How long after its last action a client is known, 1 s to 1 year. Default 7 days: over a
    /// weekend and a holiday.
    pub ttl: Duration,
    /// How many clients are known, 1 to 1,000,000. Default 100,000: some megabytes.
    pub max_clients: u32,
}

/// `[log]`: what is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// An `env_logger` filter: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or
    /// levels by module such as `info,statesync=debug`. Default `info`.
    pub level: String,
    /// The form of a log line. Default [`LogFormat::Text`].
    pub format: LogFormat,
}

/// The value of `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// `text`: for people.
    Text,
    /// `json`: one JSON object a line, for log collectors.
    Json,
}

/// One `[[room]]`: a place where clients share a state.
///
/// Two rooms are equal if they serve the same; where they stand does not matter.
#[derive(Clone, Debug)]
pub struct Room {
    /// The URL's path, such as `/` or `/echo`; unique, and outside of `/web/`, `/api/` and
    /// `/health/`. Or a pattern of paths, such as `/chats/{name}`.
    pub path: String,
    /// The most rooms that a pattern may have, 1 to 100,000. Default 1,000.
    pub max_rooms: usize,
    /// The name of the room's kind, such as `counter`. Whether it exists is not checked here.
    pub kind: String,
    /// What those may do here who show no token. `None`: nothing, or, with [`AuthKind::None`], read
    /// and act.
    pub anonymous: Option<Rights>,
    /// All other keys of the table, for the room's kind to check and use. Dates are strings.
    pub arguments: Map<String, Value>,
    /// Where the `[[room]]` stands, for errors that the room's kind finds later.
    pub place: Place,
    /// Where the value of each key stands, `path`, `kind` and `anonymous` included; see [`Room::problem`].
    pub key_places: BTreeMap<String, Place>,
}

impl Room {
    /// A room made in code, not by a file.
    pub fn new(path: &str, kind: &str, arguments: Map<String, Value>) -> Room {
        Room {
            path: path.to_owned(),
            max_rooms: 1_000,
            kind: kind.to_owned(),
            anonymous: None,
            arguments,
            place: Place::program(),
            key_places: BTreeMap::new(),
        }
    }

    /// A problem with one key of this room, at the key's value if the file has it, else at the
    /// room: for the room kinds, which check their arguments.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        Problem {
            place: self.key_places.get(key).unwrap_or(&self.place).clone(),
            key: format!("room.{key}"),
            message: message.into(),
        }
    }
}

impl PartialEq for Room {
    fn eq(&self, other: &Room) -> bool {
        let one = (&self.path, self.max_rooms, &self.kind, &self.anonymous, &self.arguments);
        one == (&other.path, other.max_rooms, &other.kind, &other.anonymous, &other.arguments)
    }
}

impl Eq for Room {}

impl Server {
    /// The first address that other machines can reach, plain or TLS, and its key.
    fn exposed(&self) -> Option<(&'static str, &String)> {
        let plain = self.bind.iter().map(|address| ("server.bind", address));
        let tls = self.tls.bind.iter().map(|address| ("server.tls.bind", address));
        plain.chain(tls).find(|(_, address)| !value::is_loopback(address))
    }
}

impl Config {
    /// Reads `file`, or [`DEFAULT_TOML`] where there is none, and the variables that begin with
    /// `STATESYNC__` in `environment`. Variables win over the file.
    ///
    /// `std::env::vars()` as the environment panics if any variable is not Unicode; take
    /// `std::env::vars_os()` and leave those out.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigErrors> {
        checked(Config::read(file, environment))
    }

    /// Like [`Config::load`], but gives what could be read beside all that is wrong, for callers
    /// that have more to check. Where something is wrong, the configuration has a stand-in.
    pub fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> (Config, Vec<Problem>) {
        let Some(file) = file else {
            return Config::read_toml(DEFAULT_TOML_NAME, DEFAULT_TOML, environment);
        };
        let name = file.display().to_string();
        match read_file(file) {
            Ok(toml) => Config::read_toml(&name, &toml, environment),
            Err(message) => {
                let problem = Problem { place: Place::file(&name), key: String::new(), message };
                (Config::read_toml(DEFAULT_TOML_NAME, DEFAULT_TOML, []).0, vec![problem])
            }
        }
    }

    /// Checks the configuration in `toml`, which problems call `name`, and the variables that
    /// begin with `STATESYNC__` in `environment`. Reads no file.
    pub fn parse(
        name: &str,
        toml: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigErrors> {
        checked(Config::read_toml(name, toml, environment))
    }

    fn read_toml(
        name: &str,
        toml: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> (Config, Vec<Problem>) {
        let mut reader = Reader::new(name, toml, environment);
        let server = sections::server(&mut reader);
        let config = Config {
            limits: sections::limits(&mut reader),
            origins: sections::origins(&mut reader),
            auth: auth::auth(&mut reader, &server),
            server,
            heartbeat: sections::heartbeat(&mut reader),
            delivery: sections::delivery(&mut reader),
            compression: sections::compression(&mut reader),
            journal: sections::journal(&mut reader),
            dedup: sections::dedup(&mut reader),
            log: sections::log(&mut reader),
            rooms: room::rooms(&mut reader).unwrap_or_else(|| default_rooms(&mut reader)),
        };
        (config, reader.finish())
    }

    /// What is allowed but probably not meant, one sentence each: to be logged at start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.exposure_warnings();
        let limits = &self.limits;
        if limits.max_connections_per_address > limits.max_connections {
            warnings.push(format!(
                "limits.max_connections_per_address ({}) has no effect, since \
                 limits.max_connections ({}) is lower",
                limits.max_connections_per_address, limits.max_connections
            ));
        }
        if self.dedup.max_clients < limits.max_connections as u32 {
            warnings.push(format!(
                "dedup.max_clients ({}) is below limits.max_connections ({}): clients may be \
                 forgotten while they are connected",
                self.dedup.max_clients, limits.max_connections
            ));
        }
        warnings
    }

    /// What is harmless only as long as no other machine can connect.
    fn exposure_warnings(&self) -> Vec<String> {
        let Some((key, address)) = self.server.exposed() else { return Vec::new() };
        let allows = |rule| self.origins.allow.contains(&rule);
        let checks = [
            (
                allows(OriginRule::Null),
                "origins.allow has \"null\": any page opened from a file, and any sandboxed \
                 frame of any web site, may connect",
            ),
            (
                allows(OriginRule::Loopback),
                "origins.allow has \"loopback\": any page served from a visitor's own machine \
                 may connect",
            ),
            (
                self.limits.max_connections_per_address == 0,
                "limits.max_connections_per_address is 0, off: one client may take all \
                 connections (right only behind a proxy that limits them)",
            ),
            (
                self.delivery.presence_interval.is_zero(),
                "delivery.presence_interval is 0s, off: clients that come and go quickly cost \
                 every other client an event each time",
            ),
            (
                self.limits.actions_per_second == 0,
                "limits.actions_per_second is 0, off: one client may keep the server busy",
            ),
            (
                self.limits.connections_per_second_per_address == 0,
                "limits.connections_per_second_per_address is 0, off: one client may connect as \
                 fast as it can (right only behind a proxy that limits it)",
            ),
        ];
        let raised = checks.into_iter().filter(|(is_raised, _)| *is_raised);
        raised
            .map(|(_, text)| format!("{key} has {address}, which is not loopback, and {text}"))
            .collect()
    }
}

/// The rooms of [`DEFAULT_TOML`].
fn default_rooms(reader: &mut Reader<'_>) -> Vec<Room> {
    let mut embedded = Reader::new(DEFAULT_TOML_NAME, DEFAULT_TOML, []);
    let rooms = room::rooms(&mut embedded).unwrap_or_default();
    reader.problems.append(&mut embedded.problems);
    rooms
}

fn read_file(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("cannot be read: larger than 1 MiB, so hardly a configuration file".into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let start = error.utf8_error().valid_up_to();
        let newlines = error.as_bytes()[..start].iter().filter(|b| **b == b'\n').count();
        format!("cannot be read: line {} is not UTF-8", newlines + 1)
    })
}
