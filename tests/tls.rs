//! `https://` and `wss://`, with a certificate that the real command made, and beside plain
//! addresses.

#![cfg(unix)]

mod support;

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use support::{
    DEADLINE, HANDSHAKE, RawClient, TestServer, masked, parse_server_frame,
    process::{Process, statesync},
};
use tempfile::TempDir;

const PLUS: &str = r#"{"action":"plus"}"#;

/// As in `slow_clients.rs`: many times what is held for a client that does not read.
const FLOOD: i64 = 20_000;
const BATCH: i64 = 100;

/// A certificate and its key, made by the command.
struct Certificate(TempDir);

impl Certificate {
    fn make() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let out = directory.path().to_str().expect("a plain path");
        let mut made = Process::spawn(statesync(&["cert", "--out", out]));
        assert_eq!(made.exit_code(), 0, "{}", made.stderr.text());
        Self(directory)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn cert(&self) -> PathBuf {
        self.file("cert.pem")
    }

    /// Certificate and key, or the key and then the certificate, in one file.
    fn in_one_file(&self, names: [&str; 2]) -> PathBuf {
        let texts = names.map(|name| fs::read_to_string(self.file(name)).expect("it was made"));
        let file = self.file(&format!("{}-first.pem", names[0]));
        fs::write(&file, texts.concat()).expect("room on the disk");
        file
    }

    /// `[server.tls]` on a free port, with certificate and key in two files.
    fn toml(&self) -> String {
        toml(&self.cert(), &format!("key = {:?}", self.file("key.pem")))
    }

    /// A server that speaks TLS beside plain TCP, with this configuration besides.
    fn serve(&self, rest: &str) -> (TestServer, SocketAddr) {
        let server = TestServer::start(&format!("{}{rest}", self.toml()));
        let address = server.tls_address.expect("an address that speaks TLS");
        (server, address)
    }
}

fn toml(cert: &Path, key: &str) -> String {
    format!("[server.tls]\nbind = \"127.0.0.1:0\"\ncert = {cert:?}\n{key}\n")
}

/// A WebSocket client on rustls.
struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
}

impl TlsClient {
    fn connect(certificate: &Certificate, address: SocketAddr) -> Self {
        Self::on(certificate, RawClient::connect(address))
    }

    fn on(certificate: &Certificate, client: RawClient) -> Self {
        let mut trusted = RootCertStore::empty();
        let cert = CertificateDer::from_pem_file(certificate.cert()).expect("PEM");
        trusted.add(cert).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(trusted)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = StreamOwned::new(tls, client.into_parts().0);
        Self { stream, received: Vec::new() }
    }

