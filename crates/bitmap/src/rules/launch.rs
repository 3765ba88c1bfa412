//! The order of the kernels.
#![allow(
    unsafe_code,
    reason = "kernels are launched without bounds checks: buffers are made here for the sizes that the kernels are given"
)]

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::disks::{Disk, Opening, Plan};
use super::{kernels, shapes};
use crate::WORD;
use crate::launch::{arg, cubes, empty, zeros};
use crate::words::{Flips, joined};

/// What a disk grows in: words that are as they are, or turned round, before and after.
#[derive(Clone, Copy)]
enum Side {
    /// The set grows.
    Set,
    /// The rest grows: the set shrinks.
    Rest,
    /// The rest grows; what it does not reach is left.
    Beyond,
}

/// Dark rows, and words in a row, around an image.
#[derive(Clone, Copy)]
struct Margin {
    rows: usize,
    words: usize,
}

impl Margin {
    const NONE: Self = Self { rows: 0, words: 0 };

    /// Room for what a disk grows out of the image.
    fn of(disk: Disk) -> Self {
        Self { rows: disk.reach, words: 1 }
    }
}

/// Masks with the rules that they are looked at by.
pub(super) struct RuleKernels<'a> {
    mask: CubeTensor,
    plan: &'a Plan,
    table: CubeTensor,
    batch: usize,
    side: usize,
}

/// Shapes of a mask: the large ones' pixels, and for each run's node its shape's.
struct Shapes {
    large: CubeTensor,
    parents: CubeTensor,
}

impl<'a> RuleKernels<'a> {
    pub(super) fn new(mask: CubeTensor, plan: &'a Plan) -> Self {
        let mask = into_contiguous(mask);
        let [batch, side, _] = mask.shape().dims::<3>();
        let bytes: Vec<u8> = plan.table.iter().flat_map(|v| v.to_ne_bytes()).collect();
        let (client, device) = (mask.client.clone(), mask.device.clone());
        let handle = client.create_from_slice(&bytes);
        let shape = Shape::from([plan.table.len()]);
        let table = CubeTensor::new_contiguous(client, device, shape, handle, DType::U32);
        Self { mask, plan, table, batch, side }
    }

    /// Words of an image.
    fn words(&self) -> usize {
        self.side * self.side / WORD
    }

    fn image(&self) -> CubeTensor {
        empty(&self.mask, [self.batch, self.side, self.side / WORD], DType::U32)
    }

    /// What a disk makes of an image with one margin, in an image with another.
    fn grown(
        &self,
        from: &CubeTensor,
        [inner, outer]: [Margin; 2],
        disk: Disk,
        side: Side,
    ) -> CubeTensor {
        let frame =
            |margin: Margin| [self.side + 2 * margin.rows, self.side / WORD + 2 * margin.words];
        let ([from_rows, from_row], [rows, row]) = (frame(inner), frame(outer));
        let out = empty(&self.mask, [self.batch, rows, row], DType::U32);
        let (before, after) = match side {
            Side::Set => (0, 0),
            Side::Rest => (u32::MAX, u32::MAX),
            Side::Beyond => (u32::MAX, 0),
        };
        let (count, dim) = cubes(rows * row, self.batch);
        // SAFETY: units beyond the output end at once, and words beyond the input are not read.
        unsafe {
            kernels::grown::launch_unchecked(
                &self.mask.client,
                count,
                dim,
                arg(from),
                arg(&self.table),
                arg(&out),
                kernels::FrameLaunch::new(from_rows as i32, from_row as i32),
                kernels::FrameLaunch::new(rows as i32, row as i32),
                inner.rows as i32 - outer.rows as i32,
                inner.words as i32 - outer.words as i32,
                disk.first,
                disk.reach,
                before,
                after,
            );
        }
        out
    }

    /// Within the image.
    fn within(&self, from: &CubeTensor, disk: Disk, side: Side) -> CubeTensor {
        self.grown(from, [Margin::NONE; 2], disk, side)
    }

    /// What the disk covers when it moves about inside the set.
    fn opened(&self, set: &CubeTensor, by: Option<Opening>) -> CubeTensor {
        let Some(Opening { disk, .. }) = by else { return set.clone() };
        self.within(&self.within(set, disk, Side::Rest), disk, Side::Set)
    }

    /// What the disk does not cover when it moves about outside of the set. It reaches into the dark around the image.
    fn closed(&self, set: &CubeTensor, by: Option<Opening>) -> CubeTensor {
        let Some(Opening { disk, .. }) = by else { return set.clone() };
        let margin = Margin::of(disk);
        let grown = self.grown(set, [Margin::NONE, margin], disk, Side::Set);
        self.grown(&grown, [margin, Margin::NONE], disk, Side::Rest)
    }

    /// Pixels outside of the set that are further from where the disk fits there than a right-angled corner is.
    fn tight(&self, set: &CubeTensor, by: Opening) -> CubeTensor {
        let open = self.within(&self.closed(set, Some(by)), by.corner, Side::Beyond);
        joined(set, &open, Flips::NEITHER)
    }

