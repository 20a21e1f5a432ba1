//! How things are written as values of the storage engine. The engine trusts its pages on ordinary
//! reads, so each value carries a checksum of its own, over its place as well.
//!
//! All numbers are little-endian.
//!
//! | value    | place               | bytes                                                   |
//! |----------|---------------------|---------------------------------------------------------|
//! | batch    | its first position  | CRC-32, u32 count, then each record as u32 length, bytes |
//! | snapshot | its position        | CRC-32, bytes                                           |
//! | header   | 0                   | CRC-32, u64 format, u64 epoch                           |

use bytes::Bytes;

/// A checksum and a number, before what the number says.
const BATCH_HEAD: usize = 8;

fn checksum(place: u64, rest: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.to_le_bytes());
    hasher.update(rest);
    hasher.finalize().to_le_bytes()
}

/// Puts the checksum into the first four bytes of `value`, which are left free for it.
fn seal(place: u64, mut value: Vec<u8>) -> Vec<u8> {
    let sum = checksum(place, &value[4..]);
    value[..4].copy_from_slice(&sum);
    value
}

/// What stands after the checksum, if that is right.
fn open(place: u64, value: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = value.split_at_checked(4)?;
    (sum == checksum(place, rest)).then_some(rest)
}

/// The bytes that [`encode_batch`] makes of `records`.
pub fn batch_len(records: &[Bytes]) -> usize {
    BATCH_HEAD + records.iter().map(|record| 4 + record.len()).sum::<usize>()
}

/// A batch whose first record has position `first`. Its [`batch_len`] must fit into a u32.
pub fn encode_batch(first: u64, records: &[Bytes]) -> Vec<u8> {
    let mut value = Vec::with_capacity(batch_len(records));
    value.extend([0; 4]);
    value.extend((records.len() as u32).to_le_bytes());
    for record in records {
        value.extend((record.len() as u32).to_le_bytes());
        value.extend_from_slice(record);
    }
    seal(first, value)
}

/// The records of a batch; `None` if it is not what was written.
pub fn decode_batch(first: u64, value: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, mut rest) = open(first, value)?.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(*count) as usize;
    let mut records = Vec::new();
    while let Some((len, tail)) = rest.split_first_chunk::<4>() {
        let (record, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        records.push(record);
        rest = tail;
    }
    (rest.is_empty() && records.len() == count && count > 0).then_some(records)
}

/// A snapshot of all up to `position`.
pub fn encode_snapshot(position: u64, bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(4 + bytes.len());
    value.extend([0; 4]);
    value.extend_from_slice(bytes);
    seal(position, value)
}

/// What a snapshot says; `None` if it is not what was written.
pub fn decode_snapshot(position: u64, value: &[u8]) -> Option<&[u8]> {
    open(position, value)
}

/// The header of a journal. Later formats must begin with the same bytes.
pub fn encode_header(format: u64, epoch: u64) -> Vec<u8> {
    seal(0, [&[0; 4][..], &format.to_le_bytes(), &epoch.to_le_bytes()].concat())
}

/// Format and epoch; `None` if it is not what was written.
pub fn decode_header(value: &[u8]) -> Option<(u64, u64)> {
    let (format, rest) = open(0, value)?.split_first_chunk::<8>()?;
    let epoch = rest.first_chunk::<8>()?;
    Some((u64::from_le_bytes(*format), u64::from_le_bytes(*epoch)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_as_it_was_written() {
        let records = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from(vec![7; 70_000])];
        let value = encode_batch(5, &records);
        assert_eq!(value.len(), batch_len(&records));
        assert_eq!(decode_batch(5, &value), Some(records.iter().map(|r| &r[..]).collect()));
        assert_eq!(decode_batch(6, &value), None, "a batch in another's place is no batch");
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        let values = [
            encode_batch(5, &[Bytes::from_static(b"one"), Bytes::from_static(b"two")]),
            encode_snapshot(5, b"all there is"),
            encode_header(1, 0xabcd),
        ];
        let is_sound = |value: &[u8]| {
            [
                decode_batch(5, value).is_some(),
                decode_snapshot(5, value).is_some(),
                decode_header(value).is_some(),
            ]
        };
        for (kind, value) in values.iter().enumerate() {
            assert!(is_sound(value)[kind], "value {kind} is sound as written");
            for bit in 0..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_sound(&flipped)[kind], "bit {bit} of value {kind} flipped unnoticed");
            }
            for len in 0..value.len() {
                assert!(!is_sound(&value[..len])[kind], "value {kind} cut at {len} unnoticed");
            }
        }
    }
}
