//! What a solver is told of masks that can be made.

use lithoburn_bitmap::Bitmaps;

use crate::LithoError;

/// What a mask must be like to be made. The simulator knows no geometry; `lithoburn-layout` has rules.
pub trait MaskConstraint: Sync {
    /// Pixels that must stay dark so that the mask can be made. `mask` has `width` pixels a row.
    fn forbidden(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool>;

    /// A mask near this one that can be made.
    fn enforced(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool>;

    /// The same for masks that are bits on a device, if it can be had there: equal pixel for pixel.
    fn on_bits(&self, _pixel_nm: f64) -> Option<Box<dyn BitConstraint>> {
        None
    }
}

/// A [`MaskConstraint`] on a device.
pub trait BitConstraint {
    /// As [`MaskConstraint::forbidden`].
    ///
    /// # Errors
    ///
    /// [`LithoError::Device`] if the device fails.
    fn forbidden(&self, masks: &Bitmaps) -> Result<Bitmaps, LithoError>;

    /// As [`MaskConstraint::enforced`].
    ///
    /// # Errors
    ///
    /// [`LithoError::Device`] if the device fails.
    fn enforced(&self, masks: &Bitmaps) -> Result<Bitmaps, LithoError>;
}
