use proptest::prelude::*;

use super::*;
use crate::{Layout, ReadOptions, gds, oasis};

const LAYER: Layer = Layer { layer: 70_000, datatype: 3 };
const SMALL: Layer = Layer { layer: 4, datatype: 3 };

/// Rectangles, staircases along the axes, and polygons of any angle; whole nm.
fn polygons() -> impl Strategy<Value = Vec<Polygon>> {
    let corner = || proptest::array::uniform2(-1_000_000..1_000_000_i32);
    let point = |p: [i32; 2]| p.map(f64::from);
    let rectangle = (corner(), proptest::array::uniform2(1..5_i32)).prop_map(move |(at, size)| {
        let ([x, y], [w, h]) = (point(at), point(size));
        Polygon::rectangle(x, y, x + 10.0 * w, y + 10.0 * h)
    });
    let stairs = (corner(), proptest::collection::vec(1..50_i32, 2..9), any::<bool>()).prop_map(
        move |(at, steps, turned)| {
            let [mut x, mut y] = point(at);
            let mut points = vec![[x, y]];
            for step in &steps {
                x += f64::from(*step);
                points.push([x, y]);
                y += f64::from(*step) + 1.0;
                points.push([x, y]);
            }
            points.push([point(at)[0], y]);
            if turned {
                points.rotate_left(1);
            }
            Polygon::new(points)
        },
    );
    let any_angle = proptest::collection::vec(corner(), 3..20).prop_map(move |mut points| {
        points.sort();
        points.dedup();
        Polygon::new(points.into_iter().map(point).collect())
    });
    proptest::collection::vec(prop_oneof![rectangle, stairs, any_angle], 1..40)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(polygons in polygons(), unit in prop_oneof![Just(1.0), Just(0.25), Just(0.3)]) {
        let polygons: Vec<Polygon> = polygons.into_iter().filter(|p| p.points.len() > 2).collect();
        prop_assume!(!polygons.is_empty());
        let layout = Layout::new("mask", polygons.clone());
        for (name, layer) in [("x.gds", SMALL), ("x.oas", LAYER)] {
            let path = Path::new(name);
            let bytes = match name {
                "x.gds" => gds::encode(path, &layout, layer, unit)?,
                _ => oasis::encode(path, &layout, layer, unit)?,
            };
            let library = crate::Library::from_bytes(path, &bytes, &ReadOptions::default())?;
            prop_assert_eq!(library.layer(), Some(layer));
            prop_assert!((library.database_unit_nm() / unit - 1.0).abs() < 1e-15);
            let found = library.flatten()?.polygons;
            prop_assert_eq!(found.len(), polygons.len());
            for (found, polygon) in found.iter().zip(&polygons) {
                prop_assert_eq!(found.points.len(), polygon.points.len());
                for (a, b) in found.points.iter().zip(&polygon.points) {
                    // Half a unit, and rounding.
                    prop_assert!((0..2).all(|i| (a[i] - b[i]).abs() <= unit * 0.5 + 1e-6));
                    prop_assert!(unit == 0.3 || a == b);
                }
            }
        }
    }
}

#[test]
fn a_file_appears_when_it_is_whole_and_its_bytes_are_those_of_encode() -> Result<(), LayoutError> {
    let folder = tempfile::tempdir().expect("a folder");
    let polygons: Vec<Polygon> = (0..50_000)
        .map(|i| {
            let (x, y) = (f64::from(i % 250) * 100.0, f64::from(i / 250) * 70.0);
            Polygon::rectangle(x, y, x + 40.0 + f64::from(i % 7), y + 30.0)
        })
        .collect();
    let layout = Layout::new("mask", polygons.clone());
    for name in ["mask.gds", "deep/mask.oas"] {
        let path = folder.path().join(name);
        let mut writer = PolygonWriter::create(&path, "mask", SMALL, 1.0)?;
        for part in polygons.chunks(777) {
            writer.add(part)?;
            assert!(!path.exists());
        }
        writer.finish()?;
        let bytes = std::fs::read(&path).expect("it is there");
        let expected = match name {
            "mask.gds" => gds::encode(&path, &layout, SMALL, 1.0)?,
            _ => oasis::encode(&path, &layout, SMALL, 1.0)?,
        };
        assert!(bytes == expected);
        assert_eq!(Layout::read(&path, &ReadOptions::default())?, layout);
        let mut dropped = PolygonWriter::create(&path, "mask", SMALL, 1.0)?;
        dropped.add(&polygons[..9])?;
        drop(dropped);
        assert!(std::fs::read(&path).expect("it is there") == expected);
        let files = std::fs::read_dir(path.parent().expect("a folder")).expect("it is there");
        assert!(files.count() <= 2);
    }
    Ok(())
}

#[test]
fn what_cannot_be_written_is_named() -> Result<(), LayoutError> {
    let create = |name: &str, unit| PolygonWriter::create(Path::new(name), "a", LAYER, unit);
    let error = |name: &str, unit: f64| create(name, unit).expect_err("refused").to_string();
    assert!(error("x.glp", 1.0).contains(".gds or .oas"));
    assert!(error("x.oas", 0.0).contains("must be positive"));
    assert!(error("x.gds", 1.0).contains("65535"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.oas");
    let mut writer = PolygonWriter::create(&path, "a", LAYER, 0.001)?;
    let far = writer.add(&[Polygon::rectangle(0.0, 0.0, 1e7, 1.0)]);
    assert!(far.expect_err("too far").to_string().contains("10000000 nm does not fit"));
    Ok(())
}
