//! Which clients are known, and what became of their last actions: what makes an action count
//! exactly once. Everything here follows from the entries alone.

use super::entry::{Author, DedupLimits};
use crate::{
    protocol::{ClientKey, MAX_IN_FLIGHT},
    room::UnixMicros,
};
use hashlink::LinkedHashMap;
use serde::{Deserialize, Serialize};

/// All clients that are known, those that have not acted for longest first.
#[derive(Debug, Clone)]
pub struct Clients {
    limits: DedupLimits,
    known: LinkedHashMap<ClientKey, Record>,
    /// The position of the last action of any client that is forgotten.
    forgotten_until: u64,
}

/// What is known of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The last of its numbers that was decided.
    pub last_id: u64,
    /// Bit `n` is set if number `last_id - n` was refused.
    refused_bits: u64,
    /// Where and when that was.
    seq: u64,
    at: UnixMicros,
}

/// What a client's number says about its action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is the next.
    Next,
    /// It was decided before.
    Decided {
        /// How: refused, or applied.
        was_refused: bool,
    },
    /// It was decided so long ago that it is not known how.
    TooOld,
    /// One before it is missing.
    Gap {
        /// That one.
        next_id: u64,
    },
    /// The client is not known, and this is not its first.
    Forgotten,
}

impl Record {
    /// Those of the last [`MAX_IN_FLIGHT`] numbers that were refused, rising.
    pub fn refused(&self) -> Vec<u64> {
        let window = (0..MAX_IN_FLIGHT.min(self.last_id)).rev();
        window.filter(|back| self.was_refused(*back)).map(|back| self.last_id - back).collect()
    }

    fn was_refused(&self, back: u64) -> bool {
        self.refused_bits >> back & 1 == 1
    }
}

impl Clients {
    /// Nobody is known.
    pub fn new(limits: DedupLimits) -> Self {
        Self { limits, known: LinkedHashMap::new(), forgotten_until: 0 }
    }

    /// As it was when it was [saved](Clients::saved).
    pub fn restore(
        limits: DedupLimits,
        forgotten_until: u64,
        saved: Vec<(ClientKey, Record)>,
    ) -> Self {
        Self { limits, known: saved.into_iter().collect(), forgotten_until }
    }

