//! Where the bytes of a journal are: one file, or whatever a test puts in its place.

use redb::StorageBackend;
use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// What holds the bytes of a [`super::DiskJournal`].
pub trait Storage: Send + fmt::Debug {
    /// Opens the bytes for the storage engine. Called again after every fault, when the backend
    /// that was opened before is closed; it must be the same bytes.
    ///
    /// # Errors
    /// What the system says; the journal tries again later.
    fn open(&mut self) -> io::Result<Box<dyn StorageBackend>>;

    /// Whether the bytes are still where an operator would look for them. Asked twice for every
    /// append, so it must be quick.
    fn is_in_place(&self) -> bool;
}

/// The file `journal.redb` in a directory, locked against other processes as long as this lives.
///
/// The file is held open through all faults. So it cannot be confused with another that took its
/// place, and the lock is never let go.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    path: PathBuf,
    was_opened: bool,
}

/// Why a [`FileStorage`] could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    Locked,
    /// What was tried, and what the system said.
    Io(&'static str, io::Error),
}

impl FileStorage {
    /// The name of the file in the journal's directory.
    pub const FILE: &'static str = "journal.redb";

    /// Opens or makes the file, and its directory where there is none.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let new_directories = make_directory(directory)
            .map_err(|error| OpenError::Io("create the directory of", error))?;
        let path = directory.join(Self::FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| OpenError::Io("open", error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked),
            Err(TryLockError::Error(error)) => return Err(OpenError::Io("lock", error)),
        }
        // A file that is not on disk in its directory is lost with all its content.
        let directories = directory.ancestors().take(new_directories + 1);
        directories
            .into_iter()
            .try_for_each(sync_directory)
            .map_err(|error| OpenError::Io("sync the directory of", error))?;
        Ok(Self { file, path, was_opened: false })
    }
}

/// Makes a directory with its parents. Returns how many there are to be made.
fn make_directory(directory: &Path) -> io::Result<usize> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing = directory.ancestors().take_while(is_missing).count();
    if missing == 0 && !directory.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory"));
    }
    std::fs::create_dir_all(directory)?;
    Ok(missing)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    let here = Path::new(".");
    File::open(if directory.as_os_str().is_empty() { here } else { directory })?.sync_all()
}

impl Storage for FileStorage {
    fn open(&mut self) -> io::Result<Box<dyn StorageBackend>> {
        if std::mem::replace(&mut self.was_opened, true) {
            forget_cached(&self.file);
        }
        Ok(Box::new(FileBytes(self.file.try_clone()?)))
    }

    fn is_in_place(&self) -> bool {
        let (Ok(there), Ok(ours)) = (std::fs::metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        (there.dev(), there.ino()) == (ours.dev(), ours.ino())
    }
}

/// After a failed sync Linux takes pages for clean that never reached the disk, and would go on to
/// show them. Without them, the engine finds what is really there. This is best effort: elsewhere
/// there is no such call.
fn forget_cached(file: &File) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed) {
        log::debug!("the journal's cached pages were not dropped: {error}");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// A file as the engine sees it. The engine's own `FileBackend` brings locks, which would give up
/// the one that [`FileStorage`] holds.
#[derive(Debug)]
struct FileBytes(File);

impl StorageBackend for FileBytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
