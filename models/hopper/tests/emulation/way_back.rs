//! The way back on the CPU: the same list as on a card, with weights and images read from where the kernels read them.

use super::*;
use crate::flat::{Flat, FlatKernel};
use crate::hopper::training::reference;
use crate::hopper::weights::WeightLayout;
use crate::resample::{doubled, halved};
use crate::steps::back::{Ask, Asked, Back, Gather, Pull, Thin};

/// Of every pixel and channel of an image.
type Values = Vec<f32>;

struct WayBack<'a> {
    forward: Emulator<'a>,
    flat: &'a Flat,
    values: &'a [f32],
    of_logits: &'a [f32],
    requests: Vec<Values>,
    of_sums: Vec<Values>,
    gradient: Values,
}

impl WayBack<'_> {
    fn take(&mut self, pull: &Pull, asks: &mut std::slice::Iter<Place>) {
        match pull {
            Pull::Last { image, thin } => self.last(*image, *thin),
            Pull::Gather(gather) => self.gather(gather),
            Pull::Weights(step) => self.weights(*step),
            Pull::Stem(step) => self.stem(*step),
            Pull::Ask(ask) => self.ask(ask, *asks.next().expect("a place for each")),
        }
    }

    fn kernel(&self, layer: usize) -> FlatKernel {
        self.flat.layers[layer].expect("has weights")
    }

    fn plain(&self, image: usize, pixel: [usize; 3], channel: usize) -> usize {
        let [at, y, x] = pixel;
        self.forward.at(View { image, folded: false }, [at, y, x, channel])
    }

    /// A value of a thin image of the input's size, seen as `few` values of pixels that many times larger.
    fn thin(&self, of: &[f32], [image, y, x]: [usize; 3], which: usize, few: usize) -> f32 {
        let Extent { height, width, .. } = self.forward.extent;
        let side = if few == 4 { 2 } else { 1 };
        of[(image * height + side * y + which / side) * width + side * x + which % side]
    }

    /// Each pixel of an image, with a tap of a kernel on it and the pixel that this sees.
    fn taps(&self, shrink: usize, side: usize) -> Vec<([usize; 3], [usize; 2], [usize; 3])> {
        let [height, width] = self.forward.extent.shrunk(shrink);
        let mut all = Vec::new();
        for pixel @ [image, y, x] in self.forward.pixels(shrink) {
            for (row, column) in (0..side * side).map(|tap| (tap / side, tap % side)) {
                let edge = usize::from(side == 1);
                let seen = [beside(y, row + edge, height), beside(x, column + edge, width)];
                if let [Some(y), Some(x)] = seen {
                    all.push((pixel, [row, column], [image, y, x]));
                }
            }
        }
        all
    }

    fn last(&mut self, image: usize, Thin { layer, side, few }: Thin) {
        let (kernel, of) = (self.kernel(layer), self.forward.steps.images[image]);
        for (pixel, [row, column], seen) in self.taps(of.shrink, side) {
            for which in 0..few {
                let slope = self.thin(self.of_logits, pixel, which, few);
                for channel in 0..of.channels {
                    let value = self.forward.images[image][self.plain(image, seen, channel)];
                    let at = kernel.at(which, channel, row, column).expect("inside");
                    self.gradient[at] += slope * value;
                }
            }
        }
        for pixel in self.forward.pixels(of.shrink) {
            for which in 0..few {
                let slope = self.thin(self.of_logits, pixel, which, few);
                self.gradient[kernel.bias_at(which).expect("has a bias")] += slope;
            }
        }
    }

    fn gather(&mut self, gather: &Gather) {
        let image = gather.image;
        let mut change = match gather.other {
            None => vec![0.0; self.forward.images[image].len()],
            Some(Asked::Pooled(request)) => self.pulled(image, request, halved),
            Some(Asked::Doubled(request)) => self.pulled(image, request, doubled),
            Some(Asked::Logits(thin)) => self.through_last(image, thin),
        };
        for &own in &gather.own {
            change.iter_mut().zip(&self.requests[own]).for_each(|(sum, asked)| *sum += asked);
        }
        for (change, &value) in change.iter_mut().zip(&self.forward.images[image]) {
            *change = if gather.relu && value <= 0.0 { 0.0 } else { *change };
        }
        self.of_sums[image] = change;
    }

    /// Burn's adjoint of what was read instead of an image.
    fn pulled(&self, image: usize, request: usize, read: fn(Tensor<4>) -> Tensor<4>) -> Values {
        let of = self.forward.steps.images[image];
        let [height, width] = self.forward.extent.shrunk(of.shrink);
        let shape = [self.forward.extent.batch, height, width, of.channels];
        let device = Device::flex().autodiff();
        let x = TensorData::new(self.forward.images[image].clone(), shape);
        let x = Tensor::<4>::from_data(x, &device).require_grad();
        let y = read(x.clone());
        let asked = TensorData::new(self.requests[request].clone(), y.dims());
        let gradients = (y * Tensor::from_data(asked, &device)).sum().backward();
        values(x.grad(&gradients).expect("depends on it"))
    }

    fn through_last(&self, image: usize, Thin { layer, side, few }: Thin) -> Values {
        let (kernel, of) = (self.kernel(layer), self.forward.steps.images[image]);
        let mut change = vec![0.0; self.forward.images[image].len()];
        for (pixel, [row, column], seen) in self.taps(of.shrink, side) {
            for which in 0..few {
                let slope = self.thin(self.of_logits, pixel, which, few);
                for channel in 0..of.channels {
                    let weight = kernel.at(which, channel, row, column).expect("inside");
                    change[self.plain(image, seen, channel)] += slope * self.values[weight];
                }
            }
        }
        change
    }

    fn weights(&mut self, number: usize) {
        let step = &self.forward.steps.steps[number];
        let (Work::Convolve(work), kernel) = (&step.work, self.kernel(step.layer)) else {
            panic!("{step:?}")
        };
        let (Then::Store(made) | Then::Pool(made, _) | Then::StoreLast(made, _)) = work.then else {
            panic!("{step:?}")
        };
        for pixel @ [image, y, x] in self.forward.pixels(work.shrink) {
            for to in 0..work.channels {
                let slope = self.of_sums[made.image][self.forward.at(made, [image, y, x, to])];
                self.gradient[kernel.bias_at(to).expect("has a bias")] += slope;
                for (tap, from) in (0..9).flat_map(|tap| (0..kernel.from).map(move |c| (tap, c))) {
                    let taps = [tap / 3, tap % 3];
                    let seen = self.forward.seen(&work.from, work.shrink, pixel, taps, from);
                    let at = kernel.at(to, from, tap / 3, tap % 3).expect("inside");
                    self.gradient[at] += slope * seen;
                }
            }
        }
    }

    fn stem(&mut self, number: usize) {
        let step = &self.forward.steps.steps[number];
        let Work::Stem { folded, to } = step.work else { panic!("{step:?}") };
        let (kernel, of) = (self.kernel(step.layer), self.forward.steps.images[to]);
        let few = if folded { 4 } else { 1 };
        for (pixel, [row, column], seen) in self.taps(of.shrink, 3) {
            for (channel, which) in (0..of.channels).flat_map(|c| (0..few).map(move |w| (c, w))) {
                let slope = self.of_sums[to][self.plain(to, pixel, channel)];
                let at = kernel.at(channel, which, row, column).expect("inside");
                self.gradient[at] += slope * self.thin(self.forward.input, seen, which, few);
            }
        }
        for pixel in self.forward.pixels(of.shrink) {
            for channel in 0..of.channels {
                let slope = self.of_sums[to][self.plain(to, pixel, channel)];
                self.gradient[kernel.bias_at(channel).expect("has a bias")] += slope;
            }
        }
    }

    /// A convolution as those of the way forward, of gradients instead of images.
    fn ask(&mut self, ask: &Ask, place: Place) {
        let Emulator { steps, packed, extent, input, ref images, .. } = self.forward;
        let Then::Store(read) = ask.work.then else { panic!("{ask:?}") };
        let mut own = self.of_sums.clone();
        own[read.image] = vec![f32::NAN; images[read.image].len()];
        let mut emulator =
            Emulator { steps, packed, extent, input, images: own, logits: Vec::new() };
        emulator.convolve(place, &ask.work);
        self.requests[ask.request] = emulator.images.swap_remove(read.image);
    }
}

