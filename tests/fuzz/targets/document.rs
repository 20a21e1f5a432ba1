//! A document, and what patches and merges make of it.
//!
//! Input: lines. The first is the document, in JSON. Each other is a letter, `s`et, `m`erge or
//! `p`atch, and the value that it takes.

use serde_json::{Value, json};
use statesync::{
    protocol::{Dialect, ErrorCode, Input, Message, action, json},
    room::{Admitted, Effect, Moment, Room, RoomKind, SessionId, UnixMicros, kind},
};
use std::sync::Arc;

const MAX_BYTES: usize = 300;
const MAX_DEPTH: usize = 6;

/// An action is done whole, as another implementation does it, and what everyone is told leads to
/// the same; or nothing is done. The document is within its limits.
pub fn target(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let kind = document();
    let mut room = kind.open();
    let first = lines.next().and_then(|line| action_of(b's', line));
    let Some(first) = first else { return };
    if send(&*kind, &mut *room, &first).is_err() {
        return;
    }
    for line in lines.take(100) {
        let [letter, value @ ..] = line else { continue };
        if let Some(action) = action_of(*letter, value) {
            check(&*kind, &mut *room, &action);
        }
    }
    let restored = kind.restore(&room.save()).expect("a saved document");
    assert_eq!(restored.save(), room.save());
}

fn document() -> Arc<dyn RoomKind> {
    let arguments = json!({"max_bytes": format!("{MAX_BYTES}B"), "max_depth": MAX_DEPTH});
    kind("document", arguments.as_object().expect("a table")).expect("good arguments")
}

/// As it comes from the wire: a value is read as strictly as in any action.
fn action_of(letter: u8, value: &[u8]) -> Option<Value> {
    let value = std::str::from_utf8(value).ok()?;
    let (name, key) = match letter {
        b's' => ("set", "value"),
        b'm' => ("merge", "patch"),
        b'p' => ("patch", "ops"),
        _ => return None,
    };
    let text = format!(r#"{{"action":"{name}","{key}":{value}}}"#);
    let read = json::object(&Message::Text(text.into())).ok()?;
    (action::name(&read).ok()? == name && read.len() == 2).then_some(read.into())
}

fn send(
    kind: &dyn RoomKind,
    room: &mut dyn Room,
    action: &Value,
) -> Result<Vec<Effect>, ErrorCode> {
    let input = Input::Action(action.as_object().cloned().unwrap_or_default(), Dialect::V1);
    let decoded = kind.decode(input).map_err(|error| error.code)?;
    match room.admit(decoded, SessionId(1), UnixMicros(0)).map_err(|error| error.code)? {
        Admitted::Ordered(action) => {
            let applied = room.apply(&action, Some(SessionId(1)), Moment::default());
            applied.map_err(|error| error.code)
        }
        Admitted::Done(effects) => panic!("a document has nothing but its state: {effects:?}"),
    }
}

fn check(kind: &dyn RoomKind, room: &mut dyn Room, action: &Value) {
    let (before, saved) = (room.state().expect("a state"), room.save());
    let result = send(kind, room, action);
    let after = room.state().expect("a state");
    match &result {
        Ok(effects) => {
            assert!(after.to_string().len() <= MAX_BYTES, "{after} is too large after {action}");
            assert!(depth(&after) <= MAX_DEPTH, "{after} is too deep after {action}");
            let told = follow(before.clone(), effects);
            assert_eq!(told, after, "what everyone is told of {action} on {before}");
        }
        Err(_) => assert!(room.save() == saved, "{action} failed, and left {after} of {before}"),
    }
    // Others tell 1 from 1.0, and refuse to move the whole document to itself.
    if has_floats(&before) || has_floats(action) || moves_root_to_root(action) {
        return;
    }
    match (result, others(before.clone(), action)) {
        (Ok(_), Ok(expected)) => assert_eq!(after, expected, "{action} on {before}"),
        (Ok(_), Err(error)) => panic!("others refuse {action} on {before}: {error}"),
        (Err(code), Ok(_)) => {
            assert_eq!(code, ErrorCode::TooLarge, "others do {action} on {before}");
        }
        (Err(_), Err(_)) => {}
    }
}

/// What clients make of the change that they are told.
fn follow(mut value: Value, effects: &[Effect]) -> Value {
    match effects {
        [] => {}
        [Effect::Change(event)] => {
            let ops = serde_json::from_value(event.fields["ops"].clone()).expect("a JSON Patch");
            let ops: json_patch::Patch = ops;
            json_patch::patch_unsafe(&mut value, &ops).expect("it fits");
        }
        other => panic!("a document changes: {other:?}"),
    }
    value
}

/// What another implementation makes of the action.
fn others(mut value: Value, action: &Value) -> Result<Value, String> {
    match action["action"].as_str() {
        Some("set") => value = action["value"].clone(),
        Some("merge") => json_patch::merge(&mut value, &action["patch"]),
        _ => {
            let ops = serde_json::from_value(action["ops"].clone());
            let ops: json_patch::Patch = ops.map_err(|error| error.to_string())?;
            json_patch::patch_unsafe(&mut value, &ops).map_err(|error| error.to_string())?;
        }
    }
    Ok(value)
}

fn moves_root_to_root(action: &Value) -> bool {
    let is_it = |op: &Value| op["op"] == "move" && op["path"] == "" && op["from"] == "";
    action["ops"].as_array().is_some_and(|ops| ops.iter().any(is_it))
}

fn has_floats(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_floats),
        Value::Object(members) => members.values().any(has_floats),
        _ => false,
    }
}

fn depth(value: &Value) -> usize {
    let deepest = |depths: &mut dyn Iterator<Item = usize>| 1 + depths.max().unwrap_or(0);
    match value {
        Value::Array(items) => deepest(&mut items.iter().map(depth)),
        Value::Object(members) => deepest(&mut members.values().map(depth)),
        _ => 0,
    }
}
