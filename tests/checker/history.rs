//! What each client did and was told, in its own order, with the moment in the order of all.

use serde_json::Value;
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

static CLOCK: AtomicU64 = AtomicU64::new(0);

/// The next moment. What has a lower one was done, or read, before.
pub fn now() -> u64 {
    CLOCK.fetch_add(1, Ordering::SeqCst)
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Plus(i64),
    Minus(i64),
    /// More than fits on top of a positive number: refused for good.
    TooMuch,
    /// No action of the room: refused for good.
    Nonsense,
}

impl Action {
    /// What it adds, or `None` if it must be refused.
    pub fn amount(self) -> Option<i64> {
        match self {
            Self::Plus(by) => Some(by),
            Self::Minus(by) => Some(-by),
            Self::TooMuch | Self::Nonsense => None,
        }
    }

    pub fn message(self, id: u64) -> String {
        match self {
            Self::Plus(by) => format!(r#"{{"action":"plus","by":{by},"id":{id}}}"#),
            Self::Minus(by) => format!(r#"{{"action":"minus","by":{by},"id":{id}}}"#),
            Self::TooMuch => format!(r#"{{"action":"plus","by":{},"id":{id}}}"#, i64::MAX),
            Self::Nonsense => format!(r#"{{"action":"times","by":2,"id":{id}}}"#),
        }
    }
}

/// What the checker needs of a `welcome`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    pub session: u64,
    pub epoch: String,
    pub seq: u64,
    pub last_id: Option<u64>,
    pub refused: Vec<u64>,
    pub forgotten_until: u64,
    pub max_in_flight: u64,
    pub heartbeat_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The client begins to connect: before the server can know.
    Connecting,
    Welcome(Welcome),
    State {
        seq: u64,
        value: i64,
    },
    /// A state of the classic protocol.
    Value(i64),
    /// About to be written: what the server does with it comes later.
    Sent {
        id: u64,
        action: Action,
    },
    Acked {
        id: u64,
        seq: u64,
        duplicate: bool,
    },
    Refused {
        id: Option<u64>,
        code: String,
        retry: bool,
        duplicate: bool,
    },
    /// Told to its user as unknown (the client's rules 6, 7 and 9).
    GivenUp {
        id: u64,
    },
    /// The handshake was answered with this status.
    TurnedAway(u16),
    Ended(Option<u16>),
    /// A message that the protocol does not have.
    Odd(String),
}

impl What {
    /// Reads a server's message; `None` for what is not recorded.
    pub fn from_message(text: &str) -> Option<Self> {
        let odd = || Self::Odd(text.to_owned());
        let Ok(event) = serde_json::from_str::<Value>(text) else { return Some(odd()) };
        let known = match event["type"].as_str() {
            Some("users") => return None,
            Some("welcome") => Self::welcome(&event),
            Some("state") => Self::state(&event),
            Some("ack") => Self::acked(&event),
            Some("error") => Self::refused(&event),
            _ => None,
        };
        Some(known.unwrap_or_else(odd))
    }

    fn welcome(event: &Value) -> Option<Self> {
        let last_id = match event.get("last_id")? {
            Value::Null => None,
            id => Some(id.as_u64()?),
        };
        Some(Self::Welcome(Welcome {
            session: event["session"].as_u64()?,
            epoch: event["epoch"].as_str()?.to_owned(),
            seq: event["seq"].as_u64()?,
            last_id,
            refused: event["refused"]
                .as_array()?
                .iter()
                .map(Value::as_u64)
                .collect::<Option<_>>()?,
            forgotten_until: event["forgotten_until"].as_u64()?,
            max_in_flight: event["max_in_flight"].as_u64()?,
            heartbeat_ms: event["heartbeat_ms"].as_u64()?,
        }))
    }

    fn state(event: &Value) -> Option<Self> {
        let value = event["value"].as_i64()?;
        match event.get("seq") {
            None => Some(Self::Value(value)),
            Some(seq) => Some(Self::State { seq: seq.as_u64()?, value }),
        }
    }

    fn acked(event: &Value) -> Option<Self> {
        let (id, seq) = (event["id"].as_u64()?, event["seq"].as_u64()?);
        Some(Self::Acked { id, seq, duplicate: event["duplicate"] == true })
    }

    fn refused(event: &Value) -> Option<Self> {
        Some(Self::Refused {
            id: event["id"].as_u64(),
            code: event["code"].as_str()?.to_owned(),
            retry: event["retry"].as_bool()?,
            duplicate: event["duplicate"] == true,
        })
    }
}

#[derive(Debug, Clone)]
pub struct Record {
    pub at: u64,
    /// Which of the client's connections, in the order in which it opened them.
    pub connection: usize,
    pub what: What,
}

/// Everything about one identity, or about one reader.
#[derive(Debug, Clone)]
pub struct History {
    pub who: String,
    /// What it says of itself when it connects, if it does.
    pub identity: Option<String>,
    pub records: Vec<Record>,
}

impl History {
    pub fn new(who: impl Into<String>) -> Self {
        Self { who: who.into(), identity: None, records: Vec::new() }
    }

    pub fn of_owner(who: impl Into<String>, identity: &str) -> Self {
        Self { identity: Some(identity.to_owned()), ..Self::new(who) }
    }

    /// The number of its next connection.
    pub fn next_connection(&self) -> usize {
        self.records.iter().map(|record| record.connection + 1).max().unwrap_or_default()
    }

    pub fn add(&mut self, connection: usize, what: What) {
        self.records.push(Record { at: now(), connection, what });
    }

    pub fn line(&self, index: usize) -> Line<'_> {
        Line { who: &self.who, record: &self.records[index] }
    }

    /// The records around one of them, for a report.
    pub fn around(&self, index: usize) -> Vec<String> {
        let range = index.saturating_sub(25)..(index + 6).min(self.records.len());
        range.map(|index| self.line(index).to_string()).collect()
    }

    /// The newest records about an action, and what they stand beside.
    pub fn about(&self, id: u64) -> Vec<String> {
        let is_about = |what: &What| match what {
            What::Sent { id: other, .. } | What::Acked { id: other, .. } => *other == id,
            What::Refused { id: other, .. } => *other == Some(id),
            What::Connecting | What::Welcome(_) | What::Ended(_) | What::GivenUp { .. } => true,
            _ => false,
        };
        let lines = (0..self.records.len()).filter(|index| is_about(&self.records[*index].what));
        let mut lines: Vec<String> = lines.map(|index| self.line(index).to_string()).collect();
        lines.drain(..lines.len().saturating_sub(40));
        lines
    }
}

/// One record as a report shows it.
pub struct Line<'a> {
    who: &'a str,
    record: &'a Record,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { at, connection, what } = self.record;
        write!(f, "@{at} {}, connection {connection}: {what:?}", self.who)
    }
}
