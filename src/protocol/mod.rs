//! What is said on the wire, as values and as bytes. Pure: no actor, clock, socket or randomness.
//!
//! * [`frame`]: RFC 6455, bytes ↔ messages.
//! * [`json`]: text → a JSON object, strictly.
//! * [`Event`]: what the server tells clients, and how each wire form writes it.
//! * [`close`]: how connections end.

pub mod close;
pub mod encoded;
pub mod frame;
pub mod json;

pub use close::CloseCode;
pub use encoded::{EncodedEvent, WireForm};

use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;
use serde_json::Value;
use std::{error::Error, fmt};

/// A message, either way: the payload of a text or a binary frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(ByteString),
    /// Any bytes.
    Binary(Bytes),
}

impl Message {
    /// The payload.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// What the server tells clients. [`EncodedEvent`] turns it into bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The room's state is this now.
    State(Value),
    /// So many sessions are in the room.
    Users {
        /// The newcomer included.
        count: usize,
    },
    /// What this client sent was refused; nothing changed.
    Error(ActionError),
    /// A message that a plain room sends as it stands.
    Message(Message),
}

impl Event {
    /// The event as clients of the classic protocol read it.
    pub fn to_classic(&self) -> Message {
        #[derive(Serialize)]
        #[serde(tag = "type", rename_all = "snake_case")]
        enum Classic<'a> {
            State { value: &'a Value },
            Users { count: usize },
            Error { code: &'a str, message: &'a str },
        }
        let classic = match self {
            Self::Message(message) => return message.clone(),
            Self::State(value) => Classic::State { value },
            Self::Users { count } => Classic::Users { count: *count },
            Self::Error(error) => {
                Classic::Error { code: error.code.as_str(), message: &error.message }
            }
        };
        // Writing strings, numbers and JSON values to memory cannot fail.
        Message::Text(serde_json::to_string(&classic).unwrap_or_default().into())
    }
}

/// Stable names of what can be wrong with an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// Not a JSON object. Send one.
    BadJson,
    /// The room knows no such action. See the room's kind.
    UnknownAction,
    /// A field is missing or of the wrong type. Mend it.
    BadField,
    /// The result would not fit the state. The state is unchanged.
    OutOfRange,
    /// The journal could not keep the action, so nothing changed. Try again later.
    NotDurable,
}

impl ErrorCode {
    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::UnknownAction => "unknown_action",
            Self::BadField => "bad_field",
            Self::OutOfRange => "out_of_range",
            Self::NotDurable => "not_durable",
        }
    }
}

/// Why an action was not applied: the `error` event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionError {
    /// For programs.
    pub code: ErrorCode,
    /// For people. Not stable.
    pub message: String,
}

impl ActionError {
    /// An error of kind `code` that tells people `message`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Error for ActionError {}

impl fmt::Display for ActionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}
