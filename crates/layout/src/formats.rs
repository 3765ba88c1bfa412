//! File formats: what a layout is read from and written to.
//!
//! Each format is a room of its own; none knows another. What GDSII and OASIS share is in [`header`], and both build a
//! [`Library`](crate::Library). Which format a file has is known here alone.

pub mod gds;
pub mod glp;
mod header;
pub mod oasis;
pub mod png;
mod read;
mod writer;

use std::path::Path;

pub use writer::PolygonWriter;

/// What a file's name says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Gds,
    Oasis,
    Glp,
    Png,
}

impl Format {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_lowercase();
        match extension.as_str() {
            "gds" | "gds2" | "gdsii" => Some(Self::Gds),
            "oas" | "oasis" => Some(Self::Oasis),
            "glp" => Some(Self::Glp),
            "png" => Some(Self::Png),
            _ => None,
        }
    }
}
