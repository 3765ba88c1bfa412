//! Against another implementation, the crate `gds21`.

use gds21::{
    GdsArrayRef, GdsBoundary, GdsElement, GdsLibrary, GdsPath, GdsPoint, GdsStrans, GdsStruct,
    GdsStructRef,
};

use super::*;
use crate::{Library, Polygon, ReadOptions};

const PATH: &str = "test.gds";
const LAYER: Layer = Layer { layer: 11, datatype: 10 };

fn library(structs: Vec<GdsStruct>) -> Vec<u8> {
    let mut library = GdsLibrary::new("test");
    library.units = gds21::GdsUnits::new(1e-4, 1e-10);
    library.structs = structs;
    let mut bytes = Vec::new();
    library.write(&mut bytes).expect("writing to memory");
    bytes
}

fn cell(name: &str, elems: Vec<GdsElement>) -> GdsStruct {
    let mut cell = GdsStruct::new(name);
    cell.elems = elems;
    cell
}

fn bar() -> GdsStruct {
    let xy = GdsPoint::vec(&[(0, 0), (1000, 0), (1000, 400), (0, 400), (0, 0)]);
    cell("BAR", vec![GdsElement::GdsBoundary(GdsBoundary { layer: 11, xy, ..Default::default() })])
}

fn read(bytes: &[u8]) -> Result<Layout, LayoutError> {
    Library::from_bytes(Path::new(PATH), bytes, &ReadOptions::default())?.flatten()
}

#[test]
fn rotation_reflection_magnification_and_database_unit_are_resolved() -> Result<(), LayoutError> {
    let strans =
        GdsStrans { reflected: true, mag: Some(2.0), angle: Some(90.0), ..Default::default() };
    let reference = GdsStructRef {
        name: "BAR".into(),
        xy: GdsPoint::new(5000, 0),
        strans: Some(strans),
        ..Default::default()
    };
    let top = cell("TOP", vec![GdsElement::GdsStructRef(reference)]);
    let layout = read(&library(vec![bar(), top]))?;
    // 100 x 40 nm, doubled, reflected about x, turned by 90 degrees, moved by 500 nm.
    let b = layout.polygons[0].bounds();
    assert_eq!((b.min, b.max), ([500.0, 0.0], [580.0, 200.0]));
    Ok(())
}

#[test]
fn an_array_is_repeated() -> Result<(), LayoutError> {
    let array = GdsArrayRef {
        name: "BAR".into(),
        xy: [GdsPoint::new(0, 0), GdsPoint::new(6000, 0), GdsPoint::new(0, 2000)],
        cols: 3,
        rows: 2,
        ..Default::default()
    };
    let top = cell("TOP", vec![GdsElement::GdsArrayRef(array)]);
    let layout = read(&library(vec![bar(), top]))?;
    assert_eq!(layout.polygons.len(), 6);
    let b = layout.bounds().expect("there are polygons");
    assert_eq!((b.min, b.max), ([0.0, 0.0], [500.0, 140.0]));
    Ok(())
}

/// A width of an odd number of units has corners between them.
#[test]
fn a_path_of_odd_width_keeps_its_width() -> Result<(), LayoutError> {
    let path = GdsPath {
        layer: 1,
        xy: GdsPoint::vec(&[(0, 0), (1000, 0)]),
        width: Some(101),
        path_type: Some(2),
        ..Default::default()
    };
    let layout = read(&library(vec![cell("TOP", vec![GdsElement::GdsPath(path)])]))?;
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
    let other = GdsLibrary::from_bytes(&bytes).expect("valid");
    assert!((other.units.db_unit() - 1e-9).abs() < 1e-24);
    let GdsElement::GdsBoundary(boundary) = &other.structs[0].elems[0] else {
        panic!("no boundary");
    };
    assert_eq!((other.structs[0].name.as_str(), other.structs[0].elems.len()), ("mask", 1));
    assert_eq!((boundary.layer, boundary.datatype), (11, 10));
    let xy = GdsPoint::vec(&[(-10, 5), (90, 5), (90, 500), (-10, 500), (-10, 5)]);
    assert_eq!(boundary.xy, xy);
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
    let loops = |name: &str| {
        let reference = GdsStructRef { name: name.into(), ..Default::default() };
        cell("A", vec![GdsElement::GdsStructRef(reference)])
    };
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
    let xy = GdsPoint::vec(&[(0, 0), (10, 0), (10, 10)]);
    let other = GdsElement::GdsBoundary(GdsBoundary { layer: 12, xy, ..Default::default() });
    let mut two = bar();
    two.elems.push(other);
    let bytes = library(vec![two, cell("OTHER", vec![])]);
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
