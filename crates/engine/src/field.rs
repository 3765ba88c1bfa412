//! A layout of one field: the tile that needs no others, with its mask and its images in memory.

mod clip;
mod drawn;

use std::thread::{Builder, ScopedJoinHandle};

use lithoburn_layout::{Layout, Polygon, Raster};
use lithoburn_litho::LithoError;
use lithoburn_litho::ilt::Progress;
use lithoburn_pool::Chosen;
use tracing::info_span;

use crate::EngineError;
use crate::devices::team::Team;
use crate::early::{Early, ended};
use crate::evaluate::{Evaluator, Exposed, Shown};
use crate::event::{Event, Phase};
use crate::mask::Mask;
use crate::proposer::{Proposer, Readying, Target};
use crate::report::{Place, Report, Seconds, Unprinted, placed, timed};
use crate::setup::Setup;
use crate::shots::{self, Fitter};
use crate::style::MaskStyle;
use clip::Before;
pub(crate) use clip::Clip;
use drawn::{Drawn, Judged};

/// Whoever hears of a run's progress; false stops it.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(Event) -> bool;

/// Corrections of one field each, on one device.
pub(crate) struct Field<'a> {
    /// Model, optics, rules and style.
    pub setup: &'a Setup,
    /// The device.
    pub device: &'a Chosen,
    /// Devices that compute the model's network, instead of the device.
    pub team: Option<&'a Team>,
    /// The layout of [`Field::run`], if it was drawn before the device was there.
    pub clip: Option<&'a Early<Result<Clip, EngineError>>>,
    /// The model's network, likewise.
    pub network: Option<&'a Readying>,
}

