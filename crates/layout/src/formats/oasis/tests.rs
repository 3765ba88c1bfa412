use super::records::Records;
use super::*;
use crate::{Library, Polygon, ReadOptions};

/// A file with one cell and some records in it, without validation.
fn file(records: &Records) -> Vec<u8> {
    let mut file = Records(MAGIC.to_vec());
    file.unsigned(record::START);
    file.string(b"1.0");
    file.real(1000.0);
    (0..13).for_each(|_| file.unsigned(0)); // tables' places here, and there are none
    file.unsigned(record::CELL_NAME);
    file.string(b"TOP");
    file.0.extend_from_slice(&records.0);
    file.unsigned(record::END);
    file.string(&[0; 252]);
    file.unsigned(0);
    file.0
}

fn read(bytes: &[u8]) -> Result<Library, LayoutError> {
    Library::from_bytes(Path::new("x.oas"), bytes, &ReadOptions::default())
}

/// Of records, and of the same in a compressed block.
fn error(records: &[u8]) -> String {
    let plain = read(&file(&Records(records.to_vec()))).expect_err("refused").to_string();
    let packed = read(&file(&block(records))).expect_err("refused").to_string();
    let reason = |text: &str| text.rsplit_once(", ").map(|(reason, _)| reason.to_string());
    assert!(packed.contains("CBLOCK"), "{packed}");
    assert!(reason(&plain) == reason(&packed) || packed.contains("out of its"), "{plain} {packed}");
    plain
}

fn block(records: &[u8]) -> Records {
    let compressed = miniz_oxide::deflate::compress_to_vec(records, 6);
    let mut block = Records::default();
    block.unsigned(record::CBLOCK);
    block.unsigned(0);
    block.unsigned(records.len() as u64);
    block.unsigned(compressed.len() as u64);
    block.0.extend_from_slice(&compressed);
    block
}

#[test]
fn what_makes_no_sense_is_named_with_its_place() {
    assert!(error(&[35]).contains("no record 35"));
    assert!(error(&[20, 0]).contains("a layer from before"));
    assert!(error(&[20, 3, 1, 0]).contains("a width from before"));
    assert!(error(&[17, 0x30, 2, 2]).contains("cell from before"));
    assert!(error(&[20, 0xE3, 1, 0, 5, 5]).contains("square and has a height"));
    assert!(error(&[21, 0x23, 1, 0, 6, 1, 2]).contains("type 6; expected 0 to 5"));
    assert!(error(&[20, 0x67, 1, 0, 5, 5, 12]).contains("type 12; expected 0 to 11"));
    assert!(error(&[26, 0xE3, 1, 0, 26, 5, 5]).contains("type 26; expected 0 to 25"));
    assert!(error(&[26, 0xE3, 1, 0, 4, 5, 9]).contains("cannot be 5 x 9"));
    assert!(error(&[14, 3, b'T', b'O', b'P']).contains("\"TOP\" is there twice"));
    assert!(error(&[21, 0x23, 1, 0, 2, 0xFF, 0xFF, 0xFF, 0x7F]).contains("at most 4194304"));
    let far = [20, 0x73, 1, 0, 5, 5, 0x80, 0x80, 0x80, 0x80, 0x20];
    assert!(error(&far).contains("does not fit 32 bits"));
    assert!(error(&[3, 0xFF, 0x7F, b'A']).contains("cut short"));
    let message = read(&file(&Records(vec![20, 0]))).expect_err("refused").to_string();
    let start: usize = 13 + 1 + 4 + 3 + 13 + 5; // what comes before the records
    assert!(message.contains(&format!("at byte {}", start + 2)), "{message}");
}

#[test]
fn cells_that_are_not_there_are_named() {
    let by_number = read(&file(&Records(vec![17, 0xF0, 9, 2, 2])));
    assert!(by_number.expect_err("refused").to_string().contains("no CELLNAME has the number 9"));
    let by_name = read(&file(&Records(vec![17, 0xB0, 1, b'B', 2, 2])));
    assert!(
        by_name.expect_err("refused").to_string().contains("cell \"B\", which it does not have")
    );
}

/// Kilobytes that make millions of rectangles.
#[test]
fn a_block_that_unpacks_to_too_much_is_refused() {
    let mut records = vec![20, 0x63, 1, 0, 5, 5];
    records.extend([20, 0].repeat(7_000_000));
    let bytes = file(&block(&records));
    assert!(bytes.len() < 50_000);
    assert!(
        read(&bytes).expect_err("refused").to_string().contains("unpacks to more than 256 MiB")
    );
    // And one that unpacks to nothing but padding is read to its end.
    records.truncate(6);
    records.extend(vec![0; 50_000_000]);
    assert_eq!(read(&file(&block(&records))).expect("one rectangle").count(), 1);
}

#[test]
fn a_changed_byte_is_found_by_the_validation() -> Result<(), LayoutError> {
    let layout = Layout::new("mask", vec![Polygon::rectangle(0.0, 0.0, 80.0, 400.0)]);
    let path = Path::new("x.oas");
    let mut bytes = encode(path, &layout, Layer { layer: 1, datatype: 0 }, 1.0)?;
    assert_eq!(read(&bytes)?.flatten()?.polygons, layout.polygons);
    let end = bytes.len() - 256;
    assert_eq!(bytes[end], record::END as u8);
    bytes[end - 1] ^= 4; // the rectangle's height
    assert!(read(&bytes).expect_err("refused").to_string().contains("Crc32"));
    Ok(())
}

/// n r² tan(π / n).
#[test]
fn a_circle_is_a_polygon_of_64_sides_around_it() -> Result<(), LayoutError> {
    let mut records = Records(vec![27, 0x3B, 1, 0]);
    records.unsigned(1000);
    records.signed(-300);
    records.signed(5000);
    let layout = read(&file(&records))?.flatten()?;
    let area = layout.polygons[0].signed_area();
    let expected = 64.0 * 1e6 * (std::f64::consts::PI / 64.0).tan();
    assert!((area - expected).abs() < 1e-3, "{area}");
    let middle = layout.polygons[0].bounds();
    assert!((f64::midpoint(middle.min[0], middle.max[0]) + 300.0).abs() < 1e-9);
    Ok(())
}
