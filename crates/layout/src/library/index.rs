//! Which items of a cell are near a window: a packed R-tree.
//!
//! Items are sorted into strips by x, in a strip by y (sort-tile-recursive packing), and grouped by sixteen;
//! groups of groups follow until one is left. It takes about six bytes an item.

use crate::Bounds;

/// Items of a group.
const GROUP: usize = 16;

/// The tree. Small cells have none and are searched whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    count: u32,
    /// Items in packed order.
    order: Vec<u32>,
    /// Bounds of the groups: of items first, then of groups.
    levels: Vec<Vec<Bounds>>,
}

impl Index {
    /// Indexes items `0..count` by their bounds.
    pub(crate) fn new(count: u32, bounds: impl Fn(u32) -> Bounds) -> Self {
        if (count as usize) <= GROUP {
            return Self { count, ..Self::default() };
        }
        let order = packed_order(count, &bounds);
        let union = |group: &[Bounds]| group.iter().copied().reduce(Bounds::union);
        let of_items = |items: &[u32]| items.iter().map(|&i| bounds(i)).reduce(Bounds::union);
        let mut levels: Vec<Vec<Bounds>> = vec![order.chunks(GROUP).filter_map(of_items).collect()];
        while let Some(last) = levels.last().filter(|level| level.len() > 1) {
            let next = last.chunks(GROUP).filter_map(union).collect();
            levels.push(next);
        }
        Self { count, order, levels }
    }

    /// The items whose groups touch the window, ascending: all that touch it, and others.
    pub(crate) fn near(&self, window: &Bounds) -> Vec<u32> {
        let mut found = Vec::new();
        let _ = self.each::<std::convert::Infallible>(window, |item| {
            found.push(item);
            Ok(())
        });
        found.sort_unstable();
        found
    }

    /// Calls `visit` with the items of [`Index::near`] in no order, until it fails.
    pub(crate) fn each<E>(
        &self,
        window: &Bounds,
        mut visit: impl FnMut(u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(top) = self.levels.len().checked_sub(1) else {
            return (0..self.count).try_for_each(visit);
        };
        let mut open = vec![(top, 0)];
        while let Some((level, group)) = open.pop() {
            if !self.levels[level][group].touches(window) {
                continue;
            }
            let from = group * GROUP;
            match level.checked_sub(1) {
                Some(below) => {
                    let to = (from + GROUP).min(self.levels[below].len());
                    open.extend((from..to).map(|group| (below, group)));
                }
                None => {
                    let to = (from + GROUP).min(self.order.len());
                    self.order[from..to].iter().try_for_each(|&item| visit(item))?;
                }
            }
        }
        Ok(())
    }
}

fn packed_order(count: u32, bounds: &impl Fn(u32) -> Bounds) -> Vec<u32> {
    let middle = |b: Bounds| [0, 1].map(|i| f64::midpoint(b.min[i], b.max[i]) as f32);
    let mut items: Vec<([f32; 2], u32)> = (0..count).map(|i| (middle(bounds(i)), i)).collect();
    let groups = items.len().div_ceil(GROUP);
    let strips = (groups as f64).sqrt().ceil() as usize;
    let by = |axis: usize| {
        move |a: &([f32; 2], u32), b: &([f32; 2], u32)| {
            a.0[axis].total_cmp(&b.0[axis]).then(a.1.cmp(&b.1))
        }
    };
    items.sort_unstable_by(by(0));
    for strip in items.chunks_mut(groups.div_ceil(strips) * GROUP) {
        strip.sort_unstable_by(by(1));
    }
    items.into_iter().map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    /// Against looking at every item.
    #[test]
    fn nothing_that_touches_a_window_is_missed() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for count in [0, 1, 16, 17, 300, 5000] {
            let mut boxes = |size: f64| {
                let min = [0, 1].map(|_| rng.random_range(-1000.0..1000.0));
                Bounds { min, max: min.map(|v: f64| v + rng.random_range(0.0..size)) }
            };
            let items: Vec<Bounds> = (0..count).map(|_| boxes(40.0)).collect();
            let index = Index::new(count, |i| items[i as usize]);
            for _ in 0..50 {
                let window = boxes(300.0);
                let touching = |i: &u32| items[*i as usize].touches(&window);
                let near = index.near(&window);
                assert!(near.is_sorted());
                let found: Vec<u32> = near.iter().copied().filter(touching).collect();
                assert_eq!(found, (0..count).filter(touching).collect::<Vec<_>>());
                assert!(count < 5000 || near.len() < found.len() + 700, "{}", near.len());
            }
        }
    }
}
