//! Connected shapes of a binary mask: how small the smallest is, how near the nearest two are.

use rayon::prelude::*;

use crate::Raster;
use crate::bits::Bits;
use crate::distance::Columns;
use crate::runs::Runs;

/// Rows whose neighbours one task compares.
const BAND: usize = 32;

/// Shapes of a mask, 8-connected (shapes that touch at a corner are one).
#[derive(Clone, Debug)]
pub struct Shapes {
    /// Pixels in x.
    pub width: usize,
    /// For each pixel, 0 outside and the number of its shape (from 1) inside.
    pub labels: Vec<u32>,
    /// Pixels of each shape; the first belongs to label 1.
    pub sizes: Vec<usize>,
}

/// Finds the shapes of `inside`, a row-major image `width` pixels wide.
pub fn shapes(inside: &[bool], width: usize) -> Shapes {
    let runs = Runs::of(&Bits::of_bools(inside, width));
    let mut labels = vec![0; inside.len()];
    for run in &runs.all {
        labels[run.y * width + run.start..run.y * width + run.end].fill(run.shape as u32 + 1);
    }
    Shapes { width, labels, sizes: runs.sizes }
}

/// Area of the smallest shape, in nm²; `None` if there is no shape.
pub fn smallest_area_nm2(mask: &Raster) -> Option<f64> {
    smallest_area(&Runs::of(&Bits::of_raster(mask)), mask.pixel_nm)
}

/// Gap between the two nearest shapes, edge to edge, in nm; `None` with fewer than two shapes.
///
/// Found on the border between the shapes' Voronoi cells: the nearest pair faces each other across it.
pub fn smallest_distance_nm(mask: &Raster) -> Option<f64> {
    let bits = Bits::of_raster(mask);
    smallest_distance(&bits, &Runs::of(&bits), mask.pixel_nm)
}

/// [`smallest_area_nm2`] and [`smallest_distance_nm`] of a mask of pixels of `pixel_nm`.
pub fn smallest_nm(mask: &Bits, pixel_nm: f64) -> (Option<f64>, Option<f64>) {
    let runs = Runs::of(mask);
    (smallest_area(&runs, pixel_nm), smallest_distance(mask, &runs, pixel_nm))
}

fn smallest_area(runs: &Runs, pixel_nm: f64) -> Option<f64> {
    runs.sizes.iter().min().map(|&px| px as f64 * pixel_nm * pixel_nm)
}

fn smallest_distance(mask: &Bits, runs: &Runs, pixel_nm: f64) -> Option<f64> {
    if runs.sizes.len() < 2 {
        return None;
    }
    let (width, height) = (mask.width(), mask.height());
    let mut labels = vec![0; width * height];
    for run in &runs.all {
        labels[run.y * width + run.start..run.y * width + run.end].fill(run.shape as u32 + 1);
    }
    let inside: Vec<bool> = labels.iter().map(|&label| label != 0).collect();
    let cells = Cells { labels, width, height, columns: Columns::of(&inside, width) };
    let bands = (0..height).into_par_iter().step_by(BAND);
    let least = bands.map(|first| cells.least_gap(first)).reduce(|| f64::INFINITY, f64::min);
    least.is_finite().then_some(least * pixel_nm)
}

/// The Voronoi cells of shapes.
struct Cells {
    /// Each pixel's shape, 0 outside.
    labels: Vec<u32>,
    width: usize,
    height: usize,
    columns: Columns,
}

impl Cells {
    /// The least gap between shapes whose cells meet in the band of rows that begins at `first`, or below its last.
    fn least_gap(&self, first: usize) -> f64 {
        let (mut above, mut row) = (vec![0; self.width], vec![0; self.width]);
        let end = first + BAND;
        let mut least = f64::INFINITY;
        for y in first..(end + 1).min(self.height) {
            self.columns.nearest(y, &mut row);
            if y < end {
                least =
                    row.windows(2).fold(least, |least, pair| least.min(self.gap(pair[0], pair[1])));
            }
            if y > first {
                let pairs = above.iter().zip(&row);
                least = pairs.fold(least, |least, (&a, &b)| least.min(self.gap(a, b)));
            }
            std::mem::swap(&mut above, &mut row);
        }
        least
    }

    /// Gap between the shapes of two pixels that are nearest to neighbours; infinite if they are one.
    fn gap(&self, a: u32, b: u32) -> f64 {
        let (a, b) = (a as usize, b as usize);
        match a == b || self.labels[a] == self.labels[b] {
            true => f64::INFINITY,
            false => gap(a, b, self.width),
        }
    }
}

