//! RFC 6455 frames: no more of them than clients of a counter need.

use anyhow::{Result, ensure};

/// A data frame with text.
pub const TEXT: u8 = 0x1;
/// A data frame with bytes.
pub const BINARY: u8 = 0x2;
/// The close frame.
pub const CLOSE: u8 = 0x8;
/// The frame that asks for a pong.
pub const PING: u8 = 0x9;
/// The answer to a ping.
pub const PONG: u8 = 0xA;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Payload lengths up to this one stand in the second byte of a frame.
const LONGEST_SHORT: u8 = 125;
/// The two bytes before the payload of a frame that is sent here.
const HEADER_SIZE: usize = 2;
const KEY_SIZE: usize = 4;

/// A frame of a client.
pub struct Frame<'a> {
    /// What kind of frame it is.
    pub opcode: u8,
    /// The payload, unmasked in its place.
    pub payload: &'a [u8],
    /// The bytes that the frame takes, header included.
    pub size: usize,
}

/// The first frame in `bytes`, or `None` as long as it is not all there.
pub fn parse(bytes: &mut [u8]) -> Result<Option<Frame<'_>>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    ensure!(*first & 0xf0 == FIN, "fragments and reserved bits are not known here");
    ensure!(*second & MASKED != 0, "a frame without a mask");
    let length = *second & !MASKED;
    ensure!(length <= LONGEST_SHORT, "an action of more than {LONGEST_SHORT} bytes");
    let length = usize::from(length);
    let size = HEADER_SIZE + KEY_SIZE + length;
    let Some((key, rest)) = rest.split_first_chunk_mut::<KEY_SIZE>() else {
        return Ok(None);
    };
    let Some(payload) = rest.get_mut(..length) else {
        return Ok(None);
    };
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    Ok(Some(Frame { opcode: *first & 0x0f, payload, size }))
}

/// Appends a frame as servers send it. Its payload must be at most 125 bytes, as all events and
/// control frames are.
pub fn push(frames: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    debug_assert!(payload.len() <= usize::from(LONGEST_SHORT));
    frames.extend([FIN | opcode, payload.len() as u8]);
    frames.extend_from_slice(payload);
}

/// Takes frames that were pushed one behind the other apart.
pub fn each(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let size = HEADER_SIZE + usize::from(*frames.get(1)?);
        let (frame, rest) = frames.split_at_checked(size)?;
        frames = rest;
        Some(frame)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_frame_is_read_once_it_is_all_there() {
        let mut bytes = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
        for end in 0..bytes.len() {
            assert!(parse(&mut bytes[..end]).unwrap().is_none(), "{end} bytes");
        }
        let frame = parse(&mut bytes).unwrap().unwrap();
        assert_eq!((frame.opcode, frame.payload, frame.size), (TEXT, b"hi".as_slice(), 8));
    }

    #[test]
    fn frames_come_apart_as_they_were_pushed() {
        let mut frames = Vec::new();
        push(&mut frames, TEXT, b"one");
        push(&mut frames, PONG, b"");
        let apart: Vec<_> = each(&frames).collect();
        assert_eq!(apart, [b"\x81\x03one".as_slice(), b"\x8a\x00"]);
    }
}
