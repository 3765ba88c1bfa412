//! A correction whose settings are checked and whose work is shared out.

use std::path::Path;

use lithoburn_layout::{Layout, Library, TileGrid};
use lithoburn_pool::Chosen;
use tracing::info_span;

#[cfg(doc)]
use super::Correction;
use super::begun::{Begun, Course, UnderWay};
use crate::EngineError;
use crate::ahead::Ahead;
use crate::chip::Chip;
use crate::chip::shares::Shares;
use crate::devices::fleet::{Fleet, Wish, fleet};
use crate::devices::lane::Lane;
use crate::event::Event;
use crate::field::Field;
use crate::mask::Mask;
use crate::report::Report;
use crate::setup::Setup;
use crate::style::MaskFormat;
use crate::tiles::folder::Folder;
use crate::tiles::occupied::Occupied;

/// A correction that is ready to run.
pub struct Planned<'a> {
    setup: Setup,
    course: Course<'a>,
    lanes: Vec<Lane>,
    fleet: Option<Fleet>,
    notes: Vec<String>,
    batch: usize,
    format: MaskFormat,
    measure: bool,
    /// What was begun before the devices were there.
    early: UnderWay,
    /// What compiles kernels beside the run.
    ahead: Option<Ahead>,
}

impl<'a> Begun<'a> {
    /// Shares the work out over tested devices.
    ///
    /// # Errors
    ///
    /// As [`Correction::plan`].
    pub fn on(self, devices: Vec<Chosen>) -> Result<Planned<'a>, EngineError> {
        if devices.is_empty() {
            return Err(EngineError::Setting("no device was named".into()));
        }
        let Self { setup, course, mut notes, mut wish, format, measure, early, ahead } = self;
        let is_field = matches!(course, Course::Fields(_));
        if wish.is_joint() || wish.probe || (measure && !is_field) {
            all_there(&devices)?;
        }
        let ahead = ahead.and_then(|ahead| ahead.take()).flatten();
        let ahead = ahead.or_else(|| Ahead::start(&setup, &devices));
        if let Course::Tiles(_, _, occupied) = &course {
            wish.tiles = occupied.len();
        }
        let (lanes, fleet) = match is_field && !wish.is_joint() && !wish.probe {
            true => (vec![alone(&devices, &wish, &mut notes)], None),
            false => {
                let fleet = info_span!("trials").in_scope(|| fleet(&setup, &devices, &wish))?;
                (fleet.lanes.clone(), Some(fleet))
            }
        };
        let left_out = fleet.iter().flat_map(|fleet| &fleet.left_out);
        notes.extend(left_out.map(|(name, why)| format!("{name} is left out: {why}")));
        let batch = wish.batch.unwrap_or(1);
        Ok(Planned { setup, course, lanes, fleet, notes, batch, format, measure, early, ahead })
    }
}

