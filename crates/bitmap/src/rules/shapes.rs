//! Shapes: touching pixels, corners included, as trees of runs.
//!
//! A run's node is half its first pixel's number, as two runs of a row never begin side by side. A node hangs on a lesser one, in
//! the end on the least of its shape, whichever of the units that join them comes first.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]

use cubecl::prelude::*;

use crate::scans::{after, before, end_of, first_of, starts};

/// The node of the run that a pixel of row `y` is in.
#[cube]
fn node_of(set: &[u32], image: usize, y: usize, pixel: u32, row: usize) -> u32 {
    y as u32 * (row as u32 * 16) + first_of(set, image + y * row, pixel) / 2
}

/// The node that a tree hangs on.
#[cube]
fn root(parents: &[Atomic<u32>], image: usize, node: u32) -> u32 {
    let mut at = node;
    let mut next = parents[image + at as usize].load();
    while next != at {
        at = next;
        next = parents[image + at as usize].load();
    }
    at
}

/// Makes one tree of two: the greater root hangs on the lesser. If it hung on another by then, those two are joined next.
#[cube]
fn joined(parents: &[Atomic<u32>], image: usize, first: u32, second: u32) {
    let mut a = first;
    let mut b = second;
    let mut apart = true;
    while apart {
        a = root(parents, image, a);
        b = root(parents, image, b);
        if a == b {
            apart = false;
        } else {
            let greater = select(a < b, b, a);
            let lesser = select(a < b, a, b);
            let before = parents[image + greater as usize].fetch_min(lesser);
            apart = before != greater;
            a = lesser;
            b = before;
        }
    }
}

/// Each run is a tree of its own, of no pixels.
#[cube(launch_unchecked)]
pub(super) fn begin(set: &[u32], parents: &mut [u32], areas: &mut [u32], count: usize, row: usize) {
    let at = ABSOLUTE_POS_X as usize;
    if at >= count {
        terminate!();
    }
    let batch = ABSOLUTE_POS_Y as usize;
    let mut left = starts(set, batch * count, at, row);
    while left != 0 {
        let node = at * 16 + left.trailing_zeros() as usize / 2;
        parents[batch * count * 16 + node] = node as u32;
        areas[batch * count * 16 + node] = 0;
        left &= left - 1;
    }
}

/// Joins the runs of a word with those that they touch in the row above.
#[cube(launch_unchecked)]
pub(super) fn join(set: &[u32], parents: &[Atomic<u32>], count: usize, row: usize) {
    let at = ABSOLUTE_POS_X as usize;
    if at >= count || at < row {
        terminate!();
    }
    let batch = ABSOLUTE_POS_Y as usize;
    let image = batch * count;
    let y = at / row;
    let x = at % row;
    let word = set[image + at];
    let above = set[image + at - row];
    let up_left = above << 1 | before(set, image, at - row, row);
    let up_right = above >> 1 | after(set, image, at - row, row);
    let straight = word & above;
    // One pixel of a stretch is enough; and where one touches straight, its corners touch the same run.
    let corners = word & !above;
    let mut touching = Array::<u32>::new(3usize);
    touching[0] = corners & up_left;
    touching[1] = straight & !(straight << 1);
    touching[2] = corners & up_right;
    for way in 0..3usize {
        let mut left = touching[way];
        while left != 0 {
            let pixel = x as u32 * 32 + left.trailing_zeros();
            let own = node_of(set, image, y, pixel, row);
            let other = node_of(set, image, y - 1, pixel + way as u32 - 1, row);
            joined(parents, image * 16, own, other);
            left &= left - 1;
        }
    }
}

