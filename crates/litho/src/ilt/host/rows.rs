//! What the step does to pixels, row by row: boxes, sigmoids, the loss and its gradient, Adam.

use rayon::prelude::*;

use crate::ilt::steps::{CornerWeight, DescentStep, PrintWeights};

/// Rows that are done together, with those that their sums along columns need.
const ROWS: usize = 32;

/// 1 / (1 + exp(−x)), in operations that a compiler makes vectors of.
pub fn sigmoid(x: f32) -> f32 {
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

/// Two buffers for sums over windows.
#[derive(Default)]
struct Runs {
    own: Vec<f32>,
    next: Vec<f32>,
}

impl Runs {
    /// Sums over `side` neighbours, `unit` numbers apart, from sums over 1, 2, 4, … of them: where all are 0, so is the sum. `own`
    /// has `side - 1` neighbours more than `sums`.
    fn sum(&mut self, unit: usize, side: usize, sums: &mut [f32]) {
        let Self { own, next } = self;
        next.resize(own.len(), 0.0);
        sums.fill(0.0);
        let (mut length, mut start, mut left) = (1, 0, own.len());
        loop {
            if side & length != 0 {
                sums.iter_mut().zip(&own[start * unit..]).for_each(|(sum, v)| *sum += v);
                start += length;
            }
            if 2 * length > side {
                break;
            }
            left -= length * unit;
            let pairs = own[..left].iter().zip(&own[length * unit..]);
            next[..left].iter_mut().zip(pairs).for_each(|(sum, (a, b))| *sum = a + b);
            std::mem::swap(own, next);
            length *= 2;
        }
    }
}

/// Sums over `2 reach + 1` neighbours along rows of `n`, dark beyond the ends.
pub(super) fn sums_along_rows(image: &[f32], n: usize, reach: usize, sums: &mut [f32]) {
    let rows = sums.par_chunks_mut(n).zip(image.par_chunks(n)).with_min_len(8);
    rows.for_each_init(Runs::default, |runs, (sums, row)| {
        runs.own.resize(n + 2 * reach, 0.0);
        runs.own[..reach].fill(0.0);
        runs.own[reach..reach + n].copy_from_slice(row);
        runs.own[reach + n..].fill(0.0);
        runs.sum(1, 2 * reach + 1, sums);
    });
}

/// Sums over `2 reach + 1` neighbours along columns, for `count` rows of `n` from the row `first` on.
fn sums_along_columns(
    image: &[f32],
    (n, reach): (usize, usize),
    first: usize,
    count: usize,
) -> Vec<f32> {
    let from = first.saturating_sub(reach) * n;
    let to = image.len().min((first + count + reach) * n);
    let dark = vec![0.0; reach.saturating_sub(first) * n];
    let mut runs = Runs { own: dark, ..Runs::default() };
    runs.own.extend_from_slice(&image[from..to]);
    runs.own.resize((count + 2 * reach) * n, 0.0);
    let mut sums = vec![0.0; count * n];
    runs.sum(n, 2 * reach + 1, &mut sums);
    sums
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
        let sums = sums_along_columns(along_rows, (n, reach), part * ROWS, mask.len() / n);
        let pixels = mask.iter_mut().zip(window).zip(&sums);
        pixels.for_each(|((mask, window), sum)| {
            *mask = sigmoid((sum * share - 0.5) * steepness) * window;
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
    step: &DescentStep,
    changed: Changed,
) {
    let share = 1.0 / ((2 * reach + 1) * (2 * reach + 1)) as f32;
    let [b1, b2] = betas;
    let Changed { parameters, mean, square } = changed;
    let moments = mean.par_chunks_mut(ROWS * n).zip(square.par_chunks_mut(ROWS * n));
    let parts = parameters.par_chunks_mut(ROWS * n).zip(moments);
    parts.enumerate().for_each(|(part, (parameters, (mean, square)))| {
        let sums = sums_along_columns(along_rows, (n, reach), part * ROWS, mean.len() / n);
        let moments = mean.iter_mut().zip(square.iter_mut());
        let pixels = parameters.iter_mut().zip(moments).zip(&sums);
        pixels.for_each(|((parameter, (mean, square)), sum)| {
            let gradient = sum * share;
            *mean = *mean * b1 + gradient * (1.0 - b1);
            *square = *square * b2 + gradient * gradient * (1.0 - b2);
            *parameter -= *mean * step.rate / ((*square * step.unbias).sqrt() + 1e-8);
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

    /// Where the image is dark its sums are 0 exactly: Adam takes a whole step by whatever is left there.
    #[test]
    fn sums_are_those_over_a_box_and_nothing_is_left_where_it_is_dark() {
        let (n, rows, reach) = (12, 70, 3);
        let value =
            |x: usize, y: usize| if y < 40 { ((x * 7 + y * 3) % 11) as f32 * 0.1 } else { 0.0 };
        let image: Vec<f32> = (0..rows * n).map(|i| value(i % n, i / n)).collect();
        let mut along = vec![0.0; image.len()];
        sums_along_rows(&image, n, reach, &mut along);
        for first in [0, 32, 64] {
            let count = (rows - first).min(32);
            let sums = sums_along_columns(&along, (n, reach), first, count);
            for (i, &found) in sums.iter().enumerate() {
                let (x, y) = (i % n, i / n + first);
                let box_of =
                    |v: usize, most: usize| v.saturating_sub(reach)..(v + reach + 1).min(most);
                let expected: f32 =
                    box_of(y, rows).flat_map(|y| box_of(x, n).map(move |x| value(x, y))).sum();
                assert!((found - expected).abs() < 1e-5, "{found} vs {expected}");
                assert!(expected != 0.0 || found == 0.0, "{found} in the dark");
            }
        }
    }

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