/// The gradient of all weights by the list.
fn gradient(program: &Program, shape: [usize; 3], x: &[f32], of_logits: &[f32]) -> Values {
    let steps = Steps::of(program, Grain::HOPPER_TRAINING).expect("known");
    let (back, flat) = (Back::of(&steps).expect("known"), Flat::of(program));
    let layout = WeightLayout::of(&flat, &steps, Some(&back));
    let values = flat.values(program).expect("on the host");
    let packed = layout.packed(&values);
    let mut forward = Emulator::new(&steps, &packed, shape, x);
    forward.run();
    let mut way = WayBack {
        of_sums: vec![Values::new(); steps.images.len()],
        forward,
        flat: &flat,
        values: &values,
        of_logits,
        requests: vec![Values::new(); back.requests.len()],
        gradient: vec![0.0; flat.count],
    };
    let mut asks = layout.asks.iter();
    back.pulls.iter().for_each(|pull| way.take(pull, &mut asks));
    way.gradient
}

/// The same network with weights that bf16 has, so that nothing is rounded on the way.
fn rounded(program: Program) -> Program {
    let all = 0..program.layers.len();
    let layers = program.placed(all, &Device::flex(), DType::BF16);
    let layers = layers.iter().map(|layer| layer.placed(&Device::flex(), DType::F32)).collect();
    Program { layers, ..program }
}

