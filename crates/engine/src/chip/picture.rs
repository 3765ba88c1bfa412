//! The whole mask as one picture, however large the layout.

use lithoburn_layout::{Bits, Coverage, Frame, Layout, LayoutError, Library, Raster, TileGrid};

/// Most pixels on a side.
const MOST: usize = 4096;
/// The brightest of the greys that a journal keeps.
const DEPTH: f32 = 15.0;

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

    /// Shows a tile's part as [`shades`] wrote it; what is something else is shown dark.
    pub(super) fn show_shades(&mut self, shades: &str, place: [usize; 2]) {
        let value = |c: char| c.to_digit(16).unwrap_or(0) as f32 / DEPTH;
        let data: Vec<f32> = shades.chars().map(value).collect();
        let (width, pixel_nm) = (self.scale.side, self.raster.pixel_nm);
        if data.len() == width * width {
            self.show(&Raster { width, height: width, pixel_nm, data }, place);
        }
    }

    /// The picture.
    pub(super) fn raster(&self) -> &Raster {
        &self.raster
    }
}

/// The grey of a part's pixels as hexadecimal digits, which a journal keeps in a byte each; nothing for a dark part.
pub(super) fn shades(part: &Raster) -> String {
    let digit = |&value: &f32| char::from_digit((DEPTH * value).round() as u32, 16);
    match part.data.iter().any(|&value| value > 0.0) {
        true => part.data.iter().map(|value| digit(value).unwrap_or('f')).collect(),
        false => String::new(),
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

    #[test]
    fn a_part_comes_back_from_its_shades() {
        let grid = grid(4, 3);
        let scale = Scale::of(&grid);
        let mut core = Bits::dark(256, 256);
        (0..100).for_each(|y| core.set_run(y, 30, 200));
        let part = scale.part(&core, 4.0);
        let mut pictures = [Picture::new(&grid), Picture::new(&grid)];
        pictures[0].show(&part, [2, 1]);
        pictures[1].show_shades(&shades(&part), [2, 1]);
        let [drawn, kept] = pictures.map(|picture| picture.raster.data);
        assert!(drawn.iter().zip(&kept).all(|(a, b)| (a - b).abs() <= 0.5 / DEPTH + 1e-6));
        assert!(kept.contains(&1.0) && shades(&scale.part(&Bits::dark(256, 256), 4.0)).is_empty());
    }
}
