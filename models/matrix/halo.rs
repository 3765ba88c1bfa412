//! A block of channels of a tile's pixels and their neighbours: from memory to registers, and from there to shared memory.

use cubecl::prelude::*;

use super::means::PLANE;
use super::tiles::{SEEN, Tile};

/// An image as a kernel walks it, `[batch, height, lines, width, run]`: folded, two by two of its pixels are one, of which two lines of
/// `run` channels lie apart.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct Walk {
    /// Channels that lie side by side.
    pub(super) run: usize,
    /// Lines of them in a pixel: 1 or 2.
    pub(super) lines: usize,
}

/// Where a tile is.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Spot {
    pub(super) image: usize,
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// A unit's share of some columns of a block of channels: what it holds until shared memory is free. Zero outside of the image. A plane has
/// every so many rows, a unit the same column and channels of each.
///
/// Nothing here branches, so that a unit's loads are under way together: one after another, each would wait for memory. What is outside reads
/// the image's first numbers.
#[cube]
pub(super) fn fetch<S: Numeric, M: Size>(
    image: &[Vector<S, M>],
    held: &mut Array<Vector<S, M>>,
    walk: &Walk,
    block: usize,
    spot: &Spot,
    #[comptime] columns: usize,
    #[comptime] tile: Tile,
) {
    let lanes = comptime!(tile.lanes);
    let channel = block * comptime!(tile.block);
    let line = spot.width * walk.run;
    let first =
        (spot.image * spot.height * walk.lines + channel / walk.run) * line + channel % walk.run;
    let slot = UNIT_POS_X as usize + comptime!(columns * PLANE);
    let x = spot.left + slot / comptime!(tile.groups());
    let seen = x >= 1 && x <= spot.width && slot < comptime!(tile.slots());
    let from = first / lanes + (x - 1) * (walk.run / lanes) + slot % comptime!(tile.groups());
    let below = walk.lines * (line / lanes);
    #[unroll]
    for i in 0..comptime!(tile.own_rows()) {
        let y = spot.top + UNIT_POS_Y as usize + comptime!(i * tile.planes());
        let inside = seen && y >= 1 && y <= spot.height;
        let value = image[select(inside, from + (y - 1) * below, 0)];
        let nothing = Vector::<S, M>::new(S::from_int(0));
        held[comptime!(columns * tile.own_rows() + i)] = select(inside, value, nothing);
    }
}

/// Leaves in shared memory what a unit holds of some columns.
#[cube]
pub(super) fn leave<S: Numeric, M: Size>(
    held: &Array<Vector<S, M>>,
    halo: &mut [Vector<S, M>],
    #[comptime] columns: usize,
    #[comptime] tile: Tile,
) {
    let lanes = comptime!(tile.lanes);
    let slot = UNIT_POS_X as usize + comptime!(columns * PLANE);
    let (column, group) = (slot / comptime!(tile.groups()), slot % comptime!(tile.groups()));
    let all = comptime!((columns + 1) * PLANE <= tile.slots());
    if all || slot < comptime!(tile.slots()) {
        #[unroll]
        for i in 0..comptime!(tile.own_rows()) {
            let row = UNIT_POS_Y as usize + comptime!(i * tile.planes());
            halo[(row * SEEN + column) * comptime!(tile.pitch() / lanes) + group] =
                held[comptime!(columns * tile.own_rows() + i)];
        }
    }
}
