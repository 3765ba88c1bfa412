//! The order of the folded kernels: exposure, prints and their gradient, step.
#![allow(
    unsafe_code,
    reason = "kernels are launched without bounds checks: buffers are made here for the sizes that the kernels are given"
)]

use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::features::Plane;
use cubecl::prelude::*;

use super::super::kernels::AdamLaunch;
use super::super::launch::{arg, empty_like, owned};
use super::super::{DescentState, DescentStep, GoalImages, Plan, PrintErrors, PrintWeights, Waves};
use super::boxes::{self, AHEAD};
use super::chunks::Chunks;
use super::order::Launch;
use super::print::{self, ProcessLaunch, Wanted};
use super::{fields, image, mask};
use crate::waves::CLASSES;

/// Rows of a band of boxes.
const BAND: usize = 2 * AHEAD;

/// Bytes of shared memory that a device must have for a cube.
const SHARED: usize = 32 << 10;

/// Whether boxes of this reach are within two neighbours' columns.
pub(in super::super) fn has(reach: usize) -> bool {
    reach <= 8
}

/// Buffers and constants of a level.
pub(in super::super) struct FoldedKernels {
    waves: Waves<CubeBackend>,
    batch: usize,
    /// Pixels on a side of the mask, and of the images.
    n: usize,
    pixels: usize,
    places: usize,
    /// Kernels of one focus, and groups of them.
    count: usize,
    groups: usize,
    /// Teams of a cube of fields.
    teams: usize,
    /// Whether planes shuffle, and whether the device's language is CUDA C++ with PTX in it.
    planes: bool,
    ptx: bool,
    chunks: Chunks,
    columns: CubeTensor,
    spectrum: CubeTensor,
    power: CubeTensor,
    image: CubeTensor,
    rows: CubeTensor,
    slopes: CubeTensor,
    by_group: CubeTensor,
    gathered: CubeTensor,
}

impl FoldedKernels {
    /// None where the tables are none, the corners are others than two in focus and one out of it, or the device's cubes are too
    /// small.
    pub(in super::super) fn new(
        waves: Waves<CubeBackend>,
        batch: usize,
        weights: &PrintWeights,
    ) -> Option<Self> {
        let ([quarter, all], [kernels, _]) =
            (waves.mask.shape().dims::<2>(), waves.kernels.shape().dims::<2>());
        if all == 1 || !weights.fold() {
            return None;
        }
        let (n, places, count) = (4 * quarter, all / CLASSES, kernels / 2);
        let [pixels, _] = waves.interpolate.shape().dims::<2>().map(|rows| 4 * rows);
        let client = &waves.mask.client;
        let (hardware, features) = (&client.properties().hardware, client.features());
        let (most, shared) =
            (hardware.max_units_per_cube as usize, hardware.max_shared_memory_size);
        if most < (n / 4).max(fields::units(places)) || shared < SHARED {
            return None;
        }
        let teams = fields::teams(places, shared, most);
        let planes = features.plane.contains(Plane::Ops) && hardware.plane_size_min >= 8;
        let ptx = client.name() == "cuda";
        let (side, groups) = (2 * all, count.div_ceil(fields::GROUP));
        let chunks = Chunks::new(n, pixels);
        let empty = |length: usize| empty_like(&waves.mask, [batch * length]);
        Some(Self {
            batch,
            n,
            pixels,
            places,
            count,
            groups,
            teams,
            planes,
            ptx,
            chunks,
            columns: empty(chunks.transform * all * n),
            spectrum: empty(all * all),
            power: empty(2 * groups * side * side),
            image: empty(2 * side * side),
            rows: empty(2 * chunks.print * CLASSES * side * pixels / 4),
            slopes: empty(2 * side * side),
            by_group: empty(2 * groups * all * all),
            gathered: empty(all * all),
            waves: Waves {
                kernels: into_contiguous(waves.kernels),
                mask: into_contiguous(waves.mask),
                mask_places: into_contiguous(waves.mask_places),
                interpolate: into_contiguous(waves.interpolate),
                along_y: into_contiguous(waves.along_y),
                collect: into_contiguous(waves.collect),
                collect_turned: into_contiguous(waves.collect_turned),
            },
        })
    }