    /// Everyone that is known, in order.
    pub fn saved(&self) -> Vec<(ClientKey, Record)> {
        self.known.iter().map(|(client, record)| (*client, *record)).collect()
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The limits in force.
    pub fn limits(&self) -> DedupLimits {
        self.limits
    }

    /// The position of the last action of any client that is forgotten; 0 if none is. Of a client
    /// that is not known, and that came for the first time at this position or later, nothing was
    /// ever decided.
    pub fn forgotten_until(&self) -> u64 {
        self.forgotten_until
    }

    /// Changes the limits at `at`, and forgets those who are beyond them.
    pub fn set_limits(&mut self, limits: DedupLimits, at: UnixMicros) {
        self.limits = limits;
        self.forget_old(at);
        self.forget_surplus();
    }

    /// What is known of a client.
    pub fn get(&self, client: &ClientKey) -> Option<&Record> {
        self.known.get(client)
    }

    /// What the number of an action that is put in order at `at` says about it.
    pub fn turn(&mut self, author: Author, at: UnixMicros) -> Turn {
        self.forget_old(at);
        let Author { client, id } = author;
        let Some(record) = self.known.get(&client) else {
            return if id == 1 { Turn::Next } else { Turn::Forgotten };
        };
        match record.last_id.checked_sub(id) {
            Some(back) if back < MAX_IN_FLIGHT => {
                Turn::Decided { was_refused: record.was_refused(back) }
            }
            Some(_) => Turn::TooOld,
            None if id == record.last_id + 1 => Turn::Next,
            None => Turn::Gap { next_id: record.last_id + 1 },
        }
    }

    /// Notes what became of an action whose turn it was, and which stands at position `seq`.
    pub fn decide(&mut self, author: Author, seq: u64, at: UnixMicros, is_refused: bool) {
        let Author { client, id } = author;
        let bit = u64::from(is_refused);
        match self.known.to_back(&client) {
            Some(record) => {
                let refused_bits = record.refused_bits << 1 | bit;
                *record = Record { last_id: id, refused_bits, seq, at };
            }
            None => {
                self.known.insert(client, Record { last_id: id, refused_bits: bit, seq, at });
                self.forget_surplus();
            }
        }
    }

    fn forget_old(&mut self, at: UnixMicros) {
        let oldest = at.0.saturating_sub(self.limits.ttl_micros);
        while self.known.front().is_some_and(|(_, record)| record.at.0 < oldest) {
            self.forget_first();
        }
    }

    fn forget_surplus(&mut self) {
        while self.known.len() > self.limits.max_clients as usize {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, record)) = self.known.pop_front() {
            // Who comes first acted before all others.
            self.forgotten_until = record.seq;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DedupLimits = DedupLimits { ttl_micros: 100, max_clients: 3 };

    fn client(name: &str) -> ClientKey {
        ClientKey::new("/", &format!("client-number-{name:0>4}")).expect("an identity")
    }

    fn by(name: &str, id: u64) -> Author {
        Author { client: client(name), id }
    }

    /// The action's turn; if it is the next, it is decided.
    fn act(clients: &mut Clients, author: Author, at: i64, is_refused: bool) -> Turn {
        let turn = clients.turn(author, UnixMicros(at));
        if turn == Turn::Next {
            clients.decide(author, at as u64, UnixMicros(at), is_refused);
        }
        turn
    }

    #[test]
    fn each_number_is_decided_once_and_in_order() {
        let mut clients = Clients::new(LIMITS);
        let applied = Turn::Decided { was_refused: false };
        let refused = Turn::Decided { was_refused: true };
        let steps = [
            (2, false, Turn::Forgotten),
            (1, false, Turn::Next),
            (1, false, applied),
            (3, false, Turn::Gap { next_id: 2 }),
            (2, true, Turn::Next),
            (2, false, refused),
            (1, true, applied),
            (3, false, Turn::Next),
            (2, false, refused),
            (3, false, applied),
            (u64::MAX, false, Turn::Gap { next_id: 4 }),
        ];
        for (step, (id, is_refused, expected)) in steps.into_iter().enumerate() {
            let turn = act(&mut clients, by("a", id), 0, is_refused);
            assert_eq!(turn, expected, "step {step}: number {id}");
        }
    }

    #[test]
    fn the_last_64_are_remembered_and_no_more() {
        let mut clients = Clients::new(LIMITS);
        for id in 1..=100 {
            act(&mut clients, by("a", id), 0, id % 10 == 0);
        }
        for id in 1..=36 {
            assert_eq!(clients.turn(by("a", id), UnixMicros(0)), Turn::TooOld, "number {id}");
        }
        for id in 37..=100 {
            let expected = Turn::Decided { was_refused: id % 10 == 0 };
            assert_eq!(clients.turn(by("a", id), UnixMicros(0)), expected, "number {id}");
        }
        let record = clients.get(&client("a")).expect("known");
        assert_eq!((record.last_id, record.refused()), (100, vec![40, 50, 60, 70, 80, 90, 100]));
    }

    #[test]
    fn a_new_client_has_no_numbers_below_its_first() {
        let mut clients = Clients::new(LIMITS);
        act(&mut clients, by("a", 1), 0, true);
        assert_eq!(clients.get(&client("a")).expect("known").refused(), [1]);
    }

    #[test]
    fn who_has_not_acted_for_longest_is_forgotten_first() {
        let mut clients = Clients::new(LIMITS);
        for (at, (name, id)) in (1..).zip([("a", 1), ("b", 1), ("c", 1), ("a", 2)]) {
            act(&mut clients, by(name, id), at, false);
        }
        assert_eq!(clients.forgotten_until(), 0, "nobody is");
        act(&mut clients, by("d", 1), 5, false);
        assert_eq!(clients.forgotten_until(), 2, "b acted there");
        let is_known = |name| clients.get(&client(name)).is_some();
        assert_eq!(["a", "b", "c", "d"].map(is_known), [true, false, true, true]);
        assert_eq!(act(&mut clients, by("b", 2), 6, false), Turn::Forgotten);
    }

    #[test]
    fn who_has_not_acted_for_the_ttl_is_forgotten() {
        let mut clients = Clients::new(LIMITS);
        act(&mut clients, by("a", 1), 0, false);
        act(&mut clients, by("b", 1), 50, false);
        assert_eq!(
            act(&mut clients, by("a", 2), 100, false),
            Turn::Next,
            "not longer than the ttl"
        );
        assert_eq!(act(&mut clients, by("b", 2), 151, false), Turn::Forgotten);
        assert_eq!(act(&mut clients, by("a", 3), 151, false), Turn::Next, "it acted since");
    }

    #[test]
    fn narrower_limits_are_heeded_at_once() {
        let mut clients = Clients::new(LIMITS);
        for (name, at) in [("a", 0), ("b", 10), ("c", 20)] {
            act(&mut clients, by(name, 1), at, false);
        }
        clients.set_limits(DedupLimits { ttl_micros: 25, max_clients: 1 }, UnixMicros(30));
        let is_known = |name| clients.get(&client(name)).is_some();
        assert_eq!(["a", "b", "c"].map(is_known), [false, false, true]);
    }
}
