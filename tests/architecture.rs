//! Who may use whom: each module only what stands after it. What ARCHITECTURE.md says, held.

use std::{fs, path::Path};

/// From the edge to the core. `config`, `connections`, `logging` and `socket` use nothing of ours and may be
/// used by all but the core.
const LAYERS: [&str; 8] =
    ["http", "session", "server", "journal", "fanout", "state", "room", "protocol"];
const LEAVES: [&str; 4] = ["config", "connections", "logging", "socket"];
const CORE: [&str; 3] = ["state", "room", "protocol"];

/// What makes code impure: actors, sockets, clocks, randomness, threads.
const IMPURE: [&str; 9] = [
    "actix",
    "tokio",
    "std::net",
    "socket2",
    "Instant::now",
    "SystemTime",
    "rand::",
    "std::thread",
    "log::",
];

/// All source text of a module, without its tests.
fn source(module: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut text = String::new();
    let mut files = vec![root.join(format!("{module}.rs")), root.join(module)];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a readable folder");
            files.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.exists() && !path.ends_with("tests.rs") {
            let file = fs::read_to_string(&path).expect("source is text");
            let code = file.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            lines.for_each(|line| text.extend([line, "\n"]));
        }
    }
    assert!(!text.is_empty(), "there is no module {module}");
    text
}

/// The modules of ours that `text` names in a path or in a `use crate::{…}`.
fn uses(text: &str) -> Vec<&'static str> {
    let mut imports = String::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let end = rest.find(';').unwrap_or(rest.len());
        imports.push_str(&rest[..end]);
        imports.push('\n');
    }
    let names = LAYERS.into_iter().chain(LEAVES);
    let is_used = |name: &&str| {
        imports.lines().any(|line| {
            let line = line.trim_start_matches([' ', '{']);
            line.starts_with(&format!("{name}::"))
                || line.starts_with(&format!("{name};"))
                || line.starts_with(&format!("{name},"))
        })
    };
    names.filter(is_used).collect()
}

#[test]
fn modules_use_only_what_stands_below_them() {
    for (position, module) in LAYERS.into_iter().enumerate() {
        for used in uses(&source(module)) {
            let is_below = LAYERS[position..].contains(&used);
            let is_leaf = LEAVES.contains(&used) && !CORE.contains(&module);
            assert!(is_below || is_leaf, "{module} must not use {used}");
        }
    }
    for module in LEAVES {
        let used = uses(&source(module));
        let others: Vec<_> = used.into_iter().filter(|used| *used != module).collect();
        assert!(others.is_empty(), "{module} must use nothing of ours, but uses {others:?}");
    }
}

#[test]
fn the_core_is_pure() {
    for module in CORE {
        let text = source(module);
        for word in IMPURE {
            assert!(!text.contains(word), "{module} must not know {word}");
        }
    }
}

#[test]
fn the_deprecated_crate_stays_behind_two_files() {
    let users: Vec<_> = ["upgrade", "sse", "mod", "gates", "pages", "refusal"]
        .into_iter()
        .filter(|file| source(&format!("http/{file}")).contains("actix_web_actors"))
        .collect();
    assert_eq!(users, ["upgrade", "sse"]);
    for module in LAYERS.into_iter().chain(LEAVES).filter(|module| *module != "http") {
        assert!(!source(module).contains("actix_web_actors"), "{module} must not know it");
    }
}
