//! Rounds: each case of each load, one after the other, on a server of its own.

use super::{
    child::{Server, StartError},
    command,
    folder::Folder,
    plan::{Case, Load, Plan, options},
};
use crate::cli::bench::outcome::Outcome;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

/// What a measurement may take beyond its own time: connecting very many clients, and waiting until
/// they agree. After it, it is stuck.
const RUN_MARGIN: Duration = Duration::from_secs(600);

/// Compiling everything takes minutes; more than this is stuck.
const INSTALL_DEADLINE: Duration = Duration::from_secs(3600);

/// The most that is taken of what a measurement prints. A day's outcome is some 10 MB.
const MOST_OUTPUT_BYTES: u64 = 64 * 1024 * 1024;

/// One case in one round.
pub struct Run {
    /// From 1.
    pub round: usize,
    /// The load's place in the plan.
    pub load: usize,
    /// The case's place in the load.
    pub case: usize,
    pub result: Result<Outcome, Missing>,
}

/// Why there is no outcome.
#[derive(Debug, Clone, PartialEq)]
pub enum Missing {
    /// The server's program is not there, or a command that installs it failed.
    NotInstalled,
    /// The server ended, or said nothing, before it listened.
    DidNotStart,
    /// The server broke a promise, or could not be measured: what was said about it.
    Failed(String),
}

impl Missing {
    /// In a few words, for tables.
    pub fn as_str(&self) -> &str {
        match self {
            Self::NotInstalled => "not installed",
            Self::DidNotStart => "did not start",
            Self::Failed(_) => "failed",
        }
    }
}

/// What is needed to run a plan.
pub struct Rounds<'a> {
    pub plan: &'a Plan,
    /// How often; wins over the plan's.
    pub rounds: usize,
    /// Small numbers only.
    pub quick: bool,
    /// This program, which measures.
    pub program: &'a Path,
    /// Paths in the plan's commands are relative to it.
    pub current: PathBuf,
}

