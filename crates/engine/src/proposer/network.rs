//! A model's network: loaded, readied, and by the quickest way that a device has.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use burn::tensor::Device;
use lithoburn_litho::KernelSet;
use lithoburn_models::hopper::{NotFused, Prepared, is_hopper};
use lithoburn_models::host::is_host;
use lithoburn_models::weights::Stored;
use lithoburn_models::{GanOpc, Host, MaskNetwork, MatrixUnits, NeuralIlt, Parallel, Program};
use tracing::info_span;

use crate::EngineError;
use crate::built_in::shipped_weights;
use crate::devices::team::Team;
use crate::early::Shared;
use crate::model::Method;

/// Names kernels that are no device's own choice yet: `matrix`, those of matrix units.
const KERNELS: &str = "LITHOBURN_KERNELS";

/// A method's network on a team, and the SHA-256 of its weights.
pub(super) fn laid_out(
    method: Method,
    weights: Option<&Path>,
    kernels: &KernelSet,
    team: &Team,
) -> Result<(Box<dyn MaskNetwork>, String), EngineError> {
    let (network, hash) = load_network(method, weights, &Device::flex())?;
    let side = (kernels.period_nm / network.head().pixel_nm).round() as usize;
    Ok((team.lay(&network.program(), [1, 1, side, side])?, hash))
}

/// A network that is being readied for all who will place it; none if it does not load, which who loads it again will hear of.
pub(crate) type Readying = Arc<Shared<Option<Readied>>>;

/// A method's network in host memory, where weights are laid out for a device.
#[derive(Clone)]
pub(crate) struct Readied {
    program: Program,
    hash: String,
    /// What a Hopper card needs of it, if it may be computed on one. Another device does not wait for it.
    card: Option<Arc<Shared<Result<Prepared, NotFused>>>>,
}

impl Readied {
    /// Loads a network, and readies it for a card if one may come.
    ///
    /// # Errors
    ///
    /// As [`load_network`].
    pub(crate) fn of(
        method: Method,
        weights: Option<&Path>,
        card: bool,
    ) -> Result<Self, EngineError> {
        let _span = info_span!("network to host").entered();
        let (network, hash) = load_network(method, weights, &Device::flex())?;
        let program = network.program();
        let prepared = |program: Program| Shared::begin("card", move || Prepared::of(&program));
        let card = card.then(|| Arc::new(prepared(program.clone())));
        Ok(Self { program, hash, card })
    }

    /// Begins to ready a network, on a thread of its own.
    pub(crate) fn begin(method: Method, weights: Option<PathBuf>, card: bool) -> Readying {
        let ready = move || Self::of(method, weights.as_deref(), card).ok();
        Arc::new(Shared::begin("network", ready))
    }

    /// On a device that has a way of its own.
    fn fused(self, device: &Device) -> Result<Box<dyn MaskNetwork>, String> {
        if is_host(device) {
            return Host::new(&self.program).map(|host| Box::new(host) as Box<dyn MaskNetwork>);
        }
        let prepared = self.card.and_then(|card| card.get());
        let prepared = prepared.unwrap_or_else(|| Prepared::of(&self.program));
        let hopper = prepared.and_then(|prepared| prepared.on(device));
        hopper.map(|hopper| Box::new(hopper) as Box<dyn MaskNetwork>).map_err(|e| e.to_string())
    }

    /// On a device that is asked for its matrix units.
    fn by_matrix_units(self, device: &Device) -> Result<Box<dyn MaskNetwork>, String> {
        let network = MatrixUnits::new(&self.program, device).map_err(|e| e.to_string())?;
        Ok(Box::new(network))
    }
}

/// Whether [`KERNELS`] names those of matrix units.
///
/// # Errors
///
/// [`EngineError::Setting`] if it names no kernels that are known.
fn by_matrix_units(named: Option<&str>) -> Result<bool, EngineError> {
    match named {
        None | Some("") => Ok(false),
        Some("matrix") => Ok(true),
        Some(other) => {
            let problem = format!("{KERNELS} must be matrix, or not be set; got {other:?}");
            Err(EngineError::Setting(problem))
        }
    }
}

/// A method's network by the quickest way that a device has, and the SHA-256 of its weights.
pub(crate) fn quickest(
    method: Method,
    weights: Option<&Path>,
    device: &Device,
) -> Result<(Box<dyn MaskNetwork>, String), EngineError> {
    placed(method, weights, device, None)
}

/// The same of one that may be readied.
pub(super) fn placed(
    method: Method,
    weights: Option<&Path>,
    device: &Device,
    readied: Option<Readied>,
) -> Result<(Box<dyn MaskNetwork>, String), EngineError> {
    let by_matrix_units = by_matrix_units(std::env::var(KERNELS).ok().as_deref())?;
    if is_hopper(device) || is_host(device) || by_matrix_units {
        let readied = readied.map_or_else(|| Readied::of(method, weights, false), Ok)?;
        let hash = readied.hash.clone();
        let fused = match by_matrix_units && !is_host(device) {
            true => readied.by_matrix_units(device),
            false => readied.fused(device),
        };
        match fused {
            Ok(fused) => return Ok((fused, hash)),
            Err(why) => say_once(&format!("{} runs layer by layer: {why}", method.name())),
        }
    }
    let (network, hash) = load_network(method, weights, device)?;
    Ok((network, hash))
}

/// Writes a line on standard error, once a process however many workers find the same.
fn say_once(text: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| eprintln!("note: {text}"));
}

/// A method's network and the SHA-256 of its weights: those of a directory, or the built-in ones.
///
/// # Errors
///
/// [`EngineError::Weights`] if the weights do not load.
pub fn load_network(
    method: Method,
    directory: Option<&Path>,
    device: &Device,
) -> Result<(Box<dyn Parallel>, String), EngineError> {
    let read = directory.map(Stored::read).transpose()?;
    let stored = read.as_deref().unwrap_or_else(|| shipped_weights(method));
    let network: Box<dyn Parallel> = match method {
        Method::GanOpc => Box::new(GanOpc::of(stored, device)?),
        Method::NeuralIlt | Method::NeuralIltFast => Box::new(NeuralIlt::of(stored, device)?),
    };
    Ok((network, stored.sha256.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_those_of_matrix_units_where_they_are_named_and_other_names_are_errors() {
        assert!(matches!(by_matrix_units(None), Ok(false)));
        assert!(matches!(by_matrix_units(Some("matrix")), Ok(true)));
        let problem = by_matrix_units(Some("wmma")).expect_err("no such kernels").to_string();
        assert!(problem.contains("LITHOBURN_KERNELS") && problem.contains("wmma"), "{problem}");
    }
}
