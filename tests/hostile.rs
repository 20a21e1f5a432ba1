//! Clients that mean harm: each finds a limit, and nobody else notices.

mod support;

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    thread,
    time::Duration,
};
use support::{RawClient, TestServer, masked, process::Process};

const PLUS: &[u8] = br#"{"action":"plus"}"#;
const PING: u8 = 0x89;

/// What a connection must not be held open with, though none of it is a handshake.
#[test]
fn an_http_connection_cannot_be_held_for_ever() {
    // With less, the head itself comes too late: actix-http looks at the clock every half second.
    let server = TestServer::start("[limits]\nhandshake_timeout = \"1s\"\n");
    let address = server.address;
    let cases: [(&str, &[u8]); 7] = [
        ("nothing at all", b""),
        ("half a head", b"GET / HTTP/1.1\r\nHost: a\r\n"),
        (
            "a body that never comes",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "a body for nobody that never comes",
            b"POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "a body of a GET that never ends",
            b"GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nbody",
        ),
        (
            "a chunk as large as there are numbers",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
        ),
        ("a second request that never ends", b"GET /health/ HTTP/1.1\r\nHost: a\r\n\r\nG"),
    ];
    let held = cases.map(|(what, bytes)| {
        thread::spawn(move || {
            let mut client = RawClient::connect(address);
            client.send_bytes(bytes);
            let end = client.read_to_end();
            let is_held = end.is_err_and(|error| error.kind() != ErrorKind::ConnectionReset);
            is_held.then_some(what)
        })
    });
    let held = held.into_iter().filter_map(|case| case.join().expect("no panic"));
    assert_eq!(held.collect::<Vec<_>>(), [""; 0], "these hold the connection");
}

/// actix-http would poll such a stream without end: a whole core for one client.
#[test]
fn an_event_stream_with_requests_behind_it_is_ended() {
    let server = TestServer::start("[limits]\nhandshake_timeout = \"200ms\"\n");
    let mut client = RawClient::connect(server.address);
    client.send_bytes(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    assert!(client.read_head().starts_with("HTTP/1.1 200 "));
    let requests = b"GET /health/ HTTP/1.1\r\nHost: a\r\n\r\n".repeat(16 * 1024);
    // It may be ended while it still writes.
    let _ = client.socket.write_all(&requests);
    if let Err(error) = client.read_to_end() {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the stream goes on: {error}");
    }
    RawClient::open(server.address, "/").wait_for_users(1);
}

/// An empty pong is two bytes on the wire and far more in a queue.
#[cfg(target_os = "linux")]
#[test]
fn pings_from_those_who_do_not_read_cost_bounded_memory() {
    const CLIENTS: usize = 50;
    const MAX_GROWTH_BYTES: usize = 24 * 1024 * 1024;
    let (server, address) = Process::serve("");
    let before = server.resident_bytes();
    let pings = masked(PING, b"").repeat(16 * 1024);
    let flood = move |pings: &[u8]| {
        let client = RawClient::connect_slow(address).shake_hands("/");
        client.socket.set_write_timeout(Some(Duration::from_millis(300))).expect("an option");
        let mut socket = &client.socket;
        // Until the server reads no more of it.
        let refused = (0..64).find_map(|_| socket.write_all(pings).err());
        (client, refused)
    };
    let floods = || {
        let pings = pings.clone();
        thread::spawn(move || flood(&pings))
    };
    let floods: Vec<_> = (0..CLIENTS).map(|_| floods()).collect();
    let clients: Vec<_> =
        floods.into_iter().map(|flood| flood.join().expect("a client that is refused")).collect();
    assert!(clients.iter().all(|(_, refused)| refused.is_some()), "some are read without end");
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < MAX_GROWTH_BYTES, "{CLIENTS} clients cost {} KiB", growth / 1024);
}

