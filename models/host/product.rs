//! Products of matrices: eight rows by some columns, whose sums stay in registers over the whole depth.

use std::array;

use super::numbers::{LANES, multiply_add};

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
    pub(super) fn by_two<const FUSED: bool>(self, columns: &[f32], to: &mut [f32], wide: usize) {
        let columns = columns.as_chunks::<{ 2 * LANES }>().0;
        write(&multiply::<_, _, FUSED>(self.eight(), columns), to, wide);
    }

    /// Writes products with one vector of columns.
    #[inline(always)]
    pub(super) fn by_one<const FUSED: bool, const WIDE: bool>(
        self,
        columns: &[f32],
        to: &mut [f32],
        wide: usize,
    ) {
        let columns = columns.as_chunks::<LANES>().0;
        if WIDE {
            return write(&multiply::<_, _, FUSED>(self.eight(), columns), to, wide);
        }
        for half in 0..2 {
            let sums = multiply::<_, _, FUSED>(self.four(half * HALF), columns);
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

/// Sums of products of `R` rows with `C` columns, as deep as there are columns' rows.
#[inline(always)]
fn multiply<const R: usize, const C: usize, const FUSED: bool>(
    rows: impl Iterator<Item = [f32; R]>,
    columns: &[[f32; C]],
) -> [[f32; C]; R] {
    let mut sums = [[0.0; C]; R];
    for (columns, values) in columns.iter().zip(rows) {
        // Read once, not once a row.
        let columns = *columns;
        for (sums, value) in sums.iter_mut().zip(values) {
            *sums = array::from_fn(|i| multiply_add::<FUSED>(columns[i], value, sums[i]));
        }
    }
    sums
}

/// Writes rows, `wide` numbers apart.
#[inline(always)]
fn write<const C: usize>(sums: &[[f32; C]], to: &mut [f32], wide: usize) {
    for (sums, to) in sums.iter().zip(to.chunks_mut(wide)) {
        to[..C].copy_from_slice(sums);
    }
}
