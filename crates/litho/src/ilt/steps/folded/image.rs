//! Between the intensity at the coarse points and the rows of waves that `print` goes through.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]

use cubecl::prelude::*;

use super::fold::{Four, Two, walsh};
use crate::waves::CLASSES;

/// Pixels' columns that [`back`] has in shared memory at a time.
const BLOCK: usize = 32;

/// Quarter columns of a cube of [`spectrum`], and parts of the places of a cube of [`back`]: divisors of what is shared out.
pub(super) const fn share(places: usize) -> usize {
    match (places % 3, places % 2) {
        (0, _) => 3,
        (_, 0) => 2,
        _ => 1,
    }
}

#[cube]
fn walsh_four(four: Four) -> Four {
    let mut v = Array::<f32>::new(CLASSES);
    #[unroll]
    for i in 0..CLASSES {
        v[i] = four.extract(i);
    }
    walsh(&mut v, 0usize);
    let mut out = Four::new(v[0]);
    #[unroll]
    for i in 1..CLASSES {
        out.insert(i, v[i]);
    }
    out
}

/// The intensity folded along x, its spectrum along y: `[batch, 2, 8P, 4, 2P]`, from the powers of `groups` groups of fields,
/// `[batch, 2, groups, 8P, 2P]` fours. `collect` is `[2P, 8P]`. A cube has a share of the quarter columns and 8P units for each.
#[cube(launch_unchecked)]
pub(super) fn spectrum(
    power: &[Four],
    collect: &[f32],
    out: &mut [f32],
    groups: usize,
    #[comptime] places: usize,
) {
    let (quarter, side, width) = comptime!((2 * places, 2 * CLASSES * places, share(places)));
    let mut folded = Shared::<[Four]>::new_slice(comptime!(side * width));
    let unit = UNIT_POS as usize;
    let (row, column) = (unit / width, unit % width);
    let x = CUBE_POS_X as usize * width + column;
    let image = CUBE_POS_Z as usize * 2 + CUBE_POS_Y as usize;
    let from = (image * groups * side + row) * quarter + x;
    let mut sum = Four::new(0.0);
    for group in 0..groups {
        sum += power[from + group * comptime!(side * quarter)];
    }
    folded[unit] = walsh_four(sum);
    sync_cube();
    if unit < quarter * width {
        let at = unit / width * comptime!(CLASSES * width) + column;
        let (a, b) = (folded[at], folded[at + width]);
        let (c, d) = (folded[at + comptime!(2 * width)], folded[at + comptime!(3 * width)]);
        folded[at] = (a + b) + (c + d);
        folded[at + width] = (a - b) + (c - d);
        folded[at + comptime!(2 * width)] = (a + b) - (c + d);
        folded[at + comptime!(3 * width)] = (a - b) - (c - d);
    }
    sync_cube();
    let class = row / places % CLASSES;
    let mut sum = Four::new(0.0);
    #[unroll]
    for q in 0..quarter {
        let wave = collect[q * side + row];
        sum += folded[(CLASSES * q + class) * width + column] * Four::new(wave);
    }
    let to = (image * side + row) * side + x;
    #[unroll]
    for class in 0..CLASSES {
        out[to + class * quarter] = sum.extract(class);
    }
}

