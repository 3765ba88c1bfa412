//! The kernels against Burn's own gradients on the CPU.
//!
//! They run on OpenGL, which Mesa computes without a card, or on what `LITHOBURN_TEST_DEVICE` names.

mod optimiser;
mod products;

use std::sync::LazyLock;

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Shape, Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use lithoburn_compare::{largest, largest_difference};

use super::images::{Other, Summed, gathered};
use super::sums::{self, Blocks, Splits};
use super::tables::{Tables, Target, Told};
use super::*;
use crate::convolution::same_convolution;
use crate::resample::{doubled, folded, halved, unfolded};
use crate::tested::device;

/// What the device was told in this program.
static TOLD: LazyLock<Told> = LazyLock::new(Told::default);

/// Where sums are written, so that what is before them shows.
const START: usize = 8;

/// What is tried. `one` and `two` are its other tensors, as far as it has any.
#[derive(Clone, Debug)]
enum Trial {
    Plain {
        two: bool,
    },
    Pooled {
        own: bool,
    },
    Doubled,
    Through(Thin),
    Channels {
        folded: bool,
    },
    /// What another trial makes beside its channels' sums; or those sums, and once more those of what it made.
    Summed {
        of: Box<Self>,
        folded: bool,
        sums: bool,
    },
    Products {
        thin: Thin,
        turned: bool,
        strides: [usize; 3],
        /// Whether the image is in bf16.
        half: bool,
    },
    Logits {
        few: usize,
    },
    Splits(Blocks),
    /// The same, of the second tensor, beside what [`Trial::Summed`] does of the plain trial.
    Beside {
        blocks: Blocks,
        folded: bool,
    },
}

#[backend_extension(Cube, Fusion)]
trait Tried: Backend {
    #[fusion(dtype = image, shape = shape.clone())]
    fn tried(
        image: FloatTensor<Self>,
        one: FloatTensor<Self>,
        two: FloatTensor<Self>,
        trial: Trial,
        shape: Shape,
    ) -> FloatTensor<Self>;

