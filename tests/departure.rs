//! Every way of leaving counts a user out, exactly once.

mod support;

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
};
use support::{DEADLINE, RawClient, TestServer, masked};

const PLUS: &str = r#"{"action":"plus"}"#;
const MINUS: &str = r#"{"action":"minus"}"#;

/// Each join and each leave is told by itself, so that none can hide in another.
const UNPACED: &str = "[delivery]\npresence_interval = \"0s\"\n";

/// A server with somebody in it who sees the others come and go.
struct Scene {
    /// Stands before the server: dropped after it, it would keep it from ending.
    watcher: RawClient,
    server: TestServer,
}

impl Scene {
    fn new(toml: &str) -> Self {
        let server = TestServer::start(&format!("{UNPACED}{toml}"));
        let (watcher, _) = RawClient::join_counter(server.address);
        Self { watcher, server }
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    fn join(&mut self) -> RawClient {
        let (client, _) = RawClient::join_counter(self.address());
        self.expect_users(2);
        client
    }

    #[track_caller]
    fn expect_users(&mut self, count: u64) {
        let users = self.watcher.wait_for("a count", |event| event["type"] == "users");
        assert_eq!(users["count"], count, "the next count that the others see");
    }

    /// The one who came is counted out once, and whoever comes next is counted in.
    #[track_caller]
    fn expect_one_departure(&mut self) {
        self.expect_users(1);
        let (mut next, _) = RawClient::join_counter(self.address());
        self.expect_users(2);
        // A second `users` for the same departure would stand before this state.
        next.send_text(PLUS);
        let event = self.watcher.read_event();
        assert_eq!(event["type"], "state", "nobody else came or went, but there was {event}");
    }
}

#[test]
fn a_close_frame_counts_out() {
    let mut scene = Scene::new("");
    let mut client = scene.join();
    client.send(0x88, &1000_u16.to_be_bytes());
    assert_eq!(client.read().close_code(), Some(1000), "the server answers the close frame");
    scene.expect_one_departure();
}

#[test]
fn a_close_frame_followed_by_a_reset_counts_out_once() {
    let mut scene = Scene::new("");
    let mut client = scene.join();
    client.send(0x88, &1001_u16.to_be_bytes());
    client.reset();
    scene.expect_one_departure();
}

#[test]
fn a_close_frame_of_one_who_keeps_the_socket_open_counts_out_at_once() {
    let minute = "[server]\nclose_timeout = \"1m\"\nshutdown_timeout = \"1m\"\n";
    let mut scene = Scene::new(minute);
    let mut client = scene.join();
    client.send(0x88, b"");
    scene.expect_one_departure();
    assert_eq!(client.read().close_code(), None, "the server answers the close frame");
}

#[test]
fn an_end_without_a_close_frame_counts_out() {
    let mut scene = Scene::new("");
    drop(scene.join());
    scene.expect_one_departure();
}

#[test]
fn a_half_closed_socket_counts_out() {
    let mut scene = Scene::new("");
    let client = scene.join();
    client.shut_down_write();
    scene.expect_one_departure();
}

#[test]
fn a_reset_counts_out() {
    let mut scene = Scene::new("");
    scene.join().reset();
    scene.expect_one_departure();
}

#[test]
fn an_end_in_the_middle_of_a_frame_counts_out() {
    let mut scene = Scene::new("");
    let mut client = scene.join();
    client.send_bytes(&masked(0x81, PLUS.as_bytes())[..9]);
    drop(client);
    scene.expect_one_departure();
}

#[test]
fn a_protocol_error_counts_out() {
    let unmasked: &[u8] = b"\x81\x02{}";
    let reserved_bits = masked(0xF1, b"{}");
    for broken in [unmasked, &reserved_bits] {
        let mut scene = Scene::new("");
        let mut client = scene.join();
        client.send_bytes(broken);
        assert_eq!(client.read().close_code(), Some(1002), "{broken:x?} is a protocol error");
        scene.expect_one_departure();
    }
}

#[test]
fn a_message_that_is_too_large_counts_out() {
    let mut scene = Scene::new("[limits]\nmax_message = \"125B\"\n");
    let mut client = scene.join();
    client.send(0x81, &[b'x'; 126]);
    assert_eq!(client.read().close_code(), Some(1009));
    scene.expect_one_departure();
}

/// What was sent before is done, and done before the departure is told.
#[test]
fn one_who_acts_and_leaves_at_once_is_counted_out_after_the_actions() {
    let mut scene = Scene::new("");
    let mut client = scene.join();
    client.send_bytes(&masked(0x81, PLUS.as_bytes()).repeat(100));
    client.send(0x88, &1000_u16.to_be_bytes());
    for value in 1..=100 {
        let event = scene.watcher.read_event();
        assert_eq!((&event["type"], &event["value"]), (&"state".into(), &value.into()), "{event}");
    }
    scene.expect_one_departure();
}

#[test]
fn silence_counts_out() {
    let pings = "[heartbeat]\ninterval = \"100ms\"\ntimeout = \"500ms\"\n";
    let mut scene = Scene::new(pings);
    let _silent = scene.join();
    scene.expect_one_departure();
}

#[test]
fn a_stall_counts_out() {
    let mut scene = Scene::new("[heartbeat]\ninterval = \"1h\"\ntimeout = \"300ms\"\n");
    let mut stalled = RawClient::connect_slow(scene.address()).shake_hands("/");
    scene.expect_users(2);
    stalled.wait_for("its first state", |event| event["type"] == "state");
    // Up and down: more bytes than any buffer holds, and at its end the state is what it was.
    let batch = [masked(0x81, PLUS.as_bytes()), masked(0x81, MINUS.as_bytes())].concat().repeat(50);
    let mut users = Vec::new();
    for _ in 0..200 {
        scene.watcher.send_bytes(&batch);
        let mut states = 0;
        while states < 100 {
            let event = scene.watcher.read_event();
            match event["type"].as_str() {
                Some("state") => states += 1,
                _ => users.push(event),
            }
        }
    }
    // The timeout may be over before the last batch is.
    match &*users {
        [] => scene.expect_users(1),
        [users] => assert_eq!(users["count"], 1),
        more => panic!("one departure was told more than once: {more:?}"),
    }
    let _next = scene.join();
}

#[test]
fn an_event_stream_that_ends_counts_out() {
    let mut scene = Scene::new("");
    drop(open_event_stream(&mut scene));
    scene.expect_one_departure();
}

#[test]
fn an_event_stream_that_is_reset_counts_out() {
    let mut scene = Scene::new("");
    open_event_stream(&mut scene).reset();
    scene.expect_one_departure();
}

fn open_event_stream(scene: &mut Scene) -> RawClient {
    let mut client = RawClient::connect(scene.address());
    client.send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
    assert!(client.read_head().starts_with("HTTP/1.1 200 "), "an event stream begins");
    scene.expect_users(2);
    client
}

#[test]
fn a_connection_that_is_refused_is_not_counted() {
    let mut scene = Scene::new("[origins]\nallow = []\n");
    let mut refused = RawClient::connect(scene.address());
    let origin = "Origin: https://example.com\r\n\r\n";
    let request = support::HANDSHAKE.replace("{path}", "/").replace("\r\n\r\n", "\r\n") + origin;
    refused.send_bytes(request.as_bytes());
    assert!(refused.read_head().starts_with("HTTP/1.1 403 "), "this origin is not allowed");
    scene.join();
    scene.expect_one_departure();
}

#[test]
fn many_who_leave_together_are_all_counted_out() {
    let server = TestServer::start("");
    let (mut watcher, _) = RawClient::join_counter(server.address);
    let crowd: Vec<_> = (0..100).map(|_| RawClient::open(server.address, "/")).collect();
    watcher.wait_for_users(101);
    thread::spawn(move || {
        for (number, client) in crowd.into_iter().enumerate() {
            match number % 2 {
                0 => drop(client),
                _ => client.reset(),
            }
        }
    });
    watcher.wait_for_users(1);
    let _next = RawClient::join_counter(server.address);
    watcher.wait_for_users(2);
}

#[cfg(unix)]
#[test]
fn a_killed_process_counts_out() {
    let mut scene = Scene::new("");
    let mut child = Command::new(std::env::current_exe().expect("this test's binary"))
        .args(["--exact", "join_and_wait_to_be_killed", "--ignored", "--nocapture"])
        .env("STATESYNC_TEST_ADDRESS", scene.address().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test's binary starts");
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let joined = stdout.lines().map_while(Result::ok).any(|line| line.contains("joined"));
    assert!(joined, "the child process joins");
    scene.expect_users(2);
    child.kill().expect("it runs");
    child.wait().expect("a child of ours");
    scene.expect_one_departure();
}

#[test]
#[ignore = "run by a_killed_process_counts_out, in a process of its own"]
fn join_and_wait_to_be_killed() {
    let Ok(address) = std::env::var("STATESYNC_TEST_ADDRESS") else { return };
    let (mut client, _) = RawClient::join_counter(address.parse().expect("an address"));
    println!("joined");
    let end = client.read_to_end();
    panic!("it should have been killed within {DEADLINE:?}, but the server ended it: {end:?}");
}
