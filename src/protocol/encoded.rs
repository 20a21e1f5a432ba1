//! One event as ready bytes, made once for each wire form and shared by all sessions and threads.

use super::{
    Compression, Dialect, Event, Message,
    deflate::{self, WINDOW_BITS},
    frame::{self, Opcode},
};
use bytes::{Bytes, BytesMut};
use std::sync::OnceLock;

/// How an event is written for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireForm {
    /// The classic protocol in WebSocket frames.
    WebSocket,
    /// The classic protocol as server-sent events (WHATWG HTML, section 9.2).
    EventStream,
    /// `statesync.v1` in WebSocket frames.
    V1,
    /// A dialect in WebSocket frames, compressed where that makes them shorter.
    Deflated(Dialect, Compression),
}

impl WireForm {
    /// A dialect in WebSocket frames.
    pub fn of_session(dialect: Dialect, compression: Option<Compression>) -> Self {
        match (dialect, compression) {
            (_, Some(compression)) => Self::Deflated(dialect, compression),
            (Dialect::Classic, None) => Self::WebSocket,
            (Dialect::V1, None) => Self::V1,
        }
    }

    /// The protocol that is written so.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::WebSocket | Self::EventStream => Dialect::Classic,
            Self::V1 => Dialect::V1,
            Self::Deflated(dialect, _) => dialect,
        }
    }
}

/// An event and its bytes in each form, made when first asked for.
///
/// Compressed bytes are told apart by dialect and window alone: all else about compression is the
/// same for all sessions of a server.
#[derive(Debug)]
pub struct EncodedEvent {
    event: Event,
    /// By [`plain_index`].
    plain: [OnceLock<Bytes>; 3],
    /// By [`deflated_index`]; there only if the event is large enough for it.
    deflated: OnceLock<Box<[OnceLock<Bytes>; DEFLATED_FORMS]>>,
}

const WINDOWS: usize = (*WINDOW_BITS.end() - *WINDOW_BITS.start()) as usize + 1;
const DEFLATED_FORMS: usize = 2 * WINDOWS;

fn plain_index(form: WireForm) -> usize {
    match (form, form.dialect()) {
        (WireForm::EventStream, _) => 0,
        (_, Dialect::Classic) => 1,
        (_, Dialect::V1) => 2,
    }
}

fn deflated_index(dialect: Dialect, window_bits: u8) -> usize {
    let window = window_bits.clamp(*WINDOW_BITS.start(), *WINDOW_BITS.end()) - WINDOW_BITS.start();
    dialect as usize * WINDOWS + usize::from(window)
}

impl EncodedEvent {
    /// Prepares `event`.
    pub fn new(event: Event) -> Self {
        Self { event, plain: Default::default(), deflated: OnceLock::new() }
    }

    /// The bytes to write for a session that reads `form`. Cheap after the first time.
    pub fn bytes(&self, form: WireForm) -> &Bytes {
        let WireForm::Deflated(dialect, how) = form else {
            return self.plain[plain_index(form)].get_or_init(|| encode(&self.event, form));
        };
        let plain = self.bytes(WireForm::of_session(dialect, None));
        if plain.len() < how.min_bytes as usize {
            return plain;
        }
        let index = deflated_index(dialect, how.window_bits);
        self.deflated.get_or_init(Box::default)[index].get_or_init(|| {
            let deflated = encode(&self.event, form);
            // Nothing was compressed: one copy is enough.
            if deflated.len() < plain.len() { deflated } else { plain.clone() }
        })
    }
}

/// The bytes of an event that one session alone is told.
pub fn encode(event: &Event, form: WireForm) -> Bytes {
    match event.parts() {
        [only] => encode_part(only, form),
        parts => {
            let mut bytes = BytesMut::new();
            parts.iter().for_each(|part| bytes.extend_from_slice(&encode_part(part, form)));
            bytes.freeze()
        }
    }
}

fn encode_part(event: &Event, form: WireForm) -> Bytes {
    match (form, event.to_message(form.dialect())) {
        (WireForm::EventStream, message) => event_stream(event.seq(), message.as_bytes()),
        (_, Message::Text(text)) => encode_frame(Opcode::Text, text.as_bytes(), form),
        (_, Message::Binary(bytes)) => encode_frame(Opcode::Binary, &bytes, form),
    }
}

