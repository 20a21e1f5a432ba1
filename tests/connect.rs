//! `statesync connect`, as a script and as a person use it.

mod support;

use std::{
    io::{BufRead, BufReader, Read, Seek, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};
use support::{
    TestServer,
    process::{Process, statesync},
    pseudo_terminal::PseudoTerminal,
};
use tungstenite::{
    Message, WebSocket, accept_hdr,
    handshake::server::{Request, Response},
    http::{HeaderMap, HeaderValue},
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// What a script sees of `connect`.
#[derive(Debug)]
struct Ended {
    code: i32,
    stdout: Vec<String>,
    stderr: String,
}

fn connect(arguments: &[&str]) -> Command {
    let mut command = statesync(&["connect"]);
    command.args(arguments).env_remove("NO_COLOR");
    command
}

fn run_with(command: Command, input: &[u8]) -> Ended {
    let mut stdin = tempfile::tempfile().expect("a temporary file");
    stdin.write_all(input).and_then(|()| stdin.rewind()).expect("room on the disk");
    let mut process = Process::spawn_reading(command, stdin);
    let code = process.exit_code();
    Ended { code, stdout: process.stdout.lines(), stderr: process.stderr.text() }
}

fn run(arguments: &[&str], input: &str) -> Ended {
    run_with(connect(arguments), input.as_bytes())
}

/// Keeps standard input open until the echo is there: not every server answers after a close.
fn ask(arguments: &[&str], line: &str) -> Ended {
    let (stdin, mut keyboard) = std::io::pipe().expect("a pipe");
    let mut process = Process::spawn_reading(connect(arguments), stdin);
    writeln!(keyboard, "{line}").expect("it reads");
    process.stdout.wait_for(line);
    drop(keyboard);
    let code = process.exit_code();
    Ended { code, stdout: process.stdout.lines(), stderr: process.stderr.text() }
}

impl Ended {
    #[track_caller]
    fn expect(&self, code: i32, stdout: &[&str], stderr: &str) {
        assert_eq!(self.code, code, "the exit code; standard error:\n{}", self.stderr);
        assert_eq!(self.stdout, stdout, "standard output; standard error:\n{}", self.stderr);
        assert!(self.stderr.contains(stderr), "{stderr:?} is missing:\n{}", self.stderr);
        if stderr.is_empty() {
            assert_eq!(self.stderr, "", "a script that works is quiet");
        }
    }
}

/// A server that takes one connection, made with `tungstenite`. Its thread returns the headers of
/// the request.
fn serve_one(
    talk: impl FnOnce(&mut WebSocket<TcpStream>) + Send + 'static,
) -> (String, JoinHandle<HeaderMap>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("an address"));
    let thread = std::thread::spawn(move || {
        let (socket, _) = listener.accept().expect("somebody connects");
        let mut headers = HeaderMap::new();
        #[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let callback = |request: &Request, mut response: Response| {
            headers = request.headers().clone();
            if headers.contains_key("sec-websocket-protocol") {
                let chosen = HeaderValue::from_static("second");
                response.headers_mut().insert("sec-websocket-protocol", chosen);
            }
            Ok(response)
        };
        let mut websocket = accept_hdr(socket, callback).expect("a handshake");
        talk(&mut websocket);
        headers
    });
    (url, thread)
}

/// Answers the client's close.
fn read_to_end(websocket: &mut WebSocket<TcpStream>) -> Vec<Message> {
    std::iter::from_fn(|| websocket.read().ok()).collect()
}

fn echo(server: &TestServer) -> String {
    format!("ws://{}/echo", server.address)
}

#[test]
fn in_a_pipe_all_lines_are_sent_and_all_answers_printed() {
    let server = TestServer::start("");
    run(&[&echo(&server)], "hello\n\n中文 \u{1b}[1m\nno line feed").expect(
        0,
        &["hello", "", "中文 \u{1b}[1m", "no line feed"],
        "",
    );
}

#[test]
fn thousands_of_lines_come_back_in_their_order() {
    let server = TestServer::start("");
    let lines: Vec<String> = (0..20_000).map(|number| format!("line {number}")).collect();
    let ended = run(&[&echo(&server)], &lines.join("\n"));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert!(ended.stdout == lines, "{} lines, or in another order", ended.stdout.len());
}

#[test]
fn a_url_may_lack_its_scheme_or_be_one_of_http() {
    let server = TestServer::start("");
    run(&[&format!("{}/echo", server.address)], "a").expect(0, &["a"], "");
    run(&[&format!("http://{}/echo", server.address)], "a").expect(0, &["a"], "");
}

