//! A direction in the space of all that a case is made of.

use anyhow::Result;
use lithoburn_cfd::tangent::Change;
use lithoburn_cfd::{Case, Flow, Gradient};

/// Changes of every body's parameters and of the viscosity, per unit of step.
pub(super) struct Direction {
    bodies: Vec<Vec<f64>>,
    viscosity: f64,
    /// How far it goes before a sample of the signed distance changes sign, and with it what is open.
    pub(super) length: f64,
}

/// Directions of which the longest is taken.
const TRIALS: usize = 40;

impl Direction {
    /// The direction that is longest free of kinks.
    pub(super) fn free(flow: &Flow) -> Self {
        let trials = (0..TRIALS).map(|k| {
            let mut direction = Self::new(flow.case(), k as f64);
            direction.length = direction.reach(flow);
            direction
        });
        let longer = |a: Self, b: Self| if b.length > a.length { b } else { a };
        trials.reduce(longer).unwrap_or_else(|| Self::new(flow.case(), 0.0))
    }

    /// Where the first sample of the signed distance would change sign.
    fn reach(&self, flow: &Flow) -> f64 {
        let samples = flow.distances().iter().zip(self.change(flow).distance);
        let nearing = samples.filter(|(phi, rate)| *phi * rate < 0.0);
        nearing.map(|(phi, rate)| -phi / rate).fold(f64::INFINITY, f64::min)
    }

    /// Numbers without a pattern, of the size of each body's height.
    fn new(case: &Case, seed: f64) -> Self {
        let mut count = 100.0 * seed;
        let mut noise = || {
            count += 1.0;
            (12.9898 * count).sin()
        };
        let bodies = case.bodies.iter().map(|body| {
            let [low, high] = body.shape.bounds();
            // A thin body moves by little before its thickness is another.
            let size = (high[1] - low[1]).min(high[0] - low[0]);
            body.shape.parameters().iter().map(|_| size * noise()).collect()
        });
        let bodies = bodies.collect();
        Self { bodies, viscosity: case.viscosity * noise(), length: f64::INFINITY }
    }

    /// The case a step along the direction.
    pub(super) fn apply(&self, case: &Case, step: f64) -> Result<Case> {
        let mut moved = case.clone();
        moved.viscosity += step * self.viscosity;
        for (body, change) in moved.bodies.iter_mut().zip(&self.bodies) {
            let mut parameters = body.shape.parameters();
            parameters.iter_mut().zip(change).for_each(|(p, d)| *p += step * d);
            body.shape = body.shape.with(&parameters)?.into();
        }
        Ok(moved)
    }

    /// The slope that a gradient promises.
    pub(super) fn slope(&self, gradient: &Gradient) -> f64 {
        let bodies = gradient.bodies.iter().flatten().zip(self.bodies.iter().flatten());
        self.viscosity * gradient.viscosity + bodies.map(|(g, d)| g * d).sum::<f64>()
    }

    /// The same as a change of the signed distance on the half-spaced grid.
    pub(super) fn change(&self, flow: &Flow) -> Change {
        let case = flow.case();
        let half = |faces: &[f64]| -> Vec<f64> {
            let pairs = faces.windows(2).flat_map(|pair| [pair[0], 0.5 * (pair[0] + pair[1])]);
            pairs.chain(faces.last().copied()).collect()
        };
        let (x, y) = (half(case.grid.x()), half(case.grid.y()));
        let at = |x: f64, y: f64| {
            let distance = |k: &usize| case.bodies[*k].shape.distance(x, y);
            let nearest = (0..case.bodies.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
            nearest.map_or(0.0, |k| {
                let mut slopes = vec![0.0; self.bodies[k].len()];
                case.bodies[k].shape.sensitivity(x, y, &mut slopes);
                slopes.iter().zip(&self.bodies[k]).map(|(s, d)| s * d).sum()
            })
        };
        let distance = y.iter().flat_map(|&y| x.iter().map(move |&x| (x, y)));
        Change {
            distance: distance.map(|(x, y)| at(x, y)).collect(),
            viscosity: self.viscosity,
            ..Change::default()
        }
    }
}
