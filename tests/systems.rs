//! All systems of docs/systems.md on one server with one configuration: `tests/systems`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// Number, system, room and client of each row of a table in Markdown.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let cells = |line| str::split(line, '|').skip(1).map(str::trim).take(4).collect();
    let is_numbered = |row: &Vec<&str>| row.first().is_some_and(|cell| cell.parse::<u8>().is_ok());
    text.lines().map(cells).filter(is_numbered).collect()
}

#[test]
fn clients_of_all_systems_work_and_the_page_about_them_lists_the_same() {
    let python = root().join("target/test-env/venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/setup", python.display());
    let test = std::env::current_exe().expect("the path of this test");
    let target = test.parent().and_then(Path::parent).expect("a test is in target/…/deps");
    let mut command = Command::new(python);
    command.arg(root().join("tests/systems/walk.py")).arg(env!("CARGO_BIN_EXE_statesync"));
    command.arg(target.join("examples"));
    let output = command.output().expect("Python starts");
    let table = String::from_utf8_lossy(&output.stdout);
    let log = String::from_utf8_lossy(&output.stderr);
    println!("{table}");
    assert!(output.status.success(), "a system does not work:\n{table}\n{log}");
    let page = fs::read_to_string(root().join("docs/systems.md")).expect("the page");
    assert_eq!(rows(&page), rows(&table), "docs/systems.md lists others than were walked");
}
