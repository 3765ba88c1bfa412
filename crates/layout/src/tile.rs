//! Cutting a large layout into fields with halos, and putting their cores together again.

use crate::{Bounds, Frame, LayoutError, Raster};

/// Equal square fields whose cores cover an extent without overlap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileGrid {
    /// Fields in x.
    pub columns: usize,
    /// Fields in y.
    pub rows: usize,
    /// Side of a field, in pixels.
    pub field: usize,
    /// Pixels on each side of a field that its core leaves to the neighbours.
    pub halo: usize,
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// Corner of the first core, in nm.
    pub origin_nm: [f64; 2],
}

impl TileGrid {
    /// One field, all core.
    pub fn single(frame: &Frame) -> Self {
        let (field, pixel_nm) = (frame.width, frame.pixel_nm);
        Self { columns: 1, rows: 1, field, halo: 0, pixel_nm, origin_nm: frame.origin_nm }
    }

    /// Fields of `field_nm` whose cores, `halo_nm` inside them, cover the extent.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Grid`] if field or halo is no whole number of pixels, or no core is left.
    pub fn cover(
        extent: Bounds,
        field_nm: f64,
        halo_nm: f64,
        pixel_nm: f64,
    ) -> Result<Self, LayoutError> {
        let whole = |nm: f64| (nm / pixel_nm - (nm / pixel_nm).round()).abs() < 1e-6;
        let (field, halo) = ((field_nm / pixel_nm).round(), (halo_nm / pixel_nm).round());
        if !(whole(field_nm) && whole(halo_nm) && halo >= 0.0 && field > 2.0 * halo) {
            return Err(LayoutError::Grid(format!(
                "a field of {field_nm} nm with a halo of {halo_nm} nm has no core of whole \
                 {pixel_nm} nm pixels"
            )));
        }
        let core = field_nm - 2.0 * halo_nm;
        let count = |length: f64| (length / core).ceil().max(1.0) as usize;
        Ok(Self {
            columns: count(extent.width()),
            rows: count(extent.height()),
            field: field as usize,
            halo: halo as usize,
            pixel_nm,
            origin_nm: extent.min,
        })
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.columns * self.rows
    }

    /// Whether there is no field. There always is one; clippy wants the question.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Side of a core, in pixels.
    pub fn core(&self) -> usize {
        self.field - 2 * self.halo
    }

    /// The frame that all cores together fill.
    pub fn whole(&self) -> Frame {
        let (width, height) = (self.columns * self.core(), self.rows * self.core());
        Frame { origin_nm: self.origin_nm, pixel_nm: self.pixel_nm, width, height }
    }

    /// First pixel of a field within [`TileGrid::whole`], x then y; negative in the first halo.
    pub fn at(&self, index: usize) -> [isize; 2] {
        let start = |i: usize| (i * self.core()) as isize - self.halo as isize;
        [start(index % self.columns), start(index / self.columns)]
    }

    /// The frame of one field.
    pub fn frame(&self, index: usize) -> Frame {
        let nm = |i: usize| self.origin_nm[i] + self.at(index)[i] as f64 * self.pixel_nm;
        let origin_nm = [nm(0), nm(1)];
        Frame { origin_nm, pixel_nm: self.pixel_nm, width: self.field, height: self.field }
    }

    /// Cuts a raster of the whole into fields; 0 outside.
    pub fn split(&self, whole: &Raster) -> Vec<Raster> {
        (0..self.len()).map(|i| whole.crop(self.at(i), self.field, self.field)).collect()
    }

    /// Puts the cores of the fields together.
    ///
    /// # Panics
    ///
    /// If there are more or fewer tiles than fields.
    pub fn stitch(&self, tiles: &[Raster]) -> Raster {
        assert_eq!(tiles.len(), self.len(), "one tile per field");
        let whole = self.whole();
        let mut raster = Raster::new(whole.width, whole.height, self.pixel_nm);
        let (core, halo) = (self.core(), self.halo as isize);
        for (index, tile) in tiles.iter().enumerate() {
            let [x, y] = self.at(index);
            raster.paste(&tile.crop([halo, halo], core, core), [x + halo, y + halo]);
        }
        raster
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_split_is_stitched_back() -> Result<(), LayoutError> {
        let extent = Bounds { min: [7.0, -3.0], max: [307.0, 157.0] };
        let grid = TileGrid::cover(extent, 128.0, 32.0, 2.0)?;
        assert_eq!((grid.columns, grid.rows, grid.core()), (5, 3, 32));
        let whole = grid.whole();
        let mut raster = Raster::new(whole.width, whole.height, 2.0);
        for (i, value) in raster.data.iter_mut().enumerate() {
            *value = (i % 251) as f32;
        }
        assert_eq!(grid.stitch(&grid.split(&raster)), raster);
        Ok(())
    }
}
