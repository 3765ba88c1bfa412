//! Three boxes along lines of pixels, and means of blocks.

use cubecl::prelude::*;

/// Lines that a cube has beside each other.
pub(super) const LINES: usize = 16;
/// Pixels of a line that a cube has in its memory …
const SEEN: usize = 128;
/// … and before and behind those that it writes: three boxes reach so far.
const AROUND: usize = 3 * super::MOST_REACH + 2;
/// Pixels of a line that a cube writes.
pub(super) const WRITTEN: usize = SEEN - 2 * AROUND;
/// Units of a cube, and pixels that each has in its memory.
pub(super) const UNITS: usize = 256;
const EACH: usize = LINES * SEEN / UNITS;

/// What pixels of a line become by three boxes, one after the other: sums. Along columns, where they are `down`, and then 1 where a sum is at
/// least half of what boxes in both directions have, else 0.
///
/// A cube has `LINES` lines beside each other, and `SEEN` pixels of each in its memory: units that follow each other have pixels that do so in the
/// image's memory. Cubes lie along x by lines, along y by pixels of them, along z by images.
#[cube(launch_unchecked)]
pub(super) fn three_boxes(
    image: &[f32],
    sums: &mut [f32],
    n: usize,
    reach: usize,
    half: f32,
    #[comptime] down: bool,
) {
    let start = CUBE_POS_Z as usize * n * n;
    let mut from = Shared::<[f32]>::new_slice(comptime!(LINES * SEEN));
    let mut to = Shared::<[f32]>::new_slice(comptime!(LINES * SEEN));
    let first_line = CUBE_POS_X as usize * LINES;
    // The place in memory of pixel p is p + AROUND further on.
    let first = CUBE_POS_Y as usize * WRITTEN;
    let step = comptime!(if down { LINES } else { 1usize });
    #[unroll]
    for k in 0..EACH {
        let at = UNIT_POS as usize + comptime!(k * UNITS);
        let (line, seen) = split(at, down);
        let place = first + seen;
        let mut value = 0.0f32;
        if first_line + line < n && place >= AROUND && place < n + AROUND {
            value = image[start + index(first_line + line, place - AROUND, n, down)];
        }
        from[at] = value;
    }
    sync_cube();
    #[unroll]
    for pass in 0..3usize {
        #[unroll]
        for k in 0..EACH {
            let at = UNIT_POS as usize + comptime!(k * UNITS);
            let (line, seen) = split(at, down);
            let place = first + seen;
            let mut sum = 0.0f32;
            // What lies beyond the border stays 0; what a box would need from outside of the memory is not written in the end.
            let inside = place >= AROUND && place < n + AROUND;
            if inside && seen >= reach && seen + reach < SEEN {
                for near in 0..2 * reach + 1 {
                    let other = at + near * step - reach * step;
                    if comptime!(pass == 1) {
                        sum += to[other];
                    } else {
                        sum += from[other];
                    }
                }
            }
            if comptime!(pass == 1) {
                from[at] = sum;
            } else {
                to[at] = sum;
            }
            let last = comptime!(pass == 2);
            let is_written = seen >= AROUND;
            let is_written = is_written && seen < AROUND + WRITTEN;
            if last && inside && is_written && first_line + line < n {
                let out = start + index(first_line + line, place - AROUND, n, down);
                if comptime!(down) {
                    sums[out] = select(sum >= half, 1.0f32, 0.0f32);
                } else {
                    sums[out] = sum;
                }
            }
        }
        sync_cube();
    }
}

/// The line and the pixel of it that a place in a cube's memory has.
#[cube]
fn split(at: usize, #[comptime] down: bool) -> (usize, usize) {
    if comptime!(down) { (at % LINES, at / LINES) } else { (at / SEEN, at % SEEN) }
}

/// A line's pixel in an image.
#[cube]
fn index(line: usize, pixel: usize, n: usize, #[comptime] down: bool) -> usize {
    if comptime!(down) { pixel * n + line } else { line * n + pixel }
}

/// Means of blocks: a unit has one. Images lie along y.
#[cube(launch_unchecked)]
pub(super) fn mean(image: &[f32], means: &mut [f32], columns: usize, factor: usize, count: usize) {
    let at = ABSOLUTE_POS_X as usize;
    if at >= count {
        terminate!();
    }
    let (row, column) = (at / columns, at % columns);
    let wide = columns * factor;
    let first = CUBE_POS_Y as usize * count * factor * factor + (row * wide + column) * factor;
    let mut sum = 0.0f32;
    for y in 0..factor {
        for x in 0..factor {
            sum += image[first + y * wide + x];
        }
    }
    means[CUBE_POS_Y as usize * count + at] = sum / f32::cast_from(factor * factor);
}
