//! Devices by the names that people give them.

use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use lithoburn_pool::{
    Chosen, DeviceName, choose_all, choose_all_in_turn, choose_each, choose_in_turn,
    hide_other_cards,
};

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
    /// Spares CUDA the cards that are not named. For `main`, before any thread is started.
    pub(crate) fn hide_others(&self) {
        let named: Result<Vec<DeviceName>, String> =
            self.devices.iter().map(|name| name.parse()).collect();
        // What is no device's name is an error later on; `all` is none.
        hide_other_cards(&named.unwrap_or_default());
    }

    /// Begins to open and test the devices; `in_turn` leaves all but the first of equal cards for later, where each may begin when it
    /// is there.
    ///
    /// # Errors
    ///
    /// If a name means nothing, or the system gives no thread.
    pub(crate) fn open(&self, in_turn: bool) -> Result<Opening> {
        let names = self.devices.clone();
        if names == ["all"] {
            let all = if in_turn { choose_all_in_turn } else { choose_all };
            return Opening::begin(names, move || Ok(all()));
        }
        let named = |name: &String| -> Result<DeviceName> {
            name.parse().map_err(|e| anyhow!("--devices: {e}"))
        };
        let wanted = names.iter().map(named).collect::<Result<Vec<DeviceName>>>()?;
        let each = if in_turn { choose_in_turn } else { choose_each };
        Opening::begin(names, move || Ok(each(&wanted)?))
    }
}

/// Devices that are being opened; a layout is read meanwhile. Nobody waits for those that are not asked for.
pub(crate) struct Opening {
    /// As they were asked for.
    pub(crate) names: Vec<String>,
    thread: JoinHandle<Result<Vec<Chosen>>>,
}

impl Opening {
    fn begin(
        names: Vec<String>,
        open: impl FnOnce() -> Result<Vec<Chosen>> + Send + 'static,
    ) -> Result<Self> {
        let thread = std::thread::Builder::new().name("devices".into()).spawn(open);
        Ok(Self { names, thread: thread.context("the system gives no thread to open devices")? })
    }

    /// The CPU, where no other device has anything to do.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub(crate) fn cpu() -> Result<Self> {
        Self::begin(vec![DeviceName::Cpu.to_string()], || Ok(choose_each(&[DeviceName::Cpu])?))
    }

    /// The devices, once they are tested. A panic goes on here.
    ///
    /// # Errors
    ///
    /// If one of them does not work.
    pub(crate) fn devices(self) -> Result<Vec<Chosen>> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The names of devices.
pub(crate) fn names(devices: &[Chosen]) -> String {
    devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(",")
}
