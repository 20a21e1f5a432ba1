//! permessage-deflate (RFC 7692): what is agreed about it, in [`offer`], and messages in and out of
//! the DEFLATE format.
//!
//! No message refers to one before it ("no context takeover"), so a session keeps nothing: one
//! compressor and one [`Inflater`] serve a whole thread, and a broadcast is the same bytes for
//! everyone. Pure: the same message and settings give the same bytes.

pub mod offer;

pub use offer::{Agreement, negotiate};

use super::frame::FrameError;
use std::cell::RefCell;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

/// The least and the most window that is agreed, as base-2 logarithms. RFC 7692 knows 8 as well,
/// but zlib cannot compress with it.
pub const WINDOW_BITS: std::ops::RangeInclusive<u8> = 9..=15;

/// How a session's messages are compressed. All of them but the window are the server's own and
/// the same for all its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Compression {
    /// The base-2 logarithm of the window in bytes, one of [`WINDOW_BITS`].
    pub window_bits: u8,
    /// zlib's compression level, 1 (fast) to 9 (small).
    pub level: u8,
    /// zlib's memory level, 1 to 9.
    pub memory_level: u8,
    /// Messages of fewer bytes are sent as they are.
    pub min_bytes: u32,
}

/// What a sync flush ends with, and what is left out on the wire (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// [`TAIL`] and a last, empty block: at it, and nowhere else, the data of a whole message end.
const TAIL_AND_END: [u8; 6] = [0x00, 0x00, 0xFF, 0xFF, 0x03, 0x00];

thread_local! {
    /// The thread's compressor, and what it was made for. A quarter of a megabyte.
    static DEFLATER: RefCell<Option<(DeflateConfig, Deflate)>> = const { RefCell::new(None) };
}

/// A message's payload compressed, without what RFC 7692 leaves out. `None` if it would not be
/// shorter for it, or is too short for `how`.
pub fn compress(payload: &[u8], how: Compression) -> Option<Vec<u8>> {
    let is_long = payload.len() >= how.min_bytes as usize;
    is_long.then(|| compress_below(payload.len(), payload, how))?
}

/// The same, if the result has fewer bytes than `limit`.
fn compress_below(limit: usize, payload: &[u8], how: Compression) -> Option<Vec<u8>> {
    let config = DeflateConfig {
        level: how.level.into(),
        // Negative: without zlib's header and checksum.
        window_bits: -i32::from(how.window_bits),
        mem_level: how.memory_level.into(),
        ..DeflateConfig::default()
    };
    let mut output = vec![0; limit + TAIL.len()];
    let length = DEFLATER.with_borrow_mut(|slot| {
        let deflate = match slot {
            Some((made_for, deflate)) if *made_for == config => {
                deflate.reset();
                deflate
            }
            _ => &mut slot.insert((config, Deflate::new_with_config(config))).1,
        };
        let done = deflate.compress(payload, &mut output, DeflateFlush::SyncFlush);
        // It fits: zlib fills the output to its last byte before it leaves something out.
        let length = deflate.total_out() as usize;
        let is_whole = done.is_ok() && length < output.len();
        if !is_whole {
            // At level 1, a reset leaves a block open that was cut off, and zlib-rs panics later.
            *slot = None;
        }
        is_whole.then_some(length)
    })?;
    output.truncate(length);
    output.truncate(output.strip_suffix(&TAIL)?.len());
    output.shrink_to_fit();
    Some(output)
}

/// Turns compressed messages back, one after the other, in one buffer. One serves a whole thread.
#[derive(Default)]
pub struct Inflater {
    /// Some tens of kilobytes; made at the first message.
    stream: Option<Inflate>,
    /// The message is `output[..filled]`; the rest is room.
    output: Vec<u8>,
    filled: usize,
}

/// What an [`Inflater`] without work keeps of its buffer, in bytes: so much that usual messages
/// need no allocation.
const KEPT_BYTES: usize = 64 * 1024;

impl Inflater {
    /// The message whose compressed payload this is, as RFC 7692, section 7.2.2, says. A
    /// compressed payload of no bytes, which zlib makes of an empty message after another one, is
    /// an empty message.
    ///
    /// # Errors
    /// [`FrameError::NotDeflate`]; [`FrameError::TooLarge`] as soon as the message has more than
    /// `max_bytes`, of which no more are made.
    pub fn inflate(&mut self, payload: &[u8], max_bytes: usize) -> Result<&[u8], FrameError> {
        self.filled = 0;
        if payload.is_empty() {
            return Ok(&[]);
        }
        let mut rest = payload;
        self.begin();
        while !rest.is_empty() {
            let (taken, is_end) = self.feed(rest, max_bytes)?;
            rest = &rest[taken..];
            if is_end {
                // A block that says it is the last (section 7.2.3.4) ends no message.
                self.begin();
            }
        }
        match self.feed(&TAIL_AND_END, max_bytes)? {
            (taken, true) if taken == TAIL_AND_END.len() => Ok(&self.output[..self.filled]),
            _ => Err(FrameError::NotDeflate),
        }
    }

    /// Gives back what large messages needed.
    pub fn trim(&mut self) {
        if self.output.len() > KEPT_BYTES {
            self.output.truncate(KEPT_BYTES);
            self.output.shrink_to_fit();
        }
    }

    fn begin(&mut self) {
        match &mut self.stream {
            Some(stream) => stream.reset(false),
            // The largest window reads all that smaller ones made.
            none => *none = Some(Inflate::new(false, *WINDOW_BITS.end())),
        }
    }

    /// Inflates all of `input`, or up to the end of a last block. Returns how many bytes it took
    /// and whether it met that end.
    fn feed(&mut self, input: &[u8], max_bytes: usize) -> Result<(usize, bool), FrameError> {
        let Some(stream) = &mut self.stream else { return Err(FrameError::NotDeflate) };
        let (taken_before, mut taken) = (stream.total_in(), 0);
        loop {
            if self.filled == self.output.len() {
                // One byte too many is seen, and no more.
                let wanted = (2 * self.output.len()).max(4 * input.len()).max(1024);
                self.output.resize(wanted.min(max_bytes + 1), 0);
            }
            let end = self.output.len().min(max_bytes + 1);
            let before = stream.total_out();
            let output = &mut self.output[self.filled..end];
            let status = stream
                .decompress(&input[taken..], output, InflateFlush::SyncFlush)
                .map_err(|_| FrameError::NotDeflate)?;
            taken = (stream.total_in() - taken_before) as usize;
            self.filled += (stream.total_out() - before) as usize;
            if self.filled > max_bytes {
                return Err(FrameError::TooLarge(max_bytes));
            }
            let is_end = status == Status::StreamEnd;
            if is_end || self.filled < end {
                return Ok((taken, is_end));
            }
        }
    }
}

#[cfg(test)]
mod tests;
