//! The [`StateServer`] actor: the one place where USERS and STATE change.
//!
//! All that waits in its mailbox is one batch: one append to the journal, then one parcel list for
//! each worker thread. It never waits for a session.
//!
//! Its mailbox is bounded by what feeds it: each connection sends one [`Join`] and one [`Leave`],
//! and has at most [`crate::fanout::Outlet::may_read`]'s credit of [`Act`]s on their way.

use crate::{
    fanout::{Drained, Inbox, Parcel, Vital},
    journal::{Entry, Journal},
    protocol::{CloseCode, EncodedEvent, Message},
    room::{RoomId, RoomKind, UnixMicros},
    state::{Delivery, SessionAddress, State},
};
use actix::{Actor, AsyncContext, Context, Handler, Message as ActixMessage, fut::ActorFuture};
use std::{
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The most actions and deliveries in one batch. Under load the mailbox never runs empty, and
/// without a cap the first action of a batch would wait for ever.
const MAX_BATCH: usize = 1024;

/// A session comes into a room.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Join {
    /// The room.
    pub room: RoomId,
    /// The session, which has its seat already.
    pub session: SessionAddress,
}

/// A session is gone.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Leave {
    /// The room it was in.
    pub room: RoomId,
    /// The session.
    pub session: SessionAddress,
}

/// A session acts.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Act {
    /// The room.
    pub room: RoomId,
    /// Who acts.
    pub session: SessionAddress,
    /// What [`RoomKind::decode`] made of the client's message.
    pub action: Message,
    /// The credit it took, to be given back.
    pub cost: usize,
}

/// The actor that holds USERS and STATE.
pub struct StateServer {
    state: State,
    journal: Box<dyn Journal>,
    inboxes: Vec<Arc<Inbox>>,
    presence_interval: Duration,
    /// Times handed to [`State`] count from here.
    start: Instant,
    last_entry_time: UnixMicros,
    batch: Vec<Act>,
    deliveries: Vec<Delivery>,
    /// Credit to give back, after the deliveries that answer for it.
    taken: Vec<(SessionAddress, usize)>,
    /// For each worker, what the current turn sends it.
    parcels: Vec<Vec<Parcel>>,
    is_presence_timer_set: bool,
    /// Worker threads that still read their sessions.
    undrained_workers: usize,
    _vital: Vital,
}

impl StateServer {
    /// A server for rooms of these kinds, which reaches each worker thread through its inbox.
    /// `vital` tells when the actor is gone.
    pub fn new(
        kinds: &[Arc<dyn RoomKind>],
        journal: Box<dyn Journal>,
        inboxes: Vec<Arc<Inbox>>,
        presence_interval: Duration,
        vital: Vital,
    ) -> Self {
        Self {
            state: State::new(kinds, presence_interval),
            journal,
            parcels: inboxes.iter().map(|_| Vec::new()).collect(),
            undrained_workers: inboxes.len(),
            inboxes,
            presence_interval,
            start: Instant::now(),
            last_entry_time: UnixMicros::default(),
            batch: Vec::new(),
            deliveries: Vec::new(),
            taken: Vec::new(),
            is_presence_timer_set: false,
            _vital: vital,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The time for new entries: the wall clock's, but never before the last entry's.
    fn entry_time(&mut self) -> UnixMicros {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = UnixMicros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX));
        self.last_entry_time = self.last_entry_time.max(now);
        self.last_entry_time
    }

