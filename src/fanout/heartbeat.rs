//! When a connection counts as dead: no byte from it, and none accepted by it, for too long. A
//! client that is merely slow accepts bytes, and lives. Pure: times come in as arguments.

use std::time::{Duration, Instant};

/// How often to ask for a sign of life, and how long to wait for it.
#[derive(Debug, Clone, Copy)]
pub struct HeartbeatTimes {
    /// A connection that was quiet for so long gets a ping.
    pub interval: Duration,
    /// A connection that owes a sign of life for so long is dead.
    pub timeout: Duration,
}

/// What is known of one connection's life.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    last_sign: Instant,
    /// A ping that was not answered, sent (or excused) at this time.
    pinged_at: Option<Instant>,
    /// The client takes no bytes since this time.
    blocked_at: Option<Instant>,
}

/// What to do about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Alive,
    /// Send it a ping.
    Ping,
    /// Let it go.
    Dead,
}

impl Heartbeat {
    /// A connection that was made just now.
    pub fn new(now: Instant) -> Self {
        Self { last_sign: now, pinged_at: None, blocked_at: None }
    }

    /// Bytes came from the client.
    pub fn heard(&mut self, now: Instant) {
        self.last_sign = now;
        self.pinged_at = None;
        self.blocked_at = self.blocked_at.map(|_| now);
    }

    /// The client was sent a ping.
    pub fn pinged(&mut self, now: Instant) {
        self.pinged_at = Some(now);
    }

    /// The client does not take what is there for it.
    pub fn blocked(&mut self, now: Instant) {
        self.blocked_at.get_or_insert(now);
    }

    /// The client took bytes; `waits` if it did not take all. Of a client that was not blocked
    /// this says nothing: the kernel took them. One that was blocked is alive, and the ping that
    /// stands behind those bytes has its time again.
    pub fn accepted(&mut self, now: Instant, waits: bool) {
        if self.blocked_at.is_some() {
            self.last_sign = now;
            self.pinged_at = self.pinged_at.map(|_| now);
            self.blocked_at = waits.then_some(now);
        }
    }

    /// What is due at `now`.
    pub fn check(&self, now: Instant, times: HeartbeatTimes) -> Verdict {
        let is_over = |since: Instant| now.duration_since(since) >= times.timeout;
        match (self.pinged_at, self.blocked_at) {
            (None, None) if now.duration_since(self.last_sign) >= times.interval => Verdict::Ping,
            (pinged, blocked) if pinged.is_some_and(is_over) || blocked.is_some_and(is_over) => {
                Verdict::Dead
            }
            _ => Verdict::Alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: HeartbeatTimes =
        HeartbeatTimes { interval: Duration::from_secs(20), timeout: Duration::from_secs(10) };

    fn check(heartbeat: &Heartbeat, start: Instant, second: u64) -> Verdict {
        heartbeat.check(start + Duration::from_secs(second), TIMES)
    }

    #[test]
    fn a_quiet_connection_is_asked_and_then_let_go() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        assert_eq!(check(&heartbeat, start, 19), Verdict::Alive);
        assert_eq!(check(&heartbeat, start, 20), Verdict::Ping);
        heartbeat.pinged(start + Duration::from_secs(20));
        assert_eq!(check(&heartbeat, start, 29), Verdict::Alive, "one ping at a time");
        assert_eq!(check(&heartbeat, start, 30), Verdict::Dead);
        heartbeat.heard(start + Duration::from_secs(30));
        assert_eq!(check(&heartbeat, start, 49), Verdict::Alive, "an answer is a sign of life");
        assert_eq!(check(&heartbeat, start, 50), Verdict::Ping);
    }

    #[test]
    fn a_stalled_connection_is_let_go_and_a_slow_one_is_not() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut heartbeat = Heartbeat::new(start);
        heartbeat.blocked(start);
        heartbeat.blocked(at(9));
        assert_eq!(check(&heartbeat, start, 10), Verdict::Dead, "blocking again restarts nothing");
        for second in (0..100).step_by(9) {
            assert_ne!(check(&heartbeat, start, second), Verdict::Dead, "at {second} s");
            heartbeat.accepted(at(second), true);
        }
        heartbeat.accepted(at(100), false);
        assert_eq!(check(&heartbeat, start, 115), Verdict::Alive, "it owes nothing");
    }

    #[test]
    fn what_the_kernel_took_is_no_sign_of_life() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        heartbeat.pinged(start);
        heartbeat.accepted(start + Duration::from_secs(9), false);
        assert_eq!(check(&heartbeat, start, 10), Verdict::Dead);
    }

    #[test]
    fn a_ping_behind_other_bytes_has_its_time_again_when_they_move() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        heartbeat.blocked(start);
        heartbeat.pinged(start);
        heartbeat.accepted(start + Duration::from_secs(9), false);
        assert_eq!(check(&heartbeat, start, 18), Verdict::Alive);
        assert_eq!(check(&heartbeat, start, 19), Verdict::Dead, "but no longer than that");
    }
}
