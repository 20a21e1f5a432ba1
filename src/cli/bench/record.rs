//! What is written down in the measured time.

use super::outcome::{Latency, Quantile, Second};
use hdrhistogram::Histogram;
use std::time::Duration;

const NS_PER_S: u64 = 1_000_000_000;

/// The least time that is told from none, in nanoseconds.
const LEAST_NS: u64 = 1_000;

/// The longest time that is told from longer ones, in nanoseconds: a run has a day at most.
const MOST_NS: u64 = 100_000 * NS_PER_S;

/// Steps of a curve for each time that what is left of it halves.
const STEPS_PER_HALF: u32 = 8;

/// A distribution of times with three digits, in a quarter of a megabyte.
pub struct Times(Histogram<u64>);

impl Times {
    /// No times yet.
    pub fn new() -> Self {
        let times = Histogram::new_with_bounds(LEAST_NS, MOST_NS, 3);
        Self(times.expect("bounds that are in order, and 3 digits"))
    }

    /// One more.
    #[inline]
    pub fn add(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// So many more that are the same.
    pub fn add_n(&mut self, ns: u64, count: u64) {
        self.0.saturating_record_n(ns, count);
    }

    fn ms(&self, share: f64) -> f64 {
        if self.0.is_empty() { 0.0 } else { to_ms(self.0.value_at_quantile(share)) }
    }

    /// In the form in which results tell it.
    pub fn latency(&self) -> Latency {
        let curve = self.0.iter_quantiles(STEPS_PER_HALF).map(|step| Quantile {
            share: step.quantile_iterated_to(),
            ms: to_ms(step.value_iterated_to()),
        });
        Latency {
            count: self.0.len(),
            p50_ms: self.ms(0.5),
            p90_ms: self.ms(0.9),
            p99_ms: self.ms(0.99),
            p999_ms: self.ms(0.999),
            max_ms: if self.0.is_empty() { 0.0 } else { to_ms(self.0.max()) },
            curve: curve.collect(),
        }
    }
}

/// Three digits behind the point are what the times have.
fn to_ms(ns: u64) -> f64 {
    (ns / 1_000) as f64 / 1e3
}

/// What is written down in the measured time, and of what is on its way at its end.
pub struct Record {
    begin_ns: Option<u64>,
    end_ns: Option<u64>,
    /// Actions that were sent.
    pub actions: u64,
    /// States that were delivered.
    pub events: u64,
    /// States that steady clients were not shown.
    pub skipped: u64,
    /// From an action to its event at its sender.
    pub sender: Times,
    /// From an action to its event at each client, without the second that goes on.
    every: Times,
    /// The same in the second that goes on.
    second: Times,
    /// From an action to its event at the last client.
    pub last: Times,
    /// How old what clients show is.
    pub age: Times,
    timeline: Vec<Second>,
    /// Actions and events before the second that goes on.
    before: (u64, u64),
}

impl Record {
    /// Nothing yet, and nothing is written down before [`Record::begin`].
    pub fn new() -> Self {
        Self {
            begin_ns: None,
            end_ns: None,
            actions: 0,
            events: 0,
            skipped: 0,
            sender: Times::new(),
            every: Times::new(),
            second: Times::new(),
            last: Times::new(),
            age: Times::new(),
            timeline: Vec::new(),
            before: (0, 0),
        }
    }

    /// Whether it is the measured time.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.begin_ns.is_some() && self.end_ns.is_none()
    }

    /// Whether latencies count: from the beginning of the measured time on, and beyond its end. What
    /// is on its way then is the slowest of all.
    #[inline]
    pub fn follows(&self) -> bool {
        self.begin_ns.is_some()
    }

    /// The measured time begins.
    pub fn begin(&mut self, now_ns: u64) {
        self.begin_ns = Some(now_ns);
    }

    /// The measured time ends.
    pub fn end(&mut self, now_ns: u64) {
        let (actions, events) = self.before;
        if self.timeline.is_empty() || self.actions > actions || self.events > events {
            self.end_second(now_ns);
        }
        self.end_ns = Some(now_ns);
    }

    /// How long the measured time is by now.
    pub fn so_far(&self, now_ns: u64) -> Duration {
        Duration::from_nanos(now_ns.saturating_sub(self.begin_ns.unwrap_or(now_ns)))
    }

    /// How long the measured time was.
    pub fn lasted(&self) -> Duration {
        let lasted = self.end_ns.zip(self.begin_ns).map_or(0, |(end, begin)| end - begin);
        Duration::from_nanos(lasted)
    }

    /// A steady client was shown a state, so long after its action.
    #[inline]
    pub fn delivered(&mut self, ns: u64) {
        if self.is_on() {
            self.events += 1;
            self.second.add(ns);
        } else {
            self.every.add(ns);
        }
    }

    /// When the second that goes on ends.
    pub fn second_end_ns(&self) -> u64 {
        let seconds = self.timeline.len() as u64 + 1;
        if self.is_on() { self.begin_ns.unwrap_or(0) + seconds * NS_PER_S } else { u64::MAX }
    }

    /// Ends the second that goes on.
    pub fn end_second(&mut self, now_ns: u64) {
        let (actions, events) = self.before;
        self.timeline.push(Second {
            end_s: now_ns.saturating_sub(self.begin_ns.unwrap_or(now_ns)) as f64 / 1e9,
            actions: self.actions - actions,
            events: self.events - events,
            p50_ms: self.second.ms(0.5),
            p99_ms: self.second.ms(0.99),
        });
        self.before = (self.actions, self.events);
        // Both have the same bounds.
        let _ = self.every.0.add(&self.second.0);
        self.second.0.reset();
    }

    /// From an action to its event at each client. Complete once the measured time has ended.
    pub fn every(&self) -> &Times {
        &self.every
    }

    /// What happened in each second.
    pub fn timeline(&self) -> &[Second] {
        &self.timeline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_add_up_to_the_whole() {
        let mut record = Record::new();
        assert!(!record.is_on());
        record.begin(5 * NS_PER_S);
        assert_eq!(record.second_end_ns(), 6 * NS_PER_S);
        record.actions = 2;
        record.delivered(1_000_000);
        record.end_second(6 * NS_PER_S);
        record.delivered(3_000_000);
        record.end(6 * NS_PER_S + NS_PER_S / 2);
        assert!(!record.is_on());
        assert_eq!(record.lasted(), Duration::from_millis(1_500));
        let [first, second] = record.timeline() else { panic!("two: {:?}", record.timeline()) };
        assert_eq!((first.end_s, first.actions, first.events), (1.0, 2, 1));
        assert_eq!((second.end_s, second.actions, second.events), (1.5, 0, 1));
        assert_eq!(record.every().latency().count, 2);
    }

    #[test]
    fn a_distribution_tells_its_shares_and_its_longest() {
        let mut times = Times::new();
        (1..=1_000).for_each(|ms| times.add(ms * 1_000_000));
        times.add_n(0, 1_000);
        let latency = times.latency();
        assert_eq!(latency.count, 2_000);
        assert!(latency.p50_ms < 0.01, "{latency:?}");
        assert!((latency.p99_ms - 980.0).abs() < 1.0, "{latency:?}");
        assert!((latency.max_ms - 1_000.0).abs() < 1.0, "{latency:?}");
        assert!(latency.curve.is_sorted_by(|a, b| a.share <= b.share && a.ms <= b.ms));
        assert_eq!(Times::new().latency().max_ms, 0.0);
    }
}
