//! What the step does to pixels, row by row: boxes, sigmoids, the loss and its gradient, Adam.

use lithoburn_processor::{Processor, Vectors, Work};
use rayon::prelude::*;

use crate::ilt::steps::{CornerWeight, DescentStep, PrintWeights};

/// Rows that are done together, with those that their sums along columns need.
const ROWS: usize = 32;

/// 1 / (1 + exp(−x)), in operations that a compiler makes vectors of.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// exp(x) to four units in the last place, for |x| up to 87: two to the whole part as an exponent, times a polynomial.
#[inline(always)]
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
        Processor::here().compute(Summing { runs: self, unit, side, sums });
    }
}

struct Summing<'a> {
    runs: &'a mut Runs,
    unit: usize,
    side: usize,
    sums: &'a mut [f32],
}

impl Work for Summing<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let Self { runs: Runs { own, next }, unit, side, sums } = self;
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
        Processor::here().compute(SoftMask { sums: &sums, window, share, steepness, mask });
    });
}

struct SoftMask<'a> {
    sums: &'a [f32],
    window: &'a [f32],
    share: f32,
    steepness: f32,
    mask: &'a mut [f32],
}

impl Work for SoftMask<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let Self { sums, window, share, steepness, mask } = self;
        mask.iter_mut().zip(window).zip(sums).for_each(|((mask, window), sum)| {
            *mask = sigmoid((sum * share - 0.5) * steepness) * window;
        });
    }
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
    let Changed { parameters, mean, square } = changed;
    let moments = mean.par_chunks_mut(ROWS * n).zip(square.par_chunks_mut(ROWS * n));
    let parts = parameters.par_chunks_mut(ROWS * n).zip(moments);
    parts.enumerate().for_each(|(part, (parameters, (mean, square)))| {
        let sums = sums_along_columns(along_rows, (n, reach), part * ROWS, mean.len() / n);
        let changed = Changed { parameters, mean, square };
        Processor::here().compute(Adam { sums: &sums, share, betas, step, changed });
    });
}

struct Adam<'a> {
    sums: &'a [f32],
    share: f32,
    betas: [f32; 2],
    step: &'a DescentStep,
    changed: Changed<'a>,
}

impl Work for Adam<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let Self { sums, share, betas: [b1, b2], step, changed } = self;
        let Changed { parameters, mean, square } = changed;
        let moments = mean.iter_mut().zip(square.iter_mut());
        let pixels = parameters.iter_mut().zip(moments).zip(sums);
        pixels.for_each(|((parameter, (mean, square)), sum)| {
            let gradient = sum * share;
            *mean = *mean * b1 + gradient * (1.0 - b1);
            *square = *square * b2 + gradient * gradient * (1.0 - b2);
            *parameter -= *mean * step.rate / ((*square * step.unbias).sqrt() + 1e-8);
        });
    }
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
    Processor::here().compute(Gradient { weights, goal, best, defocus });
}

struct Gradient<'a> {
    weights: &'a PrintWeights,
    goal: GoalRow<'a>,
    best: &'a mut [f32],
    defocus: &'a mut [f32],
}

impl Work for Gradient<'_> {
    /// A corner sees one image: its dose for the other one is 0. So nothing is asked of a pixel, and a compiler makes vectors.
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let Self { weights, goal, best, defocus } = self;
        let PrintWeights { threshold, steepness, corners: [nominal, outer, inner], band, edge } =
            *weights;
        let (near, far) = (
            [nominal, outer, inner].map(|c| if c.defocus { 0.0 } else { c.dose }),
            [nominal, outer, inner].map(|c| if c.defocus { c.dose } else { 0.0 }),
        );
        let images = best.iter_mut().zip(defocus.iter_mut());
        let goals = goal.target.iter().zip(goal.design).zip(goal.strips);
        for ((best, defocus), ((&target, &design), &strips)) in images.zip(goals) {
            let print =
                |i: usize| sigmoid((*best * near[i] + *defocus * far[i] - threshold) * steepness);
            let (middle, more, less) = (print(0), print(1), print(2));
            let apart = 2.0 * band * (more - less);
            let off =
                2.0 * nominal.weight * (middle - target) + 2.0 * edge * strips * (middle - design);
            let by_light = |off: f32, print: f32| off * print * (1.0 - print) * steepness;
            let middle = by_light(off, middle);
            let more = by_light(2.0 * outer.weight * (more - target) + apart, more);
            let less = by_light(2.0 * inner.weight * (less - target) - apart, less);
            let image = |dose: [f32; 3]| middle * dose[0] + more * dose[1] + less * dose[2];
            (*best, *defocus) = (image(near), image(far));
        }
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

    /// Corner by corner, with a question for each: the derivative as it is written down, to the last bit on every processor.
    #[test]
    fn the_gradient_is_that_of_the_corners_on_every_processor() {
        let corner = |dose, defocus, weight| CornerWeight { dose, defocus, weight };
        let corners = [corner(1.0, false, 1.0), corner(1.04, false, 0.7), corner(0.96, true, 0.4)];
        let weights =
            PrintWeights { threshold: 0.225, steepness: 80.0, corners, band: 3.0, edge: 2.0 };
        let wave = |pitch: f32| -> Vec<f32> {
            (0..203).map(|i| 0.3 + 0.3 * (i as f32 * pitch).sin()).collect()
        };
        let hard = |pitch| wave(pitch).iter().map(|&v| f32::from(u8::from(v > 0.3))).collect();
        let (target, design, strips): (_, Vec<f32>, Vec<f32>) = (wave(0.11), hard(0.13), hard(0.7));
        let goal = GoalRow { target: &target, design: &design, strips: &strips };
        let expected: Vec<[f32; 2]> = (0..203)
            .map(|x| corner_by_corner(&weights, goal, x, [wave(0.31)[x], wave(0.37)[x]]))
            .collect();
        for processor in Processor::kinds() {
            let (mut best, mut defocus) = (wave(0.31), wave(0.37));
            let (weights, best_row, defocus_row) = (&weights, &mut best[..], &mut defocus[..]);
            processor.compute(Gradient { weights, goal, best: best_row, defocus: defocus_row });
            let found: Vec<[f32; 2]> = best.iter().zip(&defocus).map(|(&b, &d)| [b, d]).collect();
            assert_eq!(found, expected, "{processor:?}");
        }
        assert!(expected.iter().all(|[best, _]| best.is_finite()));
        assert!(expected.iter().any(|[best, defocus]| best * defocus != 0.0));
    }

    fn corner_by_corner(
        weights: &PrintWeights,
        goal: GoalRow,
        x: usize,
        [best, defocus]: [f32; 2],
    ) -> [f32; 2] {
        let PrintWeights { threshold, steepness, corners, band, edge } = *weights;
        let (target, design, strips) = (goal.target[x], goal.design[x], goal.strips[x]);
        let print = corners.map(|c| sigmoid((light(&c, best, defocus) - threshold) * steepness));
        let off = |i: usize| 2.0 * corners[i].weight * (print[i] - target);
        let apart = 2.0 * band * (print[1] - print[2]);
        let by_print =
            [off(0) + 2.0 * edge * strips * (print[0] - design), off(1) + apart, off(2) - apart];
        let by_light =
            |i: usize| by_print[i] * print[i] * (1.0 - print[i]) * steepness * corners[i].dose;
        [false, true].map(|out| {
            let own = |i: usize| if corners[i].defocus == out { by_light(i) } else { 0.0 };
            own(0) + own(1) + own(2)
        })
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
