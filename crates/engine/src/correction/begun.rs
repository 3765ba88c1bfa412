//! A correction of which everything is known but the devices: what needs none is under way.

use std::borrow::Cow;

use lithoburn_layout::{Layout, Library, TileGrid};
use tracing::info_span;

use super::{Correction, Design, Devices};
use crate::EngineError;
use crate::ahead::Ahead;
use crate::chip;
use crate::devices::fleet::Wish;
use crate::early::Early;
use crate::field::Clip;
use crate::proposer::{Expected, Readied, Readying};
use crate::setup::{Setup, hash_program_ahead};
use crate::style::{MaskFormat, MaskStyle};
use crate::tiles::occupied::Occupied;

/// What is done: a field, or the tiles of a library.
pub(super) enum Course<'a> {
    Fields(Cow<'a, [Layout]>),
    Tiles(&'a Library, TileGrid, Occupied),
}

/// A correction whose settings are checked and whose design is known to be one field or many. Threads draw the field, and lay the
/// network out, until [devices are there](Begun::on).
pub struct Begun<'a> {
    pub(super) setup: Setup,
    pub(super) course: Course<'a>,
    pub(super) notes: Vec<String>,
    pub(super) wish: Wish,
    pub(super) format: MaskFormat,
    pub(super) measure: bool,
    pub(super) early: UnderWay,
    /// What compiles kernels beside the run, if a card was named.
    pub(super) ahead: Option<Early<Option<Ahead>>>,
}

/// Work that needs no device, where it is under way.
pub(super) struct UnderWay {
    /// The only layout, drawn.
    pub(super) clip: Option<Early<Result<Clip, EngineError>>>,
    /// The model's network in host memory.
    pub(super) network: Option<Readying>,
}

impl<'a> Begun<'a> {
    pub(super) fn new(correction: &Correction<'a>, mut setup: Setup) -> Result<Self, EngineError> {
        let ahead = match &correction.devices {
            Devices::Named(names) => Ahead::early(&setup, names),
            Devices::Tested(_) => None,
        };
        let mut notes = Vec::new();
        let course = course(correction, &mut setup, &mut notes)?;
        let early = match &course {
            Course::Fields(layouts) => UnderWay::begin(correction, &setup, layouts),
            Course::Tiles(..) => UnderWay { clip: None, network: network(correction, &setup) },
        };
        let Correction { ref wish, format, measure, .. } = *correction;
        Ok(Self { setup, course, notes, wish: wish.clone(), format, measure, early, ahead })
    }
}

impl UnderWay {
    /// Begins what a run of one field will ask for.
    fn begin(correction: &Correction, setup: &Setup, layouts: &[Layout]) -> Self {
        // Of layouts in memory nobody knows whether they come one by one.
        let single = layouts.first().filter(|_| matches!(correction.design, Design::Library(_)));
        let clip = single.map(|layout| clip(setup, layout));
        Self { clip, network: network(correction, setup) }
    }
}

/// Draws a layout on a thread of its own.
fn clip(setup: &Setup, layout: &Layout) -> Early<Result<Clip, EngineError>> {
    let (setup, layout) = (setup.clone(), layout.clone());
    Early::begin("design", move || Clip::of(&setup, &layout))
}

/// Readies a model's network, if it has one that each device computes by itself: once for all of them.
fn network(correction: &Correction, setup: &Setup) -> Option<Readying> {
    let Wish { probe, .. } = correction.wish;
    let alone = !correction.wish.is_joint() && !probe;
    let meets = ["cuda", "vulkan", "cpu"].iter().any(|family| correction.may_meet(family));
    let method = setup.model.model.network().filter(|_| alone && meets)?;
    let expected =
        Expected { card: correction.may_meet("cuda"), units: correction.names("vulkan") };
    Some(Readied::begin(method, setup.model.weights.clone(), expected))
}

/// Whether the design is one field or many, with the optics of the tile that was asked for.
fn course<'a>(
    correction: &Correction<'a>,
    setup: &mut Setup,
    notes: &mut Vec<String>,
) -> Result<Course<'a>, EngineError> {
    let field_nm = setup.kernels.period_nm;
    let library = match (correction.design, correction.tile_nm) {
        (Design::Layouts(layouts), None) => return Ok(Course::Fields(Cow::Borrowed(layouts))),
        (Design::Layouts(_), Some(_)) => {
            return Err(EngineError::Setting(
                "tiles are cut from a Library: write the layout to a file and read that".into(),
            ));
        }
        (Design::Library(library), _) => library,
    };
    let (width_nm, height_nm) = (library.extent().width(), library.extent().height());
    let fits = width_nm <= field_nm && height_nm <= field_nm;
    match correction.tile_nm {
        None if fits => return Ok(Course::Fields(Cow::Owned(vec![library.flatten()?]))),
        None if matches!(setup.style, MaskStyle::Manhattan { .. }) => {
            return Err(EngineError::Setting(format!(
                "a shot budget is for one field of {field_nm:.0} nm, and the layout is {width_nm:.0} x {height_nm:.0} nm: leave out \
                 --shots"
            )));
        }
        None => (),
        Some(tile_nm) if (field_nm - tile_nm).abs() > 1e-6 => {
            chip::halo_of(tile_nm, correction.halo_nm)?;
            // The optics of another field: their reach is what both periods hold.
            let ambit_nm = field_nm.min(tile_nm) / 2.0;
            setup.kernels = setup.kernels.within_ambit(ambit_nm, tile_nm)?;
            setup.kernels_name = setup.kernels.described(&setup.kernels_name);
        }
        Some(_) => (),
    }
    // Tiles need it, and it takes a while.
    hash_program_ahead();
    let grid = chip::grid(setup, library, correction.halo_nm)?;
    if correction.tile_nm.is_none() {
        notes.push(format!(
            "the layout is {width_nm:.0} x {height_nm:.0} nm and one field is {field_nm:.0} nm: cut into {} x {} tiles",
            grid.columns, grid.rows
        ));
    }
    let occupied = info_span!("occupied").in_scope(|| Occupied::of(library, &grid))?;
    Ok(Course::Tiles(library, grid, occupied))
}
