//! USERS and STATE: who is in each room, and what each room holds. Plain data: joins, leaves and
//! entries go in, [`Delivery`] values come out, and the `StateServer` carries them out.
//! Pure: time comes in as an argument.
//!
//! STATE follows from the [`Entry`]s alone, whatever USERS are there: that is what makes restarts
//! and snapshots possible.

mod clients;
mod delivery;
mod entry;
mod presence;
mod rooms;
mod snapshot;

pub use clients::{Clients, Record, Turn};
pub use delivery::{Delivery, SessionAddress, Topic};
pub use entry::{ActEntry, Author, DedupLimits, Deed, Entry, RoomNumber};
pub use rooms::{Place, RoomPlan, TooManyRooms};

use crate::{
    protocol::{
        ActionError, ClientKey, CloseCode, Dialect, ErrorCode, Event, MAX_IN_FLIGHT, Message,
        Refused, Welcome,
    },
    room::{Admitted, Effect, History, Kinds, Moment, RoomId, SessionId, Speech, UnixMicros},
};
use rooms::Rooms;
use rustc_hash::FxHashMap;
use serde_json::Value;
use snapshot::{Saved, SavedState};
use std::{collections::HashMap, error::Error, fmt, sync::Arc, time::Duration};

/// Who comes into a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visitor {
    /// Its session.
    pub session: SessionAddress,
    /// What it speaks.
    pub dialect: Dialect,
    /// Who it says it is, if its actions are to count exactly once.
    pub client: Option<ClientKey>,
    /// The position up to which it knows what was said.
    pub since: Option<u64>,
}

/// Who sent an action, and what to answer it with.
#[derive(Debug, Clone, PartialEq)]
pub struct Sender {
    /// Its session.
    pub session: SessionAddress,
    /// The number that it gave the action. An action without one is answered only by a refusal.
    pub id: Option<u64>,
    /// What was decided before the action got its place: what is wrong with a [`Deed::Refuse`], what
    /// a [`Deed::Pass`] brought about.
    pub verdict: Option<Result<Vec<Effect>, ActionError>>,
}

impl Sender {
    /// Tells it why its action is refused.
    fn refuse(&self, error: ActionError) -> Delivery {
        Delivery::answer(self.session, Event::Error(Refused::new(error, self.id)))
    }
}

/// What a newcomer is told about the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The name of the history that positions count in.
    pub epoch: String,
    /// A connection that is quiet for so long gets a ping.
    pub heartbeat_ms: u64,
    /// The largest message that a client may send.
    pub max_message_bytes: u64,
}

/// A room as somebody sees it who does not enter.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Its path.
    pub path: Arc<str>,
    /// The name of its kind.
    pub kind: &'static str,
    /// It is there; if not, it is shown as it would be.
    pub is_made: bool,
    /// How many sessions are in it.
    pub users: usize,
    /// The position of its state.
    pub seq: u64,
    /// Its state; `None` if it has none to see, or was not looked at.
    pub value: Option<Value>,
}

/// All rooms and who is in them.
#[derive(Debug)]
pub struct State {
    facts: Facts,
    rooms: Rooms,
    sessions: FxHashMap<SessionId, Seat>,
    clients: Clients,
    /// The position of the last entry, and its time.
    position: u64,
    last_at: UnixMicros,
    /// Who acts for a client.
    holders: HashMap<ClientKey, Holder>,
    presence_interval: Duration,
    /// Rooms whose users were not told the count yet. Each is in it once.
    untold: Vec<RoomId>,
}

/// Where a session is.
#[derive(Debug, Clone, Copy)]
struct Seat {
    address: SessionAddress,
    room: RoomId,
}

/// The session that acts for a client: the one that came last.
#[derive(Debug, Clone, Copy)]
struct Holder {
    session: SessionAddress,
    /// The client was known when the session came, or since.
    was_known: bool,
    /// The number after those that it has put in order.
    next_id: u64,
}

