//! Where a checkpoint's pickles and storages lie in its file.

use std::collections::BTreeMap;

use super::Contents;
use super::pickle::{Object, Pickle};

/// How the files of PyTorch before 1.6 begin: a pickle of the number 0x1950a86a20f9469cfc6c.
pub(super) const STREAM_MAGIC: [u8; 15] =
    [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// End of a ZIP archive's directory.
const END: &[u8] = b"PK\x05\x06";
/// An entry of the directory.
const ENTRY: &[u8] = b"PK\x01\x02";

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

/// The entries of a ZIP archive by name. PyTorch stores them as they are.
fn entries(bytes: &[u8]) -> Result<BTreeMap<String, &[u8]>, String> {
    let cut = || "the archive is cut short or damaged".to_string();
    // The end record is 22 bytes; a comment of up to 64 KiB may follow it.
    let last = bytes.len().checked_sub(22).ok_or_else(cut)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let end = (first..=last).rev().find(|&at| bytes[at..].starts_with(END)).ok_or_else(cut)?;
    let count = number(bytes, end + 10, 2).ok_or_else(cut)?;
    let mut at = number(bytes, end + 16, 4).ok_or_else(cut)?;
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let (name, data, next) = entry(bytes, at).ok_or_else(cut)?;
        let data = data.map_err(|method| {
            format!("{name} is compressed (method {method}), which torch.save does not do")
        })?;
        entries.insert(name, data);
        at = next;
    }
    Ok(entries)
}

/// Data of an entry, or how it is packed.
type Data<'a> = Result<&'a [u8], usize>;

/// An entry of the directory: its name, its data, and where the next one is.
fn entry(bytes: &[u8], at: usize) -> Option<(String, Data<'_>, usize)> {
    let field = |offset: usize, size: usize| number(bytes, at.checked_add(offset)?, size);
    if !bytes.get(at..)?.starts_with(ENTRY) {
        return None;
    }
    let (method, size, local) = (field(10, 2)?, field(24, 4)?, field(42, 4)?);
    let (name, extra, comment) = (field(28, 2)?, field(30, 2)?, field(32, 2)?);
    let start = at + 46;
    let text = String::from_utf8_lossy(bytes.get(start..start + name)?).into_owned();
    // The entry's own header may be longer than the directory says: PyTorch aligns data by it.
    let data = local + 30 + number(bytes, local + 26, 2)? + number(bytes, local + 28, 2)?;
    let data = match method {
        0 => Ok(bytes.get(data..data.checked_add(size)?)?),
        method => Err(method),
    };
    Some((text, data, start + name + extra + comment))
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
