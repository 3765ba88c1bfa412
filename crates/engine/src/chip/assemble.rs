//! Cores into a mask: row by row of tiles, as soon as the rows around are there.
//!
//! A row goes through three states. *Raw* cores are what the devices found. Where they meet, shapes are joined and the rules are
//! enforced once more, in windows that reach into the neighbours: that makes *kept* cores, which are the mask. Its polygons and
//! its numbers are read off windows of kept cores, so that neighbours see the same pixels on both sides of their border. Tiles that
//! hold nothing have no cores, and are dark.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use lithoburn_layout::{Polygon, PolygonWriter, Raster, contour, trace};
use rayon::prelude::*;
use tracing::info_span;

use super::Chip;
use super::behind::Behind;
use super::cores::{Core, Row, around};
use super::measure::{Measured, Measurer};
use super::picture::{Picture, Scale};
use crate::EngineError;
use crate::evaluate::{Evaluator, Metrics, Shown};
use crate::files::rescaled;
use crate::report::{MOST_LISTED, Seams, Unprinted, placed, timed};
use crate::style::{MASK_LAYER, MaskStyle};
use crate::threads::{Threads, threads};
use crate::tiles::Flow;
use crate::tiles::folder::Folder;
use crate::tiles::journal::Key;
use crate::tiles::packed::Packed;

/// How far rules see across a border, in nm: several times their widths.
const RULES_REACH_NM: f64 = 256.0;
/// Pixels around a core that its polygons depend on.
const TRACED: usize = 2;

/// Everything that was learned of the mask.
#[derive(Default)]
pub(super) struct Built {
    pub before: Metrics,
    pub after: Metrics,
    pub polygons: u64,
    pub violations: Vec<lithoburn_layout::Violation>,
    pub broken: usize,
    pub unprinted: Unprinted,
    /// Whether something of the mask is open.
    pub open: bool,
    /// The tile with the largest error, with its images.
    pub worst: Option<Shown>,
    pub picture: Option<Picture>,
    /// The design, as far as its tiles are put together.
    pub design: Option<Picture>,
    /// What prints, if tiles are measured.
    pub print: Option<Picture>,
    pub seams: Seams,
    /// Seconds in which rows were put together and measured.
    pub seconds: f64,
}

/// Builds the mask's file and sums its numbers up.
pub(super) struct Assembler<'a> {
    chip: &'a Chip<'a>,
    flow: &'a Flow<'a>,
    measurer: Measurer<'a>,
    writer: Behind,
    raw: BTreeMap<usize, Row>,
    kept: BTreeMap<usize, Row>,
    built: Built,
    /// The worst tile so far: its error, its number, the mask around it.
    worst: Option<(f64, usize, Packed)>,
    /// Its own: devices, and whoever feeds them, do not wait for it.
    threads: Threads,
    /// Those that work as long as devices compute, if these are fewer.
    beside: Option<Threads>,
}

/// Who computes the tiles that are put together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Computed {
    /// This process.
    Here,
    /// Workers of a farm, on this machine, too, perhaps.
    Elsewhere,
}

/// Half of the threads, where putting together is little beside what cards do: a card idles while a thread that feeds it waits for a
/// processor. Measuring is most of a run's work, and the CPU is no card.
fn beside(chip: &Chip, computed: Computed) -> Result<Option<Threads>, EngineError> {
    let by_cards = chip.lanes.iter().all(|lane| lane.device.name != "cpu");
    let is_little = !chip.measure && (computed == Computed::Elsewhere || by_cards);
    is_little.then(|| threads("assemble beside", 2)).transpose()
}

/// What becomes of a tile.
struct Assembled {
    polygons: Vec<Polygon>,
    /// Its numbers and the mask around it; none if tiles are not measured.
    measured: Option<(Measured, Packed)>,
    small: Raster,
    design: Raster,
    open: bool,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(
        chip: &'a Chip<'a>,
        flow: &'a Flow<'a>,
        folder: &Folder,
        computed: Computed,
    ) -> Result<Self, EngineError> {
        let unit_nm = chip.setup.style.unit_nm(&chip.grid.whole());
        let path = folder.file(chip.format.file());
        let writer = PolygonWriter::create(&path, chip.library.name(), MASK_LAYER, unit_nm)?;
        let writer = Behind::new(writer)?;
        let devices: Vec<_> = chip.lanes.iter().map(|lane| lane.device.clone()).collect();
        let devices = if chip.measure { &devices[..] } else { &[] };
        let evaluator = Evaluator::among(devices, &chip.setup.kernels, &chip.setup.process)?;
        let unprinted =
            Unprinted { resolution_nm: evaluator.resolution_nm(), ..Unprinted::default() };
        let built = Built { unprinted, ..Built::default() };
        let measurer = Measurer { flow, chip, evaluator };
        let (raw, kept) = (BTreeMap::new(), BTreeMap::new());
        let (threads, beside) = (threads("assemble", 1)?, beside(chip, computed)?);
        Ok(Self { chip, flow, measurer, writer, raw, kept, built, worst: None, threads, beside })
    }

