//! A damaged journal file.
//!
//! Input: what is done to a good file. Each step is a byte and two more for a place in the file. 255
//! cuts the file off there, 254 copies the page there over the one that the next byte says, all else
//! is a count of bytes that follow and are written there.

use bytes::Bytes;
use redb::StorageBackend;
use statesync::journal::{DiskJournal, Durability, Journal, JournalError, Snapshot, Storage};
use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
};

const GOOD: &[u8] = include_bytes!("../../golden/journal-format-1.redb");
const PAGE_BYTES: usize = 4096;
const MOST_WRITTEN: usize = 16;

/// No damage becomes an account of what never happened: the journal is refused, and left as it is;
/// or it holds what was written, and goes on.
pub fn target(bytes: &[u8]) {
    let file = File(Arc::new(Mutex::new(damaged(bytes))));
    let before = file.bytes();
    let mut journal = match open(&file) {
        Ok(journal) => journal,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return assert!(file.bytes() == before, "refused ({error}), but changed");
        }
    };
    let (good, found) = (good(), Content::of(&journal));
    let is_new = journal.position() == 0 && found.records.is_empty() && found.snapshot.is_none();
    assert!(is_new || found == *good, "a journal with another content: {found:?}");
    let Ok(position) = journal.append(&[Bytes::from_static(b"more")]) else { return };
    assert_eq!(position, found.position + 1);
    drop(journal);
    let again = open(&file).expect("it was open before");
    let more = Content::of(&again);
    assert_eq!(more.position, position);
    assert_eq!(more.records.last(), Some(&(position, b"more".to_vec())));
}

fn damaged(mut steps: &[u8]) -> Vec<u8> {
    let mut file = GOOD.to_vec();
    while let [what, low, high, rest @ ..] = steps {
        let place = usize::from(u16::from_le_bytes([*low, *high])).min(file.len());
        steps = match (what, rest) {
            (255, _) => {
                file.truncate(place);
                rest
            }
            (254, [to, rest @ ..]) => {
                let page = place / PAGE_BYTES * PAGE_BYTES;
                let to = usize::from(*to) * PAGE_BYTES;
                if page + PAGE_BYTES <= file.len() && to + PAGE_BYTES <= file.len() {
                    file.copy_within(page..page + PAGE_BYTES, to);
                }
                rest
            }
            (count, _) => {
                let count = 1 + usize::from(*count) % MOST_WRITTEN;
                let (written, rest) = rest.split_at(count.min(rest.len()));
                let end = (place + written.len()).min(file.len());
                file[place..end].copy_from_slice(&written[..end - place]);
                rest
            }
        };
    }
    file
}

fn open(file: &File) -> Result<DiskJournal, JournalError> {
    let storage = Box::new(file.clone());
    DiskJournal::with_storage(Path::new("data"), storage, Durability::Always)
}

/// What a journal says.
#[derive(Debug, PartialEq)]
struct Content {
    position: u64,
    snapshot: Option<Snapshot>,
    records: Vec<(u64, Vec<u8>)>,
}

impl Content {
    fn of(journal: &DiskJournal) -> Self {
        let snapshot = journal.snapshot().expect("it was verified");
        let mut records = Vec::new();
        let after = snapshot.as_ref().map_or(0, |snapshot| snapshot.position);
        let read = journal.read(after, &mut |position, bytes| {
            records.push((position, bytes.to_vec()));
            Ok(())
        });
        read.expect("it was verified");
        Self { position: journal.position(), snapshot, records }
    }
}

fn good() -> &'static Content {
    static CONTENT: OnceLock<Content> = OnceLock::new();
    CONTENT.get_or_init(|| {
        let file = File(Arc::new(Mutex::new(GOOD.to_vec())));
        Content::of(&open(&file).expect("a good journal"))
    })
}

/// A file in memory.
#[derive(Debug, Clone)]
struct File(Arc<Mutex<Vec<u8>>>);

impl File {
    /// More is a disk that is full.
    const MAX_BYTES: u64 = 16 << 20;

    fn bytes(&self) -> Vec<u8> {
        self.with(|file| file.clone())
    }

    fn with<T>(&self, what: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl Storage for File {
    fn open(&mut self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }

    fn is_in_place(&self) -> bool {
        true
    }
}

fn range(offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    let end = start.checked_add(length).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(start..end)
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|file| file.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let range = range(offset, out.len())?;
        self.with(|file| {
            out.copy_from_slice(file.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match len {
            0..=Self::MAX_BYTES => self.with(|file| file.resize(len as usize, 0)),
            _ => return Err(io::ErrorKind::StorageFull.into()),
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let range = range(offset, data.len())?;
        self.with(|file| {
            file.get_mut(range).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
            Ok(())
        })
    }
}
