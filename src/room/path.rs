//! Where rooms are: a path, or a pattern of paths at which rooms are made on first use.

use std::fmt;

/// The longest name that a path may have in the place of `{name}`, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// The path of a `[[room]]`: `/chat`, or `/chats/{name}` for as many rooms as there are names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// All of it, or what stands before the name.
    before: String,
    /// What is written between the braces, and what stands after the name.
    place: Option<(String, String)>,
}

impl PathPattern {
    /// Reads a path. One of its segments may be a name in braces.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(path: &str) -> Result<Self, String> {
        let Some((before, rest)) = path.split_once('{') else {
            return match path.contains('}') {
                true => Err("a } has no {".to_owned()),
                false => Ok(Self { before: path.to_owned(), place: None }),
            };
        };
        let (label, after) = rest.split_once('}').ok_or("a { has no }")?;
        if after.contains(['{', '}']) {
            return Err("a path has at most one place for a name".to_owned());
        }
        if !before.ends_with('/') || !(after.is_empty() || after.starts_with('/')) {
            return Err("a place for a name is a whole segment, as in /chats/{name}".to_owned());
        }
        let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if label.is_empty() || !is_word(label) {
            return Err("between braces stands a word, as in /chats/{name}".to_owned());
        }
        let place = Some((label.to_owned(), after.to_owned()));
        Ok(Self { before: before.to_owned(), place })
    }

    /// Whether rooms are made on first use: there is a place for a name.
    pub fn has_name(&self) -> bool {
        self.place.is_some()
    }

    /// Whether a room at `path` is one of these.
    pub fn matches(&self, path: &str) -> bool {
        match &self.place {
            None => path == self.before,
            Some((_, after)) => path
                .strip_prefix(&*self.before)
                .and_then(|rest| rest.strip_suffix(&**after))
                .is_some_and(is_name),
        }
    }

    /// Whether both have the same rooms, however the place for the name is called.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let after = |pattern: &Self| pattern.place.as_ref().map(|(_, after)| after.clone());
        self.before == other.before && after(self) == after(other)
    }
}

/// Whether `text` may stand for `{name}`: 1 to [`MAX_NAME_BYTES`] of `A-Z a-z 0-9 - . _ ~` (what RFC
/// 3986, section 2.3, leaves unescaped), and not `.` or `..`, which clients resolve away.
fn is_name(text: &str) -> bool {
    let is_unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(is_unreserved)
        && text != "."
        && text != ".."
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            None => f.write_str(&self.before),
            Some((label, after)) => write!(f, "{}{{{label}}}{after}", self.before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_the_rooms_whose_names_are_good() {
        let long = format!("/c/{}", "x".repeat(65));
        let cases = [
            ("/", "/", true),
            ("/chat", "/chat", true),
            ("/chat", "/chat/", false),
            ("/c/{name}", "/c/a", true),
            ("/c/{name}", "/c/A-z.0_~", true),
            ("/c/{name}", "/c/", false),
            ("/c/{name}", "/c", false),
            ("/c/{name}", "/c/a/b", false),
            ("/c/{name}", "/c/..", false),
            ("/c/{name}", "/c/.", false),
            ("/c/{name}", "/c/...", true),
            ("/c/{name}", "/c/a%2Fb", false),
            ("/c/{name}", "/c/ä", false),
            ("/c/{name}", "/d/a", false),
            ("/c/{name}", &long[..3 + 64], true),
            ("/c/{name}", &long, false),
            ("/{name}/end", "/a/end", true),
            ("/{name}/end", "/end", false),
            ("/{name}/end", "/a/b/end", false),
        ];
        for (pattern, path, expected) in cases {
            let parsed = PathPattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(path), expected, "{pattern} and {path}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn bad_patterns_are_named() {
        for (pattern, part) in [
            ("/c/{name", "no }"),
            ("/c/name}", "no {"),
            ("/c/{}", "a word"),
            ("/c/{a b}", "a word"),
            ("/c{name}", "whole segment"),
            ("/{name}c", "whole segment"),
            ("/{a}/{b}", "at most one"),
        ] {
            let error = PathPattern::parse(pattern).expect_err(pattern);
            assert!(error.contains(part), "{pattern}: {error}");
        }
    }

    #[test]
    fn the_word_in_the_braces_makes_no_difference() {
        let parse = |text| PathPattern::parse(text).expect("a pattern");
        assert!(parse("/c/{a}").is_same_as(&parse("/c/{b}")));
        assert!(!parse("/c/{a}").is_same_as(&parse("/d/{a}")));
        assert!(!parse("/c").is_same_as(&parse("/c/{a}")));
    }
}
