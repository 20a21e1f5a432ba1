//! The real server, which is killed and started again on the same journal.

use super::support::process::{Process, statesync};
use std::{net::SocketAddr, time::Duration};
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
level = "warn"
"#;

pub struct Victim {
    directory: TempDir,
    process: Option<Process>,
}

impl Victim {
    /// Not started yet.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let journal = directory.path().join("journal");
        let config = CONFIG.replace("{path}", journal.to_str().expect("a plain path"));
        std::fs::write(directory.path().join("config.toml"), config).expect("room on the disk");
        Self { directory, process: None }
    }

    fn spawn(&self) -> Process {
        let config = self.directory.path().join("config.toml");
        Process::spawn(statesync(&["serve", "--config", config.to_str().expect("a plain path")]))
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
        end(process);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        end(self.process.take().expect("a server that runs"));
    }

    /// SIGTERM, and waits until it is gone.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("a server that runs");
        process.signal("TERM");
        process.wait();
        end(process);
    }

    /// What the running server has logged.
    pub fn log(&self) -> String {
        self.process.as_ref().map(|process| process.stderr.text()).unwrap_or_default()
    }
}

fn end(process: Process) {
    let log = process.stderr.clone();
    // Killed when dropped.
    drop(process);
    let log = log.text();
    assert!(!log.contains("panicked"), "the server panicked:\n{log}");
}
