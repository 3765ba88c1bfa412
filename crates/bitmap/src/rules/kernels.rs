//! Disks, and what a round changed. `X` runs over an image's words, `Y` over images.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]

use cubecl::prelude::*;

use super::Phase;

/// Rows of an image, and words of a row.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct Frame {
    pub(super) rows: i32,
    pub(super) row: i32,
}

/// Three words of a row side by side.
#[derive(CubeType, Clone, Copy)]
struct Three {
    left: u32,
    own: u32,
    right: u32,
}

/// The word in row `y`, turned round by `flip`; dark beyond the image.
#[cube]
fn word(from: &[u32], image: usize, frame: &Frame, y: i32, x: i32, flip: u32) -> u32 {
    let mut word = flip;
    if y >= 0 && y < frame.rows && x >= 0 && x < frame.row {
        word = from[image + (y * frame.row + x) as usize] ^ flip;
    }
    word
}

/// What a disk covers around a set, or of its rest: its runs get shorter outwards, so each row is grown by what its run is longer
/// than the next one's, together with those nearer to the middle. Three words are grown; the one in the middle is right as long as
/// the longest half of a run, [`super::Rules::fits`], is shorter than a word.
///
/// `first` and `reach` are a disk in the table of `halves`; the output's first word is `down` rows and `right` words from the
/// input's; words are flipped `before` and `after`.
#[cube(launch_unchecked)]
pub(super) fn grown(
    from: &[u32],
    halves: &[u32],
    out: &mut [u32],
    inner: Frame,
    outer: Frame,
    down: i32,
    right: i32,
    first: usize,
    reach: usize,
    before: u32,
    after: u32,
) {
    let unit = ABSOLUTE_POS_X as i32;
    if unit >= outer.rows * outer.row {
        terminate!();
    }
    let batch = ABSOLUTE_POS_Y as usize;
    let image = batch * (inner.rows * inner.row) as usize;
    let y = unit / outer.row + down;
    let x = unit % outer.row + right;
    let mut three = Three {
        left: word(from, image, &inner, y, x - 1, before),
        own: word(from, image, &inner, y, x, before),
        right: word(from, image, &inner, y, x + 1, before),
    };
    for dy in 0..reach {
        let by = halves[first + dy] - halves[first + dy + 1];
        widen(&mut three, by);
        let above = y - dy as i32 - 1;
        let below = y + dy as i32 + 1;
        three.left |= word(from, image, &inner, above, x - 1, before)
            | word(from, image, &inner, below, x - 1, before);
        three.own |= word(from, image, &inner, above, x, before)
            | word(from, image, &inner, below, x, before);
        three.right |= word(from, image, &inner, above, x + 1, before)
            | word(from, image, &inner, below, x + 1, before);
    }
    let last = halves[first + reach];
    widen(&mut three, last);
    out[batch * (outer.rows * outer.row) as usize + unit as usize] = three.own ^ after;
}

/// Grows three words to either side.
#[cube]
fn widen(three: &mut Three, by: u32) {
    for _ in 0..by {
        let left = three.left | three.left << 1 | three.left >> 1 | three.own << 31;
        let beside = three.left >> 31 | three.right << 31;
        let own = three.own | three.own << 1 | three.own >> 1 | beside;
        let right = three.right | three.right << 1 | three.right >> 1 | three.own >> 31;
        three.left = left;
        three.own = own;
        three.right = right;
    }
}

/// What a round leaves of a mask: large shapes without what is between near ones. A mask that is done stays.
#[cube(launch_unchecked)]
pub(super) fn settle(
    mask: &[u32],
    large: &[u32],
    between: &[u32],
    phases: &[u32],
    out: &mut [u32],
    changed: &[Atomic<u32>],
    count: usize,
) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize;
    let at = image * count + unit;
    let done = phases[image] == comptime!(Phase::Done as u32);
    let word = select(done, mask[at], large[at] & !between[at]);
    if word != mask[at] {
        changed[image].fetch_or(1u32);
    }
    out[at] = word;
}

/// Tells of an image that it has a pixel.
#[cube(launch_unchecked)]
pub(super) fn look(set: &[u32], found: &[Atomic<u32>], count: usize) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    let image = ABSOLUTE_POS_Y as usize;
    if set[image * count + unit] != 0 {
        found[image].fetch_or(1u32);
    }
}
