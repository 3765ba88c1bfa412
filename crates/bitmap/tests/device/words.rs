//! Packing and word by word.

use burn::tensor::{Bool, TensorData};

use super::*;

/// Values at and beside the threshold, and such as are no numbers.
#[test]
fn a_bit_is_set_where_the_image_reaches_the_threshold() {
    let Some(device) = device() else { return };
    for side in [32, 96, 256] {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let known = [0.25, 0.249_999_98, 0.250_000_03, f32::NAN, -0.0, 1.0, f32::INFINITY];
        let mut value = || known[rng.random_range(0..known.len())];
        let values: Vec<f32> = (0..2 * side * side).map(|_| value()).collect();
        let image =
            Tensor::<3>::from_data(TensorData::new(values.clone(), [2, side, side]), &device);
        let bits = Bitmaps::of(image, 0.25);
        assert_eq!((bits.batch(), bits.side()), (2, side));
        let expected: Vec<bool> = values.iter().map(|&v| v >= 0.25).collect();
        assert_eq!(Masks::read(&bits).pixels, expected, "{side}");
        let back = bits.to_tensor().try_into_vec_as::<f32>().expect("f32");
        assert!(back.iter().zip(&expected).all(|(&v, &set)| v == f32::from(u8::from(set))));
    }
}

#[test]
fn sets_are_joined_pixel_by_pixel_and_chosen_image_by_image() {
    let Some(device) = device() else { return };
    let (a, b) = (noise(96, &[0.5, 0.1, 1.0], 1), noise(96, &[0.3, 0.9, 0.5], 2));
    let (on_a, on_b) = (a.on(&device), b.on(&device));
    let expected = |of: fn(bool, bool) -> bool| -> Vec<bool> {
        a.pixels.iter().zip(&b.pixels).map(|(&a, &b)| of(a, b)).collect()
    };
    assert_eq!(Masks::read(&on_a.or(&on_b)).pixels, expected(|a, b| a | b));
    assert_eq!(Masks::read(&on_a.and(&on_b)).pixels, expected(|a, b| a & b));
    assert_eq!(Masks::read(&on_a.without(&on_b)).pixels, expected(|a, b| a & !b));
    let which = TensorData::new(vec![true, false, true], [3, 1, 1]);
    let chosen = on_a.chosen(&on_b, Tensor::<3, Bool>::from_data(which, &device));
    let chosen = Masks::read(&chosen);
    let image = |i: usize| if i == 1 { a.image(i) } else { b.image(i) };
    assert!((0..3).all(|i| chosen.image(i) == image(i)));
}

#[test]
fn a_square_is_cut_where_it_lies() {
    let Some(device) = device() else { return };
    let masks = noise(128, &[0.5, 0.5], 3);
    let cut = Masks::read(&masks.on(&device).square([32, 64], 64));
    assert_eq!((cut.side, cut.batch()), (64, 2));
    for image in 0..2 {
        for (i, &pixel) in cut.image(image).iter().enumerate() {
            assert_eq!(pixel, masks.image(image)[(i / 64 + 64) * 128 + i % 64 + 32]);
        }
    }
}

#[test]
fn pixels_are_counted_image_by_image() {
    let Some(device) = device() else { return };
    let masks = noise(160, &[0.5, 0.0, 1.0, 0.01], 4);
    let found = masks.on(&device).pixels().try_into_vec_as::<i32>().expect("i32");
    let count = |i: usize| masks.image(i).iter().filter(|&&set| set).count() as i32;
    assert_eq!(found, (0..4).map(count).collect::<Vec<_>>());
}
