//! How long a start takes after many actions, and how large the journal is then.
//!
//! `cargo bench --bench startup` lets 10 million actions of 100,000 clients happen to a journal on
//! disk, as the server would keep them, ends without a last snapshot, and starts the real server on
//! it: worst is a start just before a snapshot is due.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use statesync::{
    journal::{DiskJournal, Durability, Journal, Snapshot},
    protocol::{ClientKey, Message},
    room::{self, UnixMicros},
    state::{ActEntry, Author, DedupLimits, Deed, Entry, Facts, RoomNumber, RoomPlan, State},
};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

const CLIENTS: u64 = 100_000;
const BATCH: u64 = 500;
/// As the server does it.
const SNAPSHOT_EVERY: u64 = 100_000;
/// As in the default configuration.
const LIMITS: DedupLimits =
    DedupLimits { ttl_micros: 7 * 24 * 60 * 60 * 1_000_000, max_clients: CLIENTS as u32 };

fn main() -> Result<()> {
    // `cargo test` only wants to know whether it works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    // One batch short of a snapshot.
    let actions = if is_bench { 10_000_000 } else { 200_000 } - BATCH;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let began = Instant::now();
    fill(directory.path(), actions)?;
    let mib = std::fs::metadata(directory.path().join("journal.redb"))?.len() >> 20;
    println!("{actions} actions of {CLIENTS} clients kept in {:.1?}: {mib} MiB", began.elapsed());
    for _ in 0..if is_bench { 5 } else { 1 } {
        println!("ready {} ms after the start", start(directory.path())?);
    }
    Ok(())
}

/// Lets `actions` happen to a counter.
fn fill(directory: &Path, actions: u64) -> Result<()> {
    let kind = room::kind("counter", &Default::default()).ok().context("a known kind")?;
    let facts = Facts { epoch: String::new(), heartbeat_ms: 0, max_message_bytes: 0 };
    let path = room::PathPattern::parse("/").expect("a path");
    let plan = RoomPlan { path, kind, max_rooms: 1 };
    let kinds = room::Kinds::default();
    let mut state = State::new(&[plan], &kinds, facts, Default::default());
    // Nobody waits for these to be safe.
    let mut journal = DiskJournal::open(directory, Durability::Never)?;
    let first = state.missing_entries(LIMITS, UnixMicros(0)).iter().map(Entry::to_bytes).collect();
    keep(&mut state, &mut journal, first)?;
    let clients =
        (0..CLIENTS).map(|number| ClientKey::new("/", &format!("client-number-{number:08}")));
    let clients: Vec<_> = clients.collect::<Option<_>>().context("an identity")?;
    for batch in 0..actions / BATCH {
        let records = (batch * BATCH..(batch + 1) * BATCH).map(|n| action(&clients, n)).collect();
        keep(&mut state, &mut journal, records)?;
        if ((batch + 1) * BATCH).is_multiple_of(SNAPSHOT_EVERY) {
            let (position, bytes) = (state.position(), state.save().into());
            journal.save_snapshot(&Snapshot { position, bytes })?;
        }
    }
    Ok(())
}

fn action(clients: &[ClientKey], number: u64) -> Bytes {
    let client = clients[(number % CLIENTS) as usize];
    let author = Some(Author { client, id: number / CLIENTS + 1 });
    let deed = Deed::Apply(Message::Text(r#"{"by":1}"#.into()));
    let (at, room) = (UnixMicros(number as i64), RoomNumber(0));
    Entry::Act(ActEntry { at, room, author, deed }).to_bytes()
}

fn keep(state: &mut State, journal: &mut DiskJournal, records: Vec<Bytes>) -> Result<()> {
    let last = journal.append(&records)?;
    for (position, record) in (last + 1 - records.len() as u64..).zip(&records) {
        state.replay(position, record)?;
    }
    Ok(())
}

/// Starts the server and kills it when it is ready. Returns how long that took, in milliseconds.
fn start(directory: &Path) -> Result<u128> {
    let began = Instant::now();
    let mut server = Command::new(env!("CARGO_BIN_EXE_statesync"))
        .env("STATESYNC__SERVER__BIND", "127.0.0.1:0")
        .env("STATESYNC__JOURNAL__PATH", directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(server.stdout.take().context("a pipe")?).read_line(&mut line)?;
    let took = began.elapsed().as_millis();
    server.kill()?;
    server.wait()?;
    ensure!(line.contains("ready"), "the server did not start: {line:?}");
    Ok(took)
}
