//! Several servers under several loads, in turn.

use super::BenchArguments;
use crate::cli::Failure;
use std::{path::Path, process::ExitCode};

/// Runs what `file` says, several rounds, and prints medians and ratios.
pub fn run(_file: &Path, _arguments: &BenchArguments) -> Result<ExitCode, Failure> {
    Err(Failure::running("not built yet"))
}
