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

mod order;
mod recovery;

pub use recovery::{Recovered, StartupError};

use order::{Pending, Told, Waiting as WaitingForRoom};
use recovery::Unsaved;

use crate::{
    connections::Permit,
    fanout::{Drained, Inbox, Parcel, Vital},
    journal::{Snapshot, Writer},
    protocol::{ClientKey, CloseCode, EncodedEvent, Event},
    room::{RoomId, SessionId, UnixMicros},
    state::{Deed, Delivery, Place, Sender, SessionAddress, State, View, Visitor},
};
use actix::{
    Actor, AsyncContext, Context, Handler, Message as ActixMessage, MessageResult, ResponseFuture,
    SpawnHandle, fut::ActorFuture,
};
use rustc_hash::FxHashMap;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{self, Poll, Waker},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::oneshot, task::spawn_blocking};

/// The most actions and deliveries in one batch. Under load the mailbox never runs empty, and
/// without a cap the first action of a batch would wait for ever.
const MAX_BATCH: usize = 1024;

/// A snapshot is saved after so many entries, or so many bytes of them: this bounds the journal's
/// size and the time of a start, about a tenth of a second for so many entries of a counter.
const SNAPSHOT_ENTRIES: usize = 100_000;
const SNAPSHOT_BYTES: usize = 64 * 1024 * 1024;

/// Telling who is here may take one of so many parts of a worker's time.
const PRESENCE_ROUNDS: u32 = 3;

/// A round that was interrupted for long says nothing about the next one.
const LONGEST_PRESENCE_INTERVAL: Duration = Duration::from_secs(1);

/// Idle rooms are put away so often at least, a few at a time: each is saved, and nobody should wait
/// for thousands of that.
const PUT_AWAY_EVERY: Duration = Duration::from_secs(1);

/// A session comes into a room.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Join {
    /// The room, made now if it was not there.
    pub place: Place,
    /// Who comes. The session has its seat already.
    pub visitor: Visitor,
}

/// A session is gone.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Leave {
    /// Who goes.
    pub visitor: Visitor,
}

/// A session skipped changes, and has room for the state.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Refresh {
    /// The session.
    pub session: SessionAddress,
}

/// Looks at a room without entering it. `None` if its plan is gone.
#[derive(Debug, ActixMessage)]
#[rtype(result = "Option<View>")]
pub struct Look {
    /// The room.
    pub place: Place,
}

/// Lists the rooms that there are, by path.
#[derive(Debug, ActixMessage)]
#[rtype(result = "Vec<View>")]
pub struct ListRooms;

/// Somebody acts.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Act {
    /// The room, made now if it was not there, for one who is in none. A session that joined acts
    /// where it is.
    pub place: Option<Place>,
    /// Who acts; `None` for what no client sent.
    pub sender: Option<Sender>,
    /// Who the sender says it is. With the sender's number, the action counts exactly once.
    pub client: Option<ClientKey>,
    /// The action.
    pub deed: Deed,
    /// The credit it took, to be given back.
    pub cost: usize,
    /// The connection's place, which is not given away before this is answered.
    pub permit: Option<Arc<Permit>>,
}

/// Somebody acts who is in no room, and waits for what it is told.
#[derive(Debug, ActixMessage)]
#[rtype(result = "Vec<Event>")]
pub struct Post {
    /// The action. Its sender is [outside](SessionAddress::outside).
    pub act: Act,
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

/// What the configuration says of times.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The least between two `users` events of a room where many come and go.
    pub presence_interval: Duration,
    /// How long a room that was made on first use is held ready without users.
    pub room_idle_timeout: Duration,
}