#[test]
fn a_refusal_is_told_with_its_status_and_message() {
    let server = TestServer::start("");
    let url = format!("ws://{}/nowhere", server.address);
    run(&[&url], "a").expect(3, &[], "HTTP 404 Not Found: there is no room at /nowhere");
    let stderr = "HTTP 403 Forbidden: pages from \"https://elsewhere.example\" may not connect";
    run(&[&echo(&server), "--origin", "https://elsewhere.example"], "").expect(3, &[], stderr);
}

#[test]
fn a_refusal_that_comes_in_pieces_is_read_to_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("somebody connects");
        let head = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 22\r\n\r\n";
        for piece in [head, r#"{"message":"#, r#""who is it"}"#] {
            socket.write_all(piece.as_bytes()).expect("the client reads");
        }
        // Held open: the length says where the body ends.
        let _ = socket.read_to_end(&mut Vec::new());
    });
    run(&[&address.to_string()], "").expect(3, &[], "HTTP 401 Unauthorized: who is it");
    thread.join().expect("the server has no complaint");
}

#[test]
fn without_a_server_it_says_where_there_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let stderr = format!("no connection: 127.0.0.1, port {}", address.port());
    run(&[&address.to_string()], "").expect(1, &[], &stderr);
}

#[test]
fn wrong_arguments_are_told_before_anything_is_done() {
    for (arguments, part) in [
        (&["ftp://h/"][..], "must begin with ws://"),
        (&["ws://h/", "--header", "Upgrade: x"], "by itself"),
        (&["ws://h/", "--subprotocol", "a b"], "letters, digits"),
        (&["ws://h/", "--timeout", "0s"], "more than zero"),
        (&["ws://h/", "--token", "a\nb"], "may not stand in a header"),
        (&["wss://h/", "--ca", "/nowhere.pem"], "/nowhere.pem"),
    ] {
        let ended = run(arguments, "");
        ended.expect(2, &[], part);
        assert!(!ended.stderr.contains("a\nb"), "the token is a secret:\n{}", ended.stderr);
    }
}

#[test]
fn headers_subprotocols_origin_and_token_reach_the_server() {
    let (url, server) = serve_one(|websocket| drop(read_to_end(websocket)));
    let mut command = connect(&[&url, "--header", "X-Color: blue", "--header", "X-Color: red"]);
    command.args(["--subprotocol", "first", "--subprotocol", "second"]);
    command.args(["--origin", "https://page.example"]).env("STATESYNC_TOKEN", "secret");
    run_with(command, b"").expect(0, &[], "");
    let headers = server.join().expect("the server has no complaint");
    let values = |name: &str| -> Vec<_> {
        headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    };
    assert_eq!(values("x-color"), ["blue", "red"]);
    assert_eq!(values("sec-websocket-protocol"), ["first, second"]);
    assert_eq!(values("origin"), ["https://page.example"]);
    assert_eq!(values("authorization"), ["Bearer secret"]);
}

#[test]
fn in_a_pipe_texts_are_raw_and_bytes_are_hex() {
    let (url, server) = serve_one(|websocket| {
        websocket.send(Message::text("\u{1b}[2J")).expect("the client reads");
        websocket.send(Message::binary(vec![0, 255, 16])).expect("the client reads");
        let sent = read_to_end(websocket);
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        assert_eq!(sent, [Message::text("a"), Message::Close(Some(close))]);
    });
    run(&[&url], "a\n").expect(0, &["\u{1b}[2J", "00ff10"], "");
    server.join().expect("the client closes with 1000 after its last line");
}

#[test]
fn another_close_code_than_1000_is_an_error() {
    let (url, _server) = serve_one(|websocket| {
        let close = CloseFrame { code: CloseCode::from(4400), reason: "go\u{7}away".into() };
        websocket.close(Some(close)).expect("the client reads");
        read_to_end(websocket);
    });
    let stderr = "the server has refused this client (4400): go\\u{7}away";
    run(&[&url], "").expect(4, &[], stderr);
}

#[test]
fn a_connection_that_breaks_is_lost_and_in_a_pipe_stays_lost() {
    let (url, _server) = serve_one(|websocket| {
        assert_eq!(websocket.read().expect("a line"), Message::text("a"));
    });
    run(&[&url], "a\n").expect(1, &[], "the connection was lost");
}

#[test]
fn a_server_that_does_not_answer_the_close_is_not_awaited_for_ever() {
    let (_held, hold) = std::sync::mpsc::channel::<()>();
    let (url, _server) = serve_one(move |websocket| {
        websocket.read().expect("a line");
        // Until the test is over.
        let _ = hold.recv();
    });
    run(&[&url, "--timeout", "300ms"], "a\n").expect(1, &[], "did not answer the close in 300ms");
}

