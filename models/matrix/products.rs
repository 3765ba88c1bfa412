//! The 3×3 convolution as products of matrices.
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]
#![allow(
    clippy::collapsible_if,
    reason = "what is decided when a kernel is written stands apart from what it decides"
)]

use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::halo::{Spot, Walk, fetch, leave};
use super::means::PLANE;
use super::sums::{Four, Operands, Sums, positive};
use super::tiles::{SEEN, SIDE, Tile, WIDE};

/// What a convolution's kernel is told.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct Extents {
    pub(super) height: usize,
    pub(super) width: usize,
    /// The image, one that is joined to it, and the output.
    pub(super) first: Walk,
    pub(super) second: Walk,
    pub(super) made: Walk,
    /// All output channels.
    pub(super) channels: usize,
    /// Where the weights begin, in matrices of 16 by 16, and the bias, in numbers.
    pub(super) weights: usize,
    pub(super) bias: usize,
}

/// Units of a plane wait for each other.
#[cube]
fn sync(#[comptime] tile: Tile) {
    if comptime!(tile.plain) {
        sync_cube();
    } else {
        sync_plane();
    }
}

/// Adds a block's products to a plane's sums.
#[cube]
fn multiply<F: Float, S: Numeric, M: Size>(
    sums: &mut Sums,
    halo: &[Vector<S, M>],
    weights: &[Vector<S, M>],
    row: usize,
    first_weights: usize,
    next: usize,
    block: usize,
    #[comptime] tile: Tile,
) {
    let lanes = comptime!(tile.lanes);
    // Where sums fill the registers a loop remains one: twice as many products are compiled for twice as long, and registers spill.
    let unrolled = comptime!(tile.ahead());
    #[unroll(unrolled)]
    for k in 0..comptime!(tile.block / SIDE) {
        let deep = block * comptime!(tile.block / SIDE) + k;
        #[unroll]
        for column in 0..3usize {
            let at = (row * SEEN + column) * comptime!(tile.pitch());
            let from = Operands {
                pixels: (at + k * SIDE) / lanes,
                weights: first_weights + (deep * 3 + column) * 3 * next,
                next,
            };
            sums.add::<F, S, M>(halo, weights, from);
        }
    }
}

/// A unit's share of some columns of a block of channels: of the first image, or of one that is joined to it.
#[cube]
fn fetch_of<S: Numeric, M: Size>(
    first: &[Vector<S, M>],
    second: &[Vector<S, M>],
    held: &mut Array<Vector<S, M>>,
    extents: &Extents,
    block: usize,
    spot: &Spot,
    #[comptime] columns: usize,
    #[comptime] tile: Tile,
) {
    if comptime!(tile.joined) {
        let blocks = extents.first.run * extents.first.lines / comptime!(tile.block);
        if block < blocks {
            fetch::<S, M>(first, held, &extents.first, block, spot, columns, tile);
        } else {
            fetch::<S, M>(second, held, &extents.second, block - blocks, spot, columns, tile);
        }
    } else {
        fetch::<S, M>(first, held, &extents.first, block, spot, columns, tile);
    }
}

/// The same of all columns.
#[cube]
fn fetch_all<S: Numeric, M: Size>(
    first: &[Vector<S, M>],
    second: &[Vector<S, M>],
    held: &mut Array<Vector<S, M>>,
    extents: &Extents,
    block: usize,
    spot: &Spot,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for columns in 0..comptime!(tile.reads()) {
        fetch_of::<S, M>(first, second, held, extents, block, spot, columns, tile);
    }
}

/// Sums with their bias, after the ReLU.
#[cube]
fn ready<F: Float, N: Size>(
    stage: &[Four],
    at: usize,
    bias: &[Four],
    channel: usize,
    #[comptime] relu: bool,
) -> Vector<F, N> {
    let lanes = N::value();
    let mut out = Vector::<F, N>::new(F::from_int(0));
    #[unroll]
    for i in 0..comptime!(lanes / 4) {
        let mut four = stage[at + i] + bias[channel / 4 + i];
        if comptime!(relu) {
            four = positive(four);
        }
        #[unroll]
        for k in 0..4usize {
            out.insert(comptime!(4 * i + k), F::cast_from(four.extract(k)));
        }
    }
    out
}

