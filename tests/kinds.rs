//! Chats, documents, relays and clocks over real sockets: who is told what, in what order, and what
//! becomes of those who cannot keep up.

mod support;

use serde_json::{Value, json};
use std::net::SocketAddr;
use support::{HANDSHAKE, RawClient, TestServer, masked, process::Process};

/// A chat at `/chat` in which 20,000 bytes may wait for a client.
const CHAT: &str = "[delivery]\nmax_pending = \"20KB\"\n\
    [[room]]\npath = \"/chat\"\nkind = \"chat\"\nhistory = 10\n";
const DOCUMENT: &str = "[delivery]\nmax_pending = \"20KB\"\n\
    [[room]]\npath = \"/document\"\nkind = \"document\"\n";

fn send(client: &mut RawClient, action: Value) {
    client.send_text(&action.to_string());
}

fn wait(client: &mut RawClient, kind: &str) -> Value {
    client.wait_for(kind, |event| event["type"] == kind)
}

/// Comes into the chat and logs in.
fn log_in(address: SocketAddr, name: &str) -> RawClient {
    let mut client = RawClient::open_v1(address, "/chat");
    send(&mut client, json!({ "action": "login", "name": name }));
    client.wait_for("joined", |event| event["type"] == "joined" && event["name"] == name);
    client
}

fn say(client: &mut RawClient, text: &str) {
    send(client, json!({ "action": "message", "text": text }));
}

#[test]
fn everyone_sees_who_comes_what_is_said_and_who_goes_in_one_order() {
    let server = TestServer::start(CHAT);
    let mut ann = log_in(server.address, "Ann");
    let mut bob = log_in(server.address, "Bob");
    assert_eq!(wait(&mut ann, "joined")["name"], "Bob");
    say(&mut ann, "hi");
    say(&mut ann, "<b>bye</b>");
    send(&mut ann, json!({ "action": "logout" }));
    for client in [&mut ann, &mut bob] {
        for text in ["hi", "<b>bye</b>"] {
            let message = wait(client, "message");
            assert_eq!((&message["from"], &message["text"]), (&json!("Ann"), &json!(text)));
        }
        let left = client.read_event();
        assert_eq!((&left["type"], &left["name"]), (&json!("left"), &json!("Ann")), "not before");
    }
    // Whose cable is cut leaves too.
    bob.reset();
    assert_eq!(wait(&mut ann, "left")["name"], "Bob");
}

#[test]
fn a_name_is_of_one_session_at_a_time() {
    let server = TestServer::start(CHAT);
    let ann = log_in(server.address, "Ann");
    let mut other = RawClient::open_v1(server.address, "/chat");
    assert_eq!(other.read_event()["kind"], "chat");
    let users = other.read_event();
    assert_eq!((&users["count"], &users["users"]), (&json!(2), &json!(["Ann"])));
    for (action, code) in [
        (json!({ "action": "login", "name": "Ann", "id": 1 }), "name_taken"),
        (json!({ "action": "message", "text": "hi", "id": 2 }), "not_logged_in"),
        (json!({ "action": "login", "name": "a\nb", "id": 3 }), "bad_field"),
    ] {
        let id = action["id"].clone();
        send(&mut other, action);
        let error = wait(&mut other, "error");
        assert_eq!((&error["code"], &error["id"]), (&json!(code), &id));
    }
    drop(ann);
    assert_eq!(wait(&mut other, "left")["name"], "Ann");
    send(&mut other, json!({ "action": "login", "name": "Ann", "id": 4 }));
    assert_eq!(wait(&mut other, "ack")["id"], 4);
    assert_eq!(wait(&mut other, "joined")["name"], "Ann");
}

