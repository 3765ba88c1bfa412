//! A model's network: loaded, readied, and by the quickest way that a device has.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, OnceLock};

use burn::tensor::Device;
use lithoburn_litho::KernelSet;
use lithoburn_models::hopper::{NotFused, Prepared, is_hopper};
use lithoburn_models::host::is_host;
use lithoburn_models::matrix::{self, NoMatrixUnits, has_matrix_units};
use lithoburn_models::weights::Stored;
use lithoburn_models::{GanOpc, Host, MaskNetwork, NeuralIlt, Parallel, Program};
use tracing::info_span;

use crate::EngineError;
use crate::built_in::shipped_weights;
use crate::devices::team::Team;
use crate::early::Shared;
use crate::model::Method;
use crate::network_kernels::NetworkKernels;
use crate::proposer::calibration_targets;

/// A way to compute a network as one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Host,
    Hopper,
    /// Hopper's in eight bits.
    EightBits,
    MatrixUnits,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Host => "the CPU's kernels",
            Self::Hopper => "Hopper's kernels",
            Self::EightBits => "Hopper's kernels in eight bits",
            Self::MatrixUnits => "matrix units",
        }
    }
}

/// What a Hopper card needs of a network, for either way of its.
fn prepare(way: Way, program: &Program) -> Result<Prepared, NotFused> {
    if way != Way::EightBits {
        return Prepared::of(program);
    }
    let targets = calibration_targets(program);
    let targets = targets.map_err(|e| NotFused::Trial(format!("no calibration: {e}")))?;
    Prepared::in_eight_bits(program, &targets)
}

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

/// What a Hopper card needs of a network, or why it cannot be computed on one.
type ForCard = Result<Prepared, NotFused>;

/// What a device with matrix units needs of a network, or why it cannot be computed on one.
type ForUnits = Result<matrix::Prepared, NoMatrixUnits>;

/// Kinds of devices that a network is readied for before any is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Whether a Hopper card may come.
    pub card: bool,
    /// Whether one that is named may have matrix units, and is no Hopper card.
    pub units: bool,
}

/// A method's network in host memory, where weights are laid out for a device.
#[derive(Clone)]
pub(crate) struct Readied {
    program: Program,
    hash: String,
    /// What a Hopper card needs of it, if it may be computed on one. Another device does not wait for it.
    card: Option<(Way, Arc<Shared<ForCard>>)>,
    /// What matrix units need of it, once it is asked for: the hands of a device share it.
    units: Arc<OnceLock<ForUnits>>,
}

impl Readied {
    /// Loads a network, and readies it for the devices that are expected.
    ///
    /// # Errors
    ///
    /// As [`load_network`], and [`EngineError::Setting`] if kernels are asked for that are none.
    pub(crate) fn of(
        method: Method,
        weights: Option<&Path>,
        expected: Expected,
    ) -> Result<Self, EngineError> {
        let _span = info_span!("network to host").entered();
        let (network, hash) = load_network(method, weights, &Device::flex())?;
        let program = network.program();
        let kernels = NetworkKernels::chosen()?;
        let way = match kernels {
            NetworkKernels::Own => Some(Way::Hopper),
            NetworkKernels::EightBits => Some(Way::EightBits),
            NetworkKernels::MatrixUnits | NetworkKernels::Layers => None,
        };
        let begun = |way| {
            let program = program.clone();
            (way, Arc::new(Shared::begin("card", move || prepare(way, &program))))
        };
        let card = way.filter(|_| expected.card).map(begun);
        let readied = Self { program, hash, card, units: Arc::default() };
        let units = [NetworkKernels::Own, NetworkKernels::MatrixUnits].contains(&kernels);
        if expected.units && units {
            readied.for_units();
        }
        Ok(readied)
    }

    /// Readies it for matrix units, unless somebody did.
    fn for_units(&self) -> &ForUnits {
        self.units.get_or_init(|| matrix::Prepared::of(&self.program))
    }

    /// Begins to ready a network, on a thread of its own.
    pub(crate) fn begin(method: Method, weights: Option<PathBuf>, expected: Expected) -> Readying {
        let ready = move || Self::of(method, weights.as_deref(), expected).ok();
        Arc::new(Shared::begin("network", ready))
    }

