//! Telling users how many they are: at once when few come and go, in intervals when many do.

use super::{Delivery, SessionAddress, State, Topic};
use crate::{protocol::Event, room::RoomId};
use std::time::Duration;

/// So many `users` events are delivered in one presence interval before the others wait for its
/// end: a few people coming and going see each other at once, and the writes for it take less than
/// a millisecond. Telling thousands each time would be quadratic.
const PRESENCE_BURST_EVENTS: usize = 128;

/// What a room's users were told of each other.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// When the current presence interval began; `None` before the first.
    interval_start: Option<Duration>,
    /// How many `users` events were delivered in it.
    told_events: usize,
    is_untold: bool,
}

impl State {
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
        let start = self.rooms.get(room).and_then(|open| open.presence.interval_start);
        start.map_or(Duration::ZERO, |start| start + self.presence_interval)
    }

    fn users_event(&self, room: RoomId, names: Option<Vec<String>>) -> Event {
        Event::Users { count: self.rooms.get(room).map_or(0, |open| open.users), names }
    }

    /// Lets a newcomer into the room and tells it who is there.
    pub(super) fn tell_newcomer_users(
        &mut self,
        room: RoomId,
        session: SessionAddress,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) {
        if self.is_plain(room) {
            return out.push(Delivery::Enter { room, session });
        }
        let names = self.rooms.get_mut(room).and_then(|open| open.room().names());
        let has_names = names.is_some();
        let event = self.users_event(room, names);
        if has_names {
            // The others are told before it enters: it is told the count once, with the names.
            self.tell_users(room, now, out);
            out.push(Delivery::answer(session, event));
            return out.push(Delivery::Enter { room, session });
        }
        out.push(Delivery::Enter { room, session });
        if !self.tell_users(room, now, out) {
            out.push(Delivery::answer(session, event));
        }
    }

    /// Tells the room how many are in it, or notes that it must be told later. Says which.
    pub(super) fn tell_users(
        &mut self,
        room: RoomId,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) -> bool {
        let is_new_interval = self.next_interval_at(room) <= now;
        let event = self.users_event(room, None);
        let Some(open) = self.rooms.get_mut(room) else {
            // It was given up meanwhile.
            self.untold.retain(|untold| *untold != room);
            return false;
        };
        let (users, presence) = (open.users, &mut open.presence);
        if is_new_interval {
            presence.interval_start = Some(now);
            presence.told_events = 0;
        }
        let told_events = presence.told_events + users;
        let is_due = is_new_interval || told_events <= PRESENCE_BURST_EVENTS;
        if is_due {
            presence.told_events = told_events;
            if std::mem::take(&mut presence.is_untold) {
                self.untold.retain(|untold| *untold != room);
            }
            let (topic, except) = (Topic::Users, None);
            out.push(Delivery::Broadcast { room, topic, except, event });
        } else if !presence.is_untold {
            presence.is_untold = true;
            self.untold.push(room);
        }
        is_due
    }
}