    #[fusion(meta = |_, first, other| both(first, other))]
    fn tried_places(
        values: FloatTensor<Self>,
        first: IntTensor<Self>,
        other: IntTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl Tried for CubeBackend {
    fn tried(
        image: FloatTensor<Self>,
        one: FloatTensor<Self>,
        two: FloatTensor<Self>,
        trial: Trial,
        shape: Shape,
    ) -> FloatTensor<Self> {
        let [values, one, two] = [image, one, two].map(into_contiguous);
        let [batch, height, width, channels] = values.shape().dims::<4>();
        let run = Target::run(START, shape.num_elements() - START);
        let sums_of_parts = match trial {
            Trial::Splits(_) | Trial::Beside { .. } => 4 * channels,
            _ => run.shape[1].max(4 * channels),
        };
        let out = Self::float_zeros(shape, &values.device, values.dtype.into());
        let picture = Picture { values: values.clone(), batch, height, width, channels };
        let mut tables = Tables::of(&values, sums_of_parts, 2);
        let table = |Thin { side, few, .. }, strides| {
            let target =
                Target { start: START, shape: [side * side * few, channels], few, strides };
            assert!(places(target.places()) == places(run.places()), "each number once");
            target
        };
        let gather = |trial: &Trial, summed: Option<Summed>| {
            let (own, other) = match *trial {
                Trial::Plain { two: false } => (vec![one.clone()], None),
                Trial::Plain { two: true } => (vec![one.clone(), two.clone()], None),
                Trial::Pooled { own } => {
                    let own = own.then(|| two.clone());
                    (own.into_iter().collect(), Some(Other::Pooled(&one)))
                }
                Trial::Doubled => (Vec::new(), Some(Other::Doubled(&one))),
                Trial::Through(thin) => {
                    let (gradient, weights) = (&one, &two);
                    let other = Other::Logits { thin, gradient, weights, weight: START };
                    (Vec::new(), Some(other))
                }
                _ => unreachable!("{trial:?} gathers nothing"),
            };
            let out = empty(&values, values.shape(), values.dtype);
            gathered(&picture, &own, other, true, summed, out)
        };
        match trial {
            Trial::Plain { .. } | Trial::Pooled { .. } | Trial::Doubled | Trial::Through(_) => {
                return gather(&trial, None).values;
            }
            Trial::Channels { folded } => sums::channels(&picture, folded, &mut tables, run),
            Trial::Summed { of, folded, sums } => {
                let count =
                    if sums { run.shape[1] / 2 } else { channels * if folded { 4 } else { 1 } };
                let bias = Target::run(START, count);
                let beside = (None, &out);
                let made = gather(&of, Some(Summed { tables: &mut tables, bias, folded, beside }));
                if !sums {
                    return made.values;
                }
                let again = Target::run(START + count, count);
                sums::channels(&made, folded, &mut tables, again);
            }
            Trial::Products { thin, turned, strides, half } => {
                let values = match half {
                    true => Self::float_cast(values.clone(), DType::BF16.into()),
                    false => values.clone(),
                };
                let picture = Picture { values, ..picture };
                super::products::products(
                    &picture,
                    &one,
                    thin,
                    turned,
                    &mut tables,
                    table(thin, strides),
                );
            }
            Trial::Logits { few } => {
                sums::logits(&one, [one.meta.num_elements(), width], few, &mut tables, run);
            }
            Trial::Beside { blocks, folded } => {
                let count = channels * if folded { 4 } else { 1 };
                let bias = Target::run(run.start + run.shape[1] - count, count);
                let beside = (Some(Splits { all: two.clone(), blocks }), &out);
                let summed = Summed { tables: &mut tables, bias, folded, beside };
                gather(&Trial::Plain { two: false }, Some(summed));
            }
            Trial::Splits(blocks) => {
                assert!(places(blocks.places()) == places(run.places()), "each number once");
                Splits { all: values, blocks }.total(&out);
            }
        }
        tables.total(&TOLD, &out);
        out
    }

    fn tried_places(
        values: FloatTensor<Self>,
        first: IntTensor<Self>,
        other: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let (first, other) = adam::picked(&values, [&first, &other], DType::F32);
        Self::float_cat(vec![first, other], 0)
    }
}

/// What is picked by two tables of places, one after the other.
fn both(first: &TensorSpec, other: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::from([first.shape[0] + other.shape[0]]), DType::F32)
}

/// In order.
fn places(places: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut places: Vec<usize> = places.collect();
    places.sort_unstable();
    places
}

fn wave<const D: usize>(shape: [usize; D], pitch: f32) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * pitch + pitch).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().expect("f32")
}

/// Runs a kernel on a device.
fn found<const D: usize>(
    device: &Device,
    trial: Trial,
    [image, one, two]: [Tensor<4>; 3],
    shape: [usize; D],
) -> Vec<f32> {
    let [image, one, two] =
        [image, one, two].map(|x| Tensor::<4>::from_data(x.into_data(), device).into_dispatch());
    let y = <Dispatch as Tried>::tried(image, one, two, trial, Shape::from(shape));
    values(Tensor::<D>::from_dispatch(y))
}

fn assert_near(name: &str, found: &[f32], expected: &[f32]) {
    let scale = largest(expected.iter().map(|v| v.abs()));
    let off = largest_difference(found, expected);
    assert!(scale > 0.0 && off < 2e-5 * scale, "{name}: {off} of {scale}");
}

/// Sums are where they should be, and nothing else was written.
fn assert_sums(name: &str, found: &[f32], expected: Vec<f32>) {
    let expected = [vec![0.0; START], expected].concat();
    assert_near(name, found, &expected);
    assert!(found[..START].iter().all(|&v| v == 0.0), "{name}: written before its place");
}

const SHAPE: [usize; 4] = [2, 6, 10, 64];

/// The gradient of `reader(relu(z))`, summed with the weights that it is given.
fn slope(z: &Tensor<4>, reader: impl Fn(Tensor<4>) -> Tensor<1>) -> Vec<f32> {
    let z =
        Tensor::<4>::from_data(z.clone().into_data(), &Device::flex().autodiff()).require_grad();
    let gradients = reader(relu(z.clone())).backward();
    values(z.grad(&gradients).expect("depends on it"))
}

