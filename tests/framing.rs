//! RFC 6455 framing against a real server, byte by byte where it matters.

mod support;

use std::io::ErrorKind;
use support::{HANDSHAKE, RawClient, TestServer, masked};

const PLUS: &str = r#"{"action":"plus"}"#;
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// Longer than any test may take: an end that comes in time does not come from this timeout.
const PATIENT: &str = "[server]\nclose_timeout = \"1m\"\nshutdown_timeout = \"1m\"\n";

/// An echo room that closes after its first answer.
const ONE_ANSWER: &str = "[[room]]\npath = \"/once\"\nkind = \"echo\"\nclose_after = 1\n";

fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [code.to_be_bytes().as_slice(), reason].concat()
}

/// The start of a frame: its first byte and a 64-bit length. No mask, no payload.
fn long_header(first_byte: u8, length: u64) -> Vec<u8> {
    [[first_byte, 0x80 | 127].as_slice(), &length.to_be_bytes()].concat()
}

#[track_caller]
fn expect_echo(client: &mut RawClient, name: &str, opcode: u8, payload: &[u8]) {
    let frame = client.read();
    assert_eq!(frame.opcode, opcode, "{name}: the opcode of the answer");
    let length = frame.payload.len();
    assert!(frame.payload == payload, "{name}: {length} bytes came back for {}", payload.len());
}

/// Reads a close frame with `code`, then the end of the TCP connection: an end, not a reset.
#[track_caller]
fn expect_close(client: &mut RawClient, name: &str, code: Option<u16>) {
    let frame = client.try_read().unwrap_or_else(|error| panic!("{name}: no close frame: {error}"));
    let frame = frame.unwrap_or_else(|| panic!("{name}: TCP ended without a close frame"));
    let reason = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default());
    assert_eq!(frame.close_code(), code, "{name}: the close code (its reason: {reason:?})");
    expect_end(client, name);
}

#[track_caller]
fn expect_end(client: &mut RawClient, name: &str) {
    match client.try_read() {
        Ok(None) => {}
        Ok(Some(frame)) => panic!("{name}: after the close frame came {frame:?}"),
        Err(error) => panic!("{name}: TCP did not end after the close frame: {error}"),
    }
}

/// What a client does instead of answering.
type Ending = fn(RawClient);

#[test]
fn every_length_form_comes_back_as_it_was_sent() {
    let server = TestServer::start("");
    let mut client = RawClient::open(server.address, "/echo");
    for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let payload = vec![b'*'; length];
        for first_byte in [TEXT, BINARY] {
            client.send(first_byte, &payload);
            expect_echo(&mut client, &format!("{length} bytes"), first_byte & 0x0F, &payload);
        }
    }
}

#[test]
fn chinese_text_comes_back_though_tcp_and_frames_split_it_at_every_byte() {
    let server = TestServer::start("");
    let mut client = RawClient::open(server.address, "/echo");
    let text = "你好，世界 😀";
    for byte in masked(TEXT, text.as_bytes()) {
        client.send_bytes(&[byte]);
    }
    expect_echo(&mut client, "TCP byte by byte", 0x1, text.as_bytes());
    client.send(0x01, b"");
    for byte in text.bytes() {
        client.send(0x00, &[byte]);
    }
    client.send(0x80, b"");
    expect_echo(&mut client, "a frame for each byte", 0x1, text.as_bytes());
}

#[test]
fn a_ping_between_fragments_is_answered_at_once() {
    let server = TestServer::start("");
    let mut client = RawClient::open(server.address, "/echo");
    client.send(0x01, "你".as_bytes());
    client.send(PING, b"between");
    expect_echo(&mut client, "the pong", 0xA, b"between");
    client.send(PONG, b"unasked");
    client.send(0x80, "好".as_bytes());
    expect_echo(&mut client, "the message", 0x1, "你好".as_bytes());
}

#[test]
fn pings_are_answered_with_their_payload_in_order() {
    let server = TestServer::start("");
    let mut client = RawClient::open(server.address, "/echo");
    let payloads = [vec![], b"one".to_vec(), vec![0xFF; 125]];
    let pings: Vec<_> = payloads.iter().map(|payload| masked(PING, payload)).collect();
    client.send_bytes(&pings.concat());
    for payload in payloads {
        expect_echo(&mut client, "the pong", 0xA, &payload);
    }
}

#[test]
fn frames_that_come_in_the_same_write_as_the_handshake_are_heard() {
    let server = TestServer::start("");
    let mut client = RawClient::connect(server.address);
    let mut bytes = HANDSHAKE.replace("{path}", "/").into_bytes();
    bytes.extend(masked(TEXT, PLUS.as_bytes()));
    let cut = masked(TEXT, PLUS.as_bytes());
    let (start, rest) = cut.split_at(9);
    bytes.extend(start);
    client.send_bytes(&bytes);
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.wait_for_users(1);
    client.wait_for_state(0);
    client.wait_for_state(1);
    client.send_bytes(rest);
    client.wait_for_state(2);
}

