//! The operations of JSON Patch (RFC 6902, section 4), and a draft of a document that they change.
//! What a draft's operations have done can be undone, and is bounded in size and in work.

use super::{
    Limits,
    measure::{Measure, are_equal, measure, string_bytes},
    pointer::{Pointer, index},
};
use crate::protocol::{ActionError, ErrorCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How often an action may touch as much as the largest document has: enough for every sensible
/// patch, and a bound on the time that everyone waits for it. Journals hang on it: an action that
/// was within it must always be, so it may rise and never fall.
const WORK_FACTOR: usize = 4;

/// So many elements of an array move in the time that one byte of a value is copied.
const SHIFTS_PER_BYTE: usize = 4;

/// An operation. Journals hold them: they must stay readable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum Operation {
    Add { path: Pointer, value: Value },
    Remove { path: Pointer },
    Replace { path: Pointer, value: Value },
    Move { from: Pointer, path: Pointer },
    Copy { from: Pointer, path: Pointer },
    Test { path: Pointer, value: Value },
}

impl Operation {
    /// The value that it brings.
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Add { value, .. } | Self::Replace { value, .. } | Self::Test { value, .. } => {
                Some(value)
            }
            Self::Remove { .. } | Self::Move { .. } | Self::Copy { .. } => None,
        }
    }
}

/// A document while an action changes it.
#[derive(Debug)]
pub(super) struct Draft<'d> {
    document: &'d mut Value,
    /// The document's size, known without measuring it all anew.
    bytes: usize,
    max_bytes: usize,
    max_depth: usize,
    /// The work that is left, in bytes of values that are looked at or copied.
    work_left: usize,
    /// What takes the changes back, the last one first.
    undo: Vec<Undo>,
}

/// How a change is taken back. The pointers have indices in the place of `-`.
#[derive(Debug)]
enum Undo {
    /// What is there goes.
    Remove(Pointer),
    /// This goes there, beside what is there.
    Insert(Pointer, Value),
    /// This goes there, in the place of what is there.
    Replace(Pointer, Value),
    /// What is at `path` goes back to `from`, and what it replaced to `path`.
    Move { from: Pointer, path: Pointer, replaced: Option<Value> },
}

/// Where a value goes, and how many bytes the document has then.
enum Spot {
    /// In the place of what is there.
    Over { bytes: usize },
    /// Beside what is there, at this pointer.
    Beside { path: Pointer, bytes: usize },
}

impl<'d> Draft<'d> {
    /// A draft of `document`, which has `bytes`. One that is larger than the limits allow, because
    /// they were wider once, may not grow.
    pub(super) fn new(document: &'d mut Value, bytes: usize, limits: Limits) -> Self {
        let max_bytes = limits.max_bytes.max(bytes);
        let work_left = max_bytes.saturating_mul(WORK_FACTOR);
        let Limits { max_depth, .. } = limits;
        Self { document, bytes, max_bytes, max_depth, work_left, undo: Vec::new() }
    }

    /// The document's size now.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the document what it was at first.
    pub(super) fn roll_back(self) {
        let Self { document, undo, .. } = self;
        undo.into_iter().rev().for_each(|undo| undo.take_back(document));
    }

    /// Carries out an operation. Says whether it changed anything.
    ///
    /// # Errors
    /// Why it cannot be; then the document is as it was before it.
    pub(super) fn apply(&mut self, operation: &Operation) -> Result<bool, ActionError> {
        match operation {
            Operation::Add { path, value } => self.add(path, value),
            Operation::Remove { path } => {
                let value = self.take(path)?;
                self.undo.push(Undo::Insert(path.clone(), value));
                Ok(true)
            }
            Operation::Replace { path, value } => {
                let size = self.weigh(value)?;
                let spot = self.over(path, size)?;
                Ok(self.set(path, spot, value))
            }
            Operation::Move { from, path } => self.move_value(from, path),
            Operation::Copy { from, path } => self.copy(from, path),
            Operation::Test { path, value } => match path.get(self.document) {
                Some(found) if are_equal(found, value) => Ok(false),
                Some(_) => Err(error(ErrorCode::TestFailed, path, "has another value")),
                None => Err(error(ErrorCode::TestFailed, path, "has no value")),
            },
        }
    }

    fn add(&mut self, path: &Pointer, value: &Value) -> Result<bool, ActionError> {
        let size = self.weigh(value)?;
        let spot = self.spot(path, size)?;
        Ok(self.set(path, spot, value))
    }

