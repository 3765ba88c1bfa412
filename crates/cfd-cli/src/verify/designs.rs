//! Designs that the gradients find.

use anyhow::Result;
use lithoburn_cfd::optimize::End;

use super::Sheet;
use crate::optimize::{Descent, density, inflow, section, shape};
use crate::study::Reference;

fn quiet(iterations: usize) -> Descent {
    Descent { iterations, finer: true, loud: false }
}

/// Row 18.
pub(super) fn shape(sheet: &mut Sheet) -> Result<()> {
    let found = shape::least_drag(&quiet(60))?;
    let lower = |pair: [f64; 2]| 1.0 - pair[1] / pair[0];
    let bar = Reference::band(0.22, 1.0, 0.0, "ellipse of 3 : 1 has 0.23");
    sheet.add("least drag, below the circle's", "128x64", lower([found.before, found.after]), &bar);
    sheet.add("the same outline", "256x128", found.finer.map_or(f64::NAN, lower), &bar);
    Ok(())
}

/// Row 19.
pub(super) fn section(sheet: &mut Sheet) -> Result<()> {
    let found = section::best(&quiet(40))?;
    let better = |pair: [f64; 2]| pair[1] / pair[0] - 1.0;
    let bar = Reference::band(0.15, 10.0, 0.0, "0012 at its best angle");
    sheet.add("lift / drag, above 0012's", "128x64", better([found.before, found.after]), &bar);
    sheet.add("the same section", "256x128", found.finer.map_or(f64::NAN, better), &bar);
    Ok(())
}

/// Row 20.
pub(super) fn double_pipe(sheet: &mut Sheet) -> Result<()> {
    const SOURCE: &str = "Borrvall & Petersson 2003; Alexandersen 2023";
    for (length, limit, channels) in [(1.0, 26.0, 2.0), (1.5, 28.5, 1.0)] {
        let found = density::double_pipe(length, &quiet(100))?;
        let grid = if length > 1.0 { "153x102" } else { "102x102" };
        let name = format!("double pipe of length {length}");
        sheet.add(
            format!("{name}, dissipation"),
            grid,
            found.after,
            &Reference::below(limit, SOURCE),
        );
        let middle = found.design[0].1;
        sheet.add(
            format!("{name}, channels in the middle"),
            grid,
            middle,
            &Reference::value(channels, 0.0, SOURCE),
        );
        if length > 1.0 {
            let bar = Reference::below(0.65, "closed form of straight pipes, 48");
            sheet.add(format!("{name}, over straight pipes"), grid, found.after / 48.0, &bar);
            // Walls by density leak, so that straight pipes of this program lose less than 48.
            let own = Reference::below(1.0, "straight pipes, the same program");
            let share = found.after / found.before;
            sheet.add(format!("{name}, over this program's"), grid, share, &own);
        }
    }
    Ok(())
}

/// Row 21.
pub(super) fn exchanger(sheet: &mut Sheet) -> Result<()> {
    let found = density::exchanger(&quiet(80))?;
    let times = found.finer.map_or(f64::NAN, |[fins, ribs]| ribs / fins);
    let bar = Reference::band(1.3, 10.0, 0.0, "two fins at the same pressure drop");
    sheet.add("heat of ribs with sharp walls, times the fins'", "128x128", times, &bar);
    let drop = found.design.get(1).map_or(f64::NAN, |(_, drop)| *drop);
    let equal = Reference::below(1.02, "two fins");
    sheet.add("their pressure drop, times the fins'", "128x128", drop, &equal);
    Ok(())
}

/// Row 23.
pub(super) fn mosaic(sheet: &mut Sheet) -> Result<()> {
    let found = inflow::least_drag(&quiet(100))?;
    let converged = f64::from(u8::from(found.optimum.end == End::Converged));
    let bar = Reference::value(1.0, 0.0, "Mosaic 2026: Adam does not converge in 250");
    sheet.add("inflow of least drag, converged", "32x32", converged, &bar);
    let share = found.after / found.before;
    sheet.add(
        "its drag over a uniform inflow's",
        "32x32",
        share,
        &Reference::below(1.0, "the start"),
    );
    Ok(())
}
