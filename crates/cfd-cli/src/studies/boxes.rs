//! Boxes: a moving lid, a warm and a cold wall.

use anyhow::{Result, bail};
use clap::Args;
use lithoburn_cfd::{Flow, Grid, Objective, cases};

use super::middle_lines::{self, Line, worst};
use crate::cases::Point;
use crate::options::{Cells, RunOptions, positive};
use crate::pictures::Window;
use crate::study::{Quantity, Reference, Study};
use crate::sweep;
use crate::warming::{Start, WarmingOptions, warm};
use lithoburn_terminal::Verdict;

/// Options of the lid-driven cavity.
#[derive(Args, Debug)]
pub(crate) struct CavityArgs {
    /// Reynolds number of the lid's speed and the box's side; several run beside each other.
    #[arg(long, value_name = "RE,…", value_delimiter = ',', num_args = 1, default_values_t = [1000.0], allow_negative_numbers = true)]
    re: Vec<f64>,
    /// Cells along x and y.
    #[arg(long, value_name = "NXxNY", default_value = "128x128")]
    grid: Cells,
    /// How much finer cells are at the walls; 0 makes all equal.
    #[arg(long, value_name = "S", default_value_t = 1.2, allow_negative_numbers = true)]
    clustering: f64,
    #[command(flatten)]
    run: RunOptions,
}

/// A unit square of cells, finer at the walls.
pub(crate) fn square(cells: Cells, clustering: f64) -> Result<Grid> {
    const UNIT: [f64; 2] = [0.0, 1.0];
    if !(clustering.is_finite() && (0.0..=4.0).contains(&clustering)) {
        bail!("--clustering must be 0 to 4, got {clustering}");
    }
    if clustering == 0.0 {
        return Ok(Grid::uniform(UNIT, UNIT, cells.x, cells.y)?);
    }
    Ok(Grid::clustered(UNIT, UNIT, cells.x, cells.y, clustering)?)
}

impl CavityArgs {
    /// Runs it for each Reynolds number.
    pub(crate) fn run(&self) -> Result<Verdict> {
        let point = |&re: &f64| {
            let study = cavity(positive("--re", re)?, self.grid, self.clustering)?;
            Ok(Point::new(&[("re", re.to_string())], study))
        };
        sweep::run(&self.run, self.re.iter().map(point).collect::<Result<_>>()?)
    }
}

/// A box whose lid moves.
pub(crate) fn cavity(re: f64, cells: Cells, clustering: f64) -> Result<Study> {
    let case = cases::cavity(re, square(cells, clustering)?)?;
    let fine = re > 500.0;
    let source =
        if fine { "Botella & Peyret 1998" } else { "own extrapolation; Ghia within 0.010" };
    let limit = if fine {
        0.0025
    } else if re > 200.0 {
        0.008
    } else {
        0.004
    };
    let lines = [
        (Line::U, "u", "largest error of u(0.5, y)"),
        (Line::V, "v", "largest error of v(x, 0.5)"),
    ];
    let known = lines.into_iter().filter(|_| middle_lines::is_known(re));
    let errors = known.map(|(line, key, name)| {
        let read = move |flow: &Flow| worst(flow, re, line);
        Quantity::reading(key, name, read).against(Some(Reference::below(limit, source)))
    });
    let lost = Quantity::objective("dissipation", "half the power lost", Objective::Dissipation);
    Ok(Study {
        name: "cavity",
        title: format!("Lid-driven cavity at Re {re}"),
        parameters: vec![("re", re), ("clustering", clustering)],
        quantities: errors.chain([lost]).collect(),
        window: Window::all(&case.grid),
        warnings: Vec::new(),
        case,
    })
}

/// Options of the heated cavity.
#[derive(Args, Debug)]
pub(crate) struct HeatedCavityArgs {
    /// Rayleigh number; several run beside each other.
    #[arg(long, value_name = "RA,…", value_delimiter = ',', num_args = 1, default_values_t = [1e5], allow_negative_numbers = true)]
    ra: Vec<f64>,
    /// Cells along x and y.
    #[arg(long, value_name = "NXxNY", default_value = "64x64")]
    grid: Cells,
    /// How much finer cells are at the walls; 0 makes all equal.
    #[arg(long, value_name = "S", default_value_t = 1.2, allow_negative_numbers = true)]
    clustering: f64,
    #[command(flatten)]
    warming: WarmingOptions,
    #[command(flatten)]
    run: RunOptions,
}

/// Rayleigh numbers with Nusselt numbers of the warm wall, and how far 64² cells may be off.
pub(crate) const NUSSELT: [(f64, f64, f64); 4] =
    [(1e3, 1.1178, 0.001), (1e4, 2.2448, 0.001), (1e5, 4.5216, 0.003), (1e6, 8.8253, 0.007)];

impl HeatedCavityArgs {
    /// Runs it for each Rayleigh number, or one in time.
    pub(crate) fn run(&self) -> Result<Verdict> {
        let study = |ra: f64| heated_cavity(positive("--ra", ra)?, self.grid, self.clustering);
        if self.warming.unsteady {
            let [ra] = self.ra[..] else { bail!("--unsteady goes with one --ra") };
            // Fluid at rest, as cold as its cold wall: the warm one is switched on.
            let start = Start { temperature: 0.0, flowing: false, time: 0.4 };
            return warm(&self.run, &self.warming, start, &mut study(ra)?);
        }
        let point = |&ra: &f64| Ok(Point::new(&[("ra", ra.to_string())], study(ra)?));
        sweep::run(&self.run, self.ra.iter().map(point).collect::<Result<_>>()?)
    }
}

/// A box with a warm and a cold wall.
pub(crate) fn heated_cavity(ra: f64, cells: Cells, clustering: f64) -> Result<Study> {
    let case = cases::heated_cavity(ra, square(cells, clustering)?)?;
    let known = NUSSELT.iter().find(|row| row.0 == ra);
    let source = "de Vahl Davis 1983; Le Quéré 1991; own extrapolation";
    let reference = known.map(|&(_, nu, tolerance)| Reference::value(nu, tolerance, source));
    let name = "Nusselt number of the warm wall";
    Ok(Study {
        name: "heated-cavity",
        title: format!("Heated cavity at Ra {ra:e}, air"),
        parameters: vec![("ra", ra), ("prandtl", 0.71), ("clustering", clustering)],
        quantities: vec![
            Quantity::objective("nu", name, cases::cavity_nusselt()).against(reference),
            Quantity::objective("t", "mean temperature", Objective::MeanTemperature),
        ],
        window: Window::all(&case.grid),
        warnings: Vec::new(),
        case,
    })
}
