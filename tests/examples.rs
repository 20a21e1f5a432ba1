//! The rooms in `examples/`: each is started as a stranger would, and talked to by a client that
//! others wrote. What docs/rooms.md shows is one of them.

mod support;

#[allow(dead_code, reason = "its test runs here, its program does not")]
#[path = "../examples/poll.rs"]
mod poll;
#[allow(dead_code, reason = "the room is tested here, its program is started")]
#[path = "../examples/tic_tac_toe.rs"]
mod tic_tac_toe;

use proptest::prelude::*;
use serde_json::{Value, json};
use statesync::{
    protocol::{ErrorCode, Message},
    room::{Admitted, Effect, Moment, Room, RoomKind, SessionId, UnixMicros},
};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};
use support::{
    DEADLINE,
    process::{Process, program},
};
use tic_tac_toe::TicTacToe;
use tungstenite::WebSocket;

/// The example as cargo has built it, beside this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("the path of this test");
    let target = test.parent().and_then(Path::parent).expect("a test is in target/…/deps");
    let path = target.join("examples").join(name);
    assert!(path.exists(), "{} is missing: run cargo build --examples", path.display());
    program(&path)
}

fn start(name: &str) -> (Process, SocketAddr) {
    let process = Process::spawn(example(name));
    let address = process.address();
    (process, address)
}

/// A socket with a timeout. Reads that a signal interrupts, such as that a stopped machine goes on,
/// are done again.
struct Socket(TcpStream);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

struct Client(WebSocket<Socket>);

impl Client {
    /// Connects, and waits until the server has taken it into the room: a pong comes after that.
    fn join(address: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the example listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        let url = format!("ws://{address}{path}");
        let (mut socket, _) = tungstenite::client(url, Socket(stream)).expect("an upgrade");
        socket.send(tungstenite::Message::Ping(Default::default())).expect("the server reads");
        Self(socket)
    }

    fn joined(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::join(address, path);
        while !client.read().is_pong() {}
        client
    }

    fn read(&mut self) -> tungstenite::Message {
        self.0.read().expect("the server says something in time")
    }

    fn send(&mut self, text: impl ToString) {
        self.0.send(tungstenite::Message::text(text.to_string())).expect("the server reads");
    }

    fn text(&mut self) -> String {
        loop {
            if let tungstenite::Message::Text(text) = self.read() {
                return text.to_string();
            }
        }
    }

    /// The next event of this type.
    fn event(&mut self, kind: &str) -> Value {
        loop {
            let event: Value = serde_json::from_str(&self.text()).expect("events are JSON");
            if event["type"] == kind {
                return event;
            }
            assert_ne!(event["type"], "error", "instead of {kind}: {event}");
        }
    }
}

#[test]
fn the_consumer_handles_each_message() {
    let (_process, address) = start("consumer");
    let (mut one, mut two) = (Client::join(address, "/"), Client::join(address, "/"));
    one.send("two words");
    assert_eq!(one.text(), "words: 2, of 2 in all");
    two.send("more");
    assert_eq!(two.text(), "words: 1, of 3 in all");
}

#[test]
fn the_producer_tells_everyone_its_lines_and_nobody_elses() {
    let (process, mut input) = Process::spawn_with_input(example("producer"));
    let address = process.address();
    let (mut one, mut two) = (Client::joined(address, "/"), Client::joined(address, "/"));
    one.send("a client's own");
    writeln!(input, "first\nsecond").expect("the example reads");
    for client in [&mut one, &mut two] {
        assert_eq!([client.text(), client.text()], ["first", "second"]);
    }
}

#[test]
fn both_reacts_to_messages_and_to_time() {
    let (_process, address) = start("both");
    let (mut one, mut two) = (Client::joined(address, "/"), Client::joined(address, "/"));
    for _ in 0..2 {
        one.send("hi");
        for client in [&mut one, &mut two] {
            assert_eq!([client.text(), client.text()], ["hi", "messages in this second: 1"]);
        }
    }
}

#[test]
fn arguments_reach_each_room_of_a_kind() {
    let (_process, address) = start("arguments");
    for (path, answer) in [("/polite", "Good evening, Ann!"), ("/loud", "Hey, Ann!!!")] {
        let mut client = Client::join(address, path);
        client.send("Ann");
        assert_eq!(client.text(), answer, "at {path}");
    }
}

