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
use crate::images::{from_bits, read_bits};
use crate::metrics::{Bitmap, Feature, unprinted};

/// How much wider than drawn the openings are on each side, attempt by attempt, in nm.
pub(super) const WIDER_NM: [f64; 2] = [24.0, 32.0];

/// The features of each clip of which the last soft mask prints nothing.
pub(super) fn features(
    descent: &Descent,
    tally: &mut Tally,
) -> Result<Vec<Vec<Feature>>, LithoError> {
    let [_, _, n] = descent.goal.design.dims();
    let design = read_bits(descent.goal.design.clone(), 0.5, "read the target")?;
    let printed = read_bits(descent.nominal(tally), descent.threshold(), "read the print")?;
    let clips = design.par_chunks(n * n).zip(printed.par_chunks(n * n));
    let lost = clips.map(|(design, printed)| {
        let [design, printed] = [design, printed].map(|data| Bitmap { data, width: n });
        unprinted(design, printed)
    });
    Ok(lost.collect())
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
