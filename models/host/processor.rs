//! What is compiled once for each kind of processor, and chosen as the program runs.

use std::ops::{Deref, DerefMut};

/// Neighbouring numbers that are treated alike: one vector of AVX-512, two of AVX2, four of NEON.
pub(super) const LANES: usize = 16;

/// Sixteen neighbours.
pub(super) type Lanes = [f32; LANES];

/// Bytes of a vector, and of a line of the cache.
const LINE: usize = 64;

/// A kind of processor. Only those that are here can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Processor(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What every processor of the target has.
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Something to compute.
pub(super) trait Work {
    /// `FUSED`: whether a multiply-add is one instruction; where it is none, it is a slow function. `WIDE`: whether there are 32 registers
    /// of sixteen numbers.
    fn run<const FUSED: bool, const WIDE: bool>(self);
}

impl Processor {
    /// The kinds that this processor is of, the quickest last.
    pub(super) fn kinds() -> Vec<Self> {
        let mut kinds = vec![Self(Kind::Plain)];
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            kinds.push(Self(Kind::Avx2));
            kinds.extend(std::is_x86_feature_detected!("avx512f").then_some(Self(Kind::Avx512)));
        }
        kinds
    }

    /// The quickest kind that this processor is of.
    pub(super) fn here() -> Self {
        Self::kinds().pop().unwrap_or(Self(Kind::Plain))
    }

    /// Whether there are 32 registers of sixteen numbers.
    pub(super) fn is_wide(self) -> bool {
        match self.0 {
            Kind::Plain => false,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => false,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => true,
        }
    }

    /// Computes with this kind's vectors.
    pub(super) fn compute(self, work: impl Work) {
        match self.0 {
            // A multiply-add is an instruction of every 64-bit ARM.
            Kind::Plain => work.run::<{ cfg!(target_arch = "aarch64") }, false>(),
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "what a processor has is known when the program runs")]
            // SAFETY: `kinds` alone makes this value, where the processor has what the function is compiled for.
            Kind::Avx2 => unsafe { with_avx2(work) },
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "what a processor has is known when the program runs")]
            // SAFETY: as above.
            Kind::Avx512 => unsafe { with_avx512(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2(work: impl Work) {
    work.run::<true, false>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn with_avx512(work: impl Work) {
    work.run::<true, true>();
}

/// `a * factor + b`
#[inline(always)]
pub(super) fn multiply_add<const FUSED: bool>(a: f32, factor: f32, b: f32) -> f32 {
    if FUSED { a.mul_add(factor, b) } else { a * factor + b }
}

/// The sixteen numbers from `at` on.
#[inline(always)]
pub(super) fn lanes(from: &[f32], at: usize) -> &Lanes {
    &from[at..at + LANES].as_chunks().0[0]
}

/// Numbers that begin with a line of the cache: vectors that lie across two are read and written twice.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    values: Vec<f32>,
    start: usize,
}

impl Numbers {
    /// Zeros.
    pub(super) fn new(length: usize) -> Self {
        let values = vec![0.0; length + LINE / size_of::<f32>()];
        let start = values.as_ptr().align_offset(LINE).min(values.len() - length);
        Self { values, start }
    }

    /// The first `length` of them, whatever they are; more if there are too few.
    pub(super) fn first(&mut self, length: usize) -> &mut [f32] {
        if self.len() < length {
            *self = Self::new(length);
        }
        &mut self[..length]
    }
}

impl Deref for Numbers {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..]
    }
}

impl DerefMut for Numbers {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..]
    }
}
