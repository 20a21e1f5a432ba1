//! A journal that the first version with journals on disk wrote is readable for ever: it is kept in
//! `tests/golden/journal-format-1.redb`, and this test starts a server on a copy of it.

mod support;

use bytes::Bytes;
use statesync::{
    journal::{DiskJournal, Durability, Journal, Snapshot},
    protocol::{ClientKey, Message},
    room::{self, UnixMicros},
    state::{ActEntry, Author, DedupLimits, Deed, Entry, Facts, RoomNumber, RoomPlan, State},
};
use std::path::{Path, PathBuf};
use support::{RawClient, TestServer};

const ANN: &str = "ann-ann-ann-ann-ann";
const BOB: &str = "bob-bob-bob-bob-bob";

fn golden_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal-format-1.redb")
}

/// The entries of the golden journal, behind its limits and its room: what each client did, and the
/// value it led to.
fn history() -> Vec<Entry> {
    let by = |by: i64| Deed::Apply(Message::Text(format!("{{\"by\":{by}}}").into()));
    let steps = [
        (Some((ANN, 1)), by(5)),
        (Some((BOB, 1)), by(-2)),
        (None, by(10)),
        (Some((ANN, 2)), by(i64::MAX)), // out of range
        (Some((ANN, 2)), by(1)),        // a duplicate
        (Some((ANN, 3)), Deed::Refuse),
        (Some((ANN, 4)), by(100)), // from here on behind the snapshot
        (Some((BOB, 3)), by(1)),   // a gap
        (Some((BOB, 2)), by(1000)),
    ];
    let entry = |(number, (author, deed))| {
        let key = |client| ClientKey::new("/", client).expect("an identity");
        let author = Option::map(author, |(client, id)| Author { client: key(client), id });
        let at = UnixMicros(1_800_000_000_000_000 + number);
        Entry::Act(ActEntry { at, room: RoomNumber(0), author, deed })
    };
    (0i64..).zip(steps).map(entry).collect()
}

/// The name of the history in the file.
const EPOCH: &str = "dd0e254eb57f8c17";

const BEHIND_SNAPSHOT: usize = 3;

#[test]
fn a_journal_of_the_first_version_is_read() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(golden_file(), directory.path().join("journal.redb")).expect("the golden file");
    let toml = format!("[journal]\nkind = \"disk\"\npath = {:?}", directory.path());
    // The limits are those that it was written with, so nothing makes the server forget a client.
    let server = TestServer::start(&toml);
    for (client, last_id, refused) in
        [(ANN, 4, serde_json::json!([2, 3])), (BOB, 2, serde_json::json!([]))]
    {
        let mut joined = RawClient::open_v1(server.address, &format!("/?client={client}"));
        let welcome = joined.read_event();
        assert_eq!(welcome["epoch"], EPOCH, "{welcome}");
        assert_eq!(welcome["last_id"], last_id, "{welcome}");
        assert_eq!(welcome["refused"], refused, "{welcome}");
        let state = joined.wait_for("state", |event| event["type"] == "state");
        assert_eq!(state["value"], 5 - 2 + 10 + 100 + 1000, "{state}");
        assert_eq!(state["seq"], 11, "the position of the last action that changed it: {state}");
    }
}

/// How the file was made: `cargo test --test golden_journal -- --ignored`. A file that is there
/// stays as it is.
#[test]
#[ignore = "makes the golden file, once and for ever"]
fn make_the_golden_journal() {
    let file = golden_file();
    assert!(!file.exists(), "{} is there, and must never change", file.display());
    let directory = tempfile::tempdir().expect("a temporary folder");
    let mut journal = DiskJournal::open(directory.path(), Durability::Always).expect("a new one");
    let kind = room::kind("counter", &Default::default()).expect("known");
    let facts = Facts { epoch: String::new(), heartbeat_ms: 0, max_message_bytes: 0 };
    let path = room::PathPattern::parse("/").expect("a path");
    let plan = RoomPlan { path, kind, max_rooms: 1 };
    let kinds = room::Kinds::default();
    let mut state = State::new(&[plan], &kinds, facts, Default::default());
    let limits = DedupLimits { ttl_micros: 604_800_000_000, max_clients: 100_000 };
    let keep = |state: &mut State, journal: &mut DiskJournal, entries: &[Entry]| {
        let records: Vec<Bytes> = entries.iter().map(Entry::to_bytes).collect();
        journal.append(&records).expect("room on the disk");
        for record in records {
            state.replay(state.position() + 1, &record).expect("a good entry");
        }
    };
    let first = state.missing_entries(limits, UnixMicros(1_800_000_000_000_000));
    keep(&mut state, &mut journal, &first);
    let history = history();
    let (covered, behind) = history.split_at(history.len() - BEHIND_SNAPSHOT);
    keep(&mut state, &mut journal, covered);
    let (position, bytes) = (state.position(), state.save().into());
    journal.save_snapshot(&Snapshot { position, bytes }).expect("room on the disk");
    keep(&mut state, &mut journal, behind);
    drop(journal);
    std::fs::copy(directory.path().join("journal.redb"), file).expect("room on the disk");
}