    /// The threads that work on a row now.
    fn threads(&self) -> &Threads {
        let beside = self.beside.as_ref().filter(|_| !self.flow.is_solved());
        beside.unwrap_or(&self.threads)
    }

    /// Rows of tiles on each side that a window reaches.
    fn reach(&self) -> usize {
        self.chip.grid.halo.div_ceil(self.chip.grid.core())
    }

    /// Rows around a row that hold something, itself included.
    fn near(&self, row: usize) -> Vec<usize> {
        let reach = self.reach();
        self.flow.occupied.rows_from(row.saturating_sub(reach), row + reach)
    }

    /// All rows; none if the run ends before their masks are there.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the mask cannot be written or measured.
    pub(super) fn all(mut self) -> Result<Option<Built>, EngineError> {
        for row in self.flow.occupied.rows() {
            // All masks may be there while the user wants to stop: measuring takes longer than solving.
            if self.flow.is_ended() {
                return Ok(None);
            }
            for near in self.near(row) {
                if !self.keep(near)? {
                    return Ok(None);
                }
            }
            let mut seconds = self.built.seconds;
            timed(&mut seconds, || self.finish(row))?;
            self.built.seconds = seconds;
            let reach = self.reach();
            self.raw.retain(|&r, _| r > row);
            self.kept.retain(|&r, _| r + reach > row);
            self.flow.assembled(self.flow.occupied.row(row).len());
        }
        self.built.worst = self.show_worst()?;
        self.writer.finish()?;
        Ok(Some(self.built))
    }

    /// Loads a row's cores; false if the run ends first.
    fn load(&mut self, row: usize) -> Result<bool, EngineError> {
        if self.raw.contains_key(&row) {
            return Ok(true);
        }
        let tiles = self.flow.occupied.row(row);
        let Some(keys) = self.flow.take(tiles) else { return Ok(false) };
        let distinct: HashSet<Key> = keys.iter().copied().collect();
        let read = |key: Key| Ok((key, Arc::new(self.read(&key)?)));
        let read: Result<HashMap<Key, Arc<Core>>, EngineError> =
            self.threads().install(|| distinct.into_par_iter().map(read).collect());
        let (read, columns) = (read?, self.chip.grid.columns);
        let cores = tiles.iter().zip(keys).map(|(tile, key)| (tile % columns, read[&key].clone()));
        self.raw.insert(row, cores.collect());
        Ok(true)
    }

    fn read(&self, key: &Key) -> Result<Core, EngineError> {
        let damaged = || EngineError::Setting("the run's journal was changed while it ran".into());
        Core::from_bytes(&self.flow.answer(key)?).ok_or_else(damaged)
    }

    /// Makes a row's kept cores; false if the run ends first.
    fn keep(&mut self, row: usize) -> Result<bool, EngineError> {
        if self.kept.contains_key(&row) {
            return Ok(true);
        }
        for near in self.near(row) {
            if !self.load(near)? {
                return Ok(false);
            }
        }
        let grid = &self.chip.grid;
        let Some(rules) = self.chip.setup.rules.filter(|_| grid.len() > 1) else {
            self.kept.insert(row, self.raw[&row].clone());
            return Ok(true);
        };
        let raw = &self.raw;
        let kept = |(&column, core): (&usize, &Arc<Core>)| {
            let _span = info_span!("seam rules").entered();
            let pixel_nm = core.pixel_nm;
            let halo = grid.halo as f64 * grid.pixel_nm;
            let margin = (RULES_REACH_NM.min(halo) / pixel_nm).round() as usize;
            let window = around(raw, [row, column], margin);
            let met = if window.is_dark() { None } else { rules.met(&window, pixel_nm) };
            let Some(mask) = met else { return (column, core.clone()) };
            let pixels = Packed::of(&mask.unframed(margin));
            (column, Arc::new(Core { pixel_nm, pixels }))
        };
        let cores = self.threads().install(|| raw[&row].par_iter().map(kept).collect());
        self.kept.insert(row, cores);
        Ok(true)
    }

    /// Writes a row's polygons and adds its numbers.
    fn finish(&mut self, row: usize) -> Result<(), EngineError> {
        let columns: Vec<usize> = self.kept[&row].keys().copied().collect();
        let tiles = || columns.par_iter().map(|&column| self.assembled([row, column])).collect();
        let tiles: Result<Vec<Assembled>, EngineError> = self.threads().install(tiles);
        let mut polygons = Vec::new();
        for (column, mut tile) in columns.into_iter().zip(tiles?) {
            self.built.polygons += tile.polygons.len() as u64;
            polygons.push(std::mem::take(&mut tile.polygons));
            self.add([column, row], tile)?;
        }
        Ok(self.writer.add(polygons)?)
    }

