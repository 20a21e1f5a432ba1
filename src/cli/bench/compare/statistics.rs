//! Medians over rounds, and goals.

use super::plan::{Goal, Reference, metric};
use crate::cli::bench::outcome::Outcome;

/// Some numbers, in short.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
    /// How many there are.
    pub count: usize,
}

impl Summary {
    /// `None` of no numbers.
    pub fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_unstable_by(f64::total_cmp);
        let count = numbers.len();
        let upper = *numbers.get(count / 2)?;
        let median = match count % 2 {
            1 => upper,
            _ => f64::midpoint(numbers[count / 2 - 1], upper),
        };
        Some(Self { median, lowest: numbers[0], highest: numbers[count - 1], count })
    }
}

/// A goal's number over all rounds. A ratio or difference is made within a round, where both were
/// measured shortly after each other. `of` gives the outcomes of the case of a name, one a round.
pub fn measured<'o>(goal: &Goal, of: impl Fn(&str) -> Vec<Option<&'o Outcome>>) -> Option<Summary> {
    let values = |case: &str| -> Vec<Option<f64>> {
        let value = |outcome: Option<&Outcome>| metric::value(outcome?, &goal.metric);
        of(case).into_iter().map(value).collect()
    };
    let own = values(&goal.case);
    let numbers: Vec<Option<f64>> = match &goal.reference {
        Reference::Nothing => own,
        Reference::Over(other) => within_rounds(own, values(other), |a, b| a / b),
        Reference::Minus(other) => within_rounds(own, values(other), |a, b| a - b),
    };
    Summary::of(numbers.into_iter().flatten().filter(|number| number.is_finite()).collect())
}

fn within_rounds(
    own: Vec<Option<f64>>,
    other: Vec<Option<f64>>,
    make: fn(f64, f64) -> f64,
) -> Vec<Option<f64>> {
    own.into_iter().zip(other).map(|(own, other)| Some(make(own?, other?))).collect()
}

/// Whether a goal's median is where it should be.
pub fn is_reached(goal: &Goal, median: f64) -> bool {
    goal.at_least.is_none_or(|least| median >= least)
        && goal.at_most.is_none_or(|most| median <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_half_way_between_the_two_in_the_middle() {
        let cases = [
            (vec![], None),
            (vec![3.0], Some((3.0, 3.0, 3.0, 1))),
            (vec![9.0, 1.0, 2.0], Some((2.0, 1.0, 9.0, 3))),
            (vec![9.0, 1.0, 2.0, 4.0], Some((3.0, 1.0, 9.0, 4))),
        ];
        for (numbers, expected) in cases {
            let expected = expected.map(|(median, lowest, highest, count)| Summary {
                median,
                lowest,
                highest,
                count,
            });
            assert_eq!(Summary::of(numbers.clone()), expected, "{numbers:?}");
        }
    }

    fn goal(reference: Reference, at_least: Option<f64>, at_most: Option<f64>) -> Goal {
        let metric = "/connect/seconds".to_owned();
        Goal { about: "g".to_owned(), metric, case: "a".to_owned(), reference, at_least, at_most }
    }

    fn of(goal: &Goal, a: &[Option<f64>], b: &[Option<f64>]) -> Option<Summary> {
        let outcome = |seconds: &Option<f64>| {
            let mut outcome = metric::complete();
            outcome.connect.seconds = (*seconds)?;
            Some(outcome)
        };
        let a: Vec<_> = a.iter().map(outcome).collect();
        let b: Vec<_> = b.iter().map(outcome).collect();
        measured(goal, |case| {
            let outcomes = if case == "a" { &a } else { &b };
            outcomes.iter().map(Option::as_ref).collect()
        })
    }

    #[test]
    fn ratios_and_differences_are_made_within_a_round() {
        // The second round was slow for both: the ratio of the medians would be 1.
        let (a, b) = ([Some(2.0), Some(20.0), Some(3.0)], [Some(1.0), Some(10.0), Some(3.0)]);
        let over = goal(Reference::Over("b".to_owned()), None, None);
        let summary = of(&over, &a, &b).expect("three rounds");
        assert_eq!((summary.median, summary.lowest, summary.highest), (2.0, 1.0, 2.0));
        let minus = goal(Reference::Minus("b".to_owned()), None, None);
        assert_eq!(of(&minus, &a, &b).map(|summary| summary.median), Some(1.0));
        let nothing = goal(Reference::Nothing, None, None);
        assert_eq!(of(&nothing, &a, &b).map(|summary| summary.median), Some(3.0));
    }

    #[test]
    fn a_round_that_one_of_the_two_missed_does_not_count() {
        let over = goal(Reference::Over("b".to_owned()), None, None);
        let (a, b) = ([Some(2.0), None, Some(8.0)], [Some(1.0), Some(1.0), Some(2.0)]);
        let summary = of(&over, &a, &b).expect("two rounds");
        assert_eq!((summary.median, summary.count), (3.0, 2));
        assert_eq!(of(&over, &[None, Some(1.0)], &[Some(1.0), None]), None);
        assert_eq!(of(&over, &[Some(1.0)], &[Some(0.0)]), None, "nothing is divided by 0");
    }

    #[test]
    fn a_boolean_counts_as_1_or_0() {
        let mut outcome = metric::complete();
        assert_eq!(metric::value(&outcome, "/traffic/in_order"), Some(1.0));
        outcome.traffic.as_mut().expect("complete").in_order = false;
        assert_eq!(metric::value(&outcome, "/traffic/in_order"), Some(0.0));
        outcome.traffic = None;
        assert_eq!(metric::value(&outcome, "/traffic/in_order"), None);
    }

    #[test]
    fn a_goal_is_reached_at_its_limits_too() {
        let cases = [
            (Some(1.0), None, 1.0, true),
            (Some(1.0), None, 0.99, false),
            (None, Some(1.0), 1.0, true),
            (None, Some(1.0), 1.01, false),
            (Some(1.0), Some(2.0), 1.5, true),
            (Some(1.0), Some(2.0), 2.5, false),
        ];
        for (at_least, at_most, median, reached) in cases {
            let goal = goal(Reference::Nothing, at_least, at_most);
            assert_eq!(is_reached(&goal, median), reached, "{at_least:?} {at_most:?} {median}");
        }
    }
}
