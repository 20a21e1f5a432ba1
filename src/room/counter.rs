//! `counter`: one number that everyone raises and lowers.

use super::{BadArgument, Effect, Moment, Room, RoomKind, SessionId, Speech};
use crate::protocol::{ActionError, Dialect, ErrorCode, Input, Message, action};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The kind. It takes no arguments.
#[derive(Debug, Default)]
pub struct Counter;

/// An action, in the order and in the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Change {
    by: i64,
}

impl Counter {
    pub(super) fn from_arguments(arguments: &Map<String, Value>) -> Result<Self, BadArgument> {
        match arguments.keys().next() {
            None => Ok(Self),
            Some(key) => Err(BadArgument::new(key, "a counter has no arguments")),
        }
    }
}

impl RoomKind for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn speech(&self) -> Speech {
        Speech::Events
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn decode(&self, input: Input) -> Result<Message, ActionError> {
        let (action, dialect) = input.into_action()?;
        let sign = match action::name(&action)? {
            "plus" => 1,
            "minus" => -1,
            other => return Err(action::unknown(other, "a counter knows plus and minus")),
        };
        let amount = match (dialect, action.get("by")) {
            (Dialect::V1, Some(by)) => amount(by)?,
            // The first clients of all could send what they liked beside the action.
            _ => 1,
        };
        Ok(encode(&Change { by: sign * amount }))
    }

    fn open(&self) -> Box<dyn Room> {
        Box::new(Value64(0))
    }

    fn restore(&self, saved: &[u8]) -> Option<Box<dyn Room>> {
        let value = serde_json::from_slice(saved).ok()?;
        Some(Box::new(Value64(value)))
    }
}

/// The value of `by`: from 1, so that its negative fits as well.
fn amount(by: &Value) -> Result<i64, ActionError> {
    by.as_i64().filter(|by| *by >= 1).ok_or_else(|| {
        let message = format!("\"by\" must be a whole number from 1 to {}", i64::MAX);
        ActionError::new(ErrorCode::BadField, message)
    })
}

fn encode(change: &Change) -> Message {
    // A struct of one number always becomes JSON.
    Message::Text(serde_json::to_string(change).unwrap_or_default().into())
}

/// The room: the number.
struct Value64(i64);

impl Value64 {
    fn to_json(&self) -> Value {
        self.0.into()
    }
}

impl Room for Value64 {
    fn state(&self) -> Option<Value> {
        Some(self.to_json())
    }

    fn save(&self) -> Vec<u8> {
        self.to_json().to_string().into_bytes()
    }

