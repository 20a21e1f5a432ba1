//! Options of `bench` in a plan.

use super::super::super::options::LoadArguments;
use clap::{ArgMatches, Args, Command, FromArgMatches, parser::ValueSource};

/// With --quick: enough that some clients send and some do not.
const QUICK_CLIENTS: usize = 50;

/// Whether `bench` takes these options.
pub fn check(options: &[String]) -> Result<(), String> {
    let matches = matches(options)?;
    for own in ["url", "pid"] {
        if matches.value_source(own) == Some(ValueSource::CommandLine) {
            return Err(format!("--{own} is given by the comparison itself"));
        }
    }
    Ok(())
}

/// Options that make the load of these options small: to be appended.
pub fn quick(options: &[String]) -> Vec<String> {
    let mut small = vec!["--seconds=0.3".to_owned(), "--warmup=0.1".to_owned()];
    let Some(load) = load(options) else { return small };
    let clients = load.clients.min(QUICK_CLIENTS);
    small.push(format!("--clients={clients}"));
    let mut limit = |name: &str, count: usize, most: usize| {
        if count > most {
            small.push(format!("--{name}={most}"));
        }
    };
    limit("rooms", load.rooms, clients);
    // No client is two of these. Without a number, a tenth of the clients is slow.
    let slow = load.slow_clients.unwrap_or(load.slow.map_or(0, |_| clients.div_ceil(10)));
    if load.senders + load.stall + slow > clients {
        limit("senders", load.senders, clients / 4);
        limit("stall", load.stall, clients / 4);
        limit("slow-clients", slow, clients / 4);
    }
    small
}

/// How long a load of these options is meant to take, in seconds.
pub fn seconds(options: &[String]) -> f64 {
    load(options).map_or(0.0, |load| load.warmup + load.seconds)
}

fn load(options: &[String]) -> Option<LoadArguments> {
    LoadArguments::from_arg_matches(&matches(options).ok()?).ok()
}

fn matches(options: &[String]) -> Result<ArgMatches, String> {
    let command = Command::new("bench").no_binary_name(true).disable_help_flag(true);
    // An option of a case wins over the load's.
    let command = LoadArguments::augment_args(command.args_override_self(true));
    command.try_get_matches_from(options).map_err(|error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}
