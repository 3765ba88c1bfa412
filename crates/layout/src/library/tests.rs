use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::repetition::Places;
use super::*;
use crate::{ReadOptions, png};

const LAYER: Layer = Layer { layer: 7, datatype: 1 };

/// A library of random cells on four levels, with repetitions of every kind. Angles in steps of 90 degrees, or any.
fn random(seed: u64, any_angle: bool) -> Library {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let options = ReadOptions { cell: Some("CELL3".into()), ..Default::default() };
    let mut builder = Builder::new(Path::new("x.oas"), "OASIS", &options, 0);
    let cells: Vec<u32> =
        (0..4).map(|i| builder.number(&format!("CELL{i}")).expect("small")).collect();
    for (level, &cell) in cells.iter().enumerate() {
        builder.define(cell).expect("once");
        for _ in 0..rng.random_range(1..12) {
            let repetition = repetition(&mut rng, &mut builder);
            let [x, y] = [0, 1].map(|_| rng.random_range(-500..500));
            let [w, h] = [0, 1].map(|_| rng.random_range(1..40));
            let points = [[x, y], [x + w, y], [x, y + h]];
            if rng.random_bool(0.8) {
                builder.polygon(cell, LAYER, &points, repetition).expect("small");
            } else {
                let fine = points.map(|p| p.map(|v| f64::from(v) + 0.25));
                builder.fine(cell, LAYER, &fine, repetition).expect("small");
            }
        }
        for _ in 0..if level > 0 { 3 } else { 0 } {
            let repetition = repetition(&mut rng, &mut builder);
            let quarters = f64::from(rng.random_range(0..4)) * 90.0;
            let placement = Placement {
                at: [0, 1].map(|_| rng.random_range(-1000..1000)),
                reflected: rng.random_bool(0.5),
                magnification: if any_angle { rng.random_range(0.5..2.0) } else { 1.0 },
                degrees: if any_angle { rng.random_range(0.0..360.0) } else { quarters },
            };
            let inner = cells[rng.random_range(0..level)];
            builder.instance(cell, inner, &placement, repetition).expect("small");
        }
    }
    builder.with_unit(0.5).and_then(Builder::finish).expect("valid")
}

fn repetition(rng: &mut ChaCha8Rng, builder: &mut Builder) -> Option<u32> {
    let mut vector = || [0, 1].map(|_| rng.random_range(-60..60));
    let list = Repetition::List(Places::new((0..18).map(|_| vector()).collect()));
    let steps = [vector().map(f64::from), vector().map(f64::from)];
    let grid = Repetition::Grid { counts: [0, 1].map(|_| rng.random_range(1..5)), steps };
    match rng.random_range(0..4) {
        0 => Some(builder.repetition(list).expect("small")),
        1 => Some(builder.repetition(grid).expect("small")),
        _ => None,
    }
}

/// Against all polygons, one by one, in the same order.
#[test]
fn a_window_has_the_polygons_that_touch_it_in_their_order() -> Result<(), LayoutError> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for seed in 0..30 {
        let library = random(seed, seed % 2 == 1);
        let all = library.flatten()?.polygons;
        assert_eq!(all.len() as u64, library.count());
        let bounds = all.iter().map(Polygon::bounds).reduce(Bounds::union).expect("some");
        let extent = library.extent();
        for i in 0..2 {
            assert!((extent.min[i] - bounds.min[i]).abs() < 1e-9, "{extent:?} {bounds:?}");
            assert!((extent.max[i] - bounds.max[i]).abs() < 1e-9, "{extent:?} {bounds:?}");
        }
        for _ in 0..20 {
            let min = [0, 1].map(|i| rng.random_range(extent.min[i] - 50.0..extent.max[i]));
            let window = Bounds { min, max: min.map(|v| v + rng.random_range(0.0..400.0)) };
            let mut expected = all.clone();
            expected.retain(|p| p.bounds().touches(&window));
            let found = library.polygons_in(window)?;
            assert!(library.touches(window)? != found.is_empty());
            if seed % 2 == 1 {
                // A turned polygon may be near the window with its box only; then it may be left out.
                let inside = |p: &[f64; 2]| window.touches(&Bounds { min: *p, max: *p });
                expected.retain(|p| p.points.iter().any(inside) || found.contains(p));
            }
            assert!(found == expected, "seed {seed}: {} of {}", found.len(), expected.len());
        }
    }
    Ok(())
}

fn of(build: impl FnOnce(&mut Builder, u32) -> Result<(), String>) -> Result<Library, LayoutError> {
    let mut builder = Builder::new(Path::new("x.oas"), "OASIS", &ReadOptions::default(), 0);
    let top = builder.number("TOP").expect("small");
    builder.define(top).expect("once");
    build(&mut builder, top).expect("small");
    builder.with_unit(1.0)?.finish()
}

const HERE: Placement =
    Placement { at: [0, 0], reflected: false, magnification: 1.0, degrees: 0.0 };

/// 2⁶³ polygons in sixty cells, and a window with four of them.
#[test]
fn what_cannot_be_flat_is_counted_searched_and_refused() -> Result<(), LayoutError> {
    let library = of(|builder, top| {
        let mut outer = top;
        for level in 0..60 {
            let inner = builder.number(&format!("LEVEL{level}"))?;
            builder.define(inner)?;
            for at in [[0, 0], [100 << level.min(20), 0]] {
                builder.instance(outer, inner, &Placement { at, ..HERE }, None)?;
            }
            outer = inner;
        }
        builder.polygon(outer, LAYER, &[[0, 0], [10, 0], [0, 10]], None)
    })?;
    assert_eq!(library.count(), 1 << 60);
    assert!(matches!(library.flatten(), Err(LayoutError::TooMuch { .. })));
    let window = Bounds { min: [-10.0; 2], max: [50.0; 2] };
    assert_eq!(library.polygons_in(window)?.len(), 1);
    let everything = library.polygons_in(library.extent());
    assert!(matches!(everything, Err(LayoutError::TooMuch { .. })));
    Ok(())
}

