//! permessage-deflate (RFC 7692) against a real server, byte by byte. That clients which others
//! wrote agree on it and are understood is in `tests/clients.rs`, and in Autobahn's groups 12, 13.

mod support;

use statesync::protocol::{
    Compression,
    deflate::{self, Inflater},
};
use support::{Frame, RawClient, TestServer, process::Process};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
const NO_TAKEOVERS: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const V1: &str = "Sec-WebSocket-Protocol: statesync.v1\r\n";

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;

/// "Hello" (RFC 7692, section 7.2.3.1).
const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];

fn compress(message: &[u8]) -> Vec<u8> {
    let how = Compression { window_bits: 15, level: 9, memory_level: 8, min_bytes: 0 };
    deflate::compress(message, how).expect("it gets shorter")
}

/// The value of `Sec-WebSocket-Extensions` in a head.
fn extensions(head: &str) -> Option<&str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut values =
        lines.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-extensions"));
    let value = values.next().map(|(_, value)| value);
    assert!(values.next().is_none(), "it must stand once:\n{head}");
    value
}

/// A client in the room at `path` with whom compression was agreed.
fn open(server: &TestServer, path: &str, lines: &str) -> RawClient {
    let mut client = RawClient::connect(server.address);
    let head = client.ask(path, &format!("{OFFER}{lines}"));
    assert_eq!(extensions(&head).map(|agreed| &agreed[..18]), Some("permessage-deflate"), "{head}");
    client
}

/// The message in a frame, compressed or not.
fn message(frame: &Frame) -> Vec<u8> {
    match frame.is_compressed {
        true => Inflater::default().inflate(&frame.payload, 1 << 20).expect("DEFLATE").to_vec(),
        false => frame.payload.clone(),
    }
}

fn event(frame: &Frame) -> serde_json::Value {
    serde_json::from_slice(&message(frame)).expect("events are JSON")
}

#[track_caller]
fn expect_closed(name: &str, mut client: RawClient, code: u16) {
    loop {
        let frame = client.read();
        if frame.opcode == 0x8 {
            assert_eq!(frame.close_code(), Some(code), "{name}: {frame:?}");
            return;
        }
    }
}

#[test]
fn what_is_agreed_stands_in_the_answer() {
    let usual = "";
    let small = "[compression]\nwindow_bits = 10";
    let off = "[compression]\nenabled = false";
    let with = |more: &str| Some(format!("{NO_TAKEOVERS}{more}"));
    let cases = [
        (usual, "permessage-deflate", with("")),
        (usual, "permessage-deflate; client_max_window_bits", with("")),
        (usual, "permessage-deflate; server_no_context_takeover", with("")),
        (usual, "permessage-deflate; client_no_context_takeover", with("")),
        (usual, "permessage-deflate; server_max_window_bits=9", with("; server_max_window_bits=9")),
        (
            usual,
            "permessage-deflate; server_max_window_bits=8\r\nSec-WebSocket-Extensions: \
             permessage-deflate; server_max_window_bits=\"12\"",
            with("; server_max_window_bits=12"),
        ),
        (usual, "permessage-deflate; server_max_window_bits=8", None),
        (
            usual,
            "permessage-deflate; unknown, permessage-deflate; client_no_context_takeover=1",
            None,
        ),
        (usual, "permessage-bzip2", None),
        (
            small,
            "permessage-deflate; client_max_window_bits",
            with("; server_max_window_bits=10; client_max_window_bits=10"),
        ),
        (small, "permessage-deflate", with("; server_max_window_bits=10")),
        (off, "permessage-deflate", None),
    ];
    for toml in [usual, small, off] {
        let server = TestServer::start(toml);
        for (_, offer, expected) in cases.iter().filter(|(of, _, _)| *of == toml) {
            for protocol in ["", V1] {
                let mut client = RawClient::connect(server.address);
                let lines = format!("Sec-WebSocket-Extensions: {offer}\r\n{protocol}");
                let head = client.ask("/", &lines);
                assert!(head.starts_with("HTTP/1.1 101 "), "{offer} with {toml:?}:\n{head}");
                assert_eq!(extensions(&head), expected.as_deref(), "{offer} with {toml:?}");
                assert_eq!(client.read().opcode, TEXT, "the session begins");
            }
        }
    }
}

