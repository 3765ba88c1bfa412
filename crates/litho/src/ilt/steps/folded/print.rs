//! Images, prints, the loss's gradient and its way back, in one kernel: images never leave a unit.
//!
//! A unit has a column of the image's quarter, as one class of waves along x and later as one mirror; and half of the waves along
//! y, whose coefficients and gradients it keeps in registers. Two units, of the two halves, share a column. Together they take
//! two quarter rows at a time, q and n/4 − 1 − q, whose waves are the same up to signs and places ([`crate::waves`]): each sums
//! its half for both rows, they exchange, and each goes on with the pixels of one, at four mirrors along y, in both foci.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]
#![allow(clippy::manual_div_ceil, reason = "kernels know no div_ceil")]

use cubecl::prelude::*;

use super::fold::{Exchange, Four, Two, apart, mirrored, mirrored_by, signs, stage, walsh};
use super::instructions::falling;
use crate::waves::CLASSES;

/// Units of a cube.
pub(super) const UNITS: usize = 128;
/// Quarter columns of a cube: a class and a half each take a unit.
pub(super) const COLUMNS: usize = UNITS / (2 * CLASSES);
/// Rows of waves that are in shared memory at a time.
const STAGE: usize = 16;
/// Sums of a focus in [`Waves::sums`].
const SUMS: usize = 6;

/// A goal's pixel in a word: target in 11 bits of 1/1024, design in 11, strips in 10 bits of 1/512.
const TARGET: f32 = 1.0 / 1024.0;
const DESIGN: f32 = 1.0 / 2048.0 / 1024.0;
const STRIP: f32 = 1.0 / 512.0;

/// What the loss and the resist are, for the corners (best, best, defocus).
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(crate) struct Process {
    pub(super) threshold: f32,
    pub(super) steepness: f32,
    pub(super) nominal_dose: f32,
    pub(super) outer_dose: f32,
    pub(super) inner_dose: f32,
    /// Weights of the errors.
    pub(super) nominal: f32,
    pub(super) outer: f32,
    pub(super) inner: f32,
    pub(super) band: f32,
    pub(super) edge: f32,
}

/// What is made of the prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wanted {
    /// The loss's gradient.
    Gradient,
    /// The errors of soft prints.
    Soft,
    /// The errors of hard ones.
    Hard,
}

/// Puts a goal into words.
#[cube(launch_unchecked)]
pub(super) fn pack(target: &[f32], design: &[f32], strips: &[f32], out: &mut [u32], length: usize) {
    let at = ABSOLUTE_POS;
    if at < length {
        let target = u32::cast_from(target[at].clamp(0.0, 1.0) * 1024.0 + 0.5);
        let design = u32::cast_from(design[at].clamp(0.0, 1.0) * 1024.0 + 0.5);
        let strip = u32::cast_from(strips[at].clamp(0.0, 1.0) * 512.0 + 0.5);
        out[at] = target | design << 11 | strip << 22;
    }
}

/// Puts a window of 0 and 1 into bits, 32 pixels a word.
#[cube(launch_unchecked)]
pub(super) fn pack_window(window: &[f32], out: &mut [u32], length: usize) {
    let at = ABSOLUTE_POS;
    if at < length {
        let mut bits = 0u32;
        for i in 0..32 {
            bits |= select(window[at * 32 + i] >= 0.5, 1u32, 0u32) << i as u32;
        }
        out[at] = bits;
    }
}

/// A pixel of a goal. The words' fields become numbers by the exponent of 2^23, which leaves them where they are.
#[derive(CubeType, Clone, Copy)]
struct Pixel {
    target: f32,
    design: f32,
    strip: f32,
}

#[cube]
fn unpacked(word: u32) -> Pixel {
    let (one, offset) = (0x4b00_0000u32, f32::new(8_388_608.0));
    let target = f32::reinterpret((word & 0x7ff) | one) - offset;
    let design = f32::reinterpret((word & 0x3f_f800) | one) - offset;
    let strip = f32::reinterpret((word >> 22) | one) - offset;
    Pixel { target: target * TARGET, design: design * DESIGN, strip: strip * STRIP }
}

