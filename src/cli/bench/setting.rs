//! Where and how it was measured.

use super::outcome::Setting;
use std::{env, fs, thread};

impl Setting {
    /// This machine, now.
    pub fn here(url: &str, clients: usize, senders: usize) -> Self {
        let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor =
            cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let uname = rustix::system::uname();
        let (name, release) =
            (uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
        let profile =
            if cfg!(debug_assertions) { " (debug: the numbers tell nothing)" } else { "" };
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            version: format!("{}{profile}", env!("CARGO_PKG_VERSION")),
            kernel: format!("{name} {release}"),
            processor: processor.map_or("unknown", |(_, name)| name).to_owned(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            // The program's name and `bench`.
            arguments: env::args_os()
                .skip(2)
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" "),
            url: url.to_owned(),
            clients,
            senders,
        }
    }
}
