//! RFC 7692's examples, and properties.

use super::*;
use proptest::{collection::vec, prelude::*};

const USUAL: Compression = Compression { window_bits: 15, level: 6, memory_level: 8, min_bytes: 0 };
const MAX_BYTES: usize = 1 << 20;

/// "Hello", as section 7.2.3.1 has it.
const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];

fn inflated(payload: &[u8], max_bytes: usize) -> Result<Vec<u8>, FrameError> {
    Inflater::default().inflate(payload, max_bytes).map(<[u8]>::to_vec)
}

/// Zeros, of which DEFLATE makes a thousandth.
fn bomb(bytes: usize) -> Vec<u8> {
    compress(&vec![0; bytes], USUAL).expect("zeros get shorter")
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("7.2.3.1, one block", &HELLO, "Hello"),
        (
            "7.2.3.2, the second of two messages, without a context",
            &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00],
            "Hello",
        ),
        (
            "7.2.3.3, a block without compression",
            &[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00],
            "Hello",
        ),
        (
            "7.2.3.4, a block that says it is the last",
            &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
            "Hello",
        ),
        (
            "7.2.3.5, two blocks",
            &[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
            "Hello",
        ),
        ("7.2.3.6, an empty message", &[0x00], ""),
        ("no bytes at all", &[], ""),
        (
            "two blocks, both the last",
            &[
                0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00,
                0x00,
            ],
            "HelloHello",
        ),
    ];
    for (name, payload, message) in cases {
        assert_eq!(inflated(payload, MAX_BYTES), Ok(message.as_bytes().to_vec()), "{name}");
    }
}

#[test]
fn the_example_of_the_rfc_is_written() {
    assert_eq!(compress_below(100, b"Hello", USUAL).as_deref(), Some(&HELLO[..]));
    assert_eq!(compress_below(100, b"", USUAL).as_deref(), Some(&[0x00][..]));
}

#[test]
fn what_would_not_get_shorter_is_not_compressed() {
    for payload in [&b""[..], b"Hello", br#"{"type": "state", "value": 7}"#] {
        assert_eq!(compress(payload, USUAL), None, "{payload:?}");
    }
    let doubled = br#"{"type":"state"}{"type":"state"}"#;
    assert!(compress(doubled, USUAL).is_some_and(|short| short.len() < doubled.len()));
}

#[test]
fn what_is_not_deflate_or_not_whole_is_refused() {
    let long = compress(&b"one and two and three and four and ".repeat(9), USUAL).expect("shorter");
    let cases: &[(&str, &[u8])] = &[
        ("a block of no known type", &[0x07]),
        ("a length that does not fit its complement", &[0x00, 0x05, 0x00, 0xFA, 0xFE, 0x00]),
        ("a distance before the beginning", &[0x4B, 0x04, 0x62, 0x00]),
        ("a message cut in its middle", &long[..long.len() / 2]),
        ("a message without its last byte", &long[..long.len() - 1]),
        ("a stored block cut", &[0x00, 0x06, 0x00, 0xF9, 0xFF, 0x48]),
        ("a context of another message (7.2.3.2)", &[0xF2, 0x00, 0x11, 0x00, 0x00]),
        ("text", b"Hello"),
        ("the tail that is to be left out", &[HELLO.as_slice(), &TAIL[..3]].concat()),
    ];
    for (name, payload) in cases {
        assert_eq!(inflated(payload, MAX_BYTES), Err(FrameError::NotDeflate), "{name}");
    }
}

#[test]
fn a_message_may_have_just_the_limit_and_a_bomb_costs_no_more() {
    let payload = bomb(10_000);
    assert_eq!(inflated(&payload, 10_000).map(|message| message.len()), Ok(10_000));
    assert_eq!(inflated(&payload, 9_999), Err(FrameError::TooLarge(9_999)));
    assert_eq!(inflated(&payload, 0), Err(FrameError::TooLarge(0)));
    let mut inflater = Inflater::default();
    let refused = inflater.inflate(&bomb(32 << 20), 65_536).map(<[u8]>::len);
    assert_eq!(refused, Err(FrameError::TooLarge(65_536)));
    assert!(inflater.output.capacity() <= 65_537, "{} bytes", inflater.output.capacity());
}

