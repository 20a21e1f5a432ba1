//! The one order: which value stood at which position, in anybody's eyes.

use super::{
    fates::{Fate, Verdict},
    history::{History, What},
    rules::{Shown, Violation},
};
use std::collections::{BTreeMap, BTreeSet};

/// A state as it was first seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    value: i64,
    history: usize,
    index: usize,
}

/// All states that anybody saw, by position.
pub struct Order<'a> {
    histories: &'a [History],
    states: BTreeMap<u64, Seen>,
}

impl<'a> Order<'a> {
    /// Two states with the same position must be the same state.
    pub fn new(histories: &'a [History]) -> Result<Self, Violation> {
        let mut states: BTreeMap<u64, Seen> = BTreeMap::new();
        for (number, history) in histories.iter().enumerate() {
            for (index, record) in history.records.iter().enumerate() {
                let What::State { seq, value } = record.what else { continue };
                let seen = states.entry(seq).or_insert(Seen { value, history: number, index });
                if seen.value != value {
                    let what = format!("two states at position {seq}");
                    let first = histories[seen.history].line(seen.index).to_string();
                    let second = history.line(index).to_string();
                    return Err(Violation::new("one value per seq", what, vec![first, second]));
                }
            }
        }
        Ok(Self { histories, states })
    }

    /// How many positions were seen.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    fn lines(&self, states: impl Iterator<Item = Seen>) -> Vec<String> {
        states.map(|seen| self.histories[seen.history].line(seen.index).to_string()).collect()
    }

    /// The last states, for a report.
    pub fn end(&self) -> Vec<String> {
        self.lines(self.states.values().rev().take(10).copied())
    }

    /// The states around a position, for a report.
    fn around(&self, seq: u64) -> Vec<String> {
        let before = self.states.range(..seq).rev().take(5).collect::<Vec<_>>();
        let here = self.states.range(seq..).take(4);
        self.lines(before.into_iter().rev().chain(here).map(|(_, seen)| *seen))
    }

    /// Each state is what the actions up to its position make: of each owner all actions up to one
    /// number, those that must be in and perhaps some that may be.
    pub fn is_the_sum(&self, owners: &[(&History, Vec<Fate>)]) -> Result<(), Violation> {
        let applied: Vec<Vec<&Fate>> = owners.iter().map(|(_, fates)| applied(fates)).collect();
        let mut lanes: Vec<Lane> = applied.iter().map(|fates| Lane::new(fates)).collect();
        for (seq, seen) in &self.states {
            let mut certain = 0;
            let mut sums = BTreeSet::from([0]);
            for lane in &mut lanes {
                lane.move_to(*seq);
                certain += lane.sum;
                sums = lane.add_to(&sums);
            }
            let missing = i128::from(seen.value) - certain;
            if !sums.contains(&missing) {
                let mut evidence = self.around(*seq);
                evidence.extend(nearby(owners, *seq));
                let what = format!(
                    "the value at position {seq} is {}; the actions that stand before make \
                     {certain}, and those that may stand before can add {sums:?}",
                    seen.value
                );
                return Err(Violation::new("each state is the sum", what, evidence));
            }
        }
        Ok(())
    }

    /// Who reads the classic protocol sees no positions, but values of the same order: each one's
    /// values can be laid on it, from what had been shown before it came.
    pub fn holds_the_classic(&self, histories: &[History], shown: &Shown) -> Result<(), Violation> {
        let last = self.states.last_key_value().map_or(0, |(seq, _)| *seq);
        for history in histories {
            let mut at = 0;
            for (index, record) in history.records.iter().enumerate() {
                let value = match record.what {
                    What::Connecting => {
                        at = shown.until(record.at);
                        continue;
                    }
                    What::Value(value) => value,
                    _ => continue,
                };
                // The earliest place leaves the most for what follows. A position that nobody
                // else saw may have had any value.
                let has_place = |seq: &u64| self.states.get(seq).is_none_or(|it| it.value == value);
                match (at..=last).find(has_place) {
                    Some(place) => at = place + 1,
                    None => {
                        let what = format!("no state from position {at} on can be this {value}");
                        let around = history.around(index);
                        return Err(Violation::new("classic readers see the order", what, around));
                    }
                }
            }
        }
        Ok(())
    }
}

fn applied(fates: &[Fate]) -> Vec<&Fate> {
    fates.iter().filter(|fate| fate.verdict == Some(Verdict::Applied)).collect()
}

/// The actions of one owner, and how many of them a position holds.
struct Lane<'a> {
    fates: &'a [&'a Fate],
    /// So many are certainly in; together they make `sum`.
    certain: usize,
    sum: i128,
    /// So many are in at most.
    possible: usize,
}

impl<'a> Lane<'a> {
    fn new(fates: &'a [&'a Fate]) -> Self {
        Self { fates, certain: 0, sum: 0, possible: 0 }
    }

    /// Positions only rise.
    fn move_to(&mut self, seq: u64) {
        while self.fates.get(self.certain).is_some_and(|fate| fate.latest <= seq) {
            self.sum += i128::from(self.fates[self.certain].amount());
            self.certain += 1;
        }
        while self.fates.get(self.possible).is_some_and(|fate| fate.earliest <= seq) {
            self.possible += 1;
        }
    }

    /// Everything that `sums` can become with what this owner's open actions may add.
    fn add_to(&self, sums: &BTreeSet<i128>) -> BTreeSet<i128> {
        let open = self.fates.get(self.certain..self.possible).unwrap_or_default();
        let mut added = 0;
        let mut all = sums.clone();
        for fate in open {
            added += i128::from(fate.amount());
            all.extend(sums.iter().map(|sum| sum + added));
        }
        all
    }
}

/// The actions that stand, or may stand, just before a position.
fn nearby(owners: &[(&History, Vec<Fate>)], seq: u64) -> Vec<String> {
    let mut near: Vec<(u64, String)> = Vec::new();
    for (history, fates) in owners {
        for fate in applied(fates) {
            if fate.earliest <= seq + 3 && fate.latest + 10 >= seq {
                let Fate { id, action, earliest, latest, .. } = fate;
                let place = match earliest == latest {
                    true => format!("at {earliest}"),
                    false => format!("between {earliest} and {latest}"),
                };
                near.push((*latest, format!("{}: {id} {action:?} {place}", history.who)));
            }
        }
    }
    near.sort();
    near.into_iter().rev().take(40).map(|(_, line)| line).rev().collect()
}