/// Burn's own gradient, layer by layer in f32, is the second implementation; sums in another order are the difference.
#[test]
fn the_way_back_makes_the_gradient_of_the_layers() {
    let cases = [
        ("fast", fast(&[32, 64, 64], 1), [1, 16, 24]),
        ("wide blocks", gan(&[64, 64], true), [1, 12, 8]),
        ("no skips", gan(&[32, 96], false), [1, 8, 12]),
        ("u-net", unet(32, 1), [1, 16, 8]),
        ("u-net, 3 x 3 at the end", unet(32, 3), [1, 8, 16]),
    ];
    for (name, program, shape) in cases {
        let (program, count) = (rounded(program), shape.iter().product());
        let x: Vec<f32> = (0..count).map(noise).collect();
        let of_logits: Vec<f32> = (0..count).map(|i| noise(i + count) - 0.5).collect();
        let [batch, height, width] = shape;
        let tensor = |values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [batch, 1, height, width]);
            Tensor::<4>::from_data(data, &Device::flex())
        };
        let expected = reference(&program, tensor(&x), tensor(&of_logits));
        let expected = expected.expect("on the CPU");
        let found = gradient(&program, shape, &x, &of_logits);
        let off = distance(&found, &expected);
        assert!(off < 1e-5, "{name}: {off}");
    }
}

/// A finite difference is the second implementation: of the layers' logits along the gradient itself, in f32.
#[test]
fn the_reference_is_the_slope_of_the_logits() {
    let program = fast(&[2, 3], 1);
    let shape = [1, 1, 8, 8];
    let image = |shift: usize| -> Tensor<4> {
        let values: Vec<f32> = (0..64).map(|i| noise(i + shift) - 0.5).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    };
    let (x, of_logits) = (image(0), image(64));
    let gradient = reference(&program, x.clone(), of_logits.clone());
    let gradient = gradient.expect("on the CPU");
    let flat = Flat::of(&program);
    let start = flat.values(&program).expect("on the host");
    let slope: f32 = gradient.iter().map(|g| g * g).sum();
    let at = |step: f32| -> f32 {
        let moved: Vec<f32> = start.iter().zip(&gradient).map(|(v, g)| v + step * g).collect();
        let moved = Tensor::<1>::from_data(TensorData::new(moved, [flat.count]), &Device::flex());
        let layers = flat.placed(&program, &moved);
        (run(&layers, x.clone()) * of_logits.clone()).sum().into_scalar::<f32>()
    };
    let step = 1e-3 / slope.sqrt();
    let found = (at(step) - at(-step)) / (2.0 * step);
    assert!((found / slope - 1.0).abs() < 2e-2, "{found} vs {slope}");
}
