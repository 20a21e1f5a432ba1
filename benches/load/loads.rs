//! The loads: what is done to a server, and what is measured meanwhile.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::address::Address;
use crate::client::{Client, Observer, Speech};
use crate::crowd::{Crowd, Pace};
use crate::traffic::{Tally, Traffic};
use crate::usage::{self, CpuMeter, CpuTimes};

/// A server under load.
pub struct Target {
    /// Where it listens.
    pub address: Address,
    /// Its process, if it is ours to look at.
    pub pid: Option<u32>,
    /// How many others use it.
    pub others: u64,
    /// What the clients speak.
    pub speech: Speech,
}

/// What `one` and `sixteen` came to.
#[derive(Debug, Serialize)]
pub struct TrafficResult {
    /// `state` events that clients got in a second.
    pub events_per_second: f64,
    /// The server's processor time for each of them.
    pub cpu_us_per_event: Option<f64>,
    /// From sending an action until its sender saw the value: the median.
    pub sender_p50_ms: f64,
    /// The same, 99th percentile.
    pub sender_p99_ms: f64,
    /// From sending an action until the last client saw the value: the median.
    pub last_p50_ms: f64,
    /// The same, 99th percentile.
    pub last_p99_ms: f64,
    /// Values that clients were not shown, out of all that they should have been.
    pub skipped_percent: f64,
    /// `state` events that a client found at once, in the mean: how far the server merges writes.
    pub events_per_read: f64,
    /// How many clients had something to read when the load looked, in the mean. Near 1, the load
    /// waits for the server; near the number of clients, it may be the load that is measured.
    pub ready_per_turn: f64,
    /// How busy the machine was with anything else. Whatever that was took from both.
    pub other_cpu_percent: Option<f64>,
}

/// What `idle` came to.
#[derive(Debug, Serialize)]
pub struct IdleResult {
    /// How many connections there were.
    pub connections: usize,
    /// The server's resident memory with one connection.
    pub mib_before: f64,
    /// The same with all of them.
    pub mib_with_all: f64,
    /// What one of them adds.
    pub kib_per_connection: f64,
    /// The server's processor time while nothing was said, out of the time that passed.
    pub cpu_percent: f64,
}

/// What `join` came to.
#[derive(Debug, Serialize)]
pub struct JoinResult {
    /// How many joined.
    pub clients: usize,
    /// From the first connection until everyone has been told the true number of users, and has a
    /// value.
    pub seconds: f64,
    /// The most `users` events that a client got.
    pub users_events_max: u64,
    /// The `users` events that all clients got.
    pub users_events: u64,
    /// The server's processor time.
    pub cpu_seconds: Option<f64>,
}

/// `senders` of `clients` each send their next action when they see the value of the last one.
pub fn traffic(
    target: &Target,
    clients: usize,
    senders: usize,
    warm_up: Duration,
    seconds: Duration,
) -> Result<TrafficResult> {
    ensure!(
        (1..=clients).contains(&senders),
        "{senders} senders among {clients} clients do not go"
    );
    let mut crowd = Crowd::new(&target.address, target.speech)?;
    crowd.join(clients, Some(clients as u64 + target.others))?;
    let value = common_value(&crowd)?;
    let mut traffic = Traffic::new(clients, value);
    // Spread over all, as nobody knows whom a server writes to first.
    for sender in 0..senders {
        traffic.send(&mut crowd.clients_mut()[(2 * sender + 1) * clients / (2 * senders)])?;
    }
    crowd.turn_for(warm_up, &mut traffic)?;
    let window = Window::measure(&mut crowd, &mut traffic, target, seconds)?;
    traffic.stop();
    crowd.turn_until(&mut traffic, Traffic::is_over, Traffic::describe_wait)?;
    check_end(&crowd, &traffic)?;
    window.summarise()
}

/// The stretch of time that is measured.
struct Window {
    lasted: Duration,
    tally: Tally,
    cpu: CpuTimes,
    pace: Pace,
}

impl Window {
    fn measure(
        crowd: &mut Crowd,
        traffic: &mut Traffic,
        target: &Target,
        seconds: Duration,
    ) -> Result<Window> {
        // What came before is not looked at.
        traffic.take_tally();
        crowd.take_pace();
        let meter = CpuMeter::start(target.pid)?;
        let lasted = crowd.turn_for(seconds, traffic)?;
        let cpu = meter.read()?;
        let (tally, pace) = (traffic.take_tally(), crowd.take_pace());
        Ok(Window { lasted, tally, cpu, pace })
    }

