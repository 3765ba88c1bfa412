//! The steps on the CPU, reading weights and images from where the kernels read them.

mod way_back;

use super::*;
use crate::e4m3;
use crate::hopper::tiles::bytes;
use crate::hopper::weights::{Place, swizzled};
use crate::steps::{self, Convolution, Step, Then, View};

/// Images in f32, in their units: what is tested is which numbers meet, not how they are rounded.
pub(super) struct Emulator<'a> {
    steps: &'a Steps,
    packed: &'a Packed,
    extent: Extent,
    input: &'a [f32],
    images: Vec<Vec<f32>>,
    pub(super) logits: Vec<f32>,
}

/// A row or column beside another, if it is inside.
fn beside(at: usize, by: usize, size: usize) -> Option<usize> {
    (at + by).checked_sub(1).filter(|&at| at < size)
}

impl<'a> Emulator<'a> {
    pub(super) fn new(
        steps: &'a Steps,
        packed: &'a Packed,
        [batch, height, width]: [usize; 3],
        input: &'a [f32],
    ) -> Self {
        let extent = Extent { batch, height, width };
        let size = |image: &steps::Image| {
            let [height, width] = extent.shrunk(image.shrink);
            vec![f32::NAN; batch * height * width * image.channels]
        };
        let images = steps.images.iter().map(size).collect();
        let logits = vec![f32::NAN; batch * height * width];
        Self { steps, packed, extent, input, images, logits }
    }

    pub(super) fn run(&mut self) {
        let (steps, packed) = (self.steps, self.packed);
        for (step, place) in steps.steps.iter().zip(&packed.places) {
            self.take(step, *place);
        }
    }

    fn take(&mut self, step: &Step, place: Place) {
        match &step.work {
            Work::Stem { folded, to } => self.stem(place, *folded, *to),
            Work::Convolve(work) => self.convolve(place, work),
            Work::Double { from, to } => self.double(*from, *to),
            Work::Narrow { from, block, unfold } => self.narrow(place, *from, *block, *unfold),
        }
    }

    /// Where a value of a view is: the tensor map `[batch, height, dy, width, run]`.
    fn at(&self, view: View, [image, y, x, channel]: [usize; 4]) -> usize {
        let of = self.steps.images[view.image];
        let ([height, width], run) = (self.extent.shrunk(of.shrink), self.steps.run(view));
        let fold = if view.folded { 2 } else { 1 };
        let line = width * of.channels;
        let row = image * height + y * fold + channel / run;
        row * line + x * run + channel % run
    }

    /// Every pixel of a view: image, row and column.
    fn pixels(&self, shrink: usize) -> Vec<[usize; 3]> {
        let [height, width] = self.extent.shrunk(shrink);
        let all = 0..self.extent.batch * height * width;
        all.map(|i| [i / width / height, i / width % height, i % width]).collect()
    }

    /// A value of one of two joined views, zero outside.
    fn seen(
        &self,
        views: &[View],
        shrink: usize,
        [image, y, x]: [usize; 3],
        taps: [usize; 2],
        channel: usize,
    ) -> f32 {
        let [height, width] = self.extent.shrunk(shrink);
        let first = self.steps.channels(views[0]);
        let (view, channel) =
            if channel < first { (views[0], channel) } else { (views[1], channel - first) };
        match (beside(y, taps[0], height), beside(x, taps[1], width)) {
            (Some(y), Some(x)) => self.images[view.image][self.at(view, [image, y, x, channel])],
            _ => 0.0,
        }
    }

