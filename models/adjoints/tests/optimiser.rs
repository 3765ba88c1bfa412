//! The optimiser against its formulas, and what a card's kernels take from the weights.

use burn::tensor::bf16;

use super::*;
use crate::hopper::training::{AdamStep, FusedTraining};

/// Where the optimiser's parameters are.
#[derive(Clone, Copy)]
struct Table<'a> {
    chunks: &'a [i32],
    parameters: &'a [i32],
}

/// Precisions of a gradient that the device is asked to read: OpenGL has no bf16.
fn precisions() -> &'static [DType] {
    match std::env::var("LITHOBURN_TEST_DEVICE").as_deref() {
        Ok("cuda") => &[DType::F32, DType::BF16],
        _ => &[DType::F32],
    }
}

/// A gradient as its precision has it.
fn rounded(gradient: Vec<f32>, precision: DType) -> Vec<f32> {
    let round = |v: f32| if precision == DType::F32 { v } else { bf16::from_f32(v).to_f32() };
    gradient.into_iter().map(round).collect()
}

/// Values, mean and square after a step of Adam, and faults.
fn stepped(
    (device, precision): (&Device, DType),
    state: &[Vec<f32>; 3],
    gradient: &[f32],
    faults: &[f32],
    Table { chunks, parameters }: Table,
    step: AdamStep,
) -> ([Vec<f32>; 3], Vec<f32>) {
    let tensor = |v: &[f32]| {
        Tensor::<1>::from_data(TensorData::new(v.to_vec(), [v.len()]), device).into_dispatch()
    };
    let table = |v: &[i32]| {
        let data = TensorData::new(v.to_vec(), [v.len()]);
        Tensor::<1, Int>::from_data(data, (device, DType::I32)).into_dispatch()
    };
    let [value, mean, square] = state.each_ref().map(|v| tensor(v));
    let (value, mean, square, faults) = <Dispatch as FusedTraining>::adam_step(
        value,
        Tensor::<1>::from_dispatch(tensor(gradient)).cast(precision).into_dispatch(),
        mean,
        square,
        tensor(faults),
        table(chunks),
        table(parameters),
        step,
    );
    let numbers = |x| values(Tensor::<1>::from_dispatch(x));
    ([value, mean, square].map(numbers), numbers(faults))
}

/// The formulas of Kingma and Ba, number by number in f64, with each parameter's gradient shortened.
pub(super) fn steps_of_adam_are_its_formulas(device: &Device) {
    for &precision in precisions() {
        steps_are_formulas((device, precision));
    }
}

fn steps_are_formulas((device, precision): (&Device, DType)) {
    let (count, bounds) = (2500, [0..700, 700..2500]);
    // More chunks than a cube has units.
    let small = (0..300).flat_map(|i| [700 + 6 * i, 6, 1]);
    let chunks: Vec<i32> = [0, 700, 0].into_iter().chain(small).collect();
    let parameters: Vec<i32> = vec![0, 1, 1, 300];
    let mut state = [values(wave([count], 0.3)), vec![0.0; count], vec![0.0; count]];
    let mut expected = state.clone().map(|v| v.into_iter().map(f64::from).collect::<Vec<f64>>());
    for step in 1..=3 {
        // The first parameter's gradient is short, and stays as it is.
        let size = |i: usize| if i < 700 { 1e-3 } else { 1.0 };
        let gradient: Vec<f32> =
            (0..count).map(|i| size(i) * (i as f32 * 0.7 + step as f32).sin()).collect();
        let gradient = rounded(gradient, precision);
        for range in &bounds {
            let own = || gradient[range.clone()].iter().map(|&g| f64::from(g) * 0.5);
            let norm = own().map(|g| g * g).sum::<f64>().sqrt();
            for (i, slope) in range.clone().zip(own()) {
                let slope = slope * (2.0 / norm).min(1.0);
                let [value, mean, square] = expected.each_mut().map(|v| &mut v[i]);
                *mean = 0.9 * *mean + 0.1 * slope;
                *square = 0.99 * *square + 0.01 * slope * slope;
                let (once, twice) =
                    (*mean / (1.0 - 0.9_f64.powi(step)), *square / (1.0 - 0.99_f64.powi(step)));
                *value -= 1e-2 * once / (twice.sqrt() + 1e-4);
            }
        }
        let table = Table { chunks: &chunks, parameters: &parameters };
        let terms = AdamStep {
            betas: [0.9, 0.99],
            epsilon: 1e-4,
            most_norm: 2.0,
            scale: 0.5,
            rate: 1e-2,
            count: step,
        };
        let faults;
        (state, faults) = stepped((device, precision), &state, &gradient, &[0.0; 2], table, terms);
        assert_eq!(faults, [0.0; 2]);
    }
    for (name, (found, expected)) in
        ["values", "mean", "square"].iter().zip(state.iter().zip(&expected))
    {
        let expected: Vec<f32> = expected.iter().map(|&v| v as f32).collect();
        assert_near(name, found, &expected);
    }
}

