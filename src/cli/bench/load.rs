//! One load on one server.

use super::BenchArguments;
use crate::cli::Failure;
use std::process::ExitCode;

/// Loads a server and prints what its clients saw.
pub fn run(_arguments: &BenchArguments) -> Result<ExitCode, Failure> {
    Err(Failure::running("not built yet"))
}
