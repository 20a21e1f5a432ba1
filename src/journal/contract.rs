//! What every journal must do, tried on each.

use super::{DiskJournal, Durability, Journal, JournalError, MemoryJournal, Snapshot};
use bytes::Bytes;
use proptest::prelude::*;
use std::io;
use tempfile::TempDir;

/// A place that a journal is opened on.
enum Place {
    Memory,
    Disk(TempDir, Durability),
}

impl Place {
    fn all() -> Vec<Self> {
        let disk = |durability| Self::Disk(TempDir::new().expect("a directory"), durability);
        vec![
            Self::Memory,
            disk(Durability::Always),
            disk(Durability::Interval),
            disk(Durability::Never),
        ]
    }

    fn open(&self) -> Box<dyn Journal> {
        match self {
            Self::Memory => Box::new(MemoryJournal::new("00000000000000ee".into())),
            Self::Disk(directory, durability) => {
                Box::new(DiskJournal::open(directory.path(), *durability).expect("a sound journal"))
            }
        }
    }

    /// Closes the journal, and opens it again where it is one that is kept.
    fn reopen(&self, journal: Box<dyn Journal>) -> Box<dyn Journal> {
        match self {
            Self::Memory => journal,
            Self::Disk(..) => {
                drop(journal);
                self.open()
            }
        }
    }
}

