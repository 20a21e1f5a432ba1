//! RFC 6455 against the decoder, on the ground of Autobahn|Testsuite groups 1 to 7, and properties.
//!
//! Every table runs with the bytes whole and cut into chunks of several sizes: where a read ends
//! must not matter.

mod compressed;

use super::*;
use proptest::{collection::vec, option, prelude::*, sample::Index};

const MAX_MESSAGE_BYTES: usize = 1 << 17;
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// An [`Incoming`] that owns its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
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
            Incoming::Close(close) => {
                Self::Close(close.map(|(code, reason)| (code, reason.into())))
            }
        }
    }
}

fn text(text: &str) -> Said {
    Said::Text(text.into())
}

/// A client's frame whose length is written as short as it can be.
fn masked(first_byte: u8, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first_byte, payload.len() as u64);
    frame.extend_from_slice(&key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A client's header up to the mask, which is left out.
fn header(first_byte: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first_byte];
    match length {
        0..=125 => header.push(0x80 | length as u8),
        126..=0xFFFF => {
            header.push(0x80 | 126);
            header.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend_from_slice(&length.to_be_bytes());
        }
    }
    header
}

/// Several frames, one after the other.
fn frames(list: &[(u8, &[u8])]) -> Vec<u8> {
    list.iter().flat_map(|(first_byte, payload)| masked(*first_byte, KEY, payload)).collect()
}

/// Feeds `bytes` in chunks whose sizes `chunk_sizes` repeats, up to the first error.
fn decode_in_chunks(
    decoder: &mut Decoder,
    bytes: &[u8],
    chunk_sizes: &[usize],
) -> (Vec<Said>, Result<(), FrameError>) {
    let mut said = Vec::new();
    let mut bytes = bytes;
    for size in chunk_sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (chunk, rest) = bytes.split_at((*size).min(bytes.len()));
        bytes = rest;
        if let Err(error) = take_chunk(decoder, &mut chunk.to_vec(), &mut said) {
            return (said, Err(error));
        }
    }
    (said, Ok(()))
}

fn take_chunk(
    decoder: &mut Decoder,
    mut chunk: &mut [u8],
    said: &mut Vec<Said>,
) -> Result<(), FrameError> {
    let mut inflater = Inflater::default();
    while !chunk.is_empty() {
        let (used, event) = decoder.next(chunk, &mut inflater)?;
        let event = event.map(Said::from);
        assert!(used > 0, "a call with {} bytes took none", chunk.len());
        assert!(event.is_some() || used == chunk.len(), "no event, but bytes were left");
        said.extend(event);
        chunk = &mut chunk[used..];
        assert_bounded(decoder);
    }
    Ok(())
}

fn assert_bounded(decoder: &Decoder) {
    let kept = |partial: &Option<Box<Partial>>| partial.as_ref().map_or(0, |it| it.bytes.len());
    let message = kept(&decoder.message);
    let limit = decoder.max_message_bytes;
    assert!(message <= limit, "{message} bytes are kept of a message of at most {limit}");
    let control = kept(&decoder.control);
    assert!(control <= MAX_CONTROL_PAYLOAD_BYTES, "{control} bytes are kept of a control frame");
}

/// Checks what comes out of `bytes`, and how it ends, whatever the chunks.
#[track_caller]
fn check(name: &str, bytes: &[u8], said: &[Said], end: Result<(), FrameError>) {
    // Byte by byte is slow for the longest frames and shows nothing more there.
    let sizes: &[usize] =
        if bytes.len() < 1000 { &[1, 2, 3, 7, usize::MAX] } else { &[509, 65_536] };
    for size in sizes {
        let result = decode_in_chunks(&mut Decoder::new(MAX_MESSAGE_BYTES), bytes, &[*size]);
        assert_eq!(result, (said.to_vec(), end), "{name}, in chunks of {size}");
    }
}

/// Checks that `bytes` are refused with `error`, and that it closes with `code`.
#[track_caller]
fn check_refused(name: &str, bytes: &[u8], said: &[Said], error: FrameError, code: u16) {
    check(name, bytes, said, Err(error));
    assert_eq!(error.close_code(), CloseCode(code), "{name}: the close code of {error:?}");
}

