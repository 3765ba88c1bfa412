//! Binary images of a batch on a device, a bit a pixel, and what the main job does to them.
//!
//! A mask that is looked at on the host crosses to it as a byte a pixel, and what is found crosses back. [`Bitmaps`] stay where
//! the solver is: they are thresholds of its images, are combined, kept to mask rules, and read once, as bits.
//!
//! Images are square, of `side` pixels, a multiple of 32 up to [`MOST_SIDE`]. Words are `u32`, `[batch, side, side / 32]`; the
//! least bit has the least x. Beyond the border an image is dark.
//!
//! | operation | launches, and what a unit of each has |
//! |---|---|
//! | [`Bitmaps::of`], [`Bitmaps::to_tensor`] | `pack` a word, `unpack` four pixels |
//! | [`Bitmaps::or`] and its like, [`Bitmaps::chosen`], [`Bitmaps::square`] | `joined`, `chosen`, `square`: a word |
//! | [`Bitmaps::pixels`] | `count` a row |
//! | [`draw`] | `accumulate` an edge's row, `sum_rows` four pixels of a row that its cube has |
//! | [`rounded`], [`shrunk`] | `three_boxes` along rows and along columns, eight pixels of a cube's; `mean` a block |
//! | [`Bitmaps::forbidden`] | shapes: `begin`, `join`, `measure`, `large` a word; `near` a word and a distance in rows; `grown` a word |
//! | [`Bitmaps::enforced`], a round | `grown` four times, shapes, `near`, `grown`, `settle` a word; `look` where a mask rests |
//! | [`Bitmaps::strips`] | `edge`, `thin`, `mark`, `transpose`: a word |
//!
//! Kernels are `#[cube]` and run on every device of CubeCL's. Counts and sums are of integers and labels are the least of their
//! kind, so that no result depends on the order of threads. Sizes are arguments at run time: one compilation serves all images.
#![cfg_attr(
    not(feature = "gpu"),
    allow(
        dead_code,
        unused_variables,
        reason = "without the kernels nobody reads what they are given"
    )
)]

mod boxes;
mod draw;
mod error;
#[cfg(feature = "gpu")]
mod launch;
mod rules;
#[cfg(feature = "gpu")]
mod scans;
mod strips;
mod words;

use burn::backend::Dispatch;
use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};

pub use boxes::{MOST_REACH, rounded, shrunk};
pub use draw::draw;
pub use error::Error;
pub use rules::Rules;
pub use strips::Marks;
use words::{Flips, Words};

/// Pixels of a word.
const WORD: usize = 32;
/// Pixels that an image has on a side at most: numbers of pixels fit the kernels' arithmetic.
pub const MOST_SIDE: usize = 4096;

/// Whether a device has the kernels of this crate.
#[cfg(feature = "gpu")]
pub fn is_on(device: &Device) -> bool {
    matches!(device.as_dispatch(), burn::backend::DispatchDevice::Cube(_))
}

/// Whether a device has the kernels of this crate: a program without GPUs has none.
#[cfg(not(feature = "gpu"))]
pub fn is_on(_device: &Device) -> bool {
    false
}

/// Whether images of `side` pixels a side can be bitmaps.
pub fn has_side(side: usize) -> bool {
    (WORD..=MOST_SIDE).contains(&side) && side.is_multiple_of(WORD)
}

/// Binary images of a batch, on a device that [has the kernels](is_on).
///
/// # Panics
///
/// As Burn's tensors, where shapes do not fit each other or sides are [none of bitmaps](has_side), and on a device without the
/// kernels.
#[derive(Clone, Debug)]
pub struct Bitmaps {
    /// `[batch, side, side / 32]`.
    words: Tensor<3, Int>,
}

impl Bitmaps {
    /// Where an image, `[batch, side, side]`, is at least `threshold`; where it is no number it is not.
    pub fn of(image: Tensor<3>, threshold: f32) -> Self {
        let [_, rows, columns] = image.dims();
        assert!(rows == columns && has_side(rows), "no bitmap has {rows} × {columns} px");
        Self::from_dispatch(<Dispatch as Words>::pack(image.into_dispatch(), threshold))
    }

    /// The images of 0 and 1, `[batch, side, side]`.
    pub fn to_tensor(&self) -> Tensor<3> {
        Tensor::from_dispatch(<Dispatch as Words>::unpack(self.to_dispatch()))
    }

    /// Bitmaps from the words that [`Bitmaps::read`] gives.
    pub fn from_words(words: Vec<u32>, batch: usize, side: usize, device: &Device) -> Self {
        assert!(has_side(side), "no bitmap has {side} × {side} px");
        let data = TensorData::new(words, [batch, side, side / WORD]);
        Self { words: Tensor::from_data(data, (device, DType::U32)) }
    }

    /// The words, image by image and row by row; waits for the device.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if the device failed, now or before.
    pub fn read(&self) -> Result<Vec<u32>, Error> {
        error::read(self.words.clone(), "bitmaps")
    }

    /// The squares of `side` pixels whose least pixel is `at` (x, y); multiples of 32, within the images.
    pub fn square(&self, at: [usize; 2], side: usize) -> Self {
        let fits = at.iter().all(|&v| v.is_multiple_of(WORD) && v + side <= self.side());
        assert!(has_side(side) && fits, "no {side} px from {at:?} of {} px", self.side());
        Self::from_dispatch(<Dispatch as Words>::square(self.to_dispatch(), at, side))
    }

    /// The pixels of either.
    pub fn or(&self, other: &Self) -> Self {
        self.joined(other, Flips::OR)
    }

    /// The pixels of both.
    pub fn and(&self, other: &Self) -> Self {
        self.joined(other, Flips::AND)
    }

    /// The pixels that the other has not.
    pub fn without(&self, other: &Self) -> Self {
        self.joined(other, Flips::WITHOUT)
    }

    fn joined(&self, other: &Self, flips: Flips) -> Self {
        assert_eq!(self.words.dims(), other.words.dims(), "bitmaps of other sizes");
        let words = <Dispatch as Words>::joined(self.to_dispatch(), other.to_dispatch(), flips);
        Self::from_dispatch(words)
    }

    /// For each image the other's where `which`, `[batch, 1, 1]`, says so, else this one's.
    pub fn chosen(&self, other: &Self, which: Tensor<3, Bool>) -> Self {
        assert_eq!(self.words.dims(), other.words.dims(), "bitmaps of other sizes");
        assert_eq!(which.dims(), [self.batch(), 1, 1], "a choice an image");
        let which = which.int().cast(DType::U32).into_dispatch();
        let (own, other) = (self.to_dispatch(), other.to_dispatch());
        Self::from_dispatch(<Dispatch as Words>::chosen(own, other, which))
    }

    /// How many pixels of each image are set, `[batch, 1, 1]`.
    pub fn pixels(&self) -> Tensor<3, Int> {
        Tensor::from_dispatch(<Dispatch as Words>::count(self.to_dispatch()))
    }

    /// Pixels on a side.
    pub fn side(&self) -> usize {
        self.words.dims()[1]
    }

    /// Images.
    pub fn batch(&self) -> usize {
        self.words.dims()[0]
    }

    /// Where they are.
    pub fn device(&self) -> Device {
        self.words.device()
    }

    fn to_dispatch(&self) -> burn::backend::DispatchTensor {
        self.words.clone().into_dispatch()
    }

    fn from_dispatch(words: burn::backend::DispatchTensor) -> Self {
        Self { words: Tensor::from_dispatch(words) }
    }
}
