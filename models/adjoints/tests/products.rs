//! Products of an image with a thin one by matrices against sums of their numbers, one by one.

use lithoburn_testing::Need;

use super::*;

/// Products by matrices of bf16, where the device has those, are the sums of their numbers, one by one: of images that fill chunks, and of one that does not.
pub(super) fn thin_products_of_bf16_are_their_sums(device: &Device) {
    let cuda = std::env::var("LITHOBURN_TEST_DEVICE").as_deref() == Ok("cuda");
    let why = "products of bf16 by matrices: LITHOBURN_TEST_DEVICE is not cuda";
    let Some(()) = Need::Gpu.met(cuda.then_some(()), why) else { return };
    let shapes = [[2, 6, 32, 32], [1, 16, 12, 64], [3, 8, 8, 128], [2, 8, 12, 256], [1, 3, 5, 64]];
    for (shape, side, few) in shapes.into_iter().flat_map(|s| [(s, 1, 1), (s, 3, 1), (s, 3, 4)]) {
        for turned in [false, true] {
            let [batch, height, width, channels] = shape;
            let image = Tensor::<4>::from_data(wave(shape, 0.37).into_data(), &Device::flex());
            let image = image.cast(DType::BF16).cast(DType::F32);
            let fold = if few == 4 { 2 } else { 1 };
            let thin = wave([batch, fold * height, fold * width, 1], 0.81);
            let expected = sums_of_products(&image, &thin, (side, few), turned);
            let sizes =
                sums_of_products(&image.clone().abs(), &thin.clone().abs(), (side, few), turned);
            let size = largest(sizes);
            let strides = [few * channels, channels, 1];
            let taps = Thin { layer: 0, side, few };
            let trial = Trial::Products { thin: taps, turned, strides, half: true };
            let tensors = [image.clone(), thin.clone(), thin];
            let sums = found(device, trial, tensors, [START + expected.len()]);
            let name = format!("products in bf16, {shape:?}, {side}, {few}, turned: {turned}");
            let off = largest_difference(&sums[START..], &expected);
            // Of the thin image's numbers sixteen bits are left.
            assert!(off < 2e-5 * size, "{name}: {off} of {size}");
        }
    }
}

/// Sums by tap, value of the thin image, and channel, number by number.
fn sums_of_products(
    image: &Tensor<4>,
    thin: &Tensor<4>,
    (side, few): (usize, usize),
    turned: bool,
) -> Vec<f32> {
    let [batch, height, width, channels] = image.dims();
    let (own, thin) = (values(image.clone()), values(thin.clone()));
    let fold = if few == 4 { 2 } else { 1 };
    let mut sums = vec![0.0; side * side * few * channels];
    let all = (0..batch * height * width)
        .flat_map(|pixel| (0..side * side * few).map(move |row| (pixel, row)));
    for (pixel, row) in all {
        let (image, y, x) = (pixel / width / height, pixel / width % height, pixel % width);
        let (tap, which) = (row / few, row % few);
        let tap = if turned { side * side - 1 - tap } else { tap };
        let moved = |at: usize, by: usize, size: usize| {
            (at + by).checked_sub(side / 2).filter(|at| *at < size)
        };
        let (Some(y), Some(x)) = (moved(y, tap / side, height), moved(x, tap % side, width)) else {
            continue;
        };
        let line = (image * height + y) * fold + which / 2;
        let other = f64::from(thin[line * width * fold + x * fold + which % 2]);
        for channel in 0..channels {
            sums[row * channels + channel] += other * f64::from(own[pixel * channels + channel]);
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}
