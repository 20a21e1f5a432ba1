//! What a process uses, as the kernel tells in `/proc`.

use std::{
    fs,
    io::{self, ErrorKind},
    time::Duration,
};

/// The processor time that all threads of a process have used.
#[derive(Debug, Clone, Copy)]
pub struct CpuTime {
    /// To the nanosecond, of the threads that are there.
    threads: Duration,
    /// In steps of 10 ms, with the threads that have ended.
    all: Duration,
}

impl CpuTime {
    /// Since the process began.
    ///
    /// # Errors
    /// There is no such process, or `/proc` does not show it.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { threads: threads_time(pid)?, all: process_time(pid)? })
    }

    /// What was used since `before`: to the nanosecond, unless a thread has ended meanwhile and took
    /// its time with it.
    pub fn since(self, before: Self) -> Duration {
        let all = self.all.saturating_sub(before.all);
        let threads = self.threads.saturating_sub(before.threads);
        let step = Duration::from_millis(20);
        if threads + step >= all { threads } else { all }
    }
}

fn threads_time(pid: u32) -> io::Result<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while we look; proc_pid_schedstat: the first number is nanoseconds on a
        // processor. A kernel without it has none.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}

fn process_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name that may hold anything; it ends at the last parenthesis. utime and
    // stime are the fields 14 and 15 in proc_pid_stat(5), which counts from 1.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    let per_s = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_s as f64))
}

/// The resident memory of a process in bytes, exactly. It takes long for large processes.
///
/// # Errors
/// There is no such process, or it belongs to somebody else.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    // VmRSS in /proc/PID/status is counted in lots for each thread.
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = rollup.lines().find_map(|line| {
        line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::from(ErrorKind::InvalidData))
}

/// The same, to within some hundred KiB, and soon told.
///
/// # Errors
/// There is no such process.
pub fn about_resident_bytes(pid: u32) -> io::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let page = rustix::param::page_size() as u64;
    pages.map(|pages| pages * page).ok_or_else(|| io::Error::from(ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process;

    #[test]
    fn this_process_uses_time_and_memory() {
        let before = CpuTime::of(process::id()).expect("this process");
        assert!(CpuTime::of(process::id()).expect("this process").since(before) < Duration::MAX);
        let exact = resident_bytes(process::id()).expect("this process");
        let about = about_resident_bytes(process::id()).expect("this process");
        assert!(exact.abs_diff(about) < 16 * 1024 * 1024, "{exact} {about}");
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(CpuTime::of(u32::MAX).is_err());
        assert!(resident_bytes(u32::MAX).is_err());
    }

    #[test]
    fn the_time_of_threads_that_ended_is_not_lost() {
        let ms = Duration::from_millis;
        let time = |threads, all| CpuTime { threads: ms(threads), all: ms(all) };
        assert_eq!(time(105, 100).since(time(3, 0)), ms(102));
        assert_eq!(time(50, 300).since(time(100, 100)), ms(200));
    }
}
