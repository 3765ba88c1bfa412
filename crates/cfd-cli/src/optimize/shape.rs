//! The outline of least drag at Re 40 among those of a circle's area.
//!
//! A mirror-symmetric B-spline: its half length and the heights of its control points vary; the heights are scaled so
//! that the area is that of the circle of diameter one. Area is linear in that scale, so the constraint is exact and
//! the descent has only bounds.

use std::f64::consts::PI;

use anyhow::Result;
use lithoburn_cfd::grid::stretched;
use lithoburn_cfd::optimize::{Bounds, lbfgs};
use lithoburn_cfd::shape::{Point, Shape, Spline};
use lithoburn_cfd::{Body, Case, Error, Flow, Grid, Objective, cases};

use super::{Descent, Improvement};
use crate::pictures::Window;

/// Control points above the axis; as many mirror them below.
const ABOVE: usize = 7;
/// Area of the circle of diameter one.
const AREA: f64 = PI / 4.0;

/// The outline of a design: half length, then the control points' heights up to a common factor, front to back.
struct Outline {
    spline: Spline,
    /// Heights and their scale.
    heights: Vec<f64>,
    scale: f64,
    /// Area by each control coordinate before the scaling.
    area_by: Vec<f64>,
}

/// Places of the control points along the half length.
fn stations() -> [f64; ABOVE] {
    std::array::from_fn(|k| -(PI * (k as f64 + 0.5) / ABOVE as f64).cos())
}

/// Control points, counter-clockwise: below from front to back, above from back to front.
fn control(half: f64, heights: &[f64]) -> Vec<Point> {
    let [cx, cy] = cases::OFF_GRID;
    let point = |k: usize, side: f64| [cx + half * stations()[k], cy + side * heights[k]];
    let below = (0..ABOVE).map(|k| point(k, -1.0));
    below.chain((0..ABOVE).rev().map(|k| point(k, 1.0))).collect()
}

impl Outline {
    fn new(design: &[f64]) -> Result<Self, Error> {
        let (half, heights) = (design[0], design[1..].to_vec());
        let plain = Spline::new(&control(half, &heights))?;
        let scale = AREA / plain.enclosed();
        let scaled: Vec<f64> = heights.iter().map(|h| h * scale).collect();
        let spline = Spline::new(&control(half, &scaled))?;
        Ok(Self { spline, heights, scale, area_by: plain.enclosed_by_parameters() })
    }

    /// Chains a derivative by the spline's parameters to one by the design.
    fn pull(&self, by: &[f64]) -> Vec<f64> {
        let mirror = |k: usize| 2 * ABOVE - 1 - k;
        let along = |g: &[f64], k: usize| (g[2 * k] + g[2 * mirror(k)]) * stations()[k];
        let across = |g: &[f64], k: usize| g[2 * mirror(k) + 1] - g[2 * k + 1];
        let all = 0..ABOVE;
        // y = s h with s = AREA / area(half, h): every variable also moves the scale.
        let by_scale: f64 = all.clone().map(|k| across(by, k) * self.heights[k]).sum();
        let through = -by_scale * self.scale * self.scale / AREA;
        let half: f64 = all.clone().map(|k| along(by, k) + through * along(&self.area_by, k)).sum();
        let height = |k: usize| self.scale * across(by, k) + through * across(&self.area_by, k);
        std::iter::once(half).chain(all.map(height)).collect()
    }
}

/// A stream at Re 40 with room for long bodies; `fineness` 1 is 128 × 64 cells.
fn stream(shape: impl Shape + 'static, fineness: usize) -> Result<Case, Error> {
    let n = fineness;
    let h = 0.05 / n as f64;
    let x = stretched([-1.4, 1.8], h, (24 * n, -50.0), (40 * n, 75.0));
    let y = stretched([-0.6, 0.6], h, (20 * n, -50.0), (20 * n, 50.0));
    cases::stream(40.0, Grid::new(x, y)?, Body::new(shape))
}

