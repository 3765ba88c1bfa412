//! Features that a descent has lost, and a start from which it finds them.
//!
//! A feature of which nothing prints has no gradient worth the name: near a threshold that it does not reach, the cheapest
//! place for it is dark, and a descent from the target takes small contacts there. So what does not print after the coarsest
//! level is opened wider than it is drawn, and the level is done again for the clips that need it.
//! Of a feature that a field's border cuts, often only a sliver is where a mask may be open; no opening brings that back, and the
//! field beside it has the whole.

use burn::tensor::{Device, Tensor};

use super::descent::Descent;
use super::models::Tally;
use crate::LithoError;
use crate::binary::{BinaryImages, PackedImages};

/// How far from where the mask must be dark a feature must reach to be looked for, in nm.
const INSIDE_NM: f64 = 32.0;
/// The same as a share of a halo: the field beside it has the whole of what lies there, and one in seven of a chip's tiles would do a level
/// again for it. What is nearer to the core is looked for, since its light reaches it.
const OF_HALO: f64 = 0.25;

/// The features of a clip of which nothing prints. Pixels of a feature touch at their sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Their pixels, packed as in [`PackedImages`].
    words: Vec<u32>,
    /// How many they are.
    pub(super) count: usize,
}

/// The features of each clip of which the last soft mask prints nothing and that wider openings could bring back: those must lie
/// where the mask may be open, and not in the outer part of a halo.
pub(super) fn features(
    descent: &Descent,
    halo_nm: f64,
    tally: &mut Tally,
) -> Result<Vec<Lost>, LithoError> {
    let printed = BinaryImages::of(descent.nominal(tally), descent.threshold(), "read the print")?;
    let design = BinaryImages::of(descent.goal.design.clone(), 0.5, "read the target")?;
    let (design, printed) = (design.into_packed(0)?, printed.into_packed(0)?);
    let width = design.row_words();
    let within = square(design.side, descent.frame_px(INSIDE_NM.max(halo_nm * OF_HALO)));
    let clips = design.images().zip(printed.images());
    Ok(clips.map(|(design, printed)| Lost::of(design, printed, &within, width)).collect())
}

/// The square that a frame leaves of an image of `n` pixels a side, packed.
fn square(n: usize, frame: usize) -> Vec<u32> {
    let within = frame..n.saturating_sub(frame);
    let pixel = |y: usize, x: usize| within.contains(&y) && within.contains(&x);
    let word = |y: usize, i: usize| {
        (0..32).fold(0, |word, bit| word | u32::from(pixel(y, 32 * i + bit)) << bit)
    };
    (0..n).flat_map(|y| (0..n.div_ceil(32)).map(move |i| word(y, i))).collect()
}

/// 1 in each clip's features and within `reach` pixels of them, of `n` pixels a side: `[batch, n, n]`.
pub(super) fn openings(clips: &[Lost], n: usize, reach: usize, device: &Device) -> Tensor<3> {
    let words: Vec<u32> = clips.iter().flat_map(|lost| grown(&lost.words, n, reach)).collect();
    PackedImages { side: n, words }.to_tensor(device)
}

impl Lost {
    /// Of the features that have a pixel `within`. Images are rows of `width` words.
    fn of(design: &[u32], printed: &[u32], within: &[u32], width: usize) -> Self {
        let lost = without(design, &reached(&both(printed, design), design, width));
        let lost = reached(&both(&lost, within), &lost, width);
        let (mut words, mut count) = (lost.clone(), 0);
        while let Some(first) = words.iter().position(|&word| word != 0) {
            let mut pixel = vec![0; words.len()];
            pixel[first] = 1 << words[first].trailing_zeros();
            words = without(&words, &reached(&pixel, &words, width));
            count += 1;
        }
        Self { words: lost, count }
    }
}

fn both(image: &[u32], other: &[u32]) -> Vec<u32> {
    image.iter().zip(other).map(|(word, other)| word & other).collect()
}

fn without(image: &[u32], other: &[u32]) -> Vec<u32> {
    image.iter().zip(other).map(|(word, other)| word & !other).collect()
}

/// The pixels of features that hold one of `first`.
fn reached(first: &[u32], features: &[u32], width: usize) -> Vec<u32> {
    let mut reached = first.to_vec();
    let rows = features.len() / width.max(1);
    loop {
        let before = reached.clone();
        (0..rows).for_each(|y| flood(&mut reached, features, y, y.wrapping_sub(1), width));
        (0..rows).rev().for_each(|y| flood(&mut reached, features, y, y + 1, width));
        if reached == before {
            return reached;
        }
    }
}

/// What of a row of the design is reached from the row beside it, if there is one, and along the row.
fn flood(reached: &mut [u32], design: &[u32], y: usize, beside: usize, width: usize) {
    let own = y * width;
    if beside < reached.len() / width {
        (0..width).for_each(|i| {
            reached[own + i] |= reached[beside * width + i] & design[own + i];
        });
    }
    let (row, design) = (&mut reached[own..][..width], &design[own..][..width]);
    if row.iter().all(|&word| word == 0) {
        return;
    }
    let mut carry = false;
    for (reached, &design) in row.iter_mut().zip(design) {
        (*reached, carry) = run_on(*reached, design, carry);
    }
    carry = false;
    for (reached, &design) in row.iter_mut().zip(design).rev() {
        let (turned, on) = run_on(reached.reverse_bits(), design.reverse_bits(), carry);
        (*reached, carry) = (turned.reverse_bits(), on);
    }
}

