//! Server-sent events (WHATWG HTML, section 9.2) over a raw socket.

mod support;

use std::{
    io::{BufRead, BufReader, Chain, Cursor, ErrorKind, Read},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};
use support::{RawClient, TestServer, masked};

const PLUS: &str = r#"{"action":"plus"}"#;

/// A client of an event stream: it takes the chunks apart (RFC 9112, section 7.1).
struct EventSource {
    /// What came together with the head, then the rest.
    reader: BufReader<Chain<Cursor<Vec<u8>>, TcpStream>>,
    socket: TcpStream,
    head: String,
    text: String,
}

/// What an event stream says next.
#[derive(Debug, PartialEq, Eq)]
enum Block {
    /// Lines up to an empty one.
    Lines(String),
    /// The last chunk: the stream ends as it should.
    LastChunk,
}

impl EventSource {
    fn open(address: SocketAddr) -> Self {
        let source = Self::request(RawClient::connect(address), "");
        assert!(source.head.starts_with("HTTP/1.1 200 "), "refused:\n{}", source.head);
        source
    }

    /// Asks for the counter's events with further header lines. The head is kept in lower case.
    fn request(mut client: RawClient, headers: &str) -> Self {
        let head = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n";
        client.send_bytes(format!("{head}{headers}\r\n").as_bytes());
        let head = client.read_head().to_ascii_lowercase().replacen("http/", "HTTP/", 1);
        let (socket, received) = client.into_parts();
        let rest = socket.try_clone().expect("a second handle of the socket");
        let reader = BufReader::new(Cursor::new(received).chain(rest));
        Self { reader, socket, head, text: String::new() }
    }

    fn next(&mut self) -> Block {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                let lines = std::mem::replace(&mut self.text, rest);
                return Block::Lines(lines[..end].to_owned());
            }
            match read_chunk(&mut self.reader) {
                Some(chunk) => self.text.push_str(&chunk),
                None => return Block::LastChunk,
            }
        }
    }

    /// The next event, comments left out.
    #[track_caller]
    fn next_event(&mut self) -> serde_json::Value {
        loop {
            match self.next() {
                Block::Lines(lines) if lines.starts_with(':') => {}
                Block::Lines(lines) => {
                    let data = lines
                        .lines()
                        .find_map(|line| line.strip_prefix("data:"))
                        .unwrap_or_else(|| {
                            panic!("a block has a data line, not {lines:?}");
                        });
                    return serde_json::from_str(data).expect("events are JSON");
                }
                Block::LastChunk => panic!("an event was expected, but the stream ended"),
            }
        }
    }

    /// Reads `retry:` and what a newcomer gets.
    #[track_caller]
    fn expect_start(&mut self, users: u64, value: i64) {
        let retry = self.next();
        let is_retry = matches!(&retry, Block::Lines(lines) if lines.starts_with("retry:"));
        assert!(is_retry, "first it is said when to come back, not {retry:?}");
        assert_eq!(self.next_event(), serde_json::json!({ "type": "users", "count": users }));
        assert_eq!(self.next_event(), serde_json::json!({ "type": "state", "value": value }));
    }

    fn reset(self) {
        let socket = socket2::SockRef::from(&self.socket);
        socket.set_linger(Some(Duration::ZERO)).expect("a socket option");
    }
}

/// One chunk; `None` for the last.
fn read_chunk(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a chunk in time");
    let size = usize::from_str_radix(line.trim_end(), 16);
    let size = size.unwrap_or_else(|_| panic!("a chunk's size was expected, not {line:?}"));
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk).expect("the chunk is whole");
    assert!(chunk.ends_with(b"\r\n"), "a chunk ends with a line end");
    chunk.truncate(size);
    (size > 0).then(|| String::from_utf8(chunk).expect("the stream is UTF-8"))
}

#[test]
fn the_head_says_what_it_is_and_that_it_must_not_be_stored() {
    let server = TestServer::start("");
    let source = EventSource::open(server.address);
    for line in [
        "content-type: text/event-stream",
        "cache-control: no-store",
        "transfer-encoding: chunked",
        "x-accel-buffering: no",
    ] {
        assert!(source.head.contains(line), "{line:?} is missing:\n{}", source.head);
    }
    let allows = "access-control-allow-origin";
    assert!(!source.head.contains(allows), "nobody asked from a page:\n{}", source.head);
}

