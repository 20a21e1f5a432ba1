//! One event as ready bytes, made once for each wire form and shared by all sessions and threads.

use super::{
    Event, Message,
    frame::{self, Opcode},
};
use bytes::Bytes;
use std::sync::OnceLock;

/// How an event is written for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireForm {
    /// The classic protocol in WebSocket frames.
    WebSocket,
    /// The classic protocol as server-sent events (WHATWG HTML, section 9.2).
    EventStream,
}

impl WireForm {
    /// All forms, in the order of their numbers (`form as usize`).
    pub const ALL: [Self; 2] = [Self::WebSocket, Self::EventStream];
}

/// An event and its bytes in each form, made when first asked for.
#[derive(Debug)]
pub struct EncodedEvent {
    message: Message,
    forms: [OnceLock<Bytes>; WireForm::ALL.len()],
}

impl EncodedEvent {
    /// Prepares `event`.
    pub fn new(event: &Event) -> Self {
        Self { message: event.to_classic(), forms: Default::default() }
    }

    /// The length of the event's text or bytes; about that of each form.
    pub fn length(&self) -> usize {
        self.message.as_bytes().len()
    }

    /// The bytes to write for a session that reads `form`. Cheap after the first time.
    pub fn bytes(&self, form: WireForm) -> &Bytes {
        self.forms[form as usize].get_or_init(|| match (form, &self.message) {
            (WireForm::WebSocket, Message::Text(text)) => {
                frame::encode(Opcode::Text, text.as_bytes())
            }
            (WireForm::WebSocket, Message::Binary(bytes)) => frame::encode(Opcode::Binary, bytes),
            (WireForm::EventStream, message) => event_stream(message.as_bytes()),
        })
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
