//! Weights on disk: `config.json`, `model.safetensors` (f16), and a SHA-256 of the latter.
//!
//! The layout of Hugging Face, so that other tools can read it. Loading checks that every tensor is
//! there, has its shape, and is finite, and names the one that is not.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::{HalfPrecisionAdapter, ModuleSnapshot, SafetensorsStore};
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// The file with the tensors.
pub const FILE: &str = "model.safetensors";

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

fn read(path: &Path) -> Result<Vec<u8>, WeightsError> {
    std::fs::read(path).map_err(|e| WeightsError::Read(path.to_path_buf(), e))
}

/// Reads `config.json` and checks that it is of the wanted architecture.
///
/// # Errors
///
/// [`WeightsError`] if it is missing, no JSON, or of another architecture.
pub fn config<C: DeserializeOwned>(
    directory: &Path,
    architecture: &str,
) -> Result<C, WeightsError> {
    let path = directory.join("config.json");
    parse_config(&path, &read(&path)?, architecture)
}

/// As [`config`], of bytes; `path` is named in errors.
///
/// # Errors
///
/// As [`config`].
pub fn parse_config<C: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    architecture: &str,
) -> Result<C, WeightsError> {
    let wrong = |problem: String| WeightsError::Config { path: path.to_path_buf(), problem };
    let json: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|e| wrong(format!("it is not JSON: {e}")))?;
    let found = json["architecture"].as_str().unwrap_or("none");
    if found != architecture {
        return Err(wrong(format!("expected architecture {architecture:?}, got {found:?}")));
    }
    serde_json::from_value(json).map_err(|e| wrong(e.to_string()))
}

/// Fills a module with the tensors of a directory.
///
/// # Errors
///
/// [`WeightsError::Tensors`], naming the tensor.
pub fn load<M: Module + ModuleSnapshot>(
    module: &mut M,
    directory: &Path,
) -> Result<(), WeightsError> {
    let path = directory.join(FILE);
    let bytes = read(&path)?;
    check_sum(directory, &path, &bytes)?;
    load_bytes(module, &path, bytes)
}

/// A network of a directory: its `config.json`, what `init` makes of that, and the weights.
pub(crate) fn network<C: DeserializeOwned, M: Module + ModuleSnapshot>(
    directory: &Path,
    architecture: &str,
    init: impl FnOnce(&C) -> M,
) -> Result<M, WeightsError> {
    let mut network = init(&config(directory, architecture)?);
    load(&mut network, directory)?;
    Ok(network)
}

/// As [`network`], of the bytes of both files.
pub(crate) fn built_in<C: DeserializeOwned, M: Module + ModuleSnapshot>(
    config: &[u8],
    tensors: &[u8],
    architecture: &str,
    init: impl FnOnce(&C) -> M,
) -> Result<M, WeightsError> {
    let origin = Path::new("built-in weights");
    let mut network = init(&parse_config(origin, config, architecture)?);
    load_bytes(&mut network, origin, tensors.to_vec())?;
    Ok(network)
}

/// Compares with the sum that the directory, or the one above it, has for the file, if there is one.
fn check_sum(directory: &Path, path: &Path, bytes: &[u8]) -> Result<(), WeightsError> {
    let full = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
    let own = full.file_name().map_or(FILE.into(), |name| format!("{}/{FILE}", name.display()));
    let listed = |sums: PathBuf, name: &str| {
        let text = std::fs::read_to_string(sums).ok()?;
        let line = |line: &str| {
            let (sum, file) = line.split_once(char::is_whitespace)?;
            (file.trim_start_matches([' ', '*']) == name).then(|| sum.to_lowercase())
        };
        text.lines().find_map(line)
    };
    let above = full.parent().and_then(|above| listed(above.join(SUMS), &own));
    let (found, expected) = (hash_of(bytes), listed(full.join(SUMS), FILE).or(above));
    match expected {
        Some(expected) if expected != found => {
            Err(WeightsError::Sum { path: path.to_path_buf(), expected, found })
        }
        _ => Ok(()),
    }
}

