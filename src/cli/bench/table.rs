//! A result as people read it.

use super::outcome::{Latency, Outcome, ServerUse, Setting, Traffic};
use std::fmt::Write;

/// This share of a core or more, and the load may be what was slow.
const BUSY: f64 = 0.9;

/// A result as plain text.
pub fn of(outcome: &Outcome) -> String {
    let mut lines = vec![];
    setting(&outcome.setting, &mut lines);
    let connect = &outcome.connect;
    lines.push((
        "connect",
        format!(
            "{:.2} s, {} clients/s, at most {} `users` events for one",
            connect.seconds,
            thousands(connect.clients_per_s),
            connect.most_users_events
        ),
    ));
    if let Some(traffic) = &outcome.traffic {
        said(traffic, &mut lines);
    }
    lost(outcome, &mut lines);
    if let Some(server) = &outcome.server {
        server_use(server, &mut lines);
    }
    let share = outcome.own_core_share;
    lines.push(("bench", format!("{:.0} % of a core for itself", share * 100.0)));
    let mut text = String::new();
    for (name, line) in lines {
        // A string takes everything.
        let _ = writeln!(text, "{name:9} {line}");
    }
    if let Some(traffic) = &outcome.traffic {
        text.push('\n');
        latencies(traffic, &mut text);
    }
    if share > BUSY {
        text.push_str(
            "\nwarning: this program was busy nearly all the time: it may be what was slow.\n",
        );
    }
    text.truncate(text.trim_end().len());
    text
}

type Lines = Vec<(&'static str, String)>;

fn setting(setting: &Setting, lines: &mut Lines) {
    let Setting { date, version, kernel, processor, cores, arguments, url, clients, senders } =
        setting;
    lines.push(("statesync", format!("{version}, {date}")));
    lines.push(("machine", format!("{cores} cores of {processor}, {kernel}")));
    lines.push(("server", format!("{url}, {clients} clients, {senders} of them send")));
    lines.push(("arguments", arguments.clone()));
}

fn said(traffic: &Traffic, lines: &mut Lines) {
    lines.push((
        "actions",
        format!(
            "{}/s, {} in {:.1} s",
            thousands(traffic.actions_per_s),
            thousands(traffic.actions as f64),
            traffic.seconds
        ),
    ));
    lines.push((
        "events",
        format!(
            "{}/s, {} skipped, {}, {} clients saw all",
            thousands(traffic.events_per_s),
            thousands(traffic.skipped as f64),
            if traffic.in_order { "in order" } else { "OUT OF ORDER" },
            traffic.clients_that_saw_all
        ),
    ));
    let agree = match traffic.agree {
        true => format!("all clients, {:.3} s after the last action", traffic.agree_after_s),
        false => "NOT ALL CLIENTS have the value that all actions lead to".to_owned(),
    };
    lines.push(("agree", agree));
}

fn lost(outcome: &Outcome, lines: &mut Lines) {
    let lost = &outcome.lost;
    if lost.steady + lost.slow + lost.stalled > 0 {
        lines.push((
            "lost",
            format!("{} steady, {} slow, {} stalled clients", lost.steady, lost.slow, lost.stalled),
        ));
    }
    for (reason, count) in &lost.reasons {
        lines.push(("", format!("{count} x {reason}")));
    }
}

fn server_use(server: &ServerUse, lines: &mut Lines) {
    let each = server.cpu_us_per_event.map(|us| format!(", {us:.3} µs for each event"));
    lines.push((
        "processor",
        format!(
            "{:.2} s, {:.0} % of a core{}",
            server.cpu_s,
            server.core_share * 100.0,
            each.unwrap_or_default()
        ),
    ));
    let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    lines.push((
        "memory",
        format!(
            "{:.1} MiB before, {:.1} MiB with all clients ({:.1} KiB each), {:.1} MiB at most",
            mib(server.memory_before_bytes),
            mib(server.memory_idle_bytes),
            server.memory_per_client_bytes / 1024.0,
            mib(server.memory_peak_bytes)
        ),
    ));
}

fn latencies(traffic: &Traffic, text: &mut String) {
    let _ = writeln!(
        text,
        "{:34}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "milliseconds", "p50", "p90", "p99", "p99.9", "longest"
    );
    let rows = [
        ("sender  until its sender sees it", &traffic.sender),
        ("every   until a client sees it", &traffic.every),
        ("last    until the last one sees it", &traffic.last),
        ("age     of what clients show", &traffic.age),
    ];
    for (name, latency) in rows {
        let Latency { count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms, .. } = latency;
        let _ = match count {
            0 => writeln!(text, "{name:34}{:>9}", "-"),
            _ => writeln!(
                text,
                "{name:34}{p50_ms:>9.3}{p90_ms:>9.3}{p99_ms:>9.3}{p999_ms:>9.3}{max_ms:>9.3}"
            ),
        };
    }
}

/// A whole number, not below 0, with commas.
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        for (number, text) in [(0.0, "0"), (999.4, "999"), (1_000.0, "1,000"), (1.5e6, "1,500,000")]
        {
            assert_eq!(thousands(number), text);
        }
    }
}
