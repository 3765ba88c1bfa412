//! Steps of the descent as one operation of a GPU's backend.
//!
//! A step of a single clip is small, and as tensor operations it is some ninety of them: a GPU waits for the program.
//! Here it is kernels of our own, and many steps are one operation. There are two forms of them: `folded` does a quarter of the
//! arithmetic and keeps fields and images off the memory, where the field, the grid and the corners allow it; `kernels` are plain
//! loops for all others. The numbers are those of [`crate::Simulator`], [`PrintLoss`] and `Descent` in Burn, which stay the
//! reference and the way of the CPU.
#![cfg_attr(
    not(feature = "gpu"),
    allow(unused_variables, reason = "a program without GPUs has no backend of these")
)]

#[cfg(feature = "gpu")]
mod folded;
#[cfg(feature = "gpu")]
mod kernels;
#[cfg(feature = "gpu")]
mod launch;
mod shares;
pub(crate) mod slope;
#[cfg(all(test, feature = "wgpu", feature = "cuda"))]
mod tests;

use std::ops::Range;

#[cfg(feature = "gpu")]
use burn::backend::TensorMetadata;
#[cfg(feature = "gpu")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, backend_extension};
#[cfg(feature = "gpu")]
use burn::tensor::Shape;
use burn::tensor::Tensor;
#[cfg(feature = "gpu")]
use burn_cubecl::{CubeBackend, kernel::into_contiguous};
#[cfg(feature = "gpu")]
use launch::PlainKernels;

use serde::{Deserialize, Serialize};

use self::shares::{most, shares};
use crate::loss::{Goal, HARD_EDGE, PrintLoss};
use crate::{Aerial, Corner, Focus, ProcessWindow, Sampling, Simulator};

/// What steps change: `[batch, n, n]` each.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "gpu"))]
pub(crate) struct DescentState<B: Backend> {
    pub(crate) parameters: FloatTensor<B>,
    /// Adam's means of the gradient and of its square.
    pub(crate) mean: FloatTensor<B>,
    pub(crate) square: FloatTensor<B>,
}

/// A goal's images, `[batch, n, n]` each.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "gpu"))]
pub(crate) struct GoalImages<B: Backend> {
    pub(crate) target: FloatTensor<B>,
    pub(crate) design: FloatTensor<B>,
    pub(crate) strips: FloatTensor<B>,
}

/// A simulator's constants and a grid's, as they are there.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "gpu"))]
pub(crate) struct Optics<B: Backend> {
    pub(crate) kernels_re: FloatTensor<B>,
    pub(crate) kernels_im: FloatTensor<B>,
    pub(crate) spread: FloatTensor<B>,
    pub(crate) columns: FloatTensor<B>,
    pub(crate) rows: FloatTensor<B>,
    pub(crate) interpolate: FloatTensor<B>,
}

/// Tables of folded transforms ([`crate::aerial::Folded`]), or a number each where there are none.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "gpu"))]
pub(crate) struct Waves<B: Backend> {
    /// Coherent kernels by pairs of frequencies, `[2 * count, 32P²]`.
    pub(crate) kernels: FloatTensor<B>,
    pub(crate) mask: FloatTensor<B>,
    pub(crate) mask_places: FloatTensor<B>,
    pub(crate) interpolate: FloatTensor<B>,
    pub(crate) along_y: FloatTensor<B>,
    pub(crate) collect: FloatTensor<B>,
    pub(crate) collect_turned: FloatTensor<B>,
}

/// One corner of the process in the loss.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CornerWeight {
    pub(super) dose: f32,
    pub(super) defocus: bool,
    pub(super) weight: f32,
}

/// The loss and the resist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrintWeights {
    pub(super) threshold: f32,
    pub(super) steepness: f32,
    /// Nominal, outer, inner.
    pub(super) corners: [CornerWeight; 3],
    pub(super) band: f32,
    pub(super) edge: f32,
}

impl PrintWeights {
    pub(crate) fn new(loss: &PrintLoss, window: &ProcessWindow) -> Self {
        let corner = |corner: Corner, weight: f64| CornerWeight {
            dose: corner.dose as f32,
            defocus: corner.focus == Focus::Defocus,
            weight: weight as f32,
        };
        Self {
            threshold: loss.resist.threshold as f32,
            steepness: loss.resist.steepness as f32,
            corners: [
                corner(window.nominal, loss.nominal),
                corner(window.outer, loss.outer),
                corner(window.inner, loss.inner),
            ],
            band: loss.band as f32,
            edge: loss.strips() as f32,
        }
    }

    /// As [`PrintLoss::hard_error`] weighs edges.
    pub(super) fn hard(self) -> Self {
        Self { edge: HARD_EDGE as f32, ..self }
    }
}

