//! The inflow profile of least drag on a cylinder in a small box: the drag task of the benchmark Mosaic (Pasteur
//! Labs, 2026), where few differentiable solvers could take part. N 32, a cylinder of a tenth of the box in its
//! middle, Re 20 of the mean inflow and the diameter.
//!
//! The velocity at each face of the inlet varies between half and one and a half times the mean; a common factor
//! keeps the mean at one, so that drag falls by leading the stream round the body and not by stopping it. Without
//! bounds there is no least drag: two jets beside the body, or a stream against the others, push it upstream.

use std::sync::Arc;

use anyhow::Result;
use lithoburn_cfd::optimize::{Bounds, lbfgs};
use lithoburn_cfd::shape::Circle;
use lithoburn_cfd::{Body, Case, Error, Flow, Grid, Objective, Profile, Side, Sides};

use super::{Descent, Improvement};
use crate::pictures::Window;

const CELLS: usize = 32;
const DIAMETER: f64 = 0.1;
const REYNOLDS: f64 = 20.0;

fn case(inflow: &[f64]) -> Result<Case, Error> {
    let grid = Grid::uniform([0.0, 1.0], [0.0, 1.0], CELLS, CELLS)?;
    let values: Vec<f64> = inflow.to_vec();
    let at = move |y: f64| values[((y * CELLS as f64) as usize).min(CELLS - 1)];
    let inlet = Side::stream(Profile::Function(Arc::new(at)));
    let sides = Sides::new(inlet, Side::Outlet, Side::Slip, Side::Slip);
    let body = Body::new(Circle::new([0.5, 0.5], DIAMETER / 2.0)?);
    Ok(Case::new("inflow", grid, sides, DIAMETER / REYNOLDS).with_body(body))
}

/// Scales a profile to a mean of one.
fn scaled(design: &[f64]) -> (Vec<f64>, f64) {
    let mean = design.iter().sum::<f64>() / design.len() as f64;
    (design.iter().map(|u| u / mean).collect(), mean)
}

/// Drag and its gradient; the flow is the start of the next one.
fn evaluate(design: &[f64], last: &mut Option<Flow>) -> Result<(f64, Vec<f64>), Error> {
    let (inflow, mean) = scaled(design);
    let case = case(&inflow)?;
    let solved = match last {
        Some(flow) => case.solve_from(flow),
        None => case.solve(),
    };
    let flow = match solved {
        Ok(flow) => flow,
        Err(Error::NotConverged(_)) => return Ok((f64::INFINITY, vec![f64::NAN; design.len()])),
        Err(other) => return Err(other),
    };
    let gradient = flow.gradient(&Objective::drag(1.0, DIAMETER))?;
    let by = &gradient.inflow[0];
    let common: f64 = by.iter().zip(&inflow).map(|(g, u)| g * u).sum::<f64>() / CELLS as f64;
    let value = gradient.value;
    let by = by.iter().map(|g| (g - common) / mean).collect();
    *last = Some(flow);
    Ok((value, by))
}

/// Finds it.
pub(crate) fn least_drag(descent: &Descent) -> Result<Improvement> {
    let settings =
        lbfgs::Settings { tolerance: 1e-5, iterations: descent.iterations, first: 0.1, memory: 12 };
    let mut last = None;
    let optimum = lbfgs::minimize(
        &[1.0; CELLS],
        &Bounds::new(&[[0.5, 1.5]; CELLS])?,
        &settings,
        |design| evaluate(design, &mut last),
        |record, _| descent.watch(record),
    )?;
    let drag = |flow: &Flow| flow.value(&Objective::drag(1.0, DIAMETER));
    let flows = [case(&[1.0; CELLS])?.solve()?, case(&scaled(&optimum.design).0)?.solve()?];
    Ok(Improvement {
        name: "inflow",
        quantity: "drag coefficient",
        before: drag(&flows[0]),
        after: drag(&flows[1]),
        finer: None,
        window: Window { x: [0.0, 1.0], y: [0.0, 1.0] },
        design: Vec::new(),
        flows,
        optimum,
    })
}
