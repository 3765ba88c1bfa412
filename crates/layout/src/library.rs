//! Layouts of any size: cells and repetitions as the file has them, searched by window.
//!
//! A [`Library`] holds one layer under one cell. Nothing is flattened until it is asked for, so a chip of a
//! billion repeated polygons takes the memory of its different cells. Coordinates are 32-bit database units
//! inside and nm outside.

mod builder;
mod cell;
mod index;
mod query;
mod repetition;
mod transform;
mod width;
mod work;

use std::path::{Path, PathBuf};

pub(crate) use builder::{Builder, Placement, most_unpacked};
pub use builder::{CellContents, Contents, LayerContents};
pub(crate) use repetition::{Places, Repetition};

use crate::{Bounds, Layer, Layout, LayoutError, Polygon};

/// One layer of a layout file, with its hierarchy.
///
/// ```no_run
/// use lithoburn_layout::{Bounds, Library, ReadOptions};
///
/// let chip = Library::read("chip.oas".as_ref(), &ReadOptions::default())?;
/// let corner = chip.extent().min;
/// let window = Bounds { min: corner, max: corner.map(|v| v + 2048.0) };
/// println!("{} of {} polygons", chip.polygons_in(window)?.len(), chip.count());
/// # Ok::<(), lithoburn_layout::LayoutError>(())
/// ```
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    name: String,
    cell: String,
    layer: Option<Layer>,
    unit_nm: f64,
    cells: Vec<cell::Cell>,
    top: usize,
    tables: cell::Tables,
    window: Option<Bounds>,
    /// Known once the library is whole.
    extent: Option<Bounds>,
}

impl Library {
    /// Checks that there is something, and finds out how far it reaches.
    fn new(mut library: Self) -> Result<Self, LayoutError> {
        let bounds = library.cells[library.top].bounds;
        let bounds = bounds.ok_or_else(|| LayoutError::Empty(library.path.clone()))?;
        let nm = |p: [f64; 2]| p.map(|v| v * library.unit_nm);
        let mut extent = Bounds { min: nm(bounds.min), max: nm(bounds.max) };
        // Boxes of turned boxes are too large; looking at each polygon is exact, where that is possible.
        if !library.tables.turns.iter().all(transform::is_orthogonal) {
            let mut exact: Option<Bounds> = None;
            let looked = library.search(None, work::MOST_ITEMS, |polygon, _| {
                let bounds = polygon.bounds();
                exact = Some(exact.map_or(bounds, |e| e.union(bounds)));
                Ok(())
            });
            extent = exact.filter(|_| looked.is_ok()).unwrap_or(extent);
        }
        library.extent = Some(extent);
        Ok(library)
    }

    /// The file's name without its ending, then the cell if one was asked for: what files made of this layout are called, so
    /// that two cells of one file have names of their own.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cell that was read.
    pub fn cell(&self) -> &str {
        &self.cell
    }

    /// The layer that was read, where the format has layers.
    pub fn layer(&self) -> Option<Layer> {
        self.layer
    }

    /// The window the layout was drawn in if there is one (a PNG's whole image), else the smallest
    /// rectangle around all polygons, in nm.
    ///
    /// Of more than some millions of polygons in cells that are turned by other than quarter turns, it may be
    /// larger than the smallest.
    pub fn extent(&self) -> Bounds {
        let none = Bounds { min: [0.0; 2], max: [0.0; 2] };
        self.window.or(self.extent).unwrap_or(none)
    }

    /// Number of polygons if it were flat; at most `u64::MAX`.
    pub fn count(&self) -> u64 {
        self.cells[self.top].flat[0]
    }

    /// The length that coordinates of the file are multiples of, in nm; a PNG's pixel.
    pub fn database_unit_nm(&self) -> f64 {
        self.unit_nm
    }

