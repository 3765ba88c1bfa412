//! The kernels of a solver's step: plain loops, one unit per output or per a few of them.
//!
//! Their arithmetic is small and their number is what counts, so they are long rather than many. None uses
//! shared memory: a warp's reads are neighbours or all the same, and the tables fit the first cache. Sizes are
//! arguments at run time, so that one compilation serves every grid.
//!
//! Names: a batch of masks has `n` × `n` pixels; `side` = 2K+1 frequencies; `coarse` points a side; `count` kernels
//! a focus. Complex images are two real ones, the real part first. `X` runs over an image's outputs, `Y` over images.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]
#![allow(clippy::manual_div_ceil, reason = "kernels know no div_ceil")]

use cubecl::prelude::*;

pub(super) mod print;

/// Rows that one unit computes, so that it uses each value it reads more than once.
pub(super) const TILE: usize = 4;

/// The index, or the last one if it is beyond: a unit whose rows reach over the end computes some twice.
#[cube]
fn clamped(index: usize, count: usize) -> usize {
    select(index < count, index, count - 1)
}

#[cube]
fn lesser(a: usize, b: usize) -> usize {
    select(a < b, a, b)
}

/// The sigmoid; the exponent is kept where every device has a number for it.
#[cube]
fn sigmoid(x: f32) -> f32 {
    let exponent = select(x < f32::new(-80.0), f32::new(80.0), -x);
    f32::new(1.0) / (f32::new(1.0) + exponent.exp())
}

/// Products of matrices, `out[batch, part, r, c] = Σ_copy Σ_k a[r, k] b[k, c]`, over k in the part's share of the depth.
///
/// `b` has rows of `columns`; `a` is found by its strides. A product's parts are summed by whoever reads them
/// next, as copies.
#[cube(launch_unchecked)]
pub(super) fn product(
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    rows: usize,
    columns: usize,
    depth: usize,
    parts: usize,
    copies: usize,
    a_batch: usize,
    a_copy: usize,
    a_row: usize,
    a_at: usize,
    b_batch: usize,
    b_copy: usize,
) {
    let unit = ABSOLUTE_POS_X as usize;
    let c = unit % columns;
    let r = unit / columns * TILE;
    if r >= rows {
        terminate!();
    }
    let batch = ABSOLUTE_POS_Y as usize / parts;
    let part = ABSOLUTE_POS_Y as usize % parts;
    let share = (depth + parts - 1) / parts;
    let first = part * share;
    let last = lesser(first + share, depth);
    let mut at = Array::<usize>::new(TILE);
    let mut sums = Array::<f32>::new(TILE);
    #[unroll]
    for i in 0..TILE {
        at[i] = clamped(r + i, rows) * a_row;
        sums[i] = 0.0;
    }
    for copy in 0..copies {
        let from_a = batch * a_batch + copy * a_copy;
        let from_b = batch * b_batch + copy * b_copy + c;
        for k in first..last {
            let value = b[from_b + k * columns];
            #[unroll]
            for i in 0..TILE {
                sums[i] += a[from_a + k * a_at + at[i]] * value;
            }
        }
    }
    let to = ((batch * parts + part) * rows + r) * columns + c;
    #[unroll]
    for i in 0..TILE {
        if r + i < rows {
            out[to + i * columns] = sums[i];
        }
    }
}

/// Sums along rows of `2 * reach + 1` neighbours, zero outside. `[batch, n, n]`.
#[cube(launch_unchecked)]
pub(super) fn row_sums(image: &[f32], out: &mut [f32], n: usize, reach: usize) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= n * n {
        terminate!();
    }
    let x = unit % n;
    let row = ABSOLUTE_POS_Y as usize * n * n + unit - x;
    let first = select(x > reach, x - reach, 0);
    let last = lesser(x + reach + 1, n);
    let mut sum = f32::new(0.0);
    for i in first..last {
        sum += image[row + i];
    }
    out[row + x] = sum;
}

