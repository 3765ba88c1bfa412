//! Binary images of a batch: as bits on their device where that has kernels for them, else in memory.
//!
//! What a GPU's images are thresholds of stays there; a byte a pixel to the host and back takes longer than a solver's step.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use lithoburn_bitmap::{self as bitmap, Bitmaps};
use rayon::prelude::*;
use tracing::info_span;

use crate::LithoError;
use crate::constraint::MaskConstraint;
use crate::images::{from_bits, read_back, read_bits};
use crate::metrics::Bitmap;

/// Pixels of a word of packed images.
const WORD: usize = 32;

/// Binary images of a batch, square.
#[derive(Clone, Debug)]
pub struct BinaryImages(Place);

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one a batch")]
enum Place {
    /// Image after image, row by row.
    Memory {
        side: usize,
        pixels: Vec<bool>,
    },
    Device(Bitmaps),
}

/// Binary images in memory, a bit a pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedImages {
    /// Pixels on a side.
    pub side: usize,
    /// Image after image, row by row, whole words a row; the least bit is the first pixel.
    pub words: Vec<u32>,
}

impl From<bitmap::Error> for LithoError {
    fn from(error: bitmap::Error) -> Self {
        Self::Device { doing: "worked on binary images", problem: error.to_string() }
    }
}

impl BinaryImages {
    /// Where images `[batch, n, n]` are at least `level`; a value that is no number is below it. Waits for a device that has no
    /// kernels for bits.
    ///
    /// # Errors
    ///
    /// [`LithoError::Device`] if it failed.
    pub fn of(image: Tensor<3>, level: f64, doing: &'static str) -> Result<Self, LithoError> {
        let [_, _, side] = image.dims();
        if bitmap::is_on(&image.device()) && bitmap::has_side(side) {
            return Ok(Self(Place::Device(Bitmaps::of(image, level as f32))));
        }
        Ok(Self(Place::Memory { side, pixels: read_bits(image, level, doing)? }))
    }

    /// Pixels on a side.
    pub fn side(&self) -> usize {
        match &self.0 {
            Place::Memory { side, .. } => *side,
            Place::Device(bits) => bits.side(),
        }
    }

    /// Images.
    pub fn batch(&self) -> usize {
        match &self.0 {
            Place::Memory { side, pixels } => pixels.len() / (side * side).max(1),
            Place::Device(bits) => bits.batch(),
        }
    }

    /// The bits, where they are on a device.
    pub(crate) fn bits(&self) -> Option<&Bitmaps> {
        match &self.0 {
            Place::Memory { .. } => None,
            Place::Device(bits) => Some(bits),
        }
    }

    /// The images as 0 and 1 on a device, `[batch, side, side]`.
    pub fn to_tensor(&self, device: &Device) -> Tensor<3> {
        match &self.0 {
            Place::Memory { side, pixels } => {
                from_bits(pixels.clone(), [self.batch(), *side, *side], device)
            }
            Place::Device(bits) if bits.device() == *device => bits.to_tensor(),
            Place::Device(bits) => bits.to_tensor().to_device(device),
        }
    }

    /// Whether each pixel is set, image after image, row by row; waits for the device.
    ///
    /// # Errors
    ///
    /// [`LithoError::Device`] if it failed.
    pub fn into_pixels(self) -> Result<Vec<bool>, LithoError> {
        match self.0 {
            Place::Memory { pixels, .. } => Ok(pixels),
            Place::Device(bits) => Ok(read(&bits)?.to_pixels()),
        }
    }

    /// The images without `margin` pixels at each side, packed; waits for the device, from which no more than that comes.
    ///
    /// # Errors
    ///
    /// [`LithoError::Device`] if it failed.
    pub fn into_packed(self, margin: usize) -> Result<PackedImages, LithoError> {
        let side = self.side() - 2 * margin;
        match self.0 {
            Place::Device(bits) if margin.is_multiple_of(WORD) && bitmap::has_side(side) => {
                read(&bits.square([margin; 2], side))
            }
            Place::Device(bits) => {
                Ok(PackedImages::of(&read(&bits)?.to_pixels(), bits.side(), margin))
            }
            Place::Memory { side, pixels } => Ok(PackedImages::of(&pixels, side, margin)),
        }
    }

