//! Flow in time: a decaying vortex, steady limits, and the discrete adjoint.

use std::f64::consts::PI;

use lithoburn_cfd::{
    Body, Case, Error, Grid, Heat, Heated, March, Objective, Profile, Side, Sides, State, Thermal,
    cases, checkpoint::forward_steps, grid::stretched, shape::Circle,
};

const VISCOSITY: f64 = 0.1;

/// Taylor–Green vortices between slip walls, which are its lines of symmetry.
fn vortex(time: f64) -> impl Fn(f64, f64) -> [f64; 2] {
    let size = (-2.0 * VISCOSITY * time).exp();
    move |x, y| [size * x.sin() * y.cos(), -size * x.cos() * y.sin()]
}

/// Root mean square error of the velocity at time one.
fn decay(n: usize, step: f64) -> Result<f64, Error> {
    let sides = Sides::new(Side::Slip, Side::Slip, Side::Slip, Side::Slip);
    let grid = Grid::uniform([0.0, PI], [0.0, PI], n, n)?;
    let case = Case::new("taylor-green", grid, sides, VISCOSITY);
    let march = March::new(&case, step)?;
    let mut state = march.start(&vortex(0.0), &vortex(-step));
    let steps = (1.0 / step).round() as usize;
    for _ in 0..steps {
        state = march.advance(&state)?;
    }
    let exact = vortex(1.0);
    let square = |(c, [u, v]): (usize, [f64; 2])| {
        let [x, y] = case.grid.centre(c);
        let [a, b] = exact(x, y);
        (u - a).powi(2) + (v - b).powi(2)
    };
    let sum: f64 = march.velocity(&state).into_iter().enumerate().map(square).sum();
    Ok((sum / case.grid.cells() as f64).sqrt())
}

#[test]
fn a_taylor_green_vortex_decays_as_it_should_to_second_order() -> Result<(), Error> {
    let errors = [decay(8, 0.1)?, decay(16, 0.05)?, decay(32, 0.025)?];
    assert!((errors[1] / errors[2]).log2() > 1.9, "{errors:?}");
    Ok(())
}

/// A cylinder that is coarse, at a Reynolds number that sheds.
fn small(viscosity: f64, centre: [f64; 2], radius: f64) -> Result<Case, Error> {
    let x = stretched([-0.8, 1.2], 0.1, (16, -8.0), (28, 12.0));
    let y = stretched([-0.7, 0.7], 0.1, (9, -8.0), (9, 8.0));
    cases::stream(1.0 / viscosity, Grid::new(x, y)?, Body::new(Circle { centre, radius }))
}

#[test]
fn time_leads_to_the_steady_flow_and_stays_there() -> Result<(), Error> {
    let case = small(0.05, cases::OFF_GRID, 0.5)?;
    let steady = case.solve()?;
    let drag = Objective::drag(1.0, 1.0);
    let march = March::new(&case, 0.04)?;
    let mut state = march.start_from(&steady)?;
    for _ in 0..20 {
        state = march.advance(&state)?;
    }
    let (there, now) = (steady.value(&drag), march.value(&drag, &state));
    assert!((there - now).abs() < 1e-9, "{there} {now}");
    Ok(())
}

const STEPS: usize = 60;
const STEP: f64 = 0.04;

fn total(case: &Case, start: Option<&State>) -> Result<f64, Error> {
    let march = March::new(case, STEP)?;
    let mut state = start.cloned().unwrap_or_else(|| march.rest());
    let mut sum = 0.0;
    for _ in 0..STEPS {
        state = march.advance(&state)?;
        sum += STEP * march.value(&Objective::drag(1.0, 1.0), &state);
    }
    Ok(sum)
}