    fn apply(
        &mut self,
        action: &Message,
        _from: Option<SessionId>,
        _when: Moment,
    ) -> Result<Vec<Effect>, ActionError> {
        let change: Change = serde_json::from_slice(action.as_bytes())
            .map_err(|error| ActionError::new(ErrorCode::BadJson, error.to_string()))?;
        self.0 = self.0.checked_add(change.by).ok_or_else(|| {
            let message = "the counter would leave the 64-bit integers";
            ActionError::new(ErrorCode::OutOfRange, message)
        })?;
        Ok(vec![Effect::State(self.to_json())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{protocol::json, room::UnixMicros};

    const AT: Moment = Moment { seq: 1, at: UnixMicros(0) };

    fn text(text: &str) -> Message {
        Message::Text(text.to_owned().into())
    }

    /// What a session makes of a message.
    fn decode(message: Message, dialect: Dialect) -> Result<Message, ActionError> {
        Counter.decode(Input::Action(json::object(&message)?, dialect))
    }

    #[test]
    fn plus_and_minus_change_the_number_as_text_and_as_bytes() {
        let mut room = Counter.open();
        let cases = [
            (text(r#"{"action":"plus"}"#), 1),
            (Message::Binary(br#"{"action":"plus"}"#.as_slice().into()), 2),
            (text(r#" { "other" : [1, {"a": null}], "action" : "minus" } "#), 1),
            (text("{\"action\":\"\\u0070lus\"}"), 2),
            (text(r#"{"action":"plus","by":5,"id":"any"}"#), 3),
        ];
        for (message, value) in cases {
            let action = decode(message.clone(), Dialect::Classic).expect("a good action");
            let effects = room.apply(&action, None, AT).expect("in range");
            assert_eq!(effects, [Effect::State(value.into())], "after {message:?}");
        }
    }

    #[test]
    fn in_v1_an_action_may_say_by_how_much() {
        let max = i64::MAX;
        let cases = [
            (r#"{"action":"plus"}"#.to_owned(), Ok(1)),
            (r#"{"action":"plus","by":5}"#.to_owned(), Ok(5)),
            (r#"{"action":"minus","by":5}"#.to_owned(), Ok(-5)),
            (format!("{{\"action\":\"minus\",\"by\":{max}}}"), Ok(-max)),
            (format!("{{\"action\":\"plus\",\"by\":{}}}", max as u64 + 1), Err(())),
            (r#"{"action":"plus","by":0}"#.to_owned(), Err(())),
            (r#"{"action":"plus","by":-1}"#.to_owned(), Err(())),
            (r#"{"action":"plus","by":1.5}"#.to_owned(), Err(())),
            (r#"{"action":"plus","by":"5"}"#.to_owned(), Err(())),
            (r#"{"action":"plus","by":null}"#.to_owned(), Err(())),
        ];
        for (message, by) in cases {
            match (decode(text(&message), Dialect::V1), by) {
                (Ok(action), Ok(by)) => assert_eq!(action, encode(&Change { by }), "{message}"),
                (Err(error), Err(())) => assert_eq!(error.code, ErrorCode::BadField, "{message}"),
                (found, _) => panic!("{message}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_saved_counter_goes_on_where_it_was() {
        for value in [0, -1, i64::MAX, i64::MIN] {
            let restored = Counter.restore(&Value64(value).save()).expect("a saved state");
            assert_eq!(restored.state(), Some(value.into()));
        }
        for saved in ["", "x", "1.5", "9223372036854775808", "1 2"] {
            assert!(Counter.restore(saved.as_bytes()).is_none(), "{saved:?} is no state");
        }
    }

    #[test]
    fn bad_input_is_named() {
        let deep = format!("{{\"action\":\"plus\",\"x\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        let cases: &[(&[u8], ErrorCode, &str)] = &[
            (b"", ErrorCode::BadJson, "empty"),
            (b" \r\n", ErrorCode::BadJson, "empty"),
            (b"plus", ErrorCode::BadJson, "not JSON"),
            (b"[]", ErrorCode::BadJson, "object"),
            (b"1", ErrorCode::BadJson, "object"),
            (b"null", ErrorCode::BadJson, "object"),
            (b"{}", ErrorCode::BadField, "missing"),
            (br#"{"action":null}"#, ErrorCode::BadField, "string"),
            (br#"{"action":1}"#, ErrorCode::BadField, "string"),
            (br#"{"action":["plus"]}"#, ErrorCode::BadField, "string"),
            (br#"{"action":"times"}"#, ErrorCode::UnknownAction, "times"),
            (br#"{"action":"Plus"}"#, ErrorCode::UnknownAction, "Plus"),
            (br#"{"action":"plus"}{}"#, ErrorCode::BadJson, "trailing"),
            (br#"{"action":"plus"} x"#, ErrorCode::BadJson, "trailing"),
            (br#"{"action":"plus","n":1e999}"#, ErrorCode::BadJson, "out of range"),
            (br#"{"action":"plus","action":"plus"}"#, ErrorCode::BadJson, "twice"),
            (br#"{"action":"plus","x":{"a":1,"a":2}}"#, ErrorCode::BadJson, "twice"),
            (br#"{"action":"plus""#, ErrorCode::BadJson, "EOF"),
            (b"{\"action\":\"pl\xFFus\"}", ErrorCode::BadJson, "UTF-8"),
            (deep.as_bytes(), ErrorCode::BadJson, "recursion"),
        ];
        for (bytes, code, part) in cases {
            let shown = String::from_utf8_lossy(bytes);
            let error = decode(Message::Binary(bytes.to_vec().into()), Dialect::Classic)
                .expect_err(&format!("{shown} must be refused"));
            assert_eq!(error.code, *code, "for {shown}: {error}");
            assert!(error.message.contains(part), "for {shown}: {error}");
        }
    }

    #[test]
    fn a_long_unknown_action_is_not_sent_back_whole() {
        let action = format!("{{\"action\":\"{}\"}}", "x".repeat(60_000));
        let error = decode(text(&action), Dialect::Classic).expect_err("unknown");
        assert!(error.message.len() < 200, "{} bytes", error.message.len());
    }

    #[test]
    fn overflow_is_refused_and_changes_nothing() {
        for (start, by) in [(i64::MAX, 1), (i64::MIN, -1)] {
            let mut room = Value64(start);
            let error = room.apply(&encode(&Change { by }), None, AT).expect_err("overflow");
            assert_eq!(error.code, ErrorCode::OutOfRange);
            assert_eq!(room.0, start, "the state is as it was");
        }
    }

    #[test]
    fn arguments_are_refused() {
        let arguments = [("step".to_owned(), Value::from(2))].into_iter().collect();
        let error = Counter::from_arguments(&arguments).expect_err("no arguments");
        assert_eq!(error.key, "step");
    }
}