    /// Commits the batch, then applies it and collects what is to be told. Also called before a
    /// join or a leave, so that everything happens in the order of the mailbox.
    fn commit(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let time = self.entry_time();
        let (mut senders, mut entries) = (Vec::new(), Vec::new());
        for Act { room, session, action, cost } in self.batch.drain(..) {
            senders.push((session, cost));
            entries.push(Entry { room, time, action });
        }
        let is_durable: Vec<bool> =
            entries.iter().map(|entry| self.state.is_durable(entry.room)).collect();
        let kept = append_durable(&mut *self.journal, &entries, &is_durable);
        for ((entry, (session, cost)), is_durable) in entries.iter().zip(senders).zip(is_durable) {
            match &kept {
                Err(error) if is_durable => {
                    self.deliveries.push(State::refuse_not_durable(session, error.clone()));
                }
                _ => self.state.apply(entry, session, &mut self.deliveries),
            }
            self.taken.push((session, cost));
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
                    let event = Arc::new(EncodedEvent::new(&event));
                    self.parcels_of(session).push(Parcel::Direct(session, event));
                }
                Delivery::Close { session, code } => {
                    self.parcels_of(session).push(Parcel::Close(session, code));
                }
                Delivery::Broadcast { room, topic, event } => {
                    let event = Arc::new(EncodedEvent::new(&event));
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
        let now = self.now();
        if let Some(delay) = self.state.presence_due(now)
            && !self.is_presence_timer_set
        {
            self.is_presence_timer_set = true;
            ctx.run_later(delay, |this, ctx| {
                this.tell_users();
                // The timer may be polled after this turn's end.
                this.end_turn(ctx);
            });
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

/// Appends the entries that are to be kept, all or none.
fn append_durable(
    journal: &mut dyn Journal,
    entries: &[Entry],
    is_durable: &[bool],
) -> Result<(), String> {
    let all_durable = is_durable.iter().all(|durable| *durable);
    let appended = if all_durable {
        journal.append(entries)
    } else {
        let durable = entries.iter().zip(is_durable).filter(|(_, durable)| **durable);
        let durable: Vec<Entry> = durable.map(|(entry, _)| entry.clone()).collect();
        if durable.is_empty() {
            return Ok(());
        }
        journal.append(&durable)
    };
    appended.map(|_| ()).map_err(|error| error.to_string())
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
        _: &mut task::Context<'_>,
    ) -> Poll<()> {
        server.end_turn(ctx);
        Poll::Pending
    }
}

impl Handler<Join> for StateServer {
    type Result = ();

    fn handle(&mut self, Join { room, session }: Join, _: &mut Self::Context) {
        self.commit();
        let now = self.now();
        self.state.join(room, session, now, &mut self.deliveries);
        self.deliver_if_many();
    }
}

impl Handler<Leave> for StateServer {
    type Result = ();

    fn handle(&mut self, Leave { room, session }: Leave, _: &mut Self::Context) {
        self.commit();
        let now = self.now();
        self.state.leave(room, session, now, &mut self.deliveries);
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

    fn handle(&mut self, Drained: Drained, _: &mut Self::Context) {
        self.undrained_workers = self.undrained_workers.saturating_sub(1);
        if self.undrained_workers > 0 {
            return;
        }
        // All that sessions sent stands before this. Everyone hears the same, then the close.
        self.commit();
        self.deliver();
        for inbox in &self.inboxes {
            inbox.put([Parcel::CloseAll(CloseCode::GOING_AWAY)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::JournalError,
        protocol::WireForm,
        room::{SessionId, kind},
    };
    use std::{
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
        task::Waker,
    };

    const COUNTER: RoomId = RoomId(0);
    const ECHO: RoomId = RoomId(1);
    const SESSION: SessionAddress = SessionAddress { id: SessionId(1), worker: 0, seat: 0 };

    /// A journal that counts batches and entries, and fails when told to.
    #[derive(Clone, Default)]
    struct Watched {
        batches: Arc<AtomicUsize>,
        entries: Arc<AtomicUsize>,
        fails: Arc<AtomicBool>,
    }

    impl Journal for Watched {
        fn append(&mut self, batch: &[Entry]) -> Result<u64, JournalError> {
            if self.fails.load(Ordering::Relaxed) {
                return Err(JournalError("the disk is full".into()));
            }
            self.batches.fetch_add(1, Ordering::Relaxed);
            self.entries.fetch_add(batch.len(), Ordering::Relaxed);
            Ok(0)
        }
    }

    fn server() -> (StateServer, Watched, Arc<Inbox>) {
        let kinds = ["counter", "echo"].map(|name| kind(name, &Default::default()).expect("known"));
        let (journal, inbox) = (Watched::default(), Arc::new(Inbox::new(100)));
        let inboxes = vec![inbox.clone()];
        let (watch, _) = tokio::sync::mpsc::unbounded_channel();
        let vital = Vital::new("state server", &watch);
        let boxed = Box::new(journal.clone());
        (StateServer::new(&kinds, boxed, inboxes, Duration::ZERO, vital), journal, inbox)
    }

    fn act(room: RoomId, action: &'static str) -> Act {
        Act { room, session: SESSION, action: Message::Text(action.into()), cost: 10 }
    }

    /// What the turn told the worker, one line a parcel.
    fn told(server: &mut StateServer, inbox: &Inbox) -> Vec<String> {
        server.commit();
        server.deliver();
        let mut parcels = std::collections::VecDeque::new();
        inbox.take(Waker::noop(), &mut parcels);
        let show_event = |event: &EncodedEvent| {
            String::from_utf8_lossy(event.bytes(WireForm::EventStream)).trim().to_owned()
        };
        let show = |parcel: &Parcel| match parcel {
            Parcel::Broadcast(_, _, event) => format!("all {}", show_event(event)),
            Parcel::Direct(_, event) => format!("sender {}", show_event(event)),
            Parcel::Taken(_, cost) => format!("taken {cost}"),
            other => format!("{other:?}"),
        };
        parcels.iter().map(show).collect()
    }

    #[test]
    fn a_batch_is_one_append_and_credit_comes_back_behind_the_answers() {
        let (mut server, journal, inbox) = server();
        server.batch =
            vec![act(COUNTER, "{\"by\":1}"), act(ECHO, "hi"), act(COUNTER, "{\"by\":1}")];
        let expected = [
            "all data: {\"type\":\"state\",\"value\":1}",
            "sender data: hi",
            "all data: {\"type\":\"state\",\"value\":2}",
            "taken 10",
            "taken 10",
            "taken 10",
        ];
        assert_eq!(told(&mut server, &inbox), expected);
        assert_eq!(journal.batches.load(Ordering::Relaxed), 1, "one append for the batch");
        assert_eq!(journal.entries.load(Ordering::Relaxed), 2, "an echo is not kept");
    }

    #[test]
    fn what_the_journal_cannot_keep_has_not_happened() {
        let (mut server, journal, inbox) = server();
        journal.fails.store(true, Ordering::Relaxed);
        server.batch = vec![act(COUNTER, "{\"by\":1}"), act(ECHO, "hi")];
        let lines = told(&mut server, &inbox);
        assert!(lines[0].contains("not_durable") && lines[0].contains("disk is full"), "{lines:?}");
        assert!(lines[0].starts_with("sender "), "the sender alone is told: {lines:?}");
        assert_eq!(lines[1], "sender data: hi", "rooms that keep nothing go on");
        assert_eq!(lines[2..], ["taken 10", "taken 10"]);

        journal.fails.store(false, Ordering::Relaxed);
        server.batch = vec![act(COUNTER, "{\"by\":1}")];
        let first = "all data: {\"type\":\"state\",\"value\":1}";
        assert_eq!(told(&mut server, &inbox)[0], first, "the refused action left no trace");
    }

    #[test]
    fn entry_times_never_fall() {
        let (mut server, ..) = server();
        server.last_entry_time = UnixMicros(i64::MAX);
        assert_eq!(server.entry_time(), UnixMicros(i64::MAX), "though the clock says less");
    }
}
