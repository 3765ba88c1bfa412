//! A layout of any size: cut into tiles that the devices share, corrected, put together again.
//!
//! ```text
//! Library ─ windows ─► target ─ SHA-256 ─► seen before? ─ no ─► pool of devices ─► core of the mask ─► journal
//!   row by row, three rows at a time:  cores ─► rules where cores meet ─► polygons, metrics ─► mask.gds, report
//! ```
//!
//! * A tile is a field of the optics; its core is what the halo leaves. Cores cover the layout without overlap.
//! * Equal targets have equal masks: a target that was seen before, anywhere in the layout or in a run that was stopped, is
//!   not computed again.
//! * Where cores meet, shapes of both are joined and the mask's rules are seen to again. Polygons are cut along the cores'
//!   borders, where those of neighbours meet at the same points.
//! * Memory holds some rows of packed cores and the tiles in flight, whatever the layout's size.

mod assemble;
mod scan;
mod solve;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lithoburn_layout::{Bounds, Library, Raster, TileGrid, Violation, png, write_whole};
use lithoburn_models::kernels_sha256;
use lithoburn_pool::{Chosen, Plan, Terms, memory, share};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::evaluate::{Evaluator, Metrics};
use crate::field::{Event, Job, MaskStyle, Report, Seconds, Shown, Stage};
use crate::files::{MASK_LAYER, picture, unit_nm};
pub(crate) use crate::tiles::journal::Key;
use crate::tiles::journal::{Journal, Kind};
use crate::{EngineError, Team, files};
use assemble::Assembler;
pub(crate) use scan::digest;
use scan::{Board, Scan};

/// The file that a run goes on from.
pub const JOURNAL: &str = "tiles.journal";
/// Least space between a tile's start and its neighbour's, in nm: a fully convolutional network's stride of 16 pixels of 8 nm, so
/// that it sees every tile on the same grid.
const STRIDE_NM: f64 = 128.0;
/// How often a waiting run looks whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A device with its share of the tiles.
#[derive(Clone, Debug)]
pub struct Lane {
    /// The device.
    pub device: Chosen,
    /// Tiles that it computes at once.
    pub batch: usize,
    /// Devices that compute the network for it.
    pub team: Option<Team>,
}

impl Lane {
    /// Threads of a lane that shares a batch of tiles: while one packs, checks and sends masks, the other's kernels run. More than
    /// half of a tile's time on an H200 was the host's. Other runtimes than CUDA's have one queue for all threads, and the CPU is busy
    /// as it is.
    pub(crate) fn hands(device: &str) -> usize {
        if device.starts_with("cuda") { 2 } else { 1 }
    }

    /// Tiles that each of its threads computes at once.
    fn batches(&self) -> Vec<usize> {
        let hands = match self.team {
            Some(_) => 1,
            None => Self::hands(&self.device.name).min(self.batch),
        };
        (0..hands).map(|hand| (self.batch + hand) / hands).collect()
    }
}

/// Format of the mask's polygons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaskFormat {
    /// GDSII.
    #[default]
    Gds,
    /// OASIS.
    Oasis,
}

impl MaskFormat {
    /// The mask file's name.
    pub fn file(self) -> &'static str {
        match self {
            Self::Gds => "mask.gds",
            Self::Oasis => "mask.oas",
        }
    }

    /// The ending of its files' names.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Gds => "gds",
            Self::Oasis => "oas",
        }
    }
}

/// A layout's correction, and everything it depends on.
pub struct Chip<'a> {
    /// Model, optics, rules and style; its device is the first lane's.
    pub job: &'a Job,
    /// The layout.
    pub library: &'a Library,
    /// Width of the halo, in nm; `None` takes [`auto_halo_nm`].
    pub halo_nm: Option<f64>,
    /// The devices.
    pub lanes: Vec<Lane>,
    /// The plan that they come from, for the report.
    pub plan: Option<Plan>,
    /// Format of the mask.
    pub format: MaskFormat,
    /// Whether tiles are simulated and measured, on the CPU.
    pub measure: bool,
}

