//! A run: everything it depends on, and what comes out.

use std::path::PathBuf;
use std::time::Instant;

use lithoburn_layout::{
    Coverage, Frame, Layout, MaskRules, Polygon, Raster, TileGrid, Violation, contour, trace,
};
use lithoburn_litho::ilt::{Progress, Usage};
use lithoburn_litho::{KernelSet, Process};
use lithoburn_pool::Chosen;
use rayon::prelude::*;
use serde::Serialize;

use crate::EngineError;
use crate::chip::ChipReport;
use crate::devices::Team;
use crate::evaluate::{Evaluation, Evaluator, Metrics};
use crate::files::rescaled;
use crate::proposer::{Model, Proposer};
use crate::shots::{self, Fitter};

/// What kind of polygons the mask is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum MaskStyle {
    /// Polygons along the shapes' contours, for multi-beam writers.
    Curvilinear {
        /// How far the polygons may be from the contour, in nm.
        tolerance_nm: f64,
    },
    /// Polygons along the edges of the mask's pixels.
    Pixels,
    /// Rectangles, for shaped-beam writers.
    Manhattan {
        /// Rectangles per field at most.
        shots: usize,
    },
}

/// Everything that a run depends on.
#[derive(Clone, Debug)]
pub struct Job {
    /// How masks are found.
    pub model: Model,
    /// Optical kernels.
    pub kernels: KernelSet,
    /// Where they come from, for the report.
    pub kernels_name: String,
    /// The device, already chosen.
    pub device: Chosen,
    /// Side of a pixel of targets and images, in nm.
    pub pixel_nm: f64,
    /// How polygons become pixels.
    pub coverage: Coverage,
    /// Corners and resist.
    pub process: Process,
    /// What the PV band weighs against the print's errors; none takes the solver's default.
    pub band: Option<f64>,
    /// What the mask must keep; none lets it be anything.
    pub rules: Option<MaskRules>,
    /// What the mask is made of.
    pub style: MaskStyle,
    /// Devices that compute the model's network, instead of the device.
    pub team: Option<Team>,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Drawing polygons on rasters.
    Rasterize,
    /// Loading the model.
    Load,
    /// Finding masks.
    Optimize,
    /// Fitting rectangles to a mask.
    Fit,
    /// Simulating and measuring.
    Evaluate,
    /// Simulating alone.
    Simulate,
}

/// News of a run.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What it is doing.
    pub stage: Stage,
    /// Steps of the stage that are done.
    pub done: usize,
    /// Steps of the stage.
    pub total: usize,
    /// Error per field, in nm², if it was just read.
    pub loss_nm2: Option<f64>,
}

/// The report's numbers. Field names are the keys of `report.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The layout's name.
    pub layout: String,
    /// The model's name and settings.
    pub model: Model,
    /// SHA-256 of the network's weights.
    pub weights_sha256: Option<String>,
    /// With Surrogate-ILT: what the last batch of fields asked of its models, for each field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surrogate: Option<Usage>,
    /// The device's name.
    pub device: String,
    /// The card behind it.
    pub card: String,
    /// Why it was chosen.
    pub device_reason: String,
    /// Where the kernels come from.
    pub kernels: String,
    /// Field period of the kernels, in nm.
    pub period_nm: f64,
    /// Side of an evaluated pixel, in nm.
    pub pixel_nm: f64,
    /// Number of fields.
    pub fields: usize,
    /// The design used as mask.
    pub before: Metrics,
    /// The corrected mask.
    pub after: Metrics,
    /// Corners and resist.
    pub process: Process,
    /// Weight of the PV band, if not the default.
    pub band: Option<f64>,
    /// What the mask is made of.
    pub style: MaskStyle,
    /// The mask's rules, if it was held to some.
    pub rules: Option<MaskRules>,
    /// Where the mask breaks them, from the mask's first corner.
    pub violations: Vec<Violation>,
    /// Seconds by stage.
    pub seconds: Seconds,
    /// How a layout of many tiles was put together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip: Option<ChipReport>,
    /// Version of the program.
    pub version: &'static str,
}