impl Rounds<'_> {
    /// Installs what must be, and measures everything.
    pub async fn run(&self, folder: &mut Folder) -> Vec<Run> {
        let mut absent = self.install().await;
        let mut not_started = BTreeSet::new();
        let mut runs = Vec::new();
        for round in 1..=self.rounds {
            for (load_place, load) in self.plan.loads.iter().enumerate() {
                // Another one begins each time: what changes with time must not always hit the same.
                for turn in 0..load.cases.len() {
                    let case_place = (turn + round - 1) % load.cases.len();
                    let case = &load.cases[case_place];
                    let result = if absent.contains(&case.server) {
                        Err(Missing::NotInstalled)
                    } else if not_started.contains(&(load_place, case_place)) {
                        Err(Missing::DidNotStart)
                    } else {
                        self.measure(round, load, case, folder).await
                    };
                    // It would be the same in the next round.
                    if let Err(Missing::NotInstalled) = &result {
                        absent.insert(case.server);
                    } else if let Err(Missing::DidNotStart) = &result {
                        not_started.insert((load_place, case_place));
                    }
                    runs.push(Run { round, load: load_place, case: case_place, result });
                }
            }
        }
        runs
    }

    /// Runs the commands that install servers. Returns the places of those that are not there then.
    async fn install(&self) -> BTreeSet<usize> {
        let mut absent = BTreeSet::new();
        // Servers may share a command: it is run once, and its failure holds for all.
        let mut succeeded: BTreeMap<&[String], bool> = BTreeMap::new();
        for (place, server) in self.plan.servers.iter().enumerate() {
            let is_used = |load: &Load| load.cases.iter().any(|case| case.server == place);
            let commands = match self.plan.loads.iter().any(is_used) {
                true => server.install.as_slice(),
                false => &[],
            };
            for command in commands {
                let known = succeeded.get(command.as_slice()).copied();
                let is_good = match known {
                    Some(is_good) => is_good,
                    None => self.install_with(&server.name, command).await,
                };
                succeeded.insert(command, is_good);
                if !is_good {
                    eprintln!("{}: not installed", server.name);
                    absent.insert(place);
                    break;
                }
            }
        }
        absent
    }

    /// Runs a command, and tells if it fails. Returns whether it succeeded.
    async fn install_with(&self, name: &str, command: &[String]) -> bool {
        eprintln!("{name}: {}", command.join(" "));
        match self.run_to_end(command).await {
            Ok(()) => true,
            Err(what) => {
                eprintln!("{name}: {what}");
                false
            }
        }
    }

    async fn run_to_end(&self, command: &[String]) -> Result<(), String> {
        let mut command = self.command(command);
        let our_stderr = io::stderr().as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
        command.stdin(Stdio::null()).stdout(our_stderr).kill_on_drop(true);
        match timeout(INSTALL_DEADLINE, command.status()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(status.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("not done after {INSTALL_DEADLINE:?}")),
        }
    }

    fn command(&self, words: &[String]) -> Command {
        let mut words = command::words(words, self.program, &self.current).into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }

    async fn measure(
        &self,
        round: usize,
        load: &Load,
        case: &Case,
        folder: &mut Folder,
    ) -> Result<Outcome, Missing> {
        eprint!("round {round} of {}: {}: {} ... ", self.rounds, load.name, case.name);
        let _ = io::stderr().flush();
        let server = match self.start(case, folder).await {
            Ok(server) => server,
            Err((missing, what)) => {
                eprintln!("{}: {what}", missing.as_str());
                return Err(missing);
            }
        };
        let result = self.bench(load, case, &server).await;
        match &result {
            Ok(outcome) => eprintln!("{}", in_short(outcome)),
            Err(what) => eprintln!("failed: {what}\n{}", server.log_end()),
        }
        if let Err(what) = server.stop().await {
            eprintln!("{what}");
        }
        result.map_err(Missing::Failed)
    }

    async fn start(&self, case: &Case, folder: &mut Folder) -> Result<Server, (Missing, String)> {
        let server = &self.plan.servers[case.server];
        let mut command = self.command(&server.command);
        command.envs(&server.environment).envs(&case.environment);
        let fresh = folder.next().map_err(|e| (Missing::DidNotStart, e.to_string()))?;
        Server::start(command, fresh).await.map_err(|error| match error {
            StartError::NoProgram(error) => {
                (Missing::NotInstalled, format!("{}: {error}", server.command[0]))
            }
            StartError::Failed(what) => (Missing::DidNotStart, what),
        })
    }

    /// Measures in a process of its own, whose processor time and memory are its own.
    async fn bench(&self, load: &Load, case: &Case, server: &Server) -> Result<Outcome, String> {
        let mut options = [load.options.as_slice(), &case.options].concat();
        if self.quick {
            options.extend(options::quick(&options));
        }
        let mut command = Command::new(self.program);
        command.args(["bench", "--json", "--url", &server.url(&case.path)]);
        command.args(["--pid", &server.id().to_string()]).args(&options);
        let deadline = Duration::from_secs_f64(options::seconds(&options)) + RUN_MARGIN;
        let measured = timeout(deadline, measured(command)).await;
        measured.unwrap_or_else(|_| Err(format!("it was not done after {deadline:?}")))
    }
}

/// What a command measures; of one that fails, what it says about that.
async fn measured(mut command: Command) -> Result<Outcome, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot measure: {error}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr, status) = tokio::join!(all_of(stdout), all_of(stderr), child.wait());
    match status {
        Ok(status) if status.success() => serde_json::from_slice(&stdout)
            .map_err(|error| format!("what it measured cannot be read: {error}")),
        Ok(status) => {
            let outcome = serde_json::from_slice::<Outcome>(&stdout);
            let broken = outcome.map_or_else(|_| Vec::new(), |outcome| outcome.broken_promises());
            let stderr = String::from_utf8_lossy(&stderr);
            Err(format!("{status}: {}\n{}", broken.join(", "), stderr.trim_end()))
        }
        Err(error) => Err(error.to_string()),
    }
}

async fn all_of(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error is worth showing; the exit code tells the rest.
        let _ = pipe.take(MOST_OUTPUT_BYTES).read_to_end(&mut bytes).await;
    }
    bytes
}

fn in_short(outcome: &Outcome) -> String {
    match &outcome.traffic {
        Some(traffic) => format!("{:.3} M events/s", traffic.events_per_s / 1e6),
        None => format!("{} clients in {:.2} s", outcome.setting.clients, outcome.connect.seconds),
    }
}