    /// A tile's polygons and numbers.
    fn assembled(&self, [row, column]: [usize; 2]) -> Result<Assembled, EngineError> {
        let _span = info_span!("assemble").entered();
        let core = &self.kept[&row][&column];
        let (side, grid) = (core.pixels.side, &self.chip.grid);
        let index = row * grid.columns + column;
        let mask_grid = rescaled(grid, core.pixel_nm)?;
        let pixel_nm = core.pixel_nm;
        let margin = if self.chip.measure { mask_grid.halo } else { mask_grid.halo.min(TRACED) };
        let window = around(&self.kept, [row, column], margin);
        let inner = [margin, margin, margin + side, margin + side];
        let frame = mask_grid.frame(index);
        let corner = frame.origin_nm.map(|v| v + (mask_grid.halo - margin) as f64 * pixel_nm);
        let polygons = info_span!("polygons").in_scope(|| match self.chip.setup.style {
            _ if window.is_dark() => Vec::new(),
            MaskStyle::Curvilinear { tolerance_nm } => {
                contour::bits_within(&window, pixel_nm, inner, tolerance_nm, corner)
            }
            MaskStyle::Pixels | MaskStyle::Manhattan { .. } => {
                trace::bits_within(&window, pixel_nm, inner, corner)
            }
        });
        let measure = || -> Result<(Measured, Packed), EngineError> {
            let packed = Packed::of(&window);
            let measured = self.measurer.measured(index, &window, &packed)?;
            Ok((measured, packed))
        };
        let measured = self.chip.measure.then(measure).transpose()?;
        let inside = window.unframed(margin);
        let (small, open) = (Scale::of(&mask_grid).part(&inside, pixel_nm), !inside.is_dark());
        let design = Scale::of(grid).design(self.chip.library, grid, [column, row])?;
        Ok(Assembled { polygons, measured, small, design, open })
    }

    /// Adds a tile's numbers.
    fn add(&mut self, place: [usize; 2], tile: Assembled) -> Result<(), EngineError> {
        let (grid, built) = (&self.chip.grid, &mut self.built);
        built.open |= tile.open;
        if built.picture.is_none() {
            let pixel_nm = self.kept[&place[1]][&place[0]].pixel_nm;
            built.picture = Some(Picture::new(&rescaled(grid, pixel_nm)?));
        }
        if let Some(picture) = &mut built.picture {
            picture.show(&tile.small, place);
        }
        built.design.get_or_insert_with(|| Picture::new(grid)).show(&tile.design, place);
        let Some((measured, window)) = tile.measured else { return Ok(()) };
        let Measured { before, after, violations, unprinted, seams, print } = measured;
        built.print.get_or_insert_with(|| Picture::new(grid)).show_shades(&print, place);
        let error = after.l2_nm2 + after.pvb_nm2;
        let index = place[1] * grid.columns + place[0];
        if self.worst.as_ref().is_none_or(|(worst, ..)| error > *worst || error.is_nan()) {
            self.worst = Some((error, index, window));
        }
        for (sum, tile) in [(&mut built.before, &before), (&mut built.after, &after)] {
            sum.add(tile);
            sum.shots += tile.shots;
        }
        built.seams.add(&seams);
        built.broken += violations.len();
        let core_nm = grid.core() as f64 * grid.pixel_nm;
        let corner = [0, 1].map(|i| grid.origin_nm[i] + place[i] as f64 * core_nm);
        let room = MOST_LISTED.saturating_sub(built.violations.len());
        built.violations.extend(placed(violations, corner).into_iter().take(room));
        built.unprinted.add(&unprinted, corner);
        Ok(())
    }

    /// The images of the tile with the largest error.
    fn show_worst(&self) -> Result<Option<Shown>, EngineError> {
        let Some((_, index, packed)) = &self.worst else { return Ok(None) };
        let (target, frame) = (self.flow.source.target(*index)?, self.chip.grid.frame(*index));
        let pixel_nm = frame.pixel_nm * frame.width as f64 / packed.side as f64;
        let mask = packed.bits().to_raster(pixel_nm);
        let evaluation = self.measurer.evaluator.evaluate(&mask, &target, self.chip.grid.halo)?;
        let grid = &self.chip.grid;
        let [low, high] = [grid.halo, grid.field - grid.halo].map(|px| px as f64 * grid.pixel_nm);
        let core_nm = Some([low, low, high, high]);
        Ok(Some(Shown { frame, core_nm, target, mask, evaluation }))
    }
}
