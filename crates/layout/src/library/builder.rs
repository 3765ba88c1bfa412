//! From what a reader finds to a [`Library`]: cells by name, layers, the top cell, bounds.

mod choose;
mod contents;
mod order;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

pub use contents::{CellContents, Contents, LayerContents};

use super::Library;
use super::cell::{Cell, Instance, Shapes, Tables};
use super::repetition::Repetition;
use super::transform::{Turn, turn};
use crate::{Bounds, Layer, Layout, LayoutError, ReadOptions, names};

/// Bytes that a library of a small file may take, and how many more for each byte of the file. Compressed
/// files can ask for thousands of times their size.
const LEAST_BYTES: u64 = 256 << 20;
const BYTES_PER_BYTE: u64 = 64;
/// Bytes that a cell, a layer of a cell and a turn take besides what is in them, about.
const CELL_BYTES: u64 = 200;
const LAYER_BYTES: u64 = 400;
const TURN_BYTES: u64 = 128;
/// What looking at a shape that is not wanted costs.
const UNWANTED_BYTES: u64 = 8;
/// Magnifications outside are mistakes, and products of many of them no numbers.
const MAGNIFICATIONS: [f64; 2] = [1e-4, 1e4];
/// Coordinates beyond this many database units are no longer whole numbers of fractions of one.
const FURTHEST: f64 = 1e15;

/// Bytes that a file of a size may unpack to.
pub(crate) fn most_unpacked(file_bytes: u64) -> u64 {
    LEAST_BYTES.saturating_add(file_bytes.saturating_mul(BYTES_PER_BYTE))
}

/// A library that is being read.
pub(crate) struct Builder {
    path: PathBuf,
    format: &'static str,
    layer: Option<Layer>,
    cell: Option<String>,
    unit_nm: f64,
    window: Option<Bounds>,
    has_layers: bool,
    /// Bytes that may still be stored.
    bytes: u64,
    numbers: HashMap<String, u32>,
    drafts: Vec<Draft>,
    turns: HashMap<[u64; 4], u32>,
    tables: Tables,
}

/// A cell as far as it is known.
#[derive(Default)]
struct Draft {
    name: String,
    /// Whether the cell itself was there, not only a reference to it.
    defined: bool,
    /// Layers that are not wanted are there without shapes.
    layers: BTreeMap<Layer, Box<Shapes>>,
    instances: Vec<Instance>,
    /// The same cell under another number.
    same: Option<u32>,
}

/// How an instance is turned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    pub(crate) at: [i32; 2],
    pub(crate) reflected: bool,
    pub(crate) magnification: f64,
    pub(crate) degrees: f64,
}

impl Builder {
    /// For a file of a size.
    pub(crate) fn new(
        path: &Path,
        format: &'static str,
        options: &ReadOptions,
        file_bytes: u64,
    ) -> Self {
        Self {
            path: path.to_path_buf(),
            format,
            layer: options.layer,
            cell: options.cell.clone(),
            unit_nm: 1.0,
            window: None,
            has_layers: true,
            bytes: most_unpacked(file_bytes),
            numbers: HashMap::new(),
            drafts: Vec::new(),
            turns: HashMap::new(),
            tables: Tables::default(),
        }
    }

    /// A file with one cell and no layers: a layout in multiples of `unit_nm`.
    pub(crate) fn flat(
        path: &Path,
        format: &'static str,
        layout: &Layout,
        unit_nm: f64,
    ) -> Result<Self, LayoutError> {
        let mut builder = Self::new(path, format, &ReadOptions::default(), u64::MAX);
        let damaged = |problem| LayoutError::Damaged { path: path.to_path_buf(), format, problem };
        let cell = builder.number(&layout.name).map_err(damaged)?;
        builder.define(cell).map_err(damaged)?;
        for polygon in &layout.polygons {
            builder.fine(cell, Layer::default(), &polygon.points, None).map_err(damaged)?;
        }
        let nm = |p: [f64; 2]| p.map(|v| v * unit_nm);
        builder.window = layout.window.map(|w| Bounds { min: nm(w.min), max: nm(w.max) });
        builder.has_layers = false;
        builder.with_unit(unit_nm)
    }

    fn damaged(&self, problem: String) -> LayoutError {
        LayoutError::Damaged { path: self.path.clone(), format: self.format, problem }
    }

    /// The number of the cell of this name, which may be defined later.
    pub(crate) fn number(&mut self, name: &str) -> Result<u32, String> {
        if let Some(&number) = self.numbers.get(name) {
            return Ok(number);
        }
        let number = self.nameless()?;
        self.call(number, name)?;
        Ok(number)
    }

