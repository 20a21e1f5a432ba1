//! What is not an action: it is answered, it changes nothing, and it hurts nobody else.

mod support;

use serde_json::Value;
use socket2::SockRef;
use std::{
    io::{ErrorKind, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};
use support::{RawClient, TestServer, masked, process::Process};

const PLUS: &str = r#"{"action":"plus"}"#;
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// A server that logs and listens as the embedded defaults do.
const DEFAULTS: &str = "";

/// What is sent, the code it is answered with, and a part of the message that names the problem.
fn bad_messages() -> Vec<(&'static str, u8, Vec<u8>, &'static str, &'static str)> {
    let deep = format!(r#"{{"action":"plus","x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let long = format!(r#"{{"action":"{}"}}"#, "x".repeat(60_000));
    let text = |name, text: &str, code, part| (name, TEXT, text.as_bytes().to_vec(), code, part);
    let bytes = |name, bytes: &[u8], code, part| (name, BINARY, bytes.to_vec(), code, part);
    vec![
        text("an empty text", "", "bad_json", "empty"),
        bytes("an empty binary", b"", "bad_json", "empty"),
        text("only spaces", " \r\n\t", "bad_json", "empty"),
        text("not JSON", "plus", "bad_json", "not JSON"),
        text("half an object", r#"{"action":"plus""#, "bad_json", "EOF"),
        text("single quotes", "{'action':'plus'}", "bad_json", "not JSON"),
        text("a comment", r#"{"action":"plus"/**/}"#, "bad_json", "not JSON"),
        text("a comma too many", r#"{"action":"plus",}"#, "bad_json", "trailing comma"),
        text("a byte order mark", "\u{FEFF}{\"action\":\"plus\"}", "bad_json", "not JSON"),
        text("NaN", r#"{"action":"plus","n":NaN}"#, "bad_json", "not JSON"),
        text("trailing bytes", r#"{"action":"plus"} x"#, "bad_json", "trailing"),
        text("two objects", r#"{"action":"plus"}{"action":"plus"}"#, "bad_json", "trailing"),
        text("a zero byte behind", "{\"action\":\"plus\"}\0", "bad_json", "trailing"),
        text("a number too large", r#"{"action":"plus","n":1e999}"#, "bad_json", "out of range"),
        text("a key twice", r#"{"action":"plus","action":"minus"}"#, "bad_json", "twice"),
        text("a key twice inside", r#"{"action":"plus","x":{"a":1,"a":2}}"#, "bad_json", "twice"),
        text("deep nesting", &deep, "bad_json", "recursion"),
        text("half a surrogate pair", r#"{"action":"\uD83D"}"#, "bad_json", "not JSON"),
        bytes("no UTF-8", b"{\"action\":\"pl\xFFus\"}", "bad_json", "UTF-8"),
        bytes("random bytes", &[0, 159, 146, 150, 255], "bad_json", "UTF-8"),
        text("an array", r#"["plus"]"#, "bad_json", "object"),
        text("a string", r#""plus""#, "bad_json", "object"),
        text("a number", "1", "bad_json", "object"),
        text("null", "null", "bad_json", "object"),
        text("no action", "{}", "bad_field", "missing"),
        text("another key", r#"{"Action":"plus"}"#, "bad_field", "missing"),
        text("action null", r#"{"action":null}"#, "bad_field", "string"),
        text("action a number", r#"{"action":1}"#, "bad_field", "string"),
        text("action a list", r#"{"action":["plus"]}"#, "bad_field", "string"),
        text("an unknown action", r#"{"action":"times"}"#, "unknown_action", "times"),
        text("an empty action", r#"{"action":""}"#, "unknown_action", "no action"),
        text("capitals", r#"{"action":"PLUS"}"#, "unknown_action", "PLUS"),
        text("a space behind", r#"{"action":"plus "}"#, "unknown_action", "plus "),
        text("a long action", &long, "unknown_action", "xxx"),
    ]
}

#[track_caller]
fn expect_error(event: &Value, name: &str, code: &str, part: &str) {
    assert_eq!(event["type"], "error", "{name} must be answered with an error, not {event}");
    assert_eq!(event["code"], code, "{name}: {event}");
    let message = event["message"].as_str().expect("a message");
    assert!(message.contains(part), "{name}: {part:?} is not in {message:?}");
    assert!(message.len() < 300, "{name}: the message has {} bytes", message.len());
}

#[test]
fn bad_input_is_answered_and_changes_nothing_and_others_see_nothing() {
    let server = TestServer::start(DEFAULTS);
    let (mut client, _) = RawClient::join_counter(server.address);
    let (mut witness, mut value) = RawClient::join_counter(server.address);
    client.wait_for_users(2);
    for (name, opcode, bytes, code, part) in bad_messages() {
        client.send(opcode, &bytes);
        expect_error(&client.read_event(), name, code, part);
        // The connection is usable, and the next that anybody hears is this one step.
        client.send_text(PLUS);
        value += 1;
        for (who, reader) in [("the sender", &mut client), ("another", &mut witness)] {
            let event = reader.read_event();
            let is_next = event["type"] == "state" && event["value"] == value;
            assert!(is_next, "after {name}, {who} must hear of state {value} next, not {event}");
        }
    }
}

#[test]
fn bad_input_in_fragments_is_answered_once() {
    let server = TestServer::start(DEFAULTS);
    let (mut client, _) = RawClient::join_counter(server.address);
    client.send(0x01, br#"{"action":"#);
    client.send(0x00, b"");
    client.send(0x80, br#""times"}"#);
    expect_error(&client.read_event(), "in fragments", "unknown_action", "times");
    client.send_text(PLUS);
    assert_eq!(client.read_event()["value"], 1, "one error, and then the state");
}

#[test]
fn errors_and_states_come_in_the_order_of_what_was_sent_as_far_as_the_sender_can_tell() {
    let server = TestServer::start(DEFAULTS);
    let (mut client, _) = RawClient::join_counter(server.address);
    let pairs = [masked(TEXT, b"bad"), masked(TEXT, PLUS.as_bytes())].concat();
    client.send_bytes(&pairs.repeat(100));
    let (mut errors, mut states) = (0, Vec::new());
    while errors < 100 || states.len() < 100 {
        let event = client.read_event();
        match event["type"].as_str() {
            Some("error") => errors += 1,
            Some("state") => states.push(event["value"].as_i64().expect("a number")),
            _ => panic!("neither an error nor a state: {event}"),
        }
    }
    assert_eq!(states, (1..=100).collect::<Vec<_>>(), "every good action counts once, in order");
}

#[test]
fn good_input_may_have_unknown_keys_and_be_text_or_bytes() {
    let server = TestServer::start(DEFAULTS);
    let (mut client, mut value) = RawClient::join_counter(server.address);
    for (opcode, message) in [
        (TEXT, PLUS),
        (BINARY, PLUS),
        (TEXT, " \r\n{ \"action\" : \"plus\" }\n"),
        (TEXT, r#"{"x":[{}],"action":"plus","by":-1.5e3,"":null}"#),
        (TEXT, r#"{"\u0061ction":"pl\u0075s"}"#),
    ] {
        client.send(opcode, message.as_bytes());
        value += 1;
        let event = client.read_event();
        assert_eq!(event["value"], value, "{message} is a good action: {event}");
    }
}

// Floods, against the real binary.

const FLOOD: usize = 10_000;

/// Sends bad messages and reads all the answers meanwhile.
fn flood(address: SocketAddr) {
    let (mut client, _) = RawClient::join_counter(address);
    let mut writer = client.socket.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        let message = masked(TEXT, b"a bad message");
        for _ in 0..FLOOD {
            writer.write_all(&message).expect("the server reads a client that reads");
        }
    });
    for number in 1..=FLOOD {
        let what = format!("error {number} of {FLOOD}");
        client.wait_for(&what, |event| event["type"] == "error");
    }
    writing.join().expect("all was sent");
}

#[test]
fn a_flood_of_bad_messages_floods_no_log_and_disturbs_nobody() {
    let (mut server, address) = Process::serve(DEFAULTS);
    let (mut witness, start) = RawClient::join_counter(address);
    let lines_before = server.stderr.lines().len();
    let began = Instant::now();
    let flooding = std::thread::spawn(move || flood(address));
    witness.wait_for_users(2);
    for value in start + 1..=start + 200 {
        witness.send_text(PLUS);
        let event = witness.wait_for("the state", |event| event["type"] != "users");
        assert_eq!(event["value"], value, "the witness hears its own steps alone: {event}");
    }
    flooding.join().expect("the flood is answered");
    let seconds = began.elapsed().as_secs() as usize + 1;
    // The log is complete only when the process has ended.
    drop(witness);
    server.signal("TERM");
    assert_eq!(server.exit_code(), 0, "{}", server.stderr.text());

    let lines = server.stderr.lines().split_off(lines_before);
    let about_the_flood: Vec<_> = lines.iter().filter(|line| line.contains("bad_json")).collect();
    assert!(!about_the_flood.is_empty(), "a flood must not go unnoticed:\n{}", lines.join("\n"));
    let limit = 3 * seconds + 5;
    assert!(lines.len() <= limit, "{} lines in {seconds} s:\n{}", lines.len(), lines.join("\n"));
}

/// Writes copies of `message` until the server takes no more, and returns how many bytes were
/// taken; stops at `limit`. It takes no more when a write has waited for a second.
fn write_until_refused(client: &RawClient, message: &[u8], limit: usize) -> usize {
    let mut socket = &client.socket;
    socket.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket option");
    let many = message.repeat(64 * 1024 / message.len());
    let mut taken = 0;
    while taken < limit {
        match socket.write(&many) {
            Ok(count) => taken += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => panic!("the server must not end a client for not reading: {error}"),
        }
        if !taken.is_multiple_of(many.len()) {
            break;
        }
    }
    taken
}

#[test]
#[cfg(target_os = "linux")]
fn a_client_that_reads_none_of_its_errors_is_read_no_more_and_costs_little_memory() {
    const MAX_TAKEN_BYTES: usize = 64 << 20;
    const MAX_GROWTH_BYTES: usize = 16 << 20;
    let (server, address) = Process::serve(DEFAULTS);
    let (mut witness, _) = RawClient::join_counter(address);
    let mut client = RawClient::connect_slow(address).shake_hands("/");
    SockRef::from(&client.socket).set_send_buffer_size(4096).expect("a socket option");
    witness.wait_for_users(2);
    let before = server.resident_bytes();
    let message = masked(TEXT, b"bad");
    let taken = write_until_refused(&client, &message, MAX_TAKEN_BYTES);
    println!("the server and the kernel took {taken} bytes");
    assert!(taken < MAX_TAKEN_BYTES, "the server read all of {taken} bytes");
    let growth = server.resident_bytes().saturating_sub(before);
    println!("it grew by {growth} bytes");
    assert!(growth < MAX_GROWTH_BYTES, "{growth} bytes more for a client that does not read");

    witness.send_text(PLUS);
    witness.wait_for_state(1);
    // It was only slow: when it reads, it gets an answer to each message, and is read again.
    let whole = taken.div_ceil(message.len());
    let mut last = message.repeat(whole).split_off(taken);
    last.extend(masked(TEXT, PLUS.as_bytes()));
    let mut writer = client.socket.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        writer.set_write_timeout(Some(support::DEADLINE)).expect("a socket option");
        writer.write_all(&last).expect("the server reads on");
    });
    let mut errors = 0;
    client.wait_for("state 2, after its errors", |event| {
        errors += usize::from(event["type"] == "error");
        event["type"] == "state" && event["value"] == 2
    });
    writing.join().expect("the rest was sent");
    // States and errors are not in one order: what is left of the errors comes behind the state.
    for number in errors + 1..=whole {
        let what = format!("error {number} of {whole}");
        client.wait_for(&what, |event| event["type"] == "error");
    }
}
