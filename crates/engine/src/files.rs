//! The files of a run: mask.png, mask.gds, report.json and overview.png, each whole or not at all.

use std::path::{Path, PathBuf};

use lithoburn_layout::{
    Frame, Layer, Layout, LayoutError, Polygon, TileGrid, gds, png, write_whole,
};
use lithoburn_litho::metrics::EpeFinding;

use crate::EngineError;
use crate::evaluate::{Evaluator, Metrics};
use crate::field::{MaskStyle, Outcome, Report, Shown, default_directory};
use lithoburn_pictures::{Scene, SiteMark, draw};

/// Layer of the mask's polygons in `mask.gds`.
pub const MASK_LAYER: Layer = Layer { layer: 1, datatype: 1 };

/// Makes sure that a directory can be written, before hours are spent on what would go there.
///
/// # Errors
///
/// [`LayoutError::Write`].
pub fn probe_directory(directory: &Path) -> Result<(), LayoutError> {
    let failed = |e| LayoutError::Write(directory.to_path_buf(), e);
    std::fs::create_dir_all(directory).map_err(failed)?;
    tempfile::tempfile_in(directory).map(|_| ()).map_err(failed)
}

impl Outcome {
    /// The directory used when the user names none.
    pub fn default_directory(layout: &str) -> PathBuf {
        default_directory(layout)
    }

    /// Writes all four files. `evaluator` knows the corners that the picture's contours are drawn at.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if a file cannot be written.
    pub fn write(&self, directory: &Path, evaluator: &Evaluator) -> Result<(), EngineError> {
        let file = |name: &str| directory.join(name);
        write_whole(&file("mask.png"), &png::encode(&self.mask)?)?;
        let layout = Layout::new(self.report.layout.clone(), self.snapped());
        let path = file("mask.gds");
        write_whole(&path, &gds::encode(&path, &layout, MASK_LAYER, self.unit_nm())?)?;
        let image = picture(&self.report, &self.worst, self.frame.origin_nm, evaluator);
        write_whole(&file("overview.png"), &image)?;
        report(&self.report, directory)
    }

    /// The polygons on whole database units.
    fn snapped(&self) -> Vec<Polygon> {
        let unit = self.unit_nm();
        let snap = |v: f64| (v / unit).round() * unit;
        let polygon =
            |p: &Polygon| Polygon::new(p.points.iter().map(|&[x, y]| [snap(x), snap(y)]).collect());
        self.polygons.iter().map(polygon).collect()
    }

    fn unit_nm(&self) -> f64 {
        unit_nm(self.report.style, &self.frame)
    }
}

/// Writes `report.json`.
pub(crate) fn report(report: &impl serde::Serialize, directory: &Path) -> Result<(), EngineError> {
    let text = serde_json::to_vec_pretty(report)
        .map_err(|e| EngineError::Setting(format!("the report has no JSON: {e}")))?;
    Ok(write_whole(&directory.join("report.json"), &text)?)
}