// Lengths (Autobahn 1.1, 1.2).

/// A frame: its first byte and its payload.
type Part<'a> = (u8, &'a [u8]);

#[test]
fn text_and_binary_of_every_length_form_come_out_as_sent() {
    for length in [0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, MAX_MESSAGE_BYTES] {
        let payload = vec![b'*'; length];
        let shown = format!("{length} bytes");
        let as_text = text(&"*".repeat(length));
        check(&shown, &frames(&[(FIN | TEXT, &payload)]), &[as_text], Ok(()));
        let as_binary = Said::Binary(payload.clone());
        check(&shown, &frames(&[(FIN | BINARY, &payload)]), &[as_binary], Ok(()));
    }
}

#[test]
fn a_length_in_more_bytes_than_it_needs_is_refused() {
    for first_byte in [FIN | TEXT, FIN | BINARY, TEXT] {
        for length in [0_u16, 1, 125] {
            let mut bytes = vec![first_byte, 0x80 | 126];
            bytes.extend_from_slice(&length.to_be_bytes());
            let name = format!("{length} in 16 bits");
            check_refused(&name, &bytes, &[], FrameError::LengthNotMinimal, 1002);
        }
        for length in [0_u64, 125, 126, 65_535] {
            let mut bytes = vec![first_byte, 0x80 | 127];
            bytes.extend_from_slice(&length.to_be_bytes());
            let name = format!("{length} in 64 bits");
            check_refused(&name, &bytes, &[], FrameError::LengthNotMinimal, 1002);
        }
    }
}

#[test]
fn a_64_bit_length_with_its_highest_bit_set_is_refused() {
    for length in [1 << 63, u64::MAX] {
        let bytes = header(FIN | BINARY, length);
        check_refused(&format!("{length:#x}"), &bytes, &[], FrameError::LengthNegative, 1002);
    }
}

#[test]
fn a_message_that_is_too_large_is_refused_from_its_header_alone() {
    let error = FrameError::TooLarge(MAX_MESSAGE_BYTES);
    for first_byte in [FIN | TEXT, FIN | BINARY, TEXT, BINARY] {
        for length in
            [MAX_MESSAGE_BYTES as u64 + 1, 100 << 20, u64::from(u32::MAX), i64::MAX as u64]
        {
            let name = format!("{first_byte:#x} with {length} bytes");
            check_refused(&name, &header(first_byte, length), &[], error, 1009);
        }
    }
}

#[test]
fn fragments_that_are_too_large_together_are_refused_from_the_last_header_alone() {
    let first = vec![b'a'; MAX_MESSAGE_BYTES - 10];
    let full = vec![b'a'; MAX_MESSAGE_BYTES];
    let first_said = Said::Fragment(first.len());
    let cases = [
        ("one byte too many", first.clone(), header(FIN, 11), first_said.clone()),
        ("and more follows", first.clone(), header(0, 11), first_said.clone()),
        ("nothing fits any more", full.clone(), header(FIN, 1), Said::Fragment(full.len())),
        ("a sum that would overflow", first, header(FIN, i64::MAX as u64), first_said),
    ];
    for (name, start, last_header, said) in cases {
        for kind in [TEXT, BINARY] {
            let bytes = [masked(kind, KEY, &start), last_header.clone()].concat();
            let error = FrameError::TooLarge(MAX_MESSAGE_BYTES);
            check_refused(name, &bytes, std::slice::from_ref(&said), error, 1009);
        }
    }
}

#[test]
fn fragments_that_fill_the_limit_exactly_pass_and_the_next_message_has_all_of_it_again() {
    let half = vec![0; MAX_MESSAGE_BYTES / 2];
    let whole = vec![0; MAX_MESSAGE_BYTES];
    let bytes = frames(&[(BINARY, &half), (0, &half), (FIN, b""), (FIN | BINARY, &whole)]);
    let half = Said::Fragment(half.len());
    let whole = Said::Binary(whole);
    check("exactly", &bytes, &[half.clone(), half, whole.clone(), whole], Ok(()));
}

// Pings and pongs (Autobahn 2).

