//! Gradients of the first and the last convolution's weights: an image of many channels times a thin one, moved by each tap and added up over all pixels.
//!
//! Where a card multiplies matrices of bf16, the taps of some pixels are a matrix in shared memory, beside one of those pixels' channels, and all taps are
//! made from one reading of the image. The thin image is f32: each number is taken as the sum of two in bf16, so that products have sixteen bits of
//! it. Elsewhere each unit multiplies for itself, and the image is read once for each row of the kernel.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::cmma::{self, MatrixIdent, MatrixLayout};
use cubecl::ir::features::MmaConfig;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

use super::sums::{CHANNELS, across_units, parts_of};
use super::tables::{Tables, Target};
use super::{Picture, Thin, UNITS, arg, thin_value};
use crate::matrix::{PLANE, SIDE, accumulator};

/// How often a cube has the units that multiply a matrix.
const PLANES: usize = UNITS as usize / PLANE;
/// Pixels that a cube has in shared memory at once.
const CHUNK: usize = 64;
/// Numbers between rows in shared memory, so that rows begin in other banks.
const PAD: usize = 8;
/// Numbers of bf16 that are read at once.
const LANES: usize = 8;
/// Cubes that share out the pixels, for all channels together: three for each processor of a large card.
const CUBES: usize = 384;

/// Products of an image with a thin one, in f32, moved by each tap and added up over all pixels. `turned` moves the other way.
pub(crate) fn products(
    image: &Picture,
    thin: &CubeTensor,
    taps: Thin,
    turned: bool,
    tables: &mut Tables,
    target: Target,
) {
    let Thin { side, few, .. } = taps;
    assert_eq!(target.shape, [side * side * few, image.channels], "a sum for each weight");
    match Tiling::of(image, taps, turned) {
        Some(tiling) => by_matrices(image, thin, tiling, tables, target),
        None => by_units(image, thin, taps, turned, tables, target),
    }
}

fn by_units(
    image: &Picture,
    thin: &CubeTensor,
    Thin { side, few, .. }: Thin,
    turned: bool,
    tables: &mut Tables,
    target: Target,
) {
    let parts = parts_of(image.pixels());
    let out = tables.begin(parts, target);
    let cubes = CubeCount::Static(parts as u32, (image.channels / CHANNELS) as u32, side as u32);
    // SAFETY: loops end at the image's last pixel.
    unsafe {
        thin_products::launch_unchecked(
            &image.values.client,
            cubes,
            CubeDim::new_1d(UNITS),
            image.lanes(),
            arg(&image.values),
            arg(thin),
            out,
            image.height,
            image.width,
            image.pixels(),
            parts,
            image.groups(),
            CHANNELS / image.lanes(),
            side,
            few,
            turned,
            image.element(),
        );
    }
}

fn by_matrices(
    image: &Picture,
    thin: &CubeTensor,
    tiling: Tiling,
    tables: &mut Tables,
    target: Target,
) {
    let (chunks, blocks) = (image.pixels() / CHUNK, image.channels / tiling.channels);
    let parts = chunks.div_ceil(4).min(CUBES / blocks).max(1);
    let out = tables.begin(parts, target);
    // SAFETY: loops end at the image's last chunk, and chunks are full.
    unsafe {
        matrix_products::launch_unchecked(
            &image.values.client,
            CubeCount::Static(parts as u32, blocks as u32, 1),
            CubeDim::new_2d(PLANE as u32, PLANES as u32),
            LANES,
            arg(&image.values),
            arg(thin),
            out,
            image.height,
            image.width,
            chunks,
            parts,
            image.channels,
            tiling,
            image.element(),
        );
    }
}

/// What a cube of [`matrix_products`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tiling {
    side: usize,
    few: usize,
    turned: bool,
    /// Its channels, and matrices of them that a plane has.
    channels: usize,
    wide: usize,
}