    fn client(&self) -> &Client {
        &self.waves.mask.client
    }

    /// Steps of the descent; returns the last one's mask, too.
    pub(in super::super) fn descend(
        &self,
        state: DescentState<CubeBackend>,
        window: &CubeTensor,
        goal: &GoalImages<CubeBackend>,
        plan: &Plan,
    ) -> (DescentState<CubeBackend>, CubeTensor) {
        let (parameters, mean) = (owned(state.parameters), owned(state.mean));
        let square = owned(state.square);
        let image = || empty_like(&self.waves.mask, [self.batch, self.n, self.n]);
        let (mask, gradient) = (image(), image());
        let (open, goal) = (self.window(window), self.goal(goal));
        for step in &plan.steps {
            for launch in Launch::from(plan.first_launch) {
                match launch {
                    Launch::SoftMask => self.soft_mask(&parameters, &open, &mask, plan, step),
                    Launch::Spectrum => self.mask_spectrum(&mask),
                    Launch::Power => self.power(),
                    Launch::Print => {
                        self.print(&goal, &plan.weights, Wanted::Gradient, &self.rows);
                    }
                    Launch::Slopes => self.slopes(),
                    Launch::Back => self.back(),
                    Launch::Gradient => {
                        self.mask_gradient(&mask, &gradient, step.grey, step.steepness);
                    }
                    Launch::Update => {
                        self.update(&gradient, [&parameters, &mean, &square], plan, step);
                    }
                }
            }
        }
        (DescentState { parameters, mean, square }, mask)
    }

    /// The gradient of the prints' error by the masks' logits, `[batch, n, n]`; as [`super::super::slope`] tells.
    pub(in super::super) fn slopes_of(
        &self,
        mask: &CubeTensor,
        goal: &GoalImages<CubeBackend>,
        weights: &PrintWeights,
        grey: f32,
    ) -> CubeTensor {
        let out = empty_like(&self.waves.mask, [self.batch, self.n, self.n]);
        self.expose(mask);
        self.print(&self.goal(goal), weights, Wanted::Gradient, &self.rows);
        self.slopes();
        self.back();
        self.mask_gradient(mask, &out, grey, 1.0);
        out
    }

    /// Errors of a mask's prints, `[batch, n / 4, n]`.
    pub(in super::super) fn errors(
        &self,
        mask: &CubeTensor,
        goal: &GoalImages<CubeBackend>,
        errors: &PrintErrors,
    ) -> CubeTensor {
        let out = empty_like(&self.waves.mask, [self.batch, self.n / 4, self.n]);
        if errors.exposes {
            self.expose(mask);
        }
        let wanted = if errors.hard { Wanted::Hard } else { Wanted::Soft };
        self.print(&self.goal(goal), &errors.weights, wanted, &out);
        out
    }

