//! `statesync bench` as its users see it: what it prints of a server, and how it ends.

mod support;

use serde_json::Value;
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};
use support::{TestServer, process::Process, process::statesync};
use tungstenite::{Message, WebSocket};

const ROOMS: &str = "[[room]]\npath = \"/\"\nkind = \"counter\"\n\
    [[room]]\npath = \"/counters/{name}\"\nkind = \"counter\"\n\
    [[room]]\npath = \"/relay\"\nkind = \"relay\"\n\
    [[room]]\npath = \"/echo\"\nkind = \"echo\"\n\
    [[room]]\npath = \"/document\"\nkind = \"document\"\n";

/// Runs `bench` with these arguments against the room at `path`, for a moment.
fn spawn(address: SocketAddr, path: &str, arguments: &[&str]) -> Process {
    let url = format!("ws://{address}{path}");
    let always = ["bench", "--url", &url, "--seconds", "0.5", "--warmup", "0.1", "--json"];
    Process::spawn(statesync(&[&always, arguments].concat()))
}

/// The result, as JSON, of a run that is to go well.
fn result(mut bench: Process) -> Value {
    let code = bench.exit_code();
    let printed = bench.stdout.text();
    assert_eq!(code, 0, "it printed {printed}\nand said {}", bench.stderr.text());
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error} in {printed}"))
}

fn bench(address: SocketAddr, path: &str, arguments: &[&str]) -> Value {
    result(spawn(address, path, arguments))
}

fn count(result: &Value, pointer: &str) -> u64 {
    let number = result.pointer(pointer).and_then(Value::as_u64);
    number.unwrap_or_else(|| panic!("no count at {pointer} in {result:#}"))
}

/// All saw every state in order, and agree in the end.
fn assert_all_saw_all(result: &Value, clients: u64) {
    let traffic = &result["traffic"];
    assert_eq!(traffic["agree"], true, "{result:#}");
    assert_eq!(traffic["in_order"], true, "{result:#}");
    assert_eq!(traffic["skipped"], 0, "{result:#}");
    assert_eq!(traffic["clients_that_saw_all"], clients, "{result:#}");
    assert_eq!(result["lost"]["reasons"], Value::Array(vec![]), "{result:#}");
    assert!(count(result, "/traffic/actions") > 0, "nothing was sent: {result:#}");
    assert!(count(result, "/traffic/events") > 0, "nothing was delivered: {result:#}");
    assert!(count(result, "/traffic/age/count") > 0, "nobody looked at ages: {result:#}");
    let seconds = traffic["timeline"].as_array().expect("a list");
    let events: u64 = seconds.iter().map(|second| count(second, "/events")).sum();
    assert_eq!(events, count(result, "/traffic/events"), "the seconds add up: {result:#}");
}

#[test]
fn senders_that_wait_for_their_events_and_senders_with_a_rate_are_measured_in_every_protocol() {
    let server = TestServer::start(ROOMS);
    // Positions are counted over all rooms of a server.
    let alone = TestServer::start(ROOMS);
    let merge = r#"{"action":"merge","patch":{"a":{number}}}"#;
    let set = r#"{"action":"set","value":{"b":1}}"#;
    // Path, clients, those of them that are shown all, further arguments.
    let loads: [(&str, u64, u64, &[&str]); 7] = [
        ("/", 20, 20, &["--senders", "3"]),
        ("/counters/{room}", 20, 20, &["--rooms", "5", "--senders", "5", "--rate", "100"]),
        ("/counters/a", 10, 10, &["--protocol", "v1", "--exactly-once", "--senders", "4"]),
        ("/counters/b", 10, 10, &["--deflate", "--rate", "200"]),
        ("/relay", 10, 9, &["--protocol", "text"]),
        ("/echo", 5, 5, &["--protocol", "text", "--rooms", "5", "--senders", "5"]),
        ("/document", 10, 10, &["--protocol", "v1", "--first", set, "--send", merge]),
    ];
    let runs: Vec<_> = loads
        .map(|(path, clients, that_see, more)| {
            let clients = clients.to_string();
            let arguments = [&["--clients", &clients], more].concat();
            let server = if path == "/document" { &alone } else { &server };
            (that_see, spawn(server.address, path, &arguments))
        })
        .into();
    for (that_see, run) in runs {
        assert_all_saw_all(&result(run), that_see);
    }
}