#[test]
fn what_was_said_outlives_a_kill_and_names_do_not() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let toml = format!("[journal]\npath = {:?}\n{CHAT}", directory.path().join("data"));
    let (mut process, address) = Process::serve(&toml);
    let mut ann = log_in(address, "Ann");
    for number in 1..=3 {
        say(&mut ann, &format!("message {number}"));
    }
    let seqs: Vec<_> = (1..=3).map(|_| wait(&mut ann, "message")["seq"].clone()).collect();
    process.signal("KILL");
    process.wait();
    let (_process, address) = Process::serve(&toml);
    let mut bob = RawClient::open_v1(address, &format!("/chat?since={}", seqs[0]));
    assert_eq!(bob.read_event().get("missed"), None, "all that was said is known");
    assert_eq!(bob.read_event()["users"], json!([]), "a killed server leaves no name taken");
    for number in 2..=3 {
        let message = bob.read_event();
        assert_eq!(message["text"], format!("message {number}"));
        assert_eq!(message["seq"], seqs[number - 1], "the positions stay");
    }
    log_in(address, "Ann");
}

#[test]
fn a_message_counts_exactly_once() {
    let server = TestServer::start(CHAT);
    let path = "/chat?client=a-random-client-identity";
    let mut ann = RawClient::open_v1(server.address, path);
    send(&mut ann, json!({ "action": "login", "name": "Ann", "id": 1 }));
    for _ in 0..2 {
        send(&mut ann, json!({ "action": "message", "text": "once", "id": 2 }));
    }
    assert_eq!(wait(&mut ann, "ack")["id"], 1);
    assert_eq!(wait(&mut ann, "ack").get("duplicate"), None);
    assert_eq!(wait(&mut ann, "ack")["duplicate"], true);
    // Being logged in ends with the connection, the numbers go on.
    let mut again = RawClient::open_v1(server.address, path);
    assert_eq!(again.read_event()["last_id"], 2);
    send(&mut again, json!({ "action": "login", "name": "Ann", "id": 1 }));
    assert_eq!(wait(&mut again, "ack")["duplicate"], true);
    send(&mut again, json!({ "action": "message", "text": "twice", "id": 3 }));
    assert_eq!(wait(&mut again, "error")["code"], "not_logged_in", "an old login is no new one");
    send(&mut again, json!({ "action": "login", "name": "Ann", "id": 4 }));
    send(&mut again, json!({ "action": "message", "text": "again", "id": 5 }));
    let mut reader = RawClient::open_v1(server.address, "/chat");
    let texts: Vec<_> = (0..2).map(|_| wait(&mut reader, "message")["text"].clone()).collect();
    assert_eq!(texts, ["once", "again"]);
}

#[test]
fn a_newcomer_who_missed_too_much_is_told_so() {
    let server = TestServer::start(CHAT);
    let mut ann = log_in(server.address, "Ann");
    let mut first = 0;
    for number in 0..12 {
        say(&mut ann, "hi");
        let seq = wait(&mut ann, "message")["seq"].as_u64().expect("a position");
        first = if number == 0 { seq } else { first };
    }
    let mut late = RawClient::open_v1(server.address, &format!("/chat?since={first}"));
    assert_eq!(late.read_event()["missed"], true, "the history holds ten of the eleven");
    // A position that is yet to come is of another history.
    let mut other = RawClient::open_v1(server.address, "/chat?since=1000000");
    other.read_event();
    other.read_event();
    assert_eq!(other.read_event()["type"], "message");
}

#[test]
fn an_event_stream_goes_on_where_it_was() {
    let server = TestServer::start(CHAT);
    let mut ann = log_in(server.address, "Ann");
    let mut seqs = Vec::new();
    for number in 0..3 {
        say(&mut ann, &format!("message {number}"));
        seqs.push(wait(&mut ann, "message")["seq"].clone());
    }
    let mut source = RawClient::connect(server.address);
    let head = "GET /chat HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n";
    source.send_bytes(format!("{head}Last-Event-ID: {}\r\n\r\n", seqs[1]).as_bytes());
    source.read_head();
    let mut text = String::new();
    while !text.contains("message 2") {
        text.push_str(&String::from_utf8_lossy(&source.read_bytes(1)));
    }
    assert!(text.contains(&format!("id: {}\n", seqs[2])), "{text}");
    assert!(!text.contains("message 0") && !text.contains("message 1"), "{text}");
}