#[test]
fn several_actions_in_one_write_are_each_applied_in_order() {
    let server = TestServer::start("");
    let (mut client, start) = RawClient::join_counter(server.address);
    client.send_bytes(&masked(TEXT, PLUS.as_bytes()).repeat(100));
    for value in start + 1..=start + 100 {
        let event = client.read_event();
        assert_eq!(event["value"], value, "each action has its state, in order: {event}");
    }
}

/// What breaks RFC 6455, and the code to close with.
fn broken_framing() -> Vec<(&'static str, Vec<u8>, u16)> {
    let mut unmasked = vec![TEXT, PLUS.len() as u8];
    unmasked.extend_from_slice(PLUS.as_bytes());
    let not_minimal = vec![TEXT, 0x80 | 126, 0, 5, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    let two_halves = [masked(0x02, &[0; 40_000]), masked(0x80, &[0; 40_000])].concat();
    let one_after_other = |first: (u8, &[u8]), second: (u8, &[u8])| {
        [masked(first.0, first.1), masked(second.0, second.1)].concat()
    };
    vec![
        ("a frame without a mask", unmasked, 1002),
        ("a reserved bit", masked(0xC1, PLUS.as_bytes()), 1002),
        ("a reserved data opcode", masked(0x83, PLUS.as_bytes()), 1002),
        ("a reserved control opcode", masked(0x8B, b""), 1002),
        ("a length not written minimally", not_minimal, 1002),
        ("a negative length", long_header(BINARY, 1 << 63), 1002),
        ("a ping of 126 bytes", masked(PING, &[0; 126]), 1002),
        ("a ping in parts", masked(0x09, b""), 1002),
        ("a continuation of nothing", masked(0x80, b"a"), 1002),
        ("a message inside another", one_after_other((0x01, b"a"), (TEXT, b"b")), 1002),
        ("a close of one byte", masked(CLOSE, &[3]), 1002),
        ("a close with code 1005", masked(CLOSE, &close_payload(1005, b"")), 1002),
        ("a close with code 999", masked(CLOSE, &close_payload(999, b"")), 1002),
        ("a close reason that is not UTF-8", masked(CLOSE, &close_payload(1000, b"\xFF")), 1007),
        ("text that is not UTF-8", masked(TEXT, b"\xC0\x80"), 1007),
        ("text that ends inside a character", masked(TEXT, "好".as_bytes().split_at(2).0), 1007),
        ("text that goes wrong before its message ends", masked(0x01, b"ab\xFFcd"), 1007),
        ("a message over the limit", masked(BINARY, &[0; 65_537]), 1009),
        ("fragments over the limit", two_halves, 1009),
        ("100 MiB announced and not sent", long_header(BINARY, 100 << 20), 1009),
    ]
}

#[test]
fn broken_framing_closes_with_its_code_and_ends_tcp_and_counts_the_user_out() {
    let server = TestServer::start(PATIENT);
    let (mut witness, _) = RawClient::join_counter(server.address);
    for (name, bytes, code) in broken_framing() {
        let (mut client, _) = RawClient::join_counter(server.address);
        witness.wait_for_users(2);
        client.send_bytes(&bytes);
        expect_close(&mut client, name, Some(code));
        witness.wait_for_users(1);
    }
    witness.send_text(PLUS);
    let event = witness.read_event();
    assert_eq!(event["value"], 1, "nothing broken changed the state: {event}");
}

#[test]
fn what_follows_broken_framing_is_not_acted_on() {
    let server = TestServer::start(PATIENT);
    let (mut client, _) = RawClient::join_counter(server.address);
    client.send_bytes(&[masked(0xC1, b""), masked(TEXT, PLUS.as_bytes()).repeat(50)].concat());
    expect_close(&mut client, "broken framing", Some(1002));
    let (_, value) = RawClient::join_counter(server.address);
    assert_eq!(value, 0, "actions after the broken frame");
}

#[test]
fn what_came_before_broken_framing_counts() {
    let server = TestServer::start(PATIENT);
    let (mut witness, _) = RawClient::join_counter(server.address);
    let (mut client, _) = RawClient::join_counter(server.address);
    client.send_bytes(&[masked(TEXT, PLUS.as_bytes()), masked(0xC1, b"")].concat());
    witness.wait_for_state(1);
    client.read_to_end().expect("TCP ends");
}

#[test]
fn a_close_is_answered_with_its_code_and_tcp_ends() {
    let server = TestServer::start(PATIENT);
    let (mut witness, _) = RawClient::join_counter(server.address);
    let cases = [
        (Some(1000), "done"),
        (Some(1000), ""),
        (Some(1001), "the page is left"),
        (Some(3000), "再见"),
        (Some(4999), &"r".repeat(123)),
        (None, ""),
    ];
    for (code, reason) in cases {
        let (mut client, _) = RawClient::join_counter(server.address);
        witness.wait_for_users(2);
        let payload = code.map_or(vec![], |code| close_payload(code, reason.as_bytes()));
        client.send(CLOSE, &payload);
        expect_close(&mut client, &format!("close {code:?} {reason:?}"), code);
        witness.wait_for_users(1);
    }
}

#[test]
fn what_follows_a_close_is_ignored() {
    let server = TestServer::start(PATIENT);
    let (mut client, _) = RawClient::join_counter(server.address);
    let late = [
        masked(TEXT, PLUS.as_bytes()),
        masked(PING, b"late"),
        masked(CLOSE, &close_payload(4000, b"")),
        vec![0xFF; 1000],
    ];
    client.send_bytes(&[masked(CLOSE, &close_payload(1000, b"")), late.concat()].concat());
    expect_close(&mut client, "the first close", Some(1000));
    let (_, value) = RawClient::join_counter(server.address);
    assert_eq!(value, 0, "an action after the close");
}

#[test]
fn a_client_that_ends_tcp_without_a_close_is_counted_out() {
    let server = TestServer::start(PATIENT);
    let (mut witness, _) = RawClient::join_counter(server.address);
    let endings: [(&str, Ending); 4] = [
        ("an end", drop),
        ("a reset", RawClient::reset),
        ("an end inside a frame", |mut client| client.send_bytes(&[TEXT, 0x85, 0, 0])),
        ("an end of sending", |mut client| {
            client.shut_down_write();
            client.read_to_end().expect("the server ends its side, too");
        }),
    ];
    for (name, end) in endings {
        println!("ended by {name}");
        let (client, _) = RawClient::join_counter(server.address);
        witness.wait_for_users(2);
        end(client);
        witness.wait_for_users(1);
    }
}

/// Opens the room, gets its one answer and the server's close frame.
fn closed_by_server(server: &TestServer) -> RawClient {
    let mut client = RawClient::open(server.address, "/once");
    client.send_text("hello");
    expect_echo(&mut client, "the answer", 0x1, b"hello");
    assert_eq!(client.read().close_code(), Some(1000), "the server closes after one answer");
    client
}

#[test]
fn the_servers_close_waits_for_the_answer() {
    let server = TestServer::start(&format!("{PATIENT}{ONE_ANSWER}"));
    let mut client = closed_by_server(&server);
    // What was under way when the server closed is not an error, and not answered.
    client.send_text("late");
    client.send(PING, b"late");
    // All of another conversation: if the server had not waited, its end would be here by now.
    drop(closed_by_server(&server));
    client.socket.set_nonblocking(true).expect("a socket option");
    let seen = client.try_read().map_err(|error| error.kind());
    assert_eq!(seen, Err(ErrorKind::WouldBlock), "the server must wait for the answer");
    client.socket.set_nonblocking(false).expect("a socket option");
    client.send(CLOSE, &close_payload(1000, b""));
    expect_end(&mut client, "after the answer");
}

#[test]
fn a_peer_that_never_answers_a_close_is_let_go_after_close_timeout() {
    let server = TestServer::start(&format!("[server]\nclose_timeout = \"100ms\"\n{ONE_ANSWER}"));
    let mut client = closed_by_server(&server);
    expect_end(&mut client, "after close_timeout");
}

#[test]
fn a_peer_that_keeps_tcp_open_after_the_closing_handshake_is_let_go_after_close_timeout() {
    // With one connection allowed, the next one gets in only when the server let go of the first.
    let limits = "close_timeout = \"100ms\"\n[limits]\nmax_connections = 1\n";
    let server = TestServer::start(&format!("[server]\n{limits}"));
    let (mut client, _) = RawClient::join_counter(server.address);
    client.send(CLOSE, &close_payload(1000, b""));
    expect_close(&mut client, "the answer", Some(1000));
    RawClient::open_when_there_is_room(server.address, "/");
    drop(client);
}

#[test]
fn broken_framing_during_the_servers_close_ends_tcp() {
    let server = TestServer::start(&format!("{PATIENT}{ONE_ANSWER}"));
    let mut client = closed_by_server(&server);
    client.send(0xC1, b"");
    expect_end(&mut client, "after broken framing");
}