/// Why what a journal holds cannot be made a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoverError {
    /// The bytes at this position are no entry, or no snapshot.
    NoEntry {
        /// The position.
        position: u64,
    },
    /// A room is of a kind that this program does not have.
    UnknownKind {
        /// The room's path.
        path: String,
        /// The kind.
        kind: String,
    },
    /// The kind of a room cannot read what it saved.
    BadRoom {
        /// The room's path.
        path: String,
        /// The kind.
        kind: String,
    },
}

impl Error for RecoverError {}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEntry { position } => {
                write!(f, "what stands at position {position} is nothing that statesync wrote")
            }
            Self::UnknownKind { path, kind } => write!(
                f,
                "it holds the room {path} of kind {kind:?}, which this program does not have: use \
                 the program that wrote it"
            ),
            Self::BadRoom { path, kind } => {
                write!(f, "the saved state of the room {path} is none of kind {kind:?}")
            }
        }
    }
}

impl State {
    /// Opens the rooms of the configuration. `users` events of a room are at least
    /// `presence_interval` apart when many come and go, and at once when few do.
    pub fn new(
        plans: &[RoomPlan],
        kinds: &Kinds,
        facts: Facts,
        presence_interval: Duration,
    ) -> Self {
        // Until an entry says otherwise; the first one does.
        let limits = DedupLimits { ttl_micros: 0, max_clients: 1 };
        Self {
            facts,
            rooms: Rooms::new(plans, kinds),
            sessions: FxHashMap::default(),
            clients: Clients::new(limits),
            position: 0,
            last_at: UnixMicros::default(),
            holders: HashMap::new(),
            presence_interval,
            untold: Vec::new(),
        }
    }

    /// The position of the last entry.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The name of the history that positions count in.
    pub fn epoch(&self) -> &str {
        &self.facts.epoch
    }

    /// The time of the last entry.
    pub fn last_at(&self) -> UnixMicros {
        self.last_at
    }

    /// The clients that are known.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Opens the rooms of the configuration that the journal says were removed.
    pub fn open_fixed_rooms(&mut self) {
        self.rooms.open_fixed();
    }

    /// The entries that a journal still needs before anyone may act: rooms that it does not know,
    /// limits that have changed.
    pub fn missing_entries(&self, limits: DedupLimits, at: UnixMicros) -> Vec<Entry> {
        let at = at.max(self.last_at);
        let has_limits = self.position > 0 && self.clients.limits() == limits;
        let limits = (!has_limits).then_some(Entry::Limits { at, limits });
        let rooms = self.rooms.unnumbered().map(|open| open.entry(at));
        limits.into_iter().chain(rooms).collect()
    }

    /// All that entries have made, to be [restored](State::restore).
    pub fn save(&self) -> Vec<u8> {
        Saved::V1(SavedState {
            at: self.last_at,
            limits: self.clients.limits(),
            rooms: self.rooms.save(),
            forgotten_until: self.clients.forgotten_until(),
            clients: self.clients.saved(),
        })
        .to_bytes()
    }

    /// Goes on from what was [saved](State::save) after the entry at `position`.
    ///
    /// # Errors
    /// Why these bytes are no state of this program.
    pub fn restore(&mut self, position: u64, bytes: &[u8]) -> Result<(), RecoverError> {
        let Some(Saved::V1(saved)) = Saved::from_bytes(bytes) else {
            return Err(RecoverError::NoEntry { position });
        };
        for room in saved.rooms {
            self.rooms.restore(room)?;
        }
        self.clients = Clients::restore(saved.limits, saved.forgotten_until, saved.clients);
        (self.position, self.last_at) = (position, saved.at);
        Ok(())
    }

    /// Applies an entry that the journal holds at `position`, when nobody is there to be told.
    ///
    /// # Errors
    /// Why this is no entry of this program.
    pub fn replay(&mut self, position: u64, entry: &[u8]) -> Result<(), RecoverError> {
        let at = match Entry::from_bytes(entry).ok_or(RecoverError::NoEntry { position })? {
            Entry::Limits { at, limits } => {
                self.clients.set_limits(limits, at);
                at
            }
            Entry::Open { at, path, kind } => {
                let room = self.rooms.number(&path, &kind, position)?;
                self.rooms.note_wake(room);
                at
            }
            Entry::Act(entry) => {
                if self.rooms.numbered(entry.room).is_none() {
                    return Err(RecoverError::NoEntry { position });
                }
                self.apply(position, &entry, None, &mut Vec::new());
                entry.at
            }
        };
        (self.position, self.last_at) = (position, at);
        Ok(())
    }

