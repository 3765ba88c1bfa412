//! Binary squares as the lengths of their runs: a tile's core of 512 by 512 pixels takes a few kilobytes.

use lithoburn_layout::Raster;

/// The pixels of a square, packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Pixels on a side.
    pub side: usize,
    /// Lengths of runs, row after row, of 0 and 1 by turns, the first of 0; seven bits a byte, the least first.
    pub runs: Vec<u8>,
}

impl Packed {
    /// The window of a raster that begins at `at` and has `side` pixels a side; at least half covered is 1.
    pub(crate) fn of(raster: &Raster, at: [usize; 2], side: usize) -> Self {
        let mut packer = Packer { runs: Vec::new(), value: false, length: 0 };
        for row in raster.data.chunks_exact(raster.width).skip(at[1]).take(side) {
            row[at[0]..at[0] + side].iter().for_each(|&v| packer.add(v >= 0.5));
        }
        Self { side, runs: packer.end() }
    }

    /// A square of `side` pixels, a bit each, in rows of whole words, the least bit first.
    pub(crate) fn of_words(words: &[u32], side: usize) -> Self {
        let mut packer = Packer { runs: Vec::new(), value: false, length: 0 };
        for row in words.chunks_exact(side.div_ceil(32).max(1)) {
            for (i, &word) in row.iter().enumerate() {
                packer.add_word(word, (side - 32 * i).min(32));
            }
        }
        Self { side, runs: packer.end() }
    }

    /// Draws the ones onto a raster, with the square's first pixel at `at`, which may be outside.
    pub(crate) fn paste(&self, onto: &mut Raster, at: [isize; 2]) {
        let (width, height) = (onto.width as isize, onto.height as isize);
        let (mut start, mut inside) = (0, false);
        for length in lengths(&self.runs) {
            let end = start + length;
            while inside && start < end {
                let (row, column) = (start / self.side, start % self.side);
                let part = (end - start).min(self.side - column);
                let y = at[1] + row as isize;
                let x0 = (at[0] + column as isize).clamp(0, width);
                let x1 = (at[0] + (column + part) as isize).clamp(0, width);
                if (0..height).contains(&y) && x0 < x1 {
                    let row = y as usize * onto.width;
                    onto.data[row + x0 as usize..row + x1 as usize].fill(1.0);
                }
                start += part;
            }
            (start, inside) = (end, !inside);
        }
    }

    /// Whether the runs fill a square of that side: what was read from disk may be anything.
    pub(crate) fn is_whole(&self) -> bool {
        lengths(&self.runs).sum::<usize>() == self.side * self.side
    }
}

struct Packer {
    runs: Vec<u8>,
    value: bool,
    length: usize,
}

impl Packer {
    fn add(&mut self, value: bool) {
        if value != self.value {
            self.close();
            self.value = value;
        }
        self.length += 1;
    }

    /// The least `bits` bits of a word, run by run.
    fn add_word(&mut self, word: u32, bits: usize) {
        let mut left = bits;
        while left > 0 {
            // Towards the first bit that differs, which the next shift brings to the front.
            let rest = (if self.value { !word } else { word }) >> (bits - left);
            let same = (rest.trailing_zeros() as usize).min(left);
            self.length += same;
            left -= same;
            if left > 0 {
                self.close();
                self.value = !self.value;
            }
        }
    }

    fn close(&mut self) {
        let mut left = self.length;
        while left >= 0x80 {
            self.runs.push(left as u8 | 0x80);
            left >>= 7;
        }
        self.runs.push(left as u8);
        self.length = 0;
    }

    fn end(mut self) -> Vec<u8> {
        self.close();
        self.runs
    }
}

fn lengths(runs: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut bytes = runs.iter();
    std::iter::from_fn(move || {
        let (mut value, mut shift) = (0_usize, 0);
        loop {
            let byte = *bytes.next()?;
            value |= usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize, every: usize) -> Raster {
        let mut raster = Raster::new(width, height, 1.0);
        for (i, value) in raster.data.iter_mut().enumerate() {
            *value = f32::from(u8::from((i * i / 7 + i / 3) % every < every / 2));
        }
        raster
    }

    #[test]
    fn what_is_packed_is_drawn_back() {
        for every in [2, 5, 64, 4000] {
            let raster = noise(100, 90, every);
            let packed = Packed::of(&raster, [13, 7], 64);
            assert!(packed.is_whole());
            let mut drawn = Raster::new(64, 64, 1.0);
            packed.paste(&mut drawn, [0, 0]);
            assert_eq!(drawn, raster.crop([13, 7], 64, 64), "{every}");
            // Partly outside on every side.
            let mut small = Raster::new(30, 30, 1.0);
            packed.paste(&mut small, [-20, -10]);
            assert_eq!(small, raster.crop([33, 17], 30, 30), "{every}");
        }
        for (side, every) in [(64, 5), (70, 64), (31, 2), (96, 9000)] {
            let raster = noise(side, side, every);
            let bit = |word: u32, &v: &f32| word << 1 | u32::from(v >= 0.5);
            let words = |row: &[f32]| row.chunks(32).map(|w| w.iter().rev().fold(0, bit)).collect();
            let words: Vec<Vec<u32>> = raster.data.chunks(side).map(words).collect();
            assert_eq!(Packed::of_words(&words.concat(), side), Packed::of(&raster, [0, 0], side));
        }
        assert_eq!(Packed::of(&Raster::new(512, 512, 1.0), [0, 0], 512).runs.len(), 3);
    }

    #[test]
    fn runs_that_do_not_fill_the_square_are_seen() {
        let whole = Packed::of(&noise(16, 16, 5), [0, 0], 16);
        let last = whole.runs.len() - 1;
        let cut = Packed { runs: whole.runs[..last].to_vec(), ..whole.clone() };
        assert!(whole.is_whole() && !cut.is_whole());
        assert!(!Packed { side: 16, runs: vec![0xff; 40] }.is_whole());
    }
}
