//! How a mask of any size prints: the flow of tiles whose answers are printed contours.
//!
//! Kernels are cut off smoothly at the halo's width ([`lithoburn_litho::optics::ambit`]), so that the images of neighbouring tiles are
//! one image. Of each tile the contours at the three corners are written, cut along the tiles' cores, and areas are summed.

mod printed;
mod printer;

use std::path::Path;
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use lithoburn_layout::{Coverage, Library, Polygon, PolygonWriter, Raster, TileGrid};
use lithoburn_litho::{Focus, KernelSet, LithoError, Process, Simulator};
use lithoburn_models::kernels_sha256;
use lithoburn_pool::{Chosen, memory};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::EngineError;
use crate::chip::around;
use crate::devices::lane::Lane;
use crate::event::{Event, Phase};
use crate::files;
use crate::setup::{MOST_PIXELS, program};
use crate::style::{MASK_LAYER, MaskFormat};
use crate::tiles::Flow;
use crate::tiles::folder::Folder;
use crate::tiles::journal::{Key, Kind};
use crate::tiles::occupied::Occupied;
use crate::tiles::scan::Source;
pub use printed::Areas;
use printed::Printed;

/// Database unit of printed contours, in nm.
const UNIT_NM: f64 = 0.1;
/// Tiles that a GPU simulates at once.
const GPU_BATCH: usize = 8;

/// A simulation that is being described.
#[derive(Clone, Debug)]
#[must_use]
pub struct Printing<'a> {
    library: &'a Library,
    kernels: KernelSet,
    kernels_name: String,
    process: Process,
    tile_nm: f64,
    halo_nm: Option<f64>,
    pixel_nm: f64,
    coverage: Coverage,
    lanes: Vec<Lane>,
    format: MaskFormat,
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
    /// SHA-256 of the kernels' numbers, before they are cut.
    pub kernels_sha256: String,
    /// Reach of the kernels and width of the halo, in nm.
    pub halo_nm: f64,
    /// Side of a tile, in nm.
    pub tile_nm: f64,
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// Tiles in x and y.
    pub tiles: [usize; 2],
    /// Of those, tiles that hold nothing and were not looked at.
    pub empty: u64,
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

impl<'a> Printing<'a> {
    /// The simulation of a mask with these optics, which have a name for the report, on these devices. Tiles are four times the
    /// optics' field.
    pub fn of(
        library: &'a Library,
        kernels: KernelSet,
        name: impl Into<String>,
        on: &[Chosen],
    ) -> Self {
        let lane = |device: &Chosen| {
            // Two threads a GPU: one traces contours while the other's images are computed.
            let (batch, copies) = if device.name == "cpu" { (1, 1) } else { (GPU_BATCH, 2) };
            std::iter::repeat_n(Lane { device: device.clone(), batch, team: None }, copies)
        };
        Self {
            library,
            tile_nm: 4.0 * kernels.period_nm,
            kernels,
            kernels_name: name.into(),
            process: Process::default(),
            halo_nm: None,
            pixel_nm: 1.0,
            coverage: Coverage::Exact,
            lanes: on.iter().flat_map(lane).collect(),
            format: MaskFormat::default(),
        }
    }

    /// Corners, resist and diffusion.
    pub fn process(self, process: Process) -> Self {
        Self { process, ..self }
    }

    /// Side of a tile, in nm.
    pub fn tile_nm(self, tile_nm: f64) -> Self {
        Self { tile_nm, ..self }
    }

    /// Width of the halo and reach of the kernels, in nm; none takes half of the kernels' period, or a quarter of the tile if that is
    /// less.
    pub fn halo_nm(self, halo_nm: impl Into<Option<f64>>) -> Self {
        Self { halo_nm: halo_nm.into(), ..self }
    }

    /// Side of a pixel of mask and images, in nm.
    pub fn pixel_nm(self, pixel_nm: f64) -> Self {
        Self { pixel_nm, ..self }
    }

    /// How polygons become pixels.
    pub fn coverage(self, coverage: Coverage) -> Self {
        Self { coverage, ..self }
    }

    /// Tiles that each device computes at once; none takes 8 on a GPU and 1 on the CPU.
    pub fn batch(mut self, batch: impl Into<Option<usize>>) -> Self {
        if let Some(batch) = batch.into() {
            self.lanes.iter_mut().for_each(|lane| lane.batch = batch);
        }
        self
    }

    /// Format of the contours.
    pub fn format(self, format: MaskFormat) -> Self {
        Self { format, ..self }
    }

    fn halo(&self) -> f64 {
        let own = (self.kernels.period_nm / 2.0).min(self.tile_nm / 4.0);
        self.halo_nm.unwrap_or((own / self.pixel_nm).floor() * self.pixel_nm)
    }

