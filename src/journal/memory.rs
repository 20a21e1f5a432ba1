//! `memory`: the order, kept as long as the process lives.

use super::{Journal, JournalError, Snapshot, Take};
use bytes::Bytes;

/// Keeps the records since the last snapshot, and that.
#[derive(Debug)]
pub struct MemoryJournal {
    epoch: String,
    snapshot: Option<Snapshot>,
    /// The first has the position after `first_after`.
    records: Vec<Bytes>,
    first_after: u64,
}

impl MemoryJournal {
    /// An empty journal whose history is called `epoch`.
    pub fn new(epoch: String) -> Self {
        Self { epoch, snapshot: None, records: Vec::new(), first_after: 0 }
    }
}

impl Journal for MemoryJournal {
    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn position(&self) -> u64 {
        self.first_after + self.records.len() as u64
    }

    fn append(&mut self, records: &[Bytes]) -> Result<u64, JournalError> {
        self.records.extend_from_slice(records);
        Ok(self.position())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    fn read(&self, after: u64, take: &mut Take<'_>) -> Result<(), JournalError> {
        let positions = self.first_after + 1..;
        let records = positions.zip(&self.records).filter(|(position, _)| *position > after);
        records.into_iter().try_for_each(|(position, record)| take(position, record))
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        Ok(self.snapshot.clone())
    }

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        if self.snapshot.as_ref().is_some_and(|before| before.position > snapshot.position) {
            return Ok(());
        }
        let covered = snapshot.position.saturating_sub(self.first_after) as usize;
        self.records.drain(..covered.min(self.records.len()));
        self.first_after = self.first_after.max(snapshot.position);
        self.snapshot = Some(snapshot.clone());
        Ok(())
    }
}