#[test]
fn a_newcomer_gets_users_and_state_and_then_every_state_as_a_websocket_does() {
    let server = TestServer::start("");
    let (mut actor, _) = RawClient::join_counter(server.address);
    actor.send_text(PLUS);
    actor.wait_for_state(1);
    let mut source = EventSource::open(server.address);
    source.expect_start(2, 1);
    actor.wait_for_users(2);
    for value in 2..=100 {
        actor.send_text(PLUS);
        let seen = actor.read_event();
        assert_eq!(seen["value"], value);
        assert_eq!(source.next_event(), seen, "both see the same event");
    }
    let (mut newcomer, _) = RawClient::join_counter(server.address);
    assert_eq!(source.next_event(), actor.read_event(), "both see the newcomer");
    newcomer.send(0x88, b"");
    assert_eq!(source.next_event()["count"], 2, "and both see it leave");
}

#[test]
fn a_list_of_accepted_types_gets_the_stream_too_and_any_type_gets_the_page() {
    let server = TestServer::start("");
    for (accept, is_stream) in [
        ("text/event-stream", true),
        ("text/html, TEXT/EVENT-STREAM;q=0.9", true),
        ("*/*", false),
        ("text/html", false),
    ] {
        let mut client = RawClient::connect(server.address);
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
        client.send_bytes(head.as_bytes());
        let head = client.read_head().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "Accept: {accept}:\n{head}");
        let got_stream = head.contains("content-type: text/event-stream");
        assert_eq!(got_stream, is_stream, "Accept: {accept}:\n{head}");
    }
}

/// Nobody would ever read the events.
#[test]
fn a_head_request_is_answered_and_does_not_count_as_a_user() {
    let server = TestServer::start("[delivery]\npresence_interval = \"0s\"\n");
    let (mut watcher, _) = RawClient::join_counter(server.address);
    let mut client = RawClient::connect(server.address);
    let head = b"HEAD / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    client.send_bytes(head);
    assert!(client.read_head().starts_with("HTTP/1.1 200 "));
    watcher.send_text(PLUS);
    assert_eq!(watcher.read_event()["type"], "state", "nobody joined");
    let rest = client.read_to_end().expect("the answer has an end");
    assert!(rest.is_empty(), "an answer to HEAD has no body: {rest:?}");
}

#[test]
fn a_stream_counts_as_a_user_until_it_ends_or_is_reset() {
    let server = TestServer::start("");
    let (mut watcher, _) = RawClient::join_counter(server.address);
    for leave in [drop::<EventSource>, EventSource::reset] {
        let mut source = EventSource::open(server.address);
        source.expect_start(2, 0);
        watcher.wait_for_users(2);
        leave(source);
        watcher.wait_for_users(1);
    }
}

#[test]
fn a_stream_that_ends_its_own_half_has_left() {
    let server = TestServer::start("");
    let (mut watcher, _) = RawClient::join_counter(server.address);
    let mut source = EventSource::open(server.address);
    source.expect_start(2, 0);
    watcher.wait_for_users(2);
    source.socket.shutdown(Shutdown::Write).expect("the socket is open");
    watcher.wait_for_users(1);
}

#[test]
fn a_quiet_stream_gets_comments() {
    let server = TestServer::start("[heartbeat]\ninterval = \"50ms\"\ntimeout = \"200ms\"\n");
    let mut source = EventSource::open(server.address);
    source.expect_start(1, 0);
    // Longer than interval and timeout together: a stream cannot answer, and need not.
    for number in 1..=10 {
        match source.next() {
            Block::Lines(lines) => assert_eq!(lines, ":", "block {number} while nothing happens"),
            Block::LastChunk => panic!("the stream ended at block {number}"),
        }
    }
}