#[test]
fn the_adjoint_in_time_has_the_slopes_of_whole_runs() -> Result<(), Error> {
    let (nu, [x, y], r) = (0.01, cases::OFF_GRID, 0.5);
    let march = March::new(&small(nu, [x, y], r)?, STEP)?;
    let gradient = march.gradient(&Objective::drag(1.0, 1.0), &march.rest(), STEPS, 8)?;
    let central = |h: f64, value: &dyn Fn(f64) -> Result<f64, Error>| -> Result<f64, Error> {
        let slope = |h: f64| -> Result<f64, Error> { Ok((value(h)? - value(-h)?) / (2.0 * h)) };
        Ok((4.0 * slope(h / 2.0)? - slope(h)?) / 3.0)
    };
    let rows = [
        (gradient.viscosity, central(2e-4, &|d| total(&small(nu + d, [x, y], r)?, None))?),
        (gradient.bodies[0][0], central(2e-4, &|d| total(&small(nu, [x + d, y], r)?, None))?),
        (gradient.bodies[0][2], central(2e-4, &|d| total(&small(nu, [x, y], r + d)?, None))?),
    ];
    for (k, (exact, difference)) in rows.into_iter().enumerate() {
        assert!(
            (exact - difference).abs() < 2e-6 * exact.abs().max(1.0),
            "{k}: {exact} {difference}"
        );
    }
    // Drag in time from rest is U² f(U t, ν/U) no more, but a factor on the stream is a plain derivative.
    let whole = total(&small(nu, [x, y], r)?, None)?;
    assert!((gradient.value - whole).abs() < 1e-10 * whole, "{} {whole}", gradient.value);
    Ok(())
}

#[test]
fn few_kept_states_give_the_gradient_of_many() -> Result<(), Error> {
    let march = March::new(&small(0.01, cases::OFF_GRID, 0.5)?, STEP)?;
    let drag = Objective::drag(1.0, 1.0);
    let all = march.gradient(&drag, &march.rest(), STEPS, STEPS)?;
    let few = march.gradient(&drag, &march.rest(), STEPS, 4)?;
    for (a, b) in all.distance.iter().zip(&few.distance) {
        assert!((a - b).abs() <= 1e-10 * a.abs().max(1.0), "{a} {b}");
    }
    assert!((all.viscosity - few.viscosity).abs() <= 1e-10 * all.viscosity.abs());
    Ok(())
}

/// Twenty states run 500 steps at most twice, and only the last stretch once.
#[test]
fn twenty_states_run_five_hundred_steps_twice_at_most() -> Result<(), Error> {
    let march = March::new(&small(0.01, cases::OFF_GRID, 0.5)?, STEP)?;
    let taken = forward_steps(500, march.memory(20));
    assert!((500..1000).contains(&taken), "{taken}");
    assert_eq!(forward_steps(500, march.memory(500)), 500);
    Ok(())
}

fn everywhere(thermal: Thermal) -> Vec<Heated> {
    vec![Heated { from: f64::NEG_INFINITY, to: f64::INFINITY, thermal }]
}

/// Root mean square distance of the temperatures from a field.
fn distance(march: &March, case: &Case, state: &State, exact: &dyn Fn(f64, f64) -> f64) -> f64 {
    let temperature = march.temperature(state).unwrap_or_default();
    let square = |(c, t): (usize, &f64)| {
        let [x, y] = case.grid.centre(c);
        (t - exact(x, y)).powi(2)
    };
    let sum: f64 = temperature.iter().enumerate().map(square).sum();
    (sum / temperature.len() as f64).sqrt()
}

/// Between cold walls the first mode sin πy of the temperature dies as exp(−κ π² t), whatever the flow along them.
fn mode(n: usize, step: f64) -> Result<f64, Error> {
    const DIFFUSIVITY: f64 = 0.1;
    let mut case = cases::channel(10.0, 1.0, n, n)?;
    [2, 3].into_iter().for_each(|side| {
        case.sides.heat[side] = everywhere(Thermal::Temperature(0.0));
    });
    case.heat = Some(Heat::forced(DIFFUSIVITY));
    let march = March::new(&case, step)?;
    let at = |time: f64| {
        let size = (-DIFFUSIVITY * PI * PI * time).exp();
        move |_: f64, y: f64| size * (PI * y).sin()
    };
    let flow = march.start_from(&case.solve()?)?;
    let mut state = march.warmed(&flow, &at(0.0), &at(-step));
    for _ in 0..(1.0 / step).round() as usize {
        state = march.advance(&state)?;
    }
    Ok(distance(&march, &case, &state, &at(1.0)))
}

