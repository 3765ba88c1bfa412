//! Adam over one run of numbers, and what a card's kernels take from it.
//!
//! Kingma and Ba, ICLR 2015. Each parameter's gradient is shortened to a length first, so its squares are added up in chunks, and those by halves:
//! a sum has the same bits in every run.

use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::{UNITS, arg, cubes_of, element, empty};
use crate::hopper::plan::AdamStep;
use crate::hopper::training::AT_ONCE;

/// What the kernels of a step are told.
#[derive(Clone, Copy, CubeLaunch, CubeType)]
struct Numbers {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    /// Longest gradient of a parameter.
    longest: f32,
    /// Factor on all gradients.
    scale: f32,
    /// The step size over what the mean's start at zero takes away.
    rate: f32,
    /// What the square's start at zero takes away.
    unbias: f32,
    /// The step, from 1.
    count: f32,
    /// The largest number: a sum that is not at most this is none.
    largest: f32,
}

fn numbers(step: &AdamStep) -> NumbersLaunch {
    let AdamStep { betas: [beta1, beta2], epsilon, most_norm, scale, rate, count } = *step;
    let unbias = |beta: f32| 1.0 / (1.0 - f64::from(beta).powi(count));
    let (rate, unbias) = (f64::from(rate) * unbias(beta1), unbias(beta2));
    let (rate, unbias, count) = (rate as f32, unbias as f32, count as f32);
    NumbersLaunch::new(beta1, beta2, epsilon, most_norm, scale, rate, unbias, count, f32::MAX)
}

/// Values, mean, square and faults after a step; `chunks` has the start, the length and the parameter of each chunk, `parameters` the first chunk
/// and the number of chunks of each parameter, which has one at least. A parameter's fault is the first step whose gradient was no number; such a gradient counts as zero. The
/// gradient may be in bf16; all else is f32.
pub(crate) fn stepped(
    [values, gradient, mean, square]: [CubeTensor; 4],
    faults: CubeTensor,
    [chunks, parameters]: [CubeTensor; 2],
    step: AdamStep,
) -> (CubeTensor, CubeTensor, CubeTensor, CubeTensor) {
    let chunk_count = chunks.meta.num_elements() / 3;
    let like = |tensor: &CubeTensor| empty(tensor, tensor.meta.shape().clone(), DType::F32);
    let squares = empty(&values, Shape::from([chunk_count]), DType::F32);
    let (client, cubes) = (&values.client, CubeCount::Static(chunk_count as u32, 1, 1));
    let out = [&values, &values, &values, &faults].map(like);
    // SAFETY: chunks end where the numbers do.
    unsafe {
        chunk_squares::launch_unchecked(
            client,
            cubes.clone(),
            CubeDim::new_1d(UNITS),
            arg(&gradient),
            arg(&chunks),
            arg(&squares),
            element(&gradient),
        );
        moved::launch_unchecked(
            client,
            cubes,
            CubeDim::new_1d(UNITS),
            arg(&values),
            arg(&gradient),
            arg(&mean),
            arg(&square),
            arg(&chunks),
            arg(&parameters),
            arg(&squares),
            arg(&faults),
            arg(&out[0]),
            arg(&out[1]),
            arg(&out[2]),
            arg(&out[3]),
            numbers(&step),
            element(&gradient),
        );
    }
    let [values, mean, square, faults] = out;
    (values, mean, square, faults)
}

/// Numbers of a run by their places, the first ones in a precision, the others in f32; a negative place is zero. Both are whole vectors of [`AT_ONCE`].
pub(crate) fn picked(
    values: &CubeTensor,
    places: [&CubeTensor; 2],
    dtype: DType,
) -> (CubeTensor, CubeTensor) {
    let counts = places.map(|places| places.meta.num_elements());
    let made = |count: usize, dtype| empty(values, Shape::from([count]), dtype);
    let out = [made(counts[0], dtype), made(counts[1], DType::F32)];
    assert!(counts.iter().all(|count| count.is_multiple_of(AT_ONCE)), "whole vectors of places");
    let counts = counts.map(|count| count / AT_ONCE);
    // SAFETY: units beyond the places end at once.
    unsafe {
        pick::launch_unchecked(
            &values.client,
            cubes_of(counts[0] + counts[1]),
            CubeDim::new_1d(UNITS),
            AT_ONCE,
            arg(values),
            arg(places[0]),
            arg(places[1]),
            arg(&out[0]),
            arg(&out[1]),
            counts[0],
            counts[0] + counts[1],
            element(&out[0]),
        );
    }
    let [first, other] = out;
    (first, other)
}

#[cube(launch_unchecked)]
fn pick<F: Float, L: Size>(
    values: &[f32],
    first_places: &[Vector<i32, L>],
    other_places: &[Vector<i32, L>],
    first: &mut [Vector<F, L>],
    other: &mut [Vector<f32, L>],
    first_count: usize,
    count: usize,
    #[define(F)] _element: ElemType,
) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    if unit < first_count {
        first[unit] = Vector::cast_from(numbers_at(values, first_places[unit]));
    } else {
        let unit = unit - first_count;
        other[unit] = numbers_at(values, other_places[unit]);
    }
}

