//! Sums of products in a processor's own words.
//!
//! A token of a kind of processor is made only where code is compiled for that kind, so whoever has one may use its instructions.

/// Numbers that are added at once: one vector of AVX-512, two of AVX2, four of NEON.
pub const LANES: usize = 16;

/// What a kind of processor has for sixteen numbers.
pub trait Vectors: Copy {
    /// `sums += values * factor`, by multiply-adds where the processor has them.
    fn add_products(self, sums: &mut [f32; LANES], values: &[f32; LANES], factor: f32);
}

/// What a compiler makes of a loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

impl Vectors for Plain {
    #[inline(always)]
    fn add_products(self, sums: &mut [f32; LANES], values: &[f32; LANES], factor: f32) {
        for i in 0..LANES {
            sums[i] = match cfg!(target_arch = "aarch64") {
                true => values[i].mul_add(factor, sums[i]),
                false => values[i] * factor + sums[i],
            };
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![allow(unsafe_code, reason = "instructions that only some processors have")]

    use std::arch::x86_64::*;

    use super::{LANES, Vectors};

    /// AVX2 and its multiply-adds are here.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        /// For code that is compiled for AVX2.
        #[inline]
        #[target_feature(enable = "avx2,fma")]
        pub(crate) fn here() -> Self {
            Self(())
        }
    }

    impl Vectors for Avx2 {
        #[inline(always)]
        fn add_products(self, sums: &mut [f32; LANES], values: &[f32; LANES], factor: f32) {
            const HALF: usize = LANES / 2;
            let halves =
                sums.as_chunks_mut::<HALF>().0.iter_mut().zip(values.as_chunks::<HALF>().0);
            for (sums, values) in halves {
                let (to, from) = (sums.as_mut_ptr(), values.as_ptr());
                // SAFETY: eight numbers lie at both; a token is made only where AVX2 and FMA are.
                unsafe {
                    let (sum, value) = (_mm256_loadu_ps(to), _mm256_loadu_ps(from));
                    _mm256_storeu_ps(to, _mm256_fmadd_ps(value, _mm256_set1_ps(factor), sum));
                }
            }
        }
    }

    /// AVX-512 is here.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Avx512(());

    impl Avx512 {
        /// For code that is compiled for AVX-512.
        #[inline]
        #[target_feature(enable = "avx512f,avx2,fma")]
        pub(crate) fn here() -> Self {
            Self(())
        }
    }

    impl Vectors for Avx512 {
        #[inline(always)]
        fn add_products(self, sums: &mut [f32; LANES], values: &[f32; LANES], factor: f32) {
            let (to, from) = (sums.as_mut_ptr(), values.as_ptr());
            // SAFETY: sixteen numbers lie at both; a token is made only where AVX-512 is.
            unsafe {
                let (sum, value) = (_mm512_loadu_ps(to), _mm512_loadu_ps(from));
                _mm512_storeu_ps(to, _mm512_fmadd_ps(value, _mm512_set1_ps(factor), sum));
            }
        }
    }
}
