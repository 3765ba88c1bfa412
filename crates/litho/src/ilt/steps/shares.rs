//! A batch in shares that a launch can hold.

use std::ops::Range;

/// Cubes along an axis of a launch: no device takes more.
const CUBES: usize = 65_535;
/// Parts that the sums of a mask's two foci are split into, at most; each is a row of cubes.
pub(super) const FINE_PARTS: usize = 16;

/// Masks of a batch that are done at once, with so many coherent kernels of both foci: every kernel's field is a row of cubes, or
/// every part of a sum.
pub(super) fn most(kernels: usize) -> usize {
    (CUBES / kernels.max(2 * FINE_PARTS)).max(1)
}

/// A batch in shares of `most` masks or fewer, in order.
pub(super) fn shares(batch: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    (0..batch).step_by(most).map(move |from| from..batch.min(from + most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_a_batch_once_and_in_order() {
        for (batch, most) in [(1, 1), (5, 2), (6, 2), (7, 100), (4000, 1365)] {
            let all: Vec<usize> = shares(batch, most).flatten().collect();
            assert_eq!(all, (0..batch).collect::<Vec<_>>(), "{batch} by {most}");
            assert!(shares(batch, most).all(|share| share.len() <= most), "{batch} by {most}");
        }
    }

    /// 1,366 clips of 48 kernels are 65,568 rows of cubes, which a card refuses to launch.
    #[test]
    fn no_share_has_more_rows_than_a_launch_takes() {
        for kernels in [2, 12, 31, 48, 65_535, 100_000] {
            let most = most(kernels);
            assert!(most == 1 || most * kernels.max(2 * FINE_PARTS) <= CUBES, "{kernels}");
        }
        assert_eq!(most(48), 1365);
    }
}