#[test]
fn an_inflater_serves_any_messages_after_each_other_and_gives_back_what_large_ones_took() {
    let mut inflater = Inflater::default();
    let large = inflater.inflate(&bomb(1 << 20), 1 << 20).map(<[u8]>::len);
    assert_eq!(large, Ok(1 << 20));
    assert_eq!(inflater.inflate(b"Hello", 99), Err(FrameError::NotDeflate));
    assert_eq!(inflater.inflate(&HELLO, 5), Ok(&b"Hello"[..]));
    inflater.trim();
    assert!(inflater.output.capacity() <= KEPT_BYTES);
    assert_eq!(inflater.inflate(&HELLO, 99), Ok(&b"Hello"[..]));
}

/// Inflates with a window of just this size and so little room that only the window remembers.
fn inflated_in_small_window(payload: &[u8], window_bits: u8) -> Option<Vec<u8>> {
    let mut stream = Inflate::new(false, window_bits);
    let (input, mut message) = ([payload, &TAIL_AND_END].concat(), Vec::new());
    loop {
        let mut room = [0; 16];
        let (taken, before) = (stream.total_in() as usize, stream.total_out());
        let status = stream.decompress(&input[taken..], &mut room, InflateFlush::NoFlush).ok()?;
        let made = (stream.total_out() - before) as usize;
        message.extend_from_slice(&room[..made]);
        match status {
            Status::StreamEnd => return Some(message),
            _ if made == 0 && taken == stream.total_in() as usize => return None,
            _ => {}
        }
    }
}

/// Bytes that repeat themselves, near and far.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let part = (vec(any::<u8>(), 1..200), 1..40usize);
    vec(part, 0..20).prop_map(|parts| {
        let bytes = parts.iter().flat_map(|(part, times)| part.repeat(*times));
        bytes.collect::<Vec<_>>().repeat(2)
    })
}

fn any_compression() -> impl Strategy<Value = Compression> {
    (WINDOW_BITS, 1..=9u8, 1..=9u8).prop_map(|(window_bits, level, memory_level)| Compression {
        window_bits,
        level,
        memory_level,
        min_bytes: 0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_compressed_comes_back_within_the_window_that_was_agreed(
        message in message(),
        how in any_compression(),
    ) {
        let payload = compress_below(2 * message.len() + 64, &message, how).expect("room");
        prop_assert_eq!(inflated(&payload, MAX_BYTES), Ok(message.clone()));
        let in_window = inflated_in_small_window(&payload, how.window_bits);
        prop_assert_eq!(in_window.as_ref(), Some(&message));
        // Shorter, or not at all; and never another one the second time.
        let short = compress(&message, how);
        prop_assert_eq!(&short, &Some(payload).filter(|payload| payload.len() < message.len()));
    }

    #[test]
    fn any_bytes_neither_panic_nor_make_more_than_the_limit(
        payload in vec(any::<u8>(), 0..400),
        max_bytes in 0..5_000usize,
    ) {
        let mut inflater = Inflater::default();
        if let Ok(message) = inflater.inflate(&payload, max_bytes) {
            prop_assert!(message.len() <= max_bytes);
        }
        prop_assert!(inflater.output.len() <= max_bytes + 1);
        // And what was broken does no harm to the next.
        prop_assert_eq!(inflater.inflate(&HELLO, 5), Ok(&b"Hello"[..]));
    }

    #[test]
    fn a_message_with_some_byte_wrong_does_not_panic(
        message in message(),
        how in any_compression(),
        place in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let mut payload = compress_below(2 * message.len() + 64, &message, how).expect("room");
        let at = place.index(payload.len());
        payload[at] = byte;
        let _ = inflated(&payload, MAX_BYTES);
    }
}

/// Whoever writes the messages decides whether they shrink.
#[test]
fn messages_that_do_not_shrink_leave_nothing_behind_for_those_that_follow() {
    let mut state: u64 = 12_345;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for level in [1, 3] {
        let how = Compression { window_bits: 9, level, memory_level: 1, min_bytes: 0 };
        for _ in 0..10_000 {
            let length = random() as usize % 5_000;
            let bits = [0xFF, 0x7F, 0x0F][random() as usize % 3];
            let payload: Vec<u8> = (0..length).map(|_| random() as u8 & bits).collect();
            if let Some(deflated) = compress(&payload, how) {
                let inflated = Inflater::default().inflate(&deflated, length).map(<[u8]>::to_vec);
                assert_eq!(inflated, Ok(payload));
            }
        }
    }
}
