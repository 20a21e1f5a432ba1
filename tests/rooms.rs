//! Rooms that are made on first use, and rooms over plain HTTP.

mod support;

use serde_json::{Value, json};
use support::{RawClient, TestServer, process::Process};

const COUNTERS: &str = "[[room]]\npath = \"/counters/{name}\"\nkind = \"counter\"\n";
/// The opcode of a close frame.
const CLOSE: u8 = 8;
const PLUS: &str = r#"{"action":"plus"}"#;

/// An HTTP answer.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?} after {}", self.body, self.head))
    }
}

fn ask(address: std::net::SocketAddr, line: &str, headers: &str, body: &str) -> Answer {
    let mut client = RawClient::connect(address);
    let length = body.len();
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n");
    client.send_bytes(format!("{head}{headers}\r\n{body}").as_bytes());
    let head = client.read_head();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let rest = client.read_to_end().expect("the server ends each answer");
    let body = String::from_utf8(rest).expect("UTF-8");
    Answer { status: status.expect("a status"), head, body }
}

fn get(address: std::net::SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path}"), "Accept: application/json\r\n", "")
}

fn post(address: std::net::SocketAddr, path: &str, key: &str, body: &str) -> Answer {
    let headers = match key {
        "" => String::new(),
        key => format!("Idempotency-Key: {key}\r\n"),
    };
    ask(address, &format!("POST {path}"), &headers, body)
}

