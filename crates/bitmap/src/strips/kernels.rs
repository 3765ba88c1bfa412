//! The kernels: `X` runs over an image's words, `Y` over images, of which each has `count` words in rows of `row`.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]

use cubecl::prelude::*;

use crate::scans::{after, before, end_of, starts};

/// Pixels of a word with both neighbours in the row.
#[cube]
fn inner(set: &[u32], image: usize, at: usize, row: usize) -> u32 {
    let word = set[image + at];
    let left = word << 1 | before(set, image, at, row);
    let right = word >> 1 | after(set, image, at, row);
    word & left & right
}

/// Pixels of a word that have a neighbour outside, corners included.
#[cube(launch_unchecked)]
pub(super) fn edge(set: &[u32], out: &mut [u32], count: usize, row: usize) {
    let at = ABSOLUTE_POS_X as usize;
    if at >= count {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize * count;
    let mut around = 0u32;
    if at >= row && at + row < count {
        around = inner(set, image, at - row, row)
            & inner(set, image, at, row)
            & inner(set, image, at + row, row);
    }
    out[image + at] = set[image + at] & !around;
}

/// Pixels of a word that have not two above and below.
#[cube(launch_unchecked)]
pub(super) fn thin(set: &[u32], out: &mut [u32], count: usize, row: usize) {
    let at = ABSOLUTE_POS_X as usize;
    if at >= count {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize * count;
    let mut both = 0u32;
    if at >= row && at + row < count {
        both = set[image + at - row] & set[image + at + row];
    }
    out[image + at] = set[image + at] & !both;
}

/// Rows of the output are columns of the input, of `n` pixels. Units side by side have a word from rows side by side.
#[cube(launch_unchecked)]
pub(super) fn transpose(set: &[u32], out: &mut [u32], n: usize) {
    let unit = ABSOLUTE_POS_X as usize;
    let row = n / 32;
    if unit >= n * row {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize * n * row;
    let (x, at) = (unit % n, unit / n);
    let mut word = 0u32;
    for k in 0..32usize {
        let bits = set[image + (at * 32 + k) * row + x / 32];
        word |= ((bits >> (x as u32 % 32)) & 1) << k as u32;
    }
    out[image + x * row + at] = word;
}

/// [`super::Marks`] of a kernel.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct Places {
    pub(super) along: u32,
    pub(super) least: u32,
    pub(super) most: u32,
    pub(super) step: u32,
    pub(super) short: u32,
}

/// Marks around the sites of the runs that begin in a word.
#[cube(launch_unchecked)]
pub(super) fn mark(
    target: &[u32],
    runs: &[u32],
    marks: &[Atomic<u32>],
    count: usize,
    row: usize,
    places: Places,
) {
    let at = ABSOLUTE_POS_X as usize;
    if at >= count {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize * count;
    let y = at / row;
    let mut left = starts(runs, image, at, row);
    while left != 0 {
        let start = (at % row) as u32 * 32 + left.trailing_zeros();
        left &= left - 1;
        let end = end_of(runs, image + y * row, start, row) - 1;
        let middle = (start + end) / 2;
        let short = end - start <= places.short;
        let first = select(short, middle, start + places.step);
        // On one or two pixels, which are corners, there are no sites.
        if end - start > 1 && first <= middle && on_a_side(target, image, y, first, count, row) {
            let mut site = first;
            while site <= middle {
                rectangles(marks, image, y, site, row, &places);
                site += places.step;
            }
            let mut further = places.step;
            while !short && further < end - middle {
                rectangles(marks, image, y, end - further, row, &places);
                further += places.step;
            }
        }
    }
}

/// Whether the target ends above or below a pixel.
#[cube]
fn on_a_side(target: &[u32], image: usize, y: usize, x: u32, count: usize, row: usize) -> bool {
    let at = y * row + x as usize / 32;
    let mut both = 0u32;
    if at >= row && at + row < count {
        both = target[image + at - row] & target[image + at + row];
    }
    (both >> (x % 32)) & 1 == 0
}

/// Marks the rows above and below a site.
#[cube]
fn rectangles(marks: &[Atomic<u32>], image: usize, y: usize, x: u32, row: usize, places: &Places) {
    let last = row as u32 * 32 - 1;
    let from = select(x > places.along, x - places.along, 0u32);
    let to = select(x + places.along < last, x + places.along, last);
    let rows = row * 32;
    for depth in places.least..places.most + 1 {
        let depth = depth as usize;
        if depth <= y {
            line(marks, image + (y - depth) * row, from, to);
        }
        if y + depth < rows {
            line(marks, image + (y + depth) * row, from, to);
        }
    }
}

/// Marks pixels of a row, both ends included.
#[cube]
fn line(marks: &[Atomic<u32>], row: usize, from: u32, to: u32) {
    for word in from / 32..to / 32 + 1 {
        let low = select(word == from / 32, from % 32, 0u32);
        let high = select(word == to / 32, to % 32, 31u32);
        let bits = (u32::MAX << low) & (u32::MAX >> (31 - high));
        marks[row + word as usize].fetch_or(bits);
    }
}