/// A same-size convolution of one or two images with a 3×3 kernel, its bias, and maybe the largest of two by two of its pixels, or logits
/// instead of an image. Cubes: tiles of an image, parts of the output channels, images. Weights: matrices of 16 by 16 by input channels, columns of the kernel, its rows, output channels.
#[cube(launch_unchecked)]
pub(super) fn convolve<F: Float, N: Size, S: Numeric, M: Size>(
    first: &[Vector<S, M>],
    second: &[Vector<S, M>],
    weights: &[Vector<S, M>],
    bias: &[Four],
    made: &mut [Vector<F, N>],
    pooled: &mut [Vector<F, N>],
    logits: &mut [f32],
    extents: Extents,
    #[comptime] tile: Tile,
    #[define(F)] _element: ElemType,
    #[define(S)] _moved: ElemType,
) {
    let lanes = comptime!(tile.lanes);
    let across = extents.width.div_ceil(WIDE);
    let spot = Spot {
        image: CUBE_POS_Z as usize,
        top: CUBE_POS_X as usize / across * comptime!(tile.tall()),
        left: CUBE_POS_X as usize % across * WIDE,
        height: extents.height,
        width: extents.width,
    };
    let mut halo = Shared::<[Vector<S, M>]>::new_slice(comptime!(tile.halo() / lanes));
    let plane = UNIT_POS_Y as usize;
    let channel = CUBE_POS_Y as usize * comptime!(tile.channels())
        + plane % comptime!(tile.abreast) * comptime!(tile.own_channels());
    let row = plane / comptime!(tile.abreast) * comptime!(tile.rows);

    let matrix = comptime!(SIDE * SIDE / lanes);
    let next = extents.channels / SIDE * matrix;
    let first_weights = (extents.weights + channel / SIDE) * matrix;
    let mut sums = Sums::new(tile);
    let blocks = extents.first.run * extents.first.lines / comptime!(tile.block);
    let mut all = blocks;
    if comptime!(tile.joined) {
        all += extents.second.run * extents.second.lines / comptime!(tile.block);
    }
    let mut held = Array::<Vector<S, M>>::new(comptime!(tile.reads() * tile.own_rows()));
    if comptime!(tile.ahead()) {
        fetch_all::<S, M>(first, second, &mut held, &extents, 0, &spot, tile);
    }
    for block in 0..all {
        if comptime!(!tile.ahead()) {
            fetch_of::<S, M>(first, second, &mut held, &extents, block, &spot, 0usize, tile);
        }
        sync_cube();
        leave::<S, M>(&held, &mut halo, 0usize, tile);
        #[unroll]
        for columns in 1..comptime!(tile.reads()) {
            if comptime!(!tile.ahead()) {
                fetch_of::<S, M>(first, second, &mut held, &extents, block, &spot, columns, tile);
            }
            leave::<S, M>(&held, &mut halo, columns, tile);
        }
        sync_cube();
        if comptime!(tile.ahead()) {
            if block + 1 < all {
                fetch_all::<S, M>(first, second, &mut held, &extents, block + 1, &spot, tile);
            }
        }
        multiply::<F, S, M>(&mut sums, &halo, weights, row, first_weights, next, block, tile);
    }

    let mut stage = Shared::<[Four]>::new_slice(comptime!(tile.planes() * tile.stage() / 4));
    if comptime!(tile.logits > 0) {
        finish_logits(&sums, &mut stage, bias, logits, &extents, &spot, row, tile);
    } else {
        finish::<F, N>(&sums, &mut stage, bias, made, pooled, &extents, &spot, row, channel, tile);
    }
}