/// A unit's waves along y: coefficients of its column, `[2, 4P]` by focus, and what their gradients have summed up to.
#[derive(CubeType)]
struct Waves {
    coefficients: Array<f32>,
    gradients: Array<f32>,
    #[cube(comptime)]
    places: usize,
}

#[cube]
impl Waves {
    /// The waves of a column's class, of a half: from the intensity's spectrum, `[batch, 2, 8P, 4, 2P]`, along x.
    fn new(
        spectrum: &[f32],
        interpolate: &[f32],
        q: usize,
        class: usize,
        half: usize,
        #[comptime] places: usize,
    ) -> Waves {
        let (quarter, side, all) = comptime!((2 * places, 2 * CLASSES * places, CLASSES * places));
        let mut stored = Shared::<[f32]>::new_slice(comptime!(side * side + 8));
        let mut wave = Array::<f32>::new(quarter);
        #[unroll]
        for i in 0..quarter {
            wave[i] = interpolate[q * side + class * quarter + i];
        }
        let mut coefficients = Array::<f32>::new(comptime!(2 * all));
        let mut gradients = Array::<f32>::new(comptime!(2 * all));
        #[unroll]
        for focus in 0..2usize {
            sync_cube();
            let from = (CUBE_POS_Z as usize * 2 + focus) * comptime!(side * side);
            for i in range_stepped(UNIT_POS as usize, side * side, UNITS) {
                // The halves are read at once: they lie in different banks.
                stored[i + i / comptime!(all * side) * 8] = spectrum[from + i];
            }
            sync_cube();
            let own = half * comptime!(all * side + 8) + class * quarter;
            #[unroll]
            for place in 0..all {
                if apart() {
                    let (mut even, mut odd) = (f32::new(0.0), f32::new(0.0));
                    #[unroll]
                    for i in 0..places {
                        let at = own + comptime!(place * side + 2 * i);
                        even += stored[at] * wave[2 * i];
                        odd += stored[at + 1] * wave[2 * i + 1];
                    }
                    coefficients[focus * all + place] = even + odd;
                    gradients[focus * all + place] = 0.0;
                }
            }
        }
        Waves { coefficients, gradients, places }
    }

    /// A unit's sums at two quarter rows, `[2, 6]` by focus: even cosines and sines; odd cosines, then sines, for its own row and
    /// for its partner's.
    fn sums(&self, waves: &Shared<[Four]>, row: usize) -> Array<f32> {
        let mut sums = Array::<f32>::new(comptime!(2 * SUMS));
        #[unroll]
        for i in 0..2 * SUMS {
            sums[i] = 0.0;
        }
        #[unroll]
        for quad in 0..self.places {
            if apart() {
                self.add_quad(&mut sums, waves[row + quad], quad);
            }
        }
        sums
    }

    /// Adds four waves to the sums.
    fn add_quad(&self, sums: &mut Array<f32>, four: Four, #[comptime] quad: usize) {
        let (places, all) = comptime!((self.places, CLASSES * self.places));
        #[unroll]
        for i in 0..4usize {
            let place = comptime!(4 * quad + i);
            let (class, i_of) = comptime!((place / places, place % places));
            let wave = four.extract(i);
            #[unroll]
            for focus in 0..2usize {
                let (at, to) = comptime!((focus * all, focus * SUMS));
                if comptime!(class < 2) {
                    sums[to + class] += self.coefficients[at + place] * wave;
                } else {
                    // T1 goes with the own row's cosines and the partner's sines, T2 the other way round.
                    let (first, second) =
                        comptime!(odd_pair(class, at + 2 * places + i_of, at + 3 * places + i_of));
                    let (own, other) = comptime!(odd_sums(class));
                    sums[to + own] += self.coefficients[first] * wave;
                    sums[to + other] += self.coefficients[second] * wave;
                }
            }
        }
    }

    /// Adds to the gradients from those of the sums.
    fn collect(&mut self, waves: &Shared<[Four]>, row: usize, slopes: &Array<f32>) {
        #[unroll]
        for quad in 0..self.places {
            if apart() {
                self.collect_quad(waves[row + quad], slopes, quad);
            }
        }
    }

