//! Fields as they come to a device and go from it.

use lithoburn_layout::Raster;
use lithoburn_litho::PackedImages;
use rayon::prelude::*;

use crate::EngineError;

/// Least pixels on a side of a field.
const LEAST: usize = 16;

/// Square fields of equal sizes. Bits take a thirty-second of the memory, and of the way to a device and back.
#[derive(Clone, Debug, PartialEq)]
pub enum Fields {
    /// Each pixel is 0 or 1.
    Bits(PackedImages),
    /// Pixels of any value.
    Values(Vec<Raster>),
}

impl Fields {
    /// Fields.
    pub fn len(&self) -> usize {
        match self {
            Self::Bits(bits) => bits.images().count(),
            Self::Values(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Width and height of each, in pixels.
    pub(super) fn sizes(&self) -> Vec<[usize; 2]> {
        match self {
            Self::Bits(bits) => vec![[bits.side; 2]],
            Self::Values(values) => {
                values.iter().map(|field| [field.width, field.height]).collect()
            }
        }
    }

    /// The fields as rasters of so many nm.
    pub fn into_rasters(self, field_nm: f64) -> Vec<Raster> {
        match self {
            Self::Values(values) => values,
            Self::Bits(bits) => {
                let (side, pixel_nm) = (bits.side, field_nm / bits.side.max(1) as f64);
                let raster = |data| Raster { width: side, height: side, pixel_nm, data };
                bits.to_values().into_par_iter().map(raster).collect()
            }
        }
    }
}

/// The sizes of fields that are computed with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Pixels on a side that are computed with. Fields may have a whole multiple of them, or a whole part.
    pub side: usize,
    /// Side of a field, in nm.
    pub field_nm: f64,
}

impl Sizes {
    /// Side of a pixel of a field of so many a side, in nm.
    pub fn pixel_nm(&self, side: usize) -> f64 {
        self.field_nm / side as f64
    }

    /// Whether a field of so many pixels is computed with.
    ///
    /// # Errors
    ///
    /// [`EngineError::Setting`] if it is not.
    pub fn check(&self, width: usize, height: usize) -> Result<(), EngineError> {
        let own = self.side;
        let whole = width.is_multiple_of(own) || own.is_multiple_of(width);
        match width == height && width >= LEAST.min(own) && whole {
            true => Ok(()),
            false => Err(EngineError::Setting(format!(
                "a field of {width} x {height} pixels does not fit: expected {own} x {own} pixels for its {} nm, or a whole multiple or part \
                 of that ({} to {})",
                self.field_nm,
                LEAST.min(own),
                own * 4
            ))),
        }
    }
}
