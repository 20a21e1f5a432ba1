//! Wakes a poll at a precise time: its own timeouts are milliseconds.

use mio::{Interest, Registry, Token, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

const NS_PER_S: u64 = 1_000_000_000;

/// A timer in a poll.
pub struct Alarm {
    timer: OwnedFd,
    /// What it is set to, in nanoseconds of its user's clock.
    set_to_ns: Option<u64>,
}

impl Alarm {
    /// Its token in the poll.
    pub const TOKEN: Token = Token(usize::MAX);

    /// A timer that is not set.
    pub fn new(registry: &Registry) -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        // It is never read: the poll tells of each time that it rings, and setting it resets it.
        let mut source = SourceFd(&timer.as_raw_fd());
        registry.register(&mut source, Self::TOKEN, Interest::READABLE)?;
        Ok(Self { timer, set_to_ns: None })
    }

    /// Rings at `time_ns`, which is in `wait_ns` from now, instead of at what it was set to.
    pub fn set(&mut self, time_ns: u64, wait_ns: u64) -> io::Result<()> {
        if self.set_to_ns == Some(time_ns) {
            return Ok(());
        }
        let wait = Timespec {
            tv_sec: (wait_ns / NS_PER_S) as i64,
            // 0 would unset it.
            tv_nsec: (wait_ns % NS_PER_S).max(1) as _,
        };
        let once = Itimerspec { it_interval: Timespec::default(), it_value: wait };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.set_to_ns = Some(time_ns);
        Ok(())
    }

    /// It has rung.
    pub fn rang(&mut self) {
        self.set_to_ns = None;
    }
}
