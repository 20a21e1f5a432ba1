//! Where and how it was measured.

use std::fs;

use serde::Serialize;

/// Where and how it was measured.
#[derive(Serialize)]
pub struct Setting {
    date: String,
    statesync: &'static str,
    profile: &'static str,
    kernel: String,
    processor: String,
    cores: usize,
    /// The command line's options.
    options: String,
}

impl Setting {
    /// This machine, now.
    pub fn here() -> Setting {
        let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor =
            cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let uname = rustix::system::uname();
        Setting {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            statesync: env!("CARGO_PKG_VERSION"),
            profile: if cfg!(debug_assertions) {
                "debug: the numbers tell nothing"
            } else {
                "optimised"
            },
            kernel: format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            ),
            processor: processor.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            options: std::env::args()
                .skip(1)
                .filter(|argument| argument != "--bench")
                .collect::<Vec<_>>()
                .join(" "),
        }
    }

    /// The lines above the tables.
    pub fn to_markdown(&self) -> String {
        let Setting { date, statesync, profile, kernel, processor, cores, options } = self;
        let options = if options.is_empty() { "none" } else { options };
        format!(
            "statesync {statesync} ({profile}), {date}\n{cores} cores of {processor}, {kernel}; \
             the load runs on the same machine\nOptions: {options}\n"
        )
    }
}
