//! Layouts: polygons in, rasters out, and back.
//!
//! Geometry only: no tensors, no optics. A [`Layout`] is a list of polygons in nm, read from GDSII, OASIS,
//! GLP (the ICCAD 2013 contest's format) or PNG. A [`Library`] is a layout of any size with its hierarchy, searched
//! by window; a [`PolygonWriter`] writes polygons as they come. A [`Raster`] is a grey image with a pixel size,
//! and a [`Frame`] says where on the layout it lies.
//!
//! ```
//! use lithoburn_layout::{Coverage, Frame, Layout, Polygon};
//!
//! let bar = Polygon::rectangle(100.0, 100.0, 180.0, 500.0);
//! let layout = Layout::new("bar", vec![bar]);
//! let frame = Frame::centred(&layout, 1024.0, 4.0)?;
//! let raster = layout.rasterize(&frame, Coverage::Exact);
//! assert_eq!(raster.area_nm2(), 80.0 * 400.0);
//! # Ok::<(), lithoburn_layout::LayoutError>(())
//! ```
//!
//! # Orientation
//!
//! Row `r` of a raster is the strip of layout at the `r`-th pixel in y. Nothing is flipped, so a
//! PNG shows a layout with y downwards, as OpenILT and LithoBench do.

mod bits;
pub mod contour;
pub mod distance;
mod edges;
mod error;
mod file;
mod formats;
pub mod fracture;
pub mod generate;
mod library;
pub mod manhattan;
pub mod names;
mod path;
mod polygon;
mod raster;
pub mod rules;
mod runs;
pub mod shapes;
mod tile;
pub mod trace;

pub use bits::Bits;
pub use edges::Edges;
pub use error::LayoutError;
pub use file::write_whole;
pub use formats::{Format, PolygonWriter, gds, glp, oasis, png};
pub use library::{CellContents, Contents, LayerContents, Library};
pub use polygon::{Bounds, Polygon};
pub use raster::{Coverage, Frame, Raster};
pub use rules::{MaskRules, PixelRules, Rule, Violation};
pub use runs::{Run, Runs};
pub use tile::TileGrid;

/// A layer and datatype, as GDSII and OASIS number them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Layer {
    /// Layer number.
    pub layer: u32,
    /// Datatype number.
    pub datatype: u32,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.layer, self.datatype)
    }
}

impl std::str::FromStr for Layer {
    type Err = String;

    /// `11/0`, or `11` for datatype 0.
    fn from_str(text: &str) -> Result<Self, String> {
        let (layer, datatype) = text.split_once('/').unwrap_or((text, "0"));
        match (layer.parse(), datatype.parse()) {
            (Ok(layer), Ok(datatype)) => Ok(Self { layer, datatype }),
            _ => Err(format!("expected LAYER/DATATYPE such as 11/0, got {text:?}")),
        }
    }
}

/// What to take from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadOptions {
    /// Layer of a GDSII or OASIS file; without it, the file must have shapes on one layer only.
    pub layer: Option<Layer>,
    /// Cell of a GDSII or OASIS file; without it, the cell that no other cell refers to.
    pub cell: Option<String>,
    /// Side of a PNG's pixel, in nm.
    pub pixel_nm: f64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { layer: None, cell: None, pixel_nm: 1.0 }
    }
}

/// Polygons on one layer, in nm.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Name, usually the file's.
    pub name: String,
    /// The polygons; they may touch or overlap, and mean their union.
    pub polygons: Vec<Polygon>,
    /// The window the layout was drawn in, where the format has one (a PNG does).
    pub window: Option<Bounds>,
}

impl Layout {
    /// A layout without a window of its own.
    pub fn new(name: impl Into<String>, polygons: Vec<Polygon>) -> Self {
        Self { name: name.into(), polygons, window: None }
    }

    /// The smallest rectangle that holds every polygon, if there is one.
    pub fn bounds(&self) -> Option<Bounds> {
        self.polygons.iter().map(Polygon::bounds).reduce(Bounds::union)
    }

    /// The window if there is one, else the bounds.
    pub fn extent(&self) -> Option<Bounds> {
        self.window.or_else(|| self.bounds())
    }

    /// Draws the polygons on a raster.
    pub fn rasterize(&self, frame: &Frame, coverage: Coverage) -> Raster {
        raster::rasterize(&self.polygons, frame, coverage)
    }
}
