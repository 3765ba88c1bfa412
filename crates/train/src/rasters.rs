//! Rasters of clips, as they are kept and as they travel to a device.
//!
//! A batch of sixteen clips is 17 MB as floats: to make room for them, to join them and to send them takes the host longer than a card takes for
//! a step of a small network. Shapes on a grid of half a pixel cover quarters of it, two of which fit into a byte, and on one of a quarter
//! sixteenths, which take a byte each: both to the last bit.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Parts of a pixel that a byte counts.
const PARTS: f32 = 16.0;
/// Sixteenths of a quarter, and bits that quarters take.
const QUARTER: u8 = 4;
const QUARTER_BITS: usize = 4;
/// Bits of a word, and of a byte.
const WORD: usize = 32;
const BYTE: usize = 8;
/// 2²³: a small whole number added to it is the last bits of the sum, and a loop of that is vectors.
const WHOLE: f32 = 8_388_608.0;

/// Rasters, one after the other: how much of each pixel is covered.
#[derive(Clone, Debug, PartialEq)]
pub enum Rasters {
    /// In quarters, two pixels a byte, the first in the lower bits.
    Quarters(Vec<u8>),
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
        let quarters = parts.len() % 2 == 0 && parts.iter().all(|part| part % QUARTER == 0);
        match (exact, quarters) {
            (false, _) => Self::Shares(shares),
            (true, false) => Self::Sixteenths(parts),
            (true, true) => Self::Quarters(parts.as_chunks().0.iter().map(paired).collect()),
        }
    }

    /// One after the other.
    pub fn joined(all: &[Self]) -> Self {
        if let Some(pairs) = all.iter().map(Self::pairs).collect::<Option<Vec<_>>>() {
            return Self::Quarters(pairs.concat());
        }
        match all.iter().map(Self::parts).collect::<Option<Vec<_>>>() {
            Some(parts) => Self::Sixteenths(parts.concat()),
            None => Self::Shares(all.iter().map(Self::shares).collect::<Vec<_>>().concat()),
        }
    }

    fn pairs(&self) -> Option<&[u8]> {
        match self {
            Self::Quarters(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// As sixteenths.
    fn parts(&self) -> Option<Vec<u8>> {
        match self {
            Self::Quarters(pairs) => Some(pairs.iter().copied().flat_map(parts_of).collect()),
            Self::Sixteenths(parts) => Some(parts.clone()),
            Self::Shares(_) => None,
        }
    }

    /// Pixels in all.
    pub fn pixels(&self) -> usize {
        match self {
            Self::Quarters(pairs) => 2 * pairs.len(),
            Self::Sixteenths(parts) => parts.len(),
            Self::Shares(shares) => shares.len(),
        }
    }

    /// The first of them, so many pixels.
    #[must_use]
    pub fn first(mut self, pixels: usize) -> Self {
        match &mut self {
            Self::Quarters(pairs) if pixels.is_multiple_of(2) => pairs.truncate(pixels / 2),
            Self::Quarters(_) => return Self::Shares(self.shares()).first(pixels),
            Self::Sixteenths(parts) => parts.truncate(pixels),
            Self::Shares(shares) => shares.truncate(pixels),
        }
        self
    }

    /// How much of each pixel is covered.
    pub fn shares(&self) -> Vec<f32> {
        match self {
            Self::Quarters(pairs) => {
                pairs.iter().copied().flat_map(parts_of).map(share_of).collect()
            }
            Self::Sixteenths(parts) => parts.iter().map(|&part| share_of(part)).collect(),
            Self::Shares(shares) => shares.clone(),
        }
    }

    /// On a device, `[rasters, side, side]`.
    pub(crate) fn on(self, side: usize, device: &Device) -> Tensor<3> {
        let shape = [self.pixels() / (side * side), side, side];
        let whole = |bytes: &[u8]| *device != Device::flex() && bytes.len() % 4 == 0;
        match self {
            Self::Quarters(pairs) if whole(&pairs) => {
                unpacked(pairs, QUARTER_BITS, device).reshape(shape) * f32::from(QUARTER) / PARTS
            }
            Self::Sixteenths(parts) if whole(&parts) => {
                unpacked(parts, BYTE, device).reshape(shape) / PARTS
            }
            other => Tensor::from_data(TensorData::new(other.shares(), shape), device),
        }
    }
}

fn share_of(part: u8) -> f32 {
    f32::from(part) / PARTS
}

/// Two pixels in a byte.
fn paired([first, second]: &[u8; 2]) -> u8 {
    first / QUARTER | (second / QUARTER) << QUARTER_BITS
}

/// The sixteenths of two pixels.
fn parts_of(pair: u8) -> [u8; 2] {
    [pair & ((1 << QUARTER_BITS) - 1), pair >> QUARTER_BITS].map(|quarters| quarters * QUARTER)
}

/// Numbers of so many bits, which travel as words, as they lie in memory: not every device has bytes.
fn unpacked(bytes: Vec<u8>, bits: usize, device: &Device) -> Tensor<1> {
    let (words, each, options) = (bytes.len() / 4, WORD / bits, (device, DType::I32));
    let shifts: Vec<i32> = (0..each).map(|i| (i * bits) as i32).collect();
    let shifts = Tensor::<2, Int>::from_data(TensorData::new(shifts, [1, each]), options);
    let all = TensorData::from_bytes_vec(bytes, [words, 1], DType::I32);
    let all = Tensor::<2, Int>::from_data(all, options).expand([words, each]);
    let own = all.bitwise_right_shift(shifts.expand([words, each]));
    own.bitwise_and_scalar((1 << bits) - 1).float().reshape([words * each])
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
        assert!(matches!(rasters, Rasters::Quarters(_)), "clips lie on 2 nm");
        let kinds: std::collections::BTreeSet<u32> = both.iter().map(|v| v.to_bits()).collect();
        assert!(kinds.len() > 2, "some pixels are covered in part");
        assert_eq!((rasters.pixels(), rasters.shares() == both), (2 * 512 * 512, true));
        let on_device = rasters.clone().on(512, &Device::flex());
        assert_eq!(on_device.dims(), [2, 512, 512]);
        assert!(numbers(on_device) == both);
        let sixteenths = Rasters::Sixteenths(rasters.parts().expect("exact"));
        assert!(sixteenths.shares() == both);
        let Rasters::Quarters(pairs) = rasters else { unreachable!("seen above") };
        let quarters = unpacked(pairs, QUARTER_BITS, &Device::flex()) * 4.0 / PARTS;
        assert!(numbers(quarters) == both);
        let every: Vec<u8> = (0..=16).chain([0; 3]).collect();
        let expected: Vec<f32> = every.iter().map(|&part| f32::from(part)).collect();
        assert_eq!(numbers(unpacked(every, BYTE, &Device::flex())), expected);
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
        let quarters = Rasters::of(vec![0.25, 1.0, 0.75, 0.0]);
        assert_eq!(quarters, Rasters::Quarters(vec![0x41, 0x03]));
        assert_eq!(quarters.clone().first(2), Rasters::of(vec![0.25, 1.0]));
        assert_eq!(quarters.clone().first(3).shares(), [0.25, 1.0, 0.75]);
        let mixed = Rasters::joined(&[quarters, even]);
        assert_eq!(mixed, Rasters::Sixteenths(vec![4, 16, 12, 0, 8, 1]));
    }
}