    /// The entry that brings a room into the journal, where its actions have to go through that and
    /// it is not there yet. Until that is [replayed](State::replay) or [given
    /// up](State::give_up_opening), the room stays.
    pub fn begin_opening(&mut self, room: RoomId, at: UnixMicros) -> Option<Entry> {
        let open = self.rooms.get_mut(room)?;
        if !open.kind.is_durable() || open.number.is_some() {
            return None;
        }
        open.is_opening = true;
        Some(open.entry(at))
    }

    /// The room could not be brought into the journal.
    pub fn give_up_opening(&mut self, room: RoomId) {
        if let Some(open) = self.rooms.get_mut(room) {
            open.is_opening = false;
        }
        self.rooms.drop_if_empty(room);
    }

    /// The room at a place, made now if it was not there.
    ///
    /// # Errors
    /// That there are as many as there may be.
    pub fn make_room(&mut self, place: &Place, now: Duration) -> Result<RoomId, TooManyRooms> {
        self.rooms.make(place, now)
    }

    /// The room that a session is in.
    pub fn room_of(&self, session: SessionAddress) -> Option<RoomId> {
        self.sessions.get(&session.id).map(|seat| seat.room)
    }

    /// `visitor` comes to `place` at `now` (any monotonic clock, the same at each call), which is
    /// `at`. Who was there as the same client before, is closed.
    pub fn join(
        &mut self,
        place: &Place,
        visitor: Visitor,
        (now, at): (Duration, UnixMicros),
        out: &mut Vec<Delivery>,
    ) {
        let Visitor { session, dialect, client, since } = visitor;
        if self.sessions.contains_key(&session.id) {
            return;
        }
        let Ok(room) = self.rooms.make(place, now) else {
            return out.push(Delivery::Close { session, code: CloseCode::TRY_AGAIN_LATER });
        };
        self.sessions.insert(session.id, Seat { address: session, room });
        self.hold(client, session, out);
        let Some(open) = self.rooms.get_mut(room) else { return };
        open.users += 1;
        let effects = open.room().joined(session.id, at);
        // A position that is yet to come is of another history.
        let since = since.filter(|since| *since <= self.position);
        let history = open.room().history(since);
        if dialect == Dialect::V1 {
            let missed = since.is_some() && history.is_incomplete;
            let event = self.welcome(room, &visitor, missed);
            out.push(Delivery::answer(session, event));
        }
        self.tell_newcomer_users(room, session, now, out);
        self.tell_state(room, session, None, out);
        if !history.events.is_empty() {
            out.push(Delivery::answer(session, said_before(history)));
        }
        let newcomer = Sender { session, id: None, verdict: None };
        self.called(room);
        self.tell(room, None, Some(&newcomer), effects, out);
    }

    /// Makes `session` the one that acts for `client`.
    fn hold(
        &mut self,
        client: Option<ClientKey>,
        session: SessionAddress,
        out: &mut Vec<Delivery>,
    ) {
        let Some(client) = client else { return };
        let record = self.clients.get(&client);
        let next_id = record.map_or(1, |record| record.last_id + 1);
        let holder = Holder { session, was_known: record.is_some(), next_id };
        if let Some(older) = self.holders.insert(client, holder) {
            out.push(Delivery::Close { session: older.session, code: CloseCode::TAKEN_OVER });
        }
    }

    fn welcome(&self, room: RoomId, visitor: &Visitor, missed: bool) -> Event {
        let open = self.rooms.get(room);
        let record = visitor.client.and_then(|client| self.clients.get(&client));
        Event::Welcome(Box::new(Welcome {
            room: open.map(|open| open.path.to_string()).unwrap_or_default(),
            kind: open.map_or("", |open| open.kind.name()),
            session: visitor.session.id.0,
            epoch: self.facts.epoch.clone(),
            seq: self.position,
            missed,
            last_id: record.map(|record| record.last_id),
            refused: record.map(Record::refused).unwrap_or_default(),
            forgotten_until: self.clients.forgotten_until(),
            max_in_flight: MAX_IN_FLIGHT,
            heartbeat_ms: self.facts.heartbeat_ms,
            max_message_bytes: self.facts.max_message_bytes,
        }))
    }

