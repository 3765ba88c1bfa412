//! The NACA 4-digit section and angle of attack of the greatest lift to drag at Re 500.

use anyhow::Result;
use lithoburn_cfd::optimize::{Bounds, lbfgs};
use lithoburn_cfd::shape::{Naca, Shape};
use lithoburn_cfd::{Case, Error, Flow, Objective, cases};

use super::{Descent, Improvement};
use crate::pictures::Window;

const REYNOLDS: f64 = 500.0;
/// Camber, its place, thickness, and the angle in radians: least and greatest.
const RANGE: [[f64; 2]; 4] = [[0.0, 0.09], [0.2, 0.8], [0.05, 0.15], [0.0, 0.2]];

/// A section from shares of the ranges.
fn section(shares: &[f64]) -> Result<Naca, Error> {
    let value = |i: usize| RANGE[i][0] + shares[i] * (RANGE[i][1] - RANGE[i][0]);
    Ok(Naca::new(value(0), value(1), value(2))?.at_angle(value(3))?)
}

fn case(foil: Naca, fineness: usize) -> Result<Case, Error> {
    cases::airfoil(REYNOLDS, foil, 20.0, fineness)
}

fn ratio(flow: &Flow) -> f64 {
    flow.value(&Objective::lift(1.0, 1.0)) / flow.value(&Objective::drag(1.0, 1.0))
}

/// Minus the ratio, and its gradient by the shares.
fn evaluate(shares: &[f64], last: &mut Option<Flow>) -> Result<(f64, Vec<f64>), Error> {
    let case = case(section(shares)?, 1)?;
    let solved = match last.take() {
        Some(flow) => case.solve_from(&flow).or_else(|_| case.solve()),
        None => case.solve(),
    };
    let flow = match solved {
        Ok(flow) => flow,
        Err(Error::NotConverged(_)) => return Ok((f64::INFINITY, vec![f64::NAN; shares.len()])),
        Err(other) => return Err(other),
    };
    let drag = flow.gradient(&Objective::drag(1.0, 1.0))?;
    let lift = flow.gradient(&Objective::lift(1.0, 1.0))?;
    let by = |i: usize| {
        let (lift_by, drag_by) = (lift.bodies[0][i], drag.bodies[0][i]);
        let slope = (lift_by - lift.value / drag.value * drag_by) / drag.value;
        -slope * (RANGE[i][1] - RANGE[i][0])
    };
    let gradient = (0..shares.len()).map(by).collect();
    *last = Some(flow);
    Ok((-lift.value / drag.value, gradient))
}

fn descend(
    start: &[f64],
    bounds: &[[f64; 2]],
    descent: &Descent,
) -> Result<lithoburn_cfd::optimize::Optimum> {
    let settings =
        lbfgs::Settings { tolerance: 2e-3, iterations: descent.iterations, first: 0.1, memory: 8 };
    let mut last = None;
    Ok(lbfgs::minimize(
        start,
        &Bounds::new(bounds)?,
        &settings,
        |shares| evaluate(shares, &mut last),
        |record, _| descent.watch(record),
    )?)
}

/// Finds it, and the best angle of 0012 to compare with.
pub(crate) fn best(descent: &Descent) -> Result<Improvement> {
    const TINY: f64 = 1e-9;
    // 0012: no camber, thickness 0.7 of its range; only the angle is free.
    let plain = [0.0, 1.0 / 3.0, 0.7, 0.6];
    let held = plain.map(|v| [v - TINY, v + TINY]);
    let held = [[-TINY, TINY], held[1], held[2], [0.0, 1.0]];
    let reference = descend(&plain, &held, &Descent { loud: descent.loud, ..*descent })?;
    let optimum = descend(&reference.design, &[[0.0, 1.0]; 4], descent)?;
    let (old, new) = (section(&reference.design)?, section(&optimum.design)?);
    let [before, after] = [case(old.clone(), 1)?.solve()?, case(new.clone(), 1)?.solve()?];
    let finer = if descent.finer {
        Some([ratio(&case(old, 2)?.solve()?), ratio(&case(new.clone(), 2)?.solve()?)])
    } else {
        None
    };
    Ok(Improvement {
        name: "lift-to-drag",
        quantity: "lift / drag",
        before: ratio(&before),
        after: ratio(&after),
        finer,
        flows: [before, after],
        window: Window { x: [-0.5, 2.1], y: [-0.6, 0.6] },
        optimum,
        design: new.names().into_iter().zip(new.parameters()).take(4).collect(),
    })
}
