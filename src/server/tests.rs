use super::*;
use crate::{
    connections::{Connections, Rates},
    journal::{Journal, JournalError, MemoryJournal, Take},
    protocol::{ActionError, ClientKey, Dialect, Input, Message, WireForm},
    room::{Effect, Kinds, Moment, PathPattern, Room, RoomKind, SessionId, Speech, kind},
    state::{DedupLimits, Entry, Facts, RoomPlan},
};
use bytes::Bytes;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Wake,
    thread::Thread,
};

/// Paths and their plans.
const COUNTER: (usize, &str) = (0, "/");
const ECHO: (usize, &str) = (1, "/echo");
const TIMES: Times =
    Times { presence_interval: Duration::ZERO, room_idle_timeout: Duration::from_secs(1) };

fn place((plan, path): (usize, &str)) -> Place {
    Place { plan, path: path.into() }
}
const LIMITS: DedupLimits = DedupLimits { ttl_micros: 1_000_000, max_clients: 100 };

/// What a test sees of the journal, and does to it.
#[derive(Debug, Default)]
struct Watch {
    batches: AtomicUsize,
    records: AtomicUsize,
    snapshots: AtomicUsize,
    fails: AtomicBool,
    /// Held by a test, it makes the journal wait: a slow disk.
    disk: Mutex<()>,
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
        let _disk = self.1.disk.lock().expect("no panic");
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
    setting_with(Unsaved::default(), false)
}

/// The same, and so much was read when it started.
fn setting_after(unsaved: Unsaved) -> Setting {
    setting_with(unsaved, false)
}

fn setting_with(unsaved: Unsaved, is_slow: bool) -> Setting {
    let plan = |(path, name): (&str, &str)| RoomPlan {
        path: PathPattern::parse(path).expect("a path"),
        max_rooms: 1,
        kind: kind(name, &Default::default()).expect("known"),
    };
    let plans = [("/", "counter"), ("/echo", "echo")].map(plan);
    let facts = Facts { epoch: "e".into(), heartbeat_ms: 1, max_message_bytes: 1 };
    let mut state = State::new(&plans, &Kinds::default(), facts, Duration::ZERO);
    let watch: Arc<Watch> = Arc::default();
    let mut journal = Watched(MemoryJournal::new("e".into()), watch.clone());
    recovery::recover(&mut state, &mut journal, LIMITS).expect("an empty journal");
    watch.batches.store(0, Ordering::Relaxed);
    watch.records.store(0, Ordering::Relaxed);
    let inbox = Arc::new(Inbox::new(100));
    let (gone, _) = tokio::sync::mpsc::unbounded_channel();
    let vital = Vital::new("state server", &gone);
    let journal: Box<dyn Journal> = Box::new(journal);
    let journal = match is_slow {
        true => Writer::threaded(journal, None).expect("a thread"),
        false => Writer::inline(journal),
    };
    let inboxes = vec![inbox.clone()];
    let server = StateServer::new(Recovered { state, unsaved, journal }, inboxes, TIMES, vital);
    Setting { server, watch, inbox }
}

fn session(id: u64) -> SessionAddress {
    SessionAddress { id: SessionId(id), worker: 0, seat: id as u32 }
}

/// An action of one who is in no room.
fn act(room: (usize, &str), action: &'static str) -> Act {
    let sender = Some(Sender { session: session(1), id: None, verdict: None });
    let deed = Deed::Apply(Message::Text(action.into()));
    Act { place: Some(place(room)), sender, client: None, deed, cost: 10, permit: None }
}

fn client() -> ClientKey {
    ClientKey::new("/", "sixteen_letters-").expect("an identity")
}

fn numbered(by: u64, id: u64) -> Act {
    let sender = Some(Sender { session: session(by), id: Some(id), verdict: None });
    Act { place: None, sender, client: Some(client()), ..act(COUNTER, "{\"by\":1}") }
}