    /// The shapes of a set.
    fn shapes(&self, set: &CubeTensor) -> Shapes {
        let nodes = || empty(&self.mask, [self.batch, self.side * self.side / 2], DType::U32);
        let (parents, areas, large) = (nodes(), nodes(), self.image());
        let (words, row) = (self.words(), self.side / WORD);
        let (count, dim) = cubes(words, self.batch);
        let client = &self.mask.client;
        // SAFETY: as in `grown`. A node is a pair of pixels of a row: two runs never begin in one.
        unsafe {
            let begin = shapes::begin::launch_unchecked;
            begin(client, count.clone(), dim, arg(set), arg(&parents), arg(&areas), words, row);
            let join = shapes::join::launch_unchecked;
            join(client, count.clone(), dim, arg(set), arg(&parents), words, row);
            let measure = shapes::measure::launch_unchecked;
            measure(client, count.clone(), dim, arg(set), arg(&parents), arg(&areas), words, row);
            shapes::large::launch_unchecked(
                client,
                count,
                dim,
                arg(set),
                arg(&parents),
                arg(&areas),
                arg(&large),
                words,
                row,
                self.plan.least_area,
            );
        }
        Shapes { large, parents }
    }

    /// The pixels midway between large shapes that are too near each other.
    fn middle(&self, shapes: &Shapes) -> CubeTensor {
        let row = self.side / WORD;
        let middle = zeros(&self.mask, [self.batch, self.side, row], DType::U32);
        let [first, rows] = self.plan.reaches;
        let (count, dim) = cubes(self.words() * rows, self.batch);
        if rows > 0 {
            // SAFETY: as in `grown`.
            unsafe {
                shapes::near::launch_unchecked(
                    &self.mask.client,
                    count,
                    dim,
                    arg(&shapes.large),
                    arg(&shapes.parents),
                    arg(&self.table),
                    arg(&middle),
                    self.words(),
                    row,
                    first,
                    rows,
                );
            }
        }
        middle
    }

    /// Small shapes with what is around them, and the middle between near neighbours.
    pub(super) fn forbidden(&self) -> CubeTensor {
        let shapes = self.shapes(&self.mask);
        let small = joined(&self.mask, &shapes.large, Flips::WITHOUT);
        let small = self.within(&small, self.plan.clearance, Side::Set);
        let between = self.within(&self.middle(&shapes), self.plan.middle, Side::Set);
        joined(&small, &between, Flips::OR)
    }

    /// A round of enforcing: the masks, and whether they were changed.
    pub(super) fn mended(&self, phases: CubeTensor, taking: bool) -> (CubeTensor, CubeTensor) {
        let phases = into_contiguous(phases);
        let Plan { width, space, middle, .. } = *self.plan;
        let opened = self.opened(&self.mask, width);
        let mut mask = self.closed(&opened, space);
        if taking {
            mask = crate::words::chosen(&mask, &self.widened(&opened), &phases);
        }
        let shapes = self.shapes(&mask);
        let between = self.within(&self.middle(&shapes), middle, Side::Set);
        let (out, changed) = (self.image(), zeros(&self.mask, [self.batch], DType::U32));
        let (count, dim) = cubes(self.words(), self.batch);
        // SAFETY: as in `grown`.
        unsafe {
            kernels::settle::launch_unchecked(
                &self.mask.client,
                count,
                dim,
                arg(&self.mask),
                arg(&shapes.large),
                arg(&between),
                arg(&phases),
                arg(&out),
                arg(&changed),
                self.words(),
            );
        }
        (out, changed)
    }

    /// The mask without what is beside spaces that are too narrow.
    fn widened(&self, mask: &CubeTensor) -> CubeTensor {
        let Some(space) = self.plan.space else { return mask.clone() };
        let tight = self.within(&self.tight(mask, space), self.plan.widening, Side::Set);
        joined(mask, &tight, Flips::WITHOUT)
    }

    /// Whether anything breaks a rule.
    pub(super) fn broken(&self) -> CubeTensor {
        let found = zeros(&self.mask, [self.batch], DType::U32);
        if let Some(width) = self.plan.width {
            let wide = self.opened(&self.mask, Some(width));
            let near = self.within(&wide, width.corner, Side::Set);
            self.look(&joined(&self.mask, &near, Flips::WITHOUT), &found);
        }
        if let Some(space) = self.plan.space {
            self.look(&self.tight(&self.mask, space), &found);
        }
        let shapes = self.shapes(&self.mask);
        self.look(&joined(&self.mask, &shapes.large, Flips::WITHOUT), &found);
        self.look(&self.middle(&shapes), &found);
        found
    }

    /// Tells of each image that has a pixel.
    fn look(&self, set: &CubeTensor, found: &CubeTensor) {
        let (count, dim) = cubes(self.words(), self.batch);
        // SAFETY: as in `grown`.
        unsafe {
            kernels::look::launch_unchecked(
                &self.mask.client,
                count,
                dim,
                arg(set),
                arg(found),
                self.words(),
            );
        }
    }
}
