//! RFC 6455 frames: no more of them than a load and its ceiling need.

use anyhow::{Result, bail};

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
const LONGEST_SHORT: usize = 125;
/// The masking key of all frames sent here. It protects proxies from scripts in browsers, and
/// neither is at hand.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A whole frame, as it stands in the bytes that were read.
pub struct Frame<'a> {
    /// What kind of frame it is.
    pub opcode: u8,
    /// The payload, still masked if the frame is.
    pub payload: &'a [u8],
    /// The bytes that the frame takes, header included.
    pub size: usize,
}

/// The first frame in `bytes`, or `None` as long as it is not all there.
pub fn parse(bytes: &[u8]) -> Result<Option<Frame<'_>>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0xf0 != FIN {
        bail!("a frame began with {first:#04x}: fragments and reserved bits are not expected here");
    }
    let (length, length_size) = match second & !MASKED {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (usize::from(u16::from_be_bytes(*length)), 2),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (usize::try_from(u64::from_be_bytes(*length))?, 8),
            None => return Ok(None),
        },
        short => (usize::from(short), 0),
    };
    let key_size = if second & MASKED == 0 { 0 } else { KEY.len() };
    let Some(payload) = rest[length_size..].get(key_size..).and_then(|rest| rest.get(..length))
    else {
        return Ok(None);
    };
    let size = 2 + length_size + key_size + length;
    Ok(Some(Frame { opcode: first & 0x0f, payload, size }))
}

/// Appends a frame as servers send it. Its payload must be at most 125 bytes.
pub fn push_unmasked(frames: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    frames.extend([FIN | opcode, short_length(payload)]);
    frames.extend_from_slice(payload);
}

/// A frame as clients send it. Its payload must be at most 125 bytes.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![FIN | opcode, MASKED | short_length(payload)];
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn short_length(payload: &[u8]) -> u8 {
    assert!(payload.len() <= LONGEST_SHORT, "only short frames are sent here");
    payload.len() as u8
}