#[test]
fn a_rate_that_the_server_cannot_take_is_sent_as_far_as_it_does() {
    let server = TestServer::start(ROOMS);
    let result = bench(server.address, "/", &["--clients", "2", "--rate", "100000"]);
    assert_eq!(result["traffic"]["agree"], true, "{result:#}");
    assert_eq!(result["traffic"]["in_order"], true, "{result:#}");
    assert!(count(&result, "/traffic/actions") > 0, "{result:#}");
}

#[test]
fn idle_connections_cost_what_they_cost_and_nothing_is_said() {
    let (server, address) = Process::serve(ROOMS);
    let id = server.id().to_string();
    let result = bench(address, "/", &["--clients", "30", "--idle", "--pid", &id]);
    assert_eq!(result["traffic"], Value::Null, "{result:#}");
    assert_eq!(result["setting"]["senders"], 0, "{result:#}");
    assert!(count(&result, "/server/memory_before_bytes") > 0, "{result:#}");
    assert!(
        count(&result, "/server/memory_peak_bytes") >= count(&result, "/server/memory_idle_bytes"),
        "{result:#}"
    );
    assert!(count(&result, "/connect/most_users_events") > 0, "{result:#}");
}

#[test]
fn clients_that_come_and_go_change_nothing_for_those_that_stay() {
    let server = TestServer::start(ROOMS);
    let arguments = ["--clients", "10", "--churn", "100", "--rate", "50", "--seconds", "1.5"];
    let result = bench(server.address, "/", &arguments);
    assert_all_saw_all(&result, 10);
}

#[test]
fn that_the_server_lets_go_who_does_not_read_is_no_failure() {
    let server =
        TestServer::start(&format!("{ROOMS}[heartbeat]\ninterval = \"200ms\"\ntimeout = \"1s\"\n"));
    let arguments = ["--clients", "10", "--stall", "2", "--slow", "50000", "--slow-clients", "1"];
    let result = bench(
        server.address,
        "/",
        &[&arguments[..], &["--seconds", "3", "--warmup", "0"]].concat(),
    );
    assert_eq!(result["traffic"]["agree"], true, "{result:#}");
    assert_eq!(result["traffic"]["clients_that_saw_all"], 7, "{result:#}");
    assert_eq!(result["lost"]["steady"], 0, "{result:#}");
    assert!(count(&result, "/lost/stalled") > 0, "{result:#}");
}

#[test]
fn a_server_that_ends_in_the_middle_is_a_failure_with_a_result() {
    let (server, address) = Process::serve(ROOMS);
    let mut bench = spawn(address, "/", &["--clients", "5", "--seconds", "60"]);
    // It has come in once others see it there.
    let (mut client, _) = support::RawClient::join_counter(address);
    while client.read_event()["type"] != "state" {}
    server.signal("TERM");
    assert_eq!(bench.exit_code(), 1, "{}", bench.stderr.text());
    let printed = bench.stdout.text();
    let result: Value = serde_json::from_str(&printed).expect("a result all the same");
    assert_eq!(result["lost"]["steady"], 5, "{result:#}");
    assert_eq!(result["traffic"]["agree"], false, "{result:#}");
}

/// Lets one client come in on a WebSocket that others wrote, and does with it what `script` says.
fn serve_one(script: impl FnOnce(WebSocket<TcpStream>) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        script(tungstenite::accept(stream).expect("a handshake"));
    });
    address
}

