//! Bytes, numbers and strings, from the file or from a compressed block of it.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush};

use crate::names;

/// Bytes that are inflated at a time.
const CHUNK: usize = 1 << 16;
/// Numbers beyond are mistakes; sums of a few of them fit 64 bits.
const LARGEST: u64 = 1 << 60;
/// Names that are longer are mistakes.
const LONGEST_NAME: u64 = 1 << 16;

/// A place in a file.
pub(crate) struct Input<'a> {
    file: &'a [u8],
    at: usize,
    block: Option<Block<'a>>,
    /// Bytes that compressed blocks may still unpack to.
    unpacked: u64,
}

/// A compressed block, inflated piece by piece, so that it needs no room of its own.
struct Block<'a> {
    start: usize,
    compressed: &'a [u8],
    state: Box<InflateState>,
    chunk: Vec<u8>,
    next: usize,
    /// Bytes that the block says it has left.
    left: u64,
}

impl<'a> Input<'a> {
    /// From a place in a file whose compressed blocks may hold so many bytes together.
    pub(crate) fn new(file: &'a [u8], at: usize, unpacked: u64) -> Self {
        Self { file, at, block: None, unpacked }
    }

    /// Where we are, in words.
    pub(crate) fn place(&self) -> String {
        match &self.block {
            Some(block) => format!("in the CBLOCK at byte {}", block.start),
            None => format!("at byte {}", self.at),
        }
    }

    /// Bytes of the file read so far, compressed ones included.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The number of the next record. Compressed blocks end here if they end.
    pub(crate) fn record(&mut self) -> Result<u64, String> {
        if self.block.as_ref().is_some_and(|block| block.left == 0) {
            self.block = None;
        }
        self.unsigned()
    }

    /// Goes on in a compressed block, whose header follows.
    pub(crate) fn enter_block(&mut self) -> Result<(), String> {
        if self.block.is_some() {
            return Err("there is a CBLOCK in a CBLOCK".into());
        }
        let start = self.at;
        let method = self.unsigned()?;
        if method != 0 {
            return Err(format!(
                "a CBLOCK is compressed by method {method}; only 0 (deflate) is known"
            ));
        }
        let (left, size) = (self.unsigned()?, self.unsigned()?);
        self.unpacked = self.unpacked.checked_sub(left).ok_or_else(|| {
            format!("its compressed blocks unpack to too much, the last to {left} bytes")
        })?;
        let compressed = self.take(size)?;
        let state = InflateState::new_boxed(DataFormat::Raw);
        let block = Block { start, compressed, state, chunk: Vec::new(), next: 0, left };
        self.block = Some(block);
        Ok(())
    }

    /// Whether we are in a compressed block.
    pub(crate) fn in_block(&self) -> bool {
        self.block.is_some()
    }

    fn take(&mut self, size: u64) -> Result<&'a [u8], String> {
        let rest = &self.file[self.at..];
        let taken = usize::try_from(size).ok().and_then(|size| rest.get(..size));
        let taken = taken.ok_or("it ends in the middle of a record: the file is cut short")?;
        self.at += taken.len();
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, String> {
        match &mut self.block {
            Some(block) => block.byte(),
            None => Ok(self.take(1)?[0]),
        }
    }

    /// A string of any bytes that is kept.
    pub(crate) fn string(&mut self) -> Result<Vec<u8>, String> {
        let length = self.unsigned()?;
        if length > LONGEST_NAME {
            return Err(format!("a name has {length} bytes; expected at most {LONGEST_NAME}"));
        }
        match &mut self.block {
            None => Ok(self.take(length)?.to_vec()),
            Some(block) => (0..length).map(|_| block.byte()).collect(),
        }
    }

    /// Passes over a string.
    pub(crate) fn skip_string(&mut self) -> Result<(), String> {
        let length = self.unsigned()?;
        match &mut self.block {
            None => self.take(length).map(drop),
            Some(block) => block.skip(length),
        }
    }

    /// A name, not empty.
    pub(crate) fn name(&mut self) -> Result<String, String> {
        match self.string()?.as_slice() {
            [] => Err("a name is empty".into()),
            bytes => Ok(names::text(bytes)),
        }
    }

