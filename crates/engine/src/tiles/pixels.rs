//! Targets on larger pixels: what an answer depends on is on pixels of the model.

use std::borrow::Cow;

use lithoburn_layout::{Frame, Raster};

/// The frame on larger pixels, if they are whole numbers of its own and divide it.
pub(super) fn with_pixels(frame: &Frame, pixel_nm: f64) -> Option<Frame> {
    let factor = pixel_nm / frame.pixel_nm;
    let count = factor.round().max(1.0) as usize;
    let divides = (factor - factor.round()).abs() < 1e-6
        && frame.width.is_multiple_of(count)
        && frame.height.is_multiple_of(count);
    (count > 1 && divides).then(|| Frame {
        pixel_nm: frame.pixel_nm * count as f64,
        width: frame.width / count,
        height: frame.height / count,
        ..*frame
    })
}

/// The target on pixels of a size that its own divide; else as it is.
pub(crate) fn on_pixels(target: &Raster, pixel_nm: f64) -> Cow<'_, Raster> {
    let Raster { width, height, pixel_nm: own, .. } = *target;
    let frame = Frame { origin_nm: [0.0; 2], pixel_nm: own, width, height };
    match with_pixels(&frame, pixel_nm) {
        Some(small) => Cow::Owned(target.averaged(width / small.width)),
        None => Cow::Borrowed(target),
    }
}
