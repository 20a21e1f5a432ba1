//! `clock`: tells the time, or counts, at regular or random intervals. Plain text; keeps nothing.

use super::{
    BadArgument, Effect, Filling, Moment, Room, RoomKind, SessionId, Speech, Template, UnixMicros,
    argument, template::Place,
};
use crate::protocol::{ActionError, ErrorCode, Event, Input, Message};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

/// Two ticks are at least so far apart, even where a random length is less: timers keep no shorter
/// time, and a clock without a pause would keep the server busy. One millisecond.
const SHORTEST_MICROS: u64 = 1_000;

/// The longest interval: a day. More is a calendar's business.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The kind, with its arguments.
#[derive(Debug, Clone)]
pub struct Clock {
    interval: Interval,
    template: Template,
    is_shared: bool,
    zone: TimeZone,
}

/// How far apart ticks are: anything from the first to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Interval {
    least_micros: u64,
    most_micros: u64,
}

impl Clock {
    /// `interval`: a length of time, or the least and the most of a random one; one second by
    /// default. `template`: what is said, the time by default. `shared`: whether everyone hears one
    /// clock; by default each session has its own, which starts when it comes.
    pub(super) fn from_arguments(arguments: &Map<String, Value>) -> Result<Self, BadArgument> {
        let mut interval = Interval { least_micros: 1_000_000, most_micros: 1_000_000 };
        let mut template = "{time}";
        let mut is_shared = false;
        for (key, value) in arguments {
            match key.as_str() {
                "interval" => interval = Interval::from_argument(key, value)?,
                "template" => template = argument::text(key, value)?,
                "shared" => is_shared = argument::flag(key, value)?,
                _ => {
                    let message = "a clock knows interval, template and shared";
                    return Err(BadArgument::new(key, message));
                }
            }
        }
        let places = [Place::Time, Place::LocalTime, Place::Count];
        let template = argument::template(template, &places)?;
        Ok(Self { interval, template, is_shared, zone: TimeZone::system() })
    }

    fn message(&self, count: u64, at: UnixMicros) -> Message {
        let filling = Filling { message: "", count, at, zone: &self.zone };
        Message::Text(self.template.fill(&filling).into())
    }
}

impl Interval {
    fn from_argument(key: &str, value: &Value) -> Result<Self, BadArgument> {
        let (least, most) = match value {
            Value::Array(both) if both.len() == 2 => (&both[0], &both[1]),
            Value::Array(_) => {
                return Err(BadArgument::new(key, "two lengths of time are needed, or one"));
            }
            one => (one, one),
        };
        let (least, most) = (argument::duration(key, least)?, argument::duration(key, most)?);
        if least > most {
            return Err(BadArgument::new(key, "the first length of time is the longer one"));
        }
        if most > LONGEST || most < Duration::from_micros(SHORTEST_MICROS) {
            return Err(BadArgument::new(key, "it may be \"1ms\" to \"1day\" at most"));
        }
        // Neither is more than a day.
        let (least_micros, most_micros) = (least.as_micros() as u64, most.as_micros() as u64);
        Ok(Self { least_micros, most_micros })
    }

    /// When what was due at `due`, and is done at `now`, is due again. It is counted from `due`, so
    /// that a fixed interval does not drift; but if that is over too, from `now`, so that late ticks
    /// do not pile up.
    fn next(self, due: UnixMicros, now: UnixMicros, seed: u64) -> UnixMicros {
        let spread = self.most_micros - self.least_micros;
        let random = splitmix64(due.0 as u64 ^ splitmix64(seed)) % (spread + 1);
        let micros = (self.least_micros + random).max(SHORTEST_MICROS) as i64;
        let next = UnixMicros(due.0.saturating_add(micros));
        if next <= now { UnixMicros(now.0.saturating_add(micros)) } else { next }
    }
}

