//! USERS and STATE: who is in each room, and what each room holds. Plain data: joins, leaves and
//! entries go in, [`Delivery`] values come out, and the `StateServer` carries them out.
//! Pure: time comes in as an argument.

use crate::{
    journal::Entry,
    protocol::{ActionError, CloseCode, ErrorCode, Event},
    room::{Effect, Room, RoomId, RoomKind, SessionId, Speech},
};
use std::{collections::HashSet, sync::Arc, time::Duration};

/// Where a session is reached: the thread that serves it and its seat there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionAddress {
    /// Its number; a seat is given away again, a number is not.
    pub id: SessionId,
    /// The worker thread's index.
    pub worker: u16,
    /// The seat in that thread's audience.
    pub seat: u32,
}

/// Of several events with one topic, only the newest matters to a client that cannot keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The room's state.
    State,
    /// How many users there are.
    Users,
}

/// What is to be told, and to whom. The order of deliveries is the order in which each session
/// gets them.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// From here on the session gets what the room broadcasts.
    Enter {
        /// The room.
        room: RoomId,
        /// The newcomer.
        session: SessionAddress,
    },
    /// To every session in the room.
    Broadcast {
        /// The room.
        room: RoomId,
        /// What it makes superfluous.
        topic: Topic,
        /// The event.
        event: Event,
    },
    /// To one session.
    Direct {
        /// The session.
        session: SessionAddress,
        /// The event.
        event: Event,
    },
    /// The session is closed after all that was delivered to it before.
    Close {
        /// The session.
        session: SessionAddress,
        /// Why.
        code: CloseCode,
    },
}

/// So many `users` events are delivered in one presence interval before the others wait for its
/// end: a few people coming and going see each other at once, and the writes for it take less than
/// a millisecond. Telling thousands each time would be quadratic.
const PRESENCE_BURST_EVENTS: usize = 256;

/// All rooms and who is in them.
pub struct State {
    rooms: Vec<OpenRoom>,
    presence_interval: Duration,
    /// Rooms whose users were not told the count yet. Each is in it once.
    untold: Vec<RoomId>,
}

struct OpenRoom {
    kind: Arc<dyn RoomKind>,
    room: Box<dyn Room>,
    users: HashSet<SessionAddress>,
    /// When the current presence interval began; `None` before the first.
    interval_start: Option<Duration>,
    /// How many `users` events were delivered in it.
    told_events: usize,
    is_untold: bool,
}

impl State {
    /// Opens a room of each kind, in the order of their [`RoomId`]s. `users` events of a room are
    /// at least `presence_interval` apart when many come and go, and at once when few do.
    pub fn new(kinds: &[Arc<dyn RoomKind>], presence_interval: Duration) -> Self {
        let open = |kind: &Arc<dyn RoomKind>| OpenRoom {
            kind: kind.clone(),
            room: kind.open(),
            users: HashSet::new(),
            interval_start: None,
            told_events: 0,
            is_untold: false,
        };
        Self { rooms: kinds.iter().map(open).collect(), presence_interval, untold: Vec::new() }
    }

    /// `session` comes into `room` at `now` (any monotonic clock, the same at each call).
    pub fn join(
        &mut self,
        room: RoomId,
        session: SessionAddress,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) {
        let Some(open) = self.rooms.get_mut(room.0 as usize) else { return };
        if !open.users.insert(session) {
            return;
        }
        out.push(Delivery::Enter { room, session });
        if open.kind.speech() == Speech::Events && !self.tell_users(room, now, out) {
            let event = self.users_event(room);
            out.push(Delivery::Direct { session, event });
        }
        if let Some(event) = self.rooms[room.0 as usize].room.greeting() {
            out.push(Delivery::Direct { session, event });
        }
    }

    /// `session` is gone from `room`. A second time changes nothing.
    pub fn leave(
        &mut self,
        room: RoomId,
        session: SessionAddress,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) {
        let Some(open) = self.rooms.get_mut(room.0 as usize) else { return };
        if !open.users.remove(&session) {
            return;
        }
        open.room.left(session.id);
        if open.kind.speech() == Speech::Events {
            self.tell_users(room, now, out);
        }
    }

    /// Applies a committed entry that `from` sent.
    pub fn apply(&mut self, entry: &Entry, from: SessionAddress, out: &mut Vec<Delivery>) {
        let room = entry.room;
        let Some(open) = self.rooms.get_mut(room.0 as usize) else { return };
        match open.room.apply(&entry.action, from.id, entry.time) {
            Ok(effects) => out.extend(effects.into_iter().map(|effect| match effect {
                Effect::State(value) => {
                    Delivery::Broadcast { room, topic: Topic::State, event: Event::State(value) }
                }
                Effect::Reply(event) => Delivery::Direct { session: from, event },
                Effect::CloseSender => Delivery::Close { session: from, code: CloseCode::NORMAL },
            })),
            Err(error) => out.push(Delivery::Direct { session: from, event: Event::Error(error) }),
        }
    }

    /// Tells `from` that its action could not be kept.
    pub fn refuse_not_durable(from: SessionAddress, message: String) -> Delivery {
        let error = ActionError::new(ErrorCode::NotDurable, message);
        Delivery::Direct { session: from, event: Event::Error(error) }
    }

    /// Whether the room's actions go through the journal.
    pub fn is_durable(&self, room: RoomId) -> bool {
        self.rooms.get(room.0 as usize).is_some_and(|open| open.kind.is_durable())
    }

    /// How long after `now` the next [`State::tell_untold`] is due; `None` when all is told.
    pub fn presence_due(&self, now: Duration) -> Option<Duration> {
        let due = |room: &RoomId| self.next_interval_at(*room).saturating_sub(now);
        self.untold.iter().map(due).min()
    }

    /// Tells the count to the rooms whose time has come.
    pub fn tell_untold(&mut self, now: Duration, out: &mut Vec<Delivery>) {
        for room in self.untold.clone() {
            self.tell_users(room, now, out);
        }
    }

    /// Sets how far apart `users` events are at least: longer while rounds of writes take longer.
    pub fn set_presence_interval(&mut self, interval: Duration) {
        self.presence_interval = interval;
    }

    fn next_interval_at(&self, room: RoomId) -> Duration {
        let start = self.rooms[room.0 as usize].interval_start;
        start.map_or(Duration::ZERO, |start| start + self.presence_interval)
    }

    fn users_event(&self, room: RoomId) -> Event {
        Event::Users { count: self.rooms[room.0 as usize].users.len() }
    }

    /// Tells the room how many are in it, or notes that it must be told later. Says which.
    fn tell_users(&mut self, room: RoomId, now: Duration, out: &mut Vec<Delivery>) -> bool {
        let is_new_interval = self.next_interval_at(room) <= now;
        let open = &mut self.rooms[room.0 as usize];
        if is_new_interval {
            open.interval_start = Some(now);
            open.told_events = 0;
        }
        let told_events = open.told_events + open.users.len();
        let is_due = is_new_interval || told_events <= PRESENCE_BURST_EVENTS;
        if is_due {
            open.told_events = told_events;
            if std::mem::take(&mut open.is_untold) {
                self.untold.retain(|untold| *untold != room);
            }
            let event = self.users_event(room);
            out.push(Delivery::Broadcast { room, topic: Topic::Users, event });
        } else if !open.is_untold {
            open.is_untold = true;
            self.untold.push(room);
        }
        is_due
    }
}

#[cfg(test)]
mod tests;
