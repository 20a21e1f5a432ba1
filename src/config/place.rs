//! Where a setting stands, and what is wrong with it.

use std::{error::Error, fmt, sync::Arc};

/// Where a setting comes from: a line of a file, an environment variable, or the program itself.
///
/// Shown as `FILE:LINE:COLUMN`, `environment variable NAME` or `the program`. Lines and columns
/// count from 1, columns in characters. Places sort files first, then by line, then variables.
/// The default is [`Place::program`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(Origin);

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Origin {
    #[default]
    Program,
    File {
        name: Arc<str>,
        /// Line and column; none where the file as a whole is meant.
        position: Option<(usize, usize)>,
    },
    Variable(String),
}

impl Place {
    /// A setting made in code, not in a file.
    pub fn program() -> Place {
        Place(Origin::Program)
    }

    /// A file as a whole, for example one that cannot be read.
    pub fn file(name: &str) -> Place {
        Place(Origin::File { name: name.into(), position: None })
    }

    /// A position in a file; `line` and `column` count from 1.
    pub fn position(name: &str, line: usize, column: usize) -> Place {
        Place(Origin::File { name: name.into(), position: Some((line, column)) })
    }

    /// An environment variable.
    pub fn variable(name: &str) -> Place {
        Place(Origin::Variable(name.to_owned()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::Program => f.write_str("the program"),
            Origin::File { name, position: None } => f.write_str(name),
            Origin::File { name, position: Some((line, column)) } => {
                write!(f, "{name}:{line}:{column}")
            }
            Origin::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// One thing that is wrong with the configuration.
///
/// Shown as `config.toml:12:15: limits.max_message: what is wrong and how to write it`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// The key with its section, such as `limits.max_message`. Empty where no key is meant, such
    /// as for a file that cannot be read.
    pub key: String,
    /// What is wrong, and how to put it right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.place, self.message)
        } else {
            write!(f, "{}: {}: {}", self.place, self.key, self.message)
        }
    }
}

/// Everything that is wrong with a configuration, sorted by place; shown one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl ConfigErrors {
    /// Sorts the problems by place; those of one place stay in the order they were found.
    pub fn sorted(mut problems: Vec<Problem>) -> ConfigErrors {
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        ConfigErrors(problems)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl Error for ConfigErrors {}
