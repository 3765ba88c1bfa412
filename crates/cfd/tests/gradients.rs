//! Gradients against finite differences of whole solutions, and against the linearised flow.

use std::sync::Arc;

use lithoburn_cfd::{
    Body, Case, Change, Density, Error, Flow, Grid, Heat, Objective, Target, Thermal,
    boundary::Heated, cases, grid::stretched, shape::Circle,
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

/// Velocities near the body are to be those of half the stream, the nearer the more.
fn wake(axis: usize) -> Objective {
    let target = |x: f64, y: f64| ((-(x - 1.0).powi(2) - y * y).exp(), 0.5 + 0.1 * y);
    Objective::VelocityTarget { axis, target: Target(Arc::new(target)) }
}

#[test]
fn distance_from_a_wanted_velocity_has_the_slopes_of_whole_solutions() -> Result<(), Error> {
    let flow = base()?;
    let [x, y] = cases::OFF_GRID;
    for objective in [wake(0), wake(1)] {
        let gradient = flow.gradient(&objective)?;
        let solved = |case: Case| Ok::<_, Error>(case.solve_from(&flow)?.value(&objective));
        let step = 2e-4;
        let differences = [
            richardson(step, |d| solved(small(RADIUS, [x + d, y], 0.025)?))?,
            richardson(step, |d| solved(small(RADIUS, [x, y + d], 0.025)?))?,
            richardson(step, |d| solved(small(RADIUS + d, [x, y], 0.025)?))?,
        ];
        for (k, difference) in differences.into_iter().enumerate() {
            close(gradient.bodies[0][k], difference, 1e-6, &format!("{objective:?} {k}"));
        }
        let by_nu = richardson(step, |d| solved(small(RADIUS, [x, y], 0.025 + d)?))?;
        close(gradient.viscosity, by_nu, 1e-6, "viscosity");
        agree(&flow, &objective, 11)?;
    }
    Ok(())
}

/// A channel past a warm cylinder, with a floor that gives a flux and a ceiling that has a temperature.
#[derive(Clone, Copy)]
struct Warm {
    radius: f64,
    temperature: f64,
    viscosity: f64,
    diffusivity: f64,
}

impl Warm {
    const BASE: Self = Self { radius: 0.2, temperature: 1.0, viscosity: 0.05, diffusivity: 0.03 };

    fn case(self) -> Result<Case, Error> {
        let mut case = cases::channel(1.0 / self.viscosity, 2.0, 28, 16)?;
        let all = |thermal| vec![Heated { from: 0.0, to: 2.0, thermal }];
        case.sides.heat[0] = all(Thermal::Temperature(0.0));
        case.sides.heat[2] = vec![Heated { from: 0.5, to: 1.5, thermal: Thermal::Flux(0.02) }];
        case.sides.heat[3] = all(Thermal::Temperature(0.4));
        case.heat = Some(Heat { buoyancy: [0.0, 0.8], ..Heat::forced(self.diffusivity) });
        let circle = Circle { centre: [0.8137, 0.5071], radius: self.radius };
        Ok(case.with_body(Body::new(circle).at_temperature(self.temperature)))
    }
}

#[test]
fn heat_through_sides_has_the_slopes_of_whole_solutions() -> Result<(), Error> {
    let flow = Warm::BASE.case()?.solve()?;
    let objectives = [
        Objective::SideHeat { side: 3, scale: 2.0 },
        Objective::SideHeat { side: 2, scale: 1.0 },
        Objective::Heat { scale: 1.0 },
        Objective::MeanTemperature,
        Objective::lift(1.0, 0.4),
    ];
    for objective in objectives {
        let gradient = flow.gradient(&objective)?;
        let by = |change: &dyn Fn(&mut Warm, f64)| {
            richardson(2e-4, |step| {
                let mut warm = Warm::BASE;
                change(&mut warm, step);
                Ok(warm.case()?.solve_from(&flow)?.value(&objective))
            })
        };
        let rows = [
            (gradient.bodies[0][2], by(&|warm, d| warm.radius += d)?),
            (gradient.temperature[0], by(&|warm, d| warm.temperature += d)?),
            (gradient.viscosity, by(&|warm, d| warm.viscosity += d)?),
            (gradient.diffusivity, by(&|warm, d| warm.diffusivity += d)?),
        ];
        for (k, (exact, difference)) in rows.into_iter().enumerate() {
            close(exact, difference, 2e-6, &format!("{objective:?} {k}"));
        }
    }
    Ok(())
}

#[test]
fn kept_factors_serve_flows_with_heat() -> Result<(), Error> {
    let near = Warm { viscosity: 0.052, temperature: 1.1, ..Warm::BASE };
    let (anew, kept) =
        (near.case()?.solve()?, near.case()?.solve_keeping(Warm::BASE.case()?.solve()?)?);
    let heat = Objective::Heat { scale: 1.0 };
    let (a, b) = (anew.gradient(&heat)?, kept.gradient(&heat)?);
    close(a.value, b.value, 1e-9, "heat");
    close(a.temperature[0], b.temperature[0], 1e-8, "temperature");
    close(a.diffusivity, b.diffusivity, 1e-8, "diffusivity");
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