#[test]
fn pings_and_pongs_carry_up_to_125_bytes() {
    for payload in [vec![], b"hello".to_vec(), vec![0, 255, 254, 253], vec![0xFE; 125]] {
        let bytes = frames(&[(FIN | PING, &payload), (FIN | PONG, &payload)]);
        let said = [Said::Ping(payload.clone()), Said::Pong(payload)];
        check("ping, pong", &bytes, &said, Ok(()));
    }
    let ten: Vec<_> = (0..10).map(|number| (FIN | PING, [number])).collect();
    let bytes: Vec<_> = ten.iter().flat_map(|(first, one)| masked(*first, KEY, one)).collect();
    let said: Vec<_> = (0..10).map(|number| Said::Ping(vec![number])).collect();
    check("ten pings", &bytes, &said, Ok(()));
}

#[test]
fn a_control_frame_with_more_than_125_bytes_is_refused_from_its_first_two_bytes() {
    for opcode in [PING, PONG, CLOSE] {
        for length in [126, 127] {
            let bytes = [FIN | opcode, 0x80 | length];
            let name = format!("opcode {opcode:#x} with the length byte {length}");
            check_refused(&name, &bytes, &[], FrameError::LongControl, 1002);
        }
    }
}

// Reserved bits and opcodes (Autobahn 3, 4).

#[test]
fn every_reserved_bit_is_refused_on_every_frame() {
    for bits in [0x40, 0x20, 0x10, 0x60, 0x50, 0x30, 0x70] {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
            let name = format!("bits {bits:#x} on opcode {opcode:#x}");
            let bad = frames(&[(FIN | bits | opcode, b"")]);
            check_refused(&name, &bad, &[], FrameError::ReservedBits, 1002);
            let after = [frames(&[(FIN | TEXT, b"a")]), bad].concat();
            check_refused(&name, &after, &[text("a")], FrameError::ReservedBits, 1002);
        }
        let continued = frames(&[(TEXT, b"a"), (FIN | bits, b"b")]);
        let name = format!("bits {bits:#x} on a continuation");
        check_refused(&name, &continued, &[Said::Fragment(1)], FrameError::ReservedBits, 1002);
    }
}

#[test]
fn every_reserved_opcode_is_refused() {
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        let error = FrameError::ReservedOpcode(opcode);
        for payload in [b"".as_slice(), b"payload"] {
            let name = format!("opcode {opcode:#x}");
            let bytes = frames(&[(FIN | opcode, payload)]);
            check_refused(&name, &bytes, &[], error, 1002);
            let after = frames(&[(FIN | TEXT, b"a"), (FIN | opcode, payload), (FIN | PING, b"")]);
            check_refused(&name, &after, &[text("a")], error, 1002);
            let inside = frames(&[(TEXT, b"a"), (opcode, payload)]);
            check_refused(&name, &inside, &[Said::Fragment(1)], error, 1002);
        }
    }
}

#[test]
fn a_frame_without_a_mask_is_refused() {
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        for payload in [b"".as_slice(), b"payload"] {
            let mut bytes = vec![FIN | opcode, payload.len() as u8];
            bytes.extend_from_slice(payload);
            let name = format!("opcode {opcode:#x} with {} bytes", payload.len());
            check_refused(&name, &bytes, &[], FrameError::NotMasked, 1002);
        }
    }
}

// Fragmentation (Autobahn 5).