    fn stem(&mut self, place: Place, folded: bool, to: usize) {
        let steps::Image { channels, shrink, .. } = self.steps.images[to];
        let view = View { image: to, folded: false };
        let Extent { height, width, .. } = self.extent;
        for [image, y, x] in self.pixels(shrink) {
            for channel in 0..channels {
                let mut sum = self.packed.numbers[place.bias + channel];
                let side = if folded { 6 } else { 3 };
                for tap in 0..side * side {
                    let (row, column) = (tap / side, tap % side);
                    let weight = match folded {
                        true => self.folded_weight(place, channel, row, column),
                        false => self.packed.numbers[place.weights + tap * channels + channel],
                    };
                    // A folded stem reaches a whole folded pixel to each side.
                    let at = |pixel: usize, tap: usize, size: usize| {
                        (pixel * shrink + tap).checked_sub(shrink).filter(|&at| at < size)
                    };
                    if let (Some(row), Some(column)) = (at(y, row, height), at(x, column, width)) {
                        sum += weight * self.input[(image * height + row) * width + column];
                    }
                }
                let at = self.at(view, [image, y, x, channel]);
                self.images[to][at] = sum.max(0.0);
            }
        }
    }

    /// The word of the lane that multiplies this neighbour for this channel.
    fn folded_weight(&self, place: Place, channel: usize, row: usize, column: usize) -> f32 {
        let (part, of) = (channel / 32, channel % 32);
        let (group, tile) = (of / 8 * 2 + of % 2, of % 8 / 2);
        let lane = group * 4 + column / 2;
        let at = ((part * 3 + row / 2) * 4 + tile) * 128 + lane * 4 + row % 2 * 2 + column % 2;
        self.packed.halves[place.weights + at].to_f32()
    }

    fn convolve(&mut self, place: Place, work: &Convolution) {
        let from: usize = work.from.iter().map(|&view| self.steps.channels(view)).sum();
        let (out, tap_rows, lines) = if work.pair { (32, 4, 2) } else { (64, 3, 1) };
        let (matrix, [read, made_bytes]) = (64 * work.block, bytes(work, self.steps));
        let mut made: Vec<(Vec<f32>, [usize; 3])> = Vec::new();
        for [image, y, x] in self.pixels(work.shrink) {
            let mut sums = vec![0.0; work.channels];
            for (channel, sum) in sums.iter_mut().enumerate() {
                let row = channel % out + y % lines * out;
                // Where bytes are made, two neighbouring channels are eight rows apart.
                let row = match made_bytes {
                    1 => row / 16 * 16 + row % 2 * 8 + row % 16 / 2,
                    _ => row,
                };
                for tap in 0..tap_rows * 3 {
                    for input in 0..from {
                        let (block, of) = (input / work.block, input % work.block);
                        let number =
                            (channel / out * (from / work.block) + block) * tap_rows * 3 + tap;
                        let at = number * matrix + swizzled(row, of, work.block, read);
                        let weight = self.weight(place, at, read);
                        if weight != 0.0 {
                            let taps = [tap / 3, tap % 3];
                            let pixel = [image, y - y % lines, x];
                            let seen = self.seen(&work.from, work.shrink, pixel, taps, input);
                            *sum += weight * seen;
                        }
                    }
                }
                let numbers = &self.packed.numbers[place.bias + channel..];
                let factor = if read == 1 { numbers[work.channels] } else { 1.0 };
                *sum = *sum * factor + numbers[0];
                *sum = if work.relu { sum.max(0.0) } else { *sum };
            }
            made.push((sums, [image, y, x]));
        }
        made.into_iter().for_each(|(sums, pixel)| self.finish(place, work.then, &sums, pixel));
    }

    /// A weight of so many bytes.
    fn weight(&self, place: Place, at: usize, bytes: usize) -> f32 {
        match bytes {
            1 => {
                let two = self.packed.halves[place.weights + at / 2].to_le_bytes();
                e4m3::number(two[at % 2])
            }
            _ => self.packed.halves[place.weights + at].to_f32(),
        }
    }

