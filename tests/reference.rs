//! Reference data: arrays that other codes wrote. [`lithoburn_testing::reference`] says where they are.

use std::collections::HashMap;

/// An array of numbers from an `.npz` archive: its shape and values.
pub(crate) type Array = (Vec<usize>, Vec<f32>);

/// The arrays of an `.npz` archive by name (f32, f64 and bytes only).
pub(crate) fn npz(path: &std::path::Path) -> HashMap<String, Array> {
    let bytes = std::fs::read(path).expect("reference archive");
    let number = |at: usize, size: usize| {
        bytes[at..at + size].iter().rev().fold(0, |sum, &b| sum << 8 | usize::from(b))
    };
    // The end record lies in the last bytes: number of entries, and where their directory begins.
    let end = (0..bytes.len() - 21).rev().find(|&i| bytes[i..].starts_with(b"PK\x05\x06"));
    let end = end.expect("zip archive");
    let (mut at, mut arrays) = (number(end + 16, 4), HashMap::new());
    for _ in 0..number(end + 10, 2) {
        let (method, size, local) = (number(at + 10, 2), number(at + 20, 4), number(at + 42, 4));
        let name = String::from_utf8_lossy(&bytes[at + 46..at + 46 + number(at + 28, 2)]);
        let data = local + 30 + number(local + 26, 2) + number(local + 28, 2);
        let packed = &bytes[data..data + size];
        let plain = match method {
            0 => packed.to_vec(),
            _ => miniz_oxide::inflate::decompress_to_vec(packed).expect("deflated entry"),
        };
        arrays.insert(name.trim_end_matches(".npy").to_string(), npy(&plain));
        at += 46 + number(at + 28, 2) + number(at + 30, 2) + number(at + 32, 2);
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
