//! What the step does to pixels, row by row: boxes, sigmoids, the loss and its gradient, Adam.

use rayon::prelude::*;

use crate::ilt::steps::{CornerWeight, PrintWeights, Step};

/// Rows of a column's sums that are added up in a row: rounding grows no further than that.
const ROWS: usize = 32;

/// 1 / (1 + exp(−x)), in operations that a compiler makes vectors of.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// exp(x) to four units in the last place, for |x| up to 87: two to the whole part as an exponent, times a polynomial.
fn exp(x: f32) -> f32 {
    // Adding it leaves the nearest whole number in the lowest bits.
    const WHOLE: f32 = 12_582_912.0;
    let power = x.clamp(-87.0, 87.0) * std::f32::consts::LOG2_E;
    let whole = power + WHOLE;
    let part = (power - (whole - WHOLE)) * std::f32::consts::LN_2;
    let series = part * (1.0 / 120.0 + part * (1.0 / 720.0));
    let series =
        1.0 + part * (1.0 + part * (0.5 + part * (1.0 / 6.0 + part * (1.0 / 24.0 + series))));
    series * f32::from_bits(whole.to_bits().wrapping_add(127) << 23)
}

/// Sums over `2 reach + 1` neighbours along rows of `n`, dark beyond the ends.
pub(super) fn sums_along_rows(image: &[f32], n: usize, reach: usize, sums: &mut [f32]) {
    let side = 2 * reach + 1;
    let buffers = || [vec![0.0_f32; n + 2 * reach], vec![0.0_f32; n + 2 * reach]];
    let rows = sums.par_chunks_mut(n).zip(image.par_chunks(n)).with_min_len(8);
    rows.for_each_init(buffers, |[runs, next], (sums, row)| {
        runs[..reach].fill(0.0);
        runs[reach..reach + n].copy_from_slice(row);
        runs[reach + n..].fill(0.0);
        sums.fill(0.0);
        // From sums over 1, 2, 4, … of them.
        let (mut length, mut start, mut left) = (1, 0, n + 2 * reach);
        loop {
            if side & length != 0 {
                sums.iter_mut().zip(&runs[start..]).for_each(|(sum, v)| *sum += v);
                start += length;
            }
            if 2 * length > side {
                break;
            }
            left -= length;
            let pairs = runs[..left].iter().zip(&runs[length..]);
            next[..left].iter_mut().zip(pairs).for_each(|(sum, (a, b))| *sum = a + b);
            std::mem::swap(runs, next);
            length *= 2;
        }
    });
}

/// Hands each of some rows' sums over `2 reach + 1` neighbours along columns to `take`, from the row `first` on.
fn sums_along_columns(
    image: &[f32],
    n: usize,
    reach: usize,
    first: usize,
    count: usize,
    mut take: impl FnMut(usize, &[f32]),
) {
    let rows = image.len() / n;
    let row = |y: usize| &image[y * n..(y + 1) * n];
    let mut sums = vec![0.0_f32; n];
    for y in first.saturating_sub(reach)..(first + reach).min(rows) {
        sums.iter_mut().zip(row(y)).for_each(|(sum, v)| *sum += v);
    }
    for y in first..first + count {
        if y + reach < rows {
            sums.iter_mut().zip(row(y + reach)).for_each(|(sum, v)| *sum += v);
        }
        take(y - first, &sums);
        if y >= reach {
            sums.iter_mut().zip(row(y - reach)).for_each(|(sum, v)| *sum -= v);
        }
    }
}

/// The mask of parameters that are smoothed along rows already.
pub(super) fn soft_mask(
    along_rows: &[f32],
    window: &[f32],
    (n, reach, steepness): (usize, usize, f32),
    mask: &mut [f32],
) {
    let share = 1.0 / ((2 * reach + 1) * (2 * reach + 1)) as f32;
    let parts = mask.par_chunks_mut(ROWS * n).zip(window.par_chunks(ROWS * n));
    parts.enumerate().for_each(|(part, (mask, window))| {
        let (first, count) = (part * ROWS, mask.len() / n);
        sums_along_columns(along_rows, n, reach, first, count, |y, sums| {
            let own = y * n..(y + 1) * n;
            let pixels = mask[own.clone()].iter_mut().zip(&window[own]).zip(sums);
            pixels.for_each(|((mask, window), sum)| {
                *mask = sigmoid((sum * share - 0.5) * steepness) * window;
            });
        });
    });
}

/// What Adam keeps and changes.
pub(super) struct Changed<'a> {
    pub(super) parameters: &'a mut [f32],
    pub(super) mean: &'a mut [f32],
    pub(super) square: &'a mut [f32],
}

