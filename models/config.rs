//! What `config.json` holds, checked before anything is made of it.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;

/// Sides of a pixel that a network may see, in nm.
const PIXEL_NM: RangeInclusive<f64> = 0.01..=512.0;
/// Mask pixels per network pixel and side.
const UPSAMPLE: RangeInclusive<usize> = 1..=64;
/// Channels of a layer.
pub(crate) const CHANNELS: RangeInclusive<usize> = 1..=16_384;

/// A network's configuration, as `config.json` holds it.
pub trait Configuration: DeserializeOwned {
    /// The architecture's name, so that a file of another one is refused.
    const ARCHITECTURE: &'static str;

    /// Whether a network can be made of it.
    ///
    /// # Errors
    ///
    /// In words: the field, its value, and what was expected.
    fn check(&self) -> Result<(), String>;
}

/// Refuses a value out of range, and one that is no number.
///
/// # Errors
///
/// In words: the field, its value, and the range.
pub fn within<T: PartialOrd + Display>(
    field: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(format!("{field} is {value}; expected {} to {}", range.start(), range.end())),
    }
}

/// Checks what the networks that propose masks have in common.
pub(crate) fn check_head(
    pixel_nm: f64,
    upsample: usize,
    target_logit: f64,
    logit_scale: f64,
) -> Result<(), String> {
    within("pixel_nm", pixel_nm, PIXEL_NM)?;
    within("upsample", upsample, UPSAMPLE)?;
    within("target_logit", target_logit, 0.0..=1e6)?;
    // Zero would make every mask grey, and a negative one would turn it inside out.
    within("logit_scale", logit_scale, 1e-12..=1e12)
}