impl Field<'_> {
    /// Corrects a layout. Its design is measured as a mask beside the search for a better one.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if it does not fit the field, the model does not load, the device fails, or `watch` said stop.
    pub(crate) fn run(&self, layout: &Layout, watch: Watch) -> Result<Mask, EngineError> {
        let mut seconds = Seconds::default();
        say(watch, Phase::Load, 0, 1)?;
        let clip = timed(&mut seconds.rasterize, || self.clip(layout))?;
        let (found, before) = std::thread::scope(|scope| {
            let measure = || self.before(&clip);
            let beside = Builder::new().name("before".into()).spawn_scoped(scope, measure);
            let found = self.found(&clip, &mut seconds, watch);
            (found, timed(&mut seconds.evaluate, || beside.map(ScopedJoinHandle::join)))
        });
        // What the search says comes first.
        let (proposer, drawn) = found?;
        let before = before.map_err(|e| EngineError::Pool(format!("no thread to measure: {e}")))?;
        say(watch, Phase::Evaluate, 0, 1)?;
        let (before, evaluator) = (ended(before)?, self.evaluator());
        self.measured(clip, before, drawn, &proposer, &evaluator, seconds)
    }

    /// A layout on its field: from who was asked for it before the device was there, or drawn now.
    fn clip(&self, layout: &Layout) -> Result<Clip, EngineError> {
        self.clip.and_then(Early::take).unwrap_or_else(|| Clip::of(self.setup, layout))
    }

    /// The design as a mask.
    fn before(&self, clip: &Clip) -> Result<Before, EngineError> {
        let _span = info_span!("before").entered();
        Before::of(&clip.target).imaged(&self.evaluator())
    }

    /// The model, and the mask that it finds for a layout.
    fn found(
        &self,
        clip: &Clip,
        seconds: &mut Seconds,
        watch: Watch,
    ) -> Result<(Proposer, Drawn), EngineError> {
        let proposer = timed(&mut seconds.load, || self.proposer())?;
        let clips = std::slice::from_ref(clip);
        let mut drawn = timed(&mut seconds.optimize, || {
            let masks = propose(&proposer, clips, watch)?;
            self.drawn(clips, masks, &proposer, watch)
        })?;
        let none = || EngineError::Setting("there is no layout to correct".into());
        Ok((proposer, drawn.pop().ok_or_else(none)?))
    }

    fn proposer(&self) -> Result<Proposer, EngineError> {
        let _span = info_span!("load").entered();
        let network = self.network.and_then(|network| network.get()).flatten();
        Proposer::with(self.setup, &self.device.device, self.team, network)
    }

    fn evaluator(&self) -> Evaluator {
        Evaluator::on(&self.device.device, &self.setup.kernels, &self.setup.process)
    }

    /// Corrects layouts, `batch` of them at once, and hands each mask on as soon as its batch is measured. `optimize` in a report is
    /// the batch's time, shared among its layouts. With `warm`, the first batch is computed once before any clock runs.
    ///
    /// # Errors
    ///
    /// As [`Field::run`], and what `take` returns.
    pub(crate) fn run_each(
        &self,
        layouts: &[Layout],
        batch: usize,
        warm: bool,
        watch: Watch,
        take: &mut dyn FnMut(Mask) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut loading = Seconds::default();
        say(watch, Phase::Load, 0, 1)?;
        let proposer = timed(&mut loading.load, || self.proposer())?;
        let evaluator = self.evaluator();
        for (index, layouts) in layouts.chunks(batch.max(1)).enumerate() {
            let mut seconds = if index == 0 { loading } else { Seconds::default() };
            let clips = || layouts.iter().map(|layout| Clip::of(self.setup, layout)).collect();
            let clips: Result<Vec<Clip>, EngineError> = timed(&mut seconds.rasterize, clips);
            let clips = clips?;
            if warm && index == 0 {
                propose(&proposer, &clips, watch)?;
            }
            let drawn = timed(&mut seconds.optimize, || {
                let masks = propose(&proposer, &clips, watch)?;
                self.drawn(&clips, masks, &proposer, watch)
            })?;
            seconds.optimize /= clips.len() as f64;
            for (clip, drawn) in clips.into_iter().zip(drawn) {
                say(watch, Phase::Evaluate, 0, 1)?;
                let mut seconds = seconds;
                let measure = || Before::of(&clip.target).imaged(&evaluator);
                let before = timed(&mut seconds.evaluate, measure)?;
                take(self.measured(clip, before, drawn, &proposer, &evaluator, seconds)?)?;
            }
        }
        Ok(())
    }

    /// Masks in their style.
    fn drawn(
        &self,
        clips: &[Clip],
        masks: Vec<Raster>,
        proposer: &Proposer,
        watch: Watch,
    ) -> Result<Vec<Drawn>, EngineError> {
        match self.setup.style {
            // One after the other: each keeps the device busy.
            MaskStyle::Manhattan { shots } => {
                let pairs = clips.iter().zip(&masks);
                pairs.map(|(clip, mask)| self.fitted(clip, mask, shots, proposer, watch)).collect()
            }
            _ => {
                let pairs = clips.iter().zip(masks);
                Ok(pairs.map(|(clip, mask)| Drawn::new(&clip.frame, mask, None)).collect())
            }
        }
    }

    /// A mask of a budget of rectangles.
    fn fitted(
        &self,
        clip: &Clip,
        mask: &Raster,
        budget: usize,
        proposer: &Proposer,
        watch: Watch,
    ) -> Result<Drawn, EngineError> {
        let fitter = Fitter {
            optics: proposer.optics(),
            loss: self.setup.loss(),
            budget,
            rules: self.setup.rules,
        };
        let mut step = |done, total| watch(Event::new(Phase::Fit, done, total));
        let rectangles = fitter.fit(mask, &clip.target, &mut step)?;
        let sides: Vec<[f64; 4]> =
            rectangles.iter().map(|r| [r.min[0], r.min[1], r.max[0], r.max[1]]).collect();
        let mask = shots::drawn(&sides, &clip.target);
        let [ox, oy] = clip.frame.origin_nm;
        let polygon = |s: &[f64; 4]| Polygon::rectangle(s[0] + ox, s[1] + oy, s[2] + ox, s[3] + oy);
        let polygons = sides.iter().map(polygon).collect();
        Ok(Drawn { frame: clip.frame, mask, rectangles: Some(polygons) })
    }

    /// Measures a mask: by itself beside its images.
    fn measured(
        &self,
        clip: Clip,
        before: Before,
        drawn: Drawn,
        proposer: &Proposer,
        evaluator: &Evaluator,
        mut seconds: Seconds,
    ) -> Result<Mask, EngineError> {
        let (setup, design) = (self.setup, &before.design);
        let (judged, found) = timed(&mut seconds.evaluate, || {
            std::thread::scope(|scope| {
                let judged = scope.spawn(|| drawn.judged(setup.style, setup.rules));
                let found = evaluator.compare(Exposed::binary(&drawn.mask), design);
                (judged.join(), found)
            })
        });
        let mut evaluation = found?;
        let Judged { polygons, metrics, violations } = ended(judged);
        evaluation.metrics = evaluation.metrics.with_mask(&metrics);
        let places: Vec<Place> = evaluation.unprinted.iter().map(|&bounds| bounds.into()).collect();
        let report = Report {
            surrogate: proposer.usage(),
            before: Some(before.metrics),
            after: Some(evaluation.metrics),
            violations: placed(violations, drawn.frame.origin_nm),
            mask_is_empty: drawn.mask.data.iter().all(|&v| v < 0.5),
            unprinted: Some(Unprinted::of(
                &places,
                clip.frame.origin_nm,
                evaluator.resolution_nm(),
            )),
            seconds,
            ..setup.report(&clip.name, self.device, proposer.weights_hash.clone())
        };
        let Clip { frame, target, .. } = clip;
        let shown = Shown { frame, core_nm: None, target, mask: drawn.mask, evaluation };
        Ok(Mask { report, polygons, frame: drawn.frame, shown })
    }
}

fn say(watch: Watch, phase: Phase, done: usize, total: usize) -> Result<(), EngineError> {
    match watch(Event::new(phase, done, total)) {
        true => Ok(()),
        false => Err(LithoError::Interrupted.into()),
    }
}

/// Masks of fields that are computed at once.
fn propose(proposer: &Proposer, clips: &[Clip], watch: Watch) -> Result<Vec<Raster>, EngineError> {
    let total = proposer.steps();
    let targets: Vec<Target> = clips.iter().map(|clip| Target::Raster(&clip.target)).collect();
    proposer.propose(&targets, &mut |p: Progress| {
        watch(Event { loss_nm2: p.loss_nm2, ..Event::new(Phase::Optimize, p.done, total) })
    })
}
