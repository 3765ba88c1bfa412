//! A descent's own launches: soft masks, the loss and its gradient, and the steps.
#![allow(
    unsafe_code,
    reason = "kernels are launched without bounds checks: buffers are made here for the sizes that the kernels are given"
)]

use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::super::kernels::print::{self, PrintLaunch};
use super::super::kernels::{self, AdamLaunch, TILE};
use super::super::{DescentState, DescentStep, GoalImages, Plan, PrintErrors, PrintWeights};
use super::{PlainKernels, arg, cubes, empty_like, owned};

impl PlainKernels {
    /// The gradient of the loss by the images, after [`PlainKernels::expose`].
    fn print_gradient(
        &self,
        goal: &GoalImages<CubeBackend>,
        weights: &PrintWeights,
        out: &CubeTensor,
    ) {
        let (count, dim) = cubes(self.pixels.div_ceil(TILE) * self.pixels, self.batch);
        // SAFETY: as in `product`.
        unsafe {
            print::print_gradient::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(&self.rows),
                arg(&self.optics.interpolate),
                arg(&goal.target),
                arg(&goal.design),
                arg(&goal.strips),
                arg(out),
                self.pixels,
                self.coarse,
                weights.launch(),
            );
        }
    }

    fn row_sums(&self, image: &CubeTensor, out: &CubeTensor, reach: usize) {
        let (count, dim) = cubes(self.n * self.n, self.batch);
        // SAFETY: as in `product`.
        unsafe {
            kernels::row_sums::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(image),
                arg(out),
                self.n,
                reach,
            );
        }
    }

    /// Errors of a mask's prints, `[batch, n / TILE, n]`.
    pub(in crate::ilt::steps) fn errors(
        &self,
        mask: &CubeTensor,
        goal: &GoalImages<CubeBackend>,
        errors: &PrintErrors,
    ) -> CubeTensor {
        if errors.exposes {
            self.expose(mask);
        }
        let groups = self.n.div_ceil(TILE);
        let out = empty_like(&self.columns, [self.batch, groups, self.n]);
        let (count, dim) = cubes(groups * self.n, self.batch);
        // SAFETY: as in `product`.
        unsafe {
            print::print_error::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(&self.rows),
                arg(&self.optics.interpolate),
                arg(&goal.target),
                arg(&goal.design),
                arg(&goal.strips),
                arg(&out),
                self.n,
                self.coarse,
                errors.weights.launch(),
                errors.hard,
            );
        }
        out
    }

    /// The gradient of the prints' error by the masks' logits, `[batch, n, n]`; as [`super::super::slope`] tells.
    pub(in crate::ilt::steps) fn slopes_of(
        &self,
        mask: &CubeTensor,
        goal: &GoalImages<CubeBackend>,
        weights: &PrintWeights,
        grey: f32,
    ) -> CubeTensor {
        let by_image = empty_like(&self.columns, [self.batch * 2, self.pixels, self.pixels]);
        self.expose(mask);
        self.print_gradient(goal, weights, &by_image);
        self.pull_back(&by_image);
        let out = self.image();
        self.mask_gradient(mask, &out, grey, 1.0);
        out
    }

    /// Steps of the descent; returns the last one's mask, too.
    pub(in crate::ilt::steps) fn descend(
        &self,
        state: DescentState<CubeBackend>,
        window: &CubeTensor,
        goal: &GoalImages<CubeBackend>,
        plan: &Plan,
    ) -> (DescentState<CubeBackend>, CubeTensor) {
        let (parameters, mean) = (owned(state.parameters), owned(state.mean));
        let square = owned(state.square);
        let (mask, sums) = (self.image(), self.image());
        let gradient = empty_like(&self.columns, [self.batch * 2, self.n, self.n]);
        for step in &plan.steps {
            self.row_sums(&parameters, &sums, plan.reach);
            self.soft_mask(&sums, window, &mask, plan, step);
            self.expose(&mask);
            self.print_gradient(goal, &plan.weights, &gradient);
            self.pull_back(&gradient);
            // The images' gradient is done with: the mask's takes its place.
            self.mask_gradient(&mask, &gradient, step.grey, step.steepness);
            self.row_sums(&gradient, &sums, plan.reach);
            self.update(&sums, [&parameters, &mean, &square], plan, step);
        }
        (DescentState { parameters, mean, square }, mask)
    }

    fn soft_mask(
        &self,
        sums: &CubeTensor,
        window: &CubeTensor,
        mask: &CubeTensor,
        plan: &Plan,
        step: &DescentStep,
    ) {
        let (count, dim) = cubes(self.n * self.n, self.batch);
        // SAFETY: as in `product`.
        unsafe {
            kernels::soft_mask::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(sums),
                arg(window),
                arg(mask),
                self.n,
                plan.reach,
                step.steepness,
            );
        }
    }

    fn mask_gradient(&self, mask: &CubeTensor, out: &CubeTensor, grey: f32, steepness: f32) {
        let (count, dim) = cubes(self.n.div_ceil(TILE) * self.n, self.batch);
        // SAFETY: as in `product`.
        unsafe {
            kernels::mask_gradient::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(&self.by_row),
                arg(&self.columns),
                arg(mask),
                arg(out),
                self.n,
                self.side,
                grey,
                steepness,
            );
        }
    }

    fn update(
        &self,
        sums: &CubeTensor,
        [parameters, mean, square]: [&CubeTensor; 3],
        plan: &Plan,
        step: &DescentStep,
    ) {
        let (count, dim) = cubes(self.n * self.n, self.batch);
        let [beta1, beta2] = plan.betas;
        // SAFETY: as in `product`.
        unsafe {
            kernels::update::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(sums),
                arg(parameters),
                arg(mean),
                arg(square),
                self.n,
                plan.reach,
                AdamLaunch::new(beta1, beta2, step.rate, step.unbias),
            );
        }
    }
}

impl PrintWeights {
    fn launch(&self) -> PrintLaunch {
        let [nominal, outer, inner] = self.corners;
        PrintLaunch::new(
            self.threshold,
            self.steepness,
            nominal.dose,
            outer.dose,
            inner.dose,
            u32::from(nominal.defocus),
            u32::from(outer.defocus),
            u32::from(inner.defocus),
            nominal.weight,
            outer.weight,
            inner.weight,
            self.band,
            self.edge,
        )
    }
}
