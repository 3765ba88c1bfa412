//! The published set-ups as values.

use crate::{
    Error, Grid, Objective,
    boundary::{Body, Heated, Profile, Side, Sides, Thermal},
    case::{Case, Heat},
    grid::{spread, stretched},
    shape::{Circle, Naca, Rectangle},
};

/// Lid-driven cavity: unit square, lid of speed one at y = 1 (Ghia, Ghia & Shin 1982; Botella & Peyret 1998).
///
/// # Errors
///
/// [`Error::Case`] if the Reynolds number or the grid makes no sense.
pub fn cavity(reynolds: f64, grid: Grid) -> Result<Case, Error> {
    let lid = Side::stream(Profile::Uniform(1.0));
    let sides = Sides::new(Side::wall(), Side::wall(), Side::wall(), lid);
    Ok(Case::new("cavity", grid, sides, ratio("Reynolds number", 1.0, reynolds)?))
}

/// Heated cavity: unit square, warm (1) left, cold (0) right, Prandtl 0.71, velocities in diffusivity per side (de
/// Vahl Davis 1983).
///
/// # Errors
///
/// As [`cavity`].
pub fn heated_cavity(rayleigh: f64, grid: Grid) -> Result<Case, Error> {
    const PRANDTL: f64 = 0.71;
    ratio("Rayleigh number", 1.0, rayleigh)?;
    let mut sides = Sides::new(Side::wall(), Side::wall(), Side::wall(), Side::wall());
    sides.heat[0] = everywhere(Thermal::Temperature(1.0));
    sides.heat[1] = everywhere(Thermal::Temperature(0.0));
    let mut case = Case::new("heated cavity", grid, sides, PRANDTL);
    case.heat =
        Some(Heat { buoyancy: [0.0, rayleigh * PRANDTL], reference: 0.5, ..Heat::forced(1.0) });
    Ok(case)
}

/// Mean Nusselt number of the heated cavity's warm wall.
#[must_use]
pub fn cavity_nusselt() -> Objective {
    Objective::SideHeat { side: 0, scale: 1.0 }
}

/// Developed flow of mean one through a channel of height one and a given length.
///
/// # Errors
///
/// As [`cavity`].
pub fn channel(reynolds: f64, length: f64, nx: usize, ny: usize) -> Result<Case, Error> {
    let grid = Grid::uniform([0.0, length], [0.0, 1.0], nx, ny)?;
    let inlet = Side::stream(Profile::developed(0.0, 1.0, 1.0));
    let sides = Sides::new(inlet, Side::Outlet, Side::wall(), Side::wall());
    Ok(Case::new("channel", grid, sides, ratio("Reynolds number", 1.0, reynolds)?))
}

/// A free stream of speed one past a body of length one around the origin, with slip sides.
///
/// # Errors
///
/// As [`cavity`].
pub fn stream(reynolds: f64, grid: Grid, body: Body) -> Result<Case, Error> {
    let inlet = Side::stream(Profile::Uniform(1.0));
    let sides = Sides::new(inlet, Side::Outlet, Side::Slip, Side::Slip);
    let case = Case::new("stream", grid, sides, ratio("Reynolds number", 1.0, reynolds)?);
    Ok(case.with_body(body))
}

/// Where cylinders stand: off every line of the grid, where the shape's derivatives are smooth.
pub const OFF_GRID: [f64; 2] = [0.0137, 0.0071];

/// Cylinder of diameter one in a free stream, slip sides `width` diameters away, an outlet half as far again.
///
/// `fineness` 1 is 128 × 64 cells with 20 over the diameter; 2 is twice as fine.
///
/// # Errors
///
/// As [`cavity`].
pub fn cylinder(reynolds: f64, width: f64, fineness: usize) -> Result<Case, Error> {
    let n = fineness.max(1);
    let h = 0.05 / n as f64;
    let x = stretched([-0.8, 1.2], h, (30 * n, -width), (58 * n, 1.5 * width));
    let y = stretched([-0.7, 0.7], h, (18 * n, -width), (18 * n, width));
    let circle = Circle { centre: OFF_GRID, radius: 0.5 };
    let mut case = stream(reynolds, Grid::new(x, y)?, Body::new(circle))?;
    case.name = "cylinder".into();
    Ok(case)
}

