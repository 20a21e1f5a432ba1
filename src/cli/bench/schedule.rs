//! When actions are sent whatever comes back (an open loop).
//!
//! Action k of all has its time, and belongs to sender k mod senders. So what a sender owes, while
//! its socket takes no more, follows from how many it has sent, and takes no memory.

/// Times are nanoseconds of the run's clock.
#[derive(Debug)]
pub struct Schedule {
    begin_ns: u64,
    interval_ns: f64,
    senders: u64,
    /// The first action whose time has not come yet.
    next: u64,
}

impl Schedule {
    /// So many actions a second from `begin_ns` on, of `senders` in turn.
    pub fn new(begin_ns: u64, per_s: f64, senders: u64) -> Self {
        Self { begin_ns, interval_ns: 1e9 / per_s, senders, next: 0 }
    }

    /// The time of action `number`, counted from 0.
    fn time_ns(&self, number: u64) -> u64 {
        self.begin_ns + (number as f64 * self.interval_ns) as u64
    }

    /// The time of the first action whose time has not come yet.
    pub fn next_ns(&self) -> u64 {
        self.time_ns(self.next)
    }

    /// From now on all actions until `now_ns` are owed. Returns the senders that this concerns, each
    /// once.
    pub fn pass(&mut self, now_ns: u64) -> impl Iterator<Item = u64> + use<> {
        let (first, senders) = (self.next, self.senders);
        while self.next_ns() <= now_ns {
            self.next += 1;
        }
        (first..self.next)
            .take(usize::try_from(senders).unwrap_or(usize::MAX))
            .map(move |number| number % senders)
    }

    /// The time of the action with which `sender` goes on after it has sent `sent`, if that time has
    /// come.
    pub fn owed_ns(&self, sender: u64, sent: u64) -> Option<u64> {
        let number = sender + sent * self.senders;
        (number < self.next).then(|| self.time_ns(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_their_times_and_senders_take_turns() {
        let mut schedule = Schedule::new(1_000, 1e6, 2);
        let mut senders_until = |now_ns| schedule.pass(now_ns).collect::<Vec<_>>();
        assert!(senders_until(999).is_empty());
        assert_eq!(senders_until(1_000), [0]);
        assert!(senders_until(1_000).is_empty());
        assert_eq!(senders_until(2_500), [1]);
        assert_eq!(senders_until(9_000), [0, 1], "of seven actions, each sender once");
        assert_eq!(schedule.next_ns(), 10_000);
    }

    #[test]
    fn what_a_sender_owes_keeps_its_time() {
        let mut schedule = Schedule::new(0, 1e9, 2);
        assert_eq!(schedule.pass(6).count(), 2);
        // Actions 0, 2, 4, 6 are the first one's, 1, 3, 5 the second's.
        let owed =
            |sender| (0..).map_while(|sent| schedule.owed_ns(sender, sent)).collect::<Vec<_>>();
        assert_eq!((owed(0), owed(1)), (vec![0, 2, 4, 6], vec![1, 3, 5]));
        assert_eq!(schedule.owed_ns(0, 3), Some(6));
    }

    #[test]
    fn times_do_not_drift() {
        let schedule = Schedule::new(0, 3.0, 1);
        assert_eq!(schedule.time_ns(3 * 86_400), 86_400_000_000_000);
    }
}
