//! Who may connect, and what they may do, over real sockets.

mod support;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};
use support::{
    RawClient, TestServer,
    process::{Process, statesync},
};

/// Ann may act, Bob may only read, Carl may only be elsewhere.
const TOKENS: &str = "[auth]\nkind = \"token\"\n\
    [[auth.token]]\ntoken = \"anns-token\"\nsubject = \"ann\"\n\
    [[auth.token]]\ntoken = \"bobs-token\"\nsubject = \"bob\"\nrights = [\"read\"]\n\
    [[auth.token]]\ntoken = \"carls-token\"\nsubject = \"carl\"\nrooms = [\"/games/*\"]\n";

const V1: &str = "Sec-WebSocket-Protocol: statesync.v1\r\n";

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A client that is let in with these lines in its request's head.
fn enter(server: &TestServer, path: &str, lines: &str) -> RawClient {
    let mut client = RawClient::connect(server.address);
    let head = client.ask(path, lines);
    assert!(head.starts_with("HTTP/1.1 101 "), "{path} {lines:?} was refused:\n{head}");
    client
}

/// The head and the JSON body of a refusal.
fn refusal(server: &TestServer, path: &str, lines: &str) -> (String, Value) {
    let mut client = RawClient::connect(server.address);
    let head = client.ask(path, lines);
    assert!(!head.starts_with("HTTP/1.1 101 "), "{path} {lines:?} was let in");
    let body = client.read_to_end().expect("a body");
    (head, serde_json::from_slice(&body).expect("a JSON body"))
}

/// The close code of a client of statesync.v1 that is upgraded and turned away.
fn turned_away(server: &TestServer, path: &str, lines: &str) -> Option<u16> {
    let mut client = enter(server, path, &format!("{V1}{lines}"));
    client.read().close_code()
}

fn original_client(server: &TestServer, token: &[&str]) -> Vec<String> {
    let python = root().join("target/test-env/venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/setup", python.display());
    let script = root().join("tests/clients/token_client.py");
    let mut command = Command::new(python);
    command.arg(script).arg(format!("ws://{}/", server.address)).args(token);
    let output = command.output().expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().map(str::to_owned).collect()
}

#[test]
fn the_original_client_is_let_in_or_told_that_it_is_unauthorized() {
    let toml = TOKENS.replace("kind =", "refusal = \"message\"\nkind =");
    let server = TestServer::start(&toml);
    let let_in = [r#"{"type":"users","count":1}"#, r#"{"type":"state","value":0}"#];
    assert_eq!(original_client(&server, &["anns-token"]), let_in);
    assert_eq!(original_client(&server, &["wrong"]), ["unauthorized", "closed with 1000"]);
    assert_eq!(original_client(&server, &[]), ["unauthorized", "closed with 1000"]);
}

#[test]
fn who_has_no_good_token_is_told_so_before_the_upgrade() {
    let server = TestServer::start(TOKENS);
    let (head, body) = refusal(&server, "/", "");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("www-authenticate: bearer\r\n"), "{head}");
    assert_eq!((&body["type"], &body["code"]), (&json!("error"), &json!("unauthorized")));
    let (head, body) = refusal(&server, "/", &bearer("wrong"));
    assert!(head.contains("error=\"invalid_token\""), "{head}");
    assert!(!body.to_string().contains("wrong"), "{body}");
    let (head, body) = refusal(&server, "/", &bearer("carls-token"));
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(body["code"], "forbidden");
    let two = format!("{}Cookie: statesync_token=bobs-token\r\n", bearer("anns-token"));
    let (head, body) = refusal(&server, "/", &two);
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!(body["code"], "different_tokens");
}

#[test]
fn a_token_may_stand_in_any_of_its_places() {
    let server = TestServer::start(TOKENS);
    let page = "Origin: http://localhost\r\n";
    let cookie = "Cookie: statesync_token=anns-token\r\n";
    let cases = [
        ("/", bearer("anns-token")),
        ("/", "Authorization: anns-token\r\n".to_owned()),
        ("/?access_token=anns-token", String::new()),
        ("/", "Sec-WebSocket-Protocol: statesync.token.anns-token\r\n".to_owned()),
        ("/", format!("{page}{cookie}")),
    ];
    for (path, lines) in cases {
        enter(&server, path, &lines).wait_for_state(0);
    }
    let (head, _) = refusal(&server, "/", cookie);
    assert!(head.starts_with("HTTP/1.1 401 "), "a cookie for nobody knows which page:\n{head}");
    let foreign = format!("Origin: http://evil.example\r\n{cookie}");
    let (_, body) = refusal(&server, "/", &foreign);
    assert_eq!(body["code"], "origin_forbidden");
}

#[test]
fn a_token_among_the_subprotocols_is_not_echoed() {
    let server = TestServer::start(TOKENS);
    let offers = "Sec-WebSocket-Protocol: statesync.token.anns-token, statesync.v1\r\n";
    let mut client = RawClient::connect(server.address);
    let head = client.ask("/", offers);
    assert!(head.contains("sec-websocket-protocol: statesync.v1\r\n"), "{head}");
    assert!(!head.contains("anns-token"), "{head}");
    assert_eq!(client.read_event()["type"], "welcome");
}

