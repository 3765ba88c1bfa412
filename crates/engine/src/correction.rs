//! The main job: from a design to the mask whose print it is.

mod begun;
mod plan;

use std::path::{Path, PathBuf};

use lithoburn_layout::{Coverage, Layout, Library, MaskRules};
use lithoburn_litho::{KernelSet, Process};
use lithoburn_pool::{Chosen, DeviceName, Strategy, choose_all, choose_each};

use crate::EngineError;
use crate::ahead::Ahead;
use crate::built_in::load_kernels;
use crate::devices::fleet::Wish;
use crate::event::Event;
use crate::goal::Goal;
use crate::loaded::{self, Loaded, Part};
use crate::mask::Mask;
use crate::model::{Model, ModelSettings};
use crate::report::Report;
use crate::setup::{MOST_PIXELS, Setup};
use crate::style::{MaskFormat, MaskStyle};
pub use begun::Begun;
pub use plan::Planned;

/// Pixel of targets and images by default, in nm.
const PIXEL_NM: f64 = 1.0;

/// What is corrected.
#[derive(Clone, Copy, Debug)]
pub enum Design<'a> {
    /// Polygons in memory; several layouts are corrected one by one ([`Correction::run_each`]).
    Layouts(&'a [Layout]),
    /// A file of any size.
    Library(&'a Library),
}

impl<'a> From<&'a Layout> for Design<'a> {
    fn from(layout: &'a Layout) -> Self {
        Self::Layouts(std::slice::from_ref(layout))
    }
}

impl<'a> From<&'a [Layout]> for Design<'a> {
    fn from(layouts: &'a [Layout]) -> Self {
        Self::Layouts(layouts)
    }
}

impl<'a> From<&'a Vec<Layout>> for Design<'a> {
    fn from(layouts: &'a Vec<Layout>) -> Self {
        Self::Layouts(layouts)
    }
}

impl<'a> From<&'a Library> for Design<'a> {
    fn from(library: &'a Library) -> Self {
        Self::Library(library)
    }
}

/// Devices by name, or tested ones.
#[derive(Clone, Debug)]
enum Devices {
    Named(Vec<String>),
    Tested(Vec<Chosen>),
}

/// A correction that is being described: what is not said has a default.
///
/// | setting | default |
/// |---|---|
/// | [`model`](Self::model) | `NeuralIltFast`, with its built-in weights and 64 steps of [correction](Self::correct) |
/// | [`device`](Self::device) | `auto`: the first graphics card that works, else the CPU |
/// | [`kernels`](Self::kernels) | the built-in optics: 193 nm, a field of 2048 nm |
/// | [`pixel_nm`](Self::pixel_nm) | 1 nm |
/// | [`process`](Self::process) | the ICCAD 2013 contest's corners and resist |
/// | [`rules`](Self::rules) | [`MaskRules::default`] |
/// | [`style`](Self::style) | contours within 1 nm |
/// | [`tile_nm`](Self::tile_nm) | none: a layout that fits the optics' field is one field, and others are cut into such |
///
/// ```no_run
/// use lithoburn_engine::{Correction, EngineError, Model};
/// use lithoburn_layout::{Layout, Polygon};
///
/// # fn main() -> Result<(), EngineError> {
/// let design = Layout::new("bar", vec![Polygon::rectangle(0.0, 0.0, 80.0, 600.0)]);
/// let mask = Correction::of(&design).model(Model::NeuralIltFast).device("auto").run()?;
/// println!("{:.0} nm² differ from the design", mask.metrics().l2_nm2);
/// mask.write("out")?;
/// # Ok(())
/// # }
/// ```
///
/// Nothing is looked at before it runs, so that no setting fails by itself: wrong ones are errors of [`Correction::run`] and its
/// relatives, and name the setting.
#[derive(Clone, Debug)]
#[must_use]
pub struct Correction<'a> {
    design: Design<'a>,
    model: ModelSettings,
    kernels: Kernels,
    pixel_nm: f64,
    coverage: Coverage,
    process: Process,
    band: Option<f64>,
    rules: Option<MaskRules>,
    style: MaskStyle,
    devices: Devices,
    tile_nm: Option<f64>,
    halo_nm: Option<f64>,
    wish: Wish,
    format: MaskFormat,
    measure: bool,
}

