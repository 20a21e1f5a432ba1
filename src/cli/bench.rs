//! `statesync bench`: how fast a server is, as its clients see it.

mod action;
mod address;
mod age;
mod alarm;
mod arrival;
mod churn;
mod client;
mod compare;
mod crowd;
mod error;
mod event;
mod frame;
mod inflate;
mod load;
mod options;
mod outcome;
mod progress;
mod record;
mod report;
mod run;
mod schedule;
mod setting;
mod table;
mod traffic;
mod usage;

use super::Failure;
pub use options::{BenchArguments, HELP};
use std::process::ExitCode;

/// Loads a server, or compares several.
pub fn run(arguments: &BenchArguments) -> Result<ExitCode, Failure> {
    match &arguments.compare.compare {
        Some(file) => compare::run(file, arguments),
        None => load::run(arguments),
    }
}
