//! Strict JSON objects: what a client sends is read whole or refused, never guessed at. On top of
//! what `serde_json` refuses (trailing bytes, numbers that no `f64` holds, nesting deeper than 128),
//! a key that stands twice in one object is an error: two readers could disagree on which counts.

use super::{ActionError, ErrorCode, Message};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Reads the JSON object in `message`, text or binary.
///
/// # Errors
/// [`ErrorCode::BadJson`] with what is wrong and where.
pub fn object(message: &Message) -> Result<Map<String, Value>, ActionError> {
    let bad = |detail: String| ActionError::new(ErrorCode::BadJson, detail);
    let text = match message {
        Message::Text(text) => text,
        Message::Binary(bytes) => std::str::from_utf8(bytes)
            .map_err(|error| bad(format!("not UTF-8 after byte {}", error.valid_up_to())))?,
    };
    if text.trim_ascii().is_empty() {
        return Err(bad("the message is empty".into()));
    }
    match serde_json::from_str::<Strict>(text) {
        Ok(Strict(Value::Object(object))) => Ok(object),
        Ok(_) => Err(bad("an action is a JSON object, such as {\"action\":\"plus\"}".into())),
        Err(error) => Err(bad(format!("not JSON: {error}"))),
    }
}

/// A JSON value in which no object has a key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Strict(value))) = members.next_entry::<String, Strict>()? {
            if object.contains_key(&key) {
                let key: String = key.chars().take(40).collect();
                return Err(A::Error::custom(format_args!("the key {key:?} stands twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
