//! A synthetic layer of a chip: wires on horizontal tracks, some of which step to the next track.
//!
//! Tracks are filled from left to right, a few at a time, so that a chip of any size takes little memory. A wire begins
//! some way after what is on its track; it may change to a neighbouring track where that one is free.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ClipRules, Course, Wire};
use crate::{LayoutError, Polygon, PolygonWriter};

/// Tracks that are filled together.
const BAND: usize = 8;
/// How much wider than the least a wire may be, in nm.
const WIDER: u32 = 20;
/// Shortest and longest straight wire, in nm. With the gaps, about 1.3 million wires fit on a mm².
const LENGTHS: [u32; 2] = [400, 11_000];
/// How much longer than the least space a gap at a wire's end may be, in nm.
const GAP: u32 = 400;
/// Widths, spaces and grids beyond are mistakes.
const MOST_NM: u32 = 100_000;
/// Share of wires that change their track.
const JOGS: f64 = 0.25;
/// Different cells of a chip that is made of cells.
const CELLS: u64 = 8;
/// Side of such a cell, in nm. A power of two, so that fields cut it where they cut its copies.
const CELL_NM: f64 = 16_384.0;

/// A square of routed metal.
#[derive(Clone, Debug, PartialEq)]
pub struct Chip {
    /// Its side, in nm.
    pub side_nm: f64,
    /// Widths and spaces; the other rules of clips are not used.
    pub rules: ClipRules,
    /// The same seed makes the same chip.
    pub seed: u64,
}

impl Chip {
    /// Writes the wires, flat, into the writer's cell. Returns their number.
    ///
    /// # Errors
    ///
    /// As [`PolygonWriter::add`]; [`LayoutError::Grid`] if the rules leave no room for a wire.
    pub fn write(&self, to: &mut PolygonWriter) -> Result<u64, LayoutError> {
        self.fill(self.side_nm, 0, |wires| to.add(wires))
    }

    /// Writes cells of 16.384 µm, and a last cell `name` with as many as fit on the side, side by side, some of them
    /// mirrored; the writer's first cell must be `CELL_0`. Returns the number of wires, were it flat.
    ///
    /// # Errors
    ///
    /// As [`PolygonWriter::add`]; [`LayoutError::Grid`] if not one cell or wire fits.
    pub fn write_cells(&self, to: &mut PolygonWriter, name: &str) -> Result<u64, LayoutError> {
        let across = (self.side_nm / CELL_NM).floor() as u64;
        if across == 0 {
            let problem =
                format!("a chip of {} nm has no room for a cell of {CELL_NM} nm", self.side_nm);
            return Err(LayoutError::Grid(problem));
        }
        let cells = CELLS.min(across * across);
        let mut sizes = Vec::new();
        for cell in 0..cells {
            if cell > 0 {
                to.begin_cell(&cell_name(cell))?;
            }
            // Wires stay inside by half a space on each side, as tracks do.
            let margin = self.margin();
            let inner = |wires: &[Polygon]| -> Vec<Polygon> {
                wires.iter().map(|wire| wire.shifted([margin, 0.0])).collect()
            };
            sizes.push(self.fill(CELL_NM - 2.0 * margin, cell + 1, |wires| to.add(&inner(wires)))?);
        }
        to.begin_cell(name)?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut count = 0;
        for place in 0..across * across {
            // Each at least once.
            let cell = if place < cells { place } else { rng.random_range(0..cells) };
            let mirrored = rng.random_bool(0.5);
            let corner = [place % across, place / across].map(|v| v as f64 * CELL_NM);
            let up = if mirrored { CELL_NM } else { 0.0 };
            to.place(&cell_name(cell), [corner[0], corner[1] + up], mirrored)?;
            count += sizes[cell as usize];
        }
        Ok(count)
    }

    /// Half of the least space, on the grid.
    fn margin(&self) -> f64 {
        f64::from(self.rules.least_space_nm.div_ceil(2).next_multiple_of(self.rules.grid_nm))
    }

