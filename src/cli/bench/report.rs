//! The page with plots.

mod axis;
mod figure;
mod page;
mod plot;
#[cfg(test)]
mod tests;

use self::{
    figure::Figure,
    page::{Page, Part},
    plot::Bar,
};
use super::{
    compare::{
        comparison::{Comparison, setting_text},
        plan::Case,
        table::{self, COLUMNS, Table, number_text},
    },
    error::BenchError,
    outcome::{Outcome, Traffic},
};
use std::{fs, io, path::Path};

/// Writes a page about one run.
///
/// # Errors
/// The page cannot be drawn, or the file cannot be written.
pub fn write(path: &Path, outcome: &Outcome) -> Result<(), BenchError> {
    write_page(path, page_of_run(outcome))
}

/// Writes a page about a comparison.
///
/// # Errors
/// The page cannot be drawn, or the file cannot be written.
pub fn write_comparison(path: &Path, comparison: &Comparison) -> Result<(), BenchError> {
    write_page(path, page_of_comparison(comparison))
}

fn write_page(path: &Path, page: io::Result<Page>) -> Result<(), BenchError> {
    let written = page.and_then(|page| fs::write(path, page.to_html()));
    written.map_err(|error| BenchError::Write(path.to_owned(), error))
}

fn page_of_run(outcome: &Outcome) -> io::Result<Page> {
    let setting = &outcome.setting;
    let mut figures = Vec::new();
    if let Some(traffic) = &outcome.traffic {
        figures.extend(latency_of_run(traffic)?);
        figures.extend(figure::throughput(traffic)?);
        figures.extend(figure::latency_over_time(traffic)?);
    }
    let about = format!(
        "{} clients, {} of them sending, at {}",
        number_text(setting.clients as f64),
        number_text(setting.senders as f64),
        setting.url
    );
    let notes = vec![format!("Options: {}", setting.arguments)];
    let part = Part { title: about, notes, table: Some(facts(outcome)), figures };
    Ok(Page { setting: setting_text(setting), parts: vec![part] })
}

fn latency_of_run(traffic: &Traffic) -> io::Result<Option<Figure>> {
    let of = [
        ("sender: an action's event at the client that sent it", 0, &traffic.sender),
        ("every: at each client", 1, &traffic.every),
        ("last: at the last client", 2, &traffic.last),
        ("age: of what clients show (0 lies on the lower edge)", 3, &traffic.age),
    ];
    figure::latency("Latency", &of)
}

/// All that is known of one run, a row each.
fn facts(outcome: &Outcome) -> Table {
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let number =
        |column: &table::Column| Some(row(column.heading, number_text((column.number)(outcome)?)));
    let mut rows: Vec<Vec<String>> = COLUMNS.iter().filter_map(number).collect();
    let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    if let Some(traffic) = &outcome.traffic {
        rows.push(row("values in order", yes(traffic.in_order)));
        rows.push(row("all clients agree", yes(traffic.agree)));
        let after_ms = number_text(traffic.agree_after_s * 1e3);
        rows.push(row("they did after the last action, ms", after_ms));
    }
    let lost = &outcome.lost;
    let kinds = [("steady", lost.steady), ("stalled", lost.stalled), ("slow", lost.slow)];
    let count =
        |(kind, count): (&str, usize)| row(&format!("lost {kind} clients"), count.to_string());
    rows.extend(kinds.into_iter().map(count));
    let reasons = lost.reasons.iter();
    rows.extend(reasons.map(|(reason, count)| row(&format!("lost: {reason}"), count.to_string())));
    Table { names: 1, headings: vec!["measured".to_owned(), "value".to_owned()], rows }
}

fn page_of_comparison(comparison: &Comparison) -> io::Result<Page> {
    let mut parts = Vec::new();
    if let Some(goals) = table::of_goals(comparison) {
        let (title, figures) = ("Goals".to_owned(), Vec::new());
        parts.push(Part { title, notes: Vec::new(), table: Some(goals), figures });
    }
    for (place, load) in comparison.plan.loads.iter().enumerate() {
        let mut figures = Vec::new();
        figures.extend(events_of_load(comparison, place)?);
        figures.extend(latency_of_load(comparison, place)?);
        let (title, notes) = (load.title(), vec![format!("Options: {}", load.options_text())]);
        let table = Some(table::of_load(comparison, place));
        parts.push(Part { title, notes, table, figures });
    }
    let setting = comparison.setting().map(setting_text).unwrap_or_default();
    Ok(Page { setting: format!("{setting}{}\n", comparison.method()), parts })
}

/// The cases of a load that have traffic, each with its colour and that of its round to be drawn.
fn typical(comparison: &Comparison, load: usize) -> Vec<(&str, usize, &Traffic)> {
    let names = comparison.plan.loads[load].cases.iter().map(|case| case.name.as_str());
    let of_case =
        |(place, name)| Some((name, place, comparison.typical(load, place)?.traffic.as_ref()?));
    names.enumerate().filter_map(of_case).collect()
}

fn latency_of_load(comparison: &Comparison, load: usize) -> io::Result<Option<Figure>> {
    let cases = typical(comparison, load).into_iter();
    let of: Vec<_> = cases.map(|(name, colour, traffic)| (name, colour, &traffic.every)).collect();
    figure::latency("Latency at every client, in a typical round", &of)
}

fn events_of_load(comparison: &Comparison, load: usize) -> io::Result<Option<Figure>> {
    let events_per_s = |outcome: &Outcome| Some(outcome.traffic.as_ref()?.events_per_s);
    let bar = |(place, case): (usize, &Case)| {
        let value = comparison.median(load, place, events_per_s)?;
        Some(Bar { name: case.name.clone(), colour: place, value })
    };
    let cases = comparison.plan.loads[load].cases.iter().enumerate();
    let bars: Vec<Bar> = cases.filter_map(bar).collect();
    figure::bars("Events delivered a second, median", &bars)
}
