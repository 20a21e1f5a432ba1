//! How much of what its room says a session is told. Pure: times come in as arguments.

use std::time::{Duration, Instant};

/// A session that skips again so soon after it was told everything waits longer the next time.
const RELAPSE: Duration = Duration::from_secs(10);
/// The first of these waits; each relapse doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest of them: for so long a client that recovers may be told only the newest.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Whether a session is told every state, or only the newest.
///
/// A session that had to skip states is told only the newest until it has taken all it was given;
/// then everything again. If it skips again soon, it waits longer each time before it is told
/// everything. Otherwise, under a flood, every state that it skips would leave room for more that
/// are old before they are read: what kernels hold for a slow reader may be seconds of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ration {
    /// Only the newest, until then at least.
    newest_until: Option<Instant>,
    wait: Duration,
    /// When it was told everything again.
    back_at: Option<Instant>,
}

impl Ration {
    /// Whether it is told only the newest.
    pub fn is_newest(&self) -> bool {
        self.newest_until.is_some()
    }

    /// States were skipped.
    #[must_use]
    pub fn skipped(self, now: Instant) -> Self {
        if self.is_newest() {
            return self;
        }
        let is_relapse = self.back_at.is_some_and(|back| now.duration_since(back) < RELAPSE);
        let wait = match is_relapse {
            true => (2 * self.wait).clamp(FIRST_WAIT, LONGEST_WAIT),
            false => Duration::ZERO,
        };
        Self { newest_until: Some(now + wait), wait, ..self }
    }

    /// The session has taken all that it was given.
    #[must_use]
    pub fn caught_up(self, now: Instant) -> Self {
        match self.newest_until {
            Some(until) if until <= now => Self { newest_until: None, back_at: Some(now), ..self },
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_skipped_once_is_told_everything_as_soon_as_it_has_taken_all() {
        let now = Instant::now();
        let ration = Ration::default().skipped(now);
        assert!(ration.is_newest());
        assert!(!ration.caught_up(now).is_newest());
    }

    #[test]
    fn who_skips_again_and_again_waits_longer_each_time_within_a_bound() {
        let mut now = Instant::now();
        let mut ration = Ration::default().skipped(now).caught_up(now);
        let mut waits = Vec::new();
        for _ in 0..10 {
            ration = ration.skipped(now);
            let start = now;
            while ration.caught_up(now).is_newest() {
                now += Duration::from_millis(50);
            }
            waits.push((now - start).as_millis());
            ration = ration.caught_up(now);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000]);
    }

    #[test]
    fn long_after_it_is_as_the_first_time() {
        let now = Instant::now();
        let ration = Ration::default().skipped(now).caught_up(now).skipped(now);
        let later = now + FIRST_WAIT;
        let back = ration.caught_up(later);
        assert!(ration.is_newest() && !back.is_newest());
        let much_later = later + RELAPSE;
        assert!(!back.skipped(much_later).caught_up(much_later).is_newest());
    }

    #[test]
    fn who_skips_while_it_is_told_the_newest_waits_no_longer_for_that() {
        let now = Instant::now();
        let ration = Ration::default().skipped(now).skipped(now + RELAPSE);
        assert!(!ration.caught_up(now).is_newest());
    }
}
