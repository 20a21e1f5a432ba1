//! What is sent.

use super::{error::BenchError, options::LoadArguments, options::Protocol};
use std::{fs, io::Write};

/// What stands for the number of the action in it.
const NUMBER: &str = "{number}";

/// An action, with places for what differs from one to the next.
pub struct Action {
    pieces: Vec<Piece>,
}

enum Piece {
    Text(String),
    /// Which action of the room it is, from 1.
    Number,
    /// Which action of the client it is, from 1.
    Id,
}

impl Action {
    /// The action that is sent again and again.
    ///
    /// # Errors
    /// [`BenchError::Argument`] if its file cannot be read, or it can have no number.
    pub fn of(arguments: &LoadArguments) -> Result<Self, BenchError> {
        let text = match (&arguments.send, arguments.protocol) {
            (Some(text), _) => text_or_file("--send", text)?,
            (None, Protocol::Text) => "bench-{number}".to_owned(),
            (None, _) => r#"{"action":"plus"}"#.to_owned(),
        };
        Self::new("--send", &text, arguments)
    }

    /// What is sent once, before anything is measured.
    ///
    /// # Errors
    /// [`BenchError::Argument`] as above.
    pub fn first(arguments: &LoadArguments) -> Result<Option<Self>, BenchError> {
        let Some(first) = &arguments.first else { return Ok(None) };
        Self::new("--first", &text_or_file("--first", first)?, arguments).map(Some)
    }

    fn new(option: &str, text: &str, arguments: &LoadArguments) -> Result<Self, BenchError> {
        let mut pieces = Vec::new();
        let mut text = text.to_owned();
        if arguments.exactly_once {
            let Some(rest) = text.trim_start().strip_prefix('{') else {
                return Err(BenchError::Argument(format!(
                    "{option}: a JSON object is expected with --exactly-once"
                )));
            };
            pieces.extend([Piece::Text(r#"{"id":"#.to_owned()), Piece::Id]);
            text = format!(",{rest}");
        }
        if arguments.protocol == Protocol::SocketIo {
            text = format!(r#"42["action",{text}]"#);
        }
        for (at, part) in text.split(NUMBER).enumerate() {
            if at > 0 {
                pieces.push(Piece::Number);
            }
            pieces.push(Piece::Text(part.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// Writes the action with these numbers into `text`, in place of what was there.
    pub fn render(&self, number: i64, id: u64, text: &mut Vec<u8>) {
        text.clear();
        for piece in &self.pieces {
            // A vector takes everything.
            let _ = match piece {
                Piece::Text(piece) => text.write_all(piece.as_bytes()),
                Piece::Number => write!(text, "{number}"),
                Piece::Id => write!(text, "{id}"),
            };
        }
    }
}

fn text_or_file(option: &str, text: &str) -> Result<String, BenchError> {
    let Some(file) = text.strip_prefix('@') else { return Ok(text.to_owned()) };
    let read = fs::read_to_string(file);
    let read = read.map_err(|error| BenchError::Argument(format!("{option} {text}: {error}")))?;
    Ok(read.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::BenchArguments;
    use clap::{Args, Command, FromArgMatches};

    fn rendered(line: &[&str]) -> String {
        let command = BenchArguments::augment_args(Command::new("bench"));
        let matches = command.try_get_matches_from([&["bench"], line].concat());
        let matches = matches.expect("good arguments");
        let arguments = BenchArguments::from_arg_matches(&matches).expect("good arguments");
        let mut text = Vec::new();
        Action::of(&arguments.load).expect("a good action").render(12, 3, &mut text);
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn each_protocol_has_its_action_and_numbers_come_in() {
        for (line, text) in [
            (&[][..], r#"{"action":"plus"}"#),
            (&["--protocol", "text"], "bench-12"),
            (&["--protocol", "socket.io"], r#"42["action",{"action":"plus"}]"#),
            (&["--protocol", "v1", "--exactly-once"], r#"{"id":3,"action":"plus"}"#),
            (&["--send", "a{number}b{number}"], "a12b12"),
            (&["--send", r#"{"x":{number}}"#, "--exactly-once"], r#"{"id":3,"x":12}"#),
        ] {
            assert_eq!(rendered(line), text, "{line:?}");
        }
    }
}
