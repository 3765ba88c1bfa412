//! GDSII records, one at a time.

use std::io::BufRead;

use crate::names;

/// Kinds of records that are looked at.
pub(crate) mod kind {
    pub(crate) const HEADER: u8 = 0x00;
    pub(crate) const BGNLIB: u8 = 0x01;
    pub(crate) const LIBNAME: u8 = 0x02;
    pub(crate) const UNITS: u8 = 0x03;
    pub(crate) const ENDLIB: u8 = 0x04;
    pub(crate) const BGNSTR: u8 = 0x05;
    pub(crate) const STRNAME: u8 = 0x06;
    pub(crate) const ENDSTR: u8 = 0x07;
    pub(crate) const BOUNDARY: u8 = 0x08;
    pub(crate) const PATH: u8 = 0x09;
    pub(crate) const SREF: u8 = 0x0A;
    pub(crate) const AREF: u8 = 0x0B;
    pub(crate) const TEXT: u8 = 0x0C;
    pub(crate) const LAYER: u8 = 0x0D;
    pub(crate) const DATATYPE: u8 = 0x0E;
    pub(crate) const WIDTH: u8 = 0x0F;
    pub(crate) const XY: u8 = 0x10;
    pub(crate) const ENDEL: u8 = 0x11;
    pub(crate) const SNAME: u8 = 0x12;
    pub(crate) const COLROW: u8 = 0x13;
    pub(crate) const NODE: u8 = 0x15;
    pub(crate) const STRANS: u8 = 0x1A;
    pub(crate) const MAG: u8 = 0x1B;
    pub(crate) const ANGLE: u8 = 0x1C;
    pub(crate) const PATHTYPE: u8 = 0x21;
    pub(crate) const BOX: u8 = 0x2D;
    pub(crate) const BOXTYPE: u8 = 0x2E;
    pub(crate) const BGNEXTN: u8 = 0x30;
    pub(crate) const ENDEXTN: u8 = 0x31;
}

/// Why there is no next record.
pub(crate) enum Stop {
    Io(std::io::Error),
    /// What is wrong with the file.
    Damaged(String),
}

impl From<String> for Stop {
    fn from(problem: String) -> Self {
        Self::Damaged(problem)
    }
}

/// Reads records; keeps the last one.
pub(crate) struct Records<R> {
    input: R,
    /// Where the record begins in the file.
    pub(crate) start: u64,
    next: u64,
    /// Kind of the record.
    pub(crate) kind: u8,
    data: Vec<u8>,
}

