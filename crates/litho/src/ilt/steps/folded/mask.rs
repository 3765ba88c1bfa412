//! From the mask to its spectrum, and back from the spectrum's gradient to the mask's.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]
#![allow(clippy::manual_div_ceil, reason = "kernels know no div_ceil")]

use cubecl::prelude::*;

use super::fold::{
    Exchange, Four, Two, apart, mirrored, mirrored_by, signs, stage, walsh, walsh_two,
};
use crate::waves::CLASSES;

/// Units of a cube in these kernels.
pub(super) const UNITS: usize = 64;
/// Quarter columns of a cube of [`gradient`]: a class of two takes a unit.
pub(super) const COLUMNS: usize = 2 * UNITS / CLASSES;
/// Rows of a table that are in shared memory at a time.
const STAGE: usize = 16;
/// Quarter columns that [`spectrum`] folds at a time.
const BLOCK: usize = 64;
/// Parts of a sum along x that go on beside each other.
pub(super) const PARTS: usize = 4;

/// Pairs of columns at the four mirrors of a quarter row.
#[cube]
fn pairs(mask: &[Two], at: usize, q: usize, n: usize) -> Array<Two> {
    let mut pairs = Array::<Two>::new(CLASSES);
    #[unroll]
    for mirror in 0..CLASSES {
        pairs[mirror] = mask[at + mirrored(q, n, mirror) * (n / 2)];
    }
    pairs
}

/// Columns of the mask by the rows' waves: `[batch, chunks, 4P, n]`, of a chunk's `rows` quarter rows. A unit has two columns.
#[cube(launch_unchecked)]
pub(super) fn transform(
    mask: &[Two],
    waves: &[Four],
    out: &mut [Two],
    n: usize,
    rows: usize,
    #[comptime] places: usize,
) {
    let mut table = Shared::<[Four]>::new_slice(comptime!(STAGE * places));
    let x = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
    let image = CUBE_POS_Z as usize * n * (n / 2);
    let mut sums = Array::<Two>::new(comptime!(CLASSES * places));
    #[unroll]
    for place in 0..CLASSES * places {
        sums[place] = Two::new(0.0);
    }
    let first = CUBE_POS_Y as usize * rows;
    let mut next = pairs(mask, image + x, first, n);
    for step in 0..(rows + STAGE - 1) / STAGE {
        let base = step * STAGE;
        let count = select(rows - base < STAGE, rows - base, STAGE);
        stage(&mut table, waves, (first + base) * places, count * places, UNITS);
        for r in 0..count {
            let mut open = Array::<Two>::new(CLASSES);
            #[unroll]
            for mirror in 0..CLASSES {
                open[mirror] = next[mirror];
            }
            let after = select(base + r + 1 < rows, base + r + 1, base + r);
            next = pairs(mask, image + x, first + after, n);
            walsh_two(&mut open, 0usize);
            #[unroll]
            for quad in 0..places {
                let wave = table[r * places + quad];
                #[unroll]
                for i in 0..4usize {
                    let place = comptime!(4 * quad + i);
                    if comptime!(place != places) {
                        sums[place] += open[comptime!(place / places)] * Two::new(wave.extract(i));
                    }
                }
            }
        }
    }
    let chunk = CUBE_POS_Z as usize * CUBE_COUNT_Y as usize + CUBE_POS_Y as usize;
    let to = chunk * comptime!(CLASSES * places) * (n / 2) + x;
    #[unroll]
    for place in 0..CLASSES * places {
        out[to + place * (n / 2)] = sums[place];
    }
}

/// The mask's spectrum, `[batch, 4P, 4P]`, from the parts that [`transform`] made. A cube has a row of it and 16P units:
/// `PARTS` parts of every sum.
#[cube(launch_unchecked)]
pub(super) fn spectrum(
    columns: &[f32],
    waves: &[f32],
    out: &mut [f32],
    n: usize,
    chunks: usize,
    #[comptime] places: usize,
) {
    let all = comptime!(CLASSES * places);
    let mut folded = Shared::<[f32]>::new_slice(comptime!(CLASSES * BLOCK));
    let mut parts = Shared::<[f32]>::new_slice(comptime!(PARTS * all));
    let unit = UNIT_POS as usize;
    let (part, place) = (unit / all, unit % all);
    let (row, batch) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let class = place / places * BLOCK + part * comptime!(BLOCK / PARTS);
    let mut sum = f32::new(0.0);
    for block in 0..n / 4 / BLOCK {
        sync_cube();
        for q in range_stepped(unit, BLOCK, PARTS * all) {
            let mut v = Array::<f32>::new(CLASSES);
            #[unroll]
            for mirror in 0..CLASSES {
                let x = mirrored(block * BLOCK + q, n, mirror);
                v[mirror] = 0.0;
                for chunk in 0..chunks {
                    v[mirror] += columns[((batch * chunks + chunk) * all + row) * n + x];
                }
            }
            walsh(&mut v, 0usize);
            #[unroll]
            for c in 0..CLASSES {
                folded[c * BLOCK + q] = v[c];
            }
        }
        sync_cube();
        let from = (block * BLOCK + part * comptime!(BLOCK / PARTS)) * all + place;
        #[unroll]
        for q in 0..BLOCK / PARTS {
            sum += folded[class + q] * waves[from + q * all];
        }
    }
    parts[unit] = sum;
    sync_cube();
    if unit < all {
        let mut sum = f32::new(0.0);
        #[unroll]
        for part in 0..PARTS {
            sum += parts[part * all + unit];
        }
        out[(batch * all + row) * all + unit] = sum;
    }
}

