//! One load on one server.

use super::{
    BenchArguments,
    action::Action,
    address::Address,
    arrival::Arrival,
    churn::Churn,
    client::Dial,
    crowd::Crowd,
    error::BenchError,
    options::{LoadArguments, Protocol, Rate},
    outcome::{Outcome, ServerUse, Setting, Traffic as TrafficOutcome},
    progress::Progress,
    report,
    run::{Readers, Run, Sending},
    schedule::Schedule,
    table,
    traffic::{Kind, Traffic, View},
    usage::{self, CpuTime},
};
use crate::cli::Failure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{io::Write, process, process::ExitCode};

/// Open files beside the connections of those that stay.
const OTHER_FILES: u64 = 64;
/// By default, so many clients share a source address on the loopback network: fewer than there are
/// ports for one address.
const CLIENTS_PER_SOURCE: usize = 20_000;
/// So long nothing may come while clients have not seen the value that all actions lead to.
const AGREE_NS: u64 = 30_000_000_000;
/// So long all of that may take: a server that was sent more than it takes has much to do.
const AGREE_IN_ALL_NS: u64 = 300_000_000_000;
/// So long slow clients have.
const SLOW_AGREE_NS: u64 = 60_000_000_000;
const NS_PER_S: f64 = 1e9;

/// Loads a server and prints what its clients saw.
pub fn run(arguments: &BenchArguments) -> Result<ExitCode, Failure> {
    let outcome = measure(&arguments.load)?;
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&outcome).map_err(Failure::running)?,
        false => table::of(&outcome),
    };
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stdout(), "{text}");
    if let Some(path) = &arguments.report {
        report::write(path, &outcome)?;
    }
    let is_good = outcome.broken_promises().is_empty();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Outcome {
    /// What the server did not do that it has to: show everything in order, to the same end, and let
    /// nobody go that keeps up.
    pub fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if let Some(traffic) = &self.traffic {
            if !traffic.in_order {
                broken.push("values out of order".to_owned());
            }
            if !traffic.agree {
                broken.push("clients that do not agree".to_owned());
            }
        }
        if self.lost.steady > 0 {
            broken.push(format!("{} steady clients lost", self.lost.steady));
        }
        broken
    }
}

/// Loads a server.
///
/// # Errors
/// [`BenchError`], with what to do about it.
pub fn measure(arguments: &LoadArguments) -> Result<Outcome, BenchError> {
    let mut plan = Plan::new(arguments)?;
    let action = plan.action.take();
    let sends = action.is_some();
    let memory_before = plan.server_memory()?;
    let mut crowd = Crowd::new(plan.dial()?)?;
    let mut progress = Progress::new(arguments.seconds, 0);
    progress.say(&format!("{} clients connect to {}", plan.clients, arguments.url));
    let mut arrival = Arrival::new(plan.rooms, arguments.protocol);
    let connect = arrival.join(&mut crowd, plan.views())?;
    arrival.settle(&mut crowd)?;
    let memory_idle = plan.server_memory()?;
    plan.send_first(&mut arrival, &mut crowd)?;
    crowd.holds_back = true;

    let mut run = plan.run(&mut crowd, progress)?;
    if let Some(action) = action {
        let sending = plan.sending(action, crowd.tools.clock_ns());
        run.start(&mut crowd, sending)?;
    }
    let window = plan.measured(&mut crowd, &mut run)?;
    run.stop();
    let agree = sends.then(|| agree(&mut crowd, &mut run)).transpose()?;
    // Those who are not there any more do not see what the others see.
    let agree = agree.map(|agree| agree && run.lost.steady == 0);
    run.clear_progress();

    let views = crowd.clients.iter().map(|(_, client)| &client.view);
    let traffic = agree.map(|agree| traffic_outcome(&run.traffic, agree, views));
    let events = traffic.as_ref().map_or(0, |traffic| traffic.events);
    let memory = memory_before.zip(memory_idle).zip(window.memory_peak);
    let server = window.server_cpu_s.zip(memory).map(|(cpu_s, ((before, idle), peak))| {
        plan.server_use(cpu_s, window.seconds, events, [before, idle, peak])
    });
    let lost = run.take_lost();
    Ok(Outcome {
        setting: Setting::here(&arguments.url, plan.clients, if sends { plan.senders } else { 0 }),
        connect,
        traffic,
        lost,
        server,
        own_core_share: window.own_cpu_s / window.seconds.max(f64::MIN_POSITIVE),
    })
}

