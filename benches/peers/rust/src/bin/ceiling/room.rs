//! The counter, which all threads share, and what one thread leaves for the others.

use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use anyhow::{Result, ensure};
use mio::Waker;
use mio::net::TcpStream;
use statesync_peers::{PRESENCE_INTERVAL, state_event, users_event};

use crate::frame;

/// So many bytes may wait for a thread, half a million events: a thread so far behind is stuck.
const MOST_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// The room. A value is taken and its frame handed to all threads under one lock, so that every
/// thread sees all values in order.
pub struct Room {
    shared: Mutex<Shared>,
    wakers: Vec<Waker>,
}

struct Shared {
    value: i64,
    users: usize,
    /// Whether someone came or left since all were told how many are here.
    users_changed: bool,
    users_told: Option<Instant>,
    inboxes: Vec<Inbox>,
}

/// What waits for one thread.
#[derive(Default)]
struct Inbox {
    /// Frames that are to be written to all its clients.
    frames: Vec<u8>,
    arrivals: Vec<TcpStream>,
}

/// The room as it was at one moment, for a thread that was told all that came before.
pub struct Moment {
    /// The counter's value.
    pub value: i64,
    /// How many are here.
    pub users: usize,
    /// Whether all were told just now how many are here.
    pub users_told: bool,
    /// Until when a change of `users` has to wait before it is told, if there is one.
    pub presence_due: Option<Instant>,
}

impl Room {
    /// The room of so many threads as there are wakers.
    pub fn new(wakers: Vec<Waker>) -> Room {
        let shared = Shared {
            value: 0,
            users: 0,
            users_changed: false,
            users_told: None,
            inboxes: wakers.iter().map(|_| Inbox::default()).collect(),
        };
        Room { shared: Mutex::new(shared), wakers }
    }

    /// Hands a connection to a thread.
    pub fn hand_over(&self, stream: TcpStream, thread: usize) -> Result<()> {
        self.lock().inboxes[thread].arrivals.push(stream);
        Ok(self.wakers[thread].wake()?)
    }

    /// What has to be known of newcomers and leavers before `exchange`.
    pub fn count_users(&self, came: usize, left: usize) {
        let mut shared = self.lock();
        shared.users = shared.users + came - left;
        shared.users_changed = true;
    }

    /// Applies changes, hands their frames to all threads, and takes what waits for this one.
    pub fn exchange(
        &self,
        thread: usize,
        changes: &[i64],
        frames: &mut Vec<u8>,
        arrivals: &mut Vec<TcpStream>,
    ) -> Result<Moment> {
        let mut shared = self.lock();
        let mut news = Vec::new();
        for change in changes {
            shared.value += change;
            frame::push(&mut news, frame::TEXT, state_event(shared.value).as_bytes());
        }
        let presence_due = shared.presence_due();
        let users_told = presence_due.is_some_and(|due| due <= Instant::now());
        if users_told {
            shared.users_changed = false;
            shared.users_told = Some(Instant::now());
            frame::push(&mut news, frame::TEXT, users_event(shared.users).as_bytes());
        }
        let asleep = shared.put(&news)?;
        let inbox = &mut shared.inboxes[thread];
        frames.clear();
        std::mem::swap(frames, &mut inbox.frames);
        arrivals.append(&mut inbox.arrivals);
        let moment = Moment {
            value: shared.value,
            users: shared.users,
            users_told,
            presence_due: presence_due.filter(|_| !users_told),
        };
        drop(shared);
        for other in asleep.into_iter().filter(|other| *other != thread) {
            self.wakers[other].wake()?;
        }
        Ok(moment)
    }

    /// The clients of this thread have been told how many are here. The interval begins now: with
    /// many clients the writes alone may take that long, and would leave no time for joins.
    pub fn presence_written(&self) {
        self.lock().users_told = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("a thread that fails ends the process")
    }
}

impl Shared {
    /// When all are to be told how many are here, if they do not know.
    fn presence_due(&self) -> Option<Instant> {
        self.users_changed
            .then(|| self.users_told.map_or_else(Instant::now, |told| told + PRESENCE_INTERVAL))
    }

    /// Puts frames into all inboxes. Answers whose was empty; the others have been woken already.
    fn put(&mut self, news: &[u8]) -> Result<Vec<usize>> {
        let mut asleep = Vec::new();
        if news.is_empty() {
            return Ok(asleep);
        }
        for (thread, inbox) in self.inboxes.iter_mut().enumerate() {
            if inbox.frames.is_empty() {
                asleep.push(thread);
            }
            inbox.frames.extend_from_slice(news);
            ensure!(
                inbox.frames.len() <= MOST_WAITING_BYTES,
                "thread {thread} does not keep up with the others"
            );
        }
        Ok(asleep)
    }
}