    /// The tiles that cover the mask.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if tile, halo and pixels do not fit each other.
    pub fn grid(&self) -> Result<TileGrid, EngineError> {
        if !(self.pixel_nm.is_finite() && self.pixel_nm > 0.0) {
            let problem = format!("the pixel must be more than 0 nm, got {}", self.pixel_nm);
            return Err(EngineError::Setting(problem));
        }
        let size = self.tile_nm / self.pixel_nm;
        if !(1.0..=MOST_PIXELS).contains(&size) {
            return Err(EngineError::Setting(format!(
                "a tile of {} nm is {size} pixels of {} nm on a side; expected 1 to {MOST_PIXELS}",
                self.tile_nm, self.pixel_nm
            )));
        }
        let extent = around(self.library.extent());
        let (halo, pixel) = (self.halo(), self.pixel_nm);
        Ok(TileGrid::cover_library(self.library, extent, self.tile_nm, halo, pixel)?)
    }

    fn source(&self, grid: TileGrid) -> Source<'a> {
        let (library, coverage) = (self.library, self.coverage);
        Source { library, grid, coverage, finest_nm: None }
    }

    /// What two runs must have in common for one to go on from the other's tiles.
    fn fingerprint(&self, grid: &TileGrid) -> Key {
        let settings = serde_json::json!({
            "kernels": kernels_sha256(&self.kernels),
            "process": self.process,
            "tile": [grid.field, grid.halo],
            "pixel_nm": grid.pixel_nm,
            "coverage": format!("{:?}", self.coverage),
            "program": program(),
        });
        Sha256::digest(format!("print {settings}")).into()
    }

    /// Simulates the mask and leaves `printed_nominal`, `printed_outer` and `printed_inner` with the report in `out`. `watch` hears of
    /// the progress and `stop` is asked from any thread; if either says so, the run ends, and finished tiles stay for the next one.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; finished tiles are kept.
    pub fn run(
        &self,
        out: &Path,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<PrintReport, EngineError> {
        let start = Instant::now();
        let grid = self.grid()?;
        let kernels = self.kernels.within_ambit(self.halo(), self.tile_nm)?;
        let occupied = Occupied::of(self.library, &grid)?;
        let folder = Folder::claim(out)?;
        let fingerprint = self.fingerprint(&grid);
        let flow = Flow::open(self.source(grid), occupied, &folder, Kind::Printed, &fingerprint)?;
        let files = Files::create(self, &folder)?;
        let crew = printer::crew(&self.lanes, &kernels, self.process, grid);
        let phases = [Phase::Simulate; 2];
        let ran = flow.run(crew, || files.all(&flow), phases, stop, watch)?;
        let Some((areas, contours)) = ran.built else { return Err(flow.interrupted(&folder)) };
        let extent = self.library.extent();
        let seconds = start.elapsed().as_secs_f64();
        let report = PrintReport {
            layout: self.library.name().to_string(),
            extent_nm: [extent.width(), extent.height()],
            polygons: self.library.count(),
            kernels: kernels.described(&self.kernels_name),
            kernels_sha256: kernels_sha256(&self.kernels),
            halo_nm: self.halo(),
            tile_nm: self.tile_nm,
            pixel_nm: self.pixel_nm,
            tiles: [grid.columns, grid.rows],
            empty: (grid.len() - flow.occupied.len()) as u64,
            simulated: flow.journal().count(Kind::Printed) - flow.resumed,
            process: self.process,
            areas,
            contours,
            seconds,
            seconds_per_mm2: seconds * 1e12 / (extent.width() * extent.height()),
            host_peak_bytes: memory::host_peak(),
            pool: ran.pool,
            version: env!("CARGO_PKG_VERSION"),
        };
        files::report(&report, &folder)?;
        flow.finish()?;
        Ok(report)
    }
}

/// The three files, and what went into them.
struct Files {
    writers: [PolygonWriter; 3],
    areas: Areas,
    contours: [u64; 3],
}

impl Files {
    fn create(printing: &Printing, folder: &Folder) -> Result<Self, EngineError> {
        let ending = printing.format.ending();
        let file = |name: &str| {
            let path = folder.file(&format!("printed_{name}.{ending}"));
            PolygonWriter::create(&path, printing.library.name(), MASK_LAYER, UNIT_NM)
        };
        let [nominal, outer, inner] = printing.process.window.corners().map(|(name, _)| file(name));
        let writers = [nominal?, outer?, inner?];
        Ok(Self { writers, areas: Areas::default(), contours: [0; 3] })
    }

    /// Writes all tiles in their order; none if the run ends before their prints are there.
    fn all(mut self, flow: &Flow) -> Result<Option<(Areas, [u64; 3])>, EngineError> {
        let damaged = || EngineError::Setting("the run's journal was changed while it ran".into());
        for &tile in flow.occupied.tiles() {
            let Some(keys) = flow.take(&[tile]) else { return Ok(None) };
            let bytes = flow.answer(&keys[0])?;
            self.add(&flow.source.grid, tile, &Printed::from_bytes(&bytes).ok_or_else(damaged)?)?;
            flow.assembled(1);
        }
        for writer in self.writers {
            writer.finish()?;
        }
        Ok(Some((self.areas, self.contours)))
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
    let mask = printing.source(grid).target(tile)?;
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