/// A data frame, with its payload compressed if `form` says so and it gets shorter by it.
fn encode_frame(opcode: Opcode, payload: &[u8], form: WireForm) -> Bytes {
    match form {
        WireForm::Deflated(_, how) => match deflate::compress(payload, how) {
            Some(deflated) => frame::encode_compressed(opcode, &deflated),
            None => frame::encode(opcode, payload),
        },
        _ => frame::encode(opcode, payload),
    }
}

/// An `id:` line with the position, from which an event source goes on when it comes back; `data:`
/// lines and an empty one. A line break inside the message starts another `data:` line.
fn event_stream(seq: Option<u64>, message: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(message);
    let mut lines = String::with_capacity(text.len() + 32);
    if let Some(seq) = seq {
        lines.push_str(&format!("id: {seq}\n"));
    }
    // Each of these ends a line of an event stream.
    for line in text.replace("\r\n", "\n").split(['\n', '\r']) {
        lines.push_str("data: ");
        lines.push_str(line);
        lines.push('\n');
    }
    lines.push('\n');
    lines.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::deflate::Inflater;

    const HOW: Compression =
        Compression { window_bits: 15, level: 3, memory_level: 8, min_bytes: 100 };

    fn state(value: String) -> EncodedEvent {
        EncodedEvent::new(Event::State { seq: 7, value: value.into() })
    }

    #[test]
    fn an_event_is_compressed_once_for_all_that_agreed_on_the_same() {
        let event = state("abc".repeat(200));
        let mut seen = Vec::new();
        for dialect in [Dialect::Classic, Dialect::V1] {
            let plain = event.bytes(WireForm::of_session(dialect, None)).clone();
            for window_bits in WINDOW_BITS {
                let how = Compression { window_bits, ..HOW };
                let form = WireForm::of_session(dialect, Some(how));
                let bytes = event.bytes(form);
                assert_eq!(bytes[0], 0xC1, "a final, compressed text frame");
                assert!(bytes.len() < 60, "{} bytes", bytes.len());
                let message =
                    Inflater::default().inflate(frame::payload(bytes), 9999).map(Vec::from);
                assert_eq!(message, Ok(frame::payload(&plain).to_vec()), "{form:?}");
                assert_eq!(event.bytes(form).as_ptr(), bytes.as_ptr(), "made twice: {form:?}");
                assert_eq!(encode(&event.event, form), bytes, "as for one session alone");
                seen.push(bytes.as_ptr());
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), DEFLATED_FORMS, "each form has bytes of its own");
    }

    #[test]
    fn what_is_short_or_gets_no_shorter_is_one_frame_for_all() {
        let short = state("abc".repeat(10));
        let all_different: Vec<u8> = (0..200).collect();
        let noise = EncodedEvent::new(Event::Message(Message::Binary(all_different.into())));
        let cases = [(&short, HOW), (&noise, HOW)];
        for (event, how) in cases {
            for dialect in [Dialect::Classic, Dialect::V1] {
                let plain = event.bytes(WireForm::of_session(dialect, None)).as_ptr();
                let deflated = event.bytes(WireForm::of_session(dialect, Some(how))).as_ptr();
                assert_eq!(plain, deflated, "{dialect:?} {how:?}");
            }
        }
        short.bytes(WireForm::of_session(Dialect::V1, Some(HOW)));
        assert!(short.deflated.get().is_none(), "a short event has no room for compressed bytes");
    }

    #[test]
    fn event_streams_and_binary_messages_keep_their_form() {
        let event = EncodedEvent::new(Event::Message(Message::Binary(vec![7; 500].into())));
        let form = WireForm::of_session(Dialect::Classic, Some(HOW));
        assert_eq!(event.bytes(form)[0], 0xC2, "a final, compressed binary frame");
        assert!(event.bytes(WireForm::EventStream).starts_with(b"data: "));
    }

    #[test]
    fn event_streams_carry_positions_to_go_on_from() {
        let state = Event::State { seq: 8, value: 5.into() };
        let users = Event::Users { count: 2, names: None };
        let both = Event::Several(vec![users, state]);
        let expected = "data: {\"type\":\"users\",\"count\":2}\n\n\
                        id: 8\ndata: {\"type\":\"state\",\"value\":5}\n\n";
        assert_eq!(encode(&both, WireForm::EventStream), expected);
        let text = Event::Message(Message::Text("a\nb\r\nc".into()));
        assert_eq!(encode(&text, WireForm::EventStream), "data: a\ndata: b\ndata: c\n\n");
    }
}
