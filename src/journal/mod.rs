//! The journal: every action of a durable room is appended here, in order, before it is applied and
//! before anyone hears of it. What is not committed has not happened.

mod memory;

pub use memory::MemoryJournal;

use crate::{
    protocol::Message,
    room::{RoomId, UnixMicros},
};
use std::{error::Error, fmt};

/// One action in the order.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The room it is for.
    pub room: RoomId,
    /// When it was put in order; never before the entry in front of it.
    pub time: UnixMicros,
    /// What [`crate::room::RoomKind::decode`] made of the client's message.
    pub action: Message,
}

/// An ordered log of [`Entry`]s. No word of a backend escapes through it.
pub trait Journal: Send {
    /// Appends `batch` as one: all of it or nothing. Returns the position of its last entry (the
    /// first entry of a journal has position 1) once the batch is committed.
    ///
    /// # Errors
    /// Nothing was appended; the actions must not be applied.
    fn append(&mut self, batch: &[Entry]) -> Result<u64, JournalError>;
}

/// Why a batch was not appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalError(
    /// What went wrong and what the operator can do.
    pub String,
);

impl Error for JournalError {}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the journal cannot keep actions: {}", self.0)
    }
}
