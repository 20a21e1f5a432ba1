//! The thread that waits for the disk while the owner goes on.

use super::{Outcome, append, close, save_snapshot};
use crate::journal::{Journal, JournalError, Snapshot};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    task::{Context, Poll, Waker},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// One append takes batches until it has so many records or bytes; the last batch may go beyond.
/// Enough that a sync is shared by all who wait, and little enough that none waits long for it.
const MAX_RECORDS: usize = 4096;
const MAX_BYTES: usize = 8 << 20;

/// The owner's end.
#[derive(Debug)]
pub struct Thread {
    jobs: Sender<Job>,
    answers: Arc<Answers>,
    handle: JoinHandle<()>,
}

#[derive(Debug)]
enum Job {
    Append(Vec<Bytes>),
    Save(Snapshot),
}

/// What the thread has to say to the owner.
#[derive(Debug, Default)]
struct Answers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    outcomes: VecDeque<Outcome>,
    waker: Option<Waker>,
    /// Records that were handed over and have no outcome yet.
    unanswered: usize,
    /// The thread has ended; whatever is handed over now is handed to nobody.
    ended: bool,
}

impl Thread {
    /// Starts the thread.
    pub fn start(journal: Box<dyn Journal>, sync_every: Option<Duration>) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let answers = Arc::new(Answers::default());
        let ending = Ending(answers.clone());
        let handle = std::thread::Builder::new().name("journal".into()).spawn(move || {
            let ending = ending;
            Worker { journal, sync_every, jobs: waiting, answers: &ending.0, sync_at: None }.run();
        })?;
        Ok(Self { jobs, answers, handle })
    }

    /// See [`super::Writer::append`].
    pub fn append(&self, batch: Vec<Bytes>) {
        let mut waiting = self.answers.lock();
        waiting.unanswered += batch.len();
        if waiting.ended {
            waiting.give_up();
        } else {
            drop(waiting);
            // If the thread ends just now, it answers for this batch as well: it was counted.
            let _ = self.jobs.send(Job::Append(batch));
        }
    }

    /// See [`super::Writer::save_snapshot`].
    pub fn save_snapshot(&self, snapshot: Snapshot) {
        if self.jobs.send(Job::Save(snapshot)).is_err() {
            log::warn!("no snapshot was saved: {}", JournalError::Stopped);
        }
    }

    /// See [`super::Writer::poll_outcome`].
    pub fn poll_outcome(&self, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut waiting = self.answers.lock();
        match waiting.outcomes.pop_front() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                match &mut waiting.waker {
                    Some(old) => old.clone_from(context.waker()),
                    none => *none = Some(context.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// See [`super::Writer::close`].
    pub fn join(self) {
        drop(self.jobs);
        if self.handle.join().is_err() {
            log::error!("{}", JournalError::Stopped);
        }
    }
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change under the lock is complete, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, outcome: Outcome) {
        let mut waiting = self.lock();
        waiting.answer(outcome);
        if let Some(waker) = waiting.waker.take() {
            drop(waiting);
            waker.wake();
        }
    }
}

impl Waiting {
    fn answer(&mut self, outcome: Outcome) {
        let (Outcome::Committed { records, .. } | Outcome::Failed { records, .. }) = &outcome;
        self.unanswered -= records;
        self.outcomes.push_back(outcome);
    }

    /// Answers for all that the thread never will.
    fn give_up(&mut self) {
        self.ended = true;
        if self.unanswered > 0 {
            let records = self.unanswered;
            self.answer(Outcome::Failed { records, error: JournalError::Stopped });
        }
    }
}

/// Lives as long as the thread. When that ends, by a panic or not, nobody is left waiting for it.
struct Ending(Arc<Answers>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.give_up();
        if let Some(waker) = waiting.waker.take() {
            drop(waiting);
            waker.wake();
        }
    }
}

/// The thread's end.
struct Worker<'a> {
    journal: Box<dyn Journal>,
    sync_every: Option<Duration>,
    jobs: Receiver<Job>,
    answers: &'a Answers,
    /// When what was appended must be synced.
    sync_at: Option<Instant>,
}

impl Worker<'_> {
    fn run(mut self) {
        loop {
            match self.next_job() {
                Ok(Job::Append(batch)) => self.append_all(batch),
                Ok(Job::Save(snapshot)) => save_snapshot(&mut *self.journal, &snapshot),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.sync_if_due();
        }
        close(&mut *self.journal);
    }

    fn next_job(&self) -> Result<Job, RecvTimeoutError> {
        match self.sync_at {
            Some(at) => self.jobs.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Appends `records` together with all that waits behind them, and does what ended the row.
    fn append_all(&mut self, mut records: Vec<Bytes>) {
        let mut bytes: usize = records.iter().map(Bytes::len).sum();
        let mut snapshot = None;
        while records.len() < MAX_RECORDS && bytes < MAX_BYTES && snapshot.is_none() {
            match self.jobs.try_recv() {
                Ok(Job::Append(batch)) => {
                    bytes += batch.iter().map(Bytes::len).sum::<usize>();
                    records.extend(batch);
                }
                Ok(Job::Save(next)) => snapshot = Some(next),
                Err(_) => break,
            }
        }
        let outcome = append(&mut *self.journal, &records);
        if let (Outcome::Committed { .. }, Some(every)) = (&outcome, self.sync_every) {
            self.sync_at.get_or_insert_with(|| Instant::now() + every);
        }
        self.answers.push(outcome);
        if let Some(snapshot) = snapshot {
            save_snapshot(&mut *self.journal, &snapshot);
        }
    }

    fn sync_if_due(&mut self) {
        let (Some(at), Some(every)) = (self.sync_at, self.sync_every) else { return };
        let now = Instant::now();
        if now < at {
            return;
        }
        self.sync_at = self.journal.sync().err().map(|error| {
            log::debug!("not synced yet: {error}");
            now + every
        });
    }
}