/// Runs of the design from the pixels that are reached on towards higher bits, and whether the last goes on in the next word: an
/// addition carries along a run.
fn run_on(reached: u32, design: u32, carry: bool) -> (u32, bool) {
    let first = reached | (u32::from(carry) & design);
    let (sum, over) = design.overflowing_add(first);
    (first | ((sum ^ design) & design), over)
}

/// A packed image of `n` pixels a side, grown by `reach` pixels to each side, corners included.
fn grown(image: &[u32], n: usize, reach: usize) -> Vec<u32> {
    let width = n.div_ceil(32);
    let mut wide = image.to_vec();
    for row in wide.chunks_exact_mut(width.max(1)) {
        (0..reach).for_each(|_| widen(row));
        // What is beyond the image is no pixel.
        row[width - 1] &= u32::MAX >> (32 * width - n);
    }
    let word = |y: usize, i: usize| {
        let rows = y.saturating_sub(reach)..(y + reach + 1).min(n);
        rows.fold(0, |word, near| word | wide[near * width + i])
    };
    (0..n).flat_map(|y| (0..width).map(move |i| [y, i])).map(|[y, i]| word(y, i)).collect()
}

/// A row grown by a pixel to either side.
fn widen(row: &mut [u32]) {
    let mut before = 0;
    for i in 0..row.len() {
        let (own, after) = (row[i], row.get(i + 1).copied().unwrap_or(0));
        row[i] = own | own << 1 | own >> 1 | before >> 31 | after << 31;
        before = own;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Bitmap, unprinted};

    fn random(state: &mut u32, of: u32) -> usize {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((*state >> 8) % of) as usize
    }

    /// Bars, some of which touch, and run over the borders of words.
    fn bars(state: &mut u32, n: usize) -> Vec<u32> {
        let width = n / 32;
        let mut design = vec![0_u32; n * width];
        for _ in 0..1 + random(state, 6) {
            let [x, y] = [random(state, 90), random(state, 90)];
            let (wide, high) = (1 + random(state, 70), 1 + random(state, 6));
            for y in y..(y + high).min(n) {
                (x..(x + wide).min(n)).for_each(|x| design[y * width + x / 32] |= 1 << (x % 32));
            }
        }
        design
    }

    fn pixels(image: &[u32], n: usize) -> Vec<bool> {
        PackedImages { side: n, words: image.to_vec() }.to_pixels()
    }

    /// A flood from pixel to pixel is the second implementation.
    #[test]
    fn features_are_lost_of_which_no_pixel_prints_if_some_may_be_opened() {
        let (n, width, mut state) = (96, 3, 1);
        let frame = 12;
        let within = square(n, frame);
        let inside = |&i: &usize| [i % n, i / n].iter().all(|at| (frame..n - frame).contains(at));
        let mut found = [0; 3];
        for _ in 0..200 {
            let design = bars(&mut state, n);
            let mut printed = vec![0_u32; n * width];
            for _ in 0..random(&mut state, 90) {
                printed[random(&mut state, 96) * width + random(&mut state, 3)] |=
                    1 << random(&mut state, 32);
            }
            let [target, print] = [&design, &printed].map(|words| Bitmap { words, side: n });
            let mut expected = unprinted(target, print);
            let all_lost = expected.len();
            expected.retain(|feature| feature.pixels.iter().any(inside));
            let lost = Lost::of(&design, &printed, &within, width);
            assert_eq!(lost.count, expected.len());
            let mut all = vec![false; n * n];
            expected.iter().flat_map(|feature| &feature.pixels).for_each(|&i| all[i] = true);
            assert_eq!(pixels(&lost.words, n), all);
            found[usize::from(expected.is_empty())] += 1;
            found[2] += usize::from(expected.len() < all_lost);
        }
        assert!(found.iter().all(|&cases| cases > 10), "{found:?}");
    }

    #[test]
    fn openings_are_the_squares_around_pixels() {
        for (n, reach) in [(96, 3), (70, 4), (40, 0)] {
            let set = |i: usize| i % 61 == 7 || i == n * n - 1;
            let image: Vec<bool> = (0..n * n).map(set).collect();
            let near = |a: usize, b: usize| {
                (a % n).abs_diff(b % n) <= reach && (a / n).abs_diff(b / n) <= reach
            };
            let row = |row: &[bool]| -> Vec<u32> {
                let word = |w: &[bool]| w.iter().rev().fold(0, |w, &p| w << 1 | u32::from(p));
                row.chunks(32).map(word).collect()
            };
            let words: Vec<u32> = image.chunks(n).flat_map(row).collect();
            let expected = |i: usize| (0..n * n).any(|j| image[j] && near(i, j));
            let expected: Vec<bool> = (0..n * n).map(expected).collect();
            assert_eq!(pixels(&grown(&words, n, reach), n), expected, "{n}, {reach}");
        }
    }
}