/// Database unit of a mask: 1 nm, or a fraction for finer layouts and for contours.
pub(crate) fn unit_nm(style: MaskStyle, frame: &Frame) -> f64 {
    if matches!(style, MaskStyle::Curvilinear { .. }) {
        return 0.1;
    }
    let on_grid = |unit: f64| {
        let whole = |nm: f64| (nm / unit - (nm / unit).round()).abs() < 1e-6;
        whole(frame.origin_nm[0]) && whole(frame.origin_nm[1]) && whole(frame.pixel_nm)
    };
    [1.0, 0.5, 0.1].into_iter().find(|&unit| on_grid(unit)).unwrap_or(0.01)
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

/// The overview of a run: one field with its images, and all numbers. `corner_nm` is the mask's first corner.
pub(crate) fn picture(
    report: &Report,
    shown: &Shown,
    corner_nm: [f64; 2],
    evaluator: &Evaluator,
) -> Vec<u8> {
    let title = format!("{} · {}", report.layout, report.model.name());
    let fields = match report.fields {
        1 => String::new(),
        n => format!(" · worst of {n} fields"),
    };
    let subtitle = format!(
        "{} ({}) · kernels {} · {} nm pixels · lithoburn {}{fields}",
        report.device, report.card, report.kernels, report.pixel_nm, report.version
    );
    let window = evaluator.window();
    let level = |dose: f64| evaluator.resist().threshold / dose;
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
    // From the whole mask's corner to the shown field's.
    let shift = [0, 1].map(|i| corner_nm[i] - shown.frame.origin_nm[i]);
    let violations: Vec<[f64; 4]> = report
        .violations
        .iter()
        .map(|v| {
            let [x0, y0] = [0, 1].map(|i| v.min_nm[i] + shift[i]);
            let [x1, y1] = [0, 1].map(|i| v.max_nm[i] + shift[i]);
            [x0, y0, x1, y1]
        })
        .collect();
    draw(&Scene {
        title: &title,
        subtitle: &subtitle,
        target: &shown.target,
        mask: &shown.mask,
        aerial: &shown.evaluation.best,
        defocus: &shown.evaluation.defocus,
        levels: [level(window.nominal.dose), level(window.outer.dose), level(window.inner.dose)],
        sites: &marks,
        violations: &violations,
        table: &report.before.table(&report.after),
        origin_nm: shown.frame.origin_nm,
    })
}

/// Areas from here on are in µm² for people.
const MOST_NM2: f64 = 1e7;
/// Of so many sites, violations are a share for people.
const MOST_SITES: usize = 10_000;

impl Metrics {
    /// Rows of name, before and after, as people read them.
    pub fn table(&self, after: &Self) -> Vec<[String; 3]> {
        // Numbers of whole layouts are too long for a column.
        let area = |v: f64| match v < MOST_NM2 {
            true => format!("{v:.0} nm²"),
            false => format!("{:.2} µm²", v * 1e-6),
        };
        let violations = |m: &Self| match m.epe_sites < MOST_SITES {
            true => format!("{} of {} sites", m.epe_violations, m.epe_sites),
            false => {
                let share = 100.0 * m.epe_violations as f64 / m.epe_sites as f64;
                let digits = if share < 10.0 { 2 } else { 0 };
                format!("{} ({share:.digits$} %)", m.epe_violations)
            }
        };
        let some =
            |v: Option<f64>, unit: &str| v.map_or("–".into(), |v| format!("{v:.0} {unit}"));
        let row =
            |name: &str, value: &dyn Fn(&Self) -> String| [name.into(), value(self), value(after)];
        vec![
            row("L2", &|m| area(m.l2_nm2)),
            row("PV band", &|m| area(m.pvb_nm2)),
            row("EPE violations", &violations),
            row("EPE mean ± 3σ", &|m| {
                format!("{:.1} ± {:.1} nm", m.epe_mean_nm, m.epe_three_sigma_nm)
            }),
            row("Shots", &|m| m.shots.to_string()),
            row("Smallest shape", &|m| some(m.min_shape_area_nm2, "nm²")),
            row("Smallest gap", &|m| some(m.min_shape_distance_nm, "nm")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_clip_and_of_a_chip_fit_their_columns() {
        let metrics = |l2_nm2, epe_violations, epe_sites| Metrics {
            l2_nm2,
            epe_violations,
            epe_sites,
            ..Metrics::default()
        };
        let cells = |m: Metrics| {
            let table = m.table(&m);
            [table[0][1].clone(), table[2][2].clone()]
        };
        assert_eq!(cells(metrics(24_542.4, 2, 85)), ["24542 nm²", "2 of 85 sites"]);
        assert_eq!(cells(metrics(95_539_486.0, 66_990, 135_786)), ["95.54 µm²", "66990 (49 %)"]);
        assert_eq!(cells(metrics(2.2e7, 237, 135_786)), ["22.00 µm²", "237 (0.17 %)"]);
    }
}
