//! Designs by density: where fluid and where solid lies, cell by cell.

use anyhow::{Result, bail};
use lithoburn_cfd::filter::{Filter, Projection};
use lithoburn_cfd::optimize::mma::{self, Evaluation, Valued};
use lithoburn_cfd::optimize::{Bounds, Optimum};
use lithoburn_cfd::{Case, Density, Error, Flow, Grid, Objective, Profile, Side, Sides, cases};

use super::{Descent, Improvement};
use crate::pictures::Window;

mod sharp;

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

/// Finds the pipes: first with resistance nearly linear in density, where the problem is nearly convex, then steeper.
pub(crate) fn double_pipe(length: f64, descent: &Descent) -> Result<Improvement> {
    if !(0.5..=4.0).contains(&length) {
        bail!("--length must be 0.5 to 4 heights, got {length}");
    }
    let loss = |design: Vec<f64>| -> Result<(f64, Flow)> {
        let flow = pipes(length, design, 0.1)?.solve()?;
        Ok((flow.value(&Objective::Dissipation), flow))
    };
    let (before, first) = loss(straight(length))?;
    let mut design = vec![VOLUME; first.case().grid.cells()];
    let bounds = Bounds::new(&vec![[0.0, 1.0]; design.len()])?;
    let mut history = Vec::new();
    let stages = [(0.01, descent.iterations / 4), (0.1, descent.iterations)];
    let mut optimum: Option<Optimum> = None;
    for (penalty, iterations) in stages {
        let settings = mma::Settings { tolerance: 0.02, iterations, step: 0.3 };
        let solve = |x: &[f64]| evaluate(length, x, penalty, before);
        let stage = mma::minimize(&design, &bounds, &settings, solve, |r, _| descent.watch(r))?;
        design.clone_from(&stage.design);
        history.extend(stage.history.iter().copied());
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

/// Diffusivity of solid ribs over that of the fluid.
const CONDUCTS: f64 = 100.0;
/// Ribs may stand in this part of the channel.
const ROOM: [[f64; 2]; 2] = [[0.5, 1.5], [0.0, 0.6]];

/// The channel of the fins with a density field in their place.
fn ribs(design: Vec<f64>, penalty: f64) -> Result<Case, Error> {
    let mut case = cases::exchanger(64, 64)?;
    case.bodies.clear();
    if let Some(heat) = &mut case.heat {
        heat.solid = Some((CONDUCTS * heat.diffusivity, penalty));
    }
    case.density = Some(Density { design, least: 0.0, most: 1e3, penalty });
    Ok(case)
}

/// Cells of the room, which vary; all others are fluid.
fn room(grid: &Grid) -> Vec<usize> {
    let inside = |c: &usize| {
        let p = grid.centre(*c);
        (0..2).all(|i| ROOM[i][0] <= p[i] && p[i] <= ROOM[i][1])
    };
    (0..grid.cells()).filter(inside).collect()
}

/// From the variables to densities: into the room, smoothed, sharpened.
struct Chain<'a> {
    room: &'a [usize],
    filter: &'a Filter,
    projection: Projection,
    cells: usize,
}

impl Chain<'_> {
    fn smooth(&self, variables: &[f64]) -> Vec<f64> {
        let mut field = vec![1.0; self.cells];
        self.room.iter().zip(variables).for_each(|(&c, v)| field[c] = *v);
        self.filter.smooth(&field)
    }

    fn densities(&self, variables: &[f64]) -> Vec<f64> {
        let smooth = self.smooth(variables);
        smooth.iter().map(|v| self.projection.project(*v).clamp(0.0, 1.0)).collect()
    }

    fn pull(&self, variables: &[f64], by: &[f64]) -> Vec<f64> {
        let smooth = self.smooth(variables);
        let by: Vec<f64> =
            smooth.iter().zip(by).map(|(v, g)| g * self.projection.slope(*v)).collect();
        let field = self.filter.pull_back(&by);
        self.room.iter().map(|&c| field[c]).collect()
    }
}

/// Finds ribs: most heat for at most the fins' pressure drop; then walls are made sharp and evaluated on a finer grid.
pub(crate) fn exchanger(descent: &Descent) -> Result<Improvement> {
    let drop = Objective::PressureDrop { from: 0, to: 1 };
    let fins = cases::exchanger(64, 64)?.solve()?;
    let conductivity = fins.case().heat.as_ref().map_or(1.0, |heat| heat.diffusivity);
    let heat = Objective::Heat { scale: 1.0 / conductivity };
    let (before, allowed) = (fins.value(&heat), fins.value(&drop));
    let grid = fins.case().grid.clone();
    let room = room(&grid);
    let widths = |faces: &[f64]| faces.windows(2).map(|p| p[1] - p[0]).collect::<Vec<_>>();
    let filter = Filter::new(&widths(grid.x()), &widths(grid.y()), 0.02)?;
    let chain = |steepness: f64| Chain {
        room: &room,
        filter: &filter,
        projection: Projection { steepness, threshold: 0.5 },
        cells: grid.cells(),
    };
    let mut variables: Vec<f64> = room.iter().map(|&c| sharp::start(grid.centre(c))).collect();
    let bounds = Bounds::new(&vec![[0.0, 1.0]; variables.len()])?;
    let mut history = Vec::new();
    let mut optimum: Option<Optimum> = None;
    let stages = [(0.0, 10.0), (2.0, 10.0), (6.0, 10.0), (12.0, 10.0)];
    for (steepness, penalty) in stages {
        let chain = chain(steepness);
        let settings = mma::Settings {
            tolerance: 0.01,
            iterations: descent.iterations / stages.len(),
            step: 0.1,
        };
        let mut last: Option<Flow> = None;
        let solve = |x: &[f64]| -> Result<Evaluation, Error> {
            let case = ribs(chain.densities(x), penalty)?;
            let flow = match last.take() {
                Some(flow) => case.solve_from(&flow).or_else(|_| case.solve())?,
                None => case.solve()?,
            };
            let [hot, lost] = [flow.gradient(&heat)?, flow.gradient(&drop)?];
            let pull = |by: &[f64], factor: f64| -> Vec<f64> {
                chain.pull(x, by).iter().map(|g| factor * g).collect()
            };
            last = Some(flow);
            Ok(Evaluation {
                objective: Valued {
                    value: -hot.value / before,
                    gradient: pull(&hot.density, -1.0 / before),
                },
                constraints: vec![Valued {
                    value: lost.value / allowed - 1.0,
                    gradient: pull(&lost.density, 1.0 / allowed),
                }],
            })
        };
        let stage = mma::minimize(&variables, &bounds, &settings, solve, |r, _| descent.watch(r))?;
        variables.clone_from(&stage.design);
        history.extend(stage.history.iter().copied());
        optimum = Some(stage);
    }
    let Some(mut optimum) = optimum else { bail!("no stage was run") };
    optimum.history = history;
    let after = ribs(chain(12.0).densities(&variables), 10.0)?.solve()?;
    let sharp = sharp::walls(&after)?;
    let values = [before, after.value(&heat)];
    let finer =
        if descent.finer { Some(sharp::finer(&sharp, &heat, &drop, descent.loud)?) } else { None };
    Ok(Improvement {
        name: "exchanger",
        quantity: "heat / (conductivity · ΔT)",
        before: values[0],
        after: values[1],
        finer,
        window: Window::all(&grid),
        design: vec![("pressure drop over the fins'".into(), after.value(&drop) / allowed)],
        flows: [fins, after],
        optimum,
    })
}
