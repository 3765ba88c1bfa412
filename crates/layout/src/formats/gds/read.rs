//! From GDSII records to a library.

use std::io::BufRead;
use std::path::Path;

use super::MAGIC;
use super::records::{Records, Stop, kind};
use crate::library::{Builder, Placement, Repetition};
use crate::path::Wide;
use crate::{Layer, LayoutError, ReadOptions};

/// Reads a file of a size, record by record.
pub(crate) fn read(
    path: &Path,
    mut input: impl BufRead,
    bytes: u64,
    options: &ReadOptions,
) -> Result<Builder, LayoutError> {
    let damaged = |problem: String| LayoutError::Damaged {
        path: path.to_path_buf(),
        format: "GDSII",
        problem,
    };
    let unreadable = |error| LayoutError::Read(path.to_path_buf(), error);
    if !input.fill_buf().map_err(unreadable)?.starts_with(MAGIC) {
        return Err(damaged("it does not begin with a GDSII header".into()));
    }
    let builder = Builder::new(path, "GDSII", options, bytes);
    let mut reader = Reader { records: Records::new(input), builder, cell: None, unit_nm: None };
    reader.library().map_err(|stop| match stop {
        Stop::Damaged(problem) => damaged(problem),
        Stop::Io(error) => LayoutError::Read(path.to_path_buf(), error),
    })?;
    let unit_nm = reader.unit_nm.ok_or_else(|| damaged("it has no UNITS".into()))?;
    reader.builder.with_unit(unit_nm)
}

struct Reader<R> {
    records: Records<R>,
    builder: Builder,
    cell: Option<u32>,
    unit_nm: Option<f64>,
}

impl<R: BufRead> Reader<R> {
    fn library(&mut self) -> Result<(), Stop> {
        loop {
            self.records.advance()?;
            match self.records.kind {
                kind::UNITS => self.unit_nm = Some(self.records.reals::<2>()?[1] * 1e9),
                kind::BGNSTR => self.cell = None,
                kind::STRNAME => {
                    let cell = self.builder.number(&self.records.string())?;
                    self.builder.define(cell)?;
                    self.cell = Some(cell);
                }
                kind::ENDSTR => self.cell = None,
                kind @ (kind::BOUNDARY | kind::BOX | kind::PATH | kind::SREF | kind::AREF) => {
                    let start = self.records.start;
                    let Some(cell) = self.cell else {
                        return Err(Stop::Damaged(format!(
                            "the element at byte {start} is in no cell"
                        )));
                    };
                    let element = Element { kind, ..self.element()? };
                    let added = element.add(cell, &mut self.builder);
                    added.map_err(|e| format!("the element at byte {start}: {e}"))?;
                }
                kind::TEXT | kind::NODE => drop(self.element()?),
                kind::ENDLIB => return Ok(()),
                _ => {}
            }
        }
    }

    /// The records up to the end of an element.
    fn element(&mut self) -> Result<Element, Stop> {
        let mut element = Element { magnification: 1.0, ..Element::default() };
        loop {
            self.records.advance()?;
            let records = &self.records;
            match records.kind {
                kind::LAYER => element.layer.layer = u32::from(records.shorts::<1>()?[0]),
                kind::DATATYPE | kind::BOXTYPE => {
                    element.layer.datatype = u32::from(records.shorts::<1>()?[0]);
                }
                kind::XY => element.points.extend(records.points()?),
                kind::WIDTH => element.width = records.long()?,
                kind::PATHTYPE => element.path_type = records.shorts::<1>()?[0],
                kind::BGNEXTN => element.extensions[0] = records.long()?,
                kind::ENDEXTN => element.extensions[1] = records.long()?,
                kind::SNAME => element.name = records.string(),
                kind::COLROW => element.counts = records.shorts::<2>()?,
                kind::STRANS => element.reflected = records.shorts::<1>()?[0] & 0x8000 != 0,
                kind::MAG => element.magnification = records.reals::<1>()?[0],
                kind::ANGLE => element.degrees = records.reals::<1>()?[0],
                kind::ENDEL => return Ok(element),
                kind @ (kind::HEADER..=kind::TEXT | kind::NODE | kind::BOX) => {
                    return Err(Stop::Damaged(format!(
                        "there is a record of kind {kind:#04x} at byte {} in an element without ENDEL",
                        records.start
                    )));
                }
                _ => {}
            }
        }
    }
}

/// What the records of an element say.
#[derive(Default)]
struct Element {
    kind: u8,
    layer: Layer,
    points: Vec<[i32; 2]>,
    width: i32,
    path_type: u16,
    extensions: [i32; 2],
    name: String,
    counts: [u16; 2],
    reflected: bool,
    magnification: f64,
    degrees: f64,
}

impl Element {
    fn add(&self, cell: u32, to: &mut Builder) -> Result<(), String> {
        match self.kind {
            kind::BOUNDARY | kind::BOX => to.polygon(cell, self.layer, &self.points, None),
            kind::PATH => {
                let outlines = self.wide().outlines();
                outlines.iter().try_for_each(|points| to.fine(cell, self.layer, points, None))
            }
            _ => self.add_instance(cell, to),
        }
    }

    /// Ends by path type: 0 flush, 1 round, 2 by half the width, 4 by the path's own extensions.
    fn wide(&self) -> Wide {
        let half = f64::from(self.width).abs() / 2.0;
        let ends = match self.path_type {
            2 => [half, half],
            4 => self.extensions.map(f64::from),
            _ => [0.0, 0.0],
        };
        let points = self.points.iter().map(|p| p.map(f64::from)).collect();
        Wide { points, half, ends, round: self.path_type == 1 }
    }

    fn add_instance(&self, cell: u32, to: &mut Builder) -> Result<(), String> {
        let inner = to.number(&self.name)?;
        let Self { reflected, magnification, degrees, .. } = *self;
        let (at, repetition) = match (self.kind, self.points.as_slice()) {
            (kind::SREF, [at]) => (*at, None),
            (kind::AREF, [at, column, row]) => {
                if self.counts.contains(&0) {
                    return Ok(());
                }
                let step = |end: &[i32; 2], count: u16| {
                    [0, 1].map(|i| (f64::from(end[i]) - f64::from(at[i])) / f64::from(count))
                };
                let steps = [step(column, self.counts[0]), step(row, self.counts[1])];
                let grid = Repetition::Grid { counts: self.counts.map(u64::from), steps };
                (*at, Some(to.repetition(grid)?))
            }
            (kind, points) => {
                let expected = if kind == kind::SREF { 1 } else { 3 };
                return Err(format!("expected {expected} points, got {}", points.len()));
            }
        };
        to.instance(cell, inner, &Placement { at, reflected, magnification, degrees }, repetition)
    }
}
