//! How it may end, and what that means: for people, for the script, and for coming back.

use super::show::safe;
use crate::cli::Failure;
use statesync::protocol::close::CloseCode;
use std::{process::ExitCode, time::Duration};
use tokio_tungstenite::tungstenite::http::StatusCode;

const EXIT_LOST: u8 = 1;
const EXIT_REFUSED: u8 = 3;
const EXIT_CLOSED_WITH_ERROR: u8 = 4;
/// As a shell reports a process that SIGINT ended.
const EXIT_INTERRUPTED: u8 = 130;

/// How a connection, or the attempt at one, has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// By a close handshake. The code is the server's; `None` if it gave none.
    Closed { code: Option<CloseCode>, reason: String, by_us: bool },
    /// The connection broke.
    Lost(String),
    /// The server sent what this client does not take: broken frames, or a message that is too large.
    NotUnderstood(String),
    /// The server did not answer our close in this time.
    Unanswered(Duration),
    /// There was no connection: name, network or TLS.
    Unreachable(String),
    /// The server answered the opening handshake with this HTTP status.
    Refused { status: StatusCode, message: String },
    /// The user closed while there was no connection.
    GivenUp { unsent_lines: usize },
    /// The user did not want to wait for the end.
    Interrupted,
}

impl Ending {
    /// Whether to connect again. `was_connected` is whether there ever was a connection: what has
    /// never worked is more likely wrong than away.
    pub fn comes_back(&self, was_connected: bool) -> bool {
        was_connected
            && match self {
                Self::Closed { by_us: true, .. } => false,
                Self::Closed { code, .. } => code.is_none_or(CloseCode::comes_back),
                Self::Lost(_) | Self::Unreachable(_) => true,
                // Full, or a proxy whose server is away.
                Self::Refused { status, .. } => matches!(status.as_u16(), 429 | 502..=504),
                Self::NotUnderstood(_)
                | Self::Unanswered(_)
                | Self::GivenUp { .. }
                | Self::Interrupted => false,
            }
    }

    /// What there is to say about it; nothing if all is well and we closed.
    pub fn message(&self) -> Option<String> {
        Some(match self {
            Self::Closed { by_us: true, code, .. } if is_normal(*code) => return None,
            Self::Closed { code: Some(code), reason, .. } => closed_by_server(*code, reason),
            Self::Closed { code: None, .. } => "the server has closed the connection".into(),
            Self::Lost(why) => format!("the connection was lost: {why}"),
            Self::NotUnderstood(why) => format!("the connection cannot go on: {why}"),
            Self::Unanswered(timeout) => format!(
                "the server did not answer the close in {}: answers may be missing; \
                 --timeout waits longer",
                humantime::format_duration(*timeout)
            ),
            Self::Unreachable(why) => format!("no connection: {why}"),
            Self::Refused { status, message } => {
                let message = if message.is_empty() { "no reason given" } else { message };
                format!("the server refused the connection: HTTP {status}: {}", safe(message))
            }
            Self::GivenUp { unsent_lines: 0 } | Self::Interrupted => return None,
            Self::GivenUp { unsent_lines } => format!("lines that were not sent: {unsent_lines}"),
        })
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Closed { code, .. } if is_normal(*code) => 0,
            Self::Closed { .. } => EXIT_CLOSED_WITH_ERROR,
            Self::Refused { .. } => EXIT_REFUSED,
            Self::Interrupted => EXIT_INTERRUPTED,
            _ => EXIT_LOST,
        }
    }

    /// What the command returns.
    pub fn into_result(self) -> Result<ExitCode, Failure> {
        let code = self.exit_code();
        match self.message() {
            Some(message) => Err(Failure { message, code }),
            None => Ok(ExitCode::from(code)),
        }
    }
}

fn is_normal(code: Option<CloseCode>) -> bool {
    code.is_none_or(|code| code == CloseCode::NORMAL)
}

fn closed_by_server(code: CloseCode, reason: &str) -> String {
    let meaning = match code.meaning() {
        "" => "the server has closed the connection",
        meaning => meaning,
    };
    // The reason is often the meaning already.
    match reason.is_empty() || reason == meaning {
        true => format!("{meaning} ({code})"),
        false => format!("{meaning} ({code}): {}", safe(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(code: u16) -> Ending {
        Ending::Closed { code: Some(CloseCode(code)), reason: "why\x1b".into(), by_us: false }
    }

    #[test]
    fn the_table_of_close_codes_says_who_comes_back() {
        for (code, comes_back) in
            [(1000, false), (1001, true), (1008, false), (1012, true), (4409, false), (4508, true)]
        {
            assert_eq!(closed(code).comes_back(true), comes_back, "{code}");
        }
        let by_us = Ending::Closed { code: None, reason: String::new(), by_us: true };
        assert!(!by_us.comes_back(true));
    }

    #[test]
    fn what_never_worked_is_not_tried_again() {
        let unreachable = Ending::Unreachable("refused".into());
        assert!(!unreachable.comes_back(false));
        assert!(unreachable.comes_back(true));
    }

    #[test]
    fn a_refusal_is_tried_again_only_if_it_may_pass() {
        for (status, comes_back) in [(503, true), (429, true), (404, false), (401, false)] {
            let status = StatusCode::from_u16(status).expect("a status");
            let refused = Ending::Refused { status, message: String::new() };
            assert_eq!(refused.comes_back(true), comes_back, "{status}");
        }
    }

    #[test]
    fn each_ending_has_its_exit_code() {
        assert_eq!(closed(1000).exit_code(), 0);
        assert_eq!(closed(1001).exit_code(), 4);
        assert_eq!(closed(4409).exit_code(), 4);
        assert_eq!(Ending::Lost(String::new()).exit_code(), 1);
        assert_eq!(Ending::Interrupted.exit_code(), 130);
    }

    #[test]
    fn the_servers_reason_cannot_drive_the_terminal() {
        let message = closed(4400).message().expect("something to say");
        assert!(message.contains("why\\u{1b}") && !message.contains('\x1b'), "{message:?}");
    }
}
