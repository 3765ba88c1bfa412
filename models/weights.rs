//! Weights on disk: `config.json`, `model.safetensors` (f16), and a SHA-256 of the latter.
//!
//! The layout of Hugging Face, so that other tools can read it. Loading checks that every tensor is
//! there, has its shape, and is finite, and names the one that is not. A folder is read once, whoever loads it how often.

mod stored;

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::{HalfPrecisionAdapter, ModuleSnapshot, SafetensorsStore};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

pub use stored::Stored;

/// The file with the tensors.
pub const FILE: &str = "model.safetensors";

/// The file with the network's configuration.
pub const CONFIG: &str = "config.json";

/// The file with the sums of others, in the format of `sha256sum`.
pub const SUMS: &str = "SHA256SUMS";

/// Why weights could not be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file system said no.
    #[error("cannot read weights from {0}: {1}")]
    Read(PathBuf, #[source] std::io::Error),
    /// The configuration is not one.
    #[error("{path}: {problem}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file is not the one that was listed.
    #[error(
        "{path} is damaged or another file: SHA256SUMS lists {expected}, its sum is {found}; \
         fetch it again, or remove its line if you changed it"
    )]
    Sum {
        /// The file.
        path: PathBuf,
        /// SHA-256 in `SHA256SUMS`.
        expected: String,
        /// Its own.
        found: String,
    },
    /// A tensor is missing, has a wrong shape, or holds values that are no numbers.
    #[error("{path} does not hold these weights: {problem}")]
    Tensors {
        /// The file.
        path: PathBuf,
        /// Which tensor, and what is wrong with it.
        problem: String,
    },
}

/// Fills a module with the tensors of a file; `path` is named in errors.
///
/// # Errors
///
/// [`WeightsError::Tensors`], naming the tensor that is missing, has another shape, has no place in the module, or holds values
/// that are not finite.
pub fn load_bytes<M: Module + ModuleSnapshot>(
    module: &mut M,
    path: &Path,
    bytes: Vec<u8>,
) -> Result<(), WeightsError> {
    let wrong = |problem: String| WeightsError::Tensors { path: path.to_path_buf(), problem };
    let half = check_finite(&bytes).map_err(wrong)?;
    let mut store = SafetensorsStore::from_bytes(Some(bytes)).validate(false).allow_partial(true);
    if half {
        // The adapter swaps f16 and f32 in either direction, so f32 files must not meet it.
        store = store.with_from_adapter(HalfPrecisionAdapter::new());
    }
    let result = module.load_from(&mut store).map_err(|e| wrong(e.to_string()))?;
    if let Some(error) = result.errors.first() {
        return Err(wrong(error.to_string()));
    }
    if let Some((name, _)) = result.missing.first() {
        return Err(wrong(format!("tensor {name:?} is missing")));
    }
    match result.unused.first() {
        Some(name) => Err(wrong(format!("tensor {name:?} has no place in this network"))),
        None => Ok(()),
    }
}

/// Encodes a module's tensors in f16.
///
/// # Errors
///
/// The name of a tensor with a value that f16 does not hold, or what the store says.
pub fn encode<M: Module + ModuleSnapshot>(module: &M) -> Result<Vec<u8>, String> {
    let half = HalfPrecisionAdapter::new();
    encode_into(SafetensorsStore::from_bytes(None).with_to_adapter(half), module)
}

/// Encodes a module's tensors in f32, as they are: for weights of others.
///
/// # Errors
///
/// The name of a tensor with a value that is not finite, or what the store says.
pub fn encode_f32<M: Module + ModuleSnapshot>(module: &M) -> Result<Vec<u8>, String> {
    encode_into(SafetensorsStore::from_bytes(None), module)
}

fn encode_into<M: Module + ModuleSnapshot>(
    mut store: SafetensorsStore,
    module: &M,
) -> Result<Vec<u8>, String> {
    module.save_into(&mut store).map_err(|e| e.to_string())?;
    let bytes = store.get_bytes().map_err(|e| e.to_string())?;
    // Once more, without the store's own entries: their order is random, and equal weights would have other hashes.
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| e.to_string())?;
    check_finite(&bytes)?;
    safetensors::serialize(tensors.tensors(), None).map_err(|e| e.to_string())
}

/// SHA-256 in hexadecimal.
pub fn hash_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names the first tensor with a value that is no number; tells whether the tensors are f16.
fn check_finite(bytes: &[u8]) -> Result<bool, String> {
    let tensors =
        SafeTensors::deserialize(bytes).map_err(|e| format!("it is no safetensors file: {e}"))?;
    let mut kinds = [false; 2];
    for (name, view) in tensors.tensors() {
        let data = view.data();
        // An exponent of all ones is infinity or NaN.
        let bad = match view.dtype() {
            Dtype::F16 => data.chunks_exact(2).any(|b| b[1] & 0x7c == 0x7c),
            Dtype::F32 => data.chunks_exact(4).any(|b| b[3] & 0x7f == 0x7f && b[2] & 0x80 != 0),
            other => return Err(format!("tensor {name:?} is {other:?}, expected F16 or F32")),
        };
        if bad {
            return Err(format!("tensor {name:?} holds a value that is not finite"));
        }
        kinds[usize::from(view.dtype() == Dtype::F16)] = true;
    }
    match kinds {
        [true, true] => {
            Err("some of its tensors are F16 and some F32; expected one of them".into())
        }
        [_, half] => Ok(half),
    }
}

#[cfg(test)]
mod tests;
