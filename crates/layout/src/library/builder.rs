//! From what a reader finds to a [`Library`]: cells by name, layers, the top cell, bounds.

mod choose;
mod order;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::Library;
use super::cell::{Cell, Instance, Shapes, Tables};
use super::repetition::Repetition;
use super::transform::{Turn, turn};
use crate::{Layer, LayoutError, ReadOptions};

/// Bytes that a library of a small file may take, and how many more for each byte of the file. Compressed
/// files can ask for thousands of times their size.
const LEAST_BYTES: u64 = 256 << 20;
const BYTES_PER_BYTE: u64 = 64;
/// Magnifications outside are mistakes, and products of many of them no numbers.
const MAGNIFICATIONS: [f64; 2] = [1e-4, 1e4];
/// Coordinates beyond this many database units are no longer whole numbers of fractions of one.
const FURTHEST: f64 = 1e15;

/// A library that is being read.
pub(crate) struct Builder {
    path: PathBuf,
    format: &'static str,
    layer: Option<Layer>,
    cell: Option<String>,
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
    layers: BTreeMap<Layer, Shapes>,
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
            bytes: LEAST_BYTES.saturating_add(file_bytes.saturating_mul(BYTES_PER_BYTE)),
            numbers: HashMap::new(),
            drafts: Vec::new(),
            turns: HashMap::new(),
            tables: Tables::default(),
        }
    }

    fn damaged(&self, problem: String) -> LayoutError {
        LayoutError::Damaged { path: self.path.clone(), format: self.format, problem }
    }

    /// The number of the cell of this name, which may be defined later.
    pub(crate) fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.nameless();
        self.drafts[number as usize].name = name.to_string();
        self.numbers.insert(name.to_string(), number);
        number
    }

    /// A cell whose name is not known yet.
    pub(crate) fn nameless(&mut self) -> u32 {
        self.drafts.push(Draft::default());
        (self.drafts.len() - 1) as u32
    }

    /// Gives a name to a cell that had none. It may turn out to be one that is known by name.
    pub(crate) fn name(&mut self, number: u32, name: &str) -> Result<(), String> {
        let Some(&known) = self.numbers.get(name) else {
            self.drafts[number as usize].name = name.to_string();
            self.numbers.insert(name.to_string(), number);
            return Ok(());
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
            true => Err(format!("cell {:?} is there twice", draft.name)),
            false => Ok(()),
        }
    }

    fn is_defined(&self, number: u32) -> bool {
        self.drafts[number as usize].defined
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
        let shapes = self.drafts[cell as usize].layers.entry(layer).or_default();
        Ok(wanted.then_some(shapes))
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
        let turn = self.turn(turn(reflected, magnification, degrees));
        let instance = Instance { cell, turn, repetition, at };
        self.drafts[into as usize].instances.push(instance);
        Ok(())
    }

    fn turn(&mut self, turn: Turn) -> u32 {
        let next = self.tables.turns.len() as u32;
        let number = *self.turns.entry(turn.map(f64::to_bits)).or_insert(next);
        if number == next {
            self.tables.turns.push(turn);
        }
        number
    }

    /// Notes that a cell has shapes on a layer that is not wanted.
    pub(crate) fn unwanted(&mut self, cell: u32, layer: Layer) -> Result<(), String> {
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

    /// The library under the chosen cell, with the chosen layer.
    pub(crate) fn finish(mut self, unit_nm: f64) -> Result<Library, LayoutError> {
        if !(unit_nm.is_finite() && (1e-6..=1e9).contains(&unit_nm)) {
            return Err(self.damaged(format!("its database unit is {unit_nm} nm")));
        }
        for i in 0..self.drafts.len() {
            for j in 0..self.drafts[i].instances.len() {
                let cell = self.drafts[i].instances[j].cell;
                if let Some(same) = self.drafts[cell as usize].same {
                    self.drafts[i].instances[j].cell = same;
                }
            }
        }
        let top = self.choose_cell()?;
        let order = order::below(&self, top)?;
        let layer = self.choose_layer(&order)?;
        let cells = self.close(&order, layer)?;
        let name = self.path.file_stem().and_then(|s| s.to_str()).unwrap_or("layout").to_string();
        let cell = self.drafts[top as usize].name.clone();
        let (path, tables) = (self.path, self.tables);
        let top = top as usize;
        Library::new(Library {
            path,
            name,
            cell,
            layer,
            unit_nm,
            cells,
            top,
            tables,
            window: None,
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
            let shapes = layer.and_then(|layer| layers.remove(&layer)).unwrap_or_default();
            let instances = std::mem::take(&mut draft.instances);
            let mut cell = Cell { shapes, instances, ..Cell::default() };
            cell.close(&cells, &self.tables);
            let corners = cell.bounds.iter().flat_map(|b| [b.min, b.max]).flatten();
            if !corners.into_iter().all(|v| v.abs() < FURTHEST) {
                let name = &self.drafts[number as usize].name;
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
