//! The whole mask as one picture, however large the layout.

use lithoburn_layout::{Bits, Coverage, Frame, Layout, LayoutError, Library, Raster, TileGrid};

/// Most pixels on a side.
const MOST: usize = 4096;

/// How much of a mask a pixel of its picture shows.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    /// Cores on a side that one pixel shows; 1 if a core has pixels of its own.
    cores: usize,
    /// Pixels on a side of a core, if it has some.
    side: usize,
}

impl Scale {
    /// The scale for a mask on a grid of its own pixels.
    pub(super) fn of(grid: &TileGrid) -> Self {
        let (most, core) = (grid.columns.max(grid.rows), grid.core());
        let cores = most.div_ceil(MOST);
        // A divisor of the core's side.
        let least = (most * core).div_ceil(MOST).min(core);
        let factor = (least..=core).find(|&f| core.is_multiple_of(f)).unwrap_or(core);
        Self { cores, side: if cores > 1 { 1 } else { core / factor } }
    }

    /// A core's part of the picture, of pixels of `pixel_nm`.
    pub(super) fn part(self, core: &Bits, pixel_nm: f64) -> Raster {
        core.averaged(core.width() / self.side, pixel_nm)
    }

    /// The design's part of the picture in a tile's core.
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooMuch`] if the tile holds more polygons than memory should.
    pub(super) fn design(
        self,
        library: &Library,
        grid: &TileGrid,
        place: [usize; 2],
    ) -> Result<Raster, LayoutError> {
        let (side, core_nm) = (self.side, grid.core() as f64 * grid.pixel_nm);
        let origin_nm = [0, 1].map(|i| grid.origin_nm[i] + place[i] as f64 * core_nm);
        let frame = Frame { origin_nm, pixel_nm: core_nm / side as f64, width: side, height: side };
        let polygons = library.polygons_in(frame.bounds())?;
        Ok(Layout::new("core", polygons).rasterize(&frame, Coverage::Exact))
    }
}

/// A picture that grows tile by tile.
pub(super) struct Picture {
    raster: Raster,
    scale: Scale,
}

impl Picture {
    /// A dark picture of all tiles of a mask's grid.
    pub(super) fn new(grid: &TileGrid) -> Self {
        let scale = Scale::of(grid);
        let Scale { cores, side } = scale;
        let pixel_nm = grid.core() as f64 * grid.pixel_nm * cores as f64 / side as f64;
        let [width, height] = [grid.columns, grid.rows].map(|n| n.div_ceil(cores) * side);
        Self { raster: Raster::new(width, height, pixel_nm), scale }
    }

    /// Shows a tile's part.
    pub(super) fn show(&mut self, part: &Raster, [column, row]: [usize; 2]) {
        let Scale { cores, side } = self.scale;
        if cores == 1 {
            return self.raster.paste(part, [column, row].map(|i| (i * side) as isize));
        }
        let at = row / cores * self.raster.width + column / cores;
        let share = (cores * cores * part.data.len()) as f32;
        self.raster.data[at] += part.data.iter().sum::<f32>() / share;
    }

    /// The picture.
    pub(super) fn raster(&self) -> &Raster {
        &self.raster
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(columns: usize, rows: usize) -> TileGrid {
        TileGrid { columns, rows, field: 512, halo: 128, pixel_nm: 4.0, origin_nm: [0.0; 2] }
    }

    /// A bar of 300 by 200 nm on a border of tiles, at any scale.
    #[test]
    fn the_picture_of_a_design_has_its_area_where_it_lies() -> Result<(), LayoutError> {
        let clip = "CELL A PRIME\n RECT N M1 900 2100 300 200\nENDMSG\n";
        let library = Library::from_bytes("a.glp".as_ref(), clip.as_bytes(), &Default::default())?;
        for (columns, rows) in [(4, 3), (25_391, 32_227)] {
            let grid = grid(columns, rows);
            let mut picture = Picture::new(&grid);
            for tile in grid.occupied(&library)? {
                let place = [tile % grid.columns, tile / grid.columns];
                picture.show(&Scale::of(&grid).design(&library, &grid, place)?, place);
            }
            let raster = picture.raster();
            assert!((raster.area_nm2() - 6e4).abs() < 1.0, "{}", raster.area_nm2());
            let row = (2200.0 / raster.pixel_nm) as usize;
            assert!(raster.data[row * raster.width..][..raster.width].iter().any(|&v| v > 0.0));
        }
        Ok(())
    }

    /// 26 by 33 mm are 25,391 by 32,227 tiles of this size.
    #[test]
    fn a_picture_of_any_layout_is_small_and_shows_the_covered_share() {
        for (columns, rows) in [(1, 1), (5, 3), (700, 900), (25_391, 32_227)] {
            let mut picture = Picture::new(&grid(columns, rows));
            let raster = picture.raster();
            assert!(raster.width <= MOST && raster.height <= MOST, "{columns} x {rows}");
            let whole = raster.width as f64 * raster.pixel_nm;
            assert!(whole >= columns as f64 * 1024.0, "{columns} x {rows}: {whole} nm");
            let mut core = Bits::dark(256, 256);
            (0..128).for_each(|y| core.set_run(y, 0, 256));
            let part = Scale::of(&grid(columns, rows)).part(&core, 4.0);
            picture.show(&part, [columns - 1, rows - 1]);
            let area = picture.raster().area_nm2();
            assert!((area - 1024.0 * 512.0).abs() < 1.0, "{columns} x {rows}: {area}");
        }
    }
}
