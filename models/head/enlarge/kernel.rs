//! The launches.
#![allow(
    unsafe_code,
    reason = "kernels are launched without bounds checks: buffers are made here for the sizes that the kernels are given"
)]

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::{Bend, BendLaunch};

/// Units of a cube.
const UNITS: u32 = 256;
/// Units of a cube along a row of a mask, and rows of a cube.
const ACROSS: u32 = 64;
const DOWN: u32 = UNITS / ACROSS;

/// Numbers side by side that a unit has at once: all of them are of one pixel of the network's.
fn lanes(factor: usize) -> usize {
    match factor {
        _ if factor.is_multiple_of(4) => 4,
        _ if factor.is_multiple_of(2) => 2,
        _ => 1,
    }
}

pub(super) fn enlarged(
    target: CubeTensor,
    change: CubeTensor,
    bend: Bend,
    factor: usize,
) -> CubeTensor {
    let (target, change) = (into_contiguous(target), into_contiguous(change));
    let [batch, n, _] = target.shape().dims::<3>();
    let m = factor * n;
    let shape = Shape::from([batch, m, m]);
    let (client, device) = (target.client.clone(), target.device.clone());
    let out = empty_device_contiguous_dtype(client.clone(), device, shape, DType::F32);
    let lanes = lanes(factor);
    let across = ((m / lanes) as u32).div_ceil(ACROSS);
    let cubes = CubeCount::Static(across, (m as u32).div_ceil(DOWN), batch as u32);
    // SAFETY: units beyond an image end at once; both have as many pixels, as the caller has seen to.
    unsafe {
        mask::launch_unchecked(
            &client,
            cubes,
            CubeDim::new_2d(ACROSS, DOWN),
            lanes,
            target.clone().into_buffer_arg(),
            change.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            n,
            BendLaunch::new(bend.target_logit, bend.scale),
            factor,
        );
    }
    out
}

pub(super) fn gathered(slope: CubeTensor, factor: usize, scale: f32) -> CubeTensor {
    let slope = into_contiguous(slope);
    let [batch, m, _] = slope.shape().dims::<3>();
    let n = m / factor;
    let shape = Shape::from([batch, n, n]);
    let (client, device) = (slope.client.clone(), slope.device.clone());
    let out = empty_device_contiguous_dtype(client.clone(), device, shape, DType::F32);
    let cubes = CubeCount::Static(((n * n) as u32).div_ceil(UNITS), batch as u32, 1);
    let own = lanes(factor);
    // SAFETY: units beyond an image end at once, and taps beyond it read its outermost pixels.
    unsafe {
        gather::launch_unchecked(
            &client,
            cubes,
            CubeDim::new_1d(UNITS),
            if own == factor { own } else { 1 },
            slope.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            n,
            scale,
            factor,
        );
    }
    out
}

/// Pixels side by side of a mask of `factor * n` pixels a side.
#[cube(launch_unchecked)]
fn mask<L: Size>(
    target: &[f32],
    change: &[f32],
    out: &mut [Vector<f32, L>],
    n: usize,
    bend: &Bend,
    #[comptime] factor: usize,
) {
    let lanes = L::value();
    let m = n * factor;
    let x = ABSOLUTE_POS_X as usize * lanes;
    let y = ABSOLUTE_POS_Y as usize;
    if x >= m || y >= m {
        terminate!();
    }
    let image = CUBE_POS_Z as usize;
    let (above, down) = mixed(y, n, factor);
    let from = image * n * n;
    let row = from + y / factor * n;
    let other = from + above * n;
    let own = x / factor;
    let own_column = column(target, change, row + own, other + own, down, bend);
    let mut made = Vector::<f32, L>::new(0.0);
    #[unroll]
    for i in 0..lanes {
        let (left, right) = mixed(x + i, n, factor);
        let beside = column(target, change, row + left, other + left, down, bend);
        let logit = own_column + (beside - own_column) * right;
        made.insert(i, 1.0 / (1.0 + (-logit).exp()));
    }
    out[(image * m + y) * (m / lanes) + x / lanes] = made;
}