/// The mean over a box at a pixel, from the sums along rows.
#[cube]
fn box_mean(sums: &[f32], image: usize, unit: usize, n: usize, reach: usize) -> f32 {
    let y = unit / n;
    let x = unit % n;
    let first = select(y > reach, y - reach, 0);
    let last = lesser(y + reach + 1, n);
    let mut sum = f32::new(0.0);
    for i in first..last {
        sum += sums[image + i * n + x];
    }
    let side = f32::cast_from(2 * reach + 1);
    sum / (side * side)
}

/// The mask of smoothed parameters: `window * sigmoid(steepness * (mean - 1/2))`.
#[cube(launch_unchecked)]
pub(super) fn soft_mask(
    sums: &[f32],
    window: &[f32],
    mask: &mut [f32],
    n: usize,
    reach: usize,
    steepness: f32,
) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= n * n {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize * n * n;
    let mean = box_mean(sums, image, unit, n, reach);
    mask[image + unit] = sigmoid((mean - 0.5) * steepness) * window[image + unit];
}

/// Complex frequencies `[batch, 2, side, side]` from the parts of `[batch, parts, 2 * side, side]`: the rows' are
/// complex already, the columns' are in the real basis 1, cos, sin. exp(-ivx) = cos vx - i sin vx.
#[cube(launch_unchecked)]
pub(super) fn frequencies(basis: &[f32], out: &mut [f32], side: usize, parts: usize) {
    let area = side * side;
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= area {
        terminate!();
    }
    let u = unit / side;
    let v = unit % side;
    let half = side / 2;
    let away = select(v < half, half - v, v - half);
    let sine = select(away == 0, 0, half + away);
    let signed = select(v < half, f32::new(-1.0), f32::new(1.0));
    let sign = select(away == 0, f32::new(0.0), signed);
    let mut cos_re = f32::new(0.0);
    let mut cos_im = f32::new(0.0);
    let mut sin_re = f32::new(0.0);
    let mut sin_im = f32::new(0.0);
    for part in 0..parts {
        let re = (ABSOLUTE_POS_Y as usize * parts + part) * 2 * area + u * side;
        cos_re += basis[re + away];
        cos_im += basis[re + area + away];
        sin_re += basis[re + sine];
        sin_im += basis[re + area + sine];
    }
    let to = ABSOLUTE_POS_Y as usize * 2 * area + unit;
    out[to] = cos_re + sign * sin_im;
    out[to + area] = cos_im - sign * sin_re;
}

