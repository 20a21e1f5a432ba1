//! Fresh working folders, on a disk: a journal in a temporary folder in memory is no journal.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

/// A folder for the folders of servers. Removed with all in it when it is dropped.
pub struct Folder {
    path: PathBuf,
    made: usize,
}

impl Folder {
    /// Under `target/bench` of this folder if it has a `target`, else in it.
    pub fn make_in(folder: &Path) -> io::Result<Self> {
        let own = match folder.join("target").is_dir() {
            true => Path::new("target/bench").join(process::id().to_string()),
            false => PathBuf::from(format!("statesync-bench-{}", process::id())),
        };
        let path = folder.join(own);
        fs::create_dir_all(&path)?;
        Ok(Self { path, made: 0 })
    }

    /// A fresh folder in it.
    pub fn next(&mut self) -> io::Result<PathBuf> {
        self.made += 1;
        let path = self.path.join(self.made.to_string());
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays: nothing depends on it.
        let _ = fs::remove_dir_all(&self.path);
    }
}