/// They send ahead as far as they are let, and a client that reads sees all of it. Its kernel does
/// the reading: this thread may not run for a while.
#[test]
fn many_that_send_ahead_skip_nothing_for_one_that_reads() {
    const SENDERS: i64 = 30;
    const ACTIONS: i64 = 200;
    let server = TestServer::start("");
    let address = server.address;
    let reader = RawClient::connect_with_receive_buffer(address, 1024 * 1024);
    let mut reader = reader.shake_hands("/");
    reader.wait_for_state(0);
    let send = move || {
        let (mut sender, _) = RawClient::join_counter(address);
        sender.send_bytes(&masked(0x81, PLUS).repeat(ACTIONS as usize));
        sender.wait_for_state(SENDERS * ACTIONS);
    };
    let senders: Vec<_> = (0..SENDERS).map(|_| thread::spawn(send)).collect();
    for expected in 1..=SENDERS * ACTIONS {
        let state = reader.wait_for("the next state", |event| event["type"] == "state");
        assert_eq!(state["value"], expected, "the reader must see every value");
    }
    senders.into_iter().for_each(|sender| sender.join().expect("a sender sees the last state"));
}

/// Sends a request and reads what it is answered with, to the end. Nothing, if it was cut off.
fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut client = RawClient::connect(address);
    // It may be refused before all of it is sent.
    let _ = client.socket.write_all(request);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = client.socket.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

const DOCUMENTS: &str = r#"
[limits]
handshake_timeout = "200ms"
[[room]]
path = "/"
kind = "counter"
[[room]]
path = "/docs/{name}"
kind = "document"
max_rooms = 10
"#;

/// The head's time is one for all of it, however often some of it comes.
#[test]
fn a_head_that_comes_in_drops_is_not_waited_for() {
    let server = TestServer::start(DOCUMENTS);
    let mut client = RawClient::connect(server.address);
    let pause = Some(Duration::from_millis(5));
    client.socket.set_read_timeout(pause).expect("a socket option");
    client.send_bytes(b"GET / HTTP/1.1\r\nX-Drops: ");
    let mut buffer = [0; 1024];
    // A drop behind each wait for an answer: far more than fit into the time of a handshake.
    let is_ended = (0..4000).any(|_| {
        let waited = client.socket.read(&mut buffer);
        let is_open = waited.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        !is_open || client.socket.write_all(b"x").is_err()
    });
    assert!(is_ended, "who sends a byte now and then is waited for");
}

