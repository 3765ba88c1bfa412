//! Options that several jobs share.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use lithoburn_engine::{
    CORRECT, CORRECT_EVERY, Correction, Goal, MaskStyle, Model, ModelSettings, load_kernels,
};
use lithoburn_layout::{Bounds, Coverage, Layer, Layout, Library, MaskRules, ReadOptions};
use lithoburn_litho::bake::BakeConfig;
use lithoburn_litho::{KernelSet, Process, ProcessWindow};
use lithoburn_pool::{Chosen, DeviceName};

/// How masks are found, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelName {
    /// The published U-Net proposes the mask, the simulator corrects it.
    NeuralIlt,
    /// The same with a lighter network, whose masks are better.
    NeuralIltFast,
    /// A generator trained against a discriminator proposes the mask, the simulator corrects it.
    GanOpc,
    /// Gradient descent on the mask's pixels.
    Ilt,
    /// The same through a learned forward model, corrected by the true one.
    SurrogateIlt,
}

/// What masks are best at, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GoalName {
    /// Small areas of error and of the PV band.
    Area,
    /// Edges within a few nm of the design's, for a larger PV band.
    Edges,
    /// A wide process window, for larger areas.
    Window,
}

impl From<GoalName> for Goal {
    fn from(name: GoalName) -> Self {
        match name {
            GoalName::Area => Self::Area,
            GoalName::Edges => Self::Edges,
            GoalName::Window => Self::Window,
        }
    }
}

/// The model and its settings.
#[derive(Args, Debug)]
pub(crate) struct ModelOptions {
    /// How the mask is found.
    #[arg(long, short, value_enum, default_value = "neural-ilt-fast")]
    pub model: ModelName,
    /// Steps of correction after the network; 0 takes the network's mask as it is [default: 64].
    #[arg(long, value_name = "N")]
    pub correct: Option<usize>,
    /// Steps between two looks of surrogate-ilt at the true model [default: 20].
    #[arg(long, value_name = "N")]
    pub correct_every: Option<usize>,
    /// Starts of the descent, of which each mask is the best end; they take as many times as long.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub starts: usize,
    /// What the mask is best at.
    #[arg(long, value_enum, default_value = "area")]
    pub goal: GoalName,
    /// Weight of the PV band against the print's errors: more gives a smaller band and a larger L2
    /// [default: 6 for ilt, 5 for a network's correction, 3 for surrogate-ilt].
    #[arg(long, value_name = "W")]
    pub band: Option<f64>,
    /// Directory of weights to use instead of the built-in ones: config.json, model.safetensors.
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
}

impl ModelOptions {
    pub(crate) fn band(&self) -> Result<Option<f64>> {
        match self.band {
            Some(band) if !(band.is_finite() && band >= 0.0) => {
                anyhow::bail!("--band must be 0 or more, got {band}")
            }
            band => Ok(band),
        }
    }

    /// The model, if no option was given that means nothing to it.
    pub(crate) fn model(&self) -> Result<ModelSettings> {
        let name = self.model.to_possible_value().map_or(String::new(), |v| v.get_name().into());
        let means_nothing = |option: &str, given: bool, meant: bool| match given && !meant {
            true => Err(anyhow!("{option} means nothing to --model {name}: leave it out")),
            false => Ok(()),
        };
        let network = Model::from(self.model).network().is_some();
        means_nothing("--weights", self.weights.is_some(), self.model != ModelName::Ilt)?;
        means_nothing("--correct", self.correct.is_some(), network)?;
        let descends = self.correct != Some(0);
        means_nothing("--goal", self.goal != GoalName::Area, descends)?;
        means_nothing("--starts", self.starts != 1, descends)?;
        let surrogate = self.model == ModelName::SurrogateIlt;
        means_nothing("--correct-every", self.correct_every.is_some(), surrogate)?;
        Ok(ModelSettings {
            model: self.model.into(),
            weights: self.weights.clone(),
            correct: self.correction(),
            correct_every: self.correct_every(),
            starts: self.starts,
            goal: self.goal.into(),
        })
    }

    /// Steps of correction after a network.
    pub(crate) fn correction(&self) -> usize {
        self.correct.unwrap_or(CORRECT)
    }

    /// Steps between two looks at the true model.
    pub(crate) fn correct_every(&self) -> usize {
        self.correct_every.unwrap_or(CORRECT_EVERY)
    }
}

impl From<ModelName> for Model {
    fn from(name: ModelName) -> Self {
        match name {
            ModelName::Ilt => Self::Ilt,
            ModelName::SurrogateIlt => Self::SurrogateIlt,
            ModelName::NeuralIlt => Self::NeuralIlt,
            ModelName::NeuralIltFast => Self::NeuralIltFast,
            ModelName::GanOpc => Self::GanOpc,
        }
    }
}

