//! The tables of a journal, and what is done in them.

use super::row;
use crate::journal::{Snapshot, Take};
use bytes::Bytes;
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};

/// The format that is written, and the newest that is read.
pub const FORMAT: u64 = 1;

/// One row, at 0.
const HEADER: TableDefinition<u64, &[u8]> = TableDefinition::new("header");
/// A row for each batch, at the position of its first record.
const BATCHES: TableDefinition<u64, &[u8]> = TableDefinition::new("batches");
/// At most one row, at the snapshot's position.
const SNAPSHOT: TableDefinition<u64, &[u8]> = TableDefinition::new("snapshot");

/// Each append takes away so many batches that a snapshot has made superfluous. More than the one
/// that it adds, so that they become fewer; few, so that no append takes long.
const OBSOLETE_BATCHES_PER_APPEND: usize = 4;

/// Why something cannot be done.
#[derive(Debug)]
pub enum Fault {
    /// What the engine says.
    Engine(Box<redb::Error>),
    /// What is stored is not what was written.
    Damaged(String),
    /// A newer program has written it, in this format.
    NewerFormat(u64),
    /// An error of whom records were handed to.
    Taker(crate::journal::JournalError),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Engine(Box::new(error.into()))
    }
}

/// What a sound journal says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The name of its history.
    pub epoch: u64,
    /// The position of its snapshot; 0 if there is none.
    pub covered: u64,
    /// The position of its last record; 0 if there never was one.
    pub last: u64,
}

/// A batch as it is stored.
#[derive(Debug)]
pub struct Row {
    /// The position of its first record.
    pub first: u64,
    /// [`row::encode_batch`].
    pub value: Vec<u8>,
}

/// Verifies all that matters from here on: the header, the snapshot, and every record after it.
/// `None`: nothing was ever written.
pub fn verify(database: &Database) -> Result<Option<Summary>, Fault> {
    let reading = database.begin_read()?;
    if reading.list_tables()?.next().is_none() && reading.list_multimap_tables()?.next().is_none() {
        return Ok(None);
    }
    let epoch = verify_header(&reading)?;
    let covered = snapshot(&reading)?.map_or(0, |snapshot| snapshot.position);
    let mut last = covered;
    read(&reading, covered, covered, &mut |position, _| {
        last = position;
        Ok(())
    })?;
    Ok(Some(Summary { epoch, covered, last }))
}

fn verify_header(reading: &ReadTransaction) -> Result<u64, Fault> {
    let table = match reading.open_table(HEADER) {
        Err(redb::TableError::TableDoesNotExist(_)) => {
            return Err(Fault::Damaged("the file is of another program".into()));
        }
        table => table?,
    };
    let value = table.get(0)?;
    match value.as_ref().and_then(|value| row::decode_header(value.value())) {
        Some((format, epoch)) if format <= FORMAT => Ok(epoch),
        Some((format, _)) => Err(Fault::NewerFormat(format)),
        None => Err(Fault::Damaged("its header is not what was written".into())),
    }
}

/// Makes the tables of a new journal.
pub fn create(database: &Database, epoch: u64) -> Result<Summary, Fault> {
    let writing = database.begin_write()?;
    writing.open_table(HEADER)?.insert(0, &row::encode_header(FORMAT, epoch)[..])?;
    writing.open_table(BATCHES)?;
    writing.open_table(SNAPSHOT)?;
    writing.commit()?;
    Ok(Summary { epoch, covered: 0, last: 0 })
}

/// The snapshot, verified.
pub fn snapshot(reading: &ReadTransaction) -> Result<Option<Snapshot>, Fault> {
    let table = reading.open_table(SNAPSHOT)?;
    let Some((position, value)) = table.last()? else { return Ok(None) };
    let position = position.value();
    match row::decode_snapshot(position, value.value()) {
        Some(bytes) => Ok(Some(Snapshot { position, bytes: Bytes::copy_from_slice(bytes) })),
        None => Err(Fault::Damaged(format!(
            "the snapshot at position {position} is not what was written"
        ))),
    }
}

/// Hands every record after `after` to `take`, verified, none missing in between. Of what the
/// snapshot at `covered` covers, the first may be gone.
pub fn read(
    reading: &ReadTransaction,
    after: u64,
    covered: u64,
    take: &mut Take<'_>,
) -> Result<(), Fault> {
    let table = reading.open_table(BATCHES)?;
    let mut next = None;
    for row in table.range(batch_around(&table, after + 1)?..)? {
        let (first, value) = row?;
        let first = first.value();
        // The first batch may begin before; all others where the one before ends.
        let expected = next.unwrap_or(first.min(after.max(covered) + 1));
        if first != expected {
            let found = format!("after position {} comes position {first}", expected - 1);
            return Err(Fault::Damaged(found));
        }
        let Some(records) = row::decode_batch(first, value.value()) else {
            let what = format!("the records from position {first} on are not what was written");
            return Err(Fault::Damaged(what));
        };
        for (position, record) in (first..).zip(&records) {
            if position > after {
                take(position, record).map_err(Fault::Taker)?;
            }
        }
        next = Some(first + records.len() as u64);
    }
    Ok(())
}

/// The key of the batch that `position` would be in.
fn batch_around(table: &ReadOnlyTable<u64, &[u8]>, position: u64) -> Result<u64, Fault> {
    let before = table.range(..=position)?.next_back().transpose()?;
    Ok(before.map_or(position, |(first, _)| first.value()))
}

/// Writes a batch, and takes some away that the snapshot at `covered` makes superfluous.
pub fn append(writing: &WriteTransaction, batch: &Row, covered: u64) -> Result<(), Fault> {
    let mut table = writing.open_table(BATCHES)?;
    for _ in 0..OBSOLETE_BATCHES_PER_APPEND {
        // All of a batch is covered if the next begins no later than what is not covered.
        let second = table.iter()?.nth(1).transpose()?;
        if second.is_none_or(|(first, _)| first.value() > covered + 1) {
            break;
        }
        table.pop_first()?;
    }
    table.insert(batch.first, &batch.value[..])?;
    Ok(())
}

/// Writes a snapshot in place of the one before.
pub fn save_snapshot(writing: &WriteTransaction, snapshot: &Snapshot) -> Result<(), Fault> {
    let mut table = writing.open_table(SNAPSHOT)?;
    while table.pop_first()?.is_some() {}
    let value = row::encode_snapshot(snapshot.position, &snapshot.bytes);
    table.insert(snapshot.position, &value[..])?;
    Ok(())
}

/// Makes the batches after position `after` be `batches`, and nothing else.
pub fn replace_tail(writing: &WriteTransaction, after: u64, batches: &[Row]) -> Result<(), Fault> {
    let mut table = writing.open_table(BATCHES)?;
    table.retain_in(after + 1.., |_, _| false)?;
    for batch in batches {
        table.insert(batch.first, &batch.value[..])?;
    }
    Ok(())
}
