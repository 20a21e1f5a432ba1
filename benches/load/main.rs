//! How fast statesync is, measured against the least that a server can do on this machine.
//!
//! `cargo bench --bench load` runs these loads in turn, several times over, and prints medians:
//!
//! * `one`: many clients, one of which sends its next action when it sees its last one's value;
//! * `sixteen`: the same with several senders;
//! * `alone`: one client, the sender: how soon an action comes back;
//! * `journal`: the same as `sixteen` with more senders, and the journal in memory and on disk;
//! * `numbered`: the same on disk, with actions that count exactly once and without;
//! * `idle`: connections on which nothing is said, and what they cost;
//! * `join`: many clients who join at once.
//!
//! The ceiling is a bare epoll loop on one thread. Beside `one` it writes every event by itself,
//! beside `sixteen` it writes at once what came in while it was writing. Both servers run as child
//! processes; the load is this process, on one thread. While it measures it checks that every
//! client sees the values rising, and that all agree in the end; it exits with 1 if not. There is
//! no limit to how slow a server may be.
//!
//! `cargo bench --bench load -- --help` tells the options.
#![forbid(unsafe_code)]

mod address;
mod ceiling;
mod child;
mod client;
mod crowd;
mod event;
mod frame;
mod loads;
mod options;
mod report;
mod setting;
mod table;
mod traffic;
mod usage;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::child::Child;
use crate::client::Speech;
use crate::loads::Target;
use crate::options::{Load, Options};
use crate::report::{Report, Run, RunResult, Server};
use crate::setting::Setting;

/// Open files beside the connections.
const OTHER_FILES: u64 = 64;

fn main() -> ExitCode {
    let options = Options::from_command_line();
    let done = match options.ceiling {
        Some(kind) => ceiling::serve(kind),
        None => measure(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    allow_open_files(options.most_connections())?;
    let mut report = Report { setting: Setting::here(), runs: Vec::new() };
    println!("{}", report.setting.to_markdown());
    let others = options.url.as_ref().map(loads::count_others).transpose()?;
    for round in 1..=options.rounds {
        for (load, size) in options.steps() {
            for server in servers(options, load) {
                eprintln!("round {round} of {}: {load} ({size}), {server}", options.rounds);
                let result = run(options, server, load, size, others);
                let result = result.with_context(|| format!("{load} ({size}) on {server}"))?;
                report.runs.push(Run { round, server, load, result });
            }
        }
    }
    println!("{}", table::to_markdown(&report));
    if let Some(file) = &options.json {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// What is measured under a load; where it is two, the second is compared with the first.
fn servers(options: &Options, load: Load) -> Vec<Server> {
    match load {
        Load::Numbered => vec![Server::V1, Server::Numbered],
        // A server that runs already has the journal that it has.
        _ if options.url.is_some() => vec![Server::Disk],
        Load::One | Load::Sixteen => vec![Server::Ceiling, Server::Memory],
        Load::Alone | Load::Journal => vec![Server::Memory, Server::Disk],
        Load::Idle | Load::Join => vec![Server::Disk],
    }
}

/// Starts a server, so that no load sees what another one left, and loads it.
fn run(
    options: &Options,
    server: Server,
    load: Load,
    size: usize,
    others: Option<u64>,
) -> Result<RunResult> {
    let speech = match server {
        Server::V1 => Speech::V1,
        Server::Numbered => Speech::Numbered,
        _ => Speech::Classic,
    };
    if let Some(address) = &options.url {
        let (address, others) = (address.clone(), others.unwrap_or(0));
        let target = Target { address, pid: None, others, speech };
        return load_target(options, &target, load, size);
    }
    let child = Child::start(command(options, server, load)?)?;
    let address = child.address().clone();
    let target = Target { address, pid: Some(child.pid()), others: 0, speech };
    let result = load_target(options, &target, load, size).map_err(|error| child.explain(error))?;
    if server != Server::Ceiling {
        child.stop()?;
    }
    Ok(result)
}

fn command(options: &Options, server: Server, load: Load) -> Result<Command> {
    if server == Server::Ceiling {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--ceiling", if load == Load::One { "plain" } else { "merged" }]);
        return Ok(command);
    }
    let binary = options
        .bin
        .canonicalize()
        .with_context(|| format!("no server at {}", options.bin.display()))?;
    let mut command = Command::new(binary);
    command.env("STATESYNC__SERVER__BIND", "127.0.0.1:0").env("STATESYNC__SERVER__WORKERS", "1");
    let journal = if server == Server::Memory { "memory" } else { "disk" };
    command.env("STATESYNC__JOURNAL__KIND", journal);
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    Ok(command)
}

fn load_target(options: &Options, target: &Target, load: Load, size: usize) -> Result<RunResult> {
    let Options { clients, warm_up, seconds, idle_seconds, .. } = *options;
    Ok(match load {
        Load::One | Load::Sixteen | Load::Journal | Load::Numbered => {
            RunResult::Traffic(loads::traffic(target, clients, size, warm_up, seconds)?)
        }
        Load::Alone => RunResult::Traffic(loads::traffic(target, 1, size, warm_up, seconds)?),
        Load::Idle => RunResult::Idle(loads::idle(target, size, idle_seconds)?),
        Load::Join => RunResult::Join(loads::join(target, size)?),
    })
}

/// Raises this process's limit of open files, which the servers inherit, as far as it is allowed
/// to.
fn allow_open_files(connections: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    ensure!(
        connections as u64 + OTHER_FILES <= allowed,
        "{connections} connections need more than the {allowed} open files allowed here (ulimit -Hn)"
    );
    Ok(())
}
