//! How old what clients show is.

use std::collections::VecDeque;

/// So long it is remembered when a place was first seen.
const KEPT_NS: u64 = 10_000_000_000;

/// When somebody first saw each of a room's last places.
pub struct FirstSeen {
    /// The newest place that somebody saw.
    newest: i64,
    /// When, of the newest and those before it.
    times_ns: VecDeque<u64>,
    /// No more times than this are kept.
    most: usize,
}

impl FirstSeen {
    /// All see `place`. At most `most` times will be kept, 16 at least.
    pub fn new(place: i64, most: usize) -> Self {
        Self { newest: place, times_ns: VecDeque::new(), most: most.max(16) }
    }

    /// Somebody sees `place`, and so all before it are out of date.
    #[inline]
    pub fn see(&mut self, place: i64, now_ns: u64) {
        while self.newest < place {
            self.newest += 1;
            self.times_ns.push_back(now_ns);
            self.forget(now_ns);
        }
    }

    /// Forgets what is too much, and two of what is too old, so that the work is even.
    #[inline]
    fn forget(&mut self, now_ns: u64) {
        let is_old = |time: Option<&u64>| time.is_some_and(|time| time + KEPT_NS < now_ns);
        if self.times_ns.len() > self.most {
            self.times_ns.pop_front();
        }
        for _ in 0..2 {
            if self.times_ns.len() > 1 && is_old(self.times_ns.front()) {
                self.times_ns.pop_front();
            }
        }
    }

    /// For how long `place` has been out of date: 0 if it is not. It is too short where the time is
    /// not known any more.
    #[inline]
    pub fn age_ns(&self, place: i64, now_ns: u64) -> u64 {
        if place >= self.newest {
            return 0;
        }
        let first = self.newest + 1 - self.times_ns.len() as i64;
        let index = (place + 1 - first).max(0) as usize;
        self.times_ns.get(index).map_or(0, |time| now_ns.saturating_sub(*time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_counts_from_when_somebody_saw_something_newer() {
        let mut seen = FirstSeen::new(7, 100);
        assert_eq!(seen.age_ns(7, 50), 0);
        seen.see(8, 100);
        seen.see(10, 200);
        for (place, age) in [(7, 200), (8, 100), (9, 100), (10, 0)] {
            assert_eq!(seen.age_ns(place, 300), age, "{place}");
        }
        seen.see(9, 300);
        assert_eq!(seen.age_ns(8, 300), 100, "seeing something old changes nothing");
    }

    #[test]
    fn what_is_too_much_or_too_old_is_forgotten_but_never_all() {
        let mut seen = FirstSeen::new(0, 16);
        (1..=100).for_each(|place| seen.see(place, place as u64));
        assert_eq!(seen.times_ns.len(), 16);
        assert_eq!(seen.age_ns(0, 100), 15, "the oldest that is known");
        for place in 101..=200 {
            seen.see(place, 2 * KEPT_NS + place as u64);
        }
        assert!(seen.times_ns.iter().all(|time| *time > KEPT_NS));
        seen.see(201, 9 * KEPT_NS);
        assert_eq!(seen.age_ns(200, 9 * KEPT_NS + 5), 5);
    }
}