/// What the arguments mean.
struct Plan<'a> {
    arguments: &'a LoadArguments,
    address: Address,
    rooms: usize,
    clients: usize,
    senders: usize,
    slow: usize,
    stalled: usize,
    action: Option<Action>,
    first: Option<Action>,
}

/// What was measured of processes.
struct Window {
    seconds: f64,
    own_cpu_s: f64,
    server_cpu_s: Option<f64>,
    memory_peak: Option<u64>,
}

impl<'a> Plan<'a> {
    /// Looks whether the arguments fit each other, and this machine.
    fn new(arguments: &'a LoadArguments) -> Result<Self, BenchError> {
        let LoadArguments { rooms, clients, stall, .. } = *arguments;
        let slow = match arguments.slow {
            Some(_) => arguments.slow_clients.unwrap_or(clients.div_ceil(10)),
            None => 0,
        };
        let senders = if arguments.idle { 0 } else { arguments.senders };
        let plan = Self {
            arguments,
            address: Address::parse(&arguments.url)?,
            rooms,
            clients,
            senders,
            slow,
            stalled: stall,
            action: (!arguments.idle).then(|| Action::of(arguments)).transpose()?,
            first: Action::first(arguments)?,
        };
        plan.check()?;
        allow_open_files(clients as u64 + (4.0 * arguments.churn) as u64)?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), BenchError> {
        let LoadArguments { protocol, exactly_once, deflate, source_ips, churn, .. } =
            *self.arguments;
        let Self { rooms, clients, senders, slow, stalled, .. } = *self;
        let is_text = protocol == Protocol::Text;
        let problems = [
            (clients == 0, "--clients: at least one".to_owned()),
            (senders == 0 && !self.arguments.idle, "--senders: at least one, or --idle".to_owned()),
            (
                senders + slow + stalled > clients,
                format!(
                    "{senders} --senders, {slow} slow and {stalled} stalled ones are more than \
                     {clients} --clients: no client is two of these"
                ),
            ),
            (
                rooms == 0 || rooms > clients,
                "--rooms: from 1 to the number of --clients".to_owned(),
            ),
            (
                rooms > 1 && !self.address.has_rooms() && !is_text,
                "--rooms: put {room} into the path of --url, such as ws://localhost:6789/{room}"
                    .to_owned(),
            ),
            (
                exactly_once && protocol != Protocol::V1,
                "--exactly-once is part of --protocol v1".to_owned(),
            ),
            (
                is_text && senders > rooms,
                "--protocol text: at most one of the --senders for each of the --rooms, since no \
                 order is promised among several"
                    .to_owned(),
            ),
            (
                source_ips == Some(0)
                    || source_ips.is_some_and(|ips| ips > 1) && !self.is_on_loopback(),
                "--source-ips: from 1, and only on a loopback network".to_owned(),
            ),
            (!(0.0..=100_000.0).contains(&churn), "--churn: a number from 0 to 100000".to_owned()),
            (
                deflate && protocol == Protocol::SocketIo,
                "--deflate is not for --protocol socket.io".to_owned(),
            ),
            (self.arguments.seconds == 0.0, "--seconds: more than 0".to_owned()),
        ];
        match problems.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, problem)) => Err(BenchError::Argument(problem)),
            None => Ok(()),
        }
    }

    fn is_on_loopback(&self) -> bool {
        self.address.socket.is_ipv4() && self.address.socket.ip().is_loopback()
    }

    fn dial(&self) -> Result<Dial, BenchError> {
        let needed =
            if self.is_on_loopback() { self.clients.div_ceil(CLIENTS_PER_SOURCE) } else { 1 };
        let needed = u8::try_from(needed)
            .map_err(|_| BenchError::Argument("--clients: too many for one machine".to_owned()))?;
        // The server remembers them over runs: each run has its own.
        let identity = || format!("bench-{:016x}", fastrand::u64(..));
        Ok(Dial {
            server: self.address.clone(),
            protocol: self.arguments.protocol,
            identity: self.arguments.exactly_once.then(identity),
            deflate: self.arguments.deflate,
            source_ips: self.arguments.source_ips.unwrap_or(needed),
            receive_buffer_bytes: self.arguments.receive_buffer,
        })
    }

    /// Senders come first, then those that only look on, then slow ones, then stalled ones.
    fn views(&self) -> impl ExactSizeIterator<Item = View> {
        let Self { rooms, clients, senders, slow, stalled, .. } = *self;
        let is_text = self.arguments.protocol == Protocol::Text;
        (0..clients).map(move |number| {
            let room = number % rooms;
            // A relay shows what is sent to all others; where there are none, it is an echo.
            let has_company = room + rooms < clients;
            let kind = if number >= clients - stalled {
                Kind::Stalled
            } else if number >= clients - stalled - slow {
                Kind::Slow
            } else if is_text && number < senders && has_company {
                Kind::Speaker
            } else {
                Kind::Steady
            };
            View::new(kind, room)
        })
    }

    fn server_memory(&self) -> Result<Option<u64>, BenchError> {
        let memory = self.arguments.pid.map(usage::resident_bytes);
        memory.transpose().map_err(process_error)
    }

    /// The first client of each room sends what is sent once.
    fn send_first(&self, arrival: &mut Arrival, crowd: &mut Crowd) -> Result<(), BenchError> {
        let Some(first) = &self.first else { return Ok(()) };
        let mut text = Vec::new();
        for number in 0..self.rooms {
            let client = &mut crowd.clients[number];
            client.sent += 1;
            first.render(0, client.sent, &mut text);
            client.say(&text);
            // If it cannot be sent, nothing comes back.
            let _ = client.flush();
        }
        arrival.settle_after_answer(crowd)
    }

    fn run(&self, crowd: &mut Crowd, progress: Progress) -> Result<Run, BenchError> {
        if self.rooms > 1 && crowd.tools.reader.is_by_position() {
            return Err(BenchError::Argument(
                "--rooms: only with rooms whose state is a number; the positions of others are \
                 counted over all rooms"
                    .to_owned(),
            ));
        }
        let now_ns = crowd.tools.clock_ns();
        let is_closed_loop = self.arguments.rate == Rate::Max;
        let views = crowd.clients.iter().map(|(_, client)| &client.view);
        let traffic = Traffic::new(self.rooms, is_closed_loop, views);
        if let Some((number, _)) =
            crowd.clients.iter().find(|(_, client)| !traffic.is_at_end(&client.view))
        {
            return Err(BenchError::Join(format!(
                "client {number} was not shown what others in its room were: does somebody else \
                 act there?"
            )));
        }
        let readers = Readers {
            clients: self.clients,
            slow: self.clients - self.stalled - self.slow..self.clients - self.stalled,
            slow_bytes_per_s: self.arguments.slow.unwrap_or(0),
        };
        let per_s = self.arguments.churn;
        let churn = (per_s > 0.0).then(|| Churn::new(per_s, self.rooms, now_ns));
        Ok(Run::new(traffic, readers, churn, self.arguments.pid, progress))
    }

    fn sending(&self, action: Action, now_ns: u64) -> Sending {
        let schedule = match self.arguments.rate {
            Rate::PerSecond(rate) => Some(Schedule::new(now_ns, rate, self.senders as u64)),
            Rate::Max => None,
        };
        Sending { action, senders: self.senders, schedule, text: Vec::new() }
    }

    /// Takes turns for the time before it is measured, and for the time in which it is.
    fn measured(&self, crowd: &mut Crowd, run: &mut Run) -> Result<Window, BenchError> {
        let own = || CpuTime::of(process::id()).map_err(process_error);
        let server = || self.arguments.pid.map(CpuTime::of).transpose().map_err(process_error);
        let now_ns = crowd.tools.clock_ns();
        turn_until(crowd, run, now_ns + (self.arguments.warmup * NS_PER_S) as u64)?;

        let (own_before, server_before) = (own()?, server()?);
        let begin_ns = crowd.tools.clock_ns();
        run.traffic.record.begin(begin_ns);
        run.start_measuring();
        turn_until(crowd, run, begin_ns + (self.arguments.seconds * NS_PER_S) as u64)?;
        run.traffic.record.end(crowd.tools.clock_ns());

        let own_cpu_s = own()?.since(own_before).as_secs_f64();
        // A server that has ended took its connections with it, which is told.
        let after = self.arguments.pid.and_then(|pid| CpuTime::of(pid).ok());
        let memory = self.arguments.pid.and_then(|pid| usage::resident_bytes(pid).ok());
        Ok(Window {
            seconds: run.traffic.record.lasted().as_secs_f64(),
            own_cpu_s,
            server_cpu_s: after
                .zip(server_before)
                .map(|(after, before)| after.since(before).as_secs_f64()),
            memory_peak: memory.map(|memory| memory.max(run.memory_peak_bytes)),
        })
    }

    fn server_use(&self, cpu_s: f64, seconds: f64, events: u64, memory: [u64; 3]) -> ServerUse {
        let [before, idle, peak] = memory;
        ServerUse {
            cpu_s,
            core_share: cpu_s / seconds.max(f64::MIN_POSITIVE),
            cpu_us_per_event: (events > 0).then(|| cpu_s * 1e6 / events as f64),
            memory_before_bytes: before,
            memory_idle_bytes: idle,
            memory_per_client_bytes: idle.saturating_sub(before) as f64 / self.clients as f64,
            memory_peak_bytes: peak,
            memory_growth_bytes: peak.saturating_sub(idle),
        }
    }
}