    /// A number of seven bits a byte, the lowest first. Any number of zeros may follow: KLayout pads with them.
    pub(crate) fn unsigned(&mut self) -> Result<u64, String> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if bits != 0 && (shift > 63 || bits << shift >> shift != bits) {
                return Err("a number has more than 64 bits".into());
            }
            if bits != 0 {
                value |= bits << shift;
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift = (shift + 7).min(70);
        }
    }

    /// A number that coordinates can be summed of.
    pub(crate) fn length(&mut self) -> Result<i64, String> {
        let value = self.unsigned()?;
        bounded(value)
    }

    /// The lowest bit is the sign.
    pub(crate) fn signed(&mut self) -> Result<i64, String> {
        let value = self.unsigned()?;
        let size = bounded(value >> 1)?;
        Ok(if value & 1 == 1 { -size } else { size })
    }

    /// A real, by its type.
    pub(crate) fn real(&mut self) -> Result<f64, String> {
        let kind = self.unsigned()?;
        self.real_of(kind)
    }

    /// A real of a known type.
    pub(crate) fn real_of(&mut self, kind: u64) -> Result<f64, String> {
        let sign = if kind % 2 == 1 { -1.0 } else { 1.0 };
        let value = match kind {
            0 | 1 => sign * self.unsigned()? as f64,
            2 | 3 => sign / self.unsigned()? as f64,
            4 | 5 => sign * self.unsigned()? as f64 / self.unsigned()? as f64,
            6 => f64::from(f32::from_le_bytes(self.bytes()?)),
            7 => f64::from_le_bytes(self.bytes()?),
            _ => return Err(format!("a real has type {kind}; expected 0 to 7")),
        };
        match value.is_finite() {
            true => Ok(value),
            false => Err(format!("a real is {value}")),
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// Lowest two bits: east, north, west, south.
    pub(crate) fn delta2(&mut self) -> Result<[i64; 2], String> {
        let value = self.unsigned()?;
        towards(value & 3, value >> 2)
    }

    /// Lowest three bits: as [`Input::delta2`], then north-east, north-west, south-west, south-east.
    pub(crate) fn delta3(&mut self) -> Result<[i64; 2], String> {
        let value = self.unsigned()?;
        towards(value & 7, value >> 3)
    }

    /// In one of eight directions, or x and y.
    pub(crate) fn delta(&mut self) -> Result<[i64; 2], String> {
        let value = self.unsigned()?;
        if value & 1 == 0 {
            return towards(value >> 1 & 7, value >> 4);
        }
        let x = bounded(value >> 2)?;
        Ok([if value & 2 == 2 { -x } else { x }, self.signed()?])
    }
}

fn bounded(value: u64) -> Result<i64, String> {
    match value <= LARGEST {
        true => Ok(value as i64),
        false => Err(format!("a length of {value} units is beyond all layouts")),
    }
}

fn towards(direction: u64, length: u64) -> Result<[i64; 2], String> {
    const DIRECTIONS: [[i64; 2]; 8] =
        [[1, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [-1, 1], [-1, -1], [1, -1]];
    let length = bounded(length)?;
    Ok(DIRECTIONS[direction as usize].map(|d| d * length))
}

impl Block<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        if self.left == 0 {
            return Err("a record reaches out of its CBLOCK".into());
        }
        if self.next == self.chunk.len() {
            self.fill()?;
        }
        let byte = self.chunk[self.next];
        (self.next, self.left) = (self.next + 1, self.left - 1);
        Ok(byte)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        if bytes > self.left {
            return Err(format!("a string of {bytes} bytes reaches out of its CBLOCK"));
        }
        let mut rest = bytes;
        while rest > 0 {
            if self.next == self.chunk.len() {
                self.fill()?;
            }
            let here = rest.min((self.chunk.len() - self.next) as u64);
            self.next += here as usize;
            self.left -= here;
            rest -= here;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), String> {
        self.chunk.resize(CHUNK, 0);
        let done = inflate(&mut self.state, self.compressed, &mut self.chunk, MZFlush::None);
        self.compressed = &self.compressed[done.bytes_consumed..];
        if done.bytes_written == 0 {
            return Err(format!("it is damaged or ends {} bytes too early", self.left));
        }
        self.chunk.truncate(done.bytes_written);
        self.next = 0;
        match done.bytes_written as u64 > self.left {
            true => Err("it holds more than it says".into()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
