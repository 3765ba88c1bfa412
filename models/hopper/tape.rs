//! Where images are when all of them are kept.

use super::Extent;
use crate::steps::{Image, Steps};

/// Numbers of sixteen bits that an image begins at a multiple of.
const ALIGNED: usize = 256;

/// Where each image begins on a tape, and the tape's length, in numbers of sixteen bits.
pub(super) fn tape_places(steps: &Steps, extent: Extent) -> (Vec<usize>, usize) {
    let mut length = 0;
    let mut place = |image: &Image| {
        let ([height, width], start) = (extent.shrunk(image.shrink), length);
        let size = extent.batch * height * width * image.channels;
        let size = if image.eight_bits { size.div_ceil(2) } else { size };
        length += size.next_multiple_of(ALIGNED);
        start
    };
    let places = steps.images.iter().map(&mut place).collect();
    (places, length)
}