#[test]
fn a_wrong_argument_is_named_with_its_place() {
    for (argument, place, key) in [
        ("greeting = 7", ":4", "room.greeting"),
        ("exclamation_marks = 11", ":4", "room.exclamation_marks"),
        ("greting = \"Hi\"", ":4", "room.greting"),
        ("", ":1", "room.greeting"),
    ] {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        writeln!(file, "[[room]]\npath = \"/\"\nkind = \"greeter\"\n{argument}").expect("room");
        let mut command = example("arguments");
        command.arg(file.path()).env("STATESYNC__JOURNAL__KIND", "memory");
        let mut process = Process::spawn(command);
        assert_eq!(process.exit_code(), 1, "with {argument:?}");
        let said = process.stderr.text();
        let place = format!("{}{place}", file.path().display());
        assert!(said.contains(&place) && said.contains(key), "{place}, {key} in: {said}");
    }
}

/// Starts an example with its journal in `directory`.
fn start_on_disk(name: &str, directory: &Path) -> (Process, SocketAddr) {
    let mut command = example(name);
    command.env("STATESYNC__JOURNAL__PATH", directory);
    let process = Process::spawn(command);
    let address = process.address();
    (process, address)
}

#[test]
fn the_poll_is_kept() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for votes in 1..=2 {
        let (mut process, address) = start_on_disk("poll", directory.path());
        let mut client = Client::join(address, "/");
        client.event("state");
        client.send(json!({"action": "vote", "for": "tea"}));
        assert_eq!(client.event("state")["value"], json!({"tea": votes}));
        process.signal("KILL");
        process.wait();
    }
}

#[test]
fn a_game_outlives_kill_9() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let sit = |client: &mut Client, seat: &str| client.send(json!({"action": "sit", "seat": seat}));
    let mark = |client: &mut Client, cell: u8| client.send(json!({"action": "mark", "cell": cell}));

    let (mut process, address) = start_on_disk("tic_tac_toe", directory.path());
    let (mut x, mut o) = (Client::join(address, "/"), Client::join(address, "/"));
    x.event("seats");
    mark(&mut x, 0);
    let refused = x.event("error");
    assert_eq!(refused["code"], "no_seat", "{refused}");
    sit(&mut x, "x");
    while o.event("seats")["x"] != true {}
    sit(&mut o, "o");
    while x.event("seats")["o"] != true {}
    let mut before = x.event_after(|x| mark(x, 4));
    assert_eq!(before["value"]["turn"], "o");
    process.signal("KILL");
    process.wait();

    let (_process, address) = start_on_disk("tic_tac_toe", directory.path());
    let (mut x, mut o) = (Client::join(address, "/"), Client::join(address, "/"));
    let after = o.event("state");
    assert_eq!(after["value"], before["value"], "the marks are kept");
    let seats = o.event("seats");
    assert_eq!((&seats["x"], &seats["o"]), (&json!(false), &json!(false)), "nobody is there");
    x.event("seats");
    sit(&mut x, "x");
    while o.event("seats")["x"] != true {}
    sit(&mut o, "o");
    for (side, cell) in [("o", 0), ("x", 3), ("o", 1), ("x", 5)] {
        let client = if side == "x" { &mut x } else { &mut o };
        before = client.event_after(|client| mark(client, cell));
        let other = if side == "x" { &mut o } else { &mut x };
        while other.event("state")["value"] != before["value"] {}
    }
    assert_eq!(before["value"]["wins"], json!([1, 0]));
    assert_eq!(before["value"]["is_over"], true);
    drop(x);
    while o.event("seats")["x"] != false {}
}

impl Client {
    /// The state that comes of this.
    fn event_after(&mut self, act: impl FnOnce(&mut Self)) -> Value {
        act(self);
        self.event("state")
    }
}

/// What happens to a game.
#[derive(Debug, Clone)]
enum Happening {
    Act { session: u64, action: Value },
    Leave { session: u64 },
    Wake,
}

