//! Euclidean distance on pixels, and growing and shrinking by a disk with it.
//!
//! Source: Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions" (2012): columns
//! first, then the lower envelope of the columns' parabolas along each row.

use std::ops::Range;

use rayon::prelude::*;

/// No pixel of the set in this column.
const NONE: u32 = u32::MAX;
/// Columns that one task looks through.
const STRIPE: usize = 128;

/// For each pixel of a row-major image the index of the nearest pixel in `set`; `u32::MAX` for
/// every pixel if the set is empty.
pub fn nearest(set: &[bool], width: usize) -> Vec<u32> {
    let columns = Columns::of(set, width);
    let mut nearest = vec![NONE; set.len()];
    let rows = nearest.par_chunks_mut(width.max(1)).enumerate();
    rows.for_each(|(y, nearest)| columns.nearest(y, nearest));
    nearest
}

/// Squared distance, in pixels, from each pixel's middle to that of the nearest pixel in `set`;
/// `u64::MAX` if the set is empty.
pub fn squared(set: &[bool], width: usize) -> Vec<u64> {
    let nearest = nearest(set, width);
    let distance = |(pixel, &other): (usize, &u32)| match other {
        NONE => u64::MAX,
        other => between(pixel, other as usize, width),
    };
    nearest.par_iter().enumerate().map(distance).collect()
}

/// Squared distance of two pixels' middles.
fn between(a: usize, b: usize, width: usize) -> u64 {
    let dx = (a % width).abs_diff(b % width) as u64;
    let dy = (a / width).abs_diff(b / width) as u64;
    dx * dx + dy * dy
}

/// All pixels within `radius` pixels of the set: its dilation by a disk.
pub fn grown(set: &[bool], width: usize, radius: f64) -> Vec<bool> {
    let most = (radius * radius + 1e-9).floor() as u64;
    squared(set, width).into_par_iter().map(|d| d <= most).collect()
}

/// The pixels of the set whose disk of `radius` pixels lies in it: its erosion. Beyond the image's border
/// counts as the set, so that nothing shrinks from there.
pub fn shrunk(set: &[bool], width: usize, radius: f64) -> Vec<bool> {
    let most = (radius * radius + 1e-9).floor() as u64;
    let outside: Vec<bool> = set.iter().map(|&inside| !inside).collect();
    squared(&outside, width).into_par_iter().map(|d| d > most).collect()
}

/// What a disk of `radius` pixels covers when it moves about inside the set: its opening.
pub fn opened(set: &[bool], width: usize, radius: f64) -> Vec<bool> {
    grown(&shrunk(set, width, radius), width, radius)
}

/// For each pixel the nearest of a set in its column: from it rows of nearest pixels are found one by one.
pub(crate) struct Columns {
    width: usize,
    /// Stripes of [`STRIPE`] columns side by side, each row after row.
    stripes: Vec<Vec<u32>>,
}

impl Columns {
    /// Looks through the columns of a row-major image.
    pub(crate) fn of(set: &[bool], width: usize) -> Self {
        let first: Vec<usize> = (0..width).step_by(STRIPE).collect();
        let stripe =
            |first: usize| nearest_in_columns(set, width, first..(first + STRIPE).min(width));
        Self { width, stripes: first.into_par_iter().map(stripe).collect() }
    }

    /// The nearest of the set to each pixel of row `y`; `u32::MAX` if it is empty.
    pub(crate) fn nearest(&self, y: usize, nearest: &mut [u32]) {
        let mut in_column = Vec::with_capacity(self.width);
        for (stripe, first) in self.stripes.iter().zip((0..self.width).step_by(STRIPE)) {
            let columns = STRIPE.min(self.width - first);
            in_column.extend_from_slice(&stripe[y * columns..][..columns]);
        }
        nearest_in_row(&in_column, y, nearest);
    }
}

