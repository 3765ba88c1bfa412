//! Flows and temperatures that are known exactly.

use std::{f64::consts::PI, sync::Arc};

use lithoburn_cfd::{
    Body, Case, Error, Grid, Heat, Heated, Objective, Profile, Side, Sides, Thermal, cases,
    shape::{Circle, Hollow},
};

/// Root mean square error of a component over all cells, against a function of place.
fn error(case: &Case, axis: usize, exact: impl Fn(f64, f64) -> f64) -> Result<f64, Error> {
    let flow = case.solve()?;
    let (grid, velocity) = (&case.grid, flow.velocity());
    let square = |c: usize| {
        let [x, y] = grid.centre(c);
        (velocity[c][axis] - exact(x, y)).powi(2)
    };
    Ok(((0..grid.cells()).map(square).sum::<f64>() / grid.cells() as f64).sqrt())
}

/// The larger; NaN if either is.
fn worse(a: f64, b: f64) -> f64 {
    if a >= b || a.is_nan() { a } else { b }
}

/// Order of convergence from errors on grids that are twice as fine each.
fn order(errors: &[f64]) -> f64 {
    let n = errors.len();
    (errors[n - 2] / errors[n - 1]).log2()
}

/// u = y is linear, so that a second-order scheme reproduces it to round-off.
#[test]
fn couette_flow_is_exact() -> Result<(), Error> {
    let linear = || Profile::Function(Arc::new(|y: f64| y));
    let lid = Side::stream(Profile::Uniform(1.0));
    let sides = Sides::new(Side::stream(linear()), Side::Outlet, Side::wall(), lid);
    let grid = Grid::clustered([0.0, 2.0], [0.0, 1.0], 16, 16, 1.3)?;
    let error = error(&Case::new("couette", grid, sides, 0.1), 0, |_, y| y)?;
    assert!(error < 1e-12, "{error:e}");
    Ok(())
}

/// Pressure falls by 12 ν U/H² per length where the flow is developed.
#[test]
fn the_pressure_of_a_channel_falls_as_poiseuilles_does_to_second_order() -> Result<(), Error> {
    let mut errors = Vec::new();
    for n in [8, 16, 32] {
        let case = cases::channel(10.0, 2.0, 2 * n, n)?;
        let flow = case.solve()?;
        let p = flow.pressure();
        let row = n / 2 * case.grid.nx();
        let slope = (p[row + n + n / 2] - p[row + n]) / (0.25 * 2.0);
        errors.push((slope + 12.0 * case.viscosity).abs());
    }
    assert!(order(&errors) > 1.9, "{errors:?}");
    assert!(errors[2] < 2e-3 * 1.2, "{errors:?}");
    Ok(())
}

fn kovasznay(n: usize) -> Result<(Case, f64), Error> {
    const REYNOLDS: f64 = 40.0;
    let lambda = REYNOLDS / 2.0 - (REYNOLDS * REYNOLDS / 4.0 + 4.0 * PI * PI).sqrt();
    let u = move |x: f64, y: f64| 1.0 - (lambda * x).exp() * (2.0 * PI * y).cos();
    let v = move |x: f64, y: f64| lambda / (2.0 * PI) * (lambda * x).exp() * (2.0 * PI * y).sin();
    let along_y = |x: f64| {
        let (u, v) = (move |y: f64| u(x, y), move |y: f64| v(x, y));
        Side::velocity(Profile::Function(Arc::new(u)), Profile::Function(Arc::new(v)))
    };
    let along_x = |y: f64| {
        let (u, v) = (move |x: f64| u(x, y), move |x: f64| v(x, y));
        Side::velocity(Profile::Function(Arc::new(u)), Profile::Function(Arc::new(v)))
    };
    let sides = Sides::new(along_y(-0.5), along_y(1.0), along_x(-0.5), along_x(0.5));
    let grid = Grid::uniform([-0.5, 1.0], [-0.5, 0.5], 3 * n / 2, n)?;
    Ok((Case::new("kovasznay", grid, sides, 1.0 / REYNOLDS), lambda))
}

#[test]
fn kovasznay_flow_converges_to_second_order() -> Result<(), Error> {
    let mut errors = Vec::new();
    for n in [16, 32, 64] {
        let (case, lambda) = kovasznay(n)?;
        let exact = |x: f64, y: f64| 1.0 - (lambda * x).exp() * (2.0 * PI * y).cos();
        errors.push(error(&case, 0, exact)?);
    }
    assert!(order(&errors) > 1.9, "{errors:?}");
    Ok(())
}

/// Fluid between a turning and a resting cylinder: u_θ = A r + B/r. Root mean square error of the velocity.
fn annulus(n: usize, centre: [f64; 2]) -> Result<f64, Error> {
    let (inner, outer) = (0.5, 1.0);
    let grid = Grid::uniform([-1.2, 1.2], [-1.2, 1.2], n, n)?;
    let sides = Sides::new(Side::wall(), Side::wall(), Side::wall(), Side::wall());
    let circle = |radius: f64| Circle { centre, radius };
    let case = Case::new("annulus", grid, sides, 0.5)
        .with_body(Body::new(circle(inner)).turning(1.0, centre))
        .with_body(Body::new(Hollow(Box::new(circle(outer)))));
    let flow = case.solve()?;
    let (b, a) = (
        inner * inner * outer * outer / (outer * outer - inner * inner),
        -inner * inner / (outer * outer - inner * inner),
    );
    let (mut square, mut volume) = (0.0, 0.0);
    for (c, share) in flow.fluid().iter().enumerate().filter(|(_, share)| **share > 0.999) {
        let ([x, y], [u, v]) = (case.grid.centre(c), flow.velocity()[c]);
        let (x, y) = (x - centre[0], y - centre[1]);
        let r = x.hypot(y);
        let turn = a + b / (r * r);
        square += share * ((u + turn * y).powi(2) + (v - turn * x).powi(2));
        volume += share;
    }
    Ok((square / volume).sqrt())
}

