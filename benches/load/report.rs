//! Every single result, as `--json` writes them.

use std::fmt;

use serde::Serialize;

use crate::loads::{IdleResult, JoinResult, TrafficResult};
use crate::options::Load;
use crate::setting::Setting;

/// All results, with what is needed to read them.
#[derive(Serialize)]
pub struct Report {
    /// Where and how it was measured.
    pub setting: Setting,
    /// One entry for each load, server and round.
    pub runs: Vec<Run>,
}

/// One load on one server.
#[derive(Serialize)]
pub struct Run {
    /// Counted from 1.
    pub round: usize,
    /// What was loaded.
    pub server: Server,
    /// How it was loaded.
    pub load: Load,
    /// What that came to.
    pub result: RunResult,
}

/// What was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Server {
    /// The bare epoll loop.
    Ceiling,
    /// The server, with its journal in memory.
    Memory,
    /// The server, with its journal on disk, synced: the default.
    Disk,
    /// The same, with clients that speak `statesync.v1`.
    V1,
    /// The same, with clients that number their actions, so that each counts exactly once.
    Numbered,
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Server::Ceiling => "ceiling",
            Server::Memory => "memory",
            Server::Disk => "disk",
            Server::V1 => "unnumbered",
            Server::Numbered => "numbered",
        })
    }
}

/// What a load came to.
#[derive(Serialize)]
#[serde(untagged)]
pub enum RunResult {
    /// Under the loads in which somebody sends.
    Traffic(TrafficResult),
    /// Under the load `idle`.
    Idle(IdleResult),
    /// Under the load `join`.
    Join(JoinResult),
}

impl RunResult {
    /// The result, if somebody sends.
    pub fn as_traffic(&self) -> Option<&TrafficResult> {
        if let RunResult::Traffic(result) = self { Some(result) } else { None }
    }

    /// The result under `idle`.
    pub fn as_idle(&self) -> Option<&IdleResult> {
        if let RunResult::Idle(result) = self { Some(result) } else { None }
    }

    /// The result under `join`.
    pub fn as_join(&self) -> Option<&JoinResult> {
        if let RunResult::Join(result) = self { Some(result) } else { None }
    }
}
