//! The power is cut at random moments, below the storage engine, and single writes and syncs fail.
//! Whatever a disk may do with what was not synced, the journal opens again, holds every record that
//! it acknowledged, in order and once, and goes on.
//!
//! `POWER_CUTS=20000 SEED=7 cargo test --release --test power_cuts` cuts more often, and elsewhere.

use bytes::Bytes;
use redb::StorageBackend;
use statesync::journal::{DiskJournal, Durability, Journal, JournalError, Snapshot, Storage};
use std::{
    collections::BTreeMap,
    env, io,
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// A history: so many cuts on one disk, before the next begins on an empty one.
const CUTS_PER_HISTORY: u64 = 20;

/// SplitMix64: small, and the same for ever.
#[derive(Debug, Clone)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A disk behind a cache. What is not synced may reach it in any part and order.
#[derive(Debug)]
struct Disk {
    /// What a cut leaves for certain.
    synced: Vec<u8>,
    /// What is read.
    cached: Vec<u8>,
    /// All versions of each sector since the last sync, oldest first.
    unsynced: BTreeMap<usize, Vec<[u8; SECTOR]>>,
    /// All lengths since the last sync.
    lengths: Vec<usize>,
    chance: Chance,
    /// So many more writes, syncs and changes of length, then the power is cut.
    steps_left: u64,
    /// One step in so many fails; 0 is none.
    fault_in: u64,
}

impl Disk {
    fn new(chance: Chance) -> Self {
        Self {
            synced: Vec::new(),
            cached: Vec::new(),
            unsynced: BTreeMap::new(),
            lengths: Vec::new(),
            chance,
            steps_left: 0,
            fault_in: 0,
        }
    }

    /// Fails now and then, and from the moment on at which the power is cut.
    fn step(&mut self) -> io::Result<()> {
        self.steps_left = self.steps_left.saturating_sub(1);
        if self.is_cut() {
            return Err(io::Error::other("the power is cut"));
        }
        match self.fault_in > 0 && self.chance.below(self.fault_in) == 0 {
            true => Err(io::Error::other("a fault")),
            false => Ok(()),
        }
    }

    fn is_cut(&self) -> bool {
        self.steps_left == 0
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> io::Result<()> {
        // Of a write that fails, or at which the power is cut, some may be on disk.
        let done = self.step();
        let end = offset + data.len();
        if end > self.cached.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.cached[offset..end].copy_from_slice(data);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let mut bytes = [0; SECTOR];
            let start = sector * SECTOR;
            let end = self.cached.len().min(start + SECTOR);
            bytes[..end - start].copy_from_slice(&self.cached[start..end]);
            self.unsynced.entry(sector).or_default().push(bytes);
        }
        done
    }

    fn set_len(&mut self, len: usize) -> io::Result<()> {
        let done = self.step();
        self.cached.resize(len, 0);
        self.lengths.push(len);
        done
    }

    fn sync(&mut self) -> io::Result<()> {
        let done = self.step();
        if self.is_cut() {
            return done;
        }
        // A sync that fails is, for Linux, the end of the matter: what did not reach the disk will
        // not be written again, but is still read as if it had.
        let lost_of_256 = if done.is_ok() { 0 } else { [256, 128, 8, 0][self.pick(4)] };
        self.synced.resize(self.cached.len(), 0);
        for sector in std::mem::take(&mut self.unsynced).into_keys() {
            let range = sector * SECTOR..self.cached.len().min((sector + 1) * SECTOR);
            if !range.is_empty() && self.chance.below(256) >= lost_of_256 {
                self.synced[range.clone()].copy_from_slice(&self.cached[range]);
            }
        }
        self.lengths.clear();
        done
    }

    /// Forgets what is cached and not waiting to be written.
    fn forget_cached(&mut self) {
        let Self { synced, cached, unsynced, .. } = self;
        let len = cached.len();
        cached.clone_from(synced);
        cached.resize(len, 0);
        for (sector, versions) in unsynced {
            let range = *sector * SECTOR..len.min((*sector + 1) * SECTOR);
            if let (Some(newest), false) = (versions.last(), range.is_empty()) {
                cached[range.clone()].copy_from_slice(&newest[..range.len()]);
            }
        }
    }

    fn pick(&mut self, end: u64) -> usize {
        self.chance.below(end) as usize
    }

    /// Comes back after the cut with one of the many things that may be on the disk now: of each
    /// sector, and of the length, the synced version or any since.
    fn restart(&mut self) {
        let Self { synced, unsynced, lengths, chance, .. } = self;
        if let Some(len) = lengths.get(chance.below(lengths.len() as u64 + 1) as usize) {
            synced.resize(*len, 0);
        }
        // Some cuts leave nearly all or nearly nothing of what was not synced.
        let kept_of_256 = [0, 8, 128, 248, 256][chance.below(5) as usize];
        for (sector, versions) in std::mem::take(unsynced) {
            let start = sector * SECTOR;
            let is_kept = chance.below(256) < kept_of_256;
            if is_kept && start < synced.len() {
                let newest_first = chance.below(2) * chance.below(versions.len() as u64);
                let version = &versions[versions.len() - 1 - newest_first as usize];
                let end = synced.len().min(start + SECTOR);
                synced[start..end].copy_from_slice(&version[..end - start]);
            }
        }
        self.lengths.clear();
        self.cached.clone_from(&self.synced);
    }
}

/// A disk as the journal and the engine see it.
#[derive(Debug, Clone)]
struct Plug(Arc<Mutex<Disk>>);

impl Plug {
    fn disk<T>(&self, what: impl FnOnce(&mut Disk) -> T) -> T {
        what(&mut self.0.lock().expect("no panic holds the disk"))
    }
}

impl Storage for Plug {
    fn open(&mut self) -> io::Result<Box<dyn StorageBackend>> {
        self.disk(Disk::forget_cached);
        match self.disk(|disk| disk.is_cut()) {
            true => Err(io::Error::other("the power is cut")),
            false => Ok(Box::new(self.clone())),
        }
    }

    fn is_in_place(&self) -> bool {
        true
    }
}

impl StorageBackend for Plug {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk(|disk| disk.cached.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let range = offset as usize..offset as usize + out.len();
        self.disk(|disk| match disk.cached.get(range) {
            Some(bytes) if !disk.is_cut() => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk(|disk| disk.set_len(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk(Disk::sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk(|disk| disk.write(offset as usize, data))
    }
}

/// What the journal was told, and what it said.
#[derive(Debug, Default)]
struct History {
    epoch: Option<String>,
    /// Acknowledged, from position 1 on.
    records: Vec<Bytes>,
    /// Acknowledged and synced.
    safe: usize,
    snapshot: Option<Snapshot>,
    /// Batches that were refused since the last that was not. At most one may be there after a cut.
    refused: Vec<Vec<Bytes>>,
    /// Snapshots that were refused since the last that was not. Any may be there.
    refused_snapshots: Vec<Snapshot>,
}

impl History {
    /// Holds what was found after a cut against what was said before it.
    fn check(&mut self, journal: &dyn Journal) {
        let snapshot = journal.snapshot().expect("the snapshot is readable");
        assert!(
            snapshot == self.snapshot
                || snapshot.iter().any(|found| self.refused_snapshots.contains(found)),
            "the snapshot is neither the last acknowledged nor one in flight"
        );
        self.snapshot = snapshot;
        self.refused_snapshots.clear();
        self.check_records(journal);

        let epoch = self.epoch.get_or_insert_with(|| journal.epoch().to_owned());
        assert!(epoch == journal.epoch() || self.records.is_empty(), "it has another name");
        *epoch = journal.epoch().to_owned();
    }

    fn check_records(&mut self, journal: &dyn Journal) {
        let covered = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.position);
        let mut found = Vec::new();
        let read = journal.read(covered, &mut |position, record| {
            assert_eq!(position, covered + found.len() as u64 + 1, "a record is missing or twice");
            found.push(Bytes::copy_from_slice(record));
            Ok(())
        });
        read.expect("all records are readable");
        let last = covered as usize + found.len();
        assert_eq!(journal.position() as usize, last, "the last records are missing");
        assert!(last >= self.safe, "{} records were safe, {last} are there", self.safe);

        let acknowledged = &self.records[covered as usize..];
        let known = found.len().min(acknowledged.len());
        assert!(found[..known] == acknowledged[..known], "a record is another than was appended");
        let rest = found.split_off(known);
        assert!(rest.is_empty() || self.refused.contains(&rest), "a batch is there in part");
        self.records.truncate(last);
        self.records.extend(rest);
        self.refused.clear();
        self.safe = last;
    }

    /// Lives with the journal until the power is cut.
    fn go_on(
        &mut self,
        journal: &mut dyn Journal,
        durability: Durability,
        chance: &mut Chance,
        is_cut: impl Fn() -> bool,
    ) {
        while !is_cut() {
            let (done, syncs) = match chance.below(16) {
                0 => (self.save_snapshot(journal, chance), true),
                1 => (self.sync(journal), true),
                _ => (self.append(journal, chance), durability == Durability::Always),
            };
            match done {
                Ok(()) if syncs => self.safe = self.records.len(),
                Ok(()) | Err(JournalError::Io { .. }) => {}
                Err(error) => panic!("it gave up: {error}"),
            }
        }
    }

    fn sync(&mut self, journal: &mut dyn Journal) -> Result<(), JournalError> {
        journal.sync()?;
        // It is well, so whatever was refused is gone.
        if !std::mem::take(&mut self.refused).is_empty() {
            let covered = journal.snapshot()?.map_or(0, |snapshot| snapshot.position);
            let mut last = covered;
            journal.read(covered, &mut |position, _| {
                last = position;
                Ok(())
            })?;
            assert_eq!(last as usize, self.records.len(), "what was refused is there");
        }
        Ok(())
    }

    fn append(
        &mut self,
        journal: &mut dyn Journal,
        chance: &mut Chance,
    ) -> Result<(), JournalError> {
        let len = |chance: &mut Chance| match chance.below(40) {
            0 => 20_000,
            _ => chance.below(200) as usize,
        };
        let batch: Vec<_> = (0..1 + chance.below(6))
            .map(|_| Bytes::from(vec![chance.next() as u8; len(chance)]))
            .collect();
        match journal.append(&batch) {
            Ok(last) => {
                self.records.extend(batch);
                assert_eq!(last as usize, self.records.len(), "a wrong position was answered");
                self.refused.clear();
                Ok(())
            }
            Err(error) => {
                self.refused.push(batch);
                Err(error)
            }
        }
    }

    fn save_snapshot(
        &mut self,
        journal: &mut dyn Journal,
        chance: &mut Chance,
    ) -> Result<(), JournalError> {
        let others = self.refused_snapshots.iter().chain(&self.snapshot);
        let before = others.map(|snapshot| snapshot.position).max().unwrap_or(0);
        let position = before + chance.below(journal.position() - before + 1);
        let bytes = Bytes::from(vec![position as u8; chance.below(3_000) as usize]);
        let snapshot = Snapshot { position, bytes };
        match journal.save_snapshot(&snapshot) {
            Ok(()) => {
                self.snapshot = Some(snapshot);
                self.refused_snapshots.clear();
                Ok(())
            }
            Err(error) => {
                self.refused_snapshots.push(snapshot);
                Err(error)
            }
        }
    }
}

/// One history with its cuts; `seed` says all that happens in it.
fn live_through(seed: u64, durability: Durability, cuts: u64) {
    let storage = Path::new("disk");
    let mut chance = Chance(seed);
    let plug = Plug(Arc::new(Mutex::new(Disk::new(Chance(chance.next())))));
    let mut history = History::default();
    let is_cut = || plug.disk(|disk| disk.is_cut());
    for _ in 0..cuts {
        // Some cuts come while the journal is being opened, or repaired.
        let most = [12, 60, 600][chance.below(3) as usize];
        let steps = 1 + chance.below(most);
        let fault_in = [0, 0, 100, 20][chance.below(4) as usize];
        plug.disk(|disk| (disk.steps_left, disk.fault_in) = (steps, fault_in));
        match DiskJournal::with_storage(storage, Box::new(plug.clone()), durability) {
            Ok(journal) if !is_cut() => {
                let mut journal = journal.retry_every(Duration::ZERO);
                history.check(&journal);
                history.go_on(&mut journal, durability, &mut chance, is_cut);
            }
            Err(error) if !is_cut() && !matches!(error, JournalError::Io { .. }) => {
                panic!("it does not open: {error}");
            }
            // The power was cut meanwhile, or a fault struck.
            _ => {}
        }
        plug.disk(Disk::restart);
    }
}

fn setting<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
        Err(_) => default,
    }
}

/// Says how to see a failure again.
struct OnFailure(u64, Durability);

impl Drop for OnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, durability) = self;
            eprintln!("{durability:?}: to see this again: SEED={seed} POWER_CUTS=20");
        }
    }
}

fn cut_the_power(durability: Durability) {
    let cuts: u64 = setting("POWER_CUTS", 2_000);
    let seed: u64 = setting("SEED", 1);
    for history in 0..cuts.div_ceil(CUTS_PER_HISTORY) {
        let seed = seed + history;
        let _told = OnFailure(seed, durability);
        live_through(seed, durability, CUTS_PER_HISTORY);
    }
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    cut_the_power(Durability::Always);
}

#[test]
fn a_power_cut_loses_at_most_what_was_not_synced() {
    cut_the_power(Durability::Interval);
}
