//! Everything that is asked of a mask: options of `plan`, and what every worker reads from the job.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use lithoburn_engine::{Correction, MaskFormat, MaskStyle, Model, ModelSettings, Planned, Shares};
use lithoburn_farm::job::{Input, Opened};
use lithoburn_layout::{Bounds, Coverage, Layer, Library, MaskRules, ReadOptions};
use lithoburn_litho::{Process, ProcessWindow};
use serde::{Deserialize, Serialize};

/// How masks are found, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

impl From<ModelName> for Model {
    fn from(name: ModelName) -> Self {
        match name {
            ModelName::NeuralIlt => Self::NeuralIlt,
            ModelName::NeuralIltFast => Self::NeuralIltFast,
            ModelName::GanOpc => Self::GanOpc,
            ModelName::Ilt => Self::Ilt,
            ModelName::SurrogateIlt => Self::SurrogateIlt,
        }
    }
}

/// How polygons become pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RasterRule {
    /// The exact covered area of each pixel.
    Exact,
    /// Both end pixels belong to an edge.
    Inclusive,
}

/// What the mask is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StyleName {
    /// Polygons along the contours, for multi-beam writers.
    Curvilinear,
    /// Polygons along the mask's pixels.
    Pixels,
}

/// Format of the polygons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FormatName {
    /// GDSII.
    Gds,
    /// OASIS.
    Oas,
}

/// What is asked of a mask.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// How the mask is found.
    #[arg(long, short, value_enum, default_value = "neural-ilt-fast")]
    model: ModelName,
    /// Steps of correction after the network; 0 takes the network's mask as it is [default: 64].
    #[arg(long, value_name = "N")]
    correct: Option<usize>,
    /// Steps between two looks of surrogate-ilt at the true model [default: 20].
    #[arg(long, value_name = "N")]
    correct_every: Option<usize>,
    /// Weight of the PV band against the print's errors [default: 6 for ilt, 5 for a correction, 3 for surrogate-ilt].
    #[arg(long, value_name = "W")]
    band: Option<f64>,
    /// Diffusion length of the resist's acid, in nm.
    #[arg(long, value_name = "NM", default_value_t = 0.0)]
    diffusion: f64,
    /// Side of a pixel of targets and images, in nm.
    #[arg(long, value_name = "NM", default_value_t = 1.0)]
    pixel: f64,
    /// Layer and datatype of a GDSII or OASIS file, if it has shapes on several.
    #[arg(long, value_name = "L/D")]
    layer: Option<String>,
    /// Cell of a GDSII or OASIS file, if it has several top cells.
    #[arg(long, value_name = "NAME")]
    cell: Option<String>,
    /// Only what lies in this window, in nm, cut off at its border.
    #[arg(long, value_name = "X0,Y0,X1,Y1", allow_hyphen_values = true)]
    window: Option<String>,
    /// Rule for pixels that an edge cuts.
    #[arg(long, value_enum, default_value = "exact")]
    raster: RasterRule,
    /// Polygons of the mask.
    #[arg(long, value_enum, default_value = "curvilinear")]
    style: StyleName,
    /// How far curvilinear polygons may be from the mask's contour, in nm.
    #[arg(long, value_name = "NM", default_value_t = 1.0)]
    tolerance: f64,
    /// Side of a tile, in nm.
    #[arg(long, value_name = "NM", default_value_t = 2048.0)]
    tile: f64,
    /// What neighbouring tiles share on each side, in nm, or auto: five sixteenths of a tile, at most 640.
    #[arg(long, value_name = "NM", default_value = "auto")]
    halo: Halo,
    /// Format of the polygons that are written.
    #[arg(long, value_enum, default_value = "oas")]
    format: FormatName,
    /// Write the mask without simulating and measuring it.
    #[arg(long)]
    no_measure: bool,
    /// Rehearse the farm, without devices: each tile takes so many milliseconds, and its design stands for its mask. What merge writes
    /// is no mask.
    #[arg(long, value_name = "MS", hide = true)]
    rehearse: Option<f64>,
    /// Mask rules are left out: the mask may be anything.
    #[arg(skip)]
    no_rules: bool,
}

/// A halo in nm; none is chosen by the tile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Halo(Option<f64>);

impl FromStr for Halo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "auto" => Ok(Self(None)),
            Ok(nm) if nm >= 0.0 && f64::is_finite(nm) => Ok(Self(Some(nm))),
            _ => Err("expected a number of nm, 0 or more, or auto".into()),
        }
    }
}

/// Files that a mask depends on, besides the layout.
#[derive(Args, Clone, Debug)]
pub(crate) struct Files {
    /// Directory of weights to use instead of the built-in ones: config.json, model.safetensors.
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// Optical kernels (safetensors) instead of the built-in ones.
    #[arg(long, value_name = "FILE")]
    kernels: Option<PathBuf>,
    /// Corners of the process: a JSON file with nominal, outer and inner.
    #[arg(long, value_name = "FILE")]
    corners: Option<PathBuf>,
    /// Mask rules: a JSON file; "none" lets the mask be anything.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// What the files of a job are for.
const LAYOUT: &str = "layout";
const KERNELS: &str = "kernels";
const CORNERS: &str = "corners";
const RULES: &str = "rules";
const WEIGHTS: &str = "weights";
const CONFIG: &str = "configuration";

impl Files {
    /// The files as they are, the layout first.
    pub(crate) fn inputs(&self, layout: &Path, settings: &mut Settings) -> Result<Vec<Input>> {
        let mut inputs = vec![Input::of(LAYOUT, layout)?];
        if let Some(weights) = &self.weights {
            inputs.push(Input::of(CONFIG, &weights.join("config.json"))?);
            inputs.push(Input::of(WEIGHTS, &weights.join("model.safetensors"))?);
        }
        settings.no_rules = self.rules.as_deref() == Some(Path::new("none"));
        let rules = self.rules.as_ref().filter(|_| !settings.no_rules);
        for (role, path) in [(KERNELS, &self.kernels), (CORNERS, &self.corners)] {
            inputs.extend(path.as_deref().map(|path| Input::of(role, path)).transpose()?);
        }
        inputs.extend(rules.map(|path| Input::of(RULES, path)).transpose()?);
        Ok(inputs)
    }
}

/// Settings and files together.
pub(crate) struct Asked<'a> {
    settings: &'a Settings,
    inputs: &'a [Input],
}

