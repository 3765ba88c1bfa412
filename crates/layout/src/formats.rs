//! File formats: what a layout is read from and written to.
//!
//! Each format is a room of its own; none knows another. What GDSII and OASIS share is in `header`, and both fill the
//! builder of a [`Library`](crate::Library). Which format a file has is known here alone.

pub mod gds;
pub mod glp;
mod header;
pub mod oasis;
pub mod png;
mod read;
mod writer;

use std::path::Path;
use std::str::FromStr;

pub use writer::PolygonWriter;

/// A kind of layout file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// GDSII.
    Gds,
    /// OASIS (SEMI P39).
    Oasis,
    /// The text format of the ICCAD 2013 contest's clips.
    Glp,
    /// An image.
    Png,
}

impl Format {
    /// What a file's name says that it is.
    pub fn of(path: &Path) -> Option<Self> {
        path.extension()?.to_str()?.parse().ok()
    }

    /// What a file's first bytes say that it is; a few dozen are enough.
    pub fn of_content(bytes: &[u8]) -> Option<Self> {
        let begins = |with: &[u8]| bytes.starts_with(with);
        let is_text = || begins(b"BEGIN") || begins(b"CELL");
        match () {
            () if begins(gds::MAGIC) => Some(Self::Gds),
            () if begins(oasis::MAGIC) => Some(Self::Oasis),
            () if begins(png::MAGIC) => Some(Self::Png),
            () => is_text().then_some(Self::Glp),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gds => "GDSII",
            Self::Oasis => "OASIS",
            Self::Glp => "GLP",
            Self::Png => "PNG",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    /// By the usual ending of a file's name, in any case.
    fn from_str(ending: &str) -> Result<Self, String> {
        match ending.to_lowercase().as_str() {
            "gds" | "gds2" | "gdsii" => Ok(Self::Gds),
            "oas" | "oasis" => Ok(Self::Oasis),
            "glp" => Ok(Self::Glp),
            "png" => Ok(Self::Png),
            _ => Err(format!("expected gds, oas, glp or png, got {ending:?}")),
        }
    }
}