    /// Asks for the room at `path`; returns the head of the answer.
    fn ask(&mut self, path: &str) -> String {
        self.send_bytes(HANDSHAKE.replace("{path}", path).as_bytes());
        loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.received.split_off(end + 4);
                let head = std::mem::replace(&mut self.received, rest);
                return String::from_utf8(head).expect("ASCII");
            }
            assert!(self.fill().expect("an answer") > 0, "the connection ended");
        }
    }

    fn open(mut self, path: &str) -> Self {
        let head = self.ask(path);
        assert!(head.starts_with("HTTP/1.1 101 "), "the upgrade was refused:\n{head}");
        self
    }

    fn join_counter(certificate: &Certificate, address: SocketAddr) -> Self {
        let mut client = Self::connect(certificate, address).open("/");
        client.wait_for("the first state", |event| event["type"] == "state");
        client
    }

    /// Joins with a socket that takes only a few KiB, and reads nothing after the first state.
    fn join_slow(certificate: &Certificate, address: SocketAddr) -> Self {
        let mut client = Self::on(certificate, RawClient::connect_slow(address)).open("/");
        client.wait_for("the first state", |event| event["type"] == "state");
        client
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
        self.stream.flush().expect("the server reads");
    }

    fn fill(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        self.received.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    fn read(&mut self) -> support::Frame {
        loop {
            if let Some((frame, length)) = parse_server_frame(&self.received) {
                self.received.drain(..length);
                return frame;
            }
            let count = self.fill().expect("the server answers in time");
            assert!(count > 0, "a frame, but the server ended the connection");
        }
    }

    /// Reads events, answering pings, until `wanted` says yes.
    fn wait_for(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            let frame = self.read();
            if frame.opcode == 0x9 {
                self.send_bytes(&masked(0x8A, &frame.payload));
                continue;
            }
            let event = serde_json::from_slice(&frame.payload).expect("events are JSON");
            if wanted(&event) {
                return event;
            }
        }
        panic!("waited for {what}");
    }

    fn next_state(&mut self) -> i64 {
        let state = self.wait_for("a state", |event| event["type"] == "state");
        state["value"].as_i64().expect("a number")
    }

    #[track_caller]
    fn expect_each(&mut self, values: impl Iterator<Item = i64>) {
        for value in values {
            assert_eq!(self.next_state(), value, "one that keeps up sees every state in order");
        }
    }

    /// Reads up to `last` and returns the states, each newer than the one before.
    #[track_caller]
    fn read_rising_states(&mut self, last: i64) -> Vec<i64> {
        let mut values: Vec<i64> = Vec::new();
        while values.last() != Some(&last) {
            let value = self.next_state();
            let before = values.last().copied().unwrap_or(0);
            assert!(value > before, "{value} came after {before}, which is newer or the same");
            values.push(value);
        }
        values
    }
}

