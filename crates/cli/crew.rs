//! Options of jobs that several devices share.

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use lithoburn_engine::chip::{Lane, MaskFormat};
use lithoburn_pool::{Chosen, DeviceName, choose, choose_all};

use crate::options::DeviceOptions;
use crate::terminal::{say, table};

/// Tiles that a GPU computes at once, if nothing else is asked for: more hardly raise the rate (26 clips/s at 25 and at 50 on an
/// H200).
const GPU_BATCH: usize = 24;

/// The devices of a job.
#[derive(Args, Debug)]
pub(crate) struct CrewOptions {
    /// Devices that share the tiles: all (every GPU), or names such as cuda:0,cuda:1,cpu; a name may come more than once.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "device")]
    devices: Vec<String>,
    /// Tiles that each device computes at once [default: what its memory holds, at most 24; 1 on the CPU].
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
}

impl CrewOptions {
    /// The devices by name, tested.
    pub(crate) fn choose(&self, single: &DeviceOptions) -> Result<Vec<Chosen>> {
        if self.batch == Some(0) {
            bail!("--batch must be 1 or more");
        }
        match self.devices.as_slice() {
            [] => Ok(vec![single.choose()?]),
            [all] if all == "all" => Ok(choose_all()),
            names => names.iter().map(|name| named(name)).collect(),
        }
    }

    /// The devices with the tiles that each computes at once.
    pub(crate) fn lanes(&self, chosen: Vec<Chosen>) -> Vec<Lane> {
        let batch = |device: &Chosen| match self.batch {
            Some(batch) => batch,
            None if device.name == "cpu" => 1,
            None => GPU_BATCH,
        };
        chosen.into_iter().map(|device| Lane { batch: batch(&device), device, team: None }).collect()
    }
}

/// Says what each device did, and what went wrong.
pub(crate) fn say_pool(pool: &lithoburn_pool::Report) {
    if pool.members.len() > 1 {
        let row = |m: &lithoburn_pool::MemberReport| {
            vec![
                m.name.clone(),
                m.tasks.to_string(),
                m.batch.to_string(),
                format!("{:.0} %", 100.0 * m.utilisation),
                format!("{:.2} s", m.latency.p50),
            ]
        };
        let rows: Vec<Vec<String>> = pool.members.iter().map(row).collect();
        say(false, &table(&["device", "tiles", "batch", "busy", "a batch"], &rows));
    }
    for fault in &pool.faults {
        say(
            false,
            &format!(
                "after {:.1} s, {}: {} ({} tiles given back)",
                fault.at, fault.member, fault.text, fault.requeued
            ),
        );
    }
}

pub(crate) fn named(name: &str) -> Result<Chosen> {
    let wanted: DeviceName =
        name.parse().map_err(anyhow::Error::msg).context("--devices lists names, or is all")?;
    Ok(choose(wanted)?)
}

/// Format of polygons that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// GDSII.
    Gds,
    /// OASIS.
    Oas,
}

impl From<FormatName> for MaskFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Gds => Self::Gds,
            FormatName::Oas => Self::Oasis,
        }
    }
}

/// How a layout is cut into tiles.
#[derive(Args, Debug)]
pub(crate) struct TileOptions {
    /// Cut a layout of any size into tiles of this side, in nm.
    #[arg(long, value_name = "NM")]
    pub tile: Option<f64>,
    /// What neighbouring tiles share on each side, in nm, or auto.
    #[arg(long, value_name = "NM", default_value = "auto", requires = "tile")]
    halo: String,
    /// Format of the polygons that are written.
    #[arg(long, value_enum, default_value = "gds")]
    pub format: FormatName,
}

impl TileOptions {
    /// The halo, unless it is to be chosen.
    pub(crate) fn halo(&self) -> Result<Option<f64>> {
        if self.halo == "auto" {
            return Ok(None);
        }
        match self.halo.parse() {
            Ok(halo) if halo >= 0.0 && f64::is_finite(halo) => Ok(Some(halo)),
            _ => bail!("--halo must be a number of nm, 0 or more, or auto; got {:?}", self.halo),
        }
    }
}