/// What is asked of a mask, by whatever job finds one.
pub(crate) struct Asked<'a> {
    pub model: &'a ModelOptions,
    pub kernels: &'a KernelOptions,
    pub drawing: &'a LayoutOptions,
    pub rules: &'a RuleOptions,
    pub style: &'a StyleOptions,
}

impl Asked<'_> {
    /// A correction with all of it.
    pub(crate) fn correction<'a>(&self, correction: Correction<'a>) -> Result<Correction<'a>> {
        let (kernels, name) = self.kernels.load()?;
        Ok(correction
            .model(self.model.model()?)
            .band(self.model.band()?)
            .kernels(kernels, name)
            .process(self.kernels.process()?)
            .pixel_nm(self.drawing.pixel)
            .coverage(self.drawing.coverage())
            .rules(self.rules.load()?)
            .style(self.style.style()?))
    }
}

/// Where to compute.
#[derive(Args, Debug)]
pub(crate) struct DeviceOptions {
    /// auto, cuda, cuda:N, vulkan, vulkan:N, wgpu, gl or cpu.
    #[arg(long, short, value_name = "NAME", default_value = "auto")]
    pub device: DeviceName,
}

impl DeviceOptions {
    pub(crate) fn choose(&self) -> Result<Chosen> {
        Ok(lithoburn_pool::choose(self.device)?)
    }
}

/// Optics.
#[derive(Args, Debug)]
pub(crate) struct KernelOptions {
    /// Optical kernels (safetensors) instead of the built-in ones.
    #[arg(long, value_name = "FILE")]
    pub kernels: Option<PathBuf>,
    /// Corners of the process: a JSON file {"nominal": {"focus": "best", "dose": 1}, "outer": …, "inner": …};
    /// focus is "best" or "defocus", dose a factor on intensity [default: 1; 1.0404; defocus, 0.9604].
    #[arg(long, value_name = "FILE")]
    pub corners: Option<PathBuf>,
    /// Diffusion length of the resist's acid, in nm: a Gaussian blur of the image.
    #[arg(long, value_name = "NM", default_value_t = 0.0)]
    pub diffusion: f64,
}

impl KernelOptions {
    pub(crate) fn load(&self) -> Result<(KernelSet, String)> {
        Ok(load_kernels(self.kernels.as_deref())?)
    }

    pub(crate) fn process(&self) -> Result<Process> {
        let window = match &self.corners {
            None => ProcessWindow::default(),
            Some(path) => corners(path)?,
        };
        let process = Process { window, diffusion_nm: self.diffusion, ..Process::default() };
        process.check().context("--diffusion")?;
        Ok(process)
    }
}

/// A resist with a bake.
#[derive(Args, Debug)]
pub(crate) struct BakeOptions {
    /// A resist through its depth with a post-exposure bake, in place of the threshold: a JSON file with its
    /// numbers (those of a surrogate's training.json under "bake"), or "default".
    #[arg(long, value_name = "FILE")]
    pub bake: Option<PathBuf>,
}

impl BakeOptions {
    pub(crate) fn load(&self) -> Result<Option<BakeConfig>> {
        let Some(path) = &self.bake else { return Ok(None) };
        if path.as_os_str() == "default" {
            return Ok(Some(BakeConfig::default()));
        }
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the bake from {}", path.display()))?;
        let config = serde_json::from_str(&text)
            .with_context(|| format!("{} holds no numbers of a bake", path.display()))?;
        Ok(Some(config))
    }
}

fn corners(path: &Path) -> Result<ProcessWindow> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read corners from {}", path.display()))?;
    let window: ProcessWindow = serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is not a set of corners: expected nominal, outer and inner, each with focus (\"best\" or \
             \"defocus\") and dose",
            path.display()
        )
    })?;
    Process { window, ..Process::default() }.check().with_context(|| path.display().to_string())?;
    Ok(window)
}

/// Mask rules.
#[derive(Args, Debug)]
pub(crate) struct RuleOptions {
    /// Mask rules: a JSON file with min_width_nm, min_space_nm, min_area_nm2, min_distance_nm; what is left
    /// out keeps its default (30, 20, 1700, 20). "none" lets the mask be anything.
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
}

impl RuleOptions {
    pub(crate) fn load(&self) -> Result<Option<MaskRules>> {
        match &self.rules {
            None => Ok(Some(MaskRules::default())),
            Some(path) if path.as_os_str() == "none" => Ok(None),
            Some(path) => Ok(Some(MaskRules::read(path)?)),
        }
    }
}

