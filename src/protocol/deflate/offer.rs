//! The negotiation of permessage-deflate (RFC 7692, sections 5 and 7.1).

use super::{Compression, WINDOW_BITS};
use std::borrow::Cow;

/// The extension's name in `Sec-WebSocket-Extensions`.
const NAME: &str = "permessage-deflate";

/// What was agreed with a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// How its session's messages are compressed.
    pub compression: Compression,
    /// What `Sec-WebSocket-Extensions` says in the answer.
    pub answer: String,
}

/// An offer whose parameters are all known and valid, as it came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// The client can be limited, and has said its own limit if there is one inside.
    client_max_window_bits: Option<Option<u8>>,
}

/// The first offer in the lines of `Sec-WebSocket-Extensions` that can be accepted, accepted. An
/// offer with a parameter that is unknown, wrong or stands twice is declined, as RFC 7692, section
/// 7.1, demands; so is one that cannot be read, and a window that zlib cannot compress with.
pub fn negotiate<'a>(
    lines: impl IntoIterator<Item = &'a str>,
    settings: Compression,
) -> Option<Agreement> {
    lines
        .into_iter()
        .flat_map(|line| split(line, ','))
        .filter_map(Offer::parse)
        .find_map(|offer| offer.accept(settings))
}

impl Offer {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = split(text, ';');
        if !parts.next()?.trim().eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut offer = Self::default();
        parts.try_for_each(|parameter| offer.take(parameter)).map(|()| offer)
    }

    /// Takes a parameter in; `None` if it makes the offer one to be declined.
    fn take(&mut self, parameter: &str) -> Option<()> {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquote(value.trim())?)),
            None => (parameter.trim(), None),
        };
        let value = value.as_deref();
        match name.to_ascii_lowercase().as_str() {
            "server_no_context_takeover" => flag(&mut self.server_no_context_takeover, value),
            "client_no_context_takeover" => flag(&mut self.client_no_context_takeover, value),
            "server_max_window_bits" => once(&mut self.server_max_window_bits, window(value?)?),
            "client_max_window_bits" => {
                let limit = value.map(|value| window(value).ok_or(())).transpose().ok()?;
                once(&mut self.client_max_window_bits, limit)
            }
            _ => None,
        }
    }

    fn accept(&self, settings: Compression) -> Option<Agreement> {
        let window_bits = match self.server_max_window_bits {
            Some(most) if !WINDOW_BITS.contains(&most) => return None,
            Some(most) => most.min(settings.window_bits),
            None => settings.window_bits,
        };
        let mut answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
        if self.server_max_window_bits.is_some() || window_bits < *WINDOW_BITS.end() {
            answer += &format!("; server_max_window_bits={window_bits}");
        }
        // Only a client that says it can may be limited (section 7.1.2.2).
        if let Some(limit) = self.client_max_window_bits
            && settings.window_bits < *WINDOW_BITS.end()
        {
            let bits = limit.map_or(settings.window_bits, |most| most.min(settings.window_bits));
            answer += &format!("; client_max_window_bits={bits}");
        }
        Some(Agreement { compression: Compression { window_bits, ..settings }, answer })
    }
}

fn flag(slot: &mut bool, value: Option<&str>) -> Option<()> {
    let is_new = !std::mem::replace(slot, true);
    (is_new && value.is_none()).then_some(())
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// 8 to 15, without leading zeroes.
fn window(value: &str) -> Option<u8> {
    let is_plain = !value.starts_with(['0', '+']);
    value.parse().ok().filter(|bits| is_plain && (8..=15).contains(bits))
}

/// A parameter's value: a token, or a quoted string that is one (RFC 6455, section 9.1).
fn unquote(value: &str) -> Option<Cow<'_, str>> {
    let Some(quoted) = value.strip_prefix('"') else { return Some(value.into()) };
    let inner = quoted.strip_suffix('"')?;
    if !inner.contains(['\\', '"']) {
        return Some(inner.into());
    }
    let mut text = String::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => text.push(letters.next()?),
            '"' => return None,
            _ => text.push(letter),
        }
    }
    Some(text.into())
}

