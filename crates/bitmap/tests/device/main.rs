//! The kernels against plain loops and against the host's geometry.
//!
//! They run on OpenGL, which Mesa computes without a card, or on what `LITHOBURN_TEST_DEVICE` names: `cuda` or
//! `vulkan`. Without such a device they are skipped, and say so. Compiling takes most of their time, so they share a program.
#![cfg(all(feature = "wgpu", feature = "cuda"))]

mod draw;
mod rules;
mod strips;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use burn::backend::WgpuBackend;
use burn::tensor::{Device, DeviceKind, Tensor};
use lithoburn_bitmap::Bitmaps;
use lithoburn_testing::Need;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn open() -> Option<Device> {
    let open = || match std::env::var("LITHOBURN_TEST_DEVICE").as_deref() {
        Ok("cuda") => Some(Device::cuda(0)),
        Ok("vulkan") => Some(Device::vulkan(DeviceKind::DefaultDevice)),
        _ => Device::wgpu_options().graphics_api(WgpuBackend::Gl).init().ok(),
    };
    let works = |device: Device| {
        let sum = Tensor::<1>::ones([8], &device).sum().try_into_vec_as::<f32>().ok()?;
        (sum == [8.0]).then_some(device)
    };
    catch_unwind(AssertUnwindSafe(|| open().and_then(works))).ok().flatten()
}

/// The device of these tests, if there is one; else the test says that it is skipped.
fn device() -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let why = "no OpenGL here, and LITHOBURN_TEST_DEVICE names no device";
    Need::Gpu.met(DEVICE.get_or_init(open).clone(), why)
}

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
