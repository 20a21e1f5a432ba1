//! What the journal holds: entries, in the order in which they change the state.

use crate::{
    protocol::{ClientKey, Message},
    room::UnixMicros,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A durable room's number in the journal: how many were opened before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomNumber(pub u32);

/// One step of the history. All that changes the state is in here, the limits that it obeys too, so
/// that every reading of the journal gives the same state.
///
/// Journals hold entries as postcard writes them (its wire format 1.0). So that they can be read for
/// ever, variants and fields stay as they are, and new variants come last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// From here on, clients are known within these limits.
    Limits {
        /// When; never before the entry in front of it. So in all entries.
        at: UnixMicros,
        /// The limits.
        limits: DedupLimits,
    },
    /// From here on there is one more durable room. A room is its path and its kind.
    Open {
        /// When.
        at: UnixMicros,
        /// Its path.
        path: String,
        /// The name of its kind.
        kind: String,
    },
    /// A client acts.
    Act(ActEntry),
}

/// An action in the order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActEntry {
    /// When it was put in order.
    pub at: UnixMicros,
    /// The room it is for.
    pub room: RoomNumber,
    /// Whose action it is, and which of theirs, if it is to count exactly once.
    pub author: Option<Author>,
    /// The action.
    pub deed: Deed,
}

/// A client, and its own number for an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// Who.
    pub client: ClientKey,
    /// From 1, each action one more than the one before.
    pub id: u64,
}

/// What an action is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Deed {
    /// What [`crate::room::RoomKind::decode`] made of the client's message.
    Apply(Message),
    /// It made nothing of it: no action of this room. It uses up its number all the same.
    Refuse,
    /// It concerned only who was there, and changed nothing that is kept. It uses up its number.
    Pass,
    /// Its number is not the next, so that it can change nothing: its sender asks what became of it.
    Query,
    /// No client acts: the room wanted to be woken.
    Wake,
    /// From here on there is no such room. One that is made at its path later is a new one.
    Remove,
}

/// Within what limits clients are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupLimits {
    /// A client that has not acted for longer is forgotten, in microseconds.
    pub ttl_micros: i64,
    /// Of more clients, those that have not acted for longest are forgotten. At least 1.
    pub max_clients: u32,
}

/// Room for an action of a counter: not to be moved while it is written, as in steps from 1.
const USUAL_BYTES: usize = 64;

impl Entry {
    /// The entry as the journal keeps it.
    pub fn to_bytes(&self) -> Bytes {
        let bytes = postcard::to_extend(self, Vec::with_capacity(USUAL_BYTES));
        bytes.expect("entries consist of what postcard can write, and memory takes all").into()
    }

    /// Reads what [`Entry::to_bytes`] wrote. `None` if it is nothing of that kind.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(bytes) {
            Ok((entry, [])) => Some(entry),
            _ => None,
        }
    }
}
