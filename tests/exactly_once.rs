//! statesync.v1 over real sockets: what docs/protocol.md says about numbered actions and about
//! clients with an identity, sentence by sentence. Every event that comes is held against
//! docs/asyncapi.yaml.

#[path = "support/asyncapi.rs"]
mod asyncapi;
mod support;

use asyncapi::Document;
use redb::ReadableDatabase;
use serde_json::{Value, json};
use std::{fs, io::Write, net::SocketAddr, path::Path, process::Command};
use support::{
    RawClient, TestServer, masked,
    process::{Process, statesync},
};
use tempfile::TempDir;

thread_local! {
    static DOCUMENT: Document = Document::read();
}

const ANN: &str = "/?client=ann-who-is-at-random";
const BOB: &str = "/?client=bob-who-is-at-random";
const V1: &str = "Sec-WebSocket-Protocol: statesync.v1\r\n";

/// A client that speaks statesync.v1.
struct Client {
    raw: RawClient,
    welcome: Value,
    /// The value of the newest state that it has read.
    value: i64,
}

impl Client {
    /// Connects, and reads what a newcomer gets.
    fn join(address: SocketAddr, path: &str) -> Self {
        let raw = RawClient::open_v1(address, path);
        let mut client = Self { raw, welcome: Value::Null, value: 0 };
        client.welcome = client.next();
        assert_eq!(client.welcome["type"], "welcome", "the welcome comes first");
        let users = client.next();
        assert_eq!(users["type"], "users", "the users come second, not {users}");
        client.next_of("state");
        client
    }

    /// The next event.
    fn next(&mut self) -> Value {
        let event = self.raw.read_event();
        DOCUMENT.with(|document| document.check("v1", &event));
        if event["type"] == "state" {
            self.value = event["value"].as_i64().expect("a whole number");
        }
        event
    }

    /// The next event of this type.
    fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next();
            if event["type"] == kind {
                return event;
            }
        }
    }

    fn send(&mut self, action: &str) {
        self.raw.send_text(action);
    }

    /// The next `ack` or `error`.
    fn answer(&mut self) -> Value {
        loop {
            let event = self.next();
            if event["type"] == "ack" || event["type"] == "error" {
                return event;
            }
        }
    }

    /// Sends an action and returns the answer to it.
    fn ask(&mut self, action: &str) -> Value {
        self.send(action);
        self.answer()
    }

    /// Sends an action, and expects this answer, whatever its `message` and its `seq` say.
    #[track_caller]
    fn expect(&mut self, action: &str, expected: Value) {
        let answer = self.ask(action);
        assert_eq!(in_short(answer), expected, "the answer to {action}");
    }

    /// Reads on until the room's state has this value.
    fn wait_for_value(&mut self, value: i64) {
        while self.value != value {
            self.next_of("state");
        }
    }

    /// The code with which the server closes.
    fn close_code(&mut self) -> Option<u16> {
        loop {
            let frame = self.raw.read();
            if frame.opcode == 0x8 {
                return frame.close_code();
            }
        }
    }

    /// Leaves, and waits until the server has let go.
    fn leave(mut self) {
        self.raw.send(0x88, &1000_u16.to_be_bytes());
        self.close_code();
        self.raw.shut_down_write();
        self.raw.read_to_end().expect("the server ends the connection");
    }
}

/// An answer without what is another each time.
fn in_short(mut answer: Value) -> Value {
    let members = answer.as_object_mut().expect("an object");
    members.remove("message");
    members.remove("seq");
    answer
}

