//! Results as tables.

use super::{
    comparison::Comparison,
    plan::{Goal, Load, Reference},
    statistics::{Summary, is_reached},
};
use crate::cli::bench::{
    outcome::{Outcome, ServerUse, Traffic},
    table::thousands,
};

/// Rows of text: first names, then numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// How many columns are names.
    pub names: usize,
    pub headings: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// What is in a column.
pub struct Column {
    pub heading: &'static str,
    pub number: fn(&Outcome) -> Option<f64>,
}

const fn column(heading: &'static str, number: fn(&Outcome) -> Option<f64>) -> Column {
    Column { heading, number }
}

/// All that tables tell of an outcome, with the units.
pub const COLUMNS: &[Column] = &[
    column("events/s", |o| traffic(o, |t| t.events_per_s)),
    column("actions/s", |o| traffic(o, |t| t.actions_per_s)),
    column("server CPU, µs/event", |o| o.server.as_ref()?.cpu_us_per_event),
    column("server CPU, cores", |o| server(o, |s| s.core_share)),
    column("sender p50, ms", |o| traffic(o, |t| t.sender.p50_ms)),
    column("sender p99, ms", |o| traffic(o, |t| t.sender.p99_ms)),
    column("every p50, ms", |o| traffic(o, |t| t.every.p50_ms)),
    column("every p99, ms", |o| traffic(o, |t| t.every.p99_ms)),
    column("last p50, ms", |o| traffic(o, |t| t.last.p50_ms)),
    column("last p99, ms", |o| traffic(o, |t| t.last.p99_ms)),
    column("age p50, ms", |o| traffic(o, |t| t.age.p50_ms)),
    column("age p99, ms", |o| traffic(o, |t| t.age.p99_ms)),
    column("skipped, %", |o| traffic(o, skipped_percent)),
    column("joins/s", |o| Some(o.connect.clients_per_s)),
    column("users events, most", |o| Some(o.connect.most_users_events as f64)),
    column("memory, KiB/client", |o| server(o, |s| s.memory_per_client_bytes / KIB)),
    column("memory peak, MiB", |o| server(o, |s| s.memory_peak_bytes as f64 / KIB / KIB)),
    column("load CPU, cores", |o| Some(o.own_core_share)),
];

const KIB: f64 = 1024.0;

/// Where a number is missing.
const NONE: &str = "–";

fn traffic(outcome: &Outcome, number: fn(&Traffic) -> f64) -> Option<f64> {
    outcome.traffic.as_ref().map(number)
}

fn server(outcome: &Outcome, number: fn(&ServerUse) -> f64) -> Option<f64> {
    outcome.server.as_ref().map(number)
}

fn skipped_percent(traffic: &Traffic) -> f64 {
    let all = traffic.events + traffic.skipped;
    if all == 0 { 0.0 } else { traffic.skipped as f64 / all as f64 * 100.0 }
}

impl Table {
    /// As Markdown.
    pub fn to_markdown(&self) -> String {
        let row = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let side = |place| if self.is_name(place) { "---|" } else { "---:|" };
        let sides: String = (0..self.headings.len()).map(side).collect();
        let rows: String = self.rows.iter().map(|cells| row(cells)).collect();
        format!("{}|{sides}\n{rows}", row(&self.headings))
    }

    /// Whether a column has names: they begin on the left, numbers end on the right.
    pub fn is_name(&self, column: usize) -> bool {
        column < self.names
    }
}

/// The cases of a load: medians over the rounds, without columns in which nobody has a number.
pub fn of_load(comparison: &Comparison, load: usize) -> Table {
    let cases = &comparison.plan.loads[load].cases;
    let mut headings = vec!["case".to_owned(), "rounds".to_owned()];
    let counted = |case| comparison.outcomes(load, case).flatten().count();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (place, case) in cases.iter().enumerate() {
        let rounds = match comparison.absence(load, place) {
            Some(missing) => missing.as_str().to_owned(),
            None => format!("{} of {}", counted(place), comparison.rounds),
        };
        rows.push(vec![case.name.clone(), rounds]);
    }
    for Column { heading, number } in COLUMNS {
        let medians: Vec<Option<f64>> =
            (0..cases.len()).map(|case| comparison.median(load, case, *number)).collect();
        if medians.iter().all(Option::is_none) {
            continue;
        }
        headings.push((*heading).to_owned());
        for (row, median) in rows.iter_mut().zip(medians) {
            row.push(median.map_or(NONE.to_owned(), number_text));
        }
    }
    Table { names: 1, headings, rows }
}