    /// By a way that a device has.
    fn by(&self, way: Way, device: &Device) -> Result<Box<dyn MaskNetwork>, String> {
        match way {
            Way::Host => Ok(Box::new(Host::new(&self.program)?)),
            Way::Hopper | Way::EightBits => {
                let begun = self.card.as_ref().filter(|(begun, _)| *begun == way);
                let prepared = begun.and_then(|(_, card)| card.get());
                let prepared = prepared.unwrap_or_else(|| prepare(way, &self.program));
                let hopper = prepared.and_then(|prepared| prepared.on(device));
                Ok(Box::new(hopper.map_err(|e| e.to_string())?))
            }
            Way::MatrixUnits => {
                let prepared = self.for_units().as_ref();
                let network = prepared.map_err(Clone::clone).and_then(|units| units.on(device));
                Ok(Box::new(network.map_err(|e| e.to_string())?))
            }
        }
    }
}

/// A device's ways, the quickest first; after them comes layer by layer.
fn ways(kernels: NetworkKernels, device: &Device) -> Vec<Way> {
    match kernels {
        NetworkKernels::Layers => Vec::new(),
        _ if is_host(device) => vec![Way::Host],
        NetworkKernels::MatrixUnits => vec![Way::MatrixUnits],
        NetworkKernels::EightBits => vec![Way::EightBits],
        NetworkKernels::Own => {
            let hopper = is_hopper(device).then_some(Way::Hopper);
            let units = has_matrix_units(device).then_some(Way::MatrixUnits);
            hopper.into_iter().chain(units).collect()
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
    let ways = ways(NetworkKernels::chosen()?, device);
    if ways.is_empty() {
        return layer_by_layer(method, weights, device);
    }
    let readied = readied.map_or_else(|| Readied::of(method, weights, Expected::default()), Ok)?;
    let mut problems = Vec::new();
    for way in ways {
        match readied.by(way, device) {
            Ok(network) => {
                if !problems.is_empty() {
                    let problems = problems.join("; ");
                    say_once(&format!("{} runs by {}: {problems}", method.name(), way.name()));
                }
                return Ok((network, readied.hash));
            }
            Err(why) => problems.push(why),
        }
    }
    say_once(&format!("{} runs layer by layer: {}", method.name(), problems.join("; ")));
    layer_by_layer(method, weights, device)
}

/// By Burn's kernels for each layer.
fn layer_by_layer(
    method: Method,
    weights: Option<&Path>,
    device: &Device,
) -> Result<(Box<dyn MaskNetwork>, String), EngineError> {
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
    fn the_cpu_has_a_way_of_its_own_which_layers_alone_forbids() {
        let host = Device::flex();
        for kernels in [NetworkKernels::Own, NetworkKernels::MatrixUnits, NetworkKernels::EightBits]
        {
            assert_eq!(ways(kernels, &host), [Way::Host]);
        }
        assert_eq!(ways(NetworkKernels::Layers, &host), []);
    }

    /// What all hands of a device share is made before they ask for it, where such a device is named, and once.
    #[test]
    fn a_network_is_readied_for_matrix_units_once() -> Result<(), EngineError> {
        let expected = Expected { units: true, ..Expected::default() };
        let readied = Readied::of(Method::GanOpc, None, expected)?;
        assert!(readied.units.get().is_some_and(Result::is_ok) && readied.card.is_none());
        let other = readied.clone();
        assert!(std::ptr::eq(readied.for_units(), other.for_units()));
        let plain = Readied::of(Method::GanOpc, None, Expected::default())?;
        assert!(plain.units.get().is_none());
        let no_units = plain.by(Way::MatrixUnits, &Device::flex()).err();
        assert_eq!(no_units, Some(NoMatrixUnits::Device.to_string()));
        Ok(())
    }

    #[test]
    fn each_way_of_the_cpu_gives_the_same_logits() -> Result<(), EngineError> {
        let host = Device::flex();
        let readied = Readied::of(Method::GanOpc, None, Expected::default())?;
        let fused = readied.by(Way::Host, &host).expect("the CPU");
        let (layers, hash) = layer_by_layer(Method::GanOpc, None, &host)?;
        assert_eq!(hash, readied.hash);
        let x = burn::tensor::Tensor::<4>::ones([1, 1, 32, 32], &host);
        let [a, b] = [fused, layers]
            .map(|network| network.logits(x.clone()).try_into_vec_as::<f32>().expect("f32"));
        let largest = a.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-4 * largest));
        Ok(())
    }
}
