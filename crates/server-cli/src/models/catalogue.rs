//! Names of what can be served.

use std::path::PathBuf;

use anyhow::{Result, bail};
use lithoburn_engine::{Correction, Model, ModelSettings, Part, default_kernels};
use lithoburn_layout::Layout;
use serde::Deserialize;

use crate::corrector::Method;

/// The methods, by the names that `infer` knows them by; the first is used if none is asked for.
pub(crate) const METHODS: [Model; 5] =
    [Model::NeuralIltFast, Model::NeuralIlt, Model::GanOpc, Model::Ilt, Model::SurrogateIlt];
/// What a network alone is called, after its method.
const NETWORK: &str = "-network";
/// The optics' name.
const SIMULATOR: &str = "simulator";
/// No design: what is kept on a device has none.
const NONE: &[Layout] = &[];

/// A model that is served, before any device has it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: u64,
    /// What of a correction it is.
    pub(crate) part: Part,
    /// How its masks are found.
    pub(crate) settings: ModelSettings,
    /// The correction.
    pub(crate) correction: Correction<'static>,
    /// Pixels on a side of what goes in by default, and of what comes out.
    pub(crate) side: usize,
}

/// A model as a configuration file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Its name.
    pub(crate) name: String,
    /// `method`, `network` or `simulator`.
    #[serde(default)]
    kind: Kind,
    /// Method that it is of.
    method: Option<String>,
    /// Directory of weights instead of the built-in ones.
    weights: Option<PathBuf>,
    /// Steps of correction after a network.
    correct: Option<usize>,
    /// Side of a field, in nm, instead of that of the optics.
    field_nm: Option<f64>,
    /// Its version.
    #[serde(default = "first")]
    version: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Method,
    Network,
    Simulator,
}

fn first() -> u64 {
    1
}

/// The methods among models, the newest version of each, the default first.
pub(crate) fn described_methods(models: &[Described]) -> Vec<Method> {
    let mut methods: Vec<(u64, Method)> = Vec::new();
    for model in models.iter().filter(|model| model.part == Part::Method) {
        let found = Method { name: model.name.clone(), settings: model.settings.clone() };
        match methods.iter_mut().find(|(_, known)| known.name == model.name) {
            Some(known) if known.0 < model.version => *known = (model.version, found),
            Some(_) => (),
            None => methods.push((model.version, found)),
        }
    }
    methods.into_iter().map(|(_, method)| method).collect()
}

/// A method by its name.
pub(crate) fn method(name: &str) -> Result<Model> {
    let found = METHODS.into_iter().find(|model| model.name() == name);
    let names: Vec<&str> = METHODS.iter().map(|model| model.name()).collect();
    match found {
        Some(model) => Ok(model),
        None => bail!("no method {name:?}: expected one of {}", names.join(", ")),
    }
}

/// Everything that the program carries, or what of it is named.
pub(crate) fn shipped(names: &[String]) -> Result<Vec<Described>> {
    let mut all = Vec::new();
    for model in METHODS {
        all.push(described(model.name(), 1, Part::Method, model.into(), None)?);
    }
    for model in METHODS.into_iter().filter(|model| model.network().is_some()) {
        let name = format!("{}{NETWORK}", model.name());
        all.push(described(&name, 1, Part::Network, model.into(), None)?);
    }
    all.push(described(SIMULATOR, 1, Part::Simulator, Model::Ilt.into(), None)?);
    if names.is_empty() {
        return Ok(all);
    }
    let known: Vec<String> = all.iter().map(|model| model.name.clone()).collect();
    if let Some(stranger) = names.iter().find(|name| !known.contains(name)) {
        bail!("--models names {stranger:?}: expected some of {}", known.join(", "));
    }
    Ok(all.into_iter().filter(|model| names.contains(&model.name)).collect())
}

/// A model of a name and version.
pub(crate) fn described(
    name: &str,
    version: u64,
    part: Part,
    settings: ModelSettings,
    field_nm: Option<f64>,
) -> Result<Described> {
    let kernels = default_kernels()?;
    let field = field_nm.unwrap_or(kernels.period_nm);
    let mut correction = Correction::of(NONE).model(settings.clone()).pixel_nm(PIXEL_NM);
    if field_nm.is_some_and(|nm| (nm - kernels.period_nm).abs() > 1e-6) {
        let ambit = kernels.period_nm.min(field) / 2.0;
        let named = format!("built in, for fields of {field} nm");
        correction = correction.kernels(kernels.within_ambit(ambit, field)?, named);
    }
    let pixel_nm = if part == Part::Network { NETWORK_PIXEL_NM } else { PIXEL_NM };
    let side = (field / pixel_nm).round() as usize;
    Ok(Described { name: name.into(), version, part, settings, correction, side })
}

/// Side of the finest pixels that masks depend on, in nm.
const PIXEL_NM: f64 = 2.0;
/// Side of the pixels that networks see, in nm.
const NETWORK_PIXEL_NM: f64 = 8.0;

impl Settings {
    /// The model.
    pub(crate) fn described(&self) -> Result<Described> {
        let model = match (&self.method, self.kind) {
            (Some(name), _) => method(name)?,
            (None, Kind::Simulator) => Model::Ilt,
            (None, _) => bail!("model {:?} names no method", self.name),
        };
        let part = match self.kind {
            Kind::Method => Part::Method,
            Kind::Network => Part::Network,
            Kind::Simulator => Part::Simulator,
        };
        if part == Part::Network && model.network().is_none() {
            bail!("model {:?} is a network, and {} has none", self.name, model.name());
        }
        if let Some(nm) = self.field_nm
            && !(nm.is_finite() && nm > 0.0 && (nm / FIELD_STEP_NM).fract() == 0.0)
        {
            bail!(
                "field_nm of model {:?} must be a multiple of {FIELD_STEP_NM} nm, got {nm}",
                self.name
            );
        }
        let mut settings = ModelSettings::from(model);
        settings.weights.clone_from(&self.weights);
        settings.correct = self.correct.unwrap_or(settings.correct);
        described(&self.name, self.version, part, settings, self.field_nm)
    }
}

/// What sides of fields are multiples of, in nm: the largest stride of the networks.
const FIELD_STEP_NM: f64 = 128.0;
