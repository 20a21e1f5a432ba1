//! Axes: what they reach over, and where their marks are.

use crate::cli::bench::compare::table::number_text;

/// The most nines of a share that are shown: 99.999 %.
const MOST_NINES: f64 = 5.0;

/// Powers of ten that an axis of times reaches over, at most: what is smaller lies on its edge.
const MOST_DECADES: f64 = 6.0;

/// Above so many powers of ten, only they have marks.
const DECADES_WITH_MARKS_BETWEEN: f64 = 2.5;

/// So near, two numbers are the same but for their last bits.
const ROUNDING: f64 = 1.0 + 1e-9;

/// An axis. Places on it are numbers from `from` to `to`.
pub struct Axis {
    /// What it shows, with the unit.
    pub title: &'static str,
    pub from: f64,
    pub to: f64,
    /// Places with their labels.
    pub marks: Vec<(f64, String)>,
}

impl Axis {
    /// The label of a mark.
    pub fn label(&self, place: f64) -> String {
        let mark = self.marks.iter().find(|(mark, _)| (mark - place).abs() < 1e-9);
        mark.map(|(_, label)| label.clone()).unwrap_or_default()
    }

    /// Shares of all, by how many nines they have; for shares up to `most` [`nines`].
    pub fn of_shares(title: &'static str, most: f64) -> Self {
        const LABELS: [&str; 6] = ["0%", "90%", "99%", "99.9%", "99.99%", "99.999%"];
        let to = most.clamp(1.0, MOST_NINES);
        let marks = LABELS.into_iter().enumerate().map(|(n, label)| (n as f64, label.to_owned()));
        Self { title, from: 0.0, to, marks: marks.filter(|(mark, _)| *mark <= to).collect() }
    }

    /// From 0 to at least `most`.
    pub fn linear(title: &'static str, most: f64) -> Self {
        let step = step(most);
        let steps = (most / step).ceil().max(1.0);
        let marks = (0..=steps as u32).map(|n| f64::from(n) * step).map(|at| (at, short(at)));
        Self { title, from: 0.0, to: steps * step, marks: marks.collect() }
    }

    /// From 0 to `most` exactly.
    pub fn of_seconds(title: &'static str, most: f64) -> Self {
        let linear = Self::linear(title, most);
        let marks = linear.marks.into_iter().filter(|(mark, _)| *mark <= most).collect();
        Self { to: most, marks, ..linear }
    }

    /// Times in a logarithmic scale: places are the [`log_place`] of a time.
    pub fn of_times(title: &'static str, times_ms: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for ms in times_ms.filter(|ms| *ms > 0.0 && ms.is_finite()) {
            (least, most) = (least.min(ms), most.max(ms));
        }
        if most == 0.0 {
            (least, most) = (0.1, 1.0);
        }
        let to = ceil_1_2_5(most).log10();
        let from = floor_1_2_5(least).log10().max(to - MOST_DECADES);
        let from = if to - from < 0.5 { to - 1.0 } else { from };
        let decades = from.floor() as i32..=to.ceil() as i32;
        let factors: &[f64] = match to - from {
            0.0..DECADES_WITH_MARKS_BETWEEN => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let times = decades.flat_map(|decade| factors.iter().map(move |f| f * 10_f64.powi(decade)));
        let marks = times.map(|ms| (ms.log10(), number_text(ms).trim_end_zeros()));
        let is_in = |(mark, _): &(f64, String)| (from - 1e-9..=to + 1e-9).contains(mark);
        Self { title, from, to, marks: marks.filter(is_in).collect() }
    }
}

/// How many nines a share has: 0.9 has one, 0.99 two. All of it has as many as are shown.
pub fn nines(share: f64) -> f64 {
    if share >= 1.0 { MOST_NINES } else { (-(1.0 - share).log10()).clamp(0.0, MOST_NINES) }
}

/// The place of a time on an axis of times; what is too short for it lies on its edge.
pub fn log_place(axis: &Axis, ms: f64) -> f64 {
    if ms > 0.0 { ms.log10().clamp(axis.from, axis.to) } else { axis.from }
}

/// The power of ten, or 2 or 5 times one, that is nearest below.
fn floor_1_2_5(number: f64) -> f64 {
    let power = 10_f64.powi(number.log10().floor() as i32);
    let below = [5.0, 2.0].into_iter().find(|factor| factor * power <= number * ROUNDING);
    below.unwrap_or(1.0) * power
}

/// The same above.
fn ceil_1_2_5(number: f64) -> f64 {
    let power = 10_f64.powi(number.log10().floor() as i32);
    let above = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power * ROUNDING >= number);
    above.unwrap_or(10.0) * power
}

/// A step of 1, 2 or 5 times a power of ten, three to five of which are `most`.
fn step(most: f64) -> f64 {
    if most > 0.0 && most.is_finite() { ceil_1_2_5(most / 5.0) } else { 1.0 }
}

/// A number with its thousands as k, its millions as M.
pub fn short(number: f64) -> String {
    let (number, unit) = match number {
        1e9.. => (number / 1e9, " G"),
        1e6.. => (number / 1e6, " M"),
        1e3.. => (number / 1e3, " k"),
        _ => (number, ""),
    };
    format!("{}{unit}", number_text(number).trim_end_zeros())
}

trait TrimEndZeros {
    fn trim_end_zeros(&self) -> String;
}

impl TrimEndZeros for String {
    fn trim_end_zeros(&self) -> String {
        match self.contains('.') {
            true => self.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> String {
        axis.marks.iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn axes_from_0_have_round_marks_up_to_the_most() {
        let cases = [
            (0.0, "0 1"),
            (1.0, "0 0.2 0.4 0.6 0.8 1"),
            (9.7, "0 2 4 6 8 10"),
            (1_234_567.0, "0 500 k 1 M 1.5 M"),
            (23_456.0, "0 5 k 10 k 15 k 20 k 25 k"),
        ];
        for (most, marks) in cases {
            let axis = Axis::linear("x", most);
            assert_eq!(labels(&axis), marks, "{most}");
            assert!(axis.to >= most, "{most}");
        }
        assert_eq!(labels(&Axis::of_seconds("s", 9.7)), "0 2 4 6 8");
    }

    #[test]
    fn times_have_a_logarithmic_axis_around_all_that_are_not_0() {
        let cases: [(&[f64], &str); 5] = [
            (&[0.3, 20.0, 0.0], "0.2 0.5 1 2 5 10 20"),
            (&[0.003, 4.0, 900.0], "0.01 0.1 1 10 100 1,000"),
            (&[1.0], "0.1 0.2 0.5 1"),
            (&[], "0.1 0.2 0.5 1"),
            (&[1e-9, 1000.0], "0.001 0.01 0.1 1 10 100 1,000"),
        ];
        for (times, marks) in cases {
            let axis = Axis::of_times("ms", times.iter().copied());
            assert_eq!(labels(&axis), marks, "{times:?}");
            for ms in times {
                assert!((axis.from..=axis.to).contains(&log_place(&axis, *ms)), "{ms} is outside");
            }
        }
    }

    #[test]
    fn shares_are_placed_by_their_nines() {
        for (share, place) in [(0.0, 0.0), (0.9, 1.0), (0.99, 2.0), (0.9999, 4.0), (1.0, 5.0)] {
            assert!((nines(share) - place).abs() < 1e-9, "{share} is at {}", nines(share));
        }
        assert_eq!(labels(&Axis::of_shares("share", 3.2)), "0% 90% 99% 99.9%");
    }
}
