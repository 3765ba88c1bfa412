//! Box means: what comes before the mask, and what comes after its gradient.
//!
//! A cube goes down a band of an image's rows, four at a time. A unit has four columns and their sums over the box's height; its
//! neighbours' come through shared memory. Sums are made of sums over the rows and columns that boxes share, and nothing is ever taken away
//! again: a sum that slides leaves rounding where the image is dark, and Adam takes a whole step by whatever is left there.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]

use cubecl::prelude::*;

use super::super::kernels::Adam;
use super::fold::Four;
use super::instructions::sigmoid;

/// Rows that a cube does together. The sums of [`Sums::down`] and [`Sums::means`] are written for four.
pub(super) const AHEAD: usize = 4;

/// Neighbours on a side whose columns a box reaches.
const fn neighbours(reach: usize) -> usize {
    reach.div_ceil(4)
}

/// Sums over the height of a box, of four columns a unit.
#[derive(CubeType)]
struct Sums {
    /// The sums at [`AHEAD`] rows, with dark columns at either side.
    lines: Shared<[Four]>,
    #[cube(comptime)]
    reach: usize,
    #[cube(comptime)]
    units: usize,
}

/// Four columns of a row that is `reach` above `below`; zero outside of the image.
#[cube]
fn row(image: &[Four], first: usize, below: usize, n: usize, #[comptime] reach: usize) -> Four {
    let mut four = Four::new(0.0);
    if below >= reach && below - reach < n {
        four = image[first + (below - reach) * (n / 4)];
    }
    four
}

#[cube]
impl Sums {
    /// Dark at either side.
    fn new(#[comptime] reach: usize, #[comptime] units: usize) -> Sums {
        let beside = comptime!(neighbours(reach));
        let stride = comptime!(units + 2 * beside);
        let mut lines = Shared::<[Four]>::new_slice(comptime!(AHEAD * stride));
        let unit = UNIT_POS as usize;
        if unit < 2 * beside {
            let at = select(unit < beside, unit, unit + units);
            #[unroll]
            for k in 0..AHEAD {
                lines[k * stride + at] = Four::new(0.0);
            }
        }
        Sums { lines, reach, units }
    }

    /// Leaves the sums at the [`AHEAD`] rows from `y` in `lines`; `first` is where a unit's columns begin.
    fn down(&mut self, image: &[Four], first: usize, y: usize, n: usize) {
        let reach = comptime!(self.reach);
        let stride = comptime!(self.units + 2 * neighbours(self.reach));
        let at = UNIT_POS as usize + comptime!(neighbours(self.reach));
        if comptime!(reach == 0) {
            #[unroll]
            for k in 0..AHEAD {
                self.lines[k * stride + at] = row(image, first, y + k, n, reach);
            }
        } else {
            // Rows of all four boxes; those above them that the first three have; those below that the last three have.
            let mut shared = Four::new(0.0);
            #[unroll]
            for k in 3..2 * reach + 1 {
                shared += row(image, first, y + k, n, reach);
            }
            let third = row(image, first, y + 2, n, reach);
            let second = row(image, first, y + 1, n, reach) + third;
            let top = row(image, first, y, n, reach) + second;
            let below = row(image, first, y + 2 * reach + 1, n, reach);
            let next = below + row(image, first, y + 2 * reach + 2, n, reach);
            let last = next + row(image, first, y + 2 * reach + 3, n, reach);
            self.lines[at] = top + shared;
            self.lines[stride + at] = second + shared + below;
            self.lines[2 * stride + at] = third + shared + next;
            self.lines[3 * stride + at] = shared + last;
        }
        sync_cube();
    }

