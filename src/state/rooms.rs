//! All rooms: by path, by their numbers in the journal, and when they want to be woken. Those of a
//! pattern are made on first use, and while nobody is there only what they keep stays.

use super::{
    Entry, RecoverError, View, entry::RoomNumber, presence::Presence, snapshot::SavedRoom,
};
use crate::room::{Kinds, PathPattern, Room, RoomId, RoomKind, UnixMicros};
use rustc_hash::FxHashMap;
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

/// A `[[room]]` of the configuration: one room, or as many as there are names.
#[derive(Debug, Clone)]
pub struct RoomPlan {
    /// Its path, or the pattern of its paths.
    pub path: PathPattern,
    /// Its kind, with its arguments.
    pub kind: Arc<dyn RoomKind>,
    /// The most rooms that a pattern may have.
    pub max_rooms: usize,
}

/// Where a room is, though it may not have been made yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The index of its plan.
    pub plan: usize,
    /// Its path.
    pub path: Arc<str>,
}

/// A pattern has all the rooms that it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyRooms;

/// So many rooms are put away in one turn: each is saved, and read once to see that it can be.
const PUT_AWAY_AT_ONCE: usize = 32;

/// What a room holds, or what it was saved as while nobody needs it.
enum Held {
    Loaded(Box<dyn Room>),
    Stored(Vec<u8>),
}

/// A room and its place in the order.
pub(super) struct OpenRoom {
    pub(super) path: Arc<str>,
    pub(super) kind: Arc<dyn RoomKind>,
    /// `None` if it is not in the configuration any more.
    plan: Option<usize>,
    is_made_on_use: bool,
    held: Held,
    /// Its number in the journal, if it is there.
    pub(super) number: Option<RoomNumber>,
    /// The position of the entry that made the state.
    pub(super) seq: u64,
    /// It is on its way there.
    pub(super) is_opening: bool,
    /// How many sessions are in it.
    pub(super) users: usize,
    /// When it was used last, by the monotonic clock.
    pub(super) used_at: Duration,
    wake_at: Option<UnixMicros>,
    pub(super) presence: Presence,
}

impl fmt::Debug for OpenRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of kind {} at {}", self.path, self.kind.name(), self.seq)
    }
}

impl OpenRoom {
    fn new(path: Arc<str>, kind: Arc<dyn RoomKind>, plan: Option<usize>) -> Self {
        Self {
            path,
            plan,
            is_made_on_use: false,
            held: Held::Loaded(kind.open()),
            kind,
            number: None,
            is_opening: false,
            seq: 0,
            users: 0,
            used_at: Duration::ZERO,
            wake_at: None,
            presence: Presence::default(),
        }
    }

    /// The room, read again if it was put away.
    pub(super) fn room(&mut self) -> &mut dyn Room {
        if let Held::Stored(saved) = &self.held {
            let restored = self.kind.restore(saved);
            self.held = Held::Loaded(restored.expect("what was put away was read back once"));
        }
        match &mut self.held {
            Held::Loaded(room) => &mut **room,
            Held::Stored(_) => unreachable!("it was loaded just now"),
        }
    }

    /// The room as those see it who do not enter, without its state.
    pub(super) fn view(&self) -> View {
        let (path, kind) = (self.path.clone(), self.kind.name());
        View { path, kind, is_made: true, users: self.users, seq: self.seq, value: None }
    }

    /// The entry that brings it into the journal.
    pub(super) fn entry(&self, at: UnixMicros) -> Entry {
        Entry::Open { at, path: self.path.to_string(), kind: self.kind.name().to_owned() }
    }

    /// What the room keeps.
    fn saved(&self) -> Vec<u8> {
        match &self.held {
            Held::Loaded(room) => room.save(),
            Held::Stored(saved) => saved.clone(),
        }
    }

    /// Keeps only the saved state, if the kind can read that back.
    fn put_away(&mut self) {
        if let Held::Loaded(room) = &self.held {
            let saved = room.save();
            if self.kind.restore(&saved).is_some() {
                self.held = Held::Stored(saved);
            }
        }
    }
}

/// All rooms.
#[derive(Debug)]
pub(super) struct Rooms {
    plans: Vec<RoomPlan>,
    kinds: Kinds,
    open: FxHashMap<RoomId, OpenRoom>,
    /// Rooms of the configuration by path.
    by_path: HashMap<Arc<str>, RoomId>,
    /// How many rooms each plan has.
    counts: Vec<usize>,
    next_id: u64,
    /// Where durable rooms are, in the order in which they were opened.
    numbered: Vec<RoomId>,
    /// Rooms that want to be woken, the next first.
    wakes: BTreeSet<(UnixMicros, RoomId)>,
}

