//! What a device does in fewer instructions than its language says.

use cubecl::prelude::*;

/// 2 to the power of `x`, to a part in 4 million. A `ptx` device has an instruction for it that CUDA C++ wraps in care for denormals.
#[cube]
pub(super) fn power_of_two(x: f32, #[comptime] ptx: bool) -> f32 {
    if comptime!(ptx) {
        let out: f32;
        gpu_asm!("ex2.approx.ftz.f32 {}, {};", out(_) out, in(_) x, options(pure, nomem));
        out
    } else {
        (x * f32::new(core::f32::consts::LN_2)).exp()
    }
}

/// 1 / `x`, to a part in 8 million.
#[cube]
pub(super) fn reciprocal(x: f32, #[comptime] ptx: bool) -> f32 {
    if comptime!(ptx) {
        let out: f32;
        gpu_asm!("rcp.approx.ftz.f32 {}, {};", out(_) out, in(_) x, options(pure, nomem));
        out
    } else {
        f32::new(1.0) / x
    }
}

/// 1 / (1 + 2^x): the sigmoid of −x ln 2.
#[cube]
pub(super) fn falling(x: f32, #[comptime] ptx: bool) -> f32 {
    if comptime!(ptx) {
        reciprocal(f32::new(1.0) + power_of_two(x, ptx), ptx)
    } else {
        // Not every device has a number for 1 / (1 + ∞).
        let exponent = select(x > f32::new(115.0), f32::new(115.0), x);
        reciprocal(f32::new(1.0) + power_of_two(exponent, ptx), ptx)
    }
}

/// The sigmoid.
#[cube]
pub(super) fn sigmoid(x: f32, #[comptime] ptx: bool) -> f32 {
    falling(x * f32::new(-core::f32::consts::LOG2_E), ptx)
}