/// Distance between two pixels' edges, in pixels.
fn gap(a: usize, b: usize, width: usize) -> f64 {
    let dx = (a % width).abs_diff(b % width).saturating_sub(1) as f64;
    let dy = (a / width).abs_diff(b / width).saturating_sub(1) as f64;
    dx.hypot(dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(width: usize, height: usize, boxes: &[[usize; 4]]) -> Raster {
        let mut raster = Raster::new(width, height, 2.0);
        for &[x0, y0, x1, y1] in boxes {
            for y in y0..y1 {
                raster.data[y * width + x0..y * width + x1].fill(1.0);
            }
        }
        raster
    }

    #[test]
    fn the_smallest_shape_is_measured() {
        let mask = mask(40, 40, &[[2, 2, 10, 10], [20, 20, 23, 24]]);
        assert_eq!(smallest_area_nm2(&mask), Some(3.0 * 4.0 * 4.0));
    }

    #[test]
    fn the_gap_is_measured_edge_to_edge_and_across_corners() {
        let side = mask(40, 40, &[[2, 2, 10, 10], [15, 2, 20, 10]]);
        assert_eq!(smallest_distance_nm(&side), Some(5.0 * 2.0));
        let corner = mask(40, 40, &[[2, 2, 10, 10], [13, 14, 20, 20]]);
        assert_eq!(smallest_distance_nm(&corner), Some(5.0 * 2.0));
    }

    #[test]
    fn one_shape_has_no_distance() {
        assert_eq!(smallest_distance_nm(&mask(20, 20, &[[2, 2, 10, 10]])), None);
    }

    /// All rows at once are the second implementation: more rows than a band, more columns than a stripe.
    #[test]
    fn bands_of_rows_find_the_gap_that_the_whole_image_has() {
        use rand::{Rng, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let (width, height) = (150, 3 * BAND + 5);
        for shapes in [2, 3, 9] {
            let corner =
                |rng: &mut rand_chacha::ChaCha8Rng, most: usize| rng.random_range(0..most - 4);
            let boxes: Vec<[usize; 4]> = (0..shapes)
                .map(|_| [corner(&mut rng, width), corner(&mut rng, height)])
                .map(|[x, y]| [x, y, x + 3, y + 4])
                .collect();
            let mask = mask(width, height, &boxes);
            let found = super::shapes(&mask.binary(), width);
            let nearest = crate::distance::nearest(&mask.binary(), width);
            let label = |p: usize| found.labels[nearest[p] as usize];
            let mut least = f64::INFINITY;
            for p in 0..nearest.len() {
                let right = ((p + 1) % width != 0).then_some(p + 1);
                let below = (p + width < nearest.len()).then_some(p + width);
                for other in [right, below].into_iter().flatten() {
                    if label(p) != label(other) {
                        least = least.min(gap(nearest[p] as usize, nearest[other] as usize, width));
                    }
                }
            }
            let expected = least.is_finite().then_some(2.0 * least);
            assert_eq!(smallest_distance_nm(&mask), expected);
            let both = smallest_nm(&Bits::of_raster(&mask), 2.0);
            assert_eq!(both, (smallest_area_nm2(&mask), expected));
        }
    }

    /// Brute force over all pairs is the second implementation.
    #[test]
    fn random_masks_agree_with_brute_force() {
        use rand::{Rng, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for _ in 0..50 {
            let mut mask = Raster::new(24, 24, 1.0);
            for _ in 0..6 {
                let (x, y) = (rng.random_range(0..22), rng.random_range(0..22));
                mask.data[y * 24 + x] = 1.0;
                mask.data[y * 24 + x + 1] = 1.0;
            }
            let found = shapes(&mask.binary(), 24);
            let pixels: Vec<usize> = (0..24 * 24).filter(|&p| found.labels[p] != 0).collect();
            let mut least = f64::INFINITY;
            for &a in &pixels {
                for &b in &pixels {
                    if found.labels[a] != found.labels[b] {
                        least = least.min(gap(a, b, 24));
                    }
                }
            }
            // The transform minimises between centres, the gap is between edges: up to 1 px apart.
            let ours = smallest_distance_nm(&mask).unwrap_or(f64::INFINITY);
            assert!(ours >= least && (ours - least < 1.0 || ours == least), "{ours} vs {least}");
        }
    }
}
