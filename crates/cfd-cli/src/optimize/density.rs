//! Designs by density: where fluid and where solid lies, cell by cell. Here the pipes of least dissipation.

use anyhow::{Result, bail};
use lithoburn_cfd::optimize::mma::{self, Evaluation, Valued};
use lithoburn_cfd::optimize::{Bounds, Optimum};
use lithoburn_cfd::{Case, Density, Error, Flow, Grid, Objective, Profile, Side, Sides};

use super::{Descent, Improvement, go_on_with};
use crate::pictures::Window;

mod ribs;
mod sharp;

pub(crate) use ribs::exchanger;

/// Share of the box that may be fluid.
const VOLUME: f64 = 1.0 / 3.0;
/// Cells over the box's height.
const HIGH: usize = 102;

/// Two inlets, two outlets, Stokes flow. Source: Borrvall & Petersson, Int. J. Numer. Meth. Fluids 41 (2003) 77, example 4.
fn pipes(length: f64, design: Vec<f64>, penalty: f64) -> Result<Case, Error> {
    let columns = (length * HIGH as f64).round() as usize;
    let grid = Grid::uniform([0.0, length], [0.0, 1.0], columns, HIGH)?;
    let ends = vec![(1.0 / 6.0, 1.0 / 3.0, 1.0), (2.0 / 3.0, 5.0 / 6.0, 1.0)];
    let open = || Side::stream(Profile::Parabolas(ends.clone()));
    let sides = Sides::new(open(), open(), Side::wall(), Side::wall());
    let mut case = Case::new("double pipe", grid, sides, 1.0);
    case.inertia = false;
    case.options.coarse = 0;
    case.density = Some(Density { design, least: 2.5e-4, most: 2.5e4, penalty });
    Ok(case)
}

/// Two straight pipes: fluid where a face of the inlet is open.
fn straight(length: f64) -> Vec<f64> {
    let columns = (length * HIGH as f64).round() as usize;
    let open = |j: usize| {
        let y = (j as f64 + 0.5) / HIGH as f64;
        (1.0 / 6.0..=1.0 / 3.0).contains(&y) || (2.0 / 3.0..=5.0 / 6.0).contains(&y)
    };
    (0..columns * HIGH).map(|c| f64::from(u8::from(open(c / columns)))).collect()
}

/// Dissipation over that of the start, and the fluid's share less what is allowed.
fn evaluate(length: f64, design: &[f64], penalty: f64, scale: f64) -> Result<Evaluation, Error> {
    let flow = pipes(length, design.to_vec(), penalty)?.solve()?;
    let gradient = flow.gradient(&Objective::Dissipation)?;
    let cells = design.len() as f64;
    let share = design.iter().sum::<f64>() / cells;
    Ok(Evaluation {
        objective: Valued {
            value: gradient.value / scale,
            gradient: gradient.density.iter().map(|g| g / scale).collect(),
        },
        constraints: vec![Valued {
            value: (share - VOLUME) / VOLUME,
            gradient: vec![1.0 / (cells * VOLUME); design.len()],
        }],
    })
}

/// How soon resistance falls as fluid comes in, at the end: 1/q of Borrvall & Petersson's q = 0.1.
const PENALTY: f64 = 10.0;
/// The same in the first stage (their q = 0.01): grey cells hardly resist, so that the problem is nearly convex.
const GENTLE: f64 = 100.0;

/// Finds the pipes: first where grey cells hardly resist, then where they do.
pub(crate) fn double_pipe(length: f64, descent: &Descent) -> Result<Improvement> {
    if !(0.5..=4.0).contains(&length) {
        bail!("--length must be 0.5 to 4 heights, got {length}");
    }
    let loss = |design: Vec<f64>| -> Result<(f64, Flow)> {
        let flow = pipes(length, design, PENALTY)?.solve()?;
        Ok((flow.value(&Objective::Dissipation), flow))
    };
    let (before, first) = loss(straight(length))?;
    let mut design = vec![VOLUME; first.case().grid.cells()];
    let bounds = Bounds::new(&vec![[0.0, 1.0]; design.len()])?;
    let mut history = Vec::new();
    let stages = [(GENTLE, descent.iterations / 4), (PENALTY, descent.iterations)];
    let mut optimum: Option<Optimum> = None;
    for (penalty, iterations) in stages {
        let settings = mma::Settings { tolerance: 0.02, iterations, step: 0.3 };
        let solve = |x: &[f64]| evaluate(length, x, penalty, before);
        let stage = mma::minimize(&design, &bounds, &settings, solve, |r, _| descent.watch(r))?;
        design.clone_from(&stage.design);
        go_on_with(&mut history, &stage.history);
        optimum = Some(stage);
    }
    let Some(mut optimum) = optimum else { bail!("no stage was run") };
    optimum.history = history;
    let (after, flow) = loss(design)?;
    let middle = sharp::channels(&flow, length / 2.0);
    Ok(Improvement {
        name: "double-pipe",
        quantity: "dissipation",
        before,
        after,
        finer: None,
        window: Window { x: [0.0, length], y: [0.0, 1.0] },
        design: vec![("channels in the middle".into(), middle as f64)],
        flows: [first, flow],
        optimum,
    })
}
