//! What the server says, in both protocols.

use std::borrow::Cow;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// An event, as far as a load looks at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The counter's value.
    State(i64),
    /// How many are here.
    Users(u64),
    /// Something that this program does not know, and so ignores.
    Other,
}

const STATE: &[u8] = br#"{"type":"state","value":"#;
const STATE_V1: &[u8] = br#"{"type":"state","seq":"#;
const VALUE: &[u8] = br#","value":"#;
const USERS: &[u8] = br#"{"type":"users","count":"#;

impl Event {
    /// Reads the event in a text frame's payload.
    ///
    /// Events that are spelled as the specification spells them take a few nanoseconds; any other
    /// JSON is understood too, but its reading may become what is measured.
    pub fn parse(text: &[u8]) -> Result<Event> {
        if let Some(value) = text.strip_prefix(STATE).and_then(integer_and_brace) {
            return Ok(Event::State(value));
        }
        if let Some(value) = text.strip_prefix(STATE_V1).and_then(value_behind_position) {
            return Ok(Event::State(value));
        }
        if let Some(count) = text.strip_prefix(USERS).and_then(integer_and_brace) {
            return Ok(Event::Users(count.try_into()?));
        }
        Event::parse_any(text)
    }

    #[cold]
    fn parse_any(text: &[u8]) -> Result<Event> {
        let shown = String::from_utf8_lossy(text);
        let any: AnyEvent =
            serde_json::from_slice(text).with_context(|| format!("the server sent {shown}"))?;
        match (any.kind.as_ref(), any.value, any.count) {
            ("state", Some(value), _) => Ok(Event::State(value)),
            ("users", _, Some(count)) => Ok(Event::Users(count)),
            ("state" | "users" | "error", ..) => bail!("the server sent {shown}"),
            _ => Ok(Event::Other),
        }
    }
}

#[derive(Deserialize)]
struct AnyEvent<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    value: Option<i64>,
    count: Option<u64>,
}

/// The value in `17,"value":123}`.
fn value_behind_position(text: &[u8]) -> Option<i64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text[digits..].strip_prefix(VALUE).and_then(integer_and_brace)
}

/// The number in `123}` or `-123}`, if that is all there is and it has at most 18 digits.
fn integer_and_brace(text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"}")?;
    let (digits, sign) = digits.strip_prefix(b"-").map_or((digits, 1), |digits| (digits, -1));
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(sign * digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}