#[test]
fn without_an_agreement_a_compressed_message_is_refused() {
    let server = TestServer::start("");
    let mut client = RawClient::open(server.address, "/echo");
    client.send(FIN | RSV1 | TEXT, &HELLO);
    expect_closed("nothing was offered", client, 1002);
    let server = TestServer::start("[compression]\nenabled = false");
    let mut client = RawClient::connect(server.address);
    assert_eq!(extensions(&client.ask("/echo", OFFER)), None);
    client.send(FIN | RSV1 | TEXT, &HELLO);
    expect_closed("it is off", client, 1002);
}

#[test]
fn compressed_messages_are_heard_whole_and_in_fragments_and_plain_ones_too() {
    let server = TestServer::start("");
    let mut client = open(&server, "/echo", "");
    let mut expect = |name: &str, frames: &[(u8, &[u8])], opcode: u8, expected: &[u8]| {
        frames.iter().for_each(|(first_byte, payload)| client.send(*first_byte, payload));
        let frame = client.read();
        assert_eq!((frame.opcode, message(&frame)), (opcode, expected.to_vec()), "{name}");
    };
    expect("whole", &[(FIN | RSV1 | TEXT, &HELLO)], TEXT, b"Hello");
    expect("plain", &[(FIN | TEXT, b"Hello")], TEXT, b"Hello");
    expect("empty", &[(FIN | RSV1 | TEXT, &[0x00])], TEXT, b"");
    expect("binary", &[(FIN | RSV1 | BINARY, &HELLO)], BINARY, b"Hello");
    let fragments = [(RSV1 | TEXT, &HELLO[..2]), (0, &HELLO[2..2]), (FIN, &HELLO[2..])];
    expect("fragments", &fragments, TEXT, b"Hello");
    expect("plain fragments", &[(TEXT, b"Hel"), (FIN, b"lo")], TEXT, b"Hello");
}

