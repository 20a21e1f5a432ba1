//! The real server, which is killed and started again on the same journal.

use super::{
    history::now,
    support::process::{Process, statesync},
};
use std::{collections::VecDeque, net::SocketAddr, time::Duration};
use tempfile::TempDir;

/// Short heartbeats, so that half-open connections are found while the test still runs; small
/// answers to a stop; everything that is acknowledged is on the disk.
const CONFIG: &str = r#"
[server]
shutdown_timeout = "1s"
close_timeout = "200ms"

[heartbeat]
interval = "300ms"
timeout = "600ms"

[journal]
kind = "disk"
path = "{path}"
sync = "always"

[log]
level = "info"
"#;

/// How many lives' logs a report shows.
const LIVES: usize = 8;

pub struct Victim {
    directory: TempDir,
    process: Option<Process>,
    /// What was logged in the last lives, and how each ended.
    lives: VecDeque<String>,
}

impl Victim {
    /// Not started yet.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let journal = directory.path().join("journal");
        let config = CONFIG.replace("{path}", journal.to_str().expect("a plain path"));
        std::fs::write(directory.path().join("config.toml"), config).expect("room on the disk");
        Self { directory, process: None, lives: VecDeque::new() }
    }

    fn spawn(&self) -> Process {
        let config = self.directory.path().join("config.toml");
        let mut command = statesync(&["serve", "--config", config.to_str().expect("a plain path")]);
        // Other tests keep their journals in memory.
        command.env_remove("STATESYNC__JOURNAL__KIND");
        Process::spawn(command)
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) -> SocketAddr {
        let process = self.spawn();
        let address = process.address();
        self.process = Some(process);
        address
    }

    /// Starts it and kills it so soon that it may not be ready, or just is.
    pub fn start_and_kill(&mut self, after: Duration) {
        let process = self.spawn();
        std::thread::sleep(after);
        self.end(process, "SIGKILL during the start");
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        let process = self.process.take().expect("a server that runs");
        self.end(process, "SIGKILL");
    }

    /// SIGTERM, and waits until it is gone.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("a server that runs");
        process.signal("TERM");
        process.wait();
        self.end(process, "SIGTERM");
    }

    fn end(&mut self, process: Process, how: &str) {
        let log = process.stderr.clone();
        // Killed when dropped.
        drop(process);
        let log = log.text();
        assert!(!log.contains("panicked"), "the server panicked:\n{log}");
        self.lives.push_back(format!("{log}\n{how} at @{}\n", now()));
        if self.lives.len() > LIVES {
            self.lives.pop_front();
        }
    }

    /// What the last servers have logged.
    pub fn log(&self) -> String {
        let running = self.process.as_ref().map(|process| process.stderr.text());
        self.lives.iter().cloned().chain(running).collect::<Vec<_>>().join("\n")
    }
}
