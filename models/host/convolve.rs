//! The convolution of the CPU: products straight from the image, in registers, for some pixels and sixteen channels at a time.
//!
//! A pixel's neighbours to the left and right lie beside it, so a row of a 3×3 kernel reads one run of memory, three pixels long, and the
//! next pixel's run begins one pixel later. So nothing is gathered first: the rows of a product are pixels, its depth is the runs, and the
//! image is its operand as it lies. Bias and ReLU are applied before the sums leave the registers.

use std::array;
use std::ops::Range;

use super::picture::{BORDER, Picture, larger};

/// Channels of a panel of weights: two vectors of AVX2.
const PANEL: usize = 16;
/// Pixels of a block: with two vectors each they fill twelve of sixteen registers.
const BLOCK: usize = 6;

/// Most runs that a pixel reads: of two folded images.
const MOST_RUNS: usize = 12;

/// A run of memory that some pixels read, each one pixel later than the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Run<'a> {
    seen: &'a [f32],
    /// Numbers from a pixel's run to the next one's.
    pitch: usize,
    length: usize,
}

/// Sums of products of pixels' runs with a panel of weights.
fn multiply<const P: usize>(runs: &[Run], weights: &[f32], sums: &mut [[f32; PANEL]; P]) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        #[allow(unsafe_code, reason = "what a processor has is known when the program runs")]
        // SAFETY: the processor has what the function is compiled for.
        unsafe {
            multiply_with_fma(runs, weights, sums);
        }
        return;
    }
    // A multiply-add is an instruction of every 64-bit ARM; where there is none, it is a slow function.
    multiply_with::<P, { cfg!(target_arch = "aarch64") }>(runs, weights, sums);
}

/// Apart from its callers: a compiler makes vectors of this loop while it is small.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
fn multiply_with_fma<const P: usize>(runs: &[Run], weights: &[f32], sums: &mut [[f32; PANEL]; P]) {
    multiply_with::<P, true>(runs, weights, sums);
}

#[inline(always)]
fn multiply_with<const P: usize, const FUSED: bool>(
    runs: &[Run],
    weights: &[f32],
    sums: &mut [[f32; PANEL]; P],
) {
    // In registers, not behind a reference.
    let mut own = [[0.0_f32; PANEL]; P];
    let mut rest = weights;
    for run in runs {
        let seen: [&[f32]; P] = array::from_fn(|p| &run.seen[p * run.pitch..][..run.length]);
        let (now, later) = rest.split_at(run.length * PANEL);
        rest = later;
        for (i, weight) in now.as_chunks::<PANEL>().0.iter().enumerate() {
            for (sums, seen) in own.iter_mut().zip(&seen) {
                let value = seen[i];
                for (sum, &weight) in sums.iter_mut().zip(weight) {
                    *sum = match FUSED {
                        true => value.mul_add(weight, *sum),
                        false => value * weight + *sum,
                    };
                }
            }
        }
    }
    *sums = own;
}

/// What a convolution reads: an image, maybe folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) picture: usize,
    pub(super) folded: bool,
    /// Channels that lie side by side: a pixel's, or two pixels'.
    pub(super) run: usize,
}

impl Input {
    /// Pixels of the image for one that the convolution sees, along a side.
    fn fold(&self) -> usize {
        if self.folded { 2 } else { 1 }
    }

    /// Where the run begins that an output pixel reads in row `line` of those it sees.
    fn start(&self, picture: &Picture, [y, x]: [usize; 2], line: usize) -> usize {
        let fold = self.fold();
        let [row, column] = [y * fold + line + BORDER - fold, x * fold + BORDER - fold];
        row * picture.line() + column * picture.channels
    }
}

/// A part of a panel's channels that lie side by side in the output.
#[derive(Clone, Copy, Debug)]
struct Segment {
    from: usize,
    length: usize,
    /// Which of an unfolded pixel's two rows.
    dy: usize,
    /// Its place in that row.
    at: usize,
}

/// A convolution with its weights, by panels of sixteen output channels, in the order in which they are read.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    pub(super) inputs: Vec<Input>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    segments: Vec<Vec<Segment>>,
    /// Rows of the output for one of pixels: two if it is unfolded.
    pub(super) unfold: usize,
    /// Numbers of an output pixel that lie side by side.
    run: usize,
    relu: bool,
}

/// Rows of an output with their borders, for a band of rows of pixels.
pub(super) struct Band<'a> {
    pub(super) rows: Range<usize>,
    pub(super) width: usize,
    pub(super) to: &'a mut [f32],
}

