//! Targets of clips, as they are kept and as they travel to a device: as the edges of their polygons.
//!
//! A batch of sixteen clips is 17 MB as floats, and 4 MB as bytes: a host that draws and sends them for several cards keeps those waiting. Their edges are some
//! KB, and a card draws them itself in two launches. Where edges run along the axes and lie on 1/1024 of a pixel, as those of generated clips do,
//! all processors draw the same, to the last bit.

use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_bitmap as bitmap;
use lithoburn_layout::{Coverage, Edges, Frame, Layout, Raster};
use rayon::prelude::*;

/// How much of each pixel of a square field a clip covers.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// As what it is drawn from.
    Edges(Edges),
    /// As it is drawn, where a sum of edges cannot say what polygons cover.
    Raster(Raster),
}

impl Target {
    /// A layout's, in a square frame.
    pub fn new(layout: &Layout, frame: &Frame) -> Self {
        match Edges::of(&layout.polygons, frame) {
            Some(edges) => Self::Edges(edges),
            None => Self::Raster(layout.rasterize(frame, Coverage::Exact)),
        }
    }

    /// Pixels on a side.
    pub fn side(&self) -> usize {
        match self {
            Self::Edges(edges) => edges.side,
            Self::Raster(raster) => raster.width,
        }
    }

    /// The share of each pixel that is covered, row by row.
    pub fn shares(&self) -> Vec<f32> {
        match self {
            Self::Edges(edges) => edges.rasterize().data,
            Self::Raster(raster) => raster.data.clone(),
        }
    }

    fn edges(&self) -> Option<&[[i32; 4]]> {
        match self {
            Self::Edges(edges) => Some(&edges.list),
            Self::Raster(_) => None,
        }
    }
}

/// Targets of `side` pixels a side on a device, `[targets, side, side]`.
///
/// # Panics
///
/// If there are none, or one has another side.
pub(crate) fn on_device(targets: &[Target], side: usize, device: &Device) -> Tensor<3> {
    let other = targets.iter().map(Target::side).find(|&own| own != side);
    assert!(other.is_none(), "expected a target of {side} px, got one of {other:?} px");
    let draws = bitmap::is_on(device) && bitmap::has_side(side);
    if draws && let Some(edges) = targets.iter().map(Target::edges).collect::<Option<Vec<_>>>() {
        return bitmap::draw(&edges, side, device);
    }
    let shares: Vec<Vec<f32>> = targets.par_iter().map(Target::shares).collect();
    let data = TensorData::new(shares.concat(), [targets.len(), side, side]);
    Tensor::from_data(data, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lithoburn_layout::Polygon;
    use lithoburn_layout::generate::ClipRules;

    fn framed(layout: &Layout, pixel_nm: f64) -> Frame {
        Frame::centred(layout, 2048.0, pixel_nm).expect("a clip within the field")
    }

    /// Polygons themselves, drawn one by one, are the check: windows, full fields, pixels that edges share, odd grids.
    #[test]
    fn edges_cover_what_polygons_cover_to_the_last_bit() {
        let default = ClipRules::default;
        let full = ClipRules { window_nm: [2048; 2], attempts: 500, ..default() };
        let odd = ClipRules { grid_nm: 3, least_width_nm: 55, ..full.clone() };
        let narrow = ClipRules { window_nm: [160, 170], attempts: 1, ..default() };
        let mut kinds = std::collections::BTreeSet::new();
        for rules in [default(), full, odd, narrow] {
            for (seed, pixel_nm) in (0..24).flat_map(|seed| [(seed, 4.0), (seed, 16.0)]) {
                let clip = rules.clip(seed);
                let frame = framed(&clip, pixel_nm);
                let target = Target::new(&clip, &frame);
                assert!(matches!(target, Target::Edges(_)), "seed {seed}, {rules:?}");
                let expected = clip.rasterize(&frame, Coverage::Exact).data;
                assert!(target.shares() == expected, "seed {seed}, {pixel_nm} nm, {rules:?}");
                kinds.extend(expected.iter().map(|v| v.to_bits()));
            }
        }
        assert!(kinds.len() > 16, "pixels are covered in part: {}", kinds.len());
    }

    #[test]
    fn what_no_sum_of_edges_says_is_drawn_by_the_host() {
        let bow = Polygon::new(vec![[0.0, 0.0], [400.0, 400.0], [400.0, 0.0], [0.0, 400.0]]);
        let bow = Layout::new("bow", vec![bow]);
        let frame = framed(&bow, 4.0);
        let target = Target::new(&bow, &frame);
        assert!(matches!(target, Target::Raster(_)));
        let bar = Layout::new("bar", vec![Polygon::rectangle(0.0, 0.0, 82.0, 403.0)]);
        let both = [target, Target::new(&bar, &framed(&bar, 4.0))];
        let drawn = on_device(&both, 512, &Device::flex());
        assert_eq!(drawn.dims(), [2, 512, 512]);
        let expected = [&bow, &bar].map(|layout| {
            let frame = framed(layout, 4.0);
            layout.rasterize(&frame, Coverage::Exact).data
        });
        assert!(drawn.try_into_vec_as::<f32>().expect("f32") == expected.concat());
    }

    #[test]
    #[should_panic(expected = "expected a target of 512 px")]
    fn a_target_of_another_field_is_refused() {
        let bar = Layout::new("bar", vec![Polygon::rectangle(0.0, 0.0, 80.0, 400.0)]);
        on_device(&[Target::new(&bar, &framed(&bar, 8.0))], 512, &Device::flex());
    }
}
