//! Who does what, decided before any device is touched: plain data, to be printed, compared and stored.
//!
//! A job is a number of tiles, each of which goes through all stages of a network. A [`Rank`] has some tiles (data
//! parallel), some stages (pipeline), one part of n (tensor and spatial), or a mixture. Every tile's every stage is
//! done whole by one rank, or by all n parts.

use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::balance::StageCost;
use self::problem::Problem;

pub mod balance;
mod choice;
mod pipelines;
mod problem;
mod replicas;
mod split;

/// Ways to use several devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Whatever is predicted to be fastest among those that fit.
    Auto,
    /// One replica a device; tiles are shared.
    Data,
    /// One stage of the network a device; tiles flow through.
    Pipeline,
    /// Channels are shared: all devices work on each tile.
    Tensor,
    /// Rows are shared: all devices work on each tile.
    Spatial,
    /// Several pipelines beside each other.
    Hybrid,
}

impl Strategy {
    /// All, as they are written.
    const NAMES: [(Self, &'static str); 6] = [
        (Self::Auto, "auto"),
        (Self::Data, "data"),
        (Self::Pipeline, "pipeline"),
        (Self::Tensor, "tensor"),
        (Self::Spatial, "spatial"),
        (Self::Hybrid, "hybrid"),
    ];
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::NAMES.iter().find(|(_, name)| *name == text);
        named.map(|(strategy, _)| *strategy).ok_or_else(|| {
            let names = Self::NAMES.map(|(_, name)| name).join(", ");
            format!("{text:?} is no way to use devices in parallel: expected one of {names}")
        })
    }
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::NAMES.iter().find(|(strategy, _)| strategy == self);
        f.pad(name.map_or("", |(_, name)| name))
    }
}

/// One device's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rank {
    /// The device's name, e.g. `cuda:0`.
    pub device: String,
    /// Tiles, by number. Of replicas this is what is expected: whoever is idle takes the next batch.
    pub batches: Range<usize>,
    /// Stages of the network, by number.
    pub stages: Range<usize>,
    /// Which part of how many, counted from 0; (0, 1) is the whole.
    pub shard: (usize, usize),
}

/// A device as it is found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceState {
    /// Name, e.g. `cuda:0`.
    pub name: String,
    /// The card's own name.
    pub card: String,
    /// Bytes that are free; `None` if that is not known or does not matter.
    pub free_bytes: Option<u64>,
    /// Most bytes that may be used; `None` for all.
    pub budget_bytes: Option<u64>,
    /// Speed: relative, or tiles a second from a probe. Only the ratio of devices counts.
    pub speed: f64,
}

/// What a network gains and pays if a tile is split among devices.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Most parts: channels of the narrowest layer, or rows at the network's stride.
    pub most: usize,
    /// Part of the time, and of the activations' memory, that is divided: 0 to 1.
    pub divided: f64,
    /// Whether the weights are divided, too.
    pub divides_weights: bool,
    /// How often the devices wait for each other in a tile.
    pub exchanges: usize,
    /// Seconds for each of those, however little is sent.
    pub exchange_seconds: f64,
    /// Bytes that a device sends and waits for in a tile, all in all.
    pub exchange_bytes: u64,
}

/// How a network's tile can be split among devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parallelisable {
    /// By channels, if it can.
    pub tensor: Option<Split>,
    /// By rows, if it can.
    pub spatial: Option<Split>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// The model's name.
    pub model: String,
    /// Side of a tile, in pixels.
    pub tile_px: usize,
    /// Tiles.
    pub tiles: usize,
    /// Tiles in a batch on the fastest device; 0 to choose.
    pub batch: usize,
    /// Bytes of a replica without any tile: weights and what the runtime takes.
    pub fixed_bytes: u64,
    /// Further bytes for each pixel of a batch, from a probe.
    pub bytes_per_pixel: f64,
    /// The network's layers, measured with one tile on the fastest device. May be empty if only replicas are
    /// considered.
    pub stages: Vec<StageCost>,
    /// Bytes a second from device to device.
    pub link_bytes_per_s: f64,
    /// How a tile can be split.
    pub parallelisable: Parallelisable,
}

