//! A CUDA card's context, opened before Burn asks for it, with small stacks.
//!
//! CubeCL holds one lock of the process while it opens a card, on which all spin who ask for a card meanwhile. What takes long, the
//! context, is opened here and found there. The driver opens one card at a time, whoever asks: 0.1 s each on H200s.
//!
//! A stack is what a card sets aside for every thread that it could run at once. CUDA's default is 1024 bytes; an H200 can run 270,336
//! threads, and so a context without any data takes 264 MiB for stacks that our kernels hardly use. The driver enlarges it for a kernel
//! that needs more.
#![cfg_attr(feature = "cuda", allow(unsafe_code, reason = "the CUDA driver is a C library"))]

#[cfg(feature = "cuda")]
use cudarc::driver::{result, sys};
#[cfg(feature = "cuda")]
use tracing::info_span;

#[cfg(feature = "cuda")]
use super::guard::guarded;

/// Bytes for each thread.
#[cfg(feature = "cuda")]
const STACK: usize = 256;

/// Opens a card's context, by its place among those that the driver shows. What fails here fails again where the card is asked for, which
/// says why; a limit that cannot be set stays as it is, since only memory is at stake.
#[cfg(feature = "cuda")]
pub(super) fn open(card: usize) {
    let _span = info_span!("context").entered();
    let _ = guarded(move || opened(card as i32));
}

/// What the driver calls a card, by its place, and what code is compiled for there, as CubeCL writes it; none if it does not answer.
/// Nothing is opened.
#[cfg(feature = "cuda")]
pub(super) fn known(card: usize) -> Option<(String, String)> {
    guarded(move || asked(card as i32)).ok()?.ok()
}

#[cfg(feature = "cuda")]
fn asked(card: i32) -> Result<(String, String), result::DriverError> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    result::init()?;
    let device = result::device::get(card)?;
    // SAFETY: the device is one that the driver gave.
    let [major, minor] =
        [MAJOR, MINOR].map(|of| unsafe { result::device::get_attribute(device, of) });
    Ok((result::device::get_name(device)?, format!("ptx_sm{}", 10 * major? + minor?)))
}

/// A program that was built without CUDA opens none.
#[cfg(not(feature = "cuda"))]
pub(super) fn open(_card: usize) {}

#[cfg(feature = "cuda")]
fn opened(card: i32) -> Result<(), result::DriverError> {
    result::init()?;
    let device = result::device::get(card)?;
    // SAFETY: the device is one that the driver gave. The context is the one that Burn uses; it is retained for
    // the rest of the process, so that its limit is, too.
    unsafe {
        let context = result::primary_ctx::retain(device)?;
        result::ctx::set_current(context)?;
        sys::cuCtxSetLimit(sys::CUlimit_enum::CU_LIMIT_STACK_SIZE, STACK).result()
    }
}