    /// From the middle of a track to the next; half of it is on the grid.
    fn pitch(&self) -> f64 {
        let sum = self.rules.least_width_nm + WIDER + self.rules.least_space_nm;
        f64::from(sum.next_multiple_of(2 * self.rules.grid_nm))
    }

    /// Whether there is a wire that fits.
    fn check(&self) -> Result<(), LayoutError> {
        let ClipRules { least_width_nm: width, least_space_nm: space, grid_nm: grid, .. } =
            self.rules;
        let known = (1..=MOST_NM).contains(&grid) && width <= MOST_NM && space <= MOST_NM;
        if known
            && self.side_nm.is_finite()
            && self.side_nm > self.pitch().max(2.0 * f64::from(LENGTHS[0]))
        {
            return Ok(());
        }
        Err(LayoutError::Grid(format!(
            "a chip of {} nm has no room for wires of {width} nm, spaces of {space} nm and a grid of {grid} nm",
            self.side_nm
        )))
    }

    /// Fills a square, band by band.
    fn fill(
        &self,
        side: f64,
        stream: u64,
        mut add: impl FnMut(&[Polygon]) -> Result<(), LayoutError>,
    ) -> Result<u64, LayoutError> {
        self.check()?;
        let tracks = (side / self.pitch()).floor() as usize;
        let mut count = 0;
        for first in (0..tracks).step_by(BAND) {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream((stream << 32) + first as u64);
            let middles: Vec<f64> = (first..(first + BAND).min(tracks))
                .map(|track| (track as f64 + 0.5) * self.pitch())
                .collect();
            let wires = self.band(side, &middles, &mut rng);
            count += wires.len() as u64;
            add(&wires)?;
        }
        Ok(count)
    }

    /// The wires of some tracks.
    fn band(&self, side: f64, middles: &[f64], rng: &mut ChaCha8Rng) -> Vec<Polygon> {
        // Where the next wire of each track may begin.
        let mut free: Vec<f64> = middles.iter().map(|_| self.whole(rng, 0, LENGTHS[0])).collect();
        let mut wires = Vec::new();
        loop {
            let next = (0..free.len()).min_by(|&a, &b| free[a].total_cmp(&free[b]));
            let Some(track) = next.filter(|&t| free[t] + f64::from(LENGTHS[0]) <= side) else {
                return wires;
            };
            wires.push(self.wire(side, middles, track, &mut free, rng).outline());
        }
    }

    /// The next wire of a track; what it takes is no longer free.
    fn wire(
        &self,
        side: f64,
        middles: &[f64],
        track: usize,
        free: &mut [f64],
        rng: &mut ChaCha8Rng,
    ) -> Wire {
        let least = self.rules.least_width_nm;
        let width = 2.0 * self.whole(rng, least.div_ceil(2), (least + WIDER) / 2);
        let space = self.rules.least_space_nm;
        let gap = self.whole(rng, space, space + GAP);
        let start = free[track];
        let end = (start + self.whole(rng, LENGTHS[0], LENGTHS[1])).min(side);
        let other = if rng.random() { track + 1 } else { track.wrapping_sub(1) };
        if rng.random_bool(JOGS) && other < free.len() {
            // Its bend must keep its distance from what is on the other track, and have two legs.
            let bend = free[other].max(start + f64::from(LENGTHS[0])) + width;
            if bend + f64::from(LENGTHS[0]) <= end {
                let ([y, to], half) = ([middles[track], middles[other]], width / 2.0);
                free[track] = bend + half + gap;
                free[other] = end + gap;
                let line = [[start, y], [bend, y], [bend, to], [end, to]];
                return Wire::along(&Course::new(&line, width));
            }
        }
        free[track] = end + gap;
        Wire::along(&Course::new(&[[start, middles[track]], [end, middles[track]]], width))
    }

    /// A length on the grid.
    fn whole(&self, rng: &mut ChaCha8Rng, from: u32, to: u32) -> f64 {
        let grid = self.rules.grid_nm;
        f64::from(rng.random_range(from.div_ceil(grid)..=to / grid) * grid)
    }
}

