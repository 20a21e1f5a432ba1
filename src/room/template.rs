//! Text with places to fill: `{message}`, `{time}`, `{local_time}`.

use super::UnixMicros;
use jiff::{Timestamp, tz::TimeZone};

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Message,
    /// UTC as in RFC 3339, to the microsecond.
    Time,
    /// Local time as Python prints `datetime.now()`.
    LocalTime,
}

impl Template {
    /// Reads a template. `{{` and `}}` stand for single braces.
    ///
    /// # Errors
    /// A sentence that names the place that cannot be filled.
    pub fn parse(text: &str) -> Result<Self, String> {
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
            parts.push(match &tail[1..end] {
                "message" => Part::Message,
                "time" => Part::Time,
                "local_time" => Part::LocalTime,
                name => {
                    return Err(format!(
                        "{{{name}}} is unknown; there are {{message}}, {{time}} and {{local_time}}"
                    ));
                }
            });
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
        self.0 == [Part::Message]
    }

    /// The template with its places filled.
    pub fn fill(&self, message: &str, at: UnixMicros, zone: &TimeZone) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Message => text.push_str(message),
                Part::Time => text.push_str(&utc(at)),
                Part::LocalTime => text.push_str(&local(at, zone)),
            }
        }
        text
    }
}

fn timestamp(at: UnixMicros) -> Timestamp {
    Timestamp::from_microsecond(at.0).unwrap_or_default()
}

fn utc(at: UnixMicros) -> String {
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
            ("", ""),
            ("grüß {message}", "grüß Ann"),
        ];
        for (template, filled) in cases {
            let parsed = Template::parse(template).expect(template);
            assert_eq!(parsed.fill("Ann", AT, &zone), filled, "from {template:?}");
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
            let error = Template::parse(template).expect_err(template);
            assert!(error.contains(part), "{template:?}: {error}");
        }
    }
}
