//! Connected shapes of a binary mask: how small the smallest is, how near the nearest two are.

use crate::Raster;
use crate::bits::Bits;
use crate::runs::Runs;

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
    let sizes = shapes(&mask.binary(), mask.width).sizes;
    sizes.into_iter().min().map(|px| px as f64 * mask.pixel_nm * mask.pixel_nm)
}

/// Gap between the two nearest shapes, edge to edge, in nm; `None` with fewer than two shapes.
///
/// Found on the border between the shapes' Voronoi cells: the nearest pair faces each other across it.
pub fn smallest_distance_nm(mask: &Raster) -> Option<f64> {
    let found = shapes(&mask.binary(), mask.width);
    if found.sizes.len() < 2 {
        return None;
    }
    let inside: Vec<bool> = found.labels.iter().map(|&label| label != 0).collect();
    let nearest = crate::distance::nearest(&inside, found.width);
    let (width, mut least) = (found.width, f64::INFINITY);
    let mut compare = |a: usize, b: usize| {
        let (a, b) = (nearest[a] as usize, nearest[b] as usize);
        if found.labels[a] != found.labels[b] {
            least = least.min(gap(a, b, width));
        }
    };
    for pixel in 0..nearest.len() {
        if (pixel + 1) % width != 0 {
            compare(pixel, pixel + 1);
        }
        if pixel + width < nearest.len() {
            compare(pixel, pixel + width);
        }
    }
    least.is_finite().then_some(least * mask.pixel_nm)
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