#[test]
fn a_page_of_a_foreign_origin_is_refused_and_an_allowed_one_may_read() {
    let server = TestServer::start("[origins]\nallow = [\"https://example.com\"]\n");
    let request = |origin: &str| {
        let headers = format!("Origin: {origin}\r\n");
        EventSource::request(RawClient::connect(server.address), &headers).head
    };
    let refused = request("https://example.org");
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(!refused.contains("access-control-allow-origin"), "{refused}");
    let allowed = request("https://example.com");
    assert!(allowed.starts_with("HTTP/1.1 200 "), "{allowed}");
    assert!(allowed.contains("access-control-allow-origin: https://example.com"), "{allowed}");
    assert!(allowed.contains("vary: ") && allowed.contains("origin"), "{allowed}");
}

#[test]
fn a_stream_takes_a_place_in_the_limits_and_gives_it_back() {
    let server = TestServer::start("[limits]\nmax_connections = 2\n");
    let (mut watcher, _) = RawClient::join_counter(server.address);
    let mut source = EventSource::open(server.address);
    source.expect_start(2, 0);
    let refused = EventSource::request(RawClient::connect(server.address), "").head;
    assert!(refused.starts_with("HTTP/1.1 503 "), "there are two already:\n{refused}");
    drop(source);
    watcher.wait_for_users(1);
    EventSource::open(server.address).expect_start(2, 0);
}

#[test]
fn a_shutdown_ends_a_stream_with_its_last_chunk() {
    let mut server = TestServer::start("");
    let mut source = EventSource::open(server.address);
    source.expect_start(1, 0);
    server.begin_stop();
    assert_eq!(source.next(), Block::LastChunk);
    let mut rest = Vec::new();
    source.reader.read_to_end(&mut rest).expect("the connection ends, and is not reset");
    assert_eq!(rest, b"", "nothing comes after the last chunk");
}

/// Sends so many states that a stream that is not read has to stop taking them.
fn flood(actor: &mut RawClient, batches: usize) {
    let batch = masked(0x81, PLUS.as_bytes()).repeat(100);
    for _ in 0..batches {
        actor.send_bytes(&batch);
        for _ in 0..100 {
            actor.wait_for("a state", |event| event["type"] == "state");
        }
    }
}

/// The kernel ends it (`TCP_USER_TIMEOUT`): its actor does not run while nobody reads.
#[cfg(target_os = "linux")]
#[test]
fn a_stream_that_takes_no_bytes_is_let_go_and_counted_out() {
    let server = TestServer::start("[heartbeat]\ninterval = \"1h\"\ntimeout = \"300ms\"\n");
    let (mut actor, _) = RawClient::join_counter(server.address);
    let mut stalled = EventSource::request(RawClient::connect_slow(server.address), "");
    actor.wait_for_users(2);
    flood(&mut actor, 200);
    actor.wait_for_users(1);
    let end = stalled.reader.read_to_end(&mut Vec::new());
    let error = end.expect_err("a stream that was cut does not end as if it were whole");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn streams_that_are_not_read_cost_bounded_memory_and_wake_up_to_the_newest_state() {
    const MAX_GROWTH_BYTES: usize = 32 * 1024 * 1024;
    let toml = "[heartbeat]\ninterval = \"1h\"\ntimeout = \"1h\"\n\
                [delivery]\nmax_pending = \"4KiB\"\n";
    let (server, address): (_, SocketAddr) = support::process::Process::serve(toml);
    let (mut actor, _) = RawClient::join_counter(address);
    let mut stalled: Vec<_> =
        (0..200).map(|_| EventSource::request(RawClient::connect_slow(address), "")).collect();
    flood(&mut actor, 1);
    let before = server.resident_bytes();
    flood(&mut actor, 199);
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < MAX_GROWTH_BYTES, "streams nobody reads took {} KiB", growth / 1024);

    let source = &mut stalled[0];
    source.next();
    let mut values = Vec::new();
    while values.last() != Some(&20_000) {
        let event = source.next_event();
        values.extend(event["value"].as_i64());
    }
    assert!(values.is_sorted(), "an older state came after a newer one");
    assert!(values.len() < 20_000, "it got every state: it was not slow");
}
