//! Rooms: what clients share. A [`RoomKind`] says what may be sent and opens rooms; a [`Room`] is
//! the state and how an action changes it. One file a kind.
//!
//! A room is a pure state machine: the same actions at the same times give the same state and the
//! same effects. It sees no clock, no randomness, no socket and no actor.

mod counter;
mod echo;
mod template;

pub use counter::Counter;
pub use echo::Echo;
pub use template::Template;

use crate::protocol::{ActionError, Event, Input, Message};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{fmt::Debug, sync::Arc};

/// Which room, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u32);

/// A session's number: never used twice while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct UnixMicros(pub i64);

/// How a room talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// JSON events: `users`, `state`, `error` and those of the kind.
    Events,
    /// Its own messages and nothing else.
    Plain,
}

/// A kind of room with its arguments. Shared by all threads; holds no state.
pub trait RoomKind: Send + Sync + Debug {
    /// The name in the configuration.
    fn name(&self) -> &'static str;

    /// How rooms of this kind talk.
    fn speech(&self) -> Speech;

    /// Whether actions go through the journal. Only what the room keeps is worth it.
    fn is_durable(&self) -> bool;

    /// Checks what a client sent and makes it an action: the form in which the journal keeps it and
    /// [`Room::apply`] reads it. Runs on the connection's thread. A room that speaks in events is
    /// given [`Input::Action`], another [`Input::Plain`].
    ///
    /// # Errors
    /// What is wrong, for the client that sent it.
    fn decode(&self, input: Input) -> Result<Message, ActionError>;

    /// A new room in its first state.
    fn open(&self) -> Box<dyn Room>;

    /// A room in the state that [`Room::save`] wrote, in this or an earlier version of the kind.
    /// `None` if that is no such state. Durable kinds must have it.
    fn restore(&self, _saved: &[u8]) -> Option<Box<dyn Room>> {
        None
    }
}

/// One room's state.
pub trait Room: Send {
    /// The state as clients see it, for a newcomer; `None` if there is none to see.
    fn state(&self) -> Option<Value>;

    /// The state as bytes, for [`RoomKind::restore`]. Durable kinds must have it.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Carries out an action that [`RoomKind::decode`] made and that was put in order at `at`.
    /// `from` is who sent it, or `None` when the journal is read again: the state that a durable
    /// room keeps must not depend on it.
    ///
    /// It must not panic: the action is in the journal already, and every start would read it again.
    ///
    /// # Errors
    /// Why the action is refused; then the state is as it was.
    fn apply(
        &mut self,
        action: &Message,
        from: Option<SessionId>,
        at: UnixMicros,
    ) -> Result<Vec<Effect>, ActionError>;

    /// A session has left. Rooms that keep something for each session forget it here.
    fn left(&mut self, _session: SessionId) {}
}

/// What an action brings about outside the room's state.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Everyone is told the new state. A client that cannot keep up gets only the newest.
    State(Value),
    /// The sender alone is told.
    Reply(Event),
    /// The sender's connection is closed normally, after what it was sent.
    CloseSender,
}

/// What is wrong with a room's table in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadArgument {
    /// The key it is about.
    pub key: String,
    /// A sentence for the author of the configuration.
    pub message: String,
}

impl BadArgument {
    /// `key` is wrong, because of `message`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

/// Makes the kind called `name` with the keys that its `[[room]]` table has besides `path` and
/// `kind`.
///
/// # Errors
/// What is wrong first.
pub fn kind(name: &str, arguments: &Map<String, Value>) -> Result<Arc<dyn RoomKind>, BadArgument> {
    match name {
        "counter" => Counter::from_arguments(arguments).map(|kind| Arc::new(kind) as _),
        "echo" => Echo::from_arguments(arguments).map(|kind| Arc::new(kind) as _),
        _ => Err(BadArgument::new(
            "kind",
            format!("there is no room kind {name:?}; there are \"counter\" and \"echo\""),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_durable_kind_reads_what_it_saves() {
        for name in ["counter", "echo"] {
            let kind = kind(name, &Map::new()).expect("a kind");
            let restored = kind.restore(&kind.open().save());
            assert_eq!(restored.is_some(), kind.is_durable(), "{name}");
        }
    }
}