/// Acts and reads, on a plain connection, so that nobody is ahead of it by more than a batch.
fn act(actor: &mut RawClient, from: i64, count: i64) {
    for first in (from..from + count).step_by(BATCH as usize) {
        let batch = BATCH.min(from + count - first);
        actor.send_bytes(&masked(0x81, PLUS.as_bytes()).repeat(batch as usize));
        actor.wait_for_state(first + batch);
    }
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn python() -> Command {
    let python = root().join("target/test-env/venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/setup", python.display());
    Command::new(python)
}

fn node() -> Command {
    let modules = root().join("tests/clients/node_modules");
    assert!(modules.exists(), "{} is missing: run tests/setup", modules.display());
    Command::new("node")
}

/// A client of others, which trusts the certificate.
fn client(mut command: Command, script: &str, certificate: &Certificate) -> Command {
    command.arg(root().join("tests/clients").join(script));
    command.env("SSL_CERT_FILE", certificate.cert());
    command.env("NODE_EXTRA_CA_CERTS", certificate.cert());
    command
}

fn run(mut command: Command, scenarios: &[&str], address: SocketAddr) {
    for scenario in scenarios {
        let mut run = Command::new(command.get_program());
        run.args(command.get_args());
        run.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = run
            .arg(scenario)
            .arg(format!("wss://localhost:{}/", address.port()))
            .arg(format!("wss://127.0.0.1:{}/echo", address.port()))
            .output()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{scenario} of {command:?} failed:\n{said}");
    }
    command.stdin(Stdio::null());
}

const ECHO_70_000: &str = "[limits]\nmax_message = \"128KiB\"\n";

#[test]
fn python_websockets_over_wss_sees_what_it_sees_over_ws() {
    let certificate = Certificate::make();
    let (_server, address) = certificate.serve(ECHO_70_000);
    run(client(python(), "websockets_client.py", &certificate), &["all"], address);
}

#[test]
fn python_websocket_client_over_wss_sees_what_it_sees_over_ws() {
    let certificate = Certificate::make();
    let (_server, address) = certificate.serve(ECHO_70_000);
    run(client(python(), "websocket_client_client.py", &certificate), &["all"], address);
}

#[test]
fn node_ws_over_wss_sees_what_it_sees_over_ws() {
    let certificate = Certificate::make();
    let (_server, address) = certificate.serve(ECHO_70_000);
    run(client(node(), "ws_client.js", &certificate), &["all"], address);
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_pages_events_and_refusals_come_over_them() {
    let certificate = Certificate::make();
    let (_server, address) = certificate.serve("");
    run(client(python(), "tls_client.py", &certificate), &["all"], address);
}

#[test]
fn certificate_and_key_may_be_in_one_file_in_either_order() {
    let certificate = Certificate::make();
    for names in [["cert.pem", "key.pem"], ["key.pem", "cert.pem"]] {
        let server = TestServer::start(&toml(&certificate.in_one_file(names), ""));
        let address = server.tls_address.expect("an address that speaks TLS");
        run(client(python(), "tls_client.py", &certificate), &["versions"], address);
    }
}

#[test]
fn plain_and_tls_connections_share_one_counter() {
    let certificate = Certificate::make();
    let (server, address) = certificate.serve("");
    let (mut plain, _) = RawClient::join_counter(server.address);
    let mut with_tls = TlsClient::join_counter(&certificate, address);
    plain.wait_for_users(2);
    plain.send_text(PLUS);
    assert_eq!(with_tls.next_state(), 1);
    with_tls.send_bytes(&masked(0x81, PLUS.as_bytes()));
    plain.wait_for_state(2);
    // It ends TCP without a word of TLS, which is an end as any other.
    drop(with_tls);
    plain.wait_for_users(1);
}

#[test]
fn messages_of_many_records_come_back_whole() {
    let certificate = Certificate::make();
    let (_server, address) = certificate.serve("[limits]\nmax_message = \"1MiB\"\n");
    let mut client = TlsClient::connect(&certificate, address).open("/echo");
    for length in [16 * 1024 - 4, 16 * 1024, 110_000, 1_000_000] {
        let message: Vec<u8> = (0..length).map(|at| b'a' + (at % 23) as u8).collect();
        client.send_bytes(&masked(0x81, &message));
        let frame = client.read();
        assert_eq!(frame.opcode, 0x1);
        assert!(frame.payload == message, "{length} bytes came back as {}", frame.payload.len());
    }
}

#[test]
fn limits_by_address_hold_over_tls() {
    let certificate = Certificate::make();
    let (server, address) = certificate.serve("[limits]\nmax_connections_per_address = 1\n");
    let _first = TlsClient::join_counter(&certificate, address);
    let head = TlsClient::connect(&certificate, address).ask("/");
    assert!(head.starts_with("HTTP/1.1 429 "), "a second one by TLS is let in:\n{head}");
    let head = RawClient::connect(server.address).ask("/", "");
    assert!(head.starts_with("HTTP/1.1 429 "), "a second one without TLS is let in:\n{head}");
}

#[test]
fn one_that_wakes_up_skips_to_the_newest_and_nobody_else_notices() {
    let certificate = Certificate::make();
    let (server, address) = certificate.serve("[heartbeat]\ninterval = \"1h\"\n");
    let (mut actor, _) = RawClient::join_counter(server.address);
    let mut watcher = TlsClient::join_counter(&certificate, address);
    let mut slow = TlsClient::join_slow(&certificate, address);
    for from in (0..FLOOD).step_by(BATCH as usize) {
        act(&mut actor, from, BATCH);
        watcher.expect_each(from + 1..=from + BATCH);
    }
    let values = slow.read_rising_states(FLOOD);
    assert!(values.len() < FLOOD as usize, "it got all {FLOOD} states: it was not slow");
    act(&mut actor, FLOOD, BATCH);
    slow.expect_each(FLOOD + 1..=FLOOD + BATCH);
}

#[test]
fn one_that_takes_no_bytes_for_the_heartbeats_timeout_is_let_go_and_counted_out() {
    let certificate = Certificate::make();
    let (server, address) =
        certificate.serve("[heartbeat]\ninterval = \"1h\"\ntimeout = \"300ms\"\n");
    let (mut actor, _) = RawClient::join_counter(server.address);
    let _stalled = TlsClient::join_slow(&certificate, address);
    actor.wait_for_users(2);
    act(&mut actor, 0, FLOOD);
    actor.wait_for_users(1);
}

#[test]
fn one_that_is_far_behind_but_reads_a_little_all_the_time_stays() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let certificate = Certificate::make();
    let (server, address) = certificate.serve("[heartbeat]\ninterval = \"1h\"\ntimeout = \"2s\"\n");
    let (mut actor, _) = RawClient::join_counter(server.address);
    let mut slow = TlsClient::join_slow(&certificate, address);
    actor.wait_for_users(2);
    let start = Instant::now();
    let (mut value, mut read) = (0, Vec::new());
    while start.elapsed() < 2 * TIMEOUT {
        act(&mut actor, value, BATCH);
        value += BATCH;
        read.push(slow.next_state());
    }
    assert!(read.is_sorted(), "it got an older state after a newer one: {read:?}");
    let rest = slow.read_rising_states(value);
    assert!(((read.len() + rest.len()) as i64) < value, "it got every state: it was not slow");
}

#[test]
fn one_that_answers_no_ping_is_let_go_and_one_that_does_stays() {
    let certificate = Certificate::make();
    let (_server, address) =
        certificate.serve("[heartbeat]\ninterval = \"100ms\"\ntimeout = \"500ms\"\n");
    let mut stays = TlsClient::join_counter(&certificate, address);
    let _silent = TlsClient::join_counter(&certificate, address);
    stays.wait_for("users 2", |event| event["count"] == 2);
    stays.wait_for("users 1", |event| event["count"] == 1);
}

#[test]
fn a_handshake_that_is_not_finished_is_ended_in_time_and_many_keep_nobody_out() {
    let certificate = Certificate::make();
    let (_server, address) = certificate.serve("[limits]\nhandshake_timeout = \"2s\"\n");
    let unfinished: Vec<_> = (0..400)
        .map(|number| {
            let mut client = RawClient::connect(address);
            // Some say nothing, some begin a record that never comes.
            if number % 2 == 0 {
                client.send_bytes(b"\x16\x03\x01\x02\x00\x01");
            }
            client
        })
        .collect();
    TlsClient::join_counter(&certificate, address);
    for mut client in unfinished {
        match client.read_to_end() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("an unfinished handshake is kept: {error}"),
        }
    }
}

