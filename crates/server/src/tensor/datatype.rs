//! Names of the protocol's datatypes and how many bytes they take.

use std::fmt;
use std::str::FromStr;

/// A datatype of the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 8 bits.
    Uint8,
    /// Unsigned, 16 bits.
    Uint16,
    /// Unsigned, 32 bits.
    Uint32,
    /// Unsigned, 64 bits.
    Uint64,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// IEEE half precision.
    Fp16,
    /// The upper half of single precision.
    Bf16,
    /// IEEE single precision.
    Fp32,
    /// IEEE double precision.
    Fp64,
    /// Strings of bytes; here rows of pixels, a bit each.
    Bytes,
}

impl Datatype {
    /// All, in the order of the protocol's table.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Fp32,
        Self::Fp64,
        Self::Bf16,
        Self::Bytes,
    ];

    /// Those that hold pixels: values that become f32 and are made from it.
    pub const PIXELS: [Self; 6] =
        [Self::Bool, Self::Uint8, Self::Fp16, Self::Bf16, Self::Fp32, Self::Bytes];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// Its name in a model's configuration, as Triton writes it.
    #[must_use]
    pub fn config_name(self) -> String {
        match self {
            Self::Bytes => "TYPE_STRING".into(),
            other => format!("TYPE_{}", other.name()),
        }
    }

    /// Bytes of an element; `None` for [`Datatype::Bytes`], where pixels share them.
    #[must_use]
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// Bytes of a tensor of this shape in pixels; `None` if they cannot be counted.
    #[must_use]
    pub fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        let count = |axes: &[usize]| axes.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
        match (self.width(), shape.split_last()) {
            (Some(width), _) => count(shape)?.checked_mul(width),
            (None, Some((row, rows))) => {
                // Its pixels are counted as well, eight times as many.
                count(shape)?;
                count(rows)?.checked_mul(row.div_ceil(8))
            }
            (None, None) => Some(1),
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Datatype {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|datatype| datatype.name() == name).ok_or(())
    }
}