    /// Tells one session the room's state, if that has one.
    fn tell_state(
        &mut self,
        room: RoomId,
        session: SessionAddress,
        topic: Option<Topic>,
        out: &mut Vec<Delivery>,
    ) {
        let Some(open) = self.rooms.get_mut(room) else { return };
        let seq = open.seq;
        if let Some(value) = open.room().state() {
            out.push(Delivery::Direct { session, topic, event: Event::State { seq, value } });
        }
    }

    /// Tells the state to a session that skipped changes. It gets changes again from here on.
    pub fn refresh(&mut self, session: SessionAddress, out: &mut Vec<Delivery>) {
        let Some(room) = self.room_of(session) else { return };
        out.push(Delivery::Resume { session });
        self.tell_state(room, session, Some(Topic::State), out);
    }

    /// `session`, which was there as `client`, is gone. A second time changes nothing. What that
    /// brings about in its room is to be [told](State::tell_effects) in the order.
    pub fn leave(
        &mut self,
        session: SessionAddress,
        client: Option<ClientKey>,
        (now, at): (Duration, UnixMicros),
        out: &mut Vec<Delivery>,
    ) -> Option<(RoomId, Vec<Effect>)> {
        if let Some(client) = client
            && self.acts_for(&client, session)
        {
            self.holders.remove(&client);
        }
        let Seat { room, .. } = self.sessions.remove(&session.id)?;
        let open = self.rooms.get_mut(room)?;
        open.users -= 1;
        open.used_at = now;
        let effects = open.room().left(session.id, at);
        self.called(room);
        if !self.is_plain(room) {
            self.tell_users(room, now, out);
        }
        self.rooms.drop_if_empty(room);
        Some((room, effects))
    }

    /// Whether `session` is the one that acts for `client`: no newer one has come.
    pub fn acts_for(&self, client: &ClientKey, session: SessionAddress) -> bool {
        self.holders.get(client).is_some_and(|holder| holder.session == session)
    }

    /// Whether `client` was known to `session`, which acts for it, and is not any more. Then none of
    /// its actions can be told from one that was applied, and none must be put in order.
    pub fn is_forgotten(&self, client: &ClientKey, session: SessionAddress) -> bool {
        let holder = self.holders.get(client);
        holder.is_some_and(|holder| holder.session == session && holder.was_known)
            && self.clients.get(client).is_none()
    }

    /// Whether the room's actions go through the journal.
    pub fn is_durable(&self, room: RoomId) -> bool {
        self.rooms.get(room).is_some_and(|open| open.kind.is_durable())
    }

    /// The room's number in the journal, if it is there.
    pub fn number(&self, room: RoomId) -> Option<RoomNumber> {
        self.rooms.get(room)?.number
    }

    /// What an action, about to be put in order, becomes, and what is decided with that.
    pub fn admit(
        &mut self,
        room: RoomId,
        deed: Deed,
        author: Option<Author>,
        (session, at): (SessionAddress, UnixMicros),
    ) -> (Deed, Option<Result<Vec<Effect>, ActionError>>) {
        if author.is_some_and(|author| !self.take_turn(author, session)) {
            return (Deed::Query, None);
        }
        let (action, open) = match (deed, self.rooms.get_mut(room)) {
            (Deed::Apply(action), Some(open)) => (action, open),
            (deed, _) => return (deed, None),
        };
        let admitted = open.room().admit(action, session.id, at);
        self.called(room);
        match admitted {
            Ok(Admitted::Ordered(action)) => (Deed::Apply(action), None),
            Ok(Admitted::Done(effects)) => (Deed::Pass, Some(Ok(effects))),
            Err(error) => (Deed::Refuse, Some(Err(error))),
        }
    }