#[test]
fn floods_of_headers_are_refused() {
    let server = TestServer::start("");
    let with = |headers: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let value = |bytes: usize| with(&format!("X: {}\r\n", "y".repeat(bytes)));
    let cases = [
        ("100 headers", with(&"X: y\r\n".repeat(100)), "HTTP/1.1 431 "),
        ("20,000 headers", with(&"X: y\r\n".repeat(20_000)), "HTTP/1.1 431 "),
        ("a value of 200 KB", value(200_000), "HTTP/1.1 431 "),
        ("two hosts", with("Host: b\r\n"), "HTTP/1.1 400 "),
        ("a zero byte", with("X: a\0b\r\n"), "HTTP/1.1 400 "),
        ("a folded line", with("X: a\r\n b\r\n"), "HTTP/1.1 400 "),
        ("no colon", with("X\r\n"), "HTTP/1.1 400 "),
        ("two lengths", with("Content-Length: 1\r\nContent-Length: 2\r\n"), "HTTP/1.1 400 "),
        (
            "a length and chunks",
            with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            "HTTP/1.1 400 ",
        ),
        (
            "a length of 20 digits",
            with("Content-Length: 99999999999999999999\r\n"),
            "HTTP/1.1 400 ",
        ),
        // actix-http panics over it, in that connection alone.
        ("a name of 70 KB", with(&format!("{}: y\r\n", "x".repeat(70_000))), ""),
    ];
    let mut witness = RawClient::join_counter(server.address).0;
    for (what, request, expected) in cases {
        let answer = ask(server.address, request.as_bytes());
        // Where more comes than is read, a reset may overtake the answer.
        assert!(answer.is_empty() || answer.starts_with(expected), "{what}: {answer}");
        let healthy = ask(server.address, b"GET /health/ HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(healthy.starts_with("HTTP/1.1 200 "), "after {what}: {healthy}");
    }
    witness.send(PING, b"still here");
    assert_eq!(witness.read().text(), "still here");
}

/// A path is what it says: nothing is resolved, decoded or guessed, and nothing outside is reached.
#[test]
fn tricks_with_paths_lead_nowhere() {
    let server = TestServer::start(DOCUMENTS);
    let (long_name, long_path) = ("x".repeat(65), "x".repeat(70_000));
    let (long_name, long_path) = (format!("/docs/{long_name}"), format!("/docs/{long_path}"));
    let not_found = [
        "/../",
        "/docs/../",
        "/docs/..",
        "/docs/.",
        "/docs/%2e%2e",
        "/docs/%2e%2e/",
        "/docs/%C0%AE",
        "/docs/..%5c",
        "/docs/a\\b",
        "/docs/a%00",
        "/docs/a%2Fb",
        "/docs/%",
        "/docs/",
        "//",
        "//docs/a",
        "/docs//a",
        "/web/../../Cargo.toml",
        "/web/..%2F..%2FCargo.toml",
        "/api/rooms/../docs/a",
        "http://other.example//docs/a",
        "other.example:80",
        "*",
        &long_name,
    ];
    let bad =
        ["", "docs/a", "/docs/a\0", "/docs/a b", "/docs/\u{e4}", "http://", "://", &long_path];
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let statuses = [("HTTP/1.1 404 ", &not_found[..]), ("HTTP/1.1 400 ", &bad[..])];
    for (status, paths) in statuses {
        for path in paths {
            for lines in ["Accept: application/json\r\n", upgrade] {
                let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
                let answer = ask(server.address, request.as_bytes());
                let path: String = path.chars().take(80).collect();
                assert!(answer.starts_with(status), "{path:?} must be {status}: {answer}");
            }
        }
    }
    // The form in which proxies are asked (RFC 9112, section 3.2.2) is that path here.
    let absolute = "GET http://other.example/docs/a HTTP/1.1\r\nHost: a\r\n\
                    Accept: application/json\r\n\r\n";
    let answer = ask(server.address, absolute.as_bytes());
    assert!(answer.contains("\"path\":\"/docs/a\""), "{answer}");
    let rooms = ask(server.address, b"GET /api/rooms HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!rooms.contains("/docs/"), "looking makes no rooms: {rooms}");
}

#[test]
fn what_is_too_deep_too_large_or_too_long_for_a_document_is_refused_in_both_protocols() {
    let server = TestServer::start(DOCUMENTS);
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let members = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let set = |value: String| format!("{{\"action\":\"set\",\"value\":{value}}}");
    let merge = |value: String| format!("{{\"action\":\"merge\",\"patch\":{value}}}");
    let op = |op: String| format!("{{\"action\":\"patch\",\"ops\":[{op}]}}");
    let path = "/a".repeat(20_000);
    let cases = [
        ("deeper than the parser goes", set(nested(10_000)), "bad_json"),
        ("objects that deep", merge(members(5_000)), "bad_json"),
        ("deeper than a document", set(nested(65)), "too_large"),
        ("a merge that deep", merge(members(65)), "too_large"),
        (
            "an operation's value that deep",
            op(format!("{{\"op\":\"add\",\"path\":\"/a\",\"value\":{}}}", nested(65))),
            "too_large",
        ),
        ("a path that deep", op(format!("{{\"op\":\"remove\",\"path\":\"{path}\"}}")), "bad_field"),
        ("a number beyond all floats", set("1e999".into()), "bad_json"),
        ("a number of 10,000 digits", set("9".repeat(10_000)), "bad_json"),
        ("a small number of as many digits", set(format!("1e-{}", "9".repeat(10_000))), ""),
        ("a long key", merge(format!("{{\"{}\":1}}", "k".repeat(60_000))), ""),
        ("too many operations", op(vec!["0"; 1_001].join(",")), "too_large"),
    ];
    for mut client in [
        RawClient::open(server.address, "/docs/classic"),
        RawClient::open_v1(server.address, "/docs/v1"),
    ] {
        client.wait_for("the state", |event| event["type"] == "state");
        for (what, action, code) in &cases {
            client.send_text(action);
            let event = client.wait_for(what, |event| event["type"] != "users");
            match *code {
                "" => assert_eq!(event["type"], "patch", "{what} is fine: {event}"),
                code => assert_eq!(event["code"], code, "{what}: {event}"),
            }
        }
    }
}

/// A length that is too large is refused by itself, before any of it comes.
#[test]
fn a_body_that_says_that_it_is_too_large_is_refused_at_once() {
    let server = TestServer::start("");
    for length in ["65537", "9999999999", "18446744073709551615"] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let mut client = RawClient::connect(server.address);
        client.send_bytes(head.as_bytes());
        let answer = client.read_head();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{length}: {answer}");
    }
}

/// Clients that keep the server busy with frames that say nothing, each in its own way.
#[cfg(target_os = "linux")]
#[test]
fn frames_that_say_nothing_cost_bounded_memory_and_disturb_nobody() {
    const MAX_GROWTH_BYTES: usize = 24 * 1024 * 1024;
    let (server, address) = Process::serve("");
    let mut witness = RawClient::join_counter(address).0;
    let before = server.resident_bytes();
    let tiny = [masked(0x02, b""), masked(0x00, b"x").repeat(60_000)].concat();
    let floods: [(&str, Vec<u8>); 4] = [
        ("pongs", masked(0x8A, b"").repeat(300_000)),
        ("pings", masked(PING, &[0; 125]).repeat(10_000)),
        (
            "a message of empty fragments",
            [masked(0x01, b""), masked(0x00, b"").repeat(300_000)].concat(),
        ),
        ("a message of tiny fragments", tiny),
    ];
    let flooding = floods.map(|(what, bytes)| {
        thread::spawn(move || {
            let mut client = RawClient::open(address, "/");
            let mut writer = client.socket.try_clone().expect("a second handle");
            let writing = thread::spawn(move || writer.write_all(&bytes));
            // It reads, and is told nothing but what everyone is, and pongs.
            let mut state = 0;
            while state < 200 {
                let frame = client.read();
                match frame.opcode {
                    0xA => {}
                    0x9 => client.send(0x8A, &frame.payload),
                    0x1 if frame.text().contains("\"state\"") => {
                        let value = frame.text().rsplit(':').next().expect("a value");
                        state = value.trim_end_matches('}').parse().expect("a number");
                    }
                    0x1 => {}
                    other => panic!("{what} are answered with opcode {other:#x}"),
                }
            }
            (client, writing)
        })
    });
    for value in 1..=200 {
        witness.send(0x81, PLUS);
        witness.wait_for_state(value);
    }
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < MAX_GROWTH_BYTES, "the floods cost {} KiB", growth / 1024);
    for flood in flooding {
        let (_client, writing) = flood.join().expect("a flood that is served");
        writing.join().expect("no panic").expect("the server reads it all");
    }
}