impl Tiling {
    /// None if the card has no such matrices, or an image does not fill chunks.
    fn of(image: &Picture, Thin { side, few, .. }: Thin, turned: bool) -> Option<Self> {
        let [half, sums] = [FloatKind::BF16, FloatKind::F32].map(ElemType::Float);
        let size = SIDE as u32;
        let matrices =
            MmaConfig { a_type: half, b_type: half, cd_type: sums, m: size, n: size, k: size };
        let properties = image.values.client.properties();
        let planes = [properties.hardware.plane_size_min, properties.hardware.plane_size_max];
        let has = properties.features.matmul.cmma.contains(&matrices);
        let has = has && planes == [PLANE as u32; 2] && image.values.dtype == DType::BF16;
        let channels = [8, 4, 2].map(|matrices| matrices * SIDE);
        let channels = channels.into_iter().find(|own| image.channels.is_multiple_of(*own))?;
        let wide = if channels == 2 * SIDE { 1 } else { 2 };
        let own = Self { side, few, turned, channels, wide };
        (has && image.pixels().is_multiple_of(CHUNK)).then_some(own)
    }

    /// Rows of the sums: taps, each for all values of the thin image.
    fn rows(self) -> usize {
        self.side * self.side * self.few
    }

    /// Matrices of rows.
    fn tall(self) -> usize {
        self.rows().div_ceil(SIDE)
    }

    /// Planes that share out the channels.
    fn across(self) -> usize {
        self.channels / SIDE / self.wide
    }

    /// Planes that share out a chunk's pixels.
    fn deep(self) -> usize {
        PLANES / self.across()
    }

    /// From a pixel to the next in shared memory.
    fn pitch(self) -> usize {
        self.channels + PAD
    }

    /// Numbers of the taps' matrix.
    fn taps(self) -> usize {
        self.tall() * SIDE * TAP_PITCH
    }
}

/// From a tap's pixels to the next one's in shared memory.
const TAP_PITCH: usize = CHUNK + PAD;

/// A cube has some channels and a part of the pixels, chunk by chunk; all taps.
#[cube(launch_unchecked)]
fn matrix_products<F: Float, N: Size>(
    image: &[Vector<F, N>],
    thin: &[f32],
    out: &mut [f32],
    height: usize,
    width: usize,
    chunks: usize,
    parts: usize,
    channels: usize,
    #[comptime] tiling: Tiling,
    #[define(F)] _element: ElemType,
) {
    let count = comptime!(CHUNK * tiling.pitch() / LANES);
    let mut pixels = Shared::<[Vector<F, N>]>::new_aligned_slice(count, 128usize);
    let mut taps = Shared::<[F]>::new_aligned_slice(comptime!(2 * tiling.taps()), 128usize);
    let mut sums = Sequence::<cmma::Matrix<f32>>::new();
    #[unroll]
    for _ in 0..comptime!(tiling.tall() * tiling.wide) {
        sums.push(accumulator());
    }
    let mut chunk = CUBE_POS_X as usize;
    while chunk < chunks {
        sync_cube();
        fill_pixels(image, &mut pixels, chunk, channels, tiling);
        fill_taps(thin, &mut taps, chunk, height, width, tiling);
        sync_cube();
        add_products(&pixels, &taps, &sums, tiling);
        chunk += parts;
    }
    leave_sums(&sums, out, channels, tiling);
}

/// A chunk's pixels, of which a cube has some channels.
#[cube]
fn fill_pixels<F: Float, N: Size>(
    image: &[Vector<F, N>],
    pixels: &mut Shared<[Vector<F, N>]>,
    chunk: usize,
    channels: usize,
    #[comptime] tiling: Tiling,
) {
    let own = comptime!(tiling.channels / LANES);
    let first = CUBE_POS_Y as usize * own;
    #[unroll]
    for i in 0..comptime!(CHUNK * own / UNITS as usize) {
        let at = UNIT_POS as usize + comptime!(i * UNITS as usize);
        let (pixel, group) = (at / own, at % own);
        let from = (chunk * CHUNK + pixel) * (channels / LANES) + first + group;
        pixels[pixel * comptime!(tiling.pitch() / LANES) + group] = image[from];
    }
}

