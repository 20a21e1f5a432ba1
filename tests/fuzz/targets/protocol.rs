//! Both protocols: messages from the wire through the checks of a room's kind to the state, as
//! sessions and the `StateServer` take them there.
//!
//! Input: one byte that chooses the room's kind, then lines. A line is a letter for what is done, a
//! byte for who does it, and a message.

use bytes::Bytes;
use serde_json::{Value, json};
use statesync::{
    protocol::{
        ClientKey, Compression, Dialect, EncodedEvent, Input, Message, WireForm, action, json,
    },
    room::{Kinds, PathPattern, RoomKind, SessionId, Speech, UnixMicros, kind},
    state::{
        ActEntry, Author, DedupLimits, Deed, Delivery, Entry, Facts, Place, RoomPlan, Sender,
        SessionAddress, State, Visitor,
    },
};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Few clients, soon forgotten.
const LIMITS: DedupLimits = DedupLimits { ttl_micros: 5_000_000, max_clients: 2 };

const FORMS: [WireForm; 5] = [
    WireForm::WebSocket,
    WireForm::EventStream,
    WireForm::V1,
    WireForm::Deflated(Dialect::V1, COMPRESSION),
    WireForm::Deflated(Dialect::Classic, COMPRESSION),
];
const COMPRESSION: Compression =
    Compression { window_bits: 9, level: 1, memory_level: 1, min_bytes: 64 };

/// Whatever is said: nobody panics, what clients are told is JSON, and the journal, read again from
/// its beginning or from a snapshot, gives the same state.
pub fn target(bytes: &[u8]) {
    let [choice, lines @ ..] = bytes else { return };
    let mut world = World::new(kind_of(*choice));
    for line in lines.split(|byte| *byte == b'\n').take(200) {
        if let [what, who, message @ ..] = line {
            world.step(*what, *who, message);
        }
    }
    world.check_replay();
}

fn kind_of(choice: u8) -> Arc<dyn RoomKind> {
    let (name, arguments) = match choice % 10 {
        0 => ("chat", json!({"history": 3, "history_bytes": "100B"})),
        1 => ("chat", json!({})),
        2 => ("clock", json!({"interval": ["1ms", "2s"], "shared": true})),
        3 => ("clock", json!({"template": "{local_time} {count}"})),
        4 => ("counter", json!({})),
        5 => ("document", json!({"max_bytes": "200B", "max_depth": 4})),
        6 => ("document", json!({"initial": [1, {"a": null}]})),
        7 => ("echo", json!({"template": "{time}: {message}", "close_after": 5})),
        8 => ("relay", json!({"history": 3})),
        _ => ("echo", json!({})),
    };
    kind(name, arguments.as_object().expect("a table")).expect("good arguments")
}

/// A room and its history, as a server has them.
struct World {
    kind: Arc<dyn RoomKind>,
    state: State,
    journal: Vec<Bytes>,
    snapshot: Option<(u64, Vec<u8>)>,
    /// Who is there: the session, and how it came.
    present: HashMap<u8, Visitor>,
    next_session: u32,
    at: UnixMicros,
}

fn empty(kind: &Arc<dyn RoomKind>) -> State {
    let plan = |path| RoomPlan {
        path: PathPattern::parse(path).expect("a path"),
        kind: kind.clone(),
        max_rooms: 2,
    };
    let facts = Facts { epoch: "e".into(), heartbeat_ms: 20_000, max_message_bytes: 65_536 };
    let plans = [plan("/"), plan("/{name}")];
    State::new(&plans, &Kinds::default(), facts, Duration::from_millis(50))
}

fn place(who: u8) -> Place {
    match who >> 2 & 3 {
        0 => Place { plan: 0, path: "/".into() },
        name => Place { plan: 1, path: format!("/{name}").into() },
    }
}

fn client(place: &Place, who: u8) -> Option<ClientKey> {
    ClientKey::new(&place.path, &format!("a-client-whose-name-is-{}", who & 3))
}

