//! Surrogate-ILT: which surrogate goes with which true model.

use std::path::Path;

use burn::tensor::Device;
use lithoburn_litho::bake::{Bake, BakeConfig};
use lithoburn_litho::forward::{ForwardModel, ThinMask};
use lithoburn_litho::{KernelSet, Process, ProcessWindow, Resist, Simulator};
use lithoburn_models::weights::Stored;
use lithoburn_models::{LearnedModel, Surrogate, Truth, kernels_sha256};

use crate::EngineError;
use crate::built_in::{shipped_surrogates, shipped_weights};
use crate::model::{Model, ModelSettings};

/// A true forward model: optics, and the resist behind them.
#[derive(Clone, Debug)]
pub struct TrueModel {
    /// The optics.
    pub kernels: KernelSet,
    /// Gaussian blur of the image, in nm; of the threshold resist only.
    pub diffusion_nm: f64,
    /// A resist through its depth; none is the threshold resist.
    pub bake: Option<BakeConfig>,
    /// The corners.
    pub window: ProcessWindow,
}

impl TrueModel {
    /// Thin masks and the threshold resist.
    pub(crate) fn of(kernels: &KernelSet, process: &Process) -> Self {
        let Process { window, diffusion_nm, .. } = *process;
        Self { kernels: kernels.clone(), diffusion_nm, bake: None, window }
    }

    /// What distinguishes it from another.
    pub fn identity(&self) -> Truth {
        Truth {
            kernels_sha256: kernels_sha256(&self.kernels),
            diffusion_nm: self.diffusion_nm,
            bake: self.bake,
            window: self.window,
        }
    }

    /// The model on a device.
    ///
    /// # Errors
    ///
    /// [`EngineError::Litho`] if the kernels hold no recipe and a bake needs it.
    pub fn on(&self, device: &Device) -> Result<Box<dyn ForwardModel + Send + Sync>, EngineError> {
        match &self.bake {
            None => {
                let simulator = Simulator::new(&self.kernels, device);
                let simulator = simulator.with_diffusion(self.diffusion_nm);
                Ok(Box::new(ThinMask::new(simulator, self.window)))
            }
            Some(bake) => {
                let resist = Resist::default();
                Ok(Box::new(Bake::new(&self.kernels, bake, self.window, &resist, device)?))
            }
        }
    }

    /// The surrogate of this model: that of a directory, or the built-in one that was trained for it. With it comes
    /// the SHA-256 of its weights.
    ///
    /// # Errors
    ///
    /// [`EngineError::Weights`] if it does not load, [`EngineError::Setting`] if it is one of another model.
    pub fn surrogate(
        &self,
        directory: Option<&Path>,
        device: &Device,
    ) -> Result<(LearnedModel, String), EngineError> {
        let wanted = self.identity();
        let learned = |surrogate| LearnedModel::new(surrogate, self.window, device);
        if let Some(directory) = directory {
            let stored = Stored::read(directory)?;
            let surrogate = Surrogate::of(&stored, device)?;
            let own = surrogate.config().truth.clone();
            let own = own.ok_or("its config.json does not say what it was trained for".to_string());
            own.and_then(|own| own.is(&wanted)).map_err(|problem| {
                EngineError::Setting(format!(
                    "the surrogate in {} is of no use here: {problem}; {HOW_TO_TRAIN}",
                    directory.display()
                ))
            })?;
            return Ok((learned(surrogate), stored.sha256.clone()));
        }
        for stored in shipped_surrogates() {
            let surrogate = Surrogate::of(stored, device)?;
            let own = surrogate.config().truth.as_ref();
            if own.is_some_and(|own| own.is(&wanted).is_ok()) {
                return Ok((learned(surrogate), stored.sha256.clone()));
            }
        }
        Err(EngineError::Setting(format!(
            "no built-in surrogate was trained for these kernels ({}…) and this process; {HOW_TO_TRAIN}",
            wanted.kernels_sha256.get(..12).unwrap_or_default()
        )))
    }
}

const HOW_TO_TRAIN: &str = "train one with `lithoburn train --model surrogate-ilt --out DIR` and the same \
                            --kernels (and --bake), then name it with --weights DIR";

/// SHA-256 of a model's weights, if it has some.
///
/// # Errors
///
/// [`EngineError`] if they cannot be read, or no built-in surrogate is made for these optics.
pub(crate) fn weights_sha256(
    settings: &ModelSettings,
    kernels: &KernelSet,
    process: &Process,
) -> Result<Option<String>, EngineError> {
    Ok(match (settings.model, &settings.weights) {
        (Model::Ilt, _) => None,
        (_, Some(directory)) => Some(Stored::read(directory)?.sha256.clone()),
        (Model::SurrogateIlt, None) => {
            Some(TrueModel::of(kernels, process).surrogate(None, &Device::flex())?.1)
        }
        (model, None) => model.network().map(|method| shipped_weights(method).sha256.clone()),
    })
}
