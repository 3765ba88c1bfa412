//! Models on a device: targets in, masks out.

mod calibration;
mod network;
mod target;

use std::borrow::Cow;
use std::sync::Mutex;

use burn::tensor::{DType, Device, Tensor, TensorData};
use lithoburn_bitmap::{self as bitmap, Bitmaps, Rules};
use lithoburn_layout::{Edges, MaskRules, PixelRules, Raster};
use lithoburn_litho::forward::{ForwardModel, ThinMask};
use lithoburn_litho::ilt::{
    BitConstraint, Found, Ilt, IltConfig, MaskConstraint, Progress, Start, Usage, Work,
};
use lithoburn_litho::images::resized;
use lithoburn_litho::{BinaryImages, LithoError, PackedImages, Simulator};
use lithoburn_models::{LearnedModel, MaskNetwork};
use rayon::prelude::*;
use tracing::info_span;

use crate::EngineError;
use crate::devices::team::Team;
use crate::model::Model;
use crate::setup::Setup;
use crate::surrogate::TrueModel;
pub use calibration::calibration_targets;
pub use network::load_network;
pub(crate) use network::{Expected, Readied, Readying, quickest};
use network::{laid_out, placed};
pub(crate) use target::{Target, Targets};

/// Steps of a trial's last level, of which two are tried as hard masks.
const TRIAL_STEPS: usize = 6;

/// A model, ready on a device.
pub(crate) struct Proposer {
    optics: ThinMask,
    means: Means,
    descent: IltConfig,
    constraint: Option<Kept>,
    /// SHA-256 of the weights, if the model has some.
    pub weights_hash: Option<String>,
    /// What the last batch asked of a surrogate and of the true model.
    usage: Mutex<Option<Usage>>,
}

/// Mask rules as the solver sees them.
#[derive(Clone, Copy, Debug)]
pub struct Kept(pub MaskRules);

