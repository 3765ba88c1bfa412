//! Flows that others have computed and measured.

use anyhow::Result;
use lithoburn_cfd::shape::{Circle, Naca};
use lithoburn_cfd::{Body, Flow, Objective, cases};

use super::{Sheet, peak_memory};
use crate::options::Cells;
use crate::studies::{self, Line, NUSSELT, ghia, wake, worst};
use crate::study::{Reference, Study};

/// Solves a study and compares all of its quantities that have a reference.
fn compare(sheet: &mut Sheet, name: &str, study: &Study) -> Result<Flow> {
    let flow = study.case.solve()?;
    let grid = format!("{}x{}", study.case.grid.nx(), study.case.grid.ny());
    for quantity in &study.quantities {
        if let Some(reference) = &quantity.reference {
            sheet.add(format!("{name}, {}", quantity.name), &grid, quantity.of(&flow), reference);
        }
    }
    Ok(flow)
}

/// The gradient of an objective, whose seconds are the line's; Euler's identity says that it is right.
fn differentiate(
    sheet: &mut Sheet,
    name: &str,
    grid: &str,
    flow: &Flow,
    objective: &Objective,
) -> Result<()> {
    let gradient = flow.gradient(objective)?;
    let euler = crate::check::euler(flow.case(), objective, &gradient);
    let exact = Reference::below(1e-10, "exact");
    sheet.add(format!("{name}, gradient: Euler's identity"), grid, euler, &exact);
    Ok(())
}

/// Row 2.
pub(super) fn cavities(sheet: &mut Sheet) -> Result<()> {
    for re in [100.0, 400.0] {
        let study = studies::cavity(re, Cells { x: 64, y: 64 }, 1.2)?;
        let flow = compare(sheet, &format!("Re {re}"), &study)?;
        let off = ghia(&flow, re, Line::U);
        let limit =
            Reference::below(if re < 200.0 { 0.010 } else { 0.012 }, "Ghia, Ghia & Shin 1982");
        sheet.add(format!("Re {re}, u against Ghia"), "64x64", off, &limit);
    }
    Ok(())
}

/// Row 3.
pub(super) fn cavity_1000(sheet: &mut Sheet) -> Result<()> {
    let flow = studies::cavity(1000.0, Cells { x: 128, y: 128 }, 1.2)?.case.solve()?;
    for (line, name) in [(Line::U, "Re 1000, u"), (Line::V, "Re 1000, v")] {
        let limit = Reference::below(0.0025, "Botella & Peyret 1998");
        sheet.add(name, "128x128", worst(&flow, 1000.0, line), &limit);
    }
    Ok(())
}

/// Row 4.
pub(super) fn cylinders(sheet: &mut Sheet) -> Result<()> {
    const SOURCE: &str = "limit of three grids, inside the published bands";
    for (re, drag, length) in [(20.0, 2.0233, 0.927), (40.0, 1.5124, 2.265)] {
        let flow = cases::cylinder(re, 50.0, 1)?.solve()?;
        let value = flow.value(&Objective::drag(1.0, 1.0));
        let reference = Reference::value(drag, 0.005, SOURCE);
        sheet.add(format!("cylinder Re {re}, Cd"), "128x64", value, &reference);
        let length = Reference::value(length, 0.03, SOURCE);
        sheet.add(
            format!("cylinder Re {re}, L/D"),
            "128x64",
            wake(&flow, cases::OFF_GRID, 0.5),
            &length,
        );
        let drag = Objective::drag(1.0, 1.0);
        differentiate(sheet, &format!("cylinder Re {re}, Cd"), "128x64", &flow, &drag)?;
    }
    Ok(())
}

/// Row 5: error of the box ~ 1/width, so two boxes give the value without one.
pub(super) fn unbounded(sheet: &mut Sheet) -> Result<()> {
    let mut values = Vec::new();
    for width in [25.0, 50.0] {
        let flow = cases::cylinder(40.0, width, 2)?.solve()?;
        values.push([flow.value(&Objective::drag(1.0, 1.0)), wake(&flow, cases::OFF_GRID, 0.5)]);
    }
    let limit = |i: usize| 2.0 * values[1][i] - values[0][i];
    let gautier =
        |value, tolerance| Reference::value(value, tolerance, "Gautier, Biau & Lamballais 2013");
    sheet.add("cylinder Re 40 unbounded, Cd", "256x128", limit(0), &gautier(1.4943, 0.01));
    sheet.add("cylinder Re 40 unbounded, L/D", "256x128", limit(1), &gautier(2.24, 0.02));
    Ok(())
}

