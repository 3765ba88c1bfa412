//! A layout of one field: the tile that needs no others, with its mask and its images in memory.

use lithoburn_layout::{Frame, Layout, Polygon, Raster, contour, trace};
use lithoburn_litho::LithoError;
use lithoburn_litho::ilt::Progress;
use lithoburn_pool::Chosen;
use rayon::prelude::*;
use tracing::info_span;

use crate::EngineError;
use crate::devices::team::Team;
use crate::evaluate::{Design, Evaluator, Exposed, Metrics, Shown};
use crate::event::{Event, Phase};
use crate::mask::Mask;
use crate::proposer::{Proposer, Target};
use crate::report::{Place, Report, Seconds, Unprinted, placed, timed};
use crate::setup::Setup;
use crate::shots::{self, Fitter};
use crate::style::MaskStyle;

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
}

/// A layout on its field.
struct Clip<'a> {
    layout: &'a Layout,
    frame: Frame,
    target: Raster,
}

/// A mask in its style.
struct Drawn {
    frame: Frame,
    mask: Raster,
    polygons: Vec<Polygon>,
    /// Rectangles, if it is made of them.
    shots: Option<usize>,
}

impl Field<'_> {
    /// Corrects a layout.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if it does not fit the field, the model does not load, the device fails, or `watch` said stop.
    pub(crate) fn run(&self, layout: &Layout, watch: Watch) -> Result<Mask, EngineError> {
        let mut found = None;
        self.run_each(std::slice::from_ref(layout), 1, false, watch, &mut |mask| {
            found = Some(mask);
            Ok(())
        })?;
        found.ok_or_else(|| EngineError::Setting("there is no layout to correct".into()))
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
        let load = || Proposer::new(self.setup, &self.device.device, self.team);
        let proposer = timed(&mut loading.load, load)?;
        let evaluator =
            Evaluator::on(&self.device.device, &self.setup.kernels, &self.setup.process);
        for (index, layouts) in layouts.chunks(batch.max(1)).enumerate() {
            let mut seconds = if index == 0 { loading } else { Seconds::default() };
            let clips = || layouts.iter().map(|layout| self.clip(layout)).collect();
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
                take(self.measured(clip, drawn, &proposer, &evaluator, seconds)?)?;
            }
        }
        Ok(())
    }

    fn clip<'a>(&self, layout: &'a Layout) -> Result<Clip<'a>, EngineError> {
        let Setup { kernels, pixel_nm, coverage, .. } = self.setup;
        let frame = Frame::centred(layout, kernels.period_nm, *pixel_nm)?;
        let _span = info_span!("draw").entered();
        Ok(Clip { layout, frame, target: layout.rasterize(&frame, *coverage) })
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
            style => {
                let pairs = clips.par_iter().zip(masks);
                Ok(pairs.map(|(clip, mask)| outlined(style, &clip.frame, mask)).collect())
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
        Ok(Drawn { frame: clip.frame, mask, polygons, shots: Some(sides.len()) })
    }

    /// Measures the design and its mask.
    fn measured(
        &self,
        clip: Clip,
        drawn: Drawn,
        proposer: &Proposer,
        evaluator: &Evaluator,
        mut seconds: Seconds,
    ) -> Result<Mask, EngineError> {
        let (setup, target) = (self.setup, &clip.target);
        let mut before = Metrics::default();
        let evaluation = timed(&mut seconds.evaluate, || {
            let design = Design::whole(target);
            before = evaluator.metrics(design.exposed(), &design)?;
            info_span!("shapes").in_scope(|| before.measure_mask(target));
            let mut found = evaluator.compare(Exposed::binary(&drawn.mask), &design)?;
            info_span!("shapes").in_scope(|| found.metrics.measure_mask(&drawn.mask));
            found.metrics.shots = drawn.shots.unwrap_or(found.metrics.shots);
            Ok::<_, EngineError>(found)
        })?;
        let places: Vec<Place> = evaluation.unprinted.iter().map(|&bounds| bounds.into()).collect();
        let violations = info_span!("rules")
            .in_scope(|| setup.rules.map_or(Vec::new(), |rules| rules.check(&drawn.mask)));
        let report = Report {
            surrogate: proposer.usage(),
            before: Some(before),
            after: Some(evaluation.metrics),
            violations: placed(violations, drawn.frame.origin_nm),
            mask_is_empty: drawn.mask.data.iter().all(|&v| v < 0.5),
            unprinted: Some(Unprinted::of(
                &places,
                clip.frame.origin_nm,
                evaluator.resolution_nm(),
            )),
            seconds,
            ..setup.report(&clip.layout.name, self.device, proposer.weights_hash.clone())
        };
        let (frame, target, mask) = (clip.frame, clip.target, drawn.mask);
        let shown = Shown { frame, core_nm: None, target, mask, evaluation };
        Ok(Mask { report, polygons: drawn.polygons, frame: drawn.frame, shown })
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

/// A mask with its outlines as polygons.
fn outlined(style: MaskStyle, field: &Frame, mask: Raster) -> Drawn {
    let _span = info_span!("polygons").entered();
    let (width, height, pixel_nm) = (mask.width, mask.height, mask.pixel_nm);
    let frame = Frame { pixel_nm, width, height, ..*field };
    let polygons = match style {
        MaskStyle::Curvilinear { tolerance_nm } => {
            contour::polygons(&mask, tolerance_nm, frame.origin_nm)
        }
        MaskStyle::Pixels | MaskStyle::Manhattan { .. } => trace::polygons(&mask, frame.origin_nm),
    };
    Drawn { frame, mask, polygons, shots: None }
}
