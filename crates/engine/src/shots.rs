//! Masks within a shot budget: rectangles fitted to a free-form mask, then their edges moved until the print
//! is best.
//!
//! The derivative of the error by an edge's place is the error's derivative by the mask, summed along the
//! edge. Edges at which rectangles meet face to face move together; those that end within another's side stay.
//!
//! A free-form mask has more detail than the budget can follow, and what of it the print needs its pixels do not tell. So it becomes twice as
//! many rectangles first, which descend by themselves, and it is their mask that the budget is cut from.

mod rectangles;

use burn::tensor::{Tensor, TensorData};
use lithoburn_layout::{Bounds, Coverage, Frame, Layout, MaskRules, Polygon, Raster, manhattan};
use lithoburn_litho::LithoError;
use lithoburn_litho::forward::{ForwardModel, Imager, ThinMask};
use lithoburn_litho::ilt::IltConfig;
use lithoburn_litho::loss::{Goal, PrintLoss};

use crate::EngineError;
use rectangles::{Rectangles, Shot, least_side};

/// A part of the descent.
struct Stage {
    /// Size of the pixels, in nm.
    pixel_nm: f64,
    /// Rectangles that the mask is cut into before it, as a multiple of the budget; none goes on with those that are there.
    cut: Option<usize>,
    steps: usize,
    /// Step size at its start and end, in nm; between them it falls linearly.
    rates: [f64; 2],
    /// Slope of the resist's sigmoid.
    resist: f64,
}

const STAGES: [Stage; 3] = [
    Stage { pixel_nm: 4.0, cut: Some(2), steps: 60, rates: [1.5, 0.5], resist: 80.0 },
    Stage { pixel_nm: 4.0, cut: Some(1), steps: 100, rates: [1.5, 0.3], resist: 120.0 },
    Stage { pixel_nm: 2.0, cut: None, steps: 60, rates: [0.6, 0.05], resist: 200.0 },
];
/// Iterates at the end that are tried on whole nanometres.
const CANDIDATES: usize = 10;

/// Fits rectangles to a field's mask.
pub(crate) struct Fitter<'a> {
    /// The optics, on any device.
    pub optics: &'a ThinMask,
    /// The print's errors.
    pub loss: PrintLoss,
    /// Rectangles at most.
    pub budget: usize,
    /// Rules, of which widths bound the rectangles' sides.
    pub rules: Option<MaskRules>,
}

/// Rectangles on whole nanometres, and what they are off.
struct Best {
    error: f32,
    shots: Vec<Shot>,
}

/// What of a fit has been done, and who hears of it.
struct Progress<'a> {
    done: usize,
    watch: &'a mut dyn FnMut(usize, usize) -> bool,
}

impl Progress<'_> {
    fn total() -> usize {
        STAGES.iter().map(|stage| stage.steps).sum()
    }

    fn step(&mut self) -> Result<(), LithoError> {
        self.done += 1;
        match (self.watch)(self.done, Self::total()) {
            true => Ok(()),
            false => Err(LithoError::Interrupted),
        }
    }

    /// Whether rectangles are tried now.
    fn tries(&self) -> bool {
        self.done + CANDIDATES > Self::total()
    }
}

