//! The real binary at a terminal, and what a person would see there.

use super::DEADLINE;
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command},
    sync::{Arc, Condvar, Mutex},
    time::Instant,
};

const ROWS: u16 = 40;
const COLUMNS: u16 = 80;

/// A process at a terminal of its own. Killed when dropped.
pub struct PseudoTerminal {
    child: Child,
    keyboard: File,
    shown: Arc<(Mutex<Shown>, Condvar)>,
}

struct Shown {
    terminal: vt100::Parser,
    bytes: Vec<u8>,
    has_ended: bool,
}

impl PseudoTerminal {
    pub fn spawn(mut command: Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
        grantpt(&ours).expect("a pseudo terminal of ours");
        unlockpt(&ours).expect("a pseudo terminal of ours");
        let path = ptsname(&ours, Vec::new()).expect("its other end has a name");
        let path = path.into_string().expect("a plain path");
        let theirs = File::options().read(true).write(true).open(path).expect("its other end");
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&theirs, size).expect("a terminal has a size");
        let end = || theirs.try_clone().expect("a descriptor");
        command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("the binary starts");
        // The command holds the other end, too: without it, reading ends with the process.
        drop((command, theirs));
        let keyboard = File::from(ours);
        let screen = keyboard.try_clone().expect("a descriptor");
        Self { child, keyboard, shown: Shown::collect(screen) }
    }

    /// Types this; Enter is `\r`.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    pub fn wait_until(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut shown = self.shown.0.lock().expect("no panic");
        loop {
            let screen = shown.terminal.screen().contents();
            if wanted(&screen) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!shown.has_ended && !left.is_zero(), "no {what} on the screen:\n{screen}");
            shown = self.shown.1.wait_timeout(shown, left).expect("no panic").0;
        }
    }

    /// Waits until this text is on the screen.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text));
    }

    /// All bytes that the terminal got so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.shown.0.lock().expect("no panic").bytes.clone()
    }

    /// Waits for the end of the process and returns its exit code and what the screen shows.
    #[track_caller]
    pub fn end(&mut self) -> (i32, String) {
        let ended = |shown: &mut Shown| !shown.has_ended;
        let shown = self.shown.0.lock().expect("no panic");
        let shown = self.shown.1.wait_timeout_while(shown, DEADLINE, ended).expect("no panic").0;
        let screen = shown.terminal.screen().contents();
        assert!(shown.has_ended, "the process did not end; the screen:\n{screen}");
        let status = self.child.wait().expect("a child of ours");
        (status.code().unwrap_or(-1), screen)
    }
}

impl Shown {
    fn collect(mut screen: File) -> Arc<(Mutex<Self>, Condvar)> {
        let terminal = vt100::Parser::new(ROWS, COLUMNS, 0);
        let shown = Self { terminal, bytes: Vec::new(), has_ended: false };
        let shown = Arc::new((Mutex::new(shown), Condvar::new()));
        let collected = shown.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Linux reports an error when the process has gone, others the end.
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                let mut shown = collected.0.lock().expect("no panic");
                shown.terminal.process(&buffer[..count]);
                shown.bytes.extend_from_slice(&buffer[..count]);
                collected.1.notify_all();
            }
            collected.0.lock().expect("no panic").has_ended = true;
            collected.1.notify_all();
        });
        shown
    }
}

impl Drop for PseudoTerminal {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
