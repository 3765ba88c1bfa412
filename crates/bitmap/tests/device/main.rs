//! The kernels against plain loops and against the host's geometry.
//!
//! They run on OpenGL, which Mesa computes without a card, or on what `LITHOBURN_TEST_DEVICE` names: `cuda` or
//! `vulkan`. Without such a device they are skipped, and say so. Compiling takes most of their time, so they share a program.
#![cfg(all(feature = "wgpu", feature = "cuda"))]

mod boxes;
mod draw;
mod rules;
mod strips;
mod words;

use burn::tensor::{Device, Tensor};
use lithoburn_bitmap::Bitmaps;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

lithoburn_testing::test_device!(device);

/// Pixels of images of `side` × `side`, one after the other.
struct Masks {
    side: usize,
    pixels: Vec<bool>,
}

impl Masks {
    fn batch(&self) -> usize {
        self.pixels.len() / (self.side * self.side)
    }

    fn image(&self, index: usize) -> &[bool] {
        let area = self.side * self.side;
        &self.pixels[index * area..(index + 1) * area]
    }

    fn on(&self, device: &Device) -> Bitmaps {
        let words = self.pixels.chunks(32);
        let word = |bits: &[bool]| bits.iter().rev().fold(0, |w, &bit| w << 1 | u32::from(bit));
        Bitmaps::from_words(words.map(word).collect(), self.batch(), self.side, device)
    }

    fn read(bitmaps: &Bitmaps) -> Self {
        let words = bitmaps.read().expect("words");
        let bits = |word: u32| (0..32).map(move |bit| word >> bit & 1 == 1);
        Self { side: bitmaps.side(), pixels: words.into_iter().flat_map(bits).collect() }
    }
}

/// Masks of noise, of `share` of their pixels.
fn noise(side: usize, shares: &[f64], seed: u64) -> Masks {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let image =
        |&share: &f64| -> Vec<bool> { (0..side * side).map(|_| rng.random_bool(share)).collect() };
    Masks { side, pixels: shares.iter().flat_map(image).collect() }
}