    /// The polygons that touch a window, whole and in nm. Their order is the file's and does not depend on
    /// the window: a cell's own polygons, then those of the cells in it.
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooMuch`] if they take more than 512 MiB, or can only be found among too many.
    pub fn polygons_in(&self, window: Bounds) -> Result<Vec<Polygon>, LayoutError> {
        self.near(window)
    }

    /// What lies in a window, cut off at its border, in nm; the layout's window is this one.
    ///
    /// # Errors
    ///
    /// [`LayoutError::EmptyWindow`] if nothing does, and as [`Library::polygons_in`].
    pub fn window(&self, window: Bounds) -> Result<Layout, LayoutError> {
        let near = self.polygons_in(window)?;
        let polygons: Vec<Polygon> = near.iter().filter_map(|p| p.within(&window)).collect();
        match polygons.is_empty() {
            true => Err(LayoutError::EmptyWindow {
                path: self.path.clone(),
                window,
                extent: self.extent(),
            }),
            false => Ok(Layout { name: self.name.clone(), polygons, window: Some(window) }),
        }
    }

    /// The same as a library without hierarchy, for windows of many fields.
    ///
    /// # Errors
    ///
    /// As [`Library::window`].
    pub fn cut(&self, window: Bounds) -> Result<Self, LayoutError> {
        let mut layout = self.window(window)?;
        // What is a whole number of units stays one.
        let whole = |v: f64| if (v - v.round()).abs() < 1e-6 { v.round() } else { v };
        let units = |p: [f64; 2]| p.map(|v| whole(v / self.unit_nm));
        let points = layout.polygons.iter_mut().flat_map(|polygon| &mut polygon.points);
        points.for_each(|p| *p = units(*p));
        layout.window = Some(Bounds { min: units(window.min), max: units(window.max) });
        let cut = Builder::flat(&self.path, "layout", &layout, self.unit_nm)?.finish()?;
        Ok(Self { name: self.name.clone(), cell: self.cell.clone(), layer: self.layer, ..cut })
    }

    /// Whether a polygon touches a window, as [`Library::polygons_in`] would find it. An empty window costs a look at the
    /// index and no memory.
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooMuch`] if that can only be known after looking among too many.
    pub fn touches(&self, window: Bounds) -> Result<bool, LayoutError> {
        self.any_near(window)
    }

    /// Around the shape, or the cell, that is furthest from the others, in nm.
    ///
    /// "The others" is where half of the shapes of the cell that was read lie to either side; a layout that is too large to
    /// be cut into fields is most often so by one shape that somebody left behind.
    pub fn stray(&self) -> Bounds {
        let cell = &self.cells[self.top];
        let around = |item: usize| {
            let first = cell.first_bounds(item, &self.cells, &self.tables);
            self.tables.spread(cell.repetition(item), first)
        };
        let middles = |axis: usize| {
            let middle =
                |item: usize| f64::midpoint(around(item).min[axis], around(item).max[axis]);
            let mut all: Vec<f64> = (0..cell.items()).map(middle).collect();
            let half = all.len() / 2;
            if all.is_empty() { 0.0 } else { *all.select_nth_unstable_by(half, f64::total_cmp).1 }
        };
        let centre = [middles(0), middles(1)];
        let away = |b: &Bounds| {
            let of = |i: usize| (b.max[i] - centre[i]).abs().max((b.min[i] - centre[i]).abs());
            of(0).max(of(1))
        };
        let furthest = (0..cell.items()).map(around).max_by(|a, b| away(a).total_cmp(&away(b)));
        let nm = |p: [f64; 2]| p.map(|v| v * self.unit_nm);
        furthest.map_or(self.extent(), |b| Bounds { min: nm(b.min), max: nm(b.max) })
    }

    /// The file that was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All polygons, in nm.
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooMuch`] if they take more than 512 MiB (about 5 million rectangles).
    pub fn flatten(&self) -> Result<Layout, LayoutError> {
        let polygons = self.all()?;
        Ok(Layout { name: self.name.clone(), polygons, window: self.window })
    }
}

#[cfg(test)]
mod tests;