#[test]
fn who_is_too_slow_for_messages_is_closed_and_comes_back_for_them() {
    let server = TestServer::start(CHAT);
    let mut ann = log_in(server.address, "Ann");
    let mut slow = RawClient::connect_slow(server.address).shake_hands("/chat");
    let mut last = 0;
    let long = "x".repeat(10_000);
    for _ in 0..500 {
        say(&mut ann, &long);
        last = wait(&mut ann, "message")["seq"].as_u64().expect("a position");
    }
    let mut seen = 0;
    let code = loop {
        let frame = slow.read();
        if frame.opcode == 8 {
            break frame.close_code();
        }
        let event: Value = serde_json::from_slice(&frame.payload).expect("events are JSON");
        seen = event["seq"].as_u64().unwrap_or(seen);
    };
    assert_eq!(code, Some(4508));
    assert!(seen < last, "it was closed because it had not read all");
    let mut back = RawClient::open_v1(server.address, &format!("/chat?since={}", last - 1));
    assert_eq!(wait(&mut back, "message")["seq"], last);
}

#[test]
fn a_document_changes_for_all_and_newcomers_get_it_whole() {
    let server = TestServer::start(DOCUMENT);
    let mut ann = RawClient::open_v1(server.address, "/document");
    assert_eq!(wait(&mut ann, "state")["value"], json!({}));
    send(&mut ann, json!({ "action": "set", "value": { "title": "Plans", "n": 1 }, "id": 1 }));
    let first = wait(&mut ann, "patch");
    let mut bob = RawClient::open_v1(server.address, "/document");
    let state = wait(&mut bob, "state");
    assert_eq!((&state["seq"], &state["value"]["title"]), (&first["seq"], &json!("Plans")));
    let test = json!({ "op": "test", "path": "/n", "value": 1 });
    let replace = json!({ "op": "replace", "path": "/n", "value": 2 });
    let patch = json!({ "action": "patch", "ops": [test, replace], "id": 1 });
    send(&mut bob, patch.clone());
    for client in [&mut ann, &mut bob] {
        let change = wait(client, "patch");
        assert_eq!((&change["from"], &change["ops"]), (&state["seq"], &json!([replace])));
    }
    send(&mut ann, patch);
    let error = wait(&mut ann, "error");
    assert_eq!(error["code"], "test_failed", "it has changed since");
    send(&mut ann, json!({ "action": "merge", "patch": { "title": null } }));
    let change = wait(&mut bob, "patch");
    assert_eq!(change["ops"], json!([{ "op": "remove", "path": "/title" }]));
}

#[test]
fn who_skips_changes_gets_the_whole_document_and_then_changes_again() {
    let server = TestServer::start(DOCUMENT);
    let mut ann = RawClient::open_v1(server.address, "/document");
    let mut slow = RawClient::connect_slow(server.address);
    slow.ask("/document", "Sec-WebSocket-Protocol: statesync.v1\r\n");
    let long = "x".repeat(5_000);
    for number in 0..1_000 {
        send(&mut ann, json!({ "action": "merge", "patch": { "n": number, "long": long } }));
        wait(&mut ann, "patch");
        // Then only what is small changes.
        if number == 998 {
            send(&mut ann, json!({ "action": "merge", "patch": { "long": null } }));
            wait(&mut ann, "patch");
        }
    }
    // It applies what it gets, as a client does, and must end with the same document.
    let (mut value, mut seq, mut wholes, mut patches) = (json!(null), json!(null), 0, 0);
    while value["n"] != 999 {
        let event = slow.read_event();
        match event["type"].as_str() {
            Some("state") => (value, wholes) = (event["value"].clone(), wholes + 1),
            Some("patch") => {
                assert_eq!(event["from"], seq, "a change of another document");
                let ops = serde_json::from_value::<json_patch::Patch>(event["ops"].clone());
                let ops = ops.expect("a patch");
                json_patch::patch(&mut value, &ops).expect("it fits");
                patches += 1;
            }
            _ => continue,
        }
        seq = event["seq"].clone();
    }
    assert!(wholes >= 2, "it skipped, so it was given the whole: {wholes} times");
    assert!(patches < 1_000, "it cannot have seen all {patches}");
    send(&mut ann, json!({ "action": "merge", "patch": { "n": "end" } }));
    let change = wait(&mut slow, "patch");
    assert_eq!((&change["from"], change["ops"][0]["value"].as_str()), (&seq, Some("end")));
}

