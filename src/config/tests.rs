use std::{io::Write, time::Duration};

use proptest::prelude::*;
use serde_json::json;

use super::{reader::Reader, *};

const NO_VARIABLES: [(String, String); 0] = [];

fn parse(toml: &str) -> Result<Config, ConfigErrors> {
    Config::parse("test.toml", toml, NO_VARIABLES)
}

fn with_variables(toml: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    Config::parse("test.toml", toml, variables.iter().map(owned))
}

/// The problems as shown, one line each.
fn problems(result: Result<Config, ConfigErrors>) -> Vec<String> {
    match result {
        Ok(config) => panic!("accepted, but should be refused:\n{}", config.to_toml()),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

/// The only problem, as shown.
fn problem(toml: &str) -> String {
    let all = problems(parse(toml));
    assert_eq!(all.len(), 1, "want one problem with {toml:?}, got {all:#?}");
    all[0].clone()
}

#[test]
fn the_default_file_sets_the_built_in_defaults() {
    let config = Config::load(None, NO_VARIABLES).unwrap();
    assert_eq!(config, parse("").unwrap());
    assert_eq!(config.server, Server::default());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.origins, Origins::default());
    assert_eq!(config.auth, Auth::default());
    assert_eq!(config.heartbeat, Heartbeat::default());
    assert_eq!(config.delivery, Delivery::default());
    assert_eq!(config.compression, Compression::default());
    assert_eq!(config.journal, Journal::default());
    assert_eq!(config.dedup, Dedup::default());
    assert_eq!(config.log, Log::default());
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn the_default_file_says_what_is_promised() {
    let config = Config::load(None, NO_VARIABLES).unwrap();
    assert_eq!(config.server.bind, ["localhost:6789"]);
    assert!(config.server.workers >= 1);
    assert_eq!(config.server.shutdown_timeout, Duration::from_secs(10));
    assert_eq!(config.server.close_timeout, Duration::from_secs(2));
    assert_eq!(config.server.tls, Tls { bind: vec![], cert: None, key: None });
    assert_eq!(config.limits.max_connections, 10_000);
    assert_eq!(config.limits.max_connections_per_address, 0);
    assert_eq!(config.limits.max_message_bytes, 65_536);
    assert_eq!(config.limits.handshake_timeout, Duration::from_secs(5));
    let words = [OriginRule::SameHost, OriginRule::Loopback, OriginRule::Null];
    assert_eq!(config.origins.allow, words);
    assert_eq!(config.heartbeat.interval, Duration::from_secs(20));
    assert_eq!(config.heartbeat.timeout, Duration::from_secs(20));
    assert_eq!(config.delivery.max_pending_bytes, 65_536);
    assert_eq!(config.delivery.presence_interval, Duration::from_millis(50));
    assert_eq!(config.journal.kind, JournalKind::Disk);
    assert_eq!(config.journal.path, PathBuf::from("statesync-data"));
    assert_eq!(config.journal.sync, JournalSync::Always);
    assert_eq!(config.journal.sync_interval, Duration::from_secs(1));
    assert_eq!(config.dedup.ttl, Duration::from_secs(7 * 24 * 60 * 60));
    assert_eq!(config.dedup.max_clients, 100_000);
    assert_eq!((config.log.level.as_str(), config.log.format), ("info", LogFormat::Text));
    let rooms = [
        ("/", "counter", json!({})),
        ("/echo", "echo", json!({"template": "{message}"})),
        ("/clock", "clock", json!({"interval": "1s", "template": "{time}", "shared": false})),
        ("/relay", "relay", json!({"template": "{message}", "history": 0})),
        ("/chat", "chat", json!({"history": 100, "history_bytes": "256KiB"})),
        ("/document", "document", json!({"max_bytes": "1MiB", "max_depth": 64, "initial": {}})),
    ];
    let room = |(path, kind, arguments): (_, _, Value)| {
        Room::new(path, kind, arguments.as_object().unwrap().clone())
    };
    assert_eq!(config.rooms, rooms.map(room));
}

/// Every key the reader knows, as `section.key`.
fn known_keys() -> Vec<String> {
    let mut reader = Reader::new("", "", NO_VARIABLES);
    sections::server(&mut reader);
    sections::limits(&mut reader);
    sections::origins(&mut reader);
    auth::auth(&mut reader, &Server::default());
    sections::heartbeat(&mut reader);
    sections::delivery(&mut reader);
    sections::compression(&mut reader);
    sections::journal(&mut reader);
    sections::dedup(&mut reader);
    sections::log(&mut reader);
    reader.known_keys()
}

#[test]
fn complete_files_set_every_key_and_the_reference_names_every_variable() {
    let production = include_str!("../../config/production.toml");
    let effective = parse("").unwrap().to_toml();
    for (name, text) in
        [("default.toml", DEFAULT_TOML), ("production.toml", production), ("to_toml", &effective)]
    {
        let mut section = "";
        let mut set = Vec::new();
        for line in text.lines() {
            if let Some(header) = line.strip_prefix('[') {
                section = header.trim_end_matches(']');
            } else if let (false, Some((key, _))) = (line.starts_with('#'), line.split_once(" = "))
            {
                set.push(format!("{section}.{key}"));
            }
        }
        set.retain(|key| !key.starts_with("[room"));
        assert_eq!(set, known_keys(), "the keys that {name} sets");
    }
    for key in known_keys() {
        let variable = key.replace('.', "__").to_uppercase();
        let named = format!("# Environment: STATESYNC__{variable}=");
        assert!(DEFAULT_TOML.contains(&named), "default.toml does not have {named:?}");
    }
}

#[test]
fn the_examples_in_the_reference_are_accepted() {
    let example = |line: &str| {
        let (name, value) = line.strip_prefix("# Environment: ")?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    let variables: Vec<_> = DEFAULT_TOML.lines().filter_map(example).collect();
    assert_eq!(variables.len(), known_keys().len());
    Config::parse("test.toml", "", variables).unwrap();
}

#[test]
fn the_production_file_has_no_warnings() {
    let production = include_str!("../../config/production.toml");
    let config = parse(production).unwrap();
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert_eq!(config.server.bind, ["0.0.0.0:6789"]);
    assert_eq!(config.origins.allow, [OriginRule::SameHost]);
    assert!(config.limits.max_connections_per_address > 0);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.rooms, parse("").unwrap().rooms);
}

#[test]
fn each_mistake_is_named_with_its_place() {
    let cases = [
        // Unknown keys and sections.
        (
            "[limits]\nmax_mesage = \"1KiB\"",
            "2:1: limits.max_mesage: unknown key (did you mean \"max_message\"?); known are max_connections, max_connections_per_address, max_message, handshake_timeout, actions_per_second, actions_burst, actions_per_second_per_address, connections_per_second_per_address, room_idle_timeout",
        ),
        ("[limits]\nbind = \"a:1\"", "2:1: limits.bind: unknown key; bind belongs under [server]"),
        ("bind = \"a:1\"", "1:1: bind: unknown key; bind belongs under [server]"),
        (
            "[sever]",
            "1:2: sever: unknown section (did you mean \"server\"?); known are server, limits, origins, auth, heartbeat, delivery, compression, journal, dedup, log, room",
        ),
        ("[tls]\ncert = \"a\"", "1:2: tls: unknown section; write [server.tls]"),
        (
            "[server.tls]\ncertificate = \"a\"",
            "2:1: server.tls.certificate: unknown key; known are bind, cert, key",
        ),
        (
            "[server]\ncert = \"a\"",
            "2:1: server.cert: unknown key; cert belongs under [server.tls]",
        ),
        (
            "[server]\ntls = true",
            "2:7: server.tls: want a section, [server.tls], found the boolean true",
        ),
        ("server = 3", "1:10: server: want a section, [server], found the number 3"),
        // Wrong types.
        (
            "[server]\nworkers = \"two\"",
            "2:11: server.workers: want a whole number, found the string \"two\"",
        ),
        (
            "[server]\nworkers = 1.5",
            "2:11: server.workers: want a whole number, found the number 1.5",
        ),
        (
            "[server]\nbind = 6789",
            "2:8: server.bind: want a list of strings, found the number 6789",
        ),
        ("[server]\nbind = [\"a:1\", 2]", "2:16: server.bind: want a string, found the number 2"),
        ("[log]\nlevel = true", "2:9: log.level: want a string, found the boolean true"),
        (
            "[heartbeat]\ninterval = [\"20s\"]",
            "2:12: heartbeat.interval: want a length of time such as \"20s\", found a list",
        ),
        (
            "[limits]\nmax_message = 1.5",
            "2:15: limits.max_message: want a size such as \"64KiB\", found the number 1.5",
        ),
        // Units.
        (
            "[heartbeat]\ninterval = 20",
            "2:12: heartbeat.interval: a length of time needs a unit: write \"20s\", \"20ms\" or \"20m\"",
        ),
        (
            "[heartbeat]\ninterval = \"20\"",
            "2:12: heartbeat.interval: a length of time needs a unit: write \"20s\", \"20ms\" or \"20m\"",
        ),
        (
            "[heartbeat]\ninterval = \"soon\"",
            "2:12: heartbeat.interval: \"soon\" is no length of time: write \"20s\", \"50ms\" or \"2m\"",
        ),
        (
            "[limits]\nmax_message = 65536",
            "2:15: limits.max_message: a size needs a unit: write \"65536B\", \"65536KiB\" or \"65536MiB\"",
        ),
        (
            "[limits]\nmax_message = \"big\"",
            "2:15: limits.max_message: \"big\" is no size: write \"64KiB\" (65,536 bytes), \"1MiB\" or \"500B\"",
        ),
        // Out of range.
        (
            "[limits]\nmax_connections = 0",
            "2:19: limits.max_connections: 0 is out of range: want 1 to 10000000; this limit cannot be switched off, since each connection costs memory",
        ),
        (
            "[server]\nworkers = -1",
            "2:11: server.workers: -1 is out of range: want 0 to 1024; 0 is one per core, and threads beyond the cores only cost memory",
        ),
        (
            "[heartbeat]\ntimeout = \"0s\"",
            "2:11: heartbeat.timeout: 0s is out of range: want 10ms to 1h; a shorter one cuts healthy clients off, a longer one keeps dead ones",
        ),
        (
            "[delivery]\nmax_pending = \"1000B\"",
            "2:15: delivery.max_pending: 1kB is out of range: want 1KiB to 64MiB; less holds hardly a few events, and above 64 MiB a few slow clients could fill the memory",
        ),
        (
            "[compression]\nwindow_bits = 8",
            "2:15: compression.window_bits: 8 is out of range: want 9 to 15; it stands for 2 to its power in bytes, 512 to 32768, as zlib takes it",
        ),
        (
            "[compression]\nenabled = 1",
            "2:11: compression.enabled: want true or false, found the number 1",
        ),
        // Words.
        (
            "[journal]\nkind = \"memry\"",
            "2:8: journal.kind: \"memry\" is not known (did you mean \"memory\"?); known are disk, memory",
        ),
        ("[log]\nformat = \"xml\"", "2:10: log.format: \"xml\" is not known; known are text, json"),
        (
            "[log]\nlevel = \"inof\"",
            "2:9: log.level: \"inof\" is no level (did you mean \"info\"?); the levels are off, error, warn, info, debug, trace; for one module write \"info,MODULE=debug\"",
        ),
        // Contradictions.
        (
            "[server]\nbind = []",
            "2:8: server.bind: the list is empty: write at least \"localhost:6789\"",
        ),
        ("[server]\nbind = [\"a:1\", \"a:1\"]", "2:8: server.bind: \"a:1\" is listed twice"),
        (
            "[server]\nclose_timeout = \"11s\"",
            "2:17: server.close_timeout: 11s is more than server.shutdown_timeout, 10s: the shutdown would end first",
        ),
        (
            "[server]\n\nshutdown_timeout = \"1s\"",
            "3:20: server.close_timeout: 2s is more than server.shutdown_timeout, 1s: the shutdown would end first",
        ),
        // TLS.
        (
            "[server.tls]\nbind = \"localhost:1\"",
            "2:8: server.tls.bind: TLS needs a certificate: set server.tls.cert to its PEM file (`statesync cert` makes one for development)",
        ),
        (
            "[server.tls]\ncert = \"a.pem\"",
            "2:8: server.tls.cert: no address speaks TLS, so nobody would be shown this certificate: write bind = [\"localhost:6790\"] under [server.tls]",
        ),
        (
            "[server.tls]\nkey = \"a.pem\"",
            "2:7: server.tls.key: a key without a certificate: set server.tls.cert and server.tls.bind",
        ),
        (
            "[server]\nbind = \"[::1]:1\"\n[server.tls]\nbind = \"[::1]:1\"\ncert = \"a.pem\"",
            "4:8: server.tls.bind: \"[::1]:1\" is in server.bind as well: TLS needs a port of its own",
        ),
        (
            "[server]\nbind = []\n[server.tls]\nbind = []",
            "2:8: server.bind: the list is empty: write at least \"localhost:6789\"",
        ),
        // Who may.
        (
            "[auth]\nkind = \"basic\"",
            "2:8: auth.kind: \"basic\" is not known; known are none, token, jwt",
        ),
        (
            "[auth]\nopen_to_all = 1",
            "2:15: auth.open_to_all: want true or false, found the number 1",
        ),
        (
            "[server]\nbind = \"0.0.0.0:1\"",
            "2:8: auth.kind: \"none\" lets anybody who reaches 0.0.0.0:1 act: set kind = \"token\" or \"jwt\", or, if that is meant, write open_to_all = true under [auth]",
        ),
        (
            "[server.tls]\nbind = \"0.0.0.0:1\"\ncert = \"a.pem\"",
            "2:8: auth.kind: \"none\" lets anybody who reaches 0.0.0.0:1 act: set kind = \"token\" or \"jwt\", or, if that is meant, write open_to_all = true under [auth]",
        ),
        (
            "[auth]\nkind = \"token\"",
            "2:8: auth.kind: \"token\" needs at least one token: add [[auth.token]]",
        ),
        (
            "[[auth.token]]\ntoken = \"abc\"\nsubject = \"a\"",
            "1:1: auth.token: would not be asked for: write kind = \"token\" under [auth]",
        ),
        (
            "[auth]\nkind = \"token\"\nopen_to_all = true\n[[auth.token]]\ntoken = \"abc\"\nsubject = \"a\"",
            "3:15: auth.open_to_all: goes only with kind = \"none\"; with others, say in a [[room]] who may without a token: anonymous = [\"read\"]",
        ),
        (
            "[auth]\nkind = \"jwt\"\nkey_files = [\"a\"]",
            "2:8: auth.algorithms: empty: name the signatures that are good, such as [\"ES256\"]",
        ),
        (
            "[auth]\nkind = \"jwt\"\nalgorithms = [\"none\"]\nkey_files = [\"a\"]",
            "3:15: auth.algorithms: \"none\" is not known; known are HS256, RS256, ES256, EdDSA",
        ),
        (
            "[auth]\nkey_files = [\"a\"]",
            "2:13: auth.key_files: would not be used: write kind = \"jwt\"",
        ),
        ("[auth]\ncookie = \"a b\"", "2:10: auth.cookie: \"a b\": a cookie's name has no ' '"),
        (
            "[auth]\nleeway = \"1h\"",
            "2:10: auth.leeway: 1h is out of range: want 0s to 10m; a token lives so much longer than it says; set the clocks instead",
        ),
        (
            "[auth]\ntoken = \"abc\"",
            "2:9: auth.token: want a list of tables: write [[auth.token]], with two brackets",
        ),
        (
            "[[room]]\npath = \"/a\"\nkind = \"x\"\nanonymous = [\"read\", \"administer\"]",
            "4:22: room.anonymous: \"administer\" needs a token: who administers a room must be known",
        ),
        (
            "[[room]]\npath = \"/a\"\nkind = \"x\"\nanonymous = \"reed\"",
            "4:13: room.anonymous: \"reed\" is no right (did you mean \"read\"?); rights are read, act, administer",
        ),
        // Rooms.
        (
            "[room]\npath = \"/\"",
            "1:1: room: want a list of tables: write [[room]], with two brackets",
        ),
        ("room = []", "1:8: room: the list is empty: leave it out to get the default rooms"),
        ("room = [1]", "1:9: room: want a table, [[room]], found the number 1"),
        (
            "[[rooms]]\npath = \"/\"",
            "1:3: rooms: unknown section (did you mean \"room\"?); known are server, limits, origins, auth, heartbeat, delivery, compression, journal, dedup, log, room",
        ),
        (
            "[[room]]\nkind = \"echo\"",
            "1:1: room.path: missing: a room needs its URL's path, such as path = \"/echo\"",
        ),
        (
            "\n[[room]]\npath = \"/a\"",
            "2:1: room.kind: missing: a room needs what it does, such as kind = \"counter\"",
        ),
        (
            "[[room]]\npath = \"/a\"\nkind = \" \"",
            "3:8: room.kind: empty: a room needs the name of its kind, such as \"counter\"",
        ),
        (
            "[[room]]\npath = 1\nkind = \"echo\"",
            "2:8: room.path: want a string, found the number 1",
        ),
        (
            "[[room]]\npath = \"/a\"\nkind = \"echo\"\nx = [1, nan]",
            "4:9: room.x: nan is no finite number",
        ),
        (
            "[[room]]\npath = \"/a\"\nkind = \"echo\"\nx = {y = 9223372036854775808}",
            "4:10: room.x: 9223372036854775808 does not fit into 64 bits",
        ),
        (
            "[[room]]\npath = \"/a\"\nkind = \"x\"\n[[room]]\npath = \"/a\"\nkind = \"x\"",
            "5:8: room.path: \"/a\" is already the path of the room at test.toml:2:8",
        ),
    ];
    for (toml, want) in cases {
        assert_eq!(problem(toml), format!("test.toml:{want}"), "for {toml:?}");
    }
}

#[test]
fn wrong_room_paths_are_refused() {
    let cases = [
        ("", "does not start with"),
        ("echo", "write \"/echo\""),
        ("/a?b", "contains '?'"),
        ("/a#b", "contains '#'"),
        ("/a//b", "contains \"//\""),
        ("//", "contains \"//\""),
        ("/a\\u0007", "contains '\\u{7}'"),
        ("/a b", "contains ' '"),
        ("/a%20b", "contains '%'"),
        ("/straße", "contains 'ß'"),
        ("/a\\\\b", "contains '\\\\'"),
        ("/a/../b", "browsers resolve"),
        ("/.", "browsers resolve"),
        ("/web", "used by the server itself"),
        ("/web/", "used by the server itself"),
        ("/web/x", "used by the server itself"),
        ("/health/", "used by the server itself"),
    ];
    for (path, want) in cases {
        let shown = problem(&format!("[[room]]\nkind = \"echo\"\npath = \"{path}\""));
        assert!(shown.starts_with("test.toml:3:8: room.path: "), "{path:?} gave {shown}");
        assert!(shown.contains(want), "{path:?} gave {shown}, want {want:?} in it");
    }
    for path in ["/", "/a/b", "/a/{name}", "/webinar", "/healthy", "/a/", "/a.b", "/~a:1@x"] {
        let toml = format!("[[room]]\nkind = \"echo\"\npath = \"{path}\"");
        assert_eq!(parse(&toml).unwrap().rooms[0].path, path);
    }
}

#[test]
fn everything_wrong_is_reported_at_once_and_in_order() {
    let toml = r#"
[server]
bind = ["localhost", "::1"]
workers = 5000
[limits]
max_message = "1B"
unknown = 1
[heartbeat]
timeout = "0s"
[[room]]
path = "a"
"#;
    let variables = [
        ("STATESYNC__LOG__LEVEL", ""),
        ("STATESYNC__HEARTBEAT__TIMEOUT", "-1"),
        ("STATESYNC__NOTHING", "1"),
        ("STATESYNC_VERSION", "not ours"),
        ("PATH", "not ours"),
    ];
    let all = problems(with_variables(toml, &variables));
    let place = |line: &String| line.split(": ").next().unwrap().to_owned();
    let places: Vec<String> = all.iter().map(place).collect();
    let want = [
        "test.toml:3:9",
        "test.toml:3:22",
        "test.toml:4:11",
        "test.toml:6:15",
        "test.toml:7:1",
        "test.toml:9:11",
        "test.toml:10:1",
        "test.toml:11:8",
        "environment variable STATESYNC__HEARTBEAT__TIMEOUT",
        "environment variable STATESYNC__LOG__LEVEL",
        "environment variable STATESYNC__NOTHING",
    ];
    assert_eq!(places, want, "{all:#?}");
}

#[test]
fn a_mistake_raises_no_second_alarm() {
    let toml = "[server]\nclose_timeout = \"1h\"\nshutdown_timeout = \"1s\"";
    assert!(problem(toml).contains("server.close_timeout: 1h is out of range"));
}

#[test]
fn broken_syntax_is_reported_with_its_place_and_the_environment_too() {
    assert!(problem("[server]\nbind = \n").starts_with("test.toml:2:8: not TOML: "));
    assert!(problem("[server").starts_with("test.toml:1:8: not TOML: "));
    let twice = problem("[log]\nlevel = \"info\"\nlevel = \"warn\"");
    assert_eq!(twice, "test.toml:3:1: not TOML: duplicate key");
    let two = problems(parse("a = \n[server]\nworkers = 99999\nb = ?\n"));
    assert!(two.len() >= 2, "{two:#?}");
    let all = problems(with_variables("a = ", &[("STATESYNC__SERVER__WORKERS", "many")]));
    assert_eq!(all.len(), 2, "{all:#?}");
    assert!(all[1].contains("STATESYNC__SERVER__WORKERS: server.workers: want a whole number"));
}

#[test]
fn forgotten_quotation_marks_are_named() {
    let cases = [
        ("level = info", "2:9: not TOML: a string needs quotation marks: write \"info\""),
        ("a = 64KiB # x", "2:5: not TOML: a string needs quotation marks: write \"64KiB\""),
        ("b = [c:1]", "2:6: not TOML: a string needs quotation marks: write \"c:1\""),
        ("workers = 08", "2:11: not TOML: unexpected leading zero"),
    ];
    for (line, want) in cases {
        assert_eq!(problem(&format!("[x]\n{line}\n")), format!("test.toml:{want}"));
    }
}

#[test]
fn numbers_are_read_in_every_form_of_toml() {
    for number in ["12", "+12", "1_2", "0xC", "0o14", "0b1100"] {
        let config = parse(&format!("[limits]\nmax_connections = {number}")).unwrap();
        assert_eq!(config.limits.max_connections, 12, "{number}");
    }
    let huge = problem("[limits]\nmax_connections = 99999999999999999999999999");
    assert!(huge.contains("99999999999999999999999999 is out of range: want 1 to"), "{huge}");
}

#[test]
fn columns_count_characters() {
    assert!(problem("[log]\nformat = \"ä\" # ö\nö = 1").starts_with("test.toml:3:1: not TOML"));
    assert!(problem("log = { \"ö\" = 1 }").starts_with("test.toml:1:9: log.ö: unknown key"));
    assert!(problem("log = { format = \"text\", \"ö\" = 1 }").contains(":1:26:"));
    assert!(problem("[server]\r\nworkers = -1\r\n").starts_with("test.toml:2:11:"));
}

#[test]
fn variables_win_over_the_file() {
    let toml = "[server]\nbind = [\"localhost:1\"]\nworkers = 2\n[log]\nlevel = \"warn\"";
    let variables = [
        ("STATESYNC__SERVER__BIND", "127.0.0.1:0, [::1]:0"),
        ("STATESYNC__SERVER__WORKERS", "3"),
        ("STATESYNC__SERVER__CLOSE_TIMEOUT", "\"1s\""),
        ("STATESYNC__LIMITS__MAX_MESSAGE", "2MB"),
        ("STATESYNC__LIMITS__MAX_CONNECTIONS", " 1_000 "),
        ("STATESYNC__ORIGINS__ALLOW", "[\"same-host\", \"https://EXAMPLE.com:443\"]"),
        ("STATESYNC__HEARTBEAT__INTERVAL", "1m 30s"),
        ("STATESYNC__LOG__LEVEL", "debug,actix_server=warn"),
        ("STATESYNC__LOG__FORMAT", "json"),
    ];
    let config = with_variables(toml, &variables).unwrap();
    assert_eq!(config.server.bind, ["127.0.0.1:0", "[::1]:0"]);
    assert_eq!(config.server.workers, 3);
    assert_eq!(config.server.close_timeout, Duration::from_secs(1));
    assert_eq!(config.limits.max_message_bytes, 2_000_000);
    assert_eq!(config.limits.max_connections, 1_000);
    let example = OriginRule::Exact("https://example.com".into());
    assert_eq!(config.origins.allow, [OriginRule::SameHost, example]);
    assert_eq!(config.heartbeat.interval, Duration::from_secs(90));
    assert_eq!(config.log.level, "debug,actix_server=warn");
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn wrong_variables_are_reported_by_name() {
    let cases = [
        (
            "STATESYNC__SERVER__WORKERS",
            "x",
            "server.workers: want a whole number, found the string \"x\"",
        ),
        (
            "STATESYNC__HEARTBEAT__TIMEOUT",
            "20",
            "heartbeat.timeout: a length of time needs a unit: write \"20s\", \"20ms\" or \"20m\"",
        ),
        (
            "STATESYNC__SERVER__BIND",
            "",
            "server.bind: the list is empty: write at least \"localhost:6789\"",
        ),
        (
            "STATESYNC__ORIGINS__ALLOW",
            "loopback,samehost",
            "origins.allow: \"samehost\" is no origin (did you mean \"same-host\"?); write \"same-host\", \"loopback\", \"null\" or an origin such as \"https://example.com\"",
        ),
        (
            "STATESYNC__ROOM__PATH",
            "/a",
            "rooms cannot be set by environment: write [[room]] in a file",
        ),
    ];
    for (name, value, want) in cases {
        let all = problems(with_variables("", &[(name, value)]));
        assert_eq!(all, [format!("environment variable {name}: {want}")]);
    }
    let all = problems(with_variables("", &[("STATESYNC__SERVER__BINDS", "a:1")]));
    let want = "environment variable STATESYNC__SERVER__BINDS: unknown variable \
                (did you mean \"STATESYNC__SERVER__BIND\"?); known are STATESYNC__SERVER__BIND, ";
    assert!(all[0].starts_with(want), "{all:#?}");
}

#[test]
fn a_variable_that_contradicts_the_file_is_named() {
    let variables = [("STATESYNC__SERVER__CLOSE_TIMEOUT", "30s")];
    let all = problems(with_variables("[server]\nshutdown_timeout = \"20s\"", &variables));
    assert_eq!(all.len(), 1);
    let want = "environment variable STATESYNC__SERVER__CLOSE_TIMEOUT: server.close_timeout: 30s";
    assert!(all[0].starts_with(want), "{all:#?}");
}

#[test]
fn rooms_keep_their_arguments_and_places() {
    let toml = r#"
[[room]]
path = "/clock"
kind = "clock"
interval = ["0s", "3s"]
since = 2026-11-20T10:00:00Z
[room.nested]
yes = true
numbers = [1, -2.5, 0x10]
"#;
    let config = parse(toml).unwrap();
    let want = json!({
        "interval": ["0s", "3s"],
        "since": "2026-11-20T10:00:00Z",
        "nested": {"yes": true, "numbers": [1, -2.5, 16]},
    });
    assert_eq!(config.rooms.len(), 1, "a file's rooms replace the default ones");
    let room = &config.rooms[0];
    assert_eq!(Value::Object(room.arguments.clone()), want);
    assert_eq!(room.place.to_string(), "test.toml:2:1");
    let set = room.problem("interval", "is wrong").to_string();
    assert_eq!(set, "test.toml:5:12: room.interval: is wrong");
    let missing = room.problem("template", "is missing").to_string();
    assert_eq!(missing, "test.toml:2:1: room.template: is missing");
}

#[test]
fn default_rooms_stand_in_the_embedded_file() {
    let rooms = parse("[server]\nworkers = 1").unwrap().rooms;
    let shown = rooms[0].place.to_string();
    assert!(shown.starts_with("the embedded default.toml:"), "{shown}");
    assert_eq!(Room::new("/", "x", Map::new()).place.to_string(), "the program");
}

#[test]
fn files_that_cannot_be_read_are_one_clear_problem() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.toml");
    let all = problems(Config::load(Some(&missing), NO_VARIABLES));
    assert_eq!(all.len(), 1);
    let want = format!("{}: cannot be read: ", missing.display());
    assert!(all[0].starts_with(&want), "{all:#?}");

    let all = problems(Config::load(Some(directory.path()), NO_VARIABLES));
    assert!(all[0].contains(": cannot be read: "), "{all:#?}");

    let not_text = directory.path().join("not-text.toml");
    std::fs::write(&not_text, b"[server]\n# \xff\n").unwrap();
    let all = problems(Config::load(Some(&not_text), NO_VARIABLES));
    assert!(all[0].ends_with("cannot be read: line 2 is not UTF-8"), "{all:#?}");

    let large = directory.path().join("large.toml");
    std::fs::write(&large, vec![b'\n'; 1024 * 1024 + 1]).unwrap();
    let all = problems(Config::load(Some(&large), NO_VARIABLES));
    assert!(all[0].contains("larger than 1 MiB"), "{all:#?}");
}

#[test]
fn a_file_is_loaded_and_named_in_problems() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[server]\nworkers = 7").unwrap();
    let config = Config::load(Some(file.path()), NO_VARIABLES).unwrap();
    assert_eq!(config.server.workers, 7);
    writeln!(file, "x = 1").unwrap();
    let all = problems(Config::load(Some(file.path()), NO_VARIABLES));
    let want = format!("{}:3:1: server.x: unknown key", file.path().display());
    assert!(all[0].starts_with(&want), "{all:#?}");
}

#[test]
fn what_is_open_to_others_is_warned_of() {
    let open = "[server]\nbind = [\"localhost:1\", \"0.0.0.0:1\"]\n[delivery]\npresence_interval = \"0s\"\n\
                [auth]\nopen_to_all = true";
    let warnings = parse(open).unwrap().warnings();
    assert_eq!(warnings.len(), 6, "{warnings:#?}");
    for (warning, key) in warnings.iter().zip([
        "\"null\"",
        "\"loopback\"",
        "max_conn",
        "presence",
        "limits.actions",
        "limits.conn",
    ]) {
        assert!(warning.starts_with("server.bind has 0.0.0.0:1, which is not loopback, and "));
        assert!(warning.contains(key), "{warning}, want {key} in it");
    }
    let tls = "[server.tls]\nbind = \"[::]:443\"\ncert = \"a.pem\"\n[auth]\nopen_to_all = true";
    let warnings = parse(tls).unwrap().warnings();
    assert!(warnings[0].starts_with("server.tls.bind has [::]:443, which"), "{warnings:#?}");
    let local = "[server]\nbind = [\"localhost:1\", \"127.8.0.1:1\", \"[::1]:1\", \"a.localhost:1\"]\n\
                 [delivery]\npresence_interval = \"0s\"";
    assert_eq!(parse(local).unwrap().warnings(), Vec::<String>::new());
    let limits = "[limits]\nmax_connections = 5\nmax_connections_per_address = 6";
    let warnings = parse(limits).unwrap().warnings();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("has no effect"), "{warnings:#?}");
}