#[test]
fn those_that_speak_no_tls_are_told_and_ended_and_hardly_logged() {
    let certificate = Certificate::make();
    let plain_too = format!("[server]\nbind = []\n{}", certificate.toml());
    let config = certificate.file("config.toml");
    fs::write(&config, plain_too).expect("room on the disk");
    let mut command = statesync(&["serve", "--config", config.to_str().expect("a plain path")]);
    command.env_remove("STATESYNC__SERVER__BIND");
    let start = Instant::now();
    let server = Process::spawn(command);
    let address = server.address();
    for _ in 0..100 {
        let mut plain = RawClient::connect(address);
        let head = plain.ask("/", "");
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        let body = plain.read_to_end().expect("an end, not a reset");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["code"], "tls_required");
        let mut noise = RawClient::connect(address);
        noise.send_bytes(&[0; 64]);
        noise.read_to_end().expect("an alert and an end, not a reset");
    }
    let seconds = start.elapsed().as_secs();
    TlsClient::join_counter(&certificate, address);
    let log = server.stderr.lines();
    for refusal in ["refused: a request without TLS", "refused: a TLS handshake failed"] {
        let lines = log.iter().filter(|line| line.contains(refusal)).count() as u64;
        assert!((1..=seconds + 1).contains(&lines), "{lines} lines {refusal:?} in {seconds} s");
    }
    let bad = log.iter().find(|line| line.contains("ERROR") || line.contains("WARN"));
    assert_eq!(bad, None, "it is the clients' mistake");
}