    /// Images of the same size, made of these one by one in memory.
    pub(crate) fn mapped(
        &self,
        make: impl Fn(&[bool]) -> Vec<bool> + Sync,
    ) -> Result<Self, LithoError> {
        let (side, pixels) = (self.side(), self.clone().into_pixels()?);
        let mut made = vec![false; pixels.len()];
        made.par_chunks_mut(side * side)
            .zip(pixels.par_chunks(side * side))
            .for_each(|(made, own)| made.copy_from_slice(&make(own)));
        self.back(made)
    }

    /// Pixels in memory, put where these images are.
    fn back(&self, pixels: Vec<bool>) -> Result<Self, LithoError> {
        let Place::Device(bits) = &self.0 else {
            return Ok(Self(Place::Memory { side: self.side(), pixels }));
        };
        let packed = PackedImages::of(&pixels, bits.side(), 0);
        let bits = Bitmaps::from_words(packed.words, bits.batch(), bits.side(), &bits.device());
        Ok(Self(Place::Device(bits)))
    }

    /// Each mask as a constraint wants it, on pixels of `pixel_nm`.
    ///
    /// # Errors
    ///
    /// [`LithoError::Device`] if the device fails.
    pub fn enforced(
        &self,
        constraint: &dyn MaskConstraint,
        pixel_nm: f64,
    ) -> Result<Self, LithoError> {
        match self.bits().zip(constraint.on_bits(pixel_nm)) {
            Some((bits, constraint)) => Ok(constraint.enforced(bits)?.into()),
            None => self.mapped(|mask| constraint.enforced(mask, self.side(), pixel_nm)),
        }
    }

    /// Pixels that must stay dark so that masks of these pixels can be made.
    pub(crate) fn forbidden(
        &self,
        constraint: &dyn MaskConstraint,
        pixel_nm: f64,
    ) -> Result<Self, LithoError> {
        match self.bits().zip(constraint.on_bits(pixel_nm)) {
            Some((bits, constraint)) => Ok(constraint.forbidden(bits)?.into()),
            None => self.mapped(|mask| constraint.forbidden(mask, self.side(), pixel_nm)),
        }
    }

    /// How many pixels of each image are set; waits for the device.
    ///
    /// # Errors
    ///
    /// [`LithoError::Device`] if it failed.
    pub fn counts(&self) -> Result<Vec<u64>, LithoError> {
        match &self.0 {
            Place::Memory { side, pixels } => {
                let count = |image: &[bool]| image.iter().filter(|&&set| set).count() as u64;
                Ok(pixels.chunks_exact((side * side).max(1)).map(count).collect())
            }
            Place::Device(bits) => {
                let sums = bits.to_tensor().sum_dim(2).sum_dim(1);
                let sums = read_back(sums, "count pixels")?;
                Ok(sums.into_iter().map(|sum| sum.round() as u64).collect())
            }
        }
    }

    /// The pixels that others have not.
    pub(crate) fn without(&self, other: &Self) -> Result<Self, LithoError> {
        if let (Some(own), Some(other)) = (self.bits(), other.bits()) {
            return Ok(own.without(other).into());
        }
        let (own, other) = (self.clone().into_pixels()?, other.clone().into_pixels()?);
        self.back(own.into_iter().zip(other).map(|(own, other)| own && !other).collect())
    }

    /// Takes over others for the images that `which` names.
    ///
    /// # Errors
    ///
    /// [`LithoError::Device`] if a device failed.
    pub fn take(&mut self, which: &[bool], other: &Self) -> Result<(), LithoError> {
        if !which.iter().any(|&which| which) {
            return Ok(());
        }
        match (&mut self.0, &other.0) {
            (Place::Device(own), Place::Device(other)) => {
                let which = TensorData::new(which.to_vec(), [which.len(), 1, 1]);
                let which = Tensor::<3, Bool>::from_data(which, &own.device());
                *own = own.chosen(other, which);
            }
            (Place::Memory { side, pixels }, _) => {
                let (area, other) = (*side * *side, other.clone().into_pixels()?);
                for image in (0..which.len()).filter(|&image| which[image]) {
                    let own = image * area..(image + 1) * area;
                    pixels[own.clone()].copy_from_slice(&other[own]);
                }
            }
            (Place::Device(_), _) => *self = self.back(other.clone().into_pixels()?)?,
        }
        Ok(())
    }
}

