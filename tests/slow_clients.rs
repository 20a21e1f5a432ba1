//! Clients that read slowly, or not at all, or never answer: what it costs them, and that it costs
//! nobody else anything.

mod support;

#[cfg(target_os = "linux")]
use std::net::SocketAddr;
use std::{
    io::{ErrorKind, Write},
    thread,
    time::{Duration, Instant},
};
use support::{DEADLINE, RawClient, TestServer, masked};

const PLUS: &str = r#"{"action":"plus"}"#;

/// States that are sent before a client is looked at that did not read them: many times what its
/// socket, the kernel and the server hold for it.
const FLOOD: i64 = 20_000;

/// Actions that are sent at once. A client that reads between two batches keeps up.
const BATCH: i64 = 100;

/// Nobody is pinged: whoever is let go is let go because it takes no bytes.
const NO_PINGS: &str = "[heartbeat]\ninterval = \"1h\"\n";

/// Acts and reads; everything is seen, since `BATCH` states fit into any socket.
fn act(actor: &mut RawClient, from: i64, count: i64) {
    for first in (from..from + count).step_by(BATCH as usize) {
        let batch = BATCH.min(from + count - first);
        actor.send_bytes(&masked(0x81, PLUS.as_bytes()).repeat(batch as usize));
        expect_each(actor, first + 1..=first + batch);
    }
}

/// Reads one `state` for each of `values`, none left out.
#[track_caller]
fn expect_each(client: &mut RawClient, values: impl Iterator<Item = i64>) {
    for value in values {
        let state = client.wait_for("a state", |event| event["type"] == "state");
        assert_eq!(state["value"], value, "a client that keeps up sees every state in order");
    }
}

/// Joins with a socket that takes only a few KiB, and reads nothing after the first state.
fn join_slow(address: std::net::SocketAddr) -> RawClient {
    let mut client = RawClient::connect_slow(address).shake_hands("/");
    client.wait_for("the first state", |event| event["type"] == "state");
    client
}

/// Reads states up to `last` and returns them, after checking that none is older than the one
/// before.
#[track_caller]
fn read_rising_states(client: &mut RawClient, last: i64) -> Vec<i64> {
    let mut values: Vec<i64> = Vec::new();
    while values.last() != Some(&last) {
        let event = client.wait_for("a state", |event| event["type"] == "state");
        let value = event["value"].as_i64().expect("a number");
        let before = values.last().copied().unwrap_or(0);
        assert!(value > before, "{value} came after {before}, which is newer or the same");
        values.push(value);
    }
    values
}

#[test]
fn one_that_wakes_up_skips_values_but_gets_no_older_one_and_the_newest_last() {
    let server = TestServer::start("");
    let (mut actor, _) = RawClient::join_counter(server.address);
    let mut slow = join_slow(server.address);
    act(&mut actor, 0, FLOOD);
    let values = read_rising_states(&mut slow, FLOOD);
    assert!(values.len() < FLOOD as usize, "it got all {FLOOD} states: it was not slow");
    act(&mut actor, FLOOD, BATCH);
    expect_each(&mut slow, FLOOD + 1..=FLOOD + BATCH);
}

/// If a queue grew with what its client does not read, these would hold 160 MB.
#[cfg(target_os = "linux")]
#[test]
fn many_that_stop_reading_delay_nobody_and_cost_bounded_memory() {
    const STALLED: usize = 200;
    const MAX_GROWTH_BYTES: usize = 32 * 1024 * 1024;
    let toml = format!("{NO_PINGS}timeout = \"1h\"\n[delivery]\nmax_pending = \"4KiB\"\n");
    let (server, address): (_, SocketAddr) = support::process::Process::serve(&toml);
    let (mut actor, _) = RawClient::join_counter(address);
    let (mut watcher, _) = RawClient::join_counter(address);
    let _stalled: Vec<_> = (0..STALLED).map(|_| join_slow(address)).collect();
    act(&mut actor, 0, BATCH);
    expect_each(&mut watcher, 1..=BATCH);

    let before = server.resident_bytes();
    for from in (BATCH..FLOOD).step_by(BATCH as usize) {
        act(&mut actor, from, BATCH);
        expect_each(&mut watcher, from + 1..=from + BATCH);
    }
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(
        growth < MAX_GROWTH_BYTES,
        "{STALLED} clients that do not read made the server {} KiB larger",
        growth / 1024
    );
}

#[test]
fn one_that_takes_no_bytes_for_the_heartbeats_timeout_is_let_go_and_counted_out() {
    let server = TestServer::start(&format!("{NO_PINGS}timeout = \"300ms\"\n"));
    let (mut actor, _) = RawClient::join_counter(server.address);
    let mut stalled = join_slow(server.address);
    actor.wait_for_users(2);
    act(&mut actor, 0, FLOOD);
    actor.wait_for_users(1);
    // What the kernel holds for it still comes; then the connection is at its end.
    if let Err(error) = stalled.read_to_end() {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it was not let go: {error}");
    }
}

