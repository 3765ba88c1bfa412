//! Weights as the kernels read them: cast, laid out, padded and swizzled once, when a network is loaded, or after each step of its training.
//!
//! A stage of weights in shared memory is copied as it lies in memory, so what a tensor map would do on the way is done here. A `WeightLayout`
//! says for each number which of the network's ([`Flat`]) it is, so that a card can gather them itself.

use burn::tensor::bf16;

use super::tiles::bytes;
use crate::e4m3;
use crate::flat::{Flat, FlatKernel};
use crate::program::Program;
use crate::steps::back::{Ask, Back};
use crate::steps::{Convolution, Step, Steps, Then, Work};

/// Rows of a product: output channels.
pub(super) const ROWS: usize = 64;
/// Rows of the last layer's product, of which it fills a few.
const NARROW_ROWS: usize = 8;
/// Bytes of a chunk, of which the hardware changes places.
const CHUNK: usize = 16;
/// Numbers that a step's weights begin at a multiple of: 128 bytes of bf16 hold both what the copy engine and a wide load want.
const ALIGNED: usize = 64;
/// The place of a number that is zero.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Where a step's numbers begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its weights, in [`Packed::halves`]; a stem's in [`Packed::numbers`], unless it is folded.
    pub weights: usize,
    /// Its bias, in [`Packed::numbers`], which the channels' factors follow if it reads eight bits.
    pub bias: usize,
    /// The weights of a last 1×1 convolution and its bias, in [`Packed::numbers`].
    pub last: usize,
}

/// All weights of a network.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// Those of products; of products in eight bits two a number, which is none then.
    pub halves: Vec<bf16>,
    /// Biases, and weights that are multiplied in f32.
    pub numbers: Vec<f32>,
    /// Where each step's are.
    pub places: Vec<Place>,
}

/// Which of a network's numbers each of [`Packed`] is.
#[derive(Clone, Debug, Default)]
pub(crate) struct WeightLayout {
    pub(super) halves: Vec<u32>,
    /// Weights in eight bits, which follow.
    pub(super) bytes: Vec<u32>,
    pub(super) numbers: Vec<u32>,
    /// Factors of channels so far: they follow all numbers of the network.
    factors: usize,
    /// Where each step's are.
    pub(super) places: Vec<Place>,
    /// Where those are that each [`Ask`] of the way back multiplies with.
    #[cfg_attr(
        not(feature = "gpu"),
        allow(dead_code, reason = "read by launches alone, and by tests")
    )]
    pub(super) asks: Vec<Place>,
}

/// Where a channel of row `row` is in a matrix with rows of `block` channels of so many bytes, as the hardware swizzles it: which banks of
/// shared memory a chunk of 16 bytes is in depends on its row, so that reading a column of chunks meets all of them.
pub(super) fn swizzled(row: usize, channel: usize, block: usize, bytes: usize) -> usize {
    let turn = match block * bytes {
        128 => row % 8,
        64 => row / 2 % 4,
        _ => row / 4 % 2,
    };
    let (chunk, of) = (channel * bytes / CHUNK, channel % (CHUNK / bytes));
    row * block + (chunk ^ turn) * (CHUNK / bytes) + of
}

/// The channel that a row of a product's matrix is where eight bits are made. A thread has rows `r` and `r + 8` of each sixteen; they are
/// neighbouring channels, so that it has pairs of bytes to store.
pub(super) fn dealt(row: usize) -> usize {
    row / 16 * 16 + row % 8 * 2 + row / 8 % 2
}

fn place(at: Option<usize>) -> u32 {
    at.map_or(NOWHERE, |at| at as u32)
}

impl Packed {
    /// The weights of a network's steps.
    ///
    /// # Errors
    ///
    /// What the device says that has the weights.
    pub fn of(program: &Program, steps: &Steps) -> Result<Self, String> {
        let flat = Flat::of(program);
        Ok(Self::laid_out(&flat, steps, &flat.values(program)?))
    }

    /// The same of other values, which factors of channels follow.
    pub(super) fn laid_out(flat: &Flat, steps: &Steps, values: &[f32]) -> Self {
        WeightLayout::of(flat, steps, None).packed(values)
    }
}