#[test]
fn a_server_that_speaks_socket_io_is_measured_too() {
    let address = serve_one(|mut socket| {
        let mut value = 0;
        let say = |socket: &mut WebSocket<_>, text: &str| socket.send(Message::text(text));
        say(&mut socket, r#"0{"sid":"a","pingInterval":25000}"#).expect("a client that reads");
        // Until the client goes.
        while let Ok(message) = socket.read() {
            let answered = match message.to_text().expect("a text") {
                "40" => say(&mut socket, r#"40{"sid":"b"}"#)
                    .and_then(|()| say(&mut socket, "2"))
                    .and_then(|()| say(&mut socket, r#"42["users",{"type":"users","count":1}]"#))
                    .and_then(|()| say(&mut socket, r#"42["state",{"type":"state","value":0}]"#)),
                "3" => Ok(()),
                r#"42["action",{"action":"plus"}]"# => {
                    value += 1;
                    let state = format!(r#"42["state",{{"type":"state","value":{value}}}]"#);
                    say(&mut socket, &state)
                }
                text => panic!("the client said {text}"),
            };
            if answered.is_err() {
                break;
            }
        }
    });
    let result = bench(address, "/", &["--clients", "1", "--protocol", "socket.io"]);
    assert_all_saw_all(&result, 1);
}

#[test]
fn a_server_that_shows_a_state_twice_is_found_out() {
    let address = serve_one(|mut socket| {
        let mut value = 0;
        let mut states = vec![
            r#"{"type":"users","count":1}"#.to_owned(),
            r#"{"type":"state","value":0}"#.to_owned(),
        ];
        while states.drain(..).all(|state| socket.send(Message::text(state)).is_ok()) {
            if socket.read().is_err() {
                break;
            }
            value += 1;
            states.extend(vec![format!(r#"{{"type":"state","value":{value}}}"#); 2]);
        }
    });
    let mut bench = spawn(address, "/", &["--clients", "1"]);
    assert_eq!(bench.exit_code(), 1, "{}", bench.stderr.text());
    let result: Value = serde_json::from_str(&bench.stdout.text()).expect("a result all the same");
    assert_eq!(result["traffic"]["in_order"], false, "{result:#}");
}

#[test]
fn a_page_with_plots_is_written_and_a_table_for_people() {
    let server = TestServer::start(ROOMS);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = folder.path().join("page.html");
    let url = format!("ws://{}/", server.address);
    let page_text = page.to_str().expect("a plain path");
    let mut bench = Process::spawn(statesync(&[
        "bench",
        "--url",
        &url,
        "--seconds",
        "0.3",
        "--warmup",
        "0",
        "--clients",
        "5",
        "--report",
        page_text,
    ]));
    assert_eq!(bench.exit_code(), 0, "{}", bench.stderr.text());
    let table = bench.stdout.text();
    for word in ["connect", "events", "agree", "sender", "every", "last", "age", "p99.9"] {
        assert!(table.contains(word), "no {word} in\n{table}");
    }
    let page = std::fs::read_to_string(&page).expect("a page");
    assert!(page.contains("<svg"), "{page}");
}

#[test]
fn wrong_arguments_and_servers_that_are_not_there_are_told_with_what_to_do() {
    // A port on which nobody listens any more.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", free.local_addr().expect("an address"));
    drop(free);
    let server = TestServer::start(ROOMS);
    let here = |path: &str| format!("ws://{}{path}", server.address);
    let (counter, document, relay) = (here("/"), here("/document"), here("/relay"));
    let cases: [(&[&str], i32, &str); 10] = [
        (&["--url", &url], 1, "is it running?"),
        (&["--url", "wss://127.0.0.1/"], 2, "without TLS"),
        (&["--url", &counter, "--rooms", "2"], 2, "put {room} into the path"),
        (&["--url", &counter, "--exactly-once"], 2, "--protocol v1"),
        (&["--url", &counter, "--clients", "2", "--senders", "3"], 2, "more than 2 --clients"),
        (&["--url", &counter, "--rate", "0"], 2, "a number of actions a second"),
        (&["--url", &counter, "--send", "@/no/such/file"], 2, "/no/such/file"),
        (&["--url", &counter, "--clients", "2", "--send", "hello"], 1, "bad_json"),
        (&["--url", &document, "--clients", "2"], 1, "--protocol v1 goes by positions"),
        (&["--url", &relay, "--clients", "2", "--protocol", "v1"], 1, "use another --protocol"),
    ];
    let spawn = |arguments: &[&str]| Process::spawn(statesync(&[&["bench"], arguments].concat()));
    let runs = cases.map(|case| (case, spawn(case.0)));
    for ((arguments, code, message), mut bench) in runs {
        let (exit_code, said) = (bench.exit_code(), bench.stderr.text());
        assert_eq!(exit_code, code, "{arguments:?} said {said}");
        assert!(said.contains(message), "{arguments:?} said {said}");
    }
}