fn plus(id: u64) -> String {
    format!(r#"{{"action":"plus","id":{id}}}"#)
}

/// An action that a counter does not know.
fn times(id: u64) -> String {
    format!(r#"{{"action":"times","id":{id}}}"#)
}

fn ack(id: u64) -> Value {
    json!({"type": "ack", "id": id})
}

fn duplicate(id: u64) -> Value {
    json!({"type": "ack", "id": id, "duplicate": true})
}

fn refused(id: u64, code: &str) -> Value {
    let retry = code == "id_gap" || code == "not_durable";
    json!({"type": "error", "code": code, "id": id, "retry": retry})
}

fn refused_again(id: u64) -> Value {
    json!({"type": "error", "code": "refused", "id": id, "retry": false, "duplicate": true})
}

/// A configuration with the journal on disk in this directory.
fn on_disk(path: &Path, rest: &str) -> String {
    format!("[journal]\nkind = \"disk\"\npath = {:?}\n{rest}", path.display().to_string())
}

/// What a newcomer sees of the counter.
fn value_at(address: SocketAddr) -> i64 {
    Client::join(address, "/").value
}

// Coming in

#[test]
fn a_newcomer_hears_who_it_is_then_the_users_then_the_state() {
    let server =
        TestServer::start("[heartbeat]\ninterval = \"7s\"\n[limits]\nmax_message = \"2KiB\"");
    let mut raw = RawClient::open_v1(server.address, "/?since=9007199254740991&other=1");
    let (welcome, users, state) = (raw.read_event(), raw.read_event(), raw.read_event());
    DOCUMENT.with(|document| {
        [&welcome, &users, &state].iter().for_each(|event| document.check("v1", event));
    });
    assert_eq!(users, json!({"type": "users", "count": 1}));
    assert_eq!(state["value"], 0);
    let facts = ["protocol", "room", "kind", "last_id", "refused", "max_in_flight", "heartbeat_ms"];
    let told = facts.map(|fact| welcome[fact].clone());
    let expected = json!(["statesync.v1", "/", "counter", null, [], 64, 7000]);
    assert_eq!(json!(told), expected, "{facts:?}");
    assert_eq!(welcome["max_message_bytes"], 2048);
    assert!(welcome["seq"].as_u64() >= state["seq"].as_u64(), "{welcome} {state}");
}

#[test]
fn connections_have_numbers_of_their_own_and_one_history() {
    let server = TestServer::start("");
    let first = Client::join(server.address, "/").welcome;
    let second = Client::join(server.address, "/").welcome;
    assert_ne!(first["session"], second["session"]);
    assert_eq!(first["epoch"], second["epoch"]);
}

#[test]
fn a_history_in_memory_is_another_after_a_restart() {
    let epoch = || {
        let server = TestServer::start("");
        Client::join(server.address, "/").welcome["epoch"].clone()
    };
    assert_ne!(epoch(), epoch());
}

#[test]
fn what_a_client_says_of_itself_in_the_url_is_checked() {
    let server = TestServer::start("");
    let long = format!("/?client={}", "x".repeat(65));
    let cases = [
        ("/?client=", "bad_client"),
        ("/?client", "bad_client"),
        ("/?client=fifteen-letters", "bad_client"),
        (long.as_str(), "bad_client"),
        ("/?client=sixteen.letters-", "bad_client"),
        ("/?client=sixteen%20letters-", "bad_client"),
        ("/?client=sixteen_letters-&client=sixteen_letters-", "bad_client"),
        ("/?since=", "bad_since"),
        ("/?since=-1", "bad_since"),
        ("/?since=1.5", "bad_since"),
        ("/?since=1e3", "bad_since"),
        ("/?since=x", "bad_since"),
        ("/?since=9007199254740992", "bad_since"),
        ("/?since=1&since=1", "bad_since"),
    ];
    for (path, code) in cases {
        let mut client = RawClient::connect(server.address);
        let head = client.ask(path, V1);
        assert!(head.starts_with("HTTP/1.1 400 "), "{path}:\n{head}");
        let body = client.read_to_end().expect("the server ends the connection");
        let body: Value = serde_json::from_slice(&body).expect("the body is JSON");
        assert_eq!((&body["type"], &body["code"]), (&json!("error"), &json!(code)), "{path}");
        assert!(body["message"].is_string(), "{path}: {body}");
        let mut classic = RawClient::open(server.address, path);
        assert_eq!(classic.read_event()["type"], "users", "a classic client may say what it likes");
    }
    for path in
        ["/?client=sixteen_letters-", "/?client=sixteen%5Fletters-&since=0", "/?x=y&since=7"]
    {
        Client::join(server.address, path);
    }
}

#[test]
fn the_protocol_is_chosen_by_the_offered_names() {
    let server = TestServer::start("");
    let cases = [
        ("statesync.v1", "/", vec!["statesync.v1"]),
        ("among others", "/", vec!["chat, statesync.v1,statesync.v9"]),
        ("in several lines", "/", vec!["chat", "statesync.v1", "other"]),
        ("not by part of the name", "/", vec!["statesync.v10"]),
        ("not in capitals", "/", vec!["STATESYNC.V1"]),
        ("others", "/", vec!["chat", "superchat"]),
        ("none", "/", vec![]),
        ("a room of plain text", "/echo", vec!["statesync.v1"]),
    ];
    for (about, path, offers) in cases {
        let lines: String =
            offers.iter().map(|offer| format!("Sec-WebSocket-Protocol: {offer}\r\n")).collect();
        let mut client = RawClient::connect(server.address);
        let head = client.ask(path, &lines).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{about}:\n{head}");
        let chosen = head.lines().filter(|line| line.starts_with("sec-websocket-protocol:"));
        let chosen: Vec<_> = chosen.collect();
        let is_offered = offers
            .iter()
            .flat_map(|offer| offer.split(','))
            .any(|offer| offer.trim() == "statesync.v1");
        if path == "/echo" {
            assert!(chosen.is_empty(), "{about}: {chosen:?}");
            client.send_text("as it is");
            assert_eq!(client.read().text(), "as it is");
        } else if is_offered {
            assert_eq!(chosen, ["sec-websocket-protocol: statesync.v1"], "{about}");
            assert_eq!(client.read_event()["type"], "welcome", "{about}");
        } else {
            assert!(chosen.is_empty(), "{about}: {chosen:?}");
            assert_eq!(client.read_event(), json!({"type": "users", "count": 1}), "{about}");
        }
        client.send(0x88, &1000_u16.to_be_bytes());
        client.shut_down_write();
        client.read_to_end().expect("the server ends the connection");
    }
}

// Acting

#[test]
fn an_ack_comes_before_the_first_state_that_has_the_action_in_it() {
    let server = TestServer::start("");
    let mut client = Client::join(server.address, ANN);
    (1..=20).for_each(|id| client.send(&plus(id)));
    let (mut acked, mut newest) = (0, 0);
    while acked < 20 {
        let event = client.next();
        let seq = event["seq"].as_u64().expect("acks and states have positions");
        match event["type"].as_str() {
            Some("ack") => {
                acked += 1;
                assert_eq!(event["id"], acked, "acks come in order");
                assert!(newest < seq, "a state at {newest} came before {event}");
            }
            _ => newest = seq,
        }
    }
    let last = client.next_of("state");
    client.wait_for_value(20);
    assert!(last["seq"].as_u64() >= Some(newest), "positions do not fall: {last} after {newest}");
}

#[test]
fn an_action_without_a_number_is_answered_only_if_it_is_refused() {
    let server = TestServer::start("");
    let mut client = Client::join(server.address, ANN);
    client.send(r#"{"action":"plus","by":5}"#);
    assert_eq!(client.next()["type"], "state", "no ack comes");
    let unknown = json!({"type": "error", "code": "unknown_action", "retry": false});
    client.expect(r#"{"action":"times"}"#, unknown);
    client.leave();
    let again = Client::join(server.address, ANN);
    assert_eq!((again.value, &again.welcome["last_id"]), (5, &Value::Null), "no number was used");
}

#[test]
fn a_client_without_an_identity_is_answered_but_nothing_is_counted_once() {
    let server = TestServer::start("");
    let mut client = Client::join(server.address, "/");
    for id in [7, 7, 3] {
        client.expect(&plus(id), ack(id));
    }
    client.expect(&times(9), refused(9, "unknown_action"));
    client.wait_for_value(3);
    let mut other = Client::join(server.address, "/");
    assert_eq!(other.welcome["last_id"], Value::Null);
    other.expect(&plus(7), ack(7));
}

#[test]
fn both_protocols_see_the_same_values_and_classic_is_as_it_was() {
    let server = TestServer::start("");
    let (mut classic, _) = RawClient::join_counter(server.address);
    let mut client = Client::join(server.address, ANN);
    classic.wait_for_users(2);
    client.expect(r#"{"action":"plus","by":5,"id":1}"#, ack(1));
    assert_eq!(classic.read_event(), json!({"type": "state", "value": 5}));
    classic.send_text(r#"{"action":"minus","by":5,"id":1}"#);
    assert_eq!(classic.read_event(), json!({"type": "state", "value": 4}), "no amount, no ack");
    client.wait_for_value(4);
    client.expect(&times(2), refused(2, "unknown_action"));
    classic.send_text(&times(1));
    let error = classic.read_event();
    DOCUMENT.with(|document| document.check("classic", &error));
    assert_eq!(in_short(error), json!({"type": "error", "code": "unknown_action"}));
}

// What the server does with a number

#[test]
fn a_duplicate_is_answered_and_changes_nothing() {
    let server = TestServer::start("");
    let mut client = Client::join(server.address, ANN);
    client.expect(&plus(1), ack(1));
    client.expect(&plus(1), duplicate(1));
    // Whatever the action says this time.
    client.expect(r#"{"action":"minus","by":9,"id":1}"#, duplicate(1));
    client.expect(&times(1), duplicate(1));
    client.expect(&times(2), refused(2, "unknown_action"));
    client.expect(&times(2), refused_again(2));
    client.expect(&plus(2), refused_again(2));
    assert_eq!(value_at(server.address), 1);
}

#[test]
fn the_ack_of_a_duplicate_has_the_position_of_the_newest_state() {
    let server = TestServer::start("");
    let mut client = Client::join(server.address, ANN);
    client.expect(&plus(1), ack(1));
    let newest = client.ask(&plus(2))["seq"].clone();
    assert_eq!(client.ask(&plus(1))["seq"], newest);
}

#[test]
fn what_is_refused_for_good_uses_up_its_number() {
    let server = TestServer::start("");
    let mut client = Client::join(server.address, ANN);
    let max = i64::MAX;
    client.expect(&format!(r#"{{"action":"plus","by":{max},"id":1}}"#), ack(1));
    client.expect(&plus(2), refused(2, "out_of_range"));
    client.expect(&times(3), refused(3, "unknown_action"));
    client.expect(r#"{"action":"plus","by":0,"id":4}"#, refused(4, "bad_field"));
    client.expect(r#"{"id":5}"#, refused(5, "bad_field"));
    client.expect(r#"{"action":"minus","id":6}"#, ack(6));
    client.wait_for_value(max - 1);
    client.leave();
    let again = Client::join(server.address, ANN).welcome;
    assert_eq!((&again["last_id"], &again["refused"]), (&json!(6), &json!([2, 3, 4, 5])));
}

#[test]
fn what_has_no_good_number_uses_up_none() {
    let server = TestServer::start("");
    let mut client = Client::join(server.address, ANN);
    for id in ["0", "-1", "1.5", "1.0", "9007199254740992", "1e300", "\"1\"", "null", "[1]"] {
        let bad = json!({"type": "error", "code": "bad_field", "retry": false});
        client.expect(&format!(r#"{{"action":"plus","id":{id}}}"#), bad);
    }
    let no_object = json!({"type": "error", "code": "bad_json", "retry": false});
    for text in ["", "plus", "[1]", r#"{"id":1,"id":1}"#, r#"{"action":"plus","id":1"#] {
        client.expect(text, no_object.clone());
    }
    client.expect(&plus(1), ack(1));
    assert_eq!(value_at(server.address), 1);
}

#[test]
fn nothing_overtakes_a_number_that_is_missing() {
    let server = TestServer::start("");
    let mut client = Client::join(server.address, ANN);
    for id in [1, 3, 4, 9_007_199_254_740_991] {
        client.send(&plus(id));
    }
    assert_eq!(in_short(client.answer()), ack(1));
    for id in [3, 4, 9_007_199_254_740_991] {
        assert_eq!(in_short(client.answer()), refused(id, "id_gap"), "after 1 comes 2");
    }
    client.expect(&times(3), refused(3, "id_gap"));
    for id in [2, 3, 4] {
        client.expect(&plus(id), ack(id));
    }
    assert_eq!(value_at(server.address), 4);
}

#[test]
fn of_the_last_64_numbers_it_is_known_what_became_of_them() {
    let server = TestServer::start("");
    let mut client = Client::join(server.address, ANN);
    for id in 1..=70 {
        match id % 10 {
            0 => client.expect(&times(id), refused(id, "unknown_action")),
            _ => client.expect(&plus(id), ack(id)),
        }
    }
    for id in 1..=70 {
        let expected = match id {
            1..=6 => refused(id, "id_too_old"),
            _ if id % 10 == 0 => refused_again(id),
            _ => duplicate(id),
        };
        client.expect(&plus(id), expected);
    }
    client.expect(&plus(71), ack(71));
    client.expect(&plus(7), refused(7, "id_too_old"));
    client.leave();
    let again = Client::join(server.address, ANN);
    assert_eq!(again.value, 64, "each was counted once");
    assert_eq!(again.welcome["last_id"], 71);
    assert_eq!(again.welcome["refused"], json!([10, 20, 30, 40, 50, 60, 70]), "rising");
}

#[test]
fn sixty_four_actions_may_be_on_their_way() {
    let server = TestServer::start("");
    let mut client = Client::join(server.address, ANN);
    let all: Vec<u8> = (1..=64).flat_map(|id| masked(0x81, plus(id).as_bytes())).collect();
    client.raw.send_bytes(&all);
    for id in 1..=64 {
        assert_eq!(in_short(client.answer()), ack(id));
    }
    client.wait_for_value(64);
}

#[test]
fn a_client_that_is_not_known_begins_with_1() {
    let server = TestServer::start("");
    let mut client = Client::join(server.address, ANN);
    client.expect(&plus(2), refused(2, "id_gap"));
    client.expect(&times(2), refused(2, "id_gap"));
    client.expect(&plus(1), ack(1));
    client.expect(&plus(2), ack(2));
}

#[test]
fn a_client_is_one_of_one_room() {
    let rooms =
        "[[room]]\npath = \"/\"\nkind = \"counter\"\n[[room]]\npath = \"/b\"\nkind = \"counter\"";
    let server = TestServer::start(rooms);
    let mut here = Client::join(server.address, ANN);
    here.expect(&plus(1), ack(1));
    let mut there = Client::join(server.address, &ANN.replacen('/', "/b", 1));
    assert_eq!((&there.welcome["room"], &there.welcome["last_id"]), (&json!("/b"), &Value::Null));
    there.expect(&plus(1), ack(1));
    here.expect(&plus(2), ack(2));
    there.wait_for_value(1);
    assert_eq!(value_at(server.address), 2, "each room has a value of its own");
}

// Coming back

#[test]
fn an_acknowledgement_that_was_lost_is_made_good_by_the_welcome() {
    let server = TestServer::start("");
    let mut onlooker = Client::join(server.address, "/");
    let mut client = Client::join(server.address, ANN);
    client.send(&plus(1));
    client.send(&times(2));
    client.send(&plus(3));
    onlooker.wait_for_value(2);
    client.raw.reset();
    let mut again = Client::join(server.address, ANN);
    assert_eq!((&again.welcome["last_id"], &again.welcome["refused"]), (&json!(3), &json!([2])));
    again.expect(&plus(4), ack(4));
    onlooker.wait_for_value(3);
}

#[test]
fn a_second_connection_of_a_client_takes_the_place_of_the_first() {
    let server = TestServer::start("[server]\nclose_timeout = \"10s\"");
    let mut older = Client::join(server.address, ANN);
    older.expect(&plus(1), ack(1));
    let mut newer = Client::join(server.address, ANN);
    assert_eq!(newer.welcome["last_id"], 1);
    older.send(&plus(2));
    assert_eq!(older.close_code(), Some(4409), "another connection has taken its place");
    newer.expect(r#"{"action":"plus","by":10,"id":2}"#, ack(2));
    newer.wait_for_value(11);
    older.raw.shut_down_write();
    older.raw.read_to_end().expect("the server ends the connection");
    newer.expect(&plus(3), ack(3));
}

/// Lets an older connection send a thousand actions at once, and a newer one of the same client
/// come in meanwhile. Returns the value with which the newer one was welcomed, and the value after
/// the end of the older.
fn take_over_amid(server: &TestServer, action: impl Fn(u64) -> String) -> (i64, i64) {
    let mut older = Client::join(server.address, ANN);
    let last_id = older.welcome["last_id"].as_u64().unwrap_or(0);
    let ids = last_id + 1..=last_id + 1000;
    let burst: Vec<u8> = ids.flat_map(|id| masked(0x81, action(id).as_bytes())).collect();
    let mut socket = older.raw.socket.try_clone().expect("a handle");
    let sending = std::thread::spawn(move || {
        // Fails when the server has let go of this connection.
        let _ = socket.write_all(&burst);
    });
    let newer = Client::join(server.address, ANN);
    assert_eq!(older.close_code(), Some(4409), "another connection has taken its place");
    older.raw.shut_down_write();
    while !matches!(older.raw.try_read(), Ok(None) | Err(_)) {}
    sending.join().expect("it only writes");
    (newer.value, value_at(server.address))
}

#[test]
fn from_the_newer_ones_welcome_on_nothing_is_taken_from_the_older() {
    let server = TestServer::start("");
    for _ in 0..50 {
        let (welcomed_with, found) = take_over_amid(&server, plus);
        assert_eq!(found, welcomed_with, "the older one's numbered actions have raised it");
    }
    for _ in 0..50 {
        let (welcomed_with, found) = take_over_amid(&server, |_| r#"{"action":"plus"}"#.into());
        assert_eq!(found, welcomed_with, "the older one's actions without numbers have raised it");
    }
}

#[test]
fn what_was_still_on_its_way_to_the_disk_when_its_client_came_back_counts_once() {
    let directory = TempDir::new().expect("a directory");
    let server = TestServer::start(&on_disk(directory.path(), ""));
    const ROUNDS: i64 = 50;
    for round in 0..ROUNDS {
        let path = format!("/?client=client-number-{round:0>6}");
        let mut older = Client::join(server.address, &path);
        older.send(&plus(1));
        let mut newer = Client::join(server.address, &path);
        let (last_id, first) = (&newer.welcome["last_id"], &older.welcome);
        // Where the welcome does not know of it yet, it says that nobody was forgotten either.
        let may_send_again =
            last_id.is_null() && newer.welcome["forgotten_until"].as_u64() <= first["seq"].as_u64();
        assert!(*last_id == 1 || may_send_again, "{}", newer.welcome);
        let answer = newer.ask(&plus(1));
        assert_eq!((&answer["type"], &answer["id"]), (&"ack".into(), &1.into()), "{answer}");
    }
    assert_eq!(value_at(server.address), ROUNDS, "each counts once");
}

// Being forgotten

#[test]
fn a_client_that_is_forgotten_is_told_so() {
    let server = TestServer::start("[dedup]\nmax_clients = 1");
    let mut ann = Client::join(server.address, ANN);
    ann.expect(&plus(1), ack(1));
    let mut bob = Client::join(server.address, BOB);
    bob.expect(&plus(1), ack(1));
    ann.expect(&plus(2), refused(2, "forgotten"));
    ann.expect(&plus(3), refused(3, "forgotten"));
    ann.expect(&plus(1), refused(1, "forgotten"));
    bob.expect(&plus(2), ack(2));
    assert_eq!(value_at(server.address), 3, "what was refused was not applied");
    ann.leave();
    assert_eq!(Client::join(server.address, ANN).welcome["last_id"], Value::Null);
    bob.leave();
    assert_eq!(Client::join(server.address, BOB).welcome["last_id"], 2);
}

#[test]
fn who_is_forgotten_stays_forgotten_after_a_restart() {
    let directory = TempDir::new().expect("a directory");
    let toml = on_disk(directory.path(), "[dedup]\nmax_clients = 1");
    let server = TestServer::start(&toml);
    Client::join(server.address, ANN).expect(&plus(1), ack(1));
    Client::join(server.address, BOB).expect(&plus(1), ack(1));
    server.stop();
    let server = TestServer::start(&toml);
    let mut ann = Client::join(server.address, ANN);
    assert_eq!(ann.welcome["last_id"], Value::Null);
    assert!(ann.welcome["forgotten_until"].as_u64() >= Some(1), "{}", ann.welcome);
    ann.expect(&plus(2), refused(2, "id_gap"));
    let mut bob = Client::join(server.address, BOB);
    assert_eq!(bob.welcome["last_id"], 1);
    bob.expect(&plus(1), duplicate(1));
}

#[test]
fn limits_may_change_from_one_start_to_the_next() {
    let directory = TempDir::new().expect("a directory");
    let with_limit =
        |limit: u32| on_disk(directory.path(), &format!("[dedup]\nmax_clients = {limit}"));
    let last_ids = |limit: u32| {
        let server = TestServer::start(&with_limit(limit));
        [ANN, BOB].map(|client| Client::join(server.address, client).welcome["last_id"].clone())
    };
    let server = TestServer::start(&with_limit(2));
    Client::join(server.address, ANN).expect(&plus(1), ack(1));
    Client::join(server.address, BOB).expect(&plus(1), ack(1));
    server.stop();
    assert_eq!(last_ids(2), [json!(1), json!(1)], "both are known");
    assert_eq!(last_ids(1), [Value::Null, json!(1)], "Ann has not acted for longest");
    assert_eq!(last_ids(2), [Value::Null, json!(1)], "who is forgotten stays forgotten");
}

// The journal

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let directory = TempDir::new().expect("a directory");
    let toml = on_disk(directory.path(), "");
    let (server, address) = Process::serve(&toml);
    let mut client = Client::join(address, ANN);
    let epoch = client.welcome["epoch"].clone();
    client.expect(r#"{"action":"plus","by":41,"id":1}"#, ack(1));
    client.expect(&times(2), refused(2, "unknown_action"));
    let last = client.ask(&plus(3));
    server.signal("KILL");
    drop(server);
    let (_server, address) = Process::serve(&toml);
    let mut again = Client::join(address, ANN);
    assert_eq!(again.value, 42);
    assert_eq!(again.welcome["epoch"], epoch, "it is the same history");
    assert_eq!(again.welcome["seq"], last["seq"], "nothing was added to it");
    assert_eq!((&again.welcome["last_id"], &again.welcome["refused"]), (&json!(3), &json!([2])));
    again.expect(&plus(3), duplicate(3));
    again.expect(&plus(4), ack(4));
}

#[test]
fn while_the_journal_is_away_nothing_is_applied_and_all_is_shown() {
    let parent = TempDir::new().expect("a directory");
    let (directory, elsewhere) = (parent.path().join("data"), parent.path().join("elsewhere"));
    let (_server, address) = Process::serve(&on_disk(&directory, ""));
    let mut ann = Client::join(address, ANN);
    ann.expect(&plus(1), ack(1));
    fs::rename(&directory, &elsewhere).expect("it can be moved");
    for id in [2, 3] {
        ann.expect(&plus(id), refused(id, "not_durable"));
    }
    let unnumbered = json!({"type": "error", "code": "not_durable", "retry": true});
    ann.expect(r#"{"action":"plus"}"#, unnumbered);
    let (mut classic, value) = RawClient::join_counter(address);
    assert_eq!(value, 1, "newcomers get the state");
    classic.send_text(r#"{"action":"plus"}"#);
    let error = classic.read_event();
    DOCUMENT.with(|document| document.check("classic", &error));
    assert_eq!(error["code"], "not_durable", "{error}");
    fs::rename(&elsewhere, &directory).expect("it can be moved back");
    for id in [2, 3] {
        ann.expect(&plus(id), ack(id));
    }
    classic.send_text(r#"{"action":"plus"}"#);
    ann.wait_for_value(4);
}

/// What `statesync serve` says when it cannot use its journal; it must not serve.
#[track_caller]
fn refusal_to_start(directory: &Path) -> String {
    let mut command: Command = statesync(&["serve"]);
    command.env("STATESYNC__JOURNAL__KIND", "disk").env("STATESYNC__JOURNAL__PATH", directory);
    let mut process = Process::spawn(command);
    assert_eq!(process.exit_code(), 2, "it said:\n{}", process.stderr.text());
    process.stderr.text()
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn a_second_server_on_one_journal_says_what_to_do() {
    let directory = TempDir::new().expect("a directory");
    let (_server, address) = Process::serve(&on_disk(directory.path(), ""));
    let said = refusal_to_start(directory.path());
    let path = directory.path().display().to_string();
    assert_says(&said, &[&path, "in use by another process", "journal.path"]);
    Client::join(address, ANN).expect(&plus(1), ack(1));
}

#[test]
fn a_journal_that_is_a_file_is_refused() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let said = refusal_to_start(file.path());
    assert_says(&said, &[&file.path().display().to_string(), "not a directory"]);
}

#[test]
fn a_journal_of_a_newer_statesync_is_refused() {
    let directory = TempDir::new().expect("a directory");
    TestServer::start(&on_disk(directory.path(), "")).stop();
    make_newer(&directory.path().join("journal.redb"));
    let said = refusal_to_start(directory.path());
    assert_says(&said, &["has format 2", "use the newer one"]);
}

/// Writes the next format's number into the journal's header.
fn make_newer(file: &Path) {
    let header = redb::TableDefinition::<u64, &[u8]>::new("header");
    let database = redb::Database::open(file).expect("a journal");
    let reading = database.begin_read().expect("it can be read");
    let value = reading.open_table(header).expect("a header").get(0).expect("it can be read");
    let mut value = value.expect("a header").value().to_vec();
    // A checksum over the place and the rest, then the format.
    value[4..12].copy_from_slice(&2_u64.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&0_u64.to_le_bytes());
    hasher.update(&value[4..]);
    value[..4].copy_from_slice(&hasher.finalize().to_le_bytes());
    let writing = database.begin_write().expect("it can be written");
    writing.open_table(header).expect("a header").insert(0, &value[..]).expect("it is written");
    writing.commit().expect("it is written");
}
