use super::*;

#[test]
fn averaging_takes_means_of_blocks() {
    let data = (0..16).map(|i| i as f32).collect();
    let small = Raster { width: 4, height: 4, pixel_nm: 1.0, data }.averaged(2);
    assert_eq!((small.width, small.height, small.pixel_nm), (2, 2, 2.0));
    assert_eq!(small.data, [2.5, 4.5, 10.5, 12.5]);
}
use proptest::prelude::*;

fn frame(size: usize, pixel_nm: f64) -> Frame {
    Frame { origin_nm: [0.0, 0.0], pixel_nm, width: size, height: size }
}

#[test]
fn a_pixel_cut_by_a_diagonal_is_half_covered() {
    let triangle = Polygon::new(vec![[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]);
    let raster = rasterize(&[triangle], &frame(4, 1.0), Coverage::Exact);
    assert_eq!(&raster.data[..4], &[1.0, 1.0, 1.0, 0.5]);
    assert_eq!(raster.data[15], 0.0);
}

#[test]
fn the_inclusive_rule_covers_both_end_pixels() {
    let bar = Polygon::rectangle(3.0, 4.0, 10.0, 20.0);
    let raster = rasterize(&[bar], &frame(32, 1.0), Coverage::Inclusive);
    assert_eq!(raster.area_nm2(), 8.0 * 17.0);
}

#[test]
fn a_polygon_across_bands_and_borders_keeps_its_area_inside() {
    let bar = Polygon::rectangle(-50.0, 10.25, 30.5, 190.75);
    let raster = rasterize(&[bar], &frame(100, 2.0), Coverage::Exact);
    assert!((raster.area_nm2() - 30.5 * 180.5).abs() < 1e-3, "{}", raster.area_nm2());
}

proptest! {
    /// The shoelace formula is a second way to the area.
    #[test]
    fn covered_area_is_the_polygons_area(
        corners in proptest::collection::vec((10.0..150.0_f64, 10.0..150.0_f64), 3),
        pixel in prop_oneof![Just(1.0), Just(2.5), Just(4.0)],
    ) {
        let triangle = Polygon::new(corners.iter().map(|&(x, y)| [x, y]).collect());
        let size = (160.0 / pixel) as usize;
        let raster = rasterize(std::slice::from_ref(&triangle), &frame(size, pixel), Coverage::Exact);
        let expected = triangle.signed_area().abs();
        // f32 pixels: 1e-7 of at most 160 x 160 nm.
        prop_assert!((raster.area_nm2() - expected).abs() < 1e-2, "{} vs {expected}", raster.area_nm2());
    }
}
