//! Drawing against the host's rasteriser.

use lithoburn_bitmap::draw;
use lithoburn_compare::largest_difference;
use lithoburn_layout::{Coverage, Edges, Frame, Layout, Polygon};

use super::*;

/// A whole pixel of x where a slanted edge crosses a row is 2¹⁹ parts; a share of a pixel 2²⁰; f32 keeps 2²⁴ of it.
const TOLERANCE: f64 = 1e-5;

/// Pixels of 1 nm, so that corners on 1/4096 of them are exact.
fn frame(side: usize) -> Frame {
    Frame { origin_nm: [0.0; 2], pixel_nm: 1.0, width: side, height: side }
}

fn part(value: f64) -> f64 {
    (value * 4096.0).round() / 4096.0
}

/// A star of some corners around a place, gone round either way.
fn star(rng: &mut ChaCha8Rng, middle: [f64; 2], reach: f64) -> Polygon {
    let count = rng.random_range(3..9);
    let clockwise = rng.random_bool(0.5);
    let corner = |i: usize| {
        let angle = std::f64::consts::TAU * i as f64 / count as f64;
        let angle = if clockwise { -angle } else { angle };
        let radius = reach * rng.random_range(0.3..1.0);
        [part(middle[0] + radius * angle.cos()), part(middle[1] + radius * angle.sin())]
    };
    Polygon::new((0..count).map(corner).collect())
}

/// Stars, slivers and rectangles on fractions of pixels; `over` lets them cross the borders.
fn polygons(side: usize, over: bool, seed: u64) -> Vec<Polygon> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let side = side as f64;
    let margin = if over { -side / 4.0 } else { 0.0 };
    let mut polygons = Vec::new();
    for _ in 0..12 {
        let reach = rng.random_range(1.0..side / 4.0);
        let least = if over { margin } else { reach };
        let mut middle = || [(); 2].map(|()| rng.random_range(least..=side - least));
        let middle = middle();
        polygons.push(star(&mut rng, middle, reach));
        let mut place = || part(rng.random_range(margin..side - margin));
        let [x0, y0, x1, y1] = [place(), place(), place(), place()];
        polygons.push(Polygon::rectangle(x0, y0, x1, part(y0 + (y1 - y0) / 16.0)));
        // Nearly level, and nearly upright.
        polygons.push(Polygon::new(vec![[x0, y0], [x1, y0 + 0.25], [x1, y0 + 0.75]]));
        polygons.push(Polygon::new(vec![[x0, y0], [x0 + 0.25, y1], [x0 + 0.75, y1]]));
    }
    if over { polygons } else { polygons.into_iter().filter(|p| inside(p, side)).collect() }
}

fn inside(polygon: &Polygon, side: f64) -> bool {
    polygon.points.iter().flatten().all(|v| (0.0..=side).contains(v))
}

fn drawn(layouts: &[Vec<Polygon>], side: usize, device: &Device) -> Vec<f32> {
    let edges = |polygons: &Vec<Polygon>| Edges::of(polygons, &frame(side)).expect("edges").list;
    let edges: Vec<_> = layouts.iter().map(edges).collect();
    let edges: Vec<&[[i32; 4]]> = edges.iter().map(Vec::as_slice).collect();
    draw(&edges, side, device).try_into_vec_as::<f32>().expect("f32")
}

/// Each image alone, all polygons' corners within it; one image is empty and one is covered.
#[test]
fn polygons_cover_what_the_host_says() {
    let Some(device) = device() else { return };
    for side in [32, 96, 544] {
        let whole = Polygon::rectangle(0.0, 0.0, side as f64, side as f64);
        let layouts = vec![polygons(side, false, 1), vec![], polygons(side, false, 2), vec![whole]];
        let found = drawn(&layouts, side, &device);
        assert!(found == drawn(&layouts, side, &device), "{side} px: other bits in a second run");
        for (polygons, found) in layouts.into_iter().zip(found.chunks(side * side)) {
            let layout = Layout::new("polygons", polygons);
            let expected = layout.rasterize(&frame(side), Coverage::Exact).data;
            let off = largest_difference(found, &expected);
            assert!(off <= TOLERANCE, "{side} px: {off}");
        }
    }
}

/// What leaves the image is cut by the host, whose edges are then the same for both.
#[test]
fn polygons_over_the_border_cover_what_their_edges_say() {
    let Some(device) = device() else { return };
    let side = 288;
    for seed in 0..4 {
        let polygons = polygons(side, true, seed);
        let edges = Edges::of(&polygons, &frame(side)).expect("edges");
        let found = drawn(&[polygons], side, &device);
        let off = largest_difference(&found, &edges.rasterize().data);
        assert!(off <= TOLERANCE, "seed {seed}: {off}");
    }
}

/// A line of one part of a pixel in height over the whole of the largest image, and one from corner to corner.
#[test]
fn long_edges_keep_their_digits() {
    let Some(device) = device() else { return };
    let side = 2048;
    let most = side as f64;
    let steep = Polygon::new(vec![[0.0, 0.0], [most, most], [most - 1.0, most]]);
    let level = Polygon::new(vec![[0.0, 5.0], [most, 5.0 + part(0.0003)], [0.0, 6.0]]);
    let layout = Layout::new("long", vec![steep, level]);
    let found = drawn(std::slice::from_ref(&layout.polygons), side, &device);
    let expected = layout.rasterize(&frame(side), Coverage::Exact).data;
    let off = largest_difference(&found, &expected);
    assert!(off <= TOLERANCE, "{off}");
}