    /// A cell whose name is not known yet.
    pub(crate) fn nameless(&mut self) -> Result<u32, String> {
        self.store(CELL_BYTES)?;
        self.drafts.push(Draft::default());
        Ok((self.drafts.len() - 1) as u32)
    }

    fn call(&mut self, number: u32, name: &str) -> Result<(), String> {
        self.store(2 * name.len() as u64)?;
        self.drafts[number as usize].name = name.to_string();
        self.numbers.insert(name.to_string(), number);
        Ok(())
    }

    /// Gives a name to a cell that had none. It may turn out to be one that is known by name.
    pub(crate) fn name(&mut self, number: u32, name: &str) -> Result<(), String> {
        let Some(&known) = self.numbers.get(name) else {
            return self.call(number, name);
        };
        let draft = std::mem::take(&mut self.drafts[number as usize]);
        if draft.defined {
            self.define(known)?;
            let at = &mut self.drafts[known as usize];
            (at.layers, at.instances) = (draft.layers, draft.instances);
        }
        self.drafts[number as usize].same = Some(known);
        Ok(())
    }

    /// Begins a cell.
    pub(crate) fn define(&mut self, number: u32) -> Result<(), String> {
        let draft = &mut self.drafts[number as usize];
        match std::mem::replace(&mut draft.defined, true) {
            true => Err(format!("cell {:?} is there twice", names::shown(&draft.name))),
            false => Ok(()),
        }
    }

    /// Whether shapes of a layer are kept.
    pub(crate) fn wants(&self, layer: Layer) -> bool {
        self.layer.is_none_or(|wanted| wanted == layer)
    }

    /// Keeps a repetition for shapes and instances to refer to.
    pub(crate) fn repetition(&mut self, repetition: Repetition) -> Result<u32, String> {
        let own = match &repetition {
            Repetition::List(places) => places.bytes(),
            Repetition::Grid { .. } => 0,
        };
        self.store(64 + own)?;
        self.tables.repetitions.push(repetition);
        Ok((self.tables.repetitions.len() - 1) as u32)
    }

    /// Adds a polygon of whole database units, if it has an inside.
    pub(crate) fn polygon(
        &mut self,
        cell: u32,
        layer: Layer,
        points: &[[i32; 2]],
        repetition: Option<u32>,
    ) -> Result<(), String> {
        let points = open(points);
        let Some(shapes) = self.shapes(cell, layer, 8 * points.len(), points.len())? else {
            return Ok(());
        };
        shapes.whole.push(points, repetition).ok_or_else(too_many_points)
    }

    /// Adds a polygon whose corners are anywhere.
    pub(crate) fn fine(
        &mut self,
        cell: u32,
        layer: Layer,
        points: &[[f64; 2]],
        repetition: Option<u32>,
    ) -> Result<(), String> {
        if !points.iter().flatten().all(|v| v.abs() <= f64::from(i32::MAX)) {
            return Err("a shape reaches beyond 32 bits of database units".into());
        }
        if points.iter().flatten().all(|v| v.fract() == 0.0) {
            let whole: Vec<[i32; 2]> = points.iter().map(|p| p.map(|v| v as i32)).collect();
            return self.polygon(cell, layer, &whole, repetition);
        }
        let points = open(points);
        let Some(shapes) = self.shapes(cell, layer, 16 * points.len(), points.len())? else {
            return Ok(());
        };
        shapes.fine.push(points, repetition).ok_or_else(too_many_points)
    }

    /// Where to put a polygon of so many bytes and corners; nowhere if it is not wanted.
    fn shapes(
        &mut self,
        cell: u32,
        layer: Layer,
        bytes: usize,
        corners: usize,
    ) -> Result<Option<&mut Shapes>, String> {
        if corners < 3 {
            return Ok(None);
        }
        let wanted = self.wants(layer);
        if wanted {
            self.store(bytes as u64 + 12)?;
        }
        if !self.drafts[cell as usize].layers.contains_key(&layer) {
            self.store(LAYER_BYTES)?;
        }
        let shapes = self.drafts[cell as usize].layers.entry(layer).or_default();
        Ok(wanted.then_some(&mut **shapes))
    }

