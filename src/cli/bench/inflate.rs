//! Compressed messages (RFC 7692).

use super::{
    error::BenchError,
    event::{Event, Reader},
};
use statesync::protocol::deflate::Inflater;

/// A message may have so many bytes. As many as `connect` takes.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// So many messages are remembered: more than one client is sent at once.
const REMEMBERED: usize = 256;
/// Only compressed payloads up to this length are: events of a counter have some 40 bytes.
const LONGEST_REMEMBERED_BYTES: usize = 256;

/// Reads compressed messages. A server sends the same bytes to all clients, so the load need not
/// inflate them for each.
pub struct Compressed {
    inflater: Inflater,
    remembered: Vec<(Vec<u8>, Event)>,
}

impl Compressed {
    /// Knows no message yet.
    pub fn new() -> Self {
        Self {
            inflater: Inflater::default(),
            remembered: vec![(Vec::new(), Event::Other); REMEMBERED],
        }
    }

    /// Reads the message whose compressed payload this is.
    ///
    /// # Errors
    /// [`BenchError::Protocol`] if it is none; as [`Reader::read`].
    pub fn read(&mut self, payload: &[u8], reader: &mut Reader) -> Result<Event, BenchError> {
        if payload.len() > LONGEST_REMEMBERED_BYTES {
            return self.inflate(payload, reader);
        }
        let slot = crc32fast::hash(payload) as usize % REMEMBERED;
        let (known, event) = &self.remembered[slot];
        if known == payload && !payload.is_empty() {
            return Ok(*event);
        }
        let event = self.inflate(payload, reader)?;
        let remembered = &mut self.remembered[slot];
        remembered.0.clear();
        remembered.0.extend_from_slice(payload);
        remembered.1 = event;
        Ok(event)
    }

    fn inflate(&mut self, payload: &[u8], reader: &mut Reader) -> Result<Event, BenchError> {
        let text = self.inflater.inflate(payload, MAX_MESSAGE_BYTES);
        let text = text.map_err(|error| {
            BenchError::Protocol(format!("a compressed frame that cannot be read: {error:?}"))
        })?;
        reader.read(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::options::Protocol;
    use statesync::protocol::{Compression, deflate::compress};

    #[test]
    fn messages_are_read_again_and_again_and_never_taken_for_each_other() {
        let how = Compression { window_bits: 15, level: 1, memory_level: 8, min_bytes: 0 };
        let (mut compressed, mut reader) = (Compressed::new(), Reader::new(Protocol::Classic));
        for _ in 0..2 {
            for value in 0..2_000 {
                let text =
                    format!(r#"{{"type":"state","value":{value},"and":"{}"}}"#, "x".repeat(99));
                let payload = compress(text.as_bytes(), how).expect("it becomes shorter");
                let event = compressed.read(&payload, &mut reader).expect("a good message");
                assert_eq!(event, Event::Shown(value));
            }
        }
    }

    #[test]
    fn what_is_not_compressed_is_an_error() {
        let (mut compressed, mut reader) = (Compressed::new(), Reader::new(Protocol::Classic));
        let read = compressed.read(b"\xff\xff\xff", &mut reader);
        assert!(matches!(read, Err(BenchError::Protocol(_))));
    }
}
