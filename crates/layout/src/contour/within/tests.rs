use std::collections::BTreeSet;

use lithoburn_compare::largest_difference;

use super::*;
use crate::{Coverage, Frame, Layout, contour};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SIDE: usize = 40;
const HALO: usize = 2;

/// Blobs: noise, smoothed so often.
fn blobs(seed: u64, smooth: usize, binary: bool, pixel_nm: f64) -> Raster {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let noise = (0..SIDE * SIDE).map(|_| rng.random_range(0.0..1.0_f32)).collect();
    let mut image = Raster { width: SIDE, height: SIDE, pixel_nm, data: noise };
    for _ in 0..smooth {
        let from = image.clone();
        for y in 1..SIDE - 1 {
            for x in 1..SIDE - 1 {
                let near = [0, 1, 2].map(|dy| (y + dy - 1) * SIDE + x - 1);
                let sum: f32 = near.iter().map(|&i| from.data[i..i + 3].iter().sum::<f32>()).sum();
                image.data[y * SIDE + x] = sum / 9.0;
            }
        }
    }
    let mean = image.data.iter().sum::<f32>() / image.data.len() as f32;
    image.data.iter_mut().for_each(|v| *v += 0.5 - mean);
    if binary { image.binarized() } else { image }
}

/// The four parts of a mask: for each a mask of its own that agrees with the whole near the part only, the part
/// of it, and its origin.
fn four(mask: &Raster, cut: [usize; 2], origin: [f64; 2]) -> [(Raster, [usize; 4], [f64; 2]); 4] {
    let [x, y] = cut;
    let cores = [[0, 0, x, y], [x, 0, SIDE, y], [0, y, x, SIDE], [x, y, SIDE, SIDE]];
    cores.map(|[x0, y0, x1, y1]| {
        let (width, height) = (x1 - x0 + 2 * HALO + 3, y1 - y0 + 2 * HALO + 3);
        let at = [x0, y0].map(|v| v as isize - HALO as isize);
        let mut own = mask.crop(at, width, height);
        for i in 0..own.data.len() {
            if i % width >= width - 3 || i / width >= height - 3 {
                own.data[i] = (i % 2) as f32;
            }
        }
        let corner = [0, 1].map(|i| origin[i] + at[i] as f64 * mask.pixel_nm);
        (own, [HALO, HALO, HALO + x1 - x0, HALO + y1 - y0], corner)
    })
}

/// The polygons of the four parts.
fn parts(mask: &Raster, cut: [usize; 2], tolerance: f64, origin: [f64; 2]) -> Vec<Polygon> {
    let part = |(own, core, corner)| polygons_within(&own, core, tolerance, corner);
    four(mask, cut, origin).map(part).concat()
}

fn area(polygons: &[Polygon]) -> f64 {
    polygons.iter().map(Polygon::signed_area).sum()
}

fn drawn(polygons: &[Polygon], pixel_nm: f64, origin_nm: [f64; 2]) -> Raster {
    let frame = Frame { origin_nm, pixel_nm, width: SIDE, height: SIDE };
    Layout::new("drawn", polygons.to_vec()).rasterize(&frame, Coverage::Exact)
}

