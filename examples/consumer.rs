//! A room that consumes messages: it handles each one when it comes, and answers its sender.
//!
//! ```sh
//! cargo run --example consumer
//! cargo run -- connect localhost:6789              # and type
//! ```

use serde_json::{Map, Value};
use statesync::{
    Config, Server,
    protocol::{ActionError, Event, Input, Message},
    room::{BadArgument, Effect, Moment, Room, RoomKind, SessionId, Speech},
};
use std::{error::Error, sync::Arc};

/// The room keeps nothing, so there is nothing for a journal.
const CONFIG: &str = r#"
    [journal]
    kind = "memory"

    [[room]]
    path = "/"
    kind = "consumer"
"#;

/// The kind: what may be sent, and how a room begins.
#[derive(Debug)]
struct Consumer;

fn consumer(arguments: &Map<String, Value>) -> Result<Arc<dyn RoomKind>, BadArgument> {
    match arguments.keys().next() {
        None => Ok(Arc::new(Consumer)),
        Some(key) => Err(BadArgument::new(key, "a consumer has no arguments")),
    }
}

impl RoomKind for Consumer {
    fn name(&self) -> &'static str {
        "consumer"
    }

    fn speech(&self) -> Speech {
        Speech::Plain
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn decode(&self, input: Input) -> Result<Message, ActionError> {
        input.into_plain()
    }

    fn open(&self) -> Box<dyn Room> {
        Box::new(Words { heard: 0 })
    }
}

/// The room: how many words it has heard from everyone.
struct Words {
    heard: usize,
}

impl Room for Words {
    /// The handler: it runs once for each message, for one after the other.
    fn apply(
        &mut self,
        message: &Message,
        _from: Option<SessionId>,
        _when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        let words = String::from_utf8_lossy(message.as_bytes()).split_whitespace().count();
        self.heard = self.heard.saturating_add(words);
        let answer = format!("words: {words}, of {} in all", self.heard);
        Ok(vec![Effect::Reply(Event::Message(answer.into()))])
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::parse("consumer.rs", CONFIG, std::env::vars())?;
    let server = Server::builder(config).room_kind("consumer", consumer).bind()?;
    println!("statesync is ready: {}", server.entrance().unwrap_or_default());
    let stop = async { drop(actix_rt::signal::ctrl_c().await) };
    Ok(actix_rt::System::new().block_on(server.run(stop))?)
}
