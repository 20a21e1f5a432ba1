//! What servers say, in each protocol.

use super::{error::BenchError, options::Protocol};
use serde::Deserialize;
use std::borrow::Cow;

/// What a server said, as far as a load looks at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The room is at this place now: the counter's value, or the position in the history, or the
    /// number of the action.
    Shown(i64),
    /// A newcomer comes in at this place, and is not shown it.
    Greeted(i64),
    /// How many are here.
    Users(u64),
    /// This has to be answered, as a text.
    Answer(&'static str),
    /// Something that a load has no use for.
    Other,
}

/// Reads what a server says.
///
/// Events that are spelled as the documents spell them take some nanoseconds; any other JSON is
/// understood too, but its reading may become what is measured.
pub struct Reader {
    protocol: Protocol,
    /// v1: whether places are positions in the history, not the values of a counter. The first
    /// state decides it.
    by_position: Option<bool>,
}

/// Of what is not understood, so much is shown.
const MOST_SHOWN_BYTES: usize = 200;

const STATE: &[u8] = br#"{"type":"state","value":"#;
const STATE_V1: &[u8] = br#"{"type":"state","seq":"#;
const VALUE: &[u8] = br#","value":"#;
const USERS: &[u8] = br#"{"type":"users","count":"#;
const ACK: &[u8] = br#"{"type":"ack","#;
const MESSAGE: &[u8] = br#"{"type":"message","seq":"#;
const PATCH: &[u8] = br#"{"type":"patch","from":"#;
const SEQ: &[u8] = br#","seq":"#;
const SOCKET_IO_STATE: &[u8] = br#"42["state","#;
const SOCKET_IO_USERS: &[u8] = br#"42["users","#;

