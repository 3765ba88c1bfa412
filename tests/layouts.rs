//! A standard-cell block's first metal, written as GDSII and OASIS and read back.

use lithoburn::layout::{Layer, Library, PolygonWriter, ReadOptions};
use lithoburn_testing::reference;

#[test]
fn a_standard_cell_block_stays_what_it_is_in_both_formats() {
    let Some(path) = reference("layouts/gcd_45nm.gds") else { return };
    let options = ReadOptions::default();
    let block = Library::read(&path, &options).expect("reference layout");
    let layer = Layer { layer: 11, datatype: 0 };
    assert_eq!((block.layer(), block.count()), (Some(layer), 1776));
    let flat = block.flatten().expect("small");
    let out = std::env::temp_dir().join(format!("lithoburn-layouts-{}", std::process::id()));
    let mut file = path;
    for name in ["block.oas", "block.gds", "block-again.oas"] {
        let polygons = Library::read(&file, &options).and_then(|l| l.flatten()).expect("readable");
        file = out.join(name);
        let mut writer =
            PolygonWriter::create(&file, block.cell(), layer, 0.1).expect("a writable folder");
        writer.add(&polygons.polygons).expect("a writable folder");
        writer.finish().expect("a writable folder");
        let copy = Library::read(&file, &options).expect("as written");
        assert_eq!((copy.cell(), copy.layer()), (block.cell(), Some(layer)));
        assert_eq!(copy.extent(), block.extent());
        assert_eq!(copy.flatten().expect("small").polygons.len(), flat.polygons.len());
        for (a, b) in copy.flatten().expect("small").polygons.iter().zip(&flat.polygons) {
            assert_eq!(a.signed_area().abs(), b.signed_area().abs());
            assert_eq!(a.bounds(), b.bounds());
        }
    }
    std::fs::remove_dir_all(&out).expect("it was made here");
}
