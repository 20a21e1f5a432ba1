//! Opening and repairing a file writes to it, before anybody could know whether it is sound. So
//! what the engine writes meanwhile is a draft: it is put into effect when all was verified, and
//! until then nothing is changed on disk.

use super::Durability;
use redb::StorageBackend;
use std::{
    collections::HashMap,
    io,
    sync::{Arc, PoisonError, RwLock},
};

/// What the draft remembers of the storage is remembered in blocks of so many bytes: the engine's
/// page.
const BLOCK: usize = 4096;

/// A backend whose writes are a draft until [`Draft::accept`]; and which then syncs where the
/// journal's [`Durability`] asks for it.
#[derive(Debug, Clone)]
pub struct Draft(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    storage: Box<dyn StorageBackend>,
    durability: Durability,
    pending: RwLock<Option<Pending>>,
}

/// What was asked for and not done.
#[derive(Debug)]
struct Pending {
    /// In order, for the engine may rely on what was synced before what.
    steps: Vec<Step>,
    /// How long the storage would be.
    len: u64,
    /// Up to here the storage shows through where there is no block.
    visible: u64,
    blocks: HashMap<u64, Box<[u8; BLOCK]>>,
}

#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Draft {
    /// Writes nothing to `storage` for now. If that was left in the middle of being made, it is
    /// taken for empty.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn new(storage: Box<dyn StorageBackend>, durability: Durability) -> io::Result<Self> {
        let len = storage.len()?;
        let mut pending = Pending { steps: Vec::new(), len, visible: len, blocks: HashMap::new() };
        if is_unfinished(&*storage, len)? {
            pending.set_len(0);
        }
        Ok(Self(Arc::new(Inner { storage, durability, pending: RwLock::new(Some(pending)) })))
    }

    /// Does all that was asked for so far; what is asked for from here on is done at once.
    ///
    /// # Errors
    /// Some of it was done, as if the power had been cut. Nothing further will be done.
    pub fn accept(&self) -> io::Result<()> {
        let mut pending = self.0.pending.write().unwrap_or_else(PoisonError::into_inner);
        for step in pending.iter().flat_map(|pending| &pending.steps) {
            match step {
                Step::Write(offset, data) => self.0.storage.write(*offset, data)?,
                Step::SetLen(len) => self.0.storage.set_len(*len)?,
                Step::Sync => self.0.sync()?,
            }
        }
        *pending = None;
        Ok(())
    }

    /// Lets `draft` have it while this is a draft, and `done` when it no longer is.
    fn change(
        &self,
        draft: impl FnOnce(&mut Pending, &dyn StorageBackend) -> io::Result<()>,
        done: impl FnOnce(&Inner) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.0.pending.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            return done(&self.0);
        }
        let mut pending = self.0.pending.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *pending {
            Some(pending) => draft(pending, &*self.0.storage),
            None => done(&self.0),
        }
    }
}

impl Inner {
    fn sync(&self) -> io::Result<()> {
        match self.durability {
            Durability::Never => Ok(()),
            Durability::Always | Durability::Interval => self.storage.sync_data(),
        }
    }
}

impl Pending {
    /// Fills `out` with what the storage would hold at `offset`.
    fn read(&self, storage: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let shown = self.visible.saturating_sub(offset).min(out.len() as u64) as usize;
        storage.read(offset, &mut out[..shown])?;
        out[shown..].fill(0);
        for (block, inside, part) in parts(offset, out.len()) {
            if let Some(bytes) = self.blocks.get(&block) {
                let len = part.len();
                out[part].copy_from_slice(&bytes[inside..inside + len]);
            }
        }
        Ok(())
    }

    fn write(&mut self, storage: &dyn StorageBackend, offset: u64, data: &[u8]) -> io::Result<()> {
        for (block, inside, part) in parts(offset, data.len()) {
            if !self.blocks.contains_key(&block) {
                let mut bytes = Box::new([0; BLOCK]);
                let start = block * BLOCK as u64;
                let len = self.len.saturating_sub(start).min(BLOCK as u64) as usize;
                self.read(storage, start, &mut bytes[..len])?;
                self.blocks.insert(block, bytes);
            }
            if let Some(bytes) = self.blocks.get_mut(&block) {
                bytes[inside..inside + part.len()].copy_from_slice(&data[part]);
            }
        }
        self.steps.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            // What is cut off is zero if the storage grows again.
            let (last, inside) = (len / BLOCK as u64, (len % BLOCK as u64) as usize);
            self.blocks.retain(|block, _| *block <= last);
            if let Some(bytes) = self.blocks.get_mut(&last) {
                bytes[inside..].fill(0);
            }
        }
        self.visible = self.visible.min(len);
        self.len = len;
        self.steps.push(Step::SetLen(len));
    }
}

/// The engine makes a file of 72 KiB that begins with a block of numbers, and writes its mark into
/// the first bytes last. Without the mark it would take the file for another program's. A file in
/// which anything is stored has the mark, or is damaged and has more than this.
fn is_unfinished(storage: &dyn StorageBackend, len: u64) -> io::Result<bool> {
    const MARK: usize = 9;
    const MOST: u64 = 128 << 10;
    if len == 0 || len > MOST {
        return Ok(false);
    }
    let mut bytes = vec![0; len as usize];
    storage.read(0, &mut bytes)?;
    let begins = bytes.iter().take(MARK);
    let stored = bytes.iter().skip(BLOCK);
    Ok(begins.chain(stored).all(|byte| *byte == 0))
}

/// The blocks that `len` bytes at `offset` lie in: the block's number, where they begin in it, and
/// which of them they are.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let inside = (at % BLOCK as u64) as usize;
        let part = done..len.min(done + BLOCK - inside);
        done = part.end;
        (!part.is_empty()).then_some((at / BLOCK as u64, inside, part))
    })
}

impl StorageBackend for Draft {
    fn len(&self) -> io::Result<u64> {
        match &*self.0.pending.read().unwrap_or_else(PoisonError::into_inner) {
            Some(pending) => Ok(pending.len),
            None => self.0.storage.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.0.pending.read().unwrap_or_else(PoisonError::into_inner) {
            Some(pending) => pending.read(&*self.0.storage, offset, out),
            None => self.0.storage.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let draft = |pending: &mut Pending, _: &dyn StorageBackend| {
            pending.set_len(len);
            Ok(())
        };
        self.change(draft, |inner| inner.storage.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let draft = |pending: &mut Pending, _: &dyn StorageBackend| {
            pending.steps.push(Step::Sync);
            Ok(())
        };
        self.change(draft, Inner::sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let draft = |pending: &mut Pending, storage: &dyn StorageBackend| {
            pending.write(storage, offset, data)
        };
        self.change(draft, |inner| inner.storage.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.0.storage.close()
    }
}
