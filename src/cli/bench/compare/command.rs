//! The commands of a plan, as they are run.

use std::path::Path;

/// What stands for this program in the plan.
const OWN_PROGRAM: &str = "{statesync}";

/// The words of a command, to be run in another folder than `current`: paths to what is there are
/// made absolute, and `{statesync}` becomes `program`.
pub fn words(command: &[String], program: &Path, current: &Path) -> Vec<String> {
    let program = program.to_string_lossy();
    let word = |(index, word): (usize, &String)| {
        let word = word.replace(OWN_PROGRAM, &program);
        match word.split_once('=') {
            // --config=FILE
            Some((option, value)) if word.starts_with('-') => {
                format!("{option}={}", absolute(value, current, false))
            }
            _ => absolute(&word, current, index == 0),
        }
    };
    command.iter().enumerate().map(word).collect()
}

/// A program with a "/" is always a path, as in a shell; other words are if something is there.
fn absolute(word: &str, current: &Path, is_program: bool) -> String {
    let path = current.join(word);
    let is_path = match (is_program, word.contains('/')) {
        (true, has_slash) => has_slash,
        (false, true) => path.exists(),
        (false, false) => path.is_file(),
    };
    match is_path {
        true => path.to_string_lossy().into_owned(),
        false => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_other_words_stay() {
        let current = Path::new(env!("CARGO_MANIFEST_DIR"));
        let here = |path: &str| current.join(path).to_string_lossy().into_owned();
        let cases = [
            (vec!["{statesync}", "serve"], vec!["/bin/statesync".to_owned(), "serve".to_owned()]),
            (vec!["node", "Cargo.toml"], vec!["node".to_owned(), here("Cargo.toml")]),
            (vec!["not/built", "not/there"], vec![here("not/built"), "not/there".to_owned()]),
            (vec!["x", "--config=config/default.toml"], {
                vec!["x".to_owned(), format!("--config={}", here("config/default.toml"))]
            }),
            (vec!["x", "/dev/null", "src"], {
                vec!["x".to_owned(), "/dev/null".to_owned(), "src".to_owned()]
            }),
        ];
        for (command, expected) in cases {
            let command: Vec<String> = command.into_iter().map(str::to_owned).collect();
            assert_eq!(words(&command, Path::new("/bin/statesync"), current), expected);
        }
    }
}