/// The parts of `text` between separators that stand outside of quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |letter| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match letter {
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => return letter == separator && !is_quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: Compression =
        Compression { window_bits: 15, level: 6, memory_level: 8, min_bytes: 0 };
    const TAKEOVERS: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn agreed(lines: &[&str], window_bits: u8) -> Option<(u8, String)> {
        let settings = Compression { window_bits, ..SETTINGS };
        let agreement = negotiate(lines.iter().copied(), settings)?;
        let answer = agreement.answer.strip_prefix(TAKEOVERS).expect("no context is ever kept");
        Some((agreement.compression.window_bits, answer.trim_start_matches("; ").to_owned()))
    }

    #[test]
    fn the_offers_of_the_rfc_and_of_browsers_are_accepted() {
        let cases: &[(&[&str], u8, u8, &str)] = &[
            // Section 7.1 and its subsections.
            (&["permessage-deflate"], 15, 15, ""),
            (&["permessage-deflate; client_max_window_bits"], 15, 15, ""),
            (
                &["permessage-deflate; server_max_window_bits=10"],
                15,
                10,
                "server_max_window_bits=10",
            ),
            (
                &["permessage-deflate; client_max_window_bits; server_max_window_bits=10, \
                   permessage-deflate; client_max_window_bits"],
                15,
                10,
                "server_max_window_bits=10",
            ),
            (&["permessage-deflate; server_no_context_takeover"], 15, 15, ""),
            (&["permessage-deflate; client_no_context_takeover"], 15, 15, ""),
            // What this server's own settings add.
            (&["permessage-deflate"], 11, 11, "server_max_window_bits=11"),
            (
                &["permessage-deflate; client_max_window_bits"],
                11,
                11,
                "server_max_window_bits=11; client_max_window_bits=11",
            ),
            (
                &["permessage-deflate; client_max_window_bits=8"],
                11,
                11,
                "server_max_window_bits=11; client_max_window_bits=8",
            ),
            (&["permessage-deflate; client_max_window_bits=9"], 15, 15, ""),
            (
                &["permessage-deflate; server_max_window_bits=15"],
                15,
                15,
                "server_max_window_bits=15",
            ),
            (&["permessage-deflate; server_max_window_bits=12"], 9, 9, "server_max_window_bits=9"),
        ];
        for (lines, own, bits, answer) in cases {
            let expected = Some((*bits, (*answer).to_owned()));
            assert_eq!(agreed(lines, *own), expected, "{lines:?} with {own} bits of our own");
        }
    }

    #[test]
    fn offers_may_be_written_in_every_way_that_the_grammar_allows() {
        let ten = Some((10, "server_max_window_bits=10".to_owned()));
        for lines in [
            &["permessage-deflate;server_max_window_bits=10"][..],
            &["  PerMessage-Deflate ;\tServer_Max_Window_Bits = 10  "],
            &["permessage-deflate; server_max_window_bits=\"10\""],
            &[r#"permessage-deflate; server_max_window_bits="1\0""#],
            &["x-webkit-deflate-frame", "permessage-deflate; server_max_window_bits=10"],
            &[
                ", foo; bar=\"a, permessage-deflate; b\", permessage-deflate; server_max_window_bits=10",
            ],
            &[
                "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=10",
            ],
        ] {
            assert_eq!(agreed(lines, 15), ten, "{lines:?}");
        }
    }

    #[test]
    fn an_offer_with_a_bad_parameter_is_declined_and_the_next_is_taken() {
        for bad in [
            "unknown",
            "unknown=1",
            "",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover=\"\"",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=7",
            // Allowed by the RFC, but not possible.
            "server_max_window_bits=8",
            "server_max_window_bits=16",
            "server_max_window_bits=010",
            "server_max_window_bits=+10",
            "server_max_window_bits=1e1",
            "server_max_window_bits=\"10",
            "server_max_window_bits=10\"",
            "server_max_window_bits=\" 10\"",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits=",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits; client_max_window_bits=10",
        ] {
            let offer = format!("permessage-deflate; {bad}");
            assert_eq!(agreed(&[&offer], 15), None, "{offer}");
            let next = "permessage-deflate; server_max_window_bits=10";
            assert!(agreed(&[&offer, next], 15).is_some(), "{offer}, then a good one");
        }
        for other in ["", ",", ";", "permessage-deflat", "permessage-bzip2", "permessage deflate"] {
            assert_eq!(agreed(&[other], 15), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_offer_gets_no_more_than_it_asks_for(
            line in "(permessage-deflate|[;=,\" \\\\]|server_max_window_bits|client_max_window_bits|1[0-9]|[89]){0,12}",
            own in 9..=15u8,
        ) {
            if let Some(agreement) = negotiate([&*line], Compression { window_bits: own, ..SETTINGS }) {
                let bits = agreement.compression.window_bits;
                prop_assert!(WINDOW_BITS.contains(&bits) && bits <= own);
                if agreement.answer.contains("client_max_window_bits") {
                    prop_assert!(line.contains("client_max_window_bits"));
                }
            }
        }
    }
}
