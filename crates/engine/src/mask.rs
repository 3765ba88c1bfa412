//! A corrected mask of one field.

use std::path::Path;

use lithoburn_layout::{Frame, Layout, Polygon, Raster, gds, png, write_whole};
use tracing::info_span;

use crate::EngineError;
use crate::evaluate::{Evaluation, Metrics, Shown};
use crate::files;
use crate::report::Report;
use crate::style::MASK_LAYER;
use crate::tiles::folder::Folder;

/// What a correction found: the mask, how it prints, and its numbers.
#[derive(Clone, Debug)]
pub struct Mask {
    pub(crate) report: Report,
    pub(crate) polygons: Vec<Polygon>,
    /// Where the mask lies.
    pub(crate) frame: Frame,
    pub(crate) shown: Shown,
}

impl Mask {
    /// The mask's numbers: L2, PV band, EPE, shots.
    pub fn metrics(&self) -> Metrics {
        self.report.after.unwrap_or_default()
    }

    /// Those of the design used as mask.
    pub fn metrics_before(&self) -> Metrics {
        self.report.before.unwrap_or_default()
    }

    /// Outlines of the open parts in the layout's coordinates, in nm. Holes are cut open.
    pub fn polygons(&self) -> &[Polygon] {
        &self.polygons
    }

    /// The open parts as pixels, 0 to 1.
    pub fn raster(&self) -> &Raster {
        &self.shown.mask
    }

    /// Where the pixels lie on the layout.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The design on its pixels.
    pub fn target(&self) -> &Raster {
        &self.shown.target
    }

    /// Images, prints and edges.
    pub fn evaluation(&self) -> &Evaluation {
        &self.shown.evaluation
    }

    /// Everything that `report.json` holds.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Writes `mask.gds`, `mask.png`, `overview.png` and `report.json` into a directory, which is made if need be.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if a file cannot be written, [`EngineError::Setting`] if another run writes there.
    pub fn write(&self, directory: impl AsRef<Path>) -> Result<(), EngineError> {
        self.write_in(&Folder::claim(directory.as_ref())?)
    }

    pub(crate) fn write_in(&self, folder: &Folder) -> Result<(), EngineError> {
        let _span = info_span!("write").entered();
        let (picture, mask) = rayon::join(|| self.picture(folder), || self.mask(folder));
        mask?;
        picture?;
        // Last: with it a run is done.
        files::report(&self.report, folder)
    }

    /// Writes what the mask is.
    fn mask(&self, folder: &Folder) -> Result<(), EngineError> {
        write_whole(&folder.file("mask.png"), &png::encode(self.raster())?)?;
        let unit_nm = self.report.style.unit_nm(&self.frame);
        let layout = Layout::new(self.report.layout.clone(), self.snapped(unit_nm));
        let path = folder.file("mask.gds");
        Ok(write_whole(&path, &gds::encode(&path, &layout, MASK_LAYER, unit_nm)?)?)
    }

    /// Writes how it prints.
    fn picture(&self, folder: &Folder) -> Result<(), EngineError> {
        let image = files::picture(&self.report, &self.shown)?;
        Ok(write_whole(&folder.file("overview.png"), &image)?)
    }

    /// The polygons on whole database units.
    fn snapped(&self, unit_nm: f64) -> Vec<Polygon> {
        let snap = |v: f64| (v / unit_nm).round() * unit_nm;
        let polygon =
            |p: &Polygon| Polygon::new(p.points.iter().map(|&[x, y]| [snap(x), snap(y)]).collect());
        self.polygons.iter().map(polygon).collect()
    }
}
