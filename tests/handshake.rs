//! The opening handshake (RFC 6455, section 4.2), the gates before it, and plain HTTP beside it.

mod support;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpStream},
};
use support::{RawClient, TestServer, masked};

/// The key of the example in RFC 6455, section 1.3, and what it is answered with.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The header lines of a good handshake.
const GOOD: [&str; 5] = [
    "Host: 127.0.0.1",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

fn request(request_line: &str, headers: &[&str]) -> String {
    format!("{request_line}\r\n{}\r\n\r\n", headers.join("\r\n"))
}

/// A handshake for `/` with one header line of the good ones replaced; an empty one is left out.
fn handshake_with(name: &str, line: &str) -> String {
    let is_other = |good: &&str| !good.starts_with(&format!("{name}:"));
    let mut lines: Vec<_> = GOOD.into_iter().filter(is_other).collect();
    lines.extend((!line.is_empty()).then_some(line));
    request("GET / HTTP/1.1", &lines)
}

/// An HTTP answer.
#[derive(Debug)]
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn read(client: &mut RawClient, has_body: bool) -> Self {
        let head = client.read_head();
        let mut answer = Self { head, body: Vec::new() };
        if has_body && let Some(length) = answer.header("content-length") {
            answer.body = client.read_bytes(length.parse().expect("a length"));
        }
        answer
    }

    fn status(&self) -> u16 {
        self.head.get(9..12).and_then(|digits| digits.parse().ok()).expect("a status line")
    }

    /// The value of a header that stands at most once.
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        let value = values.next()?.1.trim();
        assert!(values.next().is_none(), "{name} stands twice:\n{}", self.head);
        Some(value)
    }

    #[track_caller]
    fn expect_header(&self, name: &str, value: &str) {
        assert_eq!(self.header(name), Some(value), "the header {name} in\n{}", self.head);
    }

    /// Checks that this is a refusal with a JSON body that says why.
    #[track_caller]
    fn expect_refusal(&self, name: &str, status: u16, code: &str) {
        assert_eq!(self.status(), status, "{name}:\n{self:?}");
        self.expect_header("content-type", "application/json");
        let body: Value = serde_json::from_slice(&self.body).expect("a JSON body");
        assert_eq!((&body["type"], &body["code"]), (&"error".into(), &code.into()), "{name}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {body}");
    }
}

fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut client = RawClient::connect(address);
    client.send_bytes(request.as_bytes());
    Answer::read(&mut client, !request.starts_with("HEAD "))
}

/// Asks, and checks that the server ends the connection after its answer, without a reset.
fn ask_and_expect_end(address: SocketAddr, name: &str, request: &[u8]) -> Answer {
    let mut client = RawClient::connect(address);
    client.send_bytes(request);
    let answer = Answer::read(&mut client, true);
    let rest = client.read_to_end().unwrap_or_else(|error| panic!("{name}: no clean end: {error}"));
    assert!(rest.is_empty(), "{name}: after the answer came {rest:?}");
    answer
}

fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Answer {
    ask(
        address,
        &request(&format!("GET {path} HTTP/1.1"), &[&["Host: 127.0.0.1"], headers].concat()),
    )
}

