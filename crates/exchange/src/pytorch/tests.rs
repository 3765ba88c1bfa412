//! Small pickles by hand, and files that are damaged. Files of PyTorch itself are read in the workspace's
//! integration tests.

use super::pickle::{Object, Pickle};
use super::*;

fn object(bytes: &[u8]) -> Result<Object, String> {
    Pickle::new(bytes).object()
}

#[test]
fn numbers_texts_and_containers_are_built() {
    let number = |bytes: &[u8]| object(&[bytes, b"."].concat());
    assert_eq!(number(&[b'K', 200]), Ok(Object::Int(200)));
    assert_eq!(number(&[b'M', 1, 2]), Ok(Object::Int(513)));
    assert_eq!(number(&[b'J', 0xff, 0xff, 0xff, 0xff]), Ok(Object::Int(-1)));
    assert_eq!(number(&[0x8a, 2, 0x00, 0xff]), Ok(Object::Int(-256)));
    assert_eq!(number(&[0x8a, 0]), Ok(Object::Int(0)));
    let dict = object(b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00b(K\x02K\x03tu.");
    let dict = dict.expect("builds");
    assert_eq!(dict.get("a"), Some(&Object::Int(1)));
    assert_eq!(dict.get("b"), Some(&Object::Tuple(vec![Object::Int(2), Object::Int(3)])));
}

/// The class that a hostile file would name is never looked up: calling it gives a blank.
#[test]
fn nothing_is_executed() {
    assert_eq!(object(b"cos\nsystem\n(X\x04\x00\x00\x00echotR."), Ok(Object::Blank));
}

#[test]
fn broken_pickles_are_errors() {
    let broken: [&[u8]; 8] =
        [b"", b".", b"K", b"h\x07.", b"t.", b"R.", b"\xff.", b"X\xff\xff\xff\xffa."];
    for bytes in broken {
        assert!(object(bytes).is_err(), "{bytes:?}");
    }
    // A million tuples in one another: refused before the stack could overflow.
    let deep = [&b")"[..], &[0x85; 1_000_000], b"."].concat();
    assert!(object(&deep).expect_err("too deep").contains("nested"));
    // Doubling what is remembered a hundred times would fill any memory.
    let doubled: Vec<u8> = (0..100).flat_map(|i| [b'q', i, b'h', i, 0x86]).collect();
    assert!(object(&[&b")"[..], &doubled, b"."].concat()).is_err());
}

fn view(offset: usize, shape: &[usize], stride: &[usize]) -> TensorView {
    let storage = Storage { key: "0".into(), kind: "ShortStorage".into() };
    TensorView { storage, offset, shape: shape.to_vec(), stride: stride.to_vec() }
}

#[test]
fn views_are_gathered_and_kept_within_their_storage() {
    let bytes: Vec<u8> = (0..8i16).flat_map(i16::to_le_bytes).collect();
    let storages = BTreeMap::from([("0".to_string(), &bytes[..])]);
    let read = |view: &TensorView| gathered(view, &storages);
    // A transposed part: rows 1 and 5, 2 and 6, 3 and 7.
    let found = read(&view(1, &[3, 2], &[1, 4])).expect("reads");
    assert_eq!((found.shape, found.data), (vec![3, 2], vec![1.0, 5.0, 2.0, 6.0, 3.0, 7.0]));
    assert_eq!(read(&view(7, &[], &[])).expect("reads").data, [7.0]);
    assert!(read(&view(2, &[3, 2], &[1, 4])).is_err());
    assert!(read(&view(0, &[usize::MAX, 2], &[0, 0])).is_err());
    assert!(read(&view(usize::MAX, &[2], &[usize::MAX])).is_err());
    let elsewhere = Storage { key: "1".into(), kind: "ShortStorage".into() };
    assert!(read(&TensorView { storage: elsewhere, ..view(0, &[1], &[1]) }).is_err());
}

#[test]
fn elements_of_every_kind_are_read() {
    let one = |kind: &str, bytes: &[u8]| {
        let (size, element) = element(kind).expect("known");
        assert_eq!(size, bytes.len());
        element(bytes)
    };
    assert_eq!(one("FloatStorage", &1.5f32.to_le_bytes()), 1.5);
    assert_eq!(one("DoubleStorage", &(-2.5f64).to_le_bytes()), -2.5);
    assert_eq!(one("HalfStorage", &[0x00, 0x3e]), 1.5);
    assert_eq!(one("BFloat16Storage", &[0xc0, 0x3f]), 1.5);
    assert_eq!(one("LongStorage", &(-3i64).to_le_bytes()), -3.0);
    assert_eq!(one("IntStorage", &7i32.to_le_bytes()), 7.0);
    assert_eq!(one("CharStorage", &[0xff]), -1.0);
    assert_eq!(one("ByteStorage", &[0xff]), 255.0);
    assert!(element("ComplexFloatStorage").is_err());
}

/// Files of both formats, cut at every length and with every byte changed: an error or other numbers, no panic.
#[test]
fn damaged_files_do_no_harm() {
    let files: [&[u8]; 2] = [
        include_bytes!("../../../../tests/data/neural-ilt.pth"),
        include_bytes!("../../../../tests/data/gan-opc.pth"),
    ];
    for bytes in files {
        assert!(tensors(bytes).expect("reads").len() > 20);
        for length in (0..bytes.len()).step_by(7) {
            assert!(tensors(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
        }
        let mut damaged = bytes.to_vec();
        for at in (0..bytes.len()).step_by(3) {
            damaged[at] ^= 0x55;
            let _ = tensors(&damaged);
            damaged[at] = bytes[at];
        }
    }
}

#[test]
fn other_files_are_told_apart() {
    let refusal = |bytes: &[u8]| tensors(bytes).expect_err("refused");
    assert!(refusal(b"hello").contains("torch.save"));
    assert!(refusal(b"PK\x03\x04").contains("cut short"));
    let empty = [&b"PK\x05\x06"[..], &[0; 18]].concat();
    assert!(refusal(&empty).contains("data.pkl"));
}