#[cube]
fn numbers_at<L: Size>(values: &[f32], places: Vector<i32, L>) -> Vector<f32, L> {
    let mut found = Vector::<f32, L>::new(0.0);
    #[unroll]
    for i in 0..L::value() {
        let place = places.extract(i);
        let value = values[select(place < 0, 0, place as usize)];
        found.insert(i, select(place < 0, f32::new(0.0), value));
    }
    found
}

/// The sum of what the units of a cube have, by halves, for all of them.
#[cube]
fn sum_of_units(own: f32, all: &mut Shared<[f32]>) -> f32 {
    let unit = UNIT_POS as usize;
    all[unit] = own;
    sync_cube();
    #[unroll]
    for i in 0..comptime!(UNITS.ilog2()) {
        let half = comptime!(UNITS as usize >> (i + 1));
        if unit < half {
            all[unit] += all[unit + half];
        }
        sync_cube();
    }
    all[0]
}

#[cube(launch_unchecked)]
fn chunk_squares<F: Float>(
    gradient: &[F],
    chunks: &[i32],
    out: &mut [f32],
    #[define(F)] _element: ElemType,
) {
    let mut all = Shared::<[f32]>::new_slice(comptime!(UNITS as usize));
    let unit = UNIT_POS as usize;
    let chunk = CUBE_POS_X as usize;
    let start = chunks[3 * chunk] as usize;
    let end = start + chunks[3 * chunk + 1] as usize;
    let mut sum = f32::new(0.0);
    let mut at = start + unit;
    while at < end {
        let slope = f32::cast_from(gradient[at]);
        sum += slope * slope;
        at += comptime!(UNITS as usize);
    }
    let total = sum_of_units(sum, &mut all);
    if unit == 0 {
        out[chunk] = total;
    }
}

/// What a parameter's gradient is multiplied by: nothing if its length is no number, since some of it is none then. The cube of its first chunk notes that.
#[cube]
fn shortening(
    squares: &[f32],
    parameters: &[i32],
    faults: &[f32],
    new_faults: &mut [f32],
    parameter: usize,
    numbers: &Numbers,
) -> f32 {
    let mut all = Shared::<[f32]>::new_slice(comptime!(UNITS as usize));
    let unit = UNIT_POS as usize;
    let first = parameters[2 * parameter] as usize;
    let end = first + parameters[2 * parameter + 1] as usize;
    let mut own = f32::new(0.0);
    let mut at = first + unit;
    while at < end {
        own += squares[at];
        at += comptime!(UNITS as usize);
    }
    let sum = sum_of_units(own, &mut all);
    let length = sum.sqrt() * numbers.scale;
    let factor = select(length > numbers.longest, numbers.longest / length, f32::new(1.0));
    let sound = sum <= numbers.largest;
    if unit == 0 && CUBE_POS_X as usize == first {
        let fault = faults[parameter];
        new_faults[parameter] = select(sound || fault > 0.0, fault, numbers.count);
    }
    select(sound, factor * numbers.scale, f32::new(0.0))
}

#[cube(launch_unchecked)]
fn moved<F: Float>(
    values: &[f32],
    gradient: &[F],
    mean: &[f32],
    square: &[f32],
    chunks: &[i32],
    parameters: &[i32],
    squares: &[f32],
    faults: &[f32],
    new_values: &mut [f32],
    new_mean: &mut [f32],
    new_square: &mut [f32],
    new_faults: &mut [f32],
    numbers: &Numbers,
    #[define(F)] _element: ElemType,
) {
    let chunk = CUBE_POS_X as usize;
    let start = chunks[3 * chunk] as usize;
    let end = start + chunks[3 * chunk + 1] as usize;
    let parameter = chunks[3 * chunk + 2] as usize;
    let factor = shortening(squares, parameters, faults, new_faults, parameter, numbers);
    let mut first = start + UNIT_POS as usize;
    while first < end {
        let mut own = Array::<f32>::new(comptime!(4 * AT_ONCE));
        #[unroll]
        for i in 0..AT_ONCE {
            let at = (first + comptime!(i * UNITS as usize)).min(end - 1);
            own[comptime!(4 * i)] = f32::cast_from(gradient[at]);
            own[comptime!(4 * i + 1)] = mean[at];
            own[comptime!(4 * i + 2)] = square[at];
            own[comptime!(4 * i + 3)] = values[at];
        }
        #[unroll]
        for i in 0..AT_ONCE {
            let at = first + comptime!(i * UNITS as usize);
            let gradient = own[comptime!(4 * i)];
            let slope = select(factor == 0.0, f32::new(0.0), gradient * factor);
            let mean = own[comptime!(4 * i + 1)] * numbers.beta1;
            let once = mean + slope * (1.0 - numbers.beta1);
            let square = own[comptime!(4 * i + 2)] * numbers.beta2;
            let twice = square + slope * slope * (1.0 - numbers.beta2);
            let size = (twice * numbers.unbias).sqrt() + numbers.epsilon;
            if at < end {
                new_mean[at] = once;
                new_square[at] = twice;
                new_values[at] = own[comptime!(4 * i + 3)] - once * numbers.rate / size;
            }
        }
        first += comptime!(AT_ONCE * UNITS as usize);
    }
}
