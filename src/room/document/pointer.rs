//! JSON Pointers (RFC 6901): where in a document something is.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// The most steps that a pointer may have: no document is [deeper](super::MAX_DEPTH) than that, and
/// a long message must not become a far longer list.
const MAX_STEPS: usize = super::MAX_DEPTH as usize + 1;

/// A pointer's steps from the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Pointer(pub(super) Vec<String>);

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return match text.is_empty() {
                true => Ok(Self(Vec::new())),
                false => Err("a path is empty or begins with \"/\"".into()),
            };
        };
        let steps: Result<Vec<_>, _> = rest.split('/').take(MAX_STEPS + 1).map(unescape).collect();
        let steps = steps?;
        if steps.len() > MAX_STEPS {
            return Err(format!("a path has at most {MAX_STEPS} steps"));
        }
        Ok(Self(steps))
    }
}

fn unescape(step: &str) -> Result<String, String> {
    let mut parts = step.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match part.split_at_checked(1) {
            Some(("0", rest)) => ('~', rest),
            Some(("1", rest)) => ('/', rest),
            _ => return Err("a \"~\" in a path stands before 0 or 1".into()),
        };
        text.push(character);
        text.push_str(rest);
    }
    Ok(text)
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.to_string()
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| {
            f.write_str("/")?;
            f.write_str(&step.replace('~', "~0").replace('/', "~1"))
        })
    }
}

impl Pointer {
    /// What the pointer points at.
    pub(super) fn get<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        walk(root, &self.0)
    }

    /// The same, to change it.
    pub(super) fn get_mut<'v>(&self, root: &'v mut Value) -> Option<&'v mut Value> {
        walk_mut(root, &self.0)
    }

    /// What that is in, or would be, and the last step. `None` for the root, and where there is
    /// nothing.
    pub(super) fn parent<'v>(&self, root: &'v Value) -> Option<(&'v Value, &str)> {
        let (last, steps) = self.0.split_last()?;
        Some((walk(root, steps)?, last))
    }

    /// The same, to change it.
    pub(super) fn parent_mut<'v>(&self, root: &'v mut Value) -> Option<(&'v mut Value, &str)> {
        let (last, steps) = self.0.split_last()?;
        Some((walk_mut(root, steps)?, last))
    }

    /// Whether `other` points at something within what this pointer points at.
    pub(super) fn contains(&self, other: &Self) -> bool {
        other.0.len() > self.0.len() && other.0.starts_with(&self.0)
    }
}

fn walk<'v>(root: &'v Value, steps: &[String]) -> Option<&'v Value> {
    steps.iter().try_fold(root, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(items) => items.get(index(step)?),
        _ => None,
    })
}

fn walk_mut<'v>(root: &'v mut Value, steps: &[String]) -> Option<&'v mut Value> {
    steps.iter().try_fold(root, |value, step| match value {
        Value::Object(members) => members.get_mut(step),
        Value::Array(items) => items.get_mut(index(step)?),
        _ => None,
    })
}

/// The index that a step into an array is: digits, and no zero before others.
pub(super) fn index(step: &str) -> Option<usize> {
    let is_index = step.bytes().all(|byte| byte.is_ascii_digit())
        && (step.len() == 1 || !step.starts_with('0'));
    step.parse().ok().filter(|_| is_index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn pointer(text: &str) -> Pointer {
        Pointer::try_from(text.to_owned()).expect(text)
    }

    #[test]
    fn the_examples_of_rfc_6901_section_5_point_where_it_says() {
        let document = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5,
            "k\"l": 6, " ": 7, "m~n": 8
        });
        for (text, value) in [
            ("", document.clone()),
            ("/foo", json!(["bar", "baz"])),
            ("/foo/0", json!("bar")),
            ("/", json!(0)),
            ("/a~1b", json!(1)),
            ("/c%d", json!(2)),
            ("/e^f", json!(3)),
            ("/g|h", json!(4)),
            ("/i\\j", json!(5)),
            ("/k\"l", json!(6)),
            ("/ ", json!(7)),
            ("/m~0n", json!(8)),
        ] {
            assert_eq!(pointer(text).get(&document), Some(&value), "{text:?}");
            assert_eq!(pointer(text).get_mut(&mut document.clone()), Some(&mut value.clone()));
        }
        for text in ["/bar", "/foo/2", "/foo/-", "/foo/01", "/foo/+1", "/foo/1e0", "/foo/", "/ /x"]
        {
            assert_eq!(pointer(text).get(&document), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_pointer_is_named() {
        for (text, part) in [
            ("a", "begins with"),
            ("~0", "begins with"),
            ("/~", "0 or 1"),
            ("/a~2b", "0 or 1"),
            ("/~é", "0 or 1"),
            (&"/".repeat(200), "at most 101 steps"),
        ] {
            let error = Pointer::try_from(text.to_owned()).expect_err(text);
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_pointer_is_written_as_it_was_read(steps in prop::collection::vec("[~/a01é]{0,3}", 0..5)) {
            let text = Pointer(steps.clone()).to_string();
            prop_assert_eq!(pointer(&text).0, steps);
        }
    }
}