#[test]
fn a_mode_of_the_temperature_dies_in_a_channel_as_it_should_to_second_order() -> Result<(), Error> {
    let errors = [mode(8, 0.1)?, mode(16, 0.05)?, mode(32, 0.025)?];
    assert!(errors[2] < 1e-3 && (errors[1] / errors[2]).log2() > 1.9, "{errors:?}");
    Ok(())
}

/// A warm spot that a uniform stream carries along and that spreads: σ² = σ₀² + 2 κ t.
fn spot(n: usize, step: f64) -> Result<f64, Error> {
    const DIFFUSIVITY: f64 = 0.01;
    let grid = Grid::uniform([0.0, 3.2], [-1.2, 1.2], 4 * n, 3 * n)?;
    let stream = Side::stream(Profile::Uniform(1.0));
    let sides = Sides::new(stream, Side::Outlet, Side::Slip, Side::Slip);
    let mut case = Case::new("spot", grid, sides, 0.1);
    case.sides.heat[0] = everywhere(Thermal::Temperature(0.0));
    case.heat = Some(Heat::forced(DIFFUSIVITY));
    let march = March::new(&case, step)?;
    let at = |time: f64| {
        let square = 0.04 + 2.0 * DIFFUSIVITY * time;
        move |x: f64, y: f64| {
            let x = x - 1.1 - time;
            0.04 / square * (-(x * x + y * y) / (2.0 * square)).exp()
        }
    };
    let along = |_: f64, _: f64| [1.0, 0.0];
    let mut state = march.warmed(&march.start(&along, &along), &at(0.0), &at(-step));
    for _ in 0..(0.8 / step).round() as usize {
        state = march.advance(&state)?;
    }
    Ok(distance(&march, &case, &state, &at(0.8)))
}

#[test]
fn a_warm_spot_is_carried_and_spreads_as_it_should_to_second_order() -> Result<(), Error> {
    let errors = [spot(8, 0.04)?, spot(16, 0.02)?, spot(32, 0.01)?];
    assert!((errors[1] / errors[2]).log2() > 1.9, "{errors:?}");
    Ok(())
}

/// Nothing but convection and the fluid's own conduction acts in the slivers of cells beside an adiabatic body: a
/// uniform temperature stays, and a spot that is swept round the body makes no extremes.
#[test]
fn an_adiabatic_body_leaves_uniform_temperatures_and_makes_no_extremes() -> Result<(), Error> {
    let mut case = small(0.01, cases::OFF_GRID, 0.5)?;
    case.heat = Some(Heat::forced(0.01));
    let march = March::new(&case, STEP)?;
    let spot = |x: f64, y: f64| (-((x + 1.6).powi(2) + y * y) / 0.18).exp();
    let uniform = |_: f64, _: f64| 1.0;
    // From the steady flow: fluid at rest beside an inlet is not free of divergence, and its first step warms.
    let steady = case.solve()?;
    let flow = march.start_from(&steady)?;
    let mut states = [march.warmed(&flow, &spot, &spot), march.warmed(&flow, &uniform, &uniform)];
    for _ in 0..150 {
        for state in &mut states {
            *state = march.advance(state)?;
        }
    }
    let fluid = steady.fluid();
    let wet = |state: &State| -> Vec<f64> {
        let temperature = march.temperature(state).unwrap_or_default().iter().zip(&fluid);
        temperature.filter(|(_, share)| **share > 0.0).map(|(t, _)| *t).collect()
    };
    let [swept, same] = states.each_ref().map(wet);
    assert!(same.iter().all(|t| (t - 1.0).abs() < 1e-9), "{same:?}");
    assert!(swept.iter().any(|&t| t > 0.1));
    assert!(swept.iter().all(|&t| (-0.1..1.0).contains(&t)), "{swept:?}");
    Ok(())
}

