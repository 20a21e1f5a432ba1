//! Drives a [`Journal`] for an owner that must never wait.

use super::{Journal, JournalError, Snapshot};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

/// What became of records that [`Writer::append`] was given. Outcomes come in the order of the
/// records; one may answer for several batches, or for all of one.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// So many records are kept; the last of them has position `last`.
    Committed {
        /// How many.
        records: usize,
        /// The position of the last.
        last: u64,
    },
    /// So many records are not, and never will be.
    Failed {
        /// How many.
        records: usize,
        /// Why.
        error: JournalError,
    },
}

/// A journal and the way to it.
#[derive(Debug)]
pub struct Writer {
    journal: Box<dyn Journal>,
    outcomes: VecDeque<Outcome>,
}

impl Writer {
    /// Appends on the spot: for a journal that never blocks.
    pub fn inline(journal: Box<dyn Journal>) -> Self {
        Self { journal, outcomes: VecDeque::new() }
    }

    /// Hands records over to be appended. Never waits.
    pub fn append(&mut self, batch: Vec<Bytes>) {
        let records = batch.len();
        self.outcomes.push_back(match self.journal.append(&batch) {
            Ok(last) => Outcome::Committed { records, last },
            Err(error) => Outcome::Failed { records, error },
        });
    }

    /// Hands a snapshot over, to be saved after all that was appended before.
    pub fn save_snapshot(&mut self, snapshot: Snapshot) {
        if let Err(error) = self.journal.save_snapshot(&snapshot) {
            log::warn!("no snapshot was saved: {error}");
        }
    }

    /// The next outcome; when there is none, the task is woken for it.
    pub fn poll_outcome(&mut self, _: &mut Context<'_>) -> Poll<Outcome> {
        self.outcomes.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits until all that was handed over is dealt with and safe, and gives the journal up.
    pub fn close(mut self) {
        if let Err(error) = self.journal.sync() {
            log::error!("{error}");
        }
    }
}
