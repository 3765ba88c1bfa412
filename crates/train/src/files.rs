//! A trained network on disk.

use std::path::Path;

use lithoburn_layout::write_whole;
use lithoburn_models::weights;
use serde::Serialize;

use crate::TrainError;

/// Writes `config.json`, `model.safetensors` and its sum, in the places of former ones; returns the sum.
pub(crate) fn write_network(
    out: &Path,
    config: &impl Serialize,
    tensors: &[u8],
) -> Result<String, TrainError> {
    let failed = |e: serde_json::Error| TrainError::Save(out.to_path_buf(), e.to_string());
    let text = serde_json::to_vec_pretty(config).map_err(failed)?;
    write_whole(&out.join(weights::CONFIG), &text)?;
    let hash = weights::hash_of(tensors);
    // Should the run end between the two, the sum is missing, not wrong.
    let sums = out.join(weights::SUMS);
    let _ = std::fs::remove_file(&sums);
    write_whole(&out.join(weights::FILE), tensors)?;
    write_whole(&sums, format!("{hash}  {}\n", weights::FILE).as_bytes())?;
    Ok(hash)
}