    /// A goal as words, `[batch, pixels, pixels]`.
    fn goal(&self, goal: &GoalImages<CubeBackend>) -> CubeTensor {
        let length = self.batch * self.pixels * self.pixels;
        let words = empty_like(&self.waves.mask, [length]);
        let (count, dim) = along(length);
        // SAFETY: units beyond the length do nothing.
        unsafe {
            print::pack::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(&goal.target),
                arg(&goal.design),
                arg(&goal.strips),
                arg(&words),
                length,
            );
        }
        words
    }

    /// A window of 0 and 1 as bits.
    fn window(&self, window: &CubeTensor) -> CubeTensor {
        let length = self.batch * self.n * self.n / 32;
        let bits = empty_like(&self.waves.mask, [length]);
        let (count, dim) = along(length);
        // SAFETY: as in `goal`.
        unsafe {
            print::pack_window::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(window),
                arg(&bits),
                length,
            );
        }
        bits
    }

    fn bands(&self) -> (CubeCount, CubeDim) {
        let bands = self.n / BAND;
        (cubes([bands, self.batch, 1]), CubeDim::new_1d(self.n as u32 / 4))
    }

    fn soft_mask(
        &self,
        parameters: &CubeTensor,
        open: &CubeTensor,
        mask: &CubeTensor,
        plan: &Plan,
        step: &DescentStep,
    ) {
        let (count, dim) = self.bands();
        // SAFETY: bands and a cube's units cover the images exactly.
        unsafe {
            boxes::soft_mask::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(parameters),
                arg(open),
                arg(mask),
                self.n,
                BAND,
                step.steepness,
                plan.reach,
                self.n / 4,
                self.ptx,
            );
        }
    }

    fn update(
        &self,
        gradient: &CubeTensor,
        [parameters, mean, square]: [&CubeTensor; 3],
        plan: &Plan,
        step: &DescentStep,
    ) {
        let (count, dim) = self.bands();
        let [beta1, beta2] = plan.betas;
        // SAFETY: as in `soft_mask`.
        unsafe {
            boxes::update::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(gradient),
                arg(parameters),
                arg(mean),
                arg(square),
                self.n,
                BAND,
                AdamLaunch::new(beta1, beta2, step.rate, step.unbias),
                plan.reach,
                self.n / 4,
            );
        }
    }

    /// From a mask to the image's spectrum along y.
    fn expose(&self, mask: &CubeTensor) {
        self.mask_spectrum(mask);
        self.power();
    }

    /// From a mask's spectrum to the image's.
    fn power(&self) {
        let count = cubes([self.groups, 2, self.batch]);
        let share = image::share(self.places);
        // SAFETY: buffers were made for these sizes.
        unsafe {
            fields::power::launch_unchecked(
                self.client(),
                count,
                CubeDim::new_1d((self.teams * fields::units(self.places)) as u32),
                arg(&self.spectrum),
                arg(&self.waves.kernels),
                arg(&self.power),
                self.count,
                self.places,
                self.teams,
            );
            image::spectrum::launch_unchecked(
                self.client(),
                cubes([2 * self.places / share, 2, self.batch]),
                CubeDim::new_1d((share * 2 * CLASSES * self.places) as u32),
                arg(&self.power),
                arg(&self.waves.collect_turned),
                arg(&self.image),
                self.groups,
                self.places,
            );
        }
    }

    fn mask_spectrum(&self, mask: &CubeTensor) {
        let (n, chunks) = (self.n, self.chunks.transform);
        // SAFETY: as in `expose`.
        unsafe {
            mask::transform::launch_unchecked(
                self.client(),
                cubes([n / 2 / mask::UNITS, chunks, self.batch]),
                CubeDim::new_1d(mask::UNITS as u32),
                arg(mask),
                arg(&self.waves.mask),
                arg(&self.columns),
                n,
                n / 4 / chunks,
                self.places,
            );
            mask::spectrum::launch_unchecked(
                self.client(),
                cubes([CLASSES * self.places, self.batch, 1]),
                CubeDim::new_1d((mask::PARTS * CLASSES * self.places) as u32),
                arg(&self.columns),
                arg(&self.waves.mask_places),
                arg(&self.spectrum),
                n,
                chunks,
                self.places,
            );
        }
    }

    /// The rows' gradients, or errors.
    fn print(&self, goal: &CubeTensor, weights: &PrintWeights, wanted: Wanted, out: &CubeTensor) {
        let (n, chunks) = (self.pixels, self.chunks.print);
        // SAFETY: as in `expose`; errors go to a buffer made for them.
        unsafe {
            print::print::launch_unchecked(
                self.client(),
                cubes([n / 4 / print::COLUMNS, chunks, self.batch]),
                CubeDim::new_1d(print::UNITS as u32),
                arg(&self.image),
                arg(&self.waves.interpolate),
                arg(&self.waves.along_y),
                arg(goal),
                arg(out),
                n,
                n / 8 / chunks,
                weights.process(),
                wanted,
                self.places,
                self.planes,
                self.ptx,
            );
        }
    }

    /// From the rows' gradients to that of the image's spectrum.
    fn slopes(&self) {
        // SAFETY: as in `expose`.
        unsafe {
            image::back::launch_unchecked(
                self.client(),
                cubes([CLASSES, 2, self.batch]),
                CubeDim::new_1d((image::share(self.places) * 2 * CLASSES * self.places) as u32),
                arg(&self.rows),
                arg(&self.waves.interpolate),
                arg(&self.waves.collect),
                arg(&self.slopes),
                self.pixels,
                self.chunks.print,
                self.places,
            );
        }
    }

    /// From there to the mask's spectrum.
    fn back(&self) {
        let area = CLASSES * CLASSES * self.places * self.places;
        // SAFETY: as in `expose`.
        unsafe {
            fields::back::launch_unchecked(
                self.client(),
                cubes([self.groups, 2, self.batch]),
                CubeDim::new_1d((self.teams * fields::units(self.places)) as u32),
                arg(&self.spectrum),
                arg(&self.waves.kernels),
                arg(&self.slopes),
                arg(&self.by_group),
                self.count,
                self.places,
                self.teams,
                self.planes,
            );
            mask::gather::launch_unchecked(
                self.client(),
                cubes([area.div_ceil(mask::UNITS), self.batch, 1]),
                CubeDim::new_1d(mask::UNITS as u32),
                arg(&self.by_group),
                arg(&self.gathered),
                2 * self.groups,
                self.places,
            );
        }
    }

    /// From there to the gradient of what the mask is a sigmoid of, `steepness` being the sigmoid's.
    fn mask_gradient(&self, mask: &CubeTensor, out: &CubeTensor, grey: f32, steepness: f32) {
        let (n, chunks) = (self.n, self.chunks.gradient);
        // SAFETY: as in `expose`.
        unsafe {
            mask::gradient::launch_unchecked(
                self.client(),
                cubes([n / 4 / mask::COLUMNS, chunks, self.batch]),
                CubeDim::new_1d(mask::UNITS as u32),
                arg(&self.gathered),
                arg(&self.waves.mask_places),
                arg(&self.waves.mask),
                arg(mask),
                arg(out),
                n,
                n / 4 / chunks,
                grey,
                steepness,
                self.places,
                self.planes,
            );
        }
    }
}

impl PrintWeights {
    /// Whether the corners are those that the folded kernels know: nominal and outer in focus, inner out of it.
    fn fold(&self) -> bool {
        self.corners.map(|corner| corner.defocus) == [false, false, true]
    }

    fn process(&self) -> ProcessLaunch {
        let [nominal, outer, inner] = self.corners;
        ProcessLaunch::new(
            self.threshold,
            self.steepness,
            nominal.dose,
            outer.dose,
            inner.dose,
            nominal.weight,
            outer.weight,
            inner.weight,
            self.band,
            self.edge,
        )
    }
}

fn cubes([x, y, z]: [usize; 3]) -> CubeCount {
    CubeCount::Static(x as u32, y as u32, z as u32)
}

/// Cubes along a buffer.
fn along(length: usize) -> (CubeCount, CubeDim) {
    const UNITS: u32 = 256;
    let count = (length as u32).div_ceil(UNITS);
    // No device takes more than 65,535 cubes along an axis.
    let rows = count.div_ceil(65_535);
    (CubeCount::Static(count.div_ceil(rows), rows, 1), CubeDim::new_1d(UNITS))
}