impl MaskConstraint for Kept {
    fn forbidden(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool> {
        self.0.forbidden(mask, width, pixel_nm)
    }

    fn enforced(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool> {
        self.0.enforce(mask, width, pixel_nm)
    }

    fn on_bits(&self, pixel_nm: f64) -> Option<Box<dyn BitConstraint>> {
        let PixelRules {
            width_radius,
            space_radius,
            least_area,
            reaches,
            middle_radius,
            clearance_radius,
        } = self.0.in_pixels(pixel_nm);
        let rules = Rules {
            width_radius,
            space_radius,
            least_area,
            reaches,
            middle_radius,
            clearance_radius,
        };
        rules.fits().then(|| Box::new(OnBits(rules)) as Box<dyn BitConstraint>)
    }
}

/// Mask rules in a device's kernels.
struct OnBits(Rules);

impl BitConstraint for OnBits {
    fn forbidden(&self, masks: &Bitmaps) -> Result<Bitmaps, LithoError> {
        Ok(masks.forbidden(&self.0))
    }

    fn enforced(&self, masks: &Bitmaps) -> Result<Bitmaps, LithoError> {
        Ok(masks.enforced(&self.0)?)
    }
}

enum Means {
    Descent,
    Network {
        network: Box<dyn MaskNetwork>,
        correct: usize,
    },
    Surrogate {
        learned: Box<LearnedModel>,
        truth: Box<dyn ForwardModel + Send + Sync>,
        every: usize,
    },
}

impl Means {
    /// What a model needs on a device, and the SHA-256 of its weights.
    fn load(
        setup: &Setup,
        device: &Device,
        team: Option<&Team>,
        readied: Option<Readied>,
    ) -> Result<(Self, Option<String>), EngineError> {
        let Setup { model: settings, kernels, process, .. } = setup;
        let weights = settings.weights.as_deref();
        if let Some(method) = settings.model.network() {
            let (network, hash) = match team {
                Some(team) => laid_out(method, weights, kernels, team)?,
                None => placed(method, weights, device, readied)?,
            };
            return Ok((Self::Network { network, correct: settings.correct }, Some(hash)));
        }
        if settings.model == Model::Ilt {
            return Ok((Self::Descent, None));
        }
        let model = TrueModel::of(kernels, process);
        let (learned, hash) = model.surrogate(weights, device)?;
        let (learned, truth) = (Box::new(learned), model.on(device)?);
        Ok((Self::Surrogate { learned, truth, every: settings.correct_every }, Some(hash)))
    }
}

impl Proposer {
    /// Loads a setup's model. A team computes its network; everything else is the device's.
    ///
    /// # Errors
    ///
    /// [`EngineError::Weights`] if the weights do not load.
    pub(crate) fn new(
        setup: &Setup,
        device: &Device,
        team: Option<&Team>,
    ) -> Result<Self, EngineError> {
        Self::with(setup, device, team, None)
    }

    /// The same with a network that was readied before, if it was.
    ///
    /// # Errors
    ///
    /// As [`Proposer::new`].
    pub(crate) fn with(
        setup: &Setup,
        device: &Device,
        team: Option<&Team>,
        readied: Option<Readied>,
    ) -> Result<Self, EngineError> {
        let Setup { model, kernels, process, .. } = setup;
        if let (Some(team), None) = (team, model.model.network()) {
            return Err(EngineError::Setting(format!(
                "{} has no network that {:?} could cut: use --parallel data",
                model.model.name(),
                team.way
            )));
        }
        let simulator = Simulator::new(kernels, device).with_diffusion(process.diffusion_nm);
        let (means, weights_hash) = Means::load(setup, device, team, readied)?;
        let mut descent = model.descent().on_field(kernels.period_nm);
        // The solver has a slope of its own.
        descent.loss.resist.threshold = process.resist.threshold;
        descent.loss.band = setup.band();
        Ok(Self {
            optics: ThinMask::new(simulator, model.goal.corners(process.window)),
            means,
            descent,
            constraint: setup.rules.map(Kept),
            weights_hash,
            usage: Mutex::new(None),
        })
    }

    /// A setup's descent without network or surrogate, with one level alone if one is named.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if there is no such level.
    pub(crate) fn descending(
        setup: &Setup,
        device: &Device,
        level: Option<usize>,
    ) -> Result<Self, EngineError> {
        let mut plain = setup.clone();
        plain.model.model = Model::Ilt;
        let mut proposer = Self::new(&plain, device, None)?;
        let mut descent = setup.model.descent().on_field(setup.kernels.period_nm);
        if let Some(level) = level {
            let none = || EngineError::Setting(format!("the descent has no level {level}"));
            descent.levels = vec![*descent.levels.get(level).ok_or_else(none)?];
        }
        descent.loss = proposer.descent.loss;
        proposer.descent = descent;
        Ok(proposer)
    }

    /// The same whose descents take no step: what it finds means nothing.
    pub(crate) fn idle(self) -> Self {
        Self { optics: self.optics.idle(), ..self }
    }

    /// Compiles the kernels of a part of a level's work.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if there is no such level.
    pub(crate) fn compile(&self, level: usize, work: Work) -> Result<(), EngineError> {
        Ok(Ilt::new(&self.descent, &self.optics).compile(level, work)?)
    }

    /// A few steps of every level: for a trial of time and memory. Of the last one so many that a mask is compared with a better one.
    pub(crate) fn short(mut self) -> Self {
        self.shorten();
        self
    }

    fn shorten(&mut self) {
        self.descent.starts = 1;
        for (before_last, level) in self.descent.levels.iter_mut().rev().enumerate() {
            level.iterations = level.iterations.min(if before_last == 0 { TRIAL_STEPS } else { 1 });
        }
    }

    /// Does something with few steps of every level, and then has all of them again.
    pub(crate) fn briefly<T>(&mut self, work: impl FnOnce(&Self) -> T) -> T {
        let whole = self.descent.clone();
        self.shorten();
        let done = work(self);
        self.descent = whole;
        done
    }

    /// The optics on the proposer's device.
    pub(crate) fn optics(&self) -> &ThinMask {
        &self.optics
    }

    fn simulator(&self) -> &Simulator {
        self.optics.simulator()
    }

    /// What the last batch asked of a surrogate and of the true model, for each of its clips.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.usage.lock().ok().and_then(|usage| *usage)
    }

    /// Steps per batch, for a progress bar.
    pub(crate) fn steps(&self) -> usize {
        match &self.means {
            Means::Descent | Means::Surrogate { .. } => {
                self.descent.starts * self.descent.iterations()
            }
            Means::Network { correct, .. } => 1 + self.descent.starts * correct,
        }
    }

    /// Masks of 0 and 1 for fields' targets, in one batch.
    ///
    /// # Errors
    ///
    /// [`EngineError::Litho`] if the device fails, a pixel size does not fit, or `watch` said stop.
    pub(crate) fn propose(
        &self,
        targets: &[Target],
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<Raster>, EngineError> {
        let target = info_span!("upload").in_scope(|| self.upload(targets));
        let masks = self.masks(&target, 0.0, watch, true)?.into_packed(0)?;
        let (side, pixel_nm) = (masks.side, self.pixel_nm(masks.side));
        let raster = |data| Raster { width: side, height: side, pixel_nm, data };
        Ok(masks.to_values().into_iter().map(raster).collect())
    }

    /// What `halo_nm` at each side leaves of the masks for tiles' targets, and the size of its pixels, in nm.
    ///
    /// # Errors
    ///
    /// [`EngineError::Litho`] if the device fails or a pixel size does not fit.
    pub(crate) fn cores(
        &self,
        targets: &[Target],
        halo_nm: f64,
    ) -> Result<(PackedImages, f64), EngineError> {
        let target = info_span!("upload").in_scope(|| self.upload(targets));
        let masks = self.masks(&target, halo_nm, &mut |_| true, false)?;
        let pixel_nm = self.pixel_nm(masks.side());
        let halo = (halo_nm / pixel_nm).round() as usize;
        Ok((masks.into_packed(halo)?, pixel_nm))
    }

    /// Masks for targets that are bits or fields of any pixels. Errors are not looked at on the way, which waits for the device.
    ///
    /// # Errors
    ///
    /// As [`Proposer::propose`].
    pub(crate) fn answer(
        &self,
        targets: &Targets,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<PackedImages, EngineError> {
        let target = info_span!("upload").in_scope(|| match targets {
            Targets::Bits(bits) => bits.to_tensor(self.simulator().device()),
            Targets::Each(targets) => self.upload(targets),
        });
        Ok(self.masks(&target, 0.0, watch, false)?.into_packed(0)?)
    }

    /// Size of a pixel of which a mask has so many a side, in nm.
    fn pixel_nm(&self, side: usize) -> f64 {
        self.simulator().period_nm() / side as f64
    }

    /// Masks for targets, where they were computed, whose outermost `halo_nm` nobody keeps; `looks` tells whether `watch` wants to hear of
    /// errors.
    fn masks(
        &self,
        target: &Tensor<3>,
        halo_nm: f64,
        watch: &mut dyn FnMut(Progress) -> bool,
        looks: bool,
    ) -> Result<BinaryImages, EngineError> {
        let _span = info_span!("propose", tiles = target.dims()[0] as u64).entered();
        let truth: &dyn ForwardModel = match &self.means {
            Means::Surrogate { truth, .. } => truth.as_ref(),
            _ => &self.optics,
        };
        let descent = Ilt::new(&self.descent, truth).with_halo(halo_nm);
        let descent = if looks { descent } else { descent.without_looks() };
        match &self.means {
            Means::Descent => Ok(self.descend(descent, target, &Start::Target, 0, watch)?.masks),
            Means::Surrogate { learned, every, .. } => {
                let descent = descent.with_surrogate(learned.as_ref(), *every);
                let found = self.descend(descent, target, &Start::Target, 0, watch)?;
                if let Ok(mut usage) = self.usage.lock() {
                    *usage = Some(found.usage);
                }
                Ok(found.masks)
            }
            Means::Network { network, correct } => {
                let mask = self.network_mask(network.as_ref(), target, *correct == 0);
                if !watch(Progress { done: 1, total: self.steps(), loss_nm2: None }) {
                    return Err(LithoError::Interrupted.into());
                }
                match correct {
                    0 => self.uncorrected(mask),
                    _ => Ok(self.descend(descent, target, &Start::Mask(mask), 1, watch)?.masks),
                }
            }
        }
    }

    /// A network's masks, 0 to 1.
    fn network_mask(
        &self,
        network: &dyn MaskNetwork,
        target: &Tensor<3>,
        is_final: bool,
    ) -> Tensor<3> {
        let _span = info_span!("network").entered();
        let size = (self.simulator().period_nm() / network.head().pixel_nm).round() as usize;
        let small = resized(target.clone(), size);
        // A mask that is taken as it is deserves the better answer; a correction does not need it.
        match is_final {
            true => network.forward_symmetric(small, DType::F32),
            false => network.forward(small, DType::F32),
        }
    }

    /// A network's masks as their rules want them, or as they are if less than half of one would be left: such rules cannot be met.
    fn uncorrected(&self, masks: Tensor<3>) -> Result<BinaryImages, EngineError> {
        let free = BinaryImages::of(masks, 0.5, "read the mask")?;
        let Some(rules) = &self.constraint else { return Ok(free) };
        let mut kept = free.enforced(rules, self.pixel_nm(free.side()))?;
        let (before, after) = (free.counts()?, kept.counts()?);
        let lost = |(before, after): (&u64, &u64)| 2 * after < *before;
        let lost: Vec<bool> = before.iter().zip(&after).map(lost).collect();
        kept.take(&lost, &free)?;
        Ok(kept)
    }

    fn descend(
        &self,
        descent: Ilt,
        target: &Tensor<3>,
        start: &Start,
        before: usize,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Found, EngineError> {
        let total = self.steps();
        let mut shifted = |p: Progress| watch(Progress { done: p.done + before, total, ..p });
        let constraint = self.constraint.as_ref().map(|kept| kept as &dyn MaskConstraint);
        Ok(descent.with_constraint(constraint).run(target, start, &mut shifted)?)
    }

    /// Targets drawn on the device, where it can and all are edges on pixels of one size.
    fn drawn(&self, targets: &[Target]) -> Option<Tensor<3>> {
        let edges: Option<Vec<&Edges>> = targets.iter().map(|target| target.edges()).collect();
        let (edges, device) = (edges?, self.simulator().device());
        let side = edges.first()?.side;
        let fits = edges.iter().all(|edges| edges.side == side) && bitmap::has_side(side);
        let lists: Vec<&[[i32; 4]]> = edges.iter().map(|edges| &edges.list[..]).collect();
        (fits && bitmap::is_on(device)).then(|| bitmap::draw(&lists, side, device))
    }

    /// Targets on the device, with the finest pixels that a level has: the rest would only be sent and
    /// averaged there.
    fn upload(&self, targets: &[Target]) -> Tensor<3> {
        if let Some(drawn) = self.drawn(targets) {
            return drawn;
        }
        let finest = self.descent.levels.last().map_or(0.0, |level| level.pixel_nm);
        let small: Vec<Cow<Raster>> =
            targets.par_iter().map(|target| target.on_pixels(finest)).collect();
        let (width, height) = small.first().map_or((0, 0), |t| (t.width, t.height));
        // By all processors: most of the time goes into memory that is new.
        let mut data = vec![0.0; small.len() * width * height];
        data.par_chunks_mut((width * height).max(1))
            .zip(&small)
            .for_each(|(data, target)| data.copy_from_slice(&target.data));
        let data = TensorData::new(data, [targets.len(), height, width]);
        Tensor::from_data(data, self.simulator().device())
    }
}
