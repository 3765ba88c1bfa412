//! OASIS records, written one at a time, in compressed blocks.

use std::io::Write;

use super::compress::Compressor;
use super::records::Records;
use super::{MAGIC, record};
use crate::formats::header::{Grid, Header};
use crate::{LayoutError, Polygon};

/// Bytes that make a compressed block.
const BLOCK: usize = 1 << 17;
/// Length of the record END, by the standard.
const END_BYTES: usize = 256;

/// Writes cells one after the other.
pub(crate) struct OasisWriter<W> {
    output: W,
    grid: Grid,
    layer: [u64; 2],
    /// Bytes written, and their CRC.
    written: u64,
    crc: crc32fast::Hasher,
    /// Where the table of cell names begins, and whether it has the names of all cells.
    names: u64,
    all_named: bool,
    /// Records that are not written yet.
    block: Records,
    compressor: Compressor,
    last: Last,
}

/// Modal variables, as a reader has them.
#[derive(Default)]
struct Last {
    layer: bool,
    size: [Option<i64>; 2],
    at: [i64; 2],
    points: Vec<u8>,
    placed: [i64; 2],
}

impl<W: Write> OasisWriter<W> {
    pub(crate) fn new(output: W, header: &Header<'_>) -> Result<Self, LayoutError> {
        let grid = Grid { path: header.path.to_path_buf(), unit_nm: header.unit_nm };
        let layer = [header.layer.layer, header.layer.datatype].map(u64::from);
        let mut writer = Self {
            output,
            grid,
            layer,
            written: 0,
            crc: crc32fast::Hasher::new(),
            names: 0,
            all_named: true,
            block: Records::default(),
            compressor: Compressor::default(),
            last: Last::default(),
        };
        let begun = writer.begin(header);
        begun.map_err(|e| writer.grid.failed(e))?;
        Ok(writer)
    }

    fn begin(&mut self, header: &Header<'_>) -> std::io::Result<()> {
        let mut start = Records(MAGIC.to_vec());
        start.unsigned(record::START);
        start.string(b"1.0");
        start.real(1000.0 / header.unit_nm);
        start.unsigned(1); // tables' places are in END
        self.names = start.0.len() as u64;
        start.unsigned(record::CELLNAME);
        start.string(header.cell.as_bytes());
        start.unsigned(record::CELL_NUMBER);
        start.unsigned(0);
        start.unsigned(record::XYRELATIVE);
        self.put(&start.0)
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.crc.update(bytes);
        self.written += bytes.len() as u64;
        self.output.write_all(bytes)
    }

    /// Adds polygons, in nm.
    pub(crate) fn add(&mut self, polygons: &[Polygon]) -> Result<(), LayoutError> {
        for polygon in polygons {
            let Some(corners) = self.grid.corners(polygon)? else { continue };
            let corners: Vec<[i64; 2]> = corners.iter().map(|p| p.map(i64::from)).collect();
            match rectangle(&corners) {
                Some([min, max]) => self.rectangle(min, max),
                None => self.polygon(&corners),
            }
            self.flush_if_long()?;
        }
        Ok(())
    }

    fn rectangle(&mut self, min: [i64; 2], max: [i64; 2]) {
        let size = [max[0] - min[0], max[1] - min[1]];
        let mut fields = Records::default();
        let mut info = self.layer(&mut fields);
        if size[0] == size[1] {
            info |= 0x80;
        }
        if self.last.size[0] != Some(size[0]) {
            info |= 0x40;
            fields.unsigned(size[0] as u64);
        }
        if self.last.size[1] != Some(size[1]) && size[0] != size[1] {
            info |= 0x20;
            fields.unsigned(size[1] as u64);
        }
        self.last.size = size.map(Some);
        info |= self.position(&mut fields, min);
        self.shape(record::RECTANGLE, info, &fields);
    }

    fn polygon(&mut self, corners: &[[i64; 2]]) {
        let mut fields = Records::default();
        let mut info = self.layer(&mut fields);
        let list = point_list(corners);
        if list != self.last.points {
            info |= 0x20;
            fields.0.extend_from_slice(&list);
            self.last.points = list;
        }
        info |= self.position(&mut fields, corners[0]);
        self.shape(record::POLYGON, info, &fields);
    }

    fn shape(&mut self, id: u64, info: u8, fields: &Records) {
        self.block.unsigned(id);
        self.block.0.push(info);
        self.block.0.extend_from_slice(&fields.0);
    }

    /// Layer and datatype, the first time.
    fn layer(&mut self, fields: &mut Records) -> u8 {
        if std::mem::replace(&mut self.last.layer, true) {
            return 0;
        }
        self.layer.iter().for_each(|&number| fields.unsigned(number));
        3
    }

