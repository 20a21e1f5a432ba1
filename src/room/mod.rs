//! Rooms: what clients share. A [`RoomKind`] says what may be sent and opens rooms; a [`Room`] is
//! the state and how an action changes it. One file a kind.
//!
//! A room is a pure state machine: the same actions at the same times give the same state and the
//! same effects. It sees no clock, no randomness, no socket and no actor.

mod argument;
mod chat;
mod clock;
mod counter;
mod document;
mod echo;
mod path;
mod recent;
mod relay;
mod template;

pub use chat::Chat;
pub use clock::Clock;
pub use counter::Counter;
pub use document::Document;
pub use echo::Echo;
pub use path::{MAX_NAME_BYTES, PathPattern};
pub use relay::Relay;
pub use template::{Filling, Place, Template};

use crate::protocol::{ActionError, Dialect, Event, Input, Message, RoomEvent, json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

/// Which room. Never used twice while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

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
    /// The name in the configuration, and in the journal. Never another one.
    fn name(&self) -> &'static str;

    /// How rooms of this kind talk.
    fn speech(&self) -> Speech;

    /// Whether actions go through the journal. Only what the room keeps is worth it.
    fn is_durable(&self) -> bool;

    /// Checks what a client sent and makes it an action: the form in which [`Room::admit`] and
    /// [`Room::apply`] read it, and the journal keeps it. Runs on the connection's thread. A room
    /// that speaks in events is given [`Input::Action`], another [`Input::Plain`].
    ///
    /// # Errors
    /// What is wrong, for the client that sent it.
    fn decode(&self, input: Input) -> Result<Message, ActionError>;

    /// The same for what the program that the server runs in pushes with a [`crate::Feed`]. It may
    /// be allowed what clients are not, or more than they are.
    ///
    /// # Errors
    /// What is wrong, for who pushed it.
    fn decode_fed(&self, input: Input) -> Result<Message, ActionError> {
        self.decode(input)
    }

    /// A new room in its first state.
    fn open(&self) -> Box<dyn Room>;

    /// A room in the state that [`Room::save`] wrote, in this or an earlier version of the kind.
    /// `None` if that is no such state. Durable kinds must have it.
    fn restore(&self, _saved: &[u8]) -> Option<Box<dyn Room>> {
        None
    }
}

impl dyn RoomKind {
    /// [Checks](RoomKind::decode) a message that came by itself, not in a session.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode_message(&self, message: Message) -> Result<Message, ActionError> {
        self.decode(self.input(message)?)
    }

    /// [Checks](RoomKind::decode_fed) a message that a [`crate::Feed`] pushes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode_fed_message(&self, message: Message) -> Result<Message, ActionError> {
        self.decode_fed(self.input(message)?)
    }

    fn input(&self, message: Message) -> Result<Input, ActionError> {
        Ok(match self.speech() {
            Speech::Plain => Input::Plain(message),
            Speech::Events => Input::Action(json::object(&message)?, Dialect::V1),
        })
    }
}

/// One room: what it keeps, and what it holds for those who are there now.
///
/// Only what [`apply`](Room::apply) and, in durable rooms, [`woken`](Room::woken) change is kept, in
/// the journal and in [`save`](Room::save). What sessions bring and take along ([`joined`](Room::joined),
/// [`left`](Room::left), [`admit`](Room::admit)) is never: after a restart nobody is there.
///
/// None of these may panic: the server would end, and an action that is in the journal would be read
/// again at every start.
pub trait Room: Send {
    /// The state as clients see it, for a newcomer and for one that skipped; `None` if there is none
    /// to see.
    fn state(&self) -> Option<Value> {
        None
    }

    /// What was said after the position `since`, or all that is still known, for a newcomer.
    fn history(&self, _since: Option<u64>) -> History {
        History::default()
    }

    /// The names of those who are there, for a newcomer; `None` in rooms without names.
    fn names(&self) -> Option<Vec<String>> {
        None
    }

    /// What is kept, as bytes for [`RoomKind::restore`]. Durable kinds must have it.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// A session has come.
    fn joined(&mut self, _session: SessionId, _at: UnixMicros) -> Vec<Effect> {
        Vec::new()
    }

    /// A session has gone. Rooms that hold something for each session forget it here. In durable
    /// rooms the effects may be told behind those of actions that are not applied yet, as those of
    /// [`admit`](Room::admit): no [`Effect::State`] here.
    fn left(&mut self, _session: SessionId, _at: UnixMicros) -> Vec<Effect> {
        Vec::new()
    }

    /// Looks at an action of a session before it gets its place in the order; durable rooms only.
    /// Here an action is joined with what only holds now and is not kept, such as the sender's name;
    /// and one that concerns only who is there is done, and not kept.
    ///
    /// Actions that were let pass before this one may still be on their way to the journal. So what
    /// is decided by the state belongs into [`apply`](Room::apply), and the effects of what is done
    /// here are told behind those actions': an [`Effect::State`] among them would be an older state.
    ///
    /// # Errors
    /// Why the action is refused; then everything is as it was.
    fn admit(
        &mut self,
        action: Message,
        _from: SessionId,
        _at: UnixMicros,
    ) -> Result<Admitted, ActionError> {
        Ok(Admitted::Ordered(action))
    }

