//! All clients of a load, on one thread and one poll.

use super::{
    alarm::Alarm,
    client::{Client, Dial, Ending, Observer, Tools},
    error::BenchError,
    traffic::{Kind, View},
};
use mio::{Events, Poll, Token, event::Event};
use slab::Slab;
use std::{io::ErrorKind, time::Duration};

/// So many sockets are looked after between two polls.
const EVENTS_PER_TURN: usize = 1024;

/// What is done with a crowd.
pub trait Load: Observer {
    /// When [`Load::do_due`] is to be called, in nanoseconds of the run's clock.
    fn due_ns(&self) -> u64;

    /// Does what is due.
    fn do_due(&mut self, crowd: &mut Crowd, now_ns: u64) -> Result<(), BenchError>;

    /// A client has read or written what it could.
    fn attended(&mut self, crowd: &mut Crowd, client: usize) -> Result<(), BenchError>;

    /// A client's connection has ended, though it did not leave.
    fn ended(&mut self, crowd: &mut Crowd, client: usize, ending: Ending)
    -> Result<(), BenchError>;
}

/// Clients of one server.
pub struct Crowd {
    /// How they come in.
    pub dial: Dial,
    /// The clients. Those that stay have the first numbers.
    pub clients: Slab<Client>,
    /// What they share.
    pub tools: Tools,
    /// Slow clients are read by [`Crowd::read`] only, and stalled ones not at all.
    pub holds_back: bool,
    poll: Poll,
    alarm: Alarm,
    /// Not there while it is gone through.
    ready: Option<Events>,
    /// How many are shaking hands.
    pub shaking_hands: usize,
    /// When a client had something to read or write last.
    pub last_event_ns: u64,
}

impl Crowd {
    /// A crowd that nobody has joined yet.
    pub fn new(dial: Dial) -> Result<Self, BenchError> {
        let failed = |error| BenchError::System("epoll", error);
        let poll = Poll::new().map_err(failed)?;
        let alarm = Alarm::new(poll.registry()).map_err(failed)?;
        Ok(Self {
            tools: Tools::new(dial.protocol),
            dial,
            clients: Slab::new(),
            holds_back: false,
            poll,
            alarm,
            ready: Some(Events::with_capacity(EVENTS_PER_TURN)),
            shaking_hands: 0,
            last_event_ns: 0,
        })
    }

    /// Lets one more client begin to connect. Returns its number.
    pub fn connect(&mut self, view: View) -> Result<usize, BenchError> {
        let entry = self.clients.vacant_entry();
        let number = entry.key();
        entry.insert(Client::connect(number, &self.dial, view, self.poll.registry())?);
        self.shaking_hands += 1;
        Ok(number)
    }

    /// Waits until something can be read or written, or `load` has something to do, or until
    /// `until_ns`, and does it.
    pub fn turn(&mut self, load: &mut impl Load, until_ns: u64) -> Result<(), BenchError> {
        let mut ready = self.ready.take().unwrap_or_else(|| Events::with_capacity(EVENTS_PER_TURN));
        let now_ns = self.tools.clock_ns();
        let wait_ns = load.due_ns().min(until_ns).saturating_sub(now_ns);
        let timeout = (wait_ns == 0).then_some(Duration::ZERO);
        if wait_ns > 0 {
            let set = self.alarm.set(now_ns + wait_ns, wait_ns);
            set.map_err(|error| BenchError::System("a timer", error))?;
        }
        match self.poll.poll(&mut ready, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => ready.clear(),
            polled => polled.map_err(|error| BenchError::System("epoll", error))?,
        }
        self.tools.read_ns = self.tools.clock_ns();
        for event in &ready {
            match event.token() {
                Alarm::TOKEN => self.alarm.rang(),
                Token(number) => self.attend(number, event, load)?,
            }
            if load.due_ns() <= self.tools.read_ns {
                load.do_due(self, self.tools.read_ns)?;
            }
        }
        self.ready = Some(ready);
        let now_ns = self.tools.clock_ns();
        if load.due_ns() <= now_ns { load.do_due(self, now_ns) } else { Ok(()) }
    }

    fn attend(
        &mut self,
        number: usize,
        event: &Event,
        load: &mut impl Load,
    ) -> Result<(), BenchError> {
        // It may have gone a moment ago.
        let Some(client) = self.clients.get_mut(number) else { return Ok(()) };
        if client.is_gone() {
            return Ok(());
        }
        self.last_event_ns = self.tools.read_ns;
        if !client.is_open() && event.is_writable() {
            client.ask_for_upgrade(&self.dial)?;
        }
        let has_ended = event.is_read_closed() || event.is_error();
        let limit = match client.view.kind {
            Kind::Slow if self.holds_back => 0,
            Kind::Stalled if self.holds_back && !has_ended => 0,
            _ => usize::MAX,
        };
        self.read(number, limit, has_ended, load)
    }

    /// Lets a client send what it has to say, and read `limit` bytes at most.
    pub fn read(
        &mut self,
        number: usize,
        limit: usize,
        has_ended: bool,
        load: &mut impl Load,
    ) -> Result<(), BenchError> {
        let client = &mut self.clients[number];
        let was_open = client.is_open();
        let mut ending = client.flush();
        if ending.is_none() {
            ending = client.read(limit, has_ended, &self.dial, &mut self.tools, load)?;
        }
        // What it has to answer.
        ending = ending.or_else(|| client.flush());
        let is_open = client.is_open();
        if !was_open && (is_open || ending.is_some()) {
            self.shaking_hands -= 1;
        }
        match ending {
            Some(ending) => {
                client.end();
                load.ended(self, number, ending)
            }
            None => load.attended(self, number),
        }
    }

    /// Forgets a client, which closes its connection.
    pub fn forget(&mut self, number: usize) {
        let client = self.clients.remove(number);
        self.shaking_hands -= usize::from(!client.is_open() && !client.is_gone());
    }
}