/// As [`load`], of bytes; `path` is named in errors.
///
/// # Errors
///
/// As [`load`].
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
        return Err(wrong(format!("{error:?}")));
    }
    match result.missing.first() {
        Some(missing) => Err(wrong(format!("tensor {missing:?} is missing"))),
        None => Ok(()),
    }
}

/// Encodes a module's tensors in f16.
///
/// # Errors
///
/// What the store says.
pub fn encode<M: Module + ModuleSnapshot>(module: &M) -> Result<Vec<u8>, String> {
    let half = HalfPrecisionAdapter::new();
    encode_into(SafetensorsStore::from_bytes(None).with_to_adapter(half), module)
}

/// Encodes a module's tensors in f32, as they are: for weights of others.
///
/// # Errors
///
/// What the store says.
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
    safetensors::serialize(tensors.tensors(), None).map_err(|e| e.to_string())
}

/// SHA-256 of a directory's tensors, in hexadecimal.
///
/// # Errors
///
/// [`WeightsError::Read`].
pub fn hash(directory: &Path) -> Result<String, WeightsError> {
    Ok(hash_of(&read(&directory.join(FILE))?))
}

/// SHA-256 in hexadecimal.
pub fn hash_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names the first tensor with a value that is no number; tells whether the tensors are f16.
fn check_finite(bytes: &[u8]) -> Result<bool, String> {
    let tensors =
        SafeTensors::deserialize(bytes).map_err(|e| format!("it is no safetensors file: {e}"))?;
    let mut half = false;
    for (name, view) in tensors.tensors() {
        half |= view.dtype() == Dtype::F16;
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
    }
    Ok(half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unet::UNetConfig;
    use burn::tensor::{Device, Tensor};

    fn directory(name: &str, bytes: &[u8]) -> PathBuf {
        let directory =
            std::env::temp_dir().join(format!("lithoburn-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("temporary folder");
        std::fs::write(directory.join(FILE), bytes).expect("temporary file");
        directory
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let device = Device::flex();
        let config = UNetConfig::new().with_width(2);
        let net = config.init(&device);
        let bytes = encode(&net).expect("encodes");
        assert_eq!(encode(&net).expect("encodes"), bytes);
        let mut other = config.init(&device);
        load(&mut other, &directory("saved", &bytes)).expect("loads");
        let x = Tensor::ones([1, 1, 16, 16], &device);
        let off: f32 = (net.forward(x.clone()) - other.forward(x)).abs().max().into_scalar();
        assert!(off < 1e-2, "{off}"); // f16 has 11 bits
    }

    #[test]
    fn a_file_that_is_not_the_listed_one_is_refused() {
        let device = Device::flex();
        let mut net = UNetConfig::new().with_width(2).init(&device);
        let bytes = encode(&net).expect("encodes");
        let directory = directory("sum", &bytes);
        let mut load_with = |sum: &str| {
            std::fs::write(directory.join(SUMS), format!("{sum}  {FILE}\n")).expect("sums");
            load(&mut net, &directory).map_err(|e| e.to_string())
        };
        assert_eq!(load_with(&hash_of(&bytes)), Ok(()));
        let error = load_with(&hash_of(b"other")).expect_err("another sum");
        assert!(error.contains(SUMS) && error.contains(FILE), "{error}");
    }

    #[test]
    fn a_wrong_shape_a_missing_tensor_and_nan_are_named() {
        let device = Device::flex();
        let net = UNetConfig::new().with_width(2).init(&device);
        let bytes = encode(&net).expect("encodes");
        let mut wide = UNetConfig::new().with_width(4).init(&device);
        let shape =
            load(&mut wide, &directory("shape", &bytes)).expect_err("shapes differ").to_string();
        assert!(shape.contains("down1"), "{shape}");
        let last = bytes.len();
        let mut nan = bytes.clone();
        nan[last - 2..].copy_from_slice(&[0x00, 0x7e]);
        let mut same = UNetConfig::new().with_width(2).init(&device);
        let problem = load(&mut same, &directory("nan", &nan)).expect_err("NaN").to_string();
        assert!(problem.contains("not finite") && problem.contains('"'), "{problem}");
        assert!(load(&mut same, &directory("cut", &bytes[..200])).is_err());
    }
}
