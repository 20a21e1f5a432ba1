//! `disk`: the order, kept in one file that survives whatever happens to the process, and, as far
//! as it is synced, to the machine.
//!
//! The storage engine is redb: a commit is whole or not there, with one fdatasync. A batch is one
//! row, because a row costs about as much as a batch. What a snapshot makes superfluous is taken
//! away bit by bit, with later appends.
//!
//! After an I/O error the engine refuses all further work, and whether the commit that met it got
//! in is unknown. So the file is opened anew, and made to hold just what was acknowledged. Only if
//! the process ends before that could be done, a batch that was refused may be there at the next
//! start.

mod content;
mod draft;
mod row;
mod storage;

pub use storage::Storage;

use super::{Journal, JournalError, Snapshot, Take, random_epoch};
use bytes::Bytes;
use content::{Fault, Row, Summary};
use draft::Draft;
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use storage::{FileStorage, OpenError};

/// How much of the file the engine keeps in memory, in bytes. A journal is read once, at start.
const CACHE_BYTES: usize = 16 << 20;

/// A batch of more bytes is refused: it would not fit into a row.
const MAX_BATCH_BYTES: usize = 1 << 30;

/// A faulty file is opened again at most this often.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// When what was appended is safe from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When [`Journal::append`] returns, records are on disk: neither the end of the process nor a
    /// power cut loses any. Each append waits for one fdatasync.
    Always,
    /// [`Journal::sync`] puts records on disk. The end of the process or a power cut loses at most
    /// what was appended after the last one, newest first. Until then it is kept in memory as well,
    /// to be written again after a fault.
    Interval,
    /// Records are given to the system, which writes them when it likes. The end of the process
    /// loses none. A power cut may lose any, and may damage the journal.
    Never,
}

/// A [`Journal`] in one file, `journal.redb`, in a directory of its own.
#[derive(Debug)]
pub struct DiskJournal {
    /// The directory, for messages.
    path: PathBuf,
    storage: Box<dyn Storage>,
    durability: Durability,
    epoch: u64,
    epoch_name: String,
    /// The last position that was acknowledged.
    position: u64,
    /// The position of the last snapshot that was acknowledged.
    covered: u64,
    /// What was acknowledged and is not synced yet, with [`Durability::Interval`].
    unsynced: Vec<Row>,
    state: State,
    retry_every: Duration,
    last_retry: Option<Instant>,
    /// The error that was logged and is not over.
    failing: Option<JournalError>,
}

#[derive(Debug)]
enum State {
    Open(Database),
    /// To be opened again.
    Faulty(JournalError),
    /// What was acknowledged is not there. There is no way on from here.
    Lost(JournalError),
}

impl DiskJournal {
    /// Opens the journal in `directory`, or makes a new one with its directory. Verifies all that
    /// follows the newest snapshot, and that. A commit that was cut short is taken back.
    ///
    /// # Errors
    /// All of [`JournalError`] but [`JournalError::Gone`]. Nothing was changed.
    pub fn open(directory: &Path, durability: Durability) -> Result<Self, JournalError> {
        let path = directory.to_owned();
        match FileStorage::open(directory) {
            Ok(storage) => Self::with_storage(directory, Box::new(storage), durability),
            Err(OpenError::Locked) => Err(JournalError::Locked { path }),
            Err(OpenError::Io(doing, error)) => {
                Err(JournalError::Io { path, doing, error: Arc::new(error) })
            }
        }
    }

    /// Opens the journal in any [`Storage`], which messages call `path`.
    ///
    /// # Errors
    /// As [`DiskJournal::open`].
    pub fn with_storage(
        path: &Path,
        mut storage: Box<dyn Storage>,
        durability: Durability,
    ) -> Result<Self, JournalError> {
        let opened = open_verified(&mut *storage, durability).and_then(|opened| match opened {
            (database, Some(summary)) => Ok((database, summary)),
            (database, None) => {
                let epoch = u64::from_str_radix(&random_epoch(), 16).unwrap_or_default();
                content::create(&database, epoch).map(|summary| (database, summary))
            }
        });
        let (database, summary) = opened.map_err(|fault| explain(path, "open", fault))?;
        Ok(Self {
            path: path.to_owned(),
            storage,
            durability,
            epoch: summary.epoch,
            epoch_name: format!("{:016x}", summary.epoch),
            position: summary.last,
            covered: summary.covered,
            unsynced: Vec::new(),
            state: State::Open(database),
            retry_every: RETRY_EVERY,
            last_retry: None,
            failing: None,
        })
    }