/// The spectrum's gradient, `[batch, 4P, 4P]`, from that by each of `groups` groups of fields.
#[cube(launch_unchecked)]
pub(super) fn gather(parts: &[f32], out: &mut [f32], groups: usize, #[comptime] places: usize) {
    let area = comptime!(CLASSES * places * CLASSES * places);
    let at = ABSOLUTE_POS_X as usize;
    if at < area {
        let batch = CUBE_POS_Y as usize;
        let mut sum = f32::new(0.0);
        for group in 0..groups {
            sum += parts[(batch * groups + group) * area + at];
        }
        out[batch * area + at] = sum;
    }
}

/// The gradient of the smoothed parameters, `[batch, n, n]`: the spectrum's unfolded to pixels, with the price of grey ones,
/// through the slope of the mask's sigmoid. A cube has `UNITS / 2` quarter columns and `rows` quarter rows; a unit has
/// two of the columns, of which it sums one class along x and then has one mirror. `waves_x` are `waves`.
#[cube(launch_unchecked)]
pub(super) fn gradient(
    spectrum: &[f32],
    waves_x: &[f32],
    waves: &[Four],
    mask: &[Two],
    out: &mut [Two],
    n: usize,
    rows: usize,
    grey: f32,
    steepness: f32,
    #[comptime] places: usize,
    #[comptime] planes: bool,
) {
    let mut table = Shared::<[Four]>::new_slice(comptime!(STAGE * places));
    let mut exchange = Exchange::new(UNITS, planes);
    let unit = UNIT_POS as usize;
    let class = unit % CLASSES;
    let q = (CUBE_POS_X as usize * comptime!(UNITS / CLASSES) + unit / CLASSES) * 2;
    let along_x = along_x(spectrum, waves_x, q, class, places);
    let signs = signs(class);
    let (first, turned) = (CUBE_POS_Y as usize * rows, class % 2 == 1);
    // The mirror's columns run the other way: the pair begins at the second.
    let x = mirrored_by(q + select(turned, 1, 0), n, class) / 2;
    let image = CUBE_POS_Z as usize * n * (n / 2) + x;
    let mut next = pairs(mask, image, first, n);
    for step in 0..(rows + STAGE - 1) / STAGE {
        let base = step * STAGE;
        let count = select(rows - base < STAGE, rows - base, STAGE);
        stage(&mut table, waves, (first + base) * places, count * places, UNITS);
        for r in 0..count {
            let mut open = Array::<Two>::new(CLASSES);
            #[unroll]
            for mirror in 0..CLASSES {
                open[mirror] = next[mirror];
            }
            let after = select(base + r + 1 < rows, base + r + 1, base + r);
            next = pairs(mask, image, first + after, n);
            let slopes = along_y(&along_x, &table, r, places);
            #[unroll]
            for mirror in 0..CLASSES {
                let one = exchange.walsh(slopes[mirror].extract(0usize), signs);
                let two = exchange.walsh(slopes[mirror].extract(1usize), signs);
                let mut slope = Two::new(select(turned, two, one));
                slope.insert(1usize, select(turned, one, two));
                let dark = Two::new(1.0) - open[mirror];
                let priced = slope + (dark - open[mirror]) * Two::new(grey);
                out[image + mirrored(first + base + r, n, mirror) * (n / 2)] =
                    priced * open[mirror] * dark * Two::new(steepness);
            }
        }
    }
}

/// A class of the spectrum's rows at quarter columns `q` and `q + 1`: 4P sums.
#[cube]
fn along_x(
    spectrum: &[f32],
    waves: &[f32],
    q: usize,
    class: usize,
    #[comptime] places: usize,
) -> Array<Two> {
    let all = comptime!(CLASSES * places);
    let mut rows = Shared::<[f32]>::new_slice(comptime!(all * all));
    for i in range_stepped(UNIT_POS as usize, all * all, UNITS) {
        rows[i] = spectrum[CUBE_POS_Z as usize * all * all + i];
    }
    sync_cube();
    let mut wave = Array::<Two>::new(places);
    #[unroll]
    for i in 0..places {
        let at = q * all + class * places + i;
        let mut pair = Two::new(waves[at]);
        pair.insert(1usize, waves[at + all]);
        wave[i] = pair;
    }
    let mut sums = Array::<Two>::new(all);
    #[unroll]
    for row in 0..all {
        sums[row] = Two::new(0.0);
        if apart() {
            #[unroll]
            for i in 0..places {
                sums[row] += wave[i] * Two::new(rows[row * all + class * places + i]);
            }
        }
    }
    sums
}

/// Slopes at the four mirrors of a quarter row of the table.
#[cube]
fn along_y(
    along_x: &Array<Two>,
    table: &Shared<[Four]>,
    row: usize,
    #[comptime] places: usize,
) -> Array<Two> {
    let mut slopes = Array::<Two>::new(CLASSES);
    #[unroll]
    for class in 0..CLASSES {
        slopes[class] = Two::new(0.0);
    }
    #[unroll]
    for quad in 0..places {
        if apart() {
            let wave = table[row * places + quad];
            #[unroll]
            for i in 0..4usize {
                let place = comptime!(4 * quad + i);
                if comptime!(place != places) {
                    slopes[comptime!(place / places)] += along_x[place] * Two::new(wave.extract(i));
                }
            }
        }
    }
    walsh_two(&mut slopes, 0usize);
    slopes
}
