//! What fields shall print, before it is on a device.

use std::borrow::Cow;

use lithoburn_layout::{Edges, Raster};
use lithoburn_litho::PackedImages;

use crate::tiles::pixels::on_pixels;

/// What several fields shall print.
#[derive(Clone, Debug)]
pub(crate) enum Targets<'a> {
    /// Pixels as fine as the answer's, pattern or not.
    Bits(&'a PackedImages),
    Each(Vec<Target<'a>>),
}

/// What a field shall print.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    Raster(&'a Raster),
    /// Polygons' edges, on the pixels that the answer depends on.
    Edges(&'a Edges),
}

impl<'a> Target<'a> {
    pub(super) fn edges(&self) -> Option<&'a Edges> {
        match self {
            Self::Raster(_) => None,
            Self::Edges(edges) => Some(edges),
        }
    }

    /// Drawn, on pixels of this size where they nest.
    pub(super) fn on_pixels(self, pixel_nm: f64) -> Cow<'a, Raster> {
        match self {
            Self::Raster(raster) => on_pixels(raster, pixel_nm),
            Self::Edges(edges) => {
                let drawn = edges.rasterize();
                match on_pixels(&drawn, pixel_nm) {
                    Cow::Owned(small) => Cow::Owned(small),
                    Cow::Borrowed(_) => Cow::Owned(drawn),
                }
            }
        }
    }
}
