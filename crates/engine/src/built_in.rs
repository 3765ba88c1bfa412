//! What the program carries inside: the default kernels and the trained weights.
//!
//! They are compiled in, so that the binary alone is the product. `lithoburn kernels make` and
//! `lithoburn train` make them anew.

use std::path::Path;
use std::sync::LazyLock;

use lithoburn_litho::{KernelSet, LithoError};
use lithoburn_models::weights::Stored;

use crate::EngineError;
use crate::model::Method;

static KERNELS: &[u8] = include_bytes!("../../../weights/optics/cross_quad_2048.safetensors");

/// A folder of `weights`, hashed when it is first used.
macro_rules! weights {
    ($folder:literal) => {
        LazyLock::new(|| {
            Stored::built_in(
                include_bytes!(concat!("../../../weights/", $folder, "/config.json")),
                include_bytes!(concat!("../../../weights/", $folder, "/model.safetensors")),
            )
        })
    };
}

static NEURAL_ILT: LazyLock<Stored> = weights!("neural-ilt");
static NEURAL_ILT_FAST: LazyLock<Stored> = weights!("neural-ilt-fast");
static GAN_OPC: LazyLock<Stored> = weights!("gan-opc");
/// Of the built-in kernels, of the contest's as OpenILT ships them, and of the built-in ones with a bake.
static SURROGATES: [LazyLock<Stored>; 3] =
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

/// The trained weights of a model with a network.
pub fn shipped_weights(method: Method) -> &'static Stored {
    match method {
        Method::NeuralIlt => &NEURAL_ILT,
        Method::NeuralIltFast => &NEURAL_ILT_FAST,
        Method::GanOpc => &GAN_OPC,
    }
}

/// The trained surrogates. Each says what it was trained for.
pub fn shipped_surrogates() -> impl Iterator<Item = &'static Stored> {
    SURROGATES.iter().map(|stored| &**stored)
}
