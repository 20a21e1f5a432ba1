//! Log lines: their form, and a limit for those that a client can cause.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lets one line through each [`LogLimit::INTERVAL`] and counts the others, so that a flood of bad
/// input does not become a flood of log lines.
#[derive(Debug)]
pub struct LogLimit(Mutex<Option<Window>>);

#[derive(Debug)]
struct Window {
    opened: Instant,
    suppressed: u64,
}

impl LogLimit {
    /// One line a second: enough to see what happens, too little to fill a disk.
    pub const INTERVAL: Duration = Duration::from_secs(1);

    /// A limit that lets the first line through.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether a line may be logged at `now`, and how many were not since the last one.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let suppressed = match &mut *window {
            Some(open) if now.duration_since(open.opened) < Self::INTERVAL => {
                open.suppressed += 1;
                return None;
            }
            Some(over) => over.suppressed,
            None => 0,
        };
        *window = Some(Window { opened: now, suppressed: 0 });
        Some(suppressed)
    }
}

impl Default for LogLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// Logs at `level` through a [`LogLimit`] of its own; says how many like it were left out.
macro_rules! log_limited {
    ($level:expr, $($message:tt)+) => {{
        static LIMIT: $crate::logging::LogLimit = $crate::logging::LogLimit::new();
        if ::log::log_enabled!($level)
            && let Some(suppressed) = LIMIT.admit(::std::time::Instant::now())
        {
            match suppressed {
                0 => ::log::log!($level, $($message)+),
                more => ::log::log!($level, "{} ({more} more like it)", format_args!($($message)+)),
            }
        }
    }};
}

pub(crate) use log_limited;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_passes_each_second_and_the_others_are_counted() {
        let limit = LogLimit::new();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(limit.admit(start), Some(0));
        assert_eq!(limit.admit(after(1)), None);
        assert_eq!(limit.admit(after(999)), None);
        assert_eq!(limit.admit(after(1000)), Some(2));
        assert_eq!(limit.admit(after(2000)), Some(0));
    }
}
