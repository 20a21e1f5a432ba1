//! RFC 6455 frames: no more of them than a load needs.

use super::error::BenchError;

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
/// The first reserved bit: the message is compressed (RFC 7692).
const COMPRESSED: u8 = 0x40;
const MASKED: u8 = 0x80;
/// Payload lengths up to this one stand in the second byte of a frame.
const LONGEST_SHORT: usize = 125;
/// The masking key of all frames sent here. It protects proxies from scripts in browsers, and
/// neither is at hand.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A whole frame, as it stands in the bytes that were read.
#[derive(Debug)]
pub struct Frame<'a> {
    /// What kind of frame it is.
    pub opcode: u8,
    /// It has the first reserved bit.
    pub is_compressed: bool,
    /// The payload.
    pub payload: &'a [u8],
    /// The bytes that the frame takes, header included.
    pub size: usize,
}

/// The first frame in `bytes`, or `None` as long as it is not all there.
///
/// # Errors
/// [`BenchError::Protocol`] for what servers do not send here: fragments, masked frames.
#[inline]
pub fn parse(bytes: &[u8]) -> Result<Option<Frame<'_>>, BenchError> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & (0xF0 & !COMPRESSED) != FIN || second & MASKED != 0 {
        return Err(unexpected(*first, *second));
    }
    let (length, length_size) = match *second {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (usize::from(u16::from_be_bytes(*length)), 2),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX), 8),
            None => return Ok(None),
        },
        short => (usize::from(short), 0),
    };
    let Some(payload) = rest[length_size..].get(..length) else {
        return Ok(None);
    };
    let size = 2 + length_size + length;
    let is_compressed = first & COMPRESSED != 0;
    Ok(Some(Frame { opcode: first & 0x0F, is_compressed, payload, size }))
}

#[cold]
fn unexpected(first: u8, second: u8) -> BenchError {
    BenchError::Protocol(format!(
        "a frame that begins with {first:#04x} {second:#04x}; fragments, reserved bits and masks \
         are not understood here"
    ))
}

/// Appends a frame as clients send it.
pub fn push_masked(frames: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    frames.push(FIN | opcode);
    match payload.len() {
        short @ ..=LONGEST_SHORT => frames.push(MASKED | short as u8),
        long => match u16::try_from(long) {
            Ok(long) => {
                frames.push(MASKED | 126);
                frames.extend(long.to_be_bytes());
            }
            Err(_) => {
                frames.push(MASKED | 127);
                frames.extend((long as u64).to_be_bytes());
            }
        },
    }
    frames.extend(KEY);
    frames.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    #[test]
    fn frames_of_every_length_are_found_when_they_are_whole() {
        for length in [0_usize, 1, 125, 126, 65_535, 65_536] {
            let mut bytes = vec![FIN | TEXT];
            match length {
                0..=125 => bytes.push(length as u8),
                126..=65_535 => {
                    bytes.push(126);
                    bytes.extend((length as u16).to_be_bytes());
                }
                _ => {
                    bytes.push(127);
                    bytes.extend((length as u64).to_be_bytes());
                }
            }
            bytes.extend(std::iter::repeat_n(b'x', length));
            for cut in [0, 1, 2, bytes.len() - 1] {
                let frame = parse(&bytes[..cut.min(bytes.len() - 1)]).expect("a good beginning");
                assert!(frame.is_none(), "{cut} bytes of a frame of {length}");
            }
            bytes.push(0);
            let frame = parse(&bytes).expect("a good frame").expect("all of it");
            assert_eq!((frame.opcode, frame.payload.len()), (TEXT, length));
            assert_eq!(frame.size, bytes.len() - 1);
        }
    }

    #[test]
    fn fragments_and_masked_frames_are_refused() {
        for bytes in [[0x01, 0x00], [0x91, 0x00], [0x81, 0x80]] {
            assert!(matches!(parse(&bytes), Err(BenchError::Protocol(_))), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_sent_is_masked_and_has_the_shortest_length() {
        let mut frame = Vec::new();
        push_masked(&mut frame, TEXT, b"ab");
        assert_eq!(frame, [0x81, 0x82, 0x37, 0xfa, 0x21, 0x3d, b'a' ^ 0x37, b'b' ^ 0xfa]);
        for (length, header) in [(126, vec![0x81, 0xFE, 0, 126]), (65_536, vec![0x81, 0xFF, 0])] {
            let mut frame = Vec::new();
            push_masked(&mut frame, TEXT, &vec![0; length]);
            assert!(frame.starts_with(&header), "{length}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_server_sends_is_a_frame_or_the_beginning_of_one_or_an_error(
            bytes in vec(any::<u8>(), 0..300),
        ) {
            if let Ok(Some(frame)) = parse(&bytes) {
                prop_assert!(frame.size <= bytes.len() && frame.payload.len() < frame.size);
            }
        }
    }
}
