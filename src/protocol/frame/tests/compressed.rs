//! RFC 7692 against the decoder, on the ground of Autobahn|Testsuite groups 12 and 13.

use super::*;
use crate::protocol::deflate::{Compression, compress};

const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
const HOW: Compression = Compression { window_bits: 15, level: 6, memory_level: 8, min_bytes: 0 };

/// Checks what comes out of `bytes`, and how it ends, whatever the chunks.
#[track_caller]
fn check_inflating(name: &str, bytes: &[u8], said: &[Said], end: Result<(), FrameError>) {
    for size in [usize::MAX, 1, 2, 7, 4096] {
        let mut decoder = Decoder::inflating(MAX_MESSAGE_BYTES);
        let result = decode_in_chunks(&mut decoder, bytes, &[size]);
        assert!(result == (said.to_vec(), end), "{name} in chunks of {size}: {result:?}");
        decoder.drop_handed_out();
        assert!(end.is_err() || decoder.message.is_none(), "{name} leaves a buffer behind");
    }
}

#[test]
fn compressed_messages_come_out_as_they_were() {
    let long = "Hello, hello, hello! ".repeat(1000);
    let payload = compress(long.as_bytes(), HOW).expect("shorter");
    let binary = || Said::Binary(b"Hello".to_vec());
    let cases: &[(&str, Vec<u8>, &[Said])] = &[
        ("text", frames(&[(FIN | RSV1 | TEXT, &HELLO)]), &[text("Hello")]),
        ("binary", frames(&[(FIN | RSV1 | BINARY, &HELLO)]), &[binary()]),
        ("a long one", frames(&[(FIN | RSV1 | TEXT, &payload)]), &[text(&long)]),
        ("an empty one", frames(&[(FIN | RSV1 | TEXT, &[0x00])]), &[text("")]),
        ("one of no bytes", frames(&[(FIN | RSV1 | TEXT, &[])]), &[text("")]),
        (
            "section 7.2.3.1, in two fragments, with a ping between",
            frames(&[(RSV1 | TEXT, &HELLO[..3]), (FIN | PING, b"p"), (FIN, &HELLO[3..])]),
            &[Said::Fragment(3), Said::Ping(b"p".to_vec()), text("Hello")],
        ),
        (
            "fragments without bytes",
            frames(&[(RSV1 | BINARY, b""), (0, &HELLO), (FIN, b"")]),
            &[Said::Fragment(0), Said::Fragment(7), binary()],
        ),
        (
            "compressed and not, in turns",
            frames(&[
                (FIN | TEXT, b"plain"),
                (FIN | RSV1 | TEXT, &HELLO),
                (TEXT, b"pla"),
                (FIN, b"in"),
                (FIN | RSV1 | TEXT, &HELLO),
                (FIN | TEXT, &HELLO[4..4]),
            ]),
            &[
                text("plain"),
                text("Hello"),
                Said::Fragment(3),
                text("plain"),
                text("Hello"),
                text(""),
            ],
        ),
    ];
    for (name, bytes, said) in cases {
        check_inflating(name, bytes, said, Ok(()));
    }
}

#[test]
fn a_message_that_is_not_compressed_is_lent_from_the_input_though_others_may_be() {
    let mut bytes = frames(&[(FIN | TEXT, b"hello")]);
    let mut decoder = Decoder::inflating(MAX_MESSAGE_BYTES);
    take_chunk(&mut decoder, &mut bytes, &mut Vec::new()).expect("a good frame");
    assert!(decoder.message.is_none(), "{decoder:?} holds a buffer");
}

