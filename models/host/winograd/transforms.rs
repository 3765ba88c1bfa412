//! The three transformations of F(4×4, 3×3), for the points 0, ±1, ±2 and infinity.
//!
//! Pixels and sums are transformed in one loop over sixteen channels, of which a compiler makes vectors.

use crate::host::numbers::{LANES, Lanes, each, lanes, multiply_add};
use crate::host::picture::larger;

/// Pixels of a tile's side that a convolution makes …
pub(super) const TILE: usize = 4;
/// … and those that it reads.
const SEEN: usize = TILE + 2;
/// Numbers of a tile.
pub(super) const POINTS: usize = SEEN * SEEN;

/// `Bᵀ d B` of the pixels from the first of `pixels` on, `row` and `column` numbers apart.
#[inline(always)]
pub(super) fn transform_pixels<const FUSED: bool>(
    pixels: &[f32],
    [row, column]: [usize; 2],
    points: &mut [Lanes; POINTS],
) {
    let d = square(pixels, [row, column]);
    for i in 0..LANES {
        let columns: [[f32; SEEN]; SEEN] = each(|x| b_transposed::<FUSED>(each(|y| d[y][x][i])));
        for y in 0..SEEN {
            let line = b_transposed::<FUSED>(each(|x| columns[x][y]));
            for x in 0..SEEN {
                points[y * SEEN + x][i] = line[x];
            }
        }
    }
}

/// `Aᵀ M A` of 36 sums, `apart` numbers apart, plus the bias, and `floor` if that is more.
#[inline(always)]
pub(super) fn transform_sums<const FUSED: bool>(
    sums: &[f32],
    apart: usize,
    (bias, floor): (&Lanes, f32),
    pixels: &mut [Lanes; TILE * TILE],
) {
    let m = square(sums, [SEEN * apart, apart]);
    for i in 0..LANES {
        let columns: [[f32; TILE]; SEEN] = each(|x| a_transposed::<FUSED>(each(|y| m[y][x][i])));
        for y in 0..TILE {
            let line = a_transposed::<FUSED>(each(|x| columns[x][y]));
            for x in 0..TILE {
                pixels[y * TILE + x][i] = larger(line[x] + bias[i], floor);
            }
        }
    }
}

/// `G g Gᵀ` of the kernels of sixteen output channels, rows one after another.
pub(super) fn transform_kernels(g: &[Lanes; 9], points: &mut [Lanes; POINTS]) {
    for i in 0..LANES {
        let columns: [[f32; SEEN]; 3] = each(|x| spread(each(|y| g[y * 3 + x][i])));
        for y in 0..SEEN {
            let line = spread(each(|x| columns[x][y]));
            for x in 0..SEEN {
                points[y * SEEN + x][i] = line[x];
            }
        }
    }
}

/// Six by six vectors, `row` and `column` numbers apart.
#[inline(always)]
fn square(from: &[f32], [row, column]: [usize; 2]) -> [[&Lanes; SEEN]; SEEN] {
    let mut square = [[lanes(from, 0); SEEN]; SEEN];
    for (y, line) in square.iter_mut().enumerate() {
        for (x, vector) in line.iter_mut().enumerate() {
            *vector = lanes(from, y * row + x * column);
        }
    }
    square
}

/// `Bᵀ` of six numbers.
#[inline(always)]
fn b_transposed<const FUSED: bool>(d: [f32; SEEN]) -> [f32; SEEN] {
    let ends = |a, b, c| multiply_add::<FUSED>(a, 4.0, multiply_add::<FUSED>(b, -5.0, c));
    let (even, odd) =
        (multiply_add::<FUSED>(d[2], -4.0, d[4]), multiply_add::<FUSED>(d[1], -4.0, d[3]));
    let (near, far) = (d[4] - d[2], d[3] - d[1]);
    [
        ends(d[0], d[2], d[4]),
        even + odd,
        even - odd,
        multiply_add::<FUSED>(far, 2.0, near),
        multiply_add::<FUSED>(far, -2.0, near),
        ends(d[1], d[3], d[5]),
    ]
}

/// `Aᵀ` of six numbers.
#[inline(always)]
fn a_transposed<const FUSED: bool>(m: [f32; SEEN]) -> [f32; TILE] {
    let (near, far) = (m[1] + m[2], m[3] + m[4]);
    let (near_odd, far_odd) = (m[1] - m[2], m[3] - m[4]);
    [
        m[0] + near + far,
        multiply_add::<FUSED>(far_odd, 2.0, near_odd),
        multiply_add::<FUSED>(far, 4.0, near),
        multiply_add::<FUSED>(far_odd, 8.0, near_odd) + m[5],
    ]
}

/// `G` of three numbers.
#[inline(always)]
fn spread(g: [f32; 3]) -> [f32; SEEN] {
    let (even, far) = (g[0] + g[2], g[0] / 4.0 + g[2]);
    [
        g[0] / 4.0,
        (even + g[1]) / -6.0,
        (even - g[1]) / -6.0,
        (far + g[1] / 2.0) / 6.0,
        (far - g[1] / 2.0) / 6.0,
        g[2],
    ]
}
