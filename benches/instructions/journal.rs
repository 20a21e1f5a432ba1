//! From a batch of entries to the records that the journal keeps.

use super::{Case, Work};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use statesync::{
    protocol::{ClientKey, Message},
    room::UnixMicros,
    state::{ActEntry, Author, Deed, Entry, RoomNumber},
};
use std::hint::black_box;

pub const CASES: &[Case] =
    &[Case { name: "journal a batch of 64", unit: "an action", units: BATCH as u64, prepare }];

/// As many as one session may have on their way.
const BATCH: usize = 64;

struct Writing {
    entries: Vec<Entry>,
    records: Vec<Bytes>,
}

fn prepare() -> Result<Box<dyn Work>> {
    let client = ClientKey::new("/", "client-number-00000000").context("an identity")?;
    let entry = |id| {
        let author = Some(Author { client, id });
        let deed = Deed::Apply(Message::Text(r#"{"by":1}"#.into()));
        let at = UnixMicros(1_700_000_000_000_000 + id as i64);
        Entry::Act(ActEntry { at, room: RoomNumber(0), author, deed })
    };
    let entries = (1_000..1_000 + BATCH as u64).map(entry).collect();
    Ok(Box::new(Writing { entries, records: Vec::with_capacity(2 * BATCH) }))
}

impl Work for Writing {
    fn run(&mut self) {
        self.records.extend(black_box(&self.entries).iter().map(Entry::to_bytes));
    }

    fn check(&mut self) -> Result<()> {
        let written = self.entries.iter().cycle();
        let is_written =
            |(record, entry): (&Bytes, &Entry)| Entry::from_bytes(record).as_ref() == Some(entry);
        ensure!(self.records.iter().zip(written).all(is_written), "a record is not its entry");
        Ok(())
    }
}