    fn copy(&mut self, from: &Pointer, path: &Pointer) -> Result<bool, ActionError> {
        let size = self.weigh_at(from)?;
        // Before the copy is made: a document must not double with every operation.
        let spot = self.spot(path, size)?;
        let value = from.get(self.document).ok_or_else(|| nothing_at(from))?.clone();
        Ok(self.set(path, spot, &value))
    }

    fn move_value(&mut self, from: &Pointer, path: &Pointer) -> Result<bool, ActionError> {
        if from.contains(path) {
            return Err(error(ErrorCode::PatchFailed, from, "cannot go into itself"));
        }
        let size = self.weigh_at(from)?;
        if from == path {
            return Ok(false);
        }
        let bytes = self.bytes;
        let value = self.take(from)?;
        // A path means what it does when the value is gone from where it was (section 4.4).
        let spot = match self.spot(path, size) {
            Ok(spot) => spot,
            Err(error) => {
                put_in(self.document, from, value);
                self.bytes = bytes;
                return Err(error);
            }
        };
        let (path, replaced) = match self.put(path, spot, value) {
            Undo::Replace(path, old) => (path, Some(old)),
            Undo::Remove(path) | Undo::Insert(path, _) | Undo::Move { path, .. } => (path, None),
        };
        self.undo.push(Undo::Move { from: from.clone(), path, replaced });
        Ok(true)
    }

    /// Where a value of this size goes that is added at `path` (section 4.1), if it may.
    fn spot(&mut self, path: &Pointer, size: Measure) -> Result<Spot, ActionError> {
        let Some((parent, last)) = path.parent(self.document) else {
            return if path.0.is_empty() { self.over(path, size) } else { Err(no_parent(path)) };
        };
        let (at, count) = match parent {
            Value::Object(members) if members.contains_key(last) => return self.over(path, size),
            Value::Object(_) => (0, 0),
            Value::Array(items) if last == "-" => (items.len(), items.len()),
            Value::Array(items) => match index(last).filter(|at| *at <= items.len()) {
                Some(at) => (at, items.len()),
                None => {
                    return Err(error(ErrorCode::PatchFailed, path, "is no place in its array"));
                }
            },
            _ => return Err(no_parent(path)),
        };
        let mut resolved = path.clone();
        if let (Value::Array(_), Some(last)) = (parent, resolved.0.last_mut()) {
            *last = at.to_string();
        }
        let bytes = self.bytes + size.bytes + framing_bytes(parent, last);
        self.check_depth(path, size)?;
        self.check_bytes(bytes)?;
        self.work((count - at) / SHIFTS_PER_BYTE)?;
        Ok(Spot::Beside { path: resolved, bytes })
    }

    /// A value of this size in the place of what is at `path`, if it may be there.
    fn over(&mut self, path: &Pointer, size: Measure) -> Result<Spot, ActionError> {
        let old_bytes = if path.0.is_empty() { self.bytes } else { self.weigh_at(path)?.bytes };
        let bytes = self.bytes - old_bytes + size.bytes;
        self.check_depth(path, size)?;
        self.check_bytes(bytes)?;
        Ok(Spot::Over { bytes })
    }

    /// Puts `value` there. Says whether that changes anything.
    fn set(&mut self, path: &Pointer, spot: Spot, value: &Value) -> bool {
        if matches!(spot, Spot::Over { .. }) && path.get(self.document) == Some(value) {
            return false;
        }
        let undo = self.put(path, spot, value.clone());
        self.undo.push(undo);
        true
    }

    fn put(&mut self, path: &Pointer, spot: Spot, value: Value) -> Undo {
        match spot {
            Spot::Over { bytes } => {
                self.bytes = bytes;
                let old = put_over(self.document, path, value);
                Undo::Replace(path.clone(), old.unwrap_or_default())
            }
            Spot::Beside { path, bytes } => {
                self.bytes = bytes;
                put_in(self.document, &path, value);
                Undo::Remove(path)
            }
        }
    }