/// A configuration with this one `[[auth.token]]`, line 4 on.
fn with_token(lines: &str) -> String {
    format!("[auth]\nkind = \"token\"\n[[auth.token]]\n{lines}")
}

#[test]
fn tokens_are_read_and_never_shown() {
    let toml = format!(
        "{}\n[[auth.token]]\ntoken_file = \"robot.token\"\nsubject = \"robot\"\n\
         rooms = [\"/\", \"/games/*\"]\nrights = [\"read\"]\n\
         [[auth.token]]\ntoken_variable = \"ANNS\"\nsubject = \"Ann\"\nrights = [\"administer\"]",
        with_token("token = \"s3cret-1\"\nsubject = \"Bob\"")
    );
    let config = with_variables(&toml, &[("ANNS", "s3cret-2")]).unwrap();
    let [inline, file, variable] = &config.auth.tokens[..] else { panic!("three tokens") };
    assert_eq!(inline.source, TokenSource::Inline(Secret::new("s3cret-1")));
    assert_eq!((inline.subject.as_str(), inline.rights), ("Bob", Rights::READ_AND_ACT));
    assert!(inline.rooms.iter().any(|pattern| pattern.matches("/any/room")));
    assert_eq!(file.source, TokenSource::File("robot.token".into()));
    let matches = |path| file.rooms.iter().any(|pattern| pattern.matches(path));
    let paths = ["/", "/games/chess", "/games/", "/games", "/gamesx", "/chat"];
    assert_eq!(paths.map(matches), [true, true, true, false, false, false]);
    assert_eq!(file.rights, Rights { read: true, ..Rights::NONE });
    let (name, token) = ("ANNS".to_owned(), Secret::new("s3cret-2"));
    assert_eq!(variable.source, TokenSource::Variable { name, token });
    for shown in [config.to_toml(), format!("{config:?}")] {
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("***"), "{shown}");
    }
    let again = problems(parse(&config.to_toml()));
    assert!(again.iter().any(|line| line.contains("what check-config shows")), "{again:#?}");
}