    fn collect_quad(&mut self, four: Four, slopes: &Array<f32>, #[comptime] quad: usize) {
        let (places, all) = comptime!((self.places, CLASSES * self.places));
        #[unroll]
        for i in 0..4usize {
            let place = comptime!(4 * quad + i);
            let (class, i_of) = comptime!((place / places, place % places));
            let wave = four.extract(i);
            #[unroll]
            for focus in 0..2usize {
                let (at, from) = comptime!((focus * all, focus * SUMS));
                if comptime!(class < 2) {
                    self.gradients[at + place] += slopes[from + class] * wave;
                } else {
                    let (first, second) =
                        comptime!(odd_pair(class, at + 2 * places + i_of, at + 3 * places + i_of));
                    let (own, other) = comptime!(odd_sums(class));
                    self.gradients[first] += slopes[from + own] * wave;
                    self.gradients[second] += slopes[from + other] * wave;
                }
            }
        }
    }

    /// Stores what the gradients have summed up to, of a cube's chunk.
    fn store(&self, out: &mut [f32], class: usize, half: usize, column: usize, n: usize) {
        let places = comptime!(self.places);
        let (all, side) = comptime!((CLASSES * places, 2 * CLASSES * places));
        #[unroll]
        for focus in 0..2usize {
            let image = CUBE_POS_Z as usize * 2 + focus;
            let chunk = image * CUBE_COUNT_Y as usize + CUBE_POS_Y as usize;
            let to = ((chunk * CLASSES + class) * side + half * all) * (n / 4) + column;
            #[unroll]
            for place in 0..all {
                out[to + place * (n / 4)] = self.gradients[focus * all + place];
            }
        }
    }
}

/// The coefficient that a place of T1 (class 2) or T2 (class 3) is for at the own row, and that at the partner's.
fn odd_pair(class: usize, cosine: usize, sine: usize) -> (usize, usize) {
    if class == 2 { (cosine, sine) } else { (sine, cosine) }
}

/// Where a unit's sums over T1 or T2 go: of its own row, of its partner's.
fn odd_sums(class: usize) -> (usize, usize) {
    if class == 2 { (2, 5) } else { (3, 4) }
}

/// A unit among those of its column: which class and mirror of x, which half of y's waves and which of two rows.
#[derive(CubeType)]
struct Place {
    /// −1 in the second half.
    sign: f32,
    /// Of the exchange among classes.
    signs: Two,
    exchange: Exchange,
}

#[cube]
impl Place {
    /// Intensities at four mirrors along y in both foci, `[2, 4]`, of a unit's own row and mirror of x.
    fn lights(&mut self, sums: &Array<f32>) -> Array<f32> {
        let mut lights = Array::<f32>::new(comptime!(2 * CLASSES));
        #[unroll]
        for focus in 0..2usize {
            let (from, to) = comptime!((focus * SUMS, focus * CLASSES));
            let even = self.exchange.with(sums[from], 4u32);
            let sine = self.exchange.with(sums[from + 1], 4u32);
            let odd = self.exchange.with(sums[from + 4], 4u32);
            let odd_sine = self.exchange.with(sums[from + 5], 4u32);
            lights[to] = even + self.sign * sums[from];
            lights[to + 1] = sums[from + 1] + self.sign * sine;
            lights[to + 2] = sums[from + 2] + odd;
            lights[to + 3] = sums[from + 3] + odd_sine;
            walsh(&mut lights, to);
            #[unroll]
            for mirror in 0..CLASSES {
                lights[to + mirror] = self.exchange.walsh(lights[to + mirror], self.signs);
            }
        }
        lights
    }

