//! What a run says. Field names are the keys of `report.json`.

use std::time::Instant;

use lithoburn_layout::{Bounds, MaskRules, Violation};
use lithoburn_litho::Process;
use lithoburn_litho::ilt::Usage;
use lithoburn_pool::Plan;
use serde::{Deserialize, Serialize};

use crate::evaluate::Metrics;
use crate::model::ModelSettings;
use crate::style::MaskStyle;

/// Places that a report lists of each kind.
pub(crate) const MOST_LISTED: usize = 1000;

/// The report's numbers. Places are in the layout's coordinates.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The layout's name.
    pub layout: String,
    /// The model's name and settings.
    pub model: ModelSettings,
    /// SHA-256 of the network's weights.
    pub weights_sha256: Option<String>,
    /// With Surrogate-ILT: what the last batch of fields asked of its models, for each field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surrogate: Option<Usage>,
    /// The device's name.
    pub device: String,
    /// The card behind it.
    pub card: String,
    /// Why it was chosen.
    pub device_reason: String,
    /// Where the kernels come from.
    pub kernels: String,
    /// SHA-256 of the kernels' numbers.
    pub kernels_sha256: String,
    /// Field period of the kernels, in nm.
    pub period_nm: f64,
    /// Side of an evaluated pixel, in nm.
    pub pixel_nm: f64,
    /// Number of fields that hold something.
    pub fields: usize,
    /// The design used as mask; none if nothing was measured.
    pub before: Option<Metrics>,
    /// The corrected mask; none if nothing was measured.
    pub after: Option<Metrics>,
    /// Corners and resist.
    pub process: Process,
    /// Weight of the PV band.
    pub band: f64,
    /// What the mask is made of.
    pub style: MaskStyle,
    /// The mask's rules, if it was held to some.
    pub rules: Option<MaskRules>,
    /// Where the mask breaks them.
    pub violations: Vec<Violation>,
    /// Whether nothing of the mask is open.
    pub mask_is_empty: bool,
    /// Shapes of the design of which nothing prints; none if nothing was measured.
    pub unprinted: Option<Unprinted>,
    /// Seconds by phase.
    pub seconds: Seconds,
    /// How a layout of many tiles was put together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip: Option<ChipReport>,
    /// Version of the program.
    pub version: &'static str,
}

impl Report {
    /// Whether the mask keeps its rules and prints something of every shape.
    pub fn is_met(&self) -> bool {
        let prints = self.unprinted.as_ref().is_none_or(|unprinted| unprinted.shapes == 0);
        self.violations.is_empty() && prints && !self.mask_is_empty
    }
}

/// Shapes of a design of which the nominal print has nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unprinted {
    /// How many; a shape that is longer than a tile counts in each.
    pub shapes: usize,
    /// Where the first of them are.
    pub places: Vec<Place>,
    /// Half of the finest pitch that the optics image, in nm.
    pub resolution_nm: f64,
}

/// A rectangle of a layout, in nm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Least x and y.
    pub min_nm: [f64; 2],
    /// Greatest x and y.
    pub max_nm: [f64; 2],
}

impl Unprinted {
    /// The shapes of one field.
    pub(crate) fn of(shapes: &[Place], origin_nm: [f64; 2], resolution_nm: f64) -> Self {
        let mut found = Self { resolution_nm, ..Self::default() };
        found.add(shapes, origin_nm);
        found
    }

    /// Adds shapes, moved from their field to the layout.
    pub(crate) fn add(&mut self, shapes: &[Place], origin_nm: [f64; 2]) {
        self.shapes += shapes.len();
        let moved = |at: [f64; 2]| [at[0] + origin_nm[0], at[1] + origin_nm[1]];
        let room = MOST_LISTED.saturating_sub(self.places.len());
        let place = |p: &Place| Place { min_nm: moved(p.min_nm), max_nm: moved(p.max_nm) };
        self.places.extend(shapes.iter().take(room).map(place));
    }
}

impl From<Bounds> for Place {
    fn from(bounds: Bounds) -> Self {
        Self { min_nm: bounds.min, max_nm: bounds.max }
    }
}

/// Violations moved from their field to the layout.
pub(crate) fn placed(violations: Vec<Violation>, origin_nm: [f64; 2]) -> Vec<Violation> {
    let moved = |at: [f64; 2]| [at[0] + origin_nm[0], at[1] + origin_nm[1]];
    let place = |v: Violation| Violation { min_nm: moved(v.min_nm), max_nm: moved(v.max_nm), ..v };
    violations.into_iter().map(place).collect()
}

/// Seconds by phase. Those of one field follow each other. Of a layout of many tiles they are the times in which each was under way,
/// which overlap.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Seconds {
    /// Drawing.
    pub rasterize: f64,
    /// Loading the model onto the device.
    pub load: f64,
    /// Finding masks.
    pub optimize: f64,
    /// Measuring before and after.
    pub evaluate: f64,
}

/// Runs something and adds its seconds.
pub(crate) fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *seconds += start.elapsed().as_secs_f64();
    result
}

/// What a tiled run says besides the numbers.
#[derive(Clone, Debug, Serialize)]
pub struct ChipReport {
    /// Tiles in x and y.
    pub tiles: [usize; 2],
    /// Of those, tiles that hold nothing and were not looked at.
    pub empty: u64,
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
    /// Places where the mask breaks its rules, of which `violations` lists the first; none if nothing was measured.
    pub violations: Option<usize>,
    /// What prints along the tiles' borders, and elsewhere; none if nothing was measured.
    pub seams: Option<Seams>,
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
    pub(crate) fn add(&mut self, other: &Self) {
        self.sites += other.sites;
        self.violations += other.violations;
        self.other_sites += other.other_sites;
        self.other_violations += other.other_violations;
    }
}
