//! Weights as the kernels read them: laid out once, when a network is loaded.

use crate::flat::{Flat, FlatKernel};
use crate::program::Program;
use crate::steps::{Step, Steps, Then, Work};

use super::tiles::SIDE;

/// Numbers of a matrix of weights.
const MATRIX: usize = SIDE * SIDE;
/// Numbers that are read at once, so that weights and biases begin at a multiple.
const FOUR: usize = 4;

/// Where a step's numbers begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its weights: of products in matrices of [`Packed::products`], others in [`Packed::numbers`].
    pub(super) weights: usize,
    /// Its bias, in [`Packed::numbers`].
    pub(super) bias: usize,
    /// The weights of a last 1×1 convolution and its bias, in [`Packed::numbers`].
    pub(super) last: [usize; 2],
}

/// All weights of a network.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed {
    /// Those of products: matrices of 16 output channels by 16 input channels, which lie side by side.
    pub(super) products: Vec<f32>,
    /// Biases, and weights that are multiplied in f32.
    pub(super) numbers: Vec<f32>,
    /// Where each step's are.
    pub(super) places: Vec<Place>,
}

impl Packed {
    /// The weights of a network's steps.
    ///
    /// # Errors
    ///
    /// What the device says that has the weights.
    pub(super) fn of(program: &Program, steps: &Steps) -> Result<Self, String> {
        let flat = Flat::of(program);
        Ok(Self::laid_out(&flat, &flat.values(program)?, steps))
    }

    /// The same of given numbers.
    pub(super) fn laid_out(flat: &Flat, values: &[f32], steps: &Steps) -> Self {
        let mut packed = Self::default();
        for step in &steps.steps {
            let place = packed.add(flat, values, step);
            packed.places.push(place);
        }
        packed
    }

    fn add(&mut self, flat: &Flat, values: &[f32], step: &Step) -> Place {
        let Some(kernel) = flat.layers[step.layer] else { return Place::default() };
        let bias = self.bias(&kernel, values);
        let mut place = Place { bias, ..Place::default() };
        match &step.work {
            Work::Stem { .. } => place.weights = self.stem(&kernel, values),
            Work::Narrow { .. } => place.weights = self.convolution(&kernel, values),
            Work::Convolve(work) => {
                place.weights = self.convolution(&kernel, values);
                if let Then::Last(layer) | Then::StoreLast(_, layer) = work.then
                    && let Some(kernel) = flat.layers[layer]
                {
                    place.last = [self.last(&kernel, values), self.bias(&kernel, values)];
                }
            }
            Work::Double { .. } => {}
        }
        place
    }

    /// Where the next numbers begin.
    fn begin(&mut self) -> usize {
        let start = self.numbers.len().next_multiple_of(FOUR);
        self.numbers.resize(start, 0.0);
        start
    }

    /// At least four numbers, which are read at once.
    fn bias(&mut self, kernel: &FlatKernel, values: &[f32]) -> usize {
        let start = self.begin();
        let bias = |to: usize| kernel.bias_at(to).map_or(0.0, |at| values[at]);
        self.numbers.extend((0..kernel.to).map(bias));
        self.begin();
        start
    }

    /// By input channels, columns of the kernel, its rows and output channels: a plane's weights for three rows lie side by side. Output channels
    /// up to a whole matrix are zero.
    fn convolution(&mut self, kernel: &FlatKernel, values: &[f32]) -> usize {
        let start = self.products.len() / MATRIX;
        for from in (0..kernel.from).step_by(SIDE) {
            for (column, row) in (0..9).map(|tap| (tap / 3, tap % 3)) {
                for to in (0..kernel.to).step_by(SIDE) {
                    for i in 0..MATRIX {
                        let at = kernel.at(to + i / SIDE, from + i % SIDE, row, column);
                        self.products.push(at.map_or(0.0, |at| values[at]));
                    }
                }
            }
        }
        start
    }

    /// Taps, then the pixels of a folded one, then output channels.
    fn stem(&mut self, kernel: &FlatKernel, values: &[f32]) -> usize {
        let start = self.begin();
        for tap in 0..9 {
            for from in 0..kernel.from {
                let at = |to: usize| kernel.at(to, from, tap / 3, tap % 3);
                self.numbers.extend((0..kernel.to).map(|to| at(to).map_or(0.0, |at| values[at])));
            }
        }
        start
    }

    /// Of a 1×1 convolution to one channel.
    fn last(&mut self, kernel: &FlatKernel, values: &[f32]) -> usize {
        let start = self.begin();
        let at = |from: usize| kernel.at(0, from, 0, 0);
        self.numbers.extend((0..kernel.from).map(|from| at(from).map_or(0.0, |at| values[at])));
        start
    }
}
