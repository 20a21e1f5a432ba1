//! The real binary as a child process.

use super::DEADLINE;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::Instant,
};

/// The `statesync` binary with these arguments. Nothing of the test's own environment reaches it
/// that would change what it does, it listens on a port of the system's choice, and it keeps its
/// journal in memory.
pub fn statesync(arguments: &[&str]) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_statesync").as_ref());
    command.args(arguments).env("STATESYNC__JOURNAL__KIND", "memory");
    command
}

/// A program that reads the same environment, on a port of the system's choice.
pub fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STATESYNC_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command.env("STATESYNC__SERVER__BIND", "127.0.0.1:0");
    command
}

/// A running child. Killed when dropped.
pub struct Process {
    child: Child,
    pub stdout: Output,
    pub stderr: Output,
    /// Held until the process is gone: it may read the file at any time.
    _config: Option<tempfile::NamedTempFile>,
}

impl Process {
    /// Starts `command` and collects what it prints.
    pub fn spawn(command: Command) -> Self {
        Self::spawn_reading(command, Stdio::null())
    }

    /// The same, with an input to write to.
    pub fn spawn_with_input(command: Command) -> (Self, ChildStdin) {
        let mut process = Self::spawn_reading(command, Stdio::piped());
        let input = process.child.stdin.take().expect("a pipe");
        (process, input)
    }

    /// The same with this standard input.
    pub fn spawn_reading(mut command: Command, stdin: impl Into<Stdio>) -> Self {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = Output::collect(child.stdout.take().expect("a pipe"));
        let stderr = Output::collect(child.stderr.take().expect("a pipe"));
        Self { child, stdout, stderr, _config: None }
    }

    /// Serves this configuration and waits until it is ready.
    pub fn serve(toml: &str) -> (Self, SocketAddr) {
        Self::serve_with(toml, &[])
    }

    /// The same with environment variables.
    pub fn serve_with(toml: &str, environment: &[(&str, &str)]) -> (Self, SocketAddr) {
        let mut config = tempfile::NamedTempFile::new().expect("a temporary file");
        config.write_all(toml.as_bytes()).expect("room on the disk");
        let path = config.path().to_str().expect("a plain path");
        let mut command = statesync(&["serve", "--config", path]);
        if toml.contains("[journal]") {
            command.env_remove("STATESYNC__JOURNAL__KIND");
        }
        command.envs(environment.iter().copied());
        let mut process = Self::spawn(command);
        process._config = Some(config);
        let address = process.address();
        (process, address)
    }

    /// Waits for the ready line and reads the address from it.
    pub fn address(&self) -> SocketAddr {
        let line = self.stdout.wait_for("statesync is ready: ").unwrap_or_else(|| {
            panic!("the server did not get ready; it said:\n{}", self.stderr.text())
        });
        let authority = line.split("://").nth(1).and_then(|rest| rest.split('/').next());
        let address = authority.and_then(|authority| authority.parse().ok());
        address.unwrap_or_else(|| panic!("no address in the ready line {line:?}"))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.expect("the command kill").success(), "SIG{name} could not be sent");
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        // A process without its outputs has ended, or is about to: both pipes close with it.
        if !(self.stdout.wait_for_end() && self.stderr.wait_for_end()) {
            panic!("the process did not end in {DEADLINE:?}; its log:\n{}", self.stderr.text());
        }
        self.child.wait().expect("a child of ours")
    }

    /// Waits for the end of the process and returns its exit code.
    pub fn exit_code(&mut self) -> i32 {
        let status = self.wait();
        status.code().unwrap_or_else(|| panic!("the process was ended by a signal: {status}"))
    }

    /// The memory that the process has in RAM.
    #[cfg(target_os = "linux")]
    pub fn resident_bytes(&self) -> usize {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that the process ever had in RAM.
    #[cfg(target_os = "linux")]
    pub fn peak_resident_bytes(&self) -> usize {
        self.status_bytes("VmHWM:")
    }

    #[cfg(target_os = "linux")]
    fn status_bytes(&self, name: &str) -> usize {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("it in kB");
        kibibytes.trim().parse::<usize>().expect("a number") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that a process has printed so far.
#[derive(Clone)]
pub struct Output(Arc<(Mutex<Printed>, Condvar)>);

#[derive(Default)]
struct Printed {
    lines: Vec<String>,
    has_ended: bool,
}

impl Output {
    fn collect(pipe: impl Read + Send + 'static) -> Self {
        let output = Self(Arc::default());
        let collected = output.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                collected.change(|printed| printed.lines.push(line));
            }
            collected.change(|printed| printed.has_ended = true);
        });
        output
    }

    fn change(&self, change: impl FnOnce(&mut Printed)) {
        change(&mut self.0.0.lock().expect("no panic"));
        self.0.1.notify_all();
    }

    fn wait_until<T>(&self, mut found: impl FnMut(&Printed) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + DEADLINE;
        let mut printed = self.0.0.lock().expect("no panic");
        loop {
            if let Some(found) = found(&printed) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if printed.has_ended || left.is_zero() {
                return None;
            }
            printed = self.0.1.wait_timeout(printed, left).expect("no panic").0;
        }
    }

    /// The first line that contains `part`, as soon as there is one; `None` if none comes.
    pub fn wait_for(&self, part: &str) -> Option<String> {
        self.wait_until(|printed| printed.lines.iter().find(|line| line.contains(part)).cloned())
    }

    /// Whether the process closes this output in time.
    pub fn wait_for_end(&self) -> bool {
        self.wait_until(|printed| printed.has_ended.then_some(()));
        self.0.0.lock().expect("no panic").has_ended
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.0.lock().expect("no panic").lines.clone()
    }

    pub fn text(&self) -> String {
        self.lines().join("\n")
    }
}
