//! What a process uses, as the kernel tells in `/proc`.

use std::fs;
use std::process;
use std::time::Duration;

use anyhow::{Context, Result};

/// Tells what processor time went where, from its making on.
pub struct CpuMeter {
    server: Option<u32>,
    before: CpuTimes,
}

/// Processor time of the server, if it is known which process that is, and of all others but this
/// process.
pub struct CpuTimes {
    /// The server.
    pub server: Option<Duration>,
    /// All others, with what the hypervisor kept from this machine. If the server is not known, it
    /// is one of them.
    pub others: Duration,
}

impl CpuMeter {
    /// Begins to measure. `server` is the server's process id.
    pub fn start(server: Option<u32>) -> Result<CpuMeter> {
        let before = CpuTimes::now(server)?;
        Ok(CpuMeter { server, before })
    }

    /// What was used since.
    pub fn read(&self) -> Result<CpuTimes> {
        let CpuTimes { server, others } = CpuTimes::now(self.server)?;
        Ok(CpuTimes {
            server: server.zip(self.before.server).map(|(now, before)| now - before),
            others: others.saturating_sub(self.before.others),
        })
    }
}

impl CpuTimes {
    /// Since each of them began.
    fn now(server: Option<u32>) -> Result<CpuTimes> {
        let server = server.map(process_cpu_time).transpose()?;
        let load = process_cpu_time(process::id())?;
        let others = machine_cpu_time()?.saturating_sub(load + server.unwrap_or_default());
        Ok(CpuTimes { server, others })
    }
}

/// The processor time that all threads of a process have used since it began, in steps of 10 ms.
fn process_cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat =
        fs::read_to_string(&path).with_context(|| format!("{path} (the benchmark needs Linux)"))?;
    // The second field is a name that may hold anything; it ends at the last parenthesis. utime and
    // stime are the fields 14 and 15 in proc_pid_stat(5), which counts from 1.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>()?;
    Ok(from_ticks(ticks))
}

/// The processor time that the whole machine has used since it began, other virtual machines on it
/// included.
fn machine_cpu_time() -> Result<Duration> {
    let stat =
        fs::read_to_string("/proc/stat").context("/proc/stat (the benchmark needs Linux)")?;
    let line = stat.lines().next().unwrap_or_default();
    // After the name, proc_stat(5) has user, nice, system, idle, iowait, irq, softirq and steal.
    let ticks = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .map(str::parse::<u64>)
        .collect::<Result<Vec<_>, _>>()?;
    let idle = ticks.iter().skip(3).take(2).sum::<u64>();
    Ok(from_ticks(ticks.iter().sum::<u64>() - idle))
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The resident memory of a process in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    // Exact, while VmRSS in /proc/PID/status is counted in lots for each thread.
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup =
        fs::read_to_string(&path).with_context(|| format!("{path} (the benchmark needs Linux)"))?;
    let kib = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .with_context(|| format!("no Rss in {path}"))?;
    Ok(kib * 1024)
}
