//! What all threads share: whether faults happen, and how many did.

use std::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything breaks.
    Storm,
    /// Nothing breaks any more. Clients send again until all is decided.
    Calm,
    /// All threads end.
    Over,
}

/// Everything that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    Kills,
    KillsInStart,
    Terms,
    Floods,
    Cuts,
    Resets,
    HalfOpenClients,
    HalfOpenServers,
    Stalls,
    Delays,
    Reloads,
    SecondConnections,
    Takeovers,
    DeadByClient,
    Repeats,
    Overtakings,
    NewIdentities,
    Acked,
    Duplicates,
    RefusedForGood,
    Retries,
    Connections,
    Refusals,
}

/// Names, and which of them are faults that each run must have had.
const COUNTS: [(Count, &str, bool); 23] = [
    (Count::Kills, "SIGKILL", true),
    (Count::KillsInStart, "SIGKILL during the start", true),
    (Count::Terms, "SIGTERM", true),
    (Count::Floods, "kill when a snapshot is due", false),
    (Count::Cuts, "cut with FIN", true),
    (Count::Resets, "cut with RST", true),
    (Count::HalfOpenClients, "half-open, the client's side left", true),
    (Count::HalfOpenServers, "half-open, the server's side left", true),
    (Count::Stalls, "stall", true),
    (Count::Delays, "slow connection", true),
    (Count::Reloads, "reload", true),
    (Count::SecondConnections, "second connection", true),
    (Count::Takeovers, "closed with 4409", true),
    (Count::DeadByClient, "found dead by the client", true),
    (Count::Repeats, "decided action sent again", true),
    (Count::Overtakings, "number left out", true),
    (Count::NewIdentities, "new identity", true),
    (Count::Acked, "ack", true),
    (Count::Duplicates, "duplicate answer", true),
    (Count::RefusedForGood, "refused for good", true),
    (Count::Retries, "refused with retry", true),
    (Count::Connections, "connection", true),
    (Count::Refusals, "handshake without success", true),
];

pub struct Weather {
    phase: Mutex<Phase>,
    changed: Condvar,
    counts: [AtomicU64; COUNTS.len()],
}

impl Weather {
    pub fn new() -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { phase: Mutex::new(Phase::Storm), changed: Condvar::new(), counts }
    }

    pub fn phase(&self) -> Phase {
        *self.phase.lock().expect("no panic")
    }

    pub fn change(&self, phase: Phase) {
        *self.phase.lock().expect("no panic") = phase;
        self.changed.notify_all();
    }

    /// Waits as a fault does: at most so long, and no longer than the storm.
    pub fn hold(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut phase = self.phase.lock().expect("no panic");
        while *phase == Phase::Storm {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            phase = self.changed.wait_timeout(phase, left).expect("no panic").0;
        }
    }

    pub fn count(&self, count: Count) {
        self.counts[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn so_far(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Ordering::Relaxed)
    }

    /// How often each thing happened.
    pub fn summary(&self) -> String {
        let lines = COUNTS.map(|(count, name, _)| format!("{:>9} {name}\n", self.so_far(count)));
        lines.concat()
    }

    /// A run without one of its faults would test nothing and not say so.
    pub fn missing(&self) -> Vec<&'static str> {
        let missing = COUNTS.iter().filter(|(count, _, must)| *must && self.so_far(*count) == 0);
        missing.map(|(_, name, _)| *name).collect()
    }
}