    fn finish(&mut self, place: Place, then: Then, sums: &[f32], [image, y, x]: [usize; 3]) {
        match then {
            Then::Store(view) => self.store(view, sums, [image, y, x]),
            Then::Pool(view, pooled) => {
                self.store(view, sums, [image, y, x]);
                let to = View { image: pooled, folded: false };
                for (channel, &sum) in sums.iter().enumerate() {
                    let at = self.at(to, [image, y / 2, x / 2, channel]);
                    let place = &mut self.images[pooled][at];
                    *place = if (y % 2, x % 2) == (0, 0) { sum } else { place.max(sum) };
                }
            }
            Then::Last(_) | Then::StoreLast(..) => {
                if let Then::StoreLast(view, _) = then {
                    self.store(view, sums, [image, y, x]);
                }
                let last = &self.packed.numbers[place.last..];
                let products = sums.iter().zip(last).map(|(a, b)| a * b);
                let Extent { height, width, .. } = self.extent;
                self.logits[(image * height + y) * width + x] =
                    products.sum::<f32>() + last[sums.len()];
            }
        }
    }

    fn store(&mut self, view: View, sums: &[f32], [image, y, x]: [usize; 3]) {
        for (channel, &sum) in sums.iter().enumerate() {
            let at = self.at(view, [image, y, x, channel]);
            self.images[view.image][at] = sum;
        }
    }

    fn narrow(&mut self, place: Place, from: usize, block: usize, unfold: bool) {
        let view = View { image: from, folded: false };
        let steps::Image { channels, shrink, .. } = self.steps.images[from];
        let Extent { height, width, .. } = self.extent;
        for [image, y, x] in self.pixels(shrink) {
            for to in 0..if unfold { 4 } else { 1 } {
                let mut sum = self.packed.numbers[place.bias + to];
                for (tap, channel) in (0..9).flat_map(|tap| (0..channels).map(move |c| (tap, c))) {
                    let matrix = (channel / block * 9 + tap) * 8 * block;
                    let at = matrix + swizzled(to, channel % block, block, 2);
                    let weight = self.packed.halves[place.weights + at].to_f32();
                    let taps = [tap / 3, tap % 3];
                    sum += weight * self.seen(&[view], shrink, [image, y, x], taps, channel);
                }
                let at = match unfold {
                    true => (image * height + 2 * y + to / 2) * width + 2 * x + to % 2,
                    false => (image * height + y) * width + x,
                };
                self.logits[at] = sum;
            }
        }
    }

    /// Burn's, which has tests of its own.
    fn double(&mut self, from: usize, to: usize) {
        let steps::Image { channels, shrink, .. } = self.steps.images[from];
        let [height, width] = self.extent.shrunk(shrink);
        let shape = [self.extent.batch, height, width, channels];
        let x = TensorData::new(self.images[from].clone(), shape);
        let x = Tensor::<4>::from_data(x, &Device::flex());
        self.images[to] = values(crate::resample::doubled(x));
    }
}

/// The f32 network is the second implementation. Weights alone are rounded: 1.2e-2 is ten times that.
#[test]
fn the_steps_read_what_the_layers_read() {
    let cases = [
        ("fast", fast(&[32, 64, 64], 1), [2, 16, 24]),
        ("wide blocks", gan(&[64, 64], true), [1, 12, 8]),
        ("no skips", gan(&[32, 96], false), [1, 8, 12]),
        ("u-net", unet(32, 1), [1, 16, 8]),
        ("u-net, 3 x 3 at the end", unet(32, 3), [1, 8, 16]),
    ];
    for (name, program, shape) in cases {
        let [batch, height, width] = shape;
        let x: Vec<f32> = (0..batch * height * width).map(noise).collect();
        let layers = program.placed(0..program.layers.len(), &Device::flex(), DType::F32);
        let expected = values(run(&layers, input(shape, &Device::flex())));
        let steps = Steps::of(&program, Grain::HOPPER).expect("known");
        let packed = Packed::of(&program, &steps).expect("on the host");
        let mut emulator = Emulator::new(&steps, &packed, shape, &x);
        emulator.run();
        let off = distance(&emulator.logits, &expected);
        assert!(off < 1.2e-2, "{name}: {off}");
    }
}