/// All goals of all loads; `None` if there is none.
pub fn of_goals(comparison: &Comparison) -> Option<Table> {
    let headings = ["load", "what", "goal", "measured", "lowest to highest", "reached"];
    let mut rows = Vec::new();
    for (place, load) in comparison.plan.loads.iter().enumerate() {
        let row = |goal| goal_row(comparison, place, load, goal);
        rows.extend(load.goals.iter().map(row));
    }
    let headings = headings.map(str::to_owned).to_vec();
    (!rows.is_empty()).then_some(Table { names: 3, headings, rows })
}

fn goal_row(comparison: &Comparison, place: usize, load: &Load, goal: &Goal) -> Vec<String> {
    let [measured, range, reached] = match comparison.measured(place, goal) {
        Some(summary) => [
            number_text(summary.median),
            range_text(&summary, comparison.rounds),
            if is_reached(goal, summary.median) { "yes" } else { "no" }.to_owned(),
        ],
        None => [NONE.to_owned(), NONE.to_owned(), comparison.why_not(place, goal)],
    };
    vec![load.name.clone(), goal.about.clone(), goal_text(goal), measured, range, reached]
}

/// With the number of rounds if some are missing.
fn range_text(summary: &Summary, rounds: usize) -> String {
    let range = format!("{} to {}", number_text(summary.lowest), number_text(summary.highest));
    match summary.count == rounds {
        true => range,
        false => format!("{range} ({} of {rounds} rounds)", summary.count),
    }
}

/// Such as `statesync ÷ ceiling ≥ 0.9`.
fn goal_text(goal: &Goal) -> String {
    let what = match &goal.reference {
        Reference::Nothing => goal.case.clone(),
        Reference::Over(other) => format!("{} ÷ {other}", goal.case),
        Reference::Minus(other) => format!("{} − {other}", goal.case),
    };
    match (goal.at_least, goal.at_most) {
        (Some(least), Some(most)) => {
            format!("{what}: {} to {}", number_text(least), number_text(most))
        }
        (Some(least), None) => format!("{what} ≥ {}", number_text(least)),
        (None, Some(most)) => format!("{what} ≤ {}", number_text(most)),
        (None, None) => what,
    }
}

/// A number with three digits that count, or all before the point, in groups.
pub fn number_text(number: f64) -> String {
    let size = number.abs();
    if number == number.trunc() && size < 1_000.0 {
        return format!("{number:.0}");
    }
    let decimals = match size {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        0.01.. => 4,
        _ => 5,
    };
    if size < 1_000.0 {
        return format!("{number:.decimals$}");
    }
    format!("{}{}", if number < 0.0 { "-" } else { "" }, thousands(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.9, "0.900"),
            (0.012345, "0.0123"),
            (1.2345, "1.23"),
            (12.345, "12.3"),
            (123.45, "123"),
            (1234.5, "1,234"),
            (1_234_567.8, "1,234,568"),
            (-1_234_567.8, "-1,234,568"),
            (-0.5, "-0.500"),
        ];
        for (number, text) in cases {
            assert_eq!(number_text(number), text);
        }
    }

    #[test]
    fn a_bar_in_a_name_does_not_end_a_cell() {
        let table = Table {
            names: 1,
            headings: vec!["case".to_owned(), "n".to_owned()],
            rows: vec![vec!["a|b".to_owned(), "1".to_owned()]],
        };
        assert_eq!(table.to_markdown(), "| case | n |\n|---|---:|\n| a\\|b | 1 |\n");
    }
}