#[test]
fn clients_of_v1_are_closed_with_a_code_that_a_page_can_see() {
    let server = TestServer::start(TOKENS);
    assert_eq!(turned_away(&server, "/", ""), Some(4401));
    assert_eq!(turned_away(&server, "/", &bearer("wrong")), Some(4401));
    assert_eq!(turned_away(&server, "/", &bearer("carls-token")), Some(4403));
    // In a room of plain text too: it is what the client asked for.
    assert_eq!(turned_away(&server, "/echo", ""), Some(4401));
    let mut ann = enter(&server, "/", &bearer("anns-token"));
    assert_eq!(ann.read_event()["count"], 1, "who is turned away was never in the room");
}

#[test]
fn event_streams_ask_for_tokens_as_well() {
    let server = TestServer::start(TOKENS);
    let ask = |path: &str| {
        let mut client = RawClient::connect(server.address);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nAccept: text/event-stream\r\n\r\n");
        client.send_bytes(request.as_bytes());
        client.read_head()
    };
    assert!(ask("/").starts_with("HTTP/1.1 401 "));
    assert!(ask("/?access_token=bobs-token").starts_with("HTTP/1.1 200 "));
}

#[test]
fn plain_http_asks_for_tokens_as_well() {
    let server = TestServer::start(TOKENS);
    let ask = |method: &str, path: &str, token: &str, body: &str| {
        let mut client = RawClient::connect(server.address);
        let (token, length) = (bearer(token), body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: a.example\r\nAccept: application/json\r\n\
             {token}Idempotency-Key: the-same\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        client.send_bytes(request.as_bytes());
        let answer = client.read_to_end().expect("an answer");
        String::from_utf8(answer).expect("text")
    };
    let plus = r#"{"action":"plus"}"#;
    let status = |answer: String| answer.split(' ').nth(1).map(str::to_owned);
    let is = |status: &str| Some(status.to_owned());
    assert_eq!(status(ask("POST", "/", "anns-token", plus)), is("200"));
    assert_eq!(status(ask("POST", "/", "bobs-token", plus)), is("403"), "Bob may only read");
    assert_eq!(status(ask("POST", "/", "wrong", plus)), is("401"));
    assert_eq!(status(ask("GET", "/", "wrong", "")), is("401"));
    assert_eq!(status(ask("GET", "/", "carls-token", "")), is("403"));
    let state = ask("GET", "/", "bobs-token", "");
    assert!(state.contains("\"value\":1"), "{state}");
    let everything = ask("GET", "/api/rooms", "bobs-token", "");
    assert!(everything.contains("\"/\""), "{everything}");
    let nothing = ask("GET", "/api/rooms", "carls-token", "");
    assert!(nothing.ends_with("{\"rooms\":[]}"), "Carl may be in none of them: {nothing}");
}

#[test]
fn who_may_only_read_is_told_that_an_action_is_forbidden() {
    let server = TestServer::start(TOKENS);
    let mut classic = enter(&server, "/", &bearer("bobs-token"));
    classic.wait_for_state(0);
    classic.send_text(r#"{"action":"plus"}"#);
    let error = classic.wait_for("an error", |event| event["type"] == "error");
    assert_eq!(error["code"], "forbidden");
    let path = "/?client=bobs-random-identity";
    let head = format!("{V1}{}", bearer("bobs-token"));
    let mut bob = enter(&server, path, &head);
    for id in 1..=2 {
        bob.send_text(&json!({"action": "plus", "id": id}).to_string());
        let error = bob.wait_for("an error", |event| event["type"] == "error");
        assert_eq!((&error["code"], &error["id"]), (&json!("forbidden"), &json!(id)));
        assert_eq!(error["retry"], false);
    }
    // Nothing of it is kept: who may only read must not fill the journal.
    assert_eq!(enter(&server, path, &head).read_event()["last_id"], json!(null));
    let mut echo = enter(&server, "/echo", &bearer("bobs-token"));
    echo.send_text("hello");
    echo.send(0x89, b"still there");
    assert_eq!(echo.read().opcode, 0xA, "no echo, but the connection stays");
    enter(&server, "/", &bearer("anns-token")).wait_for_state(0);
}

#[test]
fn an_identity_is_of_one_subject() {
    let toml = TOKENS.replace("rights = [\"read\"]\n", "");
    let server = TestServer::start(&toml);
    let path = "/?client=a-random-identity-of-two";
    let mut ann = enter(&server, path, &format!("{V1}{}", bearer("anns-token")));
    ann.send_text(r#"{"action":"plus","id":1}"#);
    ann.wait_for("an ack", |event| event["type"] == "ack");
    let mut bob = enter(&server, path, &format!("{V1}{}", bearer("bobs-token")));
    assert_eq!(bob.read_event()["last_id"], json!(null), "Bob is not Ann");
    ann.send_text(r#"{"action":"plus","id":2}"#);
    ann.wait_for("an ack: nobody took Ann's place", |event| event["id"] == 2);
}

#[test]
fn rooms_may_be_open_to_those_without_a_token() {
    let room = |path: &str, line: &str| {
        format!("[[room]]\npath = \"{path}\"\nkind = \"counter\"\n{line}\n")
    };
    let rooms = room("/", "anonymous = [\"read\"]") + &room("/closed", "");
    let server = TestServer::start(&format!("{TOKENS}{rooms}"));
    let mut nobody = enter(&server, "/", "");
    nobody.wait_for_state(0);
    nobody.send_text(r#"{"action":"plus"}"#);
    nobody.wait_for("an error", |event| event["code"] == "forbidden");
    let mut ann = enter(&server, "/", &bearer("anns-token"));
    ann.send_text(r#"{"action":"plus"}"#);
    nobody.wait_for_state(1);
    assert!(refusal(&server, "/closed", "").0.starts_with("HTTP/1.1 401 "));
    let (head, _) = refusal(&server, "/", &bearer("wrong"));
    assert!(head.starts_with("HTTP/1.1 401 "), "a wrong token is not no token:\n{head}");
}

fn key_file(name: &str) -> String {
    root().join("tests/auth/keys").join(name).to_str().expect("a plain path").to_owned()
}

fn jwt(claims: Value) -> String {
    let pem = std::fs::read(key_file("ed25519.private.pem")).expect("the test's key");
    let key = EncodingKey::from_ed_pem(&pem).expect("a key");
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).expect("a signature")
}

fn jwt_server() -> TestServer {
    TestServer::start(&format!(
        "[auth]\nkind = \"jwt\"\nalgorithms = [\"EdDSA\"]\nleeway = \"0s\"\naudience = \"here\"\n\
         key_files = [{:?}]\n",
        key_file("ed25519.public.pem")
    ))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

#[test]
fn a_json_web_token_is_good_for_its_rooms_and_its_time() {
    let server = jwt_server();
    let claims = |aud: &str, seconds: u64, rooms: &[&str]| {
        let grants = json!([{"rooms": rooms, "rights": ["read", "act"]}]);
        json!({"sub": "ann", "aud": aud, "exp": unix_seconds() + seconds, "statesync": grants})
    };
    let mut ann = enter(&server, "/", &bearer(&jwt(claims("here", 600, &["/"]))));
    ann.send_text(r#"{"action":"plus"}"#);
    ann.wait_for_state(1);
    assert_eq!(
        turned_away(&server, "/echo", &bearer(&jwt(claims("here", 600, &["/"])))),
        Some(4403)
    );
    assert_eq!(turned_away(&server, "/", &bearer(&jwt(claims("there", 600, &["/"])))), Some(4401));
    assert_eq!(turned_away(&server, "/", &bearer(&jwt(claims("here", 0, &["/"])))), Some(4401));
}

#[test]
fn a_session_ends_when_its_token_does() {
    let server = jwt_server();
    let claims = json!({"sub": "ann", "aud": "here", "exp": unix_seconds() + 4});
    let mut ann = enter(&server, "/", &format!("{V1}{}", bearer(&jwt(claims))));
    ann.wait_for_state(0);
    assert_eq!(ann.read().close_code(), Some(4401));
}

#[test]
fn no_token_gets_into_the_log() {
    for (variable, filter) in [("STATESYNC__LOG__LEVEL", "trace"), ("RUST_LOG", "trace")] {
        let (process, address) = Process::serve_with(TOKENS, &[(variable, filter)]);
        let subprotocol = "Sec-WebSocket-Protocol: statesync.v1, statesync.token.anns-token\r\n";
        let cookie = "Cookie: statesync_token=anns-token\r\nOrigin: http://localhost\r\n";
        let cases = [
            ("/?access_token=anns-token", ""),
            ("/", subprotocol),
            ("/", cookie),
            ("/", "Authorization: Bearer anns-token\r\n"),
            ("/?access_token=carls-token", ""),
            ("/no-such-room?access_token=anns-token", ""),
            ("/?access_token=wrongs-token&client=x", V1),
        ];
        for (path, lines) in cases {
            RawClient::connect(address).ask(path, lines);
        }
        process.signal("TERM");
        assert!(process.stderr.wait_for_end());
        let log = process.stderr.text();
        assert!(log.contains("opening handshake: GET /"), "nothing was logged:\n{log}");
        assert!(!log.contains("s-token"), "a token is in the log:\n{log}");
    }
}

#[test]
fn check_config_masks_tokens() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(&file, TOKENS).expect("room on the disk");
    let path = file.path().to_str().expect("a plain path");
    let output = statesync(&["check-config", "-c", path]).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("token = \"***\"") && !said.contains("s-token"), "{said}");
}

#[test]
fn a_key_that_cannot_be_used_is_a_mistake_in_the_configuration() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let key = key_file("ed25519.private.pem");
    let toml = format!("[auth]\nkind = \"jwt\"\nalgorithms = [\"EdDSA\"]\nkey_files = [{key:?}]\n");
    std::fs::write(&file, toml).expect("room on the disk");
    let path = file.path().to_str().expect("a plain path");
    let output = statesync(&["serve", "-c", path]).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(":4:13: auth.key_files: ") && said.contains("private key"), "{said}");
}
