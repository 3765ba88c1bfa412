use proptest::prelude::*;

use super::*;
use bytes::Bytes;

/// Bytes in pieces of `size`.
fn pieces(bytes: &[u8], size: usize) -> Data {
    bytes.chunks(size).map(Bytes::copy_from_slice).collect::<Vec<_>>().into()
}

proptest! {
    #[test]
    fn values_are_the_same_however_their_bytes_are_cut(
        values in prop::collection::vec(any::<f32>(), 0..50),
        size in 1_usize..9,
    ) {
        let whole: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let cut = Tensor::new(Datatype::Fp32, vec![values.len()], pieces(&whole, size)).expect("fits");
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&cut.to_f32().expect("reads")), bits(&values));
        prop_assert_eq!(&cut.data.contiguous().expect("reads")[..], &whole[..]);
    }

    #[test]
    fn a_binary_image_survives_every_datatype_of_pixels(
        rows in 1_usize..5,
        width in 1_usize..20,
        seed in any::<u64>(),
        size in 1_usize..9,
    ) {
        let values: Vec<f32> = (0..rows * width).map(|i| (seed >> (i % 64) & 1) as f32).collect();
        for datatype in Datatype::PIXELS {
            let tensor = Tensor::from_f32(datatype, vec![rows, width], &values).expect("fits");
            let whole = tensor.data.contiguous().expect("reads");
            let cut = Tensor::new(datatype, vec![rows, width], pieces(&whole, size)).expect("fits");
            prop_assert_eq!(cut.to_f32().expect("reads"), values.clone());
        }
    }
}

proptest! {
    /// What [`Tensor::to_f32`] says of the same bytes is the other implementation.
    #[test]
    fn words_hold_the_pixels_of_every_datatype_and_give_its_bytes_again(
        rows in 1_usize..4,
        width in 1_usize..100,
        seed in any::<u64>(),
        size in 1_usize..9,
    ) {
        let value = |i: usize| (seed.rotate_left((i * i % 64) as u32) & 1) as f32;
        let values: Vec<f32> = (0..rows * width).map(value).collect();
        let set = |word: &[u32], x: usize| f32::from((word[x / 32] >> (x % 32) & 1) as u8);
        for datatype in Datatype::PIXELS {
            let tensor = Tensor::from_f32(datatype, vec![rows, width], &values).expect("fits");
            let whole = tensor.data.contiguous().expect("reads");
            let cut = Tensor::new(datatype, vec![rows, width], pieces(&whole, size)).expect("fits");
            let words = cut.to_words().expect("reads").expect("binary");
            let each = width.div_ceil(32);
            prop_assert_eq!(words.len(), rows * each);
            let pixels = words.chunks(each).flat_map(|row| (0..width).map(move |x| set(row, x)));
            prop_assert_eq!(pixels.collect::<Vec<_>>(), cut.to_f32().expect("reads"));
            prop_assert!(words.chunks(each).all(|row| width % 32 == 0 || row[each - 1] >> (width % 32) == 0));
            let again = Tensor::from_words(datatype, vec![rows, width], &words).expect("fits");
            prop_assert_eq!(again.data.contiguous().expect("reads"), whole);
        }
    }
}

#[test]
fn an_image_with_a_grey_pixel_has_no_words_and_bits_beyond_a_row_are_none() {
    for grey in [0.5, -1.0, 2.0, f32::NAN] {
        for datatype in [Datatype::Fp32, Datatype::Fp16, Datatype::Bf16] {
            let values = [1.0, 0.0, grey, 0.0];
            let tensor = Tensor::from_f32(datatype, vec![2, 2], &values).expect("fits");
            assert_eq!(tensor.to_words().expect("reads"), None, "{grey} {datatype}");
        }
    }
    let grey = Tensor::new(Datatype::Uint8, vec![1, 2], vec![1, 2]).expect("fits");
    assert_eq!(grey.to_words().expect("reads"), None);
    let set = Tensor::new(Datatype::Bool, vec![1, 2], vec![0, 7]).expect("fits");
    assert_eq!(set.to_words().expect("reads"), Some(vec![2]));
    let noise = Tensor::new(Datatype::Bytes, vec![1, 3], vec![0xff]).expect("fits");
    assert_eq!(noise.to_words().expect("reads"), Some(vec![7]));
    let short = Tensor::from_words(Datatype::Uint8, vec![2, 33], &[0; 3]).expect_err("short");
    assert!(matches!(short, TensorError::Length { expected: 4, came: 3 }));
    let numbers = Tensor::new(Datatype::Int32, vec![1], vec![0; 4]).expect("fits");
    assert!(matches!(numbers.to_words(), Err(TensorError::Pixels(Datatype::Int32))));
}

/// As `numpy.packbits([[1,0,0,0,0,0,0,0,1],[0,1,0,0,0,0,0,0,0]], axis=-1)` packs.
#[test]
fn bits_lie_as_numpy_packs_them() {
    let mut values = vec![0.0; 18];
    (values[0], values[8], values[10]) = (1.0, 1.0, 1.0);
    let packed = Tensor::from_f32(Datatype::Bytes, vec![2, 9], &values).expect("fits");
    assert_eq!(&packed.data.contiguous().expect("reads")[..], [0x80, 0x80, 0x40, 0]);
}

#[test]
fn sizes_that_overflow_or_do_not_fit_are_refused() {
    let huge = vec![usize::MAX, 2];
    assert!(matches!(
        Tensor::new(Datatype::Bool, huge, Vec::<u8>::new()),
        Err(TensorError::Shape(_))
    ));
    assert_eq!(Datatype::Bytes.bytes_of(&[usize::MAX, 2]), None);
    let short = Tensor::new(Datatype::Fp32, vec![2, 2], vec![0; 15]).expect_err("short");
    assert_eq!(short.to_string(), "FP32 of shape [2, 2] is 16 bytes, got 15");
    let numbers = Tensor::new(Datatype::Int32, vec![1], vec![0; 4]).expect("fits");
    assert!(matches!(numbers.to_f32(), Err(TensorError::Pixels(Datatype::Int32))));
}
