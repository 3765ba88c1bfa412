//! OASIS (SEMI P39) in and out.
//!
//! Read are all records and their modal variables; texts, properties and extensions are passed over. Circles become
//! polygons of 64 sides around them. Names may be given before or after they are used. Repetitions stay repetitions.
//! A validation (CRC32 or checksum) is checked if it is there.
//!
//! Written are cells with rectangles, polygons and placements, in compressed blocks.

mod compress;
mod input;
mod modal;
mod names;
mod points;
mod read;
mod record;
mod records;
mod shape;
mod trapezoid;
mod validation;
mod write;

use std::path::Path;

pub(crate) use read::read;
pub(crate) use write::OasisWriter;

use super::header::Header;
use crate::{Layer, Layout, LayoutError};

/// What every file begins with.
pub(crate) const MAGIC: &[u8] = b"%SEMI-OASIS\r\n";

/// Encodes polygons as a file with one cell, one layer and a database unit of `unit_nm`.
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
    let mut writer = OasisWriter::new(&mut bytes, &header)?;
    writer.add(&layout.polygons)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