fn happening() -> impl Strategy<Value = Happening> {
    let sit =
        prop_oneof![Just("x"), Just("o")].prop_map(|seat| json!({"action": "sit", "seat": seat}));
    let mark = (0..9).prop_map(|cell| json!({"action": "mark", "cell": cell}));
    let action = prop_oneof![1 => sit, 6 => mark];
    prop_oneof![
        20 => (1..4u64, action).prop_map(|(session, action)| Happening::Act { session, action }),
        1 => (1..4u64).prop_map(|session| Happening::Leave { session }),
        1 => Just(Happening::Wake),
    ]
}

/// What stands in the journal: `None` is a waking.
type Journal = Vec<(Moment, Option<Message>)>;

/// Lets it happen, as the server would, with each thing two seconds after the one before.
fn live(happenings: &[Happening]) -> (Box<dyn Room>, Journal) {
    let kind: &dyn RoomKind = &TicTacToe;
    let (mut room, mut journal) = (kind.open(), Vec::new());
    for (seq, happening) in (1..).zip(happenings) {
        let when = Moment { seq, at: UnixMicros(seq as i64 * 2_000_000) };
        match happening {
            Happening::Act { session, action } => {
                let action = kind.decode_message(action.to_string().into()).expect("an action");
                let session = SessionId(*session);
                if let Ok(Admitted::Ordered(action)) = room.admit(action, session, when.at) {
                    let _ = room.apply(&action, Some(session), when);
                    journal.push((when, Some(action)));
                }
            }
            Happening::Leave { session } => drop(room.left(SessionId(*session), when.at)),
            Happening::Wake => {
                room.woken(when);
                journal.push((when, None));
            }
        }
    }
    (room, journal)
}

proptest! {
    #[test]
    fn a_replayed_game_is_the_same_from_any_snapshot(
        happenings in prop::collection::vec(happening(), 0..120),
        snapshot in 0..120usize,
    ) {
        let (room, journal) = live(&happenings);
        let mut replayed = TicTacToe.open();
        for (index, (when, action)) in journal.iter().enumerate() {
            if index == snapshot {
                replayed = TicTacToe.restore(&replayed.save()).expect("what was saved");
            }
            match action {
                Some(action) => drop(replayed.apply(action, None, *when)),
                None => drop(replayed.woken(*when)),
            }
        }
        prop_assert_eq!(replayed.save(), room.save());
        prop_assert_eq!(replayed.wake_at(), room.wake_at());
    }
}

#[test]
fn who_does_not_move_in_time_loses() {
    let mut room = TicTacToe.open();
    let at = |seconds: i64| Moment { seq: 1, at: UnixMicros(seconds * 1_000_000) };
    let mark =
        |seat: &str, cell: u8| Message::from(json!({"seat": seat, "cell": cell}).to_string());
    assert_eq!(room.wake_at(), None, "no clock runs before the first mark");
    room.apply(&mark("x", 0), None, at(100)).expect("x begins");
    assert_eq!(room.wake_at(), Some(at(130).at));
    let refused = room.apply(&mark("x", 1), None, at(101)).expect_err("it is o's turn");
    assert_eq!(refused.code, ErrorCode::Own("not_your_turn"));
    assert_eq!(room.woken(at(129)), [], "it was woken for a turn that is over");
    let [Effect::State(state)] = &room.woken(at(130))[..] else { panic!("the game ends") };
    assert_eq!((&state["wins"], &state["is_over"]), (&json!([1, 0]), &json!(true)));
    assert_eq!(room.wake_at(), None, "an empty room does not wake for ever");
}

#[test]
fn the_document_shows_the_example() {
    let document = include_str!("../docs/rooms.md");
    let example = include_str!("../examples/poll.rs");
    let blocks = document.split("```rust\n").skip(1).map(|rest| rest.split("```").next());
    let mut rest = example;
    let mut shown = 0;
    for block in blocks.map(|block| block.expect("a block ends")) {
        let at = rest.find(block.trim_end());
        let at = at.unwrap_or_else(|| panic!("not in examples/poll.rs, in this order:\n{block}"));
        let between = rest[..at].lines().filter(|line| !line.starts_with("//!"));
        assert!(between.clone().all(|line| line.trim().is_empty()), "not shown: {between:?}");
        rest = &rest[at + block.trim_end().len()..];
        shown += 1;
    }
    assert!(rest.trim().is_empty() && shown == 5, "not shown after {shown} blocks: {rest}");
}
