//! `statesync bench --compare`, as its users see it.

mod support;

use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};
use support::process::{Process, statesync};
use tempfile::TempDir;

const PLAN: &str = r#"
rounds = 5

[[server]]
name = "statesync"
command = ["{statesync}", "serve", "--config", "statesync.toml"]

[[server]]
name = "another"
command = ["{statesync}", "serve", "--config=statesync.toml"]
environment = { STATESYNC__SERVER__WORKERS = "1" }

[[server]]
name = "absent"
command = ["./absent"]

[[load]]
name = "one"
about = "many clients, one sender"
options = ["--clients", "1000", "--seconds", "60"]

[[load.case]]
server = "statesync"

[[load.case]]
server = "another"
name = "v1"
options = ["--protocol", "v1"]

[[load.case]]
server = "absent"

[[load.goal]]
about = "order"
metric = "/traffic/in_order"
case = "v1"
at_least = 1

[[load.goal]]
about = "events"
metric = "/traffic/events_per_s"
case = "statesync"
over = "absent"
at_least = 0.9

[[load]]
name = "idle"
options = ["--idle", "--clients", "20"]

[[load.case]]
server = "statesync"
"#;

/// A folder with a plan, and a configuration that it names.
fn folder(plan: &str) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("plan.toml"), plan).expect("room on the disk");
    fs::write(folder.path().join("statesync.toml"), "[journal]\nkind = \"memory\"\n")
        .expect("room on the disk");
    folder
}

fn compare(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = statesync(&["bench", "--compare", "plan.toml"]);
    command.args(arguments).current_dir(folder);
    command
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn servers_are_compared_in_tables_and_on_a_page() {
    let folder = folder(PLAN);
    let before = files(folder.path());
    let arguments = ["--quick", "--report", "report.html"];
    let mut process = Process::spawn(compare(folder.path(), &arguments));
    assert_eq!(process.exit_code(), 0, "standard error:\n{}", process.stderr.text());

    let tables = process.stdout.text();
    for part in [
        "One round. Quick: these numbers tell nothing about speed.",
        "## one: many clients, one sender",
        "| statesync | 1 of 1 |",
        "| v1 | 1 of 1 |",
        "| absent | not installed |",
        "## idle",
        "| one | order | v1 ≥ 1 | 1 | 1 to 1 | yes |",
        "| absent is not installed |",
    ] {
        assert!(tables.contains(part), "{part:?} is missing:\n{tables}");
    }
    let progress = process.stderr.text();
    for part in ["round 1 of 1: one: statesync ... ", " M events/s", "absent ... not installed"] {
        assert!(progress.contains(part), "{part:?} is missing:\n{progress}");
    }
    let page = fs::read_to_string(folder.path().join("report.html")).expect("the page");
    assert_eq!(page.matches("<svg").count(), 2, "events and latency of the load with traffic");
    fs::remove_file(folder.path().join("report.html")).expect("ours");
    assert_eq!(files(folder.path()), before, "nothing else is left behind");
}

#[test]
fn all_outcomes_can_be_had_as_json() {
    let folder = folder(PLAN);
    let arguments = ["--quick", "--json", "--only", "idle", "--rounds", "2"];
    let mut process = Process::spawn(compare(folder.path(), &arguments));
    assert_eq!(process.exit_code(), 0, "standard error:\n{}", process.stderr.text());
    let json: Value = serde_json::from_str(&process.stdout.text()).expect("JSON");
    let runs = json["runs"].as_array().expect("a list");
    assert_eq!(runs.len(), 2, "one case in two rounds: {json:#}");
    for (run, round) in runs.iter().zip(1..) {
        assert_eq!((&run["round"], &run["load"]), (&round.into(), &"idle".into()));
        assert_eq!(run["outcome"]["setting"]["clients"], 20);
        assert!(run["outcome"]["server"]["memory_idle_bytes"].as_u64() > Some(1_000_000));
    }
}

#[test]
fn what_is_wrong_with_a_plan_is_told_before_anything_runs() {
    let folder = folder(&PLAN.replace("over = \"absent\"", "over = \"abcent\"\ncolour = 1"));
    let mut process = Process::spawn(compare(folder.path(), &["--quick"]));
    assert_eq!(process.exit_code(), 2);
    assert_eq!(process.stdout.text(), "");
    let told = process.stderr.lines();
    assert_eq!(told.len(), 2, "a line for each mistake: {told:?}");
    assert!(told[0].contains("there is no \"abcent\" (did you mean \"absent\"?)"), "{told:?}");
    assert!(told[1].contains("load.goal.colour: unknown key"), "{told:?}");
}

#[test]
fn arguments_that_do_not_fit_the_plan_or_the_disk_are_told_before_anything_runs() {
    let folder = folder(PLAN);
    let cases = [
        (["--only", "idel"], "did you mean \"idle\"?"),
        (["--rounds", "0"], "--rounds: at least one"),
        (["--report", "none/report.html"], "--report: there is no folder for none/report.html"),
    ];
    for (arguments, told) in cases {
        let mut process = Process::spawn(compare(folder.path(), &arguments));
        assert_eq!(process.exit_code(), 2, "{arguments:?}");
        let stderr = process.stderr.text();
        assert!(stderr.contains(told) && stderr.lines().count() == 1, "{arguments:?}:\n{stderr}");
    }
}

#[test]
fn a_case_that_cannot_be_measured_fails_the_comparison_but_not_the_rest() {
    // Nobody echoes there.
    let text = "options = [\"--protocol\", \"v1\"]";
    let folder = folder(&PLAN.replace(text, "path = \"/nowhere\""));
    let mut process = Process::spawn(compare(folder.path(), &["--quick", "--only", "one"]));
    assert_eq!(process.exit_code(), 1);
    let tables = process.stdout.text();
    for part in ["| statesync | 1 of 1 |", "| v1 | 0 of 1 |", "| not measured |"] {
        assert!(tables.contains(part), "{part:?} is missing:\n{tables}");
    }
    let told = process.stderr.text();
    assert!(told.contains("the server opened no WebSocket"), "its own message is shown:\n{told}");
}

#[test]
fn an_interrupted_comparison_leaves_no_server_and_no_folder_behind() {
    // The server says where we listen, who let nobody in, so that its clients wait.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let script = format!("echo $$ > ../../pid; echo http://{address}/; exec sleep 600");
    let folder = folder(&PLAN.replace(
        "[\"{statesync}\", \"serve\", \"--config\", \"statesync.toml\"]",
        &format!("[\"sh\", \"-c\", \"{script}\"]"),
    ));
    let before = files(folder.path());

    let mut process = Process::spawn(compare(folder.path(), &["--quick"]));
    // Its client is there, so its server is, too.
    let _client = listener.accept().expect("a client");
    process.signal("INT");
    assert_eq!(process.exit_code(), 130, "standard error:\n{}", process.stderr.text());
    let pid = fs::read_to_string(folder.path().join("pid")).expect("the server's process");
    let alive = Command::new("kill").args(["-0", pid.trim()]).output().expect("the command kill");
    assert!(!alive.status.success(), "the server {pid} is still there");
    fs::remove_file(folder.path().join("pid")).expect("ours");
    assert_eq!(files(folder.path()), before, "no folder is left behind");
}
