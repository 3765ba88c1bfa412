//! The kernels: what is asked of an image, pixel by pixel.

use cubecl::prelude::*;

use crate::adjoints::sums::{
    SplitSizes, folded_row, leave_part, split_total, walk_begin, walk_step,
};
use crate::adjoints::{UNITS, thin_value};

/// A change in an image's precision, where its ReLU let it through.
#[cube]
fn let_through<F: Float, N: Size>(
    image: Vector<f32, N>,
    change: Vector<f32, N>,
    #[comptime] relu: bool,
) -> Vector<F, N> {
    let zero = Vector::<f32, N>::new(0.0);
    let passed =
        if comptime!(relu) { select_many(image.greater_than(&zero), change, zero) } else { change };
    Vector::cast_from(passed)
}

/// Writes what is let through at a place, and returns that as it is written.
#[cube]
fn written<F: Float, N: Size>(
    out: &mut [Vector<F, N>],
    at: usize,
    image: Vector<f32, N>,
    change: Vector<f32, N>,
    #[comptime] relu: bool,
) -> Vector<f32, N> {
    let passed = let_through::<F, N>(image, change, relu);
    out[at] = passed;
    Vector::cast_from(passed)
}

#[cube(launch_unchecked)]
pub(super) fn gather_plain<F: Float, N: Size>(
    image: &[Vector<F, N>],
    first: &[Vector<F, N>],
    second: &[Vector<F, N>],
    out: &mut [Vector<F, N>],
    count: usize,
    #[comptime] two: bool,
    #[comptime] relu: bool,
    #[define(F)] _element: ElemType,
) {
    let at = ABSOLUTE_POS_X as usize;
    if at >= count {
        terminate!();
    }
    let mut change = Vector::<f32, N>::cast_from(first[at]);
    if comptime!(two) {
        change += Vector::<f32, N>::cast_from(second[at]);
    }
    out[at] = let_through::<F, N>(Vector::cast_from(image[at]), change, relu);
}

/// A cube has 32 channels and a part of the pixels, which are walked as `sums::channel_sums` does. Cubes beyond those add up the splits of a weight
/// gradient: what one launch does takes less time than two do, one after the other.
#[cube(launch_unchecked)]
pub(super) fn gather_and_sum<F: Float, N: Size, G: Float>(
    image: &[Vector<F, N>],
    first: &[Vector<F, N>],
    second: &[Vector<F, N>],
    out: &mut [Vector<F, N>],
    sums: &mut [Vector<f32, N>],
    splits: &[f32],
    gradient: &mut [G],
    pixels: usize,
    width: usize,
    parts: usize,
    groups: usize,
    sizes: &SplitSizes,
    #[comptime] own_groups: usize,
    #[comptime] two: bool,
    #[comptime] relu: bool,
    #[comptime] folded: bool,
    #[define(F)] _element: ElemType,
    #[define(G)] _summed: ElemType,
) {
    if CUBE_POS_X as usize >= parts {
        let row = (CUBE_POS_X as usize - parts) * CUBE_COUNT_Y as usize + CUBE_POS_Y as usize;
        let cube = row * CUBE_COUNT_Z as usize + CUBE_POS_Z as usize;
        let unit = cube * comptime!(UNITS as usize) + UNIT_POS as usize;
        split_total(splits, gradient, unit, sizes);
    } else {
        let (group, start) = walk_begin(own_groups);
        let mut sum = Vector::<f32, N>::new(0.0);
        let mut pixel = start;
        while pixel < pixels {
            let at = folded_row(pixel, width, folded) * groups + group;
            let mut change = Vector::<f32, N>::cast_from(first[at]);
            if comptime!(two) {
                change += Vector::<f32, N>::cast_from(second[at]);
            }
            sum += written::<F, N>(out, at, Vector::cast_from(image[at]), change, relu);
            pixel += walk_step(parts, own_groups);
        }
        leave_part(sum, sums, group, groups, own_groups, folded);
    }
}

/// A square of two by two pixels at a time; what is asked of the largest goes to the first that is as large. Cubes walk the squares as
/// `sums::channel_sums` does pixels.
#[cube(launch_unchecked)]
pub(super) fn gather_pooled<F: Float, N: Size>(
    image: &[Vector<F, N>],
    request: &[Vector<F, N>],
    own: &[Vector<F, N>],
    out: &mut [Vector<F, N>],
    sums: &mut [Vector<f32, N>],
    squares: usize,
    width: usize,
    parts: usize,
    groups: usize,
    #[comptime] own_groups: usize,
    #[comptime] has_own: bool,
    #[comptime] relu: bool,
    #[comptime] summed: bool,
    #[define(F)] _element: ElemType,
) {
    let (group, start) = walk_begin(own_groups);
    let zero = Vector::<f32, N>::new(0.0);
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut square = start;
    while square < squares {
        let line = square / (width / 2);
        let first = (line * 2 * width + square % (width / 2) * 2) * groups + group;
        let mut seen = Array::<Vector<f32, N>>::new(4usize);
        #[unroll]
        for i in 0..4usize {
            seen[i] = Vector::cast_from(image[first + (i / 2 * width + i % 2) * groups]);
        }
        let mut largest = seen[0];
        #[unroll]
        for i in 1..4usize {
            largest = select_many(seen[i].greater_than(&largest), seen[i], largest);
        }
        let mut left = Vector::<f32, N>::cast_from(request[square * groups + group]);
        #[unroll]
        for i in 0..4usize {
            let mut change = select_many(seen[i].equal(&largest), left, zero);
            left -= change;
            let at = first + (i / 2 * width + i % 2) * groups;
            if comptime!(has_own) {
                change += Vector::<f32, N>::cast_from(own[at]);
            }
            sum += written::<F, N>(out, at, seen[i], change, relu);
        }
        square += walk_step(parts, own_groups);
    }
    leave_sum(sum, sums, group, groups, own_groups, summed);
}

