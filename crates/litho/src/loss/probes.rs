//! Where edges must be: strips of pixels as deep inside and outside of the target as the EPE probes are.
//!
//! The area error alone spreads itself thinly over all edges, or leaves a few of them far off where the
//! band gets smaller by it. An error in a strip counts as an edge out of tolerance.

use burn::tensor::{Device, Tensor};
use lithoburn_bitmap::Marks;

use crate::LithoError;
use crate::binary::{BinaryImages, PackedImages};
use crate::metrics::{EPE_REACH_NM, EPE_SHORT_NM, EPE_STEP_NM, EpeSite, epe_sites};

/// How far a strip reaches along the edge, on either side of the site, in nm.
const ALONG_NM: f64 = 20.0;
/// From this much before the probe's depth …
const BEFORE_NM: f64 = 2.0;
/// … to this much beyond it, in nm.
const BEYOND_NM: f64 = 4.0;

/// Where the strips of a batch of targets lie, 0 or 1: `[batch, n, n]`.
pub(crate) fn strips(
    targets: &BinaryImages,
    marks: Marks,
    pixel_nm: f64,
    device: &Device,
) -> Result<Tensor<3>, LithoError> {
    let n = targets.side();
    if let Some(bits) = targets.bits() {
        return Ok(bits.strips(marks).to_tensor());
    }
    let strips = targets.mapped(|target| on_target(target, n, marks, pixel_nm))?;
    Ok(strips.to_tensor(device))
}

/// The strips of one target of `n` pixels a side, row by row.
fn on_target(target: &[bool], n: usize, marks: Marks, pixel_nm: f64) -> Vec<bool> {
    let mut strips = vec![false; target.len()];
    for site in epe_sites(PackedImages::of_pixels(target, n).bitmap(0), pixel_nm) {
        mark(&mut strips, n, &site, marks);
    }
    strips
}

/// The strips at the depth of the EPE probes.
pub(crate) fn at_probes(pixel_nm: f64) -> Marks {
    let depths = [EPE_REACH_NM - BEFORE_NM, EPE_REACH_NM + BEYOND_NM];
    marks(depths.map(|nm| ((nm / pixel_nm).round() as usize).max(1)), pixel_nm)
}

/// The strips along the edge itself, up to a depth on either side.
pub(crate) fn near_edges(depth_nm: f64, pixel_nm: f64) -> Marks {
    marks([0, (depth_nm / pixel_nm).round() as usize], pixel_nm)
}

fn marks(depths: [usize; 2], pixel_nm: f64) -> Marks {
    let px = |nm: f64| (nm / pixel_nm).round() as usize;
    Marks {
        along: px(ALONG_NM),
        depths,
        step: px(EPE_STEP_NM).max(1),
        short: px(EPE_SHORT_NM).max(1),
    }
}

/// Marks the two strips of a site.
fn mark(strips: &mut [bool], n: usize, site: &EpeSite, marks: Marks) {
    let (along, [dx, dy]) = (marks.along as isize, site.inwards);
    let [from, to] = marks.depths.map(|depth| depth as isize);
    for depth in (from..=to).flat_map(|d| [d, -d]) {
        for side in -along..=along {
            let x = site.at[0] + depth * dx + side * dy;
            let y = site.at[1] + depth * dy + side * dx;
            if (0..n as isize).contains(&x) && (0..n as isize).contains(&y) {
                strips[y as usize * n + x as usize] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square of 80 nm has one site an edge: eight strips, each at the probes' depth.
    #[test]
    fn strips_lie_at_the_depth_of_the_probes() {
        let (n, pixel) = (100, 2.0);
        let inside = |v: usize| (30..70).contains(&v);
        let target: Vec<bool> = (0..n * n).map(|i| inside(i % n) && inside(i / n)).collect();
        let strips = on_target(&target, n, at_probes(pixel), pixel);
        // Along the middle row: outwards and inwards of columns 30 and 69, from 6.5 to 9.5 px.
        let row: Vec<usize> = (0..n).filter(|x| strips[49 * n + x]).collect();
        let expected: Vec<usize> = [30_isize, 69]
            .iter()
            .flat_map(|&edge| [7, 8, 9, 10].map(|d| [edge - d, edge + d]).concat())
            .map(|x| x as usize)
            .collect();
        let mut expected: Vec<usize> = expected;
        expected.sort_unstable();
        assert_eq!(row, expected);
    }

    /// Rows of the same square: from its edges' pixels, columns 30 and 69, two to either side.
    #[test]
    fn strips_near_edges_lie_on_both_sides_of_them() {
        let (n, pixel) = (100, 2.0);
        let inside = |v: usize| (30..70).contains(&v);
        let target: Vec<bool> = (0..n * n).map(|i| inside(i % n) && inside(i / n)).collect();
        let strips = on_target(&target, n, near_edges(4.0, pixel), pixel);
        let row: Vec<usize> = (0..n).filter(|x| strips[49 * n + x]).collect();
        assert_eq!(row, [28, 29, 30, 31, 32, 67, 68, 69, 70, 71]);
    }
}
