//! Euclidean distance on pixels, and growing and shrinking by a disk with it.
//!
//! Source: Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions" (2012): columns
//! first, then the lower envelope of the columns' parabolas along each row.

use rayon::prelude::*;

/// No pixel of the set in this column.
const NONE: u32 = u32::MAX;

/// For each pixel of a row-major image the index of the nearest pixel in `set`; `u32::MAX` for
/// every pixel if the set is empty.
pub fn nearest(set: &[bool], width: usize) -> Vec<u32> {
    let in_column = nearest_in_columns(set, width);
    let mut nearest = vec![NONE; set.len()];
    nearest
        .par_chunks_mut(width)
        .zip(in_column.par_chunks(width))
        .enumerate()
        .for_each(|(y, (nearest, in_column))| nearest_in_row(in_column, y, nearest));
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

/// For each pixel the nearest of the set in its column.
fn nearest_in_columns(set: &[bool], width: usize) -> Vec<u32> {
    let height = set.len() / width.max(1);
    let mut found = vec![NONE; set.len()];
    let mut last = vec![NONE; width];
    for y in 0..height {
        for (x, last) in last.iter_mut().enumerate() {
            if set[y * width + x] {
                *last = (y * width + x) as u32;
            }
            found[y * width + x] = *last;
        }
    }
    last.fill(NONE);
    for y in (0..height).rev() {
        for (x, last) in last.iter_mut().enumerate() {
            let pixel = y * width + x;
            if set[pixel] {
                *last = pixel as u32;
            }
            let (above, below) = (found[pixel], *last);
            let rows = |p: u32| (p as usize / width).abs_diff(y);
            if below != NONE && (above == NONE || rows(below) < rows(above)) {
                found[pixel] = below;
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

    #[test]
    fn a_disk_grows_from_a_point_and_shrinks_back() {
        let mut point = vec![false; WIDTH * 13];
        point[6 * WIDTH + 6] = true;
        let disk = grown(&point, WIDTH, 3.0);
        assert_eq!(disk.iter().filter(|&&d| d).count(), 29); // lattice points within 3 of the middle
        assert_eq!(shrunk(&disk, WIDTH, 3.0), point);
    }
}
