//! What keeps a comparison from being made.

use statesync::config::ConfigErrors;
use std::{fmt, io, path::PathBuf};

/// What keeps a comparison from being made, or its results from being kept.
#[derive(Debug)]
pub enum CompareError {
    /// The plan cannot be read.
    Read(PathBuf, io::Error),
    /// The plan is wrong.
    Plan(ConfigErrors),
    /// `--only` names a load that the plan does not have.
    UnknownLoad(String),
    /// No round was asked for.
    NoRounds,
    /// The system refuses what every comparison needs: its own program, a folder, a runtime.
    System(&'static str, io::Error),
    /// A signal ended it.
    Interrupted,
    /// The page or the tables cannot be written.
    Write(PathBuf, io::Error),
}

impl fmt::Display for CompareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Plan(errors) => errors.fmt(f),
            Self::UnknownLoad(what) => write!(f, "--only: there is no load {what}"),
            Self::NoRounds => f.write_str("--rounds: at least one round is needed"),
            Self::System(what, error) => write!(f, "cannot {what}: {error}"),
            Self::Interrupted => f.write_str("interrupted: the servers are stopped"),
            Self::Write(path, error) => write!(f, "cannot write {}: {error}", path.display()),
        }
    }
}

impl CompareError {
    /// The exit code: 2 where the arguments or the plan are wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Read(..) | Self::Plan(_) | Self::UnknownLoad(_) | Self::NoRounds => 2,
            // As shells report a process that SIGINT ended.
            Self::Interrupted => 130,
            Self::System(..) | Self::Write(..) => 1,
        }
    }
}
