//! Tensors as they travel: a datatype, a shape in pixels, and bytes.

mod bits;
mod data;
mod datatype;
mod values;

pub use data::{Data, ReadAt};
pub use datatype::Datatype;

/// A tensor of a request or of an answer.
///
/// Numbers are little-endian, in row-major order. With [`Datatype::Bytes`] a pixel is a bit, eight to a byte, the most significant first, and
/// each row (the last axis) begins a new byte; the shape counts pixels there too.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// What an element is.
    pub datatype: Datatype,
    /// Lengths of its axes, in elements.
    pub shape: Vec<usize>,
    /// Its bytes.
    pub data: Data,
}

/// Why bytes are no such tensor.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// There are more or fewer bytes than the shape says.
    #[error("{datatype} of shape {shape:?} is {expected} bytes, got {came}")]
    Size {
        /// Its datatype.
        datatype: Datatype,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes that it has by its shape.
        expected: usize,
        /// Bytes that came.
        came: usize,
    },
    /// The shape is larger than memory can be addressed.
    #[error("shape {0:?} has more elements than can be counted")]
    Shape(Vec<usize>),
    /// Values of this type do not become f32, or are not made from it.
    #[error("{0} holds no pixels; expected one of BOOL, UINT8, FP16, BF16, FP32, BYTES")]
    Pixels(Datatype),
    /// The slice for the values has another length.
    #[error("{expected} values, but a place for {came}")]
    Length {
        /// Values of the tensor.
        expected: usize,
        /// Length of the slice.
        came: usize,
    },
    /// The shared memory could not be read.
    #[error("cannot read shared memory: {0}")]
    Read(#[from] std::io::Error),
}

impl Tensor {
    /// A tensor of these bytes.
    ///
    /// # Errors
    ///
    /// [`TensorError::Size`] if they are too few or too many, [`TensorError::Shape`] if the shape overflows.
    pub fn new(
        datatype: Datatype,
        shape: Vec<usize>,
        data: impl Into<Data>,
    ) -> Result<Self, TensorError> {
        let data = data.into();
        let expected =
            datatype.bytes_of(&shape).ok_or_else(|| TensorError::Shape(shape.clone()))?;
        if data.len() != expected {
            return Err(TensorError::Size { datatype, shape, expected, came: data.len() });
        }
        Ok(Self { datatype, shape, data })
    }

    /// Elements of all axes; a pixel each.
    #[must_use]
    pub fn pixels(&self) -> usize {
        // Its size was checked when it was made.
        self.shape.iter().product()
    }
}

#[cfg(test)]
mod tests;
