//! Coverage in two launches: what each edge changes from pixel to pixel of a row, and sums along rows.
//!
//! Changes are whole numbers of 2⁻²⁰ of a pixel, so that their order does not matter. An edge's changes in a row add up to its
//! height there exactly, however its pixels' shares are rounded: what is right of it is covered without a rest.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]
#![allow(clippy::manual_div_ceil, reason = "kernels know no div_ceil")]

use cubecl::prelude::*;

/// Units of a cube that sums a row; each has four pixels.
pub(super) const LINE: usize = 128;
/// Twice as much each time: so many times make [`LINE`].
const DOUBLINGS: usize = LINE.ilog2() as usize;
/// Parts of a pixel that edges are in.
const PARTS: u32 = super::PARTS as u32;
/// How much finer x is where an edge crosses a row's border …
const FINER: u32 = 128;
/// … and so many of those are a pixel.
const PIXEL: u32 = PARTS * FINER;
/// A whole pixel's coverage is so many.
const WHOLE: u32 = 1 << 20;

type Four = Vector<f32, Const<4>>;
type FourSums = Vector<i32, Const<4>>;

#[cube]
fn lesser(a: u32, b: u32) -> u32 {
    select(a < b, a, b)
}

#[cube]
fn greater(a: u32, b: u32) -> u32 {
    select(a < b, b, a)
}

/// ⌊a · b / d⌋ for a < d < 2³⁰, whose product no word holds: digit by digit of b.
#[cube]
fn share(a: u32, b: u32, d: u32) -> u32 {
    let mut quotient = 0u32;
    let mut rest = 0u32;
    for digit in 0..32u32 {
        rest = 2 * rest + a * ((b >> (31 - digit)) & 1);
        quotient *= 2;
        for _ in 0..2u32 {
            if rest >= d {
                rest -= d;
                quotient += 1;
            }
        }
    }
    quotient
}

/// The image of an edge: the last whose edges do not begin after it.
#[cube]
fn image_of(offsets: &[u32], edge: usize, batch: usize) -> usize {
    let mut image = 0usize;
    let mut end = batch;
    while image + 1 < end {
        let half = (image + end) / 2;
        if offsets[half] as usize <= edge {
            image = half;
        } else {
            end = half;
        }
    }
    image
}

/// An edge from its lower end.
#[derive(CubeType, Clone, Copy)]
struct Edge {
    x: u32,
    y: u32,
    top: u32,
    /// 1 if it goes up, else −1.
    sign: i32,
    /// 1 if it goes to the left, else 0.
    leftwards: u32,
    /// How far x goes, in heights, and what is left then.
    steps: u32,
    rest: u32,
}

#[cube]
impl Edge {
    fn read(edges: &[i32], edge: usize) -> Edge {
        let up = edges[edge * 4 + 3] > edges[edge * 4 + 1];
        let low = edge * 4 + select(up, 0, 2);
        let high = edge * 4 + select(up, 2, 0);
        let (x, y) = (edges[low] as u32, edges[low + 1] as u32);
        let (end, top) = (edges[high] as u32, edges[high + 1] as u32);
        let height = greater(top - y, 1u32);
        let along = greater(x, end) - lesser(x, end);
        Edge {
            x,
            y,
            top,
            sign: select(up, 1i32, -1i32),
            leftwards: select(end < x, 1u32, 0u32),
            steps: along / height,
            rest: along % height,
        }
    }

    /// x at a height within the edge, rounded towards its lower end.
    fn at(&self, y: u32) -> u32 {
        let up = (y - self.y) * FINER;
        let mut along = self.steps * up;
        if self.rest > 0 {
            along += share(self.rest, up, self.top - self.y);
        }
        select(self.leftwards == 1, self.x * FINER - along, self.x * FINER + along)
    }
}

