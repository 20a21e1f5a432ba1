#![no_main]

#[path = "../targets/journal_file.rs"]
mod journal_file;

// The storage engine panics over some damaged files, and the journal catches that: no reason to
// abort, as libFuzzer's own hook would.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| ())),
    |bytes: &[u8]| journal_file::target(bytes)
);
