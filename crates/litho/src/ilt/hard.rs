//! Hard masks: which is best, and what they must be like to be made.

use burn::tensor::Tensor;

use crate::LithoError;
use crate::binary::BinaryImages;
use crate::constraint::MaskConstraint;
use crate::images::read_back;

/// A constraint is not enforced where it multiplies the print's error by more than this.
const MOST_COST: f32 = 1.5;

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
    /// start is what is enforced. With what each is off as its constraint wants it, whether that is what is returned or not.
    pub(super) fn enforced(
        self,
        constraint: Option<&dyn MaskConstraint>,
        pixel_nm: f64,
        start: impl FnOnce() -> Tensor<3>,
        mut error: impl FnMut(Tensor<3>) -> Tensor<3>,
    ) -> Result<(BinaryImages, Vec<f32>), LithoError> {
        let device = self.masks.device();
        let both = Tensor::cat(vec![self.errors, self.first], 1);
        let errors = read_back(both, "read the error")?;
        let (best, first) = (errors.iter().step_by(2), errors.iter().skip(1).step_by(2));
        if !errors.iter().all(|e| e.is_finite()) {
            let problem = "the error of a print is not a number".into();
            return Err(LithoError::Device { doing: "compared masks", problem });
        }
        let free = hard(self.masks)?;
        let Some(constraint) = constraint else { return Ok((free, best.copied().collect())) };
        let mut errors_of = |masks: &BinaryImages| {
            read_back(error(masks.to_tensor(&device)), "read the error of masks that can be made")
        };
        let mut kept = free.enforced(constraint, pixel_nm)?;
        let mut after = errors_of(&kept)?;
        let worse = |(after, first): (&f32, &f32)| after > first;
        if after.iter().zip(first.clone()).any(worse) {
            let start = hard(start())?.enforced(constraint, pixel_nm)?;
            let errors = errors_of(&start)?;
            let better = |(error, after): (&f32, &f32)| error < after;
            let which: Vec<bool> = errors.iter().zip(&after).map(better).collect();
            kept.take(&which, &start)?;
            for (after, error) in
                after.iter_mut().zip(errors).filter(|(after, error)| error < *after)
            {
                *after = error;
            }
        }
        // What is no number is refused: it is not cheap.
        let cheap = |(after, best): (&f32, &f32)| *after <= best * MOST_COST;
        let costly: Vec<bool> = after.iter().zip(best).map(|pair| !cheap(pair)).collect();
        kept.take(&costly, &free)?;
        Ok((kept, after))
    }
}

/// Masks of 0 and 1 as binary images.
fn hard(masks: Tensor<3>) -> Result<BinaryImages, LithoError> {
    BinaryImages::of(masks, 0.5, "read the mask")
}

/// Where a mask may stay open, 0 or 1: not where it would break its constraint when hard. The design itself is never
/// taken away: what it breaks is for the report.
pub(super) fn still_open(
    mask: &Tensor<3>,
    design: &BinaryImages,
    constraint: &dyn MaskConstraint,
    pixel_nm: f64,
) -> Result<Tensor<3>, LithoError> {
    let forbidden = hard(mask.clone())?.forbidden(constraint, pixel_nm)?;
    Ok(forbidden.without(design)?.to_tensor(&mask.device()) * -1.0 + 1.0)
}