/// The adjoint of what `print` and [`spectrum`] do: twice the gradient by the intensity, folded along y,
/// `[batch, 2, 4, 2P, 2P]` fours, from the rows' gradients of `chunks` chunks, `[batch, 2, chunks, 4, 8P, n / 4]`.
/// `interpolate` is `[n / 4, 4, 2P]`, `collect` `[8P, 2P]`. A cube has a class of y and 8P units for each part of its places.
#[cube(launch_unchecked)]
pub(super) fn back(
    rows: &[f32],
    interpolate: &[f32],
    collect: &[f32],
    out: &mut [Four],
    n: usize,
    chunks: usize,
    #[comptime] places: usize,
) {
    let (quarter, side) = comptime!((2 * places, 2 * CLASSES * places));
    let mut slopes = Shared::<[Two]>::new_slice(comptime!(places * side));
    let unit = UNIT_POS as usize;
    let (x, part) = (unit % side, unit / side);
    let image = CUBE_POS_Z as usize * 2 + CUBE_POS_Y as usize;
    let sums = along_x(rows, interpolate, image, n, chunks, places);
    let count = comptime!(places / share(places));
    #[unroll]
    for i in 0..count {
        slopes[(part * count + i) * side + x] = sums[i];
    }
    sync_cube();
    let class = CUBE_POS_X as usize;
    let mut folded = Shared::<[f32]>::new_slice(comptime!(quarter * side));
    #[unroll]
    for i in 0..2 * count {
        let q = part * comptime!(2 * count) + i;
        let mut sum = f32::new(0.0);
        #[unroll]
        for place in 0..places {
            let slope = slopes[place * side + x];
            let at = (class * places + place) * quarter + q;
            sum += slope.extract(0usize) * collect[at];
            sum += slope.extract(1usize) * collect[at + comptime!(CLASSES * places * quarter)];
        }
        folded[q * side + x] = 2.0 * sum;
    }
    sync_cube();
    for i in range_stepped(unit, quarter * quarter, comptime!(share(places) * side)) {
        let at = i / quarter * side + i % quarter;
        let mut four = Four::new(folded[at]);
        #[unroll]
        for c in 1..CLASSES {
            four.insert(c, folded[at + c * quarter]);
        }
        out[(image * CLASSES + class) * comptime!(quarter * quarter) + i] = walsh_four(four);
    }
}

/// The rows' gradients at a coarse point of a class of x: those of a unit's part of the cube's places, in the first half and in
/// the second.
#[cube]
fn along_x(
    rows: &[f32],
    interpolate: &[f32],
    image: usize,
    n: usize,
    chunks: usize,
    #[comptime] places: usize,
) -> Array<Two> {
    let (side, units) = comptime!((2 * CLASSES * places, share(places) * 2 * CLASSES * places));
    let (count, stride) = comptime!((places / share(places), CLASSES * places + 1));
    let mut block = Shared::<[Two]>::new_slice(comptime!(BLOCK * stride));
    let mut table = Shared::<[f32]>::new_slice(comptime!(BLOCK * side));
    let unit = UNIT_POS as usize;
    let (x, part) = (unit % side, unit / side);
    let from = x / comptime!(2 * places) * places + part * count;
    let mut sums = Array::<Two>::new(count);
    #[unroll]
    for i in 0..count {
        sums[i] = Two::new(0.0);
    }
    let quarter = n / 4;
    let own = CUBE_POS_X as usize * places;
    for step in 0..quarter / BLOCK {
        sync_cube();
        for i in range_stepped(unit, CLASSES * places * BLOCK, units) {
            let (q, class_place) = (i % BLOCK, i / BLOCK);
            let (class, place) = (class_place / places, class_place % places);
            let mut pair = Two::new(0.0);
            for chunk in 0..chunks {
                let row = ((image * chunks + chunk) * CLASSES + class) * side + own + place;
                let at = row * quarter + step * BLOCK + q;
                let mut part = Two::new(rows[at]);
                part.insert(1usize, rows[at + comptime!(CLASSES * places) * quarter]);
                pair += part;
            }
            block[q * stride + class_place] = pair;
        }
        for i in range_stepped(unit, BLOCK * side, units) {
            table[i] = interpolate[step * comptime!(BLOCK * side) + i];
        }
        sync_cube();
        for q in 0..BLOCK {
            let weight = Two::new(table[q * side + x]);
            #[unroll]
            for i in 0..count {
                sums[i] += block[q * stride + from + i] * weight;
            }
        }
    }
    sums
}
