//! The [`StateServer`] actor: the one place where USERS and STATE change.
//!
//! All that waits in its mailbox is one batch: one append to the journal, and when that is
//! committed, one parcel list for each worker thread. It never waits for a session, nor for the
//! journal: while a batch is being committed the next one gathers.
//!
//! What it holds is bounded by what feeds it: each connection sends one [`Join`] and one [`Leave`],
//! and has at most [`crate::fanout::Outlet::may_read`]'s credit of [`Act`]s on their way, in the
//! mailbox, in a batch, or in the journal. These hold its place among the connections, so that one
//! that comes, acts and goes cannot leave more behind than it could while it is there.

mod recovery;

pub use recovery::{Recovered, StartupError};

use recovery::Unsaved;

use crate::{
    connections::Permit,
    fanout::{Drained, Inbox, Parcel, Vital},
    journal::{JournalError, Outcome, Snapshot, Writer},
    protocol::{ClientKey, CloseCode, EncodedEvent, Event},
    room::{RoomId, UnixMicros},
    state::{ActEntry, Author, Deed, Delivery, Entry, Sender, SessionAddress, State, Visitor},
};
use actix::{Actor, AsyncContext, Context, Handler, Message as ActixMessage, fut::ActorFuture};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{self, Poll, Waker},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The most actions and deliveries in one batch. Under load the mailbox never runs empty, and
/// without a cap the first action of a batch would wait for ever.
const MAX_BATCH: usize = 1024;

/// A snapshot is saved after so many entries, or so many bytes of them: this bounds the journal's
/// size and the time of a start, about a tenth of a second for so many entries of a counter.
const SNAPSHOT_ENTRIES: usize = 100_000;
const SNAPSHOT_BYTES: usize = 64 * 1024 * 1024;

/// A session comes into a room.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Join {
    /// The room.
    pub room: RoomId,
    /// Who comes. The session has its seat already.
    pub visitor: Visitor,
}

/// A session is gone.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Leave {
    /// The room it was in.
    pub room: RoomId,
    /// Who goes.
    pub visitor: Visitor,
}

/// A session acts.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Act {
    /// The room.
    pub room: RoomId,
    /// Who acts.
    pub sender: Sender,
    /// Who the session says it is. With the sender's number, the action counts exactly once.
    pub client: Option<ClientKey>,
    /// The action.
    pub deed: Deed,
    /// The credit it took, to be given back.
    pub cost: usize,
    /// The connection's place, which is not given away before this is answered.
    pub permit: Option<Arc<Permit>>,
}

/// Close all sessions, though the journal has not answered for all that they sent. Those that wait
/// for an answer are closed behind it.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct CloseSessions;

/// All sessions are gone: let the journal end as well. Answered when what it was given is safe.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Finish;

/// The actor that holds USERS and STATE.
#[derive(Debug)]
pub struct StateServer {
    state: State,
    /// `None` once the server has finished.
    journal: Option<Writer>,
    inboxes: Vec<Arc<Inbox>>,
    presence_interval: Duration,
    /// Times handed to [`State`] count from here.
    start: Instant,
    last_entry_time: UnixMicros,
    batch: Vec<Act>,
    /// What the journal was given and has not answered for.
    pending: VecDeque<Pending>,
    /// What was applied since the last snapshot.
    unsaved: Unsaved,
    deliveries: Vec<Delivery>,
    /// Credit to give back, after the deliveries that answer for it.
    taken: Vec<(SessionAddress, usize)>,
    /// For each worker, what the current turn sends it.
    parcels: Vec<Vec<Parcel>>,
    is_presence_timer_set: bool,
    /// Worker threads that still read their sessions.
    undrained_workers: usize,
    are_sessions_closed: bool,
    /// Wakes the actor.
    waker: Waker,
    /// Given up when the server cannot go on: then the process ends.
    vital: Option<Vital>,
}

/// An action on its way through the journal.
#[derive(Debug)]
struct Pending {
    entry: ActEntry,
    bytes: usize,
    sender: Sender,
    cost: usize,
    _permit: Option<Arc<Permit>>,
}

