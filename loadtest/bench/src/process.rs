//! What a server process costs, as the system counts it.

use serde::{Deserialize, Serialize};

/// What a process used since its start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU seconds, user and system, in steps of a clock tick.
    pub cpu_s: f64,
    /// Resident now, bytes.
    pub resident_bytes: u64,
    /// Most that was ever resident, bytes.
    pub peak_bytes: u64,
    /// Bytes it caused to be written to storage (`write_bytes`).
    pub written_bytes: u64,
}

/// Ticks a second; fixed by Linux's interface to user space.
const TICKS: f64 = 100.0;

/// Asks the system about the process `pid`; `None` when it is gone or the system is not Linux.
#[must_use]
pub fn usage(pid: u32) -> Option<Usage> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let status = read("status")?;
    Some(Usage {
        cpu_s: cpu_s(&read("stat")?)?,
        resident_bytes: field(&status, "VmRSS:").unwrap_or(0) * 1024,
        peak_bytes: field(&status, "VmHWM:").unwrap_or(0) * 1024,
        written_bytes: read("io")
            .and_then(|io| field(&io, "write_bytes:"))
            .unwrap_or(0),
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time out of `/proc/PID/stat`, whose second field may hold spaces and brackets.
fn cpu_s(stat: &str) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

/// The machine, for reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of them.
    pub cores: usize,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// The kernel.
    pub system: String,
    /// Load average of the last minute when the run began: what else the machine was doing.
    pub load_before: f64,
}

impl Machine {
    /// Asks the system; what it does not tell stays empty.
    #[must_use]
    pub fn here() -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let name = cpu.lines().find(|l| l.starts_with("model name"));
        let load = read("/proc/loadavg");
        Self {
            processor: name
                .and_then(|l| l.split_once(':'))
                .map_or_else(String::new, |(_, n)| n.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0) * 1024,
            system: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            load_before: load
                .split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4 5 6 7 8 250 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu_s(stat), Some(3.0));
    }

    #[test]
    fn this_process_can_be_asked() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 0 && usage.peak_bytes >= usage.resident_bytes);
    }
}