    fn summarise(self) -> Result<TrafficResult> {
        let Window { lasted, mut tally, cpu, pace } = self;
        ensure!(
            !tally.until_sender.is_empty() && !tally.until_last.is_empty(),
            "no action was seen by all clients in {lasted:?}: measure for longer"
        );
        tally.until_sender.sort_unstable();
        tally.until_last.sort_unstable();
        let events = tally.delivered as f64;
        Ok(TrafficResult {
            events_per_second: events / lasted.as_secs_f64(),
            cpu_us_per_event: cpu.server.map(|cpu| cpu.as_secs_f64() * 1e6 / events),
            sender_p50_ms: percentile_ms(&tally.until_sender, 50),
            sender_p99_ms: percentile_ms(&tally.until_sender, 99),
            last_p50_ms: percentile_ms(&tally.until_last, 50),
            last_p99_ms: percentile_ms(&tally.until_last, 99),
            skipped_percent: 100.0 * tally.skipped as f64 / (events + tally.skipped as f64),
            events_per_read: events / pace.ready as f64,
            ready_per_turn: pace.ready as f64 / pace.turns as f64,
            other_cpu_percent: cpu
                .server
                .map(|_| 100.0 * cpu.others.as_secs_f64() / lasted.as_secs_f64()),
        })
    }
}

/// The smallest latency that is not below `percent` of all; they must be sorted.
fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

/// The value that all clients know.
fn common_value(crowd: &Crowd) -> Result<i64> {
    let value = crowd.clients()[0].value.context("a client without a value has joined")?;
    for (number, client) in crowd.clients().iter().enumerate() {
        ensure!(
            client.value == Some(value),
            "client 0 knows {value}, client {number} {:?}, and nobody here sends: who else does?",
            client.value
        );
    }
    Ok(value)
}

fn check_end(crowd: &Crowd, traffic: &Traffic) -> Result<()> {
    let value = common_value(crowd)?;
    let target = traffic.target();
    ensure!(
        value == target,
        "all clients have seen {value}, but the actions that were sent lead to {target}"
    );
    Ok(())
}

/// `connections` are made, and then say nothing for a while.
pub fn idle(target: &Target, connections: usize, seconds: Duration) -> Result<IdleResult> {
    let pid =
        target.pid.context("the memory of a server that runs elsewhere cannot be measured")?;
    let mut crowd = Crowd::new(&target.address, target.speech)?;
    // The first connection pays for what all share: pages of code, tables, buffers.
    crowd.join(1, Some(1))?;
    let before = usage::resident_bytes(pid)?;
    crowd.join(connections, Some(connections as u64))?;
    let meter = CpuMeter::start(target.pid)?;
    let watched = crowd.turn_for(seconds, &mut Nothing)?;
    let cpu = meter.read()?.server.unwrap_or_default();
    let with_all = usage::resident_bytes(pid)?;
    const MIB: f64 = 1024.0 * 1024.0;
    let added = with_all as f64 - before as f64;
    Ok(IdleResult {
        connections,
        mib_before: before as f64 / MIB,
        mib_with_all: with_all as f64 / MIB,
        kib_per_connection: added / 1024.0 / connections.saturating_sub(1).max(1) as f64,
        cpu_percent: 100.0 * cpu.as_secs_f64() / watched.as_secs_f64(),
    })
}

/// Nobody sends, so nothing is shown.
struct Nothing;

impl Observer for Nothing {
    fn state(&mut self, _client: &mut Client, _before: Option<i64>, value: i64) -> Result<()> {
        anyhow::bail!("a client was shown the value {value}, though nobody sends")
    }
}

/// `clients` join at once.
pub fn join(target: &Target, clients: usize) -> Result<JoinResult> {
    let mut crowd = Crowd::new(&target.address, target.speech)?;
    let meter = CpuMeter::start(target.pid)?;
    let took = crowd.join(clients, Some(clients as u64 + target.others))?;
    let cpu = meter.read()?.server;
    let users_events = || crowd.clients().iter().map(|client| client.users_events);
    Ok(JoinResult {
        clients,
        seconds: took.as_secs_f64(),
        users_events_max: users_events().max().unwrap_or(0),
        users_events: users_events().sum(),
        cpu_seconds: cpu.map(|cpu| cpu.as_secs_f64()),
    })
}

/// How many use a running server, before any load does.
pub fn count_others(address: &Address) -> Result<u64> {
    let mut crowd = Crowd::new(address, Speech::Classic)?;
    crowd.join(1, None)?;
    let users = crowd.clients()[0].users.unwrap_or(1);
    Ok(users.saturating_sub(1))
}
