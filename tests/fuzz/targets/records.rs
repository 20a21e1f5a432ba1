//! What a journal holds, as bytes: entries, snapshots, and the actions in entries.
//!
//! Input: one byte that says which, then one snapshot; or pieces, each behind one byte with its
//! length. A piece is an entry, or the number of a room and an action of its kind.

use bytes::Bytes;
use serde_json::Map;
use statesync::{
    protocol::{Dialect, Message},
    room::{Kinds, PathPattern, SessionId, UnixMicros, kind},
    state::{
        ActEntry, DedupLimits, Deed, Entry, Facts, Place, RoomNumber, RoomPlan, SessionAddress,
        State, Visitor,
    },
};
use std::time::Duration;

const KINDS: [&str; 6] = ["chat", "clock", "counter", "document", "echo", "relay"];
/// Of these, the durable ones.
const DURABLE: usize = 3;
const START: UnixMicros = UnixMicros(1_800_000_000_000_000);

/// Nothing that stands in a journal makes its reader panic: it is refused, or makes a state that can
/// be saved, read again and lived in.
pub fn target(bytes: &[u8]) {
    let [which, rest @ ..] = bytes else { return };
    let mut state = empty();
    let is_good = match which % 3 {
        0 => state.restore(7, rest).is_ok(),
        1 => {
            open(&mut state);
            pieces(rest).all(|piece| {
                check_entry(piece);
                state.replay(state.position() + 1, piece).is_ok()
            })
        }
        _ => {
            open(&mut state);
            pieces(rest).for_each(|piece| apply(&mut state, piece));
            true
        }
    };
    if is_good {
        check(state);
    }
}

fn empty() -> State {
    let plan = |name: &str| RoomPlan {
        path: PathPattern::parse(&format!("/{name}")).expect("a path"),
        kind: kind(name, &Map::new()).expect("a kind"),
        max_rooms: 1,
    };
    let facts = Facts { epoch: "e".into(), heartbeat_ms: 20_000, max_message_bytes: 65_536 };
    State::new(&KINDS.map(plan), &Kinds::default(), facts, Duration::from_millis(50))
}

fn open(state: &mut State) {
    let limits = DedupLimits { ttl_micros: 5_000_000, max_clients: 2 };
    let entries = state.missing_entries(limits, START);
    assert_eq!(entries.len(), 1 + DURABLE);
    for entry in entries {
        state.replay(state.position() + 1, &entry.to_bytes()).expect("an entry of our own");
    }
}

fn pieces(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let [length, more @ ..] = rest else { return None };
        let (piece, later) = more.split_at(usize::from(*length).min(more.len()));
        rest = later;
        Some(piece)
    })
}

/// What was read is written so that it is read again.
fn check_entry(bytes: &[u8]) {
    if let Some(entry) = Entry::from_bytes(bytes) {
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
    }
}

fn apply(state: &mut State, piece: &[u8]) {
    let [room, action @ ..] = piece else { return };
    let action = match std::str::from_utf8(action) {
        Ok(text) => Message::Text(text.into()),
        Err(_) => Message::Binary(Bytes::copy_from_slice(action)),
    };
    let deed = if action.as_bytes().is_empty() { Deed::Wake } else { Deed::Apply(action) };
    let room = RoomNumber(u32::from(*room) % DURABLE as u32);
    let entry = ActEntry { at: START, room, author: None, deed };
    state.apply(state.position() + 1, &entry, None, &mut Vec::new());
}

/// The state can be saved and read again, and clients come, are told of it, and go.
fn check(mut state: State) {
    let saved = state.save();
    let mut again = empty();
    again.restore(state.position(), &saved).expect("a snapshot of our own");
    assert!(again.save() == saved, "what was restored is saved as something else");
    let (mut out, at) = (Vec::new(), state.last_at());
    for (plan, name) in KINDS.into_iter().enumerate() {
        let id = 1 + plan as u32;
        let session = SessionAddress { id: SessionId(id.into()), worker: 0, seat: id };
        let visitor = Visitor { session, dialect: Dialect::V1, client: None, since: Some(0) };
        let place = Place { plan, path: format!("/{name}").into() };
        state.join(&place, visitor, (Duration::ZERO, at), &mut out);
        state.leave(session, None, (Duration::ZERO, at), &mut out);
    }
    state.wake_due(at, &mut out);
    state.put_away_idle(Duration::MAX);
}