/// Errors of prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrintErrors {
    pub(crate) weights: PrintWeights,
    /// Of hard prints, or of soft ones.
    pub(crate) hard: bool,
    /// Whether the masks are exposed first; if not, the numbers mean nothing ([`Work`]).
    #[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "the CPU launches nothing"))]
    pub(crate) exposes: bool,
}

impl PrintErrors {
    pub(crate) fn new(loss: &PrintLoss, window: &ProcessWindow, hard: bool) -> Self {
        let weights = PrintWeights::new(loss, window);
        Self { weights: if hard { weights.hard() } else { weights }, hard, exposes: true }
    }
}

/// What differs from step to step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DescentStep {
    /// Slope of the mask's sigmoid.
    pub(crate) steepness: f32,
    /// Price of the mask's grey pixels.
    pub(crate) grey: f32,
    /// Adam's step size over the bias of its mean.
    pub(crate) rate: f32,
    /// One over the bias of its square.
    pub(crate) unbias: f32,
}

/// Launches of a step on a GPU.
pub const LAUNCHES: usize = 8;

/// A part of a descent's work whose kernels are compiled alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// A step, from one of its [`LAUNCHES`] on and round.
    Step {
        /// The launch that comes first.
        first: usize,
    },
    /// Errors of prints.
    Errors {
        /// Of hard ones.
        hard: bool,
    },
}

/// Steps to take.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<DescentStep>,
    /// Pixels on either side in the smoothing box.
    pub(crate) reach: usize,
    pub(crate) betas: [f32; 2],
    pub(crate) weights: PrintWeights,
    /// Launch of a step that comes first; any other than 0 makes numbers that mean nothing ([`Work`]).
    #[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "the CPU launches nothing"))]
    pub(crate) first_launch: usize,
}

/// The solver's steps as operations of a backend.
#[backend_extension(Cube: cfg(feature = "gpu"), Fusion: cfg(feature = "gpu"))]
pub(crate) trait Steps: Backend {
    /// Takes the plan's steps; `window`, `[batch, n, n]`, is where the mask may be open. The second output is the soft
    /// mask of the last step.
    #[fusion(meta = |state, window, _, _, _, _| (state.clone(), window.clone()))]
    fn descend(
        #[extension_type] state: DescentState<Self>,
        window: FloatTensor<Self>,
        #[extension_type] goal: GoalImages<Self>,
        #[extension_type] optics: Optics<Self>,
        #[extension_type] waves: Waves<Self>,
        plan: Plan,
    ) -> (DescentState<Self>, FloatTensor<Self>);

    /// Images of masks in focus and out of it, `[batch * 2, m, m]`; `m` is that of the optics' interpolation.
    #[fusion(meta = image_spec)]
    fn images(mask: FloatTensor<Self>, #[extension_type] optics: Optics<Self>)
    -> FloatTensor<Self>;

    /// Errors of a mask's prints, hard or soft: parts of sums, `[batch, n / 4, n]`.
    #[fusion(meta = error_spec)]
    fn print_errors(
        mask: FloatTensor<Self>,
        #[extension_type] goal: GoalImages<Self>,
        #[extension_type] optics: Optics<Self>,
        #[extension_type] waves: Waves<Self>,
        errors: PrintErrors,
    ) -> FloatTensor<Self>;
}

#[cfg(feature = "gpu")]
fn image_spec(mask: &TensorSpec, optics: &OpticsMetadata) -> TensorSpec {
    let ([batch, _, _], [_, m]) = (mask.shape.dims::<3>(), optics.interpolate.shape.dims::<2>());
    TensorSpec::new(Shape::from([batch * 2, m, m]), mask.dtype)
}

#[cfg(feature = "gpu")]
fn error_spec(
    mask: &TensorSpec,
    _goal: &GoalImagesMetadata,
    _optics: &OpticsMetadata,
    _waves: &WavesMetadata,
    _errors: &PrintErrors,
) -> TensorSpec {
    let [batch, n, _] = mask.shape.dims::<3>();
    TensorSpec::new(Shape::from([batch, n.div_ceil(kernels::TILE), n]), mask.dtype)
}

#[cfg(feature = "gpu")]
impl Steps for CubeBackend {
    fn descend(
        state: DescentState<Self>,
        window: FloatTensor<Self>,
        goal: GoalImages<Self>,
        optics: Optics<Self>,
        waves: Waves<Self>,
        plan: Plan,
    ) -> (DescentState<Self>, FloatTensor<Self>) {
        let [batch, _, _] = state.parameters.shape().dims::<3>();
        let (window, goal) = (into_contiguous(window), goal.contiguous());
        match folded::FoldedKernels::new(waves, batch, &plan.weights)
            .filter(|_| folded::has(plan.reach))
        {
            Some(bench) => bench.descend(state, &window, &goal, &plan),
            None => PlainKernels::new(optics, batch).descend(state, &window, &goal, &plan),
        }
    }

