//! How much memory a device has free, and how much of it we hold.
//!
//! CUDA's driver tells what is free on a card; the kernel tells it of the host where it can (Linux). What we hold is what
//! Burn's allocator has reserved on a card, and the process's resident pages on the host. What nobody tells is `None`, never a
//! guess.
#![cfg_attr(feature = "cuda", allow(unsafe_code, reason = "the CUDA driver is a C library"))]

use burn::tensor::Device;
#[cfg(feature = "cuda")]
use cudarc::driver::{result, sys};

#[cfg(feature = "cuda")]
use super::guard::guarded;
use super::name::DeviceName;

/// Bytes that could still be allocated on a device.
pub fn free(device: &str) -> Option<u64> {
    match device.parse().ok()? {
        #[cfg(feature = "cuda")]
        DeviceName::Cuda(card) => guarded(move || card_free(card.unwrap_or(0) as i32)).ok()?,
        DeviceName::Cpu => available(&std::fs::read_to_string("/proc/meminfo").ok()?),
        _ => None,
    }
}

/// Bytes that we hold on a device: those that its allocator has reserved, which it keeps for the next use.
pub fn held(device: &str, handle: &Device) -> Option<u64> {
    match device.parse().ok()? {
        DeviceName::Cpu => kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:"),
        _ => handle.memory_pool_usage().map(|usage| usage.bytes_reserved),
    }
}

/// The most bytes of host memory that the process ever held.
pub fn host_peak() -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Bytes as a person reads them.
pub fn readable(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(feature = "cuda")]
fn card_free(card: i32) -> Option<u64> {
    result::init().ok()?;
    let device = result::device::get(card).ok()?;
    // SAFETY: the device is one that the driver gave, and the context is the one that Burn uses. It stays retained, as
    // Burn's own.
    unsafe {
        let context = result::primary_ctx::retain(device).ok()?;
        result::ctx::set_current(context).ok()?;
        let (mut free, mut total) = (0, 0);
        sys::cuMemGetInfo_v2(&raw mut free, &raw mut total).result().ok()?;
        Some(free as u64)
    }
}

/// `MemAvailable` of `/proc/meminfo`.
fn available(text: &str) -> Option<u64> {
    kilobytes(text, "MemAvailable:")
}

/// The value after a key of a file of `/proc`, which has kB.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let count: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(count * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let text = "MemTotal:  100 kB\nMemAvailable:   24 kB\n";
        assert_eq!(available(text), Some(24 * 1024));
        assert_eq!(available("nothing"), None);
    }

    /// Where the system tells anything, what we hold is part of what we ever held.
    #[test]
    fn the_host_holds_less_than_its_peak() {
        if let (Some(held), Some(peak)) = (held("cpu", &Device::flex()), host_peak()) {
            assert!(0 < held && held <= peak, "{held} of {peak}");
        }
    }
}
