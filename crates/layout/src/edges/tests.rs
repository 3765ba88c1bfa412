use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{Coverage, Layout};

/// A window of 96 px of 2 nm that begins at `origin_nm`.
fn window(origin_nm: [f64; 2]) -> Frame {
    Frame { origin_nm, pixel_nm: 2.0, width: 96, height: 96 }
}

/// The largest difference to the raster that is drawn from the polygons.
fn off(polygons: &[Polygon], frame: &Frame) -> Option<f32> {
    let drawn = Edges::of(polygons, frame)?.rasterize();
    let exact = Layout::new("window", polygons.to_vec()).rasterize(frame, Coverage::Exact);
    assert_eq!((drawn.width, drawn.height, drawn.pixel_nm), (96, 96, 2.0));
    Some(drawn.data.iter().zip(&exact.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
}

/// A number of eighths of a nm, which 1/4096 of 2 nm divides.
fn eighths(rng: &mut ChaCha8Rng, range: std::ops::Range<f64>) -> f64 {
    (rng.random_range(range) * 8.0).round() / 8.0
}

/// A rectangle, a comb of up to five teeth or a star, in either sense, in or across a window of 192 nm.
fn shape(rng: &mut ChaCha8Rng, slanted: bool) -> Polygon {
    let mut corner = || eighths(rng, -60.0..230.0);
    let [x, y, x1, y1] = [corner(), corner(), corner(), corner()];
    let mut polygon = match rng.random_range(0..3) {
        0 => Polygon::rectangle(x, y, x1, y1),
        1 if slanted => {
            let corners = rng.random_range(3..12_u32);
            let point = |i: u32| {
                let angle = f64::from(i) / f64::from(corners) * std::f64::consts::TAU;
                let radius = rng.random_range(5.0..40.0);
                [angle.cos(), angle.sin()].map(|v| ((96.0 + v * radius) * 8.0).round() / 8.0)
            };
            Polygon::new((0..corners).map(point).collect())
        }
        _ => {
            let teeth = rng.random_range(1..6);
            let mut points = vec![[x, y - 5.0]];
            for tooth in 0..teeth {
                let (left, top) = (x + f64::from(tooth) * 9.0, y + eighths(rng, 1.0..80.0));
                points.extend([
                    [left, top],
                    [left + 4.125, top],
                    [left + 4.125, y],
                    [left + 9.0, y],
                ]);
            }
            points.push([x + f64::from(teeth) * 9.0, y - 5.0]);
            Polygon::new(points)
        }
    };
    if rng.random_bool(0.5) {
        polygon.points.reverse();
    }
    polygon
}

proptest! {
    /// Polygons that overlap, abut, reach over the border and run in either sense.
    #[test]
    fn edges_draw_what_the_polygons_do(seed in any::<u64>(), count in 0..12, slanted in any::<bool>()) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let polygons: Vec<Polygon> = (0..count).map(|_| shape(&mut rng, slanted)).collect();
        let off = off(&polygons, &window([0.0; 2])).expect("they do not cross themselves");
        prop_assert!(off < 1e-6, "{off}");
    }

    /// Where slanted edges meet the border they are rounded, by half of 1/4096 px.
    #[test]
    fn slanted_edges_across_the_border_are_drawn_to_a_part_of_a_pixel(
        corners in proptest::collection::vec((-150.0..350.0_f64, -150.0..350.0_f64), 3),
    ) {
        let triangle = Polygon::new(corners.iter().map(|&(x, y)| [x, y]).collect());
        let off = off(&[triangle], &window([0.0; 2])).expect("triangles do not cross themselves");
        prop_assert!(off < 2.0 / 4096.0, "{off}");
    }

    /// Of any corners at all: either there are no edges, or they draw the polygon, slivers of 1/2048 px apart.
    #[test]
    fn edges_of_polygons_that_cross_themselves_are_none_or_right(
        corners in proptest::collection::vec((-6..30_i32, -6..30_i32), 3..9),
    ) {
        let points = corners.iter().map(|&(x, y)| [x, y].map(|v| f64::from(v) * 8.0)).collect();
        if let Some(off) = off(&[Polygon::new(points)], &window([0.0; 2])) {
            prop_assert!(off < 3.0 / 4096.0, "{off}");
        }
    }

    #[test]
    fn copies_that_are_whole_pixels_apart_have_equal_keys_and_others_have_not(
        seed in any::<u64>(),
        by in (-4000..4000_i32, -4000..4000_i32),
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let polygons: Vec<Polygon> = (0..6).map(|_| shape(&mut rng, true)).collect();
        let key = |by: [f64; 2], origin: [f64; 2]| {
            let moved: Vec<Polygon> = polygons.iter().map(|p| p.shifted(by)).collect();
            Edges::of(&moved, &window(origin)).map(|edges| edges.key())
        };
        let here = Edges::of(&polygons, &window([0.0; 2])).expect("they do not cross themselves");
        let by = [by.0, by.1].map(|v| f64::from(v) * 2.0);
        prop_assert_eq!(key(by, by), Some(here.key()));
        let moved = key([0.125, 0.0], [0.0; 2]);
        prop_assert_eq!(moved == Some(here.key()), here.list.iter().all(|e| e[0] == 0 && e[2] == 0));
    }
}

/// A simple polygon, one with a hole that is joined by a cut, and one that touches itself are covered once.
#[test]
fn what_touches_itself_has_edges_and_what_crosses_itself_has_none() {
    let of = |points: &[[f64; 2]]| {
        let polygon = Polygon::new(points.iter().map(|p| p.map(|v| v * 10.0)).collect());
        off(&[polygon], &window([0.0; 2])).map(|off| off < 1e-6)
    };
    let ring = [
        [1.0, 1.0],
        [8.0, 1.0],
        [8.0, 8.0],
        [1.0, 8.0],
        [1.0, 4.0],
        [3.0, 4.0],
        [3.0, 6.0],
        [6.0, 6.0],
        [6.0, 3.0],
        [3.0, 3.0],
        [3.0, 4.0],
        [1.0, 4.0],
    ];
    assert_eq!(of(&ring), Some(true));
    let corner_to_corner = [
        [1.0, 1.0],
        [4.0, 1.0],
        [4.0, 4.0],
        [7.0, 4.0],
        [7.0, 7.0],
        [4.0, 7.0],
        [4.0, 4.0],
        [1.0, 4.0],
    ];
    assert_eq!(of(&corner_to_corner), Some(true));
    let bow_tie = [[1.0, 1.0], [7.0, 7.0], [7.0, 1.0], [1.0, 7.0]];
    assert_eq!(of(&bow_tie), None);
    let eight = [[1.0, 1.0], [4.0, 1.0], [4.0, 7.0], [7.0, 7.0], [7.0, 4.0], [1.0, 4.0]];
    assert_eq!(of(&eight), None);
    let twice = [[1.0, 1.0], [7.0, 1.0], [7.0, 7.0], [1.0, 7.0]].repeat(2);
    assert_eq!(of(&twice), None);
    let star: Vec<[f64; 2]> = (0..5)
        .map(|i| f64::from(2 * i) / 5.0 * std::f64::consts::TAU)
        .map(|angle| [5.0 + 4.0 * angle.sin(), 5.0 + 4.0 * angle.cos()])
        .collect();
    assert_eq!(of(&star), None);
}

/// Only what shows in the window decides: what lies left of it does so by where it ends in y.
#[test]
fn a_window_does_not_depend_on_what_it_does_not_show() {
    let key = |polygons: &[Polygon]| Edges::of(polygons, &window([0.0; 2])).expect("simple").key();
    let bar = |x0: f64, x1: f64| Polygon::rectangle(x0, 20.0, x1, 60.0);
    let wire = key(&[bar(-10.0, 50.0)]);
    assert_eq!(wire, key(&[bar(-3000.0, 50.0), bar(-90.0, -40.0), bar(192.0, 300.0)]));
    // The same wire, with a bend further left.
    let bent =
        [[-10.0, 20.0], [50.0, 20.0], [50.0, 60.0], [-40.0, 60.0], [-40.0, 30.0], [-10.0, 30.0]];
    assert_eq!(wire, key(&[Polygon::new(bent.to_vec())]));
    assert_ne!(wire, key(&[bar(-10.0, 50.125)]));
    assert_eq!(key(&[bar(100.0, 200.0)]), key(&[bar(100.0, 900.0)]));
    assert_ne!(key(&[]), key(&[bar(1.0, 2.0)]));
}

#[test]
fn a_comb_of_thousands_of_slanted_teeth_has_edges_in_the_window_alone() {
    let tooth = |i: i32| {
        let x = f64::from(i) - 10_000.0;
        [[x, 50.0], [x + 0.5, 100.0 + 7.0 * (x * 0.37).sin()]]
    };
    let ends = [[10_000.0, 20.0], [-10_000.0, 20.0]];
    let comb = Polygon::new((0..20_000).flat_map(tooth).chain(ends).collect());
    let edges = Edges::of(std::slice::from_ref(&comb), &window([0.0; 2])).expect("it is simple");
    assert!((384..=388).contains(&edges.list.len()), "{}", edges.list.len());
    let off = off(&[comb], &window([0.0; 2])).expect("it is simple");
    assert!(off < 3.0 / 4096.0, "{off}"); // an edge of a tooth goes 50 nm up in 0.5 nm
}

#[test]
fn what_has_no_place_in_a_window_has_no_edges() {
    let bar = |x: f64| [Polygon::rectangle(x, 0.0, x + 10.0, 50.0)];
    for x in [f64::NAN, f64::INFINITY, 1e15] {
        assert_eq!(Edges::of(&bar(x), &window([0.0; 2])), None, "{x}");
    }
    let oblong = Frame { width: 95, ..window([0.0; 2]) };
    assert_eq!(Edges::of(&bar(0.0), &oblong), None);
    let far = window([1e7, -1e7]);
    assert_eq!(Edges::of(&bar(1e7 + 4.0), &far).map(|edges| edges.list.len()), Some(0));
}

proptest! {
    /// The raster, whose rows are all drawn, is the second implementation: shapes upright and slanted, on and off the grid.
    #[test]
    fn pixels_half_covered_are_those_of_the_raster(seed in any::<u64>(), slanted in any::<bool>()) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let polygons: Vec<Polygon> =
            (0..rng.random_range(0..9)).map(|_| shape(&mut rng, slanted)).collect();
        let frame = window([0.0, eighths(&mut rng, -9.0..9.0)]);
        // Of shapes that cross themselves there are no edges.
        if let Some(edges) = Edges::of(&polygons, &frame) {
            prop_assert_eq!(edges.bits(), Bits::of_raster(&edges.rasterize()));
        }
    }
}
