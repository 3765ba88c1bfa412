//! Bytes of a tensor: as they came from a socket, or where they lie in shared memory.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// Memory of somebody else, read when it is needed.
pub trait ReadAt: Send + Sync {
    /// Fills `into` with what lies `offset` bytes from the start.
    ///
    /// # Errors
    ///
    /// If there is not so much, any more.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Bytes of a tensor. A clone is another reference to the same bytes.
///
/// A body of some MiB comes in dozens of pieces; they stay as they are until a device lays them out, which has to copy them anyway.
#[derive(Clone)]
pub struct Data(Source);

#[derive(Clone)]
enum Source {
    Parts { parts: Arc<[Bytes]>, len: usize },
    Shared { memory: Arc<dyn ReadAt>, offset: u64, len: usize },
}

/// Shared memory is read in pieces that stay in a core's cache.
const PIECE: usize = 64 << 10;

impl Data {
    /// `len` bytes of `memory` from `offset` on, not read yet.
    #[must_use]
    pub fn shared(memory: Arc<dyn ReadAt>, offset: u64, len: usize) -> Self {
        Self(Source::Shared { memory, offset, len })
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Source::Parts { len, .. } | Source::Shared { len, .. } => *len,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its pieces, unless it lies in shared memory.
    #[must_use]
    pub fn parts(&self) -> Option<&[Bytes]> {
        match &self.0 {
            Source::Parts { parts, .. } => Some(parts),
            Source::Shared { .. } => None,
        }
    }

    /// Calls `work` for each piece in order.
    ///
    /// # Errors
    ///
    /// If shared memory cannot be read.
    pub fn for_each(&self, mut work: impl FnMut(&[u8])) -> io::Result<()> {
        match &self.0 {
            Source::Parts { parts, .. } => parts.iter().for_each(|part| work(part)),
            Source::Shared { memory, offset, len } => {
                let mut piece = vec![0; PIECE.min(*len)];
                for start in (0..*len).step_by(PIECE) {
                    let n = PIECE.min(len - start);
                    memory.read_at(&mut piece[..n], offset + start as u64)?;
                    work(&piece[..n]);
                }
            }
        }
        Ok(())
    }

    /// Calls `work` with whole elements of `width` bytes, many at a time, and the index of the first of them.
    ///
    /// # Errors
    ///
    /// If shared memory cannot be read.
    pub(super) fn spans(&self, width: usize, mut work: impl FnMut(usize, &[u8])) -> io::Result<()> {
        let mut at = 0;
        // An element that two pieces share.
        let mut split: Vec<u8> = Vec::with_capacity(width);
        self.for_each(|mut piece| {
            if !split.is_empty() {
                let (rest, further) = piece.split_at(piece.len().min(width - split.len()));
                split.extend_from_slice(rest);
                piece = further;
                if split.len() < width {
                    return;
                }
                work(at, &split);
                at += 1;
                split.clear();
            }
            let (whole, rest) = piece.split_at(piece.len() - piece.len() % width);
            if !whole.is_empty() {
                work(at, whole);
                at += whole.len() / width;
            }
            split.extend_from_slice(rest);
        })
    }

    /// All bytes in one piece: without a copy if they came so.
    ///
    /// # Errors
    ///
    /// If shared memory cannot be read.
    pub fn contiguous(&self) -> io::Result<Bytes> {
        if let Some([only]) = self.parts() {
            return Ok(only.clone());
        }
        let mut all = BytesMut::with_capacity(self.len());
        self.for_each(|piece| all.extend_from_slice(piece))?;
        Ok(all.freeze())
    }
}

impl From<Vec<Bytes>> for Data {
    fn from(parts: Vec<Bytes>) -> Self {
        let len = parts.iter().map(Bytes::len).sum();
        Self(Source::Parts { parts: parts.into(), len })
    }
}

impl From<Bytes> for Data {
    fn from(bytes: Bytes) -> Self {
        let len = bytes.len();
        Self(Source::Parts { parts: Arc::new([bytes]), len })
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.parts().is_some() { "bytes" } else { "bytes of shared memory" };
        write!(out, "{} {place}", self.len())
    }
}