impl Rooms {
    /// Opens the rooms that are no patterns.
    pub(super) fn new(plans: &[RoomPlan], kinds: &Kinds) -> Self {
        let mut rooms = Self {
            plans: plans.to_vec(),
            kinds: kinds.clone(),
            open: FxHashMap::default(),
            by_path: HashMap::new(),
            counts: vec![0; plans.len()],
            next_id: 0,
            numbered: Vec::new(),
            wakes: BTreeSet::new(),
        };
        rooms.open_fixed();
        rooms
    }

    fn add(&mut self, room: OpenRoom) -> RoomId {
        let id = RoomId(self.next_id);
        self.next_id += 1;
        if let Some(plan) = room.plan {
            self.counts[plan] += 1;
            self.by_path.insert(room.path.clone(), id);
        }
        self.open.insert(id, room);
        id
    }

    pub(super) fn get(&self, id: RoomId) -> Option<&OpenRoom> {
        self.open.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: RoomId) -> Option<&mut OpenRoom> {
        self.open.get_mut(&id)
    }

    /// Durable rooms of the configuration that the journal does not have, in the order of their
    /// plans. Those of patterns come into it with their first action.
    pub(super) fn unnumbered(&self) -> impl Iterator<Item = &OpenRoom> {
        let ids = (0..self.next_id).map(RoomId);
        let is_missing = |open: &&OpenRoom| {
            open.kind.is_durable() && open.number.is_none() && !open.is_made_on_use
        };
        ids.filter_map(|id| self.open.get(&id)).filter(is_missing)
    }

    /// Rooms of the configuration, by path.
    pub(super) fn list(&self) -> Vec<View> {
        let mut views: Vec<_> = self.by_path.values().map(|id| self.open[id].view()).collect();
        views.sort_by(|one, other| one.path.cmp(&other.path));
        views
    }

    /// The plan of a place.
    pub(super) fn plan(&self, place: &Place) -> Option<&RoomPlan> {
        self.plans.get(place.plan)
    }

    /// The room at a place, if it has been made.
    pub(super) fn at(&self, path: &str) -> Option<RoomId> {
        self.by_path.get(path).copied()
    }

    /// The room at a place; made now if it was not.
    ///
    /// # Errors
    /// That it cannot be made.
    pub(super) fn make(&mut self, place: &Place, now: Duration) -> Result<RoomId, TooManyRooms> {
        if let Some(id) = self.at(&place.path) {
            if let Some(open) = self.open.get_mut(&id) {
                open.used_at = now;
            }
            return Ok(id);
        }
        let plan = self.plans.get(place.plan).ok_or(TooManyRooms)?;
        if self.counts[place.plan] >= plan.max_rooms {
            return Err(TooManyRooms);
        }
        let room = OpenRoom::new(place.path.clone(), plan.kind.clone(), Some(place.plan));
        Ok(self.add(OpenRoom { is_made_on_use: true, used_at: now, ..room }))
    }

    /// Where the durable room with this number is.
    pub(super) fn numbered(&self, number: RoomNumber) -> Option<RoomId> {
        self.numbered.get(number.0 as usize).copied()
    }

    /// Gives the room its number. One that is no longer in the configuration is kept all the same.
    pub(super) fn number(
        &mut self,
        path: &str,
        kind: &str,
        seq: u64,
    ) -> Result<RoomId, RecoverError> {
        let configured = self.at(path).filter(|id| self.open[id].kind.name() == kind);
        let id = match configured {
            Some(id) => id,
            None => self.add_recovered(path, kind)?,
        };
        // Far fewer rooms than 2^32 can be opened.
        let number = RoomNumber(self.numbered.len() as u32);
        self.numbered.push(id);
        if let Some(open) = self.open.get_mut(&id) {
            (open.number, open.seq, open.is_opening) = (Some(number), seq, false);
        }
        Ok(id)
    }

    /// A room that the journal has: of a pattern, or of a configuration that was.
    fn add_recovered(&mut self, path: &str, kind: &str) -> Result<RoomId, RecoverError> {
        let is_it = |plan: &RoomPlan| plan.path.matches(path);
        let plan = self.plans.iter().position(is_it).filter(|_| self.at(path).is_none());
        let plan = plan.filter(|plan| self.plans[*plan].kind.name() == kind);
        let kind = match plan {
            Some(plan) => self.plans[plan].kind.clone(),
            None => self.kinds.make(kind, &Default::default()).map_err(|_| {
                RecoverError::UnknownKind { path: path.to_owned(), kind: kind.to_owned() }
            })?,
        };
        let is_made_on_use = plan.is_none_or(|plan| self.plans[plan].path.has_name());
        let room = OpenRoom::new(path.into(), kind, plan);
        Ok(self.add(OpenRoom { is_made_on_use, ..room }))
    }