    /// The same, but after a fault it is opened again at most once in `pause`, not in a second.
    #[must_use]
    pub fn retry_every(self, pause: Duration) -> Self {
        Self { retry_every: pause, ..self }
    }

    /// Does `work` in one transaction, and opens the journal again before it where that is due.
    /// When it fails, none of it was done.
    fn transact(
        &mut self,
        doing: &'static str,
        durability: redb::Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<(), Fault>,
    ) -> Result<(), JournalError> {
        let done = self.try_transact(doing, durability, work);
        self.tell(done.as_ref().err());
        done
    }

    fn try_transact(
        &mut self,
        doing: &'static str,
        durability: redb::Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<(), Fault>,
    ) -> Result<(), JournalError> {
        self.check_in_place()?;
        self.reopen_if_due()?;
        let committed = match &self.state {
            State::Open(database) => commit(database, durability, work),
            State::Faulty(error) | State::Lost(error) => return Err(error.clone()),
        };
        // Again, because a file may go at any time, and nobody would find what is in it now.
        let error = match committed {
            Ok(()) => match self.check_in_place() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            Err(fault) => explain(&self.path, doing, fault),
        };
        // Closes the database. The sooner it is open again, the sooner a batch that got in although
        // its senders are told that it did not is out of it.
        self.state = State::Faulty(error.clone());
        let _ = self.reopen_if_due();
        Err(error)
    }

    fn check_in_place(&self) -> Result<(), JournalError> {
        match self.storage.is_in_place() {
            true => Ok(()),
            false => Err(JournalError::Gone { path: self.path.clone() }),
        }
    }

    fn reopen_if_due(&mut self) -> Result<(), JournalError> {
        let is_due = self.last_retry.is_none_or(|last| last.elapsed() >= self.retry_every);
        if !is_due || !matches!(self.state, State::Faulty(_)) {
            return Ok(());
        }
        self.last_retry = Some(Instant::now());
        match self.reopen() {
            Ok(database) => {
                self.state = State::Open(database);
                Ok(())
            }
            Err(fault) => {
                let error = explain(&self.path, "reopen", fault);
                let is_final = !matches!(error, JournalError::Io { .. });
                self.state = match is_final {
                    true => State::Lost(error.clone()),
                    false => State::Faulty(error.clone()),
                };
                Err(error)
            }
        }
    }

    /// Opens the file after a fault, and makes it hold just what was acknowledged.
    fn reopen(&mut self) -> Result<Database, Fault> {
        let (database, found) = open_verified(&mut *self.storage, self.durability)?;
        let safe = self.unsynced.first().map_or(self.position, |batch| batch.first - 1);
        let covered = self.check_found(found, safe)?;
        commit(&database, redb::Durability::Immediate, |writing| {
            content::replace_tail(writing, safe, &self.unsynced)
        })?;
        self.covered = covered;
        self.unsynced.clear();
        Ok(database)
    }

    /// Whether what was found holds all that was acknowledged and synced, up to position `safe`.
    /// Returns the position of the snapshot, which may be a newer one than was acknowledged.
    fn check_found(&self, found: Option<Summary>, safe: u64) -> Result<u64, Fault> {
        let lost = |what: String| Err(Fault::Damaged(what));
        match found {
            Some(found) if found.epoch != self.epoch => lost("it is of another history".into()),
            Some(found) if found.last < safe => {
                lost(format!("it ends at position {}, not at {safe}", found.last))
            }
            Some(found) if found.covered < self.covered => {
                lost(format!("the snapshot at position {} is not there", self.covered))
            }
            Some(found) => Ok(found.covered),
            None => lost("it is empty".into()),
        }
    }

    /// Logs when it begins to fail, and when it is well again.
    fn tell(&mut self, error: Option<&JournalError>) {
        match (&self.failing, error) {
            (None, None) => {}
            (Some(_), None) => log::info!("the journal in {} works again", self.path.display()),
            (Some(known), Some(error))
                if std::mem::discriminant(known) == std::mem::discriminant(error) => {}
            (_, Some(error)) => log::error!("{error}; actions are refused until it works again"),
        }
        self.failing = error.cloned();
    }

    /// Begins to read.
    fn begin_read(&self) -> Result<ReadTransaction, JournalError> {
        match &self.state {
            State::Open(database) => {
                database.begin_read().map_err(|error| explain(&self.path, "read", error.into()))
            }
            State::Faulty(error) | State::Lost(error) => Err(error.clone()),
        }
    }
}