/// Seconds by stage.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Seconds {
    /// Drawing.
    pub rasterize: f64,
    /// Loading the model onto the device.
    pub load: f64,
    /// Finding masks.
    pub optimize: f64,
    /// Measuring before and after.
    pub evaluate: f64,
}

/// What a run leaves.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The numbers.
    pub report: Report,
    /// The whole mask.
    pub mask: Raster,
    /// Its polygons, in nm.
    pub polygons: Vec<Polygon>,
    /// Where it lies.
    pub frame: Frame,
    /// The field with the largest error after correction, for the picture: target, mask, images.
    pub worst: Shown,
}

/// A mask in its style.
struct Drawn {
    mask_grid: TileGrid,
    mask: Raster,
    polygons: Vec<Polygon>,
    /// Rectangles, if it is made of them.
    shots: Option<usize>,
}

/// One field with all its images.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its place.
    pub frame: Frame,
    /// What should print.
    pub target: Raster,
    /// What is exposed.
    pub mask: Raster,
    /// How it prints.
    pub evaluation: Evaluation,
}

impl Job {
    /// Corrects a layout. `watch` hears of the progress; false stops the run.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; nothing is written here in any case.
    pub fn run(
        &self,
        layout: &Layout,
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Outcome, EngineError> {
        let grid = self.grid(layout)?;
        let mut seconds = Seconds::default();
        let targets = timed(&mut seconds.rasterize, || self.targets(layout, &grid));
        let proposer = self.load(&mut seconds, watch)?;
        let masks =
            timed(&mut seconds.optimize, || self.propose_batch(&proposer, &targets, watch))?;
        let drawn =
            timed(&mut seconds.optimize, || self.drawn(&grid, &targets, &masks, &proposer, watch))?;
        self.finish(layout, &grid, &targets, drawn, &proposer, seconds, watch)
    }

    /// Corrects layouts of one field each, `batch` of them at once. `optimize` in a report is the batch's
    /// time, shared among its layouts. With `warm`, the first batch is computed once before any clock runs.
    ///
    /// # Errors
    ///
    /// As [`Job::run`].
    pub fn run_all(
        &self,
        layouts: &[Layout],
        batch: usize,
        warm: bool,
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Vec<Outcome>, EngineError> {
        let mut loading = Seconds::default();
        let proposer = self.load(&mut loading, watch)?;
        let mut outcomes = Vec::new();
        for (index, layouts) in layouts.chunks(batch.max(1)).enumerate() {
            let grids: Result<Vec<TileGrid>, _> = layouts.iter().map(|l| self.grid(l)).collect();
            let grids = grids?;
            let mut seconds = if index == 0 { loading } else { Seconds::default() };
            let targets: Vec<Raster> = timed(&mut seconds.rasterize, || {
                let first = |(layout, grid): (&Layout, &TileGrid)| self.targets(layout, grid);
                layouts.iter().zip(&grids).flat_map(first).collect()
            });
            if warm && index == 0 {
                self.propose_batch(&proposer, &targets, watch)?;
            }
            let masks =
                timed(&mut seconds.optimize, || self.propose_batch(&proposer, &targets, watch))?;
            let drawn = timed(&mut seconds.optimize, || {
                self.all_drawn(&grids, &targets, &masks, &proposer, watch)
            })?;
            seconds.optimize /= layouts.len() as f64;
            for (i, ((layout, grid), drawn)) in layouts.iter().zip(&grids).zip(drawn).enumerate() {
                let target = &targets[i..=i];
                outcomes.push(self.finish(layout, grid, target, drawn, &proposer, seconds, watch)?);
            }
        }
        Ok(outcomes)
    }

    fn load(
        &self,
        seconds: &mut Seconds,
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Proposer, EngineError> {
        self.say(watch, Stage::Load, 0, 1)?;
        timed(&mut seconds.load, || {
            Proposer::new(
                &self.model,
                &self.kernels,
                &self.process,
                self.band,
                self.rules,
                &self.device.device,
                self.team.as_ref(),
            )
        })
    }

    /// Measures a layout's mask.
    #[allow(clippy::too_many_arguments, reason = "what a run has come to, named one by one")]
    fn finish(
        &self,
        layout: &Layout,
        grid: &TileGrid,
        targets: &[Raster],
        drawn: Drawn,
        proposer: &Proposer,
        mut seconds: Seconds,
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Outcome, EngineError> {
        let Drawn { mask_grid, mask, polygons, shots } = drawn;
        let (before, mut after, worst) =
            timed(&mut seconds.evaluate, || self.measure(grid, &mask_grid, targets, &mask, watch))?;
        after.shots = shots.unwrap_or(after.shots);
        let violations = self.rules.map_or(Vec::new(), |rules| rules.check(&mask));
        let report = Report {
            layout: layout.name.clone(),
            model: self.model.clone(),
            weights_sha256: proposer.weights_hash.clone(),
            surrogate: proposer.usage(),
            device: self.device.name.clone(),
            card: self.device.card.clone(),
            device_reason: self.device.reason.clone(),
            kernels: self.kernels_name.clone(),
            period_nm: self.kernels.period_nm,
            pixel_nm: self.pixel_nm,
            fields: grid.len(),
            before,
            after,
            process: self.process,
            band: self.band,
            style: self.style,
            rules: self.rules,
            violations,
            seconds,
            chip: None,
            version: env!("CARGO_PKG_VERSION"),
        };
        Ok(Outcome { report, mask, polygons, frame: mask_grid.whole(), worst })
    }

    fn say(
        &self,
        watch: &mut dyn FnMut(Event) -> bool,
        stage: Stage,
        done: usize,
        total: usize,
    ) -> Result<(), EngineError> {
        match watch(Event { stage, done, total, loss_nm2: None }) {
            true => Ok(()),
            false => Err(lithoburn_litho::LithoError::Interrupted.into()),
        }
    }

    /// The field that holds a layout.
    fn grid(&self, layout: &Layout) -> Result<TileGrid, EngineError> {
        let frame = Frame::centred(layout, self.kernels.period_nm, self.pixel_nm)?;
        Ok(TileGrid::single(&frame))
    }

    /// The whole mask with its outlines as polygons; fitted masks have rectangles instead.
    fn outlined(&self, grid: &TileGrid, masks: &[Raster]) -> Result<Drawn, EngineError> {
        let (mask_grid, mask) = self.whole(grid, masks)?;
        let origin = mask_grid.whole().origin_nm;
        let polygons = match self.style {
            MaskStyle::Curvilinear { tolerance_nm } => {
                contour::polygons(&mask, tolerance_nm, origin)
            }
            MaskStyle::Pixels | MaskStyle::Manhattan { .. } => trace::polygons(&mask, origin),
        };
        Ok(Drawn { mask_grid, mask, polygons, shots: None })
    }

    /// The whole mask, and its grid.
    fn whole(&self, grid: &TileGrid, masks: &[Raster]) -> Result<(TileGrid, Raster), EngineError> {
        let mask_grid = rescaled(grid, masks.first().map_or(grid.pixel_nm, |m| m.pixel_nm))?;
        Ok((mask_grid, mask_grid.stitch(masks)))
    }

    /// Masks of layouts of one field each, in their style.
    fn all_drawn(
        &self,
        grids: &[TileGrid],
        targets: &[Raster],
        masks: &[Raster],
        proposer: &Proposer,
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Vec<Drawn>, EngineError> {
        let own = |i: usize| i..i + 1;
        if let MaskStyle::Manhattan { .. } = self.style {
            // One after the other: each keeps the device busy.
            let fit = |i| self.drawn(&grids[i], &targets[own(i)], &masks[own(i)], proposer, watch);
            return (0..grids.len()).map(fit).collect();
        }
        let outlined = |i| self.outlined(&grids[i], &masks[own(i)]);
        (0..grids.len()).into_par_iter().map(outlined).collect()
    }

    /// The whole mask in its style.
    fn drawn(
        &self,
        grid: &TileGrid,
        targets: &[Raster],
        masks: &[Raster],
        proposer: &Proposer,
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Drawn, EngineError> {
        let MaskStyle::Manhattan { shots } = self.style else {
            return self.outlined(grid, masks);
        };
        let (mask_grid, mask) = self.whole(grid, masks)?;
        let origin = mask_grid.whole().origin_nm;
        let fitter = Fitter {
            simulator: proposer.simulator(),
            window: self.process.window,
            band: self.band,
            budget: shots,
            rules: self.rules,
        };
        let mut step =
            |done, total| watch(Event { stage: Stage::Fit, done, total, loss_nm2: None });
        let rectangles = fitter.fit(&mask, &targets[0], &mut step)?;
        let sides: Vec<[f64; 4]> =
            rectangles.iter().map(|r| [r.min[0], r.min[1], r.max[0], r.max[1]]).collect();
        let mask = shots::drawn(&sides, &targets[0]);
        let [ox, oy] = origin;
        let polygon = |s: &[f64; 4]| Polygon::rectangle(s[0] + ox, s[1] + oy, s[2] + ox, s[3] + oy);
        let polygons = sides.iter().map(polygon).collect();
        Ok(Drawn { mask_grid: *grid, mask, polygons, shots: Some(sides.len()) })
    }

    fn targets(&self, layout: &Layout, grid: &TileGrid) -> Vec<Raster> {
        (0..grid.len()).map(|i| layout.rasterize(&grid.frame(i), self.coverage)).collect()
    }

    /// Masks of fields that are computed at once.
    fn propose_batch(
        &self,
        proposer: &Proposer,
        targets: &[Raster],
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Vec<Raster>, EngineError> {
        let total = proposer.steps();
        let mut step = |p: Progress| {
            watch(Event { stage: Stage::Optimize, done: p.done, total, loss_nm2: p.loss_nm2 })
        };
        proposer.propose(targets, &mut step)
    }

    /// Measures the design and the mask field by field, and keeps the worst field for the picture.
    fn measure(
        &self,
        grid: &TileGrid,
        mask_grid: &TileGrid,
        targets: &[Raster],
        mask: &Raster,
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<(Metrics, Metrics, Shown), EngineError> {
        let evaluator = Evaluator::new(&self.kernels, &self.process);
        let (mut before, mut after) = (Metrics::default(), Metrics::default());
        let mut worst: Option<(f64, Shown)> = None;
        for (index, target) in targets.iter().enumerate() {
            self.say(watch, Stage::Evaluate, index, targets.len())?;
            let design = evaluator.evaluate(target, target, grid.halo)?.metrics;
            let field = mask.crop(mask_grid.at(index), mask_grid.field, mask_grid.field);
            let evaluation = evaluator.evaluate(&field, target, grid.halo)?;
            before.add(&design);
            after.add(&evaluation.metrics);
            let error = evaluation.metrics.l2_nm2 + evaluation.metrics.pvb_nm2;
            if worst.as_ref().is_none_or(|(worst, _)| error > *worst) {
                let (frame, target) = (grid.frame(index), target.clone());
                worst = Some((error, Shown { frame, target, mask: field, evaluation }));
            }
        }
        before.measure_mask(&grid.stitch(targets));
        after.measure_mask(mask);
        let none = EngineError::Setting("the layout has no field".into());
        Ok((before, after, worst.ok_or(none)?.1))
    }
}

/// Runs something and adds its seconds.
fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *seconds += start.elapsed().as_secs_f64();
    result
}

/// Where a run leaves its files by default: `out/<layout name>`.
pub(crate) fn default_directory(layout: &str) -> PathBuf {
    PathBuf::from("out").join(layout)
}