    /// Whether the number follows those that the session has put in order. Those who never came
    /// have one number only.
    fn take_turn(&mut self, author: Author, session: SessionAddress) -> bool {
        match self.holders.get_mut(&author.client).filter(|holder| holder.session == session) {
            Some(holder) if holder.next_id == author.id => {
                holder.next_id += 1;
                true
            }
            Some(_) => false,
            None => {
                let last_id = self.clients.get(&author.client).map_or(0, |record| record.last_id);
                author.id == last_id + 1
            }
        }
    }

    /// The action with this number could not be kept: the number is the next again.
    pub fn give_turn_back(&mut self, author: Author) {
        if let Some(holder) = self.holders.get_mut(&author.client) {
            holder.next_id = holder.next_id.min(author.id);
        }
    }

    /// Applies an action that is committed at `position`. `sender` is not there when the journal is
    /// read again.
    pub fn apply(
        &mut self,
        position: u64,
        entry: &ActEntry,
        mut sender: Option<Sender>,
        out: &mut Vec<Delivery>,
    ) {
        (self.position, self.last_at) = (position, entry.at);
        let Some(room) = self.rooms.numbered(entry.room) else { return };
        let turn = entry.author.map_or(Turn::Next, |author| self.clients.turn(author, entry.at));
        let verdict = sender.as_mut().and_then(|sender| sender.verdict.take());
        if turn == Turn::Next && entry.deed != Deed::Query {
            let (from, result) = self.carry_out(room, entry, sender.as_ref(), verdict, out);
            if let Some(author) = entry.author {
                self.clients.decide(author, position, entry.at, result.is_err());
                if let Some(holder) = self.holders.get_mut(&author.client) {
                    holder.was_known = true;
                }
            }
            self.tell_result(room, from, sender.as_ref(), result, out);
        } else if let (Some(sender), Some(author)) = (&sender, entry.author) {
            out.push(self.answer(room, sender, author, turn));
            if let Some(Ok(effects)) = verdict {
                self.tell(room, None, Some(sender), effects, out);
            }
        }
    }

    /// What an action brings about, and the position of the state before it.
    fn carry_out(
        &mut self,
        room: RoomId,
        entry: &ActEntry,
        sender: Option<&Sender>,
        verdict: Option<Result<Vec<Effect>, ActionError>>,
        out: &mut Vec<Delivery>,
    ) -> (Option<u64>, Result<Vec<Effect>, ActionError>) {
        let Some(open) = self.rooms.get_mut(room) else {
            // It was removed while this was on its way.
            let error = ActionError::new(ErrorCode::NoSuchRoom, "the room was removed");
            return (None, Err(error));
        };
        let (before, when) = (open.seq, Moment { seq: self.position, at: entry.at });
        let session = sender.map(|sender| sender.session.id);
        let refusal = || ActionError::new(ErrorCode::Refused, "no action of this room");
        let result = match &entry.deed {
            Deed::Apply(action) => open.room().apply(action, session, when),
            Deed::Wake => Ok(open.room().woken(when)),
            Deed::Refuse => {
                return (None, Err(verdict.and_then(Result::err).unwrap_or_else(refusal)));
            }
            Deed::Remove => {
                self.remove_room(room, out);
                return (None, Ok(Vec::new()));
            }
            Deed::Pass | Deed::Query => return (None, verdict.unwrap_or(Ok(Vec::new()))),
        };
        if result.as_ref().is_ok_and(|effects| effects.iter().any(Effect::is_for_all)) {
            open.seq = self.position;
        }
        self.called(room);
        (Some(before), result)
    }

    /// The room at a place, if there is one.
    pub fn room_at(&self, place: &Place) -> Option<RoomId> {
        self.rooms.at(&place.path)
    }

    /// Gives a room up with all that it keeps and all who are in it.
    pub fn remove_room(&mut self, room: RoomId, out: &mut Vec<Delivery>) {
        let code = CloseCode::NO_SUCH_ROOM;
        self.sessions.retain(|_, seat| {
            if seat.room == room {
                out.push(Delivery::Close { session: seat.address, code });
            }
            seat.room != room
        });
        self.rooms.remove(room);
    }