impl World {
    fn new(kind: Arc<dyn RoomKind>) -> Self {
        let mut world = Self {
            state: empty(&kind),
            kind,
            journal: Vec::new(),
            snapshot: None,
            present: HashMap::new(),
            next_session: 1,
            at: UnixMicros(1_800_000_000_000_000),
        };
        for entry in world.state.missing_entries(LIMITS, world.at) {
            world.open(&entry);
        }
        world
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.at.0 as u64)
    }

    fn step(&mut self, what: u8, who: u8, message: &[u8]) {
        let mut out = Vec::new();
        match what {
            b'j' => self.join(who, message, &mut out),
            b'l' => self.leave(who, &mut out),
            b'w' => self.wait(message, &mut out),
            b'p' => self.post(who, message, &mut out),
            b's' => self.save(),
            b'r' => {
                if let Some(visitor) = self.present.get(&who) {
                    self.state.refresh(visitor.session, &mut out);
                }
            }
            _ => self.act(who, message, &mut out),
        }
        out.into_iter().for_each(told);
    }

    fn join(&mut self, who: u8, since: &[u8], out: &mut Vec<Delivery>) {
        let place = place(who);
        let in_v1 = self.kind.speech() == Speech::Events && who & 1 != 0;
        let id = self.next_session;
        self.next_session += 1;
        let visitor = Visitor {
            session: SessionAddress { id: SessionId(id.into()), worker: 0, seat: id },
            dialect: if in_v1 { Dialect::V1 } else { Dialect::Classic },
            client: client(&place, who).filter(|_| in_v1),
            since: since.first().map(|since| u64::from(*since)),
        };
        self.state.join(&place, visitor, (self.now(), self.at), out);
        self.present.insert(who, visitor);
    }

    fn leave(&mut self, who: u8, out: &mut Vec<Delivery>) {
        let Some(visitor) = self.present.remove(&who) else { return };
        let Visitor { session, client, .. } = visitor;
        let left = self.state.leave(session, client, (self.now(), self.at), out);
        if let Some((room, effects)) = left {
            self.state.tell_effects(room, effects, out);
        }
    }

    /// Time passes, and rooms are woken.
    fn wait(&mut self, time: &[u8], out: &mut Vec<Delivery>) {
        let [ticks, scale, ..] = time else { return };
        self.at.0 += i64::from(*ticks) << (scale % 24);
        for room in self.state.wake_due(self.at, out) {
            if let Some(entry) = self.state.begin_opening(room, self.at) {
                self.open(&entry);
            } else if let Some(number) = self.state.number(room) {
                let (at, deed) = (self.at, Deed::Wake);
                let entry = ActEntry { at, room: number, author: None, deed };
                self.commit(entry, None, out);
            }
        }
        self.state.put_away_idle(self.now().saturating_sub(Duration::from_secs(1)));
    }

    /// What a session does with a message.
    fn act(&mut self, who: u8, message: &[u8], out: &mut Vec<Delivery>) {
        let Some(visitor) = self.present.get(&who).copied() else { return };
        let Visitor { session, dialect, client, .. } = visitor;
        let (id, read) = match self.kind.speech() {
            Speech::Plain => (None, self.kind.decode(Input::Plain(as_message(message)))),
            Speech::Events => {
                let Ok(action) = json::object(&as_message(message)) else { return };
                let id = match dialect {
                    Dialect::Classic => None,
                    Dialect::V1 => match action::id(&action) {
                        Ok(id) => id,
                        Err(_) => return,
                    },
                };
                (id, self.kind.decode(Input::Action(action, dialect)))
            }
        };
        let (deed, verdict) = match read {
            Ok(action) => (Deed::Apply(action), None),
            Err(error) if id.is_some() && client.is_some() => (Deed::Refuse, Some(Err(error))),
            Err(_) => return,
        };
        if client.is_some_and(|client| !self.state.acts_for(&client, session)) {
            return;
        }
        self.order(None, client, Sender { session, id, verdict }, deed, out);
    }

    /// What an action by POST does.
    fn post(&mut self, who: u8, message: &[u8], out: &mut Vec<Delivery>) {
        let place = place(who);
        let client = (who & 1 != 0).then(|| ClientKey::of_request(&place.path, &[who], None));
        let (deed, verdict) = match self.kind.decode_message(as_message(message)) {
            Ok(action) => (Deed::Apply(action), None),
            Err(error) if client.is_some() => (Deed::Refuse, Some(Err(error))),
            Err(_) => return,
        };
        let session = SessionAddress::outside(SessionId(self.next_session.into()));
        self.next_session += 1;
        let id = (self.kind.speech() == Speech::Events).then_some(1);
        self.order(Some(place), client, Sender { session, id, verdict }, deed, out);
    }

    /// What the `StateServer` does with an action.
    fn order(
        &mut self,
        place: Option<Place>,
        client: Option<ClientKey>,
        mut sender: Sender,
        deed: Deed,
        out: &mut Vec<Delivery>,
    ) {
        let room = match &place {
            Some(place) => self.state.make_room(place, self.now()).ok(),
            None => self.state.room_of(sender.session),
        };
        let Some(room) = room else { return };
        if let Some(entry) = self.state.begin_opening(room, self.at) {
            self.open(&entry);
        }
        let Some(number) = self.state.number(room) else {
            return match deed {
                Deed::Apply(action) => {
                    self.state.pass(room, &action, self.at, Some(&sender), out);
                }
                _ => self.state.tell_verdict(room, sender, out),
            };
        };
        let author = client.zip(sender.id).map(|(client, id)| Author { client, id });
        if let Some(author) = author
            && self.state.is_forgotten(&author.client, sender.session)
        {
            return out.push(State::refuse_forgotten(&sender));
        }
        let (deed, verdict) = self.state.admit(room, deed, author, (sender.session, self.at));
        sender.verdict = verdict.or(sender.verdict.take());
        if author.is_none() && matches!(deed, Deed::Pass | Deed::Refuse) {
            return self.state.tell_verdict(room, sender, out);
        }
        let entry = ActEntry { at: self.at, room: number, author, deed };
        self.commit(entry, Some(sender), out);
    }

    fn open(&mut self, entry: &Entry) {
        let record = entry.to_bytes();
        self.journal.push(record.clone());
        self.state.replay(self.journal.len() as u64, &record).expect("an entry of our own");
    }

    fn commit(&mut self, entry: ActEntry, sender: Option<Sender>, out: &mut Vec<Delivery>) {
        let record = Entry::Act(entry.clone()).to_bytes();
        assert_eq!(Entry::from_bytes(&record), Some(Entry::Act(entry.clone())));
        self.journal.push(record);
        self.state.apply(self.journal.len() as u64, &entry, sender, out);
    }

    fn save(&mut self) {
        self.snapshot = Some((self.state.position(), self.state.save()));
    }

    fn check_replay(self) {
        let lived = self.state.save();
        let replay = |mut state: State, after: u64| {
            for (position, record) in (1..).zip(&self.journal).skip(after as usize) {
                state.replay(position, record).expect("an entry of our own");
            }
            state.save()
        };
        assert!(replay(empty(&self.kind), 0) == lived, "a replay gives another state");
        if let Some((position, saved)) = &self.snapshot {
            let mut state = empty(&self.kind);
            state.restore(*position, saved).expect("a snapshot of our own");
            assert!(replay(state, *position) == lived, "a snapshot leads to another state");
        }
    }
}

/// As the decoder hands it out: text is UTF-8.
fn as_message(bytes: &[u8]) -> Message {
    match std::str::from_utf8(bytes) {
        Ok(text) => Message::Text(text.into()),
        Err(_) => Message::Binary(Bytes::copy_from_slice(bytes)),
    }
}

/// Writes a delivery in all forms. Events are JSON, and in server-sent events of one line.
fn told(delivery: Delivery) {
    let (Delivery::Broadcast { event, .. } | Delivery::Direct { event, .. }) = delivery else {
        return;
    };
    for dialect in [Dialect::Classic, Dialect::V1] {
        for part in event.parts() {
            let is_plain = matches!(part, statesync::protocol::Event::Message(_));
            let message = part.to_message(dialect);
            let read = serde_json::from_slice::<Value>(message.as_bytes());
            assert!(is_plain || read.is_ok_and(|read| read["type"].is_string()), "{message:?}");
        }
    }
    let encoded = EncodedEvent::new(event);
    assert!(FORMS.iter().all(|form| !encoded.bytes(*form).is_empty()));
}
