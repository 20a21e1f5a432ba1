//! How large a JSON value is, how deep it nests, and whether two are equal.

use serde_json::{Number, Value};
use std::fmt::{self, Write};

/// The size of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measure {
    /// The length of its JSON text without white space.
    pub(super) bytes: usize,
    /// How many arrays and objects are in each other: 0 for a number, 1 for `[1]`.
    pub(super) depth: usize,
}

/// Measures `value`. Takes time in proportion to its size.
pub(super) fn measure(value: &Value) -> Measure {
    let plain = |bytes| Measure { bytes, depth: 0 };
    match value {
        Value::Null | Value::Bool(true) => plain(4),
        Value::Bool(false) => plain(5),
        Value::Number(number) => plain(number_bytes(number)),
        Value::String(text) => plain(string_bytes(text)),
        Value::Array(items) => around(items.len(), items.iter().map(measure)),
        Value::Object(members) => {
            let member = |(key, value): (&String, _)| {
                let Measure { bytes, depth } = measure(value);
                Measure { bytes: bytes + string_bytes(key) + ":".len(), depth }
            };
            around(members.len(), members.iter().map(member))
        }
    }
}

/// The brackets and commas around so many parts.
fn around(count: usize, parts: impl Iterator<Item = Measure>) -> Measure {
    let empty = Measure { bytes: "[]".len() + count.saturating_sub(1), depth: 0 };
    let sum = parts.fold(empty, |sum, part| Measure {
        bytes: sum.bytes + part.bytes,
        depth: sum.depth.max(part.depth),
    });
    Measure { depth: sum.depth + 1, ..sum }
}

/// The length of a string in JSON, with its quotation marks and escapes (as `serde_json` writes it).
pub(super) fn string_bytes(text: &str) -> usize {
    let escaped = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..0x20 => "\\u0000".len(),
        _ => 1,
    };
    "\"\"".len() + text.bytes().map(escaped).sum::<usize>()
}

fn number_bytes(number: &Number) -> usize {
    struct Length(usize);
    impl Write for Length {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut length = Length(0);
    // Counting cannot fail.
    let _ = write!(length, "{number}");
    length.0
}

/// Whether a `test` takes the values for equal (RFC 6902, section 4.6): numbers by what they are,
/// not how they are written, so 1 equals 1.0.
pub(super) fn are_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || is_same_integer(one, other) || is_same_integer(other, one)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| are_equal(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_in = |(key, a): (&String, _)| other.get(key).is_some_and(|b| are_equal(a, b));
            one.len() == other.len() && one.iter().all(is_in)
        }
        _ => one == other,
    }
}

/// Whether the whole number `one`, which a float may not hold exactly, is the float `other`.
fn is_same_integer(one: &Number, other: &Number) -> bool {
    let (Some(one), Some(other)) = (one.as_i128(), other.as_f64().filter(|_| other.is_f64()))
    else {
        return false;
    };
    // All floats below 2^65 without a fraction are `i128`s, and no larger one is a whole `Number`.
    other.fract() == 0.0 && other.abs() < 2_f64.powi(65) && other as i128 == one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::document::tests::json_value;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn nesting_is_counted_in_arrays_and_objects() {
        for (value, depth) in [
            (json!(1), 0),
            (json!("[[["), 0),
            (json!([]), 1),
            (json!({}), 1),
            (json!([1, [2], 3]), 2),
            (json!({"a": {"b": [1]}}), 3),
        ] {
            assert_eq!(measure(&value).depth, depth, "{value}");
        }
    }

    #[test]
    fn numbers_are_equal_by_value_and_other_types_never() {
        for (one, other, expected) in [
            (json!(1), json!(1.0), true),
            (json!(-1), json!(-1.0), true),
            (json!(0), json!(-0.0), true),
            (json!(1), json!(1.5), false),
            (json!(1e3), json!(1000), true),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0), false),
            (json!(u64::MAX), json!(18_446_744_073_709_551_616.0), false),
            (json!(u64::MAX), json!(-1), false),
            (json!(1), json!(1e300), false),
            (json!([1, {"a": 2}]), json!([1.0, {"a": 2.0}]), true),
            (json!([1]), json!([1, 1]), false),
            (json!({"a": 1}), json!({"b": 1}), false),
            (json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}), true),
            (json!(1), json!("1"), false),
            (json!(0), json!(false), false),
            (json!(null), json!(false), false),
        ] {
            assert_eq!(are_equal(&one, &other), expected, "{one} and {other}");
            assert_eq!(are_equal(&other, &one), expected, "{other} and {one}");
        }
    }

    proptest! {
        #[test]
        fn the_size_is_that_of_the_text(value in json_value(), text in any::<String>(), float in any::<f64>()) {
            for value in [value, text.into(), float.into()] {
                prop_assert_eq!(measure(&value).bytes, value.to_string().len(), "{}", value);
                prop_assert!(are_equal(&value, &value));
            }
        }
    }
}