#[test]
fn with_linger_the_close_is_left_to_the_server() {
    let (url, _server) = serve_one(|websocket| {
        assert_eq!(websocket.read().expect("a line"), Message::text("a"));
        websocket.send(Message::text("b")).expect("the client reads");
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        websocket.close(Some(close)).expect("the client reads");
        read_to_end(websocket);
    });
    // Had it closed by itself, it would have nothing to say about it.
    run(&[&url, "--linger", "1h"], "a\n").expect(0, &["b"], "closed the connection (1000)");
}

#[test]
fn a_line_that_is_no_text_ends_the_input_and_is_told() {
    let server = TestServer::start("");
    let ended = run_with(connect(&[&echo(&server)]), b"good\nb\xffd\nnever sent\n");
    ended.expect(2, &["good"], "standard input, line 2: not UTF-8");
}

#[test]
fn a_signal_closes_properly() {
    let (url, server) = serve_one(|websocket| {
        websocket.send(Message::text("hello")).expect("the client reads");
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        assert_eq!(read_to_end(websocket), [Message::Close(Some(close))]);
    });
    let (stdin, _open) = std::io::pipe().expect("a pipe");
    let mut process = Process::spawn_reading(connect(&[&url]), stdin);
    process.stdout.wait_for("hello").expect("a message");
    process.signal("INT");
    assert_eq!(process.exit_code(), 0, "{}", process.stderr.text());
    server.join().expect("the client closes with 1000");
}

#[test]
fn a_person_types_and_sees_answers_and_has_a_history() {
    let server = TestServer::start("");
    let mut terminal = PseudoTerminal::spawn(connect(&[&echo(&server)]));
    terminal.wait_for("Connected to ws://");
    terminal.press("grüße\r");
    terminal.wait_for("> grüße\n< grüße\n");
    terminal.press("other\r");
    terminal.wait_for("> other\n< other\n");
    terminal.press("\u{1b}[A\u{1b}[A");
    terminal.wait_until("older line", |screen| screen.trim_end().ends_with("> grüße"));
    terminal.press(" again\r");
    terminal.wait_for("> grüße again\n< grüße again\n");
    terminal.press("\u{4}");
    let (code, screen) = terminal.end();
    assert_eq!(code, 0, "{screen}");
}

#[test]
fn a_message_does_not_tear_the_line_being_typed() {
    let server = TestServer::start("");
    let url = format!("ws://{}/", server.address);
    let mut terminal = PseudoTerminal::spawn(connect(&[&url]));
    terminal.wait_for("\"state\"");
    terminal.press("half");
    terminal.wait_for("> half");
    assert_eq!(run(&[&url], "{\"action\":\"plus\"}").code, 0);
    terminal.wait_until("whole line below the message", |screen| {
        screen.contains("\n< {\"type\":\"state\",\"value\":1}\n")
            && screen.trim_end().ends_with("\n> half")
    });
    terminal.press("\u{3}");
    assert_eq!(terminal.end().0, 0, "Ctrl-C closes properly");
}