fn dot(a: Tensor<4>, b: &Tensor<4>) -> Tensor<1> {
    (a.clone() * Tensor::from_data(b.clone().into_data(), &a.device())).sum()
}

fn gradients_of_sums_are_burns(device: &Device) {
    let z = wave(SHAPE, 0.37);
    let image = relu(z.clone());
    let [batch, height, width, channels] = SHAPE;
    let (one, two) = (wave(SHAPE, 0.71), wave(SHAPE, 0.93));
    let small = wave([batch, height / 2, width / 2, channels], 0.53);
    let large = wave([batch, 2 * height, 2 * width, channels], 0.59);
    let run = |trial, one: &Tensor<4>, two: &Tensor<4>| {
        found(device, trial, [image.clone(), one.clone(), two.clone()], SHAPE)
    };
    let plain = run(Trial::Plain { two: false }, &one, &two);
    assert_near("one request", &plain, &slope(&z, |y| dot(y, &one)));
    let both = run(Trial::Plain { two: true }, &one, &two);
    assert_near("two requests", &both, &slope(&z, |y| dot(y.clone(), &one) + dot(y, &two)));
    for (own, folded) in [(&plain, false), (&plain, true), (&both, false), (&both, true)] {
        let of = Box::new(Trial::Plain { two: std::ptr::eq(own, &both) });
        let summed = Trial::Summed { of, folded, sums: false };
        assert!(run(summed, &one, &two) == *own, "made as without the sums, folded: {folded}");
    }
    let pooled = run(Trial::Pooled { own: false }, &small, &two);
    assert_near("maxima", &pooled, &slope(&z, |y| dot(halved(y), &small)));
    let beside = run(Trial::Pooled { own: true }, &small, &two);
    let expected = slope(&z, |y| dot(halved(y.clone()), &small) + dot(y, &two));
    assert_near("maxima and a request", &beside, &expected);
    let halved = run(Trial::Doubled, &large, &two);
    assert_near("enlarged", &halved, &slope(&z, |y| dot(doubled(y), &large)));
}

fn the_last_convolutions_gradients_are_burns(device: &Device) {
    let z = wave(SHAPE, 0.37);
    let [batch, height, width, channels] = SHAPE;
    for (side, few) in [(1, 1), (3, 1), (3, 4)] {
        let thin = Thin { layer: 0, side, few };
        let factor = if few == 4 { 2 } else { 1 };
        let of_logits = wave([batch, factor * height, factor * width, 1], 0.81);
        let weight = wave([few, side, side, channels], 0.67);
        let logits = |y: Tensor<4>, weight: Tensor<4>| {
            let y = same_convolution(y, weight);
            dot(if few == 4 { unfolded(y) } else { y }, &of_logits)
        };
        let expected = slope(&z, |y| {
            let weight = Tensor::from_data(weight.clone().into_data(), &y.device());
            logits(y, weight)
        });
        let own = values(weight.clone());
        let padded = [vec![9.0; START], own].concat();
        let padded = TensorData::new(padded.clone(), [1, 1, 1, padded.len()]);
        let padded = Tensor::from_data(padded, &Device::flex());
        let image = relu(z.clone());
        let tensors = [image.clone(), of_logits.clone(), padded];
        let through = found(device, Trial::Through(thin), tensors.clone(), SHAPE);
        assert_near("through the last convolution", &through, &expected);
        let made = Tensor::<4>::from_data(TensorData::new(expected, SHAPE), &Device::flex());
        let biases = values(made.sum_dim(0).sum_dim(1).sum_dim(2));
        let biases = [biases.clone(), biases].concat();
        let of = Box::new(Trial::Through(thin));
        let trial = Trial::Summed { of, folded: false, sums: true };
        let sums = found(device, trial, tensors.clone(), [START + biases.len()]);
        assert_sums("biases through the last convolution", &sums, biases);

        let tracked = Tensor::<4>::from_data(weight.into_data(), &Device::flex().autodiff());
        let tracked = tracked.require_grad();
        let y = Tensor::from_data(image.clone().into_data(), &tracked.device());
        let gradients = logits(y, tracked.clone()).backward();
        let expected = values(tracked.grad(&gradients).expect("depends on it"));
        let strides = [channels, side * side * channels, 1];
        let trial = Trial::Products { thin, turned: true, strides, half: false };
        let tensors = [image.clone(), of_logits.clone(), of_logits.clone()];
        let weights = found(device, trial, tensors, [START + expected.len()]);
        assert_sums("last weights", &weights, expected);

        let sums: Vec<f32> = match few {
            1 => vec![of_logits.clone().sum().into_scalar::<f32>()],
            _ => values(folded(of_logits.clone()).sum_dim(0).sum_dim(1).sum_dim(2)),
        };
        let wide = Tensor::zeros([1, 1, factor * width, 1], &Device::flex());
        let tensors = [wide, of_logits.clone(), of_logits];
        let biases = found(device, Trial::Logits { few }, tensors, [START + few]);
        assert_sums("last biases", &biases, sums);
    }
}