impl From<Bitmaps> for BinaryImages {
    fn from(bits: Bitmaps) -> Self {
        Self(Place::Device(bits))
    }
}

/// Bits that have come from their device.
pub(crate) fn read(bits: &Bitmaps) -> Result<PackedImages, LithoError> {
    let _span = info_span!("read", doing = "bits").entered();
    Ok(PackedImages { side: bits.side(), words: bits.read()? })
}

impl PackedImages {
    /// Packs what `margin` pixels at each side leave of images of `side` pixels.
    fn of(pixels: &[bool], side: usize, margin: usize) -> Self {
        let inner = margin..side - margin;
        let word = |pixels: &[bool]| {
            pixels.iter().rev().fold(0_u32, |word, &set| word << 1 | u32::from(set))
        };
        let rows = pixels
            .chunks_exact((side * side).max(1))
            .flat_map(|image| image.chunks_exact(side).skip(margin).take(side - 2 * margin));
        let words = rows.flat_map(|row| row[inner.clone()].chunks(WORD).map(word)).collect();
        Self { side: side - 2 * margin, words }
    }

    /// Where values of one image of `side` pixels a row are at least `level`; a value that is no number is below it.
    pub fn at_least(values: &[f32], side: usize, level: f32) -> Self {
        let word = |values: &[f32]| {
            let bits = values.iter().enumerate();
            bits.fold(0, |word, (i, &v)| if v >= level { word | 1_u32 << i } else { word })
        };
        let mut words = Vec::with_capacity(values.len().div_ceil(WORD) + side);
        for row in values.chunks_exact(side.max(1)) {
            // Of known length, so that several are compared at once.
            let (whole, rest) = row.as_chunks::<WORD>();
            words.extend(whole.iter().map(|values| word(values)));
            words.extend((!rest.is_empty()).then(|| word(rest)));
        }
        Self { side, words }
    }

    /// One image of `side` pixels a row.
    pub fn of_pixels(pixels: &[bool], side: usize) -> Self {
        Self::of(pixels, side, 0)
    }

