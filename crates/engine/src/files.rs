//! The files of a run, each whole or not at all, and where they go.

use std::path::{Path, PathBuf};

use lithoburn_layout::{TileGrid, write_whole};
use lithoburn_litho::Process;
use lithoburn_litho::metrics::EpeFinding;
use lithoburn_pictures::{Scene, SiteMark, draw};
use tracing::info_span;

use crate::EngineError;
use crate::evaluate::Shown;
use crate::report::Report;
use crate::tiles::folder::Folder;

/// Where a run leaves its files by default: `out/NAME`. A [`Library`](lithoburn_layout::Library)'s name says which cell and layer of its
/// file were asked for, so that two of them do not overwrite each other.
pub fn default_directory(layout: &str) -> PathBuf {
    Path::new("out").join(layout)
}

/// Writes `report.json`.
pub(crate) fn report(report: &impl serde::Serialize, folder: &Folder) -> Result<(), EngineError> {
    let text = serde_json::to_vec_pretty(report)
        .map_err(|e| EngineError::Setting(format!("the report has no JSON: {e}")))?;
    Ok(write_whole(&folder.file("report.json"), &text)?)
}

/// The same fields with pixels of another size.
pub(crate) fn rescaled(grid: &TileGrid, pixel_nm: f64) -> Result<TileGrid, EngineError> {
    let scaled = |pixels: usize| pixels as f64 * grid.pixel_nm / pixel_nm;
    let (field, halo) = (scaled(grid.field), scaled(grid.halo));
    if (field - field.round()).abs() > 1e-6 || (halo - halo.round()).abs() > 1e-6 {
        return Err(EngineError::Setting(format!(
            "the halo is no whole number of the mask's pixels of {pixel_nm} nm"
        )));
    }
    Ok(TileGrid { field: field.round() as usize, halo: halo.round() as usize, pixel_nm, ..*grid })
}

/// The overview of a run: one field with its images, and all numbers.
///
/// # Errors
///
/// [`EngineError::Picture`] if memory does not hold it.
pub(crate) fn picture(report: &Report, shown: &Shown) -> Result<Vec<u8>, EngineError> {
    let _span = info_span!("picture").entered();
    let title = format!("{} · {}", report.layout, report.model.model.name());
    let fields = match report.fields {
        1 => String::new(),
        n => format!(" · worst of {n} fields"),
    };
    let subtitle = format!(
        "{} ({}) · kernels {} · {} nm pixels · lithoburn {}{fields}",
        report.device, report.card, report.kernels, report.pixel_nm, report.version
    );
    let Process { window, resist, .. } = report.process;
    let level = |dose: f64| resist.threshold / dose;
    let pixel = shown.target.pixel_nm;
    let marks: Vec<SiteMark> = shown
        .evaluation
        .sites
        .iter()
        .map(|(site, finding)| SiteMark {
            at_nm: site.at.map(|v| (v as f64 + 0.5) * pixel),
            inside_missing: matches!(finding, EpeFinding::Inside | EpeFinding::Both),
            outside_printed: matches!(finding, EpeFinding::Outside | EpeFinding::Both),
        })
        .collect();
    // From the layout's coordinates to the field's.
    let placed = |at: [f64; 2]| [0, 1].map(|i| at[i] - shown.frame.origin_nm[i]);
    let violations: Vec<[f64; 4]> = report
        .violations
        .iter()
        .map(|v| {
            let ([x0, y0], [x1, y1]) = (placed(v.min_nm), placed(v.max_nm));
            [x0, y0, x1, y1]
        })
        .collect();
    let (before, after) = (report.before.unwrap_or_default(), report.after.unwrap_or_default());
    Ok(draw(&Scene {
        title: &title,
        subtitle: &subtitle,
        target: &shown.target,
        mask: &shown.mask,
        aerial: &shown.evaluation.best,
        defocus: &shown.evaluation.defocus,
        levels: [level(window.nominal.dose), level(window.outer.dose), level(window.inner.dose)],
        sites: &marks,
        violations: &violations,
        table: &before.table(&after),
        origin_nm: shown.frame.origin_nm,
        core_nm: shown.core_nm,
    })?)
}
