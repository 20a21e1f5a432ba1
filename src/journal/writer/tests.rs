use super::*;
use crate::journal::{MemoryJournal, Take};
use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    task::{Wake, Waker},
    thread::{self, Thread},
};

/// What was asked of a [`Stepped`] journal.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Append(usize),
    Save(u64),
    Sync,
}

/// A journal that says what it is asked, and waits for leave before each append.
#[derive(Debug)]
struct Stepped {
    inner: MemoryJournal,
    asked: Sender<Asked>,
    leave: Receiver<Leave>,
}

#[derive(Debug, Clone, Copy)]
enum Leave {
    Append,
    Refuse,
    Panic,
}

impl Stepped {
    fn new() -> (Box<Self>, Receiver<Asked>, Sender<Leave>) {
        let (asked, was_asked) = mpsc::channel();
        let (give_leave, leave) = mpsc::channel();
        let inner = MemoryJournal::new("0123456789abcdef".into());
        (Box::new(Self { inner, asked, leave }), was_asked, give_leave)
    }

    fn say(&self, asked: Asked) {
        // A test that has seen enough does not listen any more.
        let _ = self.asked.send(asked);
    }
}

impl Journal for Stepped {
    fn epoch(&self) -> &str {
        self.inner.epoch()
    }

    fn position(&self) -> u64 {
        self.inner.position()
    }

    fn append(&mut self, records: &[Bytes]) -> Result<u64, JournalError> {
        self.say(Asked::Append(records.len()));
        match self.leave.recv().expect("the test gives leave for every append") {
            Leave::Append => self.inner.append(records),
            Leave::Refuse => Err(JournalError::Gone { path: "nowhere".into() }),
            Leave::Panic => panic!("a bug, as the test asked for"),
        }
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.say(Asked::Sync);
        self.inner.sync()
    }

    fn read(&self, after: u64, take: &mut Take<'_>) -> Result<(), JournalError> {
        self.inner.read(after, take)
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        self.inner.snapshot()
    }

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
        self.say(Asked::Save(snapshot.position));
        self.inner.save_snapshot(snapshot)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The next outcome, for which this thread waits until it is woken.
fn outcome(writer: &mut Writer) -> String {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match writer.poll_outcome(&mut Context::from_waker(&waker)) {
            Poll::Ready(Outcome::Committed { records, last }) => {
                return format!("{records}: {last}");
            }
            Poll::Ready(Outcome::Failed { records, error }) => {
                return format!("{records}: {error}");
            }
            Poll::Pending => thread::park(),
        }
    }
}

fn batch(records: usize) -> Vec<Bytes> {
    vec![Bytes::from_static(b"record"); records]
}

fn threaded(journal: Box<dyn Journal>, sync_every: Option<Duration>) -> Writer {
    Writer::threaded(journal, sync_every).expect("the system has a thread")
}

#[test]
fn outcomes_come_in_order_whoever_does_the_work() {
    let journal = || Box::new(MemoryJournal::new("0123456789abcdef".into()));
    for mut writer in [Writer::inline(journal()), threaded(journal(), None)] {
        writer.append(batch(2));
        assert_eq!(outcome(&mut writer), "2: 2");
        writer.append(batch(3));
        assert_eq!(outcome(&mut writer), "3: 5");
        let nothing = writer.poll_outcome(&mut Context::from_waker(Waker::noop()));
        assert!(nothing.is_pending(), "an outcome of nothing: {nothing:?}");
        writer.close();
    }
}

#[test]
fn all_that_waits_is_appended_at_once_and_a_snapshot_in_its_turn() {
    let (journal, asked, leave) = Stepped::new();
    let mut writer = threaded(journal, None);
    writer.append(batch(1));
    assert_eq!(asked.recv(), Ok(Asked::Append(1)));
    for records in [2, 3, 4] {
        writer.append(batch(records));
    }
    writer.save_snapshot(Snapshot { position: 10, bytes: Bytes::new() });
    writer.append(batch(5));
    for _ in 0..3 {
        leave.send(Leave::Append).expect("the journal waits for leave");
    }
    assert_eq!(outcome(&mut writer), "1: 1");
    assert_eq!(outcome(&mut writer), "9: 10", "three batches were one append");
    assert_eq!(outcome(&mut writer), "5: 15");
    writer.close();
    let later: Vec<_> = asked.iter().collect();
    assert_eq!(later, [Asked::Append(9), Asked::Save(10), Asked::Append(5), Asked::Sync]);
}

#[test]
fn one_append_is_bounded() {
    let (journal, asked, leave) = Stepped::new();
    let mut writer = threaded(journal, None);
    for _ in 0..20 {
        writer.append(batch(1_000));
        leave.send(Leave::Append).expect("the journal waits for leave");
    }
    let answered = |writer: &mut Writer| outcome(writer).ends_with(": 20000");
    while !answered(&mut writer) {}
    writer.close();
    let largest = asked.iter().map(|asked| match asked {
        Asked::Append(records) => records,
        _ => 0,
    });
    assert!(largest.max() <= Some(5_000), "a batch goes at most once beyond 4,096 records");
}

#[test]
fn what_fails_is_told_and_what_follows_is_tried() {
    let (journal, _asked, leave) = Stepped::new();
    let mut writer = threaded(journal, None);
    leave.send(Leave::Refuse).expect("the journal waits for leave");
    writer.append(batch(2));
    assert!(outcome(&mut writer).starts_with("2: the journal's file in nowhere is gone"));
    leave.send(Leave::Append).expect("the journal waits for leave");
    writer.append(batch(1));
    assert_eq!(outcome(&mut writer), "1: 1");
    writer.close();
}

#[test]
fn what_was_appended_is_synced_before_long_without_being_asked() {
    let (journal, asked, leave) = Stepped::new();
    let mut writer = threaded(journal, Some(Duration::from_millis(1)));
    leave.send(Leave::Append).expect("the journal waits for leave");
    writer.append(batch(1));
    assert_eq!(asked.recv(), Ok(Asked::Append(1)));
    assert_eq!(asked.recv(), Ok(Asked::Sync), "nothing else was asked for");
    writer.close();
}

#[test]
fn close_waits_for_all_that_was_handed_over_and_syncs_it() {
    let (journal, asked, leave) = Stepped::new();
    let mut writer = threaded(journal, None);
    writer.append(batch(7));
    assert_eq!(asked.recv(), Ok(Asked::Append(7)));
    writer.append(batch(8));
    for _ in 0..2 {
        leave.send(Leave::Append).expect("the journal waits for leave");
    }
    writer.close();
    assert_eq!(asked.iter().collect::<Vec<_>>(), [Asked::Append(8), Asked::Sync]);
}

#[test]
fn a_panic_leaves_nobody_waiting() {
    let (journal, asked, leave) = Stepped::new();
    let mut writer = threaded(journal, None);
    writer.append(batch(1));
    assert_eq!(asked.recv(), Ok(Asked::Append(1)));
    writer.append(batch(2));
    leave.send(Leave::Panic).expect("the journal waits for leave");
    let stopped = "the journal's thread has ended: restart the server";
    assert_eq!(outcome(&mut writer), format!("3: {stopped}"));
    writer.append(batch(4));
    assert_eq!(outcome(&mut writer), format!("4: {stopped}"));
    writer.save_snapshot(Snapshot { position: 0, bytes: Bytes::new() });
    writer.close();
}
