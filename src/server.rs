//! The [`StateServer`] actor: the one place where USERS and STATE change.
//!
//! All that waits in its mailbox is one batch: one append to the journal, and when that is
//! committed, one parcel list for each worker thread. It never waits for a session, nor for the
//! journal: while a batch is being committed the next one gathers.
//!
//! What it holds is bounded by what feeds it: each connection sends one [`Join`] and one [`Leave`],
//! and has at most [`crate::fanout::Outlet::may_read`]'s credit of [`Act`]s on their way, in the
//! mailbox, in a batch, or in the journal.

mod recovery;

pub use recovery::{Recovered, StartupError};

use recovery::Unsaved;

use crate::{
    fanout::{Drained, Inbox, Parcel, Vital},
    journal::{Outcome, Snapshot, Writer},
    protocol::{ClientKey, CloseCode, EncodedEvent},
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
}

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
    _vital: Vital,
}

/// An action on its way through the journal.
#[derive(Debug)]
struct Pending {
    entry: ActEntry,
    bytes: usize,
    sender: Sender,
    cost: usize,
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
            _vital: vital,
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
        let Act { room, sender, client, deed, cost } = act;
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
            self.pending.push_back(Pending { entry, bytes: record.len(), sender, cost });
            return Some(record);
        }
        if let Deed::Apply(action) = &deed {
            self.state.pass(room, action, at, &sender, &mut self.deliveries);
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
                // The journal has logged why.
                Outcome::Failed { records, .. } => {
                    for Pending { sender, cost, .. } in self.pending.drain(..records) {
                        self.deliveries.push(State::refuse_not_durable(&sender));
                        self.taken.push((sender.session, cost));
                    }
                }
            }
            self.save_if_due();
            if self.deliveries.len() >= MAX_BATCH {
                self.deliver();
            }
        }
    }

    fn apply(&mut self, position: u64, Pending { entry, bytes, sender, cost }: Pending) {
        self.state.apply(position, &entry, Some(&sender), &mut self.deliveries);
        self.taken.push((sender.session, cost));
        self.unsaved.entries += 1;
        self.unsaved.bytes += bytes;
    }

    fn save_if_due(&mut self) {
        let Unsaved { entries, bytes } = self.unsaved;
        if entries < SNAPSHOT_ENTRIES && bytes < SNAPSHOT_BYTES {
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
                    let event = Arc::new(EncodedEvent::new(event));
                    self.parcels_of(session).push(Parcel::Direct(session, event));
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
        if self.undrained_workers > 0 || !is_answered || self.are_sessions_closed {
            return;
        }
        self.are_sessions_closed = true;
        for inbox in &self.inboxes {
            inbox.put([Parcel::CloseAll(CloseCode::GOING_AWAY)]);
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
mod tests {
    use super::*;
    use crate::{
        journal::{Journal, JournalError, MemoryJournal, Take},
        protocol::{ClientKey, Dialect, Message, WireForm},
        room::{SessionId, kind},
        state::{DedupLimits, Facts, RoomPlan},
    };
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    const COUNTER: RoomId = RoomId(0);
    const ECHO: RoomId = RoomId(1);
    const LIMITS: DedupLimits = DedupLimits { ttl_micros: 1_000_000, max_clients: 100 };

    /// What a test sees of the journal, and does to it.
    #[derive(Debug, Default)]
    struct Watch {
        batches: AtomicUsize,
        records: AtomicUsize,
        snapshots: AtomicUsize,
        fails: AtomicBool,
    }

    #[derive(Debug)]
    struct Watched(MemoryJournal, Arc<Watch>);

    impl Journal for Watched {
        fn epoch(&self) -> &str {
            self.0.epoch()
        }

        fn position(&self) -> u64 {
            self.0.position()
        }

        fn append(&mut self, records: &[Bytes]) -> Result<u64, JournalError> {
            if self.1.fails.load(Ordering::Relaxed) {
                return Err(JournalError::Io {
                    path: "data".into(),
                    doing: "write",
                    error: Arc::new(std::io::Error::other("the disk is full")),
                });
            }
            self.1.batches.fetch_add(1, Ordering::Relaxed);
            self.1.records.fetch_add(records.len(), Ordering::Relaxed);
            self.0.append(records)
        }

        fn sync(&mut self) -> Result<(), JournalError> {
            self.0.sync()
        }

        fn read(&self, after: u64, take: &mut Take<'_>) -> Result<(), JournalError> {
            self.0.read(after, take)
        }

        fn snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
            self.0.snapshot()
        }

        fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), JournalError> {
            self.1.snapshots.fetch_add(1, Ordering::Relaxed);
            self.0.save_snapshot(snapshot)
        }
    }

    struct Setting {
        server: StateServer,
        watch: Arc<Watch>,
        inbox: Arc<Inbox>,
    }

    /// A server with a counter and an echo, and what surrounds it. The journal has two entries: its
    /// limits and the counter.
    fn setting() -> Setting {
        setting_after(Unsaved::default())
    }

    /// The same, and so much was read when it started.
    fn setting_after(unsaved: Unsaved) -> Setting {
        let plan = |(path, name): (&str, &str)| RoomPlan {
            path: path.into(),
            kind: kind(name, &Default::default()).expect("known"),
        };
        let plans = [("/", "counter"), ("/echo", "echo")].map(plan);
        let facts = Facts { epoch: "e".into(), heartbeat_ms: 1, max_message_bytes: 1 };
        let mut state = State::new(&plans, facts, Duration::ZERO);
        let watch: Arc<Watch> = Arc::default();
        let mut journal = Watched(MemoryJournal::new("e".into()), watch.clone());
        recovery::recover(&mut state, &mut journal, LIMITS).expect("an empty journal");
        watch.batches.store(0, Ordering::Relaxed);
        watch.records.store(0, Ordering::Relaxed);
        let inbox = Arc::new(Inbox::new(100));
        let (gone, _) = tokio::sync::mpsc::unbounded_channel();
        let vital = Vital::new("state server", &gone);
        let (journal, inboxes) = (Writer::inline(Box::new(journal)), vec![inbox.clone()]);
        let server =
            StateServer::new(Recovered { state, unsaved, journal }, inboxes, Duration::ZERO, vital);
        Setting { server, watch, inbox }
    }

    fn session(id: u64) -> SessionAddress {
        SessionAddress { id: SessionId(id), worker: 0, seat: id as u32 }
    }

    fn act(room: RoomId, action: &'static str) -> Act {
        let sender = Sender { session: session(1), id: None, fault: None };
        let deed = Deed::Apply(Message::Text(action.into()));
        Act { room, sender, client: None, deed, cost: 10 }
    }

    fn client() -> ClientKey {
        ClientKey::new("/", "sixteen_letters-").expect("an identity")
    }

    fn numbered(by: u64, id: u64) -> Act {
        let sender = Sender { session: session(by), id: Some(id), fault: None };
        Act { sender, client: Some(client()), ..act(COUNTER, "{\"by\":1}") }
    }

    impl Setting {
        fn join(&mut self, id: u64) {
            let visitor =
                Visitor { session: session(id), dialect: Dialect::V1, client: Some(client()) };
            self.server.state.join(COUNTER, visitor, Duration::ZERO, &mut self.server.deliveries);
        }

        /// What the turn told the worker, one line a parcel.
        fn told(&mut self, batch: impl IntoIterator<Item = Act>) -> Vec<String> {
            self.server.batch.extend(batch);
            self.server.commit();
            self.server.deliver();
            let mut parcels = VecDeque::new();
            self.inbox.take(Waker::noop(), &mut parcels);
            let show_event = |event: &EncodedEvent| {
                String::from_utf8_lossy(&event.bytes(WireForm::V1)[2..]).into_owned()
            };
            let show = |parcel: &Parcel| match parcel {
                Parcel::Broadcast(_, _, event) => format!("all {}", show_event(event)),
                Parcel::Direct(to, event) => format!("to {} {}", to.id.0, show_event(event)),
                Parcel::Taken(_, cost) => format!("taken {cost}"),
                Parcel::Close(session, code) => format!("close {} {code}", session.id.0),
                other => format!("{other:?}"),
            };
            parcels.iter().map(show).collect()
        }
    }

    #[test]
    fn a_batch_is_one_append_and_credit_comes_back_behind_the_answers() {
        let mut setting = setting();
        let batch = [act(COUNTER, "{\"by\":1}"), act(ECHO, "hi"), act(COUNTER, "{\"by\":1}")];
        let expected = [
            "to 1 hi",
            "all {\"type\":\"state\",\"seq\":3,\"value\":1}",
            "all {\"type\":\"state\",\"seq\":4,\"value\":2}",
            "taken 10",
            "taken 10",
            "taken 10",
        ];
        assert_eq!(setting.told(batch), expected);
        assert_eq!(setting.watch.batches.load(Ordering::Relaxed), 1, "one append for the batch");
        assert_eq!(setting.watch.records.load(Ordering::Relaxed), 2, "an echo is not kept");
    }

    #[test]
    fn what_the_journal_cannot_keep_has_not_happened() {
        let mut setting = setting();
        setting.watch.fails.store(true, Ordering::Relaxed);
        let lines = setting.told([act(COUNTER, "{\"by\":1}"), act(ECHO, "hi")]);
        assert_eq!(lines[0], "to 1 hi", "rooms that keep nothing go on");
        assert!(lines[1].contains("not_durable"), "{lines:?}");
        assert!(lines[1].starts_with("to 1 "), "the sender alone is told: {lines:?}");
        assert!(!lines[1].contains("disk is full"), "why, is the operator's business: {lines:?}");
        assert_eq!(lines[2..], ["taken 10", "taken 10"]);

        setting.watch.fails.store(false, Ordering::Relaxed);
        let first = "all {\"type\":\"state\",\"seq\":3,\"value\":1}";
        let lines = setting.told([act(COUNTER, "{\"by\":1}")]);
        assert_eq!(lines[0], first, "the refused action left no trace");
    }

    #[test]
    fn nothing_overtakes_an_action_that_was_not_kept() {
        let mut setting = setting();
        setting.join(1);
        setting.told([]);
        setting.watch.fails.store(true, Ordering::Relaxed);
        let lines = setting.told([numbered(1, 1)]);
        assert!(lines[0].contains("\"code\":\"not_durable\""), "{lines:?}");
        assert!(lines[0].contains("\"id\":1,\"retry\":true"), "{lines:?}");

        setting.watch.fails.store(false, Ordering::Relaxed);
        let lines = setting.told([numbered(1, 2)]);
        assert!(lines[0].contains("\"code\":\"id_gap\""), "its first was not kept: {lines:?}");
        let lines = setting.told([numbered(1, 1), numbered(1, 3), numbered(1, 2)]);
        let is_ack = |line: &&String| line.contains("\"ack\"");
        let acks: Vec<_> = lines.iter().filter(is_ack).collect();
        assert_eq!(acks.len(), 2, "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("\"code\":\"id_gap\"")), "{lines:?}");
    }

    #[test]
    fn after_a_newer_connection_of_the_same_client_nothing_is_taken_from_the_older() {
        let mut setting = setting();
        setting.join(1);
        setting.told([]);
        setting.join(2);
        let lines = setting.told([numbered(1, 1)]);
        assert_eq!(lines[0], "close 1 4409", "{lines:?}");
        assert_eq!(lines.last().map(String::as_str), Some("taken 10"), "credit comes back");
        assert_eq!(setting.watch.records.load(Ordering::Relaxed), 0, "its action is dropped");
        let mut unnumbered = numbered(1, 1);
        unnumbered.sender.id = None;
        assert_eq!(setting.told([unnumbered]), ["taken 10"], "one without a number as well");
        let lines = setting.told([numbered(2, 1)]);
        let ack = "to 2 {\"type\":\"ack\",\"id\":1,\"seq\":3}";
        assert_eq!(lines[0], ack, "the newer one acts");
    }

    #[test]
    fn a_snapshot_is_saved_when_much_has_happened() {
        let mut setting = setting();
        for _ in 0..SNAPSHOT_ENTRIES / 1000 {
            assert_eq!(setting.watch.snapshots.load(Ordering::Relaxed), 0);
            setting.told((0..1000).map(|_| act(COUNTER, "{\"by\":1}")));
        }
        assert_eq!(setting.watch.snapshots.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_was_read_at_the_start_counts_towards_a_snapshot() {
        // Else a server that is restarted often would never save one.
        for unsaved in [
            Unsaved { entries: SNAPSHOT_ENTRIES - 1, bytes: 0 },
            Unsaved { entries: 0, bytes: SNAPSHOT_BYTES - 1 },
        ] {
            let mut setting = setting_after(unsaved);
            setting.told([act(COUNTER, "{\"by\":1}")]);
            let snapshots = setting.watch.snapshots.load(Ordering::Relaxed);
            assert_eq!(snapshots, 1, "after {unsaved:?} and one more");
        }
    }

    #[test]
    fn entry_times_never_fall_though_the_clock_does() {
        let mut setting = setting();
        let mut late = setting.server.state;
        let at = UnixMicros(i64::MAX);
        let entry = Entry::Limits { at, limits: LIMITS };
        late.replay(3, &entry.to_bytes()).expect("a good entry");
        let (gone, _) = tokio::sync::mpsc::unbounded_channel();
        let vital = Vital::new("state server", &gone);
        let journal = setting.server.journal.take().expect("not finished");
        let recovered = Recovered { state: late, unsaved: Unsaved::default(), journal };
        setting.server = StateServer::new(recovered, Vec::new(), Duration::ZERO, vital);
        assert_eq!(setting.server.entry_time(), at, "the journal was written by a faster clock");
        assert_eq!(setting.server.entry_time(), at);
    }
}
