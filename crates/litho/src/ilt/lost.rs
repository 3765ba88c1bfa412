//! Features that a descent has lost, and a start from which it finds them.
//!
//! A feature of which nothing prints has no gradient worth the name: near a threshold that it does not reach, the cheapest
//! place for it is dark, and a descent from the target takes small contacts there. So what does not print after the coarsest
//! level is opened wider than it is drawn, until it prints, and the level is done again for the clips that need it.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::descent::Descent;
use super::models::Tally;
use crate::LithoError;
use crate::images::{from_bits, read_bits};
use crate::metrics::{Bitmap, Feature, unprinted};

/// How much wider than drawn the openings are on each side, attempt by attempt, in nm.
pub(super) const WIDER_NM: [f64; 2] = [24.0, 48.0];

/// Openings for what is lost.
pub(super) struct Openings {
    /// 1 in the openings, `[batch, n, n]`.
    pub(super) open: Tensor<3>,
    /// Which clips have some, `[batch, 1, 1]`.
    pub(super) clips: Tensor<3>,
}

/// Openings `wider_nm` wider than the features of which the last soft mask prints nothing; none if all print.
pub(super) fn openings(
    descent: &Descent,
    wider_nm: f64,
    tally: &mut Tally,
) -> Result<Option<Openings>, LithoError> {
    let [batch, n, _] = descent.goal.design.dims();
    let design = read_bits(descent.goal.design.clone(), 0.5, "read the target")?;
    let image = descent.nominal(tally);
    let device = image.device();
    let printed = read_bits(image, descent.threshold(), "read the print")?;
    let reach = (wider_nm / descent.level.pixel_nm).round() as usize;
    let pairs = design.par_chunks(n * n).zip(printed.par_chunks(n * n));
    let opened: Vec<Vec<bool>> = pairs
        .map(|(design, printed)| {
            let [design, printed] = [design, printed].map(|data| Bitmap { data, width: n });
            widened(&unprinted(design, printed), n, reach)
        })
        .collect();
    let lost: Vec<f32> =
        opened.iter().map(|open| f32::from(u8::from(open.contains(&true)))).collect();
    if !lost.contains(&1.0) {
        return Ok(None);
    }
    let open = from_bits(opened.concat(), [batch, n, n], &device);
    let clips = Tensor::from_data(TensorData::new(lost, [batch, 1, 1]), &device);
    Ok(Some(Openings { open, clips }))
}

/// Features on `n` pixels a side, `reach` pixels wider in all directions.
fn widened(features: &[Feature], n: usize, reach: usize) -> Vec<bool> {
    let mut open = vec![false; n * n];
    let around = |v: usize| v.saturating_sub(reach)..(v + reach + 1).min(n);
    for &pixel in features.iter().flat_map(|feature| &feature.pixels) {
        for y in around(pixel / n) {
            let columns = around(pixel % n);
            open[y * n + columns.start..y * n + columns.end].fill(true);
        }
    }
    open
}
