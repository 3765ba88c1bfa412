//! GDSII in and out.
//!
//! A file is a row of records: two bytes of length, one of kind, one of type, data. Hierarchy, arrays, paths,
//! rotation, reflection, magnification and database units are read; text, nodes and properties are passed over.
//! Absolute magnifications and angles are taken as relative ones.

mod read;
mod records;
mod write;

use std::path::Path;

pub(crate) use read::read;
pub(crate) use write::GdsWriter;

use super::header::Header;
use crate::{Layer, Layout, LayoutError};

/// Bytes that a file starts with: a record of 6 bytes, HEADER, two-byte integers.
pub(crate) const MAGIC: &[u8] = &[0x00, 0x06, 0x00, 0x02];

/// Encodes polygons as a library with one cell, one layer and a database unit of `unit_nm`.
///
/// # Errors
///
/// As [`crate::PolygonWriter`].
pub fn encode(
    path: &Path,
    layout: &Layout,
    layer: Layer,
    unit_nm: f64,
) -> Result<Vec<u8>, LayoutError> {
    let mut bytes = Vec::new();
    let header = Header::new(path, &layout.name, layer, unit_nm)?;
    let mut writer = GdsWriter::new(&mut bytes, &header)?;
    writer.add(&layout.polygons)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
