//! GDSII records, written one at a time.

use std::io::Write;

use super::records::{kind, real_bytes};
use crate::formats::header::{Grid, Header};
use crate::{Layer, LayoutError, Polygon};

/// Corners that a record of coordinates holds, less one that closes the polygon.
const MOST_CORNERS: usize = 8190;
/// Data types of records.
const NONE: u8 = 0;
const BITS: u8 = 1;
const SHORTS: u8 = 2;
const LONGS: u8 = 3;
const REALS: u8 = 5;
const STRING: u8 = 6;
/// The first of January 2000, twice: the same mask is the same file.
const DATES: [u16; 12] = [100, 1, 1, 0, 0, 0, 100, 1, 1, 0, 0, 0];

/// Writes cells one after the other.
pub(crate) struct GdsWriter<W> {
    output: W,
    grid: Grid,
    layer: [u16; 2],
}

impl<W: Write> GdsWriter<W> {
    pub(crate) fn new(output: W, header: &Header<'_>) -> Result<Self, LayoutError> {
        let grid = Grid { path: header.path.to_path_buf(), unit_nm: header.unit_nm };
        let mut writer = Self { output, grid, layer: layer_numbers(header)? };
        let begun = writer.begin(header);
        begun.map_err(|e| writer.grid.failed(e))?;
        Ok(writer)
    }

    fn begin(&mut self, header: &Header<'_>) -> std::io::Result<()> {
        let units = [header.unit_nm / 1e3, header.unit_nm / 1e9].map(real_bytes);
        self.shorts(kind::HEADER, &[3])?;
        self.shorts(kind::BGNLIB, &DATES)?;
        self.string(kind::LIBNAME, "lithoburn")?;
        self.record(kind::UNITS, REALS, units.as_flattened())?;
        self.shorts(kind::BGNSTR, &DATES)?;
        self.string(kind::STRNAME, &header.cell)
    }

    /// Adds polygons, in nm.
    pub(crate) fn add(&mut self, polygons: &[Polygon]) -> Result<(), LayoutError> {
        for polygon in polygons {
            let Some(corners) = self.grid.corners(polygon)? else { continue };
            for part in within_limit(corners) {
                self.boundary(&part).map_err(|e| self.grid.failed(e))?;
            }
        }
        Ok(())
    }

    /// Begins another cell.
    pub(crate) fn begin_cell(&mut self, cell: &str) -> Result<(), LayoutError> {
        let mut begin = || {
            self.record(kind::ENDSTR, NONE, &[])?;
            self.shorts(kind::BGNSTR, &DATES)?;
            self.string(kind::STRNAME, cell)
        };
        begin().map_err(|e| self.grid.failed(e))
    }

    /// Places a cell.
    pub(crate) fn place(
        &mut self,
        cell: &str,
        at_nm: [f64; 2],
        mirrored: bool,
    ) -> Result<(), LayoutError> {
        let at = self.grid.point(at_nm)?;
        let bytes: Vec<u8> = at.iter().flat_map(|v| v.to_be_bytes()).collect();
        let mut place = || {
            self.record(kind::SREF, NONE, &[])?;
            self.string(kind::SNAME, cell)?;
            if mirrored {
                self.record(kind::STRANS, BITS, &[0x80, 0])?;
            }
            self.record(kind::XY, LONGS, &bytes)?;
            self.record(kind::ENDEL, NONE, &[])
        };
        place().map_err(|e| self.grid.failed(e))
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> Result<W, LayoutError> {
        let mut end = || {
            self.record(kind::ENDSTR, NONE, &[])?;
            self.record(kind::ENDLIB, NONE, &[])?;
            self.output.flush()
        };
        let ended = end();
        ended.map_err(|e| self.grid.failed(e))?;
        Ok(self.output)
    }

    fn boundary(&mut self, corners: &[[i32; 2]]) -> std::io::Result<()> {
        let [layer, datatype] = self.layer;
        self.record(kind::BOUNDARY, NONE, &[])?;
        self.shorts(kind::LAYER, &[layer])?;
        self.shorts(kind::DATATYPE, &[datatype])?;
        let closed = corners.iter().chain(&corners[..1]).flatten();
        let bytes: Vec<u8> = closed.flat_map(|v| v.to_be_bytes()).collect();
        self.record(kind::XY, LONGS, &bytes)?;
        self.record(kind::ENDEL, NONE, &[])
    }

    fn shorts(&mut self, kind: u8, values: &[u16]) -> std::io::Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
        self.record(kind, SHORTS, &bytes)
    }

    fn string(&mut self, kind: u8, text: &str) -> std::io::Result<()> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        self.record(kind, STRING, &bytes)
    }

    fn record(&mut self, kind: u8, data_type: u8, data: &[u8]) -> std::io::Result<()> {
        let [high, low] = (data.len() as u16 + 4).to_be_bytes();
        self.output.write_all(&[high, low, kind, data_type])?;
        self.output.write_all(data)
    }
}

fn layer_numbers(header: &Header<'_>) -> Result<[u16; 2], LayoutError> {
    let Layer { layer, datatype } = header.layer;
    match [layer, datatype].map(u16::try_from) {
        [Ok(layer), Ok(datatype)] => Ok([layer, datatype]),
        _ => Err(LayoutError::Damaged {
            path: header.path.to_path_buf(),
            format: "GDSII",
            problem: format!("layer {} is beyond the format's 65535", header.layer),
        }),
    }
}

/// A polygon as it is, or in parts if it has too many corners for one record.
fn within_limit(corners: Vec<[i32; 2]>) -> Vec<Vec<[i32; 2]>> {
    let (mut open, mut done) = (vec![corners], Vec::new());
    while let Some(part) = open.pop() {
        match halves(&part) {
            Some(halves) if part.len() > MOST_CORNERS => open.extend(halves.into_iter().rev()),
            _ if part.len() < 3 => {}
            _ => done.push(part),
        }
    }
    done
}

/// The parts on both sides of the middle of the longer side; `None` if it is one unit.
fn halves(corners: &[[i32; 2]]) -> Option<[Vec<[i32; 2]>; 2]> {
    let range = |axis: usize| {
        let values = || corners.iter().map(|p| i64::from(p[axis]));
        (values().min().unwrap_or(0), values().max().unwrap_or(0))
    };
    let length = |axis: usize| range(axis).1 - range(axis).0;
    let axis = usize::from(length(1) > length(0));
    let (low, high) = range(axis);
    let middle = ((low + high) / 2) as i32;
    (high - low > 1).then(|| {
        [-1, 1].map(|side| {
            clip(corners, axis, |v| side * (i64::from(v) - i64::from(middle)) >= 0, middle)
        })
    })
}

/// The part of a polygon on one side of a line (Sutherland and Hodgman).
fn clip(corners: &[[i32; 2]], axis: usize, keep: impl Fn(i32) -> bool, line: i32) -> Vec<[i32; 2]> {
    let mut out = Vec::new();
    let next = corners.iter().cycle().skip(1);
    for (a, b) in corners.iter().zip(next) {
        if keep(a[axis]) {
            out.push(*a);
        }
        if keep(a[axis]) != keep(b[axis]) {
            let [from, to] = [a, b].map(|p| f64::from(p[axis]));
            let share = (f64::from(line) - from) / (to - from);
            let other = 1 - axis;
            let [from, to] = [a, b].map(|p| f64::from(p[other]));
            let mut at = [line; 2];
            at[other] = (from + share * (to - from)).round() as i32;
            out.push(at);
        }
    }
    out.dedup();
    out
}
