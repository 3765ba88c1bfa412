//! Adam over one run of numbers, and what a card's kernels take from it.
//!
//! Kingma and Ba, ICLR 2015. Each parameter's gradient is shortened to a length first, so its squares are added up in chunks, and the chunks in
//! order.

use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

use super::{UNITS, arg, cubes_of, element, empty};
use crate::hopper::plan::AdamStep;

/// Numbers that a unit has under way at once: with one at a time it mostly waits for memory.
const AT_ONCE: usize = 4;

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
/// and the number of chunks of each parameter. A parameter's fault is the first step whose gradient was no number; such a gradient counts as zero. The
/// gradient may be in bf16; all else is f32.
pub(crate) fn stepped(
    [values, gradient, mean, square]: [CubeTensor; 4],
    faults: CubeTensor,
    [chunks, parameters]: [CubeTensor; 2],
    step: AdamStep,
) -> (CubeTensor, CubeTensor, CubeTensor, CubeTensor) {
    let chunk_count = chunks.meta.num_elements() / 3;
    let parameter_count = parameters.meta.num_elements() / 2;
    let like = |tensor: &CubeTensor| empty(tensor, tensor.meta.shape().clone(), DType::F32);
    let squares = empty(&values, Shape::from([chunk_count]), DType::F32);
    let factors = empty(&values, Shape::from([parameter_count]), DType::F32);
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
        shortening::launch_unchecked(
            client,
            cubes_of(parameter_count),
            CubeDim::new_1d(UNITS),
            arg(&squares),
            arg(&parameters),
            arg(&faults),
            arg(&factors),
            arg(&out[3]),
            parameter_count,
            numbers(&step),
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
            arg(&factors),
            arg(&out[0]),
            arg(&out[1]),
            arg(&out[2]),
            numbers(&step),
            element(&gradient),
        );
    }
    let [values, mean, square, faults] = out;
    (values, mean, square, faults)
}

/// Numbers of a run by their places, in a precision; a negative place is zero.
pub(crate) fn picked(values: &CubeTensor, places: &CubeTensor, dtype: DType) -> CubeTensor {
    let count = places.meta.num_elements();
    let out = empty(values, Shape::from([count]), dtype);
    let kind = if dtype == DType::F32 { FloatKind::F32 } else { FloatKind::BF16 };
    let lanes = if count.is_multiple_of(AT_ONCE) { AT_ONCE } else { 1 };
    let count = count / lanes;
    // SAFETY: units beyond the places end at once.
    unsafe {
        pick::launch_unchecked(
            &values.client,
            cubes_of(count),
            CubeDim::new_1d(UNITS),
            lanes,
            arg(values),
            arg(places),
            arg(&out),
            count,
            ElemType::Float(kind),
        );
    }
    out
}

#[cube(launch_unchecked)]
fn pick<F: Float, N: Size>(
    values: &[f32],
    places: &[Vector<i32, N>],
    out: &mut [Vector<F, N>],
    count: usize,
    #[define(F)] _element: ElemType,
) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    let own = places[unit];
    let mut picked = Vector::<f32, N>::new(0.0);
    #[unroll]
    for i in 0..N::value() {
        let place = own.extract(i);
        let value = values[select(place < 0, 0, place as usize)];
        picked.insert(i, select(place < 0, f32::new(0.0), value));
    }
    out[unit] = Vector::cast_from(picked);
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
    all[unit] = sum;
    sync_cube();
    if unit == 0 {
        let mut total = f32::new(0.0);
        for i in 0..comptime!(UNITS as usize) {
            total += all[i];
        }
        out[chunk] = total;
    }
}

/// What a parameter's gradient is multiplied by: nothing if its length is no number, since some of it is none then.
#[cube(launch_unchecked)]
fn shortening(
    squares: &[f32],
    parameters: &[i32],
    faults: &[f32],
    out: &mut [f32],
    new_faults: &mut [f32],
    count: usize,
    numbers: &Numbers,
) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    let first = parameters[2 * unit] as usize;
    let mut sum = f32::new(0.0);
    for i in 0..parameters[2 * unit + 1] as usize {
        sum += squares[first + i];
    }
    let length = sum.sqrt() * numbers.scale;
    let factor = select(length > numbers.longest, numbers.longest / length, f32::new(1.0));
    let sound = sum <= numbers.largest;
    out[unit] = select(sound, factor * numbers.scale, f32::new(0.0));
    let fault = faults[unit];
    new_faults[unit] = select(sound || fault > 0.0, fault, numbers.count);
}

#[cube(launch_unchecked)]
fn moved<F: Float>(
    values: &[f32],
    gradient: &[F],
    mean: &[f32],
    square: &[f32],
    chunks: &[i32],
    factors: &[f32],
    new_values: &mut [f32],
    new_mean: &mut [f32],
    new_square: &mut [f32],
    numbers: &Numbers,
    #[define(F)] _element: ElemType,
) {
    let chunk = CUBE_POS_X as usize;
    let start = chunks[3 * chunk] as usize;
    let end = start + chunks[3 * chunk + 1] as usize;
    let factor = factors[chunks[3 * chunk + 2] as usize];
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