    /// The adjoint: what [`Waves::collect`] wants, from the gradients by the intensities.
    fn slopes(&mut self, lights: &mut Array<f32>) -> Array<f32> {
        let mut slopes = Array::<f32>::new(comptime!(2 * SUMS));
        #[unroll]
        for focus in 0..2usize {
            let (to, from) = comptime!((focus * SUMS, focus * CLASSES));
            #[unroll]
            for mirror in 0..CLASSES {
                lights[from + mirror] = self.exchange.walsh(lights[from + mirror], self.signs);
            }
            walsh(lights, from);
            let even = self.exchange.with(lights[from], 4u32);
            let sine = self.exchange.with(lights[from + 1], 4u32);
            slopes[to] = even + self.sign * lights[from];
            slopes[to + 1] = lights[from + 1] - self.sign * sine;
            slopes[to + 2] = lights[from + 2];
            slopes[to + 3] = lights[from + 3];
            slopes[to + 4] = self.exchange.with(lights[from + 2], 4u32);
            slopes[to + 5] = self.exchange.with(lights[from + 3], 4u32);
        }
        slopes
    }
}

/// Gradients by the intensities in focus and out of it at a pixel.
#[cube]
fn gradient(best: f32, defocus: f32, word: u32, process: &Process, #[comptime] ptx: bool) -> Two {
    let pixel = unpacked(word);
    let slope = -process.steepness * f32::new(core::f32::consts::LOG2_E);
    let offset = -process.threshold * slope;
    let nominal = falling(best * (slope * process.nominal_dose) + offset, ptx);
    let outer = falling(best * (slope * process.outer_dose) + offset, ptx);
    let inner = falling(defocus * (slope * process.inner_dose) + offset, ptx);
    let twice = 2.0 * process.steepness;
    let (near, far) = (twice * process.outer_dose, twice * process.inner_dose);
    let own = twice * process.nominal_dose;
    let band = outer - inner;
    let of_nominal = (nominal - pixel.target) * (process.nominal * own)
        + (nominal - pixel.design) * (pixel.strip * (process.edge * own));
    let of_outer = (outer - pixel.target) * (process.outer * near) + band * (process.band * near);
    let of_inner = (inner - pixel.target) * (process.inner * far) - band * (process.band * far);
    let by_best = of_nominal * (nominal - nominal * nominal) + of_outer * (outer - outer * outer);
    let mut by = Two::new(by_best);
    by.insert(1usize, of_inner * (inner - inner * inner));
    by
}

/// The error at a pixel of prints, soft or hard.
#[cube]
fn error(
    best: f32,
    defocus: f32,
    word: u32,
    process: &Process,
    #[comptime] wanted: Wanted,
    #[comptime] ptx: bool,
) -> f32 {
    let pixel = unpacked(word);
    if comptime!(wanted == Wanted::Hard) {
        let nominal = printed(best, process.nominal_dose, process);
        let band = printed(best, process.outer_dose, process)
            - printed(defocus, process.inner_dose, process);
        let off = (nominal - select(pixel.design >= 0.5, f32::new(1.0), f32::new(0.0))).abs();
        off + off * pixel.strip * process.edge + band.abs()
    } else {
        let slope = -process.steepness * f32::new(core::f32::consts::LOG2_E);
        let offset = -process.threshold * slope;
        let nominal = falling(best * (slope * process.nominal_dose) + offset, ptx) - pixel.target;
        let outer = falling(best * (slope * process.outer_dose) + offset, ptx) - pixel.target;
        let inner = falling(defocus * (slope * process.inner_dose) + offset, ptx) - pixel.target;
        let band = outer - inner;
        nominal * nominal * process.nominal
            + outer * outer * process.outer
            + inner * inner * process.inner
            + band * band * process.band
    }
}

/// Whether a corner prints, as 1 or 0.
#[cube]
fn printed(intensity: f32, dose: f32, process: &Process) -> f32 {
    select(intensity >= process.threshold / dose, f32::new(1.0), f32::new(0.0))
}