fn records(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

/// All that is read after a position.
fn read(journal: &dyn Journal, after: u64) -> Vec<(u64, Bytes)> {
    let mut found = Vec::new();
    journal
        .read(after, &mut |position, record| {
            found.push((position, Bytes::copy_from_slice(record)));
            Ok(())
        })
        .expect("a sound journal is read");
    found
}

fn numbered(first: u64, texts: &[&'static str]) -> Vec<(u64, Bytes)> {
    (first..).zip(records(texts)).collect()
}

#[test]
fn a_new_journal_is_empty_and_has_a_name() {
    for place in Place::all() {
        let journal = place.open();
        assert_eq!(journal.position(), 0, "{journal:?}");
        assert_eq!(journal.snapshot().expect("readable"), None, "{journal:?}");
        assert!(read(&*journal, 0).is_empty(), "{journal:?}");
        let epoch = journal.epoch();
        assert_eq!(epoch.len(), 16, "{epoch}");
        assert!(epoch.bytes().all(|byte| byte.is_ascii_hexdigit()), "{epoch}");
    }
}

#[test]
fn two_histories_have_two_names() {
    assert_ne!(super::random_epoch(), super::random_epoch());
    let place = || Place::Disk(TempDir::new().expect("a directory"), Durability::Never);
    assert_ne!(place().open().epoch(), place().open().epoch());
}

#[test]
fn positions_begin_at_1_and_have_no_gap() {
    for place in Place::all() {
        let mut journal = place.open();
        assert_eq!(journal.append(&records(&["a", "b"])).expect("kept"), 2, "{journal:?}");
        assert_eq!(journal.append(&[]).expect("nothing to do"), 2, "{journal:?}");
        assert_eq!(journal.append(&records(&["", "d"])).expect("kept"), 4, "{journal:?}");
        assert_eq!(journal.position(), 4, "{journal:?}");
        assert_eq!(read(&*journal, 0), numbered(1, &["a", "b", "", "d"]), "{journal:?}");
    }
}

#[test]
fn reading_begins_after_any_position_even_inside_a_batch() {
    for place in Place::all() {
        let mut journal = place.open();
        let texts = ["a", "b", "c", "d", "e"];
        journal.append(&records(&texts[..2])).expect("kept");
        journal.append(&records(&texts[2..])).expect("kept");
        for after in 0..=6 {
            let expected: Vec<_> = numbered(1, &texts).into_iter().skip(after).collect();
            assert_eq!(read(&*journal, after as u64), expected, "after {after} of {journal:?}");
        }
    }
}

#[test]
fn reading_ends_with_the_first_error_of_the_taker() {
    for place in Place::all() {
        let mut journal = place.open();
        journal.append(&records(&["a", "b", "c"])).expect("kept");
        let mut seen = 0;
        let outcome = journal.read(0, &mut |_, _| {
            seen += 1;
            let error = std::sync::Arc::new(io::Error::other("enough"));
            Err(JournalError::Io { path: "taker".into(), doing: "take", error })
        });
        let error = outcome.expect_err("the taker failed").to_string();
        assert!(error.contains("enough"), "{error}");
        assert_eq!(seen, 1, "{journal:?}");
    }
}

#[test]
fn a_snapshot_takes_the_place_of_the_one_before() {
    for place in Place::all() {
        let mut journal = place.open();
        journal.append(&records(&["a", "b", "c"])).expect("kept");
        for (position, text) in [(1, "one"), (3, "three"), (3, "three again")] {
            let snapshot = Snapshot { position, bytes: Bytes::from_static(text.as_bytes()) };
            journal.save_snapshot(&snapshot).expect("saved");
            assert_eq!(journal.snapshot().expect("readable"), Some(snapshot), "{journal:?}");
        }
        assert_eq!(journal.position(), 3, "a snapshot moves nothing: {journal:?}");
        assert_eq!(journal.append(&records(&["d"])).expect("kept"), 4, "{journal:?}");
        assert_eq!(read(&*journal, 3), numbered(4, &["d"]), "{journal:?}");
    }
}

#[test]
fn a_snapshot_of_less_changes_nothing() {
    for place in Place::all() {
        let mut journal = place.open();
        journal.append(&records(&["a", "b", "c"])).expect("kept");
        let newer = Snapshot { position: 2, bytes: Bytes::from_static(b"newer") };
        journal.save_snapshot(&newer).expect("saved");
        journal.append(&records(&["d"])).expect("kept");
        let older = Snapshot { position: 1, bytes: Bytes::from_static(b"older") };
        journal.save_snapshot(&older).expect("nothing to do");
        assert_eq!(journal.snapshot().expect("readable"), Some(newer), "{journal:?}");
        assert_eq!(read(&*journal, 2), numbered(3, &["c", "d"]), "{journal:?}");
    }
}

#[test]
fn a_journal_that_is_kept_is_the_same_when_it_is_opened_again() {
    for place in Place::all() {
        let mut journal = place.open();
        let epoch = journal.epoch().to_owned();
        journal.append(&records(&["a", "b"])).expect("kept");
        let snapshot = Snapshot { position: 1, bytes: Bytes::from_static(b"one") };
        journal.save_snapshot(&snapshot).expect("saved");
        journal.append(&records(&["c"])).expect("kept");
        let journal = place.reopen(journal);
        assert_eq!(journal.epoch(), epoch, "{journal:?}");
        assert_eq!(journal.position(), 3, "{journal:?}");
        assert_eq!(journal.snapshot().expect("readable"), Some(snapshot), "{journal:?}");
        assert_eq!(read(&*journal, 1), numbered(2, &["b", "c"]), "{journal:?}");
    }
}

/// Something that is done to a journal.
#[derive(Debug, Clone)]
enum Step {
    /// Records of these lengths.
    Append(Vec<usize>),
    /// At so many 256ths of what follows the snapshot before.
    Save(u8),
    Sync,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![0..100_usize, 3_000..5_000_usize, Just(65_536)];
    prop_oneof![
        6 => prop::collection::vec(len, 0..5).prop_map(Step::Append),
        2 => any::<u8>().prop_map(Step::Save),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

/// What a journal must be equal to.
#[derive(Default)]
struct Model {
    records: Vec<Bytes>,
    snapshot: Option<Snapshot>,
}

impl Model {
    fn check(&self, journal: &dyn Journal) {
        let last = self.records.len() as u64;
        assert_eq!(journal.position(), last, "position");
        assert_eq!(journal.snapshot().expect("readable"), self.snapshot);
        let covered = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.position);
        for after in [0, covered, (covered + last) / 2, last] {
            let found = read(journal, after);
            let first = found.first().map_or(last + 1, |(position, _)| *position);
            assert!(first > after, "read({after}) began at {first}");
            assert!(first <= after.max(covered) + 1, "read({after}) began only at {first}");
            let expected: Vec<_> =
                (first..).zip(self.records[first as usize - 1..].to_vec()).collect();
            assert!(found == expected, "read({after}) of {last} records, {covered} covered");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_history_is_told_as_it_was(steps in prop::collection::vec(step(), 1..40)) {
        for place in Place::all() {
            let mut model = Model::default();
            let mut journal = place.open();
            let epoch = journal.epoch().to_owned();
            for step in &steps {
                match step {
                    Step::Append(lens) => {
                        let seed = model.records.len();
                        let batch: Vec<_> = (seed..)
                            .zip(lens)
                            .map(|(seed, len)| Bytes::from(vec![seed as u8; *len]))
                            .collect();
                        model.records.extend_from_slice(&batch);
                        let last = journal.append(&batch).expect("kept");
                        assert_eq!(last, model.records.len() as u64);
                    }
                    Step::Save(part) => {
                        let last = model.records.len() as u64;
                        let covered = model.snapshot.as_ref().map_or(0, |old| old.position);
                        let position = covered + (last - covered) * u64::from(*part) / 255;
                        let bytes = Bytes::from(vec![*part; 300 * usize::from(*part)]);
                        let snapshot = Snapshot { position, bytes };
                        journal.save_snapshot(&snapshot).expect("saved");
                        model.snapshot = Some(snapshot);
                    }
                    Step::Sync => journal.sync().expect("synced"),
                    Step::Reopen => journal = place.reopen(journal),
                }
                model.check(&*journal);
                assert_eq!(journal.epoch(), epoch, "the name of a history stays");
            }
        }
    }
}