#[test]
fn what_the_server_sends_does_not_drive_the_terminal() {
    let (url, _server) = serve_one(|websocket| {
        let text = "\u{1b}[2J\u{9b}31mred\r\nsecond\u{202e}".to_owned();
        websocket.send(Message::text(text)).expect("the client reads");
        websocket.send(Message::text("x".repeat(1_000_000))).expect("the client reads");
        websocket.send(Message::binary(vec![222, 173])).expect("the client reads");
        read_to_end(websocket);
    });
    let mut command = connect(&[&url]);
    command.env("NO_COLOR", "1");
    let mut terminal = PseudoTerminal::spawn(command);
    terminal.wait_for("… and 983616 bytes more");
    terminal.wait_for("< (binary) dead");
    let bytes = String::from_utf8(terminal.bytes()).expect("UTF-8");
    let safe = "< \\u{1b}[2J\\u{9b}31mred\\u{d}\n";
    assert!(bytes.contains(safe.trim_end()), "{bytes:?}");
    assert!(bytes.contains("  second\\u{202e}"), "{bytes:?}");
    assert!(!bytes.contains("\u{1b}[2J"), "the screen was cleared by the server");
    assert!(!bytes.contains("\u{1b}[36m"), "NO_COLOR, but there are colours");
    terminal.press("\u{4}");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn at_a_terminal_there_are_colours() {
    let server = TestServer::start("");
    let url = format!("ws://{}/", server.address);
    let mut terminal = PseudoTerminal::spawn(connect(&[&url]));
    terminal.wait_for("\"state\"");
    let bytes = String::from_utf8(terminal.bytes()).expect("UTF-8");
    assert!(bytes.contains("\u{1b}[36m<\u{1b}[0m {"), "{bytes:?}");
    terminal.press("\u{4}");
    assert_eq!(terminal.end().0, 0);
}

/// Serves on this very address, as a server does that is started again.
fn serve_on(address: SocketAddr) -> Process {
    let bind = address.to_string();
    Process::serve_with("", &[("STATESYNC__SERVER__BIND", &bind)]).0
}

#[test]
fn it_comes_back_when_the_server_was_restarted_and_sends_what_was_typed_meanwhile() {
    let (mut server, address) = Process::serve("");
    let mut terminal = PseudoTerminal::spawn(connect(&[&format!("{address}/echo")]));
    terminal.wait_for("Connected to ws://");
    server.signal("TERM");
    assert_eq!(server.exit_code(), 0);
    terminal.wait_for("Not connected: the server is going away (1001)");
    terminal.press("meanwhile\r");
    terminal.wait_for("this is sent when the connection is back");
    let _server = serve_on(address);
    terminal.wait_for("< meanwhile\n");
    terminal.press("after\r");
    terminal.wait_for("< after\n");
    terminal.press("\u{4}");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn closing_while_there_is_no_connection_tells_what_was_not_sent() {
    let (mut server, address) = Process::serve("");
    let mut terminal = PseudoTerminal::spawn(connect(&[&address.to_string()]));
    terminal.wait_for("Connected to ws://");
    server.signal("TERM");
    server.wait();
    terminal.wait_for("Not connected");
    terminal.press("lost\r");
    terminal.wait_for("this is sent when");
    terminal.press("\u{4}");
    let (code, screen) = terminal.end();
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("lines that were not sent: 1"), "{screen}");
}

#[test]
fn with_no_reconnect_it_ends_when_the_connection_does() {
    let (server, address) = Process::serve("");
    let url = address.to_string();
    let mut terminal = PseudoTerminal::spawn(connect(&[&url, "--no-reconnect"]));
    terminal.wait_for("Connected to ws://");
    server.signal("TERM");
    let (code, screen) = terminal.end();
    assert_eq!(code, 4, "{screen}");
    assert!(screen.contains("the server is going away (1001)"), "{screen}");
}

#[test]
fn pings_and_pongs_are_shown_on_request() {
    let server = TestServer::start("");
    let mut terminal = PseudoTerminal::spawn(connect(&[&echo(&server), "--ping", "10ms"]));
    terminal.wait_for("pong after ");
    terminal.press("\u{4}");
    assert_eq!(terminal.end().0, 0);
}

/// A certificate for localhost and its key, in files.
struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    /// Self-signed; as most tools make them, it may be an authority, too.
    fn new(is_authority: bool) -> Self {
        let names = vec!["localhost".to_owned()];
        let mut parameters = rcgen::CertificateParams::new(names).expect("a name");
        if is_authority {
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let written = Self { folder };
        std::fs::write(written.file("certificate.pem"), certificate.pem()).expect("room");
        std::fs::write(written.file("key.pem"), key.serialize_pem()).expect("room");
        written
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Python's `websockets` behind TLS. Ends with its standard input, which is ours.
struct TlsServer {
    child: Child,
    url: String,
}

impl TlsServer {
    fn start(certificate: &Certificate) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/test-env/venv/bin/python");
        assert!(python.exists(), "{} is missing: run tests/setup", python.display());
        let mut child = Command::new(python)
            .arg(root.join("tests/clients/tls_echo_server.py"))
            .args([certificate.file("certificate.pem"), certificate.file("key.pem")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python starts");
        let mut port = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut port).expect("a line");
        Self { child, url: format!("wss://localhost:{}/", port.trim()) }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn over_tls_only_a_trusted_certificate_is_accepted() {
    for is_authority in [false, true] {
        let certificate = Certificate::new(is_authority);
        let server = TlsServer::start(&certificate);
        let url = server.url.as_str();
        let ca = certificate.file("certificate.pem");
        let ca = ca.to_str().expect("a plain path");
        ask(&[url, "--ca", ca], "hello").expect(0, &["hello"], "");
        ask(&[url, "--insecure"], "hello").expect(0, &["hello"], "");
        let other = Certificate::new(is_authority);
        let file = other.file("certificate.pem");
        let file = file.to_str().expect("a plain path");
        run(&[url, "--ca", file], "hello").expect(
            1,
            &[],
            "--ca FILE, or accept any with --insecure",
        );
        let by_address = url.replace("localhost", "127.0.0.1");
        run(&[&by_address, "--ca", ca], "hello").expect(1, &[], "a name that the certificate has");
    }
}

#[test]
fn plain_and_tls_that_are_mixed_up_are_told() {
    let server = TestServer::start("");
    let url = format!("wss://{}/echo", server.address);
    run(&[&url, "--insecure"], "a").expect(1, &[], "try ws://");
}
