//! From a mask to the rectangles that a shaped-beam writer exposes: its shots.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Bits, Polygon, Raster, shapes};

/// Grid of OpenILT's shot count: 4 nm on a 2048 nm clip.
pub const SHOT_GRID_NM: f64 = 4.0;

/// Seeds that adabox draws per rectangle.
const DRAWS: usize = 4;

/// A rectangle of pixels, ends excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// First column.
    pub x0: usize,
    /// First row.
    pub y0: usize,
    /// Column after the last.
    pub x1: usize,
    /// Row after the last.
    pub y1: usize,
}

impl Shot {
    /// Its outline, in pixels.
    pub fn polygon(&self) -> Polygon {
        Polygon::rectangle(self.x0 as f64, self.y0 as f64, self.x1 as f64, self.y1 as f64)
    }

    fn area(&self) -> usize {
        (self.x1 - self.x0) * (self.y1 - self.y0)
    }
}

/// Cuts an image into disjoint rectangles: equal runs of neighbouring rows are joined, and so are equal
/// runs of columns; the direction that needs fewer rectangles is kept. Deterministic.
pub fn rectangles(inside: &[bool], width: usize) -> Vec<Shot> {
    let height = inside.len() / width.max(1);
    let by_rows = joined_runs(width, height, |x, y| inside[y * width + x]);
    let by_columns = joined_runs(height, width, |y, x| inside[y * width + x]);
    if by_rows.len() <= by_columns.len() {
        return by_rows;
    }
    let transpose = |s: Shot| Shot { x0: s.y0, y0: s.x0, x1: s.y1, y1: s.x1 };
    by_columns.into_iter().map(transpose).collect()
}

fn joined_runs(width: usize, height: usize, inside: impl Fn(usize, usize) -> bool) -> Vec<Shot> {
    let (mut open, mut done): (Vec<Shot>, Vec<Shot>) = (Vec::new(), Vec::new());
    for y in 0..height {
        let mut row = Vec::new();
        let mut x = 0;
        while x < width {
            let start = x;
            while x < width && inside(x, y) {
                x += 1;
            }
            if x > start {
                let same = open.iter().position(|s| s.x0 == start && s.x1 == x);
                let from = same.map_or(y, |i| open.swap_remove(i).y0);
                row.push(Shot { x0: start, y0: from, x1: x, y1: y + 1 });
            }
            x += 1;
        }
        done.append(&mut open);
        open = row;
    }
    done.append(&mut open);
    done
}

/// The mask on the grid of the shot count.
fn on_shot_grid(mask: &Raster) -> Raster {
    let factor = (SHOT_GRID_NM / mask.pixel_nm).round() as usize;
    if factor > 1 { mask.subsampled(factor) } else { mask.clone() }
}

/// Number of rectangles on a 4 nm grid, by [`rectangles`].
pub fn shot_count(mask: &Raster) -> usize {
    shot_count_of_bits(&Bits::of_raster(mask), mask.pixel_nm)
}

/// As [`shot_count`], of a mask of pixels of `pixel_nm`.
pub fn shot_count_of_bits(mask: &Bits, pixel_nm: f64) -> usize {
    let mask = mask.subsampled(((SHOT_GRID_NM / pixel_nm).round() as usize).max(1));
    rectangles(&mask.to_bools(), mask.width()).len()
}

/// Number of rectangles on a 4 nm grid by a greedy random cover, the way adabox counts.
///
/// For each shape, until nothing is left: draw four uncovered pixels, grow each to a rectangle, keep
/// the largest. Random, about ±3 % between seeds; for comparison with published counts only.
pub fn adabox_count(mask: &Raster, seed: u64) -> usize {
    let mask = on_shot_grid(mask);
    let found = shapes::shapes(&mask.binary(), mask.width);
    let mut pixels = vec![Vec::new(); found.sizes.len()];
    for (pixel, &label) in found.labels.iter().enumerate() {
        if label != 0 {
            pixels[label as usize - 1].push(pixel);
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut left = mask.binary();
    pixels.into_iter().map(|shape| cover(shape, &mut left, mask.width, &mut rng)).sum()
}

/// Covers one shape; returns the number of rectangles.
fn cover(mut pixels: Vec<usize>, left: &mut [bool], width: usize, rng: &mut ChaCha8Rng) -> usize {
    let mut count = 0;
    while !pixels.is_empty() {
        let mut largest: Option<Shot> = None;
        for _ in 0..DRAWS {
            let shot = grow(left, width, pixels[rng.random_range(0..pixels.len())]);
            if largest.is_none_or(|best| shot.area() > best.area()) {
                largest = Some(shot);
            }
        }
        if let Some(shot) = largest {
            for y in shot.y0..shot.y1 {
                left[y * width + shot.x0..y * width + shot.x1].fill(false);
            }
        }
        pixels.retain(|&p| left[p]);
        count += 1;
    }
    count
}

/// The run of the pixel's row, extended up and down while it stays unbroken.
fn grow(left: &[bool], width: usize, pixel: usize) -> Shot {
    let (x, y) = (pixel % width, pixel / width);
    let row = &left[y * width..(y + 1) * width];
    let x0 = row[..x].iter().rposition(|&b| !b).map_or(0, |p| p + 1);
    let x1 = row[x..].iter().position(|&b| !b).map_or(width, |p| x + p);
    let whole = |y: usize| left[y * width + x0..y * width + x1].iter().all(|&b| b);
    let height = left.len() / width;
    let y0 = (0..y).rev().take_while(|&y| whole(y)).last().unwrap_or(y);
    let y1 = (y + 1..height).take_while(|&y| whole(y)).last().unwrap_or(y) + 1;
    Shot { x0, y0, x1, y1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ell_needs_two_rectangles() {
        let mut raster = Raster::new(64, 64, 4.0);
        for y in 10..50 {
            let end = if y < 40 { 20 } else { 60 };
            raster.data[y * 64 + 10..y * 64 + end].fill(1.0);
        }
        assert_eq!(shot_count(&raster), 2);
        assert!((2..=3).contains(&adabox_count(&raster, 0)));
    }

    proptest! {
        #[test]
        fn the_rectangles_cover_each_inside_pixel_once(
            bits in proptest::collection::vec(any::<bool>(), 12 * 9)
        ) {
            let mut covered = vec![0; bits.len()];
            for shot in rectangles(&bits, 12) {
                for y in shot.y0..shot.y1 {
                    for x in shot.x0..shot.x1 {
                        covered[y * 12 + x] += 1;
                    }
                }
            }
            let expected: Vec<i32> = bits.iter().map(|&b| i32::from(b)).collect();
            prop_assert_eq!(covered, expected);
        }
    }
}
