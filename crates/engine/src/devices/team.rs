//! A method's network over several devices, in the place of one on a single device.

use std::ops::Range;

use burn::tensor::{DType, Device, Tensor};
use lithoburn_models::parallel::{
    Distributed, LayerCost, Offloaded, PipelineTerms, Pipelined, ShardTerms, Sharded, Spatial,
    costs,
};
use lithoburn_models::{MaskNetwork, ParallelError, Place, Program};
use lithoburn_pool::plan::balance::{self, BalanceError, Room, StageCost};
use lithoburn_pool::{Chosen, memory};
use lithoburn_ranks::PipelineError;
use lithoburn_ranks::transfer::link;
use serde::{Deserialize, Serialize};

use crate::EngineError;

/// Times that a pipeline is cut again at most, and the micro-batches of a trial.
const TRIALS: usize = 3;
const MICRO_BATCHES: usize = 8;
/// Runs of each layer when its cost is measured.
const REPEATS: usize = 2;

/// How one network is on several devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Its layers.
    Pipeline,
    /// Its channels.
    Tensor,
    /// The rows of its images.
    Spatial,
    /// Its weights stay in host memory, and come to one device as they are needed.
    Offload,
}

/// Devices that compute one network.
#[derive(Clone, Debug)]
pub struct Team {
    /// How.
    pub way: Way,
    /// The devices, with what of their memory may be used.
    pub places: Vec<Place>,
}

impl Team {
    /// A team of these devices, with their free memory or `budget` bytes of each.
    pub fn new(way: Way, devices: &[Chosen], budget: Option<u64>) -> Self {
        Self { way, places: places(devices, budget) }
    }

    /// Lays a network, whose weights are on the host, on the devices. `images` is the shape that comes most.
    ///
    /// # Errors
    ///
    /// [`EngineError::Pool`] if it does not fit.
    pub fn lay(
        &self,
        program: &Program,
        images: [usize; 4],
    ) -> Result<Box<dyn MaskNetwork>, EngineError> {
        Ok(match self.way {
            Way::Pipeline => Box::new(self.pipeline(program, images)?),
            Way::Tensor => {
                let terms = ShardTerms { images, ..ShardTerms::default() };
                Box::new(Sharded::new(program, &self.places, terms)?)
            }
            Way::Spatial => Box::new(Spatial::new(program, &self.places, DType::F32)?),
            Way::Offload => Box::new(Offloaded::new(program, &self.places[0], DType::F32)?),
        })
    }

    fn pipeline(&self, program: &Program, images: [usize; 4]) -> Result<Pipelined, EngineError> {
        // One image at a time fills the stages soonest.
        let shape = [1, images[1], images[2], images[3]];
        let first = self.places.first().map(|place| place.device.clone());
        let device = first.unwrap_or_else(Device::flex);
        let mut costs = costs(program, &device, shape, DType::F32, REPEATS)?;
        Ok(balanced(program, &self.places, &mut costs, PipelineTerms::default(), shape)?.0)
    }
}

/// Devices with their free memory, less what allocators lose between their pages, or `budget` bytes of each.
pub(crate) fn places(devices: &[Chosen], budget: Option<u64>) -> Vec<Place> {
    let free = |d: &Chosen| memory::free(&d.name).map(|bytes| bytes / 16 * 15);
    let place = |d: &Chosen| match budget.or_else(|| free(d)) {
        Some(bytes) => Place::limited(&d.name, &d.device, bytes),
        None => Place::unlimited(&d.name, &d.device),
    };
    devices.iter().map(place).collect()
}

/// Layers' costs as the pool's planner wants them.
pub(crate) fn stage_costs(costs: &[LayerCost]) -> Vec<StageCost> {
    let stage = |cost: &LayerCost| StageCost {
        name: cost.name.clone(),
        seconds: cost.seconds,
        weight_bytes: cost.weight_bytes,
        activation_bytes: cost.peak_bytes,
        transfer_bytes: cost.output_bytes,
    };
    costs.iter().map(stage).collect()
}

