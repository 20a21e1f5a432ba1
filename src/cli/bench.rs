//! `statesync bench`: how fast a server is, as its clients see it.

mod compare;
mod load;
mod options;
mod outcome;
mod report;

use super::Failure;
pub use options::BenchArguments;
use std::process::ExitCode;

/// Loads a server, or compares several.
pub fn run(arguments: &BenchArguments) -> Result<ExitCode, Failure> {
    match &arguments.compare.compare {
        Some(file) => compare::run(file, arguments),
        None => load::run(arguments),
    }
}