/// The actor that holds USERS and STATE.
#[derive(Debug)]
pub struct StateServer {
    state: State,
    /// `None` once the server has finished.
    journal: Option<Writer>,
    inboxes: Vec<Arc<Inbox>>,
    times: Times,
    /// Times handed to [`State`] count from here.
    start: Instant,
    last_entry_time: UnixMicros,
    /// When that was, by the clock that is never set.
    last_entry_at: Instant,
    batch: Vec<Act>,
    /// Durable rooms that are to be woken.
    due: Vec<RoomId>,
    /// What the journal was given and has not answered for, and what waits behind that.
    pending: VecDeque<Pending>,
    /// Rooms on their way into the journal, and the actions that wait for that.
    opening: FxHashMap<RoomId, Vec<WaitingForRoom>>,
    /// What was applied since the last snapshot.
    unsaved: Unsaved,
    deliveries: Vec<Delivery>,
    /// Those who wait outside for what they are told, and what that is so far.
    outside: FxHashMap<SessionId, Waiting>,
    /// Credit to give back, after the deliveries that answer for it.
    taken: Vec<(SessionAddress, usize)>,
    /// For each worker, what the current turn sends it.
    parcels: Vec<Vec<Parcel>>,
    is_presence_timer_set: bool,
    /// When the next room is woken.
    wake_timer: Option<(UnixMicros, SpawnHandle)>,
    /// Worker threads that still read their sessions.
    undrained_workers: usize,
    are_sessions_closed: bool,
    /// Wakes the actor.
    waker: Waker,
    /// Given up when the server cannot go on: then the process ends.
    vital: Option<Vital>,
}

/// One who waits outside.
#[derive(Debug)]
struct Waiting {
    told: Vec<Event>,
    answer: oneshot::Sender<Vec<Event>>,
}