/// What each tap of a chunk's pixels sees of the thin image, in bf16, and behind it what is left of that.
#[cube]
fn fill_taps<F: Float>(
    thin: &[f32],
    taps: &mut Shared<[F]>,
    chunk: usize,
    height: usize,
    width: usize,
    #[comptime] tiling: Tiling,
) {
    let (side, few) = comptime!((tiling.side, tiling.few));
    let pixel = UNIT_POS as usize % CHUNK;
    let place = chunk * CHUNK + pixel;
    let (x, line) = (place % width, place / width);
    let (y, picture) = (line % height, line / height);
    #[unroll]
    for i in 0..comptime!(tiling.tall() * SIDE * CHUNK / UNITS as usize) {
        let row = UNIT_POS as usize / CHUNK + comptime!(i * UNITS as usize / CHUNK);
        let mut value = f32::new(0.0);
        if row < comptime!(tiling.rows()) {
            // Of four values, a unit has one for all taps.
            let (tap, which) = if comptime!(few == UNITS as usize / CHUNK) {
                (i.runtime(), UNIT_POS as usize / CHUNK)
            } else {
                (row / few, row % few)
            };
            let (down, right) = (tap / side, tap % side);
            let down = if comptime!(tiling.turned) { side - 1 - down } else { down };
            let right = if comptime!(tiling.turned) { side - 1 - right } else { right };
            value = thin_value(thin, picture, y, x, down, right, which, height, width, side, few);
        }
        let near = F::cast_from(value);
        let at = row * TAP_PITCH + pixel;
        taps[at] = near;
        taps[at + comptime!(tiling.taps())] = F::cast_from(value - f32::cast_from(near));
    }
}

/// Adds what a plane has of a chunk: its channels, of some of the pixels.
#[cube]
fn add_products<F: Float, N: Size>(
    pixels: &Shared<[Vector<F, N>]>,
    taps: &Shared<[F]>,
    sums: &Sequence<cmma::Matrix<f32>>,
    #[comptime] tiling: Tiling,
) {
    let (across, deep, wide) = comptime!((tiling.across(), tiling.deep(), tiling.wide));
    let plane = UNIT_POS_Y as usize;
    let column = plane % across * comptime!(wide * SIDE);
    #[unroll]
    for i in 0..comptime!(CHUNK / SIDE / deep) {
        let first = (comptime!(i * deep) + plane / across) * SIDE;
        let mut own = Sequence::<cmma::Matrix<F>>::new();
        #[unroll]
        for part in 0..wide {
            let at = first * comptime!(tiling.pitch()) + column + comptime!(part * SIDE);
            let mut matrix = cmma::Matrix::<F>::from_value(
                MatrixIdent::B,
                SIDE,
                SIDE,
                SIDE,
                MatrixLayout::RowMajor,
                F::from_int(0),
            );
            let pitch = comptime!(tiling.pitch() as u32);
            cmma::load(&mut matrix, &pixels[at / LANES..pixels.len()], pitch);
            own.push(matrix);
        }
        #[unroll]
        for half in 0..comptime!(2 * tiling.tall()) {
            let (rest, row) = comptime!((half % 2 * tiling.taps(), half / 2));
            let at = comptime!(rest + row * SIDE * TAP_PITCH) + first;
            let seen = cmma::Matrix::<F>::from_slice(
                MatrixIdent::A,
                SIDE,
                SIDE,
                SIDE,
                MatrixLayout::RowMajor,
                &taps[at..taps.len()],
                comptime!(TAP_PITCH as u32),
            );
            #[unroll]
            for part in 0..wide {
                let sum = sums.index(comptime!(row * wide + part));
                cmma::execute(&seen, own.index(part), sum, sum);
            }
        }
    }
}

