//! How the real binary ends when it is told to.

#![cfg(unix)]

mod support;

use std::{
    io::{ErrorKind, Read},
    net::TcpStream,
    time::{Duration, Instant},
};
use support::{DEADLINE, RawClient, masked, process::Process};

const PLUS: &str = r#"{"action":"plus"}"#;

/// Longer than any test may take: what ends in time does not end because of these.
const PATIENT: &str = "[server]\nclose_timeout = \"1m\"\nshutdown_timeout = \"1m\"\n";

/// Reads up to the close frame, checks its code, and returns the states before it.
#[track_caller]
fn read_to_close(client: &mut RawClient) -> Vec<i64> {
    let mut values = Vec::new();
    loop {
        let frame = client.read();
        if frame.opcode == 0x8 {
            assert_eq!(frame.close_code(), Some(1001), "the server goes away");
            return values;
        }
        let event: serde_json::Value = serde_json::from_str(frame.text()).expect("JSON");
        values.extend(event["value"].as_i64());
    }
}

/// Answers the server's close frame, reads the end of the connection (an end, not a reset), and
/// ends it, too: the server waits for that.
#[track_caller]
fn answer_close(mut client: RawClient) {
    client.send(0x88, &1001_u16.to_be_bytes());
    assert_eq!(client.try_read().expect("no reset"), None, "nothing comes after a close frame");
}

#[test]
fn sigterm_and_sigint_close_every_connection_with_1001_and_the_exit_code_is_0() {
    for signal in ["TERM", "INT"] {
        let (mut server, address) = Process::serve(PATIENT);
        let mut counter = RawClient::join_counter(address).0;
        let mut second = RawClient::join_counter(address).0;
        server.signal(signal);
        for client in [&mut counter, &mut second] {
            read_to_close(client);
        }
        answer_close(counter);
        answer_close(second);
        assert_eq!(server.exit_code(), 0, "after SIG{signal}: {}", server.stderr.text());
        let said = server.stderr.wait_for(&format!("SIG{signal}"));
        assert!(said.is_some(), "the log names the signal:\n{}", server.stderr.text());
    }
}

