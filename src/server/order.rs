//! How an action gets its place in the order: through the journal, behind what is on its way there,
//! or, in a room that keeps nothing, at once.

use super::{Act, StateServer};
use crate::{
    connections::Permit,
    journal::{JournalError, Outcome},
    room::{Effect, RoomId, UnixMicros},
    state::{ActEntry, Author, Deed, Entry, RoomNumber, Sender, SessionAddress, State},
};
use bytes::Bytes;
use std::{
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

/// A room whose waking could not be kept is woken again after this: a full disk takes longer.
const WAKE_AGAIN: Duration = Duration::from_secs(1);

/// Something that waits for what is in front of it to be committed.
#[derive(Debug)]
pub(super) enum Pending {
    /// An entry that the journal was given: an action, or a room's waking.
    Act(Box<PendingAct>),
    /// An entry that the journal was given: a room comes into it. Its first actions wait for that.
    Open { room: RoomId, record: Bytes },
    /// Not in the journal, but not to be told before what is in front of it.
    Told { room: RoomId, sender: Option<Sender>, effects: Vec<Effect>, cost: usize },
}

#[derive(Debug)]
pub(super) struct PendingAct {
    room: RoomId,
    entry: ActEntry,
    bytes: usize,
    sender: Option<Sender>,
    cost: usize,
    _permit: Option<Arc<Permit>>,
}

impl Pending {
    fn is_in_journal(&self) -> bool {
        !matches!(self, Self::Told { .. })
    }
}

impl StateServer {
    /// Hands the batch to the journal, and takes what is committed. Also called before a join or a
    /// leave, so that what needs no waiting happens in the order of the mailbox.
    pub(super) fn commit(&mut self) {
        self.append();
        self.take_outcomes();
    }

    pub(super) fn append(&mut self) {
        if self.batch.is_empty() && self.due.is_empty() {
            return;
        }
        let at = self.entry_time();
        let mut records = Vec::new();
        for room in std::mem::take(&mut self.due) {
            records.extend(self.order_wake(room, at));
        }
        for act in std::mem::take(&mut self.batch) {
            records.extend(self.order(act, at));
        }
        match &mut self.journal {
            Some(journal) if !records.is_empty() => journal.append(records),
            _ => {}
        }
    }

    /// Finds the room of an action, and gives the action its place there.
    fn order(&mut self, act: Act, at: UnixMicros) -> Option<Bytes> {
        let session = act.sender.as_ref().map(|sender| sender.session);
        let room = match &act.place {
            // What is not there need not be made to be removed.
            Some(place) if act.deed == Deed::Remove => self.state.room_at(place),
            Some(place) => self.state.make_room(place, self.now()).ok(),
            None => session.and_then(|session| self.state.room_of(session)),
        };
        let Some(room) = room else {
            // A session that is in no room is being closed. Who asked for a new one is told.
            let is_new = act.place.is_some() && act.deed != Deed::Remove;
            let refusal = act.sender.filter(|_| is_new).map(|sender| State::refuse_room(&sender));
            self.deliveries.extend(refusal);
            self.answered(session, act.cost);
            return None;
        };
        // A newer connection of the same client tells what is to be done, of actions without a number
        // as well.
        if let (Some(client), Some(session), None) = (act.client, session, &act.place)
            && !self.state.acts_for(&client, session)
        {
            self.answered(Some(session), act.cost);
            return None;
        }
        self.order_in(room, act, at)
    }

    fn order_in(&mut self, room: RoomId, act: Act, at: UnixMicros) -> Option<Bytes> {
        if let Some(waiting) = self.opening.get_mut(&room) {
            waiting.push(act);
            return None;
        }
        if let Some(entry) = self.state.begin_opening(room, at) {
            self.opening.insert(room, vec![act]);
            return Some(self.order_opening(room, &entry));
        }
        match self.state.number(room) {
            Some(number) => self.order_kept(room, number, act, at),
            None => {
                self.pass(room, act, at);
                None
            }
        }
    }

    fn order_opening(&mut self, room: RoomId, entry: &Entry) -> Bytes {
        let record = entry.to_bytes();
        self.pending.push_back(Pending::Open { room, record: record.clone() });
        record
    }

    /// An action of a room that keeps nothing.
    fn pass(&mut self, room: RoomId, act: Act, at: UnixMicros) {
        let Act { sender, deed, cost, .. } = act;
        let session = sender.as_ref().map(|sender| sender.session);
        match (deed, sender) {
            (Deed::Apply(action), sender) => {
                self.state.pass(room, &action, at, sender.as_ref(), &mut self.deliveries);
            }
            (Deed::Remove, _) => self.state.remove_room(room, &mut self.deliveries),
            (_, Some(sender)) => self.state.tell_verdict(room, sender, &mut self.deliveries),
            (_, None) => {}
        }
        self.answered(session, cost);
    }

    /// An action of a room that is in the journal.
    fn order_kept(
        &mut self,
        room: RoomId,
        number: RoomNumber,
        act: Act,
        at: UnixMicros,
    ) -> Option<Bytes> {
        let Act { mut sender, client, mut deed, cost, permit, .. } = act;
        let mut author = None;
        if let Some(sender) = &mut sender {
            author = client.zip(sender.id).map(|(client, id)| Author { client, id });
            if let Some(author) = author
                && self.state.is_forgotten(&author.client, sender.session)
            {
                self.deliveries.push(State::refuse_forgotten(sender));
                self.answered(Some(sender.session), cost);
                return None;
            }
            let verdict;
            (deed, verdict) = self.state.admit(room, deed, author, (sender.session, at));
            sender.verdict = verdict.or(sender.verdict.take());
        }
        if author.is_none() && matches!(deed, Deed::Pass | Deed::Refuse) {
            self.tell_in_order(Pending::Told { room, sender, effects: Vec::new(), cost });
            return None;
        }
        let entry = ActEntry { at, room: number, author, deed };
        let record = Entry::Act(entry.clone()).to_bytes();
        let bytes = record.len();
        let act = PendingAct { room, entry, bytes, sender, cost, _permit: permit };
        self.pending.push_back(Pending::Act(act.into()));
        Some(record)
    }

    /// A room's waking gets its place in the order.
    fn order_wake(&mut self, room: RoomId, at: UnixMicros) -> Option<Bytes> {
        if let Some(entry) = self.state.begin_opening(room, at) {
            self.opening.insert(room, Vec::new());
            return Some(self.order_opening(room, &entry));
        }
        let entry = ActEntry { at, room: self.state.number(room)?, author: None, deed: Deed::Wake };
        let record = Entry::Act(entry.clone()).to_bytes();
        let (bytes, sender, cost) = (record.len(), None, 0);
        let act = PendingAct { room, entry, bytes, sender, cost, _permit: None };
        self.pending.push_back(Pending::Act(act.into()));
        Some(record)
    }

    /// Tells what is not in the journal behind what is on its way there.
    pub(super) fn tell_in_order(&mut self, told: Pending) {
        self.pending.push_back(told);
        self.tell_waiting();
    }

    /// Tells what has nothing of the journal in front of it any more.
    fn tell_waiting(&mut self) {
        while let Some(Pending::Told { .. }) = self.pending.front() {
            let Some(Pending::Told { room, sender, effects, cost }) = self.pending.pop_front()
            else {
                return;
            };
            let session = sender.as_ref().map(|sender| sender.session);
            if let Some(sender) = sender {
                self.state.tell_verdict(room, sender, &mut self.deliveries);
            }
            self.state.tell_effects(room, effects, &mut self.deliveries);
            self.answered(session, cost);
        }
    }

    /// Gives credit back.
    pub(super) fn answered(&mut self, session: Option<SessionAddress>, cost: usize) {
        self.taken.extend(session.map(|session| (session, cost)));
    }

    /// Applies what is committed, and refuses what could not be kept.
    fn take_outcomes(&mut self) {
        let waker = self.waker.clone();
        let mut task = task::Context::from_waker(&waker);
        while let Some(journal) = &mut self.journal
            && let Poll::Ready(outcome) = journal.poll_outcome(&mut task)
        {
            match outcome {
                Outcome::Committed { records, last } => {
                    // Positions of a batch follow each other.
                    let first = last + 1 - records as u64;
                    for position in first..=last {
                        self.settle(|this, pending| this.commit_one(position, pending));
                    }
                }
                // The journal has logged why. If it is gone as a whole, so must the server be.
                Outcome::Failed { records, error } => {
                    if let JournalError::Stopped = error {
                        log::error!("{error}");
                        self.vital = None;
                    }
                    for _ in 0..records {
                        self.settle(Self::fail_one);
                    }
                }
            }
            self.tell_waiting();
            self.save_if_due();
            self.deliver_if_full();
        }
    }

    /// Does with the next of what is in the journal what its outcome demands, and tells before what
    /// stands in front of it.
    fn settle(&mut self, settle: impl FnOnce(&mut Self, Pending)) {
        self.tell_waiting();
        if let Some(pending) = self.pending.pop_front() {
            debug_assert!(pending.is_in_journal(), "all else was told");
            settle(self, pending);
        }
    }

    fn commit_one(&mut self, position: u64, pending: Pending) {
        match pending {
            Pending::Act(act) => {
                let PendingAct { entry, bytes, sender, cost, .. } = *act;
                let session = sender.as_ref().map(|sender| sender.session);
                self.state.apply(position, &entry, sender, &mut self.deliveries);
                self.answered(session, cost);
                self.count_unsaved(bytes);
            }
            Pending::Open { room, record } => {
                if let Err(error) = self.state.replay(position, &record) {
                    log::error!("a room could not be opened: {error}");
                }
                self.count_unsaved(record.len());
                self.order_waiting(room);
            }
            Pending::Told { .. } => {}
        }
        self.deliver_if_full();
    }

    fn fail_one(&mut self, pending: Pending) {
        match pending {
            Pending::Act(act) => {
                let PendingAct { room, entry, sender, cost, .. } = *act;
                if let Some(author) = entry.author {
                    self.state.give_turn_back(author);
                }
                if entry.deed == Deed::Wake {
                    let wait = i64::try_from(WAKE_AGAIN.as_micros()).unwrap_or(i64::MAX);
                    self.state.delay_wake(room, UnixMicros(entry.at.0.saturating_add(wait)));
                }
                self.refuse_not_kept(sender, cost);
            }
            Pending::Open { room, .. } => {
                self.state.give_up_opening(room);
                for act in self.opening.remove(&room).unwrap_or_default() {
                    self.refuse_not_kept(act.sender, act.cost);
                }
            }
            Pending::Told { .. } => {}
        }
    }

    fn refuse_not_kept(&mut self, sender: Option<Sender>, cost: usize) {
        let Some(sender) = sender else { return };
        self.deliveries.push(State::refuse_not_durable(&sender));
        self.answered(Some(sender.session), cost);
    }

    /// A room is in the journal: its first actions get their places.
    fn order_waiting(&mut self, room: RoomId) {
        let at = self.entry_time();
        let waiting = self.opening.remove(&room).unwrap_or_default();
        let records: Vec<_> =
            waiting.into_iter().filter_map(|act| self.order_in(room, act, at)).collect();
        if let (Some(journal), false) = (&mut self.journal, records.is_empty()) {
            journal.append(records);
        }
    }

    fn count_unsaved(&mut self, bytes: usize) {
        self.unsaved.entries += 1;
        self.unsaved.bytes += bytes;
    }
}
