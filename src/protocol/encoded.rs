//! One event as ready bytes, made once for each wire form and shared by all sessions and threads.

use super::{
    Dialect, Event, Message,
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
}

impl WireForm {
    /// All forms, in the order of their numbers (`form as usize`).
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::EventStream, Self::V1];

    /// The protocol that is written so.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::WebSocket | Self::EventStream => Dialect::Classic,
            Self::V1 => Dialect::V1,
        }
    }
}

/// An event and its bytes in each form, made when first asked for.
#[derive(Debug)]
pub struct EncodedEvent {
    event: Event,
    forms: [OnceLock<Bytes>; WireForm::ALL.len()],
}

impl EncodedEvent {
    /// Prepares `event`.
    pub fn new(event: Event) -> Self {
        Self { event, forms: Default::default() }
    }

    /// The bytes to write for a session that reads `form`. Cheap after the first time.
    pub fn bytes(&self, form: WireForm) -> &Bytes {
        self.forms[form as usize].get_or_init(|| encode(&self.event, form))
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
        (_, Message::Text(text)) => frame::encode(Opcode::Text, text.as_bytes()),
        (_, Message::Binary(bytes)) => frame::encode(Opcode::Binary, &bytes),
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
    for line in text.split(['\n', '\r']) {
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

    #[test]
    fn event_streams_carry_positions_to_go_on_from() {
        let state = Event::State { seq: 8, value: 5.into() };
        let users = Event::Users { count: 2, names: None };
        let both = Event::Several(vec![users, state]);
        let expected = "data: {\"type\":\"users\",\"count\":2}\n\n\
                        id: 8\ndata: {\"type\":\"state\",\"value\":5}\n\n";
        assert_eq!(encode(&both, WireForm::EventStream), expected);
        let text = Event::Message(Message::Text("a\nb".into()));
        assert_eq!(encode(&text, WireForm::EventStream), "data: a\ndata: b\n\n");
    }
}
