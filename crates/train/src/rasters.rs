//! Rasters of clips, as they are kept and as they travel to a device.
//!
//! A batch of sixteen clips is 17 MB as floats: to make room for them, to join them and to send them takes the host longer than a card takes for
//! a step of a small network. Shapes on a grid of a quarter of a pixel cover sixteenths of it, and those fit into a byte, to the last bit.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Parts of a pixel that a byte counts.
const PARTS: f32 = 16.0;
/// Bits of a word below each of its bytes, the first being the lowest.
const SHIFTS: [i32; 4] = [0, 8, 16, 24];
/// 2²³: a small whole number added to it is the last bits of the sum, and a loop of that is vectors.
const WHOLE: f32 = 8_388_608.0;

/// Rasters, one after the other: how much of each pixel is covered.
#[derive(Clone, Debug, PartialEq)]
pub enum Rasters {
    /// In sixteenths.
    Sixteenths(Vec<u8>),
    /// As shares, 0 to 1, of which some are no sixteenths.
    Shares(Vec<f32>),
}

impl Rasters {
    /// Those of shares.
    pub fn of(shares: Vec<f32>) -> Self {
        let mut exact = true;
        let mut part = |share: &f32| {
            let part = (share * PARTS + WHOLE).to_bits() as u8;
            exact &= share_of(part) == *share;
            part
        };
        let parts: Vec<u8> = shares.iter().map(&mut part).collect();
        if exact { Self::Sixteenths(parts) } else { Self::Shares(shares) }
    }

    /// One after the other.
    pub fn joined(all: &[Self]) -> Self {
        match all.iter().map(Self::parts).collect::<Option<Vec<_>>>() {
            Some(parts) => Self::Sixteenths(parts.concat()),
            None => Self::Shares(all.iter().map(Self::shares).collect::<Vec<_>>().concat()),
        }
    }

    fn parts(&self) -> Option<&[u8]> {
        match self {
            Self::Sixteenths(parts) => Some(parts),
            Self::Shares(_) => None,
        }
    }

    /// Pixels in all.
    pub fn pixels(&self) -> usize {
        match self {
            Self::Sixteenths(parts) => parts.len(),
            Self::Shares(shares) => shares.len(),
        }
    }

    /// The first of them, so many pixels.
    #[must_use]
    pub fn first(mut self, pixels: usize) -> Self {
        match &mut self {
            Self::Sixteenths(parts) => parts.truncate(pixels),
            Self::Shares(shares) => shares.truncate(pixels),
        }
        self
    }

    /// How much of each pixel is covered.
    pub fn shares(&self) -> Vec<f32> {
        match self {
            Self::Sixteenths(parts) => parts.iter().map(|&part| share_of(part)).collect(),
            Self::Shares(shares) => shares.clone(),
        }
    }

    /// On a device, `[rasters, side, side]`.
    pub(crate) fn on(self, side: usize, device: &Device) -> Tensor<3> {
        let shape = [self.pixels() / (side * side), side, side];
        match self {
            Self::Sixteenths(parts) if *device != Device::flex() && parts.len() % 4 == 0 => {
                unpacked(parts, device).reshape(shape)
            }
            other => Tensor::from_data(TensorData::new(other.shares(), shape), device),
        }
    }
}

fn share_of(part: u8) -> f32 {
    f32::from(part) / PARTS
}

/// Sixteenths that travel four in a word, as they lie in memory: not every device has bytes.
fn unpacked(parts: Vec<u8>, device: &Device) -> Tensor<1> {
    let (count, options) = (parts.len(), (device, DType::I32));
    let words = TensorData::from_bytes_vec(parts, [count / 4, 1], DType::I32);
    let words = Tensor::<2, Int>::from_data(words, options).expand([count / 4, 4]);
    let bits = Tensor::<2, Int>::from_data(TensorData::new(SHIFTS.to_vec(), [1, 4]), options);
    let parts = words.bitwise_right_shift(bits.expand([count / 4, 4])).bitwise_and_scalar(0xff);
    parts.float().reshape([count]) / PARTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use lithoburn_layout::generate::ClipRules;

    fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.try_into_vec_as::<f32>().expect("f32")
    }

    /// The shares themselves are the check: to the last bit, in bytes and on a device.
    #[test]
    fn a_clips_shares_come_through_bytes_to_the_last_bit() {
        let clip = |i| crate::field_clip(&ClipRules::default(), 5, i, 2048.0, 4.0);
        let (one, two) = (clip(0), clip(3));
        let both = [one.clone(), two.clone()].concat();
        let rasters = Rasters::joined(&[one, two].map(Rasters::of));
        assert!(matches!(rasters, Rasters::Sixteenths(_)), "clips lie on 2 nm");
        let kinds: std::collections::BTreeSet<u32> = both.iter().map(|v| v.to_bits()).collect();
        assert!(kinds.len() > 2, "some pixels are covered in part");
        assert_eq!((rasters.pixels(), rasters.shares() == both), (2 * 512 * 512, true));
        let on_device = rasters.clone().on(512, &Device::flex());
        assert_eq!(on_device.dims(), [2, 512, 512]);
        assert!(numbers(on_device) == both);
        let Rasters::Sixteenths(parts) = rasters else { unreachable!("seen above") };
        assert!(numbers(unpacked(parts, &Device::flex())) == both);
        let every: Vec<u8> = (0..=16).chain([0; 3]).collect();
        let expected: Vec<f32> = every.iter().map(|&part| f32::from(part) / 16.0).collect();
        assert_eq!(numbers(unpacked(every, &Device::flex())), expected);
    }

    #[test]
    fn shares_that_are_no_sixteenths_stay_as_they_are() {
        let odd = vec![0.0, 1.0 / 3.0, 1.0, 0.25];
        assert_eq!(Rasters::of(odd.clone()), Rasters::Shares(odd.clone()));
        for lost in [f32::NAN, -0.5, 17.0, 1e9] {
            assert!(matches!(Rasters::of(vec![0.5, lost]), Rasters::Shares(_)), "{lost}");
        }
        let even = Rasters::of(vec![0.5, 0.0625]);
        assert_eq!(even, Rasters::Sixteenths(vec![8, 1]));
        let both = Rasters::joined(&[even.clone(), Rasters::of(odd.clone())]);
        assert_eq!(both, Rasters::Shares([vec![0.5, 0.0625], odd].concat()));
        assert_eq!(both.first(2).shares(), even.shares());
    }
}
