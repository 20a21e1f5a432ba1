//! What the fuzz targets found once, and what shows what they know: every input in
//! `tests/fuzz/corpus` goes through the function that libFuzzer drives. See `tests/fuzz/README.md`.

use std::{fs, panic::catch_unwind, path::Path};

#[path = "fuzz/targets/document.rs"]
mod document;
#[path = "fuzz/targets/frames.rs"]
mod frames;
#[path = "fuzz/targets/handshake.rs"]
mod handshake;
#[path = "fuzz/targets/journal_file.rs"]
mod journal_file;
#[path = "fuzz/targets/protocol.rs"]
mod protocol;
#[path = "fuzz/targets/records.rs"]
mod records;

/// Runs all inputs that were kept for a target.
fn run(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut count = 0;
    for file in files {
        let path = file.expect("an entry").path();
        let bytes = fs::read(&path).expect("a readable file");
        let outcome = catch_unwind(|| target(&bytes));
        assert!(outcome.is_ok(), "{} breaks the target {name}: see above", path.display());
        count += 1;
    }
    assert!(count > 0, "{folder:?} is empty");
}

#[test]
fn kept_inputs_of_the_frame_codec_pass() {
    run("frames", frames::target);
}

#[test]
fn kept_inputs_of_the_handshake_pass() {
    run("handshake", handshake::target);
}

#[test]
fn kept_inputs_of_the_protocols_pass() {
    run("protocol", protocol::target);
}

#[test]
fn kept_inputs_of_documents_pass() {
    run("document", document::target);
}

#[test]
fn kept_inputs_of_entries_and_snapshots_pass() {
    run("records", records::target);
}

#[test]
fn kept_inputs_of_journal_files_pass() {
    run("journal_file", journal_file::target);
}
