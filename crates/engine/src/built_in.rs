//! What the program carries inside: the default kernels and the trained weights.
//!
//! They are compiled in, so that the binary alone is the product. `lithoburn kernels make` and
//! `lithoburn train` make them anew.

use std::path::Path;

use lithoburn_litho::{KernelSet, LithoError};

use crate::EngineError;
use crate::model::Method;

static KERNELS: &[u8] = include_bytes!("../../../weights/optics/cross_quad_2048.safetensors");

/// The weights of a method: its `config.json` and its tensors.
type Weights = (&'static [u8], &'static [u8]);

/// The two files of a folder of `weights`.
macro_rules! weights {
    ($folder:literal) => {
        (
            include_bytes!(concat!("../../../weights/", $folder, "/config.json")),
            include_bytes!(concat!("../../../weights/", $folder, "/model.safetensors")),
        )
    };
}

// Statics: a constant stands in the program once for each use of it, and these are 27 MB.
static NEURAL_ILT: Weights = weights!("neural-ilt");
static NEURAL_ILT_FAST: Weights = weights!("neural-ilt-fast");
static GAN_OPC: Weights = weights!("gan-opc");
/// Of the built-in kernels, of the contest's as OpenILT ships them, and of the built-in ones with a bake.
static SURROGATES: [Weights; 3] =
    [weights!("surrogate-ilt"), weights!("surrogate-ilt-iccad13"), weights!("surrogate-ilt-bake")];

/// Name of the default kernels in reports.
pub(crate) const KERNELS_NAME: &str = "cross_quad_2048 (built in)";

/// The built-in kernels: first principles, cross-quad source, 2048 nm period.
///
/// # Errors
///
/// Only if the file was damaged when the program was built.
pub fn default_kernels() -> Result<KernelSet, EngineError> {
    let path = "built-in kernels".into();
    KernelSet::from_bytes(KERNELS).map_err(|problem| LithoError::Kernels { path, problem }.into())
}

/// The kernels of a file, or the built-in ones, and their name.
///
/// # Errors
///
/// As [`KernelSet::load`].
pub fn load_kernels(path: Option<&Path>) -> Result<(KernelSet, String), EngineError> {
    match path {
        Some(path) => Ok((KernelSet::load(path)?, path.display().to_string())),
        None => Ok((default_kernels()?, KERNELS_NAME.to_string())),
    }
}

/// The trained weights of a model with a network: `config.json` and tensors.
pub fn shipped_weights(method: Method) -> (&'static [u8], &'static [u8]) {
    match method {
        Method::NeuralIlt => NEURAL_ILT,
        Method::NeuralIltFast => NEURAL_ILT_FAST,
        Method::GanOpc => GAN_OPC,
    }
}

/// The trained surrogates: `config.json` and tensors of each. Each says what it was trained for.
pub fn shipped_surrogates() -> &'static [(&'static [u8], &'static [u8])] {
    &SURROGATES
}