/// Adds the runs' pixels to their roots', on which they hang from now on.
#[cube(launch_unchecked)]
pub(super) fn measure(
    set: &[u32],
    parents: &[Atomic<u32>],
    areas: &[Atomic<u32>],
    count: usize,
    row: usize,
) {
    let at = ABSOLUTE_POS_X as usize;
    if at >= count {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize * count;
    let from = image + at / row * row;
    let mut left = starts(set, image, at, row);
    while left != 0 {
        let bit = left.trailing_zeros();
        let pixel = (at % row) as u32 * 32 + bit;
        let node = at * 16 + bit as usize / 2;
        let root = root(parents, image * 16, node as u32);
        parents[image * 16 + node].store(root);
        let length = end_of(set, from, pixel, row) - pixel;
        areas[image * 16 + root as usize].fetch_add(length);
        left &= left - 1;
    }
}

/// The pixels of a word that are of shapes of at least `least` pixels.
#[cube(launch_unchecked)]
pub(super) fn large(
    set: &[u32],
    parents: &[u32],
    areas: &[u32],
    out: &mut [u32],
    count: usize,
    row: usize,
    least: u32,
) {
    let at = ABSOLUTE_POS_X as usize;
    if at >= count {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize * count;
    let (y, x) = (at / row, at % row);
    let mut left = set[image + at];
    let mut kept = 0u32;
    while left != 0 {
        let bit = left.trailing_zeros();
        // The carry runs through the piece of a run that begins here.
        let piece = left & !(left + (1u32 << bit));
        let node = node_of(set, image, y, x as u32 * 32 + bit, row);
        let root = parents[image * 16 + node as usize];
        if areas[image * 16 + root as usize] >= least {
            kept |= piece;
        }
        left &= !piece;
    }
    out[image + at] = kept;
}

/// Pixels of a word that are on the edge of their shape.
#[cube]
fn edge(set: &[u32], image: usize, at: usize, count: usize, row: usize) -> u32 {
    let word = set[image + at];
    let left = word << 1 | before(set, image, at, row);
    let right = word >> 1 | after(set, image, at, row);
    let mut above = 0u32;
    if at >= row {
        above = set[image + at - row];
    }
    let mut below = 0u32;
    if at + row < count {
        below = set[image + at + row];
    }
    word & !(left & right & above & below)
}

/// Marks the middle between two pixels: one pixel, or all that touch it.
#[cube]
fn mark(middle: &[Atomic<u32>], image: usize, row: usize, twice_x: u32, twice_y: u32) {
    for up in 0..2u32 {
        let x = (twice_x + up) / 2;
        let y = (twice_y + up) / 2;
        middle[image + y as usize * row + x as usize / 32].fetch_or(1u32 << (x % 32));
    }
}

/// Marks the middle between the edge's pixels of a word and pixels of other shapes that are a number of rows further down, and near
/// enough for the distance rule. A unit has a word and a number of rows, of which there are `rows`.
#[cube(launch_unchecked)]
pub(super) fn near(
    set: &[u32],
    parents: &[u32],
    reaches: &[u32],
    middle: &[Atomic<u32>],
    count: usize,
    row: usize,
    first: usize,
    rows: usize,
) {
    let at = ABSOLUTE_POS_X as usize % count;
    let down = ABSOLUTE_POS_X as usize / count;
    let y = at / row;
    if down >= rows || (y + down) * row >= count {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize * count;
    let reach = reaches[first + down];
    let from = image + (y + down) * row;
    let last = row as u32 * 32 - 1;
    let start = (at % row) as u32 * 32;
    let mut left = edge(set, image, at, count, row);
    // Run by run: nearly all that is near belongs to the run's own shape, and is then passed over at once.
    while left != 0 {
        let x = left.trailing_zeros();
        let length = (!(set[image + at] >> x)).trailing_zeros();
        let run = select(x + length >= 32, u32::MAX, (1u32 << (x + length)) - 1);
        let pixels = left & run;
        left &= !run;
        let own = parents[image * 16 + node_of(set, image, y, start + x, row) as usize];
        let farthest = start + 31 - pixels.leading_zeros() + reach;
        let most = select(farthest < last, farthest, last);
        let least = select(start + x > reach, start + x - reach, 0u32);
        let mut other = select(down == 0, start + x + 1, least);
        while other <= most {
            let bits = set[from + other as usize / 32] >> (other % 32);
            if bits == 0 {
                other = (other / 32 + 1) * 32;
            } else {
                other += bits.trailing_zeros();
                if other <= most {
                    let node = node_of(set, image, y + down, other, row);
                    let end = end_of(set, from, other, row);
                    if parents[image * 16 + node as usize] != own {
                        between(middle, image, row, y, down, start, pixels, reach, other, end);
                    }
                    other = end;
                }
            }
        }
    }
}

/// Marks the middle between each of a word's `pixels` and pixels `other..end` of a row that is `down` rows further, as far as they are
/// near enough; of the same row only what is right of the pixel.
#[cube]
fn between(
    middle: &[Atomic<u32>],
    image: usize,
    row: usize,
    y: usize,
    down: usize,
    start: u32,
    pixels: u32,
    reach: u32,
    other: u32,
    end: u32,
) {
    let mut left = pixels;
    while left != 0 {
        let x = start + left.trailing_zeros();
        left &= left - 1;
        let least = select(down == 0, x + 1, select(x > reach, x - reach, 0u32));
        let from = select(other > least, other, least);
        let to = select(end < x + reach + 1, end, x + reach + 1);
        for pixel in from..to {
            mark(middle, image, row, x + pixel, (2 * y + down) as u32);
        }
    }
}
