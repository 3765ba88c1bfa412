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
#[cfg(feature = "cuda")]
use super::visible;

/// Bytes that could still be allocated on a device.
pub fn free(device: &str) -> Option<u64> {
    match device.parse().ok()? {
        #[cfg(feature = "cuda")]
        DeviceName::Cuda(card) => {
            let place = visible::place(card.unwrap_or(0))?;
            guarded(move || card_free(place as i32)).ok()?
        }
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

/// The most memory that may be used of a device, as a user writes it: `cuda:0=8GiB`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The device's name, as [`crate::Chosen::name`] has it.
    pub device: String,
    /// Bytes.
    pub bytes: u64,
}

/// Sizes below this are slips of the unit: no program with a network is so small.
const LEAST: u64 = 1 << 20;

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("{text:?} limits no memory: {why}");
        let form = || wrong("expected NAME=SIZE such as cuda:0=8GiB".into());
        let (name, size) = text.split_once('=').ok_or_else(form)?;
        let device = match name.parse().map_err(wrong)? {
            DeviceName::Auto => return Err(wrong("auto may be any device; name one".into())),
            // The first card of a family is called by its number.
            DeviceName::Cuda(None) => DeviceName::Cuda(Some(0)),
            DeviceName::Vulkan(None) => DeviceName::Vulkan(Some(0)),
            DeviceName::Wgpu(None) => DeviceName::Wgpu(Some(0)),
            named => named,
        };
        let digits = size.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(size.len());
        let number: f64 = size[..digits].parse().map_err(|_| form())?;
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let unit = if size[digits..].is_empty() { "B" } else { &size[digits..] };
        let power = UNITS.iter().position(|known| *known == unit);
        let power =
            power.ok_or_else(|| wrong(format!("the unit is one of {}", UNITS.join(", "))))?;
        let bytes = (number * 1024_f64.powi(power as i32)) as u64;
        if bytes < LEAST {
            let found = readable(bytes);
            return Err(wrong(format!(
                "{found} is too little for anything; write {name}=8GiB, say"
            )));
        }
        Ok(Self { device: device.to_string(), bytes })
    }
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

    #[test]
    fn limits_are_read_with_their_units() {
        for (text, device, bytes) in [
            ("cuda:1=8GiB", "cuda:1", 8 << 30),
            ("cuda=1.5GiB", "cuda:0", 3 << 29),
            ("cpu=2097152", "cpu", 2 << 20),
            ("vulkan:0=1TiB", "vulkan:0", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Limit { device: device.into(), bytes }), "{text}");
        }
    }

    #[test]
    fn a_limit_that_cannot_be_meant_says_what_is_wrong_with_it() {
        for (text, part) in [
            ("foo=1GiB", "no device"),
            ("auto=1GiB", "name one"),
            ("cpu=1", "1 B is too little"),
            ("cuda:0=0", "0 B is too little"),
            ("cpu=8GB", "GiB, TiB"),
            ("cpu=", "NAME=SIZE"),
            ("cpu=1.2.3GiB", "NAME=SIZE"),
            ("cpu=-1GiB", "NAME=SIZE"),
            ("8GiB", "NAME=SIZE"),
        ] {
            let error = text.parse::<Limit>().expect_err(text);
            assert!(error.contains(part) && error.contains(text), "{error}");
        }
    }

    /// Where the system tells anything, what we hold is part of what we ever held.
    #[test]
    fn the_host_holds_less_than_its_peak() {
        if let (Some(held), Some(peak)) = (held("cpu", &Device::flex()), host_peak()) {
            assert!(0 < held && held <= peak, "{held} of {peak}");
        }
    }
}
