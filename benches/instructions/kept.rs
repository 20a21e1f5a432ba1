//! The counts that later runs are compared with: a line for each case.

use super::callgrind;
use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs, io::ErrorKind, path::PathBuf};

fn path() -> PathBuf {
    callgrind::folder().join("kept.json")
}

/// What was kept; nothing if this is the first time.
pub fn read() -> Result<BTreeMap<String, u64>> {
    match fs::read(path()) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not what this bench wrote", path().display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

/// Keeps `counts`, by the names of the cases.
pub fn write(counts: &BTreeMap<String, u64>) -> Result<()> {
    Ok(fs::write(path(), serde_json::to_vec_pretty(counts)?)?)
}
