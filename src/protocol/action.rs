//! What all actions have in common, whatever the room: a JSON object, and perhaps a number.

use super::{ActionError, Dialect, ErrorCode, Message};
use serde_json::{Map, Value};

/// The most actions of a client that may be unanswered, and of how many the server remembers what
/// became of them: one bit each in a 64-bit word.
pub const MAX_IN_FLIGHT: u64 = 64;

/// The largest number that an action may have: the largest whole number up to which JavaScript's
/// are exact, 2^53 − 1.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// What a client sent, read as far as it can be without knowing the room's kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// An action, to a room that speaks in events.
    Action(Map<String, Value>, Dialect),
    /// Anything, to a room that speaks plainly.
    Plain(Message),
}

impl Input {
    /// The action that a room which speaks in events was sent.
    ///
    /// # Errors
    /// [`ErrorCode::BadJson`] for a plain message.
    pub fn into_action(self) -> Result<(Map<String, Value>, Dialect), ActionError> {
        match self {
            Self::Action(action, dialect) => Ok((action, dialect)),
            Self::Plain(_) => Err(ActionError::new(ErrorCode::BadJson, "this room wants actions")),
        }
    }

    /// The message that a room which speaks plainly was sent.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownAction`] for an action.
    pub fn into_plain(self) -> Result<Message, ActionError> {
        match self {
            Self::Plain(message) => Ok(message),
            Self::Action(..) => {
                Err(ActionError::new(ErrorCode::UnknownAction, "this room has no actions"))
            }
        }
    }
}

/// The number that a client gave its action, if it did.
///
/// # Errors
/// [`ErrorCode::BadField`] if that is no whole number from 1 to [`MAX_ID`].
pub fn id(action: &Map<String, Value>) -> Result<Option<u64>, ActionError> {
    let Some(value) = action.get("id") else { return Ok(None) };
    match value.as_u64() {
        Some(id) if (1..=MAX_ID).contains(&id) => Ok(Some(id)),
        _ => {
            let message = format!("\"id\" must be a whole number from 1 to {MAX_ID}");
            Err(ActionError::new(ErrorCode::BadField, message))
        }
    }
}

/// What the action is: the name of what its sender wants done.
///
/// # Errors
/// [`ErrorCode::BadField`] if that is missing, or no string.
pub fn name(action: &Map<String, Value>) -> Result<&str, ActionError> {
    match action.get("action") {
        Some(Value::String(name)) => Ok(name),
        Some(_) => Err(ActionError::new(ErrorCode::BadField, "\"action\" must be a string")),
        None => Err(ActionError::new(ErrorCode::BadField, "\"action\" is missing")),
    }
}

/// The refusal of an action that a room does not know. `known` is a sentence that says what it does.
pub fn unknown(name: &str, known: &str) -> ActionError {
    let name: String = name.chars().take(40).collect();
    ActionError::new(ErrorCode::UnknownAction, format!("no action {name:?}; {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_is_whole_and_positive_and_exact_in_javascript() {
        let cases = [
            (json!({}), Ok(None)),
            (json!({"id": 1}), Ok(Some(1))),
            (json!({"id": MAX_ID}), Ok(Some(MAX_ID))),
            (json!({"id": 0}), Err(())),
            (json!({"id": -1}), Err(())),
            (json!({"id": MAX_ID + 1}), Err(())),
            (json!({"id": 1e300}), Err(())),
            (json!({"id": 1.0}), Err(())),
            (json!({"id": 1.5}), Err(())),
            (json!({"id": "1"}), Err(())),
            (json!({"id": null}), Err(())),
            (json!({"id": [1]}), Err(())),
        ];
        for (action, expected) in cases {
            let found = id(action.as_object().expect("an object"));
            match (&found, &expected) {
                (Err(error), Err(())) => assert_eq!(error.code, ErrorCode::BadField, "{action}"),
                _ => assert_eq!(found.map_err(drop), expected, "{action}"),
            }
        }
    }
}
