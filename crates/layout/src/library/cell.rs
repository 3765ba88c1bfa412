//! What a cell holds: polygons and instances, close together in memory.

use super::index::Index;
use super::repetition::{Repetition, moved};
use super::transform::{Transform, Turn};
use crate::Bounds;

/// Polygons one after the other. Corners are whole database units, or fractions where a shape has them.
#[derive(Debug)]
pub(crate) struct Packed<T> {
    points: Vec<[T; 2]>,
    /// Where each polygon's points end.
    ends: Vec<u32>,
    /// Polygons that are repeated, ascending, and the numbers of their repetitions.
    repeats: Vec<(u32, u32)>,
}

impl<T> Default for Packed<T> {
    fn default() -> Self {
        Self { points: Vec::new(), ends: Vec::new(), repeats: Vec::new() }
    }
}

impl<T: Copy + Into<f64>> Packed<T> {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Adds a polygon; `None` if there are 2³² points already.
    pub(crate) fn push(&mut self, points: &[[T; 2]], repetition: Option<u32>) -> Option<()> {
        let end = u32::try_from(self.points.len() + points.len()).ok()?;
        if let Some(repetition) = repetition {
            self.repeats.push((self.ends.len() as u32, repetition));
        }
        self.points.extend_from_slice(points);
        self.ends.push(end);
        Some(())
    }

    fn points(&self, index: usize) -> &[[T; 2]] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.points[start as usize..self.ends[index] as usize]
    }

    fn repetition(&self, index: usize) -> Option<u32> {
        let found = self.repeats.binary_search_by_key(&(index as u32), |r| r.0);
        found.ok().map(|at| self.repeats[at].1)
    }

    fn bounds(&self, index: usize) -> Bounds {
        let none = Bounds { min: [f64::INFINITY; 2], max: [f64::NEG_INFINITY; 2] };
        let point = |p: &[T; 2]| p.map(Into::into);
        let points = self.points(index).iter().map(point);
        points.fold(none, |b, p| b.union(Bounds { min: p, max: p }))
    }

    fn corners(&self, index: usize) -> Vec<[f64; 2]> {
        self.points(index).iter().map(|p| p.map(Into::into)).collect()
    }

    /// The corners, moved by `by` and transformed.
    fn transformed(&self, index: usize, by: [f64; 2], transform: &Transform) -> Vec<[f64; 2]> {
        let point = |p: &[T; 2]| {
            let [x, y] = p.map(Into::into);
            transform.apply([x + by[0], y + by[1]])
        };
        self.points(index).iter().map(point).collect()
    }

    fn shrink(&mut self) {
        self.points.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.repeats.shrink_to_fit();
    }
}

/// The polygons of one cell and layer.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    pub(crate) whole: Packed<i32>,
    pub(crate) fine: Packed<f64>,
}

impl Shapes {
    pub(crate) fn len(&self) -> usize {
        self.whole.len() + self.fine.len()
    }

    /// Whole ones first.
    fn place(&self, index: usize) -> Result<usize, usize> {
        match index.checked_sub(self.whole.len()) {
            None => Ok(index),
            Some(fine) => Err(fine),
        }
    }

    /// Number of corners.
    pub(crate) fn corners(&self, index: usize) -> usize {
        match self.place(index) {
            Ok(whole) => self.whole.points(whole).len(),
            Err(fine) => self.fine.points(fine).len(),
        }
    }

    pub(crate) fn repetition(&self, index: usize) -> Option<u32> {
        match self.place(index) {
            Ok(whole) => self.whole.repetition(whole),
            Err(fine) => self.fine.repetition(fine),
        }
    }

    /// Bounds of the polygon at its first place.
    pub(crate) fn bounds(&self, index: usize) -> Bounds {
        match self.place(index) {
            Ok(whole) => self.whole.bounds(whole),
            Err(fine) => self.fine.bounds(fine),
        }
    }

    /// The corners of the polygon at its first place.
    pub(crate) fn corners_of(&self, index: usize) -> Vec<[f64; 2]> {
        match self.place(index) {
            Ok(whole) => self.whole.corners(whole),
            Err(fine) => self.fine.corners(fine),
        }
    }

