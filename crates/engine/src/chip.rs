//! A layout of any size, corrected: the flow of tiles whose answers are cores of masks.
//!
//! * Where cores meet, shapes of both are joined and the mask's rules are seen to again. Polygons are cut along the cores'
//!   borders, where those of neighbours meet at the same points.
//! * Memory holds some rows of packed cores and the tiles in flight, whatever the layout's size.

mod assemble;
mod behind;
mod cores;
mod measure;
mod picture;
pub(crate) mod shares;
mod solve;

use lithoburn_layout::{Bounds, Library, TileGrid, png, write_whole};
use lithoburn_pictures::whole::{self, Whole};
use lithoburn_pool::{Plan, memory};
use tracing::info_span;

use crate::EngineError;
use crate::devices::lane::Lane;
use crate::event::{Event, Phase};
use crate::files;
use crate::proposer::Readying;
use crate::report::{ChipReport, Report, Seconds};
use crate::setup::Setup;
use crate::style::{MaskFormat, MaskStyle};
use crate::tiles::folder::Folder;
use crate::tiles::journal::Kind;
use crate::tiles::occupied::Occupied;
use crate::tiles::scan::Source;
use crate::tiles::{Flow, Ran};
use assemble::{Assembler, Built, Computed};
use picture::Picture;

/// Least space between a tile's start and its neighbour's, in nm: a fully convolutional network's stride of 16 pixels of 8 nm, so
/// that it sees every tile on the same grid.
const STRIDE_NM: f64 = 128.0;
/// Strides in the widest halo that is taken unasked.
const MOST_STRIDES: f64 = 5.0;
/// What a mask may need around its design, in nm: edges that move outwards, and assist features.
const EDGE_NM: f64 = 256.0;

/// A layout's correction, and everything it depends on.
pub(crate) struct Chip<'a> {
    /// Model, optics, rules and style.
    pub setup: &'a Setup,
    /// The layout.
    pub library: &'a Library,
    /// How it is cut.
    pub grid: TileGrid,
    /// The tiles that hold something.
    pub occupied: &'a Occupied,
    /// The devices.
    pub lanes: &'a [Lane],
    /// The plan that they come from, for the report.
    pub plan: Option<&'a Plan>,
    /// Format of the mask.
    pub format: MaskFormat,
    /// Whether tiles are simulated and measured, on the CPU.
    pub measure: bool,
    /// The model's network, if it was begun before the devices were there.
    pub network: Option<&'a Readying>,
}

/// Halo of a tile if none is asked for: five sixteenths of the field, 640 nm of 2048, and no more of a larger one. Beyond 512 nm lies
/// 1 % of the energy of the contest's kernels, but a tile's solver sees only its neighbours' design, not their masks. On a block of 31 by 30 µm, EPE along tile
/// borders was violated 2.8 times as often as elsewhere with 512 nm, 1.3 times with 640. In whole strides, so that cores are whole
/// strides apart.
pub fn auto_halo_nm(field_nm: f64) -> f64 {
    (field_nm * 5.0 / 16.0 / STRIDE_NM).ceil().min(MOST_STRIDES) * STRIDE_NM
}

/// An extent with room around it.
pub(crate) fn around(extent: Bounds) -> Bounds {
    Bounds { min: extent.min.map(|v| v - EDGE_NM), max: extent.max.map(|v| v + EDGE_NM) }
}

/// Whether the coordinates of a mask fit its file.
fn fits_file(setup: &Setup, library: &Library, grid: &TileGrid) -> Result<(), EngineError> {
    let whole = grid.whole();
    let (bounds, unit_nm) = (whole.bounds(), setup.style.unit_nm(&whole));
    let farthest_nm =
        bounds.min.iter().chain(&bounds.max).fold(0.0, |most: f64, v| most.max(v.abs()));
    if farthest_nm / unit_nm >= f64::from(i32::MAX) {
        let Bounds { min, max } = library.stray();
        return Err(EngineError::Setting(format!(
            "a mask that reaches to {farthest_nm:.0} nm does not fit a file of 32 bits of {unit_nm} nm; the shape furthest from the \
             others is at x {} to {}, y {} to {} nm: cut the layout, or choose --style pixels",
            min[0], max[0], min[1], max[1]
        )));
    }
    Ok(())
}

