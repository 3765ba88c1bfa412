use super::*;
use crate::distance;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Widths that do and do not fill words.
fn widths() -> impl Strategy<Value = usize> {
    prop_oneof![Just(37_usize), Just(64), Just(96), Just(130)]
}

fn noise(width: usize, height: usize, share: f64, seed: u64) -> Vec<bool> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..width * height).map(|_| rng.random_bool(share)).collect()
}

/// The same image with a float a pixel, whose operations are the second implementation.
fn raster(set: &[bool], width: usize) -> Raster {
    let data = set.iter().map(|&inside| f32::from(u8::from(inside))).collect();
    Raster { width, height: set.len() / width, pixel_nm: 2.0, data }
}

proptest! {
    /// Distances are the second implementation.
    #[test]
    fn growing_and_shrinking_are_those_by_distance(
        width in widths(),
        seed in any::<u64>(),
        radius in prop_oneof![0.0..12.0_f64, 12.0..=31.0_f64],
    ) {
        let set = noise(width, 29, 0.03, seed);
        let bits = Bits::of_bools(&set, width);
        prop_assert_eq!(bits.grown(radius).to_bools(), distance::grown(&set, width, radius));
        let most: Vec<bool> = set.iter().map(|s| !s).collect();
        let bits = Bits::of_bools(&most, width);
        prop_assert_eq!(bits.shrunk(radius).to_bools(), distance::shrunk(&most, width, radius));
    }

    /// By asking for each pixel.
    #[test]
    fn parts_and_depths_are_those_found_pixel_by_pixel(
        width in widths(),
        seed in any::<u64>(),
        share in 0.0..=1.0_f64,
        factor in 1..5_usize,
    ) {
        let set = noise(width, 23, share.cbrt(), seed);
        let bits = Bits::of_bools(&set, width);
        let small = bits.subsampled(factor);
        prop_assert_eq!((small.width(), small.height()), (width / factor, 23 / factor));
        for (x, y) in (0..small.height()).flat_map(|y| (0..small.width()).map(move |x| (x, y))) {
            prop_assert_eq!(small.at(x, y), set[y * factor * width + x * factor]);
        }
        prop_assert_eq!(bits.any_in(7, 3, 30), set[7 * width + 3..7 * width + 30].contains(&true));
        let others: Vec<bool> = set.iter().map(|s| !s).collect();
        for (pixel, &depth) in distance::squared(&others, width).iter().enumerate() {
            let found = bits.depth(pixel % width, pixel / width, 4);
            prop_assert!(found == depth || found > 16 && depth > 16, "{found} {depth}");
        }
    }

    #[test]
    fn every_form_of_an_image_is_the_same_image(
        width in widths(),
        seed in any::<u64>(),
        share in 0.0..=1.0_f64,
    ) {
        let set = noise(width, 21, share, seed);
        let bits = Bits::of_bools(&set, width);
        prop_assert_eq!(&bits.to_bools(), &set);
        prop_assert_eq!(&Bits::of_raster(&raster(&set, width)), &bits);
        prop_assert_eq!(&bits.to_raster(2.0), &raster(&set, width));
        prop_assert_eq!(&Bits::of_words(&bits.to_words(), width, 21), &bits);
        prop_assert_eq!(bits.count(), set.iter().filter(|&&inside| inside).count());
        prop_assert_eq!(bits.is_dark(), bits.count() == 0);
        let mut drawn = bits.cleared();
        for y in 0..21 {
            bits.runs(y, |start, end| drawn.set_run(y, start, end));
        }
        prop_assert_eq!(drawn, bits);
    }

    #[test]
    fn windows_and_shares_are_those_of_the_raster(
        width in widths(),
        seed in any::<u64>(),
        at in (-150..150_isize, -30..30_isize),
        size in (1..150_usize, 1..40_usize),
        factor in 1..9_usize,
    ) {
        let set = noise(width, 23, 0.4, seed);
        let (bits, floats) = (Bits::of_bools(&set, width), raster(&set, width));
        let (at, (w, h)) = ([at.0, at.1], size);
        prop_assert_eq!(bits.crop(at, w, h).to_raster(2.0), floats.crop(at, w, h));
        let mut mask = Bits::of_bools(&noise(w, h, 0.3, seed + 1), w);
        let either: Vec<bool> = mask
            .to_bools()
            .iter()
            .zip(bits.crop([-at[0], -at[1]], w, h).to_bools())
            .map(|(&a, b)| a || b)
            .collect();
        mask.paste(&bits, at);
        prop_assert_eq!(mask, Bits::of_bools(&either, w));
        prop_assert_eq!(bits.averaged(factor, 2.0), floats.averaged(factor));
        prop_assert_eq!(bits.framed(factor).unframed(factor), bits);
    }
}

/// The least bit is the least x, rows follow each other, and what is beyond the border is dropped.
#[test]
fn words_are_those_of_the_devices() {
    let bits = Bits::of_words(&[0x8000_0001, 0xffff_fff0, 2], 36, 2);
    let set: Vec<[usize; 2]> =
        (0..2).flat_map(|y| (0..36).map(move |x| [x, y])).filter(|&[x, y]| bits.at(x, y)).collect();
    assert_eq!(set, [[0, 0], [31, 0], [1, 1]]);
    assert_eq!(bits.to_words(), [0x8000_0001, 0, 2, 0]);
}

#[test]
#[should_panic(expected = "of a row of 70")]
fn a_run_beyond_the_border_is_refused() {
    Bits::dark(70, 2).set_run(1, 60, 71);
}
