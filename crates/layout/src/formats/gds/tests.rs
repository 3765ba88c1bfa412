//! Against files written record by record here, after the format's description (Calma, GDSII Stream Format Manual, release 6.0).

use super::*;
use crate::{Library, Polygon, ReadOptions};

const PATH: &str = "test.gds";
const LAYER: Layer = Layer { layer: 11, datatype: 10 };

/// A record: its length, its kind and type of data, the data.
fn record(kind: [u8; 2], data: &[u8]) -> Vec<u8> {
    let length = (4 + data.len() + data.len() % 2) as u16;
    let padding = vec![0; data.len() % 2];
    [&length.to_be_bytes()[..], &kind, data, &padding].concat()
}

/// A real of eight bytes: sign, exponent of 16 plus 64, and 56 bits of a fraction.
fn real(value: f64) -> [u8; 8] {
    let (mut fraction, mut exponent) = (value.abs(), 64);
    while fraction >= 1.0 {
        (fraction, exponent) = (fraction / 16.0, exponent + 1);
    }
    while fraction > 0.0 && fraction < 1.0 / 16.0 {
        (fraction, exponent) = (fraction * 16.0, exponent - 1);
    }
    let mut bytes = ((fraction * 2f64.powi(56)) as u64).to_be_bytes();
    bytes[0] = exponent | if value < 0.0 { 128 } else { 0 };
    bytes
}

fn small(kind: u8, values: &[i16]) -> Vec<u8> {
    record([kind, 2], &values.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<u8>>())
}

fn places(points: &[(i32, i32)]) -> Vec<u8> {
    let bytes = points.iter().flat_map(|(x, y)| [x.to_be_bytes(), y.to_be_bytes()]);
    record([0x10, 3], &bytes.flatten().collect::<Vec<u8>>())
}

/// Reals: of STRANS's magnification and angle.
fn measured(kind: u8, value: f64) -> Vec<u8> {
    record([kind, 5], &real(value))
}

fn element(kind: u8, records: &[Vec<u8>]) -> Vec<u8> {
    [record([kind, 0], &[]), records.concat(), record([0x11, 0], &[])].concat()
}

fn boundary(layer: i16, points: &[(i32, i32)]) -> Vec<u8> {
    element(0x08, &[small(0x0D, &[layer]), small(0x0E, &[0]), places(points)])
}

fn name(kind: u8, text: &str) -> Vec<u8> {
    record([kind, 6], text.as_bytes())
}

/// A library of cells; its unit is 0.1 nm.
fn library(cells: Vec<Vec<u8>>) -> Vec<u8> {
    let units = record([0x03, 5], &[real(1e-4), real(1e-10)].concat());
    let begin = [small(0x00, &[3]), small(0x01, &[0; 12]), name(0x02, "test"), units];
    [begin.concat(), cells.concat(), record([0x04, 0], &[])].concat()
}

fn cell(text: &str, elements: &[Vec<u8>]) -> Vec<u8> {
    let begin = [small(0x05, &[0; 12]), name(0x06, text)].concat();
    [begin, elements.concat(), record([0x07, 0], &[])].concat()
}

fn bar_elements() -> Vec<u8> {
    boundary(11, &[(0, 0), (1000, 0), (1000, 400), (0, 400), (0, 0)])
}

fn bar() -> Vec<u8> {
    cell("BAR", &[bar_elements()])
}

fn read(bytes: &[u8]) -> Result<Layout, LayoutError> {
    Library::from_bytes(Path::new(PATH), bytes, &ReadOptions::default())?.flatten()
}

#[test]
fn rotation_reflection_magnification_and_database_unit_are_resolved() -> Result<(), LayoutError> {
    let reflected = record([0x1A, 1], &[0x80, 0]);
    let turned = [reflected, measured(0x1B, 2.0), measured(0x1C, 90.0)].concat();
    let reference = element(0x0A, &[name(0x12, "BAR"), turned, places(&[(5000, 0)])]);
    let layout = read(&library(vec![bar(), cell("TOP", &[reference])]))?;
    // 100 x 40 nm, doubled, reflected about x, turned by 90 degrees, moved by 500 nm.
    let b = layout.polygons[0].bounds();
    assert_eq!((b.min, b.max), ([500.0, 0.0], [580.0, 200.0]));
    Ok(())
}

#[test]
fn an_array_is_repeated() -> Result<(), LayoutError> {
    let corners = places(&[(0, 0), (6000, 0), (0, 2000)]);
    let array = element(0x0B, &[name(0x12, "BAR"), small(0x13, &[3, 2]), corners]);
    let layout = read(&library(vec![bar(), cell("TOP", &[array])]))?;
    assert_eq!(layout.polygons.len(), 6);
    let b = layout.bounds().expect("there are polygons");
    assert_eq!((b.min, b.max), ([0.0, 0.0], [500.0, 140.0]));
    Ok(())
}