/// A step of Adam by a gradient that is smoothed along rows already.
pub(super) fn adam(
    along_rows: &[f32],
    (n, reach): (usize, usize),
    betas: [f32; 2],
    step: &Step,
    changed: Changed,
) {
    let share = 1.0 / ((2 * reach + 1) * (2 * reach + 1)) as f32;
    let [b1, b2] = betas;
    let Changed { parameters, mean, square } = changed;
    let moments = mean.par_chunks_mut(ROWS * n).zip(square.par_chunks_mut(ROWS * n));
    let parts = parameters.par_chunks_mut(ROWS * n).zip(moments);
    parts.enumerate().for_each(|(part, (parameters, (mean, square)))| {
        let (first, count) = (part * ROWS, mean.len() / n);
        sums_along_columns(along_rows, n, reach, first, count, |y, sums| {
            let own = y * n..(y + 1) * n;
            let moments = mean[own.clone()].iter_mut().zip(square[own.clone()].iter_mut());
            let pixels = parameters[own].iter_mut().zip(moments).zip(sums);
            pixels.for_each(|((parameter, (mean, square)), sum)| {
                let gradient = sum * share;
                *mean = *mean * b1 + gradient * (1.0 - b1);
                *square = *square * b2 + gradient * gradient * (1.0 - b2);
                *parameter -= *mean * step.rate / ((*square * step.unbias).sqrt() + 1e-8);
            });
        });
    });
}

/// A row of the goal.
#[derive(Clone, Copy)]
pub(super) struct GoalRow<'a> {
    pub(super) target: &'a [f32],
    pub(super) design: &'a [f32],
    pub(super) strips: &'a [f32],
}

fn light(corner: &CornerWeight, best: f32, defocus: f32) -> f32 {
    if corner.defocus { defocus * corner.dose } else { best * corner.dose }
}

/// Makes a row of images, in focus and out of it, the derivative of the loss by them.
pub(super) fn gradient(
    weights: &PrintWeights,
    goal: GoalRow,
    best: &mut [f32],
    defocus: &mut [f32],
) {
    let PrintWeights { threshold, steepness, corners, band, edge } = *weights;
    let images = best.iter_mut().zip(defocus.iter_mut());
    let goals = goal.target.iter().zip(goal.design).zip(goal.strips);
    for ((best, defocus), ((&target, &design), &strips)) in images.zip(goals) {
        let print = corners.map(|c| sigmoid((light(&c, *best, *defocus) - threshold) * steepness));
        let off = |i: usize| 2.0 * corners[i].weight * (print[i] - target);
        let apart = 2.0 * band * (print[1] - print[2]);
        let by_print =
            [off(0) + 2.0 * edge * strips * (print[0] - design), off(1) + apart, off(2) - apart];
        let by_light =
            |i: usize| by_print[i] * print[i] * (1.0 - print[i]) * steepness * corners[i].dose;
        let at = |out: bool| -> f32 {
            let own = |i: usize| if corners[i].defocus == out { by_light(i) } else { 0.0 };
            own(0) + own(1) + own(2)
        };
        (*best, *defocus) = (at(false), at(true));
    }
}

/// What a row of prints is off, hard or soft, as the loss counts it.
pub(super) fn error(
    weights: &PrintWeights,
    hard: bool,
    goal: GoalRow,
    best: &[f32],
    defocus: &[f32],
) -> f64 {
    let PrintWeights { threshold, steepness, corners, band, edge } = *weights;
    let pixel = |x: usize| {
        let lights = corners.map(|c| light(&c, best[x], defocus[x]));
        if hard {
            let print = lights.map(|light| f32::from(u8::from(light >= threshold)));
            let design = f32::from(u8::from(goal.design[x] >= 0.5));
            let off = (print[0] - design).abs();
            off + off * goal.strips[x] * edge + (print[1] - print[2]).abs()
        } else {
            let print = lights.map(|light| sigmoid((light - threshold) * steepness));
            let off = |i: usize| corners[i].weight * (print[i] - goal.target[x]).powi(2);
            off(0) + off(1) + off(2) + band * (print[1] - print[2]).powi(2)
        }
    };
    (0..best.len()).map(|x| f64::from(pixel(x))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sigmoid_is_that_of_the_standard_library() {
        for i in -4000..=4000 {
            let x = i as f32 * 0.005;
            let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
            let found = f64::from(sigmoid(x));
            assert!((found / expected - 1.0).abs() < 2e-6, "{found} vs {expected} at {x}");
        }
        assert_eq!((sigmoid(1e9), sigmoid(f32::NAN).is_nan()), (1.0, true));
        assert!(sigmoid(-1e9) < 1e-37);
    }
}