    /// The means over the boxes of a unit's columns in a line.
    fn means(&self, #[comptime] line: usize) -> Four {
        let beside = comptime!(neighbours(self.reach));
        let reach = comptime!(self.reach);
        let from = UNIT_POS as usize + comptime!(line * (self.units + 2 * beside));
        let mut columns = Array::<f32>::new(comptime!(4 * (2 * beside + 1)));
        #[unroll]
        for k in 0..2 * beside + 1 {
            let four = self.lines[from + k];
            #[unroll]
            for i in 0..4usize {
                columns[4 * k + i] = four.extract(i);
            }
        }
        let mut sums = Four::new(0.0);
        #[unroll]
        for i in 0..4usize {
            let mut sum = f32::new(0.0);
            #[unroll]
            for k in 0..2 * reach + 1 {
                sum += columns[4 * beside - reach + i + k];
            }
            sums.insert(i, sum);
        }
        sums * Four::new(comptime!(1.0 / ((2 * reach + 1) * (2 * reach + 1)) as f32))
    }
}

/// The mask of parameters: `sigmoid(steepness * (box mean − 1/2))` where `open` has a bit, else 0. `[batch, n, n]`; a cube has
/// `units` = n / 4 and `rows` rows.
#[cube(launch_unchecked)]
pub(super) fn soft_mask(
    parameters: &[Four],
    open: &[u32],
    mask: &mut [Four],
    n: usize,
    rows: usize,
    steepness: f32,
    #[comptime] reach: usize,
    #[comptime] units: usize,
    #[comptime] ptx: bool,
) {
    let band = CUBE_POS_X as usize * rows;
    let first = CUBE_POS_Y as usize * n * units + UNIT_POS as usize;
    let mut sums = Sums::new(reach, units);
    for step in 0..rows / AHEAD {
        let y = band + step * AHEAD;
        sums.down(parameters, first, y, n);
        #[unroll]
        for k in 0..AHEAD {
            let at = first + (y + k) * units;
            let bits = open[at / 8] >> (at as u32 % 8 * 4);
            let means = sums.means(k);
            let mut opened = Four::new(0.0);
            #[unroll]
            for i in 0..4usize {
                let soft = sigmoid((means.extract(i) - 0.5) * steepness, ptx);
                opened.insert(i, select((bits >> i as u32) & 1 == 1, soft, f32::new(0.0)));
            }
            mask[at] = opened;
        }
        sync_cube();
    }
}

/// A step of Adam by the box means of a gradient. `[batch, n, n]`; cubes as those of [`soft_mask`].
#[cube(launch_unchecked)]
pub(super) fn update(
    gradient: &[Four],
    parameters: &mut [Four],
    mean: &mut [Four],
    square: &mut [Four],
    n: usize,
    rows: usize,
    adam: Adam,
    #[comptime] reach: usize,
    #[comptime] units: usize,
) {
    let band = CUBE_POS_X as usize * rows;
    let first = CUBE_POS_Y as usize * n * units + UNIT_POS as usize;
    let mut sums = Sums::new(reach, units);
    for step in 0..rows / AHEAD {
        let y = band + step * AHEAD;
        let mut state = Array::<Four>::new(3 * AHEAD);
        #[unroll]
        for k in 0..AHEAD {
            let at = first + (y + k) * units;
            state[3 * k] = parameters[at];
            state[3 * k + 1] = mean[at];
            state[3 * k + 2] = square[at];
        }
        sums.down(gradient, first, y, n);
        #[unroll]
        for k in 0..AHEAD {
            let at = first + (y + k) * units;
            let slope = sums.means(k);
            let once =
                state[3 * k + 1] * Four::new(adam.beta1) + slope * Four::new(1.0 - adam.beta1);
            let twice = state[3 * k + 2] * Four::new(adam.beta2)
                + slope * slope * Four::new(1.0 - adam.beta2);
            mean[at] = once;
            square[at] = twice;
            let size = (twice * Four::new(adam.unbias)).sqrt() + Four::new(1e-8);
            parameters[at] = state[3 * k] - once * Four::new(adam.rate) / size;
        }
        sync_cube();
    }
}
