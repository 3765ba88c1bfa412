//! The signature at a file's end.

/// How a file is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Crc32,
    Checksum32,
}

impl Scheme {
    /// The signature of all bytes before it.
    pub(crate) fn signature(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Crc32 => crc32fast::hash(bytes),
            Self::Checksum32 => bytes.iter().fold(0, |sum, &b| sum.wrapping_add(u32::from(b))),
        }
    }
}
