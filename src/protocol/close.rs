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

    /// Whether the code may stand in a close frame: those of RFC 6455 and its registry that are
    /// meant for the wire, and the ranges for libraries (3000) and applications (4000).
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