#[test]
fn natural_convection_stays_steady_in_time() -> Result<(), Error> {
    let case = cases::heated_cavity(1e4, Grid::clustered([0.0, 1.0], [0.0, 1.0], 20, 20, 1.2)?)?;
    let (steady, nusselt) = (case.solve()?, cases::cavity_nusselt());
    let march = March::new(&case, 5e-4)?;
    let mut state = march.start_from(&steady)?;
    for _ in 0..20 {
        state = march.advance(&state)?;
    }
    let (there, now) = (steady.value(&nusselt), march.value(&nusselt, &state));
    assert!((there - now).abs() < 1e-9 * there, "{there} {now}");
    Ok(())
}

/// A warm cylinder in a cold stream that its heat lifts.
#[derive(Clone, Copy)]
struct Warm {
    viscosity: f64,
    diffusivity: f64,
    radius: f64,
    temperature: f64,
    lift: f64,
}

impl Warm {
    const BASE: Self =
        Self { viscosity: 0.01, diffusivity: 0.014, radius: 0.5, temperature: 1.0, lift: 0.3 };

    fn march(self) -> Result<March, Error> {
        let mut case = small(self.viscosity, cases::OFF_GRID, self.radius)?;
        case.bodies[0].temperature = Some(self.temperature);
        case.sides.heat[0] = everywhere(Thermal::Temperature(0.0));
        case.heat = Some(Heat { buoyancy: [0.0, self.lift], ..Heat::forced(self.diffusivity) });
        March::new(&case, STEP)
    }
}

/// Heat and lift, so that both couplings count.
fn given_off() -> Objective {
    Objective::Sum(vec![(1.0, Objective::Heat { scale: 1.0 }), (0.5, Objective::lift(1.0, 1.0))])
}

#[test]
fn the_adjoint_of_heat_in_time_has_the_slopes_of_whole_runs() -> Result<(), Error> {
    let run = |warm: Warm| -> Result<f64, Error> {
        let march = warm.march()?;
        let (mut state, mut sum) = (march.rest(), 0.0);
        for _ in 0..STEPS {
            state = march.advance(&state)?;
            sum += STEP * march.value(&given_off(), &state);
        }
        Ok(sum)
    };
    let march = Warm::BASE.march()?;
    let gradient = march.gradient(&given_off(), &march.rest(), STEPS, 3)?;
    let by = |change: &dyn Fn(&mut Warm, f64)| -> Result<f64, Error> {
        let value = |step: f64| {
            let mut warm = Warm::BASE;
            change(&mut warm, step);
            run(warm)
        };
        let slope = |h: f64| -> Result<f64, Error> { Ok((value(h)? - value(-h)?) / (2.0 * h)) };
        Ok((4.0 * slope(1e-4)? - slope(2e-4)?) / 3.0)
    };
    let rows = [
        (gradient.viscosity, by(&|warm, d| warm.viscosity += d)?),
        (gradient.diffusivity, by(&|warm, d| warm.diffusivity += d)?),
        (gradient.bodies[0][2], by(&|warm, d| warm.radius += d)?),
        (gradient.temperature[0], by(&|warm, d| warm.temperature += d)?),
        (gradient.buoyancy[1], by(&|warm, d| warm.lift += d)?),
    ];
    for (k, (exact, difference)) in rows.into_iter().enumerate() {
        let off = (exact - difference).abs();
        assert!(off < 2e-6 * exact.abs().max(1.0), "{k}: {exact} {difference}");
    }
    let all = march.gradient(&given_off(), &march.rest(), STEPS, STEPS)?;
    assert!((all.diffusivity - gradient.diffusivity).abs() < 1e-10 * all.diffusivity.abs());
    assert!((all.value - run(Warm::BASE)?).abs() < 1e-10 * all.value.abs());
    Ok(())
}