#[test]
fn the_flow_between_cylinders_converges_wherever_they_lie_on_the_grid() -> Result<(), Error> {
    let shift =
        |k: usize| [0.0137 + 0.31 * (k as f64).sin(), 0.0071 + 0.31 * (2.0 * k as f64).cos()];
    let centres: Vec<[f64; 2]> = (0..10).map(|k| shift(k).map(|s| 0.1 * s)).collect();
    let mean = |n: usize| -> Result<f64, Error> {
        centres.iter().map(|&centre| annulus(n, centre)).sum::<Result<f64, Error>>()
    };
    let errors = [mean(20)?, mean(40)?, mean(80)?];
    println!("annulus: {errors:?}");
    assert!((errors[0] / errors[2]).log2() / 2.0 > 1.8, "{errors:?}");
    Ok(())
}

/// A slug of speed one: T = (exp(Pe x) − 1)/(exp(Pe) − 1), conductive flux Pe/(exp(Pe) − 1) where it enters.
#[test]
fn heat_against_a_slug_flow_has_its_exponential_profile() -> Result<(), Error> {
    let peclet = 3.0_f64;
    let stream = || Side::stream(Profile::Uniform(1.0));
    let mut errors = Vec::new();
    for n in [16, 32] {
        let mut sides = Sides::new(stream(), stream(), Side::Slip, Side::Slip);
        let all = |thermal| vec![Heated { from: -1.0, to: 2.0, thermal }];
        sides.heat[0] = all(Thermal::Temperature(0.0));
        sides.heat[1] = all(Thermal::Temperature(1.0));
        let grid = Grid::uniform([0.0, 1.0], [0.0, 1.0], n, 4)?;
        let mut case = Case::new("slug", grid, sides, 1.0);
        case.heat = Some(Heat::forced(1.0 / peclet));
        let flow = case.solve()?;
        let exact = |x: f64| ((peclet * x).exp() - 1.0) / (peclet.exp() - 1.0);
        let temperature = flow.temperature().unwrap_or_default();
        let error = |c: usize| (temperature[c] - exact(case.grid.centre(c)[0])).abs();
        errors.push((0..case.grid.cells()).map(error).fold(0.0, worse));
    }
    assert!(order(&errors) > 1.9, "{errors:?}");
    Ok(())
}

/// Nusselt numbers on twice the height where flow and temperature are developed, 32 cells across.
#[test]
fn developed_nusselt_numbers_are_those_of_the_closed_forms() -> Result<(), Error> {
    const BOTH: f64 = 7.540_701;
    const ONE: f64 = 4.860_737;
    for (walls, expected) in [(vec![2, 3], BOTH), (vec![2], ONE)] {
        let mut case = cases::channel(50.0, 20.0, 96, 32)?;
        let across = Grid::clustered([0.0, 1.0], [0.0, 1.0], 4, 32, 1.0)?;
        case.grid = Grid::new(case.grid.x().to_vec(), across.y().to_vec())?;
        let all = |thermal| vec![Heated { from: -1.0, to: 21.0, thermal }];
        case.sides.heat[0] = all(Thermal::Temperature(0.0));
        walls.iter().for_each(|&side| case.sides.heat[side] = all(Thermal::Temperature(1.0)));
        case.heat = Some(Heat::forced(case.viscosity));
        let nusselt = local_nusselt(&case, walls.len() as f64, 15.0)?;
        assert!((nusselt / expected - 1.0).abs() < 2e-3, "{nusselt} against {expected}");
    }
    Ok(())
}

/// Mean wall flux over the mean temperature's distance from the wall, from the heat that two columns of cells gain.
fn local_nusselt(case: &Case, walls: f64, x: f64) -> Result<f64, Error> {
    let flow = case.solve()?;
    let (grid, temperature) = (&case.grid, flow.temperature().unwrap_or_default());
    let column = grid.find(x, 0.5).unwrap_or(0) % grid.nx();
    let kappa = case.heat.as_ref().map_or(1.0, |heat| heat.diffusivity);
    let bulk = |i: usize| {
        (0..grid.ny()).fold((0.0, 0.0), |(heat, mass), j| {
            let c = j * grid.nx() + i;
            let flux = flow.velocity()[c][0] * grid.size(c)[1];
            (heat + flux * temperature[c], mass + flux)
        })
    };
    let step = grid.centre(column + 1)[0] - grid.centre(column - 1)[0];
    let conducted = |i: usize| -> f64 {
        let gain = |c: usize| kappa * (temperature[c + 1] - temperature[c - 1]) / step;
        (0..grid.ny()).map(|j| gain(j * grid.nx() + i) * grid.size(j * grid.nx() + i)[1]).sum()
    };
    let heat = |i: usize| bulk(i).0 - conducted(i);
    let flux = (heat(column + 1) - heat(column - 1)) / step / walls;
    let (total, mass) = bulk(column);
    Ok(2.0 * flux / (kappa * (1.0 - total / mass)))
}

/// What bodies and sides give off leaves with the fluid.
#[test]
fn heat_from_fins_and_floor_leaves_with_the_fluid() -> Result<(), Error> {
    let case = cases::exchanger(32, 32)?;
    let flow = case.solve()?;
    let heat = flow.value(&Objective::Heat { scale: 1.0 });
    let through = flow.enthalpy();
    assert!((heat - through).abs() < 1e-11 * heat, "{heat} {through}");
    Ok(())
}
