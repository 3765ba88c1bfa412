//! Some layers on a device, within its budget.

use std::ops::Range;
use std::time::Instant;

use burn::tensor::{DType, Device};
use lithoburn_ranks::PipelineError;
use lithoburn_ranks::budget::Reservation;
use lithoburn_ranks::transfer::{computed, moved};

use super::Place;
use super::cost::Extent;
use crate::program::{Activations, Layer, LayerKind, Program};

/// What travels between stages: images, and the memory that they hold where they are.
#[derive(Debug)]
pub(super) struct Cargo {
    pub(super) state: Activations,
    pub(super) extent: Extent,
    pub(super) held: Option<Reservation>,
    /// Where the result is wanted.
    pub(super) home: Device,
    /// Bytes and seconds of moving it from stage to stage, so far.
    pub(super) moved: (u64, f64),
}

/// Consecutive layers with their weights on a device.
pub(super) struct StageLayers {
    layers: Vec<Layer>,
    place: Place,
    /// Of the weights.
    _held: Reservation,
    last: bool,
}

impl StageLayers {
    pub(super) fn new(
        program: &Program,
        range: Range<usize>,
        place: &Place,
        precision: DType,
    ) -> Result<Self, PipelineError> {
        let count: usize = program.layers[range.clone()].iter().map(Layer::weight_count).sum();
        let held = place.budget.reserve((count * precision.size()) as u64, "weights")?;
        let last = range.end == program.layers.len();
        let layers = program.placed(range, &place.device, precision);
        synced(&place.device)?;
        Ok(Self { layers, place: place.clone(), _held: held, last })
    }

    /// Fetches the images and computes; the result stays here, and that of the last stage goes home.
    pub(super) fn run(&mut self, cargo: Cargo) -> Result<Cargo, PipelineError> {
        let Cargo { state, mut extent, held: there, home, moved } = cargo;
        let start = Instant::now();
        let size = state.x.dtype().size();
        let bytes = (extent.values() * size) as u64;
        let mut held = self.place.budget.reserve(bytes, "its input")?;
        let mut state = state.onto(&self.place.device);
        drop(there);
        let moved = (moved.0 + bytes, moved.1 + start.elapsed().as_secs_f64());
        for layer in &self.layers {
            state = layer_within(layer, state, &mut extent, &mut held)?;
        }
        // Until it is computed, its memory is not given back, and its time is not known. Reading a value tells of a failure too: a card
        // that waits for a tensor which another one could not make waits for ever.
        computed(&state.x)?;
        if self.last && home != self.place.device {
            state = state.onto(&home);
            computed(&state.x)?;
        }
        let held = if self.last { None } else { Some(held) };
        Ok(Cargo { state, extent, held, home, moved })
    }
}

/// Runs a layer after its memory has been reserved.
pub(super) fn layer_within(
    layer: &Layer,
    state: Activations,
    extent: &mut Extent,
    held: &mut Reservation,
) -> Result<Activations, PipelineError> {
    // What a layer makes of shapes that do not fit is a panic further down; the count would be wrong before.
    debug_assert!(!matches!(layer.kind, LayerKind::Enter) || extent.x[1] == 1);
    let size = state.x.dtype().size();
    held.resize((extent.working(&layer.kind) * size) as u64, &layer.name)?;
    let state = layer.kind.run(state);
    *extent = extent.after(&layer.kind);
    held.resize((extent.values() * size) as u64, &layer.name)?;
    Ok(state)
}

/// Waits for a device.
pub(super) fn synced(device: &Device) -> Result<(), PipelineError> {
    device.sync().map_err(|error| PipelineError::Failed(error.to_string()))
}

impl Activations {
    /// On a device.
    pub(super) fn onto(self, device: &Device) -> Self {
        let skips = self.skips.into_iter().map(|skip| moved(skip, device)).collect();
        Self { x: moved(self.x, device), skips }
    }
}
