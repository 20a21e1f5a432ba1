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
    Told(Told),
}

/// What waits for its room to come into the journal.
#[derive(Debug)]
pub(super) enum Waiting {
    Act(Box<AdmittedAct>),
    Told(Told),
}

/// What was decided without the journal, and is to be told in the order.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) room: RoomId,
    pub(super) sender: Option<Sender>,
    pub(super) effects: Vec<Effect>,
    pub(super) cost: usize,
}

/// An action that was looked at when it came, and is to become an entry.
#[derive(Debug)]
pub(super) struct AdmittedAct {
    room: RoomId,
    author: Option<Author>,
    deed: Deed,
    sender: Option<Sender>,
    cost: usize,
    _permit: Option<Arc<Permit>>,
}

/// An entry that the journal was given.
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
        !matches!(self, Self::Told(_))
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
        if !self.state.is_durable(room) {
            self.pass(room, act, at);
            return None;
        }
        let act = self.admit(room, act, at)?;
        match self.state.number(room) {
            Some(number) => Some(self.order_kept(number, act, at)),
            None => self.order_first(room, act, at),
        }
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

    /// Looks at an action of a durable room as it comes. `None` if nothing of it is to be kept.
    fn admit(&mut self, room: RoomId, act: Act, at: UnixMicros) -> Option<AdmittedAct> {
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
            self.tell_in_order(Told { room, sender, effects: Vec::new(), cost });
            return None;
        }
        Some(AdmittedAct { room, author, deed, sender, cost, _permit: permit })
    }

    /// An action of a room that is in the journal.
    fn order_kept(&mut self, number: RoomNumber, act: AdmittedAct, at: UnixMicros) -> Bytes {
        let AdmittedAct { room, author, deed, sender, cost, _permit } = act;
        let entry = ActEntry { at, room: number, author, deed };
        let record = Entry::Act(entry.clone()).to_bytes();
        let bytes = record.len();
        let act = PendingAct { room, entry, bytes, sender, cost, _permit };
        self.pending.push_back(Pending::Act(act.into()));
        record
    }

    /// An action of a room that is not in the journal yet: it waits until that is.
    fn order_first(&mut self, room: RoomId, act: AdmittedAct, at: UnixMicros) -> Option<Bytes> {
        if let Some(waiting) = self.opening.get_mut(&room) {
            waiting.push(Waiting::Act(act.into()));
            return None;
        }
        if act.deed == Deed::Remove {
            self.state.remove_room(room, &mut self.deliveries);
            self.answered(act.sender.map(|sender| sender.session), act.cost);
            return None;
        }
        self.order_opening(room, vec![Waiting::Act(act.into())], at)
    }

    fn order_opening(
        &mut self,
        room: RoomId,
        waiting: Vec<Waiting>,
        at: UnixMicros,
    ) -> Option<Bytes> {
        let record = self.state.begin_opening(room, at)?.to_bytes();
        self.opening.insert(room, waiting);
        self.pending.push_back(Pending::Open { room, record: record.clone() });
        Some(record)
    }

    /// A room's waking gets its place in the order.
    fn order_wake(&mut self, room: RoomId, at: UnixMicros) -> Option<Bytes> {
        let (author, sender, cost) = (None, None, 0);
        let act = AdmittedAct { room, author, deed: Deed::Wake, sender, cost, _permit: None };
        match self.state.number(room) {
            Some(number) => Some(self.order_kept(number, act, at)),
            // It is woken when it is in the journal, and still wants to be.
            None if self.opening.contains_key(&room) => None,
            None => self.order_opening(room, Vec::new(), at),
        }
    }

    /// Tells what is not in the journal behind what is on its way there.
    pub(super) fn tell_in_order(&mut self, told: Told) {
        match self.opening.get_mut(&told.room) {
            Some(waiting) => waiting.push(Waiting::Told(told)),
            None => self.pending.push_back(Pending::Told(told)),
        }
        self.tell_waiting();
    }

    /// Tells what has nothing of the journal in front of it any more.
    fn tell_waiting(&mut self) {
        while self.pending.front().is_some_and(|pending| !pending.is_in_journal()) {
            if let Some(Pending::Told(told)) = self.pending.pop_front() {
                self.tell(told);
            }
        }
    }

    fn tell(&mut self, Told { room, sender, effects, cost }: Told) {
        let session = sender.as_ref().map(|sender| sender.session);
        if let Some(sender) = sender {
            self.state.tell_verdict(room, sender, &mut self.deliveries);
        }
        self.state.tell_effects(room, effects, &mut self.deliveries);
        self.answered(session, cost);
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
            Pending::Told(told) => self.tell(told),
        }
        self.deliver_if_full();
    }

    fn fail_one(&mut self, pending: Pending) {
        match pending {
            Pending::Act(act) => {
                let PendingAct { room, entry, sender, cost, .. } = *act;
                if entry.deed == Deed::Wake {
                    self.wake_later(room, entry.at);
                }
                self.refuse_not_kept(room, entry.author, sender, cost);
            }
            Pending::Open { room, .. } => {
                let at = self.entry_time();
                self.wake_later(room, at);
                for waiting in self.opening.remove(&room).unwrap_or_default() {
                    match waiting {
                        Waiting::Act(act) => {
                            let AdmittedAct { author, sender, cost, .. } = *act;
                            self.refuse_not_kept(room, author, sender, cost);
                        }
                        Waiting::Told(told) => self.tell(told),
                    }
                }
                self.state.give_up_opening(room);
            }
            Pending::Told(told) => self.tell(told),
        }
    }

    fn wake_later(&mut self, room: RoomId, now: UnixMicros) {
        let wait = i64::try_from(WAKE_AGAIN.as_micros()).unwrap_or(i64::MAX);
        self.state.delay_wake(room, UnixMicros(now.0.saturating_add(wait)));
    }

    /// Tells the sender that its action is not kept. What concerned only who is there was done when
    /// it came, and is told all the same: it is no part of what is kept.
    fn refuse_not_kept(
        &mut self,
        room: RoomId,
        author: Option<Author>,
        sender: Option<Sender>,
        cost: usize,
    ) {
        if let Some(author) = author {
            self.state.give_turn_back(author);
        }
        let Some(mut sender) = sender else { return };
        if let Some(Ok(effects)) = sender.verdict.take() {
            self.state.tell_effects(room, effects, &mut self.deliveries);
        }
        self.deliveries.push(State::refuse_not_durable(&sender));
        self.answered(Some(sender.session), cost);
    }

    /// A room is in the journal: its first actions get their places.
    fn order_waiting(&mut self, room: RoomId) {
        let at = self.entry_time();
        let mut records = Vec::new();
        for waiting in self.opening.remove(&room).unwrap_or_default() {
            match (waiting, self.state.number(room)) {
                (Waiting::Act(act), Some(number)) => {
                    records.push(self.order_kept(number, *act, at));
                }
                (Waiting::Act(act), None) => {
                    let AdmittedAct { author, sender, cost, .. } = *act;
                    self.refuse_not_kept(room, author, sender, cost);
                }
                (Waiting::Told(told), _) => self.pending.push_back(Pending::Told(told)),
            }
        }
        if let (Some(journal), false) = (&mut self.journal, records.is_empty()) {
            journal.append(records);
        }
    }

    fn count_unsaved(&mut self, bytes: usize) {
        self.unsaved.entries += 1;
        self.unsaved.bytes += bytes;
    }
}
