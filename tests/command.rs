//! The command line of the real binary: arguments, outputs, exit codes.

mod support;

use serde_json::Value;
use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    process::Command,
};
use support::{
    RawClient,
    process::{Process, statesync},
};
use tempfile::NamedTempFile;

const PLUS: &str = r#"{"action":"plus"}"#;

/// A command that ended by itself.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(command: Command) -> Ended {
    let mut process = Process::spawn(command);
    let code = process.exit_code();
    Ended { code, stdout: process.stdout.text(), stderr: process.stderr.text() }
}

impl Ended {
    /// It failed because of the configuration, and says so as one says it to an operator.
    #[track_caller]
    fn expect_config_error(&self, parts: &[&str]) {
        assert_eq!(self.code, 2, "the exit code; standard error:\n{}", self.stderr);
        assert_eq!(self.stdout, "", "nothing is ready");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is missing:\n{}", self.stderr);
        }
        for noise in ["panicked", "backtrace", "RUST_BACKTRACE"] {
            assert!(!self.stderr.contains(noise), "{noise:?} is for programmers:\n{}", self.stderr);
        }
    }
}

fn file(toml: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(toml.as_bytes()).expect("room on the disk");
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("a plain path")
}

#[test]
fn without_arguments_and_with_serve_it_serves_the_counter() {
    for arguments in [&[][..], &["serve"]] {
        let server = Process::spawn(statesync(arguments));
        let (_, value) = RawClient::join_counter(server.address());
        assert_eq!(value, 0, "with {arguments:?}");
    }
}

#[test]
fn with_a_file_it_serves_what_the_file_says() {
    let config =
        file("[[room]]\npath = \"/hello\"\nkind = \"echo\"\ntemplate = \"Hi {message}\"\n");
    for option in ["--config", "-c"] {
        let server = Process::spawn(statesync(&["serve", option, path(&config)]));
        let address = server.address();
        let ready = format!("statesync is ready: connect to ws://{address}/hello");
        assert_eq!(server.stdout.lines(), [ready], "an echo room has no page to open");
        let mut client = RawClient::open(address, "/hello");
        client.send_text("Ann");
        assert_eq!(client.read().text(), "Hi Ann");
    }
}

#[cfg(unix)]
#[test]
fn the_ready_line_is_all_that_it_ever_prints_to_standard_output() {
    let mut server = Process::spawn(statesync(&[]));
    let address = server.address();
    let mut client = RawClient::join_counter(address).0;
    client.send_text(PLUS);
    client.wait_for_state(1);
    client.send_text("no JSON");
    client.wait_for("an error", |event| event["type"] == "error");
    drop(client);
    server.signal("TERM");
    assert_eq!(server.exit_code(), 0);
    let ready = format!("statesync is ready: open http://{address}/ in a browser");
    assert_eq!(server.stdout.lines(), [ready]);
}

