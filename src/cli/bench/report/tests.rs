use super::*;
use crate::cli::bench::{
    compare::{
        plan::{Plan, metric},
        rounds::{Missing, Run},
    },
    outcome::{Latency, Quantile, Second},
};

/// A made-up distribution around a median.
fn latency(p50_ms: f64) -> Latency {
    let quantile = |tenth: u32| {
        let share = 1.0 - 10_f64.powf(-f64::from(tenth) / 10.0);
        Quantile { share, ms: p50_ms * (0.5 + 0.1 * f64::from(tenth).powf(1.4)) }
    };
    let mut curve: Vec<Quantile> = (0..44).map(quantile).collect();
    let max_ms = p50_ms * 30.0;
    curve.push(Quantile { share: 1.0, ms: max_ms });
    let [p90_ms, p99_ms, p999_ms] = [3.0, 8.0, 15.0].map(|factor| p50_ms * factor);
    Latency { count: 60_000, p50_ms, p90_ms, p99_ms, p999_ms, max_ms, curve }
}

fn outcome(events_per_s: f64) -> Outcome {
    let mut outcome = metric::complete();
    outcome.setting.arguments = "--clients 1000".to_owned();
    outcome.setting.processor = "<b>Processor</b> & \"Co\"".to_owned();
    outcome.setting.clients = 1_000;
    outcome.server = None;
    outcome.lost.reasons = vec![("1001 <gone>".to_owned(), 2)];
    let traffic = outcome.traffic.as_mut().expect("complete");
    traffic.events_per_s = events_per_s;
    traffic.sender = latency(1.0);
    traffic.every = latency(1e6 / events_per_s);
    traffic.last = latency(3.0);
    let second = |end: u32| Second {
        end_s: f64::from(end),
        actions: 250,
        events: (events_per_s * (1.0 + 0.1 * f64::from(end).sin())) as u64,
        p50_ms: 1.0 + 0.1 * f64::from(end).cos(),
        p99_ms: 6.0 + f64::from(end).sin(),
    };
    traffic.timeline = (1..=10).map(second).collect();
    // A piece too short to tell anything from.
    traffic.timeline.push(Second { end_s: 10.001, ..second(10) });
    outcome
}

fn comparison() -> Comparison {
    let text = "[[server]]\nname = \"<ours>\"\ncommand = [\"x\"]\n\
                [[server]]\nname = \"theirs\"\ncommand = [\"x\"]\n\
                [[load]]\nname = \"one\"\nabout = \"1,000 clients & one sender\"\n\
                [[load.case]]\nserver = \"<ours>\"\n[[load.case]]\nserver = \"theirs\"\n\
                [[load.goal]]\nabout = \"events\"\nmetric = \"/traffic/events_per_s\"\n\
                case = \"<ours>\"\nover = \"theirs\"\nat_least = 0.9\n\
                [[load]]\nname = \"idle\"\noptions = [\"--idle\"]\n\
                [[load.case]]\nserver = \"<ours>\"\n[[load.case]]\nserver = \"theirs\"\n";
    let plan = Plan::parse("plan.toml", text).unwrap_or_else(|errors| panic!("{errors}"));
    let idle = || Outcome { traffic: None, ..outcome(1.0) };
    let run = |round, load, case, result| Run { round, load, case, result };
    let runs = vec![
        run(1, 0, 0, Ok(outcome(2.5e5))),
        run(1, 0, 1, Ok(outcome(1.5e5))),
        run(1, 1, 0, Ok(idle())),
        run(1, 1, 1, Err(Missing::NotInstalled)),
        run(2, 0, 0, Ok(outcome(2.2e5))),
        run(2, 0, 1, Err(Missing::Failed("why".to_owned()))),
        run(2, 1, 0, Ok(idle())),
        run(2, 1, 1, Err(Missing::NotInstalled)),
    ];
    Comparison { plan, rounds: 2, quick: false, runs }
}

/// The page needs nothing else, runs nothing, and has no text that was taken for HTML.
#[track_caller]
fn check_alone(html: &str) {
    let named = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for foreign in ["http:", "https:", "<script", "<link", "<img", "url(", "@import", "href"] {
        assert!(!named.contains(foreign), "{foreign} is in the page");
    }
    for unescaped in ["<b>", "<ours>", "<gone>"] {
        assert!(!html.contains(unescaped), "{unescaped} is in the page as HTML");
    }
}

#[test]
fn a_page_of_one_run_has_its_plots_and_numbers() {
    let html = page_of_run(&outcome(2.5e5)).expect("a page").to_html();
    check_alone(&html);
    assert_eq!(html.matches("<svg").count(), 3, "latency, throughput, latency over time");
    assert!(!html.contains("100 M"), "a millisecond at the end tells no rate");
    for part in ["Throughput over time", "events/s", "99.9%", "250,000", "1001 &lt;gone&gt;"] {
        assert!(html.contains(part), "{part:?} is missing");
    }
}

#[test]
fn a_page_of_a_run_without_traffic_has_numbers_only() {
    let idle = Outcome { traffic: None, ..outcome(1.0) };
    let html = page_of_run(&idle).expect("a page").to_html();
    check_alone(&html);
    assert!(!html.contains("<svg"), "nothing was sent, so nothing is plotted");
    assert!(html.contains("joins/s"), "how the clients came in is there");
}

#[test]
fn a_page_of_a_comparison_has_goals_and_two_plots_for_a_load_with_traffic() {
    let html = page_of_comparison(&comparison()).expect("a page").to_html();
    check_alone(&html);
    assert_eq!(html.matches("<svg").count(), 2, "events and latency of the first load");
    for part in [
        "&lt;ours&gt; ÷ theirs ≥ 0.900",
        "1.67 to 1.67 (1 of 2 rounds)",
        "1 of 2",
        "not installed",
        "&lt;ours&gt;: 235 k",
    ] {
        assert!(html.contains(part), "{part:?} is missing");
    }
}

#[test]
fn a_page_is_written_to_its_file() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let path = folder.path().join("report.html");
    write(&path, &outcome(1.0)).expect("room on the disk");
    assert!(fs::read_to_string(&path).expect("a file").starts_with("<!DOCTYPE html>"));
    write_comparison(&path, &comparison()).expect("room on the disk");
    assert!(write(&folder.path().join("none/report.html"), &outcome(1.0)).is_err());
}