/// Drag and its gradient by the design; infinite where the outline is none or the flow does not converge.
fn evaluate(design: &[f64], last: &mut Option<Flow>) -> Result<(f64, Vec<f64>), Error> {
    let none = || Ok((f64::INFINITY, vec![f64::NAN; design.len()]));
    let Ok(outline) = Outline::new(design) else { return none() };
    let case = stream(outline.spline.clone(), 1)?;
    let solved = match last.take() {
        Some(flow) => case.solve_from(&flow).or_else(|_| case.solve()),
        None => case.solve(),
    };
    let flow = match solved {
        Ok(flow) => flow,
        Err(Error::NotConverged(_)) => return none(),
        Err(other) => return Err(other),
    };
    let gradient = flow.gradient(&Objective::drag(1.0, 1.0))?;
    let by = outline.pull(&gradient.bodies[0]);
    *last = Some(flow);
    Ok((gradient.value, by))
}

/// The start: a control polygon whose spline is nearly a circle.
fn round() -> Vec<f64> {
    let mut design = vec![0.56];
    design.extend(stations().map(|x| 0.6 * (1.0 - x * x).sqrt()));
    design
}

/// Finds it.
pub(crate) fn least_drag(descent: &Descent) -> Result<Improvement> {
    let circle = || lithoburn_cfd::shape::Circle::new(cases::OFF_GRID, 0.5);
    let drag = Objective::drag(1.0, 1.0);
    let before = stream(circle()?, 1)?.solve()?;
    let mut pairs = vec![[0.45, 1.35]];
    pairs.extend([[0.02, 1.0]; ABOVE]);
    let settings = lbfgs::Settings {
        tolerance: 2e-3,
        iterations: descent.iterations,
        first: 0.05,
        memory: 10,
    };
    let mut last = None;
    let optimum = lbfgs::minimize(
        &round(),
        &Bounds::new(&pairs)?,
        &settings,
        |design| evaluate(design, &mut last),
        |record, _| descent.watch(record),
    )?;
    let outline = Outline::new(&optimum.design)?;
    let after = stream(outline.spline.clone(), 1)?.solve()?;
    let finer = if descent.finer {
        let value = |case: Case| -> Result<f64> { Ok(case.solve()?.value(&drag)) };
        Some([value(stream(circle()?, 2)?)?, value(stream(outline.spline.clone(), 2)?)?])
    } else {
        None
    };
    let [low, high] = outline.spline.bounds();
    let design = [
        ("length", high[0] - low[0]),
        ("height", high[1] - low[1]),
        ("area", outline.spline.enclosed()),
    ];
    let design = design.map(|(name, value)| (name.to_string(), value)).to_vec();
    Ok(Improvement {
        name: "drag",
        quantity: "drag coefficient",
        before: before.value(&drag),
        after: after.value(&drag),
        finer,
        flows: [before, after],
        window: Window { x: [-1.9, 4.1], y: [-1.4, 1.4] },
        optimum,
        design,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_design_has_the_circles_area_and_the_chain_rule_is_exact() -> Result<(), Error> {
        let design = [0.9, 0.3, 0.25, 0.41, 0.37, 0.3, 0.22, 0.1];
        let outline = Outline::new(&design)?;
        assert!((outline.spline.enclosed() / AREA - 1.0).abs() < 1e-12);
        // Any function of the control points will do: Σ wᵢ θᵢ².
        let weight = |i: usize| (1.7 * i as f64).sin();
        let value = |design: &[f64]| -> Result<f64, Error> {
            let theta = Outline::new(design)?.spline.parameters();
            Ok(theta.iter().enumerate().map(|(i, t)| weight(i) * t * t).sum())
        };
        let theta = outline.spline.parameters();
        let by: Vec<f64> = theta.iter().enumerate().map(|(i, t)| 2.0 * weight(i) * t).collect();
        for (i, slope) in outline.pull(&by).into_iter().enumerate() {
            let at = |step: f64| {
                let mut moved = design;
                moved[i] += step;
                value(&moved)
            };
            let difference = (at(1e-5)? - at(-1e-5)?) / 2e-5;
            assert!((slope - difference).abs() < 1e-7, "{i}: {slope} vs {difference}");
        }
        Ok(())
    }
}
