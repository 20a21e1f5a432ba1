//! The state as bytes, so that a journal need not be read from its beginning.

use super::{clients::Record, entry::DedupLimits};
use crate::{protocol::ClientKey, room::UnixMicros};
use serde::{Deserialize, Serialize};

/// All that entries have made, as postcard writes it (its wire format 1.0). What was saved must be
/// readable for ever: variants and fields stay as they are, and new variants come last.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Saved {
    /// The only form so far.
    V1(SavedState),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedState {
    /// The time of the last entry.
    pub(super) at: UnixMicros,
    pub(super) limits: DedupLimits,
    /// Durable rooms in the order in which they were opened.
    pub(super) rooms: Vec<SavedRoom>,
    pub(super) forgotten_until: u64,
    /// Who has not acted for longest comes first.
    pub(super) clients: Vec<(ClientKey, Record)>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedRoom {
    pub(super) path: String,
    pub(super) kind: String,
    /// The position of the entry that made the state.
    pub(super) seq: u64,
    /// What [`crate::room::Room::save`] wrote.
    pub(super) state: Vec<u8>,
}

impl SavedRoom {
    /// What stands in the place of one that was removed: no path begins without "/".
    pub(super) fn removed() -> Self {
        Self { path: String::new(), kind: String::new(), seq: 0, state: Vec::new() }
    }
}

impl Saved {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let bytes = postcard::to_stdvec(self);
        bytes.expect("it consists of what postcard can write, and memory takes all")
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(bytes) {
            Ok((saved, [])) => Some(saved),
            _ => None,
        }
    }
}
