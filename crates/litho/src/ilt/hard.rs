//! Hard masks: which is best, and what they must be like to be made.

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use crate::LithoError;
use crate::images::{from_bits, read_back, read_bits};

/// A constraint is not enforced where it multiplies the print's error by more than this.
const MOST_COST: f32 = 1.5;
/// Iterates of the last level that are tried as hard masks.
const CANDIDATES: usize = 8;

/// What a mask must be like to be made. The simulator knows no geometry; `lithoburn-layout` has rules.
pub trait MaskConstraint: Sync {
    /// Pixels that must stay dark so that the mask can be made. `mask` has `width` pixels a row.
    fn forbidden(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool>;

    /// A mask near this one that can be made.
    fn enforced(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool>;
}

/// Masks of a batch of clips, open or dark.
#[derive(Clone, Debug)]
pub struct HardMasks {
    /// Pixels on a mask's side.
    pub size: usize,
    /// Mask after mask, row by row: whether a pixel is open.
    pub bits: Vec<bool>,
}

impl HardMasks {
    /// The masks as 0 and 1, `[batch, size, size]`.
    pub fn to_tensor(&self, device: &Device) -> Tensor<3> {
        let batch = self.bits.len() / (self.size * self.size).max(1);
        from_bits(self.bits.clone(), [batch, self.size, self.size], device)
    }

    /// Reads masks back from their device.
    fn read(masks: Tensor<3>) -> Result<Self, LithoError> {
        let [_, _, size] = masks.dims();
        Ok(Self { size, bits: read_bits(masks, 0.5, "read the mask")? })
    }

    /// Each mask as a constraint wants it.
    fn enforced(&self, constraint: &dyn MaskConstraint, pixel_nm: f64) -> Self {
        let pixels = self.size * self.size;
        let mut bits = vec![false; self.bits.len()];
        let enforced = |free: &[bool]| constraint.enforced(free, self.size, pixel_nm);
        bits.par_chunks_mut(pixels)
            .zip(self.bits.par_chunks(pixels))
            .for_each(|(kept, free)| kept.copy_from_slice(&enforced(free)));
        Self { size: self.size, bits }
    }

    /// Takes a clip's mask from others.
    fn take(&mut self, clip: usize, other: &Self) {
        let own = clip * self.size * self.size..(clip + 1) * self.size * self.size;
        self.bits[own.clone()].copy_from_slice(&other.bits[own]);
    }
}

/// The best hard masks so far, one a clip, with their errors and those that they started from, `[batch, 1, 1]`.
pub(super) struct Best {
    masks: Tensor<3>,
    errors: Tensor<3>,
    first: Tensor<3>,
}

impl Best {
    /// The start is a candidate as any other, so that no mask is worse than it.
    pub(super) fn of_start(masks: Tensor<3>, errors: Tensor<3>) -> Self {
        Self { masks, first: errors.clone(), errors }
    }

    /// Compares masks with the best, clip by clip.
    #[must_use]
    pub(super) fn or(self, masks: Tensor<3>, errors: Tensor<3>) -> Self {
        let better = errors.clone().lower(self.errors.clone());
        let everywhere = better.clone().expand(masks.dims());
        Self {
            masks: self.masks.mask_where(everywhere, masks),
            errors: self.errors.mask_where(better, errors),
            first: self.first,
        }
    }

    /// The best masks as their constraint wants them, unless that costs too much of the print: a mask that
    /// breaks its constraint is worth more than one that prints nothing. Where it ends worse than it started, the
    /// start is what is enforced.
    pub(super) fn enforced(
        self,
        constraint: Option<&dyn MaskConstraint>,
        pixel_nm: f64,
        start: impl FnOnce() -> Tensor<3>,
        mut error: impl FnMut(Tensor<3>) -> Tensor<3>,
    ) -> Result<HardMasks, LithoError> {
        let device = self.masks.device();
        let both = Tensor::cat(vec![self.errors, self.first], 1);
        let errors = read_back(both, "read the error")?;
        let (best, first) = (errors.iter().step_by(2), errors.iter().skip(1).step_by(2));
        if !errors.iter().all(|e| e.is_finite()) {
            let problem = "the error of a print is not a number".into();
            return Err(LithoError::Device { doing: "compared masks", problem });
        }
        let free = HardMasks::read(self.masks)?;
        let Some(constraint) = constraint else { return Ok(free) };
        let mut errors_of = |masks: &HardMasks| {
            read_back(error(masks.to_tensor(&device)), "read the error of masks that can be made")
        };
        let mut kept = free.enforced(constraint, pixel_nm);
        let mut after = errors_of(&kept)?;
        let worse = |(after, first): (&f32, &f32)| after > first;
        if after.iter().zip(first.clone()).any(worse) {
            let start = HardMasks::read(start())?.enforced(constraint, pixel_nm);
            for (clip, error) in errors_of(&start)?.into_iter().enumerate() {
                if error < after[clip] {
                    kept.take(clip, &start);
                    after[clip] = error;
                }
            }
        }
        for (clip, (after, best)) in after.iter().zip(best).enumerate() {
            // Written so that what is no number is refused.
            let cheap = *after <= best * MOST_COST;
            if !cheap {
                kept.take(clip, &free);
            }
        }
        Ok(kept)
    }
}

/// Where a mask may stay open, 0 or 1: not where it would break its constraint when hard. The design itself is never
/// taken away: what it breaks is for the report.
pub(super) fn still_open(
    mask: &Tensor<3>,
    design: &[bool],
    constraint: &dyn MaskConstraint,
    pixel_nm: f64,
) -> Result<Tensor<3>, LithoError> {
    let [batch, n, _] = mask.dims();
    let mut open = read_bits(mask.clone(), 0.5, "read the mask")?;
    open.par_chunks_mut(n * n).zip(design.par_chunks(n * n)).for_each(|(open, design)| {
        let forbidden = constraint.forbidden(open, n, pixel_nm);
        for ((open, forbidden), &design) in open.iter_mut().zip(forbidden).zip(design) {
            *open = !forbidden || design;
        }
    });
    Ok(from_bits(open, [batch, n, n], &mask.device()))
}

/// Whether an iterate of the last level is tried: the last one, and some before.
pub(super) fn is_candidate(step: usize, iterations: usize) -> bool {
    let left = iterations - 1 - step;
    let apart = (iterations * 2 / 5 / CANDIDATES).max(1);
    // Of a short level, no more than a third: an exposure costs half a step.
    let count = CANDIDATES.min(iterations / 3).max(1);
    left.is_multiple_of(apart) && left / apart < count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_iterate_is_always_a_candidate() {
        for iterations in [1, 2, 7, 40, 100] {
            let tried = (0..iterations).filter(|&s| is_candidate(s, iterations)).count();
            assert!(
                is_candidate(iterations - 1, iterations) && tried <= CANDIDATES,
                "{iterations}"
            );
        }
    }
}