    pub(crate) fn transformed(&self, index: usize, by: [f64; 2], to: &Transform) -> Vec<[f64; 2]> {
        match self.place(index) {
            Ok(whole) => self.whole.transformed(whole, by, to),
            Err(fine) => self.fine.transformed(fine, by, to),
        }
    }

    pub(crate) fn shrink(&mut self) {
        self.whole.shrink();
        self.fine.shrink();
    }
}

/// A cell placed in another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instance {
    /// Number of the cell.
    pub(crate) cell: u32,
    /// Number of its [`Turn`].
    pub(crate) turn: u32,
    /// Number of its repetition.
    pub(crate) repetition: Option<u32>,
    /// Where its origin is.
    pub(crate) at: [i32; 2],
}

/// One cell, with the wanted layer's shapes and the instances that lead to some.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    pub(crate) shapes: Shapes,
    pub(crate) instances: Vec<Instance>,
    /// Around everything in it; none if it is empty.
    pub(crate) bounds: Option<Bounds>,
    /// Flat polygons, and their corners.
    pub(crate) flat: [u64; 2],
    pub(crate) index: Index,
}

/// What instances refer to by number.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) turns: Vec<Turn>,
    pub(crate) repetitions: Vec<Repetition>,
}

impl Tables {
    pub(crate) fn repetition(&self, number: Option<u32>) -> Option<&Repetition> {
        number.map(|n| &self.repetitions[n as usize])
    }

    /// From an instance's cell to the cell that it is in, at its first place.
    pub(crate) fn transform(&self, instance: &Instance, by: [f64; 2]) -> Transform {
        let at = [0, 1].map(|i| f64::from(instance.at[i]) + by[i]);
        Transform::new(self.turns[instance.turn as usize], at)
    }

    /// Around a rectangle at all places of a repetition.
    pub(crate) fn spread(&self, repetition: Option<u32>, bounds: Bounds) -> Bounds {
        self.repetition(repetition).map_or(bounds, |r| r.bounds(bounds))
    }

    /// Number of places.
    pub(crate) fn places(&self, repetition: Option<u32>) -> u64 {
        self.repetition(repetition).map_or(1, Repetition::count)
    }
}

impl Cell {
    /// Polygons and instances.
    pub(crate) fn items(&self) -> usize {
        self.shapes.len() + self.instances.len()
    }

    /// Bounds of an item at its first place: polygons count first, then instances of `cells`.
    pub(crate) fn first_bounds(&self, item: usize, cells: &[Self], tables: &Tables) -> Bounds {
        let Some(instance) = item.checked_sub(self.shapes.len()) else {
            return self.shapes.bounds(item);
        };
        let instance = &self.instances[instance];
        let zero = Bounds { min: [0.0; 2], max: [0.0; 2] };
        let inner = cells[instance.cell as usize].bounds.unwrap_or(zero);
        let turned = Transform::new(tables.turns[instance.turn as usize], [0.0; 2]).bounds(&inner);
        moved(&turned, instance.at.map(f64::from))
    }

    /// The repetition of an item.
    pub(crate) fn repetition(&self, item: usize) -> Option<u32> {
        match item.checked_sub(self.shapes.len()) {
            None => self.shapes.repetition(item),
            Some(instance) => self.instances[instance].repetition,
        }
    }

    /// Computes bounds, counts and index, once those of the cells inside are known.
    pub(crate) fn close(&mut self, cells: &[Self], tables: &Tables) {
        self.instances.retain(|i| cells[i.cell as usize].bounds.is_some());
        self.instances.shrink_to_fit();
        self.shapes.shrink();
        for item in 0..self.items() {
            let places = tables.places(self.repetition(item));
            let each = match item.checked_sub(self.shapes.len()) {
                None => [1, self.shapes.corners(item) as u64],
                Some(instance) => cells[self.instances[instance].cell as usize].flat,
            };
            for (sum, each) in self.flat.iter_mut().zip(each) {
                *sum = sum.saturating_add(each.saturating_mul(places));
            }
        }
        let bounds = |item: u32| {
            let first = self.first_bounds(item as usize, cells, tables);
            tables.spread(self.repetition(item as usize), first)
        };
        let count = self.items() as u32;
        let all = (0..count).map(bounds).reduce(Bounds::union);
        let index = Index::new(count, bounds);
        (self.bounds, self.index) = (all, index);
    }
}
