//! What goals may be about: every number of an [`Outcome`].

use super::super::super::outcome::{Connect, Latency, Lost, Outcome, ServerUse, Setting, Traffic};
use serde_json::Value;
use statesync::config::suggestion;

/// Whether a JSON pointer leads to a number or boolean of an outcome that has everything.
pub fn check(pointer: &str) -> Result<(), String> {
    let complete = serde_json::to_value(complete()).unwrap_or_default();
    match complete.pointer(pointer) {
        Some(Value::Number(_) | Value::Bool(_)) => Ok(()),
        Some(_) => Err(format!("{pointer:?} is no single number")),
        None => {
            let known = pointers(&complete, "");
            let meant = suggestion(pointer, known.iter().map(String::as_str));
            Err(format!("{pointer:?} is not measured{meant}; known are {}", known.join(", ")))
        }
    }
}

/// The number that a JSON pointer leads to; a boolean is 1 or 0.
pub fn value(outcome: &Outcome, pointer: &str) -> Option<f64> {
    match serde_json::to_value(outcome).ok()?.pointer(pointer)? {
        Value::Bool(is_so) => Some(f64::from(u8::from(*is_so))),
        value => value.as_f64(),
    }
}

/// All pointers to numbers and booleans outside of lists.
fn pointers(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let below = |(name, value): (&String, &Value)| pointers(value, &format!("{at}/{name}"));
            fields.iter().flat_map(below).collect()
        }
        Value::Number(_) | Value::Bool(_) => vec![at.to_owned()],
        _ => Vec::new(),
    }
}

/// An outcome in which nothing is missing.
pub fn complete() -> Outcome {
    Outcome {
        setting: Setting {
            date: String::new(),
            version: String::new(),
            kernel: String::new(),
            processor: String::new(),
            cores: 0,
            arguments: String::new(),
            url: String::new(),
            clients: 0,
            senders: 0,
        },
        connect: Connect { seconds: 0.0, clients_per_s: 0.0, most_users_events: 0 },
        traffic: Some(Traffic {
            seconds: 0.0,
            actions: 0,
            actions_per_s: 0.0,
            events: 0,
            events_per_s: 0.0,
            skipped: 0,
            in_order: true,
            clients_that_saw_all: 0,
            agree: true,
            agree_after_s: 0.0,
            sender: Latency::default(),
            every: Latency::default(),
            last: Latency::default(),
            age: Latency::default(),
            timeline: Vec::new(),
        }),
        lost: Lost::default(),
        server: Some(ServerUse {
            cpu_s: 0.0,
            core_share: 0.0,
            cpu_us_per_event: Some(0.0),
            memory_before_bytes: 0,
            memory_idle_bytes: 0,
            memory_per_client_bytes: 0.0,
            memory_peak_bytes: 0,
            memory_growth_bytes: 0,
        }),
        own_core_share: 0.0,
    }
}