/// From the intensity's spectrum, `[batch, 2, 8P, 4, 2P]`, to the gradient of its rows of waves,
/// `[batch, 2, chunks, 4, 8P, n / 4]`, or to errors, `[batch, n / 4, n]`, of four pixels each. A cube has [`COLUMNS`] quarter
/// columns and `rows` pairs of quarter rows; `waves` is `[n / 8, 2P]` fours.
#[cube(launch_unchecked)]
pub(super) fn print(
    spectrum: &[f32],
    interpolate: &[f32],
    waves: &[Four],
    goal: &[u32],
    out: &mut [f32],
    n: usize,
    rows: usize,
    process: Process,
    #[comptime] wanted: Wanted,
    #[comptime] places: usize,
    #[comptime] planes: bool,
    #[comptime] ptx: bool,
) {
    let unit = UNIT_POS as usize;
    let (class, half) = (unit % CLASSES, unit / CLASSES % 2);
    let column = CUBE_POS_X as usize * COLUMNS + unit / comptime!(2 * CLASSES);
    let mut sums = Waves::new(spectrum, interpolate, column, class, half, places);
    let sign = select(half == 1, f32::new(-1.0), f32::new(1.0));
    let mut place = Place { sign, signs: signs(class), exchange: Exchange::new(UNITS, planes) };
    let quads = comptime!(2 * places);
    let mut table = Shared::<[Four]>::new_slice(comptime!(STAGE * quads));
    let x = mirrored_by(column, n, class);
    let image = CUBE_POS_Z as usize * n * n + x;
    let first = CUBE_POS_Y as usize * rows;
    let mut next = words(goal, image, own_row(first, half, n), n);
    for step in 0..(rows + STAGE - 1) / STAGE {
        let base = first + step * STAGE;
        let count = select(rows - step * STAGE < STAGE, rows - step * STAGE, STAGE);
        stage(&mut table, waves, base * quads, count * quads, UNITS);
        for r in 0..count {
            let own = own_row(base + r, half, n);
            let mut pixels = Array::<u32>::new(CLASSES);
            #[unroll]
            for mirror in 0..CLASSES {
                pixels[mirror] = next[mirror];
            }
            let after = select(base + r + 1 < first + rows, base + r + 1, base + r);
            next = words(goal, image, own_row(after, half, n), n);
            let row = r * quads + half * places;
            let mut lights = place.lights(&sums.sums(&table, row));
            if comptime!(wanted == Wanted::Gradient) {
                gradients(&mut lights, &pixels, &process, ptx);
                sums.collect(&table, row, &place.slopes(&mut lights));
            } else {
                out[(CUBE_POS_Z as usize * (n / 4) + own) * n + x] =
                    errors(&lights, &pixels, &process, wanted, ptx);
            }
        }
    }
    if comptime!(wanted == Wanted::Gradient) {
        sums.store(out, class, half, column, n);
    }
}

/// The quarter row that a unit goes on with, of a pair.
#[cube]
fn own_row(q: usize, half: usize, n: usize) -> usize {
    select(half == 1, n / 4 - 1 - q, q)
}

/// A goal's words at the mirrors of a quarter row.
#[cube]
fn words(goal: &[u32], image: usize, q: usize, n: usize) -> Array<u32> {
    let mut words = Array::<u32>::new(CLASSES);
    #[unroll]
    for mirror in 0..CLASSES {
        words[mirror] = goal[image + mirrored(q, n, mirror) * n];
    }
    words
}

/// Intensities to the loss's gradients by them.
#[cube]
fn gradients(
    lights: &mut Array<f32>,
    pixels: &Array<u32>,
    process: &Process,
    #[comptime] ptx: bool,
) {
    #[unroll]
    for mirror in 0..CLASSES {
        let (best, defocus) = (lights[mirror], lights[CLASSES + mirror]);
        let by = gradient(best, defocus, pixels[mirror], process, ptx);
        lights[mirror] = by.extract(0usize);
        lights[CLASSES + mirror] = by.extract(1usize);
    }
}

/// The sum of four pixels' errors.
#[cube]
fn errors(
    lights: &Array<f32>,
    pixels: &Array<u32>,
    process: &Process,
    #[comptime] wanted: Wanted,
    #[comptime] ptx: bool,
) -> f32 {
    let mut total = f32::new(0.0);
    #[unroll]
    for mirror in 0..CLASSES {
        let (best, defocus) = (lights[mirror], lights[CLASSES + mirror]);
        total += error(best, defocus, pixels[mirror], process, wanted, ptx);
    }
    total
}