#[test]
fn each_name_has_a_room_of_its_own_made_on_first_use() {
    let server = TestServer::start(COUNTERS);
    let mut ann = RawClient::open(server.address, "/counters/a");
    ann.wait_for_state(0);
    let mut bob = RawClient::open(server.address, "/counters/b");
    bob.wait_for_state(0);
    ann.send_text(PLUS);
    ann.wait_for_state(1);
    bob.send_text(PLUS);
    bob.send_text(PLUS);
    bob.wait_for_state(2);
    assert_eq!(get(server.address, "/counters/a").json()["value"], 1);
    for path in ["/counters/", "/counters", "/counters/a/b", "/counters/a%20b", "/counters/.."] {
        let mut client = RawClient::connect(server.address);
        let head = client.ask(path, "");
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
}

#[test]
fn looking_at_a_room_does_not_make_it() {
    let server = TestServer::start(COUNTERS);
    let shown = get(server.address, "/counters/a").json();
    assert_eq!(
        (&shown["value"], &shown["seq"], &shown["users"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert_eq!(get(server.address, "/api/rooms").json(), json!({ "rooms": [] }));
    let mut ann = RawClient::open(server.address, "/counters/a");
    ann.wait_for_state(0);
    let list = get(server.address, "/api/rooms").json();
    assert_eq!(list["rooms"][0]["path"], "/counters/a");
    assert_eq!(list["rooms"][0]["users"], 1);
}

#[test]
fn a_room_that_nobody_used_is_given_up_and_one_that_keeps_something_counts_for_ever() {
    let server = TestServer::start(&format!("{COUNTERS}max_rooms = 1\n"));
    let mut ann = RawClient::open(server.address, "/counters/a");
    ann.wait_for_state(0);
    let mut full = RawClient::open(server.address, "/counters/b");
    assert_eq!(full.read().close_code(), Some(1013), "there is one already");
    let refused = post(server.address, "/counters/b", "", PLUS);
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("too_many_rooms")));
    assert_eq!(refused.json()["retry"], true);
    drop(ann);
    // Ann has left as soon as Bob can come.
    let mut bob = loop {
        let mut bob = RawClient::open(server.address, "/counters/b");
        if bob.read().opcode != CLOSE {
            break bob;
        }
    };
    bob.send_text(PLUS);
    bob.wait_for_state(1);
    drop(bob);
    while get(server.address, "/counters/b").json()["users"] != 0 {}
    let mut full = RawClient::open(server.address, "/counters/a");
    assert_eq!(full.read().close_code(), Some(1013), "what b keeps is not given up for a");
    assert_eq!(get(server.address, "/counters/b").json()["value"], 1);
}

#[test]
fn rooms_made_on_use_outlive_a_kill_though_their_first_actor_left_at_once() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let journal = format!("[journal]\npath = {:?}\n", directory.path().join("data"));
    let toml = format!("{journal}{COUNTERS}");
    let (mut process, address) = Process::serve(&toml);
    for name in ["a", "b", "c"] {
        let mut client = RawClient::open(address, &format!("/counters/{name}"));
        client.send_text(PLUS);
        client.send(0x88, &1000u16.to_be_bytes());
        // The close is answered behind the action.
        while client.read().opcode != CLOSE {}
    }
    process.signal("KILL");
    process.wait();
    let (_process, address) = Process::serve(&toml);
    for name in ["a", "b", "c"] {
        let shown = get(address, &format!("/counters/{name}")).json();
        assert_eq!(shown["value"], 1, "{name}: {shown}");
    }
}

#[test]
fn an_idle_room_is_put_away_and_goes_on_where_it_was() {
    let server = TestServer::start(&format!("[limits]\nroom_idle_timeout = \"1s\"\n{COUNTERS}"));
    let put_away = std::time::Instant::now() + std::time::Duration::from_millis(1600);
    assert_eq!(post(server.address, "/counters/a", "", PLUS).status, 200);
    // Nothing can be seen of it from outside: that is the point. So it is given the time.
    while std::time::Instant::now() < put_away {
        assert_eq!(get(server.address, "/counters/b").json()["value"], 0);
    }
    let mut ann = RawClient::open(server.address, "/counters/a");
    ann.wait_for_state(1);
    ann.send_text(PLUS);
    ann.wait_for_state(2);
}

#[test]
fn an_action_by_post_is_seen_by_everyone_and_counts_once_for_each_key() {
    let server = TestServer::start("");
    let (mut ann, value) = RawClient::join_counter(server.address);
    assert_eq!(value, 0);
    for _ in 0..2 {
        assert_eq!(post(server.address, "/", "", PLUS).status, 200);
    }
    ann.wait_for_state(2);
    let first = post(server.address, "/", "an-order", r#"{"action":"plus","by":5}"#);
    assert_eq!(first.status, 200, "{}", first.head);
    let ack = first.json();
    assert_eq!((&ack["type"], &ack["id"], ack.get("duplicate")), (&json!("ack"), &json!(1), None));
    let again = post(server.address, "/", "an-order", r#"{"action":"plus","by":5}"#).json();
    assert_eq!((&again["type"], &again["duplicate"]), (&json!("ack"), &json!(true)));
    ann.wait_for_state(7);
    let other = post(server.address, "/", "another-order", PLUS);
    assert_eq!(other.status, 200);
    ann.wait_for_state(8);
    let shown = get(server.address, "/").json();
    assert_eq!(
        (&shown["value"], &shown["users"], &shown["kind"]),
        (&json!(8), &json!(1), &json!("counter"))
    );
    assert_eq!(shown["seq"], other.json()["seq"]);
}

#[test]
fn a_refused_post_says_why() {
    let server = TestServer::start("");
    let most = format!("{{\"action\":\"plus\",\"by\":{}}}", i64::MAX);
    assert_eq!(post(server.address, "/", "", &most).status, 200);
    let (long, large) = ("k".repeat(256), "x".repeat(65_537));
    for (key, body, status, code) in [
        ("", "plus", 400, "bad_json"),
        ("", r#"{"action":"times"}"#, 400, "unknown_action"),
        ("k1", r#"{"action":"times"}"#, 400, "unknown_action"),
        ("k1", PLUS, 409, "refused"),
        ("k2", PLUS, 409, "out_of_range"),
        ("k2", PLUS, 409, "refused"),
        (&long, PLUS, 400, "bad_key"),
        ("", &large, 413, "body_too_large"),
    ] {
        let answer = post(server.address, "/", key, body);
        let shown = (answer.status, answer.json()["code"].clone());
        assert_eq!(shown, (status, json!(code)), "{key:?} {:.40}", body);
    }
    assert_eq!(get(server.address, "/").json()["value"], i64::MAX);
}

#[test]
fn a_plain_room_answers_a_post_with_its_own_words() {
    let server = TestServer::start("");
    let answer = post(server.address, "/echo", "", "你好");
    assert_eq!((answer.status, answer.body.as_str()), (200, "你好"));
    assert!(answer.head.contains("text/plain; charset=utf-8"), "{}", answer.head);
}

#[test]
fn a_page_of_another_origin_may_act_only_if_it_is_allowed() {
    let server = TestServer::start("[origins]\nallow = [\"https://good.example\"]\n");
    let with = |line: &str, origin: &str| {
        ask(
            server.address,
            line,
            &format!("Accept: application/json\r\nOrigin: {origin}\r\n"),
            "{}",
        )
    };
    for line in ["GET /", "POST /", "OPTIONS /", "GET /api/rooms"] {
        let bad = with(line, "https://bad.example");
        assert_eq!((bad.status, &bad.json()["code"]), (403, &json!("origin_forbidden")), "{line}");
        let good = with(line, "https://good.example");
        let is_told = good.head.to_lowercase().contains("allow-origin: https://good.example");
        assert!(is_told, "{line}: {}", good.head);
    }
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let server = TestServer::start("[limits]\nhandshake_timeout = \"200ms\"\n");
    let mut client = RawClient::connect(server.address);
    client
        .send_bytes(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{\"action\"");
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
}

#[test]
fn who_administers_a_room_can_remove_it_and_it_stays_removed() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let toml = format!(
        "[journal]\npath = {:?}\n[auth]\nkind = \"token\"\n\
         [[auth.token]]\ntoken = \"anns-token\"\nsubject = \"ann\"\nrights = [\"read\", \"act\"]\n\
         [[auth.token]]\ntoken = \"roots-token\"\nsubject = \"root\"\n\
         rights = [\"read\", \"act\", \"administer\"]\n{COUNTERS}max_rooms = 2\n",
        directory.path().join("data")
    );
    let with = |address, line: &str, token: &str, body: &str| {
        let headers = format!("Accept: application/json\r\nAuthorization: Bearer {token}\r\n");
        ask(address, line, &headers, body)
    };
    let (mut process, address) = Process::serve(&toml);
    for name in ["a", "b"] {
        assert_eq!(
            with(address, &format!("POST /counters/{name}"), "anns-token", PLUS).status,
            200
        );
    }
    let mut reader = RawClient::connect(address);
    reader.ask("/counters/a", "Authorization: Bearer anns-token\r\n");
    reader.wait_for_state(1);
    assert_eq!(with(address, "DELETE /counters/a", "anns-token", "").status, 403);
    assert_eq!(with(address, "DELETE /counters/a", "roots-token", "").status, 204);
    assert_eq!(reader.read().close_code(), Some(4404), "who is in it is let go");
    assert_eq!(with(address, "DELETE /counters/a", "roots-token", "").status, 404);
    let shown = with(address, "GET /counters/a", "anns-token", "").json();
    assert_eq!((&shown["value"], &shown["seq"]), (&json!(0), &json!(0)), "nothing of it is left");
    // Its place is free for another.
    assert_eq!(with(address, "POST /counters/c", "anns-token", PLUS).status, 200);
    process.signal("KILL");
    process.wait();
    let (_process, address) = Process::serve(&toml);
    let list = with(address, "GET /api/rooms", "anns-token", "").json();
    let paths: Vec<_> =
        list["rooms"].as_array().expect("a list").iter().map(|r| &r["path"]).collect();
    assert_eq!(paths, ["/counters/b", "/counters/c"]);
    for name in ["b", "c"] {
        let shown = with(address, &format!("GET /counters/{name}"), "anns-token", "").json();
        assert_eq!(shown["value"], 1, "{name}");
    }
}
