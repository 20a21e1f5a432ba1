//! The sessions of one worker thread, and who of them is in which room.

use super::{
    Parcel,
    heartbeat::HeartbeatTimes,
    outbox::{Newest, SHARED_FRAME_OVERHEAD_BYTES},
    outlet::{Link, Outlet},
};
use crate::{
    protocol::{CloseCode, EncodedEvent, WireForm},
    room::{RoomId, SessionId},
    state::{SessionAddress, Topic},
};
use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;
use slab::Slab;
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Instant,
};

/// A thread's sessions. Not shared between threads.
#[derive(Debug)]
pub struct Audience {
    worker: u16,
    max_pending_bytes: usize,
    times: HeartbeatTimes,
    common: Rc<Common>,
    /// All sessions are closed with this, those that come late too.
    closed_with: Cell<Option<CloseCode>>,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    seats: Slab<Rc<Outlet>>,
    halls: FxHashMap<RoomId, Hall>,
    /// Halls whose turn is to be written, and sessions with frames of their own in this round.
    touched_halls: Vec<RoomId>,
    touched_outlets: Vec<Rc<Outlet>>,
}

/// What all outlets of a thread share.
#[derive(Debug, Default)]
pub(super) struct Common {
    /// While this is set, no session is read: the server stops.
    pub(super) is_draining: Cell<bool>,
    /// Actions of this thread's sessions that are not answered yet.
    pub(super) unanswered_actions: Cell<usize>,
}

/// Where in its hall a session stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    room: RoomId,
    index: usize,
}

/// A room's sessions on this thread, by the form that they read.
#[derive(Debug, Default)]
struct Hall {
    /// Only those that somebody stands in: a few of the forms that there may be.
    rings: Vec<Ring>,
}

impl Hall {
    fn ring(&mut self, form: WireForm) -> Option<&mut Ring> {
        self.rings.iter_mut().find(|ring| ring.form == form)
    }
}

/// The sessions of a hall that get the same bytes.
#[derive(Debug)]
struct Ring {
    form: WireForm,
    outlets: Vec<Rc<Outlet>>,
    turn: Vec<(Topic, Bytes)>,
    /// All had to skip, and are told only the newest.
    all_skip: bool,
}

impl Ring {
    /// One write to each session.
    fn write(&mut self, at: Instant) {
        let frames = std::mem::take(&mut self.turn);
        let turn = Turn { frames, at, merged: OnceCell::new(), kept: OnceCell::new() };
        let skipping = self.outlets.iter().filter(|outlet| outlet.offer(&turn)).count();
        self.all_skip = skipping == self.outlets.len();
    }

    /// What a frame adds to a round that everybody can take.
    fn length(&self, topic: Topic, frame: &Bytes) -> usize {
        match topic {
            Topic::State | Topic::Users if self.all_skip => 0,
            _ => frame.len() + SHARED_FRAME_OVERHEAD_BYTES,
        }
    }
}

/// What a round writes to each session of a ring.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) frames: Vec<(Topic, Bytes)>,
    /// When the round writes.
    pub(super) at: Instant,
    merged: OnceCell<Bytes>,
    kept: OnceCell<Vec<usize>>,
}

impl Turn {
    /// All frames as one piece.
    pub(super) fn merged(&self) -> &Bytes {
        self.merged.get_or_init(|| match &self.frames[..] {
            [(_, only)] => only.clone(),
            frames => {
                let length = frames.iter().map(|(_, frame)| frame.len()).sum();
                let mut merged = BytesMut::with_capacity(length);
                frames.iter().for_each(|(_, frame)| merged.extend_from_slice(frame));
                merged.freeze()
            }
        })
    }

    /// Indexes of the frames that those are given who are told only the newest.
    pub(super) fn kept(&self) -> &[usize] {
        self.kept.get_or_init(|| {
            let newest = Newest::of(self.frames.iter().map(|(topic, _)| Some(*topic)));
            let is_kept = |index: &usize| !newest.supersedes(*index, self.frames[*index].0);
            (0..self.frames.len()).filter(is_kept).collect()
        })
    }
}

impl Audience {
    /// An empty audience for the worker with this index.
    pub fn new(worker: u16, max_pending_bytes: usize, times: HeartbeatTimes) -> Self {
        Self {
            worker,
            max_pending_bytes,
            times,
            common: Rc::default(),
            closed_with: Cell::new(None),
            inner: RefCell::default(),
        }
    }

