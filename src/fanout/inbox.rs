//! What the `StateServer` has handed to one worker thread and that thread has not taken yet. The
//! two never wait for each other, and neither can grow the other without bound.

use crate::{
    protocol::{CloseCode, EncodedEvent},
    room::RoomId,
    state::{SessionAddress, Topic},
};
use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

/// A [`crate::state::Delivery`] that is ready to be written.
#[derive(Debug, Clone)]
pub enum Parcel {
    /// The session gets what the room broadcasts from here on.
    Enter(RoomId, SessionAddress),
    /// To all sessions of the room on this thread, but for one.
    Broadcast {
        /// The room.
        room: RoomId,
        /// What may become of it.
        topic: Topic,
        /// But not to this session.
        except: Option<SessionAddress>,
        /// What.
        event: Arc<EncodedEvent>,
    },
    /// Broadcasts of this topic to the room, which may not be skipped one by one, are lost: the
    /// thread has fallen behind.
    Lost(RoomId, Topic),
    /// To one session.
    Direct(SessionAddress, Option<Topic>, Arc<EncodedEvent>),
    /// The session gets changes again: it is told the state next.
    Resume(SessionAddress),
    /// To one session: an acknowledgement, which may come before states that are older than it.
    Ack(SessionAddress, Arc<EncodedEvent>),
    /// An action of the session is answered: so many bytes of its credit come back.
    Taken(SessionAddress, usize),
    /// The session is closed after what it was sent before.
    Close(SessionAddress, CloseCode),
    /// Every session of the thread is closed after what it was sent before.
    CloseAll(CloseCode),
}

/// The way from the `StateServer` to one `Fanout`.
///
/// Bounded: broadcasts give way to newer ones past `max_broadcasts`; everything else answers a
/// connection or an action, and both are limited.
#[derive(Debug)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    max_broadcasts: usize,
    last_round_micros: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    parcels: Vec<Parcel>,
    broadcasts: usize,
    answers: usize,
    waker: Option<Waker>,
}

impl Inbox {
    /// An empty inbox in which at most about `max_broadcasts` broadcasts wait.
    pub fn new(max_broadcasts: usize) -> Self {
        Self { waiting: Mutex::default(), max_broadcasts, last_round_micros: AtomicU64::new(0) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // Every change under the lock is complete, so a panic elsewhere leaves nothing half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds parcels in order and wakes the thread.
    pub fn put(&self, parcels: impl IntoIterator<Item = Parcel>) {
        let mut waiting = self.lock();
        for parcel in parcels {
            waiting.broadcasts += usize::from(matches!(parcel, Parcel::Broadcast { .. }));
            waiting.answers += usize::from(matches!(parcel, Parcel::Taken(..)));
            waiting.parcels.push(parcel);
        }
        if waiting.broadcasts > self.max_broadcasts {
            waiting.drop_superseded();
        }
        if let Some(waker) = waiting.waker.take() {
            drop(waiting);
            waker.wake();
        }
    }

    /// Appends all that waits to `into`; `waker` is woken when there is more. Returns how many
    /// actions the moved parcels answer.
    pub fn take(&self, waker: &Waker, into: &mut VecDeque<Parcel>) -> usize {
        let mut waiting = self.lock();
        into.extend(waiting.parcels.drain(..));
        waiting.broadcasts = 0;
        match &mut waiting.waker {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        std::mem::take(&mut waiting.answers)
    }

    /// How long the thread's last round of writes took.
    pub fn last_round(&self) -> Duration {
        Duration::from_micros(self.last_round_micros.load(Ordering::Relaxed))
    }

    /// Notes how long a round of writes took.
    pub fn set_last_round(&self, took: Duration) {
        self.last_round_micros.store(took.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Waiting {
    /// Keeps the newest broadcast of each room where only that matters, and of the others a note
    /// that they are lost. Who entered in between was told the state that was current then, so nobody
    /// sees an older one after it.
    fn drop_superseded(&mut self) {
        let mut seen = HashSet::new();
        self.parcels.reverse();
        self.parcels.retain_mut(|parcel| {
            let (room, topic) = match parcel {
                Parcel::Broadcast { room, topic, .. } | Parcel::Lost(room, topic) => {
                    (*room, *topic)
                }
                _ => return true,
            };
            let is_newest = seen.insert((room, topic));
            if is_newest && matches!(topic, Topic::Change | Topic::Message) {
                *parcel = Parcel::Lost(room, topic);
            }
            is_newest
        });
        self.parcels.reverse();
        self.broadcasts = seen.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{protocol::Event, room::SessionId};

    fn state(room: u64, value: i32) -> Parcel {
        let event = Arc::new(EncodedEvent::new(Event::State { seq: 0, value: value.into() }));
        Parcel::Broadcast { room: RoomId(room), topic: Topic::State, except: None, event }
    }

    fn take(inbox: &Inbox) -> Vec<String> {
        let mut parcels = VecDeque::new();
        inbox.take(Waker::noop(), &mut parcels);
        let show = |parcel: &Parcel| match parcel {
            Parcel::Broadcast { room, event, .. } => {
                let bytes = event.bytes(crate::protocol::WireForm::WebSocket);
                format!("{} {}", room.0, String::from_utf8_lossy(&bytes[2..]))
            }
            other => format!("{other:?}").split('(').next().unwrap_or_default().to_owned(),
        };
        parcels.iter().map(show).collect()
    }

    #[test]
    fn parcels_come_out_once_and_in_order() {
        let inbox = Inbox::new(10);
        inbox.put([state(0, 1), state(0, 2)]);
        inbox.put([state(1, 3)]);
        let shown = take(&inbox);
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert!(shown[2].starts_with("1 ") && shown[2].contains('3'), "{shown:?}");
        assert!(take(&inbox).is_empty(), "all was taken");
    }

    #[test]
    fn past_the_bound_only_the_newest_broadcast_of_each_room_waits() {
        let inbox = Inbox::new(4);
        let newcomer = SessionAddress { id: SessionId(1), worker: 0, seat: 0 };
        inbox.put([state(0, 1), Parcel::Enter(RoomId(0), newcomer), state(1, 10)]);
        inbox.put((2..100).map(|value| state(0, value)));
        let shown = take(&inbox);
        assert!(shown.len() <= 4 + 1, "bounded: {shown:?}");
        assert_eq!(shown.iter().filter(|parcel| *parcel == "Enter").count(), 1, "{shown:?}");
        assert!(shown.last().is_some_and(|last| last.contains("99")), "{shown:?}");
        assert!(shown.iter().any(|parcel| parcel.starts_with("1 ")), "{shown:?}");
    }

    #[test]
    fn what_may_not_be_skipped_one_by_one_is_told_to_be_lost() {
        let inbox = Inbox::new(4);
        let event = Arc::new(EncodedEvent::new(Event::State { seq: 0, value: 0.into() }));
        for topic in [Topic::Message, Topic::Change, Topic::State] {
            let (room, except) = (RoomId(0), None);
            inbox.put((0..3).map(|_| Parcel::Broadcast {
                room,
                topic,
                except,
                event: event.clone(),
            }));
        }
        let mut parcels = VecDeque::new();
        inbox.take(Waker::noop(), &mut parcels);
        let is_lost = |topic| {
            parcels.iter().filter(|p| matches!(p, Parcel::Lost(_, lost) if *lost == topic)).count()
        };
        assert_eq!((is_lost(Topic::Message), is_lost(Topic::Change)), (1, 1), "{parcels:?}");
        assert!(parcels.len() <= 5, "{parcels:?}");
    }
}
