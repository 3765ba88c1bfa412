//! Cores into a mask: row by row of tiles, as soon as the rows around are there.
//!
//! A row goes through three states. *Raw* cores are what the devices found. Where they meet, shapes are joined and the rules are
//! enforced once more, in windows that reach into the neighbours: that makes *kept* cores, which are the mask. Its polygons and
//! its numbers are read off windows of kept cores, so that neighbours see the same pixels on both sides of their border.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lithoburn_layout::{
    Polygon, PolygonWriter, Raster, TileGrid, Violation, contour, fracture, rules, trace,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::solve::Core;
use super::{Built, Run, Seams, file_grid};
use crate::EngineError;
use crate::evaluate::{Design, Evaluation, Evaluator, Metrics};
use crate::field::{MaskStyle, Shown};
use crate::files::rescaled;
use crate::tiles::journal::{Key, Kind};
use crate::tiles::packed::Packed;

/// How far rules see across a border, in nm: several times their widths.
const RULES_REACH_NM: f64 = 256.0;
/// Places of broken rules that a report lists.
const MOST_LISTED: usize = 1000;
/// Most pixels on a side of the mask's picture.
const PICTURE: usize = 4096;
/// Sites this near to a core's border are its seam's, in nm.
const SEAM_NM: f64 = 100.0;

type Row = Vec<Arc<Core>>;

/// Builds the mask's file and sums its numbers up.
pub(super) struct Assembler<'a> {
    run: &'a Run<'a>,
    writer: PolygonWriter,
    evaluator: Evaluator,
    raw: BTreeMap<usize, Row>,
    kept: BTreeMap<usize, Row>,
    built: Built,
    /// The worst tile so far: its error, its number, the mask around it.
    worst: Option<(f64, usize, Packed)>,
}

/// A tile's numbers, as the journal keeps them.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measured {
    before: Metrics,
    after: Metrics,
    /// From the core's first corner.
    violations: Vec<Violation>,
    seams: Seams,
}