/// Optical kernels, or where they are.
#[derive(Clone, Debug)]
enum Kernels {
    /// The built-in ones, or a file's.
    File(Option<PathBuf>),
    /// These, with their name.
    Loaded(Box<KernelSet>, String),
}

/// What is corrected, and by which method.
impl<'a> Correction<'a> {
    /// The correction of a [`Layout`], of several, or of a [`Library`].
    pub fn of(design: impl Into<Design<'a>>) -> Self {
        Self {
            design: design.into(),
            model: ModelSettings::default(),
            kernels: Kernels::File(None),
            pixel_nm: PIXEL_NM,
            coverage: Coverage::Exact,
            process: Process::default(),
            band: None,
            rules: Some(MaskRules::default()),
            style: MaskStyle::default(),
            devices: Devices::Named(vec!["auto".into()]),
            tile_nm: None,
            halo_nm: None,
            wish: Wish::default(),
            format: MaskFormat::default(),
            measure: true,
        }
    }

    /// The same for another design.
    pub fn with_design<'b>(self, design: impl Into<Design<'b>>) -> Correction<'b> {
        Correction { design: design.into(), ..self }
    }

    /// How the mask is found: a [`Model`](crate::Model), with its own weights and
    /// steps, or [`ModelSettings`].
    pub fn model(self, model: impl Into<ModelSettings>) -> Self {
        Self { model: model.into(), ..self }
    }

    /// Directory of weights (`config.json`, `model.safetensors`) instead of the built-in ones. Set after the model.
    pub fn weights(mut self, directory: impl Into<PathBuf>) -> Self {
        self.model.weights = Some(directory.into());
        self
    }

    /// Steps of correction after a network; 0 takes its mask as it is. Set after the model.
    pub fn correct(mut self, steps: usize) -> Self {
        self.model.correct = steps;
        self
    }

    /// Starts of the descent, of which each mask is the best end; they take as many times as long. Set after the model.
    pub fn starts(mut self, starts: usize) -> Self {
        self.model.starts = starts;
        self
    }

    /// What the mask is best at. Set after the model.
    pub fn goal(mut self, goal: Goal) -> Self {
        self.model.goal = goal;
        self
    }

    /// What the PV band weighs against the print's errors; none takes the model's default: 6 for plain ILT, 5 for a network's correction, 3 through a surrogate.
    pub fn band(self, band: impl Into<Option<f64>>) -> Self {
        Self { band: band.into(), ..self }
    }
}

/// Optics, process and mask.
impl Correction<'_> {
    /// Optical kernels, with their name for the report. Their period is the side of a field.
    pub fn kernels(self, kernels: KernelSet, name: impl Into<String>) -> Self {
        Self { kernels: Kernels::Loaded(Box::new(kernels), name.into()), ..self }
    }

    /// A file of optical kernels (safetensors).
    pub fn kernels_file(self, path: impl Into<PathBuf>) -> Self {
        Self { kernels: Kernels::File(Some(path.into())), ..self }
    }

    /// Corners, resist and diffusion.
    pub fn process(self, process: Process) -> Self {
        Self { process, ..self }
    }

    /// Side of a pixel of targets and images, in nm: the field is a whole number of them.
    pub fn pixel_nm(self, pixel_nm: f64) -> Self {
        Self { pixel_nm, ..self }
    }

    /// How polygons become pixels.
    pub fn coverage(self, coverage: Coverage) -> Self {
        Self { coverage, ..self }
    }

    /// What the mask must keep; none lets it be anything.
    pub fn rules(self, rules: impl Into<Option<MaskRules>>) -> Self {
        Self { rules: rules.into(), ..self }
    }

    /// What the mask is made of.
    pub fn style(self, style: MaskStyle) -> Self {
        Self { style, ..self }
    }
}

/// Devices and tiles.
impl<'a> Correction<'a> {
    /// The device, by name: `auto`, `cuda`, `cuda:1`, `vulkan`, `wgpu`, `gl`, `cpu`.
    pub fn device(self, name: impl Into<String>) -> Self {
        Self { devices: Devices::Named(vec![name.into()]), ..self }
    }