fn the_first_convolutions_gradients_are_burns(device: &Device) {
    let of_sums = wave(SHAPE, 0.37);
    let [batch, height, width, channels] = SHAPE;
    for few in [1, 4] {
        let factor = if few == 4 { 2 } else { 1 };
        let input = wave([batch, factor * height, factor * width, 1], 0.81);
        let device_of = Device::flex().autodiff();
        let weight =
            Tensor::<4>::from_data(wave([channels, 3, 3, few], 0.67).into_data(), &device_of);
        let weight = weight.require_grad();
        let seen = if few == 4 { folded(input.clone()) } else { input.clone() };
        let seen = Tensor::from_data(seen.into_data(), &device_of);
        let gradients = dot(same_convolution(seen, weight.clone()), &of_sums).backward();
        let expected = values(weight.grad(&gradients).expect("depends on it"));
        let thin = Thin { layer: 0, side: 3, few };
        let strides = [few, 1, 9 * few];
        let trial = Trial::Products { thin, turned: false, strides, half: false };
        let tensors = [of_sums.clone(), input.clone(), input];
        let weights = found(device, trial, tensors, [START + expected.len()]);
        assert_sums("first weights", &weights, expected);
    }
}

/// Burn's own folding is the second implementation: an unfolded image's convolution has four times its channels, and a bias for each.
fn biases_gradients_are_sums_of_what_is_made(device: &Device) {
    let of_sums = wave(SHAPE, 0.37);
    for is_folded in [false, true] {
        let made = if is_folded { folded(of_sums.clone()) } else { of_sums.clone() };
        let expected = values(made.sum_dim(0).sum_dim(1).sum_dim(2));
        let tensors = [of_sums.clone(), of_sums.clone(), of_sums.clone()];
        let trial = Trial::Channels { folded: is_folded };
        let biases = found(device, trial, tensors, [START + expected.len()]);
        assert_sums("biases", &biases, expected);
    }
}

/// Sums of what is gathered are those of the image that it becomes, in the first of two tables.
fn biases_gradients_are_summed_with_what_is_gathered(device: &Device) {
    let (z, one, two) = (wave(SHAPE, 0.37), wave(SHAPE, 0.71), wave(SHAPE, 0.93));
    let [batch, height, width, channels] = SHAPE;
    let small = wave([batch, height / 2, width / 2, channels], 0.53);
    let large = wave([batch, 2 * height, 2 * width, channels], 0.59);
    let image = relu(z.clone());
    let plain = |two| Trial::Plain { two };
    let cases = [
        (plain(false), false, &one, slope(&z, |y| dot(y, &one))),
        (plain(false), true, &one, slope(&z, |y| dot(y, &one))),
        (plain(true), false, &one, slope(&z, |y| dot(y.clone(), &one) + dot(y, &two))),
        (plain(true), true, &one, slope(&z, |y| dot(y.clone(), &one) + dot(y, &two))),
        (Trial::Pooled { own: false }, false, &small, slope(&z, |y| dot(halved(y), &small))),
        (
            Trial::Pooled { own: true },
            false,
            &small,
            slope(&z, |y| dot(halved(y.clone()), &small) + dot(y, &two)),
        ),
        (Trial::Doubled, false, &large, slope(&z, |y| dot(doubled(y), &large))),
    ];
    for (of, is_folded, one, slope) in cases {
        let name = format!("biases with what is gathered: {of:?}, folded: {is_folded}");
        let slope = Tensor::<4>::from_data(TensorData::new(slope, SHAPE), &Device::flex());
        let made = if is_folded { folded(slope) } else { slope };
        let expected = values(made.sum_dim(0).sum_dim(1).sum_dim(2));
        let expected = [expected.clone(), expected].concat();
        let tensors = [image.clone(), one.clone(), two.clone()];
        let trial = Trial::Summed { of: Box::new(of), folded: is_folded, sums: true };
        let biases = found(device, trial, tensors, [START + expected.len()]);
        assert_sums(&name, &biases, expected);
    }
}

