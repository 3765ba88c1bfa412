//! Files of any format as libraries.

use std::path::Path;

use super::{Format, gds, glp, oasis, png};
use crate::{Layout, LayoutError, Library, ReadOptions, file};

impl Library {
    /// Reads a `.gds`, `.oas`, `.glp` or `.png` file.
    ///
    /// # Errors
    ///
    /// [`LayoutError`], naming the file and what was expected of it: it is missing, empty or
    /// truncated, its format is unknown, its cell or layer is not there, or it has no polygon.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, LayoutError> {
        if Format::of(path) == Some(Format::Gds) {
            let (input, bytes) = file::open(path)?;
            return gds::read(path, input, bytes, options);
        }
        Self::from_bytes(path, &file::read(path)?, options)
    }

    /// Reads a file's content; its name says which format it has.
    ///
    /// # Errors
    ///
    /// As [`Library::read`].
    pub fn from_bytes(
        path: &Path,
        bytes: &[u8],
        options: &ReadOptions,
    ) -> Result<Self, LayoutError> {
        match Format::of(path) {
            Some(Format::Gds) => gds::read(path, bytes, bytes.len() as u64, options),
            Some(Format::Oasis) => oasis::read(path, bytes, options),
            Some(Format::Glp) => Self::flat(path, "GLP", &glp::parse(path, bytes)?, 1.0),
            Some(Format::Png) => {
                png::check_pixel(options.pixel_nm)?;
                // In pixels, which are whole numbers.
                let image = png::parse(path, bytes, 1.0)?;
                Self::flat(path, "PNG", &image, options.pixel_nm)
            }
            None => Err(LayoutError::UnknownFormat(path.to_path_buf())),
        }
    }
}

impl Layout {
    /// Reads a `.gds`, `.oas`, `.glp` or `.png` file, flat. [`Library`] is for those that are large.
    ///
    /// # Errors
    ///
    /// As [`Library::read`] and [`Library::flatten`].
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, LayoutError> {
        Library::read(path, options)?.flatten()
    }
}
