//! What is in a file, before anything of it is chosen.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Builder, order};
use crate::library::cell::{Instance, Shapes};
use crate::library::transform::Transform;
use crate::library::width;
use crate::{Bounds, Layer, LayoutError};

/// Layers of instances that are added up at most: about a second's work.
const MOST_SUMS: u64 = 20_000_000;

/// The cells and layers of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contents {
    /// GDSII, OASIS, GLP or PNG.
    pub format: &'static str,
    /// The length that coordinates are multiples of, in nm; a PNG's pixel.
    pub unit_nm: f64,
    /// The cells: those that no other refers to first, then by name.
    pub cells: Vec<CellContents>,
}

/// A cell of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellContents {
    /// Its name, as `--cell` takes it.
    pub name: String,
    /// Whether no other cell refers to it.
    pub top: bool,
    /// The layers with shapes, those of cells inside included.
    pub layers: Vec<LayerContents>,
}

/// A layer of a cell, with all that is inside the cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerContents {
    /// Layer and datatype; 0/0 where the format has none.
    pub layer: Layer,
    /// Polygons if it were flat; at most `u64::MAX`.
    pub polygons: u64,
    /// Around all polygons, in nm; around turned cells' boxes where cells are turned by other than quarter turns.
    pub bounds: Bounds,
    /// The least width of a polygon, between edges that face each other, in nm. None if no edges do, or if there are
    /// more than can be compared soon.
    pub smallest_nm: Option<f64>,
}

/// A layer of a cell, in database units.
#[derive(Clone, Copy)]
struct Sum {
    polygons: u64,
    bounds: Bounds,
    smallest: f64,
}

impl Sum {
    fn and(self, other: Self) -> Self {
        Self {
            polygons: self.polygons.saturating_add(other.polygons),
            bounds: self.bounds.union(other.bounds),
            smallest: self.smallest.min(other.smallest),
        }
    }
}

type Sums = BTreeMap<Layer, Sum>;

impl Builder {
    /// What is there, whatever was asked for.
    pub(crate) fn contents(mut self) -> Result<Contents, LayoutError> {
        self.resolve();
        let order = order::all(&self)?;
        let (mut sums, mut work): (Vec<Sums>, _) = (Vec::new(), MOST_SUMS);
        sums.resize_with(self.drafts.len(), Sums::new);
        let mut compared = width::MOST_COMPARED;
        for &cell in &order {
            sums[cell as usize] = self.sums(cell, &sums, &mut work, &mut compared)?;
        }
        let mut top = vec![false; self.drafts.len()];
        self.tops().iter().for_each(|&cell| top[cell as usize] = true);
        let cell = |&cell: &u32| CellContents {
            name: self.name_of(cell).to_string(),
            top: top[cell as usize],
            layers: sums[cell as usize].iter().map(|(&l, s)| self.layer_contents(l, s)).collect(),
        };
        let mut cells: Vec<CellContents> = order.iter().map(cell).collect();
        cells.sort_by(|a, b| b.top.cmp(&a.top).then_with(|| a.name.cmp(&b.name)));
        Ok(Contents { format: self.format, unit_nm: self.unit_nm, cells })
    }

    fn layer_contents(&self, layer: Layer, sum: &Sum) -> LayerContents {
        let nm = |p: [f64; 2]| p.map(|v| v * self.unit_nm);
        let bounds = Bounds { min: nm(sum.bounds.min), max: nm(sum.bounds.max) };
        let smallest = sum.smallest * self.unit_nm;
        let smallest_nm = smallest.is_finite().then_some(smallest);
        LayerContents { layer, polygons: sum.polygons, bounds, smallest_nm }
    }

    /// The layers of a cell, once those of the cells inside are known.
    fn sums(
        &self,
        cell: u32,
        inner: &[Sums],
        work: &mut u64,
        compared: &mut u64,
    ) -> Result<Sums, LayoutError> {
        let mut sums = Sums::new();
        let mut add = |layer: Layer, sum: Sum| {
            sums.entry(layer).and_modify(|s| *s = s.and(sum)).or_insert(sum);
        };
        let draft = &self.drafts[cell as usize];
        for (&layer, shapes) in &draft.layers {
            for index in 0..shapes.len() {
                add(layer, self.shape_sum(shapes, index, compared));
            }
        }
        for instance in &draft.instances {
            let layers = &inner[instance.cell as usize];
            *work = work.checked_sub(layers.len() as u64).ok_or_else(|| LayoutError::TooMuch {
                path: self.path.clone(),
                problem: format!("its instances have more than {MOST_SUMS} layers to add up"),
            })?;
            layers.iter().for_each(|(&layer, sum)| add(layer, self.instance_sum(instance, sum)));
        }
        Ok(sums)
    }

    fn shape_sum(&self, shapes: &Shapes, index: usize, compared: &mut u64) -> Sum {
        let repetition = shapes.repetition(index);
        Sum {
            polygons: self.tables.places(repetition),
            bounds: self.tables.spread(repetition, shapes.bounds(index)),
            smallest: width::smallest(&shapes.corners_of(index), compared).unwrap_or(f64::INFINITY),
        }
    }

    fn instance_sum(&self, instance: &Instance, sum: &Sum) -> Sum {
        let turn = self.tables.turns[instance.turn as usize];
        let placed = Transform::new(turn, instance.at.map(f64::from)).bounds(&sum.bounds);
        Sum {
            polygons: sum.polygons.saturating_mul(self.tables.places(instance.repetition)),
            bounds: self.tables.spread(instance.repetition, placed),
            smallest: sum.smallest * turn[0].hypot(turn[2]),
        }
    }
}