#[test]
fn one_that_reads_but_answers_no_ping_is_let_go_and_counted_out() {
    let server = TestServer::start("[heartbeat]\ninterval = \"100ms\"\ntimeout = \"300ms\"\n");
    let (mut silent, _) = RawClient::join_counter(server.address);
    let address = server.address;
    let watcher = thread::spawn(move || {
        let (mut watcher, _) = RawClient::join_counter(address);
        watcher.wait_for_users(1);
    });
    let mut pings = 0;
    while let Ok(Some(frame)) = silent.try_read() {
        pings += usize::from(frame.opcode == 0x9);
    }
    assert_eq!(pings, 1, "it is asked once, and then let go");
    watcher.join().expect("the watcher, which answers pings, stays and sees the other go");
}

#[test]
fn one_that_answers_pings_stays() {
    let server = TestServer::start("[heartbeat]\ninterval = \"50ms\"\ntimeout = \"500ms\"\n");
    let (mut client, _) = RawClient::join_counter(server.address);
    for number in 1..=20 {
        let frame = client.read();
        assert_eq!(frame.opcode, 0x9, "frame {number} while nothing happens is {frame:?}");
        client.send(0x8A, &frame.payload);
    }
    client.send_text(PLUS);
    client.wait_for_state(1);
}

/// It takes a little of what there is, again and again for longer than the timeout: it is behind,
/// but alive.
#[test]
fn one_that_is_far_behind_but_reads_a_little_all_the_time_stays() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let server = TestServer::start(&format!("{NO_PINGS}timeout = \"2s\"\n"));
    let (mut actor, _) = RawClient::join_counter(server.address);
    let mut slow = join_slow(server.address);
    actor.wait_for_users(2);

    let start = Instant::now();
    let (mut value, mut read) = (0, Vec::new());
    while start.elapsed() < 2 * TIMEOUT {
        act(&mut actor, value, BATCH);
        value += BATCH;
        let state = slow.wait_for("a state", |event| event["type"] == "state");
        read.push(state["value"].as_i64().expect("a number"));
    }
    assert!(read.is_sorted(), "it got an older state after a newer one: {read:?}");
    let rest = read_rising_states(&mut slow, value);
    assert!(((read.len() + rest.len()) as i64) < value, "it got every state: it was not slow");
}

/// Its answers are errors, which may not be skipped: so it is not read while it does not read.
#[test]
fn one_that_floods_and_does_not_read_is_read_no_further_until_it_reads() {
    let server = TestServer::start("");
    let (mut watcher, _) = RawClient::join_counter(server.address);
    let mut flooder = join_slow(server.address);
    let pair = [masked(0x81, PLUS.as_bytes()), masked(0x81, b"no JSON")].concat();
    let sent_bytes = write_until_blocked(&mut flooder, &pair.repeat(1000));

    // The others do not notice.
    let state_before = watcher.wait_for("a state", |event| event["type"] == "state");
    watcher.send_text(r#"{"action":"minus"}"#);
    watcher.wait_for("a step back", |event| {
        event["type"] == "state" && event["value"].as_i64() >= state_before["value"].as_i64()
    });

    // Once it reads, everything that it sent is done, and each error was told.
    let (pairs, rest) = (sent_bytes / pair.len(), sent_bytes % pair.len());
    let mut errors = 0;
    let mut writer = flooder.socket.try_clone().expect("a second handle of the socket");
    let unsent = pair[rest..].to_vec();
    let writer = thread::spawn(move || writer.write_all(&unsent));
    while errors < pairs + 1 {
        let event = flooder.wait_for("an error", |event| event["type"] == "error");
        assert_eq!(event["code"], "bad_json");
        errors += 1;
    }
    writer.join().expect("no panic").expect("the server reads it again");
    let (_, value) = RawClient::join_counter(server.address);
    assert_eq!(value, pairs as i64 + 1 - 1, "every plus of the flood, and the watcher's minus");
}

/// Writes `bytes` again and again until the socket takes none for a second; returns how many it
/// took.
fn write_until_blocked(client: &mut RawClient, bytes: &[u8]) -> usize {
    client.socket.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket option");
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < DEADLINE {
        match client.socket.write(&bytes[sent % bytes.len()..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                client.socket.set_write_timeout(Some(DEADLINE)).expect("a socket option");
                return sent;
            }
            Err(error) => panic!("the flooder was cut off after {sent} bytes: {error}"),
        }
    }
    panic!("the server took {sent} bytes from a client that reads none of its answers");
}

/// States may be skipped, so this flood costs the server nothing that would have to be bounded; it
/// is taken in, as fast as the counter goes.
#[test]
fn a_flood_of_good_actions_from_one_that_does_not_read_is_applied_and_seen_by_the_others() {
    let server = TestServer::start("");
    let (mut watcher, _) = RawClient::join_counter(server.address);
    let mut flooder = join_slow(server.address);
    flooder.send_bytes(&masked(0x81, PLUS.as_bytes()).repeat(FLOOD as usize));
    read_rising_states(&mut watcher, FLOOD);
    read_rising_states(&mut flooder, FLOOD);
}