#[test]
fn help_and_version_are_printed_and_are_no_errors() {
    let help = run(statesync(&["--help"]));
    assert_eq!(help.code, 0);
    for word in ["serve", "check-config", "--version"] {
        assert!(help.stdout.contains(word), "{word} is missing:\n{}", help.stdout);
    }
    let serve = run(statesync(&["serve", "--help"]));
    assert_eq!(serve.code, 0);
    assert!(serve.stdout.contains("--config"), "{}", serve.stdout);
    let version = run(statesync(&["--version"]));
    assert_eq!(version.code, 0);
    assert_eq!(version.stdout, concat!("statesync ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unknown_argument_is_an_error_with_exit_code_2() {
    for arguments in [&["surf"][..], &["serve", "--port", "1"], &["serve", "--config"]] {
        run(statesync(arguments)).expect_config_error(&["--help"]);
    }
}

#[test]
fn a_port_in_use_is_named_and_so_is_what_to_do() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = other.local_addr().expect("an address").to_string();
    let mut command = statesync(&[]);
    command.env("STATESYNC__SERVER__BIND", &address);
    run(command).expect_config_error(&[&address, "in use", "server.bind"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let missing = directory.path().join("missing.toml");
    for path in [directory.path(), &missing] {
        let path = path.to_str().expect("a plain path");
        for command in ["serve", "check-config"] {
            run(statesync(&[command, "--config", path])).expect_config_error(&[path, "read"]);
        }
    }
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    let config = file(
        "[server]\n\
         bnd = \"localhost:1\"\n\
         workers = \"many\"\n\
         [heartbeat]\n\
         interval = 20\n\
         [[room]]\n\
         path = \"no slash\"\n\
         kind = \"counter\"\n",
    );
    let place = |line_and_column: &str| format!("{}:{line_and_column}:", path(&config));
    for command in ["serve", "check-config"] {
        run(statesync(&[command, "--config", path(&config)])).expect_config_error(&[
            &place("2:1"),
            "server.bnd",
            "did you mean \"bind\"",
            &place("3:11"),
            "server.workers",
            &place("5:12"),
            "heartbeat.interval",
            &place("7:8"),
        ]);
    }
}

#[test]
fn what_room_kinds_refuse_is_told_together_with_all_other_mistakes() {
    let config = file(
        "[server]\n\
         workers = \"four\"\n\
         [[room]]\n\
         path = \"/x\"\n\
         kind = \"countr\"\n\
         [[room]]\n\
         path = \"/y\"\n\
         kind = \"echo\"\n\
         templat = \"q\"\n",
    );
    for command in ["serve", "check-config"] {
        run(statesync(&[command, "--config", path(&config)])).expect_config_error(&[
            "server.workers",
            "room.kind",
            "countr",
            "room.templat",
        ]);
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_place() {
    let config = file("[server]\nbind = \n");
    let place = format!("{}:2:", path(&config));
    run(statesync(&["serve", "--config", path(&config)])).expect_config_error(&[&place]);
}

#[test]
fn a_wrong_argument_of_a_room_is_told_with_its_place() {
    let config = file("[[room]]\npath = \"/\"\nkind = \"echo\"\ntemplte = \"x\"\n");
    let place = format!("{}:4:", path(&config));
    for command in ["serve", "check-config"] {
        let ended = run(statesync(&[command, "--config", path(&config)]));
        ended.expect_config_error(&[&place, "templte"]);
    }
}

#[test]
fn an_unknown_kind_of_room_is_told_with_its_place() {
    let config = file("[[room]]\npath = \"/\"\nkind = \"countr\"\n");
    let place = format!("{}:3:8:", path(&config));
    for command in ["serve", "check-config"] {
        let ended = run(statesync(&[command, "--config", path(&config)]));
        ended.expect_config_error(&[&place, "countr"]);
    }
}

#[test]
fn check_config_prints_the_configuration_in_effect_which_gives_itself_again() {
    let config = file("[limits]\nmax_message = \"1KiB\"\n");
    let checked = run(statesync(&["check-config", "--config", path(&config)]));
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    assert!(checked.stdout.contains("max_message = \"1KiB\""), "{}", checked.stdout);
    assert!(checked.stdout.contains("bind = [\"127.0.0.1:0\"]"), "{}", checked.stdout);
    let printed = file(&checked.stdout);
    let again = run(statesync(&["check-config", "--config", path(&printed)]));
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(again.stdout, checked.stdout);
}

#[test]
fn a_variable_wins_over_the_file() {
    let config = file("[limits]\nmax_message = \"1KiB\"\n");
    let mut command = statesync(&["check-config", "--config", path(&config)]);
    command.env("STATESYNC__LIMITS__MAX_MESSAGE", "2KiB");
    let checked = run(command);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    assert!(checked.stdout.contains("max_message = \"2KiB\""), "{}", checked.stdout);
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value) in
        [("STATESYNC__SERVER__BNID", "x"), ("STATESYNC__LIMITS__MAX_MESSAGE", "much")]
    {
        let mut command = statesync(&["serve"]);
        command.env(name, value);
        run(command).expect_config_error(&[name]);
    }
}

#[test]
fn a_warning_does_not_keep_it_from_serving() {
    let environment =
        [("STATESYNC__SERVER__BIND", "0.0.0.0:0"), ("STATESYNC__AUTH__OPEN_TO_ALL", "true")];
    let (server, address) = Process::serve_with("", &environment);
    assert!(address.ip().is_loopback(), "the ready line is one to open in a browser");
    RawClient::join_counter(address);
    let warning = server.stderr.wait_for("WARN");
    assert!(warning.is_some(), "open origins on all addresses:\n{}", server.stderr.text());
}

/// Joins, acts, errs and leaves; ends when the server has counted the client out.
fn be_a_client(address: SocketAddr) {
    let mut watcher = RawClient::join_counter(address).0;
    let mut client = RawClient::join_counter(address).0;
    for _ in 0..100 {
        client.send_text(PLUS);
        client.wait_for("a state", |event| event["type"] == "state");
    }
    client.send(0x88, &1000_u16.to_be_bytes());
    assert_eq!(client.try_read().expect("no reset").expect("a frame").opcode, 0x8);
    assert_eq!(client.try_read().expect("no reset"), None);
    watcher.wait_for_users(1);
}

#[cfg(unix)]
#[test]
fn at_info_there_is_no_line_for_a_client_or_a_message() {
    let (mut server, address) = Process::serve("");
    be_a_client(address);
    server.signal("TERM");
    assert_eq!(server.exit_code(), 0);
    let log = server.stderr.lines();
    assert!(log.len() < 20, "start and stop, and not {} lines:\n{}", log.len(), log.join("\n"));
    assert!(log.iter().any(|line| line.contains(&format!("listening on {address}"))));
}

#[cfg(unix)]
#[test]
fn a_log_in_json_has_one_object_a_line() {
    let environment = [("STATESYNC__LOG__FORMAT", "json"), ("RUST_LOG", "statesync=trace")];
    let (mut server, address) = Process::serve_with("", &environment);
    be_a_client(address);
    server.signal("TERM");
    assert_eq!(server.exit_code(), 0);
    let lines = server.stderr.lines();
    assert!(lines.len() > 100, "trace has a line for each message");
    for line in lines {
        let entry: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("a log line is no JSON: {error}: {line:?}"));
        for key in ["time", "level", "target", "message"] {
            assert!(entry[key].is_string(), "{key} is missing: {line}");
        }
    }
}

/// Waits for a line in the log.
#[track_caller]
fn expect_logged(server: &Process, part: &str) {
    if server.stderr.wait_for(part).is_none() {
        panic!("{part:?} is not in the log:\n{}", server.stderr.text());
    }
}

#[test]
fn at_trace_the_log_shows_the_opening_handshake_and_every_frame() {
    let (server, address) = Process::serve_with("", &[("RUST_LOG", "statesync=trace")]);
    be_a_client(address);
    for part in ["opening handshake", "sec-websocket-key", "101", "plus", "Close"] {
        expect_logged(&server, part);
    }
    // Of each client's frames the last is the close frame; 100 actions and states stand before.
    let lines = server.stderr.lines();
    let count = |words: [&str; 2]| {
        lines.iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    };
    let (came_in, went_out) = (count(["action", "plus"]), count(["state", "value"]));
    assert!(came_in >= 100, "100 actions came in, {came_in} are shown:\n{}", lines.join("\n"));
    assert!(went_out >= 100, "100 states went out, {went_out} are shown:\n{}", lines.join("\n"));
}

#[test]
fn at_debug_the_log_shows_who_joins_and_why_each_connection_ended() {
    let toml = "[heartbeat]\ninterval = \"100ms\"\ntimeout = \"100ms\"\n\
                [limits]\nmax_message = \"125B\"\n";
    let (server, address) = Process::serve_with(toml, &[("RUST_LOG", "debug")]);
    let join = || RawClient::join_counter(address).0;
    let silent = join();
    expect_logged(&server, "joins");
    expect_logged(&server, "no sign of life");
    drop(silent);
    join().send(0x88, &1000_u16.to_be_bytes());
    expect_logged(&server, "1000");
    drop(join());
    expect_logged(&server, "without a close frame");
    join().reset();
    expect_logged(&server, "reset");
    join().send_bytes(b"\x81\x00");
    expect_logged(&server, "1002");
    join().send(0x81, &[b'x'; 126]);
    expect_logged(&server, "1009");
}

#[test]
fn rust_log_wins_over_the_configuration() {
    let environment = [("STATESYNC__LOG__LEVEL", "off"), ("RUST_LOG", "info")];
    let (server, _) = Process::serve_with("", &environment);
    expect_logged(&server, "listening on");
}

/// Skipped in part where the machine has no IPv6.
#[test]
fn localhost_means_all_its_addresses() {
    let (server, address) = Process::serve_with("", &[("STATESYNC__SERVER__BIND", "localhost:0")]);
    assert!(address.is_ipv4(), "the ready line shows the address that people know: {address}");
    RawClient::join_counter(address);
    if !has_ipv6_localhost() {
        eprintln!("no IPv6 here: only {address} was tried");
        return;
    }
    let other = SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port());
    expect_logged(&server, &format!("listening on {other}"));
    RawClient::join_counter(other);
}

fn has_ipv6_localhost() -> bool {
    use std::net::ToSocketAddrs;
    let resolved = "localhost:0".to_socket_addrs().expect("localhost has an address");
    resolved.filter(|address| address.is_ipv6()).any(|address| TcpListener::bind(address).is_ok())
}
