//! What a print is worth: intensities below each other, the loss's gradient by them, and its value.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]
#![allow(clippy::manual_div_ceil, reason = "kernels know no div_ceil")]

use cubecl::prelude::*;

use super::{TILE, clamped, sigmoid};

/// What the loss needs to know of the process. A corner is out of focus where its `_far` is 1, else 0.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(in crate::ilt::steps) struct Print {
    pub(in crate::ilt::steps) threshold: f32,
    pub(in crate::ilt::steps) steepness: f32,
    pub(in crate::ilt::steps) nominal_dose: f32,
    pub(in crate::ilt::steps) outer_dose: f32,
    pub(in crate::ilt::steps) inner_dose: f32,
    pub(in crate::ilt::steps) nominal_far: u32,
    pub(in crate::ilt::steps) outer_far: u32,
    pub(in crate::ilt::steps) inner_far: u32,
    /// Weights of the errors.
    pub(in crate::ilt::steps) nominal: f32,
    pub(in crate::ilt::steps) outer: f32,
    pub(in crate::ilt::steps) inner: f32,
    pub(in crate::ilt::steps) band: f32,
    pub(in crate::ilt::steps) edge: f32,
}

/// Intensities of [`TILE`] pixels below each other, in focus and then out of it, from their sums along x, `rows`,
/// `[batch * 2, coarse, n]`.
#[cube]
fn intensities(
    rows: &[f32],
    interpolate: &[f32],
    batch: usize,
    y: usize,
    x: usize,
    n: usize,
    coarse: usize,
) -> Array<f32> {
    let mut at = Array::<usize>::new(TILE);
    let mut sums = Array::<f32>::new(comptime!(2 * TILE));
    #[unroll]
    for i in 0..TILE {
        at[i] = clamped(y + i, n);
        sums[i] = 0.0;
        sums[TILE + i] = 0.0;
    }
    let near = batch * 2 * coarse;
    for c in 0..coarse {
        let best = rows[(near + c) * n + x];
        let defocus = rows[(near + coarse + c) * n + x];
        #[unroll]
        for i in 0..TILE {
            let weight = interpolate[c * n + at[i]];
            sums[i] += weight * best;
            sums[TILE + i] += weight * defocus;
        }
    }
    sums
}

/// The gradient of the loss by the images' intensities, `[batch * 2, n, n]`; as `PrintLoss::gradient`.
#[cube(launch_unchecked)]
pub(in crate::ilt::steps) fn print_gradient(
    rows: &[f32],
    interpolate: &[f32],
    target: &[f32],
    design: &[f32],
    strips: &[f32],
    out: &mut [f32],
    n: usize,
    coarse: usize,
    print: Print,
) {
    let unit = ABSOLUTE_POS_X as usize;
    let x = unit % n;
    let y = unit / n * TILE;
    if y >= n {
        terminate!();
    }
    let batch = ABSOLUTE_POS_Y as usize;
    let images = intensities(rows, interpolate, batch, y, x, n, coarse);
    #[unroll]
    for i in 0..TILE {
        if y + i < n {
            let pixel = (y + i) * n + x;
            let at = batch * n * n + pixel;
            let (best, defocus) = (images[i], images[TILE + i]);
            let (goal, design, strip) = (target[at], design[at], strips[at]);
            let nominal = developed(best, defocus, print.nominal_far, print.nominal_dose, &print);
            let outer = developed(best, defocus, print.outer_far, print.outer_dose, &print);
            let inner = developed(best, defocus, print.inner_far, print.inner_dose, &print);
            let band = (outer - inner) * print.band;
            let of_nominal =
                (nominal - goal) * print.nominal + (nominal - design) * strip * print.edge;
            let of_outer = (outer - goal) * print.outer + band;
            let of_inner = (inner - goal) * print.inner - band;
            let twice = 2.0 * print.steepness;
            let by_nominal = of_nominal * nominal * (1.0 - nominal) * twice * print.nominal_dose;
            let by_outer = of_outer * outer * (1.0 - outer) * twice * print.outer_dose;
            let by_inner = of_inner * inner * (1.0 - inner) * twice * print.inner_dose;
            let far = at_focus(by_nominal, by_outer, by_inner, &print);
            let to = batch * 2 * n * n + pixel;
            out[to] = by_nominal + by_outer + by_inner - far;
            out[to + n * n] = far;
        }
    }
}

/// The share of the corners that are out of focus.
#[cube]
fn at_focus(nominal: f32, outer: f32, inner: f32, print: &Print) -> f32 {
    let none = f32::new(0.0);
    select(print.nominal_far == 1, nominal, none)
        + select(print.outer_far == 1, outer, none)
        + select(print.inner_far == 1, inner, none)
}

#[cube]
fn developed(best: f32, defocus: f32, far: u32, dose: f32, print: &Print) -> f32 {
    let intensity = select(far == 1, defocus, best);
    sigmoid((intensity * dose - print.threshold) * print.steepness)
}

/// Whether a corner prints, as 1 or 0.
#[cube]
fn printed(best: f32, defocus: f32, far: u32, dose: f32, print: &Print) -> f32 {
    let intensity = select(far == 1, defocus, best);
    select(intensity >= print.threshold / dose, f32::new(1.0), f32::new(0.0))
}

/// Errors of prints, a number for each [`TILE`] pixels below each other, `[batch, n / TILE, n]`: of soft prints as
/// `PrintLoss::value`, of hard ones as `PrintLoss::hard_error`.
#[cube(launch_unchecked)]
pub(in crate::ilt::steps) fn print_error(
    rows: &[f32],
    interpolate: &[f32],
    target: &[f32],
    design: &[f32],
    strips: &[f32],
    out: &mut [f32],
    n: usize,
    coarse: usize,
    print: Print,
    #[comptime] hard: bool,
) {
    let unit = ABSOLUTE_POS_X as usize;
    let x = unit % n;
    let y = unit / n * TILE;
    if y >= n {
        terminate!();
    }
    let batch = ABSOLUTE_POS_Y as usize;
    let images = intensities(rows, interpolate, batch, y, x, n, coarse);
    let mut sum = f32::new(0.0);
    #[unroll]
    for i in 0..TILE {
        if y + i < n {
            let at = batch * n * n + (y + i) * n + x;
            let (best, defocus) = (images[i], images[TILE + i]);
            if comptime!(hard) {
                let nominal = printed(best, defocus, print.nominal_far, print.nominal_dose, &print);
                let outer = printed(best, defocus, print.outer_far, print.outer_dose, &print);
                let inner = printed(best, defocus, print.inner_far, print.inner_dose, &print);
                let wanted = select(design[at] >= 0.5, f32::new(1.0), f32::new(0.0));
                let off = (nominal - wanted).abs();
                sum += off + off * strips[at] * print.edge + (outer - inner).abs();
            } else {
                let goal = target[at];
                let nominal =
                    developed(best, defocus, print.nominal_far, print.nominal_dose, &print);
                let outer = developed(best, defocus, print.outer_far, print.outer_dose, &print);
                let inner = developed(best, defocus, print.inner_far, print.inner_dose, &print);
                let band = outer - inner;
                sum += (nominal - goal) * (nominal - goal) * print.nominal
                    + (outer - goal) * (outer - goal) * print.outer
                    + (inner - goal) * (inner - goal) * print.inner
                    + band * band * print.band;
            }
        }
    }
    let groups = (n + TILE - 1) / TILE;
    out[(batch * groups + y / TILE) * n + x] = sum;
}