#[test]
fn a_server_without_connections_ends_at_once() {
    let (mut server, _) = Process::serve(PATIENT);
    server.signal("TERM");
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_signal_while_a_page_connection_is_kept_alive_does_not_wait_for_it() {
    let (mut server, address) = Process::serve(PATIENT);
    let mut browser = RawClient::connect(address);
    browser.send_bytes(b"GET /health/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(browser.read_head().starts_with("HTTP/1.1 200 "));
    server.signal("TERM");
    assert_eq!(server.exit_code(), 0);
}

/// Which of the actions were taken in before the signal nobody can know from outside. But those
/// that were have been told to everyone, sender included, before the close frame.
#[test]
fn what_was_taken_in_before_the_signal_is_answered_before_the_close_frame() {
    let (mut server, address) = Process::serve(PATIENT);
    let mut sender = RawClient::join_counter(address).0;
    let mut watcher = RawClient::join_counter(address).0;
    sender.send_text(PLUS);
    watcher.wait_for_state(1);
    sender.send_bytes(&masked(0x81, PLUS.as_bytes()).repeat(200));
    server.signal("TERM");
    let told_to_sender = read_to_close(&mut sender);
    let told_to_watcher = read_to_close(&mut watcher);
    let count = told_to_sender.len() as i64;
    assert_eq!(told_to_sender, (1..=count).collect::<Vec<_>>(), "each state, in order");
    assert_eq!(told_to_watcher, (2..=count).collect::<Vec<_>>(), "the same for everybody");
    answer_close(sender);
    answer_close(watcher);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn one_that_does_not_answer_the_close_is_let_go_after_close_timeout() {
    let toml = "[server]\nclose_timeout = \"300ms\"\nshutdown_timeout = \"1m\"\n";
    let (mut server, address) = Process::serve(toml);
    let mut silent = RawClient::join_counter(address).0;
    server.signal("TERM");
    read_to_close(&mut silent);
    assert_eq!(server.exit_code(), 0, "it does not wait for shutdown_timeout");
}

/// Its close frame cannot even be written.
#[test]
fn one_that_does_not_read_is_let_go_after_close_timeout() {
    let toml = "[server]\nclose_timeout = \"300ms\"\nshutdown_timeout = \"1m\"\n";
    let (mut server, address) = Process::serve(toml);
    let mut actor = RawClient::join_counter(address).0;
    let stalled = RawClient::connect_slow(address).shake_hands("/");
    actor.wait_for_users(2);
    for first in (0..20_000).step_by(100) {
        actor.send_bytes(&masked(0x81, PLUS.as_bytes()).repeat(100));
        actor.wait_for_state(first + 100);
    }
    server.signal("TERM");
    read_to_close(&mut actor);
    answer_close(actor);
    assert_eq!(server.exit_code(), 0, "it does not wait for shutdown_timeout");
    drop(stalled);
}

#[test]
fn a_second_signal_ends_the_process_at_once_with_128_and_its_number() {
    for (first, second, code) in [("TERM", "TERM", 143), ("TERM", "INT", 130)] {
        let (mut server, address) = Process::serve(PATIENT);
        let mut silent = RawClient::join_counter(address).0;
        server.signal(first);
        read_to_close(&mut silent);
        server.signal(second);
        assert_eq!(server.exit_code(), code, "SIG{second} after SIG{first}");
    }
}

#[test]
fn two_hundred_connections_are_all_closed_with_1001() {
    let (mut server, address) = Process::serve(PATIENT);
    let mut clients: Vec<_> = (0..200).map(|_| RawClient::open(address, "/")).collect();
    // The last one's state comes after everybody has joined.
    clients[199].wait_for("its state", |event| event["type"] == "state");
    server.signal("TERM");
    clients.iter_mut().for_each(|client| drop(read_to_close(client)));
    clients.into_iter().for_each(answer_close);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn while_it_stops_nobody_new_gets_in() {
    let (server, address) = Process::serve(PATIENT);
    let mut silent = RawClient::join_counter(address).0;
    server.signal("TERM");
    read_to_close(&mut silent);
    let start = Instant::now();
    let error = loop {
        assert!(start.elapsed() < DEADLINE, "the port is still open while the server stops");
        match TcpStream::connect(address) {
            // It may have been let in by the kernel just before; then it is ended unserved.
            Ok(mut socket) => expect_unserved(&mut socket),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
}

fn expect_unserved(socket: &mut TcpStream) {
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket option");
    match socket.read(&mut [0; 1]) {
        Ok(0) => {}
        Ok(_) => panic!("a connection that came too late was served"),
        Err(error) => assert_eq!(
            error.kind(),
            ErrorKind::ConnectionReset,
            "a connection that came too late is left hanging: {error}"
        ),
    }
}

#[test]
fn a_restart_on_the_same_port_works_at_once() {
    let (mut first, address) = Process::serve(PATIENT);
    let mut client = RawClient::join_counter(address).0;
    first.signal("TERM");
    read_to_close(&mut client);
    // The server ends its side first: its sockets linger in TIME_WAIT on this port.
    answer_close(client);
    assert_eq!(first.exit_code(), 0);
    let bind = [("STATESYNC__SERVER__BIND", &*address.to_string())];
    let (_second, again) = Process::serve_with(PATIENT, &bind);
    assert_eq!(again, address);
    RawClient::join_counter(again);
}

#[test]
fn a_restart_after_a_kill_works_at_once() {
    let (first, address) = Process::serve("");
    let mut client = RawClient::join_counter(address).0;
    drop(first);
    // The kernel ends the connection without a close frame; whether by FIN or reset is its affair.
    let end = client.try_read();
    assert!(matches!(end, Ok(None) | Err(_)), "a killed server says nothing: {end:?}");
    let bind = [("STATESYNC__SERVER__BIND", &*address.to_string())];
    let (_second, again) = Process::serve_with("", &bind);
    RawClient::join_counter(again);
}
