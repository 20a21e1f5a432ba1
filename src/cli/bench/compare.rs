//! Several servers under several loads, in turn.

mod child;
mod command;
pub mod comparison;
mod folder;
pub mod plan;
pub mod rounds;
mod statistics;
pub mod table;
#[cfg(test)]
mod tests;

use self::{comparison::Comparison, folder::Folder, plan::Plan, rounds::Rounds};
use super::{BenchArguments, error::BenchError, report};
use crate::cli::Failure;
use std::{
    env,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};

/// The largest plan that is read: a mistaken path must not fill the memory.
const MAX_PLAN_BYTES: u64 = 1024 * 1024;

/// Runs what `file` says, several rounds, and prints medians and ratios.
pub fn run(file: &Path, arguments: &BenchArguments) -> Result<ExitCode, Failure> {
    let program = env::current_exe()
        .map_err(|error| BenchError::System("this program cannot be found", error))?;
    Ok(compare(file, arguments, &program)?)
}

/// The same; `program` measures.
fn compare(
    file: &Path,
    arguments: &BenchArguments,
    program: &Path,
) -> Result<ExitCode, BenchError> {
    let plan = read(file, &arguments.compare.only)?;
    let quick = arguments.compare.quick;
    let rounds = match (arguments.compare.rounds, quick) {
        (Some(rounds), _) => rounds,
        (None, true) => 1,
        (None, false) => plan.rounds,
    };
    if rounds == 0 {
        return Err(BenchError::Argument("--rounds: at least one".to_owned()));
    }
    if let Some(path) = arguments.report.as_deref().filter(|path| !has_folder(path)) {
        let message = format!("--report: there is no folder for {}", path.display());
        return Err(BenchError::Argument(message));
    }
    let current = env::current_dir()
        .map_err(|error| BenchError::System("the current folder cannot be found", error))?;
    let runs = run_rounds(&Rounds { plan: &plan, rounds, quick, program, current })?;
    let comparison = Comparison { plan, rounds, quick, runs };
    print(&comparison, arguments.json)?;
    if let Some(path) = &arguments.report {
        report::write_comparison(path, &comparison)?;
    }
    Ok(ExitCode::from(u8::from(comparison.has_failures())))
}

/// Whether the folder of a file is there: told before hours of measuring, not after.
fn has_folder(file: &Path) -> bool {
    file.parent().is_some_and(|folder| folder.as_os_str().is_empty() || folder.is_dir())
}

fn read(file: &Path, only: &[String]) -> Result<Plan, BenchError> {
    let failed = |error| BenchError::Argument(format!("cannot read {}: {error}", file.display()));
    let mut text = String::new();
    let opened = File::open(file).map_err(failed)?;
    opened.take(MAX_PLAN_BYTES).read_to_string(&mut text).map_err(failed)?;
    let mut plan = Plan::parse(&file.display().to_string(), &text).map_err(BenchError::Plan)?;
    if !only.is_empty() {
        plan.keep_only(only).map_err(BenchError::Argument)?;
    }
    Ok(plan)
}

fn run_rounds(rounds: &Rounds<'_>) -> Result<Vec<rounds::Run>, BenchError> {
    let mut folder = Folder::make_in(&rounds.current)
        .map_err(|error| BenchError::System("no working folder can be made", error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| BenchError::System("no runtime can be started", error))?;
    runtime.block_on(async {
        let interrupted =
            interrupted().map_err(|e| BenchError::System("signals cannot be waited for", e))?;
        // When it is dropped, so are the processes that it started, and that kills them.
        tokio::select! {
            runs = rounds.run(&mut folder) => Ok(runs),
            () = interrupted => Err(BenchError::Interrupted),
        }
    })
}

/// Done at the first SIGINT or SIGTERM.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn print(comparison: &Comparison, as_json: bool) -> Result<(), BenchError> {
    let text = match as_json {
        true => format!("{:#}\n", comparison.to_json()),
        false => comparison.to_markdown(),
    };
    let written = io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|error| BenchError::Write(PathBuf::from("the tables"), error))
}
