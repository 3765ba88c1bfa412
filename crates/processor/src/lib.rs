//! Code that is compiled once for each kind of processor, and chosen as the program runs.
//!
//! A loop over neighbouring numbers becomes vectors when it is compiled: of four numbers where nothing is known of the processor, of eight
//! with AVX2, of sixteen with AVX-512. [`Processor::compute`] runs the widest form that the processor has. A plain product and a sum are
//! rounded alike in all of them, so whoever asks for no multiply-add gets the same bits everywhere.
//!
//! What a compiler makes of a loop hangs on what it inlined before, and so on how the rest of the program is built. Where nearly all time goes
//! to one loop, [`Vectors`] says its multiply-adds in the processor's own words.
//!
//! ```
//! use lithoburn_processor::{Processor, Vectors, Work};
//!
//! struct Halve<'a>(&'a mut [f32]);
//!
//! impl Work for Halve<'_> {
//!     #[inline(always)]
//!     fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
//!         self.0.iter_mut().for_each(|value| *value *= 0.5);
//!     }
//! }
//!
//! let mut values = [3.0; 40];
//! Processor::here().compute(Halve(&mut values));
//! assert_eq!(values, [1.5; 40]);
//! ```

mod vectors;

pub use vectors::{LANES, Vectors};

/// A kind of processor. Only those that are here can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What every processor of the target has.
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Something to compute. `run` and what it calls are to be `#[inline(always)]`: what is not inlined is compiled for any processor.
pub trait Work {
    /// Computes. `FUSED`: whether a multiply-add is one instruction; where it is none, `f32::mul_add` is a slow function. `WIDE`: whether
    /// there are 32 registers of sixteen numbers.
    fn run<const FUSED: bool, const WIDE: bool>(self, vectors: impl Vectors);
}

impl Processor {
    /// The kinds that this processor is of, the quickest last.
    pub fn kinds() -> Vec<Self> {
        let below = [
            Some(Kind::Plain),
            #[cfg(target_arch = "x86_64")]
            has_avx2().then_some(Kind::Avx2),
            #[cfg(target_arch = "x86_64")]
            has_avx512().then_some(Kind::Avx512),
        ];
        below.into_iter().flatten().map(Self).collect()
    }

    /// The quickest kind that this processor is of.
    pub fn here() -> Self {
        #[cfg(target_arch = "x86_64")]
        if has_avx512() {
            return Self(Kind::Avx512);
        } else if has_avx2() {
            return Self(Kind::Avx2);
        }
        Self(Kind::Plain)
    }

    /// Whether there are 32 registers of sixteen numbers.
    pub fn is_wide(self) -> bool {
        match self.0 {
            Kind::Plain => false,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => false,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => true,
        }
    }

    /// Computes with this kind's vectors.
    pub fn compute(self, work: impl Work) {
        match self.0 {
            // A multiply-add is an instruction of every 64-bit ARM.
            Kind::Plain => work.run::<{ cfg!(target_arch = "aarch64") }, false>(vectors::Plain),
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "what a processor has is known when the program runs")]
            // SAFETY: this kind is made in this file alone, where the processor was found to have what the function is compiled for.
            Kind::Avx2 => unsafe { with_avx2(work) },
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "what a processor has is known when the program runs")]
            // SAFETY: as above.
            Kind::Avx512 => unsafe { with_avx512(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2() && std::is_x86_feature_detected!("avx512f")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2(work: impl Work) {
    work.run::<true, false>(vectors::Avx2::here());
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn with_avx512(work: impl Work) {
    work.run::<true, true>(vectors::Avx512::here());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `values[i] * factor + 1`, in two roundings or in one.
    struct Line<'a> {
        values: &'a mut [f32],
        factor: f32,
        fused: bool,
    }

    impl Work for Line<'_> {
        #[inline(always)]
        fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
            let Self { values, factor, fused } = self;
            values.iter_mut().for_each(|value| {
                *value = match fused && FUSED {
                    true => value.mul_add(factor, 1.0),
                    false => *value * factor + 1.0,
                };
            });
        }
    }

    fn wave() -> Vec<f32> {
        (0..1000).map(|i| (i as f32 * 0.61).sin()).collect()
    }

    #[test]
    fn every_kind_rounds_products_and_sums_alike() {
        let expected: Vec<f32> = wave().into_iter().map(|value| value * 0.3 + 1.0).collect();
        for processor in Processor::kinds() {
            let mut values = wave();
            processor.compute(Line { values: &mut values, factor: 0.3, fused: false });
            assert_eq!(values, expected, "{processor:?}");
        }
    }

    #[test]
    fn a_multiply_add_is_rounded_once_where_there_is_one() {
        let once: Vec<f32> = wave().into_iter().map(|value| value.mul_add(0.3, 1.0)).collect();
        let twice: Vec<f32> = wave().into_iter().map(|value| value * 0.3 + 1.0).collect();
        assert_ne!(once, twice);
        for processor in Processor::kinds() {
            let mut values = wave();
            processor.compute(Line { values: &mut values, factor: 0.3, fused: true });
            assert!(values == once || (values == twice && !processor.is_wide()), "{processor:?}");
        }
    }

    /// `sums += values * factor`, vector by vector.
    struct Added<'a> {
        sums: &'a mut [[f32; LANES]],
        values: &'a [[f32; LANES]],
        factor: f32,
    }

    impl Work for Added<'_> {
        #[inline(always)]
        fn run<const FUSED: bool, const WIDE: bool>(self, vectors: impl Vectors) {
            for (sums, values) in self.sums.iter_mut().zip(self.values) {
                vectors.add_products(sums, values, self.factor);
            }
        }
    }

    #[test]
    fn vectors_add_products_as_single_numbers_are_added() {
        let (values, factor) = (wave(), 0.3);
        let (values, _) = values.as_chunks::<LANES>();
        let start = [0.7; LANES];
        for processor in Processor::kinds() {
            let mut sums = vec![start; values.len()];
            processor.compute(Added { sums: &mut sums, values, factor });
            let is = |sum: fn(f32, f32) -> f32| {
                let pairs = sums.as_flattened().iter().zip(values.as_flattened());
                pairs.into_iter().all(|(found, &value)| *found == sum(value, 0.3))
            };
            let once = is(|value, factor| value.mul_add(factor, 0.7));
            let twice = is(|value, factor| value * factor + 0.7);
            assert!(once || (twice && !processor.is_wide()), "{processor:?}");
        }
    }

    #[test]
    fn the_quickest_kind_is_the_last_one() {
        assert_eq!(Processor::kinds().last(), Some(&Processor::here()));
        assert_eq!(Processor::kinds()[0], Processor(Kind::Plain));
    }
}