impl WeightLayout {
    /// The weights of a network's steps, and of the way back if there is one.
    pub(crate) fn of(flat: &Flat, steps: &Steps, back: Option<&Back>) -> Self {
        let mut layout = Self::default();
        for step in &steps.steps {
            let place = layout.add(flat, steps, step);
            layout.places.push(place);
        }
        layout.append_bytes(steps);
        for ask in back.into_iter().flat_map(Back::asks) {
            let place = layout.ask(flat, &steps.steps[ask.step], ask);
            layout.asks.push(place);
        }
        layout
    }

    /// Gathers them.
    pub(crate) fn packed(&self, values: &[f32]) -> Packed {
        let value = |&at: &u32| if at == NOWHERE { 0.0 } else { values[at as usize] };
        let byte = |at: &u32| e4m3::byte(value(at));
        let two = |two: &[u32]| bf16::from_bits(u16::from_le_bytes([byte(&two[0]), byte(&two[1])]));
        let halves = self.halves.iter().map(value).map(bf16::from_f32);
        Packed {
            halves: halves.chain(self.bytes.chunks_exact(2).map(two)).collect(),
            numbers: self.numbers.iter().map(value).collect(),
            places: self.places.clone(),
        }
    }

    /// Puts weights in eight bits after the others.
    fn append_bytes(&mut self, steps: &Steps) {
        if self.bytes.is_empty() {
            return;
        }
        self.halves.resize(self.halves.len().next_multiple_of(ALIGNED), NOWHERE);
        for (step, place) in steps.steps.iter().zip(&mut self.places) {
            if steps.reads_eight_bits(step) {
                place.weights = self.halves.len() + place.weights / 2;
            }
        }
    }

    fn add(&mut self, flat: &Flat, steps: &Steps, step: &Step) -> Place {
        let Some(kernel) = flat.layers[step.layer] else { return Place::default() };
        let mut place = self.begin((0..kernel.to).map(|to| place(kernel.bias_at(to))));
        match &step.work {
            Work::Stem { folded: true, .. } => self.folded_stem(&kernel),
            Work::Stem { folded: false, .. } => {
                place.weights = self.begin_numbers();
                self.stem(&kernel);
            }
            Work::Convolve(work) => {
                if steps.reads_eight_bits(step) {
                    place.weights = self.bytes.len();
                    let first = flat.count + self.factors;
                    self.numbers.extend((first..first + kernel.to).map(|at| at as u32));
                    self.factors += kernel.to;
                }
                let (sides, bytes) = ([kernel.to, kernel.from], bytes(work, steps));
                self.convolution(sides, work, bytes, |to, from, row, column| {
                    kernel.at(to, from, row, column)
                });
                if let Then::Last(layer) | Then::StoreLast(_, layer) = work.then {
                    place.last = self.last(flat, layer);
                }
            }
            Work::Narrow { block, .. } => self.narrow(&kernel, *block),
            Work::Double { .. } => {}
        }
        place
    }

    /// The kernel turned round, from the convolution's output channels to some of its input's; no bias.
    fn ask(&mut self, flat: &Flat, step: &Step, ask: &Ask) -> Place {
        let Some(kernel) = flat.layers[step.layer] else { return Place::default() };
        let Ask { first, work, .. } = ask;
        let place = self.begin((0..work.channels).map(|_| NOWHERE));
        self.convolution([work.channels, kernel.to], work, [2; 2], |to, from, row, column| {
            let turned = |at: usize| (kernel.side - 1).checked_sub(at);
            kernel.at(from, first + to, turned(row)?, turned(column)?)
        });
        place
    }

    /// Where the next step's numbers begin, with its bias.
    fn begin(&mut self, bias: impl Iterator<Item = u32>) -> Place {
        let start = self.begin_numbers();
        self.numbers.extend(bias);
        self.numbers.resize(self.numbers.len().max(start + NARROW_ROWS), NOWHERE);
        self.halves.resize(self.halves.len().next_multiple_of(ALIGNED), NOWHERE);
        Place { weights: self.halves.len(), bias: start, last: 0 }
    }

