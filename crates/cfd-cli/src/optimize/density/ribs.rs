//! The ribs that give most heat for the pressure drop of two fins.
//!
//! Solid conducts a hundred times better than the fluid and stands on the warm floor. Densities are smoothed by a
//! Helmholtz filter and sharpened in stages; in the end their outlines are cut into a grid twice as fine.

use anyhow::Result;
use lithoburn_cfd::filter::{Filter, Projection};
use lithoburn_cfd::optimize::mma::{self, Evaluation, Valued};
use lithoburn_cfd::optimize::{Bounds, End, Optimum};
use lithoburn_cfd::{Case, Density, Error, Flow, Grid, Objective, cases};

use super::sharp;
use crate::optimize::{Descent, Improvement, go_on_with};
use crate::pictures::Window;

/// Diffusivity of solid ribs over that of the fluid.
const CONDUCTS: f64 = 100.0;
/// Ribs may stand in this part of the channel.
const ROOM: [[f64; 2]; 2] = [[0.5, 1.5], [0.0, 0.6]];
/// Penalty of densities between fluid and solid.
const PENALTY: f64 = 10.0;
/// Steepness of the projection, stage after stage.
const STAGES: [f64; 4] = [0.0, 2.0, 6.0, 12.0];

/// The projection of the last stage, with which designs are read.
const LAST: Projection = Projection { steepness: STAGES[STAGES.len() - 1], threshold: 0.5 };

/// The channel of the fins, and what is asked of ribs in their place.
struct Task {
    /// The fins, which are to be beaten.
    fins: Flow,
    heat: Objective,
    drop: Objective,
    /// Heat and pressure drop of the fins.
    given: [f64; 2],
    /// Pressure drop that densities may have, over the fins'.
    allowed: f64,
    /// Cells that vary; all others are fluid.
    room: Vec<usize>,
    filter: Filter,
}

impl Task {
    fn new() -> Result<Self> {
        let fins = cases::exchanger(64, 64)?.solve()?;
        let conductivity = fins.case().heat.as_ref().map_or(1.0, |heat| heat.diffusivity);
        let heat = Objective::Heat { scale: 1.0 / conductivity };
        let drop = Objective::PressureDrop { from: 0, to: 1 };
        let given = [fins.value(&heat), fins.value(&drop)];
        let grid = &fins.case().grid;
        let widths = |faces: &[f64]| faces.windows(2).map(|p| p[1] - p[0]).collect::<Vec<_>>();
        let filter = Filter::new(&widths(grid.x()), &widths(grid.y()), 0.02)?;
        let room = room(grid);
        Ok(Self { fins, heat, drop, given, allowed: 1.0, room, filter })
    }

    /// The smoothed field of some variables.
    fn smooth(&self, variables: &[f64]) -> Vec<f64> {
        let mut field = vec![1.0; self.fins.case().grid.cells()];
        self.room.iter().zip(variables).for_each(|(&c, v)| field[c] = *v);
        self.filter.smooth(&field)
    }

    /// The channel with ribs.
    fn case(&self, variables: &[f64], projection: Projection) -> Case {
        let mut case = self.fins.case().clone();
        case.bodies.clear();
        if let Some(heat) = &mut case.heat {
            heat.solid = Some((CONDUCTS * heat.diffusivity, PENALTY));
        }
        let sharp = |v: &f64| projection.project(*v).clamp(0.0, 1.0);
        let design = self.smooth(variables).iter().map(sharp).collect();
        case.density = Some(Density { design, least: 0.0, most: 1e3, penalty: PENALTY });
        case
    }

    /// A derivative by densities as one by the variables, times a factor.
    fn pull(&self, smooth: &[f64], projection: Projection, by: &[f64], factor: f64) -> Vec<f64> {
        let slopes = smooth.iter().zip(by).map(|(v, g)| factor * g * projection.slope(*v));
        let field = self.filter.pull_back(&slopes.collect::<Vec<f64>>());
        self.room.iter().map(|&c| field[c]).collect()
    }

    /// Minus the heat over the fins', and the pressure drop over what is allowed less one.
    fn evaluate(
        &self,
        variables: &[f64],
        projection: Projection,
        last: &mut Option<Flow>,
    ) -> Result<Evaluation, Error> {
        let case = self.case(variables, projection);
        let flow = match last.take() {
            Some(flow) => case.solve_from(&flow).or_else(|_| case.solve())?,
            None => case.solve()?,
        };
        let [hot, lost] = [flow.gradient(&self.heat)?, flow.gradient(&self.drop)?];
        *last = Some(flow);
        let smooth = self.smooth(variables);
        let pull = |by: &[f64], factor| self.pull(&smooth, projection, by, factor);
        let [heat, drop] = [self.given[0], self.allowed * self.given[1]];
        Ok(Evaluation {
            objective: Valued {
                value: -hot.value / heat,
                gradient: pull(&hot.density, -1.0 / heat),
            },
            constraints: vec![Valued {
                value: lost.value / drop - 1.0,
                gradient: pull(&lost.density, 1.0 / drop),
            }],
        })
    }