impl Fitter<'_> {
    /// Rectangles for a field's mask, on whole nanometres from the field's corner.
    ///
    /// # Errors
    ///
    /// [`EngineError::Litho`] if the device fails, or `watch` said stop.
    pub(crate) fn fit(
        &self,
        mask: &Raster,
        target: &Raster,
        watch: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Vec<Bounds>, EngineError> {
        let goal = self.goal(target)?;
        let mut progress = Progress { done: 0, watch };
        let mut now = mask.clone();
        let mut rectangles = Rectangles::new(&[], self.rules);
        let mut best = None;
        for stage in &STAGES {
            if let Some(times) = stage.cut {
                let least = least_side(self.rules.as_ref());
                let cut = manhattan::rectangles(&now, target, times * self.budget, least);
                rectangles = Rectangles::new(&cut, self.rules);
            }
            best = self.descend(&mut rectangles, stage, &goal, &mut progress)?;
            now = drawn(&rectangles.shots, mask);
        }
        let shots = best.map_or_else(|| rectangles.whole(), |best| best.shots);
        Ok(shots.iter().map(|s| Bounds { min: [s[0], s[1]], max: [s[2], s[3]] }).collect())
    }

    /// Moves edges, and keeps the best of the iterates that are tried.
    fn descend(
        &self,
        rectangles: &mut Rectangles,
        stage: &Stage,
        goal: &Goal,
        progress: &mut Progress,
    ) -> Result<Option<Best>, EngineError> {
        let side = (self.optics.period_nm() / stage.pixel_nm).round() as usize;
        let like = Raster::new(side, side, stage.pixel_nm);
        let goal = goal.resized(side);
        let mut loss = self.loss;
        loss.resist.steepness = stage.resist;
        let imager = self.optics.on(stage.pixel_nm, stage.pixel_nm.round() as usize)?;
        rectangles.rest();
        let mut best = None;
        for step in 0..stage.steps {
            let slopes = imager.slopes(self.image(&rectangles.shots, &like), &goal, &loss)?;
            let by_mask = Raster { data: values(slopes)?, ..like.clone() };
            let [first, last] = stage.rates;
            let rate = first + (last - first) * step as f64 / stage.steps as f64;
            rectangles.step(&by_mask, rate);
            progress.step()?;
            if progress.tries() {
                let found = self.tried(rectangles.whole(), &*imager, &goal, &like)?;
                best = Some(best.filter(|best: &Best| best.error <= found.error).unwrap_or(found));
            }
        }
        Ok(best)
    }

    /// What rectangles are off.
    fn tried(
        &self,
        shots: Vec<Shot>,
        imager: &dyn Imager,
        goal: &Goal,
        like: &Raster,
    ) -> Result<Best, EngineError> {
        let error = imager.hard_error(self.image(&shots, like), goal, &self.loss);
        match values(error)?[0] {
            error if error.is_finite() => Ok(Best { error, shots }),
            error => {
                let problem = format!("the error of a print is {error}");
                Err(LithoError::Device { doing: "compared rectangles", problem }.into())
            }
        }
    }

    /// What shall print, on the finest pixels.
    fn goal(&self, target: &Raster) -> Result<Goal, EngineError> {
        let config = IltConfig { loss: self.loss, ..IltConfig::default() };
        Ok(config.goal(&self.upload(target), self.optics.period_nm())?.0)
    }

    fn upload(&self, raster: &Raster) -> Tensor<3> {
        let data = TensorData::new(raster.data.clone(), [1, raster.height, raster.width]);
        Tensor::from_data(data, self.optics.simulator().device())
    }

    /// The rectangles' coverage of the mask's pixels.
    fn image(&self, shots: &[Shot], like: &Raster) -> Tensor<3> {
        self.upload(&drawn(shots, like))
    }
}

/// Rectangles drawn on a grid like another raster's.
pub(crate) fn drawn(shots: &[Shot], like: &Raster) -> Raster {
    let polygon = |s: &Shot| Polygon::rectangle(s[0], s[1], s[2], s[3]);
    let layout = Layout::new("shots", shots.iter().map(polygon).collect());
    let frame = Frame {
        origin_nm: [0.0; 2],
        pixel_nm: like.pixel_nm,
        width: like.width,
        height: like.height,
    };
    layout.rasterize(&frame, Coverage::Exact)
}

fn values(image: Tensor<3>) -> Result<Vec<f32>, LithoError> {
    image.try_into_vec_as::<f32>().map_err(|e| LithoError::Device {
        doing: "read the rectangles' gradient",
        problem: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::rectangles::edge_slopes;
    use super::*;
    use crate::default_kernels;
    use burn::tensor::Device;
    use lithoburn_litho::{ProcessWindow, Simulator};

    /// Finite differences of the error are the second implementation.
    #[test]
    fn an_edges_slope_is_that_of_the_error() -> Result<(), EngineError> {
        let (kernels, device) = (default_kernels().expect("built in"), Device::flex());
        let simulator = Simulator::new(&kernels, &device);
        let optics = ThinMask::new(simulator, ProcessWindow::default());
        let fitter = Fitter { optics: &optics, loss: PrintLoss::default(), budget: 1, rules: None };
        let like = Raster::new(256, 256, 8.0);
        let shots = [[900.3, 803.0, 1003.1, 1301.9]];
        let target = drawn(&[[910.0, 800.0, 1000.0, 1300.0]], &like);
        let target = fitter.upload(&target);
        let goal = Goal { target: target.clone(), design: target, strips: None };
        let imager = optics.on(8.0, 8)?;
        let loss = PrintLoss::default();
        let error = |shots: &[Shot]| -> Result<f64, EngineError> {
            let images = imager.images(fitter.image(shots, &like));
            let value = loss.value(&images, &goal.target).reshape([1, 1, 1]);
            Ok(f64::from(values(value)?[0]))
        };
        let data = values(imager.slopes(fitter.image(&shots, &like), &goal, &loss)?)?;
        let slopes = edge_slopes(&Raster { data, ..like.clone() }, &shots[0]);
        for edge in 0..4 {
            let moved = |by: f64| {
                let mut shots = shots;
                shots[0][edge] += by;
                error(&shots)
            };
            let difference = (moved(0.2)? - moved(-0.2)?) / 0.4;
            assert!(
                (slopes[edge] - difference).abs() < 0.02 * difference.abs().max(1.0),
                "edge {edge}: {} vs {difference}",
                slopes[edge]
            );
        }
        Ok(())
    }
}