/// What each kernel passes, spread along x to the coarse points: `[batch * kernels, 2, side, coarse]`.
#[cube(launch_unchecked)]
pub(super) fn pass(
    spectrum: &[f32],
    kernels_re: &[f32],
    kernels_im: &[f32],
    spread: &[f32],
    out: &mut [f32],
    side: usize,
    coarse: usize,
    kernels: usize,
) {
    let unit = ABSOLUTE_POS_X as usize;
    let x = unit % coarse;
    let u = unit / coarse;
    if u >= side {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize;
    let batch = image / kernels;
    let kernel = ((image % kernels) * side + u) * 2 * side;
    let from = (batch * 2 * side + u) * side;
    let mut re = f32::new(0.0);
    let mut im = f32::new(0.0);
    for v in 0..side {
        let (hr, hi) = (kernels_re[kernel + v], kernels_im[kernel + v]);
        let (sr, si) = (spectrum[from + v], spectrum[from + side * side + v]);
        let (pr, pi) = (hr * sr - hi * si, hr * si + hi * sr);
        let cos = spread[v * 2 * coarse + x];
        let sin = spread[v * 2 * coarse + coarse + x];
        re += pr * cos - pi * sin;
        im += pr * sin + pi * cos;
    }
    let to = (image * 2 * side + u) * coarse + x;
    out[to] = re;
    out[to + side * coarse] = im;
}

/// Turns the rows of complex images by phases and sums them: `out[r, x] = Σ_j fields[j, x] e^{±iφ(r, j)}`, from
/// `[images, 2, depth, coarse]` to `[images, 2, rows, coarse]`. φ's cosine is in `spread` by the strides, its sine
/// `coarse` further.
#[cube(launch_unchecked)]
pub(super) fn turn(
    fields: &[f32],
    spread: &[f32],
    out: &mut [f32],
    rows: usize,
    depth: usize,
    coarse: usize,
    phase_row: usize,
    phase_at: usize,
    sign: f32,
) {
    let unit = ABSOLUTE_POS_X as usize;
    let x = unit % coarse;
    let r = unit / coarse * TILE;
    if r >= rows {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize;
    let from = image * 2 * depth * coarse + x;
    let stride = phase_row;
    let mut at = Array::<usize>::new(TILE);
    let mut re = Array::<f32>::new(TILE);
    let mut im = Array::<f32>::new(TILE);
    #[unroll]
    for i in 0..TILE {
        at[i] = clamped(r + i, rows) * stride;
        re[i] = 0.0;
        im[i] = 0.0;
    }
    for j in 0..depth {
        let fr = fields[from + j * coarse];
        let fi = fields[from + (depth + j) * coarse];
        #[unroll]
        for i in 0..TILE {
            let phase = at[i] + j * phase_at;
            let cos = spread[phase];
            let sin = sign * spread[phase + coarse];
            re[i] += fr * cos - fi * sin;
            im[i] += fr * sin + fi * cos;
        }
    }
    let to = (image * 2 * rows + r) * coarse + x;
    #[unroll]
    for i in 0..TILE {
        if r + i < rows {
            out[to + i * coarse] = re[i];
            out[to + (rows + i) * coarse] = im[i];
        }
    }
}

/// Intensity at the coarse points, `[batch * 2, coarse, coarse]`: the power of a focus's `count` fields.
#[cube(launch_unchecked)]
pub(super) fn power(fields: &[f32], out: &mut [f32], coarse: usize, count: usize) {
    let area = coarse * coarse;
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= area {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize;
    let mut sum = f32::new(0.0);
    for part in 0..2 * count {
        let value = fields[(image * 2 * count + part) * area + unit];
        sum += value * value;
    }
    out[image * area + unit] = sum;
}

/// Fields times twice the intensity's gradient, in place: the gradient of the fields. The intensity's is in parts,
/// `[batch * 2, parts, coarse, coarse]`.
#[cube(launch_unchecked)]
pub(super) fn weigh(
    fields: &mut [f32],
    gradient: &[f32],
    coarse: usize,
    count: usize,
    parts: usize,
) {
    let area = coarse * coarse;
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= area {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize;
    let from = image / count * parts;
    let mut sum = f32::new(0.0);
    for part in 0..parts {
        sum += gradient[(from + part) * area + unit];
    }
    let (re, im) = (image * 2 * area + unit, (image * 2 + 1) * area + unit);
    fields[re] = fields[re] * 2.0 * sum;
    fields[im] = fields[im] * 2.0 * sum;
}

/// The adjoint of [`pass`], for each kernel: `[batch * kernels, 2, side, side]`. `gather` is `spread` transposed.
#[cube(launch_unchecked)]
pub(super) fn pass_back(
    fields: &[f32],
    kernels_re: &[f32],
    kernels_im: &[f32],
    gather: &[f32],
    out: &mut [f32],
    side: usize,
    coarse: usize,
    kernels: usize,
) {
    let unit = ABSOLUTE_POS_X as usize;
    let area = side * side;
    if unit >= area {
        terminate!();
    }
    let (u, v) = (unit / side, unit % side);
    let image = ABSOLUTE_POS_Y as usize;
    let from = (image * 2 * side + u) * coarse;
    let mut re = f32::new(0.0);
    let mut im = f32::new(0.0);
    for x in 0..coarse {
        let (fr, fi) = (fields[from + x], fields[from + side * coarse + x]);
        let cos = gather[x * 2 * side + v];
        let sin = gather[(coarse + x) * 2 * side + v];
        re += fr * cos + fi * sin;
        im += fi * cos - fr * sin;
    }
    let kernel = ((image % kernels) * side + u) * 2 * side + v;
    let (hr, hi) = (kernels_re[kernel], kernels_im[kernel]);
    out[image * 2 * area + unit] = hr * re + hi * im;
    out[(image * 2 + 1) * area + unit] = hr * im - hi * re;
}

/// The adjoint of [`frequencies`], summed over the kernels: `[batch, 2 * side, side]`.
#[cube(launch_unchecked)]
pub(super) fn frequencies_back(spectra: &[f32], out: &mut [f32], side: usize, kernels: usize) {
    let area = side * side;
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= area {
        terminate!();
    }
    let (u, basis) = (unit / side, unit % side);
    let half = side / 2;
    let is_cos = basis <= half;
    let away = select(is_cos, basis, basis - half);
    let mut plus_re = f32::new(0.0);
    let mut plus_im = f32::new(0.0);
    let mut minus_re = f32::new(0.0);
    let mut minus_im = f32::new(0.0);
    for kernel in 0..kernels {
        let image = ABSOLUTE_POS_Y as usize * kernels + kernel;
        let middle = image * 2 * area + u * side + half;
        plus_re += spectra[middle + away];
        plus_im += spectra[middle + area + away];
        minus_re += spectra[middle - away];
        minus_im += spectra[middle + area - away];
    }
    let twice = select(away == 0, f32::new(0.0), f32::new(1.0));
    let to = ABSOLUTE_POS_Y as usize * 2 * area + unit;
    out[to] = select(is_cos, plus_re + twice * minus_re, minus_im - plus_im);
    out[to + area] = select(is_cos, plus_im + twice * minus_im, plus_re - minus_re);
}

/// The gradient of the smoothed parameters, `[batch, n, n]`: from the columns' real basis to pixels, with the price of
/// grey pixels, through the slope of the mask's sigmoid.
#[cube(launch_unchecked)]
pub(super) fn mask_gradient(
    basis: &[f32],
    columns: &[f32],
    mask: &[f32],
    out: &mut [f32],
    n: usize,
    side: usize,
    grey: f32,
    steepness: f32,
) {
    let unit = ABSOLUTE_POS_X as usize;
    let x = unit % n;
    let y = unit / n * TILE;
    if y >= n {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize * n;
    let mut at = Array::<usize>::new(TILE);
    let mut sums = Array::<f32>::new(TILE);
    #[unroll]
    for i in 0..TILE {
        at[i] = (image + clamped(y + i, n)) * side;
        sums[i] = 0.0;
    }
    for c in 0..side {
        let value = columns[c * n + x];
        #[unroll]
        for i in 0..TILE {
            sums[i] += basis[at[i] + c] * value;
        }
    }
    #[unroll]
    for i in 0..TILE {
        if y + i < n {
            let pixel = (image + y + i) * n + x;
            let open = mask[pixel];
            let slope = open * (1.0 - open) * steepness;
            out[pixel] = (sums[i] + (1.0 - 2.0 * open) * grey) * slope;
        }
    }
}

/// Adam, as far as it is the same at every step.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct Adam {
    pub(super) beta1: f32,
    pub(super) beta2: f32,
    /// The step size over what the mean's start at zero takes away.
    pub(super) rate: f32,
    /// What the square's start at zero takes away.
    pub(super) unbias: f32,
}

/// A step of Adam by the smoothed gradient, given as its sums along rows.
#[cube(launch_unchecked)]
pub(super) fn update(
    sums: &[f32],
    parameters: &mut [f32],
    mean: &mut [f32],
    square: &mut [f32],
    n: usize,
    reach: usize,
    adam: Adam,
) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= n * n {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize * n * n;
    let at = image + unit;
    let gradient = box_mean(sums, image, unit, n, reach);
    let first = mean[at] * adam.beta1 + gradient * (1.0 - adam.beta1);
    let second = square[at] * adam.beta2 + gradient * gradient * (1.0 - adam.beta2);
    mean[at] = first;
    square[at] = second;
    let size = (second * adam.unbias).sqrt() + 1e-8;
    parameters[at] -= first * adam.rate / size;
}