/// What a tiled run says besides the numbers.
#[derive(Clone, Debug, Serialize)]
pub struct ChipReport {
    /// Tiles in x and y.
    pub tiles: [usize; 2],
    /// Side of a tile, in nm.
    pub tile_nm: f64,
    /// Width of the halo, in nm.
    pub halo_nm: f64,
    /// Different targets.
    pub unique: usize,
    /// Of those, found in the journal of a run that was stopped.
    pub resumed: usize,
    /// Whether tiles were simulated and measured.
    pub measured: bool,
    /// Polygons written.
    pub polygons: u64,
    /// Places where the mask breaks its rules; `violations` lists the first of them.
    pub violations: usize,
    /// What prints along the tiles' borders, and elsewhere.
    pub seams: Seams,
    /// The most host memory that the process held, in bytes, where the system tells.
    pub host_peak_bytes: Option<u64>,
    /// Side of a pixel of mask.png, in nm.
    pub picture_pixel_nm: f64,
    /// Who was to do what, and how much memory that should take.
    pub plan: Option<Plan>,
    /// Bytes held on each lane's device at the end, where it tells: allocators keep what they once needed.
    pub held_bytes: Vec<Option<u64>>,
    /// What the devices did.
    pub pool: lithoburn_pool::Report,
}

/// Strides in the widest halo that is taken unasked.
const MOST_STRIDES: f64 = 5.0;

/// Halo of a tile if none is asked for: five sixteenths of the field, 640 nm of 2048, and no more of a larger one. Beyond 512 nm lies
/// 1 % of the energy of the contest's kernels, but a tile's solver sees only its neighbours' design, not their masks. On a block of 31 by 30 µm, EPE along tile
/// borders was violated 2.8 times as often as elsewhere with 512 nm, 1.3 times with 640. In whole strides, so that cores are whole
/// strides apart.
pub fn auto_halo_nm(field_nm: f64) -> f64 {
    (field_nm * 5.0 / 16.0 / STRIDE_NM).ceil().min(MOST_STRIDES) * STRIDE_NM
}

/// What a mask may need around its design, in nm: edges that move outwards, and assist features.
const EDGE_NM: f64 = 256.0;

/// An extent with room around it.
pub(crate) fn around(extent: Bounds) -> Bounds {
    Bounds { min: extent.min.map(|v| v - EDGE_NM), max: extent.max.map(|v| v + EDGE_NM) }
}

/// What the parts of a run share.
struct Run<'a> {
    chip: &'a Chip<'a>,
    grid: TileGrid,
    journal: Mutex<Journal>,
    board: Board,
    /// Told to end early, by the user or by an error.
    ended: AtomicBool,
    /// Tiles that are in the mask file.
    assembled: AtomicUsize,
}

