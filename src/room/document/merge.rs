//! JSON Merge Patch (RFC 7396), as operations that say what it changes.

use super::{operation::Operation, pointer::Pointer};
use serde_json::{Map, Value};

/// The operations that do to `document` what `patch` does. Finding them takes time in proportion to
/// the patch, and they are not much larger than it.
///
/// The exception: many changes far below long keys, where each operation repeats the keys. Where the
/// paths would have more than `max_bytes`, there is one operation, which replaces all.
pub(super) fn operations(document: &Value, patch: &Value, max_bytes: usize) -> Vec<Operation> {
    let mut draft = Draft { operations: Vec::new(), steps: Vec::new(), bytes_left: max_bytes };
    match draft.collect(document, patch) {
        Some(()) => draft.operations,
        None => {
            let value = merged(document.clone(), patch);
            vec![Operation::Replace { path: Pointer(Vec::new()), value }]
        }
    }
}

struct Draft {
    operations: Vec<Operation>,
    /// Where we are.
    steps: Vec<String>,
    bytes_left: usize,
}

impl Draft {
    /// `None` when the paths are too long together.
    fn collect(&mut self, target: &Value, patch: &Value) -> Option<()> {
        match (target, patch) {
            (Value::Object(members), Value::Object(changes)) => {
                changes.iter().try_for_each(|(key, change)| {
                    self.steps.push(key.clone());
                    let result = self.collect_member(members.get(key), change);
                    self.steps.pop();
                    result
                })
            }
            _ => {
                let value = merged(Value::Null, patch);
                match value == *target {
                    true => Some(()),
                    false => self.add(|path| Operation::Replace { path, value }),
                }
            }
        }
    }

    fn collect_member(&mut self, member: Option<&Value>, change: &Value) -> Option<()> {
        match (member, change) {
            (None, Value::Null) => Some(()),
            (Some(_), Value::Null) => self.add(|path| Operation::Remove { path }),
            (Some(member), change) => self.collect(member, change),
            (None, change) => {
                let value = merged(Value::Null, change);
                self.add(|path| Operation::Add { path, value })
            }
        }
    }

    fn add(&mut self, operation: impl FnOnce(Pointer) -> Operation) -> Option<()> {
        let bytes: usize = self.steps.iter().map(|step| step.len() + "/".len()).sum();
        self.bytes_left = self.bytes_left.checked_sub(bytes)?;
        self.operations.push(operation(Pointer(self.steps.clone())));
        Some(())
    }
}

/// RFC 7396, section 2.
fn merged(target: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut members = match target {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (key, change) in changes {
        let member = members.remove(key);
        if !change.is_null() {
            members.insert(key.clone(), merged(member.unwrap_or_default(), change));
        }
    }
    Value::Object(members)
}