/// They are far more than a worker takes; those who are there go on, those who come wait for no
/// longer than a handshake may take.
#[cfg(target_os = "linux")]
#[test]
fn half_open_connections_by_the_thousand_are_let_go_and_leave_others_alone() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const MOST: u64 = 10_000;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).expect("a soft limit may rise to the hard one");
    let count = limit.maximum.unwrap_or(MOST).saturating_sub(500).min(MOST);
    let (_server, address) = Process::serve("[limits]\nhandshake_timeout = \"1s\"\n");
    let mut witness = RawClient::join_counter(address).0;
    let mut halves = Vec::new();
    for number in 0..count {
        let mut half = RawClient::connect(address);
        half.send_bytes([&b""[..], b"G", b"GET / HTTP/1.1\r\nHost: a\r\n"][number as usize % 3]);
        halves.push(half);
        if number % 100 == 0 {
            witness.send(0x81, PLUS);
            witness.wait_for_state(1 + number as i64 / 100);
        }
    }
    let newcomer = ask(address, b"GET /health/ HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(newcomer.starts_with("HTTP/1.1 200 "), "behind {count} halves: {newcomer:?}");
    for (number, mut half) in halves.into_iter().enumerate() {
        if let Err(error) = half.read_to_end() {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "half {number} stays: {error}");
        }
    }
    RawClient::open(address, "/").wait_for_users(2);
}

/// A frame that never ends is like silence: the heartbeat ends it.
#[test]
fn half_a_frame_holds_a_connection_no_longer_than_silence() {
    let server = TestServer::start("[heartbeat]\ninterval = \"100ms\"\ntimeout = \"300ms\"\n");
    for half in [&b"\x81"[..], b"\x81\xFE\xFF\xFF", &masked(0x81, PLUS)[..9]] {
        let mut client = RawClient::open(server.address, "/");
        client.send_bytes(half);
        client.read_to_end().expect("the server ends it");
    }
    RawClient::open(server.address, "/").wait_for_users(1);
}