impl Setting {
    fn join(&mut self, id: u64) {
        let (session, dialect, client) = (session(id), Dialect::V1, Some(client()));
        let visitor = Visitor { session, dialect, client, since: None };
        let times = (Duration::ZERO, UnixMicros(0));
        self.server.state.join(&place(COUNTER), visitor, times, &mut self.server.deliveries);
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
            Parcel::Broadcast { event, .. } => format!("all {}", show_event(event)),
            Parcel::Direct(to, _, event) | Parcel::Ack(to, event) => {
                format!("to {} {}", to.id.0, show_event(event))
            }
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
    unnumbered.sender.as_mut().expect("somebody").id = None;
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

/// Wakes the test.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Setting {
    /// Takes outcomes until the journal has answered for everything.
    fn wait_for_journal(&mut self) {
        self.server.waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        self.server.commit();
        while !self.server.pending.is_empty() {
            std::thread::park();
            self.server.commit();
        }
    }
}

#[test]
fn a_connection_that_acts_and_goes_keeps_its_place_until_it_is_answered() {
    let mut setting = setting_with(Unsaved::default(), true);
    let connections = Connections::new(1, 0, Rates::default());
    let address = std::net::IpAddr::from([127, 0, 0, 1]);
    let permit = Arc::new(connections.admit(address).expect("a place"));
    let watch = setting.watch.clone();
    let slow = watch.disk.lock().expect("no panic");
    let action = Act { permit: Some(permit), ..act(COUNTER, "{\"by\":1}") };
    assert_eq!(setting.told([action]), [""; 0], "nothing before it is kept");
    assert!(connections.admit(address).is_err(), "what it left behind counts as a connection");
    drop(slow);
    setting.wait_for_journal();
    let first = "all {\"type\":\"state\",\"seq\":3,\"value\":1}";
    assert_eq!(setting.told([]), [first, "taken 10"]);
    assert!(connections.admit(address).is_ok(), "its place is free");
}

#[test]
fn sessions_are_closed_behind_what_they_sent_or_when_it_takes_too_long() {
    for is_too_long in [false, true] {
        let mut setting = setting_with(Unsaved::default(), true);
        let watch = setting.watch.clone();
        let slow = watch.disk.lock().expect("no panic");
        setting.told([act(COUNTER, "{\"by\":1}")]);
        setting.server.undrained_workers = 0;
        setting.server.close_sessions_if_done();
        assert_eq!(setting.told([]), [""; 0], "the journal has not answered");
        if is_too_long {
            setting.server.close_sessions();
            assert_eq!(setting.told([]), ["CloseAll(CloseCode(1001))"]);
        }
        drop(slow);
        setting.wait_for_journal();
        setting.server.deliver();
        setting.server.close_sessions_if_done();
        let told = setting.told([]);
        assert!(told[0].starts_with("all "), "{told:?}");
        let is_closed = told.last().is_some_and(|last| last.starts_with("CloseAll"));
        assert_eq!(is_closed, !is_too_long, "once: {told:?}");
    }
}

#[test]
fn a_journal_that_is_gone_takes_the_server_along() {
    let mut setting = setting_with(Unsaved::default(), true);
    let watch = setting.watch.clone();
    let breaks = std::thread::spawn(move || {
        let _disk = watch.disk.lock();
        panic!("the journal's thread will panic as well");
    });
    assert!(breaks.join().is_err());
    setting.told([act(COUNTER, "{\"by\":1}")]);
    setting.wait_for_journal();
    assert!(setting.server.vital.is_none(), "whoever watches it ends the process");
}

/// A durable kind whose rooms want to be woken at once, and count how often they were.
#[derive(Debug)]
struct Sleepless;

struct Bed(u64);

impl RoomKind for Sleepless {
    fn name(&self) -> &'static str {
        "sleepless"
    }

    fn speech(&self) -> Speech {
        Speech::Events
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn decode(&self, input: Input) -> Result<Message, ActionError> {
        input.into_action().map(|_| Message::Text("".into()))
    }

    fn open(&self) -> Box<dyn Room> {
        Box::new(Bed(0))
    }
}

impl Room for Bed {
    fn apply(
        &mut self,
        _: &Message,
        _: Option<SessionId>,
        _: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        Ok(Vec::new())
    }

