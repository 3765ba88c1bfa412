//! Where a checkpoint's pickles and storages lie in its file.

use std::collections::BTreeMap;

use rawzip::{CompressionMethod, ZipArchive};

use super::Contents;
use super::pickle::{Object, Pickle};

/// How the files of PyTorch before 1.6 begin: a pickle of the number 0x1950a86a20f9469cfc6c.
pub(super) const STREAM_MAGIC: [u8; 15] =
    [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// A ZIP archive: `NAME/data.pkl`, and storages as `NAME/data/KEY`.
pub(super) fn archive(bytes: &[u8]) -> Result<Contents<'_>, String> {
    let entries = entries(bytes)?;
    let pickle = entries.keys().find(|name| name.ends_with("/data.pkl"));
    let pickle = pickle.ok_or("it is a ZIP archive without a data.pkl: no checkpoint")?;
    let root = pickle.trim_end_matches("data.pkl");
    let order = entries.get(&format!("{root}byteorder")).copied().unwrap_or(b"little");
    if order != b"little" {
        return Err("its numbers are big endian; save it on a little-endian machine".into());
    }
    let object = Pickle::new(entries[pickle]).object()?;
    let folder = format!("{root}data/");
    let entries = entries.into_iter();
    let storages =
        entries.filter_map(|(name, bytes)| Some((name.strip_prefix(&folder)?.into(), bytes)));
    Ok(Contents { object, storages: storages.collect() })
}

/// The entries of a ZIP archive by name. PyTorch stores them as they are; it may leave out their checksums, so none is looked at.
fn entries(bytes: &[u8]) -> Result<BTreeMap<String, &[u8]>, String> {
    let damaged = |e: rawzip::Error| format!("the archive is cut short or damaged: {e}");
    let archive = ZipArchive::from_slice(bytes).map_err(damaged)?;
    let mut entries = BTreeMap::new();
    for entry in archive.entries() {
        let entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(entry.file_path().as_ref()).into_owned();
        let method = entry.compression_method();
        if method != CompressionMethod::STORE {
            return Err(format!("{name} is compressed ({method}), which torch.save does not do"));
        }
        let (start, end) =
            archive.get_entry(entry.wayfinder()).map_err(damaged)?.compressed_data_range();
        entries.insert(name, &bytes[start as usize..end as usize]);
    }
    Ok(entries)
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(size)?)?;
    field.iter().rev().try_fold(0usize, |sum, &b| Some(sum.checked_mul(256)? | usize::from(b)))
}

/// Before PyTorch 1.6: pickles of a magic number, a version, the machine, the object and the storages' keys;
/// then each storage, after its number of elements.
pub(super) fn stream(bytes: &[u8]) -> Result<Contents<'_>, String> {
    let mut pickle = Pickle::new(&bytes[STREAM_MAGIC.len()..]);
    pickle.object()?;
    let machine = pickle.object()?;
    if machine.get("little_endian") == Some(&Object::Bool(false)) {
        return Err("its numbers are big endian; save it on a little-endian machine".into());
    }
    let object = pickle.object()?;
    let Object::List(keys) = pickle.object()? else {
        return Err("it has no list of storages".into());
    };
    let (sizes, mut rest) = (pickle.element_sizes(), pickle.rest());
    let mut storages = BTreeMap::new();
    for key in keys {
        let Object::Text(key) = key else {
            return Err("its list of storages holds something that is no name".into());
        };
        let cut = || format!("it is cut short in storage {key:?}");
        let count = number(rest, 0, 8).ok_or_else(cut)?;
        let size =
            sizes.get(&key).ok_or_else(|| format!("storage {key:?} belongs to no tensor"))?;
        let end = count.checked_mul(*size).and_then(|n| n.checked_add(8)).ok_or_else(cut)?;
        storages.insert(key.to_string(), rest.get(8..end).ok_or_else(cut)?);
        rest = &rest[end..];
    }
    Ok(Contents { object, storages })
}