#[test]
fn without_plain_addresses_the_ready_line_and_the_log_name_the_tls_ones() {
    let certificate = Certificate::make();
    let config = certificate.file("config.toml");
    fs::write(&config, certificate.toml()).expect("room on the disk");
    let mut command = statesync(&["serve", "--config", config.to_str().expect("a plain path")]);
    command.env("STATESYNC__SERVER__BIND", "");
    let server = Process::spawn(command);
    let address = server.address();
    let line = server.stdout.wait_for("open https://").expect("the ready line");
    assert!(line.contains(&format!("https://{address}/ ")), "{line}");
    let logged = server.stderr.wait_for(&format!("listening on wss://{address}"));
    assert!(logged.is_some(), "{}", server.stderr.text());
}

#[test]
fn a_shutdown_closes_with_1001_and_ends_cleanly() {
    let certificate = Certificate::make();
    let (mut server, address) = certificate.serve("");
    let mut rust = TlsClient::join_counter(&certificate, address);
    let mut python = client(python(), "websockets_client.py", &certificate);
    // It waits until it is alone.
    drop(std::mem::replace(&mut rust, TlsClient::connect(&certificate, address).open("/echo")));
    python.arg("shutdown").arg(format!("wss://localhost:{}/", address.port()));
    let mut python = python.stdout(Stdio::piped()).spawn().expect("python starts");
    let mut lines = BufReader::new(python.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "connected");
    server.begin_stop();
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(said.iter().any(|line| line.contains("closed with 1001")), "it said {said:?}");
    assert!(python.wait().expect("it ends").success());
    assert_eq!(rust.read().close_code(), Some(1001));
    rust.send_bytes(&masked(0x88, &1001_u16.to_be_bytes()));
    // rustls says UnexpectedEof if TCP ends without TLS's own end.
    assert_eq!(rust.fill().expect("TLS is ended, then TCP"), 0);
    server.stop();
}

#[test]
fn the_cert_command_keeps_the_key_secret_and_writes_over_nothing() {
    let certificate = Certificate::make();
    let key = certificate.file("key.pem");
    let mode = fs::metadata(&key).expect("it was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others can read the key");
    let before = fs::read(&key).expect("it was made");
    let out = certificate.0.path().to_str().expect("a plain path");

    let mut again = Process::spawn(statesync(&["cert", "--out", out]));
    assert_eq!(again.exit_code(), 1);
    let said = again.stderr.text();
    assert!(said.contains("is there already") && said.contains("--force"), "{said}");
    assert_eq!(fs::read(&key).expect("it is there"), before);

    fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("our file");
    let arguments = ["cert", "--out", out, "--force", "--name", "example.com", "--name", "::1"];
    let mut forced = Process::spawn(statesync(&arguments));
    assert_eq!(forced.exit_code(), 0, "{}", forced.stderr.text());
    assert_ne!(fs::read(&key).expect("it is there"), before);
    let mode = fs::metadata(&key).expect("it was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others can read the new key");
    let said = forced.stdout.text();
    for part in ["[server.tls]", "cert = \"/", "example.com, ::1", "https://example.com:6790/"] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_before_anything_is_opened() {
    let certificate = Certificate::make();
    let other = Certificate::make();
    let config = certificate.file("config.toml");
    let journal = certificate.file("journal");
    let text = toml(&certificate.cert(), &format!("key = {:?}", other.file("key.pem")));
    let text = format!("{text}[journal]\npath = {journal:?}\n");
    fs::write(&config, text).expect("room on the disk");
    for command in ["check-config", "serve"] {
        let path = config.to_str().expect("a plain path");
        let mut command = statesync(&[command, "--config", path]);
        command.env_remove("STATESYNC__JOURNAL__KIND");
        let mut ended = Process::spawn(command);
        assert_eq!(ended.exit_code(), 2, "{}", ended.stderr.text());
        assert_eq!(ended.stdout.text(), "", "nothing is ready");
        let said = ended.stderr.text();
        for part in ["does not belong", "cert.pem", "key.pem"] {
            assert!(said.contains(part), "{part:?} is missing in:\n{said}");
        }
    }
    assert!(!journal.exists(), "the journal was begun for a server that does not start");
}
