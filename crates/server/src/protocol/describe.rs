//! What clients are told in the same words over HTTP and gRPC.

use super::problem::{Kind, Problem};

/// The parts of the protocol beyond its core that are offered.
pub const EXTENSIONS: [&str; 8] = [
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "bit_packed_pixels",
];

/// The version that a text names; none if it is empty.
///
/// # Errors
///
/// If it is no whole number from 1 on.
pub fn version_of(text: &str) -> Result<Option<u64>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let version = text.parse::<u64>().ok().filter(|&version| version > 0);
    version.map(Some).ok_or_else(|| {
        let said = format!("failed to get model version from specified version string '{text}'");
        Problem::new(Kind::Invalid, format!("{said}, version should be an integral value > 0"))
    })
}
