//! How fast sessions may act, and addresses connect and act. What is over a limit is told when it
//! may come again (GCRA, a leaky bucket that needs one number for each).

use super::Permit;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    state::{InMemoryState, NotKeyed, keyed::HashMapStateStore},
};
use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The rates of the configuration; 0 is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Actions of one session.
    pub actions_per_second: u32,
    /// Actions that one session may send at once.
    pub actions_burst: u32,
    /// Actions of all sessions of one address.
    pub actions_per_second_per_address: u32,
    /// Sessions that one address begins.
    pub connections_per_second_per_address: u32,
}

/// Refused actions in a second beyond which a session is closed. A client that keeps to the rules
/// has at most 64 on their way, and waits before it sends again those that were refused: a tenth of
/// a second or, to spread, half of that. That makes 1,280, even if it does not heed
/// `retry_after_ms`.
const MAX_REFUSALS_PER_SECOND: NonZeroU32 = NonZeroU32::new(2_000).expect("not zero");

type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock>;

fn limiter(quota: Quota) -> Limiter {
    RateLimiter::direct_with_clock(quota, MonotonicClock)
}

/// What one session may do how fast.
#[derive(Debug)]
pub struct Allowance {
    actions: Option<Limiter>,
    refusals: Limiter,
}

impl Allowance {
    /// `None` if nothing is limited.
    pub(super) fn new(rates: Rates, has_address_limit: bool) -> Option<Self> {
        let actions = NonZeroU32::new(rates.actions_per_second).map(|rate| {
            let burst = NonZeroU32::new(rates.actions_burst).unwrap_or(NonZeroU32::MIN);
            limiter(Quota::per_second(rate).allow_burst(burst))
        });
        (actions.is_some() || has_address_limit).then(|| Self {
            actions,
            refusals: limiter(Quota::per_second(MAX_REFUSALS_PER_SECOND)),
        })
    }

    /// Takes the turn of one action of the session that has `permit`.
    ///
    /// # Errors
    /// After how long there is one.
    pub fn take(&self, permit: &Permit) -> Result<(), Duration> {
        self.actions.as_ref().map_or(Ok(()), take)?;
        permit.act()
    }

    /// Notes that an action was refused. Whether the session goes on as if it had not been told.
    pub fn is_flooding(&self) -> bool {
        self.refusals.check().is_err()
    }
}

fn take(limiter: &Limiter) -> Result<(), Duration> {
    limiter.check().map_err(|not_until| not_until.wait_time_from(MonotonicClock.now()))
}

/// A limit for each address.
#[derive(Debug)]
pub struct AddressRates {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, MonotonicClock>,
    /// When addresses that are as good as new were last forgotten.
    swept: Mutex<Instant>,
}

impl AddressRates {
    /// The most addresses that are remembered: some megabytes. Of more in one second, all others
    /// share one limit, so that somebody with very many can neither fill the memory nor be free of it.
    const MAX_ADDRESSES: usize = 65_536;

    /// After so long an address that is quiet is as good as new: what it may do at once is what it
    /// may do in a second.
    const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

    /// The key of those that are not remembered. No connection comes from it.
    const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

    /// A limit of so many in a second; `None` if it is 0.
    pub(super) fn new(per_second: u32) -> Option<Self> {
        let quota = Quota::per_second(NonZeroU32::new(per_second)?);
        let state = HashMapStateStore::default();
        let limiter = RateLimiter::new(quota, state, MonotonicClock);
        Some(Self { limiter, swept: Mutex::new(Instant::now()) })
    }

    /// Takes one turn of `address`.
    ///
    /// # Errors
    /// After how long there is one.
    pub(super) fn take(&self, address: IpAddr) -> Result<(), Duration> {
        self.sweep();
        let key = match self.limiter.len() < Self::MAX_ADDRESSES {
            true => address,
            false => Self::OTHERS,
        };
        let wait =
            |not_until: governor::NotUntil<_>| not_until.wait_time_from(MonotonicClock.now());
        self.limiter.check_key(&key).map_err(wait)
    }

    fn sweep(&self) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.elapsed() >= Self::SWEEP_INTERVAL {
            *swept = Instant::now();
            drop(swept);
            self.limiter.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::Connections;
    use std::net::Ipv4Addr;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_session_may_act_as_often_as_its_burst_and_is_then_told_to_wait() {
        let rates = Rates { actions_per_second: 1, actions_burst: 3, ..Rates::default() };
        let permit = Connections::new(1, 0, rates).admit(ip("10.0.0.1")).expect("room");
        let allowance = permit.allowance().expect("a limit");
        for _ in 0..3 {
            assert_eq!(allowance.take(&permit), Ok(()));
        }
        let wait = allowance.take(&permit).expect_err("the fourth at once");
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[test]
    fn sessions_of_one_address_share_its_limit() {
        let rates = Rates { actions_per_second_per_address: 2, ..Rates::default() };
        let connections = Connections::new(9, 0, rates);
        let permits = ["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"]
            .map(|address| connections.admit(ip(address)).expect("room"));
        let taken = permits
            .each_ref()
            .map(|permit| permit.allowance().expect("a limit").take(permit).is_ok());
        assert_eq!(taken, [true, true, false, true]);
    }

    #[test]
    fn nothing_is_limited_by_default() {
        let connections = Connections::new(1, 0, Rates::default());
        assert_eq!(connections.knock(ip("10.0.0.1")), Ok(()));
        assert!(connections.admit(ip("10.0.0.1")).expect("room").allowance().is_none());
    }

    #[test]
    fn those_who_keep_to_the_rules_never_flood() {
        let rates = Rates { actions_per_second: 1, actions_burst: 1, ..Rates::default() };
        let allowance = Allowance::new(rates, false).expect("a limit");
        let refused = (0..10_000).take_while(|_| !allowance.is_flooding()).count();
        assert!((1_280..10_000).contains(&refused), "closed after {refused}");
    }

    #[test]
    fn an_ipv6_network_has_one_limit_and_a_flood_of_addresses_stays_bounded() {
        let rates = Rates { connections_per_second_per_address: 1, ..Rates::default() };
        let connections = Connections::new(1, 0, rates);
        assert_eq!(connections.knock(ip("2001:db8::1")), Ok(()));
        assert!(connections.knock(ip("2001:db8::2")).is_err(), "the same network");
        assert_eq!(connections.knock(ip("2001:db8:0:1::1")), Ok(()));
        let knocks = connections.0.knocks.as_ref().expect("a limit");
        for number in 0..100_000 {
            let _ = knocks.take(Ipv4Addr::from_bits(number).into());
        }
        assert!(knocks.limiter.len() <= AddressRates::MAX_ADDRESSES + 1);
    }
}
