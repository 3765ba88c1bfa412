//! How a convolution is shared out: tiles of its output, and what a plane of 32 units has of one.

use burn::tensor::DType;
#[cfg(feature = "gpu")]
use cubecl::prelude::CubeDim;

pub(super) use super::means::SIDE;
use super::means::{Means, PLANE};
use crate::hopper::Extent;
use crate::steps::{Convolution, Steps, Then};

/// Columns of a tile of outputs.
pub(super) const WIDE: usize = SIDE;
/// Columns of inputs that they see.
pub(super) const SEEN: usize = WIDE + 2;

/// The constants of a convolution's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    /// Rows of pixels of a plane.
    pub(super) rows: usize,
    /// Products abreast of a plane, of 16 output channels each.
    pub(super) parts: usize,
    /// Planes one below the other.
    pub(super) down: usize,
    /// Planes abreast, each with output channels of its own.
    pub(super) abreast: usize,
    /// Input channels that are in shared memory at once.
    pub(super) block: usize,
    /// Numbers that a unit reads at once.
    pub(super) lanes: usize,
    /// Numbers between two pixels in shared memory, so that neighbours are in other banks.
    pub(super) pad: usize,
    /// Whether a second image is joined to the first.
    pub(super) joined: bool,
    /// Whether a ReLU follows.
    pub(super) relu: bool,
    /// Whether the largest of each two by two pixels are an image as well.
    pub(super) pool: bool,
    /// Output channels that are logits, where it is the last one: one, or four that are unfolded to two by two pixels. None of them else.
    pub(super) logits: usize,
    /// Whether units multiply number by number, where a device has no products of matrices.
    pub(super) plain: bool,
}

/// Rows of pixels of a plane, for tiles of 16, 8 and 4 rows: two planes one below the other and two abreast …
const ROWS_OF_WIDE: [usize; 3] = [8, 4, 2];
/// … or four one below the other, where a tile has all the output channels of a plane.
const ROWS_OF_NARROW: [usize; 3] = [4, 2, 1];
/// Sums of a plane, in matrices, up to which there are registers for a block that is loaded while another is multiplied.
const SUMS_OF_AHEAD: usize = 4;
/// Cubes that a processor should have: one loads while another multiplies.
const CUBES: usize = 2;

impl Tile {
    /// The largest tiles of which there are two for nearly every processor. No sum depends on the choice: it is the order of input channels
    /// and taps alone, so that an image's logits are the same in any batch.
    pub(super) fn of(
        work: &Convolution,
        steps: &Steps,
        means: Means,
        extent: Extent,
        processors: usize,
    ) -> Self {
        let whole = |channels: usize| channels.is_multiple_of(2 * SIDE);
        let parts = if whole(work.run) { 2 } else { 1 };
        let wide = work.channels.is_multiple_of(2 * parts * SIDE);
        let deep = work.from.iter().all(|&view| whole(steps.run(view)));
        let pool = matches!(work.then, Then::Pool(..));
        let tile = |rows: usize, block: usize| Self {
            rows,
            parts,
            down: if wide { 2 } else { 4 },
            abreast: if wide { 2 } else { 1 },
            block,
            lanes: means.lanes,
            pad: means.pad,
            joined: work.from.len() > 1,
            relu: work.relu,
            pool,
            logits: 0,
            plain: means.plain,
        };
        let blocks = if deep { [2 * SIDE, SIDE].as_slice() } else { &[SIDE] };
        let rows = if wide { ROWS_OF_WIDE } else { ROWS_OF_NARROW };
        let all = rows.iter().flat_map(|&rows| blocks.iter().map(move |&block| (rows, block)));
        let number = if means.dtype == DType::F32 { 4 } else { 2 };
        let possible = |tile: &Self| {
            tile.rows.is_multiple_of(tile.lines()) && tile.shared_bytes(number) <= means.shared
        };
        let choices: Vec<Self> =
            all.map(|(rows, block)| tile(rows, block)).filter(possible).collect();
        let [height, width] = extent.shrunk(work.shrink);
        let enough = |tile: &Self| {
            let tiles = width.div_ceil(WIDE) * height.div_ceil(tile.tall()) * extent.batch;
            let fits = tile.tall() <= height.next_multiple_of(4);
            fits && 10 * tiles * (work.channels / tile.channels()) >= 9 * CUBES * processors
        };
        // Of the smallest tiles, those with the deepest blocks.
        let least = choices.iter().min_by_key(|tile| tile.rows).copied();
        choices.into_iter().find(enough).or(least).unwrap_or_else(|| tile(rows[1], SIDE))
    }

    /// Units of a cube: planes, one after another.
    #[cfg(feature = "gpu")]
    pub(super) fn cube_dim(&self) -> CubeDim {
        CubeDim::new_2d(PLANE as u32, self.planes() as u32)
    }

    /// Rows of pixels.
    pub(super) fn tall(&self) -> usize {
        self.rows * self.down
    }

    /// Output channels of a plane.
    pub(super) fn own_channels(&self) -> usize {
        self.parts * SIDE
    }

    /// Output channels.
    pub(super) fn channels(&self) -> usize {
        self.own_channels() * self.abreast
    }

    pub(super) fn planes(&self) -> usize {
        self.down * self.abreast
    }

    /// Numbers from a pixel to its neighbour in shared memory.
    pub(super) fn pitch(&self) -> usize {
        self.block + self.pad
    }

    /// Units side by side that read a pixel's channels.
    pub(super) fn groups(&self) -> usize {
        self.block / self.lanes
    }

    /// Units that read a row of pixels.
    pub(super) fn slots(&self) -> usize {
        SEEN * self.groups()
    }

    /// Times that a plane's units read a row.
    pub(super) fn reads(&self) -> usize {
        self.slots().div_ceil(PLANE)
    }

    /// Rows of a block that a plane reads.
    pub(super) fn own_rows(&self) -> usize {
        (self.tall() + 2).div_ceil(self.planes())
    }

    /// Whether the next block is loaded while this one is multiplied.
    pub(super) fn ahead(&self) -> bool {
        self.rows * self.parts <= SUMS_OF_AHEAD
    }

    /// Numbers of a block of inputs in shared memory; the planes' last rows are more than are seen.
    pub(super) fn halo(&self) -> usize {
        self.own_rows() * self.planes() * SEEN * self.pitch()
    }

    /// Rows that a plane finishes together.
    pub(super) fn lines(&self) -> usize {
        if self.pool { 2 } else { 1 }
    }

    /// Products abreast that it finishes together.
    pub(super) fn finished_parts(&self) -> usize {
        if self.pool { 1 } else { self.parts }
    }

    /// Sums from a pixel to its neighbour in shared memory, where a plane finishes them: 32 bytes apart from one in the same bank.
    pub(super) fn stage_pitch(&self) -> usize {
        self.finished_parts() * SIDE + 8
    }

    /// Sums of a plane in shared memory.
    pub(super) fn stage(&self) -> usize {
        self.lines() * WIDE * self.stage_pitch()
    }

    /// Bytes of shared memory, in numbers of so many bytes.
    pub(super) fn shared_bytes(&self, number: usize) -> usize {
        self.halo() * number + self.stage() * self.planes() * 4
    }
}
