//! How a mask of any size prints: simulation alone, tile by tile.
//!
//! Kernels are cut off smoothly at the halo's width ([`lithoburn_litho::optics::ambit`]), so that the images of neighbouring tiles are
//! one image. Of each tile the contours at the three corners are written, cut along the tiles' cores, and areas are summed.
//! Nothing is kept but the tiles in flight and the prints of targets that come again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use lithoburn_layout::{
    Coverage, Layout, Library, Polygon, PolygonWriter, Raster, TileGrid, contour,
};
use lithoburn_litho::{
    Focus, KernelSet, LithoError, Process, ProcessWindow, Resist, Sampling, Simulator,
};
use lithoburn_pool::{Failure, Member, Terms, Worker, memory, share};
use rayon::prelude::*;
use serde::Serialize;

use crate::chip::{Key, Lane, MaskFormat, around, digest};
use crate::field::{Event, Stage};
use crate::files::{MASK_LAYER, probe_directory};
use crate::{EngineError, files};

/// Pixels around a core that its contours are traced on.
const MARGIN: usize = 4;
/// Corners of a printed polygon are left out within this distance of its contour, in nm.
const TOLERANCE_NM: f64 = 0.5;
/// Database unit of printed contours, in nm.
const UNIT_NM: f64 = 0.1;
/// Bytes of prints that are kept for targets that come again.
const MOST_KEPT: usize = 512 << 20;

/// A simulation, and everything it depends on.
pub struct Printing<'a> {
    /// The mask.
    pub library: &'a Library,
    /// The optics; their period limits the halo.
    pub kernels: &'a KernelSet,
    /// Where they come from, for the report.
    pub kernels_name: String,
    /// Corners and resist.
    pub process: Process,
    /// Side of a tile, in nm.
    pub tile_nm: f64,
    /// Width of the halo and reach of the kernels, in nm; `None` takes half of the kernels' period, or a quarter of the tile
    /// if that is less.
    pub halo_nm: Option<f64>,
    /// Side of a pixel of mask and images, in nm.
    pub pixel_nm: f64,
    /// How polygons become pixels.
    pub coverage: Coverage,
    /// The devices.
    pub lanes: Vec<Lane>,
    /// Format of the contours.
    pub format: MaskFormat,
}

/// Areas of a print, in nm².
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Areas {
    /// Of the mask.
    pub mask_nm2: f64,
    /// Printed at the nominal, outer and inner corner.
    pub printed_nm2: [f64; 3],
    /// Where the nominal print is not the mask.
    pub l2_nm2: f64,
    /// Between the outer and the inner print.
    pub pvb_nm2: f64,
}

/// What a run says.
#[derive(Clone, Debug, Serialize)]
pub struct PrintReport {
    /// The mask's name.
    pub layout: String,
    /// Its extent, in nm.
    pub extent_nm: [f64; 2],
    /// Polygons of the mask.
    pub polygons: u64,
    /// Where the kernels come from.
    pub kernels: String,
    /// Reach of the kernels and width of the halo, in nm.
    pub halo_nm: f64,
    /// Side of a tile, in nm.
    pub tile_nm: f64,
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// Tiles in x and y.
    pub tiles: [usize; 2],
    /// Tiles that were simulated; the others had a target that was known.
    pub simulated: usize,
    /// Corners and resist.
    pub process: Process,
    /// Areas.
    pub areas: Areas,
    /// Polygons printed at the nominal, outer and inner corner.
    pub contours: [u64; 3],
    /// Seconds of the whole run.
    pub seconds: f64,
    /// Seconds for a square millimetre of layout.
    pub seconds_per_mm2: f64,
    /// The most host memory that the process held, in bytes, where the system tells.
    pub host_peak_bytes: Option<u64>,
    /// What the devices did.
    pub pool: lithoburn_pool::Report,
    /// Version of the program.
    pub version: &'static str,
}

struct Tile {
    key: Key,
    mask: Raster,
}

/// A tile's print, from its core's first corner.
struct Printed {
    contours: [Vec<Polygon>; 3],
    areas: Areas,
}

impl Printed {
    fn bytes(&self) -> usize {
        self.contours.iter().flatten().map(|p| 16 * p.points.len() + 48).sum()
    }
}

/// Tiles in their order, and the prints that are known.
#[derive(Default)]
struct Board {
    waiting: VecDeque<Key>,
    open: HashSet<Key>,
    known: HashMap<Key, Arc<Printed>>,
    bytes: usize,
    written: usize,
    simulated: usize,
}