    /// Devices that share the tiles, by name; a name may come more than once, and `all` is every GPU.
    pub fn devices<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        Self { devices: Devices::Named(names.into_iter().map(Into::into).collect()), ..self }
    }

    /// Devices that were tested before.
    pub fn on(self, devices: Vec<Chosen>) -> Self {
        Self { devices: Devices::Tested(devices), ..self }
    }

    /// Cuts the layout into tiles of this side, in nm, whether it fits one field or not. The optics' field becomes as large.
    pub fn tile_nm(self, tile_nm: impl Into<Option<f64>>) -> Self {
        Self { tile_nm: tile_nm.into(), ..self }
    }

    /// What neighbouring tiles share on each side, in nm; none chooses.
    pub fn halo_nm(self, halo_nm: impl Into<Option<f64>>) -> Self {
        Self { halo_nm: halo_nm.into(), ..self }
    }

    /// Tiles that each device computes at once; none takes what its memory holds, at most 96, and 1 on the CPU.
    pub fn batch(mut self, batch: impl Into<Option<usize>>) -> Self {
        self.wish.batch = batch.into();
        self
    }

    /// What devices share: tiles, or parts of one network.
    pub fn parallel(mut self, strategy: Strategy) -> Self {
        self.wish.strategy = strategy;
        self
    }

    /// Most bytes to use of devices, by name.
    pub fn memory(mut self, budgets: Vec<(String, u64)>) -> Self {
        self.wish.budgets = budgets;
        self
    }

    /// Keeps the network's weights in host memory, for a device that cannot hold them all.
    pub fn offload(mut self, offload: bool) -> Self {
        self.wish.offload = offload;
        self
    }

    /// Tries the model on every device before it is planned, even if nothing depends on it.
    pub fn probed(mut self, probe: bool) -> Self {
        self.wish.probe = probe;
        self
    }

    /// Format of a tiled mask's polygons.
    pub fn format(self, format: MaskFormat) -> Self {
        Self { format, ..self }
    }

    /// Whether tiles are simulated and measured, which takes most of the CPU's time. One field always is.
    pub fn measure(self, measure: bool) -> Self {
        Self { measure, ..self }
    }
}

/// Running it.
impl<'a> Correction<'a> {
    /// Corrects one layout that fits one field.
    ///
    /// # Errors
    ///
    /// [`EngineError`]: a setting that is wrong, a layout that is larger than the field (for [`Correction::run_in`]), weights that do
    /// not load, a device that is not there or fails.
    pub fn run(&self) -> Result<Mask, EngineError> {
        self.plan()?.run(&mut |_| true)
    }

    /// Corrects a design of any size and leaves `mask.gds`, `mask.png`, `overview.png` and `report.json` in a directory. One that was
    /// stopped goes on where it was.
    ///
    /// # Errors
    ///
    /// As [`Correction::run`], or if a file cannot be written; tiles that are done are kept.
    pub fn run_in(&self, directory: impl AsRef<Path>) -> Result<Report, EngineError> {
        self.plan()?.run_in(directory.as_ref(), &|| false, &mut |_| true)
    }

    /// Corrects layouts of one field each, as many at once as the [batch](Self::batch) says, and hands each mask to `take` as soon as it
    /// is measured, so that memory holds one batch. With `warm`, the first batch is computed once before any clock runs.
    ///
    /// # Errors
    ///
    /// As [`Correction::run`], and what `take` returns.
    pub fn run_each(
        &self,
        warm: bool,
        watch: &mut dyn FnMut(Event) -> bool,
        take: &mut dyn FnMut(Mask) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        self.plan()?.run_each(warm, watch, take)
    }

