//! What the folded kernels share.
#![allow(clippy::bad_bit_mask, reason = "a condition that always holds is what `apart` is")]

use cubecl::prelude::*;

/// Two numbers side by side, or a complex one.
pub(super) type Two = Vector<f32, Const<2>>;
/// Four numbers side by side, read at once.
pub(super) type Four = Vector<f32, Const<4>>;

/// Always true, as a device's compiler sees and CubeCL's does not: a part of a long unrolled text that stands under it is a scope of
/// its own. CubeCL compares an expression with every one before it in its scope and in those around it, which takes seconds where
/// thousands share one; what the device's compiler makes of the text is the same.
#[cube]
pub(super) fn apart() -> bool {
    // The same for all units of a cube: barriers may stand under it.
    CUBE_POS_X & 1u32 < 2u32
}

/// Classes to mirrors, or mirrors to classes: sums and differences of four numbers from `at`.
#[cube]
pub(super) fn walsh(v: &mut Array<f32>, #[comptime] at: usize) {
    let (even, sine) = (v[at] + v[at + 1], v[at] - v[at + 1]);
    let (odd, odd_sine) = (v[at + 2] + v[at + 3], v[at + 2] - v[at + 3]);
    v[at] = even + odd;
    v[at + 1] = sine + odd_sine;
    v[at + 2] = even - odd;
    v[at + 3] = sine - odd_sine;
}

/// The same of pairs.
#[cube]
pub(super) fn walsh_two(v: &mut Array<Two>, #[comptime] at: usize) {
    let (even, sine) = (v[at] + v[at + 1], v[at] - v[at + 1]);
    let (odd, odd_sine) = (v[at + 2] + v[at + 3], v[at + 2] - v[at + 3]);
    v[at] = even + odd;
    v[at + 1] = sine + odd_sine;
    v[at + 2] = even - odd;
    v[at + 3] = sine - odd_sine;
}

/// Where a mirror of a pixel of the first quarter is.
#[cube]
pub(super) fn mirrored(q: usize, n: usize, #[comptime] mirror: usize) -> usize {
    if comptime!(mirror == 0) {
        q
    } else if comptime!(mirror == 1) {
        n - 1 - q
    } else if comptime!(mirror == 2) {
        n / 2 + q
    } else {
        n / 2 - 1 - q
    }
}

/// As [`mirrored`], with a mirror that is known at run time.
#[cube]
pub(super) fn mirrored_by(q: usize, n: usize, mirror: usize) -> usize {
    let half = select(mirror < 2, 0, n / 2);
    let end = select(mirror < 2, n, n / 2);
    select(mirror & 1 == 0, half + q, end - 1 - q)
}

/// Loads `count` fours of a table from `first`, between barriers.
#[cube]
pub(super) fn stage(
    table: &mut Shared<[Four]>,
    waves: &[Four],
    first: usize,
    count: usize,
    #[comptime] units: usize,
) {
    sync_cube();
    for i in range_stepped(UNIT_POS as usize, count, units) {
        table[i] = waves[first + i];
    }
    sync_cube();
}

/// How units of a cube exchange numbers.
#[derive(CubeType)]
pub(super) struct Exchange {
    /// A number a unit, where planes cannot shuffle.
    through: Shared<[f32]>,
    #[cube(comptime)]
    planes: bool,
}

#[cube]
impl Exchange {
    /// For a cube of `units`, whose planes of eight or more shuffle if `planes` says so.
    pub(super) fn new(#[comptime] units: usize, #[comptime] planes: bool) -> Exchange {
        let length = comptime!(if planes { 1 } else { units });
        Exchange { through: Shared::<[f32]>::new_slice(length), planes }
    }

    /// What the unit whose position differs by `mask`, 1, 2 or 4, brings; every unit of the cube comes here.
    pub(super) fn with(&mut self, value: f32, #[comptime] mask: u32) -> f32 {
        if comptime!(self.planes) {
            plane_shuffle_xor(value, mask)
        } else {
            let unit = UNIT_POS as usize;
            self.through[unit] = value;
            sync_cube();
            let found = self.through[unit ^ comptime!(mask as usize)];
            sync_cube();
            found
        }
    }

    /// [`walsh`] across four neighbours: each has one of the four numbers.
    pub(super) fn walsh(&mut self, value: f32, signs: Two) -> f32 {
        let once = value * signs.extract(0usize) + self.with(value, 1u32);
        once * signs.extract(1usize) + self.with(once, 2u32)
    }
}

/// A unit's signs in [`Exchange::walsh`]: −1 where its place among the four has the bit, else 1.
#[cube]
pub(super) fn signs(class: usize) -> Two {
    let mut signs = Two::new(1.0);
    signs.insert(0usize, select(class % 2 == 1, f32::new(-1.0), f32::new(1.0)));
    signs.insert(1usize, select(class >= 2, f32::new(-1.0), f32::new(1.0)));
    signs
}
