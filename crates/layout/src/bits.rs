//! Growing and shrinking by a disk, 64 pixels at a time.
//!
//! A disk is a stack of runs: an image grown by it is, row by row, the union of its rows grown sideways by
//! those runs. Small disks on large images are a hundred times as fast this way as by distances.

/// Largest radius: a run must not reach over more than the word of margin.
pub(crate) const MOST_RADIUS: f64 = 31.0;

/// A binary image, a bit a pixel, with an empty word before and after each row.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bits {
    width: usize,
    height: usize,
    /// Words of a row, margins included.
    words: usize,
    data: Vec<u64>,
}

impl Bits {
    fn empty(width: usize, height: usize) -> Self {
        let words = width.div_ceil(64) + 2;
        Self { width, height, words, data: vec![0; words * height] }
    }

    /// Packs a row-major image.
    pub(crate) fn new(set: &[bool], width: usize) -> Self {
        let mut bits = Self::empty(width, set.len() / width.max(1));
        for (row, packed) in set.chunks(width).zip(bits.data.chunks_mut(bits.words)) {
            for (pixels, word) in row.chunks(64).zip(&mut packed[1..]) {
                *word = pixels.iter().rev().fold(0, |w, &p| w << 1 | u64::from(p));
            }
        }
        bits
    }

    fn at(&self, x: usize, y: usize) -> bool {
        self.data[y * self.words + 1 + x / 64] >> (x % 64) & 1 == 1
    }

    /// Back to a row-major image.
    pub(crate) fn to_bools(&self) -> Vec<bool> {
        let row = |y: usize| (0..self.width).map(move |x| self.at(x, y));
        (0..self.height).flat_map(row).collect()
    }

    /// The image and nothing in its margins.
    fn trimmed(mut self) -> Self {
        let (width, words) = (self.width, self.words);
        for row in self.data.chunks_mut(words) {
            row[0] = 0;
            row[words - 1] = 0;
            if !width.is_multiple_of(64) {
                row[words - 2] &= (1 << (width % 64)) - 1;
            }
        }
        self
    }

    /// All pixels within `radius` of the set.
    pub(crate) fn grown(&self, radius: f64) -> Self {
        debug_assert!(radius <= MOST_RADIUS);
        let r2 = radius * radius + 1e-9;
        let reach = r2.sqrt().floor() as usize;
        let half_run = |dy: usize| (r2 - (dy * dy) as f64).sqrt().floor() as usize;
        let mut out = Self::empty(self.width, self.height);
        let mut wide: Option<(usize, Self)> = None;
        for dy in 0..=reach {
            let half = half_run(dy);
            if wide.as_ref().is_none_or(|(h, _)| *h != half) {
                wide = Some((half, self.widened(half)));
            }
            let Some((_, rows)) = &wide else { continue };
            out.add_shifted(rows, dy as isize);
            out.add_shifted(rows, -(dy as isize));
        }
        out.trimmed()
    }

    /// The pixels whose disk lies in the set; beyond the border counts as the set.
    pub(crate) fn shrunk(&self, radius: f64) -> Self {
        self.inverse().grown(radius).inverse()
    }

    /// What the disk covers when it moves about inside the set.
    pub(crate) fn opened(&self, radius: f64) -> Self {
        self.shrunk(radius).grown(radius)
    }

    pub(crate) fn inverse(&self) -> Self {
        let data = self.data.iter().map(|w| !w).collect();
        Self { data, ..*self }.trimmed()
    }

    /// Each row grown sideways by `half` pixels.
    fn widened(&self, half: usize) -> Self {
        let mut out = self.clone();
        if half == 0 {
            return out;
        }
        let length = 2 * half + 1;
        for row in out.data.chunks_mut(self.words) {
            // Runs of 1, 2, 4, … pixels to the right, then back by half of the whole.
            let mut run = 1;
            while 2 * run <= length {
                or_right(row, run);
                run *= 2;
            }
            or_right(row, length - run);
            left(row, half);
        }
        out
    }

    fn add_shifted(&mut self, rows: &Self, dy: isize) {
        for y in 0..self.height {
            let from = y as isize + dy;
            if (0..self.height as isize).contains(&from) {
                let to = &mut self.data[y * self.words..(y + 1) * self.words];
                let from = &rows.data[from as usize * self.words..][..self.words];
                to.iter_mut().zip(from).for_each(|(a, b)| *a |= b);
            }
        }
    }
}

/// Adds the row moved by `by` < 64 pixels towards larger x.
fn or_right(row: &mut [u64], by: usize) {
    if by == 0 {
        return;
    }
    for i in (0..row.len()).rev() {
        let carried = if i > 0 { row[i - 1] >> (64 - by) } else { 0 };
        row[i] |= row[i] << by | carried;
    }
}

/// Moves the row by `by` < 64 pixels towards smaller x.
fn left(row: &mut [u64], by: usize) {
    for i in 0..row.len() {
        let carried = if i + 1 < row.len() { row[i + 1] << (64 - by) } else { 0 };
        row[i] = row[i] >> by | carried;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance;
    use proptest::prelude::*;

    proptest! {
        /// Distances are the second implementation, over widths that do and do not fill words.
        #[test]
        fn growing_and_shrinking_are_those_by_distance(
            width in prop_oneof![Just(37_usize), Just(64), Just(130)],
            seed in any::<u64>(),
            radius in 0.0..12.0_f64,
        ) {
            use rand::{Rng, SeedableRng};
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let set: Vec<bool> = (0..width * 29).map(|_| rng.random_bool(0.03)).collect();
            let bits = Bits::new(&set, width);
            prop_assert_eq!(&bits.to_bools(), &set);
            prop_assert_eq!(bits.grown(radius).to_bools(), distance::grown(&set, width, radius));
            let most: Vec<bool> = set.iter().map(|s| !s).collect();
            let bits = Bits::new(&most, width);
            prop_assert_eq!(bits.shrunk(radius).to_bools(), distance::shrunk(&most, width, radius));
        }
    }
}