/// Who does what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// How; never `auto`.
    pub strategy: Strategy,
    /// The parts.
    pub ranks: Vec<Rank>,
    /// Most tiles in a batch of each rank; in a pipeline this is cut into micro-batches.
    pub batch: Vec<usize>,
    /// Micro-batches that a pipeline's batch is cut into; 1 without a pipeline.
    pub micro_batches: usize,
    /// Bytes that each rank is expected to use.
    pub predicted_bytes: Vec<u64>,
    /// Expected speed over that of the fastest device alone, as if the network fitted it.
    pub predicted_speedup: f64,
    /// Why this, and which devices are left out.
    pub reason: String,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// There are no devices.
    #[error("no devices to plan for: at least one is needed")]
    NoDevices,
    /// A device is named twice.
    #[error("device {0} is named twice: each can be used once")]
    Twice(String),
    /// There is nothing to do.
    #[error("nothing to plan: {0} tiles of {1} px; both have to be at least 1")]
    NoTiles(usize, usize),
    /// A measured number makes no sense.
    #[error("{what} is {value}: {expected}")]
    Number {
        /// What it is.
        what: String,
        /// Its value.
        value: f64,
        /// What was expected.
        expected: &'static str,
    },
    /// The network cannot be used in this way.
    #[error("{model} cannot be run {strategy}-parallel on {devices} devices: {reason}")]
    Unable {
        /// The model.
        model: String,
        /// The way.
        strategy: Strategy,
        /// How many devices.
        devices: usize,
        /// Why.
        reason: String,
    },
    /// It fits nowhere.
    #[error("{model} with tiles of {tile_px} px does not fit: {needs}")]
    TooBig {
        /// The model.
        model: String,
        /// Side of a tile.
        tile_px: usize,
        /// What would be needed, and what there is.
        needs: String,
    },
}

/// Decides who does what. Nothing is touched or measured.
///
/// `auto` takes replicas if one fits at least one device; devices that it does not fit are left out. If it fits
/// none, the network is cut: into a pipeline, several, or shards, whichever is predicted to be fastest. If there
/// are fewer tiles than devices, tiles are split if that is predicted to be faster by 5 %.
///
/// A way that is asked for by name is planned on all devices it can use, even where that is slower than one.
///
/// # Errors
///
/// [`PlanError`]: what was expected, or what would be needed.
pub fn plan(demand: &Demand, devices: &[DeviceState], wanted: Strategy) -> Result<Plan, PlanError> {
    check(demand, devices)?;
    let case = Problem::new(demand, devices);
    match wanted {
        Strategy::Auto => case.auto(),
        Strategy::Data => case.data(),
        Strategy::Pipeline => case.pipeline(),
        Strategy::Hybrid => case.hybrid(),
        Strategy::Tensor | Strategy::Spatial => case.split(wanted),
    }
}

/// Refuses numbers that make no sense.
fn check(demand: &Demand, devices: &[DeviceState]) -> Result<(), PlanError> {
    if devices.is_empty() {
        return Err(PlanError::NoDevices);
    }
    if demand.tiles == 0 || demand.tile_px == 0 {
        return Err(PlanError::NoTiles(demand.tiles, demand.tile_px));
    }
    let number = |what: String, value: f64, good: bool, expected| {
        if good { Ok(()) } else { Err(PlanError::Number { what, value, expected }) }
    };
    for (i, DeviceState { name, speed, .. }) in devices.iter().enumerate() {
        if devices[..i].iter().any(|other| other.name == *name) {
            return Err(PlanError::Twice(name.clone()));
        }
        let good = speed.is_finite() && *speed > 0.0;
        number(format!("the speed of {name}"), *speed, good, "it must be positive and finite")?;
    }
    for StageCost { name, seconds, .. } in &demand.stages {
        let good = seconds.is_finite() && *seconds >= 0.0;
        number(format!("the time of stage {name}, in s"), *seconds, good, "it must be at least 0")?;
    }
    let bytes = demand.bytes_per_pixel;
    let good = bytes.is_finite() && bytes >= 0.0;
    number("the number of bytes per pixel".into(), bytes, good, "it must be at least 0")?;
    let link = demand.link_bytes_per_s;
    number("the link's bytes per second".into(), link, link > 0.0, "it must be positive")?;
    let Parallelisable { tensor, spatial } = demand.parallelisable;
    for split in [tensor, spatial].into_iter().flatten() {
        let (part, wait) = (split.divided, split.exchange_seconds);
        let good = (0.0..=1.0).contains(&part);
        number("the part that is divided".into(), part, good, "it must be within 0 and 1")?;
        let good = wait.is_finite() && wait >= 0.0;
        number("the time of an exchange, in s".into(), wait, good, "it must be at least 0")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