    /// Adds an instance of a cell.
    pub(crate) fn instance(
        &mut self,
        into: u32,
        cell: u32,
        placement: &Placement,
        repetition: Option<u32>,
    ) -> Result<(), String> {
        let Placement { at, reflected, magnification, degrees } = *placement;
        let [least, most] = MAGNIFICATIONS;
        if !(least..=most).contains(&magnification) || !degrees.is_finite() {
            return Err(format!(
                "an instance is magnified by {magnification} and turned by {degrees} degrees; \
                 expected {least} to {most}, and a finite angle"
            ));
        }
        self.store(32)?;
        let turn = self.turn(turn(reflected, magnification, degrees))?;
        let instance = Instance { cell, turn, repetition, at };
        self.drafts[into as usize].instances.push(instance);
        Ok(())
    }

    fn turn(&mut self, turn: Turn) -> Result<u32, String> {
        let next = self.tables.turns.len() as u32;
        let number = *self.turns.entry(turn.map(f64::to_bits)).or_insert(next);
        if number == next {
            self.store(TURN_BYTES)?;
            self.tables.turns.push(turn);
        }
        Ok(number)
    }

    /// Notes that a cell has shapes on a layer that is not wanted.
    pub(crate) fn unwanted(&mut self, cell: u32, layer: Layer) -> Result<(), String> {
        self.store(UNWANTED_BYTES)?;
        self.shapes(cell, layer, 0, usize::MAX).map(drop)
    }

    /// Counts bytes that are kept, or are as much work.
    pub(crate) fn store(&mut self, bytes: u64) -> Result<(), String> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| {
            format!(
                "it unpacks to more than {} MiB and {BYTES_PER_BYTE} times its size",
                LEAST_BYTES >> 20
            )
        })?;
        Ok(())
    }

    /// Sets the length of a database unit.
    pub(crate) fn with_unit(self, unit_nm: f64) -> Result<Self, LayoutError> {
        match unit_nm.is_finite() && (1e-6..=1e9).contains(&unit_nm) {
            true => Ok(Self { unit_nm, ..self }),
            false => Err(self.damaged(format!("its database unit is {unit_nm} nm"))),
        }
    }

    /// Instances of cells that were known by two numbers have one of them.
    fn resolve(&mut self) {
        let same: Vec<Option<u32>> = self.drafts.iter().map(|draft| draft.same).collect();
        for instance in self.drafts.iter_mut().flat_map(|draft| &mut draft.instances) {
            instance.cell = same[instance.cell as usize].unwrap_or(instance.cell);
        }
    }

    /// The library under the chosen cell, with the chosen layer.
    pub(crate) fn finish(mut self) -> Result<Library, LayoutError> {
        self.resolve();
        let top = self.choose_cell()?;
        let order = order::below(&self, top)?;
        let layer = self.choose_layer(&order)?;
        let cells = self.close(&order, layer)?;
        Library::new(Library {
            name: names::stem(&self.path, self.cell.as_deref()),
            path: self.path,
            cell: self.drafts[top as usize].name.clone(),
            layer: layer.filter(|_| self.has_layers),
            unit_nm: self.unit_nm,
            cells,
            top: top as usize,
            tables: self.tables,
            window: self.window,
            extent: None,
        })
    }

    /// The cells by number, those inside of others first; what is not in `order` stays empty.
    fn close(&mut self, order: &[u32], layer: Option<Layer>) -> Result<Vec<Cell>, LayoutError> {
        let mut cells: Vec<Cell> = Vec::new();
        cells.resize_with(self.drafts.len(), Cell::default);
        for &number in order {
            let draft = &mut self.drafts[number as usize];
            let mut layers = std::mem::take(&mut draft.layers);
            let shapes = *layer.and_then(|layer| layers.remove(&layer)).unwrap_or_default();
            let instances = std::mem::take(&mut draft.instances);
            let mut cell = Cell { shapes, instances, ..Cell::default() };
            cell.close(&cells, &self.tables);
            let corners = cell.bounds.iter().flat_map(|b| [b.min, b.max]).flatten();
            if !corners.into_iter().all(|v| v.abs() < FURTHEST) {
                let name = names::shown(&self.drafts[number as usize].name);
                return Err(
                    self.damaged(format!("cell {name:?} reaches further than {FURTHEST} units"))
                );
            }
            cells[number as usize] = cell;
        }
        Ok(cells)
    }
}

fn too_many_points() -> String {
    "a cell has more than 2^32 corners".into()
}

/// Without the last point if it repeats the first.
fn open<T: PartialEq>(points: &[T]) -> &[T] {
    match points {
        [first, middle @ .., last] if first == last => &points[..=middle.len()],
        _ => points,
    }
}
