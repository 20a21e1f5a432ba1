//! Writes a configuration as TOML.

use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

use super::{
    Config, OriginRule, Room,
    sections::{JOURNAL_KINDS, JOURNAL_SYNCS, LOG_FORMATS},
    value::{show_duration, show_size},
};

impl Config {
    /// The effective configuration as a TOML file. [`Config::parse`] gives back an equal one.
    ///
    /// What TOML cannot hold, and a file therefore never gives, is left out: a `null` among a
    /// room's arguments.
    pub fn to_toml(&self) -> String {
        let mut sections = vec![
            section("server", &self.server_lines()),
            section("server.tls", &self.tls_lines()),
            section("limits", &self.limits_lines()),
            section("origins", &self.origins_lines()),
            section("heartbeat", &self.heartbeat_lines()),
            section("delivery", &self.delivery_lines()),
            section("compression", &self.compression_lines()),
            section("journal", &self.journal_lines()),
            section("dedup", &self.dedup_lines()),
            section("log", &self.log_lines()),
        ];
        sections.extend(self.rooms.iter().map(room));
        sections.join("\n")
    }

    fn server_lines(&self) -> [(&'static str, String); 4] {
        let server = &self.server;
        [
            ("bind", list(server.bind.iter().map(String::as_str))),
            ("workers", server.workers.to_string()),
            ("shutdown_timeout", text(&show_duration(server.shutdown_timeout))),
            ("close_timeout", text(&show_duration(server.close_timeout))),
        ]
    }

    fn tls_lines(&self) -> [(&'static str, String); 3] {
        let tls = &self.server.tls;
        // They came from TOML strings, so they are Unicode.
        let file = |file: &Option<PathBuf>| {
            text(&file.as_deref().unwrap_or(Path::new("")).to_string_lossy())
        };
        [
            ("bind", list(tls.bind.iter().map(String::as_str))),
            ("cert", file(&tls.cert)),
            ("key", file(&tls.key)),
        ]
    }

    fn limits_lines(&self) -> [(&'static str, String); 5] {
        let limits = &self.limits;
        let per_address = limits.max_connections_per_address.to_string();
        [
            ("max_connections", limits.max_connections.to_string()),
            ("max_connections_per_address", per_address),
            ("max_message", text(&show_size(limits.max_message_bytes))),
            ("handshake_timeout", text(&show_duration(limits.handshake_timeout))),
            ("room_idle_timeout", text(&show_duration(limits.room_idle_timeout))),
        ]
    }

    fn origins_lines(&self) -> [(&'static str, String); 1] {
        let rules = self.origins.allow.iter().map(OriginRule::as_str);
        [("allow", list(rules))]
    }

    fn heartbeat_lines(&self) -> [(&'static str, String); 2] {
        [
            ("interval", text(&show_duration(self.heartbeat.interval))),
            ("timeout", text(&show_duration(self.heartbeat.timeout))),
        ]
    }

    fn delivery_lines(&self) -> [(&'static str, String); 2] {
        let delivery = &self.delivery;
        [
            ("max_pending", text(&show_size(delivery.max_pending_bytes))),
            ("presence_interval", text(&show_duration(delivery.presence_interval))),
        ]
    }

    fn compression_lines(&self) -> [(&'static str, String); 5] {
        let compression = &self.compression;
        [
            ("enabled", compression.enabled.to_string()),
            ("min_size", text(&show_size(compression.min_size_bytes))),
            ("level", compression.level.to_string()),
            ("window_bits", compression.window_bits.to_string()),
            ("memory_level", compression.memory_level.to_string()),
        ]
    }

    fn journal_lines(&self) -> [(&'static str, String); 4] {
        let journal = &self.journal;
        [
            ("kind", text(word(&JOURNAL_KINDS, journal.kind))),
            // It came from a TOML string, so it is Unicode.
            ("path", text(&journal.path.to_string_lossy())),
            ("sync", text(word(&JOURNAL_SYNCS, journal.sync))),
            ("sync_interval", text(&show_duration(journal.sync_interval))),
        ]
    }

    fn dedup_lines(&self) -> [(&'static str, String); 2] {
        [
            ("ttl", text(&show_duration(self.dedup.ttl))),
            ("max_clients", self.dedup.max_clients.to_string()),
        ]
    }

    fn log_lines(&self) -> [(&'static str, String); 2] {
        [("level", text(&self.log.level)), ("format", text(word(&LOG_FORMATS, self.log.format)))]
    }
}

fn section(name: &str, lines: &[(&str, String)]) -> String {
    let lines: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("[{name}]\n{lines}")
}

fn room(room: &Room) -> String {
    let path = text(&room.path);
    let kind = text(&room.kind);
    let arguments: String = entries(&room.arguments).map(|entry| entry + "\n").collect();
    let many = match room.path.contains('{') {
        true => format!("max_rooms = {}\n", room.max_rooms),
        false => String::new(),
    };
    format!("[[room]]\npath = {path}\nkind = {kind}\n{many}{arguments}")
}

fn entries(table: &Map<String, Value>) -> impl Iterator<Item = String> {
    let present = table.iter().filter(|(_, value)| !value.is_null());
    present.map(|(name, value)| format!("{} = {}", key(name), inline(value)))
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) if number.is_u64() && !number.is_i64() => format!("{number}.0"),
        Value::Number(number) => number.to_string(),
        Value::String(value) => text(value),
        Value::Array(values) => {
            let present = values.iter().filter(|value| !value.is_null());
            format!("[{}]", present.map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Object(table) => format!("{{ {} }}", entries(table).collect::<Vec<_>>().join(", ")),
    }
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(text).collect::<Vec<_>>().join(", "))
}

fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { text(name) }
}

/// A TOML basic string. JSON's escapes are all TOML's too; only DEL, which JSON leaves as it is,
/// has to be escaped in TOML.
fn text(value: &str) -> String {
    let json = Value::from(value).to_string();
    json.replace('\u{7f}', "\\u007F")
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    let found = words.iter().find(|(_, choice)| *choice == value);
    found.map_or("", |(word, _)| word)
}
