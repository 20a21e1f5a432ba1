//! What the server tells clients, and how each protocol writes it.

use super::{ActionError, Dialect, Message};
use bytestring::ByteString;
use serde::Serialize;
use serde_json::{Map, Value};

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
        /// Who is there by name, for a newcomer in rooms that have names.
        names: Option<Vec<String>>,
    },
    /// Something of the room's kind.
    Room {
        /// The position of the room's state when it was said.
        seq: u64,
        /// If it says how the state changed: the position of the state before.
        from: Option<u64>,
        /// What.
        event: RoomEvent,
    },
    /// Several events at once, for a newcomer.
    Several(Vec<Event>),
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

/// An event of a room's kind: its `type`, and its other keys besides `seq`.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomEvent {
    /// What stands as `type`. None of the types that all rooms have.
    pub name: &'static str,
    /// Its other keys.
    pub fields: Map<String, Value>,
}

impl RoomEvent {
    /// An event with this type and these keys.
    pub fn new<'a>(name: &'static str, fields: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value));
        Self { name, fields: fields.collect() }
    }
}

impl From<RoomEvent> for Event {
    /// The event as a room says it. The server sets its position.
    fn from(event: RoomEvent) -> Self {
        Self::Room { seq: 0, from: None, event }
    }
}

impl From<Message> for Event {
    fn from(message: Message) -> Self {
        Self::Message(message)
    }
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
    /// Of what was said after the `since` that it asked for, something is not known any more.
    #[serde(skip_serializing_if = "is_false")]
    pub missed: bool,
    /// The last of the client's numbers that was decided; `None` if the client is not known.
    pub last_id: Option<u64>,
    /// Those of its last `max_in_flight` numbers that were refused, rising.
    pub refused: Vec<u64>,
    /// The position of the last action of any client that was forgotten; 0 if none was.
    pub forgotten_until: u64,
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
    /// When the action may be sent again, if that is known: after so many milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Refused {
    /// A first refusal of the action with this number.
    pub fn new(error: ActionError, id: Option<u64>) -> Self {
        Self { error, id, is_duplicate: false, retry_after_ms: None }
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
        #[serde(skip_serializing_if = "Option::is_none")]
        users: Option<&'a [String]>,
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
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        #[serde(skip_serializing_if = "is_false")]
        duplicate: bool,
    },
    #[serde(untagged)]
    Room {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        seq: u64,
        #[serde(flatten)]
        fields: &'a Map<String, Value>,
    },
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Event {
    /// The same event, said when the room's state was that of `position`.
    pub fn at(self, position: u64) -> Self {
        match self {
            Self::Room { from, event, .. } => Self::Room { seq: position, from, event },
            event => event,
        }
    }

    /// The events that it stands for: one, but for [`Event::Several`].
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::Several(events) => events,
            event => std::slice::from_ref(event),
        }
    }

    /// The position that it tells of the room's state, if it does.
    pub fn seq(&self) -> Option<u64> {
        match self {
            Self::State { seq, .. } | Self::Room { seq, .. } => Some(*seq),
            _ => None,
        }
    }

    /// The event as clients that speak `dialect` read it. Of several, the first.
    pub fn to_message(&self, dialect: Dialect) -> Message {
        let in_v1 = dialect == Dialect::V1;
        let wire = match self {
            Self::Message(message) => return message.clone(),
            Self::Several(events) => match events.first() {
                Some(event) => return event.to_message(dialect),
                None => return Message::Text(ByteString::new()),
            },
            Self::Welcome(welcome) => Wire::Welcome { protocol: Dialect::V1_NAME, welcome },
            Self::State { seq, value } => Wire::State { seq: in_v1.then_some(*seq), value },
            Self::Users { count, names } => Wire::Users { count: *count, users: names.as_deref() },
            Self::Room { seq, from, event } => {
                Wire::Room { r#type: event.name, from: *from, seq: *seq, fields: &event.fields }
            }
            Self::Ack { id, seq, is_duplicate } => {
                Wire::Ack { id: *id, seq: *seq, duplicate: *is_duplicate }
            }
            Self::Error(Refused { error, id, is_duplicate, retry_after_ms }) => Wire::Error {
                code: error.code.as_str(),
                message: &error.message,
                id: *id,
                retry: in_v1.then_some(error.code.may_be_sent_again()),
                retry_after_ms: retry_after_ms.filter(|_| in_v1),
                duplicate: *is_duplicate,
            },
        };
        // Writing strings, numbers and JSON values to memory cannot fail.
        Message::Text(serde_json::to_string(&wire).unwrap_or_default().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ErrorCode, action::MAX_ID};
    use serde_json::Map;

    /// A welcome at `/` of a client that is not known.
    fn newcomer() -> Welcome {
        Welcome {
            room: "/".into(),
            kind: "counter",
            session: 1,
            epoch: "5a0e8f31c7d24b96".into(),
            seq: 2,
            missed: false,
            last_id: None,
            refused: Vec::new(),
            forgotten_until: 0,
            max_in_flight: 64,
            heartbeat_ms: 20_000,
            max_message_bytes: 65_536,
        }
    }

    fn welcome(welcome: Welcome) -> Event {
        Event::Welcome(Box::new(welcome))
    }

    fn state(seq: u64, value: i64) -> Event {
        Event::State { seq, value: value.into() }
    }

    fn ack(id: u64, seq: u64, is_duplicate: bool) -> Event {
        Event::Ack { id, seq, is_duplicate }
    }

    fn error(code: ErrorCode, message: &str, id: Option<u64>) -> Event {
        Event::Error(Refused::new(ActionError::new(code, message), id))
    }

    fn duplicate_error(code: ErrorCode, message: &str, id: u64) -> Event {
        let error = ActionError::new(code, message);
        Event::Error(Refused { is_duplicate: true, ..Refused::new(error, Some(id)) })
    }

    /// The events of `tests/golden/v1-events.json`, by what that says they are about.
    fn golden_events() -> Vec<(&'static str, Event)> {
        use ErrorCode as Code;
        let known = Welcome {
            room: "/a/room".into(),
            session: 17,
            seq: 80,
            last_id: Some(41),
            refused: vec![39, 40],
            forgotten_until: 0,
            ..newcomer()
        };
        let largest = Welcome {
            session: MAX_ID,
            epoch: "ffffffffffffffff".into(),
            seq: MAX_ID,
            last_id: Some(MAX_ID),
            refused: vec![MAX_ID - 63, MAX_ID],
            forgotten_until: 0,
            ..newcomer()
        };
        let unknown = "no action \"ün 数 🦀\"; a counter knows plus and minus";
        let beyond = "the counter would leave the 64-bit integers";
        vec![
            ("welcome of a client that is not known", welcome(newcomer())),
            ("welcome of a client of whose numbers some were refused", welcome(known)),
            ("welcome with the largest numbers that there are", welcome(largest)),
            ("users", Event::Users { count: 2, names: None }),
            ("nobody is there", Event::Users { count: 0, names: None }),
            ("a state", state(8, 5)),
            ("the first state", state(0, 0)),
            ("the largest value, at the largest position", state(MAX_ID, i64::MAX)),
            ("the smallest value", state(3, i64::MIN)),
            ("the first value that JavaScript cannot tell from its neighbour", state(3, 1 << 53)),
            ("ack", ack(7, 8, false)),
            ("ack of the largest number", ack(MAX_ID, MAX_ID, false)),
            ("ack of a duplicate", ack(7, 9, true)),
            (
                "an error without a number, in words of many alphabets",
                error(Code::UnknownAction, unknown, None),
            ),
            (
                "an error with line breaks, a tab and a control character",
                error(Code::BadJson, "a\nb\r\tc\u{1}d\\e/f", None),
            ),
            ("an error with a number", error(Code::OutOfRange, beyond, Some(7))),
            (
                "an error of a duplicate",
                duplicate_error(Code::Refused, "this action was refused before", 7),
            ),
            (
                "an error after which to send again",
                error(Code::NotDurable, "the disk is full", None),
            ),
            (
                "an error after which to send again, with a number",
                error(Code::IdGap, "the action with \"id\" 2 comes first", Some(MAX_ID)),
            ),
            (
                "an error after which to begin anew",
                error(Code::Forgotten, "this client is not known", Some(2)),
            ),
            ("an error of a number that is too old", error(Code::IdTooOld, "too old", Some(1))),
            (
                "an error of one who may not act",
                error(Code::Forbidden, "this token is not for actions", Some(3)),
            ),
            (
                "an error after which to wait",
                Event::Error(Refused {
                    retry_after_ms: Some(1_250),
                    ..Refused::new(
                        ActionError::new(Code::RateLimited, "more than 50 actions in a second"),
                        Some(4),
                    )
                }),
            ),
            ("an error of a field", error(Code::BadField, "\"action\" is missing", None)),
        ]
    }

    fn wire(event: &Event, dialect: Dialect) -> String {
        String::from_utf8_lossy(event.to_message(dialect).as_bytes()).into_owned()
    }

    #[test]
    fn events_are_written_as_the_golden_file_says() {
        let file = include_str!("../../tests/golden/v1-events.json");
        let golden: Vec<Map<String, Value>> = serde_json::from_str(file).expect("objects");
        let about = |example: &Map<String, Value>| example["about"].as_str().map(str::to_owned);
        let abouts: Vec<_> = golden.iter().filter_map(about).collect();
        let events = golden_events();
        let named: Vec<_> = events.iter().map(|(about, _)| *about).collect();
        assert_eq!(abouts, named, "this test and tests/golden/v1-events.json have the same events");
        for (example, (about, event)) in golden.iter().zip(&events) {
            assert_eq!(example["text"], wire(event, Dialect::V1), "{about}");
            let text = example["text"].as_str().unwrap_or_default();
            let parsed: Value = serde_json::from_str(text).expect("events are JSON");
            assert_eq!(parsed, example["event"], "{about}: \"text\" and \"event\"");
            if let Some(classic) = example.get("classic") {
                assert_eq!(classic, &wire(event, Dialect::Classic), "{about}, in classic");
            }
        }
    }
}
