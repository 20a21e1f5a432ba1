//! The page in headless Chromium, and its JavaScript in Node: `tests/browser`, run by Node's own
//! test runner against the real binary.

use std::{path::Path, process::Command};

#[test]
fn the_page_works_in_a_browser() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let modules = folder.join("node_modules");
    assert!(modules.exists(), "{} is missing: run tests/setup", modules.display());
    let output = Command::new("npm")
        .args(["test", "--silent"])
        .current_dir(folder)
        .env("STATESYNC_BIN", env!("CARGO_BIN_EXE_statesync"))
        .output()
        .unwrap_or_else(|error| panic!("npm does not start: {error}; run tests/setup"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "browser tests failed:\n{said}");
}