/// The mean share of a pixel that is right of a line from `least` to `most`, which goes through it or ends left of it.
#[cube]
fn right_of(least: u32, most: u32, pixel: u32) -> f32 {
    let left = pixel * PIXEL;
    let right = left + PIXEL;
    let (from, to) = (greater(least, left), lesser(most, right));
    let before = f32::cast_from(from - least);
    let through = f32::cast_from(to - from);
    let depths = f32::cast_from(from - left) + f32::cast_from(to - left);
    let share = f32::new(1.0) - depths / f32::cast_from(2 * PIXEL);
    let whole = f32::cast_from(greater(most - least, 1u32));
    select(most == least, share, (before + through * share) / whole)
}

/// What edges change from pixel to pixel. A cube has an edge, a unit one of its rows and each further by the cube's units.
#[cube(launch_unchecked)]
pub(super) fn accumulate(
    edges: &[i32],
    offsets: &[u32],
    sums: &[Atomic<i32>],
    n: usize,
    batch: usize,
    count: usize,
) {
    let at = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) as usize;
    if at >= count {
        terminate!();
    }
    let edge = Edge::read(edges, at);
    let image = image_of(offsets, at, batch) * n * n;
    let mut row = edge.y / PARTS + UNIT_POS;
    while row * PARTS < edge.top {
        let from = greater(edge.y, row * PARTS);
        let to = lesser(edge.top, (row + 1) * PARTS);
        let (a, b) = (edge.at(from), edge.at(to));
        let (least, most) = (lesser(a, b), greater(a, b));
        let height = (to - from) * (WHOLE / PARTS);
        let mut covered = 0u32;
        let last = lesser(most / PIXEL + 1, n as u32 - 1);
        for pixel in least / PIXEL..last + 1 {
            let mut share = height;
            if pixel * PIXEL <= most {
                let exact = f32::cast_from(height) * right_of(least, most, pixel);
                share = lesser(u32::cast_from(exact + 0.5), height);
            }
            let change = edge.sign * (share as i32 - covered as i32);
            sums[image + row as usize * n + pixel as usize].fetch_add(change);
            covered = share;
        }
        row += CUBE_DIM;
    }
}

/// Coverage from sums of changes along a row, at most 1. A cube has a row, and goes along it by four pixels a unit.
#[cube(launch_unchecked)]
pub(super) fn sum_rows(sums: &[FourSums], image: &mut [Four], n: usize) {
    let fours = n / 4;
    let row = (CUBE_POS_Y as usize * n + CUBE_POS_X as usize) * fours;
    let unit = UNIT_POS as usize;
    let mut line = Shared::<[i32]>::new_slice(comptime!(2 * LINE));
    let mut carried = 0i32;
    for pass in 0..(fours + LINE - 1) / LINE {
        let at = pass * LINE + unit;
        let mut four = FourSums::new(0i32);
        if at < fours {
            four = sums[row + at];
        }
        let first = four.extract(0usize);
        let second = first + four.extract(1usize);
        let third = second + four.extract(2usize);
        let own = third + four.extract(3usize);
        line[unit] = own;
        sync_cube();
        #[unroll]
        for k in 0..DOUBLINGS {
            let from = comptime!(k % 2 * LINE);
            let to = comptime!((k + 1) % 2 * LINE);
            let before = comptime!(1usize << k);
            let mut sum = line[from + unit];
            if unit >= before {
                sum += line[from + unit - before];
            }
            line[to + unit] = sum;
            sync_cube();
        }
        let end = comptime!(DOUBLINGS % 2 * LINE);
        let before = carried + line[end + unit] - own;
        if at < fours {
            let mut covered = Four::new(0.0);
            covered.insert(0usize, share_of(before + first));
            covered.insert(1usize, share_of(before + second));
            covered.insert(2usize, share_of(before + third));
            covered.insert(3usize, share_of(before + own));
            image[row + at] = covered;
        }
        carried += line[end + LINE - 1];
        sync_cube();
    }
}

/// A number of [`WHOLE`]ths of a pixel as its share, at most 1, whichever way it was gone round.
#[cube]
fn share_of(sum: i32) -> f32 {
    let size = select(sum < 0, -sum, sum) as u32;
    f32::cast_from(lesser(size, WHOLE)) / f32::cast_from(WHOLE)
}
