//! Close codes: what the end of a connection tells the client to do. The one table of the server;
//! `web/statesync.js` has the same, and a test keeps them equal.

use std::fmt;

/// A WebSocket close code (RFC 6455, section 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Done; nothing is wrong.
    pub const NORMAL: Self = Self(1000);
    /// The server stops, or a page is left: come back.
    pub const GOING_AWAY: Self = Self(1001);
    /// The client broke RFC 6455.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// Text that was not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A message over `limits.max_message`.
    pub const TOO_LARGE: Self = Self(1009);
    /// No good token, or one that has expired.
    pub const UNAUTHORIZED: Self = Self(4401);
    /// The client may not be in this room.
    pub const FORBIDDEN: Self = Self(4403);
    /// The server has as many rooms as it may: come back.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// The client is too slow for what must not be skipped: come back, and ask for what is missing.
    pub const TOO_SLOW: Self = Self(4508);
    /// The room was removed.
    pub const NO_SUCH_ROOM: Self = Self(4404);
    /// A newer connection has the same client identity.
    pub const TAKEN_OVER: Self = Self(4409);
    /// Far more actions than the limits allow, and no stop when they were refused.
    pub const FLOOD: Self = Self(4429);

    /// For people: why the connection ends. Short enough for a close frame.
    pub fn meaning(self) -> &'static str {
        self.advice().map_or("", |advice| advice.meaning)
    }

    /// Whether a client should connect again by itself.
    pub fn comes_back(self) -> bool {
        self.advice().is_none_or(|advice| advice.comes_back)
    }

    fn advice(self) -> Option<&'static Advice> {
        ADVICE.iter().find(|advice| (advice.first..=advice.last).contains(&self.0))
    }

    /// Whether the code may stand in a close frame: those of RFC 6455 and its registry that are
    /// meant for the wire, and the ranges for libraries (3000) and applications (4000).
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// What a client should do about a range of close codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// The first code of the range.
    pub first: u16,
    /// The last code of the range.
    pub last: u16,
    /// Whether to connect again by itself.
    pub comes_back: bool,
    /// For people: "the connection ended because …".
    pub meaning: &'static str,
}

/// All advice there is. A code that is not in it means that the connection was lost: come back.
/// Of two rows for one code, the first counts.
pub const ADVICE: [Advice; 17] = [
    advice(1000, 1000, false, "the server has closed the connection"),
    advice(1001, 1001, true, "the server is going away"),
    advice(1002, 1002, false, "the WebSocket protocol was broken"),
    advice(1003, 1003, false, "this kind of data is not accepted"),
    advice(1007, 1007, false, "a text was not valid UTF-8"),
    advice(1008, 1008, false, "a rule of the server was broken"),
    advice(1009, 1009, false, "a message was too large"),
    advice(1012, 1012, true, "the server is restarting"),
    advice(1013, 1013, true, "the server is too busy"),
    advice(4401, 4401, false, "there is no valid token, or it has expired"),
    advice(4403, 4403, false, "this client may not enter this room"),
    advice(4404, 4404, false, "the room was removed"),
    advice(4409, 4409, false, "another connection has taken this client's place"),
    advice(4429, 4429, false, "this client went on sending though it was told to wait"),
    advice(4400, 4499, false, "the server has refused this client"),
    advice(4508, 4508, true, "the client was too slow for what must not be skipped"),
    advice(4500, 4599, true, "the server could not go on"),
];

const fn advice(first: u16, last: u16, comes_back: bool, meaning: &'static str) -> Advice {
    Advice { first, last, comes_back, meaning }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_library_has_the_same_table() {
        let library = include_str!("../../web/statesync.js");
        let start = library.find("CLOSE_CODES = ").expect("the library has a table");
        let table = &library[start..];
        let table = &table[..table.find("]);").expect("the table has an end")];
        let rows: Vec<&str> = table.lines().map(str::trim).filter(|l| l.starts_with('{')).collect();
        let expected = ADVICE.map(|Advice { first, last, comes_back, meaning }| {
            format!(
                "{{ first: {first}, last: {last}, comesBack: {comes_back}, meaning: {meaning:?} }},"
            )
        });
        assert_eq!(rows, expected, "web/statesync.js and protocol/close.rs must agree");
    }

    #[test]
    fn the_document_has_the_same_table() {
        let document = include_str!("../../docs/protocol.md");
        let start = document.find("| code | come back | meaning |").expect("there is a table");
        let rows = document[start..].lines().skip(2).take_while(|line| line.starts_with('|'));
        let expected = ADVICE.map(|Advice { first, last, comes_back, meaning }| {
            let codes = if first == last { first.to_string() } else { format!("{first}–{last}") };
            format!("| {codes} | {} | {meaning} |", if comes_back { "yes" } else { "no" })
        });
        let rows: Vec<&str> = rows.collect();
        assert_eq!(rows, expected, "docs/protocol.md and protocol/close.rs must agree");
    }

    #[test]
    fn what_may_be_sent_is_what_the_registry_says() {
        let reserved = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];
        for code in reserved {
            assert!(!CloseCode(code).may_be_sent(), "{code}");
        }
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
            assert!(CloseCode(code).may_be_sent(), "{code}");
        }
    }
}
