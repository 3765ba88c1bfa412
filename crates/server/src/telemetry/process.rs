//! A process's time and memory, where the system tells (`/proc`).

use std::time::Duration;

/// Processor time of the process, by Prometheus' custom.
pub const CPU: &str = "process_cpu_seconds_total";
/// Memory that the process holds.
pub const RESIDENT: &str = "process_resident_memory_bytes";
/// Files and sockets that the process holds open.
pub const FILES: &str = "process_open_fds";

/// Parts of a second that the kernel counts processor time in, for programs.
const TICKS: u64 = 100;

/// Processor time of this process until now.
#[must_use]
pub fn cpu() -> Option<Duration> {
    ticks(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Memory that this process holds, in bytes.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}

/// Files and sockets that this process holds open.
#[must_use]
pub fn open_files() -> Option<u64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

/// User and system time of a line of `/proc/PID/stat`, whose second field is a name that may hold anything.
fn ticks(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let ticks = next()? + next()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_read_whatever_the_program_is_called() {
        let line = "7 (a) b 1 (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 9";
        assert_eq!(ticks(line), Some(Duration::from_secs(2)));
        assert_eq!(ticks("7 (a) S 1 2"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_works_takes_time_and_memory() {
        let before = cpu().expect("the kernel tells");
        let mut sum = 0_u64;
        while cpu().expect("the kernel tells") == before {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        assert!(resident_bytes() > Some(1 << 16) && open_files() > Some(2));
    }
}
