//! USERS and STATE: who is in each room, and what each room holds. Plain data: joins, leaves and
//! entries go in, [`Delivery`] values come out, and the `StateServer` carries them out.
//! Pure: time comes in as an argument.
//!
//! STATE follows from the [`Entry`]s alone, whatever USERS are there: that is what makes restarts
//! and snapshots possible.

mod clients;
mod entry;
mod snapshot;

pub use clients::{Clients, Record, Turn};
pub use entry::{ActEntry, Author, DedupLimits, Deed, Entry, RoomNumber};

use crate::{
    protocol::{
        ActionError, ClientKey, CloseCode, Dialect, ErrorCode, Event, MAX_IN_FLIGHT, Message,
        Refused, Welcome,
    },
    room::{self, Effect, Moment, Room, RoomId, RoomKind, SessionId, Speech, UnixMicros},
};
use snapshot::{Saved, SavedRoom, SavedState};
use std::{
    collections::{HashMap, HashSet},
    error::Error,
    fmt,
    sync::Arc,
    time::Duration,
};

/// Where a session is reached: the thread that serves it and its seat there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionAddress {
    /// Its number; a seat is given away again, a number is not.
    pub id: SessionId,
    /// The worker thread's index.
    pub worker: u16,
    /// The seat in that thread's audience.
    pub seat: u32,
}

/// Of several events with one topic, only the newest matters to a client that cannot keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The room's state.
    State,
    /// How many users there are.
    Users,
}

/// What is to be told, and to whom. The order of deliveries is the order in which each session
/// gets them.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// From here on the session gets what the room broadcasts.
    Enter {
        /// The room.
        room: RoomId,
        /// The newcomer.
        session: SessionAddress,
    },
    /// To every session in the room.
    Broadcast {
        /// The room.
        room: RoomId,
        /// What it makes superfluous.
        topic: Topic,
        /// The event.
        event: Event,
    },
    /// To one session.
    Direct {
        /// The session.
        session: SessionAddress,
        /// The event.
        event: Event,
    },
    /// The session is closed after all that was delivered to it before.
    Close {
        /// The session.
        session: SessionAddress,
        /// Why.
        code: CloseCode,
    },
}

/// So many `users` events are delivered in one presence interval before the others wait for its
/// end: a few people coming and going see each other at once, and the writes for it take less than
/// a millisecond. Telling thousands each time would be quadratic.
const PRESENCE_BURST_EVENTS: usize = 256;

/// Who comes into a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visitor {
    /// Its session.
    pub session: SessionAddress,
    /// What it speaks.
    pub dialect: Dialect,
    /// Who it says it is, if its actions are to count exactly once.
    pub client: Option<ClientKey>,
}

/// Who sent an action, and what to answer it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Its session.
    pub session: SessionAddress,
    /// The number that it gave the action. An action without one is answered only by a refusal.
    pub id: Option<u64>,
    /// What is wrong with a [`Deed::Refuse`].
    pub fault: Option<ActionError>,
}

impl Sender {
    /// Tells it why its action is refused.
    fn refuse(&self, error: ActionError) -> Delivery {
        let event = Event::Error(Refused::new(error, self.id));
        Delivery::Direct { session: self.session, event }
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

/// A room of the configuration.
#[derive(Debug, Clone)]
pub struct RoomPlan {
    /// Its path.
    pub path: String,
    /// Its kind, with its arguments.
    pub kind: Arc<dyn RoomKind>,
}

/// All rooms and who is in them.
#[derive(Debug)]
pub struct State {
    facts: Facts,
    rooms: Vec<OpenRoom>,
    /// Where durable rooms are, in the order in which they were opened.
    numbered: Vec<RoomId>,
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

/// The session that acts for a client: the one that came last.
#[derive(Debug, Clone, Copy)]
struct Holder {
    session: SessionAddress,
    /// The client was known when the session came, or since.
    was_known: bool,
}

struct OpenRoom {
    plan: RoomPlan,
    room: Box<dyn Room>,
    /// Its number in the journal, if it is there.
    number: Option<RoomNumber>,
    /// The position of the entry that made the state.
    seq: u64,
    users: HashSet<SessionAddress>,
    /// When the current presence interval began; `None` before the first.
    interval_start: Option<Duration>,
    /// How many `users` events were delivered in it.
    told_events: usize,
    is_untold: bool,
}

impl fmt::Debug for OpenRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.plan, self.seq)
    }
}

impl OpenRoom {
    fn new(plan: RoomPlan) -> Self {
        Self {
            room: plan.kind.open(),
            plan,
            number: None,
            seq: 0,
            users: HashSet::new(),
            interval_start: None,
            told_events: 0,
            is_untold: false,
        }
    }

