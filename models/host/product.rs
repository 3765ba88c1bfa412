//! Products of matrices: eight rows by some columns, whose sums stay in registers over the whole depth.

use lithoburn_processor::Vectors;

use super::numbers::{LANES, Lanes};

/// Rows of a product.
pub(super) const ROWS: usize = 8;

/// Rows that are multiplied at once where registers are few.
const HALF: usize = ROWS / 2;

/// Rows of a product, each `pitch` numbers from the one before.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) pitch: usize,
}

impl<'a> Rows<'a> {
    /// Writes products with two vectors of columns: half of 32 registers are sums.
    #[inline(always)]
    pub(super) fn by_two(
        self,
        vectors: impl Vectors,
        columns: &[f32],
        to: &mut [f32],
        wide: usize,
    ) {
        write(&multiply::<_, 2>(vectors, self.eight(), columns), to, wide);
    }

    /// Writes products with one vector of columns.
    #[inline(always)]
    pub(super) fn by_one<const WIDE: bool>(
        self,
        vectors: impl Vectors,
        columns: &[f32],
        to: &mut [f32],
        wide: usize,
    ) {
        if WIDE {
            return write(&multiply::<_, 1>(vectors, self.eight(), columns), to, wide);
        }
        for half in 0..2 {
            let sums = multiply::<_, 1>(vectors, self.four(half * HALF), columns);
            write(&sums, &mut to[half * HALF * wide..], wide);
        }
    }

    /// Column by column, the numbers of four rows. Iterators rather than places: nothing is checked inside.
    #[inline(always)]
    fn four(self, first: usize) -> impl Iterator<Item = [f32; HALF]> + 'a {
        let row = |row: usize| self.values[(first + row) * self.pitch..].iter();
        let pairs = row(0).zip(row(1)).zip(row(2).zip(row(3)));
        pairs.map(|((a, b), (c, d))| [*a, *b, *c, *d])
    }

    /// Column by column, the numbers of all rows.
    #[inline(always)]
    fn eight(self) -> impl Iterator<Item = [f32; ROWS]> + 'a {
        let both = self.four(0).zip(self.four(HALF));
        both.map(|([a, b, c, d], [e, f, g, h])| [a, b, c, d, e, f, g, h])
    }
}

/// Sums of products of `R` rows with `C` vectors of columns, as deep as there are columns' rows.
#[inline(always)]
fn multiply<const R: usize, const C: usize>(
    vectors: impl Vectors,
    rows: impl Iterator<Item = [f32; R]>,
    columns: &[f32],
) -> [[Lanes; C]; R] {
    let mut sums = [[[0.0; LANES]; C]; R];
    let columns = columns.as_chunks::<LANES>().0.as_chunks::<C>().0;
    for (columns, values) in columns.iter().zip(rows) {
        for (sums, &value) in sums.iter_mut().zip(&values) {
            for (sums, columns) in sums.iter_mut().zip(columns) {
                vectors.add_products(sums, columns, value);
            }
        }
    }
    sums
}

/// Writes rows, `wide` numbers apart.
#[inline(always)]
fn write<const C: usize>(sums: &[[Lanes; C]], to: &mut [f32], wide: usize) {
    for (sums, to) in sums.iter().zip(to.chunks_mut(wide)) {
        to[..C * LANES].copy_from_slice(sums.as_flattened());
    }
}
