//! Messages that the program itself pushes into a room, and kinds that it adds.

mod support;

use serde_json::{Map, Value};
use statesync::{
    Config, FeedError, Server,
    http::StartError,
    protocol::{ActionError, ErrorCode, Input, Message},
    room::{BadArgument, Constructor, Effect, Moment, Room, RoomKind, SessionId, Speech},
};
use std::{net::SocketAddr, sync::Arc, thread};
use support::RawClient;
use tokio::sync::oneshot;

const ROOMS: &str = r#"
    [server]
    bind = "127.0.0.1:0"
    [journal]
    kind = "memory"
    [[room]]
    path = "/"
    kind = "counter"
    [[room]]
    path = "/counters/{name}"
    kind = "counter"
    max_rooms = 1
"#;

fn bind() -> Server {
    let config = Config::parse("the test's configuration", ROOMS, []).expect("good TOML");
    Server::bind(config).expect("a free port")
}

/// Runs the server until the sender is used, in a thread.
fn run(server: Server) -> (SocketAddr, oneshot::Sender<()>, thread::JoinHandle<()>) {
    let address = server.addresses()[0];
    let (stop, stopped) = oneshot::channel();
    let thread = thread::spawn(move || {
        let stopped = async { drop(stopped.await) };
        actix_rt::System::new().block_on(server.run(stopped)).expect("nothing fails");
    });
    (address, stop, thread)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(future)
}

fn refused(error: FeedError) -> ErrorCode {
    match error {
        FeedError::Refused(error) => error.code,
        FeedError::Stopped => panic!("the server has stopped"),
    }
}

#[test]
fn what_is_pushed_before_the_start_waits_for_it_and_all_of_it_counts() {
    let server = bind();
    let feed = server.feed("/").expect("a room");
    let pushing: Vec<_> = (0..4)
        .map(|_| {
            let feed = feed.clone();
            thread::spawn(move || {
                block_on(async {
                    for _ in 0..250 {
                        feed.push(r#"{"action":"plus"}"#).await.expect("a good action");
                    }
                });
            })
        })
        .collect();
    let (address, stop, thread) = run(server);
    pushing.into_iter().for_each(|pushing| pushing.join().expect("no panic"));
    assert_eq!(RawClient::join_counter(address).1, 1000, "what was pushed is in the state");
    drop(stop);
    thread.join().expect("no panic");
}

#[test]
fn who_pushes_is_told_what_is_refused_and_nothing_else_happens() {
    let server = bind();
    assert!(server.feed("/nowhere").is_none(), "there is no such room");
    let feed = |path| server.feed(path).expect("a room");
    let (counter, one, two) = (feed("/"), feed("/counters/one"), feed("/counters/two"));
    let (address, stop, thread) = run(server);
    block_on(async {
        for (message, code) in [
            (r#"{"action":"times"}"#, ErrorCode::UnknownAction),
            (r#"{"action":"plus","by":0}"#, ErrorCode::BadField),
            ("plus", ErrorCode::BadJson),
        ] {
            let error = counter.push(message).await.expect_err("a bad action");
            assert_eq!(refused(error), code, "for {message}");
        }
        let most = format!(r#"{{"action":"plus","by":{}}}"#, i64::MAX);
        counter.push(most).await.expect("it fits");
        let error = counter.push(r#"{"action":"plus"}"#).await.expect_err("it does not fit");
        assert_eq!(refused(error), ErrorCode::OutOfRange, "refused in the order");
        one.push(r#"{"action":"plus"}"#).await.expect("the room is made");
        let error = two.push(r#"{"action":"plus"}"#).await.expect_err("one is all there may be");
        assert_eq!(refused(error), ErrorCode::TooManyRooms);
    });
    assert_eq!(RawClient::join_counter(address).1, i64::MAX);
    drop(stop);
    thread.join().expect("no panic");
}

#[test]
fn a_feed_ends_with_its_server_and_does_not_hold_it_up() {
    let server = bind();
    let feed = server.feed("/").expect("a room");
    let (_, stop, thread) = run(server);
    let pushing = {
        let feed = feed.clone();
        thread::spawn(move || {
            let mut stop = Some(stop);
            block_on(async {
                loop {
                    match feed.push(r#"{"action":"plus"}"#).await {
                        Ok(()) => drop(stop.take()),
                        Err(error) => return error,
                    }
                }
            })
        })
    };
    assert_eq!(pushing.join().expect("no panic"), FeedError::Stopped);
    thread.join().expect("no panic");
    assert_eq!(block_on(feed.push(r#"{"action":"plus"}"#)), Err(FeedError::Stopped));

    let server = bind();
    let feed = server.feed("/").expect("a room");
    drop(server);
    assert_eq!(block_on(feed.push(r#"{"action":"plus"}"#)), Err(FeedError::Stopped));
}

/// A durable kind that forgot how to read what it saves.
#[derive(Debug)]
struct Forgetful;

impl RoomKind for Forgetful {
    fn name(&self) -> &'static str {
        "forgetful"
    }

    fn speech(&self) -> Speech {
        Speech::Plain
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn decode(&self, input: Input) -> Result<Message, ActionError> {
        input.into_plain()
    }

    fn open(&self) -> Box<dyn Room> {
        Box::new(Nothing)
    }
}

struct Nothing;

impl Room for Nothing {
    fn apply(
        &mut self,
        _: &Message,
        _: Option<SessionId>,
        _: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        Ok(Vec::new())
    }
}

#[test]
fn a_kind_whose_journal_could_not_be_read_again_is_refused_at_the_start() {
    let forgetful: Constructor = |_: &Map<String, Value>| Ok(Arc::new(Forgetful));
    let failing: Constructor = |_| Err(BadArgument::new("depth", "want a number"));
    for (name, constructor, said) in [
        ("forgetful", forgetful, "does not read back what it saves"),
        ("another", forgetful, "calls itself \"forgetful\""),
        ("failing", failing, "room.depth"),
    ] {
        let toml = ROOMS.replace("kind = \"counter\"", &format!("kind = {name:?}"));
        let config = Config::parse("the test's configuration", &toml, []).expect("good TOML");
        match Server::builder(config).room_kind(name, constructor).bind() {
            Err(error @ StartError::Rooms(_)) => {
                assert!(error.to_string().contains(said), "{name}: {error}");
            }
            other => panic!("{name} is not refused: {other:?}"),
        }
    }
}