/// A gradient of zeros is the second way: what is no number counts as that, with its step noted once, and other parameters do not notice.
pub(super) fn a_gradient_that_is_no_number_moves_nothing_and_is_noted(device: &Device) {
    for &precision in precisions() {
        no_number_moves_nothing((device, precision));
    }
}

fn no_number_moves_nothing(device: (&Device, DType)) {
    let count = 600;
    let chunks = [0, 256, 0, 256, 44, 0, 300, 300, 1];
    let table = Table { chunks: &chunks, parameters: &[0, 2, 2, 1] };
    let state = [0.3, 0.5, 0.0].map(|pitch| values(wave([count], pitch)));
    let state = [state[0].clone(), state[1].clone(), vec![0.25; count]];
    let terms = |count| AdamStep {
        betas: [0.9, 0.99],
        epsilon: 1e-4,
        most_norm: 1.0,
        scale: 0.5,
        rate: 1e-2,
        count,
    };
    let whole = values(wave([count], 0.7));
    // In the last number of the first parameter, and in the first one of the second, whose first chunk is the third.
    for (range, at, former, noted) in
        [(0..300, 299, [0.0, 2.0], [3.0, 2.0]), (300..600, 300, [1.0, 0.0], [1.0, 3.0])]
    {
        let mut zeroed = whole.clone();
        zeroed[range].fill(0.0);
        let (expected, sound) = stepped(device, &state, &zeroed, &former, table, terms(3));
        assert_eq!(sound, former);
        for lost in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            let mut gradient = whole.clone();
            gradient[at] = lost;
            let (found, faults) = stepped(device, &state, &gradient, &former, table, terms(3));
            assert_eq!((&found, &faults[..]), (&expected, &noted[..]), "{lost} at {at}");
            let (_, faults) = stepped(device, &state, &gradient, &faults, table, terms(4));
            assert_eq!(faults, noted, "{lost} at {at}: the first step is kept");
        }
    }
}

/// Some are twice there, and some are nowhere.
pub(super) fn numbers_are_picked_by_their_places(device: &Device) {
    let all = wave([40], 0.7);
    let numbers = values(all.clone());
    let all = Tensor::<1>::from_data(all.into_data(), device);
    let tables = [vec![-1, 5, 5, 38], vec![39, 0, -1, -1, 2, 1, 0, 3]];
    let value = |&at: &i32| usize::try_from(at).map_or(0.0, |at| numbers[at]);
    let expected: Vec<f32> = tables.iter().flatten().map(value).collect();
    let [first, other] = tables.map(|places| {
        let count = places.len();
        let data = TensorData::new(places, [count]);
        Tensor::<1, Int>::from_data(data, (device, DType::I32)).into_dispatch()
    });
    let found = <Dispatch as Tried>::tried_places(all.into_dispatch(), first, other);
    assert_eq!(values(Tensor::<1>::from_dispatch(found)), expected);
}
