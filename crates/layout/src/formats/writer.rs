//! Masks of any size as files: polygons written as they come.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::Format;
use super::gds::GdsWriter;
use super::header::{Header, cell_name};
use super::oasis::OasisWriter;
use crate::{Layer, LayoutError, Polygon, file};

/// Writes polygons of one layer to a GDSII or OASIS file, as its name says: into one cell, or several.
///
/// Little is kept in memory. The file is written beside and renamed by [`PolygonWriter::finish`]; without that,
/// nothing is left of it, and what a killed program leaves is taken away by the next one. The same polygons make the same bytes. Corners are rounded to database units; what has
/// no inside then is left out.
///
/// ```no_run
/// use lithoburn_layout::{Layer, Polygon, PolygonWriter};
///
/// let layer = Layer { layer: 1, datatype: 1 };
/// let mut writer = PolygonWriter::create("mask.oas".as_ref(), "MASK", layer, 1.0)?;
/// writer.add(&[Polygon::rectangle(0.0, 0.0, 80.0, 400.0)])?;
/// writer.finish()?;
/// # Ok::<(), lithoburn_layout::LayoutError>(())
/// ```
pub struct PolygonWriter {
    path: PathBuf,
    sink: Sink,
}

type Output = BufWriter<NamedTempFile>;

enum Sink {
    Gds(GdsWriter<Output>),
    Oasis(Box<OasisWriter<Output>>),
}

impl std::fmt::Debug for PolygonWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolygonWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl PolygonWriter {
    /// Begins a file with one cell, one layer and a database unit of `unit_nm`.
    ///
    /// # Errors
    ///
    /// [`LayoutError::NoWriter`] if the name does not end in .gds or .oas; [`LayoutError::Grid`] if the unit is
    /// not positive; [`LayoutError::Write`] if the folder or the file cannot be made.
    pub fn create(
        path: &Path,
        cell: &str,
        layer: Layer,
        unit_nm: f64,
    ) -> Result<Self, LayoutError> {
        let header = Header::new(path, cell, layer, unit_nm)?;
        let output = || file::part_of(path).map(|file| BufWriter::with_capacity(1 << 16, file));
        let sink = match Format::of(path) {
            Some(Format::Gds) => Sink::Gds(GdsWriter::new(output()?, &header)?),
            Some(Format::Oasis) => Sink::Oasis(Box::new(OasisWriter::new(output()?, &header)?)),
            _ => return Err(LayoutError::NoWriter(path.to_path_buf())),
        };
        Ok(Self { path: path.to_path_buf(), sink })
    }

    /// Adds polygons, in nm.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Coordinate`] if a corner does not fit 32 bits of database units; [`LayoutError::Write`] if the
    /// disk is full.
    pub fn add(&mut self, polygons: &[Polygon]) -> Result<(), LayoutError> {
        match &mut self.sink {
            Sink::Gds(sink) => sink.add(polygons),
            Sink::Oasis(sink) => sink.add(polygons),
        }
    }

    /// Begins another cell, into which polygons go from now on. No polygons go into those before.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Write`] if the disk is full.
    pub fn begin_cell(&mut self, cell: &str) -> Result<(), LayoutError> {
        let cell = cell_name(cell);
        match &mut self.sink {
            Sink::Gds(sink) => sink.begin_cell(&cell),
            Sink::Oasis(sink) => sink.begin_cell(&cell),
        }
    }

    /// Places a cell with its origin at a point, in nm, mirrored about the x axis or not.
    ///
    /// # Errors
    ///
    /// As [`PolygonWriter::add`].
    pub fn place(
        &mut self,
        cell: &str,
        at_nm: [f64; 2],
        mirrored: bool,
    ) -> Result<(), LayoutError> {
        let cell = cell_name(cell);
        match &mut self.sink {
            Sink::Gds(sink) => sink.place(&cell, at_nm, mirrored),
            Sink::Oasis(sink) => sink.place(&cell, at_nm, mirrored),
        }
    }

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Write`] if that fails.
    pub fn finish(self) -> Result<(), LayoutError> {
        let output = match self.sink {
            Sink::Gds(sink) => sink.finish()?,
            Sink::Oasis(sink) => sink.finish()?,
        };
        let failed = |e| LayoutError::Write(self.path.clone(), e);
        let file = output.into_inner().map_err(|e| failed(e.into_error()))?;
        file::keep(file, &self.path)
    }
}

#[cfg(test)]
mod tests;