#[test]
fn a_fragmented_message_comes_out_whole() {
    let ping = || Said::Ping(b"p".to_vec());
    let pong = || Said::Pong(b"q".to_vec());
    let fragment = Said::Fragment;
    let cases: &[(&str, &[Part], &[Said])] = &[
        ("two parts", &[(TEXT, b"ab"), (FIN, b"c")], &[fragment(2), text("abc")]),
        (
            "bytes in three parts",
            &[(BINARY, b"a"), (0, b"b"), (FIN, b"c")],
            &[fragment(1), fragment(1), Said::Binary(b"abc".to_vec())],
        ),
        (
            "a ping in between",
            &[(TEXT, b"a"), (FIN | PING, b"p"), (FIN, b"b")],
            &[fragment(1), ping(), text("ab")],
        ),
        (
            "control frames between all parts",
            &[
                (FIN | PONG, b"q"),
                (TEXT, b"a"),
                (FIN | PING, b"p"),
                (0, b"b"),
                (FIN | PONG, b"q"),
                (FIN, b"c"),
            ],
            &[pong(), fragment(1), ping(), fragment(1), pong(), text("abc")],
        ),
        (
            "empty parts",
            &[(TEXT, b""), (0, b""), (FIN, b"")],
            &[fragment(0), fragment(0), text("")],
        ),
        (
            "empty parts around a full one",
            &[(TEXT, b""), (0, b"a"), (FIN, b"")],
            &[fragment(0), fragment(1), text("a")],
        ),
        (
            "one message after another",
            &[(TEXT, b"a"), (FIN, b"b"), (FIN | TEXT, b"c"), (BINARY, b"d"), (FIN, b"")],
            &[fragment(1), text("ab"), text("c"), fragment(1), Said::Binary(b"d".to_vec())],
        ),
        (
            "a close before the end",
            &[(TEXT, b"a"), (FIN | CLOSE, b"\x03\xE8")],
            &[fragment(1), Said::Close(Some((1000, String::new())))],
        ),
    ];
    for (name, list, said) in cases {
        check(name, &frames(list), said, Ok(()));
    }
}

#[test]
fn fragments_in_a_wrong_order_are_refused() {
    use FrameError::{FragmentedControl, MessageUnfinished, NothingToContinue};
    let one = || Said::Fragment(1);
    let cases: &[(&str, &[Part], &[Said], FrameError)] = &[
        ("a last part without a first", &[(FIN, b"a")], &[], NothingToContinue),
        ("a middle part without a first", &[(0, b"a")], &[], NothingToContinue),
        ("an empty part without a first", &[(FIN, b"")], &[], NothingToContinue),
        (
            "a part after a whole message",
            &[(FIN | TEXT, b"a"), (FIN, b"b")],
            &[text("a")],
            NothingToContinue,
        ),
        (
            "a part after the last",
            &[(TEXT, b"a"), (FIN, b"b"), (0, b"c")],
            &[one(), text("ab")],
            NothingToContinue,
        ),
        (
            "a part after a ping alone",
            &[(FIN | PING, b""), (FIN, b"a")],
            &[Said::Ping(vec![])],
            NothingToContinue,
        ),
        ("text inside text", &[(TEXT, b"a"), (FIN | TEXT, b"b")], &[one()], MessageUnfinished),
        ("bytes inside text", &[(TEXT, b"a"), (BINARY, b"b")], &[one()], MessageUnfinished),
        (
            "text after a ping inside bytes",
            &[(BINARY, b"a"), (FIN | PING, b""), (TEXT, b"b")],
            &[one(), Said::Ping(vec![])],
            MessageUnfinished,
        ),
        (
            "text after an empty first part",
            &[(TEXT, b""), (FIN | TEXT, b"b")],
            &[Said::Fragment(0)],
            MessageUnfinished,
        ),
        ("a ping in parts", &[(PING, b"a"), (FIN, b"b")], &[], FragmentedControl),
        ("a pong in parts", &[(PONG, b""), (FIN, b"")], &[], FragmentedControl),
        ("a close in parts", &[(CLOSE, b"\x03\xE8"), (FIN, b"")], &[], FragmentedControl),
        (
            "a ping in parts inside a message",
            &[(TEXT, b"a"), (PING, b"")],
            &[one()],
            FragmentedControl,
        ),
    ];
    for (name, list, said, error) in cases {
        check_refused(name, &frames(list), said, *error, 1002);
    }
}

// UTF-8 (Autobahn 6).

const GOOD_TEXTS: &[&str] = &[
    "\0",
    "\u{7F}",
    "\u{80}\u{7FF}",
    "\u{800}\u{FFFF}",
    "\u{D7FF}\u{E000}\u{FFFD}",
    "\u{10000}\u{10FFFF}",
    "\u{FFFE}\u{1FFFE}",
    "κόσμε",
    "a é 你好 😀 z",
];