impl Convolution {
    /// One of weights `weight(to, from, row, column)`.
    pub(super) fn new(
        inputs: Vec<Input>,
        bias: Vec<f32>,
        [unfold, relu]: [bool; 2],
        weight: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        let channels = bias.len();
        let (unfold, run) = if unfold { (2, channels / 2) } else { (1, channels) };
        let taps = taps(&inputs);
        let mut weights = Vec::with_capacity(channels.next_multiple_of(PANEL) * taps.len());
        for panel in (0..channels).step_by(PANEL) {
            for &[from, row, column] in &taps {
                let value = |to| if to < channels { weight(to, from, row, column) } else { 0.0 };
                weights.extend((panel..panel + PANEL).map(value));
            }
        }
        let panels = (0..channels).step_by(PANEL);
        let segments = panels.map(|from| segments(from..channels.min(from + PANEL), run)).collect();
        let mut bias = bias;
        bias.resize(channels.next_multiple_of(PANEL), 0.0);
        Self { inputs, weights, bias, segments, unfold, run, relu }
    }

    /// Convolves a band of rows, panel by panel, so that a panel's weights stay in the cache.
    pub(super) fn rows(&self, pictures: &[Picture], band: &mut Band) {
        for panel in 0..self.segments.len() {
            for y in band.rows.clone() {
                let mut x = 0;
                while x < band.width {
                    x += match band.width - x {
                        // Blocks of four rather than one of six and a slow rest of two.
                        4 | 5 | 8 => self.block::<4>(pictures, panel, [y, x], band),
                        2 | 3 => self.block::<2>(pictures, panel, [y, x], band),
                        1 => self.block::<1>(pictures, panel, [y, x], band),
                        _ => self.block::<BLOCK>(pictures, panel, [y, x], band),
                    };
                }
            }
        }
    }

    /// One panel of `P` pixels of a row, from the pixel at `place` on; returns `P`.
    fn block<const P: usize>(
        &self,
        pictures: &[Picture],
        panel: usize,
        place: [usize; 2],
        band: &mut Band,
    ) -> usize {
        let mut runs = [Run::default(); MOST_RUNS];
        let mut count = 0;
        for input in &self.inputs {
            let (picture, length) = (&pictures[input.picture], 3 * input.run);
            for line in 0..3 * input.fold() {
                let start = input.start(picture, place, line);
                let seen = &picture.data[start..start + (P - 1) * input.run + length];
                runs[count] = Run { seen, pitch: input.run, length };
                count += 1;
            }
        }
        let size = self.weights.len() / self.segments.len();
        let weights = &self.weights[panel * size..(panel + 1) * size];
        let mut sums = [[0.0; PANEL]; P];
        multiply(&runs[..count], weights, &mut sums);
        self.finish(&mut sums, panel, place, band);
        P
    }

    /// Bias and ReLU; then to memory.
    fn finish<const P: usize>(
        &self,
        sums: &mut [[f32; PANEL]; P],
        panel: usize,
        [y, x]: [usize; 2],
        band: &mut Band,
    ) {
        let bias = &self.bias[panel * PANEL..(panel + 1) * PANEL];
        for sums in sums.iter_mut() {
            for (sum, bias) in sums.iter_mut().zip(bias) {
                *sum += bias;
                *sum = if self.relu { larger(*sum, 0.0) } else { *sum };
            }
        }
        let edge = BORDER * self.run / self.unfold;
        let line = band.width * self.run + 2 * edge;
        let row = (y - band.rows.start) * self.unfold;
        for &Segment { from, length, dy, at } in &self.segments[panel] {
            for (p, sums) in sums.iter().enumerate() {
                let to = (row + dy) * line + edge + (x + p) * self.run + at;
                band.to[to..to + length].copy_from_slice(&sums[from..from + length]);
            }
        }
    }
}

/// The input channel and the kernel's row and column of every number that is read, in the order of reading.
fn taps(inputs: &[Input]) -> Vec<[usize; 3]> {
    let (mut taps, mut first) = (Vec::new(), 0);
    for input in inputs {
        let (run, fold) = (input.run, input.fold());
        for line in 0..3 * fold {
            let (row, dy) = (line / fold, line % fold);
            taps.extend((0..3 * run).map(|i| [first + dy * run + i % run, row, i / run]));
        }
        first += fold * run;
    }
    taps
}

/// Parts of some channels that are side by side, of an output with `run` channels side by side.
fn segments(channels: Range<usize>, run: usize) -> Vec<Segment> {
    let (mut parts, mut at) = (Vec::new(), channels.start);
    while at < channels.end {
        let end = channels.end.min((at / run + 1) * run);
        let from = at - channels.start;
        parts.push(Segment { from, length: end - at, dy: at / run, at: at % run });
        at = end;
    }
    parts
}
