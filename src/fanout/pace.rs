//! How much is said in a room, and when a session that could not take it may be told everything
//! again. Pure: times come in as arguments.

use std::time::{Duration, Instant};

/// Rates are of so long a time: bursts shorter than this are what an outbox is for.
const WINDOW: Duration = Duration::from_secs(1);

/// Bytes a second that a ring of sessions is told.
#[derive(Debug)]
pub struct Pace {
    window_start: Instant,
    bytes: u64,
    /// Of the last whole window.
    last: u64,
}

impl Pace {
    /// A ring that was told nothing yet.
    pub fn new(now: Instant) -> Self {
        Self { window_start: now, bytes: 0, last: 0 }
    }

    /// Notes that so many bytes are said. Returns how many that makes in a second.
    pub fn note(&mut self, now: Instant, bytes: usize) -> u64 {
        let elapsed = now.duration_since(self.window_start);
        if elapsed >= WINDOW {
            self.last = (self.bytes as f64 / elapsed.as_secs_f64()) as u64;
            (self.window_start, self.bytes) = (now, 0);
        }
        self.bytes += bytes as u64;
        self.last.max(self.bytes)
    }
}

/// Whether a session is told every state, or only the newest.
///
/// A client that could not take what its room says is told only the newest from then on, until its
/// room says less than half of that. Otherwise every state that it skips would leave room for more
/// that are old before they are read: what the kernel holds for a slow reader may be seconds of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Share {
    /// Every state.
    #[default]
    All,
    /// The newest, since so many bytes a second were too many.
    Newest {
        /// Bytes a second.
        than: u64,
    },
}

impl Share {
    /// The session skipped a state while its room said so much.
    #[must_use]
    pub fn skipped(self, bytes_per_s: u64) -> Self {
        match self {
            Self::All => Self::Newest { than: bytes_per_s },
            newest => newest,
        }
    }

    /// The session has taken all that it was given, while its room says so much.
    #[must_use]
    pub fn caught_up(self, bytes_per_s: u64) -> Self {
        match self {
            Self::Newest { than } if bytes_per_s < than / 2 => Self::All,
            same => same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_second_or_of_this_one_if_more_is_said() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut at = |ms, bytes| pace.note(start + Duration::from_millis(ms), bytes);
        assert_eq!(at(0, 100), 100);
        assert_eq!(at(500, 100), 200, "at least so much in this second");
        assert_eq!(at(1_000, 10), 200, "the last second's");
        assert_eq!(at(1_900, 300), 310);
        assert_eq!(at(5_000, 1), 77, "310 bytes in 4 seconds");
        assert_eq!(at(9_000, 1), 1, "silence counts");
    }

    #[test]
    fn who_could_not_keep_up_is_told_the_newest_until_half_as_much_is_said() {
        let behind = Share::All.skipped(1_000);
        assert_eq!(behind, Share::Newest { than: 1_000 });
        assert_eq!(behind.skipped(9_000), behind, "the least that was too much counts");
        assert_eq!(behind.caught_up(500), behind);
        assert_eq!(behind.caught_up(499), Share::All);
        assert_eq!(Share::All.caught_up(9_000), Share::All);
    }
}