impl Printing<'_> {
    fn halo(&self) -> f64 {
        let own = (self.kernels.period_nm / 2.0).min(self.tile_nm / 4.0);
        self.halo_nm.unwrap_or((own / self.pixel_nm).floor() * self.pixel_nm)
    }

    /// The tiles that cover the mask.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if tile, halo and pixels do not fit each other.
    pub fn grid(&self) -> Result<TileGrid, EngineError> {
        Ok(TileGrid::cover(
            around(self.library.extent()),
            self.tile_nm,
            self.halo(),
            self.pixel_nm,
        )?)
    }

    /// Simulates the mask and leaves `printed_nominal`, `printed_outer` and `printed_inner` with the report in `out`.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; no file is left in that case.
    pub fn run(
        &self,
        out: &Path,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<PrintReport, EngineError> {
        let start = Instant::now();
        let grid = self.grid()?;
        let kernels = self.kernels.within_ambit(self.halo(), self.tile_nm)?;
        probe_directory(out)?;
        let board = Mutex::new(Board::default());
        let mut files = Files::create(self, out)?;
        let crew = self.crew(&kernels, &grid);
        let batches: usize = crew.iter().map(|member| member.batch).sum();
        let terms = Terms { ahead: (2 * batches).max(4), ..Terms::default() };
        let scan = Scan { printing: self, grid, board: &board, next: 0, made: VecDeque::new() };
        let mut said = true;
        let mut sink = |_: usize, (key, printed): (Key, Printed)| {
            let done = {
                let mut board = lock(&board);
                board.solved(key, printed);
                board.write(&grid, &mut files)?;
                board.written
            };
            said &=
                watch(Event { stage: Stage::Simulate, done, total: grid.len(), loss_nm2: None });
            match said {
                true => Ok(()),
                false => Err(EngineError::Stopped("nothing was written".into())),
            }
        };
        let pool = share(crew, scan, &terms, stop, &mut sink)?;
        if pool.stopped {
            return Err(EngineError::Stopped("nothing was written".into()));
        }
        let mut board = lock(&board);
        board.write(&grid, &mut files)?;
        let (areas, contours) = files.finish()?;
        let extent = self.library.extent();
        let seconds = start.elapsed().as_secs_f64();
        let report = PrintReport {
            layout: self.library.name().to_string(),
            extent_nm: [extent.width(), extent.height()],
            polygons: self.library.count(),
            kernels: self.kernels_name.clone(),
            halo_nm: self.halo(),
            tile_nm: self.tile_nm,
            pixel_nm: self.pixel_nm,
            tiles: [grid.columns, grid.rows],
            simulated: board.simulated,
            process: self.process,
            areas,
            contours,
            seconds,
            seconds_per_mm2: seconds * 1e12 / (extent.width() * extent.height()),
            host_peak_bytes: memory::host_peak(),
            pool,
            version: env!("CARGO_PKG_VERSION"),
        };
        files::report(&report, out)?;
        Ok(report)
    }

    /// A tile of the mask.
    fn mask(&self, grid: &TileGrid, tile: usize) -> Result<Raster, EngineError> {
        let frame = grid.frame(tile);
        let polygons = self.library.polygons_in(frame.bounds())?;
        Ok(Layout::new("tile", polygons).rasterize(&frame, self.coverage))
    }

    fn crew(&self, kernels: &KernelSet, grid: &TileGrid) -> Vec<Member<Tile, (Key, Printed)>> {
        let kernels = Arc::new(kernels.clone());
        let (process, pixel_nm, grid) = (self.process, self.pixel_nm, *grid);
        let member = |lane: &Lane| {
            let (kernels, device) = (kernels.clone(), lane.device.device.clone());
            let make = move || {
                let simulator =
                    Simulator::new(&kernels, &device).with_diffusion(process.diffusion_nm);
                let sampling =
                    simulator.sampling(pixel_nm, 1).map_err(|e| Failure::Task(e.to_string()))?;
                let window = process.window;
                Ok(Box::new(Printer { simulator, sampling, window, grid })
                    as Box<dyn Worker<Tile, (Key, Printed)>>)
            };
            Member { name: lane.device.name.clone(), batch: lane.batch, make: Arc::new(make) }
        };
        self.lanes.iter().map(member).collect()
    }
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    // Each change of the board is whole before anything can panic.
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// Notes a tile; true if its print is neither known nor on its way.
    fn place(&mut self, key: Key) -> bool {
        self.waiting.push_back(key);
        !self.known.contains_key(&key) && self.open.insert(key)
    }

    fn solved(&mut self, key: Key, printed: Printed) {
        self.open.remove(&key);
        self.bytes += printed.bytes();
        self.simulated += 1;
        self.known.insert(key, Arc::new(printed));
    }

    /// Writes what is next in order, and forgets prints if they are too many.
    fn write(&mut self, grid: &TileGrid, files: &mut Files) -> Result<(), EngineError> {
        while let Some(printed) = self.waiting.front().and_then(|key| self.known.get(key)) {
            files.add(grid, self.written, printed)?;
            self.waiting.pop_front();
            self.written += 1;
        }
        if self.bytes > MOST_KEPT {
            let needed: HashSet<&Key> = self.waiting.iter().collect();
            self.known.retain(|key, _| needed.contains(key));
            self.bytes = self.known.values().map(|printed| printed.bytes()).sum();
        }
        Ok(())
    }
}

