//! Flow in time: a decaying vortex, steady limits, and the discrete adjoint.

use std::f64::consts::PI;

use lithoburn_cfd::{
    Body, Case, Error, Grid, March, Objective, Side, Sides, State, cases, grid::stretched,
    shape::Circle,
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
