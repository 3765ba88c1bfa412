//! Weights as the kernels read them: cast, laid out, padded and swizzled once, when a network is loaded.
//!
//! A stage of weights in shared memory is copied as it lies in memory, so what a tensor map would do on the way is done here.

use burn::tensor::bf16;

use crate::kernel::Values;
use crate::program::{LayerKind, Program};
use crate::steps::{Convolution, Step, Steps, Then, Work};

/// Rows of a product: output channels.
pub(super) const ROWS: usize = 64;
/// Rows of the last layer's product, of which it fills a few.
const NARROW_ROWS: usize = 8;
/// Numbers that a step's weights begin at a multiple of: 128 bytes of bf16 hold both what the copy engine and a wide load want.
const ALIGNED: usize = 64;

/// Where a step's numbers begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its weights, in [`Packed::halves`]; a stem's in [`Packed::numbers`], unless it is folded.
    pub weights: usize,
    /// Its bias, in [`Packed::numbers`].
    pub bias: usize,
    /// The weights of a last 1×1 convolution and its bias, in [`Packed::numbers`].
    pub last: usize,
}

/// All weights of a network.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// Those of products.
    pub halves: Vec<bf16>,
    /// Biases, and weights that are multiplied in f32.
    pub numbers: Vec<f32>,
    /// Where each step's are.
    pub places: Vec<Place>,
}

/// Where chunk `chunk` of 8 numbers of row `row` is in a matrix with rows of `block` channels, as the hardware swizzles it: which
/// banks of shared memory a chunk is in depends on its row, so that reading a column of chunks meets all of them.
pub(super) fn swizzled(row: usize, chunk: usize, block: usize) -> usize {
    let turn = if block == 64 { row % 8 } else { row / 2 % 4 };
    row * block + (chunk ^ turn) * 8
}

/// Appends a matrix of `rows` rows of `block` channels, swizzled.
fn push_matrix(
    halves: &mut Vec<bf16>,
    rows: usize,
    block: usize,
    value: impl Fn(usize, usize) -> f32,
) {
    let start = halves.len();
    halves.resize(start + rows * block, bf16::ZERO);
    for row in 0..rows {
        for channel in 0..block {
            let at = swizzled(row, channel / 8, block) + channel % 8;
            halves[start + at] = bf16::from_f32(value(row, channel));
        }
    }
}

impl Packed {
    /// The weights of a network's steps.
    ///
    /// # Errors
    ///
    /// What the device says that has the weights.
    pub fn of(program: &Program, steps: &Steps) -> Result<Self, String> {
        let mut packed = Self::default();
        for step in &steps.steps {
            let place = packed.pack(program, step)?;
            packed.places.push(place);
        }
        Ok(packed)
    }

    fn pack(&mut self, program: &Program, step: &Step) -> Result<Place, String> {
        let LayerKind::Convolve { kernel, .. } = &program.layers[step.layer].kind else {
            return Ok(Place::default());
        };
        let values = kernel.values()?;
        let (mut place, bias) = (Place { bias: self.begin(), ..Place::default() }, &values.bias);
        self.numbers.extend(bias);
        self.numbers.resize(self.numbers.len().max(place.bias + NARROW_ROWS), 0.0);
        self.halves.resize(self.halves.len().next_multiple_of(ALIGNED), bf16::ZERO);
        place.weights = self.halves.len();
        match &step.work {
            Work::Stem { folded: true, .. } => self.folded_stem(&values),
            Work::Stem { folded: false, .. } => {
                place.weights = self.begin();
                self.stem(&values);
            }
            Work::Convolve(work) => {
                self.convolution(&values, work);
                if let Then::Last(layer) = work.then {
                    place.last = self.last(program, layer)?;
                }
            }
            Work::Narrow { block, .. } => self.narrow(&values, *block),
            Work::Double { .. } => {}
        }
        Ok(place)
    }

    /// Where the next numbers begin.
    fn begin(&mut self) -> usize {
        let start = self.numbers.len().next_multiple_of(ALIGNED);
        self.numbers.resize(start, 0.0);
        start
    }

    /// By parts of the output channels, blocks of input channels, rows and columns of the kernel: matrices of 64 rows. Where rows of pixels
    /// are in pairs, the kernel has four rows: the lower 32 rows of a matrix are the channels of the first row of pixels, which
    /// does not see the fourth, and the upper ones of the second, which does not see the first.
    fn convolution(&mut self, values: &Values, work: &Convolution) {
        let (channels, tap_rows) = if work.pair { (ROWS / 2, 4) } else { (ROWS, 3) };
        for part in 0..values.to / channels {
            for block in 0..values.from / work.block {
                for tap in 0..tap_rows * 3_usize {
                    push_matrix(&mut self.halves, ROWS, work.block, |row, channel| {
                        let (to, from) = (part * channels + row % channels, block * work.block);
                        match (tap / 3).checked_sub(row / channels) {
                            Some(line) => values.at(to, from + channel, line, tap % 3),
                            None => 0.0,
                        }
                    });
                }
            }
        }
    }

    /// By blocks of input channels and taps: matrices of 8 rows.
    fn narrow(&mut self, values: &Values, block: usize) {
        for start in (0..values.from).step_by(block) {
            for tap in 0..9 {
                push_matrix(&mut self.halves, NARROW_ROWS, block, |to, channel| {
                    values.at(to, start + channel, tap / 3, tap % 3)
                });
            }
        }
    }

    /// A 3×3 kernel on four folded pixels is a 6×6 one with stride 2: `[part][pair of rows][tile][lane]`, two words of two neighbours
    /// each. A warp's lane `4g + t` has column `g` of a tile of 8 output channels, neighbours `2t` and `2t + 1` of both rows of
    /// the pair; channels are dealt out such that a lane's results of four tiles are 8 neighbours.
    fn folded_stem(&mut self, values: &Values) {
        let value = |to: usize, row: usize, column: usize| {
            values.at(to, row % 2 * 2 + column % 2, row / 2, column / 2)
        };
        for part in 0..values.to / 32 {
            for pair in 0..3 {
                for tile in 0..4 {
                    // A lane's four numbers: two neighbours in each of two rows.
                    for i in 0..32 * 4 {
                        let (lane, row, side) = (i / 4, i / 2 % 2, i % 2);
                        let column = lane / 4;
                        let to = part * 32 + column / 2 * 8 + tile * 2 + column % 2;
                        let number = value(to, 2 * pair + row, 2 * (lane % 4) + side);
                        self.halves.push(bf16::from_f32(number));
                    }
                }
            }
        }
    }

    /// Taps, then channels.
    fn stem(&mut self, values: &Values) {
        for tap in 0..9 {
            self.numbers.extend((0..values.to).map(|to| values.at(to, 0, tap / 3, tap % 3)));
        }
    }

    /// A 1×1 convolution to one channel: its weights, then its bias.
    fn last(&mut self, program: &Program, layer: usize) -> Result<usize, String> {
        let place = self.begin();
        if let LayerKind::Convolve { kernel, .. } = &program.layers[layer].kind {
            let Values { weight, bias, .. } = kernel.values()?;
            self.numbers.extend(weight.into_iter().chain(bias));
        }
        Ok(place)
    }
}
