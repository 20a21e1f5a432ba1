//! All clients come in.

use super::{
    client::{Ending, Observer},
    crowd::{Crowd, Load},
    error::BenchError,
    options::Protocol,
    outcome::Connect,
    traffic::View,
};

/// So many handshakes are under way at a time: fewer than any server's backlog, or the kernel would
/// drop some and what is measured would be its timer for trying again.
const HANDSHAKES: usize = 256;
/// If everyone has been shown the state, but not told the same number of users, and nothing changes
/// for so long, that is all that comes.
const ENOUGH_NS: u64 = 1_500_000_000;
/// If nothing changes for so long, it has failed.
const SILENCE_NS: u64 = 15_000_000_000;
/// Nothing is under way any more if nothing comes for so long.
const QUIET_NS: u64 = 200_000_000;
/// Quiet is waited for so long.
const QUIET_DEADLINE_NS: u64 = 10_000_000_000;
/// How often it is looked whether something has changed.
const TURN_NS: u64 = 50_000_000;

/// Counts those who have all that a newcomer gets.
pub struct Arrival {
    rooms: Vec<Told>,
    /// How many are to come in.
    clients: usize,
    /// How many have been shown a place.
    with_place: usize,
    /// Rooms of this kind show nothing to newcomers.
    shows_nothing: bool,
    /// How often something has changed.
    changes: u64,
}

/// How many users the clients of a room were told.
#[derive(Clone, Default)]
struct Told {
    clients: usize,
    most: u64,
    /// How many were told that.
    told_most: usize,
}

impl Arrival {
    /// Nobody has come yet, into so many rooms.
    pub fn new(rooms: usize, protocol: Protocol) -> Self {
        Self {
            rooms: vec![Told::default(); rooms],
            clients: 0,
            with_place: 0,
            shows_nothing: protocol == Protocol::Text,
            changes: 0,
        }
    }

    /// Lets clients join, as fast as the server takes them, until each was shown a place and told
    /// the true number of users.
    ///
    /// # Errors
    /// [`BenchError::Join`] if they do not all come in.
    pub fn join(
        &mut self,
        crowd: &mut Crowd,
        mut views: impl ExactSizeIterator<Item = View>,
    ) -> Result<Connect, BenchError> {
        self.clients = views.len();
        let began_ns = crowd.tools.clock_ns();
        let (mut changes, mut changed_ns) = (0, began_ns);
        loop {
            while crowd.shaking_hands < HANDSHAKES
                && let Some(view) = views.next()
            {
                self.rooms[view.room].clients += 1;
                crowd.connect(view)?;
            }
            let now_ns = crowd.tools.clock_ns();
            if changes != self.changes {
                (changes, changed_ns) = (self.changes, now_ns);
            }
            let has_enough = now_ns - changed_ns > ENOUGH_NS && self.with_place == self.clients;
            if has_enough || self.is_complete() {
                break;
            }
            if now_ns - changed_ns > SILENCE_NS {
                return Err(BenchError::Join(self.describe(crowd)));
            }
            crowd.turn(self, now_ns + TURN_NS)?;
        }
        let seconds = (changed_ns.max(began_ns + 1) - began_ns) as f64 / 1e9;
        let users_events = crowd.clients.iter().map(|(_, client)| client.view.users_events);
        Ok(Connect {
            seconds,
            clients_per_s: self.clients as f64 / seconds,
            most_users_events: users_events.max().unwrap_or(0),
        })
    }

    /// Waits until nothing comes any more.
    pub fn settle(&mut self, crowd: &mut Crowd) -> Result<(), BenchError> {
        let began_ns = crowd.tools.clock_ns();
        loop {
            let now_ns = crowd.tools.clock_ns();
            let quiet_until_ns = crowd.last_event_ns.max(began_ns) + QUIET_NS;
            if now_ns >= quiet_until_ns || now_ns > began_ns + QUIET_DEADLINE_NS {
                return Ok(());
            }
            crowd.turn(self, quiet_until_ns)?;
        }
    }