/// What becomes of a tile.
struct Done {
    polygons: Vec<Polygon>,
    measured: Measured,
    /// The mask around it.
    window: Packed,
    small: Raster,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(run: &'a Run<'a>, out: &Path) -> Result<Self, EngineError> {
        let (unit_nm, layer) = file_grid(run.chip, &run.grid);
        let path = out.join(run.chip.format.file());
        let writer = PolygonWriter::create(&path, run.chip.library.name(), layer, unit_nm)?;
        let evaluator = Evaluator::new(&run.chip.job.kernels, &run.chip.job.process);
        let built = Built::default();
        let (raw, kept) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { run, writer, evaluator, raw, kept, built, worst: None })
    }

    /// Rows of tiles on each side that a window reaches.
    fn reach(&self) -> usize {
        self.run.grid.halo.div_ceil(self.run.grid.core())
    }

    /// All rows; none if the run ends before their masks are there.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the mask cannot be written or measured.
    pub(super) fn all(mut self) -> Result<Option<Built>, EngineError> {
        for row in 0..self.run.grid.rows {
            // All masks may be there while the user wants to stop: measuring takes longer than solving.
            if self.run.ended.load(Ordering::SeqCst) {
                return Ok(None);
            }
            let reach = self.reach();
            for near in row.saturating_sub(reach)..=(row + reach).min(self.run.grid.rows - 1) {
                if !self.keep(near)? {
                    return Ok(None);
                }
            }
            self.finish(row)?;
            self.raw.retain(|&r, _| r > row);
            self.kept.retain(|&r, _| r + reach > row);
            self.run.assembled.fetch_add(self.run.grid.columns, Ordering::SeqCst);
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
        let columns = self.run.grid.columns;
        let ended = || self.run.ended.load(Ordering::SeqCst);
        let Some(keys) = self.run.board.wait(row * columns..(row + 1) * columns, &ended) else {
            return Ok(false);
        };
        let mut seen: HashMap<Key, Arc<Core>> = HashMap::new();
        let mut cores = Vec::with_capacity(columns);
        for key in keys {
            let core = match seen.get(&key) {
                Some(core) => core.clone(),
                None => Arc::new(self.read(&key)?),
            };
            seen.insert(key, core.clone());
            cores.push(core);
        }
        self.raw.insert(row, cores);
        Ok(true)
    }

    fn read(&self, key: &Key) -> Result<Core, EngineError> {
        let bytes = self.run.lock().read(Kind::Mask, key)?;
        let damaged = || EngineError::Setting("the run's journal was changed while it ran".into());
        bytes.and_then(|bytes| Core::from_bytes(&bytes)).ok_or_else(damaged)
    }

    /// Makes a row's kept cores; false if the run ends first.
    fn keep(&mut self, row: usize) -> Result<bool, EngineError> {
        if self.kept.contains_key(&row) {
            return Ok(true);
        }
        let reach = self.reach();
        for near in row.saturating_sub(reach)..=(row + reach).min(self.run.grid.rows - 1) {
            if !self.load(near)? {
                return Ok(false);
            }
        }
        let grid = &self.run.grid;
        let Some(rules) = self.run.chip.job.rules.filter(|_| grid.len() > 1) else {
            self.kept.insert(row, self.raw[&row].clone());
            return Ok(true);
        };
        let raw = &self.raw;
        let kept = |column: usize| {
            let core = &raw[&row][column];
            let (side, pixel_nm) = (core.pixels.side, core.pixel_nm);
            let halo = grid.halo as f64 * grid.pixel_nm;
            let margin = (RULES_REACH_NM.min(halo) / pixel_nm).round() as usize;
            let mut window = [around(raw, [row, column], margin)];
            if is_dark(&window[0]) {
                return core.clone();
            }
            rules::enforce_all(&rules, &mut window);
            let pixels = Packed::of(&window[0], [margin, margin], side);
            Arc::new(Core { pixel_nm, pixels })
        };
        let cores = (0..grid.columns).into_par_iter().map(kept).collect();
        self.kept.insert(row, cores);
        Ok(true)
    }

    /// Writes a row's polygons and adds its numbers.
    fn finish(&mut self, row: usize) -> Result<(), EngineError> {
        let columns = self.run.grid.columns;
        let tiles = (0..columns).into_par_iter().map(|column| self.done([row, column]));
        let tiles: Result<Vec<Done>, EngineError> = tiles.collect();
        for (column, done) in tiles?.into_iter().enumerate() {
            self.writer.add(&done.polygons)?;
            self.built.polygons += done.polygons.len() as u64;
            self.add(row * columns + column, done);
        }
        Ok(())
    }

    /// A tile's polygons and numbers.
    fn done(&self, [row, column]: [usize; 2]) -> Result<Done, EngineError> {
        let core = &self.kept[&row][column];
        let (side, grid) = (core.pixels.side, &self.run.grid);
        let index = row * grid.columns + column;
        let mask_grid = rescaled(grid, core.pixel_nm)?;
        let (margin, frame) = (mask_grid.halo, mask_grid.frame(index));
        let window = around(&self.kept, [row, column], margin);
        let inner = [margin, margin, margin + side, margin + side];
        let polygons = match self.run.chip.job.style {
            _ if is_dark(&window) => Vec::new(),
            MaskStyle::Curvilinear { tolerance_nm } => {
                contour::polygons_within(&window, inner, tolerance_nm, frame.origin_nm)
            }
            MaskStyle::Pixels | MaskStyle::Manhattan { .. } => {
                trace::polygons_within(&window, inner, frame.origin_nm)
            }
        };
        let packed = Packed::of(&window, [0, 0], window.width);
        let measured = match self.run.chip.measure {
            true => self.measured(index, &window, &packed)?,
            false => Measured::nothing(),
        };
        let inside = window.crop([margin as isize; 2], side, side);
        let small = inside.averaged(picture_factor(&mask_grid));
        Ok(Done { polygons, measured, window: packed, small })
    }

    /// A tile's numbers: known already, or simulated.
    fn measured(
        &self,
        index: usize,
        window: &Raster,
        packed: &Packed,
    ) -> Result<Measured, EngineError> {
        let target = self.run.target(index)?;
        let mut hash = Sha256::new();
        hash.update(&Packed::of(&target, [0, 0], target.width).runs);
        hash.update(&packed.runs);
        let key: Key = hash.finalize().into();
        let known = self.run.lock().read(Kind::Measured, &key)?;
        if let Some(known) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(known);
        }
        let halo = self.run.grid.halo;
        let design = Design::core(&target, halo);
        let before = self.evaluator.compare(&target, &design)?.metrics;
        let evaluation = self.evaluator.compare(window, &design)?;
        let margin = halo as f64 * self.run.grid.pixel_nm / window.pixel_nm;
        let inner = |raster: &Raster, halo: f64| {
            let side = raster.width - 2 * halo as usize;
            raster.crop([halo as isize; 2], side, side)
        };
        let mut measured = Measured {
            before,
            after: evaluation.metrics,
            violations: self.violations(window),
            seams: seams(&evaluation, &self.run.grid),
        };
        measured.before.shots = fracture::shot_count(&inner(&target, halo as f64));
        measured.after.shots = fracture::shot_count(&inner(window, margin.round()));
        let text = serde_json::to_vec(&measured)
            .map_err(|e| EngineError::Setting(format!("a tile's numbers have no JSON: {e}")))?;
        self.run.lock().append(Kind::Measured, &key, &text)?;
        Ok(measured)
    }

    /// Where a tile's core breaks the mask's rules. What touches the window's border is not wholly seen, and another tile's.
    fn violations(&self, window: &Raster) -> Vec<Violation> {
        let Some(rules) = self.run.chip.job.rules else { return Vec::new() };
        let grid = &self.run.grid;
        let (all, halo) = (grid.field as f64 * grid.pixel_nm, grid.halo as f64 * grid.pixel_nm);
        let ours = |v: &Violation| {
            (0..2).all(|i| {
                let middle = f64::midpoint(v.min_nm[i], v.max_nm[i]);
                let seen = grid.len() == 1 || (v.min_nm[i] > 0.0 && v.max_nm[i] < all);
                seen && middle >= halo && middle < all - halo
            })
        };
        let moved = |v: Violation| Violation {
            min_nm: v.min_nm.map(|x| x - halo),
            max_nm: v.max_nm.map(|x| x - halo),
            ..v
        };
        rules.check(window).into_iter().filter(ours).map(moved).collect()
    }

    /// Adds a tile's numbers.
    fn add(&mut self, index: usize, done: Done) {
        let (grid, built) = (&self.run.grid, &mut self.built);
        let place = [index % grid.columns, index / grid.columns];
        let Measured { before, after, violations, seams } = done.measured;
        let error = after.l2_nm2 + after.pvb_nm2;
        if self.run.chip.measure && self.worst.as_ref().is_none_or(|(worst, ..)| error > *worst) {
            self.worst = Some((error, index, done.window));
        }
        for (sum, tile) in [(&mut built.before, &before), (&mut built.after, &after)] {
            sum.add(tile);
            sum.shots += tile.shots;
        }
        built.seams.add(&seams);
        built.broken += violations.len();
        let core_nm = grid.core() as f64 * grid.pixel_nm;
        let corner = place.map(|i| i as f64 * core_nm);
        let shifted = |by: [f64; 2], at: [f64; 2]| [at[0] + by[0], at[1] + by[1]];
        let room = MOST_LISTED.saturating_sub(built.violations.len());
        built.violations.extend(violations.into_iter().take(room).map(|v| Violation {
            min_nm: shifted(corner, v.min_nm),
            max_nm: shifted(corner, v.max_nm),
            ..v
        }));
        let small = &done.small;
        if built.picture.data.is_empty() {
            let (columns, rows) = (grid.columns * small.width, grid.rows * small.width);
            built.picture = Raster::new(columns, rows, small.pixel_nm);
        }
        built.picture.paste(small, place.map(|i| (i * small.width) as isize));
    }

    /// The images of the tile with the largest error.
    fn show_worst(&self) -> Result<Option<Shown>, EngineError> {
        let Some((_, index, packed)) = &self.worst else { return Ok(None) };
        let (target, frame) = (self.run.target(*index)?, self.run.grid.frame(*index));
        let pixel_nm = frame.pixel_nm * frame.width as f64 / packed.side as f64;
        let mut mask = Raster::new(packed.side, packed.side, pixel_nm);
        packed.paste(&mut mask, [0, 0]);
        let evaluation = self.evaluator.evaluate(&mask, &target, self.run.grid.halo)?;
        Ok(Some(Shown { frame, target, mask, evaluation }))
    }
}