impl<R: BufRead> Records<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, start: 0, next: 0, kind: 0, data: Vec::new() }
    }

    /// Goes to the next record.
    pub(crate) fn advance(&mut self) -> Result<(), Stop> {
        self.start = self.next;
        let mut head = [0; 4];
        self.fill(|own| (&mut own.input, &mut head))?;
        let length = u16::from_be_bytes([head[0], head[1]]);
        if length < 4 || length % 2 == 1 {
            return Err(Stop::Damaged(format!(
                "the record at byte {} has a length of {length}; expected an even number from 4",
                self.start
            )));
        }
        self.kind = head[2];
        self.data.resize(usize::from(length) - 4, 0);
        self.fill(|own| (&mut own.input, &mut own.data))?;
        self.next += u64::from(length);
        Ok(())
    }

    fn fill<'a>(
        &'a mut self,
        part: impl FnOnce(&'a mut Self) -> (&'a mut R, &'a mut [u8]),
    ) -> Result<(), Stop> {
        let start = self.start;
        let (input, buffer) = part(self);
        input.read_exact(buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Stop::Damaged(format!(
                "it ends in the middle of the record at byte {start}, before ENDLIB: the file is cut short"
            )),
            _ => Stop::Io(error),
        })
    }

    fn wrong(&self, expected: &str) -> Stop {
        Stop::Damaged(format!(
            "the record at byte {} (kind {:#04x}) has {} bytes of data; expected {expected}",
            self.start,
            self.kind,
            self.data.len()
        ))
    }

    fn integers<const N: usize, const SIZE: usize>(
        &self,
        expected: &str,
    ) -> Result<[[u8; SIZE]; N], Stop> {
        let chunks = self.data.as_chunks::<SIZE>().0;
        match chunks.get(..N).and_then(|chunks| chunks.try_into().ok()) {
            Some(values) => Ok(values),
            None => Err(self.wrong(expected)),
        }
    }

    /// The first two-byte numbers.
    pub(crate) fn shorts<const N: usize>(&self) -> Result<[u16; N], Stop> {
        Ok(self.integers::<N, 2>("two-byte numbers")?.map(u16::from_be_bytes))
    }

    /// A four-byte number.
    pub(crate) fn long(&self) -> Result<i32, Stop> {
        Ok(i32::from_be_bytes(self.integers::<1, 4>("a four-byte number")?[0]))
    }

    /// The first reals.
    pub(crate) fn reals<const N: usize>(&self) -> Result<[f64; N], Stop> {
        Ok(self.integers::<N, 8>("eight-byte reals")?.map(real))
    }

    /// Pairs of coordinates.
    pub(crate) fn points(&self) -> Result<impl Iterator<Item = [i32; 2]> + '_, Stop> {
        let (points, rest) = self.data.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(self.wrong("pairs of four-byte coordinates"));
        }
        let number =
            |b: &[u8; 8], i: usize| i32::from_be_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
        Ok(points.iter().map(move |b| [number(b, 0), number(b, 4)]))
    }

    /// A string, which zeros may fill up to an even length.
    pub(crate) fn string(&self) -> String {
        let zeros = self.data.iter().rev().take_while(|&&byte| byte == 0).count();
        names::text(&self.data[..self.data.len() - zeros])
    }
}

/// A real of GDSII: a sign, seven bits of exponent to the base of 16, less 64, and 56 bits after the point.
pub(crate) fn real(bytes: [u8; 8]) -> f64 {
    let bits = u64::from_be_bytes(bytes);
    let (sign, exponent) = (bits >> 63, (bits >> 56 & 0x7F) as i32 - 64);
    let fraction = (bits & 0x00FF_FFFF_FFFF_FFFF) as f64 * 2.0_f64.powi(4 * exponent - 56);
    if sign == 1 { -fraction } else { fraction }
}

/// The nearest real.
pub(crate) fn real_bytes(value: f64) -> [u8; 8] {
    if value == 0.0 || !value.is_finite() {
        return [0; 8];
    }
    let mut exponent = ((value.abs().log2() / 4.0).floor() as i32 + 1).clamp(-64, 63);
    let mut fraction = (value.abs() * 2.0_f64.powi(56 - 4 * exponent)).round();
    if fraction >= 2.0_f64.powi(56) {
        exponent += 1;
        fraction = (fraction / 16.0).round();
    }
    let sign = u64::from(value < 0.0) << 63;
    (sign | ((exponent + 64) as u64) << 56 | fraction as u64).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes as in the format's manual.
    #[test]
    fn known_reals_have_known_bytes() {
        assert_eq!(real([0x41, 0x10, 0, 0, 0, 0, 0, 0]), 1.0);
        assert_eq!(real([0xC1, 0x20, 0, 0, 0, 0, 0, 0]), -2.0);
        assert_eq!(real_bytes(1e-9), [0x39, 0x44, 0xB8, 0x2F, 0xA0, 0x9B, 0x5A, 0x54]);
        assert_eq!(real_bytes(0.001), [0x3E, 0x41, 0x89, 0x37, 0x4B, 0xC6, 0xA7, 0xF0]);
        assert_eq!(real_bytes(16.0), [0x42, 0x10, 0, 0, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn reals_keep_all_bits(mantissa in -1.0..1.0_f64, exponent in -200..200_i32) {
            let value = mantissa * 2.0_f64.powi(exponent);
            prop_assert_eq!(real(real_bytes(value)), value);
        }
    }
}
