//! Binary squares as the lengths of their runs: a tile's core of 512 by 512 pixels takes a few kilobytes.

use std::ops::Range;

use lithoburn_layout::Bits;

/// The pixels of a square, packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Pixels on a side.
    pub side: usize,
    /// Lengths of runs, row after row, of 0 and 1 by turns, the first of 0; seven bits a byte, the least first.
    pub runs: Vec<u8>,
}

impl Packed {
    /// A square image.
    pub(crate) fn of(image: &Bits) -> Self {
        let side = image.width();
        let mut packer = Packer { runs: Vec::new(), end: 0, open: 0..0 };
        for y in 0..image.height() {
            image.runs(y, |start, end| packer.add(y * side + start..y * side + end));
        }
        Self { side, runs: packer.end(side * image.height()) }
    }

    /// A square of `side` pixels, a bit each, in rows of whole words, the least bit first.
    pub(crate) fn of_words(words: &[u32], side: usize) -> Self {
        Self::of(&Bits::of_words(words, side, side))
    }

    /// The image.
    pub(crate) fn bits(&self) -> Bits {
        let mut bits = Bits::dark(self.side, self.side);
        self.paste(&mut bits, [0, 0]);
        bits
    }

    /// Draws the ones onto an image, with the square's first pixel at `at`, which may be outside.
    pub(crate) fn paste(&self, onto: &mut Bits, at: [isize; 2]) {
        let (width, height) = (onto.width() as isize, onto.height() as isize);
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
                    onto.set_run(y as usize, x0 as usize, x1 as usize);
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

/// Runs of ones, joined where a row's last goes on as the next one's first.
struct Packer {
    runs: Vec<u8>,
    /// Pixels whose runs are written.
    end: usize,
    /// The last run of ones, which is not.
    open: Range<usize>,
}

impl Packer {
    fn add(&mut self, ones: Range<usize>) {
        if ones.start == self.open.end && !self.open.is_empty() {
            self.open.end = ones.end;
        } else {
            self.close();
            self.open = ones;
        }
    }

    fn close(&mut self) {
        let ones = std::mem::replace(&mut self.open, 0..0);
        if !ones.is_empty() {
            self.write(ones.start - self.end);
            self.write(ones.len());
            self.end = ones.end;
        }
    }

    fn write(&mut self, length: usize) {
        let mut left = length;
        while left >= 0x80 {
            self.runs.push(left as u8 | 0x80);
            left >>= 7;
        }
        self.runs.push(left as u8);
    }

    fn end(mut self, pixels: usize) -> Vec<u8> {
        self.close();
        if self.end < pixels {
            self.write(pixels - self.end);
        }
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

    fn noise(side: usize, every: usize) -> Vec<bool> {
        (0..side * side).map(|i| (i * i / 7 + i / 3) % every < every / 2).collect()
    }

    /// Lengths as the format says it, counted pixel by pixel.
    fn counted(pixels: &[bool]) -> Vec<usize> {
        let mut lengths: Vec<usize> = pixels.chunk_by(|a, b| a == b).map(<[bool]>::len).collect();
        if pixels[0] {
            lengths.insert(0, 0);
        }
        lengths
    }

    #[test]
    fn what_is_packed_is_drawn_back() {
        for (side, every) in [(64, 2), (64, 5), (70, 64), (31, 2), (100, 4000)] {
            let pixels = noise(side, every);
            let bits = Bits::of_bools(&pixels, side);
            let packed = Packed::of(&bits);
            assert_eq!(
                lengths(&packed.runs).collect::<Vec<_>>(),
                counted(&pixels),
                "{side} {every}"
            );
            assert_eq!(Packed::of_words(&bits.to_words(), side), packed);
            assert!(packed.is_whole());
            assert_eq!(packed.bits(), bits, "{side} {every}");
            // Partly outside on every side.
            let mut small = Bits::dark(20, 15);
            packed.paste(&mut small, [-7, -10]);
            assert_eq!(small, bits.crop([7, 10], 20, 15), "{side} {every}");
            let mut large = Bits::dark(130, 130);
            packed.paste(&mut large, [13, 7]);
            assert_eq!(large, bits.crop([-13, -7], 130, 130), "{side} {every}");
        }
        assert_eq!(Packed::of(&Bits::dark(512, 512)).runs.len(), 3);
    }

    #[test]
    fn runs_that_do_not_fill_the_square_are_seen() {
        let whole = Packed::of(&Bits::of_bools(&noise(16, 5), 16));
        let last = whole.runs.len() - 1;
        let cut = Packed { runs: whole.runs[..last].to_vec(), ..whole.clone() };
        assert!(whole.is_whole() && !cut.is_whole());
        assert!(!Packed { side: 16, runs: vec![0xff; 40] }.is_whole());
    }
}
