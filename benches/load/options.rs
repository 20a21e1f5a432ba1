//! What can be asked for on the command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::address::Address;
use crate::ceiling;

/// Loads statesync, and a bare epoll loop for comparison, with WebSocket clients on this machine.
///
/// All loads check that every client sees the values rising and that all agree in the end.
#[derive(Debug, Parser)]
#[command(name = "load", bin_name = "cargo bench --bench load --")]
pub struct Options {
    /// Connected clients under all loads in which somebody sends, but `alone`
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1000,
        default_value_if("quick", "true", "50")
    )]
    pub clients: usize,
    /// Clients that send, under the load `sixteen`
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    pub senders: usize,
    /// Clients that send, under the loads `journal` and `numbered`
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 64,
        default_value_if("quick", "true", "16")
    )]
    pub many_senders: usize,
    /// How long each load in which somebody sends is measured
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = seconds,
        default_value = "3",
        default_value_if("quick", "true", "0.2")
    )]
    pub seconds: Duration,
    /// How long it goes on before it is measured
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = seconds,
        default_value = "1",
        default_value_if("quick", "true", "0.1")
    )]
    pub warm_up: Duration,
    /// Numbers of idle connections, with commas between
    #[arg(
        long,
        value_name = "COUNTS",
        value_delimiter = ',',
        default_values_t = [1_000, 10_000],
        default_value_if("quick", "true", "50")
    )]
    pub idle_clients: Vec<usize>,
    /// How long idle connections are watched
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = seconds,
        default_value = "10",
        default_value_if("quick", "true", "0.2")
    )]
    pub idle_seconds: Duration,
    /// Clients that join at once
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 5_000,
        default_value_if("quick", "true", "50")
    )]
    pub join_clients: usize,
    /// How often everything is measured; medians are printed
    #[arg(long, value_name = "COUNT", default_value_t = 5, default_value_if("quick", "true", "1"))]
    pub rounds: usize,
    /// The loads to run, with commas between
    #[arg(
        long,
        value_name = "LOADS",
        value_delimiter = ',',
        value_enum,
        default_values_t = Load::ALL
    )]
    pub only: Vec<Load>,
    /// The statesync binary
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_statesync"))]
    pub bin: PathBuf,
    /// A further variable for the server's environment, such as STATESYNC__SERVER__WORKERS=2
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// Load a server that is running already, and nothing else. Its processor time and memory are
    /// not measured, and there is no load `idle`
    #[arg(long, conflicts_with_all = ["bin", "env"])]
    pub url: Option<Address>,
    /// Write every single result to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Small numbers, which tell nothing about speed, only that everything works
    #[arg(long)]
    pub quick: bool,
    /// Be the ceiling
    #[arg(long, value_enum, hide = true)]
    pub ceiling: Option<ceiling::Kind>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// One client that sends its next action when it sees the last one's value.
    One,
    /// Several clients that do so.
    Sixteen,
    /// One client alone, which does so: how soon an action comes back.
    Alone,
    /// Many clients that do so, with the journal in memory and on disk.
    Journal,
    /// The same with actions that count exactly once, and without.
    Numbered,
    /// Connections on which nothing is said.
    Idle,
    /// Many clients who join at once.
    Join,
}

impl Load {
    /// All there are.
    pub const ALL: [Load; 7] = [
        Load::One,
        Load::Sixteen,
        Load::Alone,
        Load::Journal,
        Load::Numbered,
        Load::Idle,
        Load::Join,
    ];
}

impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| formatter.pad(value.get_name()))
    }
}

impl Options {
    /// Reads the command line. Without the argument that `cargo bench` adds, this is `cargo test`,
    /// which wants to know whether everything works, and soon.
    pub fn from_command_line() -> Options {
        let mut arguments: Vec<_> = std::env::args_os().collect();
        let decided = ["--bench", "--ceiling", "--quick"];
        if !arguments.iter().any(|argument| decided.iter().any(|decided| argument == decided)) {
            arguments.push("--quick".into());
        }
        Options::parse_from(arguments)
    }

    /// The loads of a round, each with its size: senders, connections, or clients that join.
    pub fn steps(&self) -> Vec<(Load, usize)> {
        let sizes = |load: &Load| match load {
            Load::One | Load::Alone => vec![1],
            Load::Sixteen => vec![self.senders],
            Load::Journal | Load::Numbered => vec![self.many_senders],
            // It is all about what the server's process uses, which is known of our own only.
            Load::Idle if self.url.is_some() => Vec::new(),
            Load::Idle => self.idle_clients.clone(),
            Load::Join => vec![self.join_clients],
        };
        self.only
            .iter()
            .flat_map(|load| sizes(load).into_iter().map(|size| (*load, size)))
            .collect()
    }

    /// The most connections that any of the loads makes.
    pub fn most_connections(&self) -> usize {
        let connections = |(load, size): &(Load, usize)| match load {
            Load::One | Load::Sixteen | Load::Journal | Load::Numbered => self.clients,
            Load::Alone | Load::Idle | Load::Join => *size,
        };
        self.steps().iter().map(connections).max().unwrap_or(0)
    }
}

fn variable(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("NAME=VALUE is expected")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}