impl StateServer {
    /// A server that goes on from what was recovered, and reaches each worker thread through its
    /// inbox. `vital` tells when the actor is gone.
    pub fn new(
        Recovered { state, unsaved, journal }: Recovered,
        inboxes: Vec<Arc<Inbox>>,
        presence_interval: Duration,
        vital: Vital,
    ) -> Self {
        Self {
            last_entry_time: state.last_at(),
            state,
            journal: Some(journal),
            parcels: inboxes.iter().map(|_| Vec::new()).collect(),
            undrained_workers: inboxes.len(),
            inboxes,
            presence_interval,
            start: Instant::now(),
            batch: Vec::new(),
            pending: VecDeque::new(),
            unsaved,
            deliveries: Vec::new(),
            taken: Vec::new(),
            is_presence_timer_set: false,
            are_sessions_closed: false,
            waker: Waker::noop().clone(),
            vital: Some(vital),
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The time for new entries: the wall clock's, but never before the last entry's.
    fn entry_time(&mut self) -> UnixMicros {
        self.last_entry_time = self.last_entry_time.max(wall_clock());
        self.last_entry_time
    }

    /// Hands the batch to the journal, and takes what is committed. Also called before a join or a
    /// leave, so that what needs no waiting happens in the order of the mailbox.
    fn commit(&mut self) {
        self.append();
        self.take_outcomes();
    }

    fn append(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let at = self.entry_time();
        let mut records = Vec::new();
        for act in std::mem::take(&mut self.batch) {
            records.extend(self.order(act, at));
        }
        match &mut self.journal {
            Some(journal) if !records.is_empty() => journal.append(records),
            _ => {}
        }
    }

    /// Gives an action its place: among what is pending, or, in a room that keeps nothing, now.
    fn order(&mut self, act: Act, at: UnixMicros) -> Option<Bytes> {
        let Act { room, sender, client, deed, cost, permit } = act;
        // Whether the action has a number or not.
        let is_superseded =
            client.is_some_and(|client| !self.state.acts_for(&client, sender.session));
        if is_superseded {
            // A newer connection of the same client tells what is to be done.
            self.taken.push((sender.session, cost));
            return None;
        }
        if let (Some(client), Some(_)) = (client, sender.id)
            && self.state.is_forgotten(&client, sender.session)
        {
            self.deliveries.push(State::refuse_forgotten(&sender));
            self.taken.push((sender.session, cost));
            return None;
        }
        if let Some(room) = self.state.number(room) {
            let author = client.zip(sender.id).map(|(client, id)| Author { client, id });
            let entry = ActEntry { at, room, author, deed };
            let record = Entry::Act(entry.clone()).to_bytes();
            let bytes = record.len();
            self.pending.push_back(Pending { entry, bytes, sender, cost, _permit: permit });
            return Some(record);
        }
        match &deed {
            Deed::Apply(action) => {
                self.state.pass(room, action, at, &sender, &mut self.deliveries);
            }
            Deed::Refuse => self.deliveries.extend(State::refuse_fault(&sender)),
        }
        self.taken.push((sender.session, cost));
        None
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
                    let pending: Vec<_> = self.pending.drain(..records).collect();
                    for (position, pending) in (first..).zip(pending) {
                        self.apply(position, pending);
                    }
                }
                // The journal has logged why. If it is gone as a whole, so must the server be.
                Outcome::Failed { records, error } => {
                    if let JournalError::Stopped = error {
                        log::error!("{error}");
                        self.vital = None;
                    }
                    for Pending { sender, cost, .. } in self.pending.drain(..records) {
                        self.deliveries.push(State::refuse_not_durable(&sender));
                        self.taken.push((sender.session, cost));
                    }
                }
            }
            self.save_if_due();
            self.deliver_if_full();
        }
    }

    fn apply(&mut self, position: u64, pending: Pending) {
        let Pending { entry, bytes, sender, cost, .. } = pending;
        self.state.apply(position, &entry, Some(&sender), &mut self.deliveries);
        self.taken.push((sender.session, cost));
        self.unsaved.entries += 1;
        self.unsaved.bytes += bytes;
        self.deliver_if_full();
    }

    fn deliver_if_full(&mut self) {
        if self.deliveries.len() >= MAX_BATCH {
            self.deliver();
        }
    }

    fn save_if_due(&mut self) {
        let Unsaved { entries, bytes } = self.unsaved;
        // All known clients are in it: of many, it takes long, and has to be worth it.
        let enough_entries = SNAPSHOT_ENTRIES.max(self.state.clients().len());
        if entries < enough_entries && bytes < SNAPSHOT_BYTES {
            return;
        }
        self.unsaved = Unsaved::default();
        let position = self.state.position();
        let bytes = self.state.save().into();
        if let Some(journal) = &mut self.journal {
            journal.save_snapshot(Snapshot { position, bytes });
        }
    }

    fn parcels_of(&mut self, session: SessionAddress) -> &mut Vec<Parcel> {
        &mut self.parcels[usize::from(session.worker)]
    }

    /// Encodes what is to be told and hands it to the worker threads.
    fn deliver(&mut self) {
        for delivery in std::mem::take(&mut self.deliveries) {
            match delivery {
                Delivery::Enter { room, session } => {
                    self.parcels_of(session).push(Parcel::Enter(room, session));
                }
                Delivery::Direct { session, event } => {
                    let parcel = match &event {
                        Event::Ack { .. } => Parcel::Ack,
                        _ => Parcel::Direct,
                    };
                    let event = Arc::new(EncodedEvent::new(event));
                    self.parcels_of(session).push(parcel(session, event));
                }
                Delivery::Close { session, code } => {
                    self.parcels_of(session).push(Parcel::Close(session, code));
                }
                Delivery::Broadcast { room, topic, event } => {
                    let event = Arc::new(EncodedEvent::new(event));
                    for parcels in &mut self.parcels {
                        parcels.push(Parcel::Broadcast(room, topic, event.clone()));
                    }
                }
            }
        }
        for (session, cost) in std::mem::take(&mut self.taken) {
            self.parcels_of(session).push(Parcel::Taken(session, cost));
        }
        for (inbox, parcels) in self.inboxes.iter().zip(&mut self.parcels) {
            if !parcels.is_empty() {
                inbox.put(parcels.drain(..));
            }
        }
    }

    /// Does not wait for the end of the turn when much has come together.
    fn deliver_if_many(&mut self) {
        if self.batch.len() + self.deliveries.len() >= MAX_BATCH {
            self.commit();
            self.deliver();
        }
    }

    /// What the end of each turn of the mailbox does.
    fn end_turn(&mut self, ctx: &mut Context<Self>) {
        self.commit();
        self.deliver();
        self.close_sessions_if_done();
        self.set_presence_timer(ctx);
    }

    fn set_presence_timer(&mut self, ctx: &mut Context<Self>) {
        let Some(delay) = self.state.presence_due(self.now()) else { return };
        if !std::mem::replace(&mut self.is_presence_timer_set, true) {
            ctx.run_later(delay, |this, ctx| {
                this.tell_users();
                // The timer may be polled after this turn's end.
                this.end_turn(ctx);
            });
        }
    }

    /// The end of a shutdown's first step: no session is read any more, all that was read is
    /// answered. Everyone hears the same, then the close.
    fn close_sessions_if_done(&mut self) {
        let is_answered = self.batch.is_empty() && self.pending.is_empty();
        if self.undrained_workers == 0 && is_answered {
            self.close_sessions();
        }
    }

    fn close_sessions(&mut self) {
        if !std::mem::replace(&mut self.are_sessions_closed, true) {
            for inbox in &self.inboxes {
                inbox.put([Parcel::CloseAll(CloseCode::GOING_AWAY)]);
            }
        }
    }

    /// A round of writes to a large room may take longer than the presence interval: then counts
    /// wait for it, or the next round would be late before it began.
    fn tell_users(&mut self) {
        self.is_presence_timer_set = false;
        let longest_round = self.inboxes.iter().map(|inbox| inbox.last_round()).max();
        let interval = self.presence_interval.max(longest_round.unwrap_or_default());
        self.state.set_presence_interval(interval);
        let now = self.now();
        self.state.tell_untold(now, &mut self.deliveries);
    }
}