    /// Applies an action of a room that keeps nothing.
    pub fn pass(
        &mut self,
        room: RoomId,
        action: &Message,
        at: UnixMicros,
        sender: Option<&Sender>,
        out: &mut Vec<Delivery>,
    ) {
        let Some(open) = self.rooms.get_mut(room) else { return };
        let session = sender.map(|sender| sender.session.id);
        let result = open.room().apply(action, session, Moment { seq: 0, at });
        self.called(room);
        self.tell_result(room, Some(0), sender, result, out);
        self.rooms.drop_if_empty(room);
    }

    /// Tells what was decided about an action that has no place in the order.
    pub fn tell_verdict(&mut self, room: RoomId, mut sender: Sender, out: &mut Vec<Delivery>) {
        if let Some(verdict) = sender.verdict.take() {
            self.tell_result(room, None, Some(&sender), verdict, out);
        }
    }

    /// Tells what a session's leaving brought about.
    pub fn tell_effects(&mut self, room: RoomId, effects: Vec<Effect>, out: &mut Vec<Delivery>) {
        self.tell(room, None, None, effects, out);
    }

    /// A room was called: it may want to be woken at another time.
    fn called(&mut self, room: RoomId) {
        self.rooms.note_wake(room);
    }

    /// When the next room wants to be woken.
    pub fn next_wake(&self) -> Option<UnixMicros> {
        self.rooms.next_wake()
    }

    /// Wakes the rooms that keep nothing and whose time has come. Gives those for which that has to
    /// be put in order.
    pub fn wake_due(&mut self, at: UnixMicros, out: &mut Vec<Delivery>) -> Vec<RoomId> {
        let mut durable = Vec::new();
        while let Some(room) = self.rooms.take_due(at) {
            let Some(open) = self.rooms.get_mut(room) else { continue };
            if open.kind.is_durable() {
                durable.push(room);
                continue;
            }
            let effects = open.room().woken(Moment { seq: 0, at });
            self.called(room);
            self.tell(room, Some(0), None, effects, out);
        }
        durable
    }

    /// Waking the room could not be kept: it is tried again at `at`.
    pub fn delay_wake(&mut self, room: RoomId, at: UnixMicros) {
        self.rooms.delay_wake(room, at);
    }

    /// Puts away what rooms made on first use hold, where nobody was there since `since`. Says of how
    /// many.
    pub fn put_away_idle(&mut self, since: Duration) -> usize {
        self.rooms.put_away_idle(since)
    }

    /// A room as it is. One that was not made yet is shown as it would be.
    pub fn view(&mut self, place: &Place) -> Option<View> {
        let Some(room) = self.rooms.at(&place.path) else {
            let kind = self.rooms.plan(place)?.kind.clone();
            let value = kind.open().state();
            let path = place.path.clone();
            return Some(View { path, kind: kind.name(), is_made: false, users: 0, seq: 0, value });
        };
        let open = self.rooms.get_mut(room)?;
        Some(View { value: open.room().state(), ..open.view() })
    }

    /// All rooms of the configuration that there are, by path, without their states.
    pub fn list(&self) -> Vec<View> {
        self.rooms.list()
    }

    /// What an action brought about, for those whom it concerns: first the sender's answer, so that
    /// it holds that before it sees the state.
    fn tell_result(
        &self,
        room: RoomId,
        from: Option<u64>,
        sender: Option<&Sender>,
        result: Result<Vec<Effect>, ActionError>,
        out: &mut Vec<Delivery>,
    ) {
        let effects = match (result, sender) {
            (Ok(effects), _) => effects,
            (Err(_), None) => return,
            // Who is in a room of plain text is told nothing but its own messages.
            (Err(_), Some(sender)) if self.is_plain(room) && !sender.session.is_outside() => return,
            (Err(error), Some(sender)) => return out.push(sender.refuse(error)),
        };
        if let Some(Sender { session, id: Some(id), .. }) = sender {
            let event = Event::Ack { id: *id, seq: self.seq(room), is_duplicate: false };
            out.push(Delivery::answer(*session, event));
        }
        self.tell(room, from, sender, effects, out);
    }