/// A plane's sums, some rows after some.
#[cube]
fn finish<F: Float, N: Size>(
    sums: &Sums,
    stage: &mut [Four],
    bias: &[Four],
    made: &mut [Vector<F, N>],
    pooled: &mut [Vector<F, N>],
    extents: &Extents,
    spot: &Spot,
    row: usize,
    channel: usize,
    #[comptime] tile: Tile,
) {
    let lanes = N::value();
    let lines = comptime!(tile.lines());
    let parts = comptime!(tile.finished_parts());
    let pitch = comptime!(tile.stage_pitch());
    let own = UNIT_POS_Y as usize * comptime!(tile.stage() / 4);
    let groups = comptime!(parts * SIDE / lanes);
    let run = extents.made.run;
    #[unroll]
    for step in 0..comptime!(tile.rows / lines) {
        #[unroll]
        for part in 0..comptime!(tile.parts / parts) {
            #[unroll]
            for i in 0..comptime!(lines * parts) {
                let line = comptime!(i / parts);
                let beside = comptime!(i % parts);
                let number = comptime!((step * lines + line) * tile.parts + part * parts + beside);
                let at = own + comptime!((line * WIDE * pitch + beside * SIDE) / 4);
                sums.leave(stage, at, number, pitch);
            }
            sync(tile);
            let base = channel + comptime!(part * parts * SIDE);
            let top = spot.top + row + comptime!(step * lines);
            for i in 0..comptime!((lines * WIDE * groups).div_ceil(PLANE)) {
                let item = UNIT_POS_X as usize + i * PLANE;
                let (group, pixel) = (item % groups, item / groups);
                let (x, y) = (spot.left + pixel % WIDE, top + pixel / WIDE);
                if x < spot.width && y < spot.height {
                    let at = own + pixel * comptime!(pitch / 4) + group * comptime!(lanes / 4);
                    let to = base + group * lanes;
                    let value =
                        ready::<F, N>(&*stage, at, bias, extents.bias + to, comptime!(tile.relu));
                    let line = (spot.image * spot.height + y) * extents.made.lines + base / run;
                    let at = (line * spot.width + x) * run + base % run;
                    made[at / lanes + group] = value;
                }
            }
            if comptime!(tile.pool) {
                let item = UNIT_POS_X as usize;
                let (group, pixel) = (item % groups, item / groups);
                let (x, y) = (spot.left / 2 + pixel, top / 2);
                let (width, height) = (spot.width / 2, spot.height / 2);
                if item < comptime!(WIDE / 2 * groups) && x < width && y < height {
                    let at = own + pixel * comptime!(2 * pitch / 4) + group * comptime!(lanes / 4);
                    let to = extents.bias + base + group * lanes;
                    let mut largest = ready::<F, N>(&*stage, at, bias, to, comptime!(tile.relu));
                    for i in 1..4usize {
                        let at = at + (i / 2 * WIDE + i % 2) * comptime!(pitch / 4);
                        let value = ready::<F, N>(&*stage, at, bias, to, comptime!(tile.relu));
                        largest = select_many(value.greater_than(&largest), value, largest);
                    }
                    let at = ((spot.image * height + y) * width + x) * extents.channels + base;
                    pooled[at / lanes + group] = largest;
                }
            }
            sync(tile);
        }
    }
}

/// The same where the sums are logits: one of a pixel, or four that are unfolded to two by two.
#[cube]
fn finish_logits(
    sums: &Sums,
    stage: &mut [Four],
    bias: &[Four],
    logits: &mut [f32],
    extents: &Extents,
    spot: &Spot,
    row: usize,
    #[comptime] tile: Tile,
) {
    let pitch = comptime!(tile.stage_pitch());
    let own = UNIT_POS_Y as usize * comptime!(tile.stage() / 4);
    let side = comptime!(if tile.logits > 1 { 2usize } else { 1usize });
    #[unroll]
    for line in 0..tile.rows {
        sums.leave(stage, own, line, pitch);
        sync(tile);
        let pixel = UNIT_POS_X as usize;
        let (x, y) = (spot.left + pixel, spot.top + row + line);
        if pixel < WIDE && x < spot.width && y < spot.height {
            let four = stage[own + pixel * comptime!(pitch / 4)] + bias[extents.bias / 4];
            #[unroll]
            for k in 0..tile.logits {
                let line = (spot.image * spot.height + y) * side + comptime!(k / side);
                logits[(line * spot.width + x) * side + comptime!(k % side)] = four.extract(k);
            }
        }
        sync(tile);
    }
}