/// Row 6.
pub(super) fn dfg(sheet: &mut Sheet) -> Result<()> {
    for fineness in [1, 2] {
        compare(sheet, "DFG 2D-1", &studies::dfg(fineness)?)?;
    }
    Ok(())
}

/// Row 9. The second reference of each is computed by another method on a body-fitted grid
/// (benches/runs/2026-11-26-cpu-2core-flow/airfoil_fem.py): published values at Re 500 are of compressible gas or of
/// lattice Boltzmann methods, and lie 2 % above both programs.
pub(super) fn sections(sheet: &mut Sheet) -> Result<()> {
    const ELEMENTS: &str = "body-fitted Taylor–Hood elements, 59,000 unknowns";
    for (re, value, tolerance, source, elements) in [
        (500.0, 0.176, 0.015, "Lockard 2002; Wu & Shu", 0.17241),
        (1000.0, 0.1195, 0.02, "Di Ilio 2018; Kurtulus 2015", 0.11944),
    ] {
        let flow = cases::airfoil(re, Naca::digits("0012")?, 20.0, 2)?.solve()?;
        let drag = flow.value(&Objective::drag(1.0, 1.0));
        let reference = Reference::value(value, tolerance, source);
        sheet.add(format!("NACA 0012 Re {re}, Cd"), "256x128", drag, &reference);
        let reference = Reference::value(elements, 0.005, ELEMENTS);
        sheet.add(format!("NACA 0012 Re {re}, Cd"), "256x128", drag, &reference);
        let drag = Objective::drag(1.0, 1.0);
        differentiate(sheet, &format!("NACA 0012 Re {re}, Cd"), "256x128", &flow, &drag)?;
    }
    Ok(())
}

/// Row 10: a channel with a body, and without.
pub(super) fn channels(sheet: &mut Sheet) -> Result<()> {
    let residual = Reference::below(1e-10, "converged");
    let empty = cases::channel(100.0, 2.0, 256, 128)?.solve()?.history().residual;
    sheet.add("empty channel, residual", "256x128", empty, &residual);
    let mut case = cases::channel(100.0, 2.0, 256, 128)?;
    case = case.with_body(Body::new(Circle::new([0.5013, 0.5007], 0.125)?));
    let flow = case.solve()?;
    sheet.add("channel with a body, residual", "256x128", flow.history().residual, &residual);
    differentiate(sheet, "its Cd", "256x128", &flow, &Objective::drag(1.0, 0.25))
}

/// Row 11.
pub(super) fn heated_cavities(sheet: &mut Sheet) -> Result<()> {
    for (ra, _, _) in NUSSELT {
        let study = studies::heated_cavity(ra, Cells { x: 64, y: 64 }, 1.2)?;
        compare(sheet, &format!("Ra {ra:.0e}"), &study)?;
    }
    Ok(())
}

/// Row 13.
pub(super) fn exchanger(sheet: &mut Sheet) -> Result<()> {
    let study = studies::exchanger(Cells { x: 64, y: 64 })?;
    let flow = compare(sheet, "finned channel", &study)?;
    let given = flow.value(&Objective::Heat { scale: 1.0 });
    let balance = (given - flow.enthalpy()).abs() / given.abs();
    sheet.add(
        "heat given less heat carried off",
        "64x64",
        balance,
        &Reference::below(1e-11, "exact"),
    );
    differentiate(sheet, "finned channel, heat", "64x64", &flow, &Objective::Heat { scale: 1.0 })
}

/// Row 22, the greatest grid last; the peak is that of the process so far.
pub(super) fn memory(sheet: &mut Sheet) -> Result<()> {
    for (n, limit) in [(32, 20.0), (64, 80.0), (128, 300.0), (256, 1300.0)] {
        studies::cavity(100.0, Cells { x: n, y: n }, 1.2)?.case.solve()?;
        let grid = format!("{n}x{n}");
        let peak = peak_memory().unwrap_or(f64::NAN);
        sheet.add(
            "cavity, peak MB of the process",
            &grid,
            peak,
            &Reference::below(limit, "a quarter of the published code's"),
        );
    }
    Ok(())
}
