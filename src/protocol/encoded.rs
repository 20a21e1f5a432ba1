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
    let mut messages = event.to_messages(form.dialect()).into_iter();
    let first = messages.next().map(|message| encode_message(&message, form)).unwrap_or_default();
    if messages.len() == 0 {
        return first;
    }
    let mut bytes = BytesMut::from(&*first);
    messages.for_each(|message| bytes.extend_from_slice(&encode_message(&message, form)));
    bytes.freeze()
}

fn encode_message(message: &Message, form: WireForm) -> Bytes {
    match (form, message) {
        (WireForm::EventStream, message) => event_stream(message.as_bytes()),
        (_, Message::Text(text)) => frame::encode(Opcode::Text, text.as_bytes()),
        (_, Message::Binary(bytes)) => frame::encode(Opcode::Binary, bytes),
    }
}

/// `data:` lines and an empty one; a line break inside the message starts another `data:` line.
fn event_stream(message: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(message);
    let mut lines = String::with_capacity(text.len() + 8);
    for line in text.split(['\n', '\r']) {
        lines.push_str("data: ");
        lines.push_str(line);
        lines.push('\n');
    }
    lines.push('\n');
    lines.into()
}