/// Mixes all bits (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
/// A room has no randomness of its own. The time of a tick, which no two ticks of a session share,
/// and the session's number make lengths that look random; nothing secret hangs on them, and a
/// replay of the same calls gives the same ticks.
fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl RoomKind for Clock {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn speech(&self) -> Speech {
        Speech::Plain
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn decode(&self, _input: Input) -> Result<Message, ActionError> {
        Err(deaf())
    }

    fn open(&self) -> Box<dyn Room> {
        if self.is_shared {
            return Box::new(SharedClock {
                kind: self.clone(),
                sessions: HashSet::new(),
                tick: None,
                count: 0,
            });
        }
        let (sessions, due) = (HashMap::new(), BTreeSet::new());
        Box::new(OwnClocks { kind: self.clone(), sessions, due })
    }
}

/// Why nothing that a client sends is an action.
fn deaf() -> ActionError {
    ActionError::new(ErrorCode::UnknownAction, "a clock takes no messages: it only tells")
}

/// A clock for each session.
struct OwnClocks {
    kind: Clock,
    sessions: HashMap<SessionId, OwnClock>,
    /// When each session's next tick is due: the earliest comes first, so that one timer serves
    /// all, and a tick costs the logarithm of their number.
    due: BTreeSet<(UnixMicros, SessionId)>,
}

struct OwnClock {
    due: UnixMicros,
    /// The ticks so far.
    count: u64,
}

impl OwnClocks {
    /// A tick of the session's clock, which was due at `due`.
    fn tick(&mut self, session: SessionId, due: UnixMicros, now: UnixMicros) -> Effect {
        let next = self.kind.interval.next(due, now, session.0);
        let clock = self.sessions.entry(session).or_insert(OwnClock { due: next, count: 0 });
        clock.due = next;
        clock.count += 1;
        self.due.insert((next, session));
        Effect::Show(session, Event::Message(self.kind.message(clock.count, now)))
    }
}

impl Room for OwnClocks {
    fn joined(&mut self, session: SessionId, at: UnixMicros) -> Vec<Effect> {
        if self.sessions.contains_key(&session) {
            return Vec::new();
        }
        vec![self.tick(session, at, at)]
    }

    fn left(&mut self, session: SessionId, _at: UnixMicros) -> Vec<Effect> {
        if let Some(clock) = self.sessions.remove(&session) {
            self.due.remove(&(clock.due, session));
        }
        Vec::new()
    }

    fn apply(
        &mut self,
        _action: &Message,
        _from: Option<SessionId>,
        _when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        Err(deaf())
    }

    fn wake_at(&self) -> Option<UnixMicros> {
        self.due.first().map(|(due, _)| *due)
    }

    fn woken(&mut self, when: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        // Each next one is due after `when`, so this ends.
        while let Some((due, session)) = self.due.first().copied()
            && due <= when.at
        {
            self.due.pop_first();
            effects.push(self.tick(session, due, when.at));
        }
        effects
    }
}

/// One clock for all. It stands still while nobody is there.
struct SharedClock {
    kind: Clock,
    sessions: HashSet<SessionId>,
    /// What it said last, and when it speaks again; `None` while nobody is there.
    tick: Option<(Message, UnixMicros)>,
    /// The ticks so far.
    count: u64,
}

impl SharedClock {
    /// The tick that was due at `due`.
    fn tick(&mut self, due: UnixMicros, now: UnixMicros) -> Event {
        self.count += 1;
        let message = self.kind.message(self.count, now);
        self.tick = Some((message.clone(), self.kind.interval.next(due, now, 0)));
        Event::Message(message)
    }
}

impl Room for SharedClock {
    fn joined(&mut self, session: SessionId, at: UnixMicros) -> Vec<Effect> {
        if !self.sessions.insert(session) {
            return Vec::new();
        }
        let event = match &self.tick {
            Some((message, _)) => Event::Message(message.clone()),
            None => self.tick(at, at),
        };
        vec![Effect::Show(session, event)]
    }

    fn left(&mut self, session: SessionId, _at: UnixMicros) -> Vec<Effect> {
        self.sessions.remove(&session);
        if self.sessions.is_empty() {
            self.tick = None;
        }
        Vec::new()
    }

    fn apply(
        &mut self,
        _action: &Message,
        _from: Option<SessionId>,
        _when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        Err(deaf())
    }

    fn wake_at(&self) -> Option<UnixMicros> {
        self.tick.as_ref().map(|(_, due)| *due)
    }

    fn woken(&mut self, when: Moment) -> Vec<Effect> {
        match self.wake_at() {
            Some(due) if due <= when.at => vec![Effect::Tick(self.tick(due, when.at))],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::kind;
    use proptest::prelude::*;
    use serde_json::json;

    const SECOND: i64 = 1_000_000;
    const ANN: SessionId = SessionId(1);
    const BOB: SessionId = SessionId(2);

    fn open(arguments: Value) -> Box<dyn Room> {
        let Value::Object(arguments) = arguments else { panic!("a table") };
        kind("clock", &arguments).expect("good arguments").open()
    }

    fn ticker() -> Box<dyn Room> {
        open(json!({ "interval": "1s", "template": "Hello {count}!" }))
    }

    fn event(text: &str) -> Event {
        Event::Message(Message::Text(text.to_owned().into()))
    }

    fn show(session: SessionId, text: &str) -> Effect {
        Effect::Show(session, event(text))
    }

    fn wake(room: &mut dyn Room, at: i64) -> Vec<Effect> {
        room.woken(Moment { seq: 0, at: UnixMicros(at) })
    }

    fn wake_at(room: &dyn Room) -> Option<i64> {
        room.wake_at().map(|at| at.0)
    }

    #[test]
    fn the_time_is_told_at_once_and_then_in_utc_to_the_microsecond() {
        let mut room = open(json!({}));
        let effects = room.joined(ANN, UnixMicros(1_683_499_476_123_456));
        assert_eq!(effects, [show(ANN, "2023-05-07T22:44:36.123456Z")]);
        let effects = wake(&mut *room, 1_683_499_477_123_456);
        assert_eq!(effects, [show(ANN, "2023-05-07T22:44:37.123456Z")]);
    }

    #[test]
    fn each_session_counts_from_one_from_the_moment_it_came() {
        let mut room = ticker();
        assert_eq!(wake_at(&*room), None, "nobody is there");
        assert_eq!(room.joined(ANN, UnixMicros(0)), [show(ANN, "Hello 1!")]);
        assert_eq!(wake(&mut *room, SECOND), [show(ANN, "Hello 2!")]);
        assert_eq!(room.joined(BOB, UnixMicros(SECOND + 5)), [show(BOB, "Hello 1!")]);
        assert_eq!(room.joined(BOB, UnixMicros(SECOND + 6)), [], "it is there already");
        assert_eq!(wake(&mut *room, 2 * SECOND - 1), [], "too early");
        assert_eq!(wake(&mut *room, 2 * SECOND), [show(ANN, "Hello 3!")]);
        assert_eq!(wake_at(&*room), Some(2 * SECOND + 5));
        assert_eq!(wake(&mut *room, 2 * SECOND + 5), [show(BOB, "Hello 2!")]);
        let both = [show(ANN, "Hello 4!"), show(BOB, "Hello 3!")];
        assert_eq!(wake(&mut *room, 3 * SECOND + 5), both, "all that are due");
        room.left(ANN, UnixMicros(3 * SECOND + 6));
        assert_eq!(wake(&mut *room, 4 * SECOND + 5), [show(BOB, "Hello 4!")]);
        room.left(BOB, UnixMicros(4 * SECOND + 6));
        assert_eq!(wake_at(&*room), None, "nothing is left");
    }

    #[test]
    fn a_fixed_interval_does_not_drift_and_late_ticks_do_not_pile_up() {
        for shared in [false, true] {
            let mut room = open(json!({ "interval": "1s", "shared": shared }));
            room.joined(ANN, UnixMicros(0));
            wake(&mut *room, SECOND + 300_000);
            assert_eq!(wake_at(&*room), Some(2 * SECOND), "a bit late: shared {shared}");
            let effects = wake(&mut *room, 5 * SECOND + 7);
            assert_eq!(effects.len(), 1, "three seconds late is one tick: shared {shared}");
            assert_eq!(wake_at(&*room), Some(6 * SECOND + 7), "from now: shared {shared}");
        }
    }

    #[test]
    fn a_shared_clock_ticks_once_for_all_and_newcomers_do_not_disturb_it() {
        let mut room = open(json!({ "template": "{count}", "shared": true }));
        assert_eq!(wake_at(&*room), None, "nobody is there");
        assert_eq!(room.joined(ANN, UnixMicros(0)), [show(ANN, "1")]);
        assert_eq!(wake(&mut *room, SECOND), [Effect::Tick(event("2"))]);
        assert_eq!(room.joined(BOB, UnixMicros(SECOND + 5)), [show(BOB, "2")], "the current one");
        assert_eq!(wake_at(&*room), Some(2 * SECOND));
        assert_eq!(wake(&mut *room, 2 * SECOND - 1), [], "too early");
        assert_eq!(wake(&mut *room, 2 * SECOND), [Effect::Tick(event("3"))]);
        room.left(ANN, UnixMicros(2 * SECOND + 1));
        assert_eq!(wake_at(&*room), Some(3 * SECOND), "one is left");
        room.left(BOB, UnixMicros(2 * SECOND + 2));
        assert_eq!((wake_at(&*room), wake(&mut *room, 9 * SECOND)), (None, vec![]));
        assert_eq!(room.joined(BOB, UnixMicros(10 * SECOND)), [show(BOB, "4")], "it goes on");
        assert_eq!(wake_at(&*room), Some(11 * SECOND));
    }

    #[test]
    fn what_clients_send_is_refused() {
        let kind = kind("clock", &Map::new()).expect("all arguments have defaults");
        let error = kind.decode(Input::Plain(Message::Text("hi".into()))).expect_err("deaf");
        assert_eq!(error.code, ErrorCode::UnknownAction);
        assert!(error.message.contains("takes no messages"), "{error}");
    }

    proptest! {
        #[test]
        fn random_lengths_keep_their_bounds_and_the_same_calls_give_the_same_ticks(
            sessions in prop::collection::vec(0..3_000_000_i64, 1..20),
            lateness in prop::collection::vec(0..5_000_i64, 100),
        ) {
            let run = || {
                let mut room = open(json!({ "interval": ["0s", "3s"], "template": "{count}" }));
                let mut last = HashMap::new();
                let mut told = Vec::new();
                for (number, at) in sessions.iter().enumerate() {
                    let session = SessionId(number as u64);
                    told.push((*at, room.joined(session, UnixMicros(*at))));
                    last.insert(session, *at);
                }
                let mut now = 3_000_000;
                for late in &lateness {
                    now = now.max(wake_at(&*room).expect("somebody is there")) + late;
                    told.push((now, wake(&mut *room, now)));
                    let next = wake_at(&*room).expect("somebody is there");
                    assert!(next > now, "nothing that is due is left");
                    assert!(next <= now + 3_000_000, "no length is over three seconds");
                }
                told
            };
            prop_assert_eq!(run(), run());
        }

        #[test]
        fn one_waking_ticks_each_session_once_at_most(
            arrivals in prop::collection::vec(0..1_000_000_i64, 1..50),
            wakings in prop::collection::vec(0..10_000_000_i64, 1..20),
        ) {
            let mut room = open(json!({ "interval": ["0s", "1ms"] }));
            for (number, at) in arrivals.iter().enumerate() {
                room.joined(SessionId(number as u64), UnixMicros(*at));
            }
            let mut now = 2_000_000;
            for pause in wakings {
                now += pause;
                let effects = wake(&mut *room, now);
                let mut seen = HashSet::new();
                for effect in &effects {
                    let Effect::Show(session, _) = effect else { panic!("{effect:?}") };
                    prop_assert!(seen.insert(*session), "{session:?} twice at {now}");
                }
            }
        }
    }

    #[test]
    fn random_lengths_differ_between_sessions_and_over_time() {
        let interval = Interval { least_micros: 0, most_micros: 3_000_000 };
        let mut lengths = HashSet::new();
        for session in 0..100 {
            for at in 0..100 {
                let due = UnixMicros(at * SECOND);
                lengths.insert(interval.next(due, due, session).0 - due.0);
            }
        }
        assert!(lengths.len() > 9_900, "of 10,000 only {} are different", lengths.len());
        let mean = lengths.iter().sum::<i64>() / lengths.len() as i64;
        assert!((1_450_000..1_550_000).contains(&mean), "the mean is {mean}");
    }

    #[test]
    fn bad_arguments_are_named() {
        for (arguments, key, part) in [
            (json!({ "intervall": "1s" }), "intervall", "interval, template and shared"),
            (json!({ "interval": 1 }), "interval", "no length of time"),
            (json!({ "interval": "1" }), "interval", "no length of time"),
            (json!({ "interval": "0s" }), "interval", "1ms"),
            (json!({ "interval": ["0s", "0s"] }), "interval", "1ms"),
            (json!({ "interval": "2days" }), "interval", "1day"),
            (json!({ "interval": ["3s", "1s"] }), "interval", "longer"),
            (json!({ "interval": ["3s"] }), "interval", "two lengths"),
            (json!({ "template": "{message}" }), "template", "{time}, {local_time} and {count}"),
            (json!({ "shared": "yes" }), "shared", "true or false"),
        ] {
            let error = Clock::from_arguments(arguments.as_object().expect("a table"));
            let error = error.expect_err("must be refused");
            assert_eq!(error.key, key, "{arguments}");
            assert!(error.message.contains(part), "{arguments}: {error:?}");
        }
    }
}