#[test]
fn good_text_passes_split_at_every_byte() {
    for good in GOOD_TEXTS {
        let bytes = good.as_bytes();
        check(good, &frames(&[(FIN | TEXT, bytes)]), &[text(good)], Ok(()));
        for at in 0..=bytes.len() {
            let (start, end) = bytes.split_at(at);
            let said = [Said::Fragment(start.len()), text(good)];
            let name = format!("{good:?} split at byte {at}");
            check(&name, &frames(&[(TEXT, start), (FIN, end)]), &said, Ok(()));
            let with_ping = frames(&[(TEXT, start), (FIN | PING, b"\xFF"), (FIN, end)]);
            let said = [said[0].clone(), Said::Ping(vec![0xFF]), said[1].clone()];
            check(&name, &with_ping, &said, Ok(()));
        }
        let (last, others) = bytes.split_last().expect("not empty");
        let mut bytes = masked(TEXT, KEY, b"");
        others.iter().for_each(|byte| bytes.extend(masked(0, KEY, &[*byte])));
        bytes.extend(masked(FIN, KEY, &[*last]));
        let mut said = vec![Said::Fragment(0)];
        said.extend(others.iter().map(|_| Said::Fragment(1)));
        said.push(text(good));
        check("each byte a frame", &bytes, &said, Ok(()));
    }
}

/// Not UTF-8, and wrong at the last byte at the latest, whatever would follow.
const BAD_TEXTS: &[(&str, &[u8])] = &[
    ("a continuation byte alone", b"\x80"),
    ("the last continuation byte alone", b"ok\xBF"),
    ("a byte that is never used: FE", b"\xFE"),
    ("a byte that is never used: FF", b"\xFF"),
    ("2 bytes, overlong: C0 80", b"\xC0\x80"),
    ("2 bytes, overlong: C1 BF", b"\xC1\xBF"),
    ("3 bytes, overlong", b"\xE0\x80\xAF"),
    ("3 bytes, overlong: the last such", b"\xE0\x9F\xBF"),
    ("4 bytes, overlong", b"\xF0\x80\x80\xAF"),
    ("4 bytes, overlong: the last such", b"\xF0\x8F\xBF\xBF"),
    ("the first surrogate", b"\xED\xA0\x80"),
    ("the last surrogate", b"\xED\xBF\xBF"),
    ("a pair of surrogates", b"\xED\xA0\x80\xED\xB0\x80"),
    ("beyond U+10FFFF", b"\xF4\x90\x80\x80"),
    ("F5 and up", b"\xF5\x80\x80\x80"),
    ("5 bytes", b"\xF8\x88\x80\x80\x80"),
    ("6 bytes", b"\xFC\x84\x80\x80\x80\x80"),
    ("2 bytes, cut by a letter", b"\xC3a"),
    ("3 bytes, cut by a letter", b"\xE4\xBDa"),
    ("4 bytes, cut by another character", b"\xF0\x9F\x98\xC3\xA9"),
    ("Autobahn 6.3.1", b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited"),
];

#[test]
fn text_that_is_not_utf_8_is_refused_split_at_every_byte() {
    for (name, bad) in BAD_TEXTS {
        let error = FrameError::NotUtf8;
        check_refused(name, &frames(&[(FIN | TEXT, bad)]), &[], error, 1007);
        for at in 0..bad.len() {
            let (start, end) = bad.split_at(at);
            let bytes = frames(&[(TEXT, start), (FIN, end)]);
            // A start that is wrong by itself is refused before its frame is handed out.
            let is_wrong_already =
                std::str::from_utf8(start).is_err_and(|error| error.error_len().is_some());
            let said = if is_wrong_already { vec![] } else { vec![Said::Fragment(at)] };
            check_refused(&format!("{name}, split at byte {at}"), &bytes, &said, error, 1007);
        }
    }
}

#[test]
fn text_that_ends_inside_a_character_is_refused() {
    for cut in [b"\xC3".as_slice(), b"\xE4\xBD", b"\xF0\x9F\x98", b"ok \xE4"] {
        let error = FrameError::NotUtf8;
        check_refused("one frame", &frames(&[(FIN | TEXT, cut)]), &[], error, 1007);
        let parts = frames(&[(TEXT, cut), (FIN, b"")]);
        check_refused("an empty end", &parts, &[Said::Fragment(cut.len())], error, 1007);
    }
}

#[test]
fn bytes_and_pings_need_not_be_utf_8() {
    for (name, bad) in BAD_TEXTS {
        let bytes = frames(&[(FIN | BINARY, bad), (FIN | PING, bad)]);
        check(name, &bytes, &[Said::Binary(bad.to_vec()), Said::Ping(bad.to_vec())], Ok(()));
    }
}

#[test]
fn text_is_refused_at_its_first_wrong_byte_though_its_message_goes_on() {
    for (name, bad) in BAD_TEXTS {
        let whole = [bad, b" and so on".as_slice()].concat();
        let unfinished = frames(&[(TEXT, &whole)]);
        check_refused(name, &unfinished, &[], FrameError::NotUtf8, 1007);
        // The frame says 1,000 bytes; only the wrong ones have arrived.
        let mut part = masked(FIN | TEXT, KEY, &[bad, [b'a'; 1000].as_slice()].concat());
        part.truncate(part.len() - 1000);
        check_refused(name, &part, &[], FrameError::NotUtf8, 1007);
    }
}

// Close (Autobahn 7).

fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [code.to_be_bytes().as_slice(), reason].concat()
}

