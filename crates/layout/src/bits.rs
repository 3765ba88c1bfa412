//! Growing and shrinking by a disk, 64 pixels at a time.
//!
//! A disk is a stack of runs: an image grown by it is, row by row, the union of its rows grown sideways by
//! those runs. Small disks on large images are a hundred times as fast this way as by distances.

use rayon::prelude::*;

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

    /// Rows.
    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// Whether a pixel is set.
    pub(crate) fn at(&self, x: usize, y: usize) -> bool {
        self.data[y * self.words + 1 + x / 64] >> (x % 64) & 1 == 1
    }

    /// Sets a pixel.
    pub(crate) fn set(&mut self, x: usize, y: usize) {
        self.data[y * self.words + 1 + x / 64] |= 1 << (x % 64);
    }

    /// Sets pixels `start..end` of a row.
    pub(crate) fn set_run(&mut self, y: usize, start: usize, end: usize) {
        let row = &mut self.data[y * self.words + 1..(y + 1) * self.words];
        for (index, word) in row.iter_mut().enumerate().take(end.div_ceil(64)).skip(start / 64) {
            let from = start.saturating_sub(index * 64);
            let to = (end - index * 64).min(64);
            *word |= (u64::MAX << from) & (u64::MAX >> (64 - to));
        }
    }

    /// Calls `visit` with the start and end of each run of set pixels of a row.
    pub(crate) fn runs(&self, y: usize, mut visit: impl FnMut(usize, usize)) {
        let row = &self.data[y * self.words + 1..(y + 1) * self.words];
        let mut x = 0;
        while let Some(start) = next(row, x, 0) {
            // The margin after the row is empty, so that every run ends.
            let end = next(row, start, u64::MAX).unwrap_or(self.width);
            visit(start, end);
            x = end;
        }
    }

    /// Whether any pixel is set.
    pub(crate) fn any(&self) -> bool {
        self.data.iter().any(|&word| word != 0)
    }

    /// The same size with no pixel set.
    pub(crate) fn cleared(&self) -> Self {
        Self::empty(self.width, self.height)
    }

    /// The pixels of both.
    pub(crate) fn or(&self, other: &Self) -> Self {
        self.combined(other, |a, b| a | b)
    }

    /// The pixels that are not in the other.
    pub(crate) fn without(&self, other: &Self) -> Self {
        self.combined(other, |a, b| a & !b)
    }

    fn combined(&self, other: &Self, word: impl Fn(u64, u64) -> u64) -> Self {
        let data = self.data.iter().zip(&other.data).map(|(&a, &b)| word(a, b)).collect();
        Self { data, ..*self }
    }

    /// The image with `margin` empty pixels around it.
    pub(crate) fn framed(set: &[bool], width: usize, margin: usize) -> Self {
        let height = set.len() / width.max(1);
        let mut bits = Self::empty(width + 2 * margin, height + 2 * margin);
        let words = bits.words;
        let rows = bits.data.par_chunks_mut(words).skip(margin);
        set.par_chunks(width.max(1)).zip(rows).for_each(|(row, packed)| {
            for (x, _) in row.iter().enumerate().filter(|&(_, &inside)| inside) {
                packed[1 + (x + margin) / 64] |= 1 << ((x + margin) % 64);
            }
        });
        bits
    }

    /// What [`Bits::framed`] put a margin around.
    pub(crate) fn unframed(&self, margin: usize) -> Vec<bool> {
        let (width, height) = (self.width - 2 * margin, self.height - 2 * margin);
        let mut set = vec![false; width * height];
        set.par_chunks_mut(width.max(1)).enumerate().for_each(|(y, row)| {
            row.iter_mut().enumerate().for_each(|(x, p)| *p = self.at(x + margin, y + margin));
        });
        set
    }

    /// Back to a row-major image.
    pub(crate) fn to_bools(&self) -> Vec<bool> {
        self.unframed(0)
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
        let half_runs: Vec<usize> =
            (0..=reach).map(|dy| (r2 - (dy * dy) as f64).sqrt().floor() as usize).collect();
        let mut halves = half_runs.clone();
        halves.dedup();
        let wide: Vec<Self> = halves.par_iter().map(|&half| self.widened(half)).collect();
        let of = |dy: usize| &wide[halves.iter().position(|&h| h == half_runs[dy]).unwrap_or(0)];
        let stack: Vec<&Self> = (0..=reach).map(of).collect();
        let mut out = Self::empty(self.width, self.height);
        let words = self.words;
        out.data.par_chunks_mut(words).enumerate().with_min_len(64).for_each(|(y, row)| {
            for (dy, wide) in stack.iter().enumerate() {
                let below = y.checked_sub(dy);
                let above = (dy > 0 && y + dy < self.height).then_some(y + dy);
                for from in below.into_iter().chain(above) {
                    let from = &wide.data[from * words..][..words];
                    row.iter_mut().zip(from).for_each(|(a, b)| *a |= b);
                }
            }
        });
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
}

/// The first pixel from `from` on whose bit, turned round by `flip`, is set.
fn next(row: &[u64], from: usize, flip: u64) -> Option<usize> {
    let mut index = from / 64;
    let mut word = (row.get(index)? ^ flip) & (u64::MAX << (from % 64));
    while word == 0 {
        index += 1;
        word = row.get(index)? ^ flip;
    }
    Some(index * 64 + word.trailing_zeros() as usize)
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