/// Opens what is in `storage`; nothing is written before all that matters is found to be sound.
fn open_verified(
    storage: &mut dyn Storage,
    durability: Durability,
) -> Result<(Database, Option<Summary>), Fault> {
    let io_fault = |error: io::Error| Fault::from(redb::StorageError::from(error));
    let draft = storage.open().and_then(|bytes| Draft::new(bytes, durability)).map_err(io_fault)?;
    // The engine panics over some damaged files.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let mut database =
            Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(draft.clone())?;
        // What appends will walk over, the engine's own lists too, which nothing else would read.
        database.check_integrity()?;
        let summary = content::verify(&database)?;
        Ok((database, summary))
    }));
    let damaged = |_| Err(Fault::Damaged("the storage engine cannot make sense of it".into()));
    let (database, summary) = opened.unwrap_or_else(damaged)?;
    draft.accept().map_err(io_fault)?;
    Ok((database, summary))
}

fn commit(
    database: &Database,
    durability: redb::Durability,
    work: impl FnOnce(&WriteTransaction) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut writing = database.begin_write()?;
    writing.set_durability(durability)?;
    work(&writing)?;
    Ok(writing.commit()?)
}

/// The words of the engine in ours.
fn explain(path: &Path, doing: &'static str, fault: Fault) -> JournalError {
    let path = path.to_owned();
    let error = match fault {
        Fault::Taker(error) => return error,
        Fault::Damaged(what) => return JournalError::Damaged { path, what },
        Fault::NewerFormat(found) => {
            return JournalError::NewerFormat { path, found, known: content::FORMAT };
        }
        Fault::Engine(error) => *error,
    };
    match error {
        // The engine reads what is no file of its own as this.
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            JournalError::Damaged { path, what: error.to_string() }
        }
        redb::Error::Io(error) => JournalError::Io { path, doing, error: Arc::new(error) },
        redb::Error::DatabaseAlreadyOpen => JournalError::Locked { path },
        error @ (redb::Error::PreviousIo
        | redb::Error::DatabaseClosed
        | redb::Error::LockPoisoned(_)
        | redb::Error::TransactionPoisoned) => {
            JournalError::Io { path, doing, error: Arc::new(io::Error::other(error)) }
        }
        error => JournalError::Damaged { path, what: error.to_string() },
    }
}

impl Journal for DiskJournal {
    fn epoch(&self) -> &str {
        &self.epoch_name
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn append(&mut self, records: &[Bytes]) -> Result<u64, JournalError> {
        if records.is_empty() {
            return Ok(self.position);
        }
        if row::batch_len(records) > MAX_BATCH_BYTES {
            let error = Arc::new(io::ErrorKind::FileTooLarge.into());
            return Err(JournalError::Io { path: self.path.clone(), doing: "append to", error });
        }
        let first = self.position + 1;
        let batch = Row { first, value: row::encode_batch(first, records) };
        let durability = match self.durability {
            Durability::Interval => redb::Durability::None,
            Durability::Always | Durability::Never => redb::Durability::Immediate,
        };
        let covered = self.covered;
        self.transact("append to", durability, |writing| {
            content::append(writing, &batch, covered)
        })?;
        self.position += records.len() as u64;
        if self.durability == Durability::Interval {
            self.unsynced.push(batch);
        }
        Ok(self.position)
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        if self.unsynced.is_empty() && matches!(self.state, State::Open(_)) {
            return Ok(());
        }
        self.transact("sync", redb::Durability::Immediate, |_| Ok(()))?;
        self.unsynced.clear();
        Ok(())
    }

    fn read(&self, after: u64, take: &mut Take<'_>) -> Result<(), JournalError> {
        let reading = self.begin_read()?;
        content::read(&reading, after, self.covered, take)
            .map_err(|fault| explain(&self.path, "read", fault))
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        let reading = self.begin_read()?;
        content::snapshot(&reading).map_err(|fault| explain(&self.path, "read", fault))
    }

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        if snapshot.position < self.covered {
            return Ok(());
        }
        self.transact("save a snapshot in", redb::Durability::Immediate, |writing| {
            content::save_snapshot(writing, snapshot)
        })?;
        self.covered = snapshot.position;
        self.position = self.position.max(snapshot.position);
        self.unsynced.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
