//! Rows of pixels as BYTES: on the wire an element is a row, eight pixels to a byte, after its length in four bytes.

use bytes::{BufMut, Bytes, BytesMut};

use super::problem::Problem;
use crate::tensor::{Data, Datatype, Tensor, TensorError};

/// Bytes of an element's length.
const LENGTH: usize = 4;

/// The tensor of an input `name` whose elements are rows: `shape` has no axis along a row, the tensor's has.
pub(super) fn unpack(name: &str, mut shape: Vec<usize>, data: &Data) -> Result<Tensor, Problem> {
    let wrong = |text: String| Problem::invalid(format!("input '{name}': {text}"));
    let elements = shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
    let elements = elements.ok_or_else(|| TensorError::Shape(shape.clone()))?;
    let wire = data.contiguous()?;
    let mut rows = Rows { wire: &wire };
    let mut pixels = BytesMut::with_capacity(wire.len());
    let mut stride = None;
    for element in 0..elements {
        let row = rows.next().ok_or_else(|| {
            wrong(format!("expected {elements} string elements, got {element} whole ones"))
        })?;
        if *stride.get_or_insert(row.len()) != row.len() {
            let first = stride.unwrap_or_default();
            return Err(wrong(format!(
                "rows of pixels must be equally long: element 0 has {first} bytes, element {element} has {}",
                row.len()
            )));
        }
        pixels.extend_from_slice(row);
    }
    if !rows.wire.is_empty() {
        return Err(wrong(format!(
            "{} bytes more than {elements} string elements",
            rows.wire.len()
        )));
    }
    shape.push(stride.unwrap_or_default() * 8);
    Ok(Tensor::new(Datatype::Bytes, shape, pixels.freeze())?)
}

/// Elements that are left.
struct Rows<'a> {
    wire: &'a [u8],
}

impl<'a> Iterator for Rows<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.wire.split_first_chunk::<LENGTH>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let row = rest.get(..length)?;
        self.wire = &rest[length..];
        Some(row)
    }
}

/// The wire's shape and bytes of a tensor of bits.
pub(super) fn pack(tensor: &Tensor) -> Result<(Vec<usize>, Bytes), Problem> {
    let mut shape = tensor.shape.clone();
    let stride = shape.pop().unwrap_or(1).div_ceil(8);
    let pixels = tensor.data.contiguous()?;
    let rows = pixels.len().checked_div(stride).unwrap_or(0);
    let mut wire = BytesMut::with_capacity(pixels.len() + LENGTH * rows);
    for row in pixels.chunks(stride.max(1)) {
        wire.put_u32_le(u32::try_from(stride).unwrap_or(u32::MAX));
        wire.extend_from_slice(row);
    }
    Ok((shape, wire.freeze()))
}
