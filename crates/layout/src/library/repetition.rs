//! Repetitions: one shape or instance at many places, kept as what the file says.

use super::index::Index;
use super::work::Work;
use crate::{Bounds, LayoutError};

/// What is done with each place.
type Found<'a> = &'a mut dyn FnMut([f64; 2], &mut Work) -> Result<(), LayoutError>;

/// Places relative to the first, which is at 0.
#[derive(Debug)]
pub(crate) enum Repetition {
    /// Columns and rows: `counts` places along each of the two `steps`.
    Grid {
        /// How many along each step, at least 1.
        counts: [u64; 2],
        /// From one place to the next; in database units, and not always whole ones.
        steps: [[f64; 2]; 2],
    },
    /// Anywhere.
    List(Places),
}

/// Places in any order, the first among them. There may be millions, so they are searched by a tree.
#[derive(Debug)]
pub(crate) struct Places {
    places: Vec<[i32; 2]>,
    index: Index,
}

impl Places {
    pub(crate) fn new(mut places: Vec<[i32; 2]>) -> Self {
        places.shrink_to_fit();
        let point = |i: u32| places[i as usize].map(f64::from);
        let index = Index::new(places.len() as u32, |i| Bounds { min: point(i), max: point(i) });
        Self { places, index }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        16 * self.places.len() as u64
    }
}

impl Repetition {
    /// Number of places.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Grid { counts, .. } => counts[0].saturating_mul(counts[1]),
            Self::List(list) => list.places.len() as u64,
        }
    }

    /// The smallest rectangle around a rectangle at all places.
    pub(crate) fn bounds(&self, of: Bounds) -> Bounds {
        let at = |by: [f64; 2]| moved(&of, by);
        match self {
            Self::Grid { counts, steps } => {
                let [c, r] = counts.map(|n| (n - 1) as f64);
                let corner = |c: f64, r: f64| at(place(steps, c, r));
                corner(0.0, 0.0).union(corner(c, 0.0)).union(corner(0.0, r)).union(corner(c, r))
            }
            Self::List(list) => {
                let all = list.places.iter().map(|p| at(p.map(f64::from)));
                all.reduce(Bounds::union).unwrap_or(of)
            }
        }
    }

    /// Calls `found` with each place where a rectangle touches the window (all, without one), in order.
    pub(crate) fn each(
        &self,
        of: &Bounds,
        window: Option<&Bounds>,
        work: &mut Work,
        found: Found<'_>,
    ) -> Result<(), LayoutError> {
        match self {
            Self::Grid { counts, steps } => {
                let rows = window.map_or([0, counts[1]], |w| rows(of, w, counts, steps));
                for row in rows[0]..rows[1] {
                    work.spend(1)?;
                    let along = place(steps, 0.0, row as f64);
                    let columns = window.map_or([0, counts[0]], |w| {
                        let free = ranges(of, w, along, [0.0; 2]);
                        within(free, steps[0], counts[0])
                    });
                    for column in columns[0]..columns[1] {
                        found(place(steps, column as f64, row as f64), work)?;
                    }
                }
            }
            Self::List(list) => {
                let mut at = |i: usize, work: &mut Work| found(list.places[i].map(f64::from), work);
                let Some(window) = window else {
                    return (0..list.places.len()).try_for_each(|i| at(i, work));
                };
                let [x, y] = ranges(of, window, [0.0; 2], [0.0; 2]);
                let near = list.index.near(&Bounds { min: [x[0], y[0]], max: [x[1], y[1]] });
                work.spend(near.len() as u64)?;
                near.iter().try_for_each(|&i| at(i as usize, work))?;
            }
        }
        Ok(())
    }
}

fn place(steps: &[[f64; 2]; 2], column: f64, row: f64) -> [f64; 2] {
    [0, 1].map(|axis| column * steps[0][axis] + row * steps[1][axis])
}

/// A rectangle moved by a vector.
pub(crate) fn moved(of: &Bounds, by: [f64; 2]) -> Bounds {
    let shift = |p: [f64; 2]| [p[0] + by[0], p[1] + by[1]];
    Bounds { min: shift(of.min), max: shift(of.max) }
}

/// The rows that have a place near the window, whatever its column.
fn rows(of: &Bounds, window: &Bounds, counts: &[u64; 2], steps: &[[f64; 2]; 2]) -> [u64; 2] {
    let reach = steps[0].map(|s| s * (counts[0] - 1) as f64);
    within(ranges(of, window, [0.0; 2], reach), steps[1], counts[1])
}

/// For each axis, from where to where a rectangle may be moved to touch the window, if it has been moved by
/// `already` and will be by anything from 0 to `reach`.
fn ranges(of: &Bounds, window: &Bounds, already: [f64; 2], reach: [f64; 2]) -> [[f64; 2]; 2] {
    [0, 1].map(|i| {
        let (low, high) = (window.min[i] - of.max[i], window.max[i] - of.min[i]);
        [low - already[i] - reach[i].max(0.0), high - already[i] - reach[i].min(0.0)]
    })
}

/// The multiples `from..to` of a step that lie within the ranges, and one more on each side for rounding's sake.
fn within(ranges: [[f64; 2]; 2], step: [f64; 2], count: u64) -> [u64; 2] {
    let (mut from, mut to) = (0.0_f64, count as f64);
    for (range, step) in ranges.iter().zip(step) {
        if step != 0.0 {
            let ends = range.map(|v| v / step);
            from = from.max(ends[0].min(ends[1]).floor() - 1.0);
            to = to.min(ends[0].max(ends[1]).ceil() + 2.0);
        } else if range[0] > 0.0 || range[1] < 0.0 {
            return [0, 0];
        }
    }
    [from as u64, (to.max(0.0) as u64).min(count)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against trying every place.
        #[test]
        fn a_window_finds_the_places_that_touch_it(
            counts in proptest::array::uniform2(1..9_u64),
            steps in proptest::array::uniform2(proptest::array::uniform2(-4..5_i32)),
            corner in proptest::array::uniform2(-30..30_i32),
            size in proptest::array::uniform2(0..12_i32),
        ) {
            let grid = Repetition::Grid { counts, steps: steps.map(|s| s.map(f64::from)) };
            let of = Bounds { min: [0.0; 2], max: [2.0, 1.0] };
            let min = corner.map(f64::from);
            let window = Bounds { min, max: [0, 1].map(|i| min[i] + f64::from(size[i])) };
            let places = |repetition: &Repetition, window: Option<&Bounds>| {
                let mut places = Vec::new();
                let mut add = |by, _: &mut Work| {
                    places.push(by);
                    Ok(())
                };
                repetition.each(&of, window, &mut Work::new("", 1000), &mut add).expect("enough");
                places
            };
            let touches = |by: &[f64; 2]| moved(&of, *by).touches(&window);
            let mut all = places(&grid, None);
            prop_assert_eq!(all.len() as u64, grid.count());
            let list = all.iter().map(|by| by.map(|v| v as i32)).collect();
            let list = Repetition::List(Places::new(list));
            prop_assert_eq!(&places(&list, None), &all);
            all.retain(touches);
            for repetition in [grid, list] {
                let mut found = places(&repetition, Some(&window));
                found.retain(touches);
                prop_assert_eq!(&found, &all);
            }
        }
    }
}
