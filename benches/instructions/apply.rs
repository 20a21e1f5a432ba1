//! From a committed entry to what is to be told, in a room with a thousand sessions.

use super::{Case, Work};
use anyhow::{Context, Result, ensure};
use statesync::{
    protocol::{ClientKey, Dialect, Message},
    room::{self, PathPattern, SessionId, UnixMicros},
    state::{
        ActEntry, Author, DedupLimits, Deed, Delivery, Entry, Facts, Place, RoomNumber, RoomPlan,
        Sender, SessionAddress, State, Visitor,
    },
};
use std::{hint::black_box, time::Duration};

pub const CASES: &[Case] = &[
    Case {
        name: "apply plus, without author",
        unit: "an action",
        units: SESSIONS,
        prepare: || applying(false),
    },
    Case {
        name: "apply plus, exactly once",
        unit: "an action",
        units: SESSIONS,
        prepare: || applying(true),
    },
];

const SESSIONS: u64 = 1_000;
/// As in the default configuration.
const LIMITS: DedupLimits =
    DedupLimits { ttl_micros: 7 * 24 * 60 * 60 * 1_000_000, max_clients: 100_000 };

/// Each session acts once in a run.
struct Applying {
    state: State,
    /// What is left to do, the last first.
    entries: Vec<(ActEntry, Sender)>,
    out: Vec<Delivery>,
    told: usize,
    /// How many deliveries an action brings about: the state, and an acknowledgement if it has an id.
    told_each: usize,
}

fn applying(counts_once: bool) -> Result<Box<dyn Work>> {
    let mut state = new_state()?;
    let place = Place { plan: 0, path: "/".into() };
    let mut visitors = Vec::new();
    for number in 0..SESSIONS {
        let session = SessionAddress { id: SessionId(number), worker: 0, seat: number as u32 };
        let key = ClientKey::new("/", &format!("client-number-{number:08}"));
        let client = counts_once.then_some(key.context("an identity")?);
        let visitor = Visitor { session, dialect: Dialect::V1, client, since: None };
        state.join(&place, visitor, (Duration::ZERO, UnixMicros(0)), &mut Vec::new());
        visitors.push(visitor);
    }
    let ids = [1, 2].into_iter();
    let turns = ids.flat_map(|id| visitors.iter().map(move |visitor| (id, visitor)));
    let mut entries: Vec<_> = turns.map(|(id, visitor)| act(id, visitor)).collect();
    entries.reverse();
    let told_each = if counts_once { 2 } else { 1 };
    Ok(Box::new(Applying { state, entries, out: Vec::new(), told: 0, told_each }))
}

fn new_state() -> Result<State> {
    let kind = room::kind("counter", &Default::default()).ok().context("a known kind")?;
    let facts = Facts { epoch: String::new(), heartbeat_ms: 0, max_message_bytes: 0 };
    let path = PathPattern::parse("/").ok().context("a path")?;
    let plan = RoomPlan { path, kind, max_rooms: 1 };
    let mut state = State::new(&[plan], &room::Kinds::default(), facts, Duration::ZERO);
    let first = state.missing_entries(LIMITS, UnixMicros(0));
    for (position, entry) in (1..).zip(first.iter().map(Entry::to_bytes)) {
        state.replay(position, &entry)?;
    }
    Ok(state)
}

fn act(id: u64, visitor: &Visitor) -> (ActEntry, Sender) {
    let author = visitor.client.map(|client| Author { client, id });
    let deed = Deed::Apply(Message::Text(r#"{"by":1}"#.into()));
    let entry = ActEntry { at: UnixMicros(id as i64), room: RoomNumber(0), author, deed };
    let sender = Sender { session: visitor.session, id: author.map(|_| id), verdict: None };
    (entry, sender)
}

impl Work for Applying {
    fn run(&mut self) {
        for _ in 0..SESSIONS {
            let Some((entry, sender)) = self.entries.pop() else { return };
            let position = self.state.position() + 1;
            self.state.apply(position, &entry, Some(sender), &mut self.out);
            self.told += black_box(&self.out).len();
            self.out.clear();
        }
    }

    fn check(&mut self) -> Result<()> {
        let due = 2 * SESSIONS as usize * self.told_each;
        ensure!(self.told == due, "{} deliveries instead of {due}", self.told);
        Ok(())
    }
}