/// Two triangles far apart, twenty million times in one place: whether one lies between takes too long to know.
#[test]
fn what_cannot_be_searched_is_an_error_soon() -> Result<(), LayoutError> {
    let library = of(|builder, top| {
        let pair = builder.number("PAIR")?;
        builder.define(pair)?;
        for corner in [0, 1000] {
            let at = |x: i32, y: i32| [corner + x, corner + y];
            builder.polygon(pair, LAYER, &[at(0, 0), at(10, 0), at(0, 10)], None)?;
        }
        let grid = Repetition::Grid { counts: [20_000_000, 1], steps: [[0.0; 2]; 2] };
        let places = builder.repetition(grid)?;
        builder.instance(top, pair, &HERE, Some(places))
    })?;
    let between = Bounds { min: [500.0; 2], max: [510.0; 2] };
    assert!(matches!(library.touches(between), Err(LayoutError::TooMuch { .. })));
    assert!(library.touches(Bounds { min: [0.0; 2], max: [5.0; 2] })?);
    let grid = crate::TileGrid::cover(library.extent(), 128.0, 0.0, 1.0)?;
    assert!(matches!(grid.occupied(&library), Err(LayoutError::TooMuch { .. })));
    Ok(())
}

#[test]
fn more_levels_than_any_layout_has_are_refused() {
    let deep = of(|builder, top| {
        let mut outer = top;
        for level in 0..100_000 {
            let inner = builder.number(&format!("LEVEL{level}"))?;
            builder.define(inner)?;
            builder.instance(outer, inner, &HERE, None)?;
            outer = inner;
        }
        builder.polygon(outer, LAYER, &[[0, 0], [10, 0], [0, 10]], None)
    });
    let error = deep.expect_err("too deep").to_string();
    assert!(error.contains("64 levels"), "{error}");
}

#[test]
fn images_and_clips_are_libraries_of_one_cell() -> Result<(), LayoutError> {
    let clip = "CELL A PRIME\n RECT N M1 10 20 30 40\n PGON N M1 0 0 9.5 0 0 9\nENDMSG\n";
    let library = Library::from_bytes(Path::new("a.glp"), clip.as_bytes(), &Default::default())?;
    assert_eq!((library.name(), library.count(), library.layer()), ("a", 2, None));
    assert_eq!(library.extent(), Bounds { min: [0.0, 0.0], max: [40.0, 60.0] });
    let mut image = crate::Raster::new(20, 10, 2.5);
    image.data[3 * 20 + 7] = 1.0;
    let options = ReadOptions { pixel_nm: 2.5, ..Default::default() };
    let library = Library::from_bytes(Path::new("b.png"), &png::encode(&image)?, &options)?;
    assert_eq!(library.extent(), Bounds { min: [0.0, 0.0], max: [50.0, 25.0] });
    assert_eq!(library.flatten()?.polygons, [Polygon::rectangle(17.5, 7.5, 20.0, 10.0)]);
    assert_eq!(library.database_unit_nm(), 2.5);
    Ok(())
}

/// Several threads look for their windows in one library.
#[test]
fn a_library_is_shared_by_threads() -> Result<(), LayoutError> {
    let library = random(3, false);
    let windows = || {
        std::thread::scope(|s| {
            let search = || library.polygons_in(library.extent());
            let threads = [s.spawn(search), s.spawn(search)];
            threads.map(|thread| thread.join().expect("no panic"))
        })
    };
    for found in windows() {
        assert_eq!(found?.len() as u64, library.count());
    }
    Ok(())
}

/// What a window of a random library shows is what the whole shows there, pixel by pixel.
#[test]
fn a_window_cut_out_is_the_whole_seen_through_it() -> Result<(), LayoutError> {
    for seed in 0..8 {
        let library = random(seed, true);
        let [x, y] = library.flatten()?.polygons[0].bounds().min;
        let window = Bounds { min: [x - 150.0, y - 150.0], max: [x + 170.0, y + 90.0] };
        let frame = crate::Frame { origin_nm: window.min, pixel_nm: 8.0, width: 40, height: 30 };
        let drawn = |layout: &Layout| layout.rasterize(&frame, crate::Coverage::Exact);
        let (whole, cut) = (library.flatten()?, library.cut(window)?);
        let same = |layout: &Layout| {
            let pairs = drawn(&whole).data.into_iter().zip(drawn(layout).data);
            pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-4)
        };
        assert!(same(&library.window(window)?), "seed {seed}");
        assert!(same(&cut.flatten()?), "seed {seed}");
        assert_eq!((cut.extent(), cut.name()), (window, library.name()));
    }
    Ok(())
}

#[test]
fn a_window_of_nothing_says_where_there_is_something() {
    let library = random(1, false);
    let far = Bounds { min: [1e6; 2], max: [2e6; 2] };
    let error = library.window(far).expect_err("far away").to_string();
    assert!(error.contains("1000000,1000000,2000000,2000000") && error.contains("from"), "{error}");
}
