//! Drives a [`Journal`] for an owner that must never wait.

mod thread;

use super::{Journal, JournalError, Snapshot};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    task::{Context, Poll},
    time::Duration,
};
use thread::Thread;

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
pub struct Writer(Way);

#[derive(Debug)]
enum Way {
    Inline { journal: Box<dyn Journal>, outcomes: VecDeque<Outcome> },
    Threaded(Thread),
}

impl Writer {
    /// Appends on the spot: for a journal that never blocks.
    pub fn inline(journal: Box<dyn Journal>) -> Self {
        Self(Way::Inline { journal, outcomes: VecDeque::new() })
    }

    /// Appends on a thread of its own: for a journal that may block. All that waits goes into one
    /// append. With `sync_every`, what was appended is synced that long afterwards at the latest.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn threaded(
        journal: Box<dyn Journal>,
        sync_every: Option<Duration>,
    ) -> std::io::Result<Self> {
        Ok(Self(Way::Threaded(Thread::start(journal, sync_every)?)))
    }

    /// Hands records over to be appended. Never waits, if the journal never blocks or has its own
    /// thread.
    pub fn append(&mut self, batch: Vec<Bytes>) {
        match &mut self.0 {
            Way::Threaded(thread) => thread.append(batch),
            Way::Inline { journal, outcomes } => outcomes.push_back(append(&mut **journal, &batch)),
        }
    }

    /// Hands a snapshot over, to be saved after all that was appended before.
    pub fn save_snapshot(&mut self, snapshot: Snapshot) {
        match &mut self.0 {
            Way::Threaded(thread) => thread.save_snapshot(snapshot),
            Way::Inline { journal, .. } => save_snapshot(&mut **journal, &snapshot),
        }
    }

    /// The next outcome; when there is none, the task is woken for it.
    pub fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.0 {
            Way::Threaded(thread) => thread.poll_outcome(context),
            Way::Inline { outcomes, .. } => outcomes.pop_front().map_or(Poll::Pending, Poll::Ready),
        }
    }

    /// Waits until all that was handed over is dealt with and safe, and gives the journal up.
    pub fn close(self) {
        match self.0 {
            Way::Threaded(thread) => thread.join(),
            Way::Inline { mut journal, .. } => close(&mut *journal),
        }
    }
}

fn append(journal: &mut dyn Journal, batch: &[Bytes]) -> Outcome {
    let records = batch.len();
    match journal.append(batch) {
        Ok(last) => Outcome::Committed { records, last },
        Err(error) => Outcome::Failed { records, error },
    }
}

fn save_snapshot(journal: &mut dyn Journal, snapshot: &Snapshot) {
    if let Err(error) = journal.save_snapshot(snapshot) {
        log::warn!("no snapshot was saved: {error}");
    }
}

fn close(journal: &mut dyn Journal) {
    if let Err(error) = journal.sync() {
        log::error!("{error}");
    }
}

#[cfg(test)]
mod tests;
