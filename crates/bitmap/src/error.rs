//! What can go wrong.

use burn::tensor::{Int, Tensor};

/// Why bitmaps could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device failed, now or at something that it was given before.
    #[error(
        "the device does not give back {what}: {problem}; try another device, or a smaller batch"
    )]
    Device {
        /// What was read.
        what: &'static str,
        /// What the device says.
        problem: String,
    },
}

/// The values of a tensor of words; waits for the device.
pub(crate) fn read<const D: usize>(
    words: Tensor<D, Int>,
    what: &'static str,
) -> Result<Vec<u32>, Error> {
    let problem = |problem: String| Error::Device { what, problem };
    let data = words.try_into_data().map_err(|e| problem(e.to_string()))?;
    data.try_into_vec::<u32>().map_err(|e| problem(format!("{e:?}")))
}
