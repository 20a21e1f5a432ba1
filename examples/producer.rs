//! A room that produces messages: a thread reads lines from standard input, and pushes each to
//! everyone who is there. Clients only listen.
//!
//! ```sh
//! cargo run --example producer                     # and type, when a client is there:
//! cargo run -- connect localhost:6789
//! ```

use serde_json::{Map, Value};
use statesync::{
    Config, Feed, FeedError, Server,
    protocol::{ActionError, ErrorCode, Event, Input, Message},
    room::{BadArgument, Effect, Moment, Room, RoomKind, SessionId, Speech},
};
use std::{error::Error, io::stdin, sync::Arc, thread};

const CONFIG: &str = r#"
    [journal]
    kind = "memory"

    [[room]]
    path = "/"
    kind = "producer"
"#;

#[derive(Debug)]
struct Producer;

fn producer(arguments: &Map<String, Value>) -> Result<Arc<dyn RoomKind>, BadArgument> {
    match arguments.keys().next() {
        None => Ok(Arc::new(Producer)),
        Some(key) => Err(BadArgument::new(key, "a producer has no arguments")),
    }
}

impl RoomKind for Producer {
    fn name(&self) -> &'static str {
        "producer"
    }

    fn speech(&self) -> Speech {
        Speech::Plain
    }

    fn is_durable(&self) -> bool {
        false
    }

    /// What clients send.
    fn decode(&self, _input: Input) -> Result<Message, ActionError> {
        Err(ActionError::new(ErrorCode::Own("only_listen"), "this room only tells"))
    }

    /// What this program pushes.
    fn decode_fed(&self, input: Input) -> Result<Message, ActionError> {
        input.into_plain()
    }

    fn open(&self) -> Box<dyn Room> {
        Box::new(Loudspeaker)
    }
}

struct Loudspeaker;

impl Room for Loudspeaker {
    fn apply(
        &mut self,
        message: &Message,
        _from: Option<SessionId>,
        _when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        Ok(vec![Effect::Broadcast(Event::Message(message.clone()))])
    }
}

/// The source. Lines that come faster than they are told wait in the pipe, so none is lost, and
/// nothing grows.
async fn push_lines(feed: Feed) -> Result<(), FeedError> {
    for line in stdin().lines().map_while(Result::ok) {
        feed.push(line).await?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::parse("producer.rs", CONFIG, std::env::vars())?;
    let server = Server::builder(config).room_kind("producer", producer).bind()?;
    let feed = server.feed("/").ok_or("no room at /")?;
    // Reading a terminal blocks, so it has a thread of its own. A source that does not block can be
    // a task beside the server: actix_rt::spawn.
    thread::spawn(|| {
        if let Err(error) = actix_rt::System::new().block_on(push_lines(feed)) {
            eprintln!("{error}");
        }
    });
    println!("statesync is ready: {}", server.entrance().unwrap_or_default());
    let stop = async { drop(actix_rt::signal::ctrl_c().await) };
    Ok(actix_rt::System::new().block_on(server.run(stop))?)
}