    /// Opens the rooms that are no patterns and that are not there: at first, all. A journal may hold
    /// that one was removed, when it was of a pattern.
    pub(super) fn open_fixed(&mut self) {
        for index in 0..self.plans.len() {
            let RoomPlan { path, kind, .. } = &self.plans[index];
            let (path, kind) = (path.clone(), kind.clone());
            let name: Arc<str> = path.to_string().into();
            if !path.has_name() && self.at(&name).is_none() {
                self.add(OpenRoom::new(name, kind, Some(index)));
            }
        }
    }

    /// What the durable rooms keep, in the order in which they were opened. Of a removed one, its
    /// number is left.
    pub(super) fn save(&self) -> Vec<SavedRoom> {
        let saved = |id: &RoomId| {
            let Some(open) = self.open.get(id) else { return SavedRoom::removed() };
            SavedRoom {
                path: open.path.to_string(),
                kind: open.kind.name().to_owned(),
                seq: open.seq,
                state: open.saved(),
            }
        };
        self.numbered.iter().map(saved).collect()
    }

    /// A durable room as it was saved.
    pub(super) fn restore(&mut self, saved: SavedRoom) -> Result<(), RecoverError> {
        if saved == SavedRoom::removed() {
            self.numbered.push(RoomId(self.next_id));
            self.next_id += 1;
            return Ok(());
        }
        let SavedRoom { path, kind, seq, state } = saved;
        let id = self.number(&path, &kind, seq)?;
        if let Some(open) = self.open.get_mut(&id) {
            let room = open.kind.restore(&state).ok_or(RecoverError::BadRoom { path, kind })?;
            open.held = Held::Loaded(room);
        }
        self.note_wake(id);
        Ok(())
    }

    /// Notes when the room wants to be woken, after it was called.
    pub(super) fn note_wake(&mut self, id: RoomId) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let Held::Loaded(room) = &open.held else { return };
        let wake_at = room.wake_at();
        if let Some(old) = std::mem::replace(&mut open.wake_at, wake_at) {
            self.wakes.remove(&(old, id));
        }
        if let Some(new) = wake_at {
            self.wakes.insert((new, id));
        }
    }

    /// Wakes the room not before `at`, if it wants to be woken at all: an attempt has failed.
    pub(super) fn delay_wake(&mut self, id: RoomId, at: UnixMicros) {
        self.note_wake(id);
        if let Some(open) = self.open.get_mut(&id)
            && let Some(wanted) = open.wake_at
        {
            self.wakes.remove(&(wanted, id));
            open.wake_at = Some(wanted.max(at));
            self.wakes.insert((wanted.max(at), id));
        }
    }

    /// When the next room wants to be woken.
    pub(super) fn next_wake(&self) -> Option<UnixMicros> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// The next room whose time has come. It is not named again before it was called.
    pub(super) fn take_due(&mut self, at: UnixMicros) -> Option<RoomId> {
        let (due, id) = *self.wakes.first().filter(|(due, _)| *due <= at)?;
        self.wakes.remove(&(due, id));
        if let Some(open) = self.open.get_mut(&id) {
            open.wake_at = None;
        }
        Some(id)
    }

    /// Gives the room up if nobody is there, it was made on use, and it keeps nothing.
    pub(super) fn drop_if_empty(&mut self, id: RoomId) {
        let is_empty = self.open.get(&id).is_some_and(|open| {
            let is_kept = open.number.is_some() || open.is_opening;
            open.is_made_on_use && open.users == 0 && !is_kept
        });
        if is_empty {
            self.remove(id);
        }
    }

    /// Gives a room up, with all that it keeps. Its number is never given away again.
    pub(super) fn remove(&mut self, id: RoomId) {
        let Some(open) = self.open.remove(&id) else { return };
        if let Some(wake_at) = open.wake_at {
            self.wakes.remove(&(wake_at, id));
        }
        if let Some(plan) = open.plan {
            self.counts[plan] -= 1;
            self.by_path.remove(&open.path);
        }
    }

    /// Puts away what nobody has used since `since`: rooms made on use, without users, that do not
    /// want to be woken. Says how many.
    pub(super) fn put_away_idle(&mut self, since: Duration) -> usize {
        let is_idle = |open: &&mut OpenRoom| {
            let is_loaded = matches!(open.held, Held::Loaded(_));
            let is_wanted = open.users > 0 || open.wake_at.is_some() || open.used_at > since;
            open.is_made_on_use && is_loaded && !is_wanted
        };
        self.open
            .values_mut()
            .filter(is_idle)
            .take(PUT_AWAY_AT_ONCE)
            .map(OpenRoom::put_away)
            .count()
    }
}
