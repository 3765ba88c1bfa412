//! The forward model of Surrogate-ILT: learned from masks and their images, whatever made them.
//!
//! ```text
//! mask ─► its low frequencies S ─ learned kernels, few ─► J_f,c = Σ_k |K_f,c,k ∗ mask|²      f: in focus, out of it
//!      ─ dose ─► learned resist: three small convolutions, or none ─► interpolation ─► images at the three corners
//! ```
//!
//! Any partially coherent image is a sum of squares of filtered masks, so the surrogate is one too, with its kernels
//! learned, and fewer of them than the true optics have: they fit the masks that occur, not all masks. A resist that
//! is no plain threshold needs more: then there are several such intensities, and a convolutional network on
//! the coarse grid makes the image of them. It sees the intensities times the dose, so one network does for all
//! corners.
//!
//! Relatives: DOINN (Yang et al., ISPD 2022) learns a Fourier layer with a convolutional branch, 343 thousand
//! parameters; Nitho (Chen et al., ISPD 2023) learns the kernels themselves. This is nearer to the latter. What is ours is
//! the network behind it, and that a file says which true model it was learned from: it is of no use for another.

mod network;

use std::path::Path;

use burn::tensor::{Device, Tensor};
use lithoburn_litho::forward::{ForwardModel, Imager};
use lithoburn_litho::{CornerImages, KernelSet, LithoError, ProcessWindow};
use serde::{Deserialize, Serialize};

use crate::config::{Configuration, within};
use crate::truth::Truth;
use crate::weights::{Stored, WeightsError};

pub use network::{Surrogate, SurrogateGrid};

/// The architecture's name in `config.json`.
pub const ARCHITECTURE: &str = "surrogate-ilt";

/// Shape of the surrogate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SurrogateConfig {
    /// Name of the architecture, so that a file of another one is refused.
    pub architecture: String,
    /// Field period, in nm.
    pub period_nm: f64,
    /// Frequencies on each side of zero.
    pub half: usize,
    /// Points of the coarse grid on a side; more than four times `half`.
    pub coarse: usize,
    /// Kernels of an intensity at one focus.
    pub kernels: usize,
    /// Intensities; 1 without a network.
    pub intensities: usize,
    /// Channels of the learned resist; 0 leaves it out, and dose is a factor on the image.
    pub width: usize,
    /// What it was learned from.
    pub truth: Option<Truth>,
}

impl SurrogateConfig {
    /// A surrogate for the thin mask and threshold resist of these optics: eight kernels a focus.
    pub fn thin(set: &KernelSet) -> Self {
        let half = set.focus.side / 2;
        Self {
            architecture: ARCHITECTURE.into(),
            period_nm: set.period_nm,
            half,
            coarse: (4 * half + 1).next_multiple_of(8),
            kernels: 8,
            intensities: 1,
            width: 0,
            truth: None,
        }
    }

    /// A surrogate for a resist with a bake: two intensities of eight kernels, and a network.
    pub fn baked(set: &KernelSet) -> Self {
        let coarse = (4 * (set.focus.side / 2) + 1).next_power_of_two();
        Self { coarse, intensities: 2, width: 16, ..Self::thin(set) }
    }
}

impl Configuration for SurrogateConfig {
    const ARCHITECTURE: &'static str = ARCHITECTURE;

    fn check(&self) -> Result<(), String> {
        let Self { period_nm, half, coarse, kernels, intensities, width, .. } = *self;
        within("period_nm", period_nm, 1.0..=1e6)?;
        within("half", half, 1..=1000)?;
        // The square of a field has twice its frequencies on each side.
        within("coarse", coarse, 4 * half + 1..=8000)?;
        within("kernels", kernels, 1..=1000)?;
        within("intensities", intensities, 1..=1000 / kernels)?;
        within("width", width, usize::from(intensities > 1)..=1000)
    }
}

impl Surrogate {
    /// The surrogate of a folder: `config.json` and the weights.
    ///
    /// # Errors
    ///
    /// [`WeightsError`], naming the file, and the field or tensor.
    pub fn load(directory: &Path, device: &Device) -> Result<Self, WeightsError> {
        let stored = Stored::read(directory)?;
        Self::of(&stored, device)
    }

    /// The surrogate of these files.
    ///
    /// # Errors
    ///
    /// As [`Surrogate::load`].
    pub fn of(stored: &Stored, device: &Device) -> Result<Self, WeightsError> {
        stored.network(|config: &SurrogateConfig| config.init(0, device))
    }
}

/// A surrogate at its corners, as a forward model.
#[derive(Debug)]
pub struct LearnedModel {
    surrogate: Surrogate,
    window: ProcessWindow,
    device: Device,
}

impl LearnedModel {
    /// The images of a surrogate at these corners.
    pub fn new(surrogate: Surrogate, window: ProcessWindow, device: &Device) -> Self {
        Self { surrogate, window, device: device.clone() }
    }
}

impl ForwardModel for LearnedModel {
    fn period_nm(&self) -> f64 {
        self.surrogate.config.period_nm
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn on(&self, pixel_nm: f64, points: usize) -> Result<Box<dyn Imager + '_>, LithoError> {
        let grid = self.surrogate.grid(pixel_nm, points, &self.device)?;
        Ok(Box::new(LearnedImager { model: self, grid }))
    }
}

struct LearnedImager<'a> {
    model: &'a LearnedModel,
    grid: SurrogateGrid,
}

impl Imager for LearnedImager<'_> {
    fn images(&self, mask: Tensor<3>) -> CornerImages {
        self.model.surrogate.forward(mask, &self.grid, &self.model.window)
    }
}

#[cfg(test)]
mod tests;
