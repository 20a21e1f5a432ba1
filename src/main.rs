//! The `statesync` command.

#![forbid(unsafe_code)]

mod cli;

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Half the memory of an idle connection, compared with glibc's: what a handshake needs and gives back
/// leaves no holes there.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