/// A pipeline whose stages take alike: cut by the layers' costs, tried with images `[micro-batch, 1, height, width]`, and cut again
/// where a stage took longer than its layers had alone; the best cut that was tried is kept. Costs become what the trials say.
///
/// # Errors
///
/// [`ParallelError`] if no cut fits or a device fails.
pub fn balanced(
    program: &Program,
    places: &[Place],
    costs: &mut [LayerCost],
    terms: PipelineTerms,
    images: [usize; 4],
) -> Result<(Pipelined, Vec<Range<usize>>), ParallelError> {
    let speed = link_speed(places)?;
    let mut ranges = cuts(costs, places, speed)?;
    let mut network = Pipelined::new(program, places, &ranges, terms)?;
    let mut tried: Vec<(f64, Vec<Range<usize>>)> = Vec::new();
    if places.len() == 1 {
        return Ok((network, ranges));
    }
    loop {
        let slowest = trial(&network, &ranges, &places[0].device, costs, images, terms.precision)?;
        tried.push((slowest, ranges.clone()));
        let next = cuts(costs, places, speed)?;
        let enough = tried.len() > TRIALS || tried.iter().any(|(_, known)| *known == next);
        let best = tried.iter().min_by(|a, b| a.0.total_cmp(&b.0)).map(|best| best.1.clone());
        let next = best.filter(|_| enough).unwrap_or(next);
        if next != ranges {
            // Two networks at once might not fit.
            drop(network);
            network = Pipelined::new(program, places, &next, terms)?;
            ranges = next;
        }
        if enough {
            return Ok((network, ranges));
        }
    }
}

/// Runs some images through a pipeline, sets its layers' costs to what their stages took, and gives the seconds of the slowest.
fn trial(
    network: &Pipelined,
    ranges: &[Range<usize>],
    home: &Device,
    costs: &mut [LayerCost],
    [batch, channels, height, width]: [usize; 4],
    precision: DType,
) -> Result<f64, ParallelError> {
    let x = Tensor::<4>::ones([MICRO_BATCHES * batch, channels, height, width], home);
    let x = x.cast(precision);
    // The first pass compiles.
    network.try_logits(x.clone())?;
    network.try_logits(x)?;
    let (report, mut slowest) = (network.report(), 0.0);
    for (range, busy) in ranges.iter().zip(&report.busy_seconds) {
        let seconds = busy / report.items.max(1) as f64;
        slowest = f64::max(slowest, seconds);
        let layers = &mut costs[range.clone()];
        let alone: f64 = layers.iter().map(|layer| layer.seconds).sum();
        layers.iter_mut().for_each(|layer| layer.seconds *= seconds / alone.max(1e-9));
    }
    Ok(slowest)
}

/// Bytes a second from the first of some devices to the next; without a next one, more than any.
///
/// # Errors
///
/// [`ParallelError::Rank`] if a device fails.
pub fn link_speed(places: &[Place]) -> Result<f64, ParallelError> {
    match places {
        [first, second, ..] => Ok(link(&first.device, &second.device)?.bytes_per_second),
        _ => Ok(f64::MAX),
    }
}

/// Consecutive layers for each place: by measured cost, within its memory.
///
/// # Errors
///
/// [`ParallelError::Cut`] if no cut fits.
pub fn cuts(
    costs: &[LayerCost],
    places: &[Place],
    bytes_per_second: f64,
) -> Result<Vec<Range<usize>>, ParallelError> {
    let room = |place: &Place| {
        let allowed = place.budget.allowed();
        Room { speed: 1.0, bytes: (allowed < u64::MAX).then_some(allowed) }
    };
    let rooms: Vec<Room> = places.iter().map(room).collect();
    let cut =
        balance::cut(&stage_costs(costs), &rooms, bytes_per_second).map_err(
            |error| match error {
                BalanceError::Memory { .. } => {
                    ParallelError::Rank(PipelineError::OutOfMemory(error.to_string()))
                }
                other => ParallelError::Cut(other.to_string()),
            },
        )?;
    Ok(cut.ranges)
}
