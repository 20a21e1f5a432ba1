//! All clients of a load, on one thread and one poll.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mio::{Events, Poll};

use crate::address::Address;
use crate::client::{Client, Observer, Speech};

/// So many handshakes are under way at a time: fewer than any server's backlog, or the kernel would
/// drop some and what is measured would be its timer for trying again.
const HANDSHAKES: usize = 256;
/// So many sockets are looked after between two looks at the clock.
const EVENTS_PER_TURN: usize = 1024;
/// All reads share one buffer. It holds what one client can be sent while all others are read.
const BUFFER_BYTES: usize = 256 * 1024;
/// A wait in which nothing at all happens for so long has failed.
const SILENCE: Duration = Duration::from_secs(15);
/// Everyone has to have joined by then.
const JOIN_DEADLINE: Duration = Duration::from_secs(120);

/// Clients of one server.
pub struct Crowd {
    server: Address,
    speech: Speech,
    poll: Poll,
    ready: Events,
    buffer: Vec<u8>,
    clients: Vec<Client>,
    /// How many of them have not joined yet.
    shaking_hands: usize,
    last_event: Instant,
    pace: Pace,
}

/// How a load keeps up with the server.
#[derive(Default)]
pub struct Pace {
    /// How often the load looked for clients with something to read.
    pub turns: u64,
    /// How many it found, in all.
    pub ready: u64,
}

impl Crowd {
    /// A crowd that nobody has joined yet.
    pub fn new(server: &Address, speech: Speech) -> Result<Crowd> {
        Ok(Crowd {
            server: server.clone(),
            speech,
            poll: Poll::new()?,
            ready: Events::with_capacity(EVENTS_PER_TURN),
            buffer: vec![0; BUFFER_BYTES],
            clients: Vec::new(),
            shaking_hands: 0,
            last_event: Instant::now(),
            pace: Pace::default(),
        })
    }

    /// The clients, in the order in which they joined.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// The clients, to be changed.
    pub fn clients_mut(&mut self) -> &mut [Client] {
        &mut self.clients
    }

    /// Lets clients join, as fast as the server takes them, until there are `clients` and each has
    /// a value and has been told that `users` are here, or however many if that is not known.
    /// Answers how long that took.
    pub fn join(&mut self, clients: usize, users: Option<u64>) -> Result<Duration> {
        let began = Instant::now();
        self.last_event = began;
        let mut arrival = Arrival { users, with_value: 0, agreeing: 0 };
        for client in &self.clients {
            arrival.with_value += usize::from(client.value.is_some());
            arrival.agreeing += usize::from(arrival.agrees(client.users));
        }
        while arrival.with_value.min(arrival.agreeing) < clients {
            self.connect_more(clients)?;
            self.turn(Duration::from_secs(1), &mut arrival)?;
            let is_late = began.elapsed() > JOIN_DEADLINE || self.last_event.elapsed() > SILENCE;
            ensure!(!is_late, "{}", self.describe_join(began, clients, &arrival));
        }
        Ok(began.elapsed())
    }

    fn connect_more(&mut self, clients: usize) -> Result<()> {
        while self.clients.len() < clients && self.shaking_hands < HANDSHAKES {
            let number = self.clients.len();
            self.clients.push(Client::connect(
                number,
                &self.server,
                self.speech,
                self.poll.registry(),
            )?);
            self.shaking_hands += 1;
        }
        Ok(())
    }

    fn describe_join(&self, began: Instant, clients: usize, arrival: &Arrival) -> String {
        let connected = self.clients.len() - self.shaking_hands;
        let Arrival { users, with_value, agreeing } = arrival;
        let users = users.map_or("whatever that is".to_owned(), |users| users.to_string());
        format!(
            "{:.1?} after {clients} clients began to join, and {:.1?} after the last event, \
             {connected} are connected, {with_value} know the value, \
             {agreeing} the number of users ({users})",
            began.elapsed(),
            self.last_event.elapsed(),
        )
    }

    /// What the load did since the last call.
    pub fn take_pace(&mut self) -> Pace {
        std::mem::take(&mut self.pace)
    }

    /// Waits for events, `timeout` at most, and lets the clients take those that came.
    pub fn turn(&mut self, timeout: Duration, observer: &mut impl Observer) -> Result<()> {
        match self.poll.poll(&mut self.ready, Some(timeout)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        self.pace.turns += 1;
        for event in &self.ready {
            self.pace.ready += 1;
            let client = &mut self.clients[event.token().0];
            if client.is_open() {
                client.read(event.is_read_closed(), &mut self.buffer, observer)?;
            } else {
                client.shake_hands(
                    &self.server,
                    self.poll.registry(),
                    &mut self.buffer,
                    observer,
                )?;
                self.shaking_hands -= usize::from(client.is_open());
            }
        }
        if !self.ready.is_empty() {
            self.last_event = Instant::now();
        }
        Ok(())
    }

    /// Takes turns for a while; answers how long it was.
    pub fn turn_for(
        &mut self,
        duration: Duration,
        observer: &mut impl Observer,
    ) -> Result<Duration> {
        let began = Instant::now();
        while let Some(rest) = duration.checked_sub(began.elapsed())
            && !rest.is_zero()
        {
            self.turn(rest, observer)?;
        }
        Ok(began.elapsed())
    }

    /// Takes turns until `done`. What is waited for is named in the failure, which comes after a
    /// long silence.
    pub fn turn_until<O: Observer>(
        &mut self,
        observer: &mut O,
        done: impl Fn(&O) -> bool,
        waited_for: impl Fn(&O) -> String,
    ) -> Result<()> {
        while !done(observer) {
            self.turn(Duration::from_secs(1), observer)?;
            let silence = self.last_event.elapsed();
            ensure!(
                silence < SILENCE,
                "no event for {SILENCE:?} while waiting for {}",
                waited_for(observer)
            );
        }
        Ok(())
    }
}

/// Counts those who have all that a newcomer gets.
struct Arrival {
    users: Option<u64>,
    with_value: usize,
    agreeing: usize,
}

impl Arrival {
    fn agrees(&self, told: Option<u64>) -> bool {
        told.is_some() && (self.users.is_none() || self.users == told)
    }
}

impl Observer for Arrival {
    fn state(&mut self, _client: &mut Client, before: Option<i64>, _value: i64) -> Result<()> {
        self.with_value += usize::from(before.is_none());
        Ok(())
    }

    fn users(&mut self, _client: &mut Client, before: Option<u64>, count: u64) -> Result<()> {
        self.agreeing -= usize::from(self.agrees(before));
        self.agreeing += usize::from(self.agrees(Some(count)));
        Ok(())
    }
}
