//! From an event to the bytes that everyone is sent.

use super::{Case, Work};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use statesync::protocol::{Compression, Dialect, EncodedEvent, Event, RoomEvent, WireForm};
use std::hint::black_box;

pub const CASES: &[Case] = &[
    Case {
        name: "encode state, classic",
        unit: "an event",
        units: EVENTS as u64,
        prepare: || encoding(WireForm::WebSocket, state),
    },
    Case {
        name: "encode state, v1",
        unit: "an event",
        units: EVENTS as u64,
        prepare: || encoding(WireForm::V1, state),
    },
    Case {
        name: "encode patch of 2 KiB, v1",
        unit: "an event",
        units: EVENTS as u64,
        prepare: || encoding(WireForm::V1, patch),
    },
    Case {
        name: "encode patch of 2 KiB, v1 compressed",
        unit: "an event",
        units: EVENTS as u64,
        prepare: || encoding(WireForm::Deflated(Dialect::V1, COMPRESSION), patch),
    },
];

const EVENTS: usize = 100;
/// As in the default configuration.
const COMPRESSION: Compression =
    Compression { window_bits: 15, level: 3, memory_level: 8, min_bytes: 512 };

struct Encoding {
    form: WireForm,
    events: Vec<Event>,
    /// The bytes of frames that were made.
    bytes: usize,
}

fn encoding(form: WireForm, event: fn(u64) -> Event) -> Result<Box<dyn Work>> {
    let events = (0..2 * EVENTS as u64).map(event).collect();
    Ok(Box::new(Encoding { form, events, bytes: 0 }))
}

fn state(number: u64) -> Event {
    Event::State { seq: 1_000_000 + number, value: (1_000_000 + number).into() }
}

/// Twenty-four cards of a board get new texts: 2 KiB of JSON, much of it alike, as patches are.
fn patch(number: u64) -> Event {
    const WORDS: [&str; 8] = ["paint", "the", "fence", "before", "rain", "comes", "on", "Monday"];
    let card = |card: u64| {
        let words: Vec<_> =
            (0..4).map(|word| WORDS[((card * 5 + word * 3) % 8) as usize]).collect();
        let path = format!("/boards/{}/cards/{card}/title", number % 7);
        json!({ "op": "replace", "path": path, "value": format!("{card}. {}", words.join(" ")) })
    };
    let operations = Value::Array((0..24).map(card).collect());
    let event = RoomEvent::new("patch", [("ops", operations)]);
    Event::Room { seq: 1_000_000 + number, from: Some(999_999 + number), event }
}

impl Work for Encoding {
    fn run(&mut self) {
        for event in self.events.drain(..EVENTS) {
            self.bytes += black_box(EncodedEvent::new(event).bytes(self.form)).len();
        }
    }

    fn check(&mut self) -> Result<()> {
        ensure!(self.events.is_empty() && self.bytes > 0, "events are left");
        Ok(())
    }
}
