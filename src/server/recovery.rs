//! From what a journal holds to a state that can go on.

use super::wall_clock;
use crate::{
    config::{self, Config, JournalKind, JournalSync},
    journal::{
        DiskJournal, Durability, Journal, JournalError, MemoryJournal, Writer, random_epoch,
    },
    room::Kinds,
    state::{DedupLimits, Entry, Facts, RecoverError, RoomPlan, State},
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

/// Where a server goes on.
#[derive(Debug)]
pub struct Recovered {
    /// The state at the journal's end.
    pub state: State,
    /// What was read behind the newest snapshot, and counts towards the next.
    pub unsaved: Unsaved,
    /// The journal, to go on with.
    pub journal: Writer,
}

/// Entries that no snapshot covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unsaved {
    /// How many.
    pub entries: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Recovered {
    /// Opens the journal of the configuration, and reads it.
    ///
    /// # Errors
    /// What the operator has to change.
    pub fn open(config: &Config, rooms: &[RoomPlan], kinds: &Kinds) -> Result<Self, StartupError> {
        let mut journal = open_journal(&config.journal)?;
        let facts = Facts {
            epoch: journal.epoch().to_owned(),
            // At most an hour.
            heartbeat_ms: config.heartbeat.interval.as_millis() as u64,
            max_message_bytes: config.limits.max_message_bytes as u64,
        };
        let limits = DedupLimits {
            // At most a year.
            ttl_micros: config.dedup.ttl.as_micros() as i64,
            max_clients: config.dedup.max_clients,
        };
        let mut state = State::new(rooms, kinds, facts, config.delivery.presence_interval);
        let unsaved = recover(&mut state, &mut *journal, limits)?;
        let config::Journal { kind, sync, sync_interval, .. } = config.journal;
        let journal = match kind {
            JournalKind::Memory => Writer::inline(journal),
            JournalKind::Disk => {
                let sync_every = (sync == JournalSync::Interval).then_some(sync_interval);
                Writer::threaded(journal, sync_every).map_err(StartupError::Thread)?
            }
        };
        Ok(Self { state, unsaved, journal })
    }
}

fn open_journal(config: &config::Journal) -> Result<Box<dyn Journal>, StartupError> {
    let durability = match config.sync {
        JournalSync::Always => Durability::Always,
        JournalSync::Interval => Durability::Interval,
        JournalSync::Never => Durability::Never,
    };
    Ok(match config.kind {
        JournalKind::Memory => {
            log::info!("the journal is in memory: all ends with this process");
            Box::new(MemoryJournal::new(random_epoch()))
        }
        JournalKind::Disk => {
            let journal = DiskJournal::open(&config.path, durability)?;
            let path = std::path::absolute(&config.path).unwrap_or(config.path.clone());
            let (path, position) = (path.display(), journal.position());
            let age = if position == 0 { "new" } else { "going on" };
            log::info!("the journal in {path} is {age}, at position {position}");
            Box::new(journal)
        }
    })
}

/// Brings `state`, which has only the rooms of the configuration, to where the journal ends, and
/// notes in the journal what is new in the configuration.
///
/// # Errors
/// What the operator has to change.
pub(super) fn recover(
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
    state.open_fixed_rooms();
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