    /// Carries out an action that [`RoomKind::decode`] made, [`Room::admit`] let pass, and that has
    /// its place in the order. `from` is who sent it: a session that [joined](Room::joined), or one
    /// that never did, for what came over plain HTTP or from a [`crate::Feed`]. `None` when the
    /// journal is read again: the state that a durable room keeps must not depend on it.
    ///
    /// # Errors
    /// Why the action is refused; then the state is as it was.
    fn apply(
        &mut self,
        action: &Message,
        from: Option<SessionId>,
        when: Moment,
    ) -> Result<Vec<Effect>, ActionError>;

    /// When the room wants to be [woken](Room::woken) next. Asked after every other call.
    fn wake_at(&self) -> Option<UnixMicros> {
        None
    }

    /// It is [time](Room::wake_at), or later. In durable rooms this has its place in the order, and
    /// is in the journal.
    fn woken(&mut self, _when: Moment) -> Vec<Effect> {
        Vec::new()
    }
}

/// A place in the order, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// The position in the journal: rising in the entries of a room, but not by one. In rooms that
    /// are not durable always 0.
    pub seq: u64,
    /// The time. It never falls.
    pub at: UnixMicros,
}

/// What [`Room::admit`] made of an action.
#[derive(Debug, Clone, PartialEq)]
pub enum Admitted {
    /// It gets its place in the order, in this form.
    Ordered(Message),
    /// It is done, and this is what it brought about. The journal keeps nothing of it.
    Done(Vec<Effect>),
}

/// What a room tells a newcomer of what was said before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Positions and events, oldest first.
    pub events: Vec<(u64, RoomEvent)>,
    /// Something after the position that was asked for is not known any more.
    pub is_incomplete: bool,
}

/// What is brought about outside the room. Where it has a sender, that is whose action it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Everyone is told the new state. A client that cannot keep up gets only the newest.
    State(Value),
    /// Everyone is told how the state changed. A client that cannot keep up gets
    /// [the state](Room::state) instead.
    Change(RoomEvent),
    /// Everyone is told. A client that cannot keep up gets only the newest.
    Tick(Event),
    /// Everyone is told. It is never skipped: a client that is too slow for it is closed with 4508,
    /// and comes back.
    Broadcast(Event),
    /// The same, for all but the sender.
    Others(Event),
    /// The sender alone is told.
    Reply(Event),
    /// One session is told. If it cannot keep up, it gets only the newest of these.
    Show(SessionId, Event),
    /// The sender's connection is closed normally, after what it was sent.
    CloseSender,
}

impl Effect {
    /// Whether everyone is told.
    pub fn is_for_all(&self) -> bool {
        match self {
            Self::State(_) | Self::Change(_) | Self::Tick(_) => true,
            Self::Broadcast(_) | Self::Others(_) => true,
            Self::Reply(_) | Self::Show(..) | Self::CloseSender => false,
        }
    }
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

/// Makes a kind from the keys that its `[[room]]` table has besides those that all have. A durable
/// kind must do without any: a room that is not in the configuration any more, but in the journal,
/// has none.
///
/// # Errors
/// What is wrong first.
pub type Constructor = fn(&Map<String, Value>) -> Result<Arc<dyn RoomKind>, BadArgument>;

/// The kinds of room that there are, by name.
#[derive(Debug, Clone)]
pub struct Kinds(BTreeMap<&'static str, Constructor>);

impl Default for Kinds {
    /// Those of the product.
    fn default() -> Self {
        let mut kinds = Self(BTreeMap::new());
        kinds.add("chat", |arguments| Ok(Arc::new(Chat::from_arguments(arguments)?)));
        kinds.add("clock", |arguments| Ok(Arc::new(Clock::from_arguments(arguments)?)));
        kinds.add("counter", |arguments| Ok(Arc::new(Counter::from_arguments(arguments)?)));
        kinds.add("document", |arguments| Ok(Arc::new(Document::from_arguments(arguments)?)));
        kinds.add("echo", |arguments| Ok(Arc::new(Echo::from_arguments(arguments)?)));
        kinds.add("relay", |arguments| Ok(Arc::new(Relay::from_arguments(arguments)?)));
        kinds
    }
}

impl Kinds {
    /// Adds a kind, in the place of one that has this name already. Journals hold names of durable
    /// kinds: a name should stay what it is.
    pub fn add(&mut self, name: &'static str, constructor: Constructor) {
        self.0.insert(name, constructor);
    }

    /// Makes the kind called `name`.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn make(
        &self,
        name: &str,
        arguments: &Map<String, Value>,
    ) -> Result<Arc<dyn RoomKind>, BadArgument> {
        let Some(constructor) = self.0.get(name) else {
            let names: Vec<_> = self.0.keys().map(|name| format!("{name:?}")).collect();
            let message = format!("there is no room kind {name:?}; there are {}", names.join(", "));
            return Err(BadArgument::new("kind", message));
        };
        constructor(arguments)
    }
}

/// Makes a kind of the product.
///
/// # Errors
/// What is wrong first.
pub fn kind(name: &str, arguments: &Map<String, Value>) -> Result<Arc<dyn RoomKind>, BadArgument> {
    Kinds::default().make(name, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_durable_kind_reads_what_it_saves() {
        for name in ["chat", "clock", "counter", "document", "echo", "relay"] {
            let kind = kind(name, &Map::new()).expect("a kind");
            let restored = kind.restore(&kind.open().save());
            assert_eq!(restored.is_some(), kind.is_durable(), "{name}");
        }
    }
}
