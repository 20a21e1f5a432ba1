//! A server as a child process.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{self, ChildStdout, Command},
    time::timeout,
};

/// For a runtime that first compiles what it runs. One that is stuck is told after it.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// After it, a server is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// What a server may print before its URL; whatever prints more is not ours.
const MOST_BYTES_BEFORE_URL: u64 = 64 * 1024;

/// Lines of the log that are shown when something goes wrong.
const LOG_LINES_SHOWN: usize = 20;

/// The longest end of a log that is read for them.
const LOG_BYTES_SHOWN: u64 = 16 * 1024;

/// A server that listens. It is killed when it is dropped before it was stopped.
pub struct Server {
    process: process::Child,
    id: u32,
    url: String,
    folder: PathBuf,
}

/// Why a server is not there.
pub enum StartError {
    /// There is no such program.
    NoProgram(io::Error),
    /// It, or something around it, went wrong; with what it logged.
    Failed(String),
}

impl Server {
    /// Starts a server in this folder, and waits until it has printed its URL.
    pub async fn start(mut command: Command, folder: PathBuf) -> Result<Self, StartError> {
        let failed = |error: io::Error| StartError::Failed(error.to_string());
        let log = File::create(folder.join("log")).map_err(failed)?;
        command.current_dir(&folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StartError::NoProgram(error),
            _ => failed(error),
        })?;
        let explain = |what: String| StartError::Failed(format!("{what}; {}", log_end(&folder)));
        let (Some(stdout), Some(id)) = (process.stdout.take(), process.id()) else {
            return Err(explain("it ended at once".to_owned()));
        };
        match timeout(START_DEADLINE, url_line(stdout)).await {
            Ok(Ok(url)) => Ok(Self { process, id, url, folder }),
            Ok(Err(what)) => Err(explain(what)),
            Err(_) => Err(explain(format!("it printed no URL in {START_DEADLINE:?}"))),
        }
    }

    /// Where clients connect to, with this path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The end of what it logged, for messages.
    pub fn log_end(&self) -> String {
        log_end(&self.folder)
    }

    /// Asks it to end, waits, and kills it if need be, which is told.
    pub async fn stop(mut self) -> Result<(), String> {
        if let Some(id) = process_id(self.id) {
            // An error means that it has gone already.
            let _ = kill_process(id, Signal::TERM);
        }
        match timeout(STOP_DEADLINE, self.process.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let _ = self.process.kill().await;
                Err(format!("the server was still there {STOP_DEADLINE:?} after SIGTERM: killed"))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Waited for, so that nothing of it is there when this program ends, and its files are closed.
        // Errors mean that it has gone already.
        if let Some(id) = self.process.id().and_then(process_id) {
            let _ = self.process.start_kill();
            let _ = waitpid(Some(id), WaitOptions::empty());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn process_id(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

/// Reads the first line that has a URL, as a WebSocket's; what comes after is thrown away.
async fn url_line(stdout: ChildStdout) -> Result<String, String> {
    let mut lines = BufReader::new(stdout).take(MOST_BYTES_BEFORE_URL).lines();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) => {
                if let Some(url) = url_in(&line) {
                    let mut rest = lines.into_inner().into_inner();
                    tokio::spawn(async move {
                        tokio::io::copy_buf(&mut rest, &mut tokio::io::sink()).await
                    });
                    return Ok(url);
                }
            }
            Ok(None) => return Err("it ended, or printed much, without a URL".to_owned()),
            Err(error) => return Err(format!("what it prints cannot be read: {error}")),
        }
    }
}

fn url_in(line: &str) -> Option<String> {
    const SCHEMES: [(&str, &str); 4] =
        [("http://", "ws://"), ("https://", "wss://"), ("ws://", "ws://"), ("wss://", "wss://")];
    line.split_whitespace().find_map(|word| {
        let with = |(from, to): (&str, &str)| Some(format!("{to}{}", word.strip_prefix(from)?));
        SCHEMES.into_iter().find_map(with)
    })
}

fn log_end(folder: &Path) -> String {
    let log = end_of(&folder.join("log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    match &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..] {
        [] => "the server logged nothing".to_owned(),
        end => format!("the server logged:\n{}", end.join("\n")),
    }
}

fn end_of(file: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_SHOWN)))?;
    let mut end = Vec::new();
    file.take(LOG_BYTES_SHOWN).read_to_end(&mut end)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_found_in_what_servers_print() {
        let cases = [
            ("statesync is ready: http://127.0.0.1:1/", Some("ws://127.0.0.1:1/")),
            ("ws://127.0.0.1:2", Some("ws://127.0.0.1:2")),
            ("https://localhost:3/ is up", Some("wss://localhost:3/")),
            ("listening on 127.0.0.1:4", None),
        ];
        for (line, url) in cases {
            assert_eq!(url_in(line).as_deref(), url, "{line}");
        }
    }
}
