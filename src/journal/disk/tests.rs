//! What goes wrong with disks and files, and what must become of it.

use super::*;
use redb::{ReadableTableMetadata, StorageBackend, TableDefinition};
use std::{
    fs,
    sync::{Mutex, MutexGuard},
};
use tempfile::TempDir;

/// What an injected fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strikes {
    /// Every write and every growth: the disk is full.
    Room,
    /// Every write.
    Writes,
    /// Every sync. What was written before gets to the disk nevertheless.
    Syncs,
}

#[derive(Debug, Default)]
struct Medium {
    bytes: Vec<u8>,
    fault: Option<Strikes>,
    is_away: bool,
    opened: usize,
    synced: usize,
}

/// Storage in memory, on which faults are set.
#[derive(Debug, Clone, Default)]
struct Faulty(Arc<Mutex<Medium>>);

impl Faulty {
    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().expect("no panic holds the medium")
    }

    fn set(&self, fault: Option<Strikes>) {
        self.medium().fault = fault;
    }

    fn journal(&self, durability: Durability) -> DiskJournal {
        DiskJournal::with_storage(Path::new("faulty"), Box::new(self.clone()), durability)
            .expect("a sound journal opens")
            .retry_every(Duration::ZERO)
    }

    /// What a server would find if this one were killed now.
    fn after_a_kill(&self) -> Vec<String> {
        let copy = Self::default();
        copy.medium().bytes = self.medium().bytes.clone();
        texts(&copy.journal(Durability::Always))
    }

    fn check(&self, struck: &[Strikes], error: io::ErrorKind) -> io::Result<()> {
        match self.medium().fault {
            Some(fault) if struck.contains(&fault) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Storage for Faulty {
    fn open(&mut self) -> io::Result<Box<dyn StorageBackend>> {
        self.medium().opened += 1;
        Ok(Box::new(self.clone()))
    }

    fn is_in_place(&self) -> bool {
        !self.medium().is_away
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        Ok(self.medium().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        match self.medium().bytes.get(start..start + out.len()) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(&[Strikes::Room], io::ErrorKind::StorageFull)?;
        self.medium().bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.medium().synced += 1;
        self.check(&[Strikes::Syncs], io::ErrorKind::Other)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(&[Strikes::Room], io::ErrorKind::StorageFull)?;
        self.check(&[Strikes::Writes], io::ErrorKind::Other)?;
        let start = offset as usize;
        self.medium().bytes[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn append(journal: &mut DiskJournal, text: &'static str) -> Result<u64, JournalError> {
    journal.append(&[Bytes::from_static(text.as_bytes())])
}

/// All records after the snapshot.
fn texts(journal: &DiskJournal) -> Vec<String> {
    let mut texts = Vec::new();
    journal
        .read(journal.covered, &mut |_, record| {
            texts.push(String::from_utf8_lossy(record).into_owned());
            Ok(())
        })
        .expect("a sound journal is read");
    texts
}

/// An error must be of this kind, and its text must name what a stranger needs.
macro_rules! assert_error {
    ($result:expr, $kind:pat, $text:expr) => {
        let error = $result.expect_err("it must be refused");
        let text = error.to_string();
        assert!(matches!(error, $kind), "another kind of error: {error:?}");
        assert!(text.contains($text), "{text:?} does not say {:?}", $text);
    };
}

#[test]
fn a_full_disk_refuses_and_is_well_again_when_there_is_room() {
    let disk = Faulty::default();
    let mut journal = disk.journal(Durability::Always);
    append(&mut journal, "kept").expect("there is room");
    disk.set(Some(Strikes::Room));
    for _ in 0..3 {
        let refused = append(&mut journal, "refused");
        assert_error!(refused, JournalError::Io { .. }, "no storage space");
        assert_eq!(journal.position(), 1, "what was refused has no position");
        assert!(journal.failing.is_some(), "it knows that it fails");
    }
    disk.set(None);
    assert_eq!(append(&mut journal, "kept too").expect("there is room again"), 2);
    assert!(journal.failing.is_none(), "it knows that it is well");
    assert_eq!(texts(&journal), ["kept", "kept too"]);
    assert_eq!(disk.after_a_kill(), ["kept", "kept too"]);
}

#[test]
fn a_disk_that_does_not_write_refuses_and_is_well_again_when_it_does() {
    let disk = Faulty::default();
    let mut journal = disk.journal(Durability::Always);
    append(&mut journal, "kept").expect("it writes");
    disk.set(Some(Strikes::Writes));
    assert_error!(append(&mut journal, "refused"), JournalError::Io { .. }, "append to");
    let snapshot = Snapshot { position: 1, bytes: Bytes::new() };
    assert!(journal.save_snapshot(&snapshot).is_err(), "no snapshot was saved either");
    disk.set(None);
    assert_eq!(append(&mut journal, "kept too").expect("it writes again"), 2);
    assert_eq!(journal.snapshot().expect("readable"), None);
    assert_eq!(disk.after_a_kill(), ["kept", "kept too"]);
}

#[test]
fn what_was_refused_because_its_sync_failed_never_comes_back() {
    let disk = Faulty::default();
    let mut journal = disk.journal(Durability::Always);
    append(&mut journal, "kept").expect("it syncs");
    disk.set(Some(Strikes::Syncs));
    assert_error!(append(&mut journal, "refused"), JournalError::Io { .. }, "append to");
    assert_eq!(disk.after_a_kill(), ["kept", "refused"], "the fault let the data through");
    disk.set(None);
    journal.sync().expect("it syncs again");
    assert_eq!(disk.after_a_kill(), ["kept"], "it was taken out when the disk was well");
    assert_eq!(append(&mut journal, "kept too").expect("it syncs again"), 2);
    assert_eq!(disk.after_a_kill(), ["kept", "kept too"]);
}

#[test]
fn what_was_acknowledged_and_not_synced_survives_a_fault() {
    let disk = Faulty::default();
    let mut journal = disk.journal(Durability::Interval);
    append(&mut journal, "synced").expect("kept");
    journal.sync().expect("it syncs");
    append(&mut journal, "not synced").expect("kept");
    disk.set(Some(Strikes::Writes));
    assert!(journal.sync().is_err(), "the disk does not write");
    assert!(append(&mut journal, "refused").is_err(), "the journal knows by now");
    disk.set(None);
    append(&mut journal, "kept").expect("the disk writes again");
    assert_eq!(texts(&journal), ["synced", "not synced", "kept"]);
    journal.sync().expect("it syncs again");
    assert_eq!(disk.after_a_kill(), ["synced", "not synced", "kept"]);
}

#[test]
fn a_faulty_disk_is_not_tried_for_every_action() {
    let disk = Faulty::default();
    let mut journal = disk.journal(Durability::Always).retry_every(Duration::from_secs(3600));
    disk.set(Some(Strikes::Writes));
    assert!(append(&mut journal, "refused").is_err(), "the disk does not write");
    let tried = disk.medium().opened;
    for _ in 0..10 {
        assert!(append(&mut journal, "refused").is_err(), "no hour has passed");
    }
    assert_eq!(disk.medium().opened, tried, "opened again within the hour");
}

#[test]
fn when_acknowledged_records_are_missing_nothing_is_appended_ever_again() {
    let disk = Faulty::default();
    let mut journal = disk.journal(Durability::Always);
    append(&mut journal, "one").expect("kept");
    let older = disk.medium().bytes.clone();
    append(&mut journal, "two").expect("kept");
    let newer = disk.medium().bytes.clone();
    disk.set(Some(Strikes::Writes));
    assert!(append(&mut journal, "refused").is_err(), "the disk does not write");
    disk.set(None);
    disk.medium().bytes = older;
    assert_error!(append(&mut journal, "three"), JournalError::Damaged { .. }, "position 1, not");
    disk.medium().bytes = newer;
    assert_error!(append(&mut journal, "three"), JournalError::Damaged { .. }, "position 1, not");
}

#[test]
fn storage_that_is_away_gets_nothing_and_is_used_again_when_it_is_back() {
    let disk = Faulty::default();
    let mut journal = disk.journal(Durability::Always);
    append(&mut journal, "kept").expect("kept");
    disk.medium().is_away = true;
    assert_error!(append(&mut journal, "refused"), JournalError::Gone { .. }, "put it back");
    disk.medium().is_away = false;
    append(&mut journal, "kept too").expect("it is back");
    assert_eq!(disk.after_a_kill(), ["kept", "kept too"]);
}

#[test]
fn an_append_is_synced_once_or_as_the_durability_says() {
    let syncs = |durability| {
        let disk = Faulty::default();
        let mut journal = disk.journal(durability);
        append(&mut journal, "the first").expect("kept");
        disk.medium().synced = 0;
        append(&mut journal, "the second").expect("kept");
        let by_append = disk.medium().synced;
        journal.sync().expect("synced");
        (by_append, disk.medium().synced - by_append)
    };
    assert_eq!(syncs(Durability::Always), (1, 0), "always: by append, by sync");
    assert_eq!(syncs(Durability::Interval), (0, 1), "interval: by append, by sync");
    assert_eq!(syncs(Durability::Never), (0, 0), "never: by append, by sync");
}

#[test]
fn a_kill_loses_what_the_durability_says() {
    let left = |durability| {
        let disk = Faulty::default();
        let mut journal = disk.journal(durability);
        append(&mut journal, "one").expect("kept");
        journal.sync().expect("synced");
        append(&mut journal, "two").expect("kept");
        disk.after_a_kill()
    };
    assert_eq!(left(Durability::Always), ["one", "two"]);
    assert_eq!(left(Durability::Interval), ["one"]);
    assert_eq!(left(Durability::Never), ["one", "two"]);
}

#[test]
fn what_a_snapshot_covers_goes_bit_by_bit() {
    const BATCHES: TableDefinition<u64, &[u8]> = TableDefinition::new("batches");
    let disk = Faulty::default();
    let mut journal = disk.journal(Durability::Never);
    let record = Bytes::from(vec![7; 1_000]);
    let lengths: Vec<_> = (0..20)
        .map(|_| {
            for _ in 0..100 {
                journal.append(std::slice::from_ref(&record)).expect("kept");
            }
            let snapshot = Snapshot { position: journal.position(), bytes: Bytes::new() };
            journal.save_snapshot(&snapshot).expect("saved");
            disk.medium().bytes.len()
        })
        .collect();
    assert!(lengths[19] <= 2 * lengths[2], "the file grows without end: {lengths:?}");
    for _ in 0..40 {
        journal.append(std::slice::from_ref(&record)).expect("kept");
    }
    let reading = journal.begin_read().expect("readable");
    let rows = reading.open_table(BATCHES).expect("a table").len().expect("a number");
    assert_eq!(rows, 40, "the batches that the snapshot covers are not all gone");
}

#[test]
fn a_journal_has_one_owner() {
    let directory = TempDir::new().expect("a directory");
    let journal = DiskJournal::open(directory.path(), Durability::Always).expect("a new journal");
    let second = DiskJournal::open(directory.path(), Durability::Always);
    assert_error!(second, JournalError::Locked { .. }, "another process");
    drop(journal);
    DiskJournal::open(directory.path(), Durability::Always).expect("it was given up");
}

#[test]
fn directories_are_made_with_their_parents() {
    let directory = TempDir::new().expect("a directory");
    let deep = directory.path().join("one/two/three");
    DiskJournal::open(&deep, Durability::Always).expect("a new journal");
    assert!(deep.join("journal.redb").is_file());
}

#[test]
fn a_path_that_is_no_directory_is_refused() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "text").expect("written");
    let inside = file.join("journal");
    for path in [&file, &inside] {
        let opened = DiskJournal::open(path, Durability::Always);
        assert_error!(opened, JournalError::Io { .. }, "the directory of the journal in");
    }
    assert_eq!(fs::read(&file).expect("still there"), b"text");
}

#[test]
fn a_file_that_is_a_directory_is_refused() {
    let directory = TempDir::new().expect("a directory");
    fs::create_dir(directory.path().join("journal.redb")).expect("made");
    let opened = DiskJournal::open(directory.path(), Durability::Always);
    assert_error!(opened, JournalError::Io { .. }, "cannot open the journal in");
}

/// Where nobody may make anything, not even root, for whom permissions do not count.
#[cfg(target_os = "linux")]
#[test]
fn a_place_that_takes_no_directory_is_refused() {
    let opened = DiskJournal::open(Path::new("/proc/statesync"), Durability::Always);
    assert_error!(opened, JournalError::Io { .. }, "create the directory of");
}

/// Shows nothing when it is run by root, for whom permissions do not count.
#[test]
fn without_permission_it_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let set = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode));
    set(0o555).expect("ours");
    let opened = DiskJournal::open(directory.path(), Durability::Always);
    assert_error!(opened, JournalError::Io { .. }, "cannot open the journal in");
    set(0o755).expect("ours");
}

#[test]
fn a_directory_that_is_moved_away_is_noticed_and_used_again_when_it_is_back() {
    let parent = TempDir::new().expect("a directory");
    let [here, away] = ["here", "away"].map(|name| parent.path().join(name));
    let mut journal = DiskJournal::open(&here, Durability::Always).expect("a new journal");
    append(&mut journal, "kept").expect("kept");
    fs::rename(&here, &away).expect("moved");
    assert_error!(append(&mut journal, "refused"), JournalError::Gone { .. }, "put it back");
    assert!(!here.exists(), "nothing is made in its place");

    fs::create_dir(&here).expect("made");
    fs::copy(away.join("journal.redb"), here.join("journal.redb")).expect("copied");
    assert_error!(append(&mut journal, "refused"), JournalError::Gone { .. }, "put it back");

    fs::remove_dir_all(&here).expect("removed");
    fs::rename(&away, &here).expect("moved back");
    assert_eq!(append(&mut journal, "kept too").expect("it is back"), 2);
    assert_eq!(texts(&journal), ["kept", "kept too"]);
}

/// Opens a file of these bytes. If it is refused, it must be unchanged.
fn open_bytes(bytes: &[u8]) -> Result<DiskJournal, JournalError> {
    let medium = Faulty::default();
    medium.medium().bytes = bytes.to_vec();
    let opened =
        DiskJournal::with_storage(Path::new("file"), Box::new(medium.clone()), Durability::Always);
    if opened.is_err() {
        assert!(medium.medium().bytes == bytes, "a file that was refused was changed");
    }
    opened
}

#[test]
fn a_file_of_another_program_is_refused_and_not_touched() {
    assert_error!(open_bytes(b"text"), JournalError::Damaged { .. }, "Not a redb database");
    let other = Faulty::default();
    let database = Database::builder().create_with_backend(other.clone()).expect("a database");
    let writing = database.begin_write().expect("a transaction");
    let table = TableDefinition::<u64, u64>::new("theirs");
    writing.open_table(table).expect("a table").insert(1, 1).expect("a row");
    writing.commit().expect("committed");
    drop(database);
    let bytes = other.medium().bytes.clone();
    assert_error!(open_bytes(&bytes), JournalError::Damaged { .. }, "another program");
}

#[test]
fn a_newer_format_is_refused_and_not_touched() {
    let newer = Faulty::default();
    let journal = newer.journal(Durability::Always);
    let State::Open(database) = &journal.state else { panic!("it is open") };
    commit(database, redb::Durability::Immediate, |writing| {
        let header = TableDefinition::<u64, &[u8]>::new("header");
        writing.open_table(header)?.insert(0, &row::encode_header(2, 7)[..])?;
        Ok(())
    })
    .expect("committed");
    drop(journal);
    let bytes = newer.medium().bytes.clone();
    assert_error!(open_bytes(&bytes), JournalError::NewerFormat { found: 2, .. }, "format 2");
}

/// A journal with a snapshot in the middle: its file after a clean end, and after a kill.
fn files() -> [Vec<u8>; 2] {
    let medium = Faulty::default();
    let mut journal = medium.journal(Durability::Always);
    for position in 1..=60_u64 {
        let record = |part: u64| Bytes::from(vec![position as u8; (part * position * 20) as usize]);
        journal.append(&[record(0), record(1), record(2)]).expect("kept");
        if position == 30 {
            let snapshot = Snapshot { position: 75, bytes: Bytes::from(vec![75; 10_000]) };
            journal.save_snapshot(&snapshot).expect("saved");
        }
    }
    let killed = medium.medium().bytes.clone();
    drop(journal);
    let closed = medium.medium().bytes.clone();
    [closed, killed]
}

/// How many records there are. Every one must be what was written.
fn check_content(journal: &DiskJournal) -> u64 {
    let mut next = 76;
    let snapshot = journal.snapshot().expect("readable").expect("it was saved");
    assert_eq!((snapshot.position, snapshot.bytes), (75, Bytes::from(vec![75; 10_000])));
    let read = journal.read(75, &mut |position, record| {
        assert_eq!(position, next, "records are in order");
        let batch = (position - 1) / 3 + 1;
        let part = (position - 1) % 3;
        assert!(record == vec![batch as u8; (part * batch * 20) as usize], "at {position}");
        next += 1;
        Ok(())
    });
    read.expect("readable");
    assert_eq!(journal.position(), next - 1, "the last position");
    next - 1
}

#[test]
fn a_flipped_byte_anywhere_changes_nothing_or_is_refused() {
    let [closed, killed] = files();
    // A last commit that is not whole is what a power cut leaves, and is taken back.
    for (name, bytes, fewest) in [("closed", closed, 180), ("killed", killed, 177)] {
        let mut refused = 0;
        let header = 0..512;
        let places = header.chain((512..bytes.len()).step_by(499));
        for place in places {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            match open_bytes(&flipped) {
                Ok(journal) => {
                    let records = check_content(&journal);
                    assert!(records >= fewest, "{name}: byte {place} lost {records} to 180");
                }
                Err(JournalError::Damaged { .. }) => refused += 1,
                Err(error) => panic!("{name}: byte {place}: {error:?}"),
            }
        }
        assert!(refused > 20, "{name}: only {refused} flips were noticed");
    }
}

/// What a snapshot covers is not read at a start, but appends walk over it, and over the engine's
/// own lists.
#[test]
fn a_journal_that_opens_in_spite_of_a_flipped_byte_goes_on() {
    let medium = Faulty::default();
    let mut journal = medium.journal(Durability::Always);
    for _ in 0..400 {
        journal.append(&[Bytes::from(vec![1; 60]), Bytes::from(vec![2; 60])]).expect("kept");
    }
    journal.save_snapshot(&Snapshot { position: 700, bytes: Bytes::new() }).expect("saved");
    drop(journal);
    let bytes = medium.medium().bytes.clone();
    let mut refused = 0;
    for place in (4096..bytes.len()).step_by(997) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        match open_bytes(&flipped) {
            Ok(mut journal) => {
                for _ in 0..120 {
                    let kept = append(&mut journal, "more");
                    assert!(kept.is_ok(), "byte {place}: opened, then {kept:?}");
                }
            }
            Err(JournalError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("byte {place}: {error:?}"),
        }
    }
    assert!(refused > 0, "no flip was noticed");
}

#[test]
fn a_file_that_is_cut_short_is_whole_or_refused() {
    let [closed, killed] = files();
    for (name, bytes) in [("closed", closed), ("killed", killed)] {
        for len in (1..bytes.len()).step_by(4_001) {
            match open_bytes(&bytes[..len]) {
                Ok(journal) => assert!(check_content(&journal) >= 177, "{name}: cut at {len}"),
                Err(JournalError::Damaged { .. }) => {}
                Err(error) => panic!("{name}: cut at {len}: {error:?}"),
            }
        }
    }
}

#[test]
fn missing_batches_are_noticed() {
    let medium = Faulty::default();
    let mut journal = medium.journal(Durability::Always);
    for text in ["one", "two", "three"] {
        append(&mut journal, text).expect("kept");
    }
    let State::Open(database) = &journal.state else { panic!("it is open") };
    commit(database, redb::Durability::Immediate, |writing| {
        let batches = TableDefinition::<u64, &[u8]>::new("batches");
        writing.open_table(batches)?.remove(2)?;
        Ok(())
    })
    .expect("committed");
    drop(journal);
    let bytes = medium.medium().bytes.clone();
    assert_error!(open_bytes(&bytes), JournalError::Damaged { .. }, "after position 1 comes");
}