    /// Gives a session its seat. It gets broadcasts only once a [`Parcel::Enter`] names it.
    pub fn attach(self: &Rc<Self>, id: SessionId, form: WireForm, link: Link) -> Attachment {
        let mut inner = self.inner.borrow_mut();
        let seat = inner.seats.vacant_entry();
        // Seats are bounded by the number of connections, far below 2^32.
        let address = SessionAddress { id, worker: self.worker, seat: seat.key() as u32 };
        let common = self.common.clone();
        let outlet = Outlet::new(form, link, self.max_pending_bytes, address, common);
        let outlet = Rc::new(outlet);
        seat.insert(outlet.clone());
        if let Some(code) = self.closed_with.get() {
            outlet.request_close(code);
        }
        Attachment { audience: self.clone(), outlet }
    }

    /// Reads no session any more.
    pub(super) fn drain(&self) {
        self.common.is_draining.set(true);
    }

    /// Notes that so many actions of this thread's sessions are answered.
    pub(super) fn answered(&self, count: usize) {
        let unanswered = &self.common.unanswered_actions;
        unanswered.set(unanswered.get().saturating_sub(count));
    }

    /// How many actions of this thread's sessions are on their way.
    pub(super) fn unanswered_actions(&self) -> usize {
        self.common.unanswered_actions.get()
    }

    /// Carries out parcels in order, then writes to each session once. Stops when broadcasts of
    /// `max_round_bytes` in all are to be written; the other parcels stay.
    pub fn deliver(&self, parcels: &mut VecDeque<Parcel>, max_round_bytes: usize) {
        let inner = &mut *self.inner.borrow_mut();
        let mut bytes = 0;
        while let Some(parcel) = parcels.pop_front() {
            if let Parcel::CloseAll(code) = &parcel {
                self.closed_with.set(Some(*code));
            }
            bytes += inner.sort(parcel);
            if bytes >= max_round_bytes {
                break;
            }
        }
        inner.write(Instant::now());
    }

    /// Looks after every session's heartbeat.
    pub(super) fn sweep(&self, now: Instant) {
        for (_, outlet) in &self.inner.borrow().seats {
            outlet.sweep(now, self.times);
        }
    }
}

impl Inner {
    fn outlet(&self, address: SessionAddress) -> Option<&Rc<Outlet>> {
        // The seat may have a new owner: what was meant for the old one is dropped.
        let outlet = self.seats.get(address.seat as usize)?;
        (outlet.address() == address).then_some(outlet)
    }

    /// Carries a parcel out. Returns what it adds, in bytes, to what the round writes to each
    /// session of a room.
    fn sort(&mut self, parcel: Parcel) -> usize {
        match parcel {
            Parcel::Broadcast { room, topic, except, event } => {
                return self.broadcast(room, topic, except, &event);
            }
            Parcel::Lost(room, topic) => self.lose(room, topic),
            Parcel::Enter(room, session) => self.enter(room, session),
            Parcel::Resume(session) => {
                if let Some(outlet) = self.catch_up(session) {
                    outlet.resume();
                }
            }
            Parcel::Direct(session, topic, event) => {
                if let Some(outlet) = self.catch_up(session) {
                    outlet.queue_event(event.bytes(outlet.form()).clone(), topic);
                    self.touched_outlets.push(outlet);
                }
            }
            // Before what the room was told in this round: so that all of that is one piece, for
            // the sender as for everyone.
            Parcel::Ack(session, event) => {
                if let Some(outlet) = self.outlet(session).cloned() {
                    outlet.queue(event.bytes(outlet.form()).clone());
                    self.touched_outlets.push(outlet);
                }
            }
            Parcel::Close(session, code) => {
                if let Some(outlet) = self.catch_up(session) {
                    outlet.request_close(code);
                }
            }
            Parcel::CloseAll(code) => {
                let all: Vec<_> = self.seats.iter().map(|(_, outlet)| outlet.address()).collect();
                for session in all {
                    self.sort(Parcel::Close(session, code));
                }
            }
            Parcel::Taken(session, cost) => {
                if let Some(outlet) = self.outlet(session) {
                    outlet.give_credit_back(cost);
                }
            }
        }
        0
    }

