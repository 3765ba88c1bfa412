//! Where edges must be: strips of pixels as deep inside and outside of the target as the EPE probes are.
//!
//! The area error alone spreads itself thinly over all edges, or leaves a few of them far off where the
//! band gets smaller by it. An error in a strip counts as an edge out of tolerance.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use crate::LithoError;
use crate::metrics::{Bitmap, EPE_REACH_NM, EpeSite, epe_sites};

/// How far a strip reaches along the edge, on either side of the site, in nm.
const ALONG_NM: f64 = 20.0;
/// From this much before the probe's depth …
const BEFORE_NM: f64 = 2.0;
/// … to this much beyond it, in nm.
const BEYOND_NM: f64 = 4.0;

/// 1 in the strips of a batch of targets `[batch, n, n]`, 0 elsewhere.
///
/// # Errors
///
/// [`LithoError::Device`] if the targets cannot be read back.
pub(super) fn strips(target: &Tensor<3>, pixel_nm: f64) -> Result<Tensor<3>, LithoError> {
    let ([batch, n, _], device) = (target.dims(), target.device());
    let targets = super::read_back(target.clone(), "read the target")?;
    let mut strips = vec![0.0_f32; targets.len()];
    strips.par_chunks_mut(n * n).zip(targets.par_chunks(n * n)).for_each(|(strips, target)| {
        let inside: Vec<bool> = target.iter().map(|&v| v >= 0.5).collect();
        for site in epe_sites(Bitmap { data: &inside, width: n }, pixel_nm) {
            mark(strips, n, &site, pixel_nm);
        }
    });
    Ok(Tensor::from_data(TensorData::new(strips, [batch, n, n]), &device))
}

/// Marks the two strips of a site.
fn mark(strips: &mut [f32], n: usize, site: &EpeSite, pixel_nm: f64) {
    let px = |nm: f64| (nm / pixel_nm).round() as isize;
    let (along, [dx, dy]) = (px(ALONG_NM), site.inwards);
    let depths = px(EPE_REACH_NM - BEFORE_NM).max(1)..=px(EPE_REACH_NM + BEYOND_NM).max(1);
    for depth in depths.flat_map(|d| [d, -d]) {
        for side in -along..=along {
            let x = site.at[0] + depth * dx + side * dy;
            let y = site.at[1] + depth * dy + side * dx;
            if (0..n as isize).contains(&x) && (0..n as isize).contains(&y) {
                strips[y as usize * n + x as usize] = 1.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// A square of 80 nm has one site an edge: eight strips, each at the probes' depth.
    #[test]
    fn strips_lie_at_the_depth_of_the_probes() -> Result<(), LithoError> {
        let (n, pixel) = (100, 2.0);
        let inside = |v: usize| (30..70).contains(&v);
        let target: Vec<f32> =
            (0..n * n).map(|i| f32::from(u8::from(inside(i % n) && inside(i / n)))).collect();
        let data = TensorData::new(target, [1, n, n]);
        let strips = strips(&Tensor::from_data(data, &Device::flex()), pixel)?;
        let strips = super::super::read_back(strips, "read")?;
        // Along the middle row: outwards and inwards of columns 30 and 69, from 6.5 to 9.5 px.
        let row: Vec<usize> = (0..n).filter(|x| strips[49 * n + x] == 1.0).collect();
        let expected: Vec<usize> = [30_isize, 69]
            .iter()
            .flat_map(|&edge| [7, 8, 9, 10].map(|d| [edge - d, edge + d]).concat())
            .map(|x| x as usize)
            .collect();
        let mut expected: Vec<usize> = expected;
        expected.sort_unstable();
        assert_eq!(row, expected);
        Ok(())
    }
}