    /// All stages, then once more the last one: walls by density lose more pressure than their outlines do, so
    /// what is allowed to densities follows from the outlines of the first pass.
    fn descend(&mut self, descent: &Descent) -> Result<Optimum> {
        let grid = &self.fins.case().grid;
        let start = self.room.iter().map(|&c| sharp::start(grid.centre(c))).collect();
        let start =
            Optimum { design: start, value: f64::NAN, history: Vec::new(), end: End::Limit };
        let first = self.stages(start, &STAGES, descent)?;
        if !descent.finer {
            return Ok(first);
        }
        let ribs = self.case(&first.design, LAST).solve()?;
        let found = sharp::finer(&sharp::walls(&ribs), &self.heat, &self.drop)?;
        self.allowed = (found.drop[0] / found.drop[1]).clamp(0.8, 1.25);
        self.stages(first, &STAGES[STAGES.len() - 1..], descent)
    }

    /// Some stages, each from the end of the last one.
    fn stages(&self, start: Optimum, stages: &[f64], descent: &Descent) -> Result<Optimum> {
        let bounds = Bounds::new(&vec![[0.0, 1.0]; self.room.len()])?;
        let mut optimum = start;
        for &steepness in stages {
            let projection = Projection { steepness, threshold: 0.5 };
            let iterations = descent.iterations / STAGES.len();
            let settings = mma::Settings { tolerance: 0.01, iterations, step: 0.1 };
            let mut last = None;
            let solve = |x: &[f64]| self.evaluate(x, projection, &mut last);
            let watch = |r: &_, _: &[f64]| descent.watch(r);
            let stage = mma::minimize(&optimum.design, &bounds, &settings, solve, watch)?;
            let mut history = std::mem::take(&mut optimum.history);
            go_on_with(&mut history, &stage.history);
            optimum = Optimum { history, ..stage };
        }
        Ok(optimum)
    }
}

fn room(grid: &Grid) -> Vec<usize> {
    let inside = |c: &usize| {
        let p = grid.centre(*c);
        (0..2).all(|i| ROOM[i][0] <= p[i] && p[i] <= ROOM[i][1])
    };
    (0..grid.cells()).filter(inside).collect()
}

/// Finds them; then their walls are made sharp and evaluated on a finer grid.
pub(crate) fn exchanger(descent: &Descent) -> Result<Improvement> {
    let mut task = Task::new()?;
    let optimum = task.descend(descent)?;
    let ribs = task.case(&optimum.design, LAST).solve()?;
    let drop = ribs.value(&task.drop) / task.given[1];
    let mut design = vec![("pressure drop over the fins'".to_string(), drop)];
    let mut finer = None;
    if descent.finer {
        let found = sharp::finer(&sharp::walls(&ribs), &task.heat, &task.drop)?;
        design.push(("the same, sharp walls".to_string(), found.drop[1] / found.drop[0]));
        finer = Some(found.heat);
    }
    Ok(Improvement {
        name: "exchanger",
        quantity: "heat / (conductivity · ΔT)",
        before: task.given[0],
        after: ribs.value(&task.heat),
        finer,
        window: Window::all(&ribs.case().grid),
        design,
        flows: [task.fins, ribs],
        optimum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Through filter, projection, flow and heat: the derivative along a direction is the central difference.
    #[test]
    fn the_chain_from_variables_to_heat_is_exact() -> Result<()> {
        let task = Task::new()?;
        let grid = &task.fins.case().grid;
        let start: Vec<f64> = task.room.iter().map(|&c| sharp::start(grid.centre(c))).collect();
        let noise: Vec<f64> = (0..start.len()).map(|i| (1.3 * i as f64).sin()).collect();
        let projection = Projection { steepness: 2.0, threshold: 0.5 };
        let at = |step: f64| -> Result<Evaluation, Error> {
            let moved: Vec<f64> = start.iter().zip(&noise).map(|(v, d)| v + step * d).collect();
            task.evaluate(&moved, projection, &mut None)
        };
        let (here, ahead, behind) = (at(0.0)?, at(1e-4)?, at(-1e-4)?);
        let along = |g: &[f64]| g.iter().zip(&noise).map(|(g, d)| g * d).sum::<f64>();
        let slopes = [
            (along(&here.objective.gradient), ahead.objective.value - behind.objective.value),
            (
                along(&here.constraints[0].gradient),
                ahead.constraints[0].value - behind.constraints[0].value,
            ),
        ];
        for (slope, change) in slopes {
            let difference = change / 2e-4;
            assert!(
                (slope - difference).abs() < 1e-5 * slope.abs().max(1e-2),
                "{slope} {difference}"
            );
        }
        Ok(())
    }
}