    /// From the last shape to here.
    fn position(&mut self, fields: &mut Records, at: [i64; 2]) -> u8 {
        let mut info = 0;
        for (axis, bit) in [(0, 0x10), (1, 0x08)] {
            let by = at[axis] - self.last.at[axis];
            if by != 0 {
                info |= bit;
                fields.signed(by);
            }
        }
        self.last.at = at;
        info
    }

    /// Begins another cell.
    pub(crate) fn begin_cell(&mut self, cell: &str) -> Result<(), LayoutError> {
        let mut records = Records::default();
        records.unsigned(record::CELL_NAME);
        records.string(cell.as_bytes());
        records.unsigned(record::XYRELATIVE);
        (self.last, self.all_named) = (Last::default(), false);
        let written = self.flush_all().and_then(|()| self.put(&records.0));
        written.map_err(|e| self.grid.failed(e))
    }

    /// Places a cell.
    pub(crate) fn place(
        &mut self,
        cell: &str,
        at_nm: [f64; 2],
        mirrored: bool,
    ) -> Result<(), LayoutError> {
        let at = self.grid.point(at_nm)?.map(i64::from);
        self.block.unsigned(record::PLACEMENT);
        self.block.0.push(0x80 | 0x30 | u8::from(mirrored));
        self.block.string(cell.as_bytes());
        for (to, from) in at.iter().zip(self.last.placed) {
            self.block.signed(to - from);
        }
        self.last.placed = at;
        self.flush_if_long()
    }

    fn flush_if_long(&mut self) -> Result<(), LayoutError> {
        match self.block.0.len() < BLOCK {
            true => Ok(()),
            false => self.flush().map_err(|e| self.grid.failed(e)),
        }
    }

    /// Has the records that have been made compressed, and writes what is.
    fn flush(&mut self) -> std::io::Result<()> {
        let records = std::mem::take(&mut self.block.0);
        match self.compressor.add(records)? {
            Some(block) => self.put(&block),
            None => Ok(()),
        }
    }

    /// Writes all records that have been made.
    fn flush_all(&mut self) -> std::io::Result<()> {
        self.flush()?;
        while let Some(block) = self.compressor.next()? {
            self.put(&block)?;
        }
        Ok(())
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> Result<W, LayoutError> {
        let ended = self.flush_all().and_then(|()| self.end());
        ended.map_err(|e| self.grid.failed(e))?;
        Ok(self.output)
    }

    fn end(&mut self) -> std::io::Result<()> {
        let mut end = Records::default();
        end.unsigned(record::END);
        // All names of cells are in one table, if there is one cell; there is no other table.
        end.unsigned(u64::from(self.all_named));
        end.unsigned(self.names);
        for _ in 0..5 {
            end.unsigned(1);
            end.unsigned(0);
        }
        // Two bytes of length, the padding, one byte of scheme, four of signature.
        end.string(&vec![0; END_BYTES - end.0.len() - 7]);
        end.unsigned(1);
        self.put(&end.0)?;
        let signature = self.crc.clone().finalize();
        self.put(&signature.to_le_bytes())?;
        self.output.flush()
    }
}

/// Least and greatest corner, if it is a rectangle.
fn rectangle(corners: &[[i64; 2]]) -> Option<[[i64; 2]; 2]> {
    let [a, b, c, d] = corners else { return None };
    let upright = a[0] == d[0] && b[0] == c[0] && a[1] == b[1] && c[1] == d[1];
    let lying = a[0] == b[0] && c[0] == d[0] && b[1] == c[1] && d[1] == a[1];
    (upright || lying).then(|| [[a[0].min(c[0]), a[1].min(c[1])], [a[0].max(c[0]), a[1].max(c[1])]])
}

/// The steps between corners: lengths alone if edges run along the axes in turn.
fn point_list(corners: &[[i64; 2]]) -> Vec<u8> {
    let next = corners.iter().cycle().skip(1);
    let steps: Vec<[i64; 2]> =
        corners.iter().zip(next).map(|(a, b)| [b[0] - a[0], b[1] - a[1]]).collect();
    let mut list = Records::default();
    match (0..2).find(|&first| in_turn(&steps, first)) {
        Some(first) => {
            list.unsigned(first as u64);
            list.unsigned(steps.len() as u64 - 2);
            steps[..steps.len() - 2].iter().for_each(|s| list.signed(s[0] + s[1]));
        }
        None => {
            list.unsigned(4);
            list.unsigned(steps.len() as u64 - 1);
            steps[..steps.len() - 1].iter().for_each(|&s| list.delta(s));
        }
    }
    list.0
}

/// Whether steps run along x and y in turn, beginning with axis `first`.
fn in_turn(steps: &[[i64; 2]], first: usize) -> bool {
    let along = |(i, s): (usize, &[i64; 2])| s[1 - (first + i) % 2] == 0;
    steps.len().is_multiple_of(2) && steps.iter().enumerate().all(along)
}
