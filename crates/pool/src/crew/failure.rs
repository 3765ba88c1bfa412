//! How a device fails, read from what its libraries say.

use std::any::Any;

use crate::panics::Panic;

/// Why a batch failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The batch does not fit the device's memory: a smaller one may.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The device is gone for the life of the process, as a CUDA context is after a bad memory access.
    #[error("device lost: {0}")]
    Lost(String),
    /// The worker failed in a way that a new one may not, e.g. it panicked.
    #[error("worker broke: {0}")]
    Broken(String),
    /// The tasks themselves are wrong: no device could do them.
    #[error("bad task: {0}")]
    Task(String),
    /// The worker was told to stop and left the batch undone.
    #[error("stopped")]
    Stopped,
}

/// Words of errors after which a CUDA context or a wgpu device is of no more use, in lower case.
///
/// Source: `poisons_device` of cubecl-cuda 0.11, `cuGetErrorString`, wgpu-core's `DeviceError`, Vulkan's codes,
/// and what NVIDIA's driver says of a card that is not there any more.
const LOST: [&str; 29] = [
    "devicepoisoned",
    "device is poisoned",
    "device was poisoned",
    "illegal_address",
    "illegal memory access",
    "ecc_uncorrectable",
    "uncorrectable ecc",
    "launch_timeout",
    "launch timed out",
    "context_is_destroyed",
    "context is destroyed",
    "cuda_error_assert",
    "device-side assert",
    "hardware_stack_error",
    "hardware stack error",
    "illegal_instruction",
    "illegal instruction",
    "misaligned_address",
    "misaligned address",
    "invalid_address_space",
    "invalid_pc",
    "launch_failed",
    "unspecified launch failure",
    "device is lost",
    "device lost",
    "device_lost",
    "devicelost",
    "cuda_error_no_device",
    "fallen off the bus",
];

/// Words of errors that a smaller batch may avoid, in lower case.
///
/// Source: `IoError` and `LaunchError` of cubecl-runtime 0.11, `CUDA_ERROR_OUT_OF_MEMORY`, wgpu-core's
/// `DeviceError::OutOfMemory`.
const OUT_OF_MEMORY: [&str; 8] = [
    "out of memory",
    "out_of_memory",
    "out-of-memory",
    "outofmemory",
    "out of device memory",
    "can't allocate buffer",
    "buffertoobig",
    "not enough memory",
];

impl Failure {
    /// Reads an error's text, as CUDA, wgpu and Burn word it. What is not known is [`Failure::Broken`].
    pub fn of_message(text: &str) -> Self {
        // Lost comes first: "an illegal memory access" is not about too little memory.
        if let Some(line) = line_with(text, |line| LOST.iter().any(|word| line.contains(word))) {
            Self::Lost(line)
        } else if let Some(line) = line_with(text, lacks_memory) {
            Self::OutOfMemory(line)
        } else {
            let line = line_with(text, |line| !line.trim().is_empty());
            Self::Broken(line.unwrap_or_else(|| "no reason given".into()))
        }
    }

    /// Reads a panic that was caught; one that is not known is [`Failure::Broken`], with its place.
    pub fn of_caught(panic: &Panic) -> Self {
        match (Self::of_panic(panic.payload()), panic.place()) {
            (Self::Broken(_), Some(_)) if !panic.payload().is::<Self>() => {
                Self::Broken(panic.to_string())
            }
            (failure, _) => failure,
        }
    }

    /// Reads what a panic carried; a `Failure` that was panicked with is itself.
    pub fn of_panic(payload: &(dyn Any + Send)) -> Self {
        if let Some(failure) = payload.downcast_ref::<Self>() {
            return failure.clone();
        }
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        text.map_or_else(|| Self::Broken("panicked without a message".into()), Self::of_message)
    }
}

/// Whether a line, in lower case, speaks of too little memory.
fn lacks_memory(line: &str) -> bool {
    // A freed page is how CubeCL's memory pool shows that an earlier allocation failed.
    let page = line.contains("memory page") && line.contains("doesn't exist");
    page || OUT_OF_MEMORY.iter().any(|word| line.contains(word))
}

/// The first line that, in lower case, is what is looked for; cut at 200 characters.
fn line_with(text: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let line = text.lines().find(|line| wanted(&line.to_lowercase()))?;
    Some(line.trim().chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts as the libraries write them (cubecl-runtime 0.11 `server/base.rs`, cudarc 0.19, wgpu-core).
    #[test]
    fn texts_of_the_libraries_are_told_apart() {
        let memory = [
            "out of device memory allocating 8589934592 bytes\n  0: backtrace",
            "An out-of-memory error happened during launch\nCaused by:\n  reason",
            "can't allocate buffer of size: 68719476736",
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "called `Result::unwrap()` on an `Err` value: Io(BufferTooBig { size: 68719476736 })",
            "Memory page 3 doesn't exist",
            "wgpu error: Not enough memory left.",
        ];
        for text in memory {
            assert!(matches!(Failure::of_message(text), Failure::OutOfMemory(_)), "{text}");
        }
        let lost = [
            "The device is poisoned\nCaused by:\n  an illegal memory access was encountered",
            "The device was poisoned during launch\nCaused by:\n  out of memory",
            "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access was encountered\")",
            "DriverError(CUDA_ERROR_LAUNCH_FAILED, \"unspecified launch failure\")",
            "DriverError(CUDA_ERROR_ECC_UNCORRECTABLE, \"uncorrectable ECC error encountered\")",
            "called `Result::unwrap()` on an `Err` value: Launch(DevicePoisoned(..))",
            "Parent device is lost",
            "ERROR_DEVICE_LOST",
        ];
        for text in lost {
            assert!(matches!(Failure::of_message(text), Failure::Lost(_)), "{text}");
        }
        for text in
            ["index out of bounds: the len is 3 but the index is 7", "", "PoisonError { .. }"]
        {
            assert!(matches!(Failure::of_message(text), Failure::Broken(_)), "{text}");
        }
    }

    #[test]
    fn a_text_inside_a_chain_of_causes_is_found_and_its_line_is_kept() {
        let text = "\nAn IO error happened\nCaused by:\n  out of device memory allocating 5 bytes";
        let cause = "out of device memory allocating 5 bytes";
        assert_eq!(Failure::of_message(text), Failure::OutOfMemory(cause.into()));
        assert_eq!(Failure::of_message("\n a\nb"), Failure::Broken("a".into()));
        let long = "x".repeat(1000);
        assert_eq!(Failure::of_message(&long), Failure::Broken("x".repeat(200)));
    }

    #[test]
    fn panics_are_read_whatever_they_carry() {
        let lost = Failure::Lost("cable".into());
        assert_eq!(Failure::of_panic(&lost.clone()), lost);
        assert_eq!(
            Failure::of_panic(&"out of memory"),
            Failure::OutOfMemory("out of memory".into())
        );
        assert_eq!(Failure::of_panic(&"broke".to_string()), Failure::Broken("broke".into()));
        let thrown = crate::panics::caught::<()>(|| std::panic::panic_any(lost.clone()));
        assert_eq!(Failure::of_caught(&thrown.expect_err("it panics")), lost);
        assert!(matches!(Failure::of_panic(&7_u8), Failure::Broken(_)));
    }
}
