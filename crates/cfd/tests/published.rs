//! Flows that others have computed and measured. Tables are read from the reference folder; without it tests say
//! *skipped*.

use lithoburn_cfd::{Case, Error, Flow, Grid, Objective, cases};

use crate::golden::table;

/// Largest distance from a column of the cavity's table: `(u, v)`.
fn cavity_error(flow: &Flow, text: &str, reynolds: &str, column: usize) -> (f64, f64) {
    let mut worst = (0.0_f64, 0.0_f64);
    for line in text.lines().filter(|line| line.starts_with(&format!("{reynolds},"))) {
        let cells: Vec<&str> = line.split(',').collect();
        let (Ok(s), Ok(value)) = (cells[2].parse::<f64>(), cells[column].parse::<f64>()) else {
            continue;
        };
        let along_u = cells[1] == "u";
        let computed =
            if along_u { flow.velocity_at(0, 0.5, s) } else { flow.velocity_at(1, s, 0.5) };
        let error = (computed - value).abs();
        assert!(error.is_finite());
        if along_u { worst.0 = worst.0.max(error) } else { worst.1 = worst.1.max(error) }
    }
    worst
}

#[test]
fn the_cavity_at_100_and_400_is_that_of_the_tables() -> Result<(), Error> {
    let Some(text) = table("cavity.csv") else { return Ok(()) };
    for (reynolds, near, ghia) in [(100.0, 0.004, 0.010), (400.0, 0.008, 0.012)] {
        let flow = cases::cavity(reynolds, Grid::clustered([0.0, 1.0], [0.0, 1.0], 64, 64, 1.2)?)?
            .solve()?;
        let (u, v) = cavity_error(&flow, &text, &format!("{reynolds}"), 5);
        println!("Re {reynolds}: {u:.4} {v:.4}");
        assert!(u < near && v < near, "Re {reynolds}: {u} {v}");
        let (u, _) = cavity_error(&flow, &text, &format!("{reynolds}"), 3);
        assert!(u < ghia, "Re {reynolds}, Ghia: {u}");
    }
    Ok(())
}

/// Free-stream limits of this scheme at ±50 D; the literature's bands hold them (2.00–2.06, 1.49–1.54).
#[test]
fn a_cylinder_has_its_drag_and_its_force_is_homogeneous() -> Result<(), Error> {
    for (reynolds, limit) in [(20.0, 2.0233), (40.0, 1.5124)] {
        let flow = cases::cylinder(reynolds, 50.0, 1)?.solve()?;
        let drag = flow.gradient(&Objective::drag(1.0, 1.0))?;
        assert!((drag.value / limit - 1.0).abs() < 5e-3, "Re {reynolds}: {}", drag.value);
        // Any force is U² f(U/ν): Euler's identity holds in the discrete equations.
        let euler = drag.speed + flow.case().viscosity * drag.viscosity;
        assert!((euler / (2.0 * drag.value) - 1.0).abs() < 1e-11, "{euler} {}", drag.value);
    }
    Ok(())
}

#[test]
fn the_dfg_cylinder_has_its_drag_lift_and_pressure_difference() -> Result<(), Error> {
    let flow = cases::dfg(1)?.solve()?;
    let ends = Objective::PressureBetween { from: [0.15, 0.2], to: [0.25, 0.2] };
    let rows = [
        (flow.value(&Objective::drag(0.2, 0.1)), 5.579_535, 0.007),
        (flow.value(&Objective::lift(0.2, 0.1)), 0.010_618_9, 0.02),
        (flow.value(&ends), 0.117_520_2, 0.025),
    ];
    for (value, reference, tolerance) in rows {
        assert!((value / reference - 1.0).abs() < tolerance, "{value} against {reference}");
    }
    Ok(())
}

/// Nusselt numbers of the heated cavity, Richardson-extrapolated; de Vahl Davis and Le Quéré agree with them.
#[test]
fn the_heated_cavity_has_its_nusselt_numbers() -> Result<(), Error> {
    for (rayleigh, nusselt, tolerance) in
        [(1e3, 1.1178, 1e-3), (1e4, 2.2448, 1e-3), (1e5, 4.5216, 3e-3), (1e6, 8.8253, 7e-3)]
    {
        let grid = Grid::clustered([0.0, 1.0], [0.0, 1.0], 64, 64, 1.2)?;
        let flow = cases::heated_cavity(rayleigh, grid)?.solve()?;
        let value = flow.value(&cases::cavity_nusselt());
        println!("Ra {rayleigh:e}: {value}");
        assert!((value / nusselt - 1.0).abs() < tolerance, "Ra {rayleigh:e}: {value}");
    }
    Ok(())
}

#[test]
fn the_finned_channel_lies_in_its_band() -> Result<(), Error> {
    let flow = cases::exchanger(64, 64)?.solve()?;
    let case: &Case = flow.case();
    let conductivity = case.heat.as_ref().map_or(1.0, |heat| heat.diffusivity);
    let nusselt = flow.value(&Objective::Heat { scale: 1.0 / conductivity });
    let drop = flow.value(&Objective::PressureDrop { from: 0, to: 1 });
    println!("Nu {nusselt} dp {drop}");
    assert!((6.8..7.2).contains(&nusselt), "{nusselt}");
    assert!((1.01..1.05).contains(&drop), "{drop}");
    Ok(())
}
