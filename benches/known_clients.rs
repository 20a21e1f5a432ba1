//! What a known client costs: the memory that `state::Clients` takes for each, and the time to
//! decide one action. `cargo bench --bench known_clients`.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use statesync::{
    protocol::ClientKey,
    room::UnixMicros,
    state::{Author, Clients, DedupLimits},
};
use std::{hint::black_box, time::Instant};

fn main() -> Result<()> {
    // `cargo test` only wants to know whether it works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let counts: &[u64] = if is_bench { &[100_000, 1_000_000] } else { &[1_000] };
    println!("| known clients | bytes for each | to decide an action, ns |\n|---:|---:|---:|");
    for count in counts {
        let before = resident_bytes()?;
        let limits = DedupLimits { ttl_micros: i64::MAX, max_clients: u32::MAX };
        let mut clients = Clients::new(limits);
        act_once_each(&mut clients, *count, 1)?;
        let bytes = resident_bytes()?.saturating_sub(before);
        let began = Instant::now();
        act_once_each(&mut clients, *count, 2)?;
        let took = began.elapsed();
        black_box(&clients);
        let nanos = took.as_nanos() / u128::from(*count);
        println!("| {count} | {} | {nanos} |", bytes / count);
    }
    Ok(())
}

/// Every client sends its action number `id`. Making its key, a SHA-256, is part of the time.
fn act_once_each(clients: &mut Clients, count: u64, id: u64) -> Result<()> {
    let at = UnixMicros(0);
    for number in 0..count {
        let client = ClientKey::new("/", &format!("client-number-{number:08}"));
        let author = Author { client: client.context("an identity")?, id };
        black_box(clients.turn(author, at));
        clients.decide(author, number, at, false);
    }
    Ok(())
}

/// The memory that this process has in RAM.
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("Linux is needed")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).context("VmRSS in kB")?;
    Ok(kibibytes.trim().parse::<u64>()? * 1024)
}