#[test]
fn the_rfcs_example_is_answered_exactly_as_in_the_rfc() {
    let server = TestServer::start("");
    let mut client = RawClient::connect(server.address);
    client.send_bytes(request("GET / HTTP/1.1", &GOOD).as_bytes());
    let answer = Answer::read(&mut client, false);
    assert!(answer.head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{}", answer.head);
    answer.expect_header("sec-websocket-accept", ACCEPT);
    for (name, value) in [("upgrade", "websocket"), ("connection", "upgrade")] {
        let found = answer.header(name).unwrap_or_default();
        assert!(found.eq_ignore_ascii_case(value), "{name} must be {value}:\n{}", answer.head);
    }
    for name in [
        "content-length",
        "transfer-encoding",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
    ] {
        assert_eq!(answer.header(name), None, "a 101 must not have {name}:\n{}", answer.head);
    }
    client.wait_for_users(1);
}

#[test]
fn handshakes_may_be_written_in_every_way_that_the_rfc_allows() {
    let server = TestServer::start("");
    let with = |line: &str| request("GET / HTTP/1.1", &[GOOD.as_slice(), &[line]].concat());
    let good = request("GET / HTTP/1.1", &GOOD);
    let cases = [
        (
            "lower case names",
            GOOD.map(str::to_lowercase).join("\r\n").replace(&KEY.to_lowercase(), KEY),
        ),
        (
            "upper case names",
            GOOD.map(str::to_uppercase).join("\r\n").replace(&KEY.to_uppercase(), KEY),
        ),
    ]
    .map(|(name, lines)| (name, format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n")));
    let more = [
        ("as Firefox writes it", handshake_with("Connection", "Connection: keep-alive, Upgrade")),
        ("no space in a list", handshake_with("Connection", "Connection: keep-alive,upgrade")),
        ("Upgrade: WebSocket", handshake_with("Upgrade", "Upgrade: WebSocket")),
        ("no space after the colon", good.replace(": ", ":")),
        ("spaces around values", good.replace("13", "  13  ")),
        ("a query", good.replace("GET /", "GET /?a=b&c")),
        ("an extension that is not spoken", with("Sec-WebSocket-Extensions: permessage-bzip2")),
        ("a subprotocol that is not spoken", with("Sec-WebSocket-Protocol: chat, superchat")),
        ("cookies and more", with("Cookie: a=b\r\nAuthorization: c\r\nX-Long: dddddddddddd")),
    ];
    for (name, request) in cases.into_iter().chain(more) {
        let mut client = RawClient::connect(server.address);
        client.send_bytes(request.as_bytes());
        let answer = Answer::read(&mut client, false);
        assert_eq!(answer.status(), 101, "{name}:\n{request}was answered\n{}", answer.head);
        answer.expect_header("sec-websocket-accept", ACCEPT);
        assert_eq!(answer.header("sec-websocket-extensions"), None, "{name}");
        assert_eq!(answer.header("sec-websocket-protocol"), None, "{name}");
        assert_eq!(client.read_event()["type"], "users", "{name}: the session begins");
    }
}

#[test]
fn a_handshake_that_comes_byte_by_byte_is_accepted() {
    let server = TestServer::start("");
    let mut client = RawClient::connect(server.address);
    for byte in request("GET / HTTP/1.1", &GOOD).bytes() {
        client.send_bytes(&[byte]);
    }
    assert_eq!(Answer::read(&mut client, false).status(), 101);
    client.wait_for_users(1);
}

#[test]
fn what_is_no_handshake_is_refused_with_its_reason() {
    let server = TestServer::start("");
    let good = request("GET / HTTP/1.1", &GOOD);
    let two_keys = [GOOD.as_slice(), &[GOOD[3]]].concat();
    let key = |key: &str| handshake_with("Sec-WebSocket-Key", &format!("Sec-WebSocket-Key: {key}"));
    let cases = [
        ("POST", good.replace("GET", "POST"), "GET"),
        ("PUT", good.replace("GET", "PUT"), "GET"),
        ("CONNECT", good.replace("GET", "CONNECT"), "GET"),
        ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0"), "1.1"),
        ("no Connection", handshake_with("Connection", ""), "Connection"),
        ("Connection: close", handshake_with("Connection", "Connection: close"), "Connection"),
        ("no key", handshake_with("Sec-WebSocket-Key", ""), "Sec-WebSocket-Key"),
        ("an empty key", key(""), "16 bytes"),
        ("a key of 15 bytes", key("AAAAAAAAAAAAAAAAAAAA"), "16 bytes"),
        ("a key of 17 bytes", key("AAAAAAAAAAAAAAAAAAAAAAA="), "16 bytes"),
        ("a key that is not base64", key("!!!!!!!!!!!!!!!!!!!!!!=="), "16 bytes"),
        ("two keys", request("GET / HTTP/1.1", &two_keys), "exactly one"),
    ];
    for (name, request, part) in cases {
        let answer = ask_and_expect_end(server.address, name, request.as_bytes());
        answer.expect_refusal(name, 400, "bad_handshake");
        let body = String::from_utf8_lossy(&answer.body);
        assert!(body.contains(part), "{name}: {part:?} is not in {body}");
    }
}

#[test]
fn other_versions_of_the_protocol_are_told_which_one_is_spoken() {
    let server = TestServer::start("");
    for version in ["", "8", "7", "0", "14", "130", "13, 8", "thirteen"] {
        let line = match version {
            "" => String::new(),
            version => format!("Sec-WebSocket-Version: {version}"),
        };
        let request = handshake_with("Sec-WebSocket-Version", &line);
        let name = format!("version {version:?}");
        let answer = ask_and_expect_end(server.address, &name, request.as_bytes());
        answer.expect_refusal(&name, 426, "bad_version");
        answer.expect_header("sec-websocket-version", "13");
        answer.expect_header("upgrade", "websocket");
    }
}

#[test]
fn a_handshake_with_a_body_is_refused() {
    let server = TestServer::start("");
    let chunked = [GOOD.as_slice(), &["Transfer-Encoding: chunked"]].concat();
    let request = request("GET / HTTP/1.1", &chunked) + "0\r\n\r\n";
    ask(server.address, &request).expect_refusal("a chunked body", 400, "bad_handshake");
}

#[test]
fn connect_is_no_way_in() {
    let server = TestServer::start("");
    for target in ["/", "127.0.0.1:22", "/nowhere"] {
        let request = request(&format!("CONNECT {target} HTTP/1.1"), &["Host: 127.0.0.1"]);
        let answer = ask_and_expect_end(server.address, target, request.as_bytes());
        assert!((400..500).contains(&answer.status()), "CONNECT {target}:\n{}", answer.head);
    }
}

#[test]
fn an_unknown_room_is_refused_with_and_without_an_upgrade() {
    let server = TestServer::start("");
    for path in ["/nowhere", "/echo/", "/ECHO", "//", "/%65cho/x"] {
        let upgrade = request(&format!("GET {path} HTTP/1.1"), &GOOD);
        let answer = ask_and_expect_end(server.address, path, upgrade.as_bytes());
        answer.expect_refusal(path, 404, "no_such_room");
        get(server.address, path, &[]).expect_refusal(path, 404, "no_such_room");
        let events = get(server.address, path, &["Accept: text/event-stream"]);
        events.expect_refusal(path, 404, "no_such_room");
    }
}

// Origins.

fn handshake_from(host: &str, origin: &str) -> String {
    handshake_with("Host", &format!("Host: {host}\r\nOrigin: {origin}"))
}

#[test]
fn by_default_pages_from_this_machine_from_files_and_from_the_same_host_pass() {
    let server = TestServer::start("");
    for (host, origin) in [
        ("localhost:6789", "null"),
        ("localhost:6789", "http://localhost:6789"),
        ("localhost:6789", "https://localhost:8443"),
        ("localhost:6789", "http://127.0.0.1:3000"),
        ("127.0.0.1:6789", "http://[::1]:3000"),
        ("counter.example:6789", "http://counter.example"),
        ("counter.example", "https://counter.example:8443"),
    ] {
        let answer = ask(server.address, &handshake_from(host, origin));
        assert_eq!(answer.status(), 101, "{origin} to {host}:\n{}", answer.head);
    }
}

#[test]
fn pages_from_elsewhere_are_refused() {
    let server = TestServer::start("");
    for (host, origin) in [
        ("localhost:6789", "http://other.example"),
        ("localhost:6789", "http://localhost.other.example"),
        ("counter.example", "http://counter.example.other.example"),
        ("counter.example", "http://other.example/counter.example"),
        ("counter.example", "http://counter.example@other.example"),
        ("localhost:6789", ""),
        ("localhost:6789", "nonsense"),
        ("localhost:6789", "null\r\nOrigin: null"),
    ] {
        let name = format!("{origin:?} to {host}");
        let request = handshake_from(host, origin);
        let answer = ask_and_expect_end(server.address, &name, request.as_bytes());
        answer.expect_refusal(&name, 403, "origin_forbidden");
    }
    let page = ["Accept: text/event-stream", "Origin: http://other.example"];
    get(server.address, "/", &page).expect_refusal("an event stream", 403, "origin_forbidden");
}

#[test]
fn a_configured_origin_passes_and_no_other() {
    let server = TestServer::start("[origins]\nallow = [\"https://app.example\"]\n");
    for (origin, status) in [
        ("https://app.example", 101),
        ("http://app.example", 403),
        ("https://app.example:444", 403),
        ("http://localhost:6789", 403),
        ("null", 403),
    ] {
        let answer = ask(server.address, &handshake_from("localhost:6789", origin));
        assert_eq!(answer.status(), status, "{origin}:\n{}", answer.head);
    }
}

#[test]
fn a_refusal_arrives_though_the_client_sends_on() {
    let server = TestServer::start("");
    let name = "with frames behind it";
    let frame = masked(0x81, &[b'x'; 100]);
    let mut client = RawClient::connect(server.address);
    let request = handshake_from("localhost", "http://other.example").into_bytes();
    client.send_bytes(&[request, frame.repeat(200)].concat());
    let answer = Answer::read(&mut client, true);
    answer.expect_refusal(name, 403, "origin_forbidden");
    assert_eq!(client.read_to_end().expect("an end, not a reset"), b"", "after the refusal");
    // A server that did not read on would reset the connection at the first of these.
    for _ in 0..200 {
        client.send_bytes(&frame);
    }
}

// Limits.

/// A good handshake, and its answer.
fn try_open(mut client: RawClient) -> (RawClient, Answer) {
    client.send_bytes(request("GET / HTTP/1.1", &GOOD).as_bytes());
    let answer = Answer::read(&mut client, true);
    (client, answer)
}

#[test]
fn the_server_has_max_connections_places_and_gives_them_again() {
    let server = TestServer::start("[limits]\nmax_connections = 2\n");
    let first = RawClient::open(server.address, "/");
    let mut second = RawClient::open(server.address, "/");
    let (_, full) = try_open(RawClient::connect(server.address));
    full.expect_refusal("a third connection", 503, "server_full");
    full.expect_header("retry-after", "5");
    let events = get(server.address, "/", &["Accept: text/event-stream"]);
    events.expect_refusal("an event stream", 503, "server_full");
    assert_eq!(get(server.address, "/health/", &[]).status(), 200, "health has no place to take");

    drop(first);
    let third = RawClient::open_when_there_is_room(server.address, "/");
    second.send(0x88, b"\x03\xE8");
    second.read_to_end().expect("the closing handshake ends");
    drop(second);
    let fourth = RawClient::open_when_there_is_room(server.address, "/");
    third.reset();
    let _fifth = RawClient::open_when_there_is_room(server.address, "/");
    let (_, full) = try_open(RawClient::connect(server.address));
    full.expect_refusal("one too many again", 503, "server_full");
    drop(fourth);
}

#[test]
fn an_event_stream_takes_a_place_and_gives_it_again() {
    let server = TestServer::start("[limits]\nmax_connections = 1\n");
    let mut stream = RawClient::connect(server.address);
    let events = request("GET / HTTP/1.1", &["Host: 127.0.0.1", "Accept: text/event-stream"]);
    stream.send_bytes(events.as_bytes());
    assert_eq!(Answer::read(&mut stream, false).status(), 200);
    let (_, full) = try_open(RawClient::connect(server.address));
    full.expect_refusal("beside an event stream", 503, "server_full");
    drop(stream);
    RawClient::open_when_there_is_room(server.address, "/");
}

#[test]
fn refusals_take_no_place() {
    let server = TestServer::start("[limits]\nmax_connections = 1\n");
    let refused = [
        handshake_from("localhost", "http://other.example"),
        handshake_with("Sec-WebSocket-Version", ""),
        handshake_with("Sec-WebSocket-Key", ""),
        request("GET /nowhere HTTP/1.1", &GOOD),
    ];
    let mut waiting = Vec::new();
    for request in &refused {
        let mut client = RawClient::connect(server.address);
        client.send_bytes(request.as_bytes());
        assert!(Answer::read(&mut client, true).status() >= 400, "{request}must be refused");
        waiting.push(client);
    }
    RawClient::open(server.address, "/");
}

fn connect_from(local: Ipv4Addr, server: SocketAddr) -> RawClient {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((local, 0)).into()).expect("all of 127.0.0.0/8 is this machine");
    socket.connect(&server.into()).expect("the server listens");
    RawClient::on(TcpStream::from(socket))
}

#[test]
#[cfg(target_os = "linux")]
fn an_address_has_its_places_and_leaves_those_of_others_alone() {
    let server = TestServer::start("[limits]\nmax_connections_per_address = 1\n");
    let first = RawClient::open(server.address, "/");
    let (_, full) = try_open(RawClient::connect(server.address));
    full.expect_refusal("a second connection", 429, "address_full");
    full.expect_header("retry-after", "5");
    let other = Ipv4Addr::new(127, 0, 0, 2);
    let (_other, answer) = try_open(connect_from(other, server.address));
    assert_eq!(answer.status(), 101, "another address:\n{}", answer.head);
    drop(first);
    RawClient::open_when_there_is_room(server.address, "/");
    let (_, full) = try_open(connect_from(other, server.address));
    full.expect_refusal("the other address, a second time", 429, "address_full");
}

#[test]
fn a_handshake_that_is_not_finished_in_time_is_ended() {
    let server = TestServer::start("[limits]\nhandshake_timeout = \"150ms\"\n");
    let (mut joined, _) = RawClient::join_counter(server.address);
    let good = request("GET / HTTP/1.1", &GOOD);
    for length in [0, 3, 20, good.len() - 1] {
        let mut client = RawClient::connect(server.address);
        client.send_bytes(&good.as_bytes()[..length]);
        let end = client.read_to_end();
        let said = end.unwrap_or_else(|error| panic!("{length} bytes: not ended: {error}"));
        let said = String::from_utf8_lossy(&said);
        let is_timeout = said.is_empty() || said.starts_with("HTTP/1.1 408 ");
        assert!(is_timeout, "{length} bytes of a handshake were answered with {said}");
    }
    joined.send(0x89, b"still here");
    let pong = joined.read();
    assert_eq!((pong.opcode, pong.text()), (0xA, "still here"), "a session has no such timeout");
}

#[test]
fn a_head_that_never_ends_is_refused() {
    let server = TestServer::start("");
    let mut client = RawClient::connect(server.address);
    client.send_bytes(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    let line = format!("X-More: {}\r\n", "m".repeat(1000));
    // Far beyond what sockets buffer: only a server that reads on without end takes all of it.
    let is_ended = (0..64 * 1024).any(|_| client.socket.write_all(line.as_bytes()).is_err());
    assert!(is_ended, "the server took 64 MiB of headers");
}

// Plain HTTP.

#[test]
fn pages_come_with_their_type_and_may_do_little() {
    let server = TestServer::start("");
    for (path, content_type, part) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/?a=b", "text/html; charset=utf-8", "<!doctype html>"),
        ("/web/index.html", "text/html; charset=utf-8", "<!doctype html>"),
        ("/web/statesync.js", "text/javascript; charset=utf-8", "WebSocket"),
        ("/web/counter.css", "text/css; charset=utf-8", "{"),
        ("/web/", "text/html; charset=utf-8", "<title>rooms"),
    ] {
        let answer = get(server.address, path, &["Accept: */*"]);
        assert_eq!(answer.status(), 200, "{path}:\n{}", answer.head);
        answer.expect_header("content-type", content_type);
        answer.expect_header("x-content-type-options", "nosniff");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; "), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        let body = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
        assert!(body.contains(&part.to_ascii_lowercase()), "{path} is not what it should be");
    }
}

#[test]
fn without_a_room_of_its_own_the_first_address_lists_the_rooms() {
    let room = "[[room]]\npath = \"/elsewhere\"\nkind = \"counter\"\n";
    let server = TestServer::start(room);
    let answer = get(server.address, "/", &["Accept: text/html"]);
    assert_eq!(answer.status(), 200, "{}", answer.head);
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(body.contains("<title>Rooms"), "this is not the list of rooms:\n{body}");
    let stream = get(server.address, "/", &["Accept: text/event-stream"]);
    stream.expect_refusal("an event stream of no room", 404, "no_such_room");
}

#[test]
fn a_page_that_the_client_has_is_not_sent_again() {
    let server = TestServer::start("");
    for path in ["/", "/web/statesync.js"] {
        let first = get(server.address, path, &[]);
        let tag = first.header("etag").expect("an ETag").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".into()] {
            let again = get(server.address, path, &[&format!("If-None-Match: {known}")]);
            assert_eq!(again.status(), 304, "{path} with {known}:\n{}", again.head);
            again.expect_header("etag", &tag);
            assert!(again.body.is_empty(), "{path}: a 304 has no body");
        }
        let other = get(server.address, path, &["If-None-Match: \"other\""]);
        assert_eq!((other.status(), other.body), (200, first.body), "{path} with another tag");
    }
}

#[test]
fn health_is_plain_text() {
    let server = TestServer::start("");
    for path in ["/health", "/health/"] {
        let answer = get(server.address, path, &[]);
        assert_eq!((answer.status(), answer.body.as_slice()), (200, b"OK\n".as_slice()), "{path}");
        answer.expect_header("content-type", "text/plain; charset=utf-8");
    }
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    let server = TestServer::start("");
    for path in ["/", "/web/statesync.js", "/health/"] {
        let full = get(server.address, path, &[]);
        let mut client = RawClient::connect(server.address);
        let lines = ["Host: 127.0.0.1", "Connection: close"];
        client.send_bytes(request(&format!("HEAD {path} HTTP/1.1"), &lines).as_bytes());
        let head = Answer::read(&mut client, false);
        assert_eq!(head.status(), 200, "HEAD {path}:\n{}", head.head);
        for name in ["content-length", "content-type", "etag"] {
            assert_eq!(head.header(name), full.header(name), "{name} of HEAD {path}");
        }
        let body = client.read_to_end().expect("the connection ends as asked");
        assert!(body.is_empty(), "HEAD {path} has a body of {} bytes", body.len());
    }
}

#[test]
fn other_methods_are_refused() {
    let server = TestServer::start("");
    let (read, act) = ("GET, HEAD", "GET, HEAD, POST, OPTIONS");
    let paths = [
        ("/", act),
        ("/echo", act),
        ("/web/statesync.js", read),
        ("/health/", read),
        ("/api/rooms", read),
    ];
    for (path, allowed) in paths {
        for method in ["POST", "PUT", "DELETE"] {
            if allowed.contains(method) {
                continue;
            }
            let name = format!("{method} {path}");
            let lines = ["Host: 127.0.0.1", "Content-Length: 2"];
            let request = request(&format!("{name} HTTP/1.1"), &lines) + "{}";
            let answer = ask(server.address, &request);
            answer.expect_refusal(&name, 405, "method_not_allowed");
            answer.expect_header("allow", allowed);
        }
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let server = TestServer::start("");
    for path in ["/web/nothing.js", "/web/..%2FCargo.toml", "/web/../Cargo.toml", "/web"] {
        let answer = get(server.address, path, &[]);
        assert_eq!(answer.status(), 404, "{path}:\n{}", answer.head);
        answer.expect_header("content-type", "application/json");
    }
}

#[test]
fn a_room_without_a_page_says_what_it_speaks() {
    let server = TestServer::start("");
    let answer = get(server.address, "/echo", &[]);
    answer.expect_refusal("GET /echo", 426, "upgrade_required");
    answer.expect_header("upgrade", "websocket");
}
