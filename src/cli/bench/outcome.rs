//! What a run measured. This is also the form of `--json`, which `--compare` and reports read.

use serde::{Deserialize, Serialize};

/// What a run measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Where, when and how.
    pub setting: Setting,
    /// How the clients came in.
    pub connect: Connect,
    /// What was sent and delivered; `None` if nobody sent anything.
    pub traffic: Option<Traffic>,
    /// Clients that are not there any more at the end, by why.
    pub lost: Lost,
    /// What the server's process used; `None` if it is not known which one it is.
    pub server: Option<ServerUse>,
    /// The share of one core that this program used while it measured. Near 1, it may have been
    /// what was slow.
    pub own_core_share: f64,
}

/// Where, when and how it was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setting {
    /// The day and minute, in UTC.
    pub date: String,
    /// The version of this program.
    pub version: String,
    /// Name and release of the kernel.
    pub kernel: String,
    /// The processor's model.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The arguments of `bench`.
    pub arguments: String,
    /// The server's URL.
    pub url: String,
    /// Clients that were there in the measured time.
    pub clients: usize,
    /// How many of them sent.
    pub senders: usize,
}

/// How the clients came in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connect {
    /// From the first connect to the time when all were there, had the state, and were told the
    /// true number of users.
    pub seconds: f64,
    /// Clients a second.
    pub clients_per_s: f64,
    /// The most `users` events that any client got until then.
    pub most_users_events: u64,
}

/// What was sent and delivered in the measured time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Traffic {
    /// The measured time.
    pub seconds: f64,
    /// Actions that were sent.
    pub actions: u64,
    /// The same for each second.
    pub actions_per_s: f64,
    /// States that were delivered, to all clients together. A state that a client skipped does not
    /// count.
    pub events: u64,
    /// The same for each second.
    pub events_per_s: f64,
    /// States that clients skipped, because the server showed them a newer one instead.
    pub skipped: u64,
    /// Whether every client saw values in order, none of them twice.
    pub in_order: bool,
    /// Clients that saw every value.
    pub clients_that_saw_all: usize,
    /// Whether all clients had the value that all actions lead to, at the end.
    pub agree: bool,
    /// From the last action to the time when they had.
    pub agree_after_s: f64,
    /// From an action to its event at the client that sent it.
    pub sender: Latency,
    /// From an action to its event at each client.
    pub every: Latency,
    /// From an action to its event at the last client that got it.
    pub last: Latency,
    /// How old what clients show is: the time since somebody was first shown something newer. 0 if
    /// nobody was. Looked at for all clients at fixed times.
    pub age: Latency,
    /// What happened in each second.
    pub timeline: Vec<Second>,
}

/// A distribution of times, in milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many times were measured.
    pub count: u64,
    /// Half were no longer.
    pub p50_ms: f64,
    /// 90 % were no longer.
    pub p90_ms: f64,
    /// 99 % were no longer.
    pub p99_ms: f64,
    /// 99.9 % were no longer.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Points of the distribution, with rising share: for plots.
    pub curve: Vec<Quantile>,
}

/// A point of a distribution.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Quantile {
    /// This share, from 0 to 1, ...
    pub share: f64,
    /// ... was no longer than this.
    pub ms: f64,
}

/// What happened in a second of the measured time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Second {
    /// Its end, from the beginning of the measured time; the last may be shorter than a second.
    pub end_s: f64,
    /// Actions that were sent in it.
    pub actions: u64,
    /// States that were delivered in it, to all clients together.
    pub events: u64,
    /// Half of those took no longer from their action.
    pub p50_ms: f64,
    /// 99 % of those took no longer from their action.
    pub p99_ms: f64,
}

/// Clients that are not there any more at the end, though they did not leave.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Lost {
    /// Of those that read as fast as they could.
    pub steady: usize,
    /// Of those that stopped reading (`--stall`).
    pub stalled: usize,
    /// Of those that read slowly (`--slow`).
    pub slow: usize,
    /// How each kind of end was said, and how often: a close code with its reason, or an error.
    pub reasons: Vec<(String, usize)>,
}

/// What the server's process used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerUse {
    /// Processor time in the measured time, of all its threads.
    pub cpu_s: f64,
    /// The same as a share of one core.
    pub core_share: f64,
    /// The same for each delivered event; `None` if there was none.
    pub cpu_us_per_event: Option<f64>,
    /// Resident memory before the first client came.
    pub memory_before_bytes: u64,
    /// Resident memory when all were there and nothing was said yet.
    pub memory_idle_bytes: u64,
    /// The difference of the two, for each client.
    pub memory_per_client_bytes: f64,
    /// The most resident memory that was seen in the measured time.
    pub memory_peak_bytes: u64,
    /// The difference of the peak and idle.
    pub memory_growth_bytes: u64,
}
