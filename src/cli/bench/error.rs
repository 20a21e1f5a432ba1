//! What can go wrong in a run, and what to do about it.

use crate::cli::Failure;
use statesync::config::ConfigErrors;
use std::{
    error::Error,
    fmt,
    io::{self, ErrorKind},
    net::SocketAddr,
    path::PathBuf,
};

/// As shells report a process that SIGINT ended.
const EXIT_INTERRUPTED: u8 = 130;

/// Why a run ended without a result.
#[derive(Debug)]
pub enum BenchError {
    /// The arguments do not fit each other, or a file that they name cannot be read. Change them.
    Argument(String),
    /// More connections than this process may have open files. Raise `ulimit -n`.
    OpenFiles {
        /// Files that the run needs.
        needed: u64,
        /// Files that the process may have.
        allowed: u64,
    },
    /// Nobody listens there, or nobody is let in. Start the server, or look at its limits.
    Connect {
        /// Where.
        server: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The server did not open a WebSocket. Look at what it answered.
    Handshake(String),
    /// Not all clients came in. Look at the server's log and limits.
    Join(String),
    /// The server said something that no frame, event or answer is. It is broken, or --protocol is
    /// wrong.
    Protocol(String),
    /// A state does not tell which action it answers. Use --protocol v1, which goes by positions.
    NoNumber(String),
    /// The server refused an action. Change --send, --rate or the server's limits.
    Refused(String),
    /// A client was shown more than was sent. Somebody else acts there, or the server counts twice.
    Unasked(String),
    /// A socket, a timer or a file in /proc failed.
    System(&'static str, io::Error),
    /// The file of --compare is wrong. Change what is told.
    Plan(ConfigErrors),
    /// A signal ended a comparison. Its servers are gone.
    Interrupted,
    /// A page or a table cannot be written. Make room, or name another file.
    Write(PathBuf, io::Error),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(text) => f.write_str(text),
            Self::OpenFiles { needed, allowed } => write!(
                f,
                "{needed} open files are needed, but this process may have {allowed}: raise \
                 `ulimit -Hn`, or use fewer --clients"
            ),
            Self::Connect { server, error } if has_no_port(error) => write!(
                f,
                "cannot connect to {server}: {error}: no port is left on this side; use more \
                 --source-ips, or wait a minute until those of the last run are free"
            ),
            Self::Connect { server, error } => {
                write!(f, "cannot connect to {server}: {error}: is it running?")
            }
            Self::Handshake(text) => write!(f, "the server opened no WebSocket: {text}"),
            Self::Join(text) => write!(f, "not all clients came in: {text}"),
            Self::Protocol(text) => {
                write!(f, "the server sent what is not expected: {text}; is --protocol right?")
            }
            Self::NoNumber(text) => write!(
                f,
                "the state is no whole number, so it does not tell which action it answers: \
                 {text}; --protocol v1 goes by positions"
            ),
            Self::Refused(text) => write!(
                f,
                "the server refused an action: {text}; see --send and --rate, and the server's \
                 limits"
            ),
            Self::Unasked(text) => write!(f, "{text}: does somebody else act there?"),
            Self::System(what, error) => write!(f, "{what}: {error}"),
            Self::Plan(errors) => errors.fmt(f),
            Self::Interrupted => f.write_str("interrupted: the servers are stopped"),
            Self::Write(path, error) => write!(f, "cannot write {}: {error}", path.display()),
        }
    }
}

fn has_no_port(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
}

impl Error for BenchError {}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Argument(_) | BenchError::Plan(_) => Self::config(error),
            BenchError::Interrupted => Self { code: EXIT_INTERRUPTED, ..Self::running(error) },
            _ => Self::running(error),
        }
    }
}
