//! Who a client is, where it wants its actions counted exactly once.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::ops::RangeInclusive;

/// How long a client's identity may be. The least is what 96 random bits take in base64url; the
/// most bounds what a request makes the server hash.
pub const CLIENT_LENGTHS: RangeInclusive<usize> = 16..=64;

/// A client of one room: the first 128 bits of a SHA-256. The identity itself is a secret of the
/// client's, who could be impersonated by anyone that reads it, so it is neither kept nor logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientKey([u8; 16]);

impl ClientKey {
    /// The key of the client that calls itself `client` in the room at the path `room`. `None` if
    /// that is no identity: [`CLIENT_LENGTHS`] characters of `A-Z a-z 0-9 - _` (base64url, RFC
    /// 4648, section 5).
    pub fn new(room: &str, client: &str) -> Option<Self> {
        let is_url_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !CLIENT_LENGTHS.contains(&client.len()) || !client.bytes().all(is_url_safe) {
            return None;
        }
        // A path has no NUL, so no two pairs are hashed alike.
        let mut hash = Sha256::new();
        hash.update(room);
        hash.update([0]);
        hash.update(client);
        hash.finalize().first_chunk().copied().map(Self)
    }

    /// The key of the client that a request to the room at the path `room` is, by its
    /// `Idempotency-Key`. No identity of a client has the same.
    pub fn of_request(room: &str, key: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(room);
        hash.update([0, 0]);
        hash.update(key);
        let hash: [u8; 32] = hash.finalize().into();
        Self(*hash.first_chunk().expect("16 is less than 32"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_16_to_64_url_safe_characters() {
        let long = "x".repeat(65);
        let cases = [
            ("", false),
            ("fifteen-letters", false),
            ("sixteen_letters-", true),
            ("ABCDEFGHIJKLMNOP0123456789", true),
            (&long[..64], true),
            (&long, false),
            ("sixteen letters-", false),
            ("sixteen.letters-", false),
            ("sixteen+letters-", false),
            ("sixteenlettersä-", false),
        ];
        for (client, is_identity) in cases {
            assert_eq!(ClientKey::new("/", client).is_some(), is_identity, "{client:?}");
        }
    }

    #[test]
    fn a_key_is_of_one_client_in_one_room_and_never_changes() {
        let key = |room, client| ClientKey::new(room, client).expect("an identity");
        assert_eq!(key("/", "sixteen_letters-"), key("/", "sixteen_letters-"));
        assert_ne!(key("/", "sixteen_letters-"), key("/", "sixteen_letters_"));
        assert_ne!(key("/", "sixteen_letters-"), key("/other", "sixteen_letters-"));
        let kept: String =
            key("/", "sixteen_letters-").0.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            kept, "6568bf528f07a1b14a9561564c6a2e75",
            "journals hold keys: they must stay as they are"
        );
    }
}
