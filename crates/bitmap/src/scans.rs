//! Pixels beside a word, and runs of set pixels in a row. An image begins at word `image` and has `row` words a row.

use cubecl::prelude::*;

/// The pixel before a word, as its least bit.
#[cube]
pub(crate) fn before(set: &[u32], image: usize, at: usize, row: usize) -> u32 {
    let x = at % row;
    let mut bit = 0u32;
    if x > 0 {
        bit = set[image + at - 1] >> 31;
    }
    bit
}

/// The pixel after a word, as its greatest bit.
#[cube]
pub(crate) fn after(set: &[u32], image: usize, at: usize, row: usize) -> u32 {
    let mut bit = 0u32;
    if at % row + 1 < row {
        bit = set[image + at + 1] << 31;
    }
    bit
}

/// Pixels of a word before which it is dark.
#[cube]
pub(crate) fn starts(set: &[u32], image: usize, at: usize, row: usize) -> u32 {
    let word = set[image + at];
    word & !(word << 1 | before(set, image, at, row))
}

/// The first pixel of the run that a pixel is in, both counted in the row whose first word is `from`.
#[cube]
pub(crate) fn first_of(set: &[u32], from: usize, pixel: u32) -> u32 {
    let mut at = pixel / 32;
    let mut dark = !set[from + at as usize] & ((1u32 << (pixel % 32)) - 1);
    while dark == 0 && at > 0 {
        at -= 1;
        dark = !set[from + at as usize];
    }
    select(dark == 0, 0u32, at * 32 + 32 - dark.leading_zeros())
}

/// The pixel after the run that a pixel is in.
#[cube]
pub(crate) fn end_of(set: &[u32], from: usize, pixel: u32, row: usize) -> u32 {
    let last = row as u32 - 1;
    let mut at = pixel / 32;
    let mut dark = !set[from + at as usize] & !((1u32 << (pixel % 32)) - 1);
    while dark == 0 && at < last {
        at += 1;
        dark = !set[from + at as usize];
    }
    select(dark == 0, last * 32 + 32, at * 32 + dark.trailing_zeros())
}
