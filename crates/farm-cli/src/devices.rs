//! Devices by the names that people give them.

use anyhow::{Result, anyhow};
use clap::Args;
use lithoburn_pool::{Chosen, DeviceName, choose, choose_all};

/// This machine's devices.
#[derive(Args, Debug)]
pub(crate) struct Devices {
    /// Devices of this machine, which compute blocks or measure the mask: auto, all (every GPU), or names such as cuda:0,cuda:1,cpu.
    #[arg(
        long,
        short,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "auto",
        alias = "device"
    )]
    devices: Vec<String>,
}

impl Devices {
    /// The devices, tested.
    ///
    /// # Errors
    ///
    /// If a name means nothing, or a device does not work.
    pub(crate) fn choose(&self) -> Result<Vec<Chosen>> {
        let named = |name: &String| -> Result<Chosen> {
            let name: DeviceName = name.parse().map_err(|e| anyhow!("--devices: {e}"))?;
            Ok(choose(name)?)
        };
        match &self.devices[..] {
            [all] if all == "all" => Ok(choose_all()),
            names => names.iter().map(named).collect(),
        }
    }
}

/// The CPU, where no other device has anything to do.
///
/// # Errors
///
/// If it does not work.
pub(crate) fn cpu() -> Result<Vec<Chosen>> {
    Ok(vec![choose(DeviceName::Cpu)?])
}

/// The names of devices.
pub(crate) fn names(devices: &[Chosen]) -> String {
    devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(",")
}
