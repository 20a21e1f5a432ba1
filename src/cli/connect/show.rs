//! How things look on a terminal. What a server sends must not drive the terminal, nor look like
//! something that this client says.

use anstyle::{AnsiColor, Style};
use std::{fmt::Write, time::Duration};

/// So much of a message is shown. A few screens; more would only push the rest away.
const SHOWN_BYTES: usize = 16 * 1024;

/// The prompt and the colours.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    incoming: Style,
    notice: Style,
}

impl Look {
    /// In colours, unless the environment variable `NO_COLOR` says otherwise (no-color.org).
    pub fn from_environment() -> Self {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if is_plain { Self::plain() } else { Self::coloured() }
    }

    fn plain() -> Self {
        Self { incoming: Style::new(), notice: Style::new() }
    }

    fn coloured() -> Self {
        Self { incoming: AnsiColor::Cyan.on_default(), notice: Style::new().dimmed() }
    }

    /// A text message, as lines for the terminal.
    pub fn text(&self, text: &str) -> String {
        let end = text.floor_char_boundary(SHOWN_BYTES);
        let mut shown = safe(&text[..end]);
        note_the_rest(&mut shown, text.len() - end);
        self.arrow(&shown)
    }

    /// A binary message, in hex.
    pub fn binary(&self, bytes: &[u8]) -> String {
        let end = bytes.len().min(SHOWN_BYTES / 2);
        let mut shown = format!("(binary) {}", hex(&bytes[..end]));
        note_the_rest(&mut shown, bytes.len() - end);
        self.arrow(&shown)
    }

    fn arrow(&self, shown: &str) -> String {
        let style = self.incoming;
        format!("{style}<{style:#} {shown}\n")
    }

    /// What this client itself has to say.
    pub fn notice(&self, text: &str) -> String {
        let style = self.notice;
        format!("{style}{text}{style:#}\n")
    }
}

fn note_the_rest(shown: &mut String, bytes: usize) {
    if bytes > 0 {
        // Writing to a String does not fail.
        let _ = write!(shown, "… and {bytes} bytes more (a pipe gets all)");
    }
}

/// The bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The text with everything escaped that could drive a terminal or turn the direction of writing.
/// Further lines are indented, so that they do not look like messages of their own.
pub fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\n  "),
            '\t' => safe.push(character),
            _ if is_dangerous(character) => safe.extend(character.escape_unicode()),
            _ => safe.push(character),
        }
    }
    safe
}

fn is_dangerous(character: char) -> bool {
    let turns_direction = matches!(character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || turns_direction || matches!(character, '\u{2028}' | '\u{2029}')
}

/// A time in milliseconds, for people.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        assert_eq!(safe("\x1b[2J\x07\u{9b}1A\r"), "\\u{1b}[2J\\u{7}\\u{9b}1A\\u{d}");
        assert_eq!(safe("a\u{202e}b\u{2028}"), "a\\u{202e}b\\u{2028}");
        assert_eq!(safe("grüße\t中文"), "grüße\t中文");
    }

    #[test]
    fn a_second_line_does_not_look_like_a_message() {
        assert_eq!(Look::plain().text("a\n< b"), "< a\n  < b\n");
    }

    #[test]
    fn of_a_long_message_the_beginning_is_shown() {
        let shown = Look::plain().text(&"ü".repeat(SHOWN_BYTES));
        assert!(shown.len() < SHOWN_BYTES + 100, "{} bytes", shown.len());
        assert!(shown.ends_with("… and 16384 bytes more (a pipe gets all)\n"), "{shown}");
        let shown = Look::plain().binary(&[0xab; SHOWN_BYTES]);
        assert!(shown.starts_with("< (binary) abab") && shown.contains("8192 bytes more"));
    }

    proptest! {
        #[test]
        fn nothing_dangerous_ever_gets_through(text in "\\PC*|[\\x00-\\xff]*") {
            let is_harmless = |c: char| c == '\n' || c == '\t' || !is_dangerous(c);
            prop_assert!(safe(&text).chars().all(is_harmless));
        }
    }
}
