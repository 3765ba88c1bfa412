//! Walking through a library: every flat polygon, or those near a window.

use super::Library;
use super::cell::{Cell, Instance};
use super::transform::Transform;
use super::work::{MOST_ITEMS, Work};
use crate::{Bounds, LayoutError, Polygon};

/// A search in progress.
struct Search<'a, F> {
    library: &'a Library,
    /// What the polygons must touch, in nm; all are wanted without it.
    window: Option<Bounds>,
    /// Whether polygons come in the file's order, for which all that are near must be known first.
    in_order: bool,
    take: F,
}

impl Library {
    /// Every flat polygon, in nm.
    pub(super) fn all(&self) -> Result<Vec<Polygon>, LayoutError> {
        let [polygons, corners] = self.cells[self.top].flat;
        Work::new(&self.path, 0).keep(polygons, corners)?;
        let mut found = Vec::with_capacity(polygons as usize);
        let extent = self.extent();
        self.search(None, u64::MAX, |polygon, work| {
            work.cover(&polygon.bounds(), &extent)?;
            found.push(polygon);
            Ok(())
        })?;
        Ok(found)
    }

    /// Flat polygons that touch a window, in nm.
    pub(super) fn near(&self, window: Bounds) -> Result<Vec<Polygon>, LayoutError> {
        let mut found = Vec::new();
        self.search(Some(window), MOST_ITEMS, |polygon, work| {
            work.keep(1, polygon.points.len() as u64)?;
            work.cover(&polygon.bounds(), &window)?;
            found.push(polygon);
            Ok(())
        })?;
        Ok(found)
    }

    /// Whether a flat polygon's bounds touch a window, in nm.
    pub(super) fn any_near(&self, window: Bounds) -> Result<bool, LayoutError> {
        let mut work = Work::new(&self.path, MOST_ITEMS);
        let (mut found, to_nm) = (false, Transform::scale(self.unit_nm));
        let take = |_, work: &mut Work| {
            found = true;
            work.spend(u64::MAX) // ends the search
        };
        let mut search = Search { library: self, window: Some(window), in_order: false, take };
        let searched = search.cell(self.top, &to_nm, &mut work);
        if found { Ok(true) } else { searched.map(|()| false) }
    }

    /// Calls `take` with each flat polygon. Polygons come before instances, in the file's order.
    pub(super) fn search<F>(
        &self,
        window: Option<Bounds>,
        items: u64,
        take: F,
    ) -> Result<(), LayoutError>
    where
        F: FnMut(Polygon, &mut Work) -> Result<(), LayoutError>,
    {
        let mut work = Work::new(&self.path, items);
        let to_nm = Transform::scale(self.unit_nm);
        let mut search = Search { library: self, window, in_order: true, take };
        search.cell(self.top, &to_nm, &mut work)
    }
}

impl<F: FnMut(Polygon, &mut Work) -> Result<(), LayoutError>> Search<'_, F> {
    fn cell(&mut self, cell: usize, to_nm: &Transform, work: &mut Work) -> Result<(), LayoutError> {
        let library = self.library;
        let cell = &library.cells[cell];
        let Some(bounds) = cell.bounds else { return Ok(()) };
        let local = self.window.map(|window| to_nm.before(&window));
        match local {
            Some(window) if !holds(&window, &bounds) && self.in_order => {
                let near = cell.index.near(&window);
                work.spend(1 + near.len() as u64)?;
                near.iter()
                    .try_for_each(|&i| self.item(cell, i as usize, Some(&window), to_nm, work))
            }
            Some(window) if !holds(&window, &bounds) => cell.index.each(&window, |i| {
                work.spend(1)?;
                self.item(cell, i as usize, Some(&window), to_nm, work)
            }),
            _ => {
                work.spend(1)?;
                (0..cell.items()).try_for_each(|i| self.item(cell, i, None, to_nm, work))
            }
        }
    }

    /// An item at all its places near the window, which is the cell's.
    fn item(
        &mut self,
        cell: &Cell,
        item: usize,
        window: Option<&Bounds>,
        to_nm: &Transform,
        work: &mut Work,
    ) -> Result<(), LayoutError> {
        let Library { tables, cells, .. } = self.library;
        let instance = item.checked_sub(cell.shapes.len()).map(|i| cell.instances[i]);
        let mut place = |by: [f64; 2], work: &mut Work| match &instance {
            None => self.polygon(cell, item, by, to_nm, work),
            Some(instance) => self.instance(instance, by, to_nm, work),
        };
        let bounds = || cell.first_bounds(item, cells, tables);
        match tables.repetition(cell.repetition(item)) {
            None if window.is_some_and(|window| !bounds().touches(window)) => Ok(()),
            None => place([0.0; 2], work),
            Some(repetition) => repetition.each(&bounds(), window, work, &mut place),
        }
    }

    fn instance(
        &mut self,
        instance: &Instance,
        by: [f64; 2],
        to_nm: &Transform,
        work: &mut Work,
    ) -> Result<(), LayoutError> {
        let inner = to_nm.after(&self.library.tables.transform(instance, by));
        self.cell(instance.cell as usize, &inner, work)
    }

    fn polygon(
        &mut self,
        cell: &Cell,
        index: usize,
        by: [f64; 2],
        to_nm: &Transform,
        work: &mut Work,
    ) -> Result<(), LayoutError> {
        work.spend(1)?;
        let polygon = Polygon::new(cell.shapes.transformed(index, by, to_nm));
        match self.window {
            Some(window) if !polygon.bounds().touches(&window) => Ok(()),
            _ => (self.take)(polygon, work),
        }
    }
}

fn holds(outer: &Bounds, inner: &Bounds) -> bool {
    (0..2).all(|i| outer.min[i] <= inner.min[i] && inner.max[i] <= outer.max[i])
}