#[test]
fn good_close_frames_are_read() {
    let none = frames(&[(FIN | CLOSE, b"")]);
    check("no code", &none, &[Said::Close(None)], Ok(()));
    let codes = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ];
    for code in codes {
        for reason in ["", "bye", "再见", &"r".repeat(123)] {
            let bytes = frames(&[(FIN | CLOSE, &close_payload(code, reason.as_bytes()))]);
            let said = Said::Close(Some((code, reason.into())));
            check(&format!("code {code} and {reason:?}"), &bytes, &[said], Ok(()));
        }
    }
}

#[test]
fn a_close_code_that_must_not_be_sent_is_refused() {
    let codes =
        [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 32_768, 65_535];
    for code in codes {
        for reason in [b"".as_slice(), b"why"] {
            let bytes = frames(&[(FIN | CLOSE, &close_payload(code, reason))]);
            let error = FrameError::CloseCode(code);
            check_refused(&format!("code {code}"), &bytes, &[], error, 1002);
        }
    }
}

#[test]
fn broken_close_frames_are_refused() {
    let long = close_payload(1000, &[b'r'; 124]);
    let cases = [
        ("a payload of one byte", b"\x03".to_vec(), FrameError::CloseTooShort, 1002),
        ("a reason of 124 bytes", long, FrameError::LongControl, 1002),
        ("a reason that is not UTF-8", close_payload(1000, b"\xFF"), FrameError::NotUtf8, 1007),
        ("a reason cut short", close_payload(1000, b"ok\xE4\xBD"), FrameError::NotUtf8, 1007),
        (
            "a surrogate in the reason",
            close_payload(4000, b"\xED\xA0\x80"),
            FrameError::NotUtf8,
            1007,
        ),
    ];
    for (name, payload, error, code) in cases {
        check_refused(name, &frames(&[(FIN | CLOSE, &payload)]), &[], error, code);
    }
}

// What a decoder holds.

#[test]
fn an_error_tells_a_person_what_is_wrong() {
    let cases = [
        (FrameError::ReservedOpcode(0xB), "opcode 0xb is reserved"),
        (FrameError::CloseCode(1006), "close code 1006 must not be sent"),
        (FrameError::TooLarge(65_536), "a message holds at most 65536 bytes"),
    ];
    for (error, shown) in cases {
        assert_eq!(error.to_string(), shown);
    }
}

#[test]
fn a_message_that_arrives_whole_is_lent_from_the_input() {
    let mut bytes = frames(&[(FIN | TEXT, b"hello"), (FIN | PING, b"p")]);
    let mut decoder = Decoder::new(MAX_MESSAGE_BYTES);
    let mut said = Vec::new();
    take_chunk(&mut decoder, &mut bytes, &mut said).expect("good frames");
    assert_eq!(said, [text("hello"), Said::Ping(b"p".to_vec())]);
    assert!(decoder.message.is_none() && decoder.control.is_none(), "{decoder:?} holds a buffer");
}

