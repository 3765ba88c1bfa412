//! From densities to walls: outlines at the threshold, as bodies that cut cells.

use anyhow::Result;
use lithoburn_cfd::shape::{Point, Polygon};
use lithoburn_cfd::{Body, Case, Flow, Grid, Objective, cases};
use lithoburn_layout::{Raster, contour::contours};

/// Runs of fluid along a column of cells.
pub(super) fn channels(flow: &Flow, x: f64) -> usize {
    let grid = &flow.case().grid;
    let design = flow.case().density.as_ref().map(|density| density.design.as_slice());
    let column = grid.find(x, grid.centre(0)[1]).unwrap_or(0) % grid.nx();
    let open = |j: usize| design.is_none_or(|design| design[j * grid.nx() + column] > 0.5);
    (0..grid.ny()).filter(|&j| open(j) && (j == 0 || !open(j - 1))).count()
}

/// The start: three slender ribs, grey, so that the descent may move them either way.
pub(super) fn start([x, y]: Point) -> f64 {
    let rib = [0.6, 0.9, 1.2].iter().any(|left| (*left..left + 0.1).contains(&x)) && y < 0.35;
    if rib { 0.4 } else { 0.85 }
}

/// Outlines of the solid, in the flow's coordinates, carried below the floor where they stand on it.
pub(super) fn walls(flow: &Flow) -> Vec<Vec<Point>> {
    /// Cells of solid below the floor, so that outlines close there and not along it.
    const BELOW: usize = 4;
    let grid = &flow.case().grid;
    let Some(density) = &flow.case().density else { return Vec::new() };
    let (nx, ny) = (grid.nx(), grid.ny());
    let mut solid = Raster::new(nx, ny + BELOW, 1.0);
    for (k, value) in solid.data.iter_mut().enumerate() {
        let row = (k / nx).saturating_sub(BELOW);
        *value = 1.0 - density.design[row * nx + k % nx] as f32;
    }
    let place = |p: &Point| [at(grid.x(), p[0]), at(grid.y(), p[1] - BELOW as f64)];
    let lines = contours(&solid, 0.5);
    lines.iter().map(|line| line.iter().map(place).collect()).collect()
}

/// The place that is `cells` cells along `faces`; beyond them, cells are as large as the outermost.
fn at(faces: &[f64], cells: f64) -> f64 {
    let i = (cells.floor().max(0.0) as usize).min(faces.len() - 2);
    faces[i] + (cells - i as f64) * (faces[i + 1] - faces[i])
}

/// A channel with walls in place of the fins, on a grid twice as fine.
fn case(walls: &[Vec<Point>], grid: &Grid) -> Result<Case> {
    let mut case = cases::exchanger(2 * grid.nx(), 2 * grid.ny())?;
    case.bodies.clear();
    for line in walls {
        let Ok(polygon) = Polygon::new(line) else { continue };
        // Ribs stand on the warm floor and conduct well; what floats would have no temperature of its own.
        let stands = line.iter().any(|p| p[1] < 0.0);
        if stands {
            case = case.with_body(Body::new(polygon).at_temperature(1.0));
        }
    }
    Ok(case)
}

/// Fins and walls on the finer grid: heat and pressure drop of each.
pub(super) struct Finer {
    pub(super) heat: [f64; 2],
    pub(super) drop: [f64; 2],
}

/// Evaluates the fins and the walls.
pub(super) fn finer(walls: &[Vec<Point>], heat: &Objective, drop: &Objective) -> Result<Finer> {
    let grid = cases::exchanger(64, 64)?.grid;
    let fins = cases::exchanger(128, 128)?.solve()?;
    let ribs = case(walls, &grid)?.solve()?;
    let both = |objective: &Objective| [fins.value(objective), ribs.value(objective)];
    Ok(Finer { heat: both(heat), drop: both(drop) })
}