    /// Takes out what is at `path`.
    fn take(&mut self, path: &Pointer) -> Result<Value, ActionError> {
        if path.0.is_empty() {
            return Err(error(ErrorCode::PatchFailed, path, "cannot go: replace it"));
        }
        let bytes = self.weigh_at(path)?.bytes;
        let shifted = match path.parent(self.document) {
            Some((Value::Array(items), last)) => index(last).map_or(0, |at| items.len() - at),
            _ => 0,
        };
        self.work(shifted / SHIFTS_PER_BYTE)?;
        let value = take_out(self.document, path).ok_or_else(|| nothing_at(path))?;
        let framing = path.parent(self.document).map(|(parent, last)| framing_bytes(parent, last));
        self.bytes -= bytes + framing.unwrap_or_default();
        Ok(value)
    }

    /// The size of a value. To look at it is work.
    fn weigh(&mut self, value: &Value) -> Result<Measure, ActionError> {
        let size = measure(value);
        self.work(size.bytes)?;
        Ok(size)
    }

    /// The size of what is at `path`.
    fn weigh_at(&mut self, path: &Pointer) -> Result<Measure, ActionError> {
        let size = measure(path.get(self.document).ok_or_else(|| nothing_at(path))?);
        self.work(size.bytes)?;
        Ok(size)
    }

    fn work(&mut self, bytes: usize) -> Result<(), ActionError> {
        self.work_left = self.work_left.checked_sub(bytes).ok_or_else(|| {
            let message = "this is too much work at once: send it in parts";
            ActionError::new(ErrorCode::TooLarge, message)
        })?;
        Ok(())
    }

    fn check_bytes(&self, bytes: usize) -> Result<(), ActionError> {
        if bytes <= self.max_bytes {
            return Ok(());
        }
        let message = format!("the document would have more than {} bytes", self.max_bytes);
        Err(ActionError::new(ErrorCode::TooLarge, message))
    }

    fn check_depth(&self, path: &Pointer, size: Measure) -> Result<(), ActionError> {
        if path.0.len() + size.depth <= self.max_depth {
            return Ok(());
        }
        let message = format!("the document would be more than {} deep", self.max_depth);
        Err(ActionError::new(ErrorCode::TooLarge, message))
    }
}

impl Undo {
    fn take_back(self, document: &mut Value) {
        match self {
            Self::Remove(path) => drop(take_out(document, &path)),
            Self::Insert(path, value) => put_in(document, &path, value),
            Self::Replace(path, value) => drop(put_over(document, &path, value)),
            Self::Move { from, path, replaced } => {
                let value = match replaced {
                    Some(replaced) => put_over(document, &path, replaced),
                    None => take_out(document, &path),
                };
                if let Some(value) = value {
                    put_in(document, &from, value);
                }
            }
        }
    }
}

/// What a member or an element of `parent` needs besides its value: a comma if there are others, and
/// its key. `parent` is without it.
fn framing_bytes(parent: &Value, last: &str) -> usize {
    match parent {
        Value::Object(members) => string_bytes(last) + ":".len() + usize::from(!members.is_empty()),
        Value::Array(items) => usize::from(!items.is_empty()),
        _ => 0,
    }
}

fn put_over(document: &mut Value, path: &Pointer, value: Value) -> Option<Value> {
    path.get_mut(document).map(|place| std::mem::replace(place, value))
}

fn put_in(document: &mut Value, path: &Pointer, value: Value) {
    match path.parent_mut(document) {
        Some((Value::Object(members), last)) => {
            members.insert(last.to_owned(), value);
        }
        Some((Value::Array(items), last)) => {
            let at = index(last).unwrap_or(items.len()).min(items.len());
            items.insert(at, value);
        }
        _ => {}
    }
}

fn take_out(document: &mut Value, path: &Pointer) -> Option<Value> {
    match path.parent_mut(document)? {
        (Value::Object(members), last) => members.remove(last),
        (Value::Array(items), last) => {
            let at = index(last).filter(|at| *at < items.len())?;
            Some(items.remove(at))
        }
        _ => None,
    }
}

fn error(code: ErrorCode, path: &Pointer, what: &str) -> ActionError {
    ActionError::new(code, format!("{} {what}", shown(path)))
}

fn nothing_at(path: &Pointer) -> ActionError {
    error(ErrorCode::PatchFailed, path, "does not exist")
}

fn no_parent(path: &Pointer) -> ActionError {
    error(ErrorCode::PatchFailed, path, "would be in nothing that can hold it")
}

/// The path, or its beginning: an error must not send back all that came.
fn shown(path: &Pointer) -> String {
    let text: String = path.to_string().chars().take(80).collect();
    format!("{text:?}")
}
