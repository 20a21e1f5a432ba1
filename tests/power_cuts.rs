//! The power is cut at random moments, below the storage engine. Whatever a disk may do with what
//! was not synced, the journal opens again, holds every record that it acknowledged, in order and
//! once, and goes on.
//!
//! `POWER_CUTS=20000 SEED=7 cargo test --release --test power_cuts` cuts more often, and elsewhere.

use bytes::Bytes;
use redb::StorageBackend;
use statesync::journal::{DiskJournal, Durability, Journal, Snapshot, Storage};
use std::{
    collections::BTreeMap,
    env, io,
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex},
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
        }
    }

    /// Fails from the moment on at which the power is cut.
    fn step(&mut self) -> io::Result<()> {
        self.steps_left = self.steps_left.saturating_sub(1);
        match self.steps_left {
            0 => Err(io::Error::other("the power is cut")),
            _ => Ok(()),
        }
    }

    fn is_cut(&self) -> bool {
        self.steps_left == 0
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> io::Result<()> {
        // The write at which the power is cut is under way: some of it may be on disk.
        let alive = self.step();
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
        alive
    }

    fn set_len(&mut self, len: usize) -> io::Result<()> {
        let alive = self.step();
        self.cached.resize(len, 0);
        self.lengths.push(len);
        alive
    }

    fn sync(&mut self) -> io::Result<()> {
        // The sync at which the power is cut has not brought all to the disk.
        self.step()?;
        self.synced.clone_from(&self.cached);
        self.unsynced.clear();
        self.lengths.clear();
        Ok(())
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
    /// What was handed over last and not acknowledged.
    in_flight: Vec<Bytes>,
    snapshot_in_flight: Option<Snapshot>,
}

impl History {
    /// Holds what was found after a cut against what was said before it.
    fn check(&mut self, journal: &dyn Journal) {
        let snapshot = journal.snapshot().expect("the snapshot is readable");
        assert!(
            snapshot == self.snapshot
                || (snapshot.is_some() && snapshot == self.snapshot_in_flight),
            "the snapshot is neither the last acknowledged nor the one in flight"
        );
        self.snapshot = snapshot;
        self.snapshot_in_flight = None;

        let last = journal.position() as usize;
        let offered = self.records.len() + self.in_flight.len();
        assert!(last >= self.safe, "{} records were safe, {last} are there", self.safe);
        if last > self.records.len() {
            assert_eq!(last, offered, "the batch in flight is there in part");
        }
        self.records.append(&mut self.in_flight);
        self.records.truncate(last);
        self.safe = last;

        let covered = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.position);
        let mut next = covered + 1;
        let read = journal.read(covered, &mut |position, record| {
            assert_eq!(position, next, "a record is missing or there twice");
            assert!(self.records[position as usize - 1] == record, "record {position} is another");
            next += 1;
            Ok(())
        });
        read.expect("all records are readable");
        assert_eq!(next as usize, last.max(covered as usize) + 1, "the last records are missing");

        let epoch = self.epoch.get_or_insert_with(|| journal.epoch().to_owned());
        assert!(epoch == journal.epoch() || last == 0, "the history has another name");
        *epoch = journal.epoch().to_owned();
    }

    /// Lives with the journal until the power is cut.
    fn go_on(&mut self, journal: &mut dyn Journal, durability: Durability, chance: &mut Chance) {
        loop {
            let (done, syncs) = match chance.below(16) {
                0 => (self.save_snapshot(journal, chance), true),
                1 => (journal.sync().is_ok(), true),
                _ => (self.append(journal, chance), durability == Durability::Always),
            };
            if !done {
                return;
            }
            if syncs {
                self.safe = self.records.len();
            }
        }
    }

    fn append(&mut self, journal: &mut dyn Journal, chance: &mut Chance) -> bool {
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
                true
            }
            Err(_) => {
                self.in_flight = batch;
                false
            }
        }
    }

    fn save_snapshot(&mut self, journal: &mut dyn Journal, chance: &mut Chance) -> bool {
        let before = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.position);
        let position = before + chance.below(journal.position() - before + 1);
        let bytes = Bytes::from(vec![position as u8; chance.below(3_000) as usize]);
        let snapshot = Snapshot { position, bytes };
        match journal.save_snapshot(&snapshot) {
            Ok(()) => self.snapshot = Some(snapshot),
            Err(_) => {
                self.snapshot_in_flight = Some(snapshot);
                return false;
            }
        }
        true
    }
}

/// One history with its cuts; `seed` says all that happens in it.
fn live_through(seed: u64, durability: Durability, cuts: u64) {
    let mut chance = Chance(seed);
    let plug = Plug(Arc::new(Mutex::new(Disk::new(Chance(chance.next())))));
    let mut history = History::default();
    let mut cut = 0;
    while cut < cuts {
        // Some cuts come while the journal is being opened, or repaired.
        let most = [12, 60, 600][chance.below(3) as usize];
        let steps = 1 + chance.below(most);
        plug.disk(|disk| disk.steps_left = steps);
        let opened =
            DiskJournal::with_storage(Path::new("disk"), Box::new(plug.clone()), durability);
        match opened {
            Ok(mut journal) if !plug.disk(|disk| disk.is_cut()) => {
                history.check(&journal);
                history.go_on(&mut journal, durability, &mut chance);
            }
            Ok(_) => {}
            Err(error) if plug.disk(|disk| disk.is_cut()) => drop(error),
            Err(error) => panic!("it does not open: {error}"),
        }
        plug.disk(Disk::restart);
        cut += 1;
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
