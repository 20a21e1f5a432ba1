//! Makes the journal long, so that a snapshot falls due, without moving the number: a number that
//! was refused is sent again and again, which the journal keeps and nobody else hears of.

use super::{
    connection::{Connection, Heard},
    history::{Action, What},
    support::DEADLINE,
};
use std::{net::SocketAddr, time::Instant};

/// At most so many may be in flight on one connection.
const WINDOW: usize = 64;
const CONNECTIONS: usize = 4;

/// Has the server keep about so many entries, and says how many it answered. It may be killed
/// meanwhile.
pub fn flood(address: SocketAddr, seed: u64, entries: usize) -> usize {
    let start = Instant::now();
    let open = |number| {
        let target = format!("/?client=flood-{seed:020}-{number}");
        Connection::open(address, &target, true).ok()
    };
    let mut connections: Vec<Connection> = (0..CONNECTIONS).filter_map(open).collect();
    let mut answered = 0;
    while answered < entries && !connections.is_empty() && start.elapsed() < DEADLINE {
        for connection in &mut connections {
            (0..WINDOW).for_each(|_| connection.send(Action::Nonsense.message(1)));
        }
        connections.retain_mut(|connection| {
            let answers = (0..WINDOW).take_while(|_| is_answered(connection, start)).count();
            answered += answers;
            answers == WINDOW
        });
    }
    answered
}

/// Reads until the next answer. No, if the connection ends before.
fn is_answered(connection: &mut Connection, start: Instant) -> bool {
    while start.elapsed() < DEADLINE {
        match connection.read() {
            Heard::Nothing | Heard::Life => {}
            Heard::Ended(_) => return false,
            Heard::Text(text) => match What::from_message(&text) {
                Some(What::Refused { id: Some(1), .. }) => return true,
                Some(What::State { .. } | What::Welcome(_)) | None => {}
                Some(other) => panic!("the flood was answered with {other:?}"),
            },
        }
    }
    false
}