/// The pixel beside that of an output along a side, which is repeated beyond the ends, and its share.
#[cube]
fn mixed(at: usize, n: usize, #[comptime] factor: usize) -> (usize, f32) {
    let own = at / factor;
    let offset = (f32::cast_from(at % factor) + 0.5) / f32::cast_from(factor) - 0.5;
    let before = select(own > 0, own - 1, 0);
    let after = select(own + 1 < n, own + 1, n - 1);
    (select(offset <= 0.0, before, after), offset.abs())
}

#[cube]
fn logit(target: &[f32], change: &[f32], at: usize, bend: &Bend) -> f32 {
    let own = (target[at] * 2.0 - 1.0) * bend.target_logit;
    (own + change[at]) * bend.scale
}

/// A pixel's logit mixed with that of another row.
#[cube]
fn column(
    target: &[f32],
    change: &[f32],
    own: usize,
    other: usize,
    share: f32,
    bend: &Bend,
) -> f32 {
    let own = logit(target, change, own, bend);
    own + (logit(target, change, other, bend) - own) * share
}

/// A pixel's gradient from those of the outputs that it has a share in: its own `factor` along a side, and half as many at either end. Where `factor` of
/// them are read at once, those at its ends are halves of the vectors beside its own.
#[cube(launch_unchecked)]
fn gather<L: Size>(
    slope: &[Vector<f32, L>],
    out: &mut [f32],
    n: usize,
    scale: f32,
    #[comptime] factor: usize,
) {
    let taps = comptime!(factor + factor / 2 * 2);
    let at = ABSOLUTE_POS_X as usize;
    if at >= n * n {
        terminate!();
    }
    let y = at / n;
    let x = at % n;
    let m = n * factor;
    let image = CUBE_POS_Y as usize;
    let mut shares = Array::<f32>::new(taps);
    #[unroll]
    for i in 0..taps {
        shares[i] = share(x, i, n, factor);
    }
    let mut sum = f32::new(0.0);
    for j in 0..taps {
        let row = image * m + output(y, j, n, factor);
        let line = shared_line(slope, row, x, n, &shares, factor);
        sum += line * share(y, j, n, factor);
    }
    out[image * n * n + at] = sum * scale;
}

/// What a pixel has of a row of outputs.
#[cube]
fn shared_line<L: Size>(
    slope: &[Vector<f32, L>],
    row: usize,
    x: usize,
    n: usize,
    shares: &Array<f32>,
    #[comptime] factor: usize,
) -> f32 {
    let lanes = L::value();
    let half = comptime!(factor / 2);
    let mut line = f32::new(0.0);
    if comptime!(lanes == factor && factor > 1) {
        let first = row * n;
        let before = slope[first + select(x > 0, x, 1) - 1];
        let own = slope[first + x];
        let after = slope[first + select(x + 1 < n, x + 1, x)];
        #[unroll]
        for i in 0..half {
            line += before.extract(comptime!(factor - half + i)) * shares[i];
        }
        #[unroll]
        for i in 0..factor {
            line += own.extract(i) * shares[comptime!(half + i)];
        }
        #[unroll]
        for i in 0..half {
            line += after.extract(i) * shares[comptime!(half + factor + i)];
        }
    } else {
        #[unroll]
        for i in 0..comptime!(factor + half * 2) {
            line += slope[row * n * factor + output(x, i, n, factor)].extract(0usize) * shares[i];
        }
    }
    line
}

/// The output at a tap of a pixel along a side, or the outermost one.
#[cube]
fn output(own: usize, tap: usize, n: usize, #[comptime] factor: usize) -> usize {
    let at = own * factor + tap;
    let at = select(at < comptime!(factor / 2), 0, at - comptime!(factor / 2));
    select(at < n * factor, at, n * factor - 1)
}

/// The share that a pixel has in the output at one of its taps, as [`mixed`] says; none beyond the ends.
#[cube]
fn share(own: usize, tap: usize, n: usize, #[comptime] factor: usize) -> f32 {
    let half = comptime!(factor / 2);
    let from = own * factor + tap;
    let inside = from >= half && from < n * factor + half;
    let at = output(own, tap, n, factor);
    let (beside, share) = mixed(at, n, factor);
    let none = f32::new(0.0);
    let as_own = select(at / factor == own, 1.0 - share, none);
    let as_beside = select(beside == own, share, none);
    select(inside, as_own + as_beside, none)
}