fn cell_name(cell: u64) -> String {
    format!("CELL_{cell}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bounds, Coverage, Frame, Layer, Layout, Library, ReadOptions, shapes};

    const LAYER: Layer = Layer { layer: 1, datatype: 0 };

    fn chip(side_nm: f64) -> Chip {
        Chip { side_nm, rules: ClipRules::default(), seed: 3 }
    }

    /// Space and width are measured on the raster, not by the code that placed the wires.
    #[test]
    fn wires_keep_the_space_and_width_rules_and_are_a_million_on_a_square_millimetre() {
        let mut all = Vec::new();
        let chip = chip(60_000.0);
        let count = chip.fill(chip.side_nm, 0, |wires| {
            all.extend_from_slice(wires);
            Ok(())
        });
        assert_eq!(count.expect("nothing to fail"), all.len() as u64);
        assert!(all.len() as f64 > 1e6 * 0.06 * 0.06, "{}", all.len());
        assert!(all.iter().filter(|p| p.points.len() == 8).count() * 20 > all.len());
        let layout = Layout::new("chip", all);
        let bounds = layout.bounds().expect("there are some");
        assert!(bounds.min.iter().all(|v| *v >= 0.0) && bounds.max.iter().all(|v| *v <= 60_000.0));
        for corner in [0.0, 20_000.0, 56_000.0] {
            let origin_nm = [corner, corner];
            let frame = Frame { origin_nm, pixel_nm: 2.0, width: 2000, height: 2000 };
            let raster = layout.rasterize(&frame, Coverage::Exact);
            let space = shapes::smallest_distance_nm(&raster).expect("several wires");
            assert!(space >= 50.0, "{space}");
            let rules = crate::MaskRules {
                min_width_nm: 50.0,
                min_space_nm: 46.0,
                min_area_nm2: 0.0,
                min_distance_nm: 50.0,
            };
            // Wires that leave the frame are cut there; what is near its border is not looked at.
            let inner =
                |p: &crate::Violation| (0..2).all(|i| p.min_nm[i] > 100.0 && p.max_nm[i] < 3900.0);
            let found: Vec<_> = rules.check(&raster).into_iter().filter(inner).collect();
            assert!(found.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn a_chip_without_room_is_refused() {
        let none = |side_nm: f64, least_width_nm: u32, grid_nm: u32| {
            let rules = ClipRules { least_width_nm, grid_nm, ..ClipRules::default() };
            Chip { side_nm, rules, seed: 0 }
                .fill(side_nm, 0, |_| Ok(()))
                .expect_err("no room")
                .to_string()
        };
        assert!(none(500.0, 54, 2).contains("chip of 500 nm has no room"));
        assert!(none(1e6, u32::MAX, 2).contains("wires of 4294967295 nm"));
        assert!(none(1e6, 54, 0).contains("grid of 0 nm"));
    }

    #[test]
    fn a_chip_of_cells_has_the_wires_that_it_says_and_keeps_their_space() -> Result<(), LayoutError>
    {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bytes = Vec::new();
        for name in ["chip.gds", "chip.oas"] {
            let path = folder.path().join(name);
            let mut writer = PolygonWriter::create(&path, "CELL_0", LAYER, 1.0)?;
            let count = chip(100_000.0).write_cells(&mut writer, "CHIP")?;
            writer.finish()?;
            let library = Library::read(&path, &ReadOptions::default())?;
            assert_eq!((library.count(), library.cell()), (count, "CHIP"));
            assert!(library.extent().width() > 6.0 * CELL_NM - 1000.0);
            bytes.push(std::fs::metadata(&path).expect("it is there").len());
            // Where four cells meet.
            let min = [CELL_NM * 3.0 - 2000.0; 2];
            let window = Bounds { min, max: min.map(|v| v + 4000.0) };
            let layout = Layout::new("corner", library.polygons_in(window)?);
            let frame = Frame { origin_nm: min, pixel_nm: 2.0, width: 2000, height: 2000 };
            let raster = layout.rasterize(&frame, Coverage::Exact);
            assert!(shapes::smallest_distance_nm(&raster).is_some_and(|space| space >= 50.0));
        }
        assert!(bytes[0] < 2_000_000 && bytes[1] < 200_000, "{bytes:?}");
        Ok(())
    }
}
