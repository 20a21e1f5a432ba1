//! What the server tells clients, and how each protocol writes it.

use super::{ActionError, Dialect, Message};
use serde::Serialize;
use serde_json::Value;

/// What the server tells clients. [`super::EncodedEvent`] turns it into bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Who a newcomer is and where it comes in; `statesync.v1` only.
    Welcome(Box<Welcome>),
    /// The room's state is this now.
    State {
        /// The position of the entry that made it.
        seq: u64,
        /// As the room's kind shows it.
        value: Value,
    },
    /// So many sessions are in the room.
    Users {
        /// The newcomer included.
        count: usize,
    },
    /// This client's action is applied and kept.
    Ack {
        /// The client's own number for it.
        id: u64,
        /// The position of the room's state with the action in it.
        seq: u64,
        /// It had been applied before.
        is_duplicate: bool,
    },
    /// What this client sent was refused; nothing changed.
    Error(Refused),
    /// A message that a plain room sends as it stands.
    Message(Message),
}

/// What the `welcome` event says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Welcome {
    /// The room's path.
    pub room: String,
    /// The name of the room's kind.
    pub kind: &'static str,
    /// The session's number, to find it in the log.
    pub session: u64,
    /// The name of the history that positions count in.
    pub epoch: String,
    /// The position at which the session came in.
    pub seq: u64,
    /// The last of the client's numbers that was decided; `None` if the client is not known.
    pub last_id: Option<u64>,
    /// Those of its last `max_in_flight` numbers that were refused, rising.
    pub refused: Vec<u64>,
    /// The most actions that it may have sent without an answer.
    pub max_in_flight: u64,
    /// A connection that is quiet for so long gets a ping.
    pub heartbeat_ms: u64,
    /// The largest message that the client may send.
    pub max_message_bytes: u64,
}

/// Why an action was not applied, and which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub error: ActionError,
    /// The client's own number for the action, if it had one.
    pub id: Option<u64>,
    /// It had been refused before.
    pub is_duplicate: bool,
}

impl Refused {
    /// A first refusal of the action with this number.
    pub fn new(error: ActionError, id: Option<u64>) -> Self {
        Self { error, id, is_duplicate: false }
    }
}

/// An event as it stands on the wire.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Wire<'a> {
    Welcome {
        protocol: &'static str,
        #[serde(flatten)]
        welcome: &'a Welcome,
    },
    State {
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        value: &'a Value,
    },
    Users {
        count: usize,
    },
    Ack {
        id: u64,
        seq: u64,
        #[serde(skip_serializing_if = "is_false")]
        duplicate: bool,
    },
    Error {
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry: Option<bool>,
        #[serde(skip_serializing_if = "is_false")]
        duplicate: bool,
    },
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Event {
    /// The event as clients that speak `dialect` read it.
    pub fn to_message(&self, dialect: Dialect) -> Message {
        let in_v1 = dialect == Dialect::V1;
        let wire = match self {
            Self::Message(message) => return message.clone(),
            Self::Welcome(welcome) => Wire::Welcome { protocol: Dialect::V1_NAME, welcome },
            Self::State { seq, value } => Wire::State { seq: in_v1.then_some(*seq), value },
            Self::Users { count } => Wire::Users { count: *count },
            Self::Ack { id, seq, is_duplicate } => {
                Wire::Ack { id: *id, seq: *seq, duplicate: *is_duplicate }
            }
            Self::Error(Refused { error, id, is_duplicate }) => Wire::Error {
                code: error.code.as_str(),
                message: &error.message,
                id: *id,
                retry: in_v1.then_some(error.code.may_be_sent_again()),
                duplicate: *is_duplicate,
            },
        };
        // Writing strings, numbers and JSON values to memory cannot fail.
        Message::Text(serde_json::to_string(&wire).unwrap_or_default().into())
    }
}
