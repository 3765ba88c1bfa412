//! Connected shapes of a binary mask: how small the smallest is, how near the nearest two are.

use crate::Raster;

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
    let mut found = Shapes { width, labels: vec![0; inside.len()], sizes: Vec::new() };
    let mut stack = Vec::new();
    for start in 0..inside.len() {
        if inside[start] && found.labels[start] == 0 {
            stack.push(start);
            found.flood(inside, &mut stack);
        }
    }
    found
}

impl Shapes {
    fn flood(&mut self, inside: &[bool], stack: &mut Vec<usize>) {
        let label = self.sizes.len() as u32 + 1;
        let height = inside.len() / self.width;
        let mut size = 0;
        for &pixel in stack.iter() {
            self.labels[pixel] = label;
        }
        while let Some(pixel) = stack.pop() {
            size += 1;
            let (x, y) = (pixel % self.width, pixel / self.width);
            for ny in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for nx in x.saturating_sub(1)..=(x + 1).min(self.width - 1) {
                    let next = ny * self.width + nx;
                    if inside[next] && self.labels[next] == 0 {
                        self.labels[next] = label;
                        stack.push(next);
                    }
                }
            }
        }
        self.sizes.push(size);
    }
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
    let nearest = nearest_shape_pixels(&found);
    let (width, mut least) = (found.width, f64::INFINITY);
    let mut compare = |a: usize, b: usize| {
        let (a, b) = (nearest[a], nearest[b]);
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

/// For each pixel the nearest pixel of any shape: columns first, then the lower envelope of the
/// columns' parabolas along each row (Felzenszwalb and Huttenlocher's distance transform).
fn nearest_shape_pixels(shapes: &Shapes) -> Vec<usize> {
    let (width, height) = (shapes.width, shapes.labels.len() / shapes.width);
    let mut in_column = vec![usize::MAX; shapes.labels.len()];
    for x in 0..width {
        // Downwards, then upwards: `last` is the nearest shape pixel behind.
        let mut last = usize::MAX;
        for y in (0..height).chain((0..height).rev()) {
            let pixel = y * width + x;
            if shapes.labels[pixel] != 0 {
                last = pixel;
            }
            let distance = |p: usize| (p / width).abs_diff(y);
            let known = in_column[pixel];
            if last != usize::MAX && (known == usize::MAX || distance(last) < distance(known)) {
                in_column[pixel] = last;
            }
        }
    }
    let mut nearest = vec![0; shapes.labels.len()];
    for y in 0..height {
        let row = &in_column[y * width..(y + 1) * width];
        nearest_in_row(row, y, width, &mut nearest[y * width..(y + 1) * width]);
    }
    nearest
}

/// One row of the transform: which column's nearest pixel is nearest to each pixel of the row.
fn nearest_in_row(in_column: &[usize], y: usize, width: usize, nearest: &mut [usize]) {
    let height2 = |x: usize| ((in_column[x] / width).abs_diff(y) as f64).powi(2);
    let mut envelope: Vec<(usize, f64)> = Vec::new(); // a column, and from where it is lowest
    for x in (0..width).filter(|&x| in_column[x] != usize::MAX) {
        let key = |c: usize| height2(c) + (c * c) as f64;
        let mut from = f64::NEG_INFINITY;
        while let Some(&(column, start)) = envelope.last() {
            from = (key(x) - key(column)) / (2.0 * (x - column) as f64);
            if from > start {
                break;
            }
            envelope.pop();
            from = f64::NEG_INFINITY;
        }
        envelope.push((x, from));
    }
    let mut current = 0;
    for (x, slot) in nearest.iter_mut().enumerate() {
        while current + 1 < envelope.len() && envelope[current + 1].1 <= x as f64 {
            current += 1;
        }
        *slot = in_column[envelope[current].0];
    }
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
