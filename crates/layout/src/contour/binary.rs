//! The contours of a binary image, from bits: the same lines as [`super::lines`] finds at one half.

use super::square;
use crate::Bits;

/// No line begins on this side.
const NONE: usize = 4;
/// From a square's middle to the middles of its sides, in half pixels; sides are numbered as [`super::square`] does.
const SIDES: [[usize; 2]; 4] = [[1, 0], [2, 1], [1, 2], [0, 1]];

/// The closed lines around the inside of an image that is dark along its border: points in half pixels, the first not repeated.
///
/// Where two pixels of a square of four are inside, corner to corner, they are joined.
pub(super) fn lines(image: &Bits) -> Vec<Vec<[usize; 2]>> {
    let pixels = image.width() * image.height();
    let mut walk = Walk { image, ends: ends(), seen: vec![0; pixels.div_ceil(32)] };
    let mut lines = Vec::new();
    for y in 1..image.height() {
        let [above, below] = [y - 1, y].map(|y| image.row(y).windows(2));
        for (index, (above, below)) in above.zip(below).enumerate() {
            // Bit x is for the square whose pixels on the right are those of column x.
            let [left_above, left_below] = [above, below].map(|pair| pair[1] << 1 | pair[0] >> 63);
            let (any, all) = (above[1] | below[1], above[1] & below[1]);
            let mut mixed = (any | left_above | left_below) & !(all & left_above & left_below);
            while mixed != 0 {
                let x = 64 * index + mixed.trailing_zeros() as usize;
                mixed &= mixed - 1;
                walk.lines_from([x, y], &mut lines);
            }
        }
    }
    lines
}

/// For each square of four pixels, by which of them are inside, and each of its sides: the side where the line from there ends.
fn ends() -> [[usize; 4]; 16] {
    std::array::from_fn(|code| {
        let mut ends = [NONE; 4];
        let inside = [0, 1, 2, 3].map(|corner| code >> corner & 1 == 1);
        square(inside, true).for_each(|(from, to)| ends[from] = to);
        ends
    })
}

/// Lines that are followed through an image.
struct Walk<'a> {
    image: &'a Bits,
    ends: [[usize; 4]; 16],
    /// A bit for each side from which a line was followed.
    seen: Vec<u64>,
}

impl Walk<'_> {
    /// Follows the lines through a square that were not followed before. A square is named by its last pixel.
    fn lines_from(&mut self, at: [usize; 2], lines: &mut Vec<Vec<[usize; 2]>>) {
        let ends = self.ends[self.inside(at)];
        for from in (0..4).filter(|&from| ends[from] != NONE) {
            let (word, bit) = self.place(at, from);
            if self.seen[word] & bit == 0 {
                lines.push(self.follow(at, from));
            }
        }
    }

    fn follow(&mut self, mut at: [usize; 2], mut from: usize) -> Vec<[usize; 2]> {
        let (start, mut line) = ((at, from), Vec::new());
        loop {
            let (word, bit) = self.place(at, from);
            self.seen[word] |= bit;
            line.push([0, 1].map(|i| 2 * at[i] + SIDES[from][i] - 1));
            let to = self.ends[self.inside(at)][from];
            at = [0, 1].map(|i| at[i] + SIDES[to][i] - 1);
            from = (to + 2) % 4;
            if (at, from) == start {
                return line;
            }
        }
    }

    /// Which of a square's pixels are inside, a bit each.
    fn inside(&self, [x, y]: [usize; 2]) -> usize {
        let at = |x: usize, y: usize| usize::from(self.image.at(x, y));
        at(x - 1, y - 1) | at(x, y - 1) << 1 | at(x, y) << 2 | at(x - 1, y) << 3
    }

    /// Word and bit of a square's side, which another square has as its opposite side.
    fn place(&self, [x, y]: [usize; 2], side: usize) -> (usize, u64) {
        let width = self.image.width();
        let pixel = (y - 1) * width + x - 1;
        let edge = [2 * pixel, 2 * pixel + 3, 2 * (pixel + width), 2 * pixel + 1][side];
        (edge / 64, 1 << (edge % 64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::contour;

    proptest! {
        /// The contours of the grey image are the second implementation: the same lines, in the same order, from the same points.
        #[test]
        fn lines_of_bits_are_those_of_the_grey_image(
            width in prop_oneof![Just(9_usize), Just(63), Just(64), Just(70)],
            seed in any::<u64>(),
            share in 0.0..=1.0_f64,
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let set: Vec<bool> = (0..width * 17).map(|_| rng.random_bool(share)).collect();
            let image = Bits::of_bools(&set, width).framed(1);
            let points = |line: Vec<[usize; 2]>| -> Vec<[f64; 2]> {
                let first = line[0];
                line.into_iter().chain([first]).map(|p| p.map(|v| v as f64 / 2.0 )).collect()
            };
            let found: Vec<_> = lines(&image).into_iter().map(points).collect();
            prop_assert_eq!(found, contour::contours(&image.to_raster(1.0), 0.5));
        }
    }
}