    /// Where the next numbers begin.
    fn begin_numbers(&mut self) -> usize {
        let start = self.numbers.len().next_multiple_of(ALIGNED);
        self.numbers.resize(start, NOWHERE);
        start
    }

    /// Appends a matrix of `rows` rows of `block` channels of so many bytes, swizzled.
    fn matrix(
        &mut self,
        [rows, block, bytes]: [usize; 3],
        at: impl Fn(usize, usize) -> Option<usize>,
    ) {
        let all = if bytes == 1 { &mut self.bytes } else { &mut self.halves };
        let start = all.len();
        all.resize(start + rows * block, NOWHERE);
        for row in 0..rows {
            for channel in 0..block {
                all[start + swizzled(row, channel, block, bytes)] = place(at(row, channel));
            }
        }
    }

    /// By parts of the output channels, blocks of input channels, rows and columns of the kernel: matrices of 64 rows. Where rows of pixels
    /// are in pairs, the kernel has four rows: the lower 32 rows of a matrix are the channels of the first row of pixels, which
    /// does not see the fourth, and the upper ones of the second, which does not see the first. Where eight bits are made, rows are [`dealt`].
    fn convolution(
        &mut self,
        [all, inputs]: [usize; 2],
        work: &Convolution,
        [read, made]: [usize; 2],
        at: impl Fn(usize, usize, usize, usize) -> Option<usize>,
    ) {
        let (channels, tap_rows) = if work.pair { (ROWS / 2, 4) } else { (ROWS, 3) };
        for part in 0..all / channels {
            for block in 0..inputs / work.block {
                for tap in 0..tap_rows * 3_usize {
                    self.matrix([ROWS, work.block, read], |row, channel| {
                        let row = if made == 1 { dealt(row) } else { row };
                        let (to, from) = (part * channels + row % channels, block * work.block);
                        let line = (tap / 3).checked_sub(row / channels)?;
                        at(to, from + channel, line, tap % 3)
                    });
                }
            }
        }
    }

    /// By blocks of input channels and taps: matrices of 8 rows.
    fn narrow(&mut self, kernel: &FlatKernel, block: usize) {
        for start in (0..kernel.from).step_by(block) {
            for tap in 0..9 {
                self.matrix([NARROW_ROWS, block, 2], |to, channel| {
                    kernel.at(to, start + channel, tap / 3, tap % 3)
                });
            }
        }
    }

    /// A 3×3 kernel on four folded pixels is a 6×6 one with stride 2: `[part][pair of rows][tile][lane]`, two words of two neighbours
    /// each. A warp's lane `4g + t` has column `g` of a tile of 8 output channels, neighbours `2t` and `2t + 1` of both rows of
    /// the pair; channels are dealt out such that a lane's results of four tiles are 8 neighbours.
    fn folded_stem(&mut self, kernel: &FlatKernel) {
        let at = |to: usize, row: usize, column: usize| {
            place(kernel.at(to, row % 2 * 2 + column % 2, row / 2, column / 2))
        };
        for part in 0..kernel.to / 32 {
            for pair in 0..3 {
                for tile in 0..4 {
                    // A lane's four numbers: two neighbours in each of two rows.
                    for i in 0..32 * 4 {
                        let (lane, row, side) = (i / 4, i / 2 % 2, i % 2);
                        let column = lane / 4;
                        let to = part * 32 + column / 2 * 8 + tile * 2 + column % 2;
                        self.halves.push(at(to, 2 * pair + row, 2 * (lane % 4) + side));
                    }
                }
            }
        }
    }

    /// Taps, then channels.
    fn stem(&mut self, kernel: &FlatKernel) {
        for tap in 0..9 {
            let at = |to: usize| place(kernel.at(to, 0, tap / 3, tap % 3));
            self.numbers.extend((0..kernel.to).map(at));
        }
    }

    /// A 1×1 convolution to one channel: its weights, then its bias.
    fn last(&mut self, flat: &Flat, layer: usize) -> usize {
        let start = self.begin_numbers();
        if let Some(kernel) = flat.layers[layer] {
            self.numbers.extend((0..kernel.from).map(|from| place(kernel.at(0, from, 0, 0))));
            self.numbers.push(place(kernel.bias_at(0)));
        }
        start
    }
}
