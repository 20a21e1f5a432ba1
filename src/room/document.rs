//! `document`: a JSON value that everyone changes, as a whole or in part.
//!
//! Numbers are those of `serde_json`: whole numbers from -2^63 to 2^64 − 1 are kept exactly, others
//! as the nearest 64-bit float, and what is beyond those is no JSON to the server. (JavaScript is
//! exact to 2^53 − 1.) Members have no order.

mod measure;
mod merge;
mod operation;
mod pointer;

use super::{
    Admitted, BadArgument, Effect, Moment, Room, RoomKind, SessionId, Speech, UnixMicros, argument,
};
use crate::protocol::{ActionError, ErrorCode, Input, Message, RoomEvent, action};
use measure::measure;
use operation::{Draft, Operation};
use pointer::Pointer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The most operations of a patch: what a person or a program does in one go, and a bound on the
/// work. More are sent in several.
const MAX_OPERATIONS: usize = 1_000;

/// The most that `max_bytes` may be: 64 MiB. Each newcomer gets the document whole.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The most that `max_depth` may be. The JSON parser goes 128 deep, and in the journal and in events
/// a document stands within a few levels more.
const MAX_DEPTH: u64 = 100;

/// The kind, with its arguments.
#[derive(Debug, Clone)]
pub struct Document {
    limits: Limits,
    initial: Value,
}

/// What a document may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Limits {
    /// As JSON text without white space.
    max_bytes: usize,
    /// How many arrays and objects are in each other.
    max_depth: usize,
}

impl Document {
    /// `max_bytes`: how large the document may become; 1 MiB by default. `max_depth`: how deep; 64
    /// by default. `initial`: what it is at first; `{}` by default.
    pub(super) fn from_arguments(arguments: &Map<String, Value>) -> Result<Self, BadArgument> {
        let mut limits = Limits { max_bytes: 1024 * 1024, max_depth: 64 };
        let mut initial = Value::Object(Map::new());
        for (key, value) in arguments {
            match key.as_str() {
                "max_bytes" => limits.max_bytes = argument::bytes(key, value, 2..=MAX_BYTES)?,
                "max_depth" => {
                    limits.max_depth = argument::number(key, value, 1..=MAX_DEPTH)? as usize;
                }
                "initial" => initial = value.clone(),
                _ => {
                    let message = "a document knows max_bytes, max_depth and initial";
                    return Err(BadArgument::new(key, message));
                }
            }
        }
        let bad = |error: ActionError| BadArgument::new("initial", error.message);
        limits.check("it", &initial).map_err(bad)?;
        Ok(Self { limits, initial })
    }

    fn room(&self) -> DocumentRoom {
        let value = self.initial.clone();
        DocumentRoom { bytes: measure(&value).bytes, value, is_untouched: true }
    }
}

impl Limits {
    /// Whether a value is within the limits. `what` it is, is said if not.
    fn check(&self, what: &str, value: &Value) -> Result<(), ActionError> {
        let size = measure(value);
        let message = if size.bytes > self.max_bytes {
            format!("{what} has {} bytes, and may have {}", size.bytes, self.max_bytes)
        } else if size.depth > self.max_depth {
            format!("{what} is {} deep, and may be {}", size.depth, self.max_depth)
        } else {
            return Ok(());
        };
        Err(ActionError::new(ErrorCode::TooLarge, message))
    }
}

/// An action, in the order and in the journal, as JSON. Journals must be readable for ever: what is
/// here stays as it is, and new fields have defaults.
///
/// It holds what the configuration said when it was sent, since at a replay the configuration may
/// say something else, and what was accepted then must be now.
#[derive(Debug, Serialize, Deserialize)]
struct Action {
    deed: Deed,
    limits: Limits,
    /// What the document was before the first action of all. (In a tuple, because `null` is a
    /// document, too.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initial: Option<(Value,)>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Deed {
    /// The document is this now.
    Set(Value),
    /// RFC 7396.
    Merge(Value),
    /// RFC 6902.
    Patch(Vec<Operation>),
}

/// What is kept, as JSON. It must be readable for ever, as [`Action`].
#[derive(Debug, Serialize, Deserialize)]
enum Saved<'a> {
    /// The only form so far.
    V1 {
        /// The document; `None` before the first action.
        document: Option<(Cow<'a, Value>,)>,
    },
}

fn encode(action: &Action) -> Message {
    // JSON values always become JSON.
    Message::Text(serde_json::to_string(action).unwrap_or_default().into())
}

fn decode(action: &Message) -> Result<Action, ActionError> {
    serde_json::from_slice(action.as_bytes())
        .map_err(|error| ActionError::new(ErrorCode::BadJson, error.to_string()))
}

impl RoomKind for Document {
    fn name(&self) -> &'static str {
        "document"
    }

    fn speech(&self) -> Speech {
        Speech::Events
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn decode(&self, input: Input) -> Result<Message, ActionError> {
        let (mut action, _) = input.into_action()?;
        let deed = match action::name(&action)? {
            "set" => Deed::Set(self.argument(&mut action, "value")?),
            "merge" => Deed::Merge(self.argument(&mut action, "patch")?),
            "patch" => Deed::Patch(self.operations(take(&mut action, "ops")?)?),
            other => return Err(action::unknown(other, "a document knows set, merge and patch")),
        };
        Ok(encode(&Action { deed, limits: self.limits, initial: None }))
    }

    fn open(&self) -> Box<dyn Room> {
        Box::new(self.room())
    }

    fn restore(&self, saved: &[u8]) -> Option<Box<dyn Room>> {
        let Saved::V1 { document } = serde_json::from_slice(saved).ok()?;
        let Some((value,)) = document else { return Some(self.open()) };
        let bytes = measure(&value).bytes;
        Some(Box::new(DocumentRoom { value: value.into_owned(), bytes, is_untouched: false }))
    }
}

