//! Reads the arguments that a `[[room]]` table has for its kind. Each tells its key when it is wrong.

use super::{
    BadArgument,
    template::{Place, Template},
};
use bytesize::ByteSize;
use serde_json::Value;
use std::{ops::RangeInclusive, str::FromStr, time::Duration};

/// No sensible length of time is written longer. humantime 2.4 panics on sums just past what a
/// `Duration` holds, and those take at least 27 characters.
const LONGEST_DURATION_TEXT: usize = 24;

/// A text.
pub(super) fn text<'a>(key: &str, value: &'a Value) -> Result<&'a str, BadArgument> {
    value.as_str().ok_or_else(|| BadArgument::new(key, "a string is needed"))
}

/// True or false.
pub(super) fn flag(key: &str, value: &Value) -> Result<bool, BadArgument> {
    value.as_bool().ok_or_else(|| BadArgument::new(key, "true or false is needed"))
}

/// A whole number in `range`.
pub(super) fn number(
    key: &str,
    value: &Value,
    range: RangeInclusive<u64>,
) -> Result<u64, BadArgument> {
    value.as_u64().filter(|number| range.contains(number)).ok_or_else(|| {
        let message = format!("a number from {} to {} is needed", range.start(), range.end());
        BadArgument::new(key, message)
    })
}

/// A number of bytes in `range`, written with its unit.
pub(super) fn bytes(
    key: &str,
    value: &Value,
    range: RangeInclusive<usize>,
) -> Result<usize, BadArgument> {
    let bytes = value.as_str().filter(|text| text.contains(|c: char| c.is_ascii_alphabetic()));
    let bytes = bytes.and_then(|text| ByteSize::from_str(text.trim()).ok());
    let bytes = bytes.and_then(|size| usize::try_from(size.as_u64()).ok());
    bytes.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
        let (least, most) = (ByteSize(*range.start() as u64), ByteSize(*range.end() as u64));
        let message = format!("a size such as \"64KiB\" is needed, from {least} to {most}");
        BadArgument::new(key, message)
    })
}

/// A length of time, written with its unit.
pub(super) fn duration(key: &str, value: &Value) -> Result<Duration, BadArgument> {
    let text = value.as_str().filter(|text| text.len() <= LONGEST_DURATION_TEXT);
    let duration = text.and_then(|text| humantime::parse_duration(text.trim()).ok());
    duration.ok_or_else(|| {
        let message = format!("{value} is no length of time: write \"20s\", \"50ms\" or \"2m\"");
        BadArgument::new(key, message)
    })
}

/// What becomes of a message.
pub(super) fn message_template(text: &str) -> Result<Template, BadArgument> {
    template(text, &[Place::Message, Place::Time, Place::LocalTime])
}

/// A template that may have `places`.
pub(super) fn template(text: &str, places: &[Place]) -> Result<Template, BadArgument> {
    Template::parse(text, places).map_err(|message| BadArgument::new("template", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_have_a_unit_and_a_range() {
        let cases = [
            (json!("64KiB"), Some(65_536)),
            (json!("1MB"), Some(1_000_000)),
            (json!(" 100B "), Some(100)),
            (json!("100"), None),
            (json!(100), None),
            (json!("2GiB"), None),
            (json!("0B"), None),
            (json!("many"), None),
        ];
        for (value, expected) in cases {
            let read = bytes("max_bytes", &value, 1..=1_048_576);
            assert_eq!(read.as_ref().ok(), expected.as_ref(), "{value}: {read:?}");
            if let Err(error) = read {
                assert_eq!(error.key, "max_bytes");
                assert!(error.message.contains("from 1 B to 1.0 MiB"), "{error:?}");
            }
        }
    }

    #[test]
    fn lengths_of_time_have_a_unit() {
        let cases = [
            (json!("1s"), Some(Duration::from_secs(1))),
            (json!("1m 30s"), Some(Duration::from_secs(90))),
            (json!("0s"), Some(Duration::ZERO)),
            (json!("1"), None),
            (json!(1), None),
            (json!("-1s"), None),
            (json!("soon"), None),
            (json!("18446744073709551615s 999999999ns 1ns"), None),
        ];
        for (value, expected) in cases {
            let read = duration("interval", &value);
            assert_eq!(read.as_ref().ok(), expected.as_ref(), "{value}: {read:?}");
        }
    }
}
