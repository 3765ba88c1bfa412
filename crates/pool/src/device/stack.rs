//! The stack that a CUDA card sets aside for every thread that it could run at once.
//!
//! CUDA's default is 1024 bytes; an H200 can run 270,336 threads, and so a context without any data takes 264 MiB for
//! stacks that our kernels hardly use. The driver enlarges it for a kernel that needs more.
#![allow(unsafe_code, reason = "the CUDA driver is a C library")]

use cudarc::driver::{result, sys};

use super::guard::guarded;

/// Bytes for each thread.
const BYTES: usize = 256;

/// Makes the stacks of a card's threads small. If that fails, they stay as they are: only memory is at stake.
pub(crate) fn shrink(card: usize) {
    let _ = guarded(move || set_limit(card as i32));
}

fn set_limit(card: i32) -> Result<(), result::DriverError> {
    result::init()?;
    let device = result::device::get(card)?;
    // SAFETY: the device is one that the driver gave. The context is the one that Burn uses; it is retained for
    // the rest of the process, so that its limit is, too.
    unsafe {
        let context = result::primary_ctx::retain(device)?;
        result::ctx::set_current(context)?;
        sys::cuCtxSetLimit(sys::CUlimit_enum::CU_LIMIT_STACK_SIZE, BYTES).result()
    }
}