#[test]
fn answers_of_every_length_come_back_compressed_where_that_pays() {
    let server = TestServer::start("[limits]\nmax_message = \"128KiB\"");
    let mut client = open(&server, "/echo", "");
    for length in [0, 1, 125, 126, 127, 511, 512, 513, 65_535, 65_536, 70_000] {
        let text = "statesync, ".repeat(length / 11 + 1);
        for (opcode, sent) in [(TEXT, &text.as_bytes()[..length]), (BINARY, &vec![7; length])] {
            client.send(FIN | opcode, sent);
            let frame = client.read();
            assert!(frame.opcode == opcode && message(&frame) == sent, "{length} bytes");
            assert_eq!(frame.is_compressed, length >= 512, "{length} bytes");
        }
    }
    // Bytes in which nothing comes again.
    let noise: Vec<u8> =
        (0..600_u32).map(|i| (i.wrapping_mul(i).wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    client.send(FIN | BINARY, &noise);
    let frame = client.read();
    assert!(message(&frame) == noise && frame.payload.len() <= 600, "{frame:?}");
}

#[test]
fn one_room_tells_everyone_the_same_in_every_form() {
    let server = TestServer::start("[compression]\nmin_size = \"0B\"");
    let small = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n";
    let mut clients: Vec<_> = [OFFER, small, ""]
        .into_iter()
        .flat_map(|offer| [format!("{offer}{V1}"), offer.to_owned()])
        .map(|lines| {
            let mut client = RawClient::connect(server.address);
            let head = client.ask("/", &lines);
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            client
        })
        .collect();
    let is_compressed = |client: &mut RawClient| {
        let frame = client.read();
        assert_eq!(event(&frame)["type"], "welcome", "{frame:?}");
        frame.is_compressed
    };
    assert!(is_compressed(&mut clients[0]) && is_compressed(&mut clients[2]));
    assert!(!is_compressed(&mut clients[4]), "it did not offer anything");
    for sender in 0..clients.len() {
        let value = sender as u64 + 1;
        clients[sender].send(FIN | TEXT, br#"{"action":"plus"}"#);
        for (number, client) in clients.iter_mut().enumerate() {
            loop {
                let event = event(&client.read());
                if event["type"] == "state" && event["value"] == value {
                    break;
                }
                let is_early = event["value"].as_u64().is_none_or(|early| early < value);
                assert!(is_early, "client {number} waits for {value}, got {event}");
            }
        }
    }
    // A refusal that is long, because it names what was sent.
    let unknown = format!(r#"{{"action":"{}"}}"#, "plus ".repeat(12));
    clients[0].send(FIN | TEXT, unknown.as_bytes());
    let frame = clients[0].read();
    assert_eq!(event(&frame)["code"], "unknown_action", "{frame:?}");
}

#[test]
fn reserved_bits_are_refused_where_no_message_begins() {
    let server = TestServer::start("");
    for opcode in [0x8, 0x9, 0xA] {
        let mut client = open(&server, "/echo", "");
        client.send(FIN | RSV1 | opcode, b"");
        expect_closed("a control frame", client, 1002);
    }
    for start in [RSV1 | TEXT, TEXT] {
        let mut client = open(&server, "/echo", "");
        client.send(start, b"");
        client.send(FIN | RSV1, &HELLO);
        expect_closed("a continuation", client, 1002);
    }
    for bits in [0x20, 0x10, 0x70] {
        let mut client = open(&server, "/echo", "");
        client.send(FIN | bits | TEXT, &HELLO);
        expect_closed("other bits", client, 1002);
    }
}

#[test]
fn what_cannot_be_inflated_is_closed_with_1007_and_others_go_on() {
    let server = TestServer::start("");
    let mut other = open(&server, "/echo", "");
    let not_text = compress(&[0xC3; 64]);
    for (name, payload) in
        [("garbage", b"garbage".as_slice()), ("cut", &HELLO[..4]), ("not UTF-8", &not_text)]
    {
        let mut client = open(&server, "/echo", "");
        client.send(FIN | RSV1 | TEXT, payload);
        expect_closed(name, client, 1007);
        let mut client = open(&server, "/echo", "");
        client.send(RSV1 | TEXT, &payload[..2]);
        client.send(FIN, &payload[2..]);
        expect_closed(name, client, 1007);
        other.send(FIN | RSV1 | TEXT, &HELLO);
        assert_eq!(message(&other.read()), b"Hello", "after {name}");
    }
}

/// Each of these would become 60 MiB.
#[cfg(target_os = "linux")]
#[test]
fn a_bomb_costs_no_more_than_the_largest_message() {
    let bomb = compress(&vec![0; 60 << 20]);
    assert!(bomb.len() < 65_536, "{} bytes are refused for their own length", bomb.len());
    let (process, address) = Process::serve("");
    let open = || {
        let mut client = RawClient::connect(address);
        assert!(extensions(&client.ask("/echo", OFFER)).is_some());
        client
    };
    // All that a thread needs for compression, it has from here on.
    for _ in 0..8 {
        let mut client = open();
        client.send(FIN | RSV1 | TEXT, &compress(&[b' '; 60_000]));
        assert_eq!(message(&client.read()), [b' '; 60_000]);
    }
    let before = process.peak_resident_bytes();
    for start in 0..16 {
        let mut client = open();
        match start % 2 {
            0 => client.send(FIN | RSV1 | BINARY, &bomb),
            _ => {
                client.send(RSV1 | BINARY, &bomb[..30_000]);
                client.send(FIN, &bomb[30_000..]);
            }
        }
        expect_closed("a bomb", client, 1009);
    }
    let grown = process.peak_resident_bytes() - before;
    assert!(grown < 16 << 20, "16 bombs made the server grow by {grown} bytes");
}

/// Some kilobytes that become 12 MB of messages, from each of twenty clients that do not read yet.
#[cfg(target_os = "linux")]
#[test]
fn what_many_small_frames_become_waits_its_turn_and_is_all_answered() {
    const MESSAGES: usize = 200;
    let (process, address) = Process::serve("");
    let payload = compress(&[b' '; 60_000]);
    let all = support::masked(FIN | RSV1 | TEXT, &payload).repeat(MESSAGES);
    let open = || {
        let mut client = RawClient::connect(address);
        assert!(extensions(&client.ask("/echo", OFFER)).is_some());
        client
    };
    let mut first = open();
    first.send_bytes(&all);
    (0..MESSAGES).for_each(|_| assert_eq!(message(&first.read()).len(), 60_000));
    let before = process.peak_resident_bytes();
    let mut clients: Vec<_> = (0..20).map(|_| open()).collect();
    clients.iter_mut().for_each(|client| client.send_bytes(&all));
    for client in &mut clients {
        (0..MESSAGES).for_each(|_| assert_eq!(message(&client.read()).len(), 60_000));
    }
    let grown = process.peak_resident_bytes() - before;
    assert!(grown < 48 << 20, "the server grew by {grown} bytes");
}