/// Leaves the sum of a cube's pixels where the parts of all are, if it is asked for.
#[cube]
fn leave_sum<N: Size>(
    own: Vector<f32, N>,
    sums: &mut [Vector<f32, N>],
    group: usize,
    groups: usize,
    #[comptime] own_groups: usize,
    #[comptime] summed: bool,
) {
    if comptime!(summed) {
        leave_part(own, sums, group, groups, own_groups, false);
    }
}

/// A pixel's share in the four outputs beside it along a side of `n` pixels, and the first of those: outputs `2k - 1` to `2k + 2`, of which output
/// `2k` lies `k / (2n - 1)` before pixel `k`, and output `2k + 1` lies `(n - 1 - k) / (2n - 1)` behind it.
#[cube]
fn shares(k: usize, n: usize) -> Array<f32> {
    let unit = f32::new(1.0) / f32::cast_from(2 * n - 1);
    let mut shares = Array::<f32>::new(4usize);
    shares[0] = select(k > 0, f32::cast_from(n - k) * unit, f32::new(0.0));
    shares[1] = f32::new(1.0) - f32::cast_from(k) * unit;
    shares[2] = f32::new(1.0) - f32::cast_from(n - 1 - k) * unit;
    shares[3] = select(k + 1 < n, f32::cast_from(k + 1) * unit, f32::new(0.0));
    shares
}

/// Output `2k - 1 + i`, or one inside where that is outside, whose share is zero.
#[cube]
fn output_beside(k: usize, i: usize, n: usize) -> usize {
    let at = select(2 * k + i > 0, 2 * k + i, 1) - 1;
    select(at < 2 * n, at, 2 * n - 1)
}

/// The adjoint of doubling: a pixel reads the sixteen that it had a share in. Walked as in [`gather_pooled`].
#[cube(launch_unchecked)]
pub(super) fn gather_doubled<F: Float, N: Size>(
    image: &[Vector<F, N>],
    request: &[Vector<F, N>],
    out: &mut [Vector<F, N>],
    sums: &mut [Vector<f32, N>],
    pixels: usize,
    height: usize,
    width: usize,
    parts: usize,
    groups: usize,
    #[comptime] own_groups: usize,
    #[comptime] relu: bool,
    #[comptime] summed: bool,
    #[define(F)] _element: ElemType,
) {
    let (group, start) = walk_begin(own_groups);
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut pixel = start;
    while pixel < pixels {
        let (x, line) = (pixel % width, pixel / width);
        let y = line % height;
        let first = line / height * 4 * height * width;
        let down = shares(y, height);
        let across = shares(x, width);
        let mut change = Vector::<f32, N>::new(0.0);
        #[unroll]
        for i in 0..4usize {
            let row = first + output_beside(y, i, height) * 2 * width;
            let mut of_row = Vector::<f32, N>::new(0.0);
            #[unroll]
            for j in 0..4usize {
                let at = (row + output_beside(x, j, width)) * groups + group;
                of_row += Vector::<f32, N>::cast_from(request[at]) * Vector::new(across[j]);
            }
            change += of_row * Vector::new(down[i]);
        }
        let at = pixel * groups + group;
        sum += written::<F, N>(out, at, Vector::cast_from(image[at]), change, relu);
        pixel += walk_step(parts, own_groups);
    }
    leave_sum(sum, sums, group, groups, own_groups, summed);
}

/// The adjoint of the last convolution: a pixel reads the logits that saw it. Walked as in [`gather_pooled`].
#[cube(launch_unchecked)]
pub(super) fn gather_thin<F: Float, N: Size>(
    image: &[Vector<F, N>],
    weights: &[Vector<f32, N>],
    gradient: &[f32],
    out: &mut [Vector<F, N>],
    sums: &mut [Vector<f32, N>],
    weight: usize,
    pixels: usize,
    height: usize,
    width: usize,
    parts: usize,
    groups: usize,
    #[comptime] own_groups: usize,
    #[comptime] side: usize,
    #[comptime] few: usize,
    #[comptime] relu: bool,
    #[comptime] summed: bool,
    #[define(F)] _element: ElemType,
) {
    let (group, start) = walk_begin(own_groups);
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut pixel = start;
    while pixel < pixels {
        let (x, line) = (pixel % width, pixel / width);
        let (y, picture) = (line % height, line / height);
        let mut change = Vector::<f32, N>::new(0.0);
        // Not unrolled: weights of all taps would be kept for the next pixel, which there are not enough registers for.
        for tap in 0..comptime!(side * side) {
            // Who sees this pixel through a tap is the other way.
            let (row, column) = (side - 1 - tap / side, side - 1 - tap % side);
            #[unroll]
            for which in 0..few {
                let slope = thin_value(
                    gradient, picture, y, x, row, column, which, height, width, side, few,
                );
                let own = weights[weight + (which * side * side + tap) * groups + group];
                change += own * Vector::new(slope);
            }
        }
        let at = pixel * groups + group;
        sum += written::<F, N>(out, at, Vector::cast_from(image[at]), change, relu);
        pixel += walk_step(parts, own_groups);
    }
    leave_sum(sum, sums, group, groups, own_groups, summed);
}