#[test]
fn what_is_wrong_with_a_token_is_said_without_showing_it() {
    let cases = [
        ("token = s3cret\nsubject = \"a\"", "4:9: not TOML: a string needs quotation marks"),
        ("token = 53\nsubject = \"a\"", "4:9: auth.token.token: want a string"),
        ("token = \"s3 cret\"\nsubject = \"a\"", "3:1: auth.token.token: a token is one or more"),
        ("token = \"\"\nsubject = \"a\"", "3:1: auth.token.token: a token is one or more"),
        ("token = \"s3cret\"", "3:1: auth.token.subject: missing"),
        ("subject = \"a\"", "3:1: auth.token: needs exactly one of"),
        (
            "token = \"s3cret\"\ntoken_file = \"a\"\nsubject = \"a\"",
            "3:1: auth.token: needs exactly one of",
        ),
        (
            "token_variable = \"MISSING\"\nsubject = \"a\"",
            "3:1: auth.token.token_variable: the environment variable MISSING is not set",
        ),
        (
            "token = \"s3cret\"\nsubject = \"a\"\nroom = \"/\"",
            "6:1: auth.token.room: unknown key (did you mean \"rooms\"?)",
        ),
        (
            "token = \"s3cret\"\nsubject = \"a\"\nrooms = [\"/a\", \"/*/b\"]",
            "6:16: auth.token.rooms: \"/*/b\": \"*\" stands only at the end",
        ),
        (
            "token = \"s3cret\"\nsubject = \"a\"\nrights = [\"write\"]",
            "6:11: auth.token.rights: \"write\" is no right; rights are read, act, administer",
        ),
    ];
    for (lines, want) in cases {
        let shown = problem(&with_token(lines));
        assert!(shown.starts_with(&format!("test.toml:{want}")), "{lines:?} gave {shown}");
        assert!(!shown.contains("s3"), "{shown}");
    }
    let variable = ("STATESYNC__AUTH__TOKEN", "s3cret");
    let shown = problems(with_variables("", &[variable])).join("\n");
    assert!(shown.contains("token_variable") && !shown.contains("s3cret"), "{shown}");
}