/// Cylinder in a channel, DFG benchmark 2D-1: Reynolds 20 (Schäfer & Turek 1996).
///
/// # Errors
///
/// As [`cavity`].
pub fn dfg(fineness: usize) -> Result<Case, Error> {
    dfg_at(0.3, fineness)
}

/// The same channel with a given greatest inlet velocity: 1.5 is benchmark 2D-2.
///
/// # Errors
///
/// As [`cavity`].
pub fn dfg_at(peak: f64, fineness: usize) -> Result<Case, Error> {
    let n = fineness.max(1);
    let h = 0.1 / (26 * n) as f64;
    let x = stretched([0.12, 0.32], h, (20 * n, 0.0), (56 * n, 2.2));
    let y = stretched([0.13, 0.27], h, (14 * n, 0.0), (14 * n, 0.41));
    let inlet = Side::stream(Profile::Parabolas(vec![(0.0, 0.41, peak)]));
    let sides = Sides::new(inlet, Side::Outlet, Side::wall(), Side::wall());
    let case = Case::new("dfg channel", Grid::new(x, y)?, sides, 1e-3);
    Ok(case.with_body(Body::new(Circle { centre: [0.2, 0.2], radius: 0.05 })))
}

/// NACA 0012 and its kin, chord one, in a free stream with slip sides `width` chords away.
///
/// # Errors
///
/// As [`cavity`].
pub fn airfoil(reynolds: f64, foil: Naca, width: f64, fineness: usize) -> Result<Case, Error> {
    let n = fineness.max(1);
    let x = stretched([-0.1, 1.1], 1.2 / (60 * n) as f64, (26 * n, -width), (42 * n, 1.5 * width));
    let y = stretched([-0.12, 0.12], 0.24 / (24 * n) as f64, (20 * n, -width), (20 * n, width));
    let mut case = stream(reynolds, Grid::new(x, y)?, Body::new(foil))?;
    case.name = "airfoil".into();
    Ok(case)
}

/// Finned channel: heated floor and two fins, Reynolds 100 of the mean inlet over the height, Prandtl 0.71.
///
/// An adiabatic entry keeps the mean Nusselt number finite: where an inlet of one temperature meets a wall of
/// another, it is not. Columns are narrow around the fins, which are thinner than two of 64 equal ones.
///
/// # Errors
///
/// As [`cavity`]; [`Error::Case`] with fewer than 32 columns, which do not resolve fins.
pub fn exchanger(nx: usize, ny: usize) -> Result<Case, Error> {
    let mut case = channel(100.0, 2.0, nx, ny)?;
    case.grid = Grid::new(around_fins(nx)?, case.grid.y().to_vec())?;
    case.name = "exchanger".into();
    case.sides.heat[0] = everywhere(Thermal::Temperature(0.0));
    case.sides.heat[2] = vec![Heated { from: 0.5, to: 1.5, thermal: Thermal::Temperature(1.0) }];
    case.heat = Some(Heat::forced(case.viscosity / 0.71));
    for low in [0.7, 1.2] {
        let fin = Rectangle::between([low, -0.3], [low + 0.06, 0.3])?;
        case = case.with_body(Body::new(fin).at_temperature(1.0));
    }
    Ok(case)
}

/// Columns of the finned channel: fine over 0.126 around each fin, lines where the heated floor begins and ends.
fn around_fins(nx: usize) -> Result<Vec<f64>, Error> {
    let n = nx / 32;
    if n == 0 {
        return Err(Error::case(format!("finned channel: expected 32 columns or more, got {nx}")));
    }
    let core = |fin: f64| [fin - 0.033, fin + 0.093];
    let h = 0.126 / (5 * n) as f64;
    let mut x = spread([0.0, 0.5], 4 * n);
    x.extend(&stretched(core(0.7), h, (3 * n, 0.5), (3 * n, 0.98))[1..]);
    x.extend(&stretched(core(1.2), h, (3 * n, 0.98), (3 * n, 1.5))[1..]);
    x.extend(&spread([1.5, 2.0], nx - 26 * n)[1..]);
    Ok(x)
}

fn everywhere(thermal: Thermal) -> Vec<Heated> {
    vec![Heated { from: f64::NEG_INFINITY, to: f64::INFINITY, thermal }]
}

fn ratio(name: &str, numerator: f64, number: f64) -> Result<f64, Error> {
    if number.is_finite() && number > 0.0 {
        return Ok(numerator / number);
    }
    Err(Error::case(format!("{name}: expected a positive, finite number, got {number}")))
}
