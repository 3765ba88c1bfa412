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

/// What the driver calls a card, by its place; none if it does not answer. Nothing is opened.
#[cfg(feature = "cuda")]
pub(super) fn card_name(card: usize) -> Option<String> {
    let asked = move || {
        result::init()?;
        result::device::get_name(result::device::get(card as i32)?)
    };
    guarded(asked).ok()?.ok()
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
