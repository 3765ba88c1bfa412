//! The steps in eight bits (e4m3): what a number of an image stands for, and weights for such images.
//!
//! An image has one *unit*, what its number 1 stands for, and each output channel of a convolution a unit of its weights. A weight is rounded
//! after it was multiplied with the unit of the image that it is multiplied with, so that sums over joined images have one unit; a channel's sum
//! times its factor is in units of the image that is made. Units are powers of two, so that they round nothing. They come from the largest values
//! of a pass in f32 over some targets: what is larger in another image becomes the largest number, and what is no number stays none.

pub(crate) mod trial;

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData, bf16};

use self::trial::Trial;
use super::weights::Packed;
use crate::e4m3;
use crate::flat::{Flat, FlatKernel};
use crate::host::rounded::{Rounded, largest};
use crate::program::Program;
use crate::steps::{Convolution, Steps, Then, View, Work};
use crate::trial::brief;

/// The least unit: weights and images that are all zero have a unit, too.
const LEAST_UNIT: f32 = f32::EPSILON * f32::EPSILON;

/// A network's numbers for its steps in eight bits.
#[derive(Debug)]
pub(crate) struct EightBits {
    /// What kernels read.
    pub(crate) packed: Packed,
    /// What a card must show before it is used.
    pub(crate) trial: Trial,
}

impl EightBits {
    /// Calibrates a network on targets `[batch, 1, height, width]`.
    ///
    /// # Errors
    ///
    /// What the device says that has the weights or the targets.
    pub(crate) fn of(
        program: &Program,
        steps: &Steps,
        targets: &Tensor<4>,
    ) -> Result<Self, String> {
        let [_, _, height, width] = targets.dims();
        let targets = targets.clone().try_into_vec_as::<f32>();
        let targets = targets.map_err(|e| brief(&e.to_string()))?;
        let units = units(steps, &largest(program, steps, &targets, [height, width])?);
        let flat = Flat::of(program);
        let numbers = Numbers::of(&flat, steps, &units, &flat.values(program)?);
        let packed = Packed::laid_out(&flat, steps, &numbers.scaled);
        let rounded = Rounded::new(&numbers.meant(&flat, program), steps, &units)?;
        let trial = Trial::new(Arc::new(rounded), steps, units, program.stride);
        Ok(Self { packed, trial })
    }
}

/// The unit of numbers up to `most`: the least power of two in which none is beyond the largest.
fn unit(most: f32) -> f32 {
    let exact = (most / e4m3::LARGEST).max(LEAST_UNIT);
    let power = (exact.to_bits() + 0x007f_ffff) & 0x7f80_0000;
    if exact.is_finite() { f32::from_bits(power) } else { 1.0 }
}

/// What the number 1 of each image stands for. Maxima and doubled images have the unit of what they are made of.
pub(super) fn units(steps: &Steps, largest: &[f32]) -> Vec<f32> {
    let own = |(image, &most)| if steps.bytes(image) == 1 { unit(most) } else { 1.0 };
    let mut units: Vec<f32> = largest.iter().enumerate().map(own).collect();
    for step in &steps.steps {
        match step.work {
            Work::Double { from, to } => units[to] = units[from],
            Work::Convolve(Convolution {
                then: Then::Pool(View { image, .. }, pooled), ..
            }) => {
                units[pooled] = units[image];
            }
            _ => {}
        }
    }
    units
}

/// A network's numbers ([`Flat`]), with which kernels in eight bits multiply.
pub(super) struct Numbers {
    /// In their units, then the factors of the channels of each step that reads eight bits.
    pub(super) scaled: Vec<f32>,
    /// What they stand for once they are rounded.
    rounded: Vec<f32>,
}

impl Numbers {
    pub(super) fn of(flat: &Flat, steps: &Steps, units: &[f32], values: &[f32]) -> Self {
        let mut all = Self { scaled: values.to_vec(), rounded: values.to_vec() };
        let mut factors = Vec::new();
        for step in &steps.steps {
            let Some(kernel) = flat.layers[step.layer] else { continue };
            match &step.work {
                Work::Stem { folded, to } => {
                    kernel.all().for_each(|at| all.scaled[at] /= units[*to]);
                    if *folded {
                        all.round_to_sixteen_bits(&kernel);
                    }
                }
                Work::Convolve(work) => {
                    factors.extend(all.convolution(&kernel, steps, work, units));
                }
                Work::Narrow { .. } => all.round_to_sixteen_bits(&kernel),
                Work::Double { .. } => {}
            }
        }
        all.scaled.extend(factors);
        all
    }

    fn round_to_sixteen_bits(&mut self, kernel: &FlatKernel) {
        let weights = &mut self.rounded[kernel.weights()];
        weights.iter_mut().for_each(|value| *value = bf16::from_f32(*value).to_f32());
    }

    /// Scales the weights of a convolution; gives its channels' factors.
    fn convolution(
        &mut self,
        kernel: &FlatKernel,
        steps: &Steps,
        work: &Convolution,
        units: &[f32],
    ) -> Vec<f32> {
        let of = |view: &View| std::iter::repeat_n(units[view.image], steps.channels(*view));
        let read: Vec<f32> = work.from.iter().flat_map(of).collect();
        let made = match work.then {
            Then::Store(view) | Then::Pool(view, _) => units[view.image],
            Then::Last(_) | Then::StoreLast(..) => 1.0,
        };
        let row = kernel.side * kernel.side * kernel.from;
        let channel = |to: usize| {
            let row = kernel.weight + to * row..kernel.weight + (to + 1) * row;
            let scaled = &mut self.scaled[row.clone()];
            scaled.iter_mut().zip(read.iter().cycle()).for_each(|(value, unit)| *value *= unit);
            let own = unit(scaled.iter().fold(0.0, |most, value| value.abs().max(most)));
            scaled.iter_mut().for_each(|value| *value /= own);
            let rounded = self.rounded[row].iter_mut().zip(scaled).zip(read.iter().cycle());
            rounded.for_each(|((to, value), unit)| *to = e4m3::rounded(*value) * own / unit);
            if let Some(bias) = kernel.bias_at(to) {
                self.scaled[bias] /= made;
            }
            own / made
        };
        (0..kernel.to).map(channel).collect()
    }

    /// The network with its weights as they are rounded, on the CPU.
    pub(super) fn meant(&self, flat: &Flat, program: &Program) -> Program {
        let data = TensorData::new(self.rounded.clone(), [flat.count]);
        let all = Tensor::from_data(data, &Device::flex());
        Program { layers: flat.placed(program, &all), ..program.clone() }
    }
}
