//! From OASIS records to a library.

use std::path::Path;

use super::input::Input;
use super::modal::{Modal, move_to, set};
use super::names::Names;
use super::points::{narrow, sum};
use super::shape::Shape;
use super::validation::Scheme;
use super::{MAGIC, record};
use crate::library::{Builder, Placement, most_unpacked};
use crate::path::{Wide, disk};
use crate::{Layer, LayoutError, ReadOptions};

/// Sides of the polygons that circles become.
const CIRCLE_SIDES: u32 = 64;

/// Records without content that a file may have, and how many more for each of its bytes.
const LEAST_PASSED: u64 = 64 << 20;
const PASSED_PER_BYTE: u64 = 16;

/// Reads a file's content.
pub(crate) fn read(
    path: &Path,
    bytes: &[u8],
    options: &ReadOptions,
) -> Result<Builder, LayoutError> {
    let damaged = |problem: String| LayoutError::Damaged {
        path: path.to_path_buf(),
        format: "OASIS",
        problem,
    };
    if !bytes.starts_with(MAGIC) {
        return Err(damaged("it does not begin with %SEMI-OASIS".into()));
    }
    let builder = Builder::new(path, "OASIS", options, bytes.len() as u64);
    let mut reader = Reader {
        bytes,
        input: Input::new(bytes, MAGIC.len(), most_unpacked(bytes.len() as u64)),
        builder,
        modal: Modal::default(),
        cell: None,
        names: Names::default(),
        passed: 0,
    };
    let unit_nm = reader.file().map_err(|e| damaged(format!("{e}, {}", reader.input.place())))?;
    reader.names.give(&mut reader.builder).map_err(damaged)?;
    reader.builder.with_unit(unit_nm)
}

struct Reader<'a> {
    bytes: &'a [u8],
    input: Input<'a>,
    builder: Builder,
    modal: Modal,
    cell: Option<u32>,
    names: Names,
    /// Records that said nothing.
    passed: u64,
}

