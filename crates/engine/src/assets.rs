//! What the program carries inside: the default kernels and the trained weights.
//!
//! They are compiled in, so that the binary alone is the product. `lithoburn kernels make` and
//! `lithoburn train` make them anew.

use std::path::Path;

use lithoburn_litho::{KernelSet, LithoError};

use crate::EngineError;

const KERNELS: &[u8] = include_bytes!("../../../weights/optics/cross_quad_2048.safetensors");
const NEURAL_ILT_CONFIG: &[u8] = include_bytes!("../../../weights/neural-ilt/config.json");
const NEURAL_ILT: &[u8] = include_bytes!("../../../weights/neural-ilt/model.safetensors");
/// Of the built-in kernels, of the contest's as OpenILT ships them, and of the built-in ones with a bake.
const SURROGATES: [(&[u8], &[u8]); 3] = [
    (
        include_bytes!("../../../weights/surrogate-ilt/config.json"),
        include_bytes!("../../../weights/surrogate-ilt/model.safetensors"),
    ),
    (
        include_bytes!("../../../weights/surrogate-ilt-iccad13/config.json"),
        include_bytes!("../../../weights/surrogate-ilt-iccad13/model.safetensors"),
    ),
    (
        include_bytes!("../../../weights/surrogate-ilt-bake/config.json"),
        include_bytes!("../../../weights/surrogate-ilt-bake/model.safetensors"),
    ),
];

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

/// The trained Neural-ILT: its `config.json` and tensors.
pub fn shipped_weights() -> (&'static [u8], &'static [u8]) {
    (NEURAL_ILT_CONFIG, NEURAL_ILT)
}

/// The trained surrogates: `config.json` and tensors of each. Each says what it was trained for.
pub fn shipped_surrogates() -> &'static [(&'static [u8], &'static [u8])] {
    &SURROGATES
}
