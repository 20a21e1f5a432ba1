//! With shell scripts instead of servers and of what measures them.

use super::{
    comparison::Comparison,
    folder::Folder,
    plan::{Plan, metric},
    rounds::{Missing, Rounds},
    run_rounds,
};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use tempfile::TempDir;

/// A server that is ready, and ends when it is told to.
const SERVER: &str = "echo starting; echo ready: http://127.0.0.1:1/; exec sleep 600";

/// A folder with a program that measures the number of seconds which the server's path says, and
/// fails for /fail.
fn folder() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let outcome = serde_json::to_string(&metric::complete()).expect("JSON");
    let outcome = outcome.replacen("\"seconds\":0.0", "\"seconds\":SECONDS", 1);
    fs::write(folder.path().join("outcome"), outcome).expect("room on the disk");
    let script = "#!/bin/sh\n\
                  url=$4\n\
                  case $url in */fail) echo it broke a promise >&2; exit 1;; esac\n\
                  kill -0 \"$6\" || exit 1\n\
                  sed \"s/SECONDS/${url##*/}/\" \"$(dirname \"$0\")/outcome\"\n";
    let program = folder.path().join("measure");
    fs::write(&program, script).expect("room on the disk");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    folder
}

fn compare(folder: &Path, plan: &str) -> Comparison {
    let plan = Plan::parse("plan.toml", plan).unwrap_or_else(|errors| panic!("{errors}"));
    let program = folder.join("measure");
    let current = folder.to_owned();
    let rounds = plan.rounds;
    let runs =
        run_rounds(&Rounds { plan: &plan, rounds, quick: false, program: &program, current });
    let runs = runs.expect("nothing interrupts it");
    Comparison { plan, rounds, quick: false, runs }
}

fn plan(server: &str, load: &str) -> String {
    format!(
        "rounds = 2\n[[server]]\nname = \"good\"\ncommand = [\"sh\", \"-c\", \"{SERVER}\"]\n\
         {server}\n[[load]]\nname = \"all\"\n[[load.case]]\nname = \"four\"\nserver = \"good\"\n\
         path = \"/4\"\n{load}"
    )
}

#[test]
fn cases_are_measured_in_every_round_and_goals_are_held_against_the_medians() {
    let folder = folder();
    let two = "[[load.case]]\nname = \"two\"\nserver = \"good\"\npath = \"/2\"\n\
               [[load.goal]]\nabout = \"time\"\nmetric = \"/connect/seconds\"\ncase = \"four\"\n\
               over = \"two\"\nat_least = 2\nat_most = 2\n\
               [[load.goal]]\nabout = \"less\"\nmetric = \"/connect/seconds\"\ncase = \"four\"\n\
               at_most = 3.5\n";
    let comparison = compare(folder.path(), &plan("", two));
    assert_eq!(comparison.runs.len(), 4);
    assert!(!comparison.has_failures());
    let text = comparison.to_markdown();
    for row in [
        "| four | 2 of 2 |",
        "| all | time | four ÷ two: 2 to 2 | 2 | 2 to 2 | yes |",
        "| all | less | four ≤ 3.50 | 4 | 4 to 4 | no |",
    ] {
        assert!(text.contains(row), "{row:?} is missing:\n{text}");
    }
    let json = comparison.to_json();
    let seconds = |run: usize| json["runs"][run]["outcome"]["connect"]["seconds"].as_f64();
    assert_eq!((0..4).filter_map(seconds).collect::<Vec<_>>(), [4.0, 2.0, 2.0, 4.0], "in turn");
    let left = fs::read_dir(folder.path()).expect("readable").count();
    assert_eq!(left, 2, "the servers' working folders are gone");
}

#[test]
fn a_case_that_fails_is_told_and_the_rest_goes_on() {
    let folder = folder();
    let fail = "[[load.case]]\nname = \"bad\"\nserver = \"good\"\npath = \"/fail\"\n\
                [[load.goal]]\nmetric = \"/connect/seconds\"\ncase = \"four\"\nover = \"bad\"\n\
                at_least = 1\n";
    let comparison = compare(folder.path(), &plan("", fail));
    assert!(comparison.has_failures());
    let Err(Missing::Failed(what)) = &comparison.runs[1].result else { panic!("it should fail") };
    assert!(what.contains("it broke a promise"), "{what}");
    let text = comparison.to_markdown();
    for row in ["| four | 2 of 2 |", "| bad | 0 of 2 |", "| not measured |"] {
        assert!(text.contains(row), "{row:?} is missing:\n{text}");
    }
}

#[test]
fn servers_that_are_not_there_are_left_out_with_a_note() {
    let folder = folder();
    let servers = "[[server]]\nname = \"absent\"\ncommand = [\"./absent\"]\n\
                   [[server]]\nname = \"unbuilt\"\ninstall = [[\"false\"]]\ncommand = [\"true\"]\n\
                   [[server]]\nname = \"silent\"\ncommand = [\"sh\", \"-c\", \"echo why >&2\"]\n";
    let cases = "[[load.case]]\nserver = \"absent\"\n[[load.case]]\nserver = \"unbuilt\"\n\
                 [[load.goal]]\nmetric = \"/connect/seconds\"\ncase = \"four\"\nover = \"absent\"\n\
                 at_least = 1\n";
    let comparison = compare(folder.path(), &plan(servers, cases));
    assert!(!comparison.has_failures(), "what is not installed is no failure");
    let text = comparison.to_markdown();
    for row in [
        "| four | 2 of 2 |",
        "| absent | not installed |",
        "| unbuilt | not installed |",
        "| absent is not installed |",
    ] {
        assert!(text.contains(row), "{row:?} is missing:\n{text}");
    }
    let silent = "[[load.case]]\nserver = \"silent\"\n";
    let comparison = compare(folder.path(), &plan(servers, silent));
    assert!(comparison.has_failures(), "a server that does not start is one");
    assert!(comparison.to_markdown().contains("| silent | did not start |"));
}

#[test]
fn a_command_that_installs_several_servers_runs_once() {
    let folder = folder();
    let install = "install = [[\"sh\", \"-c\", \"echo x >> installed\"]]";
    // Commands that install run in the current folder, which is that of the tests.
    let install = install.replace("installed", &folder.path().join("installed").to_string_lossy());
    let server = |name| {
        format!(
            "[[server]]\nname = \"{name}\"\n{install}\ncommand = [\"sh\", \"-c\", \"{SERVER}\"]\n"
        )
    };
    let cases = "[[load.case]]\nserver = \"a\"\npath = \"/1\"\n\
                 [[load.case]]\nserver = \"b\"\npath = \"/1\"\n";
    let servers = [server("a"), server("b"), server("unused")].concat();
    let comparison = compare(folder.path(), &plan(&servers, cases));
    assert!(comparison.runs.iter().all(|run| run.result.is_ok()));
    let installed = fs::read_to_string(folder.path().join("installed")).expect("installed");
    assert_eq!(installed, "x\n");
}

#[test]
fn a_server_has_a_folder_of_its_own_under_target_if_there_is_one() {
    let root = TempDir::new().expect("a temporary folder");
    fs::create_dir(root.path().join("target")).expect("room on the disk");
    let mut folder = Folder::make_in(root.path()).expect("room on the disk");
    let (first, second) = (folder.next().expect("a folder"), folder.next().expect("another"));
    assert_ne!(first, second);
    assert!(first.starts_with(root.path().join("target/bench")), "{}", first.display());
    drop(folder);
    assert!(!first.exists(), "it is gone with all that was in it");
}