    fn wake_at(&self) -> Option<UnixMicros> {
        Some(UnixMicros(0))
    }

    fn woken(&mut self, _: Moment) -> Vec<Effect> {
        self.0 += 1;
        vec![Effect::State(self.0.into())]
    }
}

/// A server with rooms of a pattern, of a kind.
fn setting_with_pattern(kind: Arc<dyn RoomKind>) -> Setting {
    let path = PathPattern::parse("/r/{name}").expect("a path");
    let plans = [RoomPlan { path, kind, max_rooms: 2 }];
    let mut setting = setting();
    let facts = Facts { epoch: "e".into(), heartbeat_ms: 1, max_message_bytes: 1 };
    setting.server.state = State::new(&plans, &Kinds::default(), facts, Duration::ZERO);
    setting
}

const ROOM: (usize, &str) = (0, "/r/a");

#[test]
fn a_room_whose_waking_could_not_be_kept_is_woken_again() {
    let mut setting = setting_with_pattern(Arc::new(Sleepless));
    setting.told([act(ROOM, "")]);
    let due = setting.server.state.next_wake().expect("it wants to be woken");
    setting.watch.fails.store(true, Ordering::Relaxed);
    setting.server.wake_rooms();
    assert!(setting.told([]).is_empty(), "the journal keeps nothing");
    let again = setting.server.state.next_wake().expect("it still wants to be woken");
    assert!(again > due, "but not without end, as long as the journal fails");
    setting.watch.fails.store(false, Ordering::Relaxed);
    let at = setting.server.entry_time().max(again);
    setting.server.due = setting.server.state.wake_due(at, &mut setting.server.deliveries);
    let told = setting.told([]);
    assert!(told.iter().any(|line| line.contains("\"value\":1")), "{told:?}");
}

#[test]
fn a_refused_action_opens_no_room_and_a_room_that_keeps_nothing_does_not_stay() {
    let mut setting = setting_with_pattern(kind("chat", &Default::default()).expect("known"));
    let chat = &*kind("chat", &Default::default()).expect("known");
    let action = chat.decode_message(r#"{"action":"message","text":"hi"}"#.into());
    let mut act = act(ROOM, "");
    act.deed = Deed::Apply(action.expect("a message"));
    setting.told([act]);
    assert_eq!(setting.watch.records.load(Ordering::Relaxed), 0, "nobody is logged in");
    let mut setting = setting_with_pattern(kind("relay", &Default::default()).expect("known"));
    for name in ["/r/a", "/r/b", "/r/c"] {
        setting.told([self::act((0, name), "hello")]);
    }
    assert!(setting.server.state.list().is_empty(), "nobody is in any of them");
}

#[test]
fn what_waits_for_its_room_is_in_the_order_in_which_it_came() {
    let mut setting = setting_with_pattern(kind("counter", &Default::default()).expect("known"));
    let first = act(ROOM, "{\"by\":1}");
    let second = act(ROOM, "{\"by\":2}");
    setting.told([first, second]);
    let view = setting.server.state.view(&place(ROOM)).expect("a room");
    assert_eq!((view.value, view.seq), (Some(3.into()), 5), "behind the room's own entry, 3");
}

#[test]
fn time_goes_on_though_the_wall_clock_was_ahead_once() {
    let mut setting = setting();
    let future = UnixMicros(wall_clock().0 + 1_000_000_000);
    setting.server.last_entry_time = future;
    let first = setting.server.entry_time();
    assert!(first >= future);
    while setting.server.entry_time() == first {}
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
    setting.server = StateServer::new(recovered, Vec::new(), TIMES, vital);
    assert_eq!(setting.server.entry_time(), at, "the journal was written by a faster clock");
    assert_eq!(setting.server.entry_time(), at);
}
