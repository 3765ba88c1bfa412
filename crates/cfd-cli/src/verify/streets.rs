//! Flow in time: vortex streets, and the gradient of a run.

use std::time::Instant;

use anyhow::Result;
use lithoburn_cfd::grid::stretched;
use lithoburn_cfd::shape::Circle;
use lithoburn_cfd::{Body, Case, Grid, March, Objective, cases};

use super::{Sheet, processor_seconds};
use crate::study::Reference;
use crate::unsteady::{Shedder, street, street_references};

/// Row 7.
pub(super) fn stream(sheet: &mut Sheet) -> Result<()> {
    for (fineness, step, grid, tolerance) in
        [(1, 0.02, "128x64", 0.03), (2, 0.015, "256x128", 0.015)]
    {
        let case = cases::cylinder(100.0, 50.0, fineness)?;
        let found = street(&case, &Shedder::stream(), 150.0, step, false)?;
        let shedding = found.forces.shedding(75.0, 8);
        for (_, name, take, reference) in street_references() {
            let value = shedding.as_ref().map_or(f64::NAN, take);
            let reference = Reference { tolerance, ..reference };
            sheet.add(format!("cylinder Re 100, {name}"), grid, value, &reference);
        }
    }
    Ok(())
}

/// Row 8.
pub(super) fn dfg(sheet: &mut Sheet) -> Result<()> {
    const SOURCE: &str = "Schäfer & Turek 1996, DFG 2D-2";
    let case = cases::dfg_at(1.5, 2)?;
    let shedder = Shedder { kick: [0.32, 0.2], size: 0.1, speed: 1.0 };
    let found = street(&case, &shedder, 6.0, 4e-4, false)?;
    let shedding = found.forces.shedding(3.0, 8);
    let value = |take: fn(&lithoburn_cfd::shedding::Shedding) -> f64| {
        shedding.as_ref().map_or(f64::NAN, take)
    };
    let band = |low, high, tolerance| Reference::band(low, high, tolerance, SOURCE);
    sheet.add("DFG 2D-2, greatest Cd", "256x128", value(|s| s.drag[2]), &band(3.22, 3.24, 0.02));
    sheet.add(
        "DFG 2D-2, greatest Cl",
        "256x128",
        value(|s| s.greatest_lift),
        &band(0.99, 1.01, 0.03),
    );
    sheet.add("DFG 2D-2, St", "256x128", value(|s| 0.1 * s.frequency), &band(0.295, 0.305, 0.01));
    Ok(())
}

const STEPS: usize = 500;
const STEP: f64 = 0.04;

/// A coarse cylinder that sheds.
fn small(viscosity: f64) -> Result<Case> {
    let x = stretched([-0.8, 1.2], 0.1, (16, -8.0), (28, 12.0));
    let y = stretched([-0.7, 0.7], 0.1, (9, -8.0), (9, 8.0));
    let body = Body::new(Circle::new(cases::OFF_GRID, 0.5)?);
    Ok(cases::stream(1.0 / viscosity, Grid::new(x, y)?, body)?)
}

/// Drag over a run from rest.
fn total(viscosity: f64) -> Result<f64> {
    let march = March::new(&small(viscosity)?, STEP)?;
    let drag = Objective::drag(1.0, 1.0);
    let (mut state, mut sum) = (march.rest(), 0.0);
    for _ in 0..STEPS {
        state = march.advance(&state)?;
        sum += STEP * march.value(&drag, &state);
    }
    Ok(sum)
}

/// What `run` returns and its seconds: those of the processor where the system tells, so that others on the machine do
/// not count.
fn timed<T>(run: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let (started, spent) = (Instant::now(), processor_seconds());
    let done = run()?;
    let ran = processor_seconds().zip(spent).map(|(now, before)| now - before);
    Ok((done, ran.unwrap_or_else(|| started.elapsed().as_secs_f64())))
}

/// Row 15.
pub(super) fn gradient(sheet: &mut Sheet) -> Result<()> {
    const VISCOSITY: f64 = 0.01;
    let (march, drag) = (March::new(&small(VISCOSITY)?, STEP)?, Objective::drag(1.0, 1.0));
    let (value, forward) = timed(|| total(VISCOSITY))?;
    let (few, both) = timed(|| Ok(march.gradient(&drag, &march.rest(), STEPS, 20)?))?;
    let all = march.gradient(&drag, &march.rest(), STEPS, STEPS)?;
    let off = (few.viscosity - all.viscosity).abs() / all.viscosity.abs();
    let exact = |limit| Reference::below(limit, "identity");
    sheet.add("500 steps, 20 states less all states", "64x32", off, &exact(1e-10));
    let remainder = |share: f64| -> Result<f64> {
        let step = share * VISCOSITY;
        Ok((total(VISCOSITY + step)? - value - step * few.viscosity).abs())
    };
    let slope = (remainder(2e-3)? / remainder(1e-3)?).log2();
    let reference = Reference::band(1.98, 2.02, 0.0, "Taylor");
    sheet.add("its Taylor slope", "64x32", slope, &reference);
    let times = (both - forward) / forward;
    sheet.add(
        "backward over forward seconds",
        "64x32",
        times,
        &Reference::below(2.5, "binomial schedule"),
    );
    Ok(())
}
