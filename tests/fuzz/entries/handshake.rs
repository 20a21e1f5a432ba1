#![no_main]

#[path = "../targets/handshake.rs"]
mod handshake;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| handshake::target(bytes));