/// For each pixel of some columns the nearest of the set in its column, row after row.
fn nearest_in_columns(set: &[bool], width: usize, columns: Range<usize>) -> Vec<u32> {
    let (height, count) = (set.len() / width.max(1), columns.len());
    let mut found = vec![NONE; height * count];
    let mut last = vec![NONE; count];
    for (y, found) in found.chunks_exact_mut(count).enumerate() {
        let row = y * width + columns.start;
        for (x, (found, last)) in found.iter_mut().zip(&mut last).enumerate() {
            if set[row + x] {
                *last = (row + x) as u32;
            }
            *found = *last;
        }
    }
    last.fill(NONE);
    for (y, found) in found.chunks_exact_mut(count).enumerate().rev() {
        let row = y * width + columns.start;
        for (x, (found, last)) in found.iter_mut().zip(&mut last).enumerate() {
            if set[row + x] {
                *last = (row + x) as u32;
            }
            let (above, below) = (*found, *last);
            let rows = |p: u32| (p as usize / width).abs_diff(y);
            if below != NONE && (above == NONE || rows(below) < rows(above)) {
                *found = below;
            }
        }
    }
    found
}

/// One row: which column's nearest pixel is nearest to each pixel of the row.
fn nearest_in_row(in_column: &[u32], y: usize, nearest: &mut [u32]) {
    let width = in_column.len();
    let height2 = |x: usize| ((in_column[x] as usize / width).abs_diff(y) as f64).powi(2);
    let mut envelope: Vec<(usize, f64)> = Vec::new(); // a column, and from where it is lowest
    for x in (0..width).filter(|&x| in_column[x] != NONE) {
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
    if envelope.is_empty() {
        return;
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
    use proptest::prelude::*;

    const WIDTH: usize = 13;

    fn by_definition(set: &[bool], pixel: usize) -> u64 {
        let inside = (0..set.len()).filter(|&p| set[p]);
        inside.map(|p| between(pixel, p, WIDTH)).min().unwrap_or(u64::MAX)
    }

    proptest! {
        #[test]
        fn distances_are_those_of_the_definition(
            set in proptest::collection::vec(proptest::bool::weighted(0.1), WIDTH * 9)
        ) {
            let found = squared(&set, WIDTH);
            for (pixel, &found) in found.iter().enumerate() {
                prop_assert_eq!(found, by_definition(&set, pixel));
            }
        }

        /// Opening twice is opening once; the opening lies in the set.
        #[test]
        fn opening_is_idempotent(
            set in proptest::collection::vec(proptest::bool::weighted(0.8), WIDTH * 9),
            radius in 0.0..3.0_f64,
        ) {
            let once = opened(&set, WIDTH, radius);
            prop_assert!(once.iter().zip(&set).all(|(o, s)| !o || *s));
            prop_assert_eq!(opened(&once, WIDTH, radius), once);
        }
    }

    /// Wider than a stripe of columns.
    #[test]
    fn distances_of_a_wide_image_are_those_of_the_definition() {
        use rand::{Rng, SeedableRng};
        const WIDE: usize = 2 * STRIPE + 3;
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let set: Vec<bool> = (0..WIDE * 7).map(|_| rng.random_bool(0.01)).collect();
        let squared = squared(&set, WIDE);
        for (pixel, &found) in squared.iter().enumerate() {
            let inside = (0..set.len()).filter(|&p| set[p]);
            assert_eq!(Some(found), inside.map(|p| between(pixel, p, WIDE)).min());
        }
    }

    #[test]
    fn an_empty_image_has_no_distances() {
        assert!(squared(&[], 0).is_empty());
        assert_eq!(nearest(&[false; 6], 3), [NONE; 6]);
    }

    #[test]
    fn a_disk_grows_from_a_point_and_shrinks_back() {
        let mut point = vec![false; WIDTH * 13];
        point[6 * WIDTH + 6] = true;
        let disk = grown(&point, WIDTH, 3.0);
        assert_eq!(disk.iter().filter(|&&d| d).count(), 29); // lattice points within 3 of the middle
        assert_eq!(shrunk(&disk, WIDTH, 3.0), point);
    }
}