    /// Turns effects into deliveries. `from` is the position of the state before them.
    fn tell(
        &self,
        room: RoomId,
        from: Option<u64>,
        sender: Option<&Sender>,
        effects: Vec<Effect>,
        out: &mut Vec<Delivery>,
    ) {
        let seq = self.seq(room);
        let sender = sender.map(|sender| sender.session);
        let all = |topic, except, event: Event| {
            Some(Delivery::Broadcast { room, topic, except, event: event.at(seq) })
        };
        out.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::State(value) => all(Topic::State, None, Event::State { seq, value }),
            Effect::Change(event) => all(Topic::Change, None, Event::Room { seq, from, event }),
            Effect::Tick(event) => all(Topic::State, None, event),
            Effect::Broadcast(event) => all(Topic::Message, None, event),
            Effect::Others(event) => all(Topic::Message, sender, event),
            Effect::Reply(event) => Some(Delivery::answer(sender?, event.at(seq))),
            Effect::Show(session, event) => Some(Delivery::Direct {
                session: self.sessions.get(&session)?.address,
                topic: Some(Topic::State),
                event: event.at(seq),
            }),
            Effect::CloseSender => {
                Some(Delivery::Close { session: sender?, code: CloseCode::NORMAL })
            }
        }));
    }

    fn is_plain(&self, room: RoomId) -> bool {
        self.rooms.get(room).is_some_and(|open| open.kind.speech() == Speech::Plain)
    }

    fn seq(&self, room: RoomId) -> u64 {
        self.rooms.get(room).map_or(0, |open| open.seq)
    }

    /// The answer to an action whose turn it is not.
    fn answer(&self, room: RoomId, sender: &Sender, author: Author, turn: Turn) -> Delivery {
        let (session, id) = (sender.session, author.id);
        let was_known = self.holders.get(&author.client).is_some_and(|holder| holder.was_known);
        let refuse = |code, message: String| {
            Event::Error(Refused::new(ActionError::new(code, message), Some(id)))
        };
        let event = match turn {
            Turn::Decided { was_refused: false } => {
                Event::Ack { id, seq: self.seq(room), is_duplicate: true }
            }
            Turn::Decided { was_refused: true } => {
                let error = ActionError::new(ErrorCode::Refused, "this action was refused before");
                Event::Error(Refused { is_duplicate: true, ..Refused::new(error, Some(id)) })
            }
            Turn::TooOld => refuse(
                ErrorCode::IdTooOld,
                format!("only of the last {MAX_IN_FLIGHT} actions it is known what became of them"),
            ),
            Turn::Forgotten if was_known => return Self::refuse_forgotten(sender),
            // The next: what it is a duplicate of could not be kept.
            Turn::Gap { .. } | Turn::Forgotten | Turn::Next => {
                let next_id = match turn {
                    Turn::Gap { next_id } => next_id,
                    Turn::Next => id,
                    _ => 1,
                };
                refuse(ErrorCode::IdGap, format!("the action with \"id\" {next_id} comes first"))
            }
        };
        Delivery::answer(session, event)
    }

    /// Tells the sender that its room cannot be made.
    pub fn refuse_room(sender: &Sender) -> Delivery {
        let message = "there are as many rooms here as there may be";
        sender.refuse(ActionError::new(ErrorCode::TooManyRooms, message))
    }

    /// Tells the sender that its client [was forgotten](State::is_forgotten).
    pub fn refuse_forgotten(sender: &Sender) -> Delivery {
        let message = "this client is not known any more: begin anew with another identity";
        sender.refuse(ActionError::new(ErrorCode::Forgotten, message))
    }

    /// Tells the sender that its action could not be kept. Why, is the operator's business: the
    /// journal logs it.
    pub fn refuse_not_durable(sender: &Sender) -> Delivery {
        let message = "the server cannot keep actions now, and this one changed nothing";
        sender.refuse(ActionError::new(ErrorCode::NotDurable, message))
    }
}

/// What a newcomer is told of what was said before.
fn said_before(history: History) -> Event {
    let said = |(seq, event)| Event::Room { seq, from: None, event };
    Event::Several(history.events.into_iter().map(said).collect())
}

#[cfg(test)]
mod tests;