fn process_error(error: std::io::Error) -> BenchError {
    BenchError::System("--pid: what a process uses cannot be read from /proc", error)
}

fn turn_until(crowd: &mut Crowd, run: &mut Run, until_ns: u64) -> Result<(), BenchError> {
    // Where nobody is left, nothing happens any more.
    while crowd.tools.clock_ns() < until_ns && run.someone_is_there() {
        crowd.turn(run, until_ns)?;
    }
    Ok(())
}

/// Waits until all clients are where all actions lead to. Returns whether they are.
fn agree(crowd: &mut Crowd, run: &mut Run) -> Result<bool, BenchError> {
    let began_ns = crowd.tools.clock_ns();
    loop {
        let now_ns = crowd.tools.clock_ns();
        let waits_for_steady = !run.traffic.is_over();
        if !waits_for_steady && !run.waits_for_slow(crowd) {
            return Ok(true);
        }
        let deadline_ns = match waits_for_steady {
            true => {
                (began_ns.max(run.traffic.last_seen_ns) + AGREE_NS).min(began_ns + AGREE_IN_ALL_NS)
            }
            false => began_ns.max(run.traffic.last_seen_ns) + SLOW_AGREE_NS,
        };
        if now_ns > deadline_ns {
            return Ok(false);
        }
        crowd.turn(run, deadline_ns)?;
    }
}

