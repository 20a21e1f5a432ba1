//! Senders that each keep one action under way, and what becomes of it.
//!
//! No state says whose action made a value. So actions are matched with values
//! by their order: the `n`th action that was sent answers for the `n`th value. With one sender that
//! is exact. With several, two actions that are under way at the same time may be taken for each
//! other, which leaves every count and the mean of the latencies as they are.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::{Client, Observer};

/// Actions under way, and the tally of those that were.
pub struct Traffic {
    clients: usize,
    sending: bool,
    /// The value once all actions that were sent are applied.
    target: i64,
    /// The actions that some client has not seen the value of. The last one leads to `target`.
    flights: VecDeque<Flight>,
    tally: Tally,
}

struct Flight {
    sent: Instant,
    /// How many clients have seen its value, or a later one.
    seen_by: usize,
}

/// What clients saw within a stretch of time.
#[derive(Default)]
pub struct Tally {
    /// `state` events, over all clients.
    pub delivered: u64,
    /// Values that clients were not shown because they got a newer one at once.
    pub skipped: u64,
    /// From sending an action until its sender saw the value.
    pub until_sender: Vec<Duration>,
    /// From sending an action until the last of all clients saw the value, or a later one.
    pub until_last: Vec<Duration>,
}

impl Traffic {
    /// No traffic yet: all of `clients` know `value`.
    pub fn new(clients: usize, value: i64) -> Traffic {
        Traffic {
            clients,
            sending: true,
            target: value,
            flights: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Lets a client send; it goes on by itself whenever it sees the answer to its last action.
    pub fn send(&mut self, client: &mut Client) -> Result<()> {
        self.target += 1;
        self.flights.push_back(Flight { sent: Instant::now(), seen_by: 0 });
        client.awaited = Some(self.target);
        client.plus()
    }

    /// From now on nobody sends another action.
    pub fn stop(&mut self) {
        self.sending = false;
    }

    /// Whether every client has seen every action's value.
    pub fn is_over(&self) -> bool {
        self.flights.is_empty()
    }

    /// The value once all actions that were sent are applied.
    pub fn target(&self) -> i64 {
        self.target
    }

    /// What has been seen since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// The first action that is still under way.
    pub fn describe_wait(&self) -> String {
        let seen_by = self.flights.front().map_or(self.clients, |flight| flight.seen_by);
        let value = self.first_value();
        format!(
            "the value {value}, which {seen_by} of {} clients have seen; {} was asked for",
            self.clients, self.target
        )
    }

    /// The value that the first of the flights leads to.
    fn first_value(&self) -> i64 {
        self.target + 1 - self.flights.len() as i64
    }

    fn flight(&mut self, value: i64) -> &mut Flight {
        let index = value - self.first_value();
        &mut self.flights[index as usize]
    }

    /// A sender has the answer to its action.
    fn answer(&mut self, client: &mut Client, awaited: i64) -> Result<()> {
        client.awaited = None;
        let latency = self.flight(awaited).sent.elapsed();
        self.tally.until_sender.push(latency);
        if self.sending { self.send(client) } else { Ok(()) }
    }

    /// One more client has seen `value`.
    fn count_seen(&mut self, value: i64) {
        let clients = self.clients;
        let flight = self.flight(value);
        flight.seen_by += 1;
        // All clients see the values in one order, so it is always the first flight that ends.
        if flight.seen_by == clients {
            let latency = flight.sent.elapsed();
            self.tally.until_last.push(latency);
            self.flights.pop_front();
        }
    }
}

impl Observer for Traffic {
    fn state(&mut self, client: &mut Client, before: Option<i64>, value: i64) -> Result<()> {
        let before = before.context("a client joined in the middle of the traffic")?;
        let target = self.target;
        ensure!(
            value <= target,
            "a client was shown the value {value}, but the actions sent only lead to {target}"
        );
        self.tally.delivered += 1;
        self.tally.skipped += value.abs_diff(before) - 1;
        if let Some(awaited) = client.awaited
            && value >= awaited
        {
            self.answer(client, awaited)?;
        }
        (before + 1..=value).for_each(|value| self.count_seen(value));
        Ok(())
    }
}