    /// Checks the settings, tests the devices, loads the optics, and shares the work out.
    ///
    /// # Errors
    ///
    /// As [`Correction::run`]; nothing is computed or written.
    pub fn plan(&self) -> Result<Planned<'a>, EngineError> {
        self.begin()?.on(self.chosen()?)
    }

    /// The same while devices are still opened: begins on other threads what needs none. Whether a card may be among them is seen by
    /// the [names](Correction::devices).
    ///
    /// # Errors
    ///
    /// As [`Correction::run`], but for devices.
    pub fn begin(&self) -> Result<Begun<'a>, EngineError> {
        self.check()?;
        Begun::new(self, self.setup()?)
    }

    /// Whether a device may be of a family, by its name.
    fn may_meet(&self, family: &str) -> bool {
        ["all", "auto", family].iter().any(|name| self.names(name))
    }

    /// Whether a device's name begins so.
    fn names(&self, family: &str) -> bool {
        match &self.devices {
            Devices::Named(names) => names.iter().any(|name| name.starts_with(family)),
            Devices::Tested(devices) => devices.iter().any(|d| d.name.starts_with(family)),
        }
    }

    /// Keeps a part of what is set on a device, for fields that come one after the other; the design does not matter.
    ///
    /// # Errors
    ///
    /// As [`Correction::run`].
    pub fn load(&self, part: Part, device: &Chosen) -> Result<Loaded, EngineError> {
        self.check()?;
        Loaded::new(&self.setup()?, part, device)
    }

    /// Fields that a device's memory holds at once, by a trial of what is set. On the CPU it is one: its processors are busy as it is.
    ///
    /// # Errors
    ///
    /// As [`Correction::run`].
    pub fn room(&self, part: Part, device: &Chosen) -> Result<usize, EngineError> {
        self.check()?;
        let setup = self.setup()?;
        let ahead = Ahead::start(&setup, std::slice::from_ref(device));
        let room = loaded::room(&setup, part, device)?;
        ahead.iter().for_each(Ahead::finished);
        Ok(room)
    }

    /// Settings that fit nothing, whatever the design.
    fn check(&self) -> Result<(), EngineError> {
        let wrong = |text: String| Err(EngineError::Setting(text));
        let positive = |v: f64| v.is_finite() && v > 0.0;
        let not_negative = |v: f64| v.is_finite() && v >= 0.0;
        if !positive(self.pixel_nm) {
            return wrong(format!("the pixel must be more than 0 nm, got {}", self.pixel_nm));
        }
        if let Some(tile) = self.tile_nm.filter(|&tile| !positive(tile)) {
            return wrong(format!("the tile must be more than 0 nm, got {tile}"));
        }
        if let Some(tile) = self.tile_nm.filter(|tile| tile / self.pixel_nm > MOST_PIXELS) {
            return wrong(format!(
                "a tile of {tile} nm is {:.0} pixels of {} nm on a side; at most {MOST_PIXELS} are taken: choose a smaller tile or \
                 a larger pixel",
                tile / self.pixel_nm,
                self.pixel_nm
            ));
        }
        if let Some(halo) = self.halo_nm.filter(|&halo| !not_negative(halo)) {
            return wrong(format!("the halo must be 0 nm or more, got {halo}"));
        }
        if let Some(band) = self.band.filter(|&band| !not_negative(band)) {
            return wrong(format!("the PV band must weigh 0 or more, got {band}"));
        }
        if self.model.model == Model::SurrogateIlt && self.model.goal == Goal::Window {
            return wrong(
                "a surrogate has the corners that it was made for: the goal cannot be the window"
                    .into(),
            );
        }
        match self.style {
            MaskStyle::Curvilinear { tolerance_nm } if !not_negative(tolerance_nm) => {
                wrong(format!("the tolerance must be 0 nm or more, got {tolerance_nm}"))
            }
            MaskStyle::Manhattan { shots: 0 } => wrong("a mask needs 1 shot or more".into()),
            _ if self.model.starts == 0 => wrong("a descent needs 1 start or more".into()),
            _ if self.wish.batch == Some(0) => wrong("a batch needs 1 tile or more".into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn setup(&self) -> Result<Setup, EngineError> {
        let (kernels, kernels_name) = match &self.kernels {
            Kernels::File(path) => load_kernels(path.as_deref())?,
            Kernels::Loaded(kernels, name) => (KernelSet::clone(kernels), name.clone()),
        };
        Ok(Setup {
            model: self.model.clone(),
            kernels,
            kernels_name,
            pixel_nm: self.pixel_nm,
            coverage: self.coverage,
            process: self.process,
            band: self.band,
            rules: self.rules,
            style: self.style,
        })
    }

    /// The devices, tested.
    fn chosen(&self) -> Result<Vec<Chosen>, EngineError> {
        let names = match &self.devices {
            Devices::Tested(devices) => return Ok(devices.clone()),
            Devices::Named(names) => names,
        };
        let named = |name: &String| -> Result<DeviceName, EngineError> {
            name.parse().map_err(|e| EngineError::Setting(format!("device: {e}")))
        };
        match names.as_slice() {
            [all] if all == "all" => Ok(choose_all()),
            names => {
                let names: Result<Vec<DeviceName>, EngineError> = names.iter().map(named).collect();
                choose_each(&names?).map_err(|e| EngineError::Pool(e.to_string()))
            }
        }
    }
}