/// The halo of tiles of `field_nm`: the one that was asked for, or [`auto_halo_nm`].
///
/// # Errors
///
/// [`EngineError::Setting`] if it leaves no core of whole strides.
pub(crate) fn halo_of(field_nm: f64, asked_nm: Option<f64>) -> Result<f64, EngineError> {
    let halo = asked_nm.unwrap_or_else(|| auto_halo_nm(field_nm));
    let core_nm = field_nm - 2.0 * halo;
    let steps = core_nm / STRIDE_NM;
    if halo >= 0.0 && steps >= 1.0 && (steps - steps.round()).abs() < 1e-9 {
        return Ok(halo);
    }
    Err(EngineError::Setting(match asked_nm {
        Some(_) => format!(
            "a halo of {halo} nm leaves a core of {core_nm} nm of a tile of {field_nm} nm; expected a multiple of {STRIDE_NM} nm, the \
             stride of the networks"
        ),
        None => format!(
            "a tile of {field_nm} nm has no core that is a multiple of {STRIDE_NM} nm, the stride of the networks, between halos of \
             {halo} nm: expected a --tile of {} nm or a multiple of {STRIDE_NM} nm above it",
            2.0 * halo + STRIDE_NM
        ),
    }))
}

/// The tiles that cover a layout with halos of `halo_nm`; none takes [`auto_halo_nm`].
///
/// # Errors
///
/// [`EngineError`] if halo and pixels do not fit the field, the style is for one field only, or the mask would be too large for its
/// file.
pub(crate) fn grid(
    setup: &Setup,
    library: &Library,
    halo_nm: Option<f64>,
) -> Result<TileGrid, EngineError> {
    if let MaskStyle::Manhattan { .. } = setup.style {
        return Err(EngineError::Setting(
            "a shot budget is for one field: leave out --tile, or --shots".into(),
        ));
    }
    let field_nm = setup.kernels.period_nm;
    let halo = halo_of(field_nm, halo_nm)?;
    let extent = around(library.extent());
    let grid = TileGrid::cover_library(library, extent, field_nm, halo, setup.pixel_nm)?;
    fits_file(setup, library, &grid)?;
    Ok(grid)
}

