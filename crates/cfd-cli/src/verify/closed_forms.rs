//! Flows and temperatures that are known exactly: the order with which errors fall.

use std::f64::consts::PI;
use std::sync::Arc;

use anyhow::{Context, Result};
use lithoburn_cfd::shape::{Circle, Hollow};
use lithoburn_cfd::{
    Body, Case, Flow, Grid, Heat, Heated, March, Profile, Side, Sides, Thermal, cases,
};

use super::Sheet;
use crate::study::Reference;

/// Velocity at a place.
type Field = Arc<dyn Fn(f64, f64) -> [f64; 2] + Send + Sync>;

/// Root mean square error over all cells that are wholly fluid.
fn error(flow: &Flow, exact: &Field) -> f64 {
    let (grid, velocity) = (&flow.case().grid, flow.velocity());
    let fluid = flow.fluid();
    let whole = (0..grid.cells()).filter(|&c| fluid[c] > 0.999);
    let squares: Vec<f64> = whole
        .map(|c| {
            let [x, y] = grid.centre(c);
            let [u, v] = exact(x, y);
            (velocity[c][0] - u).powi(2) + (velocity[c][1] - v).powi(2)
        })
        .collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

/// A closed box whose sides have a known flow.
fn given(name: &str, grid: Grid, viscosity: f64, exact: &Field) -> Case {
    let ends = |faces: &[f64]| [faces[0], faces[faces.len() - 1]];
    let ([west, east], [south, north]) = (ends(grid.x()), ends(grid.y()));
    let side = |along_y: bool, at: f64| {
        let component = |axis: usize| {
            let exact = exact.clone();
            let value = move |s: f64| if along_y { exact(at, s)[axis] } else { exact(s, at)[axis] };
            Profile::Function(Arc::new(value))
        };
        Side::velocity(component(0), component(1))
    };
    let sides =
        Sides::new(side(true, west), side(true, east), side(false, south), side(false, north));
    Case::new(name, grid, sides, viscosity)
}

fn kovasznay(n: usize) -> Result<f64> {
    const REYNOLDS: f64 = 40.0;
    let k = REYNOLDS / 2.0 - (REYNOLDS * REYNOLDS / 4.0 + 4.0 * PI * PI).sqrt();
    let exact: Field = Arc::new(move |x, y| {
        let (sin, cos) = (2.0 * PI * y).sin_cos();
        let decay = (k * x).exp();
        [1.0 - decay * cos, k / (2.0 * PI) * decay * sin]
    });
    let grid = Grid::uniform([-0.5, 1.0], [-0.5, 0.5], 3 * n / 2, n)?;
    Ok(error(&given("kovasznay", grid, 1.0 / REYNOLDS, &exact).solve()?, &exact))
}

fn poiseuille(n: usize) -> Result<f64> {
    let exact: Field = Arc::new(|_, y| [6.0 * y * (1.0 - y), 0.0]);
    let grid = Grid::uniform([0.0, 1.0], [0.0, 1.0], n, n)?;
    Ok(error(&given("poiseuille", grid, 0.1, &exact).solve()?, &exact))
}

fn couette() -> Result<f64> {
    let exact: Field = Arc::new(|_, y| [y, 0.0]);
    let grid = Grid::clustered([0.0, 1.0], [0.0, 1.0], 16, 16, 1.3)?;
    Ok(error(&given("couette", grid, 0.1, &exact).solve()?, &exact))
}

/// Fluid between a turning and a resting cylinder: u_θ = A r + B / r.
fn annulus(n: usize, centre: [f64; 2]) -> Result<f64> {
    const INNER: f64 = 0.5;
    let b = INNER * INNER / (1.0 - INNER * INNER);
    let exact: Field = Arc::new(move |x, y| {
        let (x, y) = (x - centre[0], y - centre[1]);
        let turn = b / (x * x + y * y) - b;
        [-turn * y, turn * x]
    });
    let grid = Grid::uniform([-1.2, 1.2], [-1.2, 1.2], n, n)?;
    let sides = Sides::new(Side::wall(), Side::wall(), Side::wall(), Side::wall());
    let inner = Body::new(Circle::new(centre, INNER)?).turning(1.0, centre);
    let outer = Body::new(Hollow(Box::new(Circle::new(centre, 1.0)?)));
    let case = Case::new("annulus", grid, sides, 0.5).with_body(inner).with_body(outer);
    Ok(error(&case.solve()?, &exact))
}

/// Taylor–Green vortices between slip walls, their lines of symmetry, which die as exp(−2 ν t): error at time one.
fn taylor_green(n: usize, step: f64) -> Result<f64> {
    const VISCOSITY: f64 = 0.1;
    let vortex = |time: f64| {
        let size = (-2.0 * VISCOSITY * time).exp();
        move |x: f64, y: f64| [size * x.sin() * y.cos(), -size * x.cos() * y.sin()]
    };
    let grid = Grid::uniform([0.0, PI], [0.0, PI], n, n)?;
    let sides = Sides::new(Side::Slip, Side::Slip, Side::Slip, Side::Slip);
    let march = March::new(&Case::new("taylor-green", grid.clone(), sides, VISCOSITY), step)?;
    let mut state = march.start(&vortex(0.0), &vortex(-step));
    for _ in 0..(1.0 / step).round() as usize {
        state = march.advance(&state)?;
    }
    let exact = vortex(1.0);
    let off = |(c, [u, v]): (usize, [f64; 2])| {
        let [x, y] = grid.centre(c);
        (u - exact(x, y)[0]).powi(2) + (v - exact(x, y)[1]).powi(2)
    };
    let sum: f64 = march.velocity(&state).into_iter().enumerate().map(off).sum();
    Ok((sum / grid.cells() as f64).sqrt())
}

/// Root mean square distance of temperatures from a field.
fn distance(temperature: &[f64], grid: &Grid, exact: impl Fn(f64, f64) -> f64) -> f64 {
    let square = |(c, t): (usize, &f64)| {
        let [x, y] = grid.centre(c);
        (t - exact(x, y)).powi(2)
    };
    let sum: f64 = temperature.iter().enumerate().map(square).sum();
    (sum / temperature.len() as f64).sqrt()
}

/// A warm spot that a uniform stream carries along and that spreads, σ² = σ₀² + 2 κ t: error after a time of 0.8.
fn spot(n: usize, step: f64) -> Result<f64> {
    const DIFFUSIVITY: f64 = 0.01;
    const START: f64 = 0.04;
    let grid = Grid::uniform([0.0, 3.2], [-1.2, 1.2], 4 * n, 3 * n)?;
    let stream = Side::stream(Profile::Uniform(1.0));
    let sides = Sides::new(stream, Side::Outlet, Side::Slip, Side::Slip);
    let mut case = Case::new("spot", grid, sides, 0.1);
    case.sides.heat[0] = vec![Heated { from: -2.0, to: 2.0, thermal: Thermal::Temperature(0.0) }];
    case.heat = Some(Heat::forced(DIFFUSIVITY));
    let march = March::new(&case, step)?;
    let at = |time: f64| {
        let square = START + 2.0 * DIFFUSIVITY * time;
        move |x: f64, y: f64| {
            let x = x - 1.1 - time;
            START / square * (-(x * x + y * y) / (2.0 * square)).exp()
        }
    };
    let along = |_: f64, _: f64| [1.0, 0.0];
    let mut state = march.warmed(&march.start(&along, &along), &at(0.0), &at(-step));
    for _ in 0..(0.8 / step).round() as usize {
        state = march.advance(&state)?;
    }
    let temperature = march.temperature(&state).context("the case has no temperature")?;
    Ok(distance(temperature, &case.grid, at(0.8)))
}

/// A slab at rest between cold walls, whose first mode dies as exp(−κ π² t): error at time one.
fn slab(n: usize, step: f64) -> Result<f64> {
    const DIFFUSIVITY: f64 = 0.1;
    let grid = Grid::uniform([0.0, 1.0], [0.0, 1.0], n, n)?;
    let sides = Sides::new(Side::Slip, Side::Slip, Side::wall(), Side::wall());
    let mut case = Case::new("slab", grid, sides, 0.1);
    for side in [2, 3] {
        case.sides.heat[side] =
            vec![Heated { from: 0.0, to: 1.0, thermal: Thermal::Temperature(0.0) }];
    }
    case.heat = Some(Heat::forced(DIFFUSIVITY));
    let march = March::new(&case, step)?;
    let at = |time: f64| {
        let size = (-DIFFUSIVITY * PI * PI * time).exp();
        move |_: f64, y: f64| size * (PI * y).sin()
    };
    let mut state = march.warmed(&march.rest(), &at(0.0), &at(-step));
    for _ in 0..(1.0 / step).round() as usize {
        state = march.advance(&state)?;
    }
    let temperature = march.temperature(&state).context("the case has no temperature")?;
    Ok(distance(temperature, &case.grid, at(1.0)))
}

/// Row 1.
pub(super) fn flows(sheet: &mut Sheet) -> Result<()> {
    let order = |coarse: f64, fine: f64| (coarse / fine).log2();
    let second = |source| Reference::band(1.9, 3.0, 0.0, source);
    sheet.add("Couette, error", "16x16", couette()?, &Reference::below(1e-12, "closed form"));
    let value = order(poiseuille(16)?, poiseuille(32)?);
    sheet.add("Poiseuille, order", "16², 32²", value, &second("closed form"));
    let value = order(kovasznay(32)?, kovasznay(64)?);
    sheet.add("Kovasznay, order", "48x32, 96x64", value, &second("Kovasznay 1948"));
    let value = order(taylor_green(16, 0.05)?, taylor_green(32, 0.025)?);
    sheet.add("Taylor–Green, order in space and time", "16², 32²", value, &second("closed form"));
    let value = order(slab(16, 0.05)?, slab(32, 0.025)?);
    let name = "slab that cools, order in space and time";
    sheet.add(name, "16², 32²", value, &second("closed form"));
    let value = order(spot(16, 0.02)?, spot(32, 0.01)?);
    let name = "warm spot that is carried and spreads, order in space and time";
    sheet.add(name, "64x48, 128x96", value, &second("closed form"));
    let centre = |k: u32| {
        let k = f64::from(k);
        [0.0137 + 0.031 * k.sin(), 0.0071 + 0.031 * (2.0 * k).cos()]
    };
    let sum = |n: usize| (0..10).map(|k| annulus(n, centre(k))).sum::<Result<f64>>();
    let value = order(sum(32)?, sum(64)?);
    let reference = Reference::band(1.8, 3.0, 0.0, "closed form");
    sheet.add("annulus at 10 places, order", "32², 64²", value, &reference);
    Ok(())
}

/// Heat per length that the fluid gains between two columns of cells, over conductivity and the wall's distance in
/// temperature from the mixed mean; on twice the height.
fn nusselt(case: &Case, walls: f64, x: f64) -> Result<f64> {
    let flow = case.solve()?;
    let grid = &case.grid;
    let temperature = flow.temperature().context("the case has no temperature")?;
    let column = grid.find(x, 0.5).context("the place is off the grid")? % grid.nx();
    let diffusivity = case.heat.as_ref().map_or(1.0, |heat| heat.diffusivity);
    let velocity = flow.velocity();
    let across = |i: usize, value: &dyn Fn(usize) -> f64| -> f64 {
        (0..grid.ny()).map(|j| j * grid.nx() + i).map(|c| grid.size(c)[1] * value(c)).sum()
    };
    let step = grid.centre(column + 1)[0] - grid.centre(column - 1)[0];
    let carried = |i: usize| across(i, &|c| velocity[c][0] * temperature[c]);
    let conducted =
        |i: usize| across(i, &|c| diffusivity * (temperature[c + 1] - temperature[c - 1]) / step);
    let heat = |i: usize| carried(i) - conducted(i);
    let flux = (heat(column + 1) - heat(column - 1)) / step / walls;
    let mixed = carried(column) / across(column, &|c| velocity[c][0]);
    Ok(2.0 * flux / (diffusivity * (1.0 - mixed)))
}

/// Heat that the walls of a long channel give.
fn heated_channel(walls: &[usize], thermal: Thermal) -> Result<Case> {
    let mut case = cases::channel(50.0, 20.0, 96, 32)?;
    let across = Grid::clustered([0.0, 1.0], [0.0, 1.0], 4, 32, 1.0)?;
    case.grid = Grid::new(case.grid.x().to_vec(), across.y().to_vec())?;
    let all = |thermal| vec![Heated { from: -1.0, to: 21.0, thermal }];
    case.sides.heat[0] = all(Thermal::Temperature(0.0));
    walls.iter().for_each(|&side| case.sides.heat[side] = all(thermal));
    case.heat = Some(Heat::forced(case.viscosity));
    Ok(case)
}

/// Row 12.
pub(super) fn developed(sheet: &mut Sheet) -> Result<()> {
    let walls: [(&str, &[usize], f64); 2] = [
        ("both walls at one temperature", &[2, 3], 7.540_701),
        ("one wall, the other adiabatic", &[2], 4.860_737),
    ];
    for (name, sides, expected) in walls {
        let case = heated_channel(sides, Thermal::Temperature(1.0))?;
        let value = nusselt(&case, sides.len() as f64, 15.0)?;
        let reference = Reference::value(expected, 0.002, "closed form; Shah & London");
        sheet.add(format!("Nu, {name}"), "96x32", value, &reference);
    }
    let value = flux_nusselt()?;
    let reference = Reference::value(140.0 / 17.0, 0.002, "closed form, 140/17");
    sheet.add("Nu, both walls of one flux", "96x32", value, &reference);
    Ok(())
}

/// Both walls give one flux q: Nu = 2 q / (κ (T_wall − T_mixed)), with the wall's temperature half a cell beyond the
/// first middle at the wall's slope q / κ.
fn flux_nusselt() -> Result<f64> {
    const FLUX: f64 = 0.02;
    let case = heated_channel(&[2, 3], Thermal::Flux(FLUX))?;
    let flow = case.solve()?;
    let temperature = flow.temperature().context("the case has no temperature")?;
    let (grid, velocity) = (&case.grid, flow.velocity());
    let column = grid.find(15.0, 0.5).context("the place is off the grid")? % grid.nx();
    let diffusivity = case.heat.as_ref().map_or(1.0, |heat| heat.diffusivity);
    let cells = (0..grid.ny()).map(|j| j * grid.nx() + column);
    let (mut heat, mut mass) = (0.0, 0.0);
    for c in cells {
        let flux = velocity[c][0] * grid.size(c)[1];
        (heat, mass) = (heat + flux * temperature[c], mass + flux);
    }
    let half = grid.size(column)[1] / 2.0;
    let wall = temperature[column] + FLUX / diffusivity * half;
    Ok(2.0 * FLUX / (diffusivity * (wall - heat / mass)))
}
