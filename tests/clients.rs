//! Clients that others wrote: Python `websockets` and `websocket-client`, Node `ws`, and Python's
//! standard library for server-sent events. Each scenario is a script in `tests/clients`.

mod support;

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};
use support::TestServer;

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn python() -> Command {
    let python = root().join("target/test-env/venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/setup", python.display());
    Command::new(python)
}

fn node() -> Command {
    let modules = root().join("tests/clients/node_modules");
    assert!(modules.exists(), "{} is missing: run tests/setup", modules.display());
    Command::new("node")
}

/// A server whose echo room takes the clients' 70,000 bytes.
fn server() -> TestServer {
    TestServer::start("[limits]\nmax_message = \"128KiB\"")
}

fn run_all(mut command: Command, script: &str) {
    let server = server();
    let output = command
        .arg(root().join("tests/clients").join(script))
        .arg("all")
        .arg(format!("ws://{}/", server.address))
        .arg(format!("ws://{}/echo", server.address))
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}; run tests/setup"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{script} failed:\n{said}");
}

/// The client is told 1001 when the server stops.
fn run_shutdown(mut command: Command, script: &str) {
    let mut server = server();
    let mut client = command
        .arg(root().join("tests/clients").join(script))
        .arg("shutdown")
        .arg(format!("ws://{}/", server.address))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}; run tests/setup"));
    let mut lines = BufReader::new(client.stdout.take().expect("a pipe")).lines();
    let connected = lines.next().expect("a line").expect("text");
    assert_eq!(connected, "connected", "from {script}");
    server.begin_stop();
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    let is_told = said.iter().any(|line| line.contains("closed with 1001"));
    assert!(is_told, "{script} was not closed with 1001; it said {said:?}");
    assert!(client.wait().expect("it ends").success(), "{script} failed");
}

#[test]
fn python_websockets() {
    run_all(python(), "websockets_client.py");
}

#[test]
fn python_websockets_is_told_of_the_shutdown() {
    run_shutdown(python(), "websockets_client.py");
}

#[test]
fn python_websocket_client() {
    run_all(python(), "websocket_client_client.py");
}

#[test]
fn python_websocket_client_is_told_of_the_shutdown() {
    run_shutdown(python(), "websocket_client_client.py");
}

#[test]
fn node_ws() {
    run_all(node(), "ws_client.js");
}

#[test]
fn node_ws_is_told_of_the_shutdown() {
    run_shutdown(node(), "ws_client.js");
}

/// The example client, which was written from docs/protocol.md alone, through cut connections and
/// kills of the server and of itself.
#[test]
fn the_example_client_counts_each_action_once() {
    let mut command = python();
    command.arg(root().join("tests/clients/example_client.py"));
    command.arg(env!("CARGO_BIN_EXE_statesync")).arg(root().join("examples/client.py"));
    let output = command.output().expect("python starts");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn python_event_stream() {
    run_all(python(), "sse_client.py");
}
