//! Masks within a shot budget: rectangles fitted to a free-form mask, then their edges moved until the print
//! is best.
//!
//! The derivative of the error by an edge's place is the error's derivative by the mask, summed along the
//! edge. Edges at which rectangles meet stay; the others descend by Adam.

use burn::tensor::{Tensor, TensorData};
use lithoburn_layout::{Bounds, Coverage, Frame, Layout, MaskRules, Polygon, Raster, manhattan};
use lithoburn_litho::LithoError;
use lithoburn_litho::forward::{ForwardModel, ThinMask};
use lithoburn_litho::images::resized;
use lithoburn_litho::loss::{Goal, PrintLoss};

use crate::EngineError;

/// Steps of the descent.
const STEPS: usize = 60;
/// Step size at the start, in nm; it falls linearly to a tenth.
const STEP_NM: f64 = 1.5;
/// Adam's decays.
const BETAS: [f64; 2] = [0.8, 0.98];
/// Iterates at the end that are tried on whole nanometres.
const CANDIDATES: usize = 6;
/// Least side of a rectangle if there are no rules, in nm.
const LEAST_NM: f64 = 8.0;

/// A rectangle: left, top, right, bottom, in nm from the field's corner.
type Shot = [f64; 4];

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
        let mut shots: Vec<Shot> = manhattan::rectangles(mask, self.budget, self.least_side())
            .iter()
            .map(|b| [b.min[0], b.min[1], b.max[0], b.max[1]])
            .collect();
        let free = free_edges(&shots);
        let parts = parts(&shots);
        let loss = &self.loss;
        let goal = self.goal(mask, target);
        let imager = self.optics.on(mask.pixel_nm, mask.pixel_nm.round().max(1.0) as usize)?;
        let mut moments = vec![[[0.0; 2]; 4]; shots.len()];
        let mut best: Option<(f32, Vec<Shot>)> = None;
        for step in 0..STEPS {
            let image = self.image(&shots, mask);
            let exposed = imager.expose(image);
            let gradient = loss.gradient(&exposed.images, &goal);
            let by_mask = values(exposed.pull_back(gradient)?)?;
            let field = Raster { data: by_mask, ..mask.clone() };
            let rate = STEP_NM * (1.0 - 0.9 * step as f64 / STEPS as f64);
            for ((shot, free), moments) in shots.iter_mut().zip(&free).zip(&mut moments) {
                let slopes = edge_slopes(&field, shot);
                for edge in (0..4).filter(|&edge| free[edge]) {
                    shot[edge] -= adam(&mut moments[edge], slopes[edge], step, rate);
                }
                self.keep_sides(shot, free);
            }
            self.keep_apart(&mut shots, &free, &parts);
            if step + CANDIDATES >= STEPS {
                let whole: Vec<Shot> = shots.iter().map(|s| s.map(f64::round)).collect();
                let whole = self.large_enough(&whole, &parts);
                let images = imager.images(self.image(&whole, mask));
                let error = values(loss.hard_error(&images, &goal))?[0];
                if best.as_ref().is_none_or(|(least, _)| error < *least) {
                    best = Some((error, whole));
                }
            }
            if !watch(step + 1, STEPS) {
                return Err(LithoError::Interrupted.into());
            }
        }
        let shots = best.map_or(shots, |(_, shots)| shots);
        Ok(shots.iter().map(|s| Bounds { min: [s[0], s[1]], max: [s[2], s[3]] }).collect())
    }

    /// Least side of a rectangle, in nm.
    fn least_side(&self) -> f64 {
        self.rules.map_or(LEAST_NM, |r| r.min_width_nm.max(LEAST_NM))
    }

    fn goal(&self, mask: &Raster, target: &Raster) -> Goal {
        let design = resized(self.upload(target), mask.width);
        Goal { target: design.clone(), design, strips: None }
    }

    fn upload(&self, raster: &Raster) -> Tensor<3> {
        let data = TensorData::new(raster.data.clone(), [1, raster.height, raster.width]);
        Tensor::from_data(data, self.optics.simulator().device())
    }

    /// The rectangles' coverage of the mask's pixels.
    fn image(&self, shots: &[Shot], like: &Raster) -> Tensor<3> {
        self.upload(&drawn(shots, like))
    }

    /// Draws rectangles of different shapes apart until they are as far as the rules want, where their edges
    /// may move.
    fn keep_apart(&self, shots: &mut [Shot], free: &[[bool; 4]], parts: &[usize]) {
        // A nanometre more, for rounding.
        let Some(least) = self.rules.map(|r| r.min_distance_nm.max(r.min_space_nm) + 1.0) else {
            return;
        };
        for i in 0..shots.len() {
            for j in i + 1..shots.len() {
                if parts[i] == parts[j] {
                    continue;
                }
                let gaps = [0, 1].map(|axis| {
                    (shots[i][axis].max(shots[j][axis]))
                        - (shots[i][axis + 2].min(shots[j][axis + 2]))
                });
                let apart = gaps[0].max(0.0).hypot(gaps[1].max(0.0));
                if apart >= least {
                    continue;
                }
                // Along the axis on which they are further apart: less has to move.
                let axis = usize::from(gaps[1] > gaps[0]);
                let (low, high) = if shots[i][axis] <= shots[j][axis] { (i, j) } else { (j, i) };
                let other = gaps[1 - axis].max(0.0);
                let wanted = (least * least - other * other).max(0.0).sqrt() - gaps[axis];
                let moves = [free[low][axis + 2], free[high][axis]];
                let share = wanted / f64::from(u8::from(moves[0]) + u8::from(moves[1])).max(1.0);
                if moves[0] {
                    shots[low][axis + 2] =
                        (shots[low][axis + 2] - share).max(shots[low][axis] + 1.0);
                }
                if moves[1] {
                    shots[high][axis] =
                        (shots[high][axis] + share).min(shots[high][axis + 2] - 1.0);
                }
            }
        }
    }

    /// The rectangles without those of shapes that are smaller than the rules want.
    fn large_enough(&self, shots: &[Shot], parts: &[usize]) -> Vec<Shot> {
        let least = self.rules.map_or(0.0, |r| r.min_area_nm2);
        let side = self.rules.map_or(0.0, |r| r.min_width_nm - 2.0);
        let area = |s: &Shot| (s[2] - s[0]).max(0.0) * (s[3] - s[1]).max(0.0);
        let whole = |part: usize| -> f64 {
            shots.iter().zip(parts).filter(|(_, p)| **p == part).map(|(s, _)| area(s)).sum()
        };
        let alone = |part: usize| parts.iter().filter(|p| **p == part).count() == 1;
        let kept = |&(s, &part): &(&Shot, &usize)| {
            let thin = (s[2] - s[0]).min(s[3] - s[1]) < side;
            whole(part) >= least && !(thin && alone(part))
        };
        shots.iter().zip(parts).filter(kept).map(|(s, _)| *s).collect()
    }

    /// Keeps a rectangle's sides at least as long as the rules want widths, and one that can grow to all sides
    /// at least as large as they want shapes.
    fn keep_sides(&self, shot: &mut Shot, free: &[bool; 4]) {
        let least = self.least_side();
        for axis in [0, 1] {
            let short = least - (shot[axis + 2] - shot[axis]);
            if short > 0.0 && free[axis] && free[axis + 2] {
                shot[axis] -= short / 2.0;
                shot[axis + 2] += short / 2.0;
            }
        }
        let area = (shot[2] - shot[0]) * (shot[3] - shot[1]);
        let wanted = self.rules.map_or(0.0, |r| r.min_area_nm2) * 1.02;
        if free.iter().all(|&f| f) && area > 0.0 && area < wanted {
            let factor = ((wanted / area).sqrt() - 1.0) / 2.0;
            for axis in [0, 1] {
                let more = (shot[axis + 2] - shot[axis]) * factor;
                shot[axis] -= more;
                shot[axis + 2] += more;
            }
        }
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

/// For each rectangle the number of the shape it belongs to: those that touch are one.
fn parts(shots: &[Shot]) -> Vec<usize> {
    let touch = |a: &Shot, b: &Shot| {
        (0..2).all(|axis| a[axis] <= b[axis + 2] + 0.5 && b[axis] <= a[axis + 2] + 0.5)
    };
    let mut parts: Vec<usize> = (0..shots.len()).collect();
    for i in 0..shots.len() {
        for j in 0..i {
            if touch(&shots[i], &shots[j]) && parts[i] != parts[j] {
                let (from, to) = (parts[i], parts[j]);
                parts.iter_mut().filter(|p| **p == from).for_each(|p| *p = to);
            }
        }
    }
    parts
}

/// Whether each edge of each rectangle meets no other rectangle.
fn free_edges(shots: &[Shot]) -> Vec<[bool; 4]> {
    let meets = |i: usize, edge: usize| {
        let (s, axis) = (shots[i], edge % 2);
        shots.iter().enumerate().any(|(j, o)| {
            let overlap = s[3 - axis].min(o[3 - axis]) - s[1 - axis].max(o[1 - axis]);
            j != i && overlap > 0.0 && (o[axis] - 0.5..=o[axis + 2] + 0.5).contains(&s[edge])
        })
    };
    (0..shots.len()).map(|i| [0, 1, 2, 3].map(|edge| !meets(i, edge))).collect()
}

/// Derivatives of the error by the four edges, per nm.
fn edge_slopes(field: &Raster, shot: &Shot) -> [f64; 4] {
    let px = |nm: f64| nm / field.pixel_nm;
    // Along an edge at `at`, over `from..to` of the other axis.
    let along = |axis: usize, at: f64, from: f64, to: f64| {
        let last = field.width as f64 - 1.0;
        let line = px(at).floor().clamp(0.0, last) as usize;
        let (from, to) = (px(from).max(0.0), px(to).min(last));
        let mut sum = 0.0;
        for other in from.floor() as usize..to.ceil().max(0.0) as usize {
            let share = (to.min(other as f64 + 1.0) - from.max(other as f64)).max(0.0);
            let (x, y) = if axis == 0 { (line, other) } else { (other, line) };
            sum += share * f64::from(field.data[y * field.width + x]);
        }
        sum / field.pixel_nm
    };
    let [x0, y0, x1, y1] = *shot;
    [-along(0, x0, y0, y1), -along(1, y0, x0, x1), along(0, x1, y0, y1), along(1, y1, x0, x1)]
}

/// One number's step.
fn adam(moments: &mut [f64; 2], slope: f64, step: usize, rate: f64) -> f64 {
    let [b1, b2] = BETAS;
    moments[0] = b1 * moments[0] + (1.0 - b1) * slope;
    moments[1] = b2 * moments[1] + (1.0 - b2) * slope * slope;
    let unbiased = |v: f64, beta: f64| v / (1.0 - beta.powi(step as i32 + 1));
    rate * unbiased(moments[0], b1) / (unbiased(moments[1], b2).sqrt() + 1e-12)
}

#[cfg(test)]
mod tests {
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
        let goal = fitter.goal(&like, &target);
        let imager = optics.on(8.0, 8)?;
        let loss = PrintLoss::default();
        let error = |shots: &[Shot]| -> Result<f64, EngineError> {
            let images = imager.images(fitter.image(shots, &like));
            let value = loss.value(&images, &goal.target).reshape([1, 1, 1]);
            Ok(f64::from(values(value)?[0]))
        };
        let exposed = imager.expose(fitter.image(&shots, &like));
        let gradient = loss.gradient(&exposed.images, &goal);
        let data = values(exposed.pull_back(gradient)?)?;
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
