//! What a model takes of a device: a short trial, so that a plan rests on measurements.
//!
//! The trial runs a few steps of every level on one tile, then on several. What those reserve more than the first is the
//! memory of a tile; the rest is weights, constants and the allocator's pages. It runs on a thread of its own, which on CUDA has
//! a memory pool of its own that is given back afterwards.

use std::time::Instant;

use lithoburn_layout::Raster;
use lithoburn_pool::{Chosen, memory};
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::proposer::{Proposer, Target};
use crate::setup::Setup;

/// Tiles of the second trial on a GPU.
const GPU_TILES: usize = 4;
/// And on the CPU.
const CPU_TILES: usize = 2;
/// Runs of several tiles where speeds decide who gets how much.
pub(crate) const RUNS: usize = 3;

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The device's name.
    pub device: String,
    /// Bytes whatever the tiles, if the device tells.
    pub fixed_bytes: Option<u64>,
    /// Bytes for each pixel of a tile's target, if the device tells.
    pub bytes_per_pixel: Option<f64>,
    /// Seconds of the trial's steps for a tile, kernels compiled.
    pub seconds: f64,
}

impl Probe {
    /// Pixels of targets that a GiB holds.
    pub fn pixels_per_gib(&self) -> Option<f64> {
        self.bytes_per_pixel.filter(|&bytes| bytes > 0.0).map(|bytes| f64::from(1 << 30) / bytes)
    }
}

/// Tries a setup's model on a device, with some runs of which the fastest counts.
///
/// # Errors
///
/// [`EngineError`] if the model does not load or the device fails.
pub(crate) fn probe(setup: &Setup, device: &Chosen, runs: usize) -> Result<Probe, EngineError> {
    let (setup, device) = (setup.clone(), device.clone());
    let trial = std::thread::Builder::new().name("probe".into()).spawn(move || {
        let found = trial(&setup, &device, runs);
        device.device.memory_cleanup();
        found
    });
    let trial = trial.map_err(|e| EngineError::Setting(format!("no thread for a trial: {e}")))?;
    trial.join().unwrap_or_else(|panic| {
        let failure = lithoburn_pool::Failure::of_panic(panic.as_ref());
        Err(EngineError::Pool(format!("the trial of the model failed: {failure}")))
    })
}

fn trial(setup: &Setup, device: &Chosen, runs: usize) -> Result<Probe, EngineError> {
    let size = (setup.kernels.period_nm / setup.pixel_nm).round() as usize;
    let held = || match device.name.as_str() {
        "cpu" => memory::host_peak(),
        name => memory::held(name, &device.device),
    };
    let before = held();
    let proposer = Proposer::new(setup, &device.device, None)?.short();
    let tiles =
        vec![bar(size, setup.pixel_nm); if device.name == "cpu" { CPU_TILES } else { GPU_TILES }];
    let targets: Vec<Target> = tiles.iter().map(Target::Raster).collect();
    let run = |count: usize| proposer.cores(&targets[..count], 0.0).map(|_| held());
    let one = run(1)?;
    // The least of some: a first one still loads kernels.
    let (mut seconds, mut many) = (f64::INFINITY, None);
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        many = run(tiles.len())?;
        seconds = seconds.min(start.elapsed().as_secs_f64() / tiles.len() as f64);
    }
    let more = many.zip(one).map(|(many, one)| many.saturating_sub(one));
    let bytes = more.map(|bytes| bytes as f64 / (tiles.len() - 1) as f64);
    let bytes_per_pixel = bytes.map(|bytes| bytes / (size * size) as f64);
    let fixed = one.zip(bytes).map(|(one, tile)| {
        let own = if device.name == "cpu" { before.unwrap_or(0) } else { 0 };
        (one - own).saturating_sub(tile as u64)
    });
    Ok(Probe { device: device.name.clone(), fixed_bytes: fixed, bytes_per_pixel, seconds })
}

/// A target with something to print.
pub(crate) fn bar(size: usize, pixel_nm: f64) -> Raster {
    let mut raster = Raster::new(size, size, pixel_nm);
    for row in raster.data.chunks_exact_mut(size).skip(size * 7 / 16).take(size / 8) {
        row[size / 4..size * 3 / 4].fill(1.0);
    }
    raster
}