    fn state_event(&self) -> Option<Event> {
        Some(Event::State { seq: self.seq, value: self.room.state()? })
    }
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
    /// Opens the rooms of the configuration, in the order of their [`RoomId`]s. `users` events of a
    /// room are at least `presence_interval` apart when many come and go, and at once when few do.
    pub fn new(plans: &[RoomPlan], facts: Facts, presence_interval: Duration) -> Self {
        // Until an entry says otherwise; the first one does.
        let limits = DedupLimits { ttl_micros: 0, max_clients: 1 };
        Self {
            facts,
            rooms: plans.iter().cloned().map(OpenRoom::new).collect(),
            numbered: Vec::new(),
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

    /// The time of the last entry.
    pub fn last_at(&self) -> UnixMicros {
        self.last_at
    }

    /// The clients that are known.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The entries that a journal still needs before anyone may act: rooms that it does not know,
    /// limits that have changed.
    pub fn missing_entries(&self, limits: DedupLimits, at: UnixMicros) -> Vec<Entry> {
        let at = at.max(self.last_at);
        let has_limits = self.position > 0 && self.clients.limits() == limits;
        let limits = (!has_limits).then_some(Entry::Limits { at, limits });
        let is_missing = |open: &&OpenRoom| open.plan.kind.is_durable() && open.number.is_none();
        let rooms = self.rooms.iter().filter(is_missing).map(|open| Entry::Open {
            at,
            path: open.plan.path.clone(),
            kind: open.plan.kind.name().to_owned(),
        });
        limits.into_iter().chain(rooms).collect()
    }

    /// All that entries have made, to be [restored](State::restore).
    pub fn save(&self) -> Vec<u8> {
        let saved = |id: &RoomId| {
            let open = &self.rooms[id.0 as usize];
            SavedRoom {
                path: open.plan.path.clone(),
                kind: open.plan.kind.name().to_owned(),
                seq: open.seq,
                state: open.room.save(),
            }
        };
        let rooms = self.numbered.iter().map(saved).collect();
        Saved::V1(SavedState {
            at: self.last_at,
            limits: self.clients.limits(),
            rooms,
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
        for SavedRoom { path, kind, seq, state } in saved.rooms {
            let id = self.open(&path, &kind, seq)?;
            let open = &mut self.rooms[id.0 as usize];
            let restored = open.plan.kind.restore(&state);
            open.room = restored.ok_or(RecoverError::BadRoom { path, kind })?;
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
                self.open(&path, &kind, position)?;
                at
            }
            Entry::Act(entry) => {
                if self.numbered.get(entry.room.0 as usize).is_none() {
                    return Err(RecoverError::NoEntry { position });
                }
                self.apply(position, &entry, None, &mut Vec::new());
                entry.at
            }
        };
        (self.position, self.last_at) = (position, at);
        Ok(())
    }

    /// Gives the room its number. One that is no longer in the configuration is kept all the same.
    fn open(&mut self, path: &str, kind: &str, seq: u64) -> Result<RoomId, RecoverError> {
        let is_it = |open: &OpenRoom| open.plan.path == path && open.plan.kind.name() == kind;
        let index = match self.rooms.iter().position(is_it) {
            Some(index) => index,
            None => {
                let unknown =
                    |_| RecoverError::UnknownKind { path: path.into(), kind: kind.into() };
                let kind = room::kind(kind, &Default::default()).map_err(unknown)?;
                self.rooms.push(OpenRoom::new(RoomPlan { path: path.to_owned(), kind }));
                self.rooms.len() - 1
            }
        };
        // Far fewer rooms than 2^32 stand in a file.
        let (id, number) = (RoomId(index as u32), RoomNumber(self.numbered.len() as u32));
        self.numbered.push(id);
        (self.rooms[index].number, self.rooms[index].seq) = (Some(number), seq);
        Ok(id)
    }

    /// `visitor` comes into `room` at `now` (any monotonic clock, the same at each call). Who was
    /// there as the same client before, is closed.
    pub fn join(&mut self, room: RoomId, visitor: Visitor, now: Duration, out: &mut Vec<Delivery>) {
        let Visitor { session, dialect, client } = visitor;
        let Some(open) = self.rooms.get_mut(room.0 as usize) else { return };
        if !open.users.insert(session) {
            return;
        }
        if let Some(client) = client {
            let was_known = self.clients.get(&client).is_some();
            if let Some(older) = self.holders.insert(client, Holder { session, was_known }) {
                let (session, code) = (older.session, CloseCode::TAKEN_OVER);
                out.push(Delivery::Close { session, code });
            }
        }
        if dialect == Dialect::V1 {
            let event = self.welcome(room, &visitor);
            out.push(Delivery::Direct { session, event });
        }
        out.push(Delivery::Enter { room, session });
        if self.speech(room) == Speech::Events && !self.tell_users(room, now, out) {
            let event = self.users_event(room);
            out.push(Delivery::Direct { session, event });
        }
        if let Some(event) = self.rooms[room.0 as usize].state_event() {
            out.push(Delivery::Direct { session, event });
        }
    }

    fn speech(&self, room: RoomId) -> Speech {
        self.rooms[room.0 as usize].plan.kind.speech()
    }

    fn welcome(&self, room: RoomId, visitor: &Visitor) -> Event {
        let plan = &self.rooms[room.0 as usize].plan;
        let record = visitor.client.and_then(|client| self.clients.get(&client));
        Event::Welcome(Box::new(Welcome {
            room: plan.path.clone(),
            kind: plan.kind.name(),
            session: visitor.session.id.0,
            epoch: self.facts.epoch.clone(),
            seq: self.position,
            missed: false,
            last_id: record.map(|record| record.last_id),
            refused: record.map(Record::refused).unwrap_or_default(),
            forgotten_until: self.clients.forgotten_until(),
            max_in_flight: MAX_IN_FLIGHT,
            heartbeat_ms: self.facts.heartbeat_ms,
            max_message_bytes: self.facts.max_message_bytes,
        }))
    }

    /// `visitor` is gone from `room`. A second time changes nothing.
    pub fn leave(
        &mut self,
        room: RoomId,
        visitor: Visitor,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) {
        let Visitor { session, client, .. } = visitor;
        let Some(open) = self.rooms.get_mut(room.0 as usize) else { return };
        if !open.users.remove(&session) {
            return;
        }
        open.room.left(session.id, self.last_at);
        if let Some(client) = client
            && self.acts_for(&client, session)
        {
            self.holders.remove(&client);
        }
        if self.speech(room) == Speech::Events {
            self.tell_users(room, now, out);
        }
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

    /// The room's number in the journal, if its actions go through that.
    pub fn number(&self, room: RoomId) -> Option<RoomNumber> {
        self.rooms.get(room.0 as usize)?.number
    }

    /// Applies an action that is committed at `position`. `sender` is not there when the journal is
    /// read again.
    pub fn apply(
        &mut self,
        position: u64,
        entry: &ActEntry,
        sender: Option<&Sender>,
        out: &mut Vec<Delivery>,
    ) {
        (self.position, self.last_at) = (position, entry.at);
        let Some(room) = self.numbered.get(entry.room.0 as usize).copied() else { return };
        let turn = entry.author.map_or(Turn::Next, |author| self.clients.turn(author, entry.at));
        if turn == Turn::Next {
            let result = self.carry_out(room, entry, sender);
            if let Some(author) = entry.author {
                self.clients.decide(author, position, entry.at, result.is_err());
                if let Some(holder) = self.holders.get_mut(&author.client) {
                    holder.was_known = true;
                }
            }
            self.tell(room, sender, result, out);
        } else if let (Some(sender), Some(author)) = (sender, entry.author) {
            out.push(self.answer(room, sender, author, turn));
        }
    }

    fn carry_out(
        &mut self,
        room: RoomId,
        entry: &ActEntry,
        sender: Option<&Sender>,
    ) -> Result<Vec<Effect>, ActionError> {
        let open = &mut self.rooms[room.0 as usize];
        let from = sender.map(|sender| sender.session.id);
        match &entry.deed {
            Deed::Apply(action) => {
                let effects =
                    open.room.apply(action, from, Moment { seq: self.position, at: entry.at })?;
                if effects.iter().any(|effect| matches!(effect, Effect::State(_))) {
                    open.seq = self.position;
                }
                Ok(effects)
            }
            Deed::Refuse => {
                let fault = sender.and_then(|sender| sender.fault.clone());
                Err(fault.unwrap_or(ActionError::new(ErrorCode::Refused, "no action of this room")))
            }
        }
    }

    /// Applies an action of a room that keeps nothing.
    pub fn pass(
        &mut self,
        room: RoomId,
        action: &Message,
        at: UnixMicros,
        sender: &Sender,
        out: &mut Vec<Delivery>,
    ) {
        let Some(open) = self.rooms.get_mut(room.0 as usize) else { return };
        let result = open.room.apply(action, Some(sender.session.id), Moment { seq: 0, at });
        self.tell(room, Some(sender), result, out);
    }

    /// What an action brought about, for those whom it concerns: first the sender's answer, so that
    /// it holds that before it sees the state.
    fn tell(
        &self,
        room: RoomId,
        sender: Option<&Sender>,
        result: Result<Vec<Effect>, ActionError>,
        out: &mut Vec<Delivery>,
    ) {
        let seq = self.rooms[room.0 as usize].seq;
        let effects = match (result, sender) {
            (Ok(effects), _) => effects,
            (Err(_), None) => return,
            (Err(error), Some(sender)) => return out.push(sender.refuse(error)),
        };
        if let Some(Sender { session, id: Some(id), .. }) = sender {
            let event = Event::Ack { id: *id, seq, is_duplicate: false };
            out.push(Delivery::Direct { session: *session, event });
        }
        let session = sender.map(|sender| sender.session);
        out.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::State(value) => {
                let event = Event::State { seq, value };
                Some(Delivery::Broadcast { room, topic: Topic::State, event })
            }
            Effect::Reply(event) => Some(Delivery::Direct { session: session?, event }),
            Effect::Tick(_)
            | Effect::Change(_)
            | Effect::Broadcast(_)
            | Effect::Others(_)
            | Effect::Show(..) => None,
            Effect::CloseSender => {
                Some(Delivery::Close { session: session?, code: CloseCode::NORMAL })
            }
        }));
    }

    /// The answer to an action whose turn it is not.
    fn answer(&self, room: RoomId, sender: &Sender, author: Author, turn: Turn) -> Delivery {
        let (session, id) = (sender.session, author.id);
        let was_known = self.holders.get(&author.client).is_some_and(|holder| holder.was_known);
        let refuse = |code, message: String| {
            Event::Error(Refused::new(ActionError::new(code, message), Some(id)))
        };
        let event = match turn {
            Turn::Next | Turn::Decided { was_refused: false } => {
                let seq = self.rooms[room.0 as usize].seq;
                Event::Ack { id, seq, is_duplicate: true }
            }
            Turn::Decided { was_refused: true } => Event::Error(Refused {
                error: ActionError::new(ErrorCode::Refused, "this action was refused before"),
                id: Some(id),
                is_duplicate: true,
            }),
            Turn::TooOld => refuse(
                ErrorCode::IdTooOld,
                format!("only of the last {MAX_IN_FLIGHT} actions it is known what became of them"),
            ),
            Turn::Forgotten if was_known => return Self::refuse_forgotten(sender),
            Turn::Gap { .. } | Turn::Forgotten => {
                let next_id = if let Turn::Gap { next_id } = turn { next_id } else { 1 };
                refuse(ErrorCode::IdGap, format!("the action with \"id\" {next_id} comes first"))
            }
        };
        Delivery::Direct { session, event }
    }

    /// Tells the sender what is wrong with its [`Deed::Refuse`], where that has no place in an order.
    pub fn refuse_fault(sender: &Sender) -> Option<Delivery> {
        Some(sender.refuse(sender.fault.clone()?))
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

    /// How long after `now` the next [`State::tell_untold`] is due; `None` when all is told.
    pub fn presence_due(&self, now: Duration) -> Option<Duration> {
        let due = |room: &RoomId| self.next_interval_at(*room).saturating_sub(now);
        self.untold.iter().map(due).min()
    }

    /// Tells the count to the rooms whose time has come.
    pub fn tell_untold(&mut self, now: Duration, out: &mut Vec<Delivery>) {
        for room in self.untold.clone() {
            self.tell_users(room, now, out);
        }
    }

    /// Sets how far apart `users` events are at least: longer while rounds of writes take longer.
    pub fn set_presence_interval(&mut self, interval: Duration) {
        self.presence_interval = interval;
    }

    fn next_interval_at(&self, room: RoomId) -> Duration {
        let start = self.rooms[room.0 as usize].interval_start;
        start.map_or(Duration::ZERO, |start| start + self.presence_interval)
    }

    fn users_event(&self, room: RoomId) -> Event {
        Event::Users { count: self.rooms[room.0 as usize].users.len(), names: None }
    }

    /// Tells the room how many are in it, or notes that it must be told later. Says which.
    fn tell_users(&mut self, room: RoomId, now: Duration, out: &mut Vec<Delivery>) -> bool {
        let is_new_interval = self.next_interval_at(room) <= now;
        let open = &mut self.rooms[room.0 as usize];
        if is_new_interval {
            open.interval_start = Some(now);
            open.told_events = 0;
        }
        let told_events = open.told_events + open.users.len();
        let is_due = is_new_interval || told_events <= PRESENCE_BURST_EVENTS;
        if is_due {
            open.told_events = told_events;
            if std::mem::take(&mut open.is_untold) {
                self.untold.retain(|untold| *untold != room);
            }
            let event = self.users_event(room);
            out.push(Delivery::Broadcast { room, topic: Topic::Users, event });
        } else if !open.is_untold {
            open.is_untold = true;
            self.untold.push(room);
        }
        is_due
    }
}

#[cfg(test)]
mod tests;
