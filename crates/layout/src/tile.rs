//! Cutting a large layout into fields with halos, and putting their cores together again.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::{Bounds, Frame, LayoutError, Library, Raster};

/// Fields in a row or column at most, so that their number and their pixels can be counted.
const MOST_FIELDS: usize = 1 << 24;
/// Fields with shapes at most: what is kept of each is more than its number.
const MOST_OCCUPIED: usize = 1 << 24;
/// Squares in a row or column that are searched side by side.
const SIDE: usize = 16;

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
    /// [`LayoutError::Grid`] if field or halo is no whole number of pixels, no core is left, or there would be more than
    /// 16,777,216 fields in a row or column.
    pub fn cover(
        extent: Bounds,
        field_nm: f64,
        halo_nm: f64,
        pixel_nm: f64,
    ) -> Result<Self, LayoutError> {
        let grid = Self::fields(field_nm, halo_nm, pixel_nm)?;
        let [columns, rows] = grid.counts(extent);
        match can_be_counted([columns, rows]) {
            true => {
                let (columns, rows) = (columns as usize, rows as usize);
                Ok(Self { columns, rows, origin_nm: extent.min, ..grid })
            }
            false => Err(LayoutError::Grid(format!(
                "take larger fields: {columns:.0} x {rows:.0} of them cover the layout, {MOST_FIELDS} are the most in a row"
            ))),
        }
    }

    /// As [`TileGrid::cover`], where the extent is that of a library, or around it.
    ///
    /// # Errors
    ///
    /// As [`TileGrid::cover`], but [`LayoutError::Stray`], which names the shape that is furthest from the others, if
    /// there would be too many fields.
    pub fn cover_library(
        library: &Library,
        extent: Bounds,
        field_nm: f64,
        halo_nm: f64,
        pixel_nm: f64,
    ) -> Result<Self, LayoutError> {
        let [columns, rows] = Self::fields(field_nm, halo_nm, pixel_nm)?.counts(extent);
        match can_be_counted([columns, rows]) {
            true => Self::cover(extent, field_nm, halo_nm, pixel_nm),
            false => Err(LayoutError::Stray {
                path: library.path().to_path_buf(),
                stray: library.stray(),
                columns,
                rows,
                most: MOST_FIELDS,
            }),
        }
    }

    /// One such field, at the origin.
    fn fields(field_nm: f64, halo_nm: f64, pixel_nm: f64) -> Result<Self, LayoutError> {
        let whole = |nm: f64| (nm / pixel_nm - (nm / pixel_nm).round()).abs() < 1e-6;
        let (field, halo) = ((field_nm / pixel_nm).round(), (halo_nm / pixel_nm).round());
        let is_field = field > 2.0 * halo && field <= f64::from(u16::MAX) + 1.0;
        if !(whole(field_nm) && whole(halo_nm) && halo >= 0.0 && is_field) {
            return Err(LayoutError::Grid(format!(
                "a field of {field_nm} nm with a halo of {halo_nm} nm has no core of whole \
                 {pixel_nm} nm pixels, or more than 65536 of them in a row"
            )));
        }
        let (field, halo) = (field as usize, halo as usize);
        Ok(Self { columns: 1, rows: 1, field, halo, pixel_nm, origin_nm: [0.0; 2] })
    }

    /// How many cores cover an extent in x and y.
    fn counts(&self, extent: Bounds) -> [f64; 2] {
        let core_nm = self.core() as f64 * self.pixel_nm;
        [extent.width(), extent.height()].map(|length| {
            let cores = (length / core_nm).ceil();
            if cores < 1.0 { 1.0 } else { cores }
        })
    }

    /// The fields that a polygon of the library may reach into, ascending. The others are empty, and nothing was drawn
    /// to know it: an empty square of fields of any size is one question to the library's index.
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooMuch`] if more than 16,777,216 fields have shapes, or whether one has can only be known after looking
    /// among too many.
    pub fn occupied(&self, library: &Library) -> Result<Vec<usize>, LayoutError> {
        let count = AtomicUsize::new(0);
        let within = |square: &[usize; 4]| self.occupied_within(*square, library, &count);
        let found: Result<Vec<Vec<usize>>, LayoutError> =
            self.squares().par_iter().map(within).collect();
        let mut found = found?.concat();
        found.sort_unstable();
        Ok(found)
    }

    /// The fields in squares that processors look at side by side.
    fn squares(&self) -> Vec<[usize; 4]> {
        let ends =
            |length: usize| (0..SIDE).map(move |i| [i, i + 1].map(|end| end * length / SIDE));
        let row = |[y0, y1]: [usize; 2]| ends(self.columns).map(move |[x0, x1]| [x0, y0, x1, y1]);
        ends(self.rows).flat_map(row).collect()
    }

    /// The occupied fields of a square, which are counted with those of the others.
    fn occupied_within(
        &self,
        square: [usize; 4],
        library: &Library,
        count: &AtomicUsize,
    ) -> Result<Vec<usize>, LayoutError> {
        let (mut found, mut open) = (Vec::new(), vec![square]);
        while let Some([x0, y0, x1, y1]) = open.pop() {
            if x0 >= x1 || y0 >= y1 {
                continue;
            }
            let is_one = x1 - x0 == 1 && y1 - y0 == 1;
            match library.touches(self.reach([x0, y0, x1, y1])) {
                Ok(false) => {}
                Ok(true) if is_one => {
                    found.push(y0 * self.columns + x0);
                    if count.fetch_add(1, Ordering::Relaxed) >= MOST_OCCUPIED {
                        return Err(self.crowded(library));
                    }
                }
                Err(error) if is_one => return Err(error),
                // Of what cannot be searched as a whole, parts may be.
                _ => {
                    let (x, y) = ((x0 + x1).div_ceil(2), (y0 + y1).div_ceil(2));
                    open.extend([[x0, y0, x, y], [x, y0, x1, y], [x0, y, x, y1], [x, y, x1, y1]]);
                }
            }
        }
        Ok(found)
    }

    fn crowded(&self, library: &Library) -> LayoutError {
        let field_nm = self.field as f64 * self.pixel_nm;
        LayoutError::TooMuch {
            path: library.path().into(),
            problem: format!(
                "more than {MOST_OCCUPIED} fields of {field_nm} nm have shapes: take larger ones"
            ),
        }
    }

    /// What the fields `x0..x1`, `y0..y1` cover with their halos, in nm.
    fn reach(&self, [x0, y0, x1, y1]: [usize; 4]) -> Bounds {
        let corner = |x: usize, y: usize| self.frame(y * self.columns + x).bounds();
        corner(x0, y0).union(corner(x1 - 1, y1 - 1))
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

/// Whether so many fields in x and y are not too many; what is no number is.
fn can_be_counted(counts: [f64; 2]) -> bool {
    counts.iter().all(|&count| count <= MOST_FIELDS as f64)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::{Rng, SeedableRng};

    use super::*;

    fn library(text: &str) -> Library {
        let text = format!("CELL A PRIME\n{text}ENDMSG\n");
        Library::from_bytes(Path::new("x.glp"), text.as_bytes(), &Default::default())
            .expect("valid")
    }

    /// Two bars as far apart as an exposure field is large: a thousand million fields, of which a few are looked at.
    #[test]
    fn empty_fields_between_two_bars_cost_nothing() -> Result<(), LayoutError> {
        let far = "RECT N M1 26000000 33000000 80 400\n";
        let library = library(&format!("RECT N M1 0 0 80 400\n{far}"));
        let start = std::time::Instant::now();
        let grid = TileGrid::cover_library(&library, library.extent(), 2048.0, 640.0, 1.0)?;
        assert!(grid.len() > 1_000_000_000);
        let occupied = grid.occupied(&library)?;
        assert!((2..=8).contains(&occupied.len()), "{occupied:?}");
        for &field in &occupied {
            assert!(!library.polygons_in(grid.frame(field).bounds())?.is_empty());
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(5));
        Ok(())
    }

    /// Against asking for the polygons of every field.
    #[test]
    fn fields_with_polygons_are_those_that_are_occupied() -> Result<(), LayoutError> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        for bars in [1, 7, 60] {
            let mut bar = |_| {
                let [x, y] = [0, 1].map(|_| rng.random_range(0..9000));
                format!("RECT N M1 {x} {y} 90 {}\n", rng.random_range(40..700))
            };
            let library = library(&(0..bars).map(&mut bar).collect::<String>());
            let grid = TileGrid::cover_library(&library, library.extent(), 512.0, 64.0, 2.0)?;
            let mut expected = Vec::new();
            for field in 0..grid.len() {
                if !library.polygons_in(grid.frame(field).bounds())?.is_empty() {
                    expected.push(field);
                }
            }
            assert_eq!(grid.occupied(&library)?, expected);
        }
        Ok(())
    }

    #[test]
    fn a_stray_polygon_metres_away_is_named() {
        let dense: String = (0..9).map(|i| format!("RECT N M1 {} 0 80 400\n", 200 * i)).collect();
        let library = library(&(dense + "RECT N M1 0 -2100000000 50 70\n"));
        let grid = TileGrid::cover_library(&library, library.extent(), 64.0, 0.0, 1.0);
        let error = grid.expect_err("too many fields").to_string();
        assert!(
            error.starts_with("remove the shape at x 0, y -2100000000 nm (50 x 70 nm) from x.glp"),
            "{error}"
        );
        assert!(TileGrid::cover(library.extent(), 64.0, 0.0, 1.0).is_err());
    }

    #[test]
    fn fields_that_are_no_numbers_or_as_large_as_nothing_are_refused() {
        let extent = Bounds { min: [0.0; 2], max: [1e4; 2] };
        for (field, halo) in
            [(f64::NAN, 0.0), (1e12, 0.0), (0.0, 0.0), (128.0, 64.0), (128.0, -2.0)]
        {
            assert!(TileGrid::cover(extent, field, halo, 1.0).is_err(), "{field} {halo}");
        }
        let nowhere = Bounds { min: [0.0; 2], max: [f64::NAN; 2] };
        assert!(TileGrid::cover(nowhere, 128.0, 0.0, 1.0).is_err());
    }

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