impl Chip<'_> {
    /// The tiles that cover the layout.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if halo and pixels do not fit the field, or the style is for one field only.
    pub fn grid(&self) -> Result<TileGrid, EngineError> {
        if let MaskStyle::Manhattan { .. } = self.job.style {
            return Err(EngineError::Setting(
                "a shot budget is for one field: leave out --tile, or --shots".into(),
            ));
        }
        let field_nm = self.job.kernels.period_nm;
        let halo_nm = self.halo_nm.unwrap_or_else(|| auto_halo_nm(field_nm));
        let steps = (field_nm - 2.0 * halo_nm) / STRIDE_NM;
        if !(halo_nm >= 0.0 && steps >= 1.0 && (steps - steps.round()).abs() < 1e-9) {
            return Err(EngineError::Setting(format!(
                "a halo of {halo_nm} nm leaves a core of {} nm of a tile of {field_nm} nm; expected a multiple of \
                 {STRIDE_NM} nm, the stride of the networks",
                field_nm - 2.0 * halo_nm
            )));
        }
        Ok(TileGrid::cover(around(self.library.extent()), field_nm, halo_nm, self.job.pixel_nm)?)
    }

    /// What two runs must have in common for one to go on from the other's journal.
    fn fingerprint(&self, grid: &TileGrid) -> Result<Key, EngineError> {
        let job = self.job;
        let settings = serde_json::json!({
            "model": job.model,
            "weights": job.model.weights_sha256()?,
            "kernels": kernels_sha256(&job.kernels),
            "process": job.process,
            "band": job.band,
            "rules": job.rules,
            "pixel_nm": job.pixel_nm,
            "coverage": format!("{:?}", job.coverage),
            "tile": [grid.field, grid.halo],
            "version": env!("CARGO_PKG_VERSION"),
        });
        Ok(Sha256::digest(settings.to_string()).into())
    }

    /// Corrects the layout and leaves the mask, its report and its pictures in `out`. `watch` hears of the progress and `stop` is
    /// asked from any thread; if either says so, the run ends, and what it has computed stays for the next one.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; finished tiles are kept.
    pub fn run(
        &self,
        out: &Path,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Report, EngineError> {
        let grid = self.grid()?;
        files::probe_directory(out)?;
        let journal = Journal::open(&out.join(JOURNAL), &self.fingerprint(&grid)?)?;
        let resumed = journal.count(Kind::Mask);
        let run = Run {
            chip: self,
            grid,
            journal: Mutex::new(journal),
            board: Board::new(grid.len()),
            ended: AtomicBool::new(false),
            assembled: AtomicUsize::new(0),
        };
        let start = Instant::now();
        let assembler = Assembler::new(&run, out)?;
        let (pool, built) = std::thread::scope(|scope| {
            let assembling = scope.spawn(|| {
                let built = assembler.all();
                if built.is_err() {
                    run.ended.store(true, Ordering::SeqCst);
                }
                built
            });
            let solved = run.solve(stop, watch);
            if solved.is_err() {
                run.ended.store(true, Ordering::SeqCst);
            }
            while !assembling.is_finished() {
                let done = run.assembled.load(Ordering::SeqCst);
                let event =
                    Event { stage: Stage::Evaluate, done, total: grid.len(), loss_nm2: None };
                if stop() || !watch(event) {
                    run.ended.store(true, Ordering::SeqCst);
                }
                std::thread::sleep(LOOK_EVERY);
            }
            // A panic of the assembler is a bug of ours, and goes on as one.
            let built = assembling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (solved, built)
        });
        // Of two errors the assembler's is the cause: it ends the run, which the pool then calls stopped.
        let (built, pool) = match (built, pool) {
            (Ok(Some(built)), Ok(pool)) => (built, pool),
            (Err(error), _) | (_, Err(error)) => return Err(error),
            (Ok(None), Ok(_)) => return Err(run.interrupted(out)),
        };
        let seconds = Seconds { optimize: start.elapsed().as_secs_f64(), ..Seconds::default() };
        let report = run.report(&built, pool, resumed, seconds)?;
        run.write(&report, built, out)?;
        let journal = run.journal.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        journal.remove()?;
        Ok(report)
    }
}

/// EPE along the borders of the tiles' cores, within 100 nm of them, and elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seams {
    /// Sites along borders.
    pub sites: usize,
    /// EPE violations there; a site can count twice.
    pub violations: usize,
    /// Sites elsewhere.
    pub other_sites: usize,
    /// EPE violations there.
    pub other_violations: usize,
}

impl Seams {
    fn add(&mut self, other: &Self) {
        self.sites += other.sites;
        self.violations += other.violations;
        self.other_sites += other.other_sites;
        self.other_violations += other.other_violations;
    }
}

/// Everything the assembler has learned.
struct Built {
    before: Metrics,
    after: Metrics,
    polygons: u64,
    /// From the mask's first corner.
    violations: Vec<Violation>,
    broken: usize,
    /// The tile with the largest error, with its images.
    worst: Option<Shown>,
    picture: Raster,
    seams: Seams,
}

impl Default for Built {
    fn default() -> Self {
        Self {
            before: Metrics::default(),
            after: Metrics::default(),
            polygons: 0,
            violations: Vec::new(),
            broken: 0,
            worst: None,
            picture: Raster::new(0, 0, 1.0),
            seams: Seams::default(),
        }
    }
}