/// A width of an odd number of units has corners between them.
#[test]
fn a_path_of_odd_width_keeps_its_width() -> Result<(), LayoutError> {
    let width = record([0x0F, 3], &101i32.to_be_bytes());
    let kind = [small(0x0D, &[1]), small(0x0E, &[0]), small(0x21, &[2]), width];
    let path = element(0x09, &[kind.concat(), places(&[(0, 0), (1000, 0)])]);
    let layout = read(&library(vec![cell("TOP", &[path])]))?;
    let b = layout.bounds().expect("there are polygons");
    assert!((b.height() - 10.1).abs() < 1e-9 && (b.width() - 110.1).abs() < 1e-9, "{b:?}");
    Ok(())
}

#[test]
fn what_is_written_is_read_back() -> Result<(), LayoutError> {
    let shapes = vec![Polygon::rectangle(-10.0, 5.0, 90.0, 500.0)];
    let layout = Layout::new("mask", shapes);
    let bytes = encode(Path::new(PATH), &layout, LAYER, 1.0)?;
    assert_eq!(read(&bytes)?.polygons, layout.polygons);
    // Units in metres, one cell, one boundary, record by record.
    let units = record([0x03, 5], &[real(1e-3), real(1e-9)].concat());
    let xy = places(&[(-10, 5), (90, 5), (90, 500), (-10, 500), (-10, 5)]);
    let expected = element(0x08, &[small(0x0D, &[11]), small(0x0E, &[10]), xy]);
    let end = [record([0x07, 0], &[]), record([0x04, 0], &[])].concat();
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(holds(&units) && holds(&name(0x06, "mask")), "{bytes:?}");
    assert!(bytes.ends_with(&[expected, end].concat()), "{bytes:?}");
    Ok(())
}

#[test]
fn a_polygon_of_too_many_corners_is_cut_without_changing_its_area() -> Result<(), LayoutError> {
    // A comb of 6,000 teeth.
    let teeth = (0..6000).flat_map(|i| {
        let x = f64::from(i) * 20.0;
        [[x, 100.0], [x, 300.0], [x + 10.0, 300.0], [x + 10.0, 100.0]]
    });
    let comb: Vec<[f64; 2]> = [[119_990.0, 0.0], [0.0, 0.0]].into_iter().chain(teeth).collect();
    let comb = Polygon::new(comb);
    let area = comb.signed_area().abs();
    let bytes = encode(Path::new(PATH), &Layout::new("comb", vec![comb]), LAYER, 1.0)?;
    let found = read(&bytes)?.polygons;
    assert!(found.len() > 2 && found.iter().all(|p| p.points.len() <= 8190));
    assert_eq!(found.iter().map(|p| p.signed_area().abs()).sum::<f64>(), area);
    Ok(())
}

#[test]
fn a_cycle_a_missing_cell_and_a_cut_are_errors() {
    let loops =
        |target: &str| cell("A", &[element(0x0A, &[name(0x12, target), places(&[(0, 0)])])]);
    let with_cell = ReadOptions { cell: Some("A".into()), ..Default::default() };
    let read = |bytes: &[u8]| {
        Library::from_bytes(Path::new(PATH), bytes, &with_cell).expect_err("damaged").to_string()
    };
    assert!(read(&library(vec![loops("A")])).contains("cycle"));
    assert!(read(&library(vec![loops("B")])).contains("\"B\""));
    let whole = library(vec![bar()]);
    for kept in 0..whole.len() - 4 {
        let error = read(&whole[..kept]);
        assert!(error.contains("cut short") || kept < 4, "{kept}: {error}");
    }
}

#[test]
fn a_bad_record_is_named_with_its_place() {
    let mut bytes = library(vec![bar()]);
    bytes[7] = 3; // the length of the second record, at byte 6
    let error = read(&bytes).expect_err("damaged").to_string();
    assert!(error.contains("byte 6") && error.contains("length of 3"), "{error}");
}

#[test]
fn layers_and_cells_are_chosen_or_asked_for() {
    let other = boundary(12, &[(0, 0), (10, 0), (10, 10), (0, 0)]);
    let bytes = library(vec![cell("BAR", &[bar_elements(), other]), cell("OTHER", &[])]);
    let read = |options: &ReadOptions| Library::from_bytes(Path::new(PATH), &bytes, options);
    let error = |options: ReadOptions| read(&options).expect_err("ambiguous").to_string();
    assert!(error(ReadOptions::default()).contains("(BAR, OTHER)"));
    let bar = |layer: Option<Layer>| ReadOptions { cell: Some("BAR".into()), layer, pixel_nm: 1.0 };
    assert!(error(bar(None)).contains("(11/0, 12/0)"));
    assert!(error(bar(Some(LAYER))).contains("layers with shapes: 11/0, 12/0"));
    assert!(
        error(ReadOptions { cell: Some("X".into()), ..Default::default() }).contains("BAR, OTHER")
    );
    let found = read(&bar(Some(Layer { layer: 12, datatype: 0 }))).expect("it is there");
    assert_eq!((found.count(), found.cell()), (1, "BAR"));
}
