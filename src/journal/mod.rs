//! The journal: every action of a durable room is appended here, in order, before it is applied and
//! before anyone hears of it. What is not committed has not happened.
//!
//! A [`Journal`] stores opaque records and knows nothing of what they say. It may block. A
//! `Writer` drives one without blocking its owner: on the spot where that is quick, or on a thread
//! of its own, where all that waits goes into one commit while the one before is being synced.

mod disk;
mod memory;
mod writer;

pub use disk::{DiskJournal, Durability, Storage};
pub use memory::MemoryJournal;
pub(crate) use writer::{Outcome, Writer};

use bytes::Bytes;
use std::{
    collections::hash_map::RandomState, error::Error, fmt, hash::BuildHasher, io, path::PathBuf,
    sync::Arc,
};

/// A name for a new history: 16 hexadecimal digits at random.
pub fn random_epoch() -> String {
    // The standard library seeds each RandomState from the system's randomness.
    format!("{:016x}", RandomState::new().hash_one("epoch"))
}

/// A state of things that makes all records up to a position superfluous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The position of the last record that it covers.
    pub position: u64,
    /// What it says. Opaque to the journal.
    pub bytes: Bytes,
}

/// What [`Journal::read`] hands each record to: its position and its bytes.
pub type Take<'a> = dyn FnMut(u64, &[u8]) -> Result<(), JournalError> + 'a;

/// An ordered log of records. No word of a backend escapes through it. One suite of tests
/// (`journal/contract.rs`) says what every backend must do.
pub trait Journal: Send + fmt::Debug {
    /// The name of this history: 16 hexadecimal digits, made at random when it began. Positions of
    /// two histories must not be compared.
    fn epoch(&self) -> &str;

    /// The position of the last committed record; 0 if there never was one.
    fn position(&self) -> u64;

    /// Appends `records` as one: all of them or none. Returns the position of the last (the first
    /// record of a journal has position 1, and each further one the next) once they are kept as
    /// safely as this journal keeps anything.
    ///
    /// # Errors
    /// None was appended, and none will be found by [`Journal::read`]. A later call may succeed: a
    /// journal heals by itself where that is right.
    fn append(&mut self, records: &[Bytes]) -> Result<u64, JournalError>;

    /// Makes what was appended safe now, where [`Journal::append`] leaves that for later.
    ///
    /// # Errors
    /// It is as safe as it was.
    fn sync(&mut self) -> Result<(), JournalError>;

    /// Hands every record after position `after` to `take`, in order. Of those that the snapshot
    /// covers, the first may be gone.
    ///
    /// # Errors
    /// What cannot be read, or the first error of `take`.
    fn read(&self, after: u64, take: &mut Take<'_>) -> Result<(), JournalError>;

    /// The newest snapshot, if one was saved.
    ///
    /// # Errors
    /// It cannot be read.
    fn snapshot(&self) -> Result<Option<Snapshot>, JournalError>;

    /// Saves a snapshot in place of the one before. Records up to its position may go, at once or
    /// bit by bit. A snapshot of less than the one before covers is not saved.
    ///
    /// # Errors
    /// No record has gone. The snapshot is the one before, or this one after all.
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), JournalError>;
}

/// What a journal cannot do, and what the operator can do about it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process has this journal open.
    Locked {
        /// The journal's directory.
        path: PathBuf,
    },
    /// A newer version of this program has written it.
    NewerFormat {
        /// The journal's directory.
        path: PathBuf,
        /// The format that was found.
        found: u64,
        /// The newest format that this program reads.
        known: u64,
    },
    /// What is stored is not what was written. Nothing was changed.
    Damaged {
        /// The journal's directory.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// The journal's file is no longer at its path.
    Gone {
        /// The journal's directory.
        path: PathBuf,
    },
    /// The system refuses.
    Io {
        /// The journal's directory.
        path: PathBuf,
        /// What was tried: "open", "write" and so on.
        doing: &'static str,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// The thread that drives the journal has ended by a panic, which is a bug.
    Stopped,
}

impl Error for JournalError {}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path } => write!(
                f,
                "the journal in {} is in use by another process: stop that one, or set \
                 journal.path to another directory",
                path.display()
            ),
            Self::NewerFormat { path, found, known } => write!(
                f,
                "the journal in {} has format {found}, written by a newer statesync; this one \
                 reads formats up to {known}: use the newer one",
                path.display()
            ),
            Self::Damaged { path, what } => write!(
                f,
                "the journal in {} is damaged: {what}. Nothing was changed. Restore the directory \
                 from a backup, or move it away to begin anew",
                path.display()
            ),
            Self::Gone { path } => write!(
                f,
                "the journal's file in {} is gone: put it back, or restart the server to begin \
                 anew",
                path.display()
            ),
            Self::Io { path, doing, error } => {
                write!(f, "cannot {doing} the journal in {}: {error}", path.display())
            }
            Self::Stopped => f.write_str("the journal's thread has ended: restart the server"),
        }
    }
}

#[cfg(test)]
mod contract;