/// What the mask is made of, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StyleName {
    /// Polygons along the contours, for multi-beam writers.
    Curvilinear,
    /// Polygons along the mask's pixels.
    Pixels,
}

/// The mask's style.
#[derive(Args, Debug)]
pub(crate) struct StyleOptions {
    /// Polygons of mask.gds.
    #[arg(long, value_enum, default_value = "curvilinear", conflicts_with = "shots")]
    pub style: StyleName,
    /// How far curvilinear polygons may be from the mask's contour, in nm.
    #[arg(long, value_name = "NM", default_value_t = 1.0)]
    pub tolerance: f64,
    /// Make the mask of at most N rectangles a field, for shaped-beam writers.
    #[arg(long, value_name = "N")]
    pub shots: Option<usize>,
}

impl StyleOptions {
    pub(crate) fn style(&self) -> Result<MaskStyle> {
        if !(self.tolerance.is_finite() && self.tolerance >= 0.0) {
            anyhow::bail!("--tolerance must be 0 nm or more, got {}", self.tolerance);
        }
        Ok(match (self.shots, self.style) {
            (Some(0), _) => anyhow::bail!("--shots must be 1 or more"),
            (Some(shots), _) => MaskStyle::Manhattan { shots },
            (None, StyleName::Curvilinear) => {
                MaskStyle::Curvilinear { tolerance_nm: self.tolerance }
            }
            (None, StyleName::Pixels) => MaskStyle::Pixels,
        })
    }
}

/// How polygons become pixels, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RasterRule {
    /// The exact covered area of each pixel.
    Exact,
    /// Both end pixels belong to an edge, as in OpenILT's fillPoly.
    Inclusive,
}

/// The layout of a file; `-` is standard input, whose first bytes tell its format.
pub(crate) fn open(path: &Path, options: &ReadOptions) -> Result<Library> {
    if path.as_os_str() != "-" {
        return Ok(Library::read(path, options)?);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
    let format = [
        (&b"%SEMI-OASIS"[..], "oas"),
        (&b"\x89PNG"[..], "png"),
        (&[0, 6, 0, 2][..], "gds"),
        (&b"BEGIN"[..], "glp"),
    ];
    let named = format.into_iter().find(|(magic, _)| bytes.starts_with(magic));
    let (_, ending) = named.context(
        "standard input is no layout: expected OASIS, GDSII, PNG, or GLP text that starts with BEGIN",
    )?;
    Ok(Library::from_bytes(Path::new(&format!("stdin.{ending}")), &bytes, options)?)
}

/// How a layout is read and drawn.
#[derive(Args, Debug)]
pub(crate) struct LayoutOptions {
    /// Side of a pixel of targets and images, in nm; of a PNG's pixels too.
    #[arg(long, value_name = "NM", default_value_t = 1.0, allow_negative_numbers = true)]
    pub pixel: f64,
    /// Layer and datatype of a GDSII or OASIS file, if it has shapes on several.
    #[arg(long, value_name = "L/D")]
    pub layer: Option<Layer>,
    /// Cell of a GDSII or OASIS file, if it has several top cells.
    #[arg(long, value_name = "NAME")]
    pub cell: Option<String>,
    /// Only what lies in this window, in nm, cut off at its border.
    #[arg(long, value_name = "X0,Y0,X1,Y1", allow_hyphen_values = true)]
    pub window: Option<Bounds>,
    /// Rule for pixels that an edge cuts.
    #[arg(long, value_enum, default_value = "exact")]
    pub raster: RasterRule,
}

impl LayoutOptions {
    /// A layout, or the window of it that was asked for.
    pub(crate) fn read(&self, path: &Path) -> Result<Layout> {
        let library = open(path, &self.reading()?)?;
        match self.window {
            None => Ok(library.flatten()?),
            Some(window) => Ok(library.window(window)?),
        }
    }

    /// A layout of any size, as its cells; of a window, without its hierarchy.
    pub(crate) fn library(&self, path: &Path) -> Result<Library> {
        let library = open(path, &self.reading()?)?;
        match self.window {
            None => Ok(library),
            Some(window) => Ok(library.cut(window)?),
        }
    }

    /// How the file is read.
    pub(crate) fn reading(&self) -> Result<ReadOptions> {
        if !(self.pixel.is_finite() && self.pixel > 0.0) {
            anyhow::bail!("--pixel must be a positive number of nm, got {}", self.pixel);
        }
        Ok(ReadOptions { layer: self.layer, cell: self.cell.clone(), pixel_nm: self.pixel })
    }

    pub(crate) fn coverage(&self) -> Coverage {
        match self.raster {
            RasterRule::Exact => Coverage::Exact,
            RasterRule::Inclusive => Coverage::Inclusive,
        }
    }
}