impl Settings {
    /// Of a job that was planned before.
    pub(crate) fn of(job: &Opened) -> Result<Self> {
        serde_json::from_value(job.job.settings.clone())
            .with_context(|| format!("{}: settings", job.folder().display()))
    }

    /// Whether masks are measured when they are put together.
    pub(crate) fn measures(&self) -> bool {
        !self.no_measure && self.rehearse.is_none()
    }

    /// Whether this is a rehearsal.
    pub(crate) fn rehearses(&self) -> bool {
        self.rehearse.is_some()
    }

    /// How long each tile of a rehearsal takes; none if this is no rehearsal.
    ///
    /// # Errors
    ///
    /// If that is no time.
    pub(crate) fn rehearsal(&self) -> Result<Option<Duration>> {
        let seconds = |ms: f64| Duration::try_from_secs_f64(ms * 1e-3);
        let time = self.rehearse.map(seconds).transpose();
        time.context("--rehearse must be 0 ms or more")
    }

    /// The tiles of a layout that is planned: for masks, or for a rehearsal.
    pub(crate) fn shares<'p>(&self, planned: &'p Planned<'_>) -> Result<Shares<'p>> {
        let shares = planned.shares()?;
        Ok(if self.rehearsal()?.is_some() { shares.rehearsal() } else { shares })
    }

    /// With the files of a job.
    pub(crate) fn with<'a>(&'a self, inputs: &'a [Input]) -> Asked<'a> {
        Asked { settings: self, inputs }
    }
}

impl Asked<'_> {
    /// A file by its role, unchanged.
    fn file(&self, role: &str) -> Result<Option<PathBuf>> {
        let input = self.inputs.iter().find(|input| input.role == role);
        Ok(input.map(Input::checked).transpose()?)
    }

    /// The layout, or the window of it.
    pub(crate) fn library(&self) -> Result<Library> {
        let Settings { pixel, cell, layer, window, .. } = self.settings;
        let layer: Option<Layer> = layer
            .as_ref()
            .map(|text| text.parse().map_err(|e| anyhow::anyhow!("--layer {text}: {e}")))
            .transpose()?;
        if !(pixel.is_finite() && *pixel > 0.0) {
            bail!("--pixel must be a positive number of nm, got {pixel}");
        }
        let options = ReadOptions { layer, cell: cell.clone(), pixel_nm: *pixel };
        let path = self.file(LAYOUT)?.context("the job names no layout: plan it again")?;
        let library = Library::read(&path, &options)?;
        let Some(text) = window else { return Ok(library) };
        let window: Bounds = text.parse().map_err(|e| anyhow::anyhow!("--window {text}: {e}"))?;
        library.cut(window).with_context(|| format!("--window {text}"))
    }

    fn process(&self) -> Result<Process> {
        let window = match self.file(CORNERS)? {
            None => ProcessWindow::default(),
            Some(path) => serde_json::from_str(&std::fs::read_to_string(&path)?)
                .with_context(|| format!("{} is not a set of corners", path.display()))?,
        };
        let diffusion_nm = self.settings.diffusion;
        let process = Process { window, diffusion_nm, ..Process::default() };
        process.check().context("--corners or --diffusion")?;
        Ok(process)
    }

    fn model(&self) -> Result<ModelSettings> {
        let mut model = ModelSettings::from(Model::from(self.settings.model));
        let file = self.file(WEIGHTS)?;
        self.file(CONFIG)?;
        model.weights = file.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        model.correct = self.settings.correct.unwrap_or(model.correct);
        model.correct_every = self.settings.correct_every.unwrap_or(model.correct_every);
        Ok(model)
    }

    /// The correction of a library, on no device yet.
    pub(crate) fn correction<'l>(&self, library: &'l Library) -> Result<Correction<'l>> {
        let settings = self.settings;
        let rules = match (settings.no_rules, self.file(RULES)?) {
            (true, _) => None,
            (false, None) => Some(MaskRules::default()),
            (false, Some(path)) => Some(MaskRules::read(&path)?),
        };
        let style = match settings.style {
            StyleName::Curvilinear => MaskStyle::Curvilinear { tolerance_nm: settings.tolerance },
            StyleName::Pixels => MaskStyle::Pixels,
        };
        let coverage = match settings.raster {
            RasterRule::Exact => Coverage::Exact,
            RasterRule::Inclusive => Coverage::Inclusive,
        };
        let format = match settings.format {
            FormatName::Gds => MaskFormat::Gds,
            FormatName::Oas => MaskFormat::Oasis,
        };
        let correction = Correction::of(library)
            .model(self.model()?)
            .band(settings.band)
            .process(self.process()?)
            .pixel_nm(settings.pixel)
            .coverage(coverage)
            .rules(rules)
            .style(style)
            .tile_nm(settings.tile)
            .halo_nm(settings.halo.0)
            .format(format)
            .measure(settings.measures());
        Ok(match self.file(KERNELS)? {
            Some(path) => correction.kernels_file(path),
            None => correction,
        })
    }
}
