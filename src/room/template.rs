//! Text with places to fill, such as `{message}` and `{time}`. Each kind says which it can fill.

use super::UnixMicros;
use crate::protocol::Message;
use jiff::{Timestamp, tz::TimeZone};

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Place(Place),
}

/// What a template may have in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `{message}`: what a client sent.
    Message,
    /// `{time}`: UTC as in RFC 3339, to the microsecond.
    Time,
    /// `{local_time}`: local time as Python prints `datetime.now()`.
    LocalTime,
    /// `{count}`: how often it was said, from 1.
    Count,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Message => "{message}",
            Self::Time => "{time}",
            Self::LocalTime => "{local_time}",
            Self::Count => "{count}",
        }
    }
}

/// What the places are filled with. A kind leaves empty what its templates cannot have.
#[derive(Debug, Clone, Copy)]
pub struct Filling<'a> {
    /// For `{message}`.
    pub message: &'a str,
    /// For `{count}`.
    pub count: u64,
    /// For `{time}` and `{local_time}`.
    pub at: UnixMicros,
    /// For `{local_time}`.
    pub zone: &'a TimeZone,
}

impl Template {
    /// Reads a template that may have `places`. `{{` and `}}` stand for single braces.
    ///
    /// # Errors
    /// A sentence that names the place that cannot be filled, and those that can.
    pub fn parse(text: &str, places: &[Place]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let tail = &rest[at..];
            if let Some(after) = tail.strip_prefix("{{").or_else(|| tail.strip_prefix("}}")) {
                literal.push_str(&tail[..1]);
                rest = after;
                continue;
            }
            let end = match tail.find('}') {
                Some(end) if tail.starts_with('{') => end,
                _ => {
                    return Err(format!(
                        "the brace at byte {} of {text:?} has no pair; write {{{{ or }}}} for a brace",
                        text.len() - tail.len()
                    ));
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Place(place(&tail[..=end], places)?));
            rest = &tail[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    /// Whether the template is `{message}` and nothing else, so that filling it changes nothing.
    pub fn is_identity(&self) -> bool {
        self.0 == [Part::Place(Place::Message)]
    }

    /// A message in the template. Bytes have no place in a text: they stay as they are.
    pub fn fill_message(&self, message: &Message, at: UnixMicros, zone: &TimeZone) -> Message {
        match message {
            Message::Text(text) if !self.is_identity() => {
                Message::Text(self.fill(&Filling { message: text, count: 0, at, zone }).into())
            }
            _ => message.clone(),
        }
    }

    /// The template with its places filled.
    pub fn fill(&self, filling: &Filling<'_>) -> String {
        let Filling { message, count, at, zone } = filling;
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Place(Place::Message) => text.push_str(message),
                Part::Place(Place::Time) => text.push_str(&utc(*at)),
                Part::Place(Place::LocalTime) => text.push_str(&local(*at, zone)),
                Part::Place(Place::Count) => text.push_str(&count.to_string()),
            }
        }
        text
    }
}

/// The one of `places` that is written so.
fn place(written: &str, places: &[Place]) -> Result<Place, String> {
    places.iter().find(|place| place.name() == written).copied().ok_or_else(|| {
        let names: Vec<_> = places.iter().map(|place| place.name()).collect();
        let (last, others) = names.split_last().unwrap_or((&"none", &[]));
        format!("{written} is unknown here; there are {} and {last}", others.join(", "))
    })
}

fn timestamp(at: UnixMicros) -> Timestamp {
    Timestamp::from_microsecond(at.0).unwrap_or_default()
}

/// UTC as RFC 3339 writes it, to the microsecond.
pub(super) fn utc(at: UnixMicros) -> String {
    timestamp(at).strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Python leaves the fraction out when it is zero.
fn local(at: UnixMicros, zone: &TimeZone) -> String {
    let format = match at.0 % 1_000_000 {
        0 => "%Y-%m-%d %H:%M:%S",
        _ => "%Y-%m-%d %H:%M:%S%.6f",
    };
    timestamp(at).to_zoned(zone.clone()).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz;

    const AT: UnixMicros = UnixMicros(1_683_499_476_123_456);
    const ALL: [Place; 4] = [Place::Message, Place::Time, Place::LocalTime, Place::Count];

    #[test]
    fn templates_are_filled() {
        let zone = TimeZone::fixed(tz::offset(2));
        let cases = [
            ("{message}", "Ann"),
            ("Hello {message}!", "Hello Ann!"),
            ("server received: {message}", "server received: Ann"),
            ("{message}{message}", "AnnAnn"),
            ("{time}", "2023-05-07T22:44:36.123456Z"),
            (
                "Data received as \"{message}\".  time: {local_time}",
                "Data received as \"Ann\".  time: 2023-05-08 00:44:36.123456",
            ),
            ("{{{message}}}", "{Ann}"),
            ("Hello {count}!", "Hello 7!"),
            ("", ""),
            ("grüß {message}", "grüß Ann"),
        ];
        for (template, filled) in cases {
            let parsed = Template::parse(template, &ALL).expect(template);
            let filling = Filling { message: "Ann", count: 7, at: AT, zone: &zone };
            assert_eq!(parsed.fill(&filling), filled, "from {template:?}");
        }
    }

    #[test]
    fn a_whole_second_has_a_fraction_in_utc_and_none_as_python_prints_it() {
        let at = UnixMicros(1_683_499_476_000_000);
        assert_eq!(utc(at), "2023-05-07T22:44:36.000000Z");
        assert_eq!(local(at, &TimeZone::UTC), "2023-05-07 22:44:36");
    }

    #[test]
    fn bad_templates_are_named() {
        for (template, part) in [
            ("Hello {name}!", "{name}"),
            ("{message", "byte 0"),
            ("ab}", "byte 2"),
            ("{}", "{}"),
            ("{message}} {", "byte 9"),
        ] {
            let error = Template::parse(template, &ALL).expect_err(template);
            assert!(error.contains(part), "{template:?}: {error}");
        }
    }

    #[test]
    fn a_place_that_the_kind_cannot_fill_is_named_with_those_that_it_can() {
        let error = Template::parse("{time} {message}", &[Place::Time, Place::Count]);
        assert_eq!(
            error.expect_err("no messages here"),
            "{message} is unknown here; there are {time} and {count}"
        );
        let error = Template::parse("{count}", &[Place::Message, Place::Time, Place::LocalTime]);
        assert_eq!(
            error.expect_err("no counts here"),
            "{count} is unknown here; there are {message}, {time} and {local_time}"
        );
    }
}