    fn images(mask: FloatTensor<Self>, optics: Optics<Self>) -> FloatTensor<Self> {
        let [batch, _, _] = mask.shape().dims::<3>();
        PlainKernels::new(optics, batch).images(&into_contiguous(mask))
    }

    fn print_errors(
        mask: FloatTensor<Self>,
        goal: GoalImages<Self>,
        optics: Optics<Self>,
        waves: Waves<Self>,
        errors: PrintErrors,
    ) -> FloatTensor<Self> {
        let [batch, _, _] = mask.shape().dims::<3>();
        let (mask, goal) = (into_contiguous(mask), goal.contiguous());
        match folded::FoldedKernels::new(waves, batch, &errors.weights) {
            Some(bench) => bench.errors(&mask, &goal, &errors),
            None => PlainKernels::new(optics, batch).errors(&mask, &goal, &errors),
        }
    }
}

#[cfg(feature = "gpu")]
impl GoalImages<CubeBackend> {
    fn contiguous(self) -> Self {
        Self {
            target: into_contiguous(self.target),
            design: into_contiguous(self.design),
            strips: into_contiguous(self.strips),
        }
    }
}

/// Where a descent stands, as tensors.
pub(super) struct Stand {
    pub(super) parameters: Tensor<3>,
    /// Adam's means of the gradient and of its square.
    pub(super) mean: Tensor<3>,
    pub(super) square: Tensor<3>,
}

/// Where a descent stands after the steps of a plan, and their last soft mask.
pub(super) fn descend(
    stand: Stand,
    window: &Tensor<3>,
    goal: &Goal,
    optics: (&Simulator, &Sampling),
    plan: &Plan,
) -> (Stand, Tensor<3>) {
    descend_in_shares(stand, window, goal, optics, plan, most_of(optics.0))
}

/// The same, so many masks at once.
fn descend_in_shares(
    stand: Stand,
    window: &Tensor<3>,
    goal: &Goal,
    optics: (&Simulator, &Sampling),
    plan: &Plan,
    most: usize,
) -> (Stand, Tensor<3>) {
    let [batch, _, _] = window.dims();
    if batch <= most {
        return descend_at_once(stand, window, goal, optics, plan);
    }
    let share = |share: Range<usize>| {
        let (stand, goal) = (stand.part(&share), goal.part(&share));
        descend_at_once(stand, &part(window, &share), &goal, optics, plan)
    };
    let (stands, masks): (Vec<Stand>, Vec<_>) = shares(batch, most).map(share).unzip();
    let joined = |take: fn(&Stand) -> &Tensor<3>| {
        Tensor::cat(stands.iter().map(|stand| take(stand).clone()).collect(), 0)
    };
    let parameters = joined(|stand| &stand.parameters);
    let (mean, square) = (joined(|stand| &stand.mean), joined(|stand| &stand.square));
    (Stand { parameters, mean, square }, Tensor::cat(masks, 0))
}

fn descend_at_once(
    stand: Stand,
    window: &Tensor<3>,
    goal: &Goal,
    optics: (&Simulator, &Sampling),
    plan: &Plan,
) -> (Stand, Tensor<3>) {
    let state = DescentState {
        parameters: stand.parameters.into_dispatch(),
        mean: stand.mean.into_dispatch(),
        square: stand.square.into_dispatch(),
    };
    let (window, waves) = (window.clone().into_dispatch(), waves(optics));
    let (goal, optics, plan) = (images(goal), constants(optics), plan.clone());
    let (state, mask) = <Dispatch as Steps>::descend(state, window, goal, optics, waves, plan);
    let after = Stand {
        parameters: Tensor::from_dispatch(state.parameters),
        mean: Tensor::from_dispatch(state.mean),
        square: Tensor::from_dispatch(state.square),
    };
    (after, Tensor::from_dispatch(mask))
}

/// Errors of a batch of masks, in pixels, `[batch, 1, 1]`, hard or soft.
pub(super) fn errors(
    mask: &Tensor<3>,
    goal: &Goal,
    optics: (&Simulator, &Sampling),
    what: PrintErrors,
) -> Tensor<3> {
    let [batch, _, _] = mask.dims();
    let share = |share: Range<usize>| {
        let (mask, goal) = (part(mask, &share).into_dispatch(), images(&goal.part(&share)));
        let (waves, optics) = (waves(optics), constants(optics));
        let parts = <Dispatch as Steps>::print_errors(mask, goal, optics, waves, what);
        Tensor::from_dispatch(parts).sum_dim(2).sum_dim(1)
    };
    joined(shares(batch, most_of(optics.0)).map(share))
}

/// Aerial images in f32, products and sums: a GPU's matrix products may be in TF32, which moves edges that lie at the threshold.
pub(crate) fn aerial(
    mask: &Tensor<3>,
    simulator: &Simulator,
    grid: &Sampling,
    image: &Sampling,
) -> Aerial {
    let ([batch, _, _], m) = (mask.dims(), image.size);
    let share = |share: Range<usize>| {
        let interpolate = image.interpolate.clone().into_dispatch();
        let optics = Optics { interpolate, ..constants((simulator, grid)) };
        let images = <Dispatch as Steps>::images(part(mask, &share).into_dispatch(), optics);
        Tensor::<3>::from_dispatch(images).reshape([share.len(), 2, m * m])
    };
    let images = joined(shares(batch, most_of(simulator)).map(share));
    let at = |focus: usize| images.clone().narrow(1, focus, 1).reshape([batch, m, m]);
    Aerial { best: at(0), defocus: at(1) }
}

/// Masks that a simulator's kernels take at once.
fn most_of(simulator: &Simulator) -> usize {
    let [foci, kernels, _, _] = simulator.kernels.re.dims();
    most(foci * kernels)
}

/// A share of a batch.
fn part(batch: &Tensor<3>, share: &Range<usize>) -> Tensor<3> {
    if share.len() == batch.dims()[0] {
        return batch.clone();
    }
    batch.clone().narrow(0, share.start, share.len())
}

/// Shares one after the other.
fn joined(shares: impl Iterator<Item = Tensor<3>>) -> Tensor<3> {
    let mut shares: Vec<Tensor<3>> = shares.collect();
    match shares.pop() {
        Some(only) if shares.is_empty() => only,
        last => Tensor::cat(shares.into_iter().chain(last).collect(), 0),
    }
}

impl Stand {
    fn part(&self, share: &Range<usize>) -> Self {
        Self {
            parameters: part(&self.parameters, share),
            mean: part(&self.mean, share),
            square: part(&self.square, share),
        }
    }
}

impl Goal {
    fn part(&self, share: &Range<usize>) -> Self {
        Self {
            target: part(&self.target, share),
            design: part(&self.design, share),
            strips: self.strips.as_ref().map(|strips| part(strips, share)),
        }
    }
}

/// The constants that the kernels need of the optics and of a grid of masks and images.
fn constants((simulator, grid): (&Simulator, &Sampling)) -> Optics<Dispatch> {
    Optics {
        kernels_re: simulator.kernels.re.clone().into_dispatch(),
        kernels_im: simulator.kernels.im.clone().into_dispatch(),
        spread: simulator.spread.clone().into_dispatch(),
        columns: grid.columns.clone().into_dispatch(),
        rows: grid.rows.clone().into_dispatch(),
        interpolate: grid.interpolate.clone().into_dispatch(),
    }
}

/// The tables of folded transforms.
fn waves((simulator, grid): (&Simulator, &Sampling)) -> Waves<Dispatch> {
    waves_between(simulator, [grid, grid])
}

/// The same, from masks on a grid to images on another.
fn waves_between(simulator: &Simulator, [grid, image]: [&Sampling; 2]) -> Waves<Dispatch> {
    let tables = || simulator.folded(grid).zip(simulator.folded(image));
    let there = simulator.kernels.pairs.clone().zip(tables());
    let nothing = || Tensor::<2>::zeros([1, 1], simulator.device()).into_dispatch();
    let Some((kernels, (tables, of_image))) = there else {
        return Waves {
            kernels: nothing(),
            mask: nothing(),
            mask_places: nothing(),
            interpolate: nothing(),
            along_y: nothing(),
            collect: nothing(),
            collect_turned: nothing(),
        };
    };
    let ([mask, mask_places], [collect, collect_turned]) = (tables.mask, tables.collect);
    Waves {
        kernels: kernels.into_dispatch(),
        mask: mask.into_dispatch(),
        mask_places: mask_places.into_dispatch(),
        interpolate: of_image.interpolate.into_dispatch(),
        along_y: of_image.along_y.into_dispatch(),
        collect: collect.into_dispatch(),
        collect_turned: collect_turned.into_dispatch(),
    }
}

fn images(goal: &Goal) -> GoalImages<Dispatch> {
    let strips = goal.strips.clone().unwrap_or_else(|| goal.target.zeros_like());
    GoalImages {
        target: goal.target.clone().into_dispatch(),
        design: goal.design.clone().into_dispatch(),
        strips: strips.into_dispatch(),
    }
}
