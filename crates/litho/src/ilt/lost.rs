//! Features that a descent has lost, and a start from which it finds them.
//!
//! A feature of which nothing prints has no gradient worth the name: near a threshold that it does not reach, the cheapest
//! place for it is dark, and a descent from the target takes small contacts there. So what does not print after the coarsest
//! level is opened wider than it is drawn, and the level is done again for the clips that need it.

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::descent::Descent;
use super::models::Tally;
use crate::LithoError;
use crate::binary::{BinaryImages, PackedImages};
use crate::images::from_bits;
use crate::metrics::{Bitmap, Feature, unprinted};

/// How much wider than drawn the openings are on each side, attempt by attempt, in nm.
pub(super) const WIDER_NM: [f64; 2] = [24.0, 32.0];

/// The features of each clip of which the last soft mask prints nothing.
pub(super) fn features(
    descent: &Descent,
    tally: &mut Tally,
) -> Result<Vec<Vec<Feature>>, LithoError> {
    let printed = BinaryImages::of(descent.nominal(tally), descent.threshold(), "read the print")?;
    let design = BinaryImages::of(descent.goal.design.clone(), 0.5, "read the target")?;
    let (design, printed) = (design.into_packed(0)?, printed.into_packed(0)?);
    let (n, words) = (design.side, design.row_words());
    let clips: Vec<_> = design.images().zip(printed.images()).collect();
    let lost = clips.into_par_iter().with_min_len(ALONE).map(|(design, printed)| {
        if prints_of_all(design, printed, words) {
            return Vec::new();
        }
        let [design, printed] = [design, printed].map(|image| pixels(image, n));
        unprinted(Bitmap { data: &design, width: n }, Bitmap { data: &printed, width: n })
    });
    Ok(lost.collect())
}

/// Clips that are looked at by one thread: each takes some 20 µs.
const ALONE: usize = 8;

/// The pixels of a packed image of `n` pixels a side.
fn pixels(image: &[u32], n: usize) -> Vec<bool> {
    let image = PackedImages { side: n, words: image.to_vec() };
    image.to_pixels()
}

/// Whether something of every feature prints, features being joined at pixels' sides: all of the design is then reached from its
/// printed pixels. Images are rows of some words.
fn prints_of_all(design: &[u32], printed: &[u32], words: usize) -> bool {
    let mut reached: Vec<u32> = design.iter().zip(printed).map(|(d, p)| d & p).collect();
    let rows = design.len() / words.max(1);
    loop {
        let before = reached.clone();
        (0..rows).for_each(|y| flood(&mut reached, design, y, y.wrapping_sub(1), words));
        (0..rows).rev().for_each(|y| flood(&mut reached, design, y, y + 1, words));
        if reached == before {
            return reached == design;
        }
    }
}

/// What of a row of the design is reached from the row beside it, if there is one, and along the row.
fn flood(reached: &mut [u32], design: &[u32], y: usize, beside: usize, words: usize) {
    for i in 0..words {
        let from = reached.get(beside.wrapping_mul(words).wrapping_add(i)).copied().unwrap_or(0);
        reached[y * words + i] |= from & design[y * words + i];
    }
    let (row, design) = (&mut reached[y * words..][..words], &design[y * words..][..words]);
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

/// 1 in each clip's features and within `reach` pixels of them, of `n` pixels a side: `[batch, n, n]`.
pub(super) fn openings(
    clips: &[Vec<Feature>],
    n: usize,
    reach: usize,
    device: &Device,
) -> Tensor<3> {
    let mut open = vec![false; clips.len() * n * n];
    let around = |v: usize| v.saturating_sub(reach)..(v + reach + 1).min(n);
    for (open, features) in open.chunks_exact_mut(n * n).zip(clips) {
        for &pixel in features.iter().flat_map(|feature| &feature.pixels) {
            for y in around(pixel / n) {
                let columns = around(pixel % n);
                open[y * n + columns.start..y * n + columns.end].fill(true);
            }
        }
    }
    from_bits(open, [clips.len(), n, n], device)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flood from each pixel is the second implementation; runs that end and begin at words' borders are among them.
    #[test]
    fn all_features_print_where_none_is_missing() {
        let (n, words) = (96, 3);
        let mut state = 1_u32;
        let mut random = |of: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % of
        };
        let mut found = [0, 0];
        for _ in 0..200 {
            let (bars, probes) = (1 + random(4), 1 + random(60));
            let mut design = vec![0_u32; n * words];
            for _ in 0..bars {
                let [x, y] = [random(90), random(90)].map(|v| v as usize);
                let (width, height) = (1 + random(70) as usize, 1 + random(6) as usize);
                for (y, x) in (y..(y + height).min(n))
                    .flat_map(|y| (x..(x + width).min(n)).map(move |x| (y, x)))
                {
                    design[y * words + x / 32] |= 1 << (x % 32);
                }
            }
            let mut printed = vec![0_u32; n * words];
            for _ in 0..probes {
                printed[random(n as u32) as usize * words + random(3) as usize] |= 1 << random(32);
            }
            let [target, print] = [&design, &printed].map(|image| pixels(image, n));
            let [target, print] = [&target, &print].map(|data| Bitmap { data, width: n });
            let expected = unprinted(target, print).is_empty();
            assert_eq!(prints_of_all(&design, &printed, words), expected);
            found[usize::from(expected)] += 1;
        }
        assert!(found.iter().all(|&cases| cases > 10), "{found:?}");
    }
}
