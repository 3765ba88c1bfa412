//! Gradients by the implicit function theorem.
//!
//! With R(w, θ) = 0 and J(w, θ): (∂R/∂w)ᵀ λ = ∂J/∂w, then dJ/dθ = ∂J/∂θ − λᵀ ∂R/∂θ. One transposed solve serves all
//! parameters. The factors are those of the last Newton step; they precondition the exact transposed Jacobian, which
//! a few refinements solve to round-off.

use crate::{
    Error,
    flow::Flow,
    objective::{Evaluation, Objective},
    system::System,
    term::Sensitivity,
    vector::dot,
};

/// Derivatives of an objective by everything that a case is made of.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// The objective itself.
    pub value: f64,
    /// By each parameter of each body's shape.
    pub bodies: Vec<Vec<f64>>,
    /// By the signed distance on the half-spaced grid.
    pub distance: Vec<f64>,
    /// By the viscosity.
    pub viscosity: f64,
    /// By the fluid's thermal diffusivity.
    pub diffusivity: f64,
    /// By a factor on all given velocities, at factor one. For any force F of steady flow, `speed + ν viscosity = 2
    /// F`.
    pub speed: f64,
    /// By the velocity normal to each face of the west, east, south and north side; zero along outlets.
    pub inflow: [Vec<f64>; 4],
    /// By the design density of each cell, if the case has one.
    pub density: Vec<f64>,
    /// By the temperature of each body.
    pub temperature: Vec<f64>,
    /// By the buoyancy.
    pub buoyancy: [f64; 2],
}

impl Flow {
    /// An objective's value and its derivatives by everything that the case is made of: one transposed solve.
    ///
    /// # Errors
    ///
    /// [`Error::Singular`] if the transposed system cannot be solved.
    pub fn gradient(&self, objective: &Objective) -> Result<Gradient, Error> {
        gradient(self, objective)
    }
}

/// Value and gradient of `objective`.
fn gradient(flow: &Flow, objective: &Objective) -> Result<Gradient, Error> {
    let system = &flow.system;
    let Evaluation { value, by_w, mut by } = objective.evaluate(system, &flow.w);
    let adjoint = flow.factor.solve_transposed(&by_w)?;
    system.pull(&flow.w, &adjoint, &mut by);
    let distance = system.cut.pull(&by.metric);
    Ok(Gradient {
        value,
        bodies: bodies(system, &distance),
        distance,
        viscosity: by.viscosity,
        diffusivity: by_diffusivity(system, &by.diffusivity),
        speed: by_speed(system, &adjoint, &by),
        inflow: std::array::from_fn(|side| by_inflow(system, &adjoint, side)),
        density: by_density(system, &by.resistance, &by.diffusivity),
        temperature: by_temperature(system, &by.given),
        buoyancy: by.buoyancy,
    })
}

/// Chains the derivative by the signed distance to the parameters of each sample's body.
pub(crate) fn bodies(system: &System, distance: &[f64]) -> Vec<Vec<f64>> {
    let (x, y) = (system.grid().half(0), system.grid().half(1));
    let shapes = system.case.bodies.iter().map(|body| &body.shape);
    let mut sums: Vec<Vec<f64>> = shapes.map(|shape| vec![0.0; shape.parameters().len()]).collect();
    let mut slopes: Vec<Vec<f64>> = sums.clone();
    for (i, &by) in distance.iter().enumerate().filter(|(_, by)| **by != 0.0) {
        let k = usize::from(system.owners[i]);
        system.case.bodies[k].shape.sensitivity(x[i % x.len()], y[i / x.len()], &mut slopes[k]);
        sums[k].iter_mut().zip(&slopes[k]).for_each(|(sum, slope)| *sum += by * slope);
    }
    sums
}

fn by_speed(system: &System, adjoint: &[f64], by: &Sensitivity) -> f64 {
    let fixed = (0..system.layout.faces).filter(|&f| !system.free[f]);
    fixed.map(|f| adjoint[f] * system.fixed[f]).sum::<f64>() + by_given_speed(system, by)
}

/// The part of tangential velocities and of walls that slide.
pub(crate) fn by_given_speed(system: &System, by: &Sensitivity) -> f64 {
    let last = system.tangents[4] as usize;
    let sides = dot(&by.given[..last], &system.physics.given[..last]);
    let walls = dot(&by.metric.slide, &system.cut.metric.slide);
    let drift = dot(&by.metric.drift, &system.cut.metric.drift);
    sides + walls + drift + dot(&by.metric.chord, &system.cut.metric.chord)
}

fn by_inflow(system: &System, adjoint: &[f64], side: usize) -> Vec<f64> {
    let open = |f: &usize| system.cut.live_faces[*f] && !system.free[*f];
    let faces = system.side_faces(side);
    faces.into_iter().map(|f| if open(&f) { adjoint[f] } else { 0.0 }).collect()
}

pub(crate) fn by_diffusivity(system: &System, by: &[f64]) -> f64 {
    let Some(heat) = &system.case.heat else { return 0.0 };
    let Some(density) = &system.case.density else { return by.iter().sum() };
    let fluid = |gamma: f64| match heat.solid {
        Some((_, q)) => 1.0 - (1.0 - gamma) / (1.0 + q * gamma),
        None => 1.0,
    };
    by.iter().zip(&density.design).map(|(by, &gamma)| by * fluid(gamma)).sum()
}

pub(crate) fn by_density(system: &System, resistance: &[f64], diffusivity: &[f64]) -> Vec<f64> {
    let Some(density) = &system.case.density else { return Vec::new() };
    let conducts = |gamma: f64| system.case.heat.as_ref().map_or(0.0, |heat| heat.mixed(gamma).1);
    let cells = density.design.iter().zip(resistance).zip(diffusivity);
    cells.map(|((&g, r), d)| r * density.slope(g) + d * conducts(g)).collect()
}

pub(crate) fn by_temperature(system: &System, given: &[f64]) -> Vec<f64> {
    let bodies = system.case.bodies.len();
    if system.heat.is_some() { given[given.len() - bodies..].to_vec() } else { vec![0.0; bodies] }
}