impl Reader {
    /// Reads what is said in `protocol`.
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, by_position: None }
    }

    /// Whether places are positions in the history, which all rooms of a server share.
    pub fn is_by_position(&self) -> bool {
        self.by_position == Some(true)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BenchError::Refused`] if it is an error event; [`BenchError::Protocol`] if it is not
    /// understood.
    #[inline]
    pub fn read(&mut self, text: &[u8]) -> Result<Event, BenchError> {
        match self.protocol {
            Protocol::Classic => classic(text),
            Protocol::V1 => self.v1(text),
            Protocol::Text => Ok(last_number(text).map_or(Event::Other, Event::Shown)),
            Protocol::SocketIo => socket_io(text),
        }
    }

    #[inline]
    fn v1(&mut self, text: &[u8]) -> Result<Event, BenchError> {
        if let Some(rest) = text.strip_prefix(STATE_V1)
            && let Some((seq, rest)) = integer(rest)
            && let Some(value) = rest.strip_prefix(VALUE)
        {
            match (self.by_position, integer_and(value, b"}")) {
                (Some(true), _) => return Ok(Event::Shown(seq)),
                (Some(false), Some(value)) => return Ok(Event::Shown(value)),
                _ => return self.v1_of_any_form(text),
            }
        }
        if let Some(count) = text.strip_prefix(USERS).and_then(|rest| integer_and(rest, b"}")) {
            return Ok(Event::Users(count.unsigned_abs()));
        }
        if text.starts_with(ACK) {
            return Ok(Event::Other);
        }
        if self.is_by_position() {
            if let Some(place) = text.strip_prefix(MESSAGE).and_then(integer) {
                return Ok(Event::Shown(place.0));
            }
            if let Some((_, rest)) = text.strip_prefix(PATCH).and_then(integer)
                && let Some(place) = rest.strip_prefix(SEQ).and_then(integer)
            {
                return Ok(Event::Shown(place.0));
            }
        }
        self.v1_of_any_form(text)
    }

    /// The first state decides what places are.
    fn state(&mut self, seq: i64, value: Option<i64>, text: &[u8]) -> Result<Event, BenchError> {
        match (*self.by_position.get_or_insert(value.is_none()), value) {
            (true, _) => Ok(Event::Shown(seq)),
            (false, Some(value)) => Ok(Event::Shown(value)),
            (false, None) => Err(no_number(text)),
        }
    }

    #[cold]
    fn v1_of_any_form(&mut self, text: &[u8]) -> Result<Event, BenchError> {
        let any = AnyEvent::parse(text)?;
        match (any.kind.as_ref(), any.seq) {
            ("state", Some(seq)) => self.state(seq, any.whole_number(), text),
            // It sends no state, only what is said from now on.
            ("welcome", Some(seq)) if any.room_kind.as_deref() == Some("chat") => {
                self.by_position = Some(true);
                Ok(Event::Greeted(seq))
            }
            ("patch" | "message", Some(seq)) if self.is_by_position() => Ok(Event::Shown(seq)),
            _ => any.common(text),
        }
    }
}

#[inline]
fn classic(text: &[u8]) -> Result<Event, BenchError> {
    if let Some(value) = text.strip_prefix(STATE).and_then(|rest| integer_and(rest, b"}")) {
        return Ok(Event::Shown(value));
    }
    if let Some(count) = text.strip_prefix(USERS).and_then(|rest| integer_and(rest, b"}")) {
        return Ok(Event::Users(count.unsigned_abs()));
    }
    classic_of_any_form(text)
}

#[cold]
fn classic_of_any_form(text: &[u8]) -> Result<Event, BenchError> {
    let any = AnyEvent::parse(text)?;
    if any.kind == "state" {
        return any.whole_number().map(Event::Shown).ok_or_else(|| no_number(text));
    }
    any.common(text)
}

fn no_number(text: &[u8]) -> BenchError {
    let shown = &text[..text.len().min(MOST_SHOWN_BYTES)];
    BenchError::NoNumber(String::from_utf8_lossy(shown).into_owned())
}

/// Engine.IO 4 packets in text frames, and Socket.IO 5 packets in them.
#[inline]
fn socket_io(text: &[u8]) -> Result<Event, BenchError> {
    if let Some(value) = text
        .strip_prefix(SOCKET_IO_STATE)
        .and_then(|rest| rest.strip_prefix(STATE))
        .and_then(|rest| integer_and(rest, b"}]"))
    {
        return Ok(Event::Shown(value));
    }
    match text {
        [b'0', ..] => Ok(Event::Answer("40")),
        b"2" => Ok(Event::Answer("3")),
        _ => {
            let event = [SOCKET_IO_STATE, SOCKET_IO_USERS]
                .into_iter()
                .find_map(|name| text.strip_prefix(name)?.strip_suffix(b"]"));
            event.map_or(Ok(Event::Other), classic)
        }
    }
}

#[derive(Deserialize)]
struct AnyEvent<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(rename = "kind", borrow)]
    room_kind: Option<Cow<'a, str>>,
    seq: Option<i64>,
    value: Option<serde_json::Value>,
    count: Option<u64>,
}

impl<'a> AnyEvent<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, BenchError> {
        serde_json::from_slice(text).map_err(|error| {
            let shown = String::from_utf8_lossy(&text[..text.len().min(MOST_SHOWN_BYTES)]);
            BenchError::Protocol(format!("{shown} ({error})"))
        })
    }

    fn whole_number(&self) -> Option<i64> {
        self.value.as_ref().and_then(serde_json::Value::as_i64)
    }

    fn common(&self, text: &[u8]) -> Result<Event, BenchError> {
        match (self.kind.as_ref(), self.count) {
            ("users", Some(count)) => Ok(Event::Users(count)),
            ("error", _) => Err(BenchError::Refused(String::from_utf8_lossy(text).into_owned())),
            ("state" | "users", _) => {
                Err(BenchError::Protocol(String::from_utf8_lossy(text).into_owned()))
            }
            _ => Ok(Event::Other),
        }
    }
}

/// The number in `123}` or `-123}`, if that and `end` are all there is.
#[inline]
fn integer_and(text: &[u8], end: &[u8]) -> Option<i64> {
    let (number, rest) = integer(text)?;
    (rest == end).then_some(number)
}

/// The whole number that `text` begins with, of at most 18 digits, and what stands behind it.
#[inline]
fn integer(text: &[u8]) -> Option<(i64, &[u8])> {
    let (digits, sign) = text.strip_prefix(b"-").map_or((text, 1), |digits| (digits, -1));
    let (mut number, mut length) = (0_i64, 0);
    while let Some(digit @ b'0'..=b'9') = digits.get(length) {
        if length == 18 {
            return None;
        }
        number = number * 10 + i64::from(digit - b'0');
        length += 1;
    }
    (length > 0).then_some((sign * number, &digits[length..]))
}

/// The last run of digits in a text.
#[inline]
fn last_number(text: &[u8]) -> Option<i64> {
    let end = text.iter().rposition(u8::is_ascii_digit)? + 1;
    let begin = text[..end].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
    integer(&text[begin..end]).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, sample::select};

    fn read_all(protocol: Protocol, texts: &[(&str, Event)]) {
        let mut reader = Reader::new(protocol);
        for (text, event) in texts {
            let read =
                reader.read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(read, *event, "{text}");
        }
    }

    #[test]
    fn the_classic_protocol_shows_values_and_users() {
        read_all(
            Protocol::Classic,
            &[
                (r#"{"type":"state","value":0}"#, Event::Shown(0)),
                (r#"{"type":"state","value":-12}"#, Event::Shown(-12)),
                (r#"{"type": "state", "value": 12}"#, Event::Shown(12)),
                (r#"{"value":12,"type":"state"}"#, Event::Shown(12)),
                (
                    r#"{"type":"state","value":1234567890123456789}"#,
                    Event::Shown(1234567890123456789),
                ),
                (r#"{"type":"users","count":3}"#, Event::Users(3)),
                (r#"{"type":"users","count":3,"more":1}"#, Event::Users(3)),
                (r#"{"type":"news"}"#, Event::Other),
            ],
        );
    }

    #[test]
    fn a_counter_in_v1_goes_by_its_value() {
        read_all(
            Protocol::V1,
            &[
                (r#"{"type":"welcome","kind":"counter","seq":7}"#, Event::Other),
                (r#"{"type":"users","count":3}"#, Event::Users(3)),
                (r#"{"type":"state","seq":7,"value":-1}"#, Event::Shown(-1)),
                (r#"{"type":"state","seq":8,"value":0}"#, Event::Shown(0)),
                (r#"{"type":"state","value":5,"seq":9}"#, Event::Shown(5)),
                (r#"{"type":"ack","id":1,"seq":8}"#, Event::Other),
            ],
        );
    }

    #[test]
    fn a_counter_in_v1_that_is_no_number_any_more_is_an_error() {
        let mut reader = Reader::new(Protocol::V1);
        let read = reader.read(br#"{"type":"state","seq":7,"value":1}"#).expect("a good event");
        assert_eq!(read, Event::Shown(1));
        let read = reader.read(br#"{"type":"state","seq":8,"value":{}}"#);
        assert!(matches!(read, Err(BenchError::NoNumber(_))));
    }

    #[test]
    fn a_document_and_a_chat_in_v1_go_by_their_positions() {
        read_all(
            Protocol::V1,
            &[
                (r#"{"type":"state","seq":7,"value":{"a":1}}"#, Event::Shown(7)),
                (r#"{"type":"patch","from":7,"seq":8,"ops":[]}"#, Event::Shown(8)),
                (r#"{"type":"patch","seq":9,"from":8,"ops":[]}"#, Event::Shown(9)),
                (r#"{"type":"state","seq":11,"value":5}"#, Event::Shown(11)),
            ],
        );
        read_all(
            Protocol::V1,
            &[
                (r#"{"type":"welcome","kind":"chat","seq":7}"#, Event::Greeted(7)),
                (r#"{"type":"message","seq":8,"from":"Ann","text":"1"}"#, Event::Shown(8)),
                (r#"{"type":"joined","seq":8,"name":"Ann"}"#, Event::Other),
            ],
        );
    }

    #[test]
    fn a_text_shows_its_last_number() {
        read_all(
            Protocol::Text,
            &[
                ("bench-17", Event::Shown(17)),
                ("17", Event::Shown(17)),
                ("a1b22c", Event::Shown(22)),
                ("", Event::Other),
                ("hello", Event::Other),
            ],
        );
    }

    #[test]
    fn socket_io_is_answered_and_its_events_are_found() {
        read_all(
            Protocol::SocketIo,
            &[
                (r#"0{"sid":"x","pingInterval":25000}"#, Event::Answer("40")),
                (r#"40{"sid":"y"}"#, Event::Other),
                ("2", Event::Answer("3")),
                (r#"42["state",{"type":"state","value":12}]"#, Event::Shown(12)),
                (r#"42["state",{"type": "state", "value": 12}]"#, Event::Shown(12)),
                (r#"42["users",{"type":"users","count":2}]"#, Event::Users(2)),
            ],
        );
    }

    #[test]
    fn refusals_and_what_is_not_understood_end_the_run() {
        let error = Reader::new(Protocol::Classic).read(br#"{"type":"error","code":"x"}"#);
        assert!(matches!(error, Err(BenchError::Refused(_))));
        for text in ["hello", r#"{"value":1}"#, r#"{"type":"users"}"#] {
            let error = Reader::new(Protocol::Classic).read(text.as_bytes());
            assert!(matches!(error, Err(BenchError::Protocol(_))), "{text}");
        }
        let error = Reader::new(Protocol::Classic).read(br#"{"type":"state","value":{}}"#);
        assert!(matches!(error, Err(BenchError::NoNumber(_))));
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_an_event_or_an_error(
            beginning in select(&[
                "", "{", "42[", r#"{"type":"state","value":"#, r#"{"type":"state","seq":1,"value":"#,
                r#"{"type":"patch","from":"#, r#"42["state","#,
            ][..]),
            end in "[-0-9a-z\"{}:,]{0,30}",
        ) {
            let text = format!("{beginning}{end}");
            for protocol in [Protocol::Classic, Protocol::V1, Protocol::Text, Protocol::SocketIo] {
                let _ = Reader::new(protocol).read(text.as_bytes());
            }
        }

        #[test]
        fn numbers_are_read_as_they_were_written(value: i64, seq in 0..i64::MAX) {
            let text = format!(r#"{{"type":"state","seq":{seq},"value":{value}}}"#);
            let read = Reader::new(Protocol::V1).read(text.as_bytes()).expect("a good event");
            prop_assert_eq!(read, Event::Shown(value));
        }
    }
}