/// Makes tasks of the tiles whose print is not known, some at a time.
struct Scan<'a> {
    printing: &'a Printing<'a>,
    grid: TileGrid,
    board: &'a Mutex<Board>,
    next: usize,
    made: VecDeque<Tile>,
}

impl Scan<'_> {
    fn tile(&self, index: usize) -> Result<Tile, EngineError> {
        let mask = self.printing.mask(&self.grid, index)?;
        Ok(Tile { key: digest(&mask), mask })
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Tile, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.made.is_empty() && self.next < self.grid.len() {
            let end = (self.next + rayon::current_num_threads()).min(self.grid.len());
            let tiles: Result<Vec<Tile>, EngineError> =
                (self.next..end).into_par_iter().map(|index| self.tile(index)).collect();
            let tiles = match tiles {
                Ok(tiles) => tiles,
                Err(error) => return Some(Err(error)),
            };
            let mut board = lock(self.board);
            self.made.extend(tiles.into_iter().filter(|tile| board.place(tile.key)));
            self.next = end;
        }
        self.made.pop_front().map(Ok)
    }
}

/// A device that simulates.
struct Printer {
    simulator: Simulator,
    sampling: Sampling,
    window: ProcessWindow,
    grid: TileGrid,
}

impl Worker<Tile, (Key, Printed)> for Printer {
    fn run(&mut self, batch: &[Arc<Tile>]) -> Result<Vec<(Key, Printed)>, Failure> {
        let field = self.grid.field;
        let mut data = Vec::with_capacity(batch.len() * field * field);
        batch.iter().for_each(|tile| data.extend_from_slice(&tile.mask.data));
        let data = TensorData::new(data, [batch.len(), field, field]);
        let masks = Tensor::<3>::from_data(data, self.simulator.device());
        let aerial = self.simulator.aerial(masks, &self.sampling, &self.sampling);
        let images = [Focus::Best, Focus::Defocus].map(|focus| self.read(aerial.at(focus)));
        let [best, defocus] = images;
        let (best, defocus) = (best?, defocus?);
        let side = self.around();
        let printed = |(i, tile): (usize, &Arc<Tile>)| {
            let part = i * side * side..(i + 1) * side * side;
            (tile.key, self.printed(&tile.mask, &best[part.clone()], &defocus[part]))
        };
        Ok(batch.par_iter().enumerate().map(printed).collect())
    }
}

impl Printer {
    /// Pixels around the core that are read.
    fn margin(&self) -> usize {
        MARGIN.min(self.grid.halo)
    }

    fn around(&self) -> usize {
        self.grid.core() + 2 * self.margin()
    }

    /// The part of images that is needed.
    fn read(&self, images: Tensor<3>) -> Result<Vec<f32>, Failure> {
        let (first, side) = (self.grid.halo - self.margin(), self.around());
        let inner = images.narrow(1, first, side).narrow(2, first, side);
        inner.try_into_vec_as::<f32>().map_err(|e| Failure::of_message(&e.to_string()))
    }

    fn printed(&self, mask: &Raster, best: &[f32], defocus: &[f32]) -> Printed {
        let (side, margin, core) = (self.around(), self.margin(), self.grid.core());
        let pixel_nm = self.grid.pixel_nm;
        let shift = -(margin as f64) * pixel_nm;
        let inner = [margin, margin, margin + core, margin + core];
        let threshold = Resist::default().threshold;
        // The resist's threshold becomes one half.
        let image = |focus: Focus, dose: f64| {
            let values = if focus == Focus::Best { best } else { defocus };
            let factor = (dose * 0.5 / threshold) as f32;
            let data = values.iter().map(|v| v * factor).collect();
            Raster { width: side, height: side, pixel_nm, data }
        };
        let images = self.window.corners().map(|(_, corner)| image(corner.focus, corner.dose));
        let contours = images
            .each_ref()
            .map(|image| contour::polygons_within(image, inner, TOLERANCE_NM, [shift; 2]));
        let [nominal, outer, inside] =
            images.each_ref().map(|i| i.crop([margin as isize; 2], core, core));
        let halo = self.grid.halo as isize;
        let areas = areas(&mask.crop([halo, halo], core, core), [&nominal, &outer, &inside]);
        Printed { contours, areas }
    }
}