/// A folded image of 2 runs of 96 channels beside one of 32, to 2 runs of 32: blocks of 64 that are full, half full, and of the second image.
fn splits_are_added_up_where_their_channels_are(device: &Device) {
    let blocks = Blocks {
        splits: 3,
        to: 2,
        from: 5,
        first: 4,
        runs: [32, 96, 32],
        channels: [192, 224],
        start: START,
    };
    let all = wave([3, 2 * 5, 9, 64 * 64], 0.37);
    let numbers = values(all.clone());
    let mut expected = vec![0.0; 64 * 9 * 224];
    // Channel by channel: which block it is in, and where there.
    let from = |c: usize| match c {
        0..192 => (c / 96 * 2 + c % 96 / 64, c % 96 % 64),
        _ => (4, c - 192),
    };
    for (i, sum) in expected.iter_mut().enumerate() {
        let (to, tap, (block, column)) = (i / 224 / 9, i / 224 % 9, from(i % 224));
        for split in 0..3 {
            let block = (split * 2 + to / 32) * 5 + block;
            *sum += numbers[((block * 9 + tap) * 64 + to % 32) * 64 + column];
        }
    }
    let tensors = [all.clone(), all.clone(), all.clone()];
    let sums = found(device, Trial::Splits(blocks), tensors, [START + expected.len()]);
    assert_sums("splits", &sums, expected.clone());
    // Beside an image's gradient, whose sums follow.
    let (z, one) = (wave(SHAPE, 0.37), wave(SHAPE, 0.71));
    let slope = slope(&z, |y| dot(y, &one));
    let slope = Tensor::<4>::from_data(TensorData::new(slope, SHAPE), &Device::flex());
    for is_folded in [false, true] {
        let made = if is_folded { folded(slope.clone()) } else { slope.clone() };
        let biases = values(made.sum_dim(0).sum_dim(1).sum_dim(2));
        let both = [expected.clone(), biases].concat();
        let tensors = [relu(z.clone()), one.clone(), all.clone()];
        let trial = Trial::Beside { blocks, folded: is_folded };
        let sums = found(device, trial, tensors, [START + both.len()]);
        assert_sums("splits beside what is gathered", &sums, both);
    }
}

/// Compiling takes most of the time, so that it is one test.
#[test]
fn adjoints_on_a_gpu_are_burns_gradients() {
    let Some(device) = device() else { return };
    gradients_of_sums_are_burns(&device);
    the_last_convolutions_gradients_are_burns(&device);
    the_first_convolutions_gradients_are_burns(&device);
    products::thin_products_of_bf16_are_their_sums(&device);
    // The second time the device has all tables.
    biases_gradients_are_sums_of_what_is_made(&device);
    biases_gradients_are_sums_of_what_is_made(&device);
    biases_gradients_are_summed_with_what_is_gathered(&device);
    splits_are_added_up_where_their_channels_are(&device);
    optimiser::steps_of_adam_are_its_formulas(&device);
    optimiser::a_gradient_that_is_no_number_moves_nothing_and_is_noted(&device);
    optimiser::numbers_are_picked_by_their_places(&device);
}
