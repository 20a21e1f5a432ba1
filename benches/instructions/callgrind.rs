//! Runs this program again under callgrind, for one case.

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of all that this bench leaves behind.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions")
}

/// Where the counts of a case stand by function, for `callgrind_annotate`.
pub fn output(case: &str) -> PathBuf {
    let words = case.split([' ', ',']).filter(|word| !word.is_empty());
    folder().join(words.collect::<Vec<_>>().join("_")).with_extension("callgrind")
}

/// The C library fills and copies long memory with one string instruction, which callgrind counts
/// once a byte, as if it took that long. With these it uses ordinary instructions.
const NO_STRING_INSTRUCTIONS: &str = "glibc.cpu.x86_rep_stosb_threshold=1073741824:\
    glibc.cpu.x86_rep_movsb_threshold=1073741824";

/// How many instructions the case takes.
pub fn count(case: &str) -> Result<u64> {
    fs::create_dir_all(folder())?;
    let path = output(case);
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=*instructions::counted*")
        .arg(format!("--callgrind-out-file={}", path.display()))
        .arg(std::env::current_exe()?)
        .args(["--run", case])
        .env("GLIBC_TUNABLES", NO_STRING_INSTRUCTIONS)
        .output()
        .context("valgrind did not start: install it (on Debian: apt install valgrind)")?;
    ensure!(ran.status.success(), "it failed:\n{}", String::from_utf8_lossy(&ran.stderr));
    let counts = fs::read_to_string(path)?;
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: u64 = total.context("callgrind gave no total")?.trim().parse()?;
    ensure!(total > 0, "callgrind did not meet the function that is counted");
    Ok(total)
}
