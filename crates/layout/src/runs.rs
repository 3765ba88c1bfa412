//! Runs of set pixels, row by row, and the shapes that they make.
//!
//! A mask of a million pixels has some thousand runs, so what is asked of shapes is asked of them.

use crate::bits::Bits;

/// Pixels `start..end` of row `y`, and their shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) y: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Number of the shape, from 0, in the order of the shapes' first pixels.
    pub(crate) shape: usize,
}

/// The runs of an image in the order of their pixels.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    pub(crate) all: Vec<Run>,
    /// For each row the first of its runs, and the number of runs at the end.
    rows: Vec<usize>,
    /// Pixels of each shape.
    pub(crate) sizes: Vec<usize>,
}

impl Runs {
    /// Finds the runs and joins those that touch, corners included.
    pub(crate) fn of(bits: &Bits) -> Self {
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
                while near < above.end && all[near].end < start {
                    near += 1;
                }
                let touching = (near..above.end).take_while(|&run| all[run].start <= end);
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
