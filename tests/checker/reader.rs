//! Clients that only read: of `statesync.v1` without an identity, and of the classic protocol.

use super::{
    client::note_refusal,
    connection::{Connection, Heard},
    history::{History, What},
    support::DEADLINE,
    weather::{Count, Phase, Weather},
};
use fastrand::Rng;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// Much more than two heartbeats: the server pings who is quiet.
const PATIENCE: Duration = Duration::from_secs(3);

pub struct Reader {
    pub is_v1: bool,
    pub address: SocketAddr,
    pub rng: Rng,
    pub weather: Arc<Weather>,
    pub history: History,
}

impl Reader {
    /// Reads, and comes back, until the storm is over.
    pub fn run(mut self) -> History {
        let mut number = 0;
        while self.weather.phase() == Phase::Storm {
            self.history.add(number, What::Connecting);
            match Connection::open(self.address, &self.target(), self.is_v1) {
                Ok(connection) => self.read(number, connection),
                Err(why) => {
                    self.weather.count(Count::Refusals);
                    note_refusal(&mut self.history, number, why);
                }
            }
            self.weather.hold(Duration::from_millis(self.rng.u64(0..100)));
            number += 1;
        }
        self.history
    }

    /// Some say what they have seen already.
    fn target(&mut self) -> String {
        let highest = self.history.records.iter().rev().find_map(|record| match record.what {
            What::State { seq, .. } => Some(seq),
            _ => None,
        });
        match highest {
            Some(seq) if self.rng.bool() => format!("/?since={seq}"),
            _ => "/".into(),
        }
    }

    fn read(&mut self, number: usize, mut connection: Connection) {
        let mut last_heard = Instant::now();
        while self.weather.phase() == Phase::Storm && last_heard.elapsed() < PATIENCE {
            match connection.read() {
                Heard::Nothing if self.rng.u16(0..2000) == 0 => break,
                Heard::Nothing => continue,
                Heard::Life => {}
                Heard::Ended(code) => return self.history.add(number, What::Ended(code)),
                Heard::Text(text) => {
                    if let Some(what) = What::from_message(&text) {
                        self.history.add(number, what);
                    }
                }
            }
            last_heard = Instant::now();
        }
        self.history.add(number, What::Ended(None));
    }
}

/// Connects once more and reads the first state.
pub fn look(history: &mut History, address: SocketAddr, is_v1: bool) -> Option<i64> {
    let connection = history.next_connection();
    let target = history.identity.as_ref().map_or("/".into(), |it| format!("/?client={it}"));
    history.add(connection, What::Connecting);
    let mut socket = match Connection::open(address, &target, is_v1) {
        Ok(socket) => socket,
        Err(why) => {
            note_refusal(history, connection, why);
            return None;
        }
    };
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        let Heard::Text(text) = socket.read() else { continue };
        let Some(what) = What::from_message(&text) else { continue };
        history.add(connection, what.clone());
        if let What::State { value, .. } | What::Value(value) = what {
            return Some(value);
        }
    }
    None
}