impl Document {
    /// A value that an action brings.
    fn argument(&self, action: &mut Map<String, Value>, key: &str) -> Result<Value, ActionError> {
        let value = take(action, key)?;
        self.limits.check(&format!("\"{key}\""), &value)?;
        Ok(value)
    }

    fn operations(&self, operations: Value) -> Result<Vec<Operation>, ActionError> {
        let Value::Array(operations) = operations else {
            return Err(ActionError::new(ErrorCode::BadField, "\"ops\" must be an array"));
        };
        if operations.len() > MAX_OPERATIONS {
            let message = format!("a patch has at most {MAX_OPERATIONS} operations");
            return Err(ActionError::new(ErrorCode::TooLarge, message));
        }
        let number_and_value = operations.into_iter().enumerate();
        number_and_value.map(|(number, value)| self.operation(number, value)).collect()
    }

    fn operation(&self, number: usize, value: Value) -> Result<Operation, ActionError> {
        let operation: Operation = serde_json::from_value(value).map_err(|error| {
            let error: String = error.to_string().chars().take(200).collect();
            at_operation(number, ActionError::new(ErrorCode::BadField, error))
        })?;
        if let Some(value) = operation.value() {
            self.limits.check("\"value\"", value).map_err(|error| at_operation(number, error))?;
        }
        Ok(operation)
    }
}

fn take(action: &mut Map<String, Value>, key: &str) -> Result<Value, ActionError> {
    let missing = || ActionError::new(ErrorCode::BadField, format!("\"{key}\" is missing"));
    action.remove(key).ok_or_else(missing)
}

/// The error, with the index of the operation that it is about.
fn at_operation(number: usize, error: ActionError) -> ActionError {
    ActionError::new(error.code, format!("operation {number}: {}", error.message))
}

/// The room: the document.
struct DocumentRoom {
    value: Value,
    /// Its size as JSON text, which is known without writing it.
    bytes: usize,
    /// There was no action yet, so the document is what the configuration says.
    is_untouched: bool,
}

impl DocumentRoom {
    /// Carries out all operations, or none. Gives those that changed something.
    fn change(
        &mut self,
        operations: Vec<Operation>,
        limits: Limits,
    ) -> Result<Vec<Operation>, (usize, ActionError)> {
        let mut draft = Draft::new(&mut self.value, self.bytes, limits);
        let mut done = Vec::new();
        for (number, operation) in operations.into_iter().enumerate() {
            match draft.apply(&operation) {
                Ok(true) => done.push(operation),
                Ok(false) => {}
                Err(error) => {
                    draft.roll_back();
                    return Err((number, error));
                }
            }
        }
        self.bytes = draft.bytes();
        Ok(done)
    }
}

impl Room for DocumentRoom {
    fn state(&self) -> Option<Value> {
        Some(self.value.clone())
    }

    fn save(&self) -> Vec<u8> {
        let document = (!self.is_untouched).then_some((Cow::Borrowed(&self.value),));
        // JSON values always become JSON.
        serde_json::to_vec(&Saved::V1 { document }).unwrap_or_default()
    }

    fn admit(
        &mut self,
        action: Message,
        _from: SessionId,
        _at: UnixMicros,
    ) -> Result<Admitted, ActionError> {
        if !self.is_untouched {
            return Ok(Admitted::Ordered(action));
        }
        let initial = Some((self.value.clone(),));
        Ok(Admitted::Ordered(encode(&Action { initial, ..decode(&action)? })))
    }

    fn apply(
        &mut self,
        action: &Message,
        _from: Option<SessionId>,
        _when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        let Action { deed, limits, initial } = decode(action)?;
        // Several may be on their way before the first is applied: only that counts.
        if let Some((initial,)) = initial.filter(|_| self.is_untouched) {
            (self.bytes, self.value) = (measure(&initial).bytes, initial);
        }
        self.is_untouched = false;
        let changes = match deed {
            Deed::Set(value) => {
                let replace = Operation::Replace { path: Pointer(Vec::new()), value };
                self.change(vec![replace], limits).map_err(|(_, error)| error)?
            }
            Deed::Merge(patch) => {
                let operations = merge::operations(&self.value, &patch, limits.max_bytes);
                self.change(operations, limits).map_err(|(_, error)| error)?
            }
            Deed::Patch(operations) => {
                let result = self.change(operations, limits);
                result.map_err(|(number, error)| at_operation(number, error))?
            }
        };
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        // JSON values always become JSON.
        let changes = serde_json::to_value(changes).unwrap_or_default();
        let fields = [("ops".to_owned(), changes)].into_iter().collect();
        Ok(vec![Effect::Change(RoomEvent { name: "patch", fields })])
    }
}

#[cfg(test)]
mod tests;
