//! The frame codec: what a client sends, cut where the network likes.
//!
//! Input: one byte of choices, one byte that the cuts follow from, then the stream.

use statesync::protocol::{
    Compression,
    deflate::{Inflater, compress},
    frame::{Decoder, FrameError, Incoming, MAX_CONTROL_PAYLOAD_BYTES, Opcode, encode},
};
use std::io::{Cursor, Read, Write};
use tungstenite::{
    Message, WebSocket,
    protocol::{Role, WebSocketConfig},
};

const LIMITS: [usize; 4] = [0, 16, 300, 70_000];

/// An [`Incoming`] that owns its payload.
#[derive(Debug, Clone, PartialEq)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Fragment(usize),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Incoming<'_>> for Said {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.into()),
            Incoming::Binary(bytes) => Self::Binary(bytes.into()),
            Incoming::Fragment(length) => Self::Fragment(length),
            Incoming::Ping(bytes) => Self::Ping(bytes.into()),
            Incoming::Pong(bytes) => Self::Pong(bytes.into()),
            Incoming::Close(close) => Self::Close(close.map(|(code, why)| (code, why.into()))),
        }
    }
}

/// Where the stream is cut does not change what is said, nor how it ends; what is said is within the
/// limits; and another implementation hears the same.
pub fn target(bytes: &[u8]) {
    let [choices, cuts, stream @ ..] = bytes else { return };
    let limit = LIMITS[usize::from(choices >> 1) % LIMITS.len()];
    let is_inflating = choices & 1 != 0;
    let decoder = || match is_inflating {
        true => Decoder::inflating(limit),
        false => Decoder::new(limit),
    };
    let whole = decode(decoder(), stream, std::iter::repeat(usize::MAX));
    assert_eq!(decode(decoder(), stream, sizes(*cuts)), whole, "the cuts make a difference");
    let (said, end) = whole;
    said.iter().for_each(|said| check(said, limit));
    if end.is_ok() && !is_inflating {
        assert_eq!(in_other_words(&said), others(stream, limit), "the other implementation");
    }
}

/// Sizes of the pieces in which a stream comes.
fn sizes(seed: u8) -> impl Iterator<Item = usize> {
    let mut state = u32::from(seed);
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1 + (state >> 24) as usize % (1 + usize::from(seed) % 40)
    })
}

fn decode(
    mut decoder: Decoder,
    stream: &[u8],
    sizes: impl Iterator<Item = usize>,
) -> (Vec<Said>, Result<(), FrameError>) {
    let (mut said, mut rest) = (Vec::new(), stream);
    let mut inflater = Inflater::default();
    for size in sizes {
        if rest.is_empty() {
            break;
        }
        let (piece, later) = rest.split_at(size.min(rest.len()));
        let mut piece = piece.to_vec();
        let mut piece = &mut piece[..];
        while !piece.is_empty() {
            let (used, event) = match decoder.next(piece, &mut inflater) {
                Ok(taken) => taken,
                Err(error) => return (said, Err(error)),
            };
            assert!(used > 0, "a call took nothing");
            let event = event.map(Said::from);
            assert!(event.is_some() || used == piece.len(), "no event, but bytes were left");
            said.extend(event);
            piece = &mut piece[used..];
        }
        decoder.drop_handed_out();
        rest = later;
    }
    (said, Ok(()))
}

fn check(said: &Said, limit: usize) {
    let payload = match said {
        Said::Text(text) => text.as_bytes(),
        Said::Binary(bytes) => bytes,
        Said::Fragment(length) => return assert!(*length <= limit),
        Said::Ping(bytes) | Said::Pong(bytes) => {
            return assert!(bytes.len() <= MAX_CONTROL_PAYLOAD_BYTES);
        }
        Said::Close(None) => return,
        Said::Close(Some((code, why))) => {
            assert!(why.len() <= MAX_CONTROL_PAYLOAD_BYTES - 2);
            return assert!(matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999), "{code}");
        }
    };
    assert!(payload.len() <= limit, "{} bytes, and at most {limit}", payload.len());
    assert!(encode(Opcode::Binary, payload).ends_with(payload));
    let how = Compression { window_bits: 9, level: 1, memory_level: 1, min_bytes: 0 };
    if let Some(deflated) = compress(payload, how) {
        assert!(deflated.len() < payload.len());
        assert_eq!(Inflater::default().inflate(&deflated, payload.len()), Ok(payload));
    }
}

/// What both implementations tell: whole messages and control frames, up to the close.
fn in_other_words(said: &[Said]) -> Vec<Said> {
    let end = said.iter().position(|said| matches!(said, Said::Close(_)));
    let said = &said[..end.map_or(said.len(), |at| at + 1)];
    said.iter().filter(|said| !matches!(said, Said::Fragment(_))).cloned().collect()
}

/// What tungstenite makes of the stream.
fn others(stream: &[u8], limit: usize) -> Vec<Said> {
    struct Wire(Cursor<Vec<u8>>);
    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(1024)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit.max(MAX_CONTROL_PAYLOAD_BYTES)));
    let wire = Wire(Cursor::new(stream.to_vec()));
    let mut socket = WebSocket::from_raw_socket(wire, Role::Server, Some(config));
    let mut said = Vec::new();
    // It ends with an error: the stream's end, at the latest.
    while let Ok(message) = socket.read() {
        said.push(match message {
            Message::Text(text) => Said::Text(text.to_string()),
            Message::Binary(bytes) => Said::Binary(bytes.into()),
            Message::Ping(bytes) => Said::Ping(bytes.into()),
            Message::Pong(bytes) => Said::Pong(bytes.into()),
            Message::Close(close) => {
                said.push(Said::Close(close.map(|it| (it.code.into(), it.reason.to_string()))));
                break;
            }
            Message::Frame(_) => unreachable!("frames are not read"),
        });
    }
    said
}
