//! Runs of set pixels, row by row, and the shapes that they make.
//!
//! A mask of a million pixels has some thousand runs, so what is asked of shapes is asked of them.

use crate::bits::Bits;

/// Pixels `start..end` of row `y`, and their shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Row.
    pub y: usize,
    /// First pixel.
    pub start: usize,
    /// Pixel after the last.
    pub end: usize,
    /// Number of the shape, from 0, in the order of the shapes' first pixels.
    pub shape: usize,
}

/// The runs of an image in the order of their pixels.
#[derive(Clone, Debug)]
pub struct Runs {
    /// All, row by row.
    pub all: Vec<Run>,
    /// For each row the first of its runs, and the number of runs at the end.
    rows: Vec<usize>,
    /// Pixels of each shape.
    pub sizes: Vec<usize>,
}

impl Runs {
    /// Finds the runs and joins those that touch, corners included.
    pub fn of(bits: &Bits) -> Self {
        Self::joined(bits, 1)
    }

    /// Finds the runs and joins those that share a side of a pixel.
    pub(crate) fn by_sides(bits: &Bits) -> Self {
        Self::joined(bits, 0)
    }

    /// Joins runs of neighbouring rows that overlap after one of them grew by `slack` pixels.
    fn joined(bits: &Bits, slack: usize) -> Self {
        let mut all: Vec<Run> = Vec::new();
        let mut rows = vec![0];
        // A run's shape is the first run known to belong to it, until the end.
        let mut parents: Vec<usize> = Vec::new();
        for y in 0..bits.height() {
            let above = rows[y.saturating_sub(1)]..rows[y];
            let mut near = above.start;
            bits.runs(y, |start, end| {
                let own = all.len();
                parents.push(own);
                all.push(Run { y, start, end, shape: 0 });
                while near < above.end && all[near].end + slack <= start {
                    near += 1;
                }
                let touching = (near..above.end).take_while(|&run| all[run].start < end + slack);
                for run in touching {
                    join(&mut parents, run, own);
                }
            });
            rows.push(all.len());
        }
        let mut sizes = Vec::new();
        for run in 0..all.len() {
            let first = root(&mut parents, run);
            if first == run {
                all[run].shape = sizes.len();
                sizes.push(0);
            } else {
                all[run].shape = all[first].shape;
            }
            sizes[all[run].shape] += all[run].end - all[run].start;
        }
        Self { all, rows, sizes }
    }

    /// The rectangle of pixels around each shape: least column and row, and the first column and row beyond.
    pub fn boxes(&self) -> Vec<[usize; 4]> {
        let mut boxes = vec![[usize::MAX, usize::MAX, 0, 0]; self.sizes.len()];
        for run in &self.all {
            let [x0, y0, x1, y1] = &mut boxes[run.shape];
            (*x0, *x1) = (run.start.min(*x0), run.end.max(*x1));
            // Runs are in the order of their rows.
            (*y0, *y1) = (run.y.min(*y0), run.y + 1);
        }
        boxes
    }

    /// The runs of a row.
    pub(crate) fn row(&self, y: usize) -> &[Run] {
        &self.all[self.rows[y]..self.rows[y + 1]]
    }

    /// Rows of the image.
    pub(crate) fn height(&self) -> usize {
        self.rows.len() - 1
    }
}

/// The first run of a run's shape, as far as it is known.
fn root(parents: &mut [usize], run: usize) -> usize {
    let mut first = run;
    while parents[first] != first {
        parents[first] = parents[parents[first]];
        first = parents[first];
    }
    first
}

fn join(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A flood from each pixel in turn: the second implementation.
    fn flooded(set: &[bool], width: usize) -> Vec<u32> {
        let mut labels = vec![0; set.len()];
        let mut count = 0;
        for start in 0..set.len() {
            if !set[start] || labels[start] != 0 {
                continue;
            }
            count += 1;
            labels[start] = count;
            let mut stack = vec![start];
            while let Some(pixel) = stack.pop() {
                let near = |a: usize, b: usize| {
                    (a % width).abs_diff(b % width) <= 1 && (a / width).abs_diff(b / width) <= 1
                };
                for other in 0..set.len() {
                    if set[other] && labels[other] == 0 && near(pixel, other) {
                        labels[other] = count;
                        stack.push(other);
                    }
                }
            }
        }
        labels
    }

    proptest! {
        #[test]
        fn shapes_of_runs_are_those_of_a_flood(
            width in prop_oneof![Just(5_usize), Just(64), Just(67)],
            seed in any::<u64>(),
            share in 0.1..0.7_f64,
        ) {
            use rand::{Rng, SeedableRng};
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let set: Vec<bool> = (0..width * 11).map(|_| rng.random_bool(share)).collect();
            let bits = Bits::of_bools(&set, width);
            prop_assert_eq!(&bits.to_bools(), &set);
            let runs = Runs::of(&bits);
            let mut labels = vec![0; set.len()];
            for run in &runs.all {
                labels[run.y * width + run.start..run.y * width + run.end].fill(run.shape as u32 + 1);
            }
            prop_assert_eq!(labels, flooded(&set, width));
            let total: usize = runs.sizes.iter().sum();
            prop_assert_eq!(total, set.iter().filter(|&&s| s).count());
        }

        /// On a grid twice as fine, with bridges between pixels that share a side: what meets at corners alone is a pixel apart there.
        #[test]
        fn runs_that_share_no_side_are_apart(seed in any::<u64>(), share in 0.1..0.7_f64) {
            use rand::{Rng, SeedableRng};
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let set: Vec<bool> = (0..9 * 11).map(|_| rng.random_bool(share)).collect();
            let mut spread = Bits::dark(9 * 2, 11 * 2);
            for (y, x) in (0..11).flat_map(|y| (0..9).map(move |x| (y, x))) {
                let at = |x: usize, y: usize| x < 9 && y < 11 && set[y * 9 + x];
                if at(x, y) {
                    spread.set(2 * x, 2 * y);
                    if at(x + 1, y) { spread.set(2 * x + 1, 2 * y) }
                    if at(x, y + 1) { spread.set(2 * x, 2 * y + 1) }
                }
            }
            let sides = Runs::by_sides(&Bits::of_bools(&set, 9)).sizes.len();
            prop_assert_eq!(sides, flooded(&spread.to_bools(), 18).into_iter().max().unwrap_or(0) as usize);
        }

        #[test]
        fn a_run_that_is_set_is_the_run_that_is_found(start in 0..140_usize, length in 1..140_usize) {
            let end = (start + length).min(150);
            let mut bits = Bits::dark(150, 2);
            bits.set_run(1, start, end);
            let mut found = Vec::new();
            bits.runs(1, |start, end| found.push((start, end)));
            bits.runs(0, |start, end| found.push((start, end)));
            prop_assert_eq!(found, vec![(start, end)]);
        }
    }
}