    fn enter(&mut self, room: RoomId, session: SessionAddress) {
        let Some(outlet) = self.outlet(session).cloned() else { return };
        let (form, hall) = (outlet.form(), self.halls.entry(room).or_default());
        if hall.ring(form).is_none() {
            hall.rings.push(Ring { form, outlets: Vec::new(), turn: Vec::new(), all_skip: false });
        }
        let Some(ring) = hall.ring(form) else { return };
        // It may be read from here on.
        outlet.wake();
        outlet.hall.set(Some(Place { room, index: ring.outlets.len() }));
        outlet.turn_mark.set(ring.turn.len());
        ring.all_skip = false;
        ring.outlets.push(outlet);
    }

    fn broadcast(
        &mut self,
        room: RoomId,
        topic: Topic,
        except: Option<SessionAddress>,
        event: &EncodedEvent,
    ) -> usize {
        let except = except.and_then(|session| self.catch_up(session));
        let Some(hall) = self.halls.get_mut(&room) else { return 0 };
        let mut longest = 0;
        for ring in &mut hall.rings {
            let frame = event.bytes(ring.form);
            longest = longest.max(ring.length(topic, frame));
            ring.turn.push((topic, frame.clone()));
        }
        if let Some(outlet) = except
            && let Some(ring) = hall.ring(outlet.form())
        {
            // As if it had been given this one already.
            outlet.turn_mark.set(ring.turn.len());
        }
        if self.touched_halls.last() != Some(&room) {
            self.touched_halls.push(room);
        }
        longest
    }

    /// Tells the sessions of a room that they missed what may not be skipped.
    fn lose(&mut self, room: RoomId, topic: Topic) {
        let Some(hall) = self.halls.get(&room) else { return };
        for ring in &hall.rings {
            for outlet in &ring.outlets {
                outlet.catch_up(&ring.turn);
                outlet.lose(topic);
            }
        }
    }

    /// Gives a session all that its room was told before what is meant for it alone.
    fn catch_up(&mut self, session: SessionAddress) -> Option<Rc<Outlet>> {
        let outlet = self.outlet(session)?.clone();
        if let Some(place) = outlet.hall.get()
            && let Some(hall) = self.halls.get_mut(&place.room)
            && let Some(ring) = hall.ring(outlet.form())
        {
            outlet.catch_up(&ring.turn);
        }
        Some(outlet)
    }

    fn write(&mut self, now: Instant) {
        for room in self.touched_halls.drain(..) {
            let Some(hall) = self.halls.get_mut(&room) else { continue };
            for ring in &mut hall.rings {
                if ring.turn.is_empty() {
                    continue;
                }
                ring.write(now);
            }
        }
        for outlet in self.touched_outlets.drain(..) {
            outlet.flush_or_wake();
        }
    }

    fn leave(&mut self, outlet: &Outlet) {
        self.seats.try_remove(outlet.address().seat as usize);
        let Some(place) = outlet.hall.take() else { return };
        let Some(hall) = self.halls.get_mut(&place.room) else { return };
        let Some(Ring { outlets, .. }) = hall.ring(outlet.form()) else { return };
        outlets.swap_remove(place.index);
        if let Some(moved) = outlets.get(place.index) {
            moved.hall.set(Some(place));
        }
        // Nobody leaves in the middle of a round, so no ring goes with a turn unwritten.
        hall.rings.retain(|ring| !ring.outlets.is_empty());
        if hall.rings.is_empty() {
            self.halls.remove(&place.room);
        }
    }
}

/// A session's seat; given up on drop.
#[derive(Debug)]
pub struct Attachment {
    audience: Rc<Audience>,
    outlet: Rc<Outlet>,
}

impl Attachment {
    /// The session's way out.
    pub fn outlet(&self) -> &Outlet {
        &self.outlet
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.audience.inner.borrow_mut().leave(&self.outlet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_the_newest_gets_one_state_and_one_count_and_all_that_may_not_be_skipped() {
        use Topic::{Change, Message, State, Users};
        let said = [State, Users, Message, State, Change, Users, Message, State];
        let frames = said.into_iter().enumerate().map(|(index, topic)| {
            let frame = Bytes::from(format!("{index}"));
            (topic, frame)
        });
        let at = Instant::now();
        let turn =
            Turn { frames: frames.collect(), at, merged: OnceCell::new(), kept: OnceCell::new() };
        assert_eq!(turn.kept(), [2, 4, 5, 6, 7]);
        assert_eq!(turn.merged(), "01234567");
    }
}
