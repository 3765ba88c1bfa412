//! The linearised flow: how an objective changes along one change of the case.
//!
//! The other direction of the implicit function theorem: ∂R/∂w ẇ = −∂R/∂θ θ̇, then J̇ = ∂J/∂w · ẇ + ∂J/∂θ θ̇. It
//! costs one solve for each change, and checks the adjoint to round-off: both give the same number, by different
//! code. The terms are linear in the geometry's numbers and in the viscosity, so ∂R/∂θ θ̇ is the residual itself with
//! θ̇ in their place.

use crate::{
    Error,
    flow::Flow,
    metric::Metric,
    objective::Objective,
    system::System,
    term::{At, Physics, Sensitivity},
    vector::dot,
};

/// A small change of a case.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Of the signed distance on the half-spaced grid; empty for none.
    pub distance: Vec<f64>,
    /// Of the viscosity.
    pub viscosity: f64,
    /// Of a factor on all given velocities.
    pub speed: f64,
    /// Of the design density of each cell; empty for none.
    pub density: Vec<f64>,
}

impl Flow {
    /// Derivative of an objective along a change.
    ///
    /// # Errors
    ///
    /// [`Error::Singular`] if the linear system cannot be solved.
    pub fn tangent(&self, objective: &Objective, change: &Change) -> Result<f64, Error> {
        let system = &self.system;
        let metric = match change.distance.as_slice() {
            [] => Metric::zero(system.grid()),
            along => system.cut.push(along),
        };
        let moved = moved(system, change);
        let down = downhill(system, &self.w, &metric, &moved, change);
        let rate = self.factor.solve(&down)?;
        let evaluation = objective.evaluate(system, &self.w);
        let direct = direct(system, &evaluation.by, &metric, &moved);
        Ok(dot(&evaluation.by_w, &rate) + direct)
    }
}

/// The physics after the whole change.
fn moved(system: &System, change: &Change) -> Physics {
    let mut physics = system.physics.clone();
    physics.viscosity += change.viscosity;
    let last = system.tangents[4] as usize;
    physics.given[..last].iter_mut().for_each(|value| *value *= 1.0 + change.speed);
    if let Some(density) = &system.case.density {
        for (c, by) in change.density.iter().enumerate() {
            physics.resistance[c] += density.slope(density.design[c]) * by;
        }
    }
    physics
}

/// −∂R/∂θ θ̇.
fn downhill(
    system: &System,
    w: &[f64],
    metric: &Metric,
    moved: &Physics,
    change: &Change,
) -> Vec<f64> {
    let mut tangent = metric.clone();
    let now = &system.cut.metric;
    let slides = tangent.slide.iter_mut().zip(&now.slide);
    let drifts = tangent.drift.iter_mut().zip(&now.drift);
    let chords = tangent.chord.iter_mut().zip(&now.chord);
    slides.chain(drifts).chain(chords).for_each(|(slide, value)| *slide += change.speed * value);
    let nothing = Metric::zero(system.grid());
    let physics = &system.physics;
    let parts = [
        (1.0, At { w, metric: &tangent, physics }),
        (-1.0, At { w, metric: &nothing, physics }),
        (1.0, At { w, metric: now, physics: moved }),
        (-1.0, At { w, metric: now, physics }),
    ];
    let mut down = vec![0.0; w.len()];
    for (sign, at) in parts {
        down.iter_mut().zip(system.terms_at(at)).for_each(|(d, r)| *d -= sign * r);
    }
    for i in (0..w.len()).filter(|&i| !system.free[i]) {
        down[i] = change.speed * system.fixed[i];
    }
    down
}

/// What the objective itself depends on.
fn direct(system: &System, by: &Sensitivity, metric: &Metric, moved: &Physics) -> f64 {
    let now = &system.physics;
    let along = |by: &[f64], to: &[f64], from: &[f64]| -> f64 {
        by.iter().zip(to.iter().zip(from)).map(|(by, (to, from))| by * (to - from)).sum()
    };
    by.metric.dot(metric)
        + by.viscosity * (moved.viscosity - now.viscosity)
        + along(&by.given, &moved.given, &now.given)
        + along(&by.resistance, &moved.resistance, &now.resistance)
}
