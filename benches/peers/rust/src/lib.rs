//! What all servers here have in common: the words of the counter, and how a process begins and
//! ends. None of it is part of what is compared.

use std::net::SocketAddr;
use std::process;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Deserialize;

/// The shortest time between two `users` events, as in statesync: otherwise each newcomer costs
/// every client an event, and joins would be all that is measured.
pub const PRESENCE_INTERVAL: Duration = Duration::from_millis(50);

/// The event that tells the counter's value.
pub fn state_event(value: i64) -> String {
    format!(r#"{{"type":"state","value":{value}}}"#)
}

/// The event that tells how many are here.
pub fn users_event(count: usize) -> String {
    format!(r#"{{"type":"users","count":{count}}}"#)
}

/// What a client asks for. It may say more; that is ignored.
#[derive(Deserialize)]
struct Action {
    action: Verb,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Plus,
    Minus,
}

/// By how much an action changes the value.
pub fn change_of(action: &[u8]) -> serde_json::Result<i64> {
    let Action { action } = serde_json::from_slice(action)?;
    Ok(match action {
        Verb::Plus => 1,
        Verb::Minus => -1,
    })
}

/// Gets the process ready: as many open files as it may have, and SIGTERM ends it at once and well.
/// There is nothing to be kept.
pub fn prepare_process() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .context("cannot raise the limit of open files")?;
    ctrlc::set_handler(|| process::exit(0)).context("cannot take signals")
}

/// Prints the one line that says where the server listens.
pub fn print_ready(address: SocketAddr) {
    println!("ready: http://{address}/");
}