impl Planned<'_> {
    /// Who does what, if there was something to plan.
    pub fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_ref()
    }

    /// What a user should know before it runs: that a layout is cut into tiles, that a device is not used, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Tiles that hold something; none if the layout is one field.
    pub fn tiles(&self) -> Option<usize> {
        match &self.course {
            Course::Fields(_) => None,
            Course::Tiles(_, _, occupied) => Some(occupied.len()),
        }
    }

    /// Name of the file with the mask's polygons.
    pub fn mask_file(&self) -> &'static str {
        match &self.course {
            Course::Fields(_) => MaskFormat::Gds.file(),
            Course::Tiles(..) => self.format.file(),
        }
    }

    fn field(&self) -> Result<(Field<'_>, &[Layout]), EngineError> {
        let Course::Fields(layouts) = &self.course else {
            return Err(EngineError::Setting(
                "a layout of many tiles needs a directory: use run_in".into(),
            ));
        };
        let none = || EngineError::Pool("no device is left for the field".into());
        let lane = self.lanes.first().ok_or_else(none)?;
        let UnderWay { clip, network } = &self.early;
        let (clip, network) = (clip.as_ref(), network.as_ref());
        let (device, team) = (&lane.device, lane.team.as_ref());
        Ok((Field { setup: &self.setup, device, team, clip, network }, layouts))
    }

    /// As [`Correction::run`]. `watch` hears of the progress; false stops the run.
    ///
    /// # Errors
    ///
    /// As [`Correction::run`].
    pub fn run(&self, watch: &mut dyn FnMut(Event) -> bool) -> Result<Mask, EngineError> {
        let (field, layouts) = self.field()?;
        match layouts {
            [layout] => self.noted(field.run(layout, watch)),
            others => Err(EngineError::Setting(format!(
                "{} layouts are not one: use run_each",
                others.len()
            ))),
        }
    }

    /// As [`Correction::run_each`].
    ///
    /// # Errors
    ///
    /// As [`Correction::run_each`].
    pub fn run_each(
        &self,
        warm: bool,
        watch: &mut dyn FnMut(Event) -> bool,
        take: &mut dyn FnMut(Mask) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let (field, layouts) = self.field()?;
        self.noted(field.run_each(layouts, self.batch, warm, watch, take))
    }

    /// As [`Correction::run_in`]. `watch` hears of the progress and `stop` is asked from any thread; if either says so, the run ends.
    ///
    /// # Errors
    ///
    /// As [`Correction::run_in`].
    pub fn run_in(
        &self,
        directory: &Path,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Report, EngineError> {
        let folder = Folder::claim(directory)?;
        let Course::Tiles(library, grid, occupied) = &self.course else {
            let mask = self.run(watch)?;
            mask.write_in(&folder)?;
            return Ok(mask.report);
        };
        self.noted(self.chip(library, *grid, occupied).run(&folder, stop, watch))
    }

    /// A run's result, after who compiles ahead was told of a good one.
    fn noted<T>(&self, ran: Result<T, EngineError>) -> Result<T, EngineError> {
        if ran.is_ok() {
            self.ahead.iter().for_each(Ahead::finished);
        }
        ran
    }

    /// The tiles, for a program that shares them out over machines itself.
    ///
    /// # Errors
    ///
    /// [`EngineError::Setting`] if the layout is one field.
    pub fn shares(&self) -> Result<Shares<'_>, EngineError> {
        match &self.course {
            Course::Tiles(library, grid, occupied) => {
                Ok(Shares::new(self.chip(library, *grid, occupied)))
            }
            Course::Fields(_) => Err(EngineError::Setting(
                "one field is one machine's: name a --tile to cut the layout into many".into(),
            )),
        }
    }

    fn chip<'s>(
        &'s self,
        library: &'s Library,
        grid: TileGrid,
        occupied: &'s Occupied,
    ) -> Chip<'s> {
        Chip {
            setup: &self.setup,
            library,
            grid,
            occupied,
            lanes: &self.lanes,
            plan: self.fleet.as_ref().map(|fleet| &fleet.plan),
            format: self.format,
            measure: self.measure,
            network: self.early.network.as_ref(),
        }
    }
}

/// Waits for cards that are still being opened. Where devices only share tiles, nobody has to: each begins when it is there.
fn all_there(devices: &[Chosen]) -> Result<(), EngineError> {
    let there = |device: &Chosen| device.wait().map_err(|e| EngineError::Pool(e.to_string()));
    devices.iter().try_for_each(there)
}

/// The device of a field that is computed on one, whatever stands by.
fn alone(devices: &[Chosen], wish: &Wish, notes: &mut Vec<String>) -> Lane {
    let device = devices[0].clone();
    if devices.len() > 1 {
        let others: Vec<&str> = devices[1..].iter().map(|d| d.name.as_str()).collect();
        notes.push(format!(
            "one field is computed on one device, {}; not used: {} (--parallel pipeline, tensor or spatial shares a network, --tile \
             shares tiles)",
            device.name,
            others.join(", ")
        ));
    }
    Lane { device, batch: wish.batch.unwrap_or(1), team: None }
}
