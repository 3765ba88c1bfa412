//! Where the reference data are: a folder `shared` beside the repository, or `LITHOBURN_REFERENCE`.
//!
//! A clone does not have them; the tests that use them then pass without checking, and say so.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;

/// A file of the reference data, if it is here.
pub fn file(name: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let root = std::env::var_os("LITHOBURN_REFERENCE").map_or_else(beside, PathBuf::from);
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: no reference data at {}", path.display());
    None
}

/// An array of numbers from an `.npz` archive: its shape and values.
pub type Array = (Vec<usize>, Vec<f32>);

/// The arrays of an `.npz` archive by name (f32 and f64 only).
pub fn npz(path: &std::path::Path) -> HashMap<String, Array> {
    let file = std::fs::File::open(path).expect("reference archive");
    let mut archive = zip::ZipArchive::new(file).expect("zip archive");
    let mut arrays = HashMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).expect("archive entry");
        let name = entry.name().trim_end_matches(".npy").to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("archive entry");
        arrays.insert(name, npy(&bytes));
    }
    arrays
}

/// Decodes one array: magic, version, a Python dictionary as header, little-endian data.
fn npy(bytes: &[u8]) -> Array {
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length]).expect("npy header");
    let after = |key: &str| header.split(key).nth(1).expect("npy header");
    let shape = after("'shape': (").split(')').next().expect("npy shape");
    let shape = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let data = &bytes[10 + length..];
    let values = match after("'descr': '").split('\'').next().expect("npy type") {
        "<f4" => {
            data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        "<f8" => data
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes")) as f32)
            .collect(),
        "|u1" | "|b1" => data.iter().map(|&b| f32::from(b)).collect(),
        other => panic!("unexpected npy type {other}"),
    };
    (shape, values)
}
