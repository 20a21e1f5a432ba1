//! How fast clients may come and act, over real sockets.

mod support;

use serde_json::json;
use std::{process::Command, time::Duration};
use support::{RawClient, TestServer};

fn limits(lines: &str) -> TestServer {
    TestServer::start(&format!("[limits]\n{lines}"))
}

#[test]
fn who_acts_too_fast_is_told_when_to_act_again() {
    let server = limits("actions_per_second = 1\nactions_burst = 2");
    let mut ann = RawClient::open_v1(server.address, "/?client=anns-random-identity");
    ann.wait_for_state(0);
    for id in 1..=4 {
        ann.send_text(&json!({"action": "plus", "id": id}).to_string());
    }
    let mut answers = Vec::new();
    while answers.len() < 4 {
        let event = ann.read_event();
        if event.get("id").is_some() {
            answers.push(event);
        }
    }
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].as_u64()).collect();
    assert_eq!(ids, [Some(1), Some(2), Some(3), Some(4)], "answers come in order");
    assert_eq!([&answers[0]["type"], &answers[1]["type"]], ["ack", "ack"]);
    for refused in &answers[2..] {
        assert_eq!((&refused["code"], &refused["retry"]), (&json!("rate_limited"), &json!(true)));
        let wait = refused["retry_after_ms"].as_u64().expect("a number");
        assert!((1..=1_001).contains(&wait), "{wait} ms, but one action a second is allowed");
    }
    // Nothing was decided: sent again at the time that was told, it is applied once.
    for id in 3..=4 {
        loop {
            ann.send_text(&json!({"action": "plus", "id": id}).to_string());
            let answer = ann.wait_for("an answer", |event| event["id"] == id);
            if answer["type"] == "ack" {
                break;
            }
            let wait = answer["retry_after_ms"].as_u64().expect("a time to wait");
            std::thread::sleep(Duration::from_millis(wait));
        }
    }
    ann.wait_for_state(4);
}

#[test]
fn classic_clients_are_told_without_further_keys() {
    let server = limits("actions_per_second = 1\nactions_burst = 1");
    let (mut client, _) = RawClient::join_counter(server.address);
    client.send_text(r#"{"action":"plus"}"#);
    client.send_text(r#"{"action":"plus"}"#);
    let error = client.wait_for("an error", |event| event["type"] == "error");
    let keys: Vec<_> = error.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(keys.len(), 3, "type, code, message: {error}");
    assert_eq!(error["code"], "rate_limited");
}

#[test]
fn all_sessions_of_an_address_share_its_limit() {
    let server = limits("actions_per_second_per_address = 1");
    let (mut first, _) = RawClient::join_counter(server.address);
    let (mut second, _) = RawClient::join_counter(server.address);
    first.send_text(r#"{"action":"plus"}"#);
    second.wait_for_state(1);
    loop {
        // Once it happens in the same second.
        first.send_text(r#"{"action":"plus"}"#);
        second.send_text(r#"{"action":"plus"}"#);
        let answer = second.wait_for("a state or an error", |event| event["type"] != "users");
        if answer["code"] == "rate_limited" {
            break;
        }
    }
}

#[test]
fn who_does_not_stop_is_closed() {
    let server = limits("actions_per_second = 1\nactions_burst = 1");
    let mut flooder = RawClient::open(server.address, "/");
    let mut sender = flooder.socket.try_clone().expect("a second handle");
    let flood = std::thread::spawn(move || {
        use std::io::Write;
        let frames = support::masked(0x81, br#"{"action":"plus"}"#).repeat(500);
        while sender.write_all(&frames).is_ok() {}
    });
    let close = loop {
        let frame = flooder.read();
        if frame.opcode == 0x8 {
            break frame;
        }
    };
    assert_eq!(close.close_code(), Some(4429));
    drop(flooder.into_parts().0.shutdown(std::net::Shutdown::Both));
    flood.join().expect("no panic");
}

#[test]
fn a_room_of_plain_text_is_read_more_slowly_and_loses_nothing() {
    let server = limits("actions_per_second = 20\nactions_burst = 5");
    let mut client = RawClient::open(server.address, "/echo");
    let messages: Vec<String> = (0..30).map(|number| format!("message {number}")).collect();
    // All in one piece: most of it is read before its time.
    let frames = messages.iter().flat_map(|message| support::masked(0x81, message.as_bytes()));
    client.send_bytes(&frames.collect::<Vec<_>>());
    for message in &messages {
        assert_eq!(client.read().text(), message);
    }
    client.send(0x88, &1000u16.to_be_bytes());
    assert_eq!(client.read().close_code(), Some(1000));
}

#[test]
fn who_connects_too_fast_is_told_when_to_come_back() {
    let server = limits("connections_per_second_per_address = 2");
    let refused = loop {
        let mut client = RawClient::connect(server.address);
        let head = client.ask("/", "");
        if !head.starts_with("HTTP/1.1 101 ") {
            break head;
        }
    };
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.to_ascii_lowercase().contains("retry-after: 1\r\n"), "{refused}");
    let mut page = RawClient::connect(server.address);
    page.send_bytes(b"GET / HTTP/1.1\r\nHost: a.example\r\nAccept: text/html\r\n\r\n");
    assert!(page.read_head().starts_with("HTTP/1.1 200 "), "pages are not sessions");
}

/// The client of the documents knows nothing of `retry_after_ms`, and keeps to the rules.
#[test]
fn a_client_that_keeps_to_the_rules_loses_and_doubles_nothing() {
    let root = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/test-env/venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/setup", python.display());
    let server = limits("actions_per_second = 30\nactions_burst = 3");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(python);
    command.arg(root.join("examples/client.py")).arg(format!("ws://{}/", server.address));
    command.arg("--state").arg(directory.path().join("me.json"));
    let output = command.args(vec!["plus"; 100]).output().expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|line| *line == "plus 1: applied").count(), 100, "{said}");
    assert!(said.ends_with("value: 100\n"), "{said}");
}