impl Reader<'_> {
    /// All records; returns the database unit in nm.
    fn file(&mut self) -> Result<f64, String> {
        if self.input.record()? != record::START {
            return Err("it does not begin with START".into());
        }
        let version = self.input.string()?;
        if version != b"1.0" {
            let version = String::from_utf8_lossy(&version).into_owned();
            return Err(format!("its version is {version:?}; only 1.0 is known"));
        }
        let steps_per_micron = self.input.real()?;
        let tables_at_end = self.input.unsigned()? != 0;
        if !tables_at_end {
            self.skip_numbers(12)?;
        }
        loop {
            match self.input.record()? {
                record::END => break,
                id => self.record(id)?,
            }
        }
        self.end(tables_at_end)?;
        Ok(1000.0 / steps_per_micron)
    }

    fn end(&mut self, has_tables: bool) -> Result<(), String> {
        if self.input.in_block() {
            return Err("there is an END in a CBLOCK".into());
        }
        if has_tables {
            self.skip_numbers(12)?;
        }
        self.input.skip_string()?;
        let scheme = match self.input.unsigned()? {
            0 => return Ok(()),
            1 => Scheme::Crc32,
            2 => Scheme::Checksum32,
            other => return Err(format!("its validation has type {other}; expected 0, 1 or 2")),
        };
        let signature = scheme.signature(&self.bytes[..self.input.position()]);
        let mut expected = [0; 4];
        for byte in &mut expected {
            *byte = self.input.byte()?;
        }
        match signature == u32::from_le_bytes(expected) {
            true => Ok(()),
            false => Err(format!(
                "its {scheme:?} is {signature:#010x}, but it says {:#010x}: it was changed or cut",
                u32::from_le_bytes(expected)
            )),
        }
    }

    fn skip_numbers(&mut self, count: usize) -> Result<(), String> {
        (0..count).try_for_each(|_| self.input.unsigned().map(drop))
    }

    fn record(&mut self, id: u64) -> Result<(), String> {
        match id {
            record::PAD | record::PROPERTY_AGAIN => self.pass(),
            record::CELLNAME..=record::LAYERNAME_TEXT | record::XNAME | record::XNAME_NUMBERED => {
                self.cell = None;
                self.name(id)
            }
            record::CELL_NUMBER | record::CELL_NAME => self.begin_cell(id),
            record::XYABSOLUTE | record::XYRELATIVE => {
                self.modal.relative = id == record::XYRELATIVE;
                self.pass()
            }
            record::PLACEMENT | record::PLACEMENT_ANY => {
                self.placement(id == record::PLACEMENT_ANY)
            }
            record::TEXT => self.text(),
            record::RECTANGLE..=record::CIRCLE => self.shape(id),
            record::PROPERTY => self.property(),
            record::XELEMENT => {
                self.skip_numbers(1)?;
                self.input.skip_string()
            }
            record::XGEOMETRY => self.extension(),
            record::CBLOCK => self.input.enter_block(),
            _ => Err(format!("there is no record {id} in OASIS")),
        }
    }

    /// Counts a record that says nothing: a small file can unpack to any number of them.
    fn pass(&mut self) -> Result<(), String> {
        self.passed += 1;
        match self.passed <= LEAST_PASSED + PASSED_PER_BYTE * self.bytes.len() as u64 {
            true => Ok(()),
            false => Err(format!("it has more than {} records that say nothing", self.passed - 1)),
        }
    }

    /// Names of cells are kept; those of texts, properties and layers are passed over.
    fn name(&mut self, id: u64) -> Result<(), String> {
        match id {
            record::CELLNAME => {
                let name = self.input.name()?;
                self.names.add(None, name, &mut self.builder)
            }
            record::CELLNAME_NUMBERED => {
                let name = self.input.name()?;
                let number = self.input.unsigned()?;
                self.names.add(Some(number), name, &mut self.builder)
            }
            record::TEXTSTRING..=record::PROPSTRING_NUMBERED => {
                self.input.skip_string()?;
                self.skip_numbers(usize::from(id.is_multiple_of(2)))
            }
            record::LAYERNAME | record::LAYERNAME_TEXT => {
                self.input.skip_string()?;
                self.interval()?;
                self.interval()
            }
            _ => {
                self.skip_numbers(1)?;
                self.input.skip_string()?;
                self.skip_numbers(usize::from(id == record::XNAME_NUMBERED))
            }
        }
    }

    fn interval(&mut self) -> Result<(), String> {
        let bounds = match self.input.unsigned()? {
            0 => 0,
            1..=3 => 1,
            4 => 2,
            other => return Err(format!("an interval has type {other}; expected 0 to 4")),
        };
        self.skip_numbers(bounds)
    }

    fn begin_cell(&mut self, id: u64) -> Result<(), String> {
        let cell = self.cell_reference(id == record::CELL_NUMBER)?;
        self.builder.define(cell)?;
        (self.cell, self.modal) = (Some(cell), Modal::default());
        Ok(())
    }

    fn cell_reference(&mut self, by_number: bool) -> Result<u32, String> {
        match by_number {
            true => self.names.cell(self.input.unsigned()?, &mut self.builder),
            false => self.builder.number(&self.input.name()?),
        }
    }

    fn in_cell(&self) -> Result<u32, String> {
        self.cell.ok_or_else(|| "there is a shape or placement outside of all cells".into())
    }

    fn placement(&mut self, any_angle: bool) -> Result<(), String> {
        let into = self.in_cell()?;
        let info = self.input.byte()?;
        if info & 0x80 != 0 {
            self.modal.cell = Some(self.cell_reference(info & 0x40 != 0)?);
        }
        let cell =
            self.modal.cell.ok_or("a PLACEMENT takes its cell from before, but there is none")?;
        let (mut magnification, mut degrees) = (1.0, 90.0 * f64::from(info >> 1 & 3));
        if any_angle {
            magnification = if info & 4 != 0 { self.input.real()? } else { 1.0 };
            degrees = if info & 2 != 0 { self.input.real()? } else { 0.0 };
        }
        let at =
            move_to(&mut self.modal.placement, self.modal.relative, info >> 4, &mut self.input)?;
        let mut repetition = None;
        if info & 8 != 0 {
            self.modal.read_repetition(&mut self.input)?;
            repetition = self.modal.stored_repetition(&mut self.builder)?;
        }
        let placement =
            Placement { at: narrow(at)?, reflected: info & 1 != 0, magnification, degrees };
        self.builder.instance(into, cell, &placement, repetition)
    }

    fn text(&mut self) -> Result<(), String> {
        let info = self.input.byte()?;
        match info & 0x60 {
            0x60 => self.skip_numbers(1)?,
            0x40 => self.input.skip_string()?,
            _ => {}
        }
        self.skip_numbers((info & 3).count_ones() as usize)?;
        move_to(&mut self.modal.text, self.modal.relative, info >> 3, &mut self.input)?;
        match info & 4 != 0 {
            true => self.modal.read_repetition(&mut self.input),
            false => Ok(()),
        }
    }

    fn property(&mut self) -> Result<(), String> {
        let info = self.input.byte()?;
        match info & 6 {
            6 => self.skip_numbers(1)?,
            4 => self.input.skip_string()?,
            _ => {}
        }
        if info & 8 != 0 {
            return Ok(()); // the values of before
        }
        let count = match info >> 4 {
            15 => self.input.unsigned()?,
            count => u64::from(count),
        };
        for _ in 0..count {
            match self.input.unsigned()? {
                real @ 0..=7 => drop(self.input.real_of(real)?),
                8 | 9 | 13..=15 => self.skip_numbers(1)?,
                10..=12 => self.input.skip_string()?,
                other => {
                    return Err(format!("a property's value has type {other}; expected 0 to 15"));
                }
            }
        }
        Ok(())
    }

    /// A shape of somebody's own kind.
    fn extension(&mut self) -> Result<(), String> {
        let info = self.input.byte()?;
        self.skip_numbers(1)?;
        self.layer(info)?;
        self.input.skip_string()?;
        self.position(info).map(drop)
    }

    /// Layer and datatype by the lowest two bits of a shape's info.
    fn layer(&mut self, info: u8) -> Result<Layer, String> {
        let (modal, input) = (&mut self.modal, &mut self.input);
        let layer = set(&mut modal.layer, "a layer", info & 1 != 0, || input.unsigned())?;
        let datatype = set(&mut modal.datatype, "a datatype", info & 2 != 0, || input.unsigned())?;
        match [layer, datatype].map(u32::try_from) {
            [Ok(layer), Ok(datatype)] => Ok(Layer { layer, datatype }),
            _ => Err(format!("layer {layer}/{datatype} has more than 32 bits")),
        }
    }

    /// Position and repetition, which end every shape: where it is, and whether it is repeated.
    fn position(&mut self, info: u8) -> Result<([i64; 2], bool), String> {
        let at =
            move_to(&mut self.modal.geometry, self.modal.relative, info >> 3, &mut self.input)?;
        let repeated = info & 4 != 0;
        if repeated {
            self.modal.read_repetition(&mut self.input)?;
        }
        Ok((at, repeated))
    }

    fn shape(&mut self, id: u64) -> Result<(), String> {
        let cell = self.in_cell()?;
        let info = self.input.byte()?;
        let layer = self.layer(info)?;
        let shape = self.modal.shape(id, info, &mut self.input)?;
        let (at, repeated) = self.position(info)?;
        if !self.builder.wants(layer) {
            return self.builder.unwanted(cell, layer);
        }
        let repetition = match repeated {
            true => self.modal.stored_repetition(&mut self.builder)?,
            false => None,
        };
        let place = |points: &[[i64; 2]]| points.iter().map(|&p| narrow(sum(p, at)?)).collect();
        let outlines = match shape {
            Shape::Corners(points) => {
                let points: Result<Vec<_>, String> = place(&points);
                return self.builder.polygon(cell, layer, &points?, repetition);
            }
            Shape::Path { line, half, ends } => {
                self.builder.store(8 * line.len() as u64)?;
                let points: Result<Vec<_>, String> = place(&line);
                let points = points?.iter().map(|p| p.map(f64::from)).collect();
                Wide { points, half: half as f64, ends: ends.map(|e| e as f64), round: false }
                    .outlines()
            }
            Shape::Circle(radius) => {
                vec![disk(narrow(at)?.map(f64::from), radius as f64, CIRCLE_SIDES)]
            }
        };
        outlines.iter().try_for_each(|points| self.builder.fine(cell, layer, points, repetition))
    }
}
