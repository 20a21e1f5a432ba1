//! `memory`: the order without the memory of it. State lives as long as the process.

use super::{Entry, Journal, JournalError};

/// Counts entries and keeps none: nothing would ever read them again, because the state that they
/// made lives and dies with them.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    position: u64,
}

impl Journal for MemoryJournal {
    fn append(&mut self, batch: &[Entry]) -> Result<u64, JournalError> {
        self.position += batch.len() as u64;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        protocol::Message,
        room::{RoomId, UnixMicros},
    };

    #[test]
    fn positions_count_entries_from_one() {
        let entry =
            Entry { room: RoomId(0), time: UnixMicros(0), action: Message::Text("1".into()) };
        let mut journal = MemoryJournal::default();
        assert_eq!(journal.append(std::slice::from_ref(&entry)), Ok(1));
        assert_eq!(journal.append(&[entry.clone(), entry]), Ok(3));
        assert_eq!(journal.append(&[]), Ok(3), "an empty batch moves nothing");
    }
}
