//! What is plotted of outcomes.

use super::{
    axis::{Axis, log_place, nines},
    plot::{self, Bar, Series},
};
use crate::cli::bench::outcome::{Latency, Second, Traffic};
use std::io;

/// The last second may be a piece too short to tell anything from.
const LEAST_SECONDS: f64 = 0.25;

/// A plot with its title, and what its colours mean.
pub struct Figure {
    pub title: String,
    /// Names with their colours; empty if the plot itself says them.
    pub legend: Vec<(String, usize)>,
    pub svg: String,
}

impl Figure {
    fn of_lines(title: &str, x: &Axis, y: &Axis, series: Vec<Series>) -> io::Result<Self> {
        let svg = plot::lines(x, y, &series)?;
        let legend = series.into_iter().map(|series| (series.name, series.colour)).collect();
        Ok(Self { title: title.to_owned(), legend, svg })
    }
}

/// Distributions of times by their names and colours; `None` if nothing was measured.
pub fn latency(title: &str, of: &[(&str, usize, &Latency)]) -> io::Result<Option<Figure>> {
    let measured: Vec<&(&str, usize, &Latency)> =
        of.iter().filter(|(_, _, latency)| !latency.curve.is_empty()).collect();
    if measured.is_empty() {
        return Ok(None);
    }
    let most_nines = measured.iter().map(|(_, _, latency)| most_nines(latency)).fold(0.0, f64::max);
    let points = measured.iter().flat_map(|(_, _, latency)| &latency.curve);
    let x = Axis::of_shares("share that took no longer", most_nines);
    let y = Axis::of_times("ms", points.map(|point| point.ms));
    let series = |(name, colour, latency): &&(&str, usize, &Latency)| {
        let last = most_nines_shown(latency, &x);
        let points = latency.curve.iter();
        let points = points.map(|point| (nines(point.share).min(last), log_place(&y, point.ms)));
        Series { name: (*name).to_owned(), colour: *colour, points: points.collect() }
    };
    let series = measured.iter().map(series).collect();
    Figure::of_lines(title, &x, &y, series).map(Some)
}

/// Of so many times, one is the longest: its share has no more nines than that.
fn most_nines(latency: &Latency) -> f64 {
    (latency.count.max(1) as f64).log10()
}

fn most_nines_shown(latency: &Latency, axis: &Axis) -> f64 {
    most_nines(latency).min(axis.to)
}

/// Events a second over time.
pub fn throughput(traffic: &Traffic) -> io::Result<Option<Figure>> {
    let rate = |(second, lasted_s): (&Second, f64)| (second.end_s, second.events as f64 / lasted_s);
    let points: Vec<(f64, f64)> = seconds(traffic).map(rate).collect();
    let Some((end, _)) = points.last().copied() else { return Ok(None) };
    let most = points.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let (x, y) = (Axis::of_seconds("seconds", end), Axis::linear("events/s", most));
    let name = "events/s, all clients together".to_owned();
    let series = vec![Series { name, colour: 0, points }];
    Figure::of_lines("Throughput over time", &x, &y, series).map(Some)
}

/// The median and the 99th percentile over time.
pub fn latency_over_time(traffic: &Traffic) -> io::Result<Option<Figure>> {
    let seconds = seconds(traffic).map(|(second, _)| second);
    let seconds: Vec<&Second> = seconds.filter(|second| second.events > 0).collect();
    let Some(last) = seconds.last() else { return Ok(None) };
    let times = seconds.iter().flat_map(|second| [second.p50_ms, second.p99_ms]);
    let x = Axis::of_seconds("seconds", last.end_s);
    let y = Axis::of_times("ms", times);
    let series = |name: &str, colour, ms: fn(&Second) -> f64| Series {
        name: name.to_owned(),
        colour,
        points: seconds.iter().map(|second| (second.end_s, log_place(&y, ms(second)))).collect(),
    };
    let both = vec![series("p50", 0, |s| s.p50_ms), series("p99", 1, |s| s.p99_ms)];
    Figure::of_lines("Latency over time", &x, &y, both).map(Some)
}

/// What happened in each second, with how long it was, without a last piece that is too short.
fn seconds(traffic: &Traffic) -> impl Iterator<Item = (&Second, f64)> {
    let begins = [0.0].into_iter().chain(traffic.timeline.iter().map(|second| second.end_s));
    let lasted = |(second, begin_s): (_, f64)| {
        let second: &Second = second;
        (second, second.end_s - begin_s)
    };
    traffic.timeline.iter().zip(begins).map(lasted).filter(|(_, s)| *s >= LEAST_SECONDS)
}

/// A bar for each value; `None` of none.
pub fn bars(title: &str, bars: &[Bar]) -> io::Result<Option<Figure>> {
    if bars.is_empty() {
        return Ok(None);
    }
    Ok(Some(Figure { title: title.to_owned(), legend: Vec::new(), svg: plot::bars(bars)? }))
}
