//! A room that does both: it passes each message on when it comes, and tells by itself, a second
//! after the first of them, how many there were.
//!
//! ```sh
//! cargo run --example both
//! cargo run -- connect localhost:6789              # in two terminals
//! ```

use serde_json::{Map, Value};
use statesync::{
    Config, Server,
    protocol::{ActionError, Event, Input, Message},
    room::{BadArgument, Effect, Moment, Room, RoomKind, SessionId, Speech, UnixMicros},
};
use std::{error::Error, sync::Arc};

const CONFIG: &str = r#"
    [journal]
    kind = "memory"

    [[room]]
    path = "/"
    kind = "both"
"#;

const SECOND: i64 = 1_000_000;

#[derive(Debug)]
struct Both;

fn both(arguments: &Map<String, Value>) -> Result<Arc<dyn RoomKind>, BadArgument> {
    match arguments.keys().next() {
        None => Ok(Arc::new(Both)),
        Some(key) => Err(BadArgument::new(key, "this room has no arguments")),
    }
}

impl RoomKind for Both {
    fn name(&self) -> &'static str {
        "both"
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
        Box::new(Talk::default())
    }
}

#[derive(Default)]
struct Talk {
    messages: usize,
    /// When to tell how many; `None` while nobody has said anything.
    tell_at: Option<UnixMicros>,
}

impl Room for Talk {
    /// A message has come.
    fn apply(
        &mut self,
        message: &Message,
        _from: Option<SessionId>,
        when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        self.messages += 1;
        self.tell_at.get_or_insert(UnixMicros(when.at.0 + SECOND));
        Ok(vec![Effect::Broadcast(Event::Message(message.clone()))])
    }

    /// Asked after every call: so a room sets, moves and stops its clock.
    fn wake_at(&self) -> Option<UnixMicros> {
        self.tell_at
    }

    /// It is time.
    fn woken(&mut self, _when: Moment) -> Vec<Effect> {
        let told = format!("messages in this second: {}", self.messages);
        *self = Self::default();
        vec![Effect::Tick(Event::Message(told.into()))]
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::parse("both.rs", CONFIG, std::env::vars())?;
    let server = Server::builder(config).room_kind("both", both).bind()?;
    println!("statesync is ready: {}", server.entrance().unwrap_or_default());
    let stop = async { drop(actix_rt::signal::ctrl_c().await) };
    Ok(actix_rt::System::new().block_on(server.run(stop))?)
}
