//! Checkpoints as `torch.save` writes them: named tensors from a `.pth` or `.pt` file.
//!
//! Both formats are read: the ZIP archive of PyTorch 1.6 and later, and the stream of pickles before it. A
//! pickle is a program; here it can only build dictionaries, lists, numbers, texts and tensors, and whatever
//! else it asks for is a blank. Nothing in a file is executed.

mod pickle;
mod stored;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use crate::ExchangeError;
use pickle::{Object, Storage, TensorView};

/// A tensor in row-major order, as f32 whatever the file had.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its shape; empty for a number.
    pub shape: Vec<usize>,
    /// Its elements, the last dimension running fastest.
    pub data: Vec<f32>,
}

/// The tensors of a file by name. Nested dictionaries join their names with dots, as in
/// `state_dict.conv1.weight`.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where it was read.
    pub path: PathBuf,
    /// Its tensors.
    pub tensors: BTreeMap<String, Array>,
}

impl Checkpoint {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`ExchangeError`] if it cannot be read, is no checkpoint, is damaged, or holds no named tensors.
    pub fn read(path: &Path) -> Result<Self, ExchangeError> {
        let bytes = std::fs::read(path).map_err(|e| ExchangeError::Read(path.to_path_buf(), e))?;
        Self::from_bytes(path, &bytes)
    }

    /// As [`Checkpoint::read`], of bytes; `path` is named in errors.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::read`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, ExchangeError> {
        let tensors = tensors(bytes)
            .map_err(|problem| ExchangeError::Checkpoint { path: path.to_path_buf(), problem })?;
        Ok(Self { path: path.to_path_buf(), tensors })
    }
}

/// A file's object, and the bytes of its storages by key.
struct Contents<'a> {
    object: Object,
    storages: BTreeMap<String, &'a [u8]>,
}

fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Array>, String> {
    let contents = if bytes.starts_with(b"PK") {
        stored::archive(bytes)?
    } else if bytes.starts_with(&stored::STREAM_MAGIC) {
        stored::stream(bytes)?
    } else {
        return Err("it is neither a ZIP archive nor a stream of pickles; expected a file \
                    written by torch.save"
            .into());
    };
    let mut views = BTreeMap::new();
    named(&contents.object, "", &mut views);
    if views.is_empty() {
        return Err("it holds no named tensors; expected a state dictionary: \
                    torch.save(model.state_dict(), FILE)"
            .into());
    }
    let read = |(name, view): (String, &TensorView)| match gathered(view, &contents.storages) {
        Ok(array) => Ok((name, array)),
        Err(problem) => Err(format!("tensor {name:?}: {problem}")),
    };
    views.into_iter().map(read).collect()
}

/// The tensors of nested dictionaries; everything else (optimiser settings, epochs) is passed over.
fn named<'a>(object: &'a Object, prefix: &str, views: &mut BTreeMap<String, &'a TensorView>) {
    let Object::Dict(entries) = object else { return };
    for (key, value) in entries {
        let Object::Text(key) = key else { continue };
        let name = if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
        match value {
            Object::Tensor(view) => drop(views.insert(name, view)),
            other => named(other, &name, views),
        }
    }
}

/// Elements of a view of a storage, in row-major order.
fn gathered(view: &TensorView, storages: &BTreeMap<String, &[u8]>) -> Result<Array, String> {
    let Storage { key, kind } = &view.storage;
    let bytes =
        storages.get(&**key).ok_or_else(|| format!("its storage {key:?} is not in the file"))?;
    let (size, element) = element(kind)?;
    let count = view.shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    let cut =
        || format!("shape {:?} does not fit its storage of {} bytes", view.shape, bytes.len());
    // Weights are not broadcast: a view with more elements than its storage is none.
    let count = count.filter(|count| count.saturating_mul(size) <= bytes.len()).ok_or_else(cut)?;
    let mut data = Vec::with_capacity(count);
    let mut index = vec![0; view.shape.len()];
    for _ in 0..count {
        let step =
            |at: usize, (&i, &stride): (&usize, &usize)| at.checked_add(i.checked_mul(stride)?);
        let at = index.iter().zip(&view.stride).try_fold(view.offset, step);
        let start = at.and_then(|at| at.checked_mul(size)).ok_or_else(cut)?;
        let end = start.checked_add(size).ok_or_else(cut)?;
        data.push(element(bytes.get(start..end).ok_or_else(cut)?));
        advance(&mut index, &view.shape);
    }
    Ok(Array { shape: view.shape.clone(), data })
}

/// The next index in row-major order.
fn advance(index: &mut [usize], shape: &[usize]) {
    for (i, &n) in index.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < n {
            return;
        }
        *i = 0;
    }
}

/// A little-endian element of a storage as f32; the bytes are as many as its size.
type Decode = fn(&[u8]) -> f32;

/// Size and meaning of a storage's elements.
fn element(kind: &str) -> Result<(usize, Decode), String> {
    fn take<const N: usize>(bytes: &[u8]) -> [u8; N] {
        std::array::from_fn(|i| bytes[i])
    }
    let element: (usize, Decode) = match kind {
        "FloatStorage" => (4, |b| f32::from_le_bytes(take(b))),
        "DoubleStorage" => (8, |b| f64::from_le_bytes(take(b)) as f32),
        "HalfStorage" => (2, |b| f16::from_le_bytes(take(b)).to_f32()),
        "BFloat16Storage" => (2, |b| bf16::from_le_bytes(take(b)).to_f32()),
        "LongStorage" => (8, |b| i64::from_le_bytes(take(b)) as f32),
        "IntStorage" => (4, |b| i32::from_le_bytes(take(b)) as f32),
        "ShortStorage" => (2, |b| f32::from(i16::from_le_bytes(take(b)))),
        "CharStorage" => (1, |b| f32::from(i8::from_le_bytes(take(b)))),
        "ByteStorage" | "BoolStorage" => (1, |b| f32::from(b[0])),
        other => return Err(format!("its elements are a {other}; expected floats or integers")),
    };
    Ok(element)
}

#[cfg(test)]
mod tests;