/// Adds up what planes have of the same sums, in order, and leaves them where the parts of all are.
#[cube]
fn leave_sums(
    sums: &Sequence<cmma::Matrix<f32>>,
    out: &mut [f32],
    channels: usize,
    #[comptime] tiling: Tiling,
) {
    let (across, deep, wide, own) =
        comptime!((tiling.across(), tiling.deep(), tiling.wide, tiling.channels));
    let mut all = Shared::<[f32]>::new_aligned_slice(comptime!(deep * SIDE * own), 128usize);
    let plane = UNIT_POS_Y as usize;
    let first = plane / across * comptime!(SIDE * own) + plane % across * comptime!(wide * SIDE);
    #[unroll]
    for tall in 0..comptime!(tiling.tall()) {
        sync_cube();
        #[unroll]
        for part in 0..wide {
            let at = first + comptime!(part * SIDE);
            cmma::store(
                &mut all[at..comptime!(deep * SIDE * own)],
                sums.index(comptime!(tall * wide + part)),
                comptime!(own as u32),
                MatrixLayout::RowMajor,
            );
        }
        sync_cube();
        #[unroll]
        for i in 0..comptime!(SIDE * own / UNITS as usize) {
            let at = UNIT_POS as usize + comptime!(i * UNITS as usize);
            let row = comptime!(tall * SIDE) + at / own;
            if row < comptime!(tiling.rows()) {
                let mut sum = f32::new(0.0);
                #[unroll]
                for plane in 0..deep {
                    sum += all[at + comptime!(plane * SIDE * own)];
                }
                let line = CUBE_POS_X as usize * comptime!(tiling.rows()) + row;
                out[line * channels + CUBE_POS_Y as usize * own + at % own] = sum;
            }
        }
    }
}

/// A cube has 32 channels, a row of the kernel, and a part of the pixels.
#[cube(launch_unchecked)]
fn thin_products<F: Float, N: Size>(
    image: &[Vector<F, N>],
    thin: &[f32],
    out: &mut [Vector<f32, N>],
    height: usize,
    width: usize,
    pixels: usize,
    parts: usize,
    groups: usize,
    #[comptime] own_groups: usize,
    #[comptime] side: usize,
    #[comptime] few: usize,
    #[comptime] turned: bool,
    #[define(F)] _element: ElemType,
) {
    let mut all = Shared::<[Vector<f32, N>]>::new_slice(comptime!(UNITS as usize));
    let unit = UNIT_POS as usize;
    let group = CUBE_POS_Y as usize * own_groups + unit % own_groups;
    let lanes = comptime!(UNITS as usize / own_groups);
    let tap_row = CUBE_POS_Z as usize;
    let mut sums = Array::<Vector<f32, N>>::new(comptime!(side * few));
    #[unroll]
    for i in 0..comptime!(side * few) {
        sums[i] = Vector::new(0.0);
    }
    let mut pixel = CUBE_POS_X as usize * lanes + unit / own_groups;
    while pixel < pixels {
        let x = pixel % width;
        let line = pixel / width;
        let value = Vector::<f32, N>::cast_from(image[pixel * groups + group]);
        let row = if comptime!(turned) { side - 1 - tap_row } else { tap_row };
        #[unroll]
        for i in 0..comptime!(side * few) {
            let column = comptime!(if turned { side - 1 - i / few } else { i / few });
            let other = thin_value(
                thin,
                line / height,
                line % height,
                x,
                row,
                column,
                comptime!(i % few),
                height,
                width,
                side,
                few,
            );
            sums[i] += value * Vector::new(other);
        }
        pixel += parts * lanes;
    }
    #[unroll]
    for i in 0..comptime!(side * few) {
        let total = across_units(sums[i], &mut all, own_groups);
        if unit < own_groups {
            let row = (CUBE_POS_X as usize * side + tap_row) * side * few + i;
            out[row * groups + group] = total;
        }
    }
}