impl StateServer {
    /// A server that goes on from what was recovered, and reaches each worker thread through its
    /// inbox. `vital` tells when the actor is gone.
    pub fn new(
        Recovered { state, unsaved, journal }: Recovered,
        inboxes: Vec<Arc<Inbox>>,
        times: Times,
        vital: Vital,
    ) -> Self {
        Self {
            last_entry_time: state.last_at(),
            last_entry_at: Instant::now(),
            state,
            journal: Some(journal),
            parcels: inboxes.iter().map(|_| Vec::new()).collect(),
            undrained_workers: inboxes.len(),
            inboxes,
            times,
            start: Instant::now(),
            batch: Vec::new(),
            due: Vec::new(),
            pending: VecDeque::new(),
            opening: FxHashMap::default(),
            unsaved,
            deliveries: Vec::new(),
            outside: FxHashMap::default(),
            taken: Vec::new(),
            is_presence_timer_set: false,
            wake_timer: None,
            are_sessions_closed: false,
            waker: Waker::noop().clone(),
            vital: Some(vital),
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The time for new entries: the wall clock's, but it always goes on from the last entry's.
    fn entry_time(&mut self) -> UnixMicros {
        let now = Instant::now();
        // A wall clock that is set back, or was ahead once, must not stop the time of the rooms.
        let passed = now.duration_since(self.last_entry_at).as_micros() as i64;
        let at_least = UnixMicros(self.last_entry_time.0.saturating_add(passed));
        (self.last_entry_time, self.last_entry_at) = (at_least.max(wall_clock()), now);
        self.last_entry_time
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
                Delivery::Direct { session, event, .. } if session.is_outside() => {
                    if let Some(waiting) = self.outside.get_mut(&session.id) {
                        waiting.told.push(event);
                    }
                }
                Delivery::Close { session, .. } if session.is_outside() => {}
                Delivery::Enter { room, session } => {
                    self.parcels_of(session).push(Parcel::Enter(room, session));
                }
                Delivery::Resume { session } => {
                    self.parcels_of(session).push(Parcel::Resume(session));
                }
                Delivery::Direct { session, topic, event } => {
                    let is_ack = matches!(event, Event::Ack { .. });
                    let event = Arc::new(EncodedEvent::new(event));
                    self.parcels_of(session).push(match is_ack {
                        true => Parcel::Ack(session, event),
                        false => Parcel::Direct(session, topic, event),
                    });
                }
                Delivery::Close { session, code } => {
                    self.parcels_of(session).push(Parcel::Close(session, code));
                }
                Delivery::Broadcast { room, topic, except, event } => {
                    let event = Arc::new(EncodedEvent::new(event));
                    for parcels in &mut self.parcels {
                        let event = event.clone();
                        parcels.push(Parcel::Broadcast { room, topic, except, event });
                    }
                }
            }
        }
        for (session, cost) in std::mem::take(&mut self.taken) {
            if !session.is_outside() {
                self.parcels_of(session).push(Parcel::Taken(session, cost));
            } else if let Some(Waiting { told, answer }) = self.outside.remove(&session.id) {
                // Who does not wait any more needs no answer.
                let _ = answer.send(told);
            }
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
        self.set_wake_timer(ctx);
    }

    /// One timer for all rooms: for the one that wants to be woken next.
    fn set_wake_timer(&mut self, ctx: &mut Context<Self>) {
        let next = self.state.next_wake();
        if next == self.wake_timer.map(|(at, _)| at) {
            return;
        }
        if let Some((_, timer)) = self.wake_timer.take() {
            ctx.cancel_future(timer);
        }
        let Some(at) = next else { return };
        let delay = at.0.saturating_sub(self.entry_time().0).max(0) as u64;
        let timer = ctx.run_later(Duration::from_micros(delay), |this, ctx| {
            this.wake_timer = None;
            this.wake_rooms();
            // The timer may be polled after this turn's end.
            this.end_turn(ctx);
        });
        self.wake_timer = Some((at, timer));
    }

    fn wake_rooms(&mut self) {
        self.commit();
        let at = self.entry_time();
        self.due = self.state.wake_due(at, &mut self.deliveries);
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
        // Rooms on their way into the journal are pending as well.
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

    /// A round of writes to a large room may take longer than the presence interval. Then counts wait
    /// for several of them: or telling who comes would keep everybody from coming.
    fn tell_users(&mut self) {
        self.is_presence_timer_set = false;
        let longest_round = self.inboxes.iter().map(|inbox| inbox.last_round()).max();
        let rounds = PRESENCE_ROUNDS * longest_round.unwrap_or_default();
        let interval = self.times.presence_interval.max(rounds.min(LONGEST_PRESENCE_INTERVAL));
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
        // Often enough that a room is put away a quarter late at most.
        let interval = (self.times.room_idle_timeout / 4).min(PUT_AWAY_EVERY);
        ctx.run_interval(interval, |this, _| {
            let now = this.now();
            if let Some(since) = now.checked_sub(this.times.room_idle_timeout) {
                this.state.put_away_idle(since);
            }
        });
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

    fn handle(&mut self, Join { place, visitor }: Join, _: &mut Self::Context) {
        self.commit();
        let times = (self.now(), self.entry_time());
        self.state.join(&place, visitor, times, &mut self.deliveries);
        self.deliver_if_many();
    }
}

impl Handler<Leave> for StateServer {
    type Result = ();

    fn handle(&mut self, Leave { visitor }: Leave, _: &mut Self::Context) {
        self.commit();
        let times = (self.now(), self.entry_time());
        let Visitor { session, client, .. } = visitor;
        let left = self.state.leave(session, client, times, &mut self.deliveries);
        if let Some((room, effects)) = left.filter(|(_, effects)| !effects.is_empty()) {
            self.tell_in_order(Told { room, sender: None, effects, cost: 0 });
        }
        self.deliver_if_many();
    }
}

impl Handler<Refresh> for StateServer {
    type Result = ();

    fn handle(&mut self, Refresh { session }: Refresh, _: &mut Self::Context) {
        self.commit();
        self.state.refresh(session, &mut self.deliveries);
        self.deliver_if_many();
    }
}

impl Handler<Look> for StateServer {
    type Result = MessageResult<Look>;

    fn handle(&mut self, Look { place }: Look, _: &mut Self::Context) -> Self::Result {
        self.commit();
        MessageResult(self.state.view(&place))
    }
}

impl Handler<ListRooms> for StateServer {
    type Result = MessageResult<ListRooms>;

    fn handle(&mut self, ListRooms: ListRooms, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.state.list())
    }
}

impl Handler<Act> for StateServer {
    type Result = ();

    fn handle(&mut self, act: Act, _: &mut Self::Context) {
        self.batch.push(act);
        self.deliver_if_many();
    }
}

impl Handler<Post> for StateServer {
    type Result = ResponseFuture<Vec<Event>>;

    fn handle(&mut self, Post { act }: Post, _: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        if let Some(sender) = &act.sender {
            self.outside.insert(sender.session.id, Waiting { told: Vec::new(), answer });
        }
        self.batch.push(act);
        self.deliver_if_many();
        Box::pin(async { answered.await.unwrap_or_default() })
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
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Finish: Finish, _: &mut Self::Context) -> Self::Result {
        self.append();
        // The end of a disk that hangs is not waited for by the thread: it may have others to serve.
        let closing = self.journal.take().map(|journal| spawn_blocking(|| journal.close()));
        Box::pin(async {
            if let Some(closing) = closing {
                // A panic there is in the log.
                let _ = closing.await;
            }
        })
    }
}

#[cfg(test)]
mod tests;