impl Run<'_> {
    /// Has the devices find every mask that the journal does not know.
    fn solve(
        &self,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<lithoburn_pool::Report, EngineError> {
        let total = self.grid.len();
        let say = |watch: &mut dyn FnMut(Event) -> bool| {
            let done = self.board.ready();
            if !watch(Event { stage: Stage::Optimize, done, total, loss_nm2: None }) {
                self.ended.store(true, Ordering::SeqCst);
            }
        };
        say(watch);
        let crew = solve::crew(self.chip, &self.grid);
        let batches: usize = crew.iter().map(|member| member.batch).sum();
        let terms = Terms { ahead: (2 * batches).max(4), ..Terms::default() };
        let ended = || stop() || self.ended.load(Ordering::SeqCst);
        let report =
            share(crew, Scan::new(self), &terms, &ended, &mut |_, solved: solve::Solved| {
                self.lock().append(Kind::Mask, &solved.key, &solved.to_bytes())?;
                self.board.solved(&solved.key);
                say(watch);
                Ok::<(), EngineError>(())
            })?;
        self.board.all_scanned();
        if report.stopped {
            self.ended.store(true, Ordering::SeqCst);
        }
        Ok(report)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Journal> {
        // A panic elsewhere cannot have left half a record in the index.
        self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn interrupted(&self, out: &Path) -> EngineError {
        let (done, total) = (self.board.ready(), self.grid.len());
        EngineError::Stopped(format!(
            "{done} of {total} tiles are done and kept in {}: the same command goes on from there",
            out.join(JOURNAL).display()
        ))
    }

    fn report(
        &self,
        built: &Built,
        pool: lithoburn_pool::Report,
        resumed: usize,
        seconds: Seconds,
    ) -> Result<Report, EngineError> {
        let (chip, job) = (self.chip, self.chip.job);
        let names: Vec<&str> = chip.lanes.iter().map(|lane| lane.device.name.as_str()).collect();
        Ok(Report {
            layout: chip.library.name().to_string(),
            model: job.model.clone(),
            weights_sha256: job.model.weights_sha256()?,
            surrogate: None,
            device: names.join(", "),
            card: job.device.card.clone(),
            device_reason: job.device.reason.clone(),
            kernels: job.kernels_name.clone(),
            period_nm: job.kernels.period_nm,
            pixel_nm: job.pixel_nm,
            fields: self.grid.len(),
            before: built.before,
            after: built.after,
            process: job.process,
            band: job.band,
            style: job.style,
            rules: job.rules,
            violations: built.violations.clone(),
            seconds,
            chip: Some(ChipReport {
                tiles: [self.grid.columns, self.grid.rows],
                tile_nm: job.kernels.period_nm,
                halo_nm: self.grid.halo as f64 * self.grid.pixel_nm,
                unique: self.lock().count(Kind::Mask),
                resumed,
                measured: chip.measure,
                polygons: built.polygons,
                violations: built.broken,
                seams: built.seams,
                host_peak_bytes: memory::host_peak(),
                picture_pixel_nm: built.picture.pixel_nm,
                plan: chip.plan.clone(),
                held_bytes: chip
                    .lanes
                    .iter()
                    .map(|lane| memory::held(&lane.device.name, &lane.device.device))
                    .collect(),
                pool,
            }),
            version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// Leaves pictures and report; the polygons are written already.
    fn write(&self, report: &Report, built: Built, out: &Path) -> Result<(), EngineError> {
        write_whole(&out.join("mask.png"), &png::encode(&built.picture)?)?;
        if let Some(worst) = &built.worst {
            let evaluator = Evaluator::new(&self.chip.job.kernels, &self.chip.job.process);
            let image = picture(report, worst, self.grid.origin_nm, &evaluator);
            write_whole(&out.join("overview.png"), &image)?;
        }
        files::report(report, out)
    }
}

/// Database unit of a mask's file, and its layer.
fn file_grid(chip: &Chip, grid: &TileGrid) -> (f64, lithoburn_layout::Layer) {
    (unit_nm(chip.job.style, &grid.whole()), MASK_LAYER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No tile of a batch is lost or added, and a thread without tiles is none.
    #[test]
    fn threads_of_a_card_share_its_batch() {
        let lane = |name: &str, batch, team| {
            let (name, card, reason) = (name.to_string(), String::new(), String::new());
            let device = Chosen { name, card, reason, device: burn::tensor::Device::flex() };
            Lane { device, batch, team }.batches()
        };
        assert_eq!(lane("cuda:1", 24, None), [12, 12]);
        assert_eq!(lane("cuda:0", 5, None), [2, 3]);
        assert_eq!(lane("cuda:0", 1, None), [1]);
        assert_eq!(lane("cpu", 4, None), [4]);
        let team = Team { way: crate::devices::Way::Pipeline, places: Vec::new() };
        assert_eq!(lane("cuda:0", 4, Some(team)), [4]);
    }

    /// What was measured on fields of 2048 nm is a length, not a share of larger fields.
    #[test]
    fn halos_are_whole_strides_and_no_wider_than_was_measured() {
        let halos = [1024.0, 2048.0, 4096.0, 8192.0].map(auto_halo_nm);
        assert_eq!(halos, [384.0, 640.0, 640.0, 640.0]);
    }
}
