#![no_main]

#[path = "../targets/protocol.rs"]
mod protocol;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol::target(bytes));