#[test]
fn a_large_length_reserves_no_memory() {
    let mut decoder = Decoder::new(64 << 20);
    let mut head = header(FIN | BINARY, 64 << 20);
    head.extend_from_slice(&KEY);
    let mut inflater = Inflater::default();
    let result = decoder.next(&mut head, &mut inflater);
    let result = result.map(|(used, event)| (used, event.is_none()));
    assert_eq!(result, Ok((14, true)), "the header is taken and the payload is waited for");
    let reserved = decoder.message.map_or(0, |partial| partial.bytes.capacity());
    assert_eq!(reserved, 0, "{reserved} bytes were reserved for a payload that was only announced");
}

// Properties.

/// One message, cut into frames, with control frames before each of them.
#[derive(Debug, Clone)]
struct Letter {
    message: Said,
    cuts: Vec<Index>,
    controls: Vec<Option<Said>>,
}

impl Letter {
    fn payload(&self) -> &[u8] {
        match &self.message {
            Said::Text(text) => text.as_bytes(),
            Said::Binary(bytes) => bytes,
            other => panic!("no letter says {other:?}"),
        }
    }

    /// The frames, and what the decoder says of each.
    fn frames(&self) -> Vec<(u8, Vec<u8>, Said)> {
        let payload = self.payload();
        let mut ends: Vec<_> = self.cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(payload.len());
        let mut controls = self.controls.iter().flatten();
        let mut opcode = if matches!(self.message, Said::Text(_)) { TEXT } else { BINARY };
        let (mut start, mut frames) = (0, Vec::new());
        for (number, end) in ends.iter().enumerate() {
            frames.extend(controls.next().map(control_frame));
            let is_last = number + 1 == ends.len();
            let part = payload[start..*end].to_vec();
            let said = if is_last { self.message.clone() } else { Said::Fragment(part.len()) };
            frames.push((if is_last { FIN | opcode } else { opcode }, part, said));
            (start, opcode) = (*end, 0);
        }
        frames
    }
}

fn control_frame(control: &Said) -> (u8, Vec<u8>, Said) {
    match control {
        Said::Ping(bytes) => (FIN | PING, bytes.clone(), control.clone()),
        Said::Pong(bytes) => (FIN | PONG, bytes.clone(), control.clone()),
        other => panic!("no control frame says {other:?}"),
    }
}

fn any_message() -> impl Strategy<Value = Said> {
    prop_oneof![
        4 => any::<String>().prop_map(Said::Text),
        4 => vec(any::<u8>(), 0..300).prop_map(Said::Binary),
        1 => ("\\PC{1,3}", 100..6000_usize).prop_map(|(unit, count)| Said::Text(unit.repeat(count))),
        1 => (any::<u8>(), 65_500..65_600_usize)
            .prop_map(|(byte, length)| Said::Binary(vec![byte; length])),
    ]
}

fn any_control() -> impl Strategy<Value = Said> {
    let payload = || vec(any::<u8>(), 0..=MAX_CONTROL_PAYLOAD_BYTES);
    prop_oneof![payload().prop_map(Said::Ping), payload().prop_map(Said::Pong)]
}

fn any_letter() -> impl Strategy<Value = Letter> {
    (any_message(), vec(any::<Index>(), 0..5), vec(option::of(any_control()), 5))
        .prop_map(|(message, cuts, controls)| Letter { message, cuts, controls })
}

/// Bytes that get past the first two checks often enough to reach the later ones.
fn almost_frames() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..20),
        (any::<u8>(), any::<u8>()).prop_map(|(first, second)| vec![first & 0x8F, second | 0x80]),
        (any::<u8>(), vec(any::<u8>(), 0..130)).prop_map(|(first, payload)| masked(
            first & 0x8F,
            KEY,
            &payload
        )),
        (prop::sample::select(vec![0, TEXT, BINARY]), "\\PC{0,50}")
            .prop_map(|(first, payload)| masked(first, KEY, payload.as_bytes())),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn any_opcode() -> impl Strategy<Value = Opcode> {
    use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};
    prop::sample::select(vec![Continuation, Text, Binary, Close, Ping, Pong])
}

