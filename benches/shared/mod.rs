//! The device that a benchmark runs on.

use std::sync::OnceLock;

use lithoburn::burn::tensor::Device;
use lithoburn::pool::{DeviceName, choose};

/// The device that `LITHOBURN_BENCH_DEVICE` names; the CPU if it is not set.
pub(crate) fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let chosen = || {
        let name = std::env::var("LITHOBURN_BENCH_DEVICE").unwrap_or("cpu".into());
        let name: DeviceName = name.parse().expect("a device");
        choose(name).expect("a device that works").device
    };
    DEVICE.get_or_init(chosen).clone()
}