    /// An image of the batch, the first being 0.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    pub fn bitmap(&self, image: usize) -> Bitmap<'_> {
        let each = self.side * self.row_words();
        Bitmap { words: &self.words[image * each..(image + 1) * each], side: self.side }
    }

    /// The same images on pixels of which `factor` lie along one of these.
    #[must_use]
    pub fn refined(&self, factor: usize) -> Self {
        let (side, own) = (self.side * factor, self.row_words());
        let mut words = Vec::with_capacity(self.words.len() / own.max(1) * side.div_ceil(WORD));
        for row in self.words.chunks_exact(own.max(1)) {
            let mut wide = vec![0_u32; side.div_ceil(WORD)];
            for x in (0..side).filter(|x| row[x / factor / WORD] >> (x / factor % WORD) & 1 == 1) {
                wide[x / WORD] |= 1 << (x % WORD);
            }
            (0..factor).for_each(|_| words.extend_from_slice(&wide));
        }
        Self { side, words }
    }

    /// Words of a row.
    pub fn row_words(&self) -> usize {
        self.side.div_ceil(WORD)
    }

    /// The words of each image.
    pub fn images(&self) -> impl Iterator<Item = &[u32]> {
        self.words.chunks_exact((self.side * self.row_words()).max(1))
    }

    /// The images as 0 and 1 on a device, `[batch, side, side]`.
    pub fn to_tensor(&self, device: &Device) -> Tensor<3> {
        let (side, batch) = (self.side, self.images().count());
        match bitmap::is_on(device) && bitmap::has_side(side) {
            true => Bitmaps::from_words(self.words.clone(), batch, side, device).to_tensor(),
            false => from_bits(self.to_pixels(), [batch, side, side], device),
        }
    }

    /// The pixels of each image, row by row, as 0 and 1. By all processors: there may be a hundred millions.
    pub fn to_values(&self) -> Vec<Vec<f32>> {
        let (side, words) = (self.side, self.row_words().max(1));
        let image = |image: &[u32]| {
            let mut values = vec![0.0; side * side];
            for (row, values) in image.chunks_exact(words).zip(values.chunks_exact_mut(side.max(1)))
            {
                for (word, values) in row.iter().zip(values.chunks_mut(WORD)) {
                    let bits = values.iter_mut().enumerate();
                    bits.for_each(|(bit, value)| *value = f32::from((word >> bit & 1) as u8));
                }
            }
            values
        };
        self.words.par_chunks_exact((side * words).max(1)).map(image).collect()
    }

    /// Whether each pixel is set, image after image, row by row.
    pub fn to_pixels(&self) -> Vec<bool> {
        let row = |row: &'_ [u32]| {
            let row = row.to_vec();
            (0..self.side).map(move |x| row[x / WORD] >> (x % WORD) & 1 == 1)
        };
        self.words.chunks_exact(self.row_words().max(1)).flat_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_come_back_from_their_bits_and_margins_are_left_out() -> Result<(), LithoError> {
        let side = 70;
        let pixels: Vec<bool> = (0..2 * side * side).map(|i| i * i % 7 < 3).collect();
        let packed = PackedImages::of(&pixels, side, 0);
        assert_eq!((packed.row_words(), packed.images().count()), (3, 2));
        assert_eq!(packed.to_pixels(), pixels);
        let values: Vec<f32> = pixels.iter().map(|&set| f32::from(u8::from(set))).collect();
        assert_eq!(packed.to_values().concat(), values);
        let images = BinaryImages(Place::Memory { side, pixels: pixels.clone() });
        let inner = images.into_packed(5)?;
        assert_eq!(inner.side, 60);
        let inside = |i: &usize| [i % side, i / side % side].iter().all(|v| (5..65).contains(v));
        let expected: Vec<bool> = (0..pixels.len()).filter(inside).map(|i| pixels[i]).collect();
        assert_eq!(inner.to_pixels(), expected);
        Ok(())
    }

    #[test]
    fn a_refined_image_has_squares_where_pixels_were() {
        for (side, factor) in [(70, 3), (16, 4), (5, 1)] {
            let pixels: Vec<bool> = (0..2 * side * side).map(|i| i * i % 7 < 3).collect();
            let fine = side * factor;
            let of = |i: usize| {
                let (image, y, x) =
                    (i / (fine * fine), i / fine % fine / factor, i % fine / factor);
                pixels[image * side * side + y * side + x]
            };
            let expected: Vec<bool> = (0..2 * fine * fine).map(of).collect();
            let found = PackedImages::of_pixels(&pixels, side).refined(factor);
            assert_eq!(found, PackedImages::of_pixels(&expected, fine));
        }
    }

    #[test]
    fn a_pixel_that_is_no_number_is_below_every_level() {
        for side in [5, 32, 70] {
            let value = |i: usize| if i % 11 == 3 { f32::NAN } else { (i * i % 13) as f32 };
            let values: Vec<f32> = (0..side * side).map(value).collect();
            let expected: Vec<bool> = values.iter().map(|&v| v >= 6.0).collect();
            let found = PackedImages::at_least(&values, side, 6.0);
            assert_eq!(found, PackedImages::of_pixels(&expected, side));
            assert_eq!(found.to_pixels(), expected);
        }
    }

    #[test]
    fn only_the_images_that_are_named_are_taken() -> Result<(), LithoError> {
        let of = |set: bool| BinaryImages(Place::Memory { side: 2, pixels: vec![set; 12] });
        let mut own = of(false);
        own.take(&[false, true, false], &of(true))?;
        let expected: Vec<bool> = (0..12).map(|i| (4..8).contains(&i)).collect();
        assert_eq!(own.into_pixels()?, expected);
        Ok(())
    }
}
