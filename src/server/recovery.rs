//! From what a journal holds to a state that can go on.

use super::wall_clock;
use crate::{
    journal::{Journal, JournalError},
    state::{DedupLimits, Entry, RecoverError, State},
};
use std::{error::Error, fmt, io};

/// Why a server cannot go on from its journal.
#[derive(Debug)]
pub enum StartupError {
    /// The journal cannot be read, or not be written.
    Journal(JournalError),
    /// What it holds makes no state.
    State(RecoverError),
    /// The system has no thread for it.
    Thread(io::Error),
}

impl Error for StartupError {}

impl fmt::Display for StartupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::State(error) => write!(f, "the journal cannot be used: {error}"),
            Self::Thread(error) => write!(f, "the journal gets no thread: {error}"),
        }
    }
}

impl From<JournalError> for StartupError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl From<RecoverError> for StartupError {
    fn from(error: RecoverError) -> Self {
        Self::State(error)
    }
}

/// What was read behind the newest snapshot, and counts towards the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unsaved {
    /// Entries.
    pub entries: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// Brings `state`, which has only the rooms of the configuration, to where the journal ends, and
/// notes in the journal what is new in the configuration.
///
/// # Errors
/// What the operator has to change.
pub fn recover(
    state: &mut State,
    journal: &mut dyn Journal,
    limits: DedupLimits,
) -> Result<Unsaved, StartupError> {
    if let Some(snapshot) = journal.snapshot()? {
        state.restore(snapshot.position, &snapshot.bytes)?;
    }
    let (mut unsaved, mut wrong) = (Unsaved::default(), None);
    journal.read(state.position(), &mut |position, record| {
        unsaved.entries += 1;
        unsaved.bytes += record.len();
        if wrong.is_none() {
            wrong = state.replay(position, record).err();
        }
        Ok(())
    })?;
    if let Some(error) = wrong {
        return Err(error.into());
    }
    let records: Vec<_> =
        state.missing_entries(limits, wall_clock()).iter().map(Entry::to_bytes).collect();
    if records.is_empty() {
        return Ok(unsaved);
    }
    let last = journal.append(&records)?;
    let positions = last + 1 - records.len() as u64..;
    for (position, record) in positions.zip(&records) {
        state.replay(position, record)?;
    }
    Ok(unsaved)
}
