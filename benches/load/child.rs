//! A server as a child process, so that its time and memory can be told from the load's.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::address::Address;

const START_DEADLINE: Duration = Duration::from_secs(20);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const LOG_LINES_SHOWN: usize = 20;

/// A server process. It is killed when it is dropped before it was stopped.
pub struct Child {
    process: process::Child,
    address: Address,
    /// What it prints; cut off when it ends.
    lines: Receiver<String>,
    /// Its working directory, so that whatever it writes goes with it.
    directory: PathBuf,
}

impl Child {
    /// Starts a server and waits for its ready line, which has its URL.
    pub fn start(mut command: Command) -> Result<Child> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        // Under the target directory, not in the system's temporary one: that may be in memory, and
        // a journal in memory is no journal.
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("load-{}-{number}", process::id()));
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        command.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(directory.join("log"))?);
        let mut process =
            command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let stdout = process.stdout.take().context("a child without stdout")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let mut child = Child { process, address: "ws://127.0.0.1:0/".parse()?, lines, directory };
        child.address = child.wait_until_ready().map_err(|error| child.explain(error))?;
        Ok(child)
    }

    fn wait_until_ready(&self) -> Result<Address> {
        let line = match self.lines.recv_timeout(START_DEADLINE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                bail!("the server has printed nothing after {START_DEADLINE:?}")
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the server ended before it was ready"),
        };
        let url = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
        let url = url.with_context(|| format!("no URL in the server's ready line: {line}"))?;
        format!("ws://{url}").parse()
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Adds the end of what the server logged to an error.
    pub fn explain(&self, error: Error) -> Error {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        match shown {
            [] => anyhow!("{error:#}; the server logged nothing"),
            _ => anyhow!("{error:#}; the server logged:\n{}", shown.join("\n")),
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        self.end().map_err(|error| self.explain(error))
    }

    fn end(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        // The end of its standard output is the event to wait for.
        loop {
            match self.lines.recv_timeout(STOP_DEADLINE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the server is still there {STOP_DEADLINE:?} after SIGTERM")
                }
            }
        }
        let status = self.process.wait()?;
        ensure!(status.success(), "the server ended with {status} after SIGTERM");
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Errors here mean that it has gone already.
        self.process.kill().ok();
        self.process.wait().ok();
        fs::remove_dir_all(&self.directory).ok();
    }
}