#[test]
fn the_first_reserved_bit_is_refused_where_no_message_begins() {
    for opcode in [CLOSE, PING, PONG] {
        let name = format!("opcode {opcode:#x}");
        let bytes = frames(&[(FIN | RSV1 | opcode, b"")]);
        check_inflating(&name, &bytes, &[], Err(FrameError::ReservedBits));
    }
    for start in [RSV1 | TEXT, TEXT] {
        let bytes = frames(&[(start, &HELLO[..3]), (FIN | RSV1, &HELLO[3..])]);
        let said = [Said::Fragment(3)];
        let start = match start {
            TEXT => frames(&[(TEXT, b"abc"), (FIN | RSV1, b"")]),
            _ => bytes,
        };
        check_inflating("a continuation", &start, &said, Err(FrameError::ReservedBits));
    }
    for bits in [0x20, 0x10, 0x60, 0x50, 0x30, 0x70] {
        let bytes = frames(&[(FIN | bits | TEXT, &HELLO)]);
        check_inflating("other bits", &bytes, &[], Err(FrameError::ReservedBits));
    }
    // Reserved opcodes are no message's beginning.
    let bytes = frames(&[(FIN | RSV1 | 3, b"")]);
    check_inflating("a reserved opcode", &bytes, &[], Err(FrameError::ReservedBits));
}

#[test]
fn broken_compressed_messages_are_refused() {
    let not_text = compress(&[0xC3; 64], HOW).expect("shorter");
    let bomb = compress(&vec![0; MAX_MESSAGE_BYTES + 1], HOW).expect("shorter");
    let full = compress(&vec![0; MAX_MESSAGE_BYTES], HOW).expect("shorter");
    let too_large = FrameError::TooLarge(MAX_MESSAGE_BYTES);
    let cases: &[(&str, &[u8], FrameError, u16)] = &[
        ("not deflate", b"Hello", FrameError::NotDeflate, 1007),
        ("cut", &HELLO[..3], FrameError::NotDeflate, 1007),
        ("not UTF-8", &not_text, FrameError::NotUtf8, 1007),
        ("a byte more than the limit", &bomb, too_large, 1009),
    ];
    for (name, payload, error, code) in cases {
        check_inflating(name, &frames(&[(FIN | RSV1 | TEXT, payload)]), &[], Err(*error));
        let (start, end) = payload.split_at(2);
        let fragments = frames(&[(RSV1 | TEXT, start), (FIN, end)]);
        check_inflating(name, &fragments, &[Said::Fragment(2)], Err(*error));
        assert_eq!(error.close_code().0, *code, "{name}");
    }
    let whole = Said::Binary(vec![0; MAX_MESSAGE_BYTES]);
    check_inflating("the limit", &frames(&[(FIN | RSV1 | BINARY, &full)]), &[whole], Ok(()));
    let header = header(FIN | RSV1 | TEXT, MAX_MESSAGE_BYTES as u64 + 1);
    check_inflating("too large as it arrives", &header, &[], Err(too_large));
}

#[test]
fn a_compressed_frame_is_shown_as_such() {
    let frame = encode_compressed(Opcode::Text, &HELLO);
    assert_eq!(frame[..], [&[0xC1, 7], HELLO.as_slice()].concat());
    assert_eq!(describe(&frame), "Text 7 bytes, compressed");
    assert_eq!(payload(&frame), HELLO);
}

proptest! {
    #[test]
    fn any_bytes_neither_panic_nor_come_out_longer_than_the_limit(
        bytes in almost_frames(),
        payload in vec(any::<u8>(), 0..60),
        max_message_bytes in 0..200_usize,
        chunk_sizes in vec(1..50_usize, 1..6),
    ) {
        let bytes = [frames(&[(FIN | RSV1 | BINARY, &payload)]), bytes].concat();
        let mut decoder = Decoder::inflating(max_message_bytes);
        let cut = decode_in_chunks(&mut decoder, &bytes, &chunk_sizes);
        let whole =
            decode_in_chunks(&mut Decoder::inflating(max_message_bytes), &bytes, &[usize::MAX]);
        prop_assert_eq!(&cut, &whole, "where the reads end must not matter");
        for said in cut.0 {
            if let Said::Binary(bytes) = said {
                prop_assert!(bytes.len() <= max_message_bytes);
            }
        }
    }
}