fn wall_clock() -> UnixMicros {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

impl Actor for StateServer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(EndOfTurn);
    }
}

/// Polled whenever the actor wakes, after its mailbox was emptied.
struct EndOfTurn;

impl ActorFuture<StateServer> for EndOfTurn {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        server: &mut StateServer,
        ctx: &mut Context<StateServer>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        server.waker.clone_from(task.waker());
        server.end_turn(ctx);
        Poll::Pending
    }
}

impl Handler<Join> for StateServer {
    type Result = ();

    fn handle(&mut self, Join { room, visitor }: Join, _: &mut Self::Context) {
        self.commit();
        let now = self.now();
        self.state.join(room, visitor, now, &mut self.deliveries);
        self.deliver_if_many();
    }
}

impl Handler<Leave> for StateServer {
    type Result = ();

    fn handle(&mut self, Leave { room, visitor }: Leave, _: &mut Self::Context) {
        self.commit();
        let now = self.now();
        self.state.leave(room, visitor, now, &mut self.deliveries);
        self.deliver_if_many();
    }
}

impl Handler<Act> for StateServer {
    type Result = ();

    fn handle(&mut self, act: Act, _: &mut Self::Context) {
        self.batch.push(act);
        self.deliver_if_many();
    }
}

impl Handler<Drained> for StateServer {
    type Result = ();

    /// All that the thread's sessions sent stands before this.
    fn handle(&mut self, Drained: Drained, _: &mut Self::Context) {
        self.undrained_workers = self.undrained_workers.saturating_sub(1);
    }
}

impl Handler<CloseSessions> for StateServer {
    type Result = ();

    fn handle(&mut self, CloseSessions: CloseSessions, _: &mut Self::Context) {
        self.commit();
        self.deliver();
        self.close_sessions();
    }
}

impl Handler<Finish> for StateServer {
    type Result = ();

    fn handle(&mut self, Finish: Finish, _: &mut Self::Context) {
        self.append();
        if let Some(journal) = self.journal.take() {
            journal.close();
        }
    }
}

#[cfg(test)]
mod tests;
