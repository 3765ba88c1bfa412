//! GDSII and OASIS files made by KLayout, by gdstk and byte by byte, against what KLayout and gdstk see in them.
//! `tests/data/make_layouts.py` says how the files and what is expected of them were made.

use std::path::{Path, PathBuf};

use lithoburn_layout::{Bounds, Layer, Library, Polygon, PolygonWriter, ReadOptions};
use serde::Deserialize;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/layouts");

#[derive(Deserialize)]
struct Expected {
    file: String,
    layer: String,
    cell: String,
    unit_nm: f64,
    polygons: Option<u64>,
    area: Option<f64>,
    bounds: [f64; 4],
    hash: Option<String>,
    grid: (i64, i64, i64, i64, String),
}

impl Expected {
    fn read(&self, path: &Path) -> Library {
        let layer: Layer = self.layer.parse().expect("a layer");
        let options =
            ReadOptions { layer: Some(layer), cell: Some(self.cell.clone()), pixel_nm: 1.0 };
        Library::read(path, &options).unwrap_or_else(|e| panic!("{e}"))
    }
}

fn expected() -> Vec<Expected> {
    let text =
        std::fs::read_to_string(Path::new(FILES).join("expected.json")).expect("it is there");
    let all: Vec<Expected> = serde_json::from_str(&text).expect("as the script writes it");
    assert!(all.len() > 15);
    all
}

/// Polygons in database units.
fn in_units(polygons: &[Polygon], unit_nm: f64) -> Vec<Vec<[f64; 2]>> {
    let point = |p: &[f64; 2]| p.map(|v| v / unit_nm);
    polygons.iter().map(|p| p.points.iter().map(point).collect()).collect()
}

/// Whole numbers, no corner on a straight line, counter-clockwise, the least one first.
fn canonical(points: &[[f64; 2]]) -> Vec<[i64; 2]> {
    let mut points: Vec<[i64; 2]> = points.iter().map(|p| p.map(|v| v.round() as i64)).collect();
    loop {
        let n = points.len();
        let bends = |i: usize| {
            let ([ax, ay], [x, y], [bx, by]) =
                (points[(i + n - 1) % n], points[i], points[(i + 1) % n]);
            (x - ax) * (by - y) != (y - ay) * (bx - x)
        };
        let kept: Vec<[i64; 2]> = (0..n).filter(|&i| bends(i)).map(|i| points[i]).collect();
        if kept.len() == n {
            break;
        }
        points = kept;
    }
    let next = points.iter().cycle().skip(1);
    let area: i64 = points.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
    if area < 0 {
        points.reverse();
    }
    let start = (0..points.len()).min_by_key(|&i| points[i]).unwrap_or(0);
    points.rotate_left(start);
    points
}

/// FNV-1a, 64 bits, of all coordinates as text.
fn fingerprint(polygons: &[Vec<[f64; 2]>]) -> String {
    let mut all: Vec<Vec<[i64; 2]>> = polygons.iter().map(|p| canonical(p)).collect();
    all.sort();
    let line = |p: &Vec<[i64; 2]>| {
        let corners: Vec<String> = p.iter().map(|[x, y]| format!("{x},{y}")).collect();
        corners.join(" ") + "\n"
    };
    let text: String = all.iter().map(line).collect();
    let mixed = |value: u64, byte: u8| (value ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    format!("{:016x}", text.bytes().fold(0xCBF2_9CE4_8422_2325, mixed))
}

fn inside(polygon: &[[f64; 2]], [x, y]: [f64; 2]) -> bool {
    let next = polygon.iter().cycle().skip(1);
    let crossed = polygon.iter().zip(next).filter(|(a, b)| {
        (a[1] > y) != (b[1] > y) && x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
    });
    crossed.count() % 2 == 1
}

fn area(polygon: &[[f64; 2]]) -> f64 {
    Polygon::new(polygon.to_vec()).signed_area().abs()
}

/// Compares polygons, in database units.
fn compare(expected: &Expected, polygons: &[Vec<[f64; 2]>], what: &str) {
    if let Some(count) = expected.polygons {
        assert_eq!(polygons.len() as u64, count, "{what}");
    }
    if let Some(sum) = expected.area {
        let found = polygons.iter().map(|p| area(p)).sum::<f64>();
        assert!((found - sum).abs() < 0.6 * polygons.len() as f64, "{what}: {found} {sum}");
    }
    if let Some(hash) = &expected.hash {
        assert_eq!(&fingerprint(polygons), hash, "{what}");
    }
    let (x, y, dx, dy, points) = &expected.grid;
    let side = points.len().isqrt();
    for (i, expected) in points.bytes().enumerate().filter(|(_, b)| *b != b'?') {
        let at = |from: &i64, step: &i64, i: usize| (from + step * i as i64) as f64 + 0.5;
        let point = [at(x, dx, i % side), at(y, dy, i / side)];
        let found = polygons.iter().any(|p| inside(p, point));
        assert_eq!(found, expected == b'1', "{what}: {point:?}");
    }
}

#[test]
fn files_of_others_have_the_polygons_that_others_see_in_them() {
    for expected in expected() {
        let library = expected.read(&Path::new(FILES).join(&expected.file));
        assert!((library.database_unit_nm() / expected.unit_nm - 1.0).abs() < 1e-12);
        let polygons = library.flatten().expect("small").polygons;
        assert_eq!(polygons.len() as u64, library.count());
        compare(&expected, &in_units(&polygons, library.database_unit_nm()), &expected.file);
        let extent = library.extent();
        let found = [extent.min, extent.max].concat();
        for (found, bound) in found.iter().zip(expected.bounds) {
            // Turned corners are rounded to database units by others.
            let found = found / library.database_unit_nm();
            assert!((found - bound).abs() < 1.0, "{}: {found} {bound}", expected.file);
        }
    }
}

/// Written in both formats and read back, by the same standard.
#[test]
fn what_is_read_and_written_again_stays_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    for expected in expected() {
        let library = expected.read(&Path::new(FILES).join(&expected.file));
        for name in ["copy.gds", "copy.oas"] {
            let path: PathBuf = folder.path().join(name);
            let layer = expected.layer.parse().expect("a layer");
            let unit = library.database_unit_nm();
            let mut writer =
                PolygonWriter::create(&path, &expected.cell, layer, unit).expect("writable");
            writer.add(&library.flatten().expect("small").polygons).expect("writable");
            writer.finish().expect("writable");
            let copy = expected.read(&path).flatten().expect("small").polygons;
            compare(&expected, &in_units(&copy, unit), &format!("{} as {name}", expected.file));
        }
    }
}

#[test]
fn windows_together_have_all_polygons() {
    for expected in expected() {
        let library = expected.read(&Path::new(FILES).join(&expected.file));
        let all = library.flatten().expect("small").polygons;
        let extent = library.extent();
        let mut found = vec![false; all.len()];
        for i in 0..64 {
            let step = [extent.width() / 8.0, extent.height() / 8.0];
            let at = |axis: usize, k: usize| extent.min[axis] + step[axis] * k as f64;
            let min = [at(0, i % 8), at(1, i / 8)];
            let window = Bounds { min, max: [min[0] + step[0], min[1] + step[1]] };
            let near = library.polygons_in(window).expect("small");
            let mut rest = near.iter().peekable();
            for (polygon, found) in all.iter().zip(&mut found) {
                if rest.next_if(|next| *next == polygon).is_some() {
                    *found = true;
                }
            }
            assert!(rest.peek().is_none(), "{}: in the file's order", expected.file);
        }
        assert!(found.iter().all(|f| *f), "{}", expected.file);
    }
}