impl Measured {
    fn nothing() -> Self {
        let (before, after) = (Metrics::default(), Metrics::default());
        Self { before, after, violations: Vec::new(), seams: Seams::default() }
    }
}

/// The mask around a tile's core, as far as there are tiles.
fn around(rows: &BTreeMap<usize, Row>, [row, column]: [usize; 2], margin: usize) -> Raster {
    let core = &rows[&row][column];
    let side = core.pixels.side;
    let mut window = Raster::new(side + 2 * margin, side + 2 * margin, core.pixel_nm);
    let reach = margin.div_ceil(side) as isize;
    for (&near, cores) in rows.range(row.saturating_sub(reach as usize)..=row + reach as usize) {
        let down = near as isize - row as isize;
        for across in -reach..=reach {
            let place = usize::try_from(column as isize + across);
            if let Some(core) = place.ok().and_then(|place| cores.get(place)) {
                let at = [across, down].map(|d| d * side as isize + margin as isize);
                core.pixels.paste(&mut window, at);
            }
        }
    }
    window
}

fn is_dark(mask: &Raster) -> bool {
    mask.data.iter().all(|&v| v == 0.0)
}

/// Mask pixels on a side that are one of the picture: a divisor of the core's side.
fn picture_factor(grid: &TileGrid) -> usize {
    let (core, most) = (grid.core(), grid.columns.max(grid.rows) * grid.core());
    let least = most.div_ceil(PICTURE);
    (least..=core).find(|&f| core.is_multiple_of(f)).unwrap_or(core)
}

/// What prints along the core's border, and elsewhere.
fn seams(evaluation: &Evaluation, grid: &TileGrid) -> Seams {
    let mut seams = Seams::default();
    let (low, high) = (grid.halo as f64, (grid.field - grid.halo) as f64);
    for (site, finding) in &evaluation.sites {
        let near = site.at.iter().any(|&v| {
            let middle = v as f64 + 0.5;
            (middle - low).min(high - middle) * grid.pixel_nm < SEAM_NM
        });
        let violations = finding.violations();
        match near {
            true => {
                (seams.sites, seams.violations) = (seams.sites + 1, seams.violations + violations)
            }
            false => {
                (seams.other_sites, seams.other_violations) =
                    (seams.other_sites + 1, seams.other_violations + violations)
            }
        }
    }
    seams
}