/// Areas of pixels at or above one half.
fn areas(mask: &Raster, printed: [&Raster; 3]) -> Areas {
    let pixel = mask.pixel_nm * mask.pixel_nm;
    let inside = |r: &Raster, i: usize| r.data[i] >= 0.5;
    let count =
        |f: &dyn Fn(usize) -> bool| (0..mask.data.len()).filter(|&i| f(i)).count() as f64 * pixel;
    Areas {
        mask_nm2: mask.area_nm2(),
        printed_nm2: printed.map(|p| count(&|i| inside(p, i))),
        l2_nm2: count(&|i| inside(printed[0], i) != inside(mask, i)),
        pvb_nm2: count(&|i| inside(printed[1], i) != inside(printed[2], i)),
    }
}

impl Areas {
    fn add(&mut self, other: &Self) {
        self.mask_nm2 += other.mask_nm2;
        self.l2_nm2 += other.l2_nm2;
        self.pvb_nm2 += other.pvb_nm2;
        for (sum, area) in self.printed_nm2.iter_mut().zip(other.printed_nm2) {
            *sum += area;
        }
    }
}

/// The three files, and what went into them.
struct Files {
    writers: [PolygonWriter; 3],
    areas: Areas,
    contours: [u64; 3],
}

impl Files {
    fn create(printing: &Printing, out: &Path) -> Result<Self, EngineError> {
        let ending = printing.format.ending();
        let file = |name: &str| {
            let path = out.join(format!("printed_{name}.{ending}"));
            PolygonWriter::create(&path, printing.library.name(), MASK_LAYER, UNIT_NM)
        };
        let [nominal, outer, inner] = printing.process.window.corners().map(|(name, _)| file(name));
        let writers = [nominal?, outer?, inner?];
        Ok(Self { writers, areas: Areas::default(), contours: [0; 3] })
    }

    fn add(&mut self, grid: &TileGrid, tile: usize, printed: &Printed) -> Result<(), EngineError> {
        let core_nm = grid.core() as f64 * grid.pixel_nm;
        let place = [tile % grid.columns, tile / grid.columns];
        let corner = [0, 1].map(|i| grid.origin_nm[i] + place[i] as f64 * core_nm);
        for (corner_index, contours) in printed.contours.iter().enumerate() {
            let moved: Vec<Polygon> = contours.iter().map(|p| p.shifted(corner)).collect();
            self.writers[corner_index].add(&moved)?;
            self.contours[corner_index] += moved.len() as u64;
        }
        self.areas.add(&printed.areas);
        Ok(())
    }

    fn finish(self) -> Result<(Areas, [u64; 3]), EngineError> {
        for writer in self.writers {
            writer.finish()?;
        }
        Ok((self.areas, self.contours))
    }
}

/// The images of one tile of a mask, in focus and out of it, without the halo: for those who want intensities.
///
/// # Errors
///
/// [`EngineError`] as [`Printing::run`].
pub fn images(printing: &Printing, tile: usize) -> Result<[Raster; 2], EngineError> {
    let grid = printing.grid()?;
    let kernels = printing.kernels.within_ambit(printing.halo(), printing.tile_nm)?;
    let none = || EngineError::Setting("no device to simulate on".into());
    let device = &printing.lanes.first().ok_or_else(none)?.device.device;
    let simulator = Simulator::new(&kernels, device).with_diffusion(printing.process.diffusion_nm);
    let sampling = simulator.sampling(printing.pixel_nm, 1)?;
    let mask = printing.mask(&grid, tile)?;
    let data = TensorData::new(mask.data, [1, grid.field, grid.field]);
    let aerial = simulator.aerial(Tensor::from_data(data, device), &sampling, &sampling);
    let read = |focus: Focus| -> Result<Raster, EngineError> {
        let values = aerial
            .at(focus)
            .try_into_vec_as::<f32>()
            .map_err(|e| LithoError::Device { doing: "read the image", problem: e.to_string() })?;
        let whole =
            Raster { width: grid.field, height: grid.field, pixel_nm: grid.pixel_nm, data: values };
        Ok(whole.crop([grid.halo as isize; 2], grid.core(), grid.core()))
    };
    Ok([read(Focus::Best)?, read(Focus::Defocus)?])
}
