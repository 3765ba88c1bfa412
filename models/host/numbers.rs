//! Numbers side by side: as many as a vector holds, and memory that begins where vectors do.

use std::ops::{Deref, DerefMut};

pub(super) use lithoburn_processor::LANES;

/// Sixteen neighbours.
pub(super) type Lanes = [f32; LANES];

/// Bytes of a vector, and of a line of the cache.
const LINE: usize = 64;

/// `a * factor + b`
#[inline(always)]
pub(super) fn multiply_add<const FUSED: bool>(a: f32, factor: f32, b: f32) -> f32 {
    if FUSED { a.mul_add(factor, b) } else { a * factor + b }
}

/// `std::array::from_fn`, but surely part of who calls it: whether that one is inlined depends on the rest of the program, and what is not
/// is compiled for any processor, without vectors and with multiply-add as a slow function.
#[inline(always)]
pub(super) fn each<T: Copy + Default, const N: usize>(value: impl Fn(usize) -> T) -> [T; N] {
    let mut values = [T::default(); N];
    for (i, to) in values.iter_mut().enumerate() {
        *to = value(i);
    }
    values
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
