//! What is said on the wire, as values and as bytes. Pure: no actor, clock, socket or randomness.
//!
//! * [`frame`]: RFC 6455, bytes ↔ messages.
//! * [`deflate`]: permessage-deflate (RFC 7692), agreed and done.
//! * [`json`]: text → a JSON object, strictly. [`action`]: what all actions have in common.
//! * [`ClientKey`]: who a client is.
//! * [`Event`]: what the server tells clients. [`EncodedEvent`]: its bytes in each [`WireForm`].
//! * [`close`]: how connections end.

pub mod action;
pub mod close;
pub mod deflate;
pub mod encoded;
pub mod event;
pub mod frame;
pub mod identity;
pub mod json;

pub use action::{Input, MAX_IN_FLIGHT};
pub use close::CloseCode;
pub use deflate::Compression;
pub use encoded::{EncodedEvent, WireForm};
pub use event::{Event, Refused, RoomEvent, Welcome};
pub use identity::ClientKey;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use std::{error::Error, fmt};

/// A message, either way: the payload of a text or a binary frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// UTF-8 text.
    Text(ByteString),
    /// Any bytes.
    Binary(Bytes),
}

impl Message {
    /// The payload.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// The protocol that a client speaks; its version, so to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// No subprotocol: two actions and three events, with no other keys than the first version of
    /// all had.
    Classic,
    /// The subprotocol `statesync.v1`: positions, acknowledgements, actions that count exactly once.
    V1,
}

impl Dialect {
    /// What `Sec-WebSocket-Protocol` calls [`Dialect::V1`].
    pub const V1_NAME: &str = "statesync.v1";
}

/// Stable names of what can be wrong with an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// Not a JSON object. Send one.
    BadJson,
    /// The room knows no such action. See the room's kind.
    UnknownAction,
    /// A field is missing or of the wrong type. Mend it.
    BadField,
    /// The result would not fit the state. The state is unchanged.
    OutOfRange,
    /// The action, or what it would make of the state, is larger than the room takes.
    TooLarge,
    /// A `test` of a JSON Patch found another value. Look at the state, and decide anew.
    TestFailed,
    /// A JSON Patch does not fit the state: there is nothing at a path. Look at the state.
    PatchFailed,
    /// Somebody in the room has this name. Take another.
    NameTaken,
    /// The room must know a name first. Log in.
    NotLoggedIn,
    /// The room was removed while the action was on its way. Nothing was changed.
    NoSuchRoom,
    /// The server has as many rooms as it may. Use one that is there, or try again later.
    TooManyRooms,
    /// This action was refused before, and its sender asks again. Forget it.
    Refused,
    /// The number is further below the last decided one than the server remembers.
    IdTooOld,
    /// The client is not known, so an action of its that is not the first cannot be told from one
    /// that was applied. Take a new identity.
    Forgotten,
    /// A number before this one is missing, and nothing may overtake. Send that one first.
    IdGap,
    /// The journal could not keep the action, so nothing changed. Try again later.
    NotDurable,
    /// The client may be here, but not act. Ask whoever gave you the token.
    Forbidden,
    /// More actions than the limits allow. Wait, then send it again.
    RateLimited,
    /// A reason of a room of one's own, by its own code: words with `_` between them, none of those
    /// above. Nothing changed.
    Own(&'static str),
}

impl ErrorCode {
    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::UnknownAction => "unknown_action",
            Self::BadField => "bad_field",
            Self::OutOfRange => "out_of_range",
            Self::TooLarge => "too_large",
            Self::TestFailed => "test_failed",
            Self::PatchFailed => "patch_failed",
            Self::NameTaken => "name_taken",
            Self::NotLoggedIn => "not_logged_in",
            Self::NoSuchRoom => "no_such_room",
            Self::TooManyRooms => "too_many_rooms",
            Self::Refused => "refused",
            Self::IdTooOld => "id_too_old",
            Self::Forgotten => "forgotten",
            Self::IdGap => "id_gap",
            Self::NotDurable => "not_durable",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::Own(code) => code,
        }
    }

    /// Whether nothing was decided: the same action may be sent again.
    pub fn may_be_sent_again(self) -> bool {
        matches!(self, Self::TooManyRooms | Self::IdGap | Self::NotDurable | Self::RateLimited)
    }
}

/// Why an action is not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionError {
    /// For programs.
    pub code: ErrorCode,
    /// For people. Not stable.
    pub message: String,
}

impl ActionError {
    /// An error of kind `code` that tells people `message`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Error for ActionError {}

impl fmt::Display for ActionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: [ErrorCode; 18] = [
        ErrorCode::BadJson,
        ErrorCode::UnknownAction,
        ErrorCode::BadField,
        ErrorCode::OutOfRange,
        ErrorCode::TooLarge,
        ErrorCode::TestFailed,
        ErrorCode::PatchFailed,
        ErrorCode::NameTaken,
        ErrorCode::NotLoggedIn,
        ErrorCode::NoSuchRoom,
        ErrorCode::TooManyRooms,
        ErrorCode::Refused,
        ErrorCode::IdTooOld,
        ErrorCode::Forgotten,
        ErrorCode::IdGap,
        ErrorCode::NotDurable,
        ErrorCode::Forbidden,
        ErrorCode::RateLimited,
    ];

    /// Does not compile when there is a code that [`CODES`] may lack.
    fn place(code: ErrorCode) -> usize {
        match code {
            ErrorCode::Own(code) => unreachable!("{code} is none of the server's"),
            ErrorCode::BadJson => 0,
            ErrorCode::UnknownAction => 1,
            ErrorCode::BadField => 2,
            ErrorCode::OutOfRange => 3,
            ErrorCode::TooLarge => 4,
            ErrorCode::TestFailed => 5,
            ErrorCode::PatchFailed => 6,
            ErrorCode::NameTaken => 7,
            ErrorCode::NotLoggedIn => 8,
            ErrorCode::NoSuchRoom => 9,
            ErrorCode::TooManyRooms => 10,
            ErrorCode::Refused => 11,
            ErrorCode::IdTooOld => 12,
            ErrorCode::Forgotten => 13,
            ErrorCode::IdGap => 14,
            ErrorCode::NotDurable => 15,
            ErrorCode::Forbidden => 16,
            ErrorCode::RateLimited => 17,
        }
    }

    #[test]
    fn the_document_has_all_codes_and_no_others() {
        let document = include_str!("../../docs/protocol.md");
        let start = document.find("| code | what was wrong | retry |").expect("there is a table");
        let rows = document[start..].lines().skip(2).take_while(|line| line.starts_with('|'));
        let code_and_retry = |row: &str| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[1].to_owned(), cells[3].to_owned())
        };
        let expected = CODES.map(|code| {
            let retry = if code.may_be_sent_again() { "yes" } else { "no" };
            (format!("`{}`", code.as_str()), retry.to_owned())
        });
        let rows: Vec<_> = rows.map(code_and_retry).collect();
        assert_eq!(rows, expected, "docs/protocol.md and ErrorCode must agree, in one order");
        assert!(CODES.iter().enumerate().all(|(at, code)| place(*code) == at), "each code once");
    }
}