    /// Waits for the answer to what was said now, until nothing comes any more.
    ///
    /// # Errors
    /// [`BenchError::Join`] if nothing comes at all.
    pub fn settle_after_answer(&mut self, crowd: &mut Crowd) -> Result<(), BenchError> {
        let said_ns = crowd.tools.clock_ns();
        crowd.last_event_ns = 0;
        while crowd.last_event_ns == 0 {
            let now_ns = crowd.tools.clock_ns();
            if now_ns > said_ns + QUIET_DEADLINE_NS {
                return Err(BenchError::Join("nothing came back for --first".to_owned()));
            }
            crowd.turn(self, now_ns + TURN_NS)?;
        }
        self.settle(crowd)
    }

    fn is_complete(&self) -> bool {
        let agrees =
            |room: &Told| room.told_most == room.clients && room.most >= room.clients as u64;
        self.with_place == self.clients && (self.shows_nothing || self.rooms.iter().all(agrees))
    }

    fn describe(&self, crowd: &Crowd) -> String {
        let open = crowd.clients.iter().filter(|(_, client)| client.is_open()).count();
        format!(
            "of {} clients, {open} are connected and {} were shown the state, and nothing happens \
             any more",
            self.clients, self.with_place
        )
    }
}

impl Observer for Arrival {
    fn show(&mut self, _: usize, view: &mut View, place: i64, _: u64) -> Result<(), BenchError> {
        if !self.shows_nothing {
            self.greet(view, place);
        }
        Ok(())
    }

    fn greet(&mut self, view: &mut View, place: i64) {
        if view.place.is_none() {
            self.with_place += 1;
            self.changes += 1;
        }
        view.place = view.place.max(Some(place));
    }

    fn users(&mut self, view: &View, before: Option<u64>) {
        let (Some(told), room) = (view.users, &mut self.rooms[view.room]) else { return };
        if told > room.most {
            (room.most, room.told_most) = (told, 1);
        } else if told == room.most && before != Some(told) {
            room.told_most += 1;
        } else if told < room.most && before == Some(room.most) {
            room.told_most -= 1;
        }
        self.changes += 1;
    }
}

impl Load for Arrival {
    fn due_ns(&self) -> u64 {
        u64::MAX
    }

    fn do_due(&mut self, _: &mut Crowd, _: u64) -> Result<(), BenchError> {
        Ok(())
    }

    fn attended(&mut self, crowd: &mut Crowd, number: usize) -> Result<(), BenchError> {
        let client = &mut crowd.clients[number];
        if self.shows_nothing && client.is_open() && client.view.place.is_none() {
            self.greet(&mut client.view, 0);
        }
        Ok(())
    }

    fn ended(&mut self, _: &mut Crowd, number: usize, ending: Ending) -> Result<(), BenchError> {
        Err(BenchError::Join(format!("client {number} was let go: {ending}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::traffic::Kind;

    #[test]
    fn all_have_arrived_when_each_has_a_place_and_all_know_the_same_number() {
        let mut arrival = Arrival::new(1, Protocol::Classic);
        (arrival.clients, arrival.rooms[0].clients) = (2, 2);
        let mut views = [(); 2].map(|()| View::new(Kind::Steady, 0));
        let mut tell = |arrival: &mut Arrival, client: usize, count| {
            let before = views[client].users.replace(count);
            arrival.users(&views[client], before);
        };
        tell(&mut arrival, 0, 1);
        tell(&mut arrival, 0, 2);
        arrival.with_place = 2;
        assert!(!arrival.is_complete(), "one does not know the other");
        tell(&mut arrival, 1, 2);
        assert!(arrival.is_complete());
        tell(&mut arrival, 1, 3);
        assert!(!arrival.is_complete(), "somebody else came, and one was not told");
        tell(&mut arrival, 0, 3);
        assert!(arrival.is_complete());
    }
}
