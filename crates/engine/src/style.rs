//! What masks are made of, and the files that hold their polygons.

use lithoburn_layout::{Frame, Layer};
use serde::Serialize;

/// Layer of the mask's polygons in `mask.gds`.
pub const MASK_LAYER: Layer = Layer { layer: 1, datatype: 1 };

/// What kind of polygons the mask is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum MaskStyle {
    /// Polygons along the shapes' contours, for multi-beam writers.
    Curvilinear {
        /// How far the polygons may be from the contour, in nm.
        tolerance_nm: f64,
    },
    /// Polygons along the edges of the mask's pixels.
    Pixels,
    /// Rectangles, for shaped-beam writers.
    Manhattan {
        /// Rectangles per field at most.
        shots: usize,
    },
}

impl Default for MaskStyle {
    /// Contours within 1 nm.
    fn default() -> Self {
        Self::Curvilinear { tolerance_nm: 1.0 }
    }
}

impl MaskStyle {
    /// Database unit of a mask's file: 1 nm, or a fraction for finer layouts and for contours.
    pub(crate) fn unit_nm(self, frame: &Frame) -> f64 {
        if matches!(self, Self::Curvilinear { .. }) {
            return 0.1;
        }
        let on_grid = |unit: f64| {
            let whole = |nm: f64| (nm / unit - (nm / unit).round()).abs() < 1e-6;
            whole(frame.origin_nm[0]) && whole(frame.origin_nm[1]) && whole(frame.pixel_nm)
        };
        [1.0, 0.5, 0.1].into_iter().find(|&unit| on_grid(unit)).unwrap_or(0.01)
    }
}

/// Format of the mask's polygons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaskFormat {
    /// GDSII.
    #[default]
    Gds,
    /// OASIS.
    Oasis,
}

impl MaskFormat {
    /// The mask file's name.
    pub fn file(self) -> &'static str {
        match self {
            Self::Gds => "mask.gds",
            Self::Oasis => "mask.oas",
        }
    }

    /// The ending of its files' names.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Gds => "gds",
            Self::Oasis => "oas",
        }
    }
}