#[test]
fn a_relay_passes_on_to_all_others() {
    let room = "[[room]]\npath = \"/relay\"\nkind = \"relay\"\ntemplate = \"all: {message}\"\n";
    let server = TestServer::start(room);
    let mut clients: Vec<_> = (0..3).map(|_| RawClient::open(server.address, "/relay")).collect();
    // Who has had a pong is in the room.
    for client in &mut clients {
        client.send(0x89, b"there?");
        assert_eq!(client.read().opcode, 0xA);
    }
    clients[0].send_text("from 0");
    for client in &mut clients[1..] {
        assert_eq!(client.read().text(), "all: from 0");
    }
    clients[1].send_text("from 1");
    assert_eq!(clients[0].read().text(), "all: from 1", "never its own");
    assert_eq!(clients[2].read().text(), "all: from 1");
    clients[2].send(0x82, &[0, 255]);
    for client in &mut clients[..2] {
        let frame = client.read();
        assert_eq!(
            (frame.opcode, frame.payload.as_slice()),
            (2, &[0, 255][..]),
            "bytes as they are"
        );
    }
}

#[test]
fn clocks_tick_for_each_or_for_all() {
    let server = TestServer::start(
        "[[room]]\npath = \"/each\"\nkind = \"clock\"\ninterval = \"20ms\"\n\
         template = \"Hello {count}!\"\n\
         [[room]]\npath = \"/all\"\nkind = \"clock\"\ninterval = \"20ms\"\n\
         template = \"{count}\"\nshared = true\n",
    );
    for _ in 0..2 {
        let mut client = RawClient::open(server.address, "/each");
        for count in 1..=5 {
            assert_eq!(client.read().text(), format!("Hello {count}!"), "each counts from 1");
        }
    }
    let mut clients: Vec<_> = (0..50).map(|_| RawClient::open(server.address, "/all")).collect();
    let count = |client: &mut RawClient| client.read().text().parse::<u64>().expect("a number");
    let newest = clients.iter_mut().map(count).max().expect("many");
    for client in &mut clients {
        while count(client) < newest + 3 {}
        assert_eq!(count(client), newest + 4, "all hear the same, and none is left out");
    }
}

#[test]
fn nothing_is_answered_ahead_of_the_greeting() {
    let server = TestServer::start(CHAT);
    for _ in 0..20 {
        let mut client = RawClient::connect(server.address);
        let request = HANDSHAKE.replace("{path}", "/chat");
        let head = request.strip_suffix("\r\n").expect("an empty line ends the head");
        let mut burst = format!("{head}Sec-WebSocket-Protocol: statesync.v1\r\n\r\n").into_bytes();
        burst.extend(masked(0x81, b"junk"));
        client.send_bytes(&burst);
        client.read_head();
        let mut order = Vec::new();
        while order.last() != Some(&json!("error")) {
            order.push(client.read_event()["type"].clone());
        }
        // Of the client before, the room may tell as well that it has gone.
        assert_eq!(order[..2], ["welcome", "users"], "{order:?}");
    }
}