fn traffic_outcome<'a>(
    traffic: &Traffic,
    agree: bool,
    views: impl Iterator<Item = &'a View>,
) -> TrafficOutcome {
    let record = &traffic.record;
    let seconds = record.lasted().as_secs_f64();
    let saw_all = |view: &&View| view.kind == Kind::Steady && !view.has_skipped;
    TrafficOutcome {
        seconds,
        actions: record.actions,
        actions_per_s: record.actions as f64 / seconds,
        events: record.events,
        events_per_s: record.events as f64 / seconds,
        skipped: record.skipped,
        in_order: traffic.in_order,
        clients_that_saw_all: views.filter(saw_all).count(),
        agree,
        agree_after_s: traffic.last_seen_ns.saturating_sub(traffic.last_sent_ns) as f64 / NS_PER_S,
        sender: record.sender.latency(),
        every: record.every().latency(),
        last: record.last.latency(),
        age: record.age.latency(),
        timeline: record.timeline().to_vec(),
    }
}

/// Raises this process's limit of open files as far as it is allowed to.
fn allow_open_files(connections: u64) -> Result<(), BenchError> {
    let limit = getrlimit(Resource::Nofile);
    // If it stays as it is, it may still be enough.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = connections + OTHER_FILES;
    if needed > allowed { Err(BenchError::OpenFiles { needed, allowed }) } else { Ok(()) }
}
