//! The sections, key by key: defaults, limits and the reasons for them.

use std::{path::PathBuf, str::FromStr, thread::available_parallelism, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{
    Compression, Dedup, Delivery, Heartbeat, Journal, JournalKind, JournalSync, Limits, Log,
    LogFormat, OriginRule, Origins, Server, Tls,
    reader::{Fault, Limit, Reader, Section, Wanted, found},
    value,
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The least length of time that a timer keeps with some precision on a busy machine.
const TEN_MILLISECONDS: Duration = Duration::from_millis(10);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

pub(super) const JOURNAL_KINDS: [(&str, JournalKind); 2] =
    [("disk", JournalKind::Disk), ("memory", JournalKind::Memory)];
pub(super) const JOURNAL_SYNCS: [(&str, JournalSync); 3] = [
    ("always", JournalSync::Always),
    ("interval", JournalSync::Interval),
    ("never", JournalSync::Never),
];
pub(super) const LOG_FORMATS: [(&str, LogFormat); 2] =
    [("text", LogFormat::Text), ("json", LogFormat::Json)];

impl Default for Server {
    fn default() -> Server {
        Server {
            bind: vec!["localhost:6789".to_owned()],
            workers: one_per_core(),
            shutdown_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            tls: Tls::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 10_000,
            max_connections_per_address: 0,
            max_message_bytes: 64 * KIB,
            handshake_timeout: Duration::from_secs(5),
            room_idle_timeout: 10 * MINUTE,
        }
    }
}

impl Default for Origins {
    fn default() -> Origins {
        Origins { allow: vec![OriginRule::SameHost, OriginRule::Loopback, OriginRule::Null] }
    }
}

impl Default for Heartbeat {
    fn default() -> Heartbeat {
        Heartbeat { interval: Duration::from_secs(20), timeout: Duration::from_secs(20) }
    }
}

impl Default for Delivery {
    fn default() -> Delivery {
        Delivery { max_pending_bytes: 64 * KIB, presence_interval: Duration::from_millis(50) }
    }
}

impl Default for Compression {
    fn default() -> Compression {
        Compression {
            enabled: true,
            min_size_bytes: 512,
            level: 3,
            window_bits: 15,
            memory_level: 8,
        }
    }
}

impl Default for Journal {
    fn default() -> Journal {
        Journal {
            kind: JournalKind::Disk,
            path: "statesync-data".into(),
            sync: JournalSync::Always,
            sync_interval: Duration::from_secs(1),
        }
    }
}

impl Default for Dedup {
    fn default() -> Dedup {
        Dedup { ttl: 7 * DAY, max_clients: 100_000 }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info".to_owned(), format: LogFormat::Text }
    }
}

pub(super) fn server(reader: &mut Reader<'_>) -> Server {
    let default = Server::default();
    let mut section = reader.section("server");
    let mut server = Server {
        bind: bind(&mut section, default.bind),
        workers: workers(&mut section),
        shutdown_timeout: section.duration(
            "shutdown_timeout",
            default.shutdown_timeout,
            Limit {
                least: TEN_MILLISECONDS,
                most: 10 * MINUTE,
                reason: "a shorter one gives nobody time to close, a longer one looks like a hang",
            },
        ),
        close_timeout: section.duration(
            "close_timeout",
            default.close_timeout,
            Limit {
                least: TEN_MILLISECONDS,
                most: MINUTE,
                reason: "a shorter one lets no answer arrive, a longer one keeps dead sockets",
            },
        ),
        tls: default.tls,
    };
    section.set_aside("tls", TLS);
    drop(section);
    server.tls = tls(reader);
    check_addresses(reader, &server);
    if server.close_timeout > server.shutdown_timeout {
        let message = format!(
            "{} is more than server.shutdown_timeout, {}: the shutdown would end first",
            value::show_duration(server.close_timeout),
            value::show_duration(server.shutdown_timeout)
        );
        reader.contradiction("server.close_timeout", "server.shutdown_timeout", message);
    }
    server
}

/// `[server.tls]`, whose keys are optional: an empty text is none.
const TLS: &str = "server.tls";

fn tls(reader: &mut Reader<'_>) -> Tls {
    let mut section = reader.section(TLS);
    let file = |text: &str| Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(Into::into));
    Tls {
        bind: bind(&mut section, Vec::new()),
        cert: section.text("cert", None, file),
        key: section.text("key", None, file),
    }
}

/// What must be true of all addresses together.
fn check_addresses(reader: &mut Reader<'_>, Server { bind, tls, .. }: &Server) {
    let (plain, with_tls) = ("server.bind", "server.tls.bind");
    if bind.is_empty() && tls.bind.is_empty() {
        let message = "the list is empty: write at least \"localhost:6789\"";
        reader.contradiction(plain, with_tls, message.into());
    }
    let all: Vec<_> = bind.iter().chain(&tls.bind).cloned().collect();
    if let Some(address) = repeated(&all) {
        let message = format!("{address:?} is in server.bind as well: TLS needs a port of its own");
        reader.contradiction(with_tls, plain, message);
    }
    match (&tls.bind[..], &tls.cert, &tls.key) {
        ([_, ..], None, _) => {
            let message = "TLS needs a certificate: set server.tls.cert to its PEM file \
                           (`statesync cert` makes one for development)";
            reader.contradiction(with_tls, "server.tls.cert", message.into());
        }
        ([], Some(_), _) => {
            let message = "no address speaks TLS, so nobody would be shown this certificate: \
                           write bind = [\"localhost:6790\"] under [server.tls]";
            reader.contradiction("server.tls.cert", with_tls, message.into());
        }
        ([], None, Some(_)) => {
            let message = "a key without a certificate: set server.tls.cert and server.tls.bind";
            reader.contradiction("server.tls.key", "server.tls.cert", message.into());
        }
        ([], None, None) | ([_, ..], Some(_), _) => {}
    }
}

fn bind(section: &mut Section<'_, '_>, default: Vec<String>) -> Vec<String> {
    section.read("bind", Wanted::List, default, |value| {
        let addresses = texts(value, value::bind_address)?;
        match repeated(&addresses) {
            Some(address) => fault(value, format!("{address:?} is listed twice")),
            None => Ok(addresses),
        }
    })
}

/// The first address that stands in the list again. Port 0 is another port each time.
fn repeated(addresses: &[String]) -> Option<&String> {
    let mut rest = addresses.iter();
    while let Some(address) = rest.next() {
        if !address.ends_with(":0") && rest.as_slice().contains(address) {
            return Some(address);
        }
    }
    None
}

fn workers(section: &mut Section<'_, '_>) -> usize {
    let limit = Limit {
        least: 0,
        most: 1024,
        reason: "0 is one per core, and threads beyond the cores only cost memory",
    };
    match section.number("workers", 0, limit) {
        0 => one_per_core(),
        workers => workers,
    }
}

fn one_per_core() -> usize {
    available_parallelism().map_or(1, usize::from)
}

pub(super) fn limits(reader: &mut Reader<'_>) -> Limits {
    let default = Limits::default();
    let mut section = reader.section("limits");
    Limits {
        max_connections: section.number(
            "max_connections",
            default.max_connections,
            Limit {
                least: 1,
                most: 10_000_000,
                reason: "this limit cannot be switched off, since each connection costs memory",
            },
        ),
        max_connections_per_address: section.number(
            "max_connections_per_address",
            default.max_connections_per_address,
            Limit { least: 0, most: 10_000_000, reason: "0 is off" },
        ),
        max_message_bytes: section.size(
            "max_message",
            default.max_message_bytes,
            Limit {
                least: 125,
                most: 64 * MIB,
                reason: "a control frame may have 125 bytes (RFC 6455, section 5.5), \
                         and above 64 MiB a few clients could fill the memory",
            },
        ),
        handshake_timeout: section.duration(
            "handshake_timeout",
            default.handshake_timeout,
            Limit {
                least: TEN_MILLISECONDS,
                most: 5 * MINUTE,
                reason: "a shorter one refuses everybody, a longer one lets sockets be hoarded",
            },
        ),
        room_idle_timeout: section.duration(
            "room_idle_timeout",
            default.room_idle_timeout,
            Limit {
                least: Duration::from_secs(1),
                most: 24 * 60 * MINUTE,
                reason: "a shorter one loads rooms again and again, a longer one saves nothing",
            },
        ),
    }
}

pub(super) fn origins(reader: &mut Reader<'_>) -> Origins {
    let default = Origins::default();
    let mut section = reader.section("origins");
    Origins {
        allow: section
            .read("allow", Wanted::List, default.allow, |value| texts(value, OriginRule::from_str)),
    }
}

pub(super) fn heartbeat(reader: &mut Reader<'_>) -> Heartbeat {
    let default = Heartbeat::default();
    let mut section = reader.section("heartbeat");
    let limit = |reason| Limit { least: TEN_MILLISECONDS, most: 60 * MINUTE, reason };
    Heartbeat {
        interval: section.duration(
            "interval",
            default.interval,
            limit("a shorter one floods the clients with Pings, with a longer one proxies cut in"),
        ),
        timeout: section.duration(
            "timeout",
            default.timeout,
            limit("a shorter one cuts healthy clients off, a longer one keeps dead ones"),
        ),
    }
}

pub(super) fn delivery(reader: &mut Reader<'_>) -> Delivery {
    let default = Delivery::default();
    let mut section = reader.section("delivery");
    Delivery {
        max_pending_bytes: section.size(
            "max_pending",
            default.max_pending_bytes,
            Limit {
                least: KIB,
                most: 64 * MIB,
                reason: "less holds hardly a few events, and above 64 MiB a few slow clients \
                         could fill the memory",
            },
        ),
        presence_interval: section.duration(
            "presence_interval",
            default.presence_interval,
            Limit {
                least: Duration::ZERO,
                most: Duration::from_secs(10),
                reason: "0s is off, and a longer one shows numbers that are long out of date",
            },
        ),
    }
}

pub(super) fn compression(reader: &mut Reader<'_>) -> Compression {
    let default = Compression::default();
    let mut section = reader.section("compression");
    let enabled = section.boolean("enabled", default.enabled);
    let min_size_bytes = section.size(
        "min_size",
        default.min_size_bytes,
        Limit { least: 0, most: 64 * MIB, reason: "no message is larger" },
    );
    // All of them fit into a byte.
    let mut number = |key, default: u8, least, most, reason| {
        section.number(key, default.into(), Limit { least, most, reason }) as u8
    };
    Compression {
        enabled,
        min_size_bytes,
        level: number("level", default.level, 1, 9, "1 is the fastest, 9 makes the least bytes"),
        window_bits: number(
            "window_bits",
            default.window_bits,
            9,
            15,
            "it stands for 2 to its power in bytes, 512 to 32768, as zlib takes it",
        ),
        memory_level: number(
            "memory_level",
            default.memory_level,
            1,
            9,
            "zlib knows these, from the least to the most memory",
        ),
    }
}

pub(super) fn journal(reader: &mut Reader<'_>) -> Journal {
    let default = Journal::default();
    let mut section = reader.section("journal");
    Journal {
        kind: section.choice("kind", default.kind, &JOURNAL_KINDS),
        path: section.text("path", default.path, directory),
        sync: section.choice("sync", default.sync, &JOURNAL_SYNCS),
        sync_interval: section.duration(
            "sync_interval",
            default.sync_interval,
            Limit {
                least: TEN_MILLISECONDS,
                most: MINUTE,
                reason: "for a shorter one take sync = \"always\", a longer one risks a lot",
            },
        ),
    }
}

fn directory(text: &str) -> Result<PathBuf, String> {
    if text.trim().is_empty() {
        return Err("empty: write a directory, such as \"statesync-data\"".into());
    }
    Ok(text.into())
}

pub(super) fn dedup(reader: &mut Reader<'_>) -> Dedup {
    let default = Dedup::default();
    let mut section = reader.section("dedup");
    let most_clients = Limit {
        least: 1,
        most: 1_000_000,
        reason: "all are written with each snapshot, and of none nothing could be counted once",
    };
    Dedup {
        ttl: section.duration(
            "ttl",
            default.ttl,
            Limit {
                least: Duration::from_secs(1),
                most: 365 * DAY,
                reason: "who comes back later is not known any more",
            },
        ),
        // At most 1,000,000.
        max_clients: section.number("max_clients", default.max_clients as usize, most_clients)
            as u32,
    }
}

pub(super) fn log(reader: &mut Reader<'_>) -> Log {
    let default = Log::default();
    let mut section = reader.section("log");
    Log {
        level: section.text("level", default.level, value::log_filter),
        format: section.choice("format", default.format, &LOG_FORMATS),
    }
}

impl Section<'_, '_> {
    fn number(&mut self, key: &'static str, default: usize, limit: Limit<usize>) -> usize {
        self.read(key, Wanted::Number, default, |value| {
            let DeValue::Integer(number) = value.get_ref() else {
                return fault(value, want("a whole number", value));
            };
            let text = number.as_str().trim_start_matches('+');
            usize::from_str_radix(text, number.radix())
                .map_err(|_| limit.outside(number, |n| *n))
                .and_then(|number| limit.check(number, |n| *n))
                .or_else(|message| fault(value, message))
        })
    }

    fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, Wanted::Boolean, default, |value| match value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => fault(value, want("true or false", value)),
        })
    }

    fn text<T>(
        &mut self,
        key: &'static str,
        default: T,
        convert: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.read(key, Wanted::Text, default, |value| match value.get_ref() {
            DeValue::String(text) => convert(text).or_else(|message| fault(value, message)),
            _ => fault(value, want("a string", value)),
        })
    }

    fn choice<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        self.text(key, default, |text| {
            if let Some((_, choice)) = words.iter().find(|(word, _)| *word == text) {
                return Ok(*choice);
            }
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let meant = value::suggestion(text, known.iter().copied());
            Err(format!("{text:?} is not known{meant}; known are {}", known.join(", ")))
        })
    }

    fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        limit: Limit<Duration>,
    ) -> Duration {
        self.read(key, Wanted::Text, default, |value| {
            match value.get_ref() {
                DeValue::String(text) => {
                    value::duration(text).and_then(|d| limit.check(d, |d| value::show_duration(*d)))
                }
                DeValue::Integer(number) => Err(value::duration_needs_unit(&number.to_string())),
                _ => Err(want("a length of time such as \"20s\"", value)),
            }
            .or_else(|message| fault(value, message))
        })
    }

    fn size(&mut self, key: &'static str, default: usize, limit: Limit<usize>) -> usize {
        self.read(key, Wanted::Text, default, |value| {
            match value.get_ref() {
                DeValue::String(text) => {
                    value::size(text).and_then(|s| limit.check(s, |s| value::show_size(*s)))
                }
                DeValue::Integer(number) => Err(value::size_needs_unit(&number.to_string())),
                _ => Err(want("a size such as \"64KiB\"", value)),
            }
            .or_else(|message| fault(value, message))
        })
    }
}

/// A list of texts, or one text; a fault for each that is wrong.
fn texts<T>(
    value: &Spanned<DeValue<'_>>,
    convert: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Vec<Fault>> {
    let list = match value.get_ref() {
        DeValue::Array(list) => &list[..],
        DeValue::String(_) => std::slice::from_ref(value),
        _ => return fault(value, want("a list of strings", value)),
    };
    let mut converted = Vec::new();
    let mut faults = Vec::new();
    for element in list {
        let result = match element.get_ref() {
            DeValue::String(text) => convert(text),
            _ => Err(want("a string", element)),
        };
        match result {
            Ok(item) => converted.push(item),
            Err(message) => faults.push(Fault { span: element.span(), message }),
        }
    }
    if faults.is_empty() { Ok(converted) } else { Err(faults) }
}

fn want(what: &str, value: &Spanned<DeValue<'_>>) -> String {
    format!("want {what}, found {}", found(value.get_ref()))
}

fn fault<T>(value: &Spanned<DeValue<'_>>, message: impl Into<String>) -> Result<T, Vec<Fault>> {
    Err(vec![Fault { span: value.span(), message: message.into() }])
}