/// Reads one frame as a client does: first byte, payload, and whatever follows.
fn read_as_client(frame: &[u8]) -> (u8, &[u8], &[u8]) {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let (start, length) = match frame[1] {
        short @ 0..=125 => (2, usize::from(short)),
        126 => (4, number(&frame[2..4])),
        127 => (10, number(&frame[2..10])),
        masked => panic!("a server's frame must not be masked: second byte {masked:#x}"),
    };
    (frame[0], &frame[start..start + length], &frame[start + length..])
}

proptest! {
    #[test]
    fn what_is_sent_comes_out_however_it_is_framed_masked_and_cut(
        letters in vec(any_letter(), 1..6),
        keys in vec(any::<[u8; 4]>(), 1..5),
        chunk_sizes in vec(1..400_usize, 1..10),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        let sent = letters.iter().flat_map(Letter::frames);
        for ((first_byte, payload, said), key) in sent.zip(keys.iter().cycle()) {
            bytes.extend(masked(first_byte, *key, &payload));
            expected.push(said);
        }
        let mut decoder = Decoder::new(MAX_MESSAGE_BYTES);
        let (said, end) = decode_in_chunks(&mut decoder, &bytes, &chunk_sizes);
        prop_assert_eq!(end, Ok(()));
        prop_assert!(said == expected, "{said:?}\nis not what was sent:\n{expected:?}");
    }

    #[test]
    fn any_bytes_neither_panic_nor_make_the_decoder_keep_more_than_its_limit(
        bytes in almost_frames(),
        max_message_bytes in 0..200_usize,
        chunk_sizes in vec(1..50_usize, 1..6),
    ) {
        // take_chunk checks after each call what is kept.
        let mut decoder = Decoder::new(max_message_bytes);
        let cut = decode_in_chunks(&mut decoder, &bytes, &chunk_sizes);
        let message = decoder.message.map_or(0, |partial| partial.bytes.capacity());
        prop_assert!(message <= 2 * max_message_bytes.max(8), "{message} bytes are reserved");
        let whole =
            decode_in_chunks(&mut Decoder::new(max_message_bytes), &bytes, &[usize::MAX]);
        prop_assert_eq!(cut, whole, "where the reads end must not matter");
    }

    #[test]
    fn a_client_reads_what_was_encoded(
        opcode in any_opcode(),
        byte in any::<u8>(),
        length in prop_oneof![0..300_usize, 65_400..65_700_usize],
    ) {
        let payload = vec![byte; length];
        let frame = encode(opcode, &payload);
        let (first_byte, read, rest) = read_as_client(&frame);
        prop_assert_eq!(first_byte, FIN | opcode as u8);
        prop_assert!(read == payload, "{} bytes came back as {}", length, read.len());
        prop_assert!(rest.is_empty(), "{} bytes too many", rest.len());
        let header_bytes = frame.len() - length;
        let shortest = match length { 0..=125 => 2, 126..=0xFFFF => 4, _ => 10 };
        prop_assert_eq!(header_bytes, shortest, "the length must be written minimally");
    }

    #[test]
    fn an_encoded_close_always_fits_and_its_reason_is_cut_at_a_character(
        code in 1000..5000_u16,
        reason in "\\PC{0,200}",
    ) {
        let frame = encode_close(CloseCode(code), &reason);
        let (first_byte, payload, rest) = read_as_client(&frame);
        prop_assert_eq!((first_byte, rest.len()), (FIN | CLOSE, 0));
        prop_assert!(payload.len() <= MAX_CONTROL_PAYLOAD_BYTES);
        let (head, kept) = payload.split_at(2);
        prop_assert_eq!(head, code.to_be_bytes());
        let kept = std::str::from_utf8(kept).expect("cut at a character");
        prop_assert!(reason.starts_with(kept));
        let is_whole = kept.len() == reason.len();
        prop_assert!(is_whole || kept.len() > MAX_CONTROL_PAYLOAD_BYTES - 2 - 4, "cut too early");
    }
}
