//! Values of a tensor as f32, and back.

use half::{bf16, f16};

use super::{Datatype, Tensor, TensorError};

/// From here on a value is a pixel that is set.
const SET: f32 = 0.5;

impl Tensor {
    /// Writes its values, as numbers, into `into`: 1 is pattern in every datatype.
    ///
    /// # Errors
    ///
    /// [`TensorError::Length`] if `into` has another length, [`TensorError::Pixels`] if the datatype is none of [`Datatype::PIXELS`],
    /// [`TensorError::Read`] if shared memory is gone.
    pub fn read_f32(&self, into: &mut [f32]) -> Result<(), TensorError> {
        if into.len() != self.pixels() {
            return Err(TensorError::Length { expected: self.pixels(), came: into.len() });
        }
        match self.datatype {
            Datatype::Bool => self.read::<1>(into, |[b]| f32::from(u8::from(b != 0))),
            Datatype::Uint8 => self.read::<1>(into, |[b]| f32::from(b)),
            Datatype::Fp16 => self.read(into, |b| f16::from_le_bytes(b).to_f32()),
            Datatype::Bf16 => self.read(into, |b| bf16::from_le_bytes(b).to_f32()),
            Datatype::Fp32 => self.read(into, f32::from_le_bytes),
            Datatype::Bytes => self.read_bits(into),
            other => Err(TensorError::Pixels(other)),
        }
    }

    /// Its values, as [`Tensor::read_f32`] gives them.
    ///
    /// # Errors
    ///
    /// As [`Tensor::read_f32`].
    pub fn to_f32(&self) -> Result<Vec<f32>, TensorError> {
        let mut values = vec![0.0; self.pixels()];
        self.read_f32(&mut values)?;
        Ok(values)
    }

    fn read<const N: usize>(
        &self,
        into: &mut [f32],
        value: impl Fn([u8; N]) -> f32,
    ) -> Result<(), TensorError> {
        Ok(self.data.spans(N, |at, span| {
            let (elements, _) = span.as_chunks::<N>();
            for (slot, &element) in into[at..].iter_mut().zip(elements) {
                *slot = value(element);
            }
        })?)
    }

    fn read_bits(&self, into: &mut [f32]) -> Result<(), TensorError> {
        let Some(width) = self.shape.last().copied().filter(|&width| width > 0) else {
            return Ok(());
        };
        let stride = width.div_ceil(8);
        Ok(self.data.spans(1, |at, span| {
            for (byte, at) in span.iter().zip(at..) {
                let (row, left) = (at / stride, at % stride * 8);
                let right = width.min(left + 8);
                for (slot, bit) in into[row * width + left..row * width + right].iter_mut().zip(0..)
                {
                    *slot = f32::from(byte >> (7 - bit) & 1);
                }
            }
        })?)
    }

    /// A tensor of these values. BOOL and BYTES have a pixel where a value is at least 1/2; UINT8 is rounded and saturates, and NaN is 0.
    ///
    /// # Errors
    ///
    /// [`TensorError::Length`] if there are not as many values as the shape says, [`TensorError::Pixels`] if the datatype is none of
    /// [`Datatype::PIXELS`], [`TensorError::Shape`] if the shape overflows.
    pub fn from_f32(
        datatype: Datatype,
        shape: Vec<usize>,
        values: &[f32],
    ) -> Result<Self, TensorError> {
        let elements = Datatype::Uint8.bytes_of(&shape);
        let expected = elements.ok_or_else(|| TensorError::Shape(shape.clone()))?;
        if values.len() != expected {
            return Err(TensorError::Length { expected, came: values.len() });
        }
        let bytes = match datatype {
            Datatype::Bool => written(values, |v| [u8::from(v >= SET)]),
            // A cast of floats saturates.
            Datatype::Uint8 => written(values, |v| [v.round() as u8]),
            Datatype::Fp16 => written(values, |v| f16::from_f32(v).to_le_bytes()),
            Datatype::Bf16 => written(values, |v| bf16::from_f32(v).to_le_bytes()),
            Datatype::Fp32 => written(values, f32::to_le_bytes),
            Datatype::Bytes => packed(values, shape.last().copied().unwrap_or(1)),
            other => return Err(TensorError::Pixels(other)),
        };
        Self::new(datatype, shape, bytes)
    }
}

fn written<const N: usize>(values: &[f32], bytes: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    let mut all = vec![0; values.len() * N];
    let (slots, _) = all.as_chunks_mut::<N>();
    for (slot, &value) in slots.iter_mut().zip(values) {
        *slot = bytes(value);
    }
    all
}

/// Rows of `width` pixels, eight to a byte.
fn packed(values: &[f32], width: usize) -> Vec<u8> {
    let byte = |pixels: &[f32]| {
        let bits = pixels.iter().zip(0..).map(|(&v, bit)| u8::from(v >= SET) << (7 - bit));
        bits.fold(0, |byte, bit| byte | bit)
    };
    values.chunks(width.max(1)).flat_map(|row| row.chunks(8).map(byte)).collect()
}
