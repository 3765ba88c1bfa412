//! Files of any format as libraries.

use std::io::{BufRead, Read};
use std::path::Path;

use super::{Format, gds, glp, oasis, png};
use crate::file::{self, Source};
use crate::library::Builder;
use crate::{Contents, Layout, LayoutError, Library, ReadOptions};

/// First bytes by which a format is known.
const HEAD: usize = 64;

impl Library {
    /// Reads a `.gds`, `.oas`, `.glp` or `.png` file; with another ending, what its first bytes say that it is.
    ///
    /// # Errors
    ///
    /// [`LayoutError`], naming the file and what was expected of it: it is missing, empty or
    /// truncated, its format is unknown, its cell or layer is not there, or it has no polygon.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, LayoutError> {
        open(path, options)?.finish()
    }

    /// Reads a file's content; its name says which format it has, or else its first bytes.
    ///
    /// # Errors
    ///
    /// As [`Library::read`].
    pub fn from_bytes(
        path: &Path,
        bytes: &[u8],
        options: &ReadOptions,
    ) -> Result<Self, LayoutError> {
        parse(path, bytes, Format::of(path), options)?.finish()
    }

    /// Reads what a program passes on, such as standard input; `name` stands for it in messages, and says the format
    /// if none is given.
    ///
    /// # Errors
    ///
    /// As [`Library::read`]; [`LayoutError::TooMuch`] beyond 4 GiB.
    pub fn read_from(
        input: impl Read,
        name: &Path,
        format: Option<Format>,
        options: &ReadOptions,
    ) -> Result<Self, LayoutError> {
        let bytes = file::all(input, name)?;
        parse(name, &bytes, format.or_else(|| Format::of(name)), options)?.finish()
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

impl Contents {
    /// Looks at a file as [`Library::read`] does, without choosing a cell or a layer.
    ///
    /// `pixel_nm` is the side of a PNG's pixel.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if the file is missing, damaged or too large. One without polygons is none.
    pub fn read(path: &Path, pixel_nm: f64) -> Result<Self, LayoutError> {
        open(path, &ReadOptions { pixel_nm, ..ReadOptions::default() })?.contents()
    }

    /// As [`Contents::read`] of what a program passes on; see [`Library::read_from`].
    ///
    /// # Errors
    ///
    /// As [`Contents::read`].
    pub fn read_from(
        input: impl Read,
        name: &Path,
        format: Option<Format>,
        pixel_nm: f64,
    ) -> Result<Self, LayoutError> {
        let bytes = file::all(input, name)?;
        let options = ReadOptions { pixel_nm, ..ReadOptions::default() };
        parse(name, &bytes, format.or_else(|| Format::of(name)), &options)?.contents()
    }
}

fn open(path: &Path, options: &ReadOptions) -> Result<Builder, LayoutError> {
    let (mut input, bytes) = match file::open(path)? {
        Source::File(input, bytes) => (input, bytes),
        Source::Stream(input) => {
            return parse(path, &file::all(input, path)?, Format::of(path), options);
        }
    };
    let unreadable = |error| LayoutError::Read(path.to_path_buf(), error);
    let head = input.fill_buf().map_err(unreadable)?;
    let format = format(path, &head[..head.len().min(HEAD)], Format::of(path))?;
    if format == Format::Gds {
        return gds::read(path, input, bytes, options);
    }
    let mut all = Vec::new();
    input.read_to_end(&mut all).map_err(unreadable)?;
    parse(path, &all, Some(format), options)
}

/// The format that was named, or else the one that the content has.
fn format(path: &Path, head: &[u8], named: Option<Format>) -> Result<Format, LayoutError> {
    let found = Format::of_content(head);
    match (named, found) {
        (Some(named), Some(found)) if named != found => Err(LayoutError::Damaged {
            path: path.to_path_buf(),
            format: named.name(),
            problem: format!("its content is {}", found.name()),
        }),
        (Some(named), _) => Ok(named),
        (None, found) => found.ok_or_else(|| LayoutError::UnknownFormat(path.to_path_buf())),
    }
}

fn parse(
    path: &Path,
    bytes: &[u8],
    named: Option<Format>,
    options: &ReadOptions,
) -> Result<Builder, LayoutError> {
    let format = format(path, &bytes[..bytes.len().min(HEAD)], named)?;
    match format {
        Format::Gds => gds::read(path, bytes, bytes.len() as u64, options),
        Format::Oasis => oasis::read(path, bytes, options),
        Format::Glp => {
            without_choice(path, format, options)?;
            Builder::flat(path, format.name(), &glp::parse(path, bytes)?, 1.0)
        }
        Format::Png => {
            without_choice(path, format, options)?;
            png::check_pixel(options.pixel_nm)?;
            // In pixels, which are whole numbers.
            Builder::flat(path, format.name(), &png::parse(path, bytes, 1.0)?, options.pixel_nm)
        }
    }
}

/// Refuses a choice of cell or layer where there is none.
fn without_choice(path: &Path, format: Format, options: &ReadOptions) -> Result<(), LayoutError> {
    let layer = options.layer.map(|layer| format!("--layer {layer}"));
    let cell = options.cell.as_ref().map(|cell| format!("--cell {}", crate::names::shown(cell)));
    match layer.or(cell) {
        None => Ok(()),
        Some(option) => {
            Err(LayoutError::NoChoice { path: path.to_path_buf(), format: format.name(), option })
        }
    }
}

#[cfg(test)]
mod tests;