fn argument() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Those that print with a point or an exponent: TOML keeps whole numbers and others apart.
        proptest::num::f64::NORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn room() -> impl Strategy<Value = Room> {
    let arguments = prop::collection::btree_map(any::<String>(), argument(), 0..4);
    ("[a-z]{1,8}", "[a-z]{1,8}", arguments).prop_map(|(path, kind, mut arguments)| {
        arguments.remove("path");
        arguments.remove("kind");
        arguments.remove("anonymous");
        Room::new(&format!("/room-{path}"), &kind, arguments.into_iter().collect())
    })
}

fn milliseconds(least: u64, most: u64) -> impl Strategy<Value = Duration> {
    (least..=most).prop_map(Duration::from_millis)
}

fn config() -> impl Strategy<Value = Config> {
    let rule = prop_oneof![
        Just(OriginRule::SameHost),
        Just(OriginRule::Loopback),
        Just(OriginRule::Null),
        "https?://[a-z]{1,5}\\.example:[1-9][0-9]{3}".prop_map(OriginRule::Exact),
    ];
    let server = (1..=1024usize, milliseconds(60_000, 600_000), milliseconds(10, 60_000));
    let limits = (1..=10_000_000usize, 0..=10_000_000usize, 125..=67_108_864usize);
    let delivery = (1024..=67_108_864usize, milliseconds(0, 10_000));
    let compression = (any::<bool>(), 0..=67_108_864usize, 1..=9u8, 9..=15u8, 1..=9u8);
    let heartbeat = (milliseconds(10, 3_600_000), milliseconds(10, 3_600_000));
    let log = (any::<bool>(), prop::sample::select(vec!["off", "info,a=debug", "warn/x\"y"]));
    let rooms = prop::collection::vec(room(), 1..4);
    let rules = prop::collection::vec(rule, 0..4);
    let file = || "[a-z\"/ ]{0,8}\\.pem".prop_map(|file| PathBuf::from(file.trim()));
    let tls = prop::option::of((file(), prop::option::of(file()))).prop_map(|files| match files {
        Some((cert, key)) => Tls { bind: vec!["localhost:1".to_owned()], cert: Some(cert), key },
        None => Tls::default(),
    });
    (server, tls, limits, delivery, compression, heartbeat, log, rules, rooms).prop_map(
        |(server, tls, limits, delivery, compression, heartbeat, log, allow, mut rooms)| {
            rooms.sort_by(|a, b| a.path.cmp(&b.path));
            rooms.dedup_by(|a, b| a.path == b.path);
            let mut config = parse("").unwrap();
            (config.server.workers, config.server.shutdown_timeout, config.server.close_timeout) =
                server;
            config.limits.max_connections = limits.0;
            config.limits.max_connections_per_address = limits.1;
            config.limits.max_message_bytes = limits.2;
            config.limits.actions_per_second = limits.0.min(1_000_000) as u32;
            config.limits.actions_burst = limits.2.min(1_000_000) as u32;
            config.auth.leeway = delivery.1;
            config.auth.default_rights.act = log.0;
            config.auth.audience = log.1.to_owned();
            (config.delivery.max_pending_bytes, config.delivery.presence_interval) = delivery;
            let (enabled, min_size_bytes, level, window_bits, memory_level) = compression;
            config.compression =
                Compression { enabled, min_size_bytes, level, window_bits, memory_level };
            (config.heartbeat.interval, config.heartbeat.timeout) = heartbeat;
            config.log.format = if log.0 { LogFormat::Json } else { LogFormat::Text };
            config.log.level = log.1.to_owned();
            config.origins.allow = allow;
            config.server.tls = tls;
            config.rooms = rooms;
            config
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back_equal(config in config()) {
        let toml = config.to_toml();
        let again = Config::parse("written.toml", &toml, NO_VARIABLES);
        prop_assert_eq!(again, Ok(config), "{}", toml);
    }

    #[test]
    fn no_text_makes_the_reader_panic(toml in "[a-z\\[\\]=\"{},.# \n0-9]{0,80}", value in any::<String>()) {
        let _ = parse(&toml);
        for key in known_keys() {
            let variable = format!("STATESYNC__{}", key.replace('.', "__").to_uppercase());
            let _ = with_variables("", &[(&variable, &value)]);
        }
    }
}
