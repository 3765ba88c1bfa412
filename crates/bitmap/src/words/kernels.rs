//! The kernels: `X` runs over an image's units, `Y` over images, of which each has `count` units.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]

use cubecl::prelude::*;

/// Four pixels, read at once.
type Four = Vector<f32, Const<4>>;

/// A word of 32 pixels: those that are at least `threshold`.
#[cube(launch_unchecked)]
pub(super) fn pack(image: &[Four], words: &mut [u32], count: usize, threshold: f32) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    let at = ABSOLUTE_POS_Y as usize * count + unit;
    let mut word = 0u32;
    #[unroll]
    for k in 0..8usize {
        let four = image[at * 8 + k];
        #[unroll]
        for i in 0..4usize {
            word |= select(four.extract(i) >= threshold, 1u32 << (4 * k + i) as u32, 0u32);
        }
    }
    words[at] = word;
}

/// Four pixels of a word, 0 or 1.
#[cube(launch_unchecked)]
pub(super) fn unpack(words: &[u32], image: &mut [Four], count: usize) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    let at = ABSOLUTE_POS_Y as usize * count + unit;
    let bits = words[at / 8] >> (at as u32 % 8 * 4);
    let mut four = Four::new(0.0);
    #[unroll]
    for i in 0..4usize {
        four.insert(i, select((bits >> i as u32) & 1 == 1, f32::new(1.0), f32::new(0.0)));
    }
    image[at] = four;
}

/// Two words as one, after and before flips.
#[cube(launch_unchecked)]
pub(super) fn joined(
    a: &[u32],
    b: &[u32],
    out: &mut [u32],
    count: usize,
    flip_a: u32,
    flip_b: u32,
    flip_out: u32,
) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    let at = ABSOLUTE_POS_Y as usize * count + unit;
    out[at] = ((a[at] ^ flip_a) & (b[at] ^ flip_b)) ^ flip_out;
}

/// A word of b where the image's choice is 1, else of a.
#[cube(launch_unchecked)]
pub(super) fn chosen(a: &[u32], b: &[u32], which: &[u32], out: &mut [u32], count: usize) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize;
    let at = image * count + unit;
    out[at] = select(which[image] == 1, b[at], a[at]);
}

/// A word of a square of `row` words a row, which begins at word `first` of an image of `image` words, `stride` a row.
#[cube(launch_unchecked)]
pub(super) fn square(
    words: &[u32],
    out: &mut [u32],
    count: usize,
    row: usize,
    stride: usize,
    image: usize,
    first: usize,
) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    let batch = ABSOLUTE_POS_Y as usize;
    let from = batch * image + first + unit / row * stride + unit % row;
    out[batch * count + unit] = words[from];
}

/// Adds the set pixels of a row to its image's.
#[cube(launch_unchecked)]
pub(super) fn count(words: &[u32], pixels: &[Atomic<i32>], rows: usize, row: usize) {
    let y = ABSOLUTE_POS_X as usize;
    if y >= rows {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize;
    let mut sum = 0u32;
    for x in 0..row {
        sum += words[(image * rows + y) * row + x].count_ones();
    }
    pixels[image].fetch_add(sum as i32);
}
