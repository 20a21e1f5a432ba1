//! One line on standard error about how far a run is.

use super::record::Record;
use std::io::{self, IsTerminal, Write};

const NS_PER_S: u64 = 1_000_000_000;

/// Tells how far a run is: in a terminal in one line, twice a second, else one line each five
/// seconds.
pub struct Progress {
    is_terminal: bool,
    interval_ns: u64,
    next_ns: u64,
    seconds: f64,
    /// The time and the events when it was told last.
    before: (u64, u64),
}

impl Progress {
    /// Of a run that is measured for so many seconds.
    pub fn new(seconds: f64, now_ns: u64) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let interval_ns = if is_terminal { NS_PER_S / 2 } else { 5 * NS_PER_S };
        Self {
            is_terminal,
            interval_ns,
            next_ns: now_ns + interval_ns,
            seconds,
            before: (now_ns, 0),
        }
    }

    /// Says what goes on.
    pub fn say(&mut self, text: &str) {
        // Nobody may be there to read it.
        let mut stderr = io::stderr();
        let _ = match self.is_terminal {
            true => write!(stderr, "\r\x1b[K{text}"),
            false => writeln!(stderr, "{text}"),
        };
    }

    /// Makes room for what is printed next.
    pub fn clear(&mut self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// Tells how far it is, if it is time for that.
    #[inline]
    pub fn tell(&mut self, now_ns: u64, record: &Record) {
        if self.next_ns <= now_ns && record.is_on() {
            self.tell_now(now_ns, record);
        }
    }

    #[cold]
    fn tell_now(&mut self, now_ns: u64, record: &Record) {
        let (time_ns, events) = self.before;
        let per_s = (record.events.saturating_sub(events)) as f64 * 1e9
            / now_ns.saturating_sub(time_ns).max(1) as f64;
        self.before = (now_ns, record.events);
        self.next_ns = now_ns + self.interval_ns;
        self.say(&format!(
            "{:.1} of {} s: {per_s:.0} events/s, {} actions in all",
            record.so_far(now_ns).as_secs_f64(),
            self.seconds,
            record.actions
        ));
    }
}
