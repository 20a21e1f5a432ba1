//! Results as Markdown tables: medians, and ratios.

use std::fmt::Write;

use crate::loads::{IdleResult, JoinResult, TrafficResult};
use crate::options::Load;
use crate::report::{Report, Server};

/// A column of a table.
struct Column<R> {
    heading: &'static str,
    /// How many are printed behind the point.
    digits: usize,
    /// Whether a server can be better or worse at it, so that a ratio says something.
    rated: bool,
    number: fn(&R) -> Option<f64>,
}

const fn rated<R>(
    heading: &'static str,
    digits: usize,
    number: fn(&R) -> Option<f64>,
) -> Column<R> {
    Column { heading, digits, rated: true, number }
}

const fn unrated<R>(
    heading: &'static str,
    digits: usize,
    number: fn(&R) -> Option<f64>,
) -> Column<R> {
    Column { heading, digits, rated: false, number }
}

const TRAFFIC: &[Column<TrafficResult>] = &[
    rated("million events/s", 3, |result| Some(result.events_per_second / 1e6)),
    rated("server CPU, µs/event", 2, |result| result.cpu_us_per_event),
    rated("sender p50, ms", 2, |result| Some(result.sender_p50_ms)),
    rated("sender p99, ms", 2, |result| Some(result.sender_p99_ms)),
    rated("last client p50, ms", 2, |result| Some(result.last_p50_ms)),
    rated("last client p99, ms", 2, |result| Some(result.last_p99_ms)),
    unrated("skipped, %", 1, |result| Some(result.skipped_percent)),
    unrated("events per read", 1, |result| Some(result.events_per_read)),
    unrated("clients ready at a time", 0, |result| Some(result.ready_per_turn)),
    unrated("CPU of others, %", 0, |result| result.other_cpu_percent),
];

const IDLE: &[Column<IdleResult>] = &[
    rated("MiB with one", 1, |result| Some(result.mib_before)),
    rated("MiB with all", 1, |result| Some(result.mib_with_all)),
    rated("KiB for each", 2, |result| Some(result.kib_per_connection)),
    rated("server CPU, %", 2, |result| Some(result.cpu_percent)),
];

const JOIN: &[Column<JoinResult>] = &[
    rated("seconds", 2, |result| Some(result.seconds)),
    rated("users events for a client, at most", 0, |result| Some(result.users_events_max as f64)),
    rated("users events for all", 0, |result| Some(result.users_events as f64)),
    rated("server CPU, s", 2, |result| result.cpu_seconds),
];

/// The tables of a report: medians over its rounds.
pub fn to_markdown(report: &Report) -> String {
    [traffic_table(report), idle_table(report), join_table(report)].concat()
}

fn traffic_table(report: &Report) -> String {
    let mut rows = Vec::new();
    for load in Load::ALL {
        let of_load = report.runs.iter().filter(|run| run.load == load);
        let traffic = of_load.filter_map(|run| Some((run.server, run.result.as_traffic()?)));
        let traffic: Vec<(Server, &TrafficResult)> = traffic.collect();
        let mut servers: Vec<Server> = Vec::new();
        for (server, _) in &traffic {
            if !servers.contains(server) {
                servers.push(*server);
            }
        }
        let results = |server: Server| -> Vec<&TrafficResult> {
            traffic.iter().filter(|(of, _)| *of == server).map(|(_, result)| *result).collect()
        };
        for server in &servers {
            rows.extend(median_row(&format!("{load}, {server}"), TRAFFIC, &results(*server)));
        }
        if let [first, second] = servers[..] {
            let name = format!("{load}, {second} ÷ {first}");
            rows.extend(ratio_row(&name, TRAFFIC, &results(second), &results(first)));
        }
    }
    table("Load", TRAFFIC, &rows)
}

fn idle_table(report: &Report) -> String {
    let results = report.runs.iter().filter_map(|run| run.result.as_idle());
    let sized = results.map(|result| (result.connections, result)).collect();
    table_by_size("Idle connections", IDLE, sized)
}

fn join_table(report: &Report) -> String {
    let results = report.runs.iter().filter_map(|run| run.result.as_join());
    let sized = results.map(|result| (result.clients, result)).collect();
    table_by_size("Clients joining at once", JOIN, sized)
}

/// A table with a row for each size.
fn table_by_size<R>(heading: &str, columns: &[Column<R>], sized: Vec<(usize, &R)>) -> String {
    let mut sizes: Vec<usize> = sized.iter().map(|(size, _)| *size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let row = |size: usize| {
        let of_size = sized.iter().filter(|(other, _)| *other == size);
        let of_size: Vec<&R> = of_size.map(|(_, result)| *result).collect();
        median_row(&size.to_string(), columns, &of_size)
    };
    let rows: Vec<String> = sizes.into_iter().filter_map(row).collect();
    table(heading, columns, &rows)
}

fn table<R>(heading: &str, columns: &[Column<R>], rows: &[String]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = format!("\n| {heading} |");
    for Column { heading, .. } in columns {
        write!(table, " {heading} |").expect("a String takes everything");
    }
    table.push_str("\n|---|");
    table.push_str(&"---:|".repeat(columns.len()));
    table.push('\n');
    table.push_str(&rows.concat());
    table
}

fn median_row<R>(name: &str, columns: &[Column<R>], results: &[&R]) -> Option<String> {
    let cell = |Column { digits, number, .. }: &Column<R>| {
        let median = median(results.iter().filter_map(|result| number(result)).collect());
        median.map_or("–".to_owned(), |median| format!("{median:.0$}", *digits))
    };
    (!results.is_empty()).then(|| row(name, columns.iter().map(cell)))
}

/// Ratios are made within a round, where both were measured within seconds of each other; then the
/// median is taken.
fn ratio_row<R>(name: &str, columns: &[Column<R>], over: &[&R], under: &[&R]) -> Option<String> {
    let ratio = |Column { rated, number, .. }: &Column<R>| {
        let ratio = |(over, under): (&&R, &&R)| Some(number(over)? / number(under)?);
        let ratios = over.iter().zip(under).filter_map(ratio).filter(|ratio| ratio.is_finite());
        if *rated { median(ratios.collect()) } else { None }
    };
    let cell = |column| ratio(column).map_or("–".to_owned(), |ratio| format!("**{ratio:.2}**"));
    (!over.is_empty() && !under.is_empty()).then(|| row(name, columns.iter().map(cell)))
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> String {
    format!("| {name} | {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = *numbers.get(middle)?;
    Some(if numbers.len() % 2 == 1 { upper } else { (numbers[middle - 1] + upper) / 2.0 })
}
