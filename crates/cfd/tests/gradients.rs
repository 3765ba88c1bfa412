//! Gradients against finite differences of whole solutions, and against the linearised flow.

use lithoburn_cfd::{
    Body, Case, Change, Density, Error, Flow, Grid, Heat, Objective, Thermal, boundary::Heated,
    cases, grid::stretched, shape::Circle,
};

const RADIUS: f64 = 0.5;

/// A cylinder in a box that is small and coarse, so that many solutions take seconds.
fn small(radius: f64, centre: [f64; 2], viscosity: f64) -> Result<Case, Error> {
    let x = stretched([-0.8, 1.2], 0.1, (12, -8.0), (16, 12.0));
    let y = stretched([-0.8, 0.8], 0.1, (10, -8.0), (10, 8.0));
    let body = Body::new(Circle { centre, radius });
    cases::stream(1.0 / viscosity, Grid::new(x, y)?, body)
}

fn base() -> Result<Flow, Error> {
    small(RADIUS, cases::OFF_GRID, 0.025)?.solve()
}

/// Central difference, extrapolated from two steps: the error is of fourth order.
fn richardson(step: f64, value: impl Fn(f64) -> Result<f64, Error>) -> Result<f64, Error> {
    let central = |h: f64| -> Result<f64, Error> { Ok((value(h)? - value(-h)?) / (2.0 * h)) };
    Ok((4.0 * central(step / 2.0)? - central(step)?) / 3.0)
}

fn close(exact: f64, other: f64, tolerance: f64, what: &str) {
    let scale = exact.abs().max(1e-2);
    assert!((exact - other).abs() <= tolerance * scale, "{what}: {exact} against {other}");
}

#[test]
fn drag_and_lift_have_the_slopes_of_whole_solutions() -> Result<(), Error> {
    let flow = base()?;
    let [x, y] = cases::OFF_GRID;
    for objective in [Objective::drag(1.0, 1.0), Objective::lift(1.0, 1.0), Objective::Dissipation]
    {
        let gradient = flow.gradient(&objective)?;
        let solved = |case: Case| Ok::<_, Error>(case.solve_from(&flow)?.value(&objective));
        let step = 2e-4;
        let by_x = richardson(step, |d| solved(small(RADIUS, [x + d, y], 0.025)?))?;
        let by_y = richardson(step, |d| solved(small(RADIUS, [x, y + d], 0.025)?))?;
        let by_r = richardson(step, |d| solved(small(RADIUS + d, [x, y], 0.025)?))?;
        let by_nu = richardson(step, |d| solved(small(RADIUS, [x, y], 0.025 + d)?))?;
        for (k, difference) in [by_x, by_y, by_r].into_iter().enumerate() {
            close(gradient.bodies[0][k], difference, 1e-6, &format!("{objective:?} {k}"));
        }
        close(gradient.viscosity, by_nu, 1e-6, "viscosity");
    }
    Ok(())
}

/// Pseudo-random numbers between −1 and 1.
fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn agree(flow: &Flow, objective: &Objective, seed: u64) -> Result<(), Error> {
    let gradient = flow.gradient(objective)?;
    let distance = noise(gradient.distance.len(), seed);
    let density = noise(gradient.density.len(), seed + 1);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let changes = [
        (dot(&gradient.distance, &distance), Change { distance, ..Change::default() }),
        (gradient.viscosity, Change { viscosity: 1.0, ..Change::default() }),
        (gradient.speed, Change { speed: 1.0, ..Change::default() }),
        (dot(&gradient.density, &density), Change { density, ..Change::default() }),
    ];
    for (k, (adjoint, change)) in changes.iter().enumerate() {
        let tangent = flow.tangent(objective, change)?;
        close(tangent, *adjoint, 1e-10, &format!("{objective:?}, change {k}"));
    }
    Ok(())
}

#[test]
fn the_adjoint_is_the_transpose_of_the_linearised_flow() -> Result<(), Error> {
    let flow = base()?;
    let objectives = [
        Objective::drag(1.0, 1.0),
        Objective::lift(1.0, 1.0),
        Objective::PressureDrop { from: 0, to: 1 },
        Objective::Dissipation,
    ];
    objectives.iter().enumerate().try_for_each(|(k, o)| agree(&flow, o, k as u64 + 1))
}

#[test]
fn the_adjoint_of_heat_is_the_transpose_of_the_linearised_flow() -> Result<(), Error> {
    let flow = cases::exchanger(32, 32)?.solve()?;
    for objective in [Objective::Heat { scale: 1.0 }, Objective::MeanTemperature] {
        agree(&flow, &objective, 7)?;
    }
    let square = Grid::clustered([0.0, 1.0], [0.0, 1.0], 24, 24, 1.2)?;
    let flow = cases::heated_cavity(1e4, square)?.solve()?;
    agree(&flow, &cases::cavity_nusselt(), 9)
}

/// Porous solid that conducts, in a channel.
fn porous(design: Vec<f64>) -> Result<Case, Error> {
    let mut case = cases::channel(20.0, 2.0, 16, 12)?;
    case.density = Some(Density { design, least: 0.0, most: 50.0, penalty: 0.3 });
    case.sides.heat[0] = vec![Heated { from: 0.0, to: 1.0, thermal: Thermal::Temperature(0.0) }];
    case.sides.heat[2] = vec![Heated { from: 0.5, to: 1.5, thermal: Thermal::Temperature(1.0) }];
    case.heat = Some(Heat { solid: Some((0.4, 1.0)), ..Heat::forced(0.05) });
    Ok(case)
}

#[test]
fn designs_by_density_have_the_slopes_of_whole_solutions() -> Result<(), Error> {
    let design: Vec<f64> = noise(16 * 12, 5).iter().map(|r| 0.5 + 0.4 * r).collect();
    let flow = porous(design.clone())?.solve()?;
    let objectives = [
        Objective::Heat { scale: 1.0 },
        Objective::PressureDrop { from: 0, to: 1 },
        Objective::Dissipation,
        Objective::MeanTemperature,
        Objective::drag(1.0, 1.0),
    ];
    for objective in objectives {
        let gradient = flow.gradient(&objective)?;
        for c in [20, 77, 150] {
            let value = |step: f64| {
                let mut design = design.clone();
                design[c] += step;
                Ok(porous(design)?.solve_from(&flow)?.value(&objective))
            };
            let difference = richardson(1e-3, value)?;
            close(gradient.density[c], difference, 1e-6, &format!("{objective:?} cell {c}"));
        }
    }
    Ok(())
}

/// Factors of Re 40 serve Re 36 in both directions, though no new ones are made.
#[test]
fn kept_factors_give_the_flow_and_the_gradient_of_new_ones() -> Result<(), Error> {
    let case = small(RADIUS, cases::OFF_GRID, 1.0 / 36.0)?;
    let (anew, kept) = (case.solve()?, case.solve_keeping(base()?)?);
    let drag = Objective::drag(1.0, 1.0);
    let (a, b) = (anew.gradient(&drag)?, kept.gradient(&drag)?);
    close(a.value, b.value, 1e-9, "drag");
    close(a.viscosity, b.viscosity, 1e-8, "viscosity");
    close(a.bodies[0][2], b.bodies[0][2], 1e-8, "radius");
    let moved = small(RADIUS, [0.2, 0.1], 1.0 / 36.0)?;
    assert!(moved.solve_keeping(base()?).is_err());
    Ok(())
}
