//! A client that keeps the rules of docs/protocol.md, on connections that do not keep.

use super::{
    connection::{Connection, Heard, NotOpened},
    history::{Action, History, Welcome, What},
    support::DEADLINE,
    weather::{Count, Phase, Weather},
};
use fastrand::Rng;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// The first wait after something was refused with `retry`, and the longest.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(30);
/// How long `welcome` may take before the client comes again.
const WELCOME_PATIENCE: Duration = Duration::from_secs(1);
/// What a client keeps for itself before it asks for nothing new.
const MOST_KEPT: usize = 100;

/// An action that has a number, and so may have been sent.
#[derive(Debug, Clone, Copy)]
struct Kept {
    id: u64,
    action: Action,
}

/// What outlives a reload (the rule 1).
struct Storage {
    identity: String,
    /// The `seq` and the `epoch` of its first `welcome`.
    first_welcome: Option<(u64, String)>,
    next: u64,
    undecided: VecDeque<Kept>,
    /// Not sent yet.
    waiting: VecDeque<Action>,
}

impl Storage {
    fn new(rng: &mut Rng) -> Self {
        Self {
            identity: std::iter::repeat_with(|| rng.alphanumeric()).take(20).collect(),
            first_welcome: None,
            next: 1,
            undecided: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Gives the next action its number.
    fn number(&mut self) -> Option<u64> {
        let action = self.waiting.pop_front()?;
        let id = self.next;
        self.undecided.push_back(Kept { id, action });
        self.next += 1;
        Some(id)
    }

    fn is_empty(&self) -> bool {
        self.undecided.is_empty() && self.waiting.is_empty()
    }

    /// By the rule 6, for a server that does not know the identity: it has forgotten it.
    fn is_forgotten(&self, welcome: &Welcome) -> bool {
        let first = self.first_welcome.as_ref();
        let is_as_it_was = first
            .is_some_and(|(seq, epoch)| welcome.epoch == *epoch && welcome.forgotten_until <= *seq);
        self.next > 1 && !is_as_it_was
    }
}

/// What a reload loses.
struct Tab {
    connection: Connection,
    number: usize,
    welcome: Option<Welcome>,
    last_heard: Instant,
    in_flight: BTreeSet<u64>,
    /// Decided actions that were sent again for no good reason, and not answered yet.
    repeated: Vec<u64>,
    /// The next number to send.
    cursor: u64,
    /// Something was refused with `retry`: first take all answers, then begin again.
    is_retrying: bool,
    retry_after: Instant,
    retry_pause: Duration,
    /// How many may be in flight.
    window: usize,
}

impl Tab {
    fn is_dead(&self) -> bool {
        let silence = self.last_heard.elapsed();
        match &self.welcome {
            None => silence > WELCOME_PATIENCE,
            Some(welcome) => {
                let heartbeat = Duration::from_millis(welcome.heartbeat_ms);
                let asked = !self.in_flight.is_empty() || !self.repeated.is_empty();
                // Who asks nothing is pinged, so much longer silence is an end, too.
                silence > heartbeat * if asked { 2 } else { 6 }
            }
        }
    }

    fn room(&self) -> usize {
        self.window.saturating_sub(self.in_flight.len() + self.repeated.len())
    }
}

pub struct Client {
    name: String,
    address: SocketAddr,
    weather: Arc<Weather>,
    /// What the client asks for.
    actions: Rng,
    /// What goes wrong on its side, and when.
    moods: Rng,
    storage: Storage,
    identities: usize,
    /// The newest is the last. Others are leftovers whose place was taken, or will be.
    tabs: Vec<Tab>,
    connections: usize,
    backoff: Duration,
    history: History,
    /// Those of its former identities.
    histories: Vec<History>,
    /// The actions of this identity that were decided, to send some of them again.
    decided: BTreeMap<u64, Action>,
}

impl Client {
    pub fn new(name: &str, address: SocketAddr, seed: u64, weather: &Arc<Weather>) -> Self {
        let mut actions = Rng::with_seed(seed);
        let moods = actions.fork();
        let storage = Storage::new(&mut actions);
        Self {
            history: History::of_owner(format!("{name}, identity 1"), &storage.identity),
            name: name.to_owned(),
            address,
            weather: weather.clone(),
            storage,
            actions,
            moods,
            identities: 1,
            tabs: Vec::new(),
            connections: 0,
            backoff: Duration::ZERO,
            histories: Vec::new(),
            decided: BTreeMap::new(),
        }
    }

    /// Acts until the storm is over, and then until all is decided or the time is up. Leaves behind
    /// a history for each identity that it had.
    pub fn run(mut self) -> Vec<History> {
        while self.weather.phase() == Phase::Storm {
            self.turn(Phase::Storm);
        }
        self.settle()
    }

    /// Does one thing, without any trouble of its own making, and no more.
    pub fn run_once(mut self, action: Action) -> Vec<History> {
        self.storage.waiting.push_back(action);
        self.settle()
    }

    fn settle(mut self) -> Vec<History> {
        let start = Instant::now();
        while !self.storage.is_empty() && start.elapsed() < DEADLINE {
            self.turn(Phase::Calm);
        }
        self.histories.push(self.history);
        self.histories
    }

    fn turn(&mut self, phase: Phase) {
        if self.tabs.is_empty() {
            self.weather.hold(self.backoff);
            let longest = Duration::from_millis(self.moods.u64(1..200));
            self.backoff = (self.backoff * 2 + Duration::from_millis(2)).min(longest);
            return self.open();
        }
        self.read();
        if phase == Phase::Storm {
            self.act();
        }
        self.send();
        if phase == Phase::Storm {
            self.mischief();
        }
        let dead: Vec<Tab> = self.tabs.extract_if(.., |tab| tab.is_dead()).collect();
        for tab in dead {
            self.weather.count(Count::DeadByClient);
            self.history.add(tab.number, What::Ended(None));
        }
    }

    /// Opens a connection beside those that there are.
    fn open(&mut self) {
        let number = self.connections;
        self.connections += 1;
        self.history.add(number, What::Connecting);
        let target = format!("/?client={}", self.storage.identity);
        match Connection::open(self.address, &target, true) {
            Ok(connection) => self.tabs.push(Tab {
                connection,
                number,
                welcome: None,
                last_heard: Instant::now(),
                in_flight: BTreeSet::new(),
                repeated: Vec::new(),
                cursor: 0,
                is_retrying: false,
                retry_after: Instant::now(),
                retry_pause: RETRY_PAUSE,
                window: self.moods.usize(1..=64),
            }),
            Err(why) => {
                self.weather.count(Count::Refusals);
                note_refusal(&mut self.history, number, why);
            }
        }
    }

    fn read(&mut self) {
        let mut place = 0;
        while place < self.tabs.len() {
            match self.read_tab(place) {
                Some(Outcome::NewIdentity) => return,
                Some(Outcome::Ended) => drop(self.tabs.remove(place)),
                None => place += 1,
            }
        }
    }

    /// Reads what is there, but not without end.
    fn read_tab(&mut self, place: usize) -> Option<Outcome> {
        for _ in 0..200 {
            let tab = &mut self.tabs[place];
            let number = tab.number;
            match tab.connection.read() {
                Heard::Nothing => return None,
                Heard::Life => tab.last_heard = Instant::now(),
                Heard::Ended(code) => {
                    self.history.add(number, What::Ended(code));
                    if code == Some(4409) {
                        self.weather.count(Count::Takeovers);
                    }
                    return Some(Outcome::Ended);
                }
                Heard::Text(text) => {
                    tab.last_heard = Instant::now();
                    let Some(what) = What::from_message(&text) else { continue };
                    self.history.add(number, what.clone());
                    let outcome = self.heed(place, what);
                    if outcome.is_some() {
                        return outcome;
                    }
                }
            }
        }
        None
    }

    fn heed(&mut self, place: usize, what: What) -> Option<Outcome> {
        match what {
            What::Welcome(welcome) => self.welcome(place, welcome),
            What::Acked { id, duplicate, .. } => {
                self.weather.count(if duplicate { Count::Duplicates } else { Count::Acked });
                self.answered(place, id);
                self.decide(id);
                self.tabs[place].retry_pause = RETRY_PAUSE;
                None
            }
            What::Refused { code, .. } if code == "forgotten" => Some(self.take_new_identity()),
            What::Refused { id: Some(id), retry: true, .. } => {
                self.weather.count(Count::Retries);
                self.answered(place, id);
                let tab = &mut self.tabs[place];
                tab.is_retrying = true;
                tab.retry_after = Instant::now() + tab.retry_pause;
                None
            }
            What::Refused { id: Some(id), duplicate, .. } => {
                self.weather.count(if duplicate {
                    Count::Duplicates
                } else {
                    Count::RefusedForGood
                });
                self.answered(place, id);
                self.decide(id);
                None
            }
            // Not of this protocol: do not wait for the rest.
            What::Odd(_) => Some(Outcome::Ended),
            _ => None,
        }
    }

    /// The rules 4, 6 and 9.
    fn welcome(&mut self, place: usize, welcome: Welcome) -> Option<Outcome> {
        self.backoff = Duration::ZERO;
        let last_id = welcome.last_id;
        let first = || (welcome.seq, welcome.epoch.clone());
        self.storage.first_welcome.get_or_insert_with(first);
        let is_forgotten = self.storage.is_forgotten(&welcome);
        let tab = &mut self.tabs[place];
        tab.window = tab.window.min(welcome.max_in_flight as usize);
        tab.welcome = Some(welcome);
        match last_id {
            None if is_forgotten => return Some(self.take_new_identity()),
            Some(last) if last >= self.storage.next => return Some(self.take_new_identity()),
            None => {}
            Some(last) => {
                let undecided = self.storage.undecided.iter().map(|kept| kept.id);
                let decided: Vec<u64> = undecided.take_while(|id| *id <= last).collect();
                decided.into_iter().for_each(|id| self.decide(id));
            }
        }
        None
    }

    fn answered(&mut self, place: usize, id: u64) {
        let tab = &mut self.tabs[place];
        if !tab.in_flight.remove(&id)
            && let Some(at) = tab.repeated.iter().position(|repeated| *repeated == id)
        {
            tab.repeated.swap_remove(at);
        }
    }

    /// The rule 3.
    fn decide(&mut self, id: u64) {
        let undecided = &mut self.storage.undecided;
        if let Ok(at) = undecided.binary_search_by_key(&id, |kept| kept.id) {
            let kept = undecided.remove(at).expect("it was found there");
            self.decided.insert(id, kept.action);
        }
    }

    /// The rules 6, 7 and 9: what has a number is unknown, what has none is safe to send.
    fn take_new_identity(&mut self) -> Outcome {
        self.weather.count(Count::NewIdentities);
        let old = std::mem::replace(&mut self.storage, Storage::new(&mut self.actions));
        for kept in old.undecided {
            self.history.add(self.connections, What::GivenUp { id: kept.id });
        }
        self.storage.waiting = old.waiting;
        self.identities += 1;
        let who = format!("{}, identity {}", self.name, self.identities);
        let history =
            std::mem::replace(&mut self.history, History::of_owner(who, &self.storage.identity));
        self.histories.push(history);
        self.decided.clear();
        self.tabs.clear();
        Outcome::NewIdentity
    }

    /// The client's user acts, now and then.
    fn act(&mut self) {
        let kept = self.storage.undecided.len() + self.storage.waiting.len();
        if kept >= MOST_KEPT || self.moods.u8(0..4) > 0 {
            return;
        }
        let count = if self.moods.u8(0..20) == 0 { 40 } else { self.moods.usize(1..=6) };
        for _ in 0..count {
            let by = self.actions.i64(1..=9);
            self.storage.waiting.push_back(match self.actions.u8(0..40) {
                0 => Action::TooMuch,
                1 => Action::Nonsense,
                2..22 => Action::Plus(by),
                _ => Action::Minus(by),
            });
        }
    }

    /// The newest connection that was welcomed is the one to send on.
    fn place(&self) -> Option<usize> {
        self.tabs.iter().rposition(|tab| tab.welcome.is_some())
    }

    /// The rules 2, 4 and 5.
    fn send(&mut self) {
        let Some(place) = self.place() else { return };
        let tab = &mut self.tabs[place];
        if tab.is_retrying {
            if !tab.in_flight.is_empty() || Instant::now() < tab.retry_after {
                return;
            }
            tab.is_retrying = false;
            tab.retry_pause = (tab.retry_pause * 2).min(LONGEST_RETRY_PAUSE);
            tab.cursor = 0;
        }
        let room = tab.room();
        let cursor = tab.cursor;
        let waiting = self.storage.undecided.iter().filter(|kept| kept.id >= cursor);
        let mut ids: Vec<u64> = waiting.take(room).map(|kept| kept.id).collect();
        let more = room - ids.len();
        ids.extend(std::iter::from_fn(|| self.storage.number()).take(more));
        ids.into_iter().for_each(|id| self.send_one(place, id));
    }

    fn send_one(&mut self, place: usize, id: u64) {
        let at = self.storage.undecided.binary_search_by_key(&id, |kept| kept.id);
        let action = self.storage.undecided[at.expect("only what is undecided is sent")].action;
        let tab = &mut self.tabs[place];
        self.history.add(tab.number, What::Sent { id, action });
        tab.in_flight.insert(id);
        tab.cursor = id + 1;
        tab.connection.send(action.message(id));
    }

    /// What clients, their users and their browsers do at bad moments.
    fn mischief(&mut self) {
        match self.moods.u16(0..1500) {
            0..12 => self.reload(),
            12..30 => self.open_a_second(),
            30..70 => self.repeat(),
            70..80 => self.overtake(),
            80..110 => self.go_on_where_the_place_is_taken(),
            110..118 if self.storage.undecided.is_empty() && self.storage.next > 1 => {
                self.take_new_identity();
            }
            _ => {}
        }
    }

    /// Everything but the storage is gone.
    fn reload(&mut self) {
        self.weather.count(Count::Reloads);
        for tab in self.tabs.drain(..) {
            self.history.add(tab.number, What::Ended(None));
            if self.moods.bool() {
                tab.connection.reset();
            }
        }
        self.backoff = Duration::ZERO;
    }

    /// Another connection with the same identity while this one lives, and has answers to come.
    fn open_a_second(&mut self) {
        if self.tabs.len() == 1 && self.place().is_some() {
            self.weather.count(Count::SecondConnections);
            let by = self.actions.i64(1..=9);
            (0..self.moods.usize(0..20))
                .for_each(|_| self.storage.waiting.push_back(Action::Plus(by)));
            self.send();
            self.open();
        }
    }

    /// Sends a decided action again, as if its answer had never been heard.
    fn repeat(&mut self) {
        let Some(place) = self.place() else { return };
        let back = self.moods.usize(0..90);
        let Some((id, action)) = self.decided.iter().nth_back(back).map(|(id, it)| (*id, *it))
        else {
            return;
        };
        let tab = &mut self.tabs[place];
        if tab.room() > 0 {
            self.weather.count(Count::Repeats);
            self.history.add(tab.number, What::Sent { id, action });
            tab.repeated.push(id);
            tab.connection.send(action.message(id));
        }
    }

    /// Leaves out a number, and sends what comes after it.
    fn overtake(&mut self) {
        let Some(place) = self.place() else { return };
        let tab = &self.tabs[place];
        let is_busy = !tab.in_flight.is_empty() || tab.is_retrying;
        if is_busy || !self.storage.is_empty() {
            return;
        }
        for _ in 0..2 {
            let by = self.actions.i64(1..=9);
            self.storage.waiting.push_back(Action::Plus(by));
            self.storage.number();
        }
        let second = self.storage.undecided[1].id;
        self.weather.count(Count::Overtakings);
        self.send_one(place, second);
    }

    /// A leftover sends what is undecided as well: the same actions under the same numbers.
    fn go_on_where_the_place_is_taken(&mut self) {
        let is_taken = self.place().is_some_and(|place| place > 0);
        if is_taken && self.tabs[0].welcome.is_some() {
            let ids: Vec<u64> = self.storage.undecided.iter().take(3).map(|kept| kept.id).collect();
            ids.into_iter().for_each(|id| self.send_one(0, id));
        }
    }
}

enum Outcome {
    Ended,
    NewIdentity,
}

pub fn note_refusal(history: &mut History, connection: usize, why: NotOpened) {
    match why {
        NotOpened::Lost => history.add(connection, What::Ended(None)),
        NotOpened::Status(status) => history.add(connection, What::TurnedAway(status)),
        NotOpened::Odd(what) => history.add(connection, What::Odd(what)),
    }
}
