//! Clients that mean harm: each finds a limit, and nobody else notices.

mod support;

use std::{
    io::{ErrorKind, Write},
    thread,
    time::Duration,
};
use support::{RawClient, TestServer, masked, process::Process};

const PLUS: &[u8] = br#"{"action":"plus"}"#;
const PING: u8 = 0x89;

/// What a connection must not be held open with, though none of it is a handshake.
#[test]
fn an_http_connection_cannot_be_held_for_ever() {
    let server = TestServer::start("[limits]\nhandshake_timeout = \"200ms\"\n");
    let cases: [(&str, &[u8]); 4] = [
        ("nothing at all", b""),
        ("half a head", b"GET / HTTP/1.1\r\nHost: a\r\n"),
        (
            "a body that never comes",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("a second request that never ends", b"GET /health/ HTTP/1.1\r\nHost: a\r\n\r\nG"),
    ];
    for (what, bytes) in cases {
        let mut client = RawClient::connect(server.address);
        client.send_bytes(bytes);
        if let Err(error) = client.read_to_end() {
            let kind = error.kind();
            assert_eq!(kind, ErrorKind::ConnectionReset, "{what} holds the connection: {error}");
        }
    }
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
