//! Identities that hold to round-off: gradients, balances, and what should not change.

use anyhow::{Context, Result};
use lithoburn_cfd::shape::Circle;
use lithoburn_cfd::{Body, Objective, cases};

use super::Sheet;
use crate::check::{CheckCase, findings};
use crate::study::Reference;

/// Row 14.
pub(super) fn identities(sheet: &mut Sheet) -> Result<()> {
    use CheckCase::{Airfoil, Cavity, Cylinder, Dfg, Exchanger, HeatedCavity};
    for case in [Cavity, HeatedCavity, Cylinder, Dfg, Airfoil, Exchanger] {
        let study = case.study()?;
        let grid = format!("{}x{}", study.case.grid.nx(), study.case.grid.ny());
        let found = findings(&study)?;
        let worst = |value: fn(&crate::check::Finding) -> f64| {
            let values = found.iter().map(value);
            values.fold(0.0, |most: f64, v| if v <= most { most } else { v })
        };
        let name = |what: &str| format!("{}, {what}", study.name);
        let exact = Reference::below(1e-11, "identity");
        sheet.add(name("Euler's identity"), &grid, worst(|f| f.euler), &exact);
        sheet.add(name("gradient less tangent"), &grid, worst(|f| f.tangent), &exact);
        let off = worst(|f| (f.slopes[1] - 2.0).abs());
        sheet.add(name("Taylor slope less 2"), &grid, off, &Reference::below(0.1, "Taylor"));
    }
    Ok(())
}

/// Row 16: the force on a body against the momentum through a box, in a channel whose walls take no part: slip.
pub(super) fn balances(sheet: &mut Sheet) -> Result<()> {
    let flow = cases::cylinder(40.0, 50.0, 1)?.solve()?;
    let force = flow.value(&Objective::Force { along: [1.0, 0.0], scale: 1.0 });
    let exact = Reference::below(1e-11, "identity");
    for (name, margin) in [("near", 0.3), ("far", 20.0)] {
        let low = [-0.6 - margin, -0.6 - margin];
        let high = [0.7 + margin, 0.6 + margin];
        let through = flow.momentum_balance(low, high).context("the box is off the grid")?;
        let off = (through[0] - force).abs() / force.abs();
        sheet.add(format!("drag less momentum through a box, {name}"), "128x64", off, &exact);
    }
    sheet.add("largest loss of mass of a cell", "128x64", flow.mass_loss(), &exact);
    Ok(())
}

/// Row 17.
pub(super) fn shifts(sheet: &mut Sheet) -> Result<()> {
    let base = cases::cylinder(40.0, 50.0, 1)?;
    let start = base.solve()?;
    let mut drags = Vec::new();
    for k in 0..20 {
        let place = |factor: f64| 0.05 * ((factor * f64::from(k + 1)).fract() - 0.5);
        let mut case = base.clone();
        case.bodies = vec![Body::new(Circle::new([place(0.618_034), place(0.754_878)], 0.5)?)];
        drags.push(case.solve_from(&start)?.value(&Objective::drag(1.0, 1.0)));
    }
    let least = drags.iter().copied().fold(f64::INFINITY, f64::min);
    let most = drags.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let nan = drags.iter().any(|d| d.is_nan());
    let spread = if nan { f64::NAN } else { (most - least) / least };
    sheet.add("Cd of 20 places, spread", "128x64", spread, &Reference::below(0.0015, "no change"));
    Ok(())
}