impl Chip<'_> {
    /// Corrects the layout and leaves the mask, its report and its pictures in a folder. `watch` hears of the progress and `stop` is
    /// asked from any thread; if either says so, the run ends, and what it has computed stays for the next one.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; finished tiles are kept.
    pub(crate) fn run(
        &self,
        folder: &Folder,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Report, EngineError> {
        let Self { setup, library, grid, .. } = *self;
        let source = Source {
            library,
            grid,
            coverage: setup.coverage,
            finest_nm: Some(setup.model.finest_nm()),
        };
        let flow = Flow::open(
            source,
            self.occupied.clone(),
            folder,
            Kind::Mask,
            &setup.fingerprint(&grid)?,
        )?;
        let assembler = Assembler::new(self, &flow, folder, Computed::Here)?;
        let crew = solve::crew(self);
        let phases = [Phase::Optimize, Phase::Evaluate];
        let ran = flow.run(crew, || assembler.all(), phases, stop, watch)?;
        self.leave(flow, ran, folder)
    }

    /// Leaves the report and the pictures of a mask that is put together.
    fn leave(
        &self,
        flow: Flow,
        mut ran: Ran<Built>,
        folder: &Folder,
    ) -> Result<Report, EngineError> {
        let Some(built) = ran.built.take() else { return Err(flow.interrupted(folder)) };
        let report = self.report(&built, &flow, ran)?;
        self.show(&report, &built, folder)?;
        files::report(&report, folder)?;
        flow.finish()?;
        Ok(report)
    }

    /// Leaves the pictures, of which each takes as long as a hundred tiles do: together.
    fn show(&self, report: &Report, built: &Built, folder: &Folder) -> Result<(), EngineError> {
        let _span = info_span!("pictures").entered();
        let mask = || match &built.picture {
            Some(mask) => Ok(write_whole(&folder.file("mask.png"), &png::encode(mask.raster())?)?),
            None => Ok(()),
        };
        let worst = || match &built.worst {
            Some(worst) => {
                Ok(write_whole(&folder.file("overview.png"), &files::picture(report, worst)?)?)
            }
            None => Ok(()),
        };
        let whole = || self.show_whole(report, built, folder);
        let (first, (second, third)): (Result<(), EngineError>, (Result<(), EngineError>, _)) =
            rayon::join(mask, || rayon::join(worst, whole));
        first.and(second).and(third)
    }

    /// Leaves the picture of the whole: design, mask and, if it was simulated, print, and where the worst tile lies.
    fn show_whole(
        &self,
        report: &Report,
        built: &Built,
        folder: &Folder,
    ) -> Result<(), EngineError> {
        let (Some(mask), Some(design)) = (&built.picture, &built.design) else { return Ok(()) };
        let origin_nm = self.grid.origin_nm;
        let worst_nm = built.worst.as_ref().and_then(|shown| {
            let shift = [0, 1].map(|i| shown.frame.origin_nm[i] - origin_nm[i]);
            let [x0, y0, x1, y1] = shown.core_nm?;
            Some([x0 + shift[0], y0 + shift[1], x1 + shift[0], y1 + shift[1]])
        });
        let size = [self.grid.whole().width, self.grid.whole().height]
            .map(|px| px as f64 * self.grid.pixel_nm * 1e-3);
        let picture = whole::draw(&Whole {
            title: &format!("{} · {}", report.layout, report.model.model.name()),
            subtitle: &format!(
                "{:.1} x {:.1} µm · {} x {} tiles, {} of them with shapes · lithoburn {}",
                size[0],
                size[1],
                self.grid.columns,
                self.grid.rows,
                self.occupied.len(),
                report.version
            ),
            target: design.raster(),
            mask: mask.raster(),
            print: built.print.as_ref().map(Picture::raster),
            worst_nm,
            origin_nm,
        })?;
        Ok(write_whole(&folder.file("whole.png"), &picture)?)
    }

    fn report(&self, built: &Built, flow: &Flow, ran: Ran<Built>) -> Result<Report, EngineError> {
        let (setup, measured) = (self.setup, self.measure);
        let names: Vec<&str> = self.lanes.iter().map(|lane| lane.device.name.as_str()).collect();
        let none = || EngineError::Pool("no device is left for the tiles".into());
        let first = &self.lanes.first().ok_or_else(none)?.device;
        let load = ran.pool.members.iter().map(|m| m.making_seconds).fold(0.0, f64::max);
        let seconds = Seconds {
            rasterize: ran.drawing,
            load,
            optimize: (ran.computing - load).max(0.0),
            evaluate: built.seconds,
        };
        Ok(Report {
            device: names.join(", "),
            fields: flow.occupied.len(),
            before: measured.then_some(built.before),
            after: measured.then_some(built.after),
            violations: built.violations.clone(),
            mask_is_empty: !built.open,
            unprinted: measured.then(|| built.unprinted.clone()),
            seconds,
            chip: Some(self.chip_report(built, flow, ran.pool)),
            ..setup.report(self.library.name(), first, setup.weights_sha256()?)
        })
    }

    fn chip_report(&self, built: &Built, flow: &Flow, pool: lithoburn_pool::Report) -> ChipReport {
        let grid = &self.grid;
        let held = |Lane { device, .. }: &Lane| {
            device.is_there().then(|| memory::held(&device.name, &device.device))?
        };
        ChipReport {
            tiles: [grid.columns, grid.rows],
            empty: (grid.len() - flow.occupied.len()) as u64,
            tile_nm: self.setup.kernels.period_nm,
            halo_nm: grid.halo as f64 * grid.pixel_nm,
            unique: flow.journal().count(Kind::Mask),
            resumed: flow.resumed,
            measured: self.measure,
            polygons: built.polygons,
            violations: self.measure.then_some(built.broken),
            seams: self.measure.then_some(built.seams),
            host_peak_bytes: memory::host_peak(),
            picture_pixel_nm: built.picture.as_ref().map_or(0.0, |p| p.raster().pixel_nm),
            plan: self.plan.cloned(),
            held_bytes: self.lanes.iter().map(held).collect(),
            pool,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was measured on fields of 2048 nm is a length, not a share of larger fields.
    #[test]
    fn halos_are_whole_strides_and_no_wider_than_was_measured() {
        let halos = [1024.0, 2048.0, 4096.0, 8192.0].map(auto_halo_nm);
        assert_eq!(halos, [384.0, 640.0, 640.0, 640.0]);
    }
}