proptest! {
    /// Without tolerance, parts have the whole's area in every pixel but for the rounding of crossings.
    #[test]
    fn four_parts_are_the_whole(
        seed in any::<u64>(),
        smooth in 0..5_usize,
        binary in any::<bool>(),
        x in 1..SIDE,
        y in 1..SIDE,
    ) {
        let origin = [100.0, -40.0];
        let mask = blobs(seed, smooth, binary, 1.0);
        let whole = polygons_within(&mask, [0, 0, SIDE, SIDE], 0.0, origin);
        let parts = parts(&mask, [x, y], 0.0, origin);
        // A crossing is off by 1/2048 at most, and moves two segments of a pixel at most.
        let off = 2.0 * SIDE as f64 / 2048.0;
        prop_assert!((area(&parts) - area(&whole)).abs() < off, "{} {}", area(&parts), area(&whole));
        let (a, b) = (drawn(&parts, 1.0, origin), drawn(&whole, 1.0, origin));
        let worst = largest_difference(&a.data, &b.data);
        prop_assert!(worst < 2.0 / 1024.0, "{worst}");
        // And the whole is what is traced without parts, where no shape leaves the mask.
        let inner = mask.crop([2, 2], SIDE - 4, SIDE - 4).crop([-2, -2], SIDE, SIDE);
        let (a, b) = (polygons_within(&inner, [0, 0, SIDE, SIDE], 0.0, origin), contour::polygons(&inner, 0.0, origin));
        prop_assert!((area(&a) - area(&b)).abs() < 1e-3 * SIDE as f64 * SIDE as f64);
        prop_assert_eq!(a.len(), b.len());
    }

    /// Bits have the polygons of the raster that they are of, in their order and to the last bit.
    #[test]
    fn polygons_of_bits_are_those_of_the_raster(
        seed in any::<u64>(),
        smooth in 0..5_usize,
        cut in (0..SIDE, 0..SIDE, 0..=SIDE, 0..=SIDE),
        tolerance in prop_oneof![Just(0.0), 0.1..3.0_f64],
    ) {
        let mask = blobs(seed, smooth, true, 2.0);
        let (core, origin) = ([cut.0, cut.1, cut.2, cut.3], [100.0, -40.0]);
        let bits = bits_within(&Bits::of_raster(&mask), 2.0, core, tolerance, origin);
        prop_assert_eq!(bits, polygons_within(&mask, core, tolerance, origin));
    }

    /// With a tolerance, no part of the sum is further from the whole than that allows.
    #[test]
    fn corners_that_are_left_out_change_no_more_than_the_tolerance(
        seed in any::<u64>(),
        x in 1..SIDE,
        y in 1..SIDE,
        tolerance in 0.1..1.0_f64,
    ) {
        let mask = blobs(seed, 4, true, 1.0);
        let fine = parts(&mask, [x, y], 0.0, [0.0; 2]);
        let rough = parts(&mask, [x, y], tolerance, [0.0; 2]);
        let edges = fine.iter().flat_map(Polygon::edges);
        let length: f64 = edges.map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1])).sum();
        let (a, b) = (drawn(&fine, 1.0, [0.0; 2]), drawn(&rough, 1.0, [0.0; 2]));
        let off: f32 = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).sum();
        prop_assert!(f64::from(off) <= length * tolerance, "{off} of {length}");
    }

    /// Crossings of a common border are equal, to the last bit, whatever the pixel and the origin, and are
    /// corners of polygons.
    #[test]
    fn neighbours_meet_the_border_at_equal_points(
        seed in any::<u64>(),
        cut in proptest::array::uniform2(1..SIDE),
        pixel in prop_oneof![Just(1.0), Just(4.0), Just(0.7), Just(2.5)],
        origin in proptest::array::uniform2(-1e5..1e5_f64),
    ) {
        let mask = blobs(seed, 3, false, pixel);
        let nm = |v: f64, axis: usize| snapped(origin[axis] + v * pixel);
        // A corner of the contour that happens to lie on the border may touch it from one side only.
        let corners = rings(&mask, [0, 0, SIDE, SIDE]).concat();
        let on = |points: &[[f64; 2]], axis: usize| -> BTreeSet<u64> {
            let other = 1 - axis;
            let line = cut[axis] as f64;
            let near = |v: f64, to: f64| (v - to).abs() < 1e-4;
            let ends = [0.0, SIDE as f64, cut[other] as f64].map(|v| nm(v, other));
            let touching = corners.iter().filter(|p| p[axis] == line).map(|p| nm(p[other], other));
            let left_out: Vec<f64> = touching.chain(ends).collect();
            let here = points.iter().filter(|p| near(p[axis], nm(line, axis)));
            let inner = here.filter(|p| !left_out.iter().any(|&end| near(p[other], end)));
            inner.map(|p| p[other].to_bits()).collect()
        };
        let all = four(&mask, cut, origin).map(|(own, core, corner)| {
            let [x0, y0, x1, y1] = core;
            let part = Part { width: (x1 - x0) as f64, height: (y1 - y0) as f64 };
            let mut chains = Vec::new();
            for ring in rings(&own, core) {
                if let Some(outside) = ring.iter().position(|p| !part.inside(*p)) {
                    part.cut(&ring, outside, &mut chains);
                }
            }
            let ends = chains.iter().flat_map(|c| [c.points[0], c.points[c.points.len() - 1]]);
            let at = |v: f64, i: usize| snapped(corner[i] + (core[i] as f64 + v) * pixel);
            let ends: Vec<_> = ends.map(|p| [at(p[0], 0), at(p[1], 1)]).collect();
            let found = polygons_within(&own, core, 0.0, corner);
            let found: Vec<_> = found.into_iter().flat_map(|p| p.points).collect();
            [0, 1].map(|axis| (on(&ends, axis), on(&found, axis)))
        });
        for [a, b] in [[0, 1], [2, 3]] {
            prop_assert_eq!(&all[a][0].0, &all[b][0].0);
        }
        for [a, b] in [[0, 2], [1, 3]] {
            prop_assert_eq!(&all[a][1].0, &all[b][1].0);
        }
        for (ends, found) in all.as_flattened() {
            // What has no area is left out with its two crossings.
            prop_assert!(ends.difference(found).count() <= 6, "{ends:?} {found:?}");
        }
    }
}

/// A cross through all four parts, an edge along a border, a hole that a border cuts, and one in a corner.
#[test]
fn shapes_on_the_borders_have_their_areas() {
    type Inside = fn(usize, usize) -> bool;
    let cases: [(&str, Inside, f64); 4] = [
        ("cross", |x, y| (15..25).contains(&x) || (12..29).contains(&y), 10.0 * 40.0 + 17.0 * 30.0),
        ("edge", |x, y| (10..20).contains(&x) && (5..35).contains(&y), 300.0 - 0.5),
        (
            "hole",
            |x, y| {
                (5..35).contains(&x)
                    && (5..35).contains(&y)
                    && !((15..25).contains(&x) && (2..38).contains(&y) && y > 7 && y < 30)
            },
            0.0,
        ),
        ("all", |_, _| true, 1600.0 - 0.5),
    ];
    for (name, inside, expected) in cases {
        let mut mask = Raster::new(SIDE, SIDE, 1.0);
        for i in 0..mask.data.len() {
            mask.data[i] = f32::from(u8::from(inside(i % SIDE, i / SIDE)));
        }
        let whole = area(&polygons_within(&mask, [0, 0, SIDE, SIDE], 0.0, [0.0; 2]));
        let parts = parts(&mask, [20, 20], 0.0, [0.0; 2]);
        assert_eq!(area(&parts), whole, "{name}");
        // An outer corner loses an eighth of a pixel, and an inner one gains it.
        let binary = mask.area_nm2();
        assert!((whole - binary).abs() <= 1.0, "{name}: {whole} {binary}");
        assert!(expected == 0.0 || (whole - expected).abs() <= 0.5, "{name}: {whole}");
        // An edge along the border belongs to one side; nothing thin is left on the other.
        for polygon in parts {
            assert!(polygon.signed_area().abs() > 0.3, "{name}: {polygon:?}");
        }
    }
}
