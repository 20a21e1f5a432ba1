//! The `[[room]]` tables: their paths, and their arguments for the room kinds.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{
    Place, Problem, Room,
    reader::{Fault, Reader, Source, found},
};

/// Paths that the server itself answers, with all below them.
const RESERVED: [&str; 3] = ["/web", "/health", "/api"];

/// The most rooms of a pattern, by default: far more than people make by hand.
const MAX_ROOMS: usize = 1_000;

/// Above it, a list of rooms would be many megabytes.
const MOST_MAX_ROOMS: usize = 100_000;

/// All rooms of the file, or `None` if it has no `[[room]]`.
pub(super) fn rooms(reader: &mut Reader<'_>) -> Option<Vec<Room>> {
    let source = reader.source;
    let mut rooms: Vec<Room> = Vec::new();
    for (offset, table) in reader.rooms()? {
        let (room, problems) = room(source, offset, table);
        reader.problems.extend(problems);
        let twin = rooms.iter().find(|r| !r.path.is_empty() && r.path == room.path);
        if let Some(twin) = twin {
            let first = twin.problem("path", "").place;
            let message = format!("{:?} is already the path of the room at {first}", room.path);
            reader.problems.push(room.problem("path", message));
        }
        rooms.push(room);
    }
    Some(rooms)
}

/// The room, with an empty path or kind where that is wrong.
fn room(source: Source<'_>, offset: usize, mut table: DeTable<'_>) -> (Room, Vec<Problem>) {
    let mut room = Room {
        place: source.place(offset),
        key_places: places(source, &table),
        ..Room::new("", "", Map::new())
    };
    let mut problems = Vec::new();
    match take_text(&mut table, "path", "its URL's path, such as path = \"/echo\"").and_then(path) {
        Ok(path) => room.path = path,
        Err(message) => problems.push(room.problem("path", message)),
    }
    match take_text(&mut table, "kind", "what it does, such as kind = \"counter\"").and_then(kind) {
        Ok(kind) => room.kind = kind,
        Err(message) => problems.push(room.problem("kind", message)),
    }
    match max_rooms(&mut table, room.path.contains('{')) {
        Ok(max_rooms) => room.max_rooms = max_rooms,
        Err(message) => problems.push(room.problem("max_rooms", message)),
    }
    for (key, value) in table {
        let key = key.into_inner().into_owned();
        match json(&value) {
            Ok(value) => {
                room.arguments.insert(key, value);
            }
            Err(fault) => problems.push(Problem {
                place: source.place(fault.span.start),
                ..room.problem(&key, fault.message)
            }),
        }
    }
    (room, problems)
}

fn places(source: Source<'_>, table: &DeTable<'_>) -> BTreeMap<String, Place> {
    let place = |(key, value): (&Spanned<_>, &Spanned<_>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        (key.to_string(), source.place(value.span().start))
    };
    table.iter().map(place).collect()
}

fn take_text(table: &mut DeTable<'_>, key: &str, example: &str) -> Result<String, String> {
    match table.remove(key).map(Spanned::into_inner) {
        Some(DeValue::String(text)) => Ok(text.into_owned()),
        Some(other) => Err(format!("want a string, found {}", found(&other))),
        None => Err(format!("missing: a room needs {example}")),
    }
}

fn kind(text: String) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("empty: a room needs the name of its kind, such as \"counter\"".into());
    }
    Ok(text)
}

fn max_rooms(table: &mut DeTable<'_>, is_pattern: bool) -> Result<usize, String> {
    let Some(value) = table.remove("max_rooms") else { return Ok(MAX_ROOMS) };
    if !is_pattern {
        return Err(
            "only a path with a place for a name, such as /chats/{name}, has many rooms".into()
        );
    }
    let number = match value.get_ref() {
        DeValue::Integer(number) => number.as_str().parse().ok(),
        _ => None,
    };
    number
        .filter(|number| (1..=MOST_MAX_ROOMS).contains(number))
        .ok_or_else(|| format!("want a number from 1 to {MOST_MAX_ROOMS}"))
}

fn path(path: String) -> Result<String, String> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(format!("{path:?} does not start with \"/\": write {:?}", format!("/{path}")));
    };
    if let Some(c) = path.chars().find(|c| !is_path_character(*c)) {
        let reason = match c {
            '?' | '#' => "a path ends before it",
            _ => "use ASCII letters, digits and -._~!$&'()*+,;=:@/",
        };
        return Err(format!("{path:?} contains {c:?}: {reason}"));
    }
    if path.contains("//") {
        return Err(format!("{path:?} contains \"//\": write one \"/\""));
    }
    if rest.split('/').any(|part| part == "." || part == "..") {
        return Err(format!("{path:?}: browsers resolve \".\" and \"..\" before they connect"));
    }
    let lies_under = |reserved: &&&str| {
        let below = path.strip_prefix(**reserved);
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    };
    match RESERVED.iter().find(lies_under) {
        Some(reserved) => Err(format!("{path:?}: {reserved}/ is used by the server itself")),
        None => Ok(path),
    }
}

/// What a path may have as it stands (RFC 3986, section 3.3). Anything else reaches the server
/// percent-encoded and would never match. Braces hold the place of a name.
fn is_path_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/{}".contains(c)
}

/// An argument as JSON, which the room kinds read. A date becomes a string.
fn json(value: &Spanned<DeValue<'_>>) -> Result<Value, Fault> {
    let fault = |message: String| Fault { span: value.span(), message };
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => integer(number).map_err(fault)?,
        DeValue::Float(number) => {
            let parsed = number.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(parsed.ok_or_else(|| fault(format!("{number} is no finite number")))?)
        }
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(date) => Value::String(date.to_string()),
        DeValue::Array(list) => Value::Array(list.iter().map(json).collect::<Result<_, _>>()?),
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, value)| Ok((key.get_ref().to_string(), json(value)?)))
                .collect::<Result<_, _>>()?,
        ),
    })
}

fn integer(number: &DeInteger<'_>) -> Result<Value, String> {
    let text = number.as_str().trim_start_matches('+');
    i64::from_str_radix(text, number.radix())
        .map(Value::from)
        .map_err(|_| format!("{number} does not fit into 64 bits"))
}
