//! Masks of few rectangles: what a shaped-beam writer exposes within a budget of shots.
//!
//! Each shape is cut into chains: stacks of pixel rows in which it has one run each, that follow one another
//! without a branch. A chain becomes slabs of rows, each a rectangle between the mean left and the mean right
//! end of its runs, so that area, which is what the optics see, is kept. Where the slabs begin is chosen
//! by dynamic programming: least Σ (end − mean)² + λ per rectangle, for rows or for columns, whichever is
//! better for the shape; a slab may also be left out, at the price of its whole width. λ is what the budget needs. Shapes that print nothing
//! themselves, but help others to, have less to say.

use rayon::prelude::*;

use crate::shapes::{Shapes, shapes};
use crate::{Bounds, Raster};

/// Bisections of λ.
const BISECTIONS: usize = 24;
/// What an assist feature's squares count, over those of a shape that lies on the design: where its edges are matters less to the print.
const ASSIST: f64 = 0.2;

/// The rectangles, at most `budget`, that are nearest to a mask's shapes; in nm from the first pixel's
/// corner. Shapes that touch nothing of the design, of pixels of any size, are assist features. No slab is lower than `least_nm`, unless its chain is: shots are not slivers, and jogs have a width.
pub fn rectangles(mask: &Raster, design: &Raster, budget: usize, least_nm: f64) -> Vec<Bounds> {
    let pieces = pieces(mask, design);
    let least = (least_nm / mask.pixel_nm).round().max(1.0) as usize;
    let cut = |price: f64| -> Vec<[f64; 4]> {
        pieces.par_iter().flat_map_iter(|piece| piece.cut(price, least)).collect()
    };
    // Prices between which the number of rectangles crosses the budget, by their logarithm.
    let (mut low, mut high) = (-3.0_f64, 9.0_f64);
    let mut best = cut(10.0_f64.powf(high));
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        let found = cut(10.0_f64.powf(middle));
        if found.len() <= budget {
            (best, high) = (found, middle);
        } else {
            low = middle;
        }
    }
    best.truncate(budget);
    let nm = |v: f64| v * mask.pixel_nm;
    let bounds =
        |[x0, y0, x1, y1]: [f64; 4]| Bounds { min: [nm(x0), nm(y0)], max: [nm(x1), nm(y1)] };
    best.into_iter().map(bounds).collect()
}

/// A shape as chains, in both directions.
struct Piece {
    /// What its squares count.
    weight: f64,
    rows: Vec<Chain>,
    columns: Vec<Chain>,
}

/// One run each in rows that follow one another.
struct Chain {
    /// First row.
    top: usize,
    /// Sums over the first rows of: left ends, their squares, right ends, their squares.
    sums: Vec<[f64; 4]>,
}

fn pieces(mask: &Raster, design: &Raster) -> Vec<Piece> {
    let found = shapes(&mask.binary(), mask.width);
    let weights = weights(mask, &found, design);
    let width = mask.width;
    let mut runs: Vec<[Vec<Stretch>; 2]> = vec![[Vec::new(), Vec::new()]; found.sizes.len()];
    let height = found.labels.len() / width.max(1);
    collect(
        width,
        height,
        |x, y| found.labels[y * width + x],
        |label, run| {
            runs[label as usize - 1][0].push(run);
        },
    );
    collect(
        height,
        width,
        |y, x| found.labels[y * width + x],
        |label, run| {
            runs[label as usize - 1][1].push(run);
        },
    );
    let piece = |([rows, columns], weight): ([Vec<Stretch>; 2], f64)| Piece {
        weight,
        rows: chains(&rows),
        columns: chains(&columns),
    };
    runs.into_iter().zip(weights).map(piece).collect()
}

/// What each shape's squares count.
fn weights(mask: &Raster, found: &Shapes, design: &Raster) -> Vec<f64> {
    let mut weights = vec![ASSIST; found.sizes.len()];
    let pixel = |at: usize, most: usize| {
        let nm = (at as f64 + 0.5) * mask.pixel_nm;
        ((nm / design.pixel_nm) as usize).min(most.saturating_sub(1))
    };
    for (i, &label) in found.labels.iter().enumerate().filter(|(_, label)| **label > 0) {
        let [x, y] = [pixel(i % mask.width, design.width), pixel(i / mask.width, design.height)];
        if design.data[y * design.width + x] >= 0.5 {
            weights[label as usize - 1] = 1.0;
        }
    }
    weights
}

/// Pixels of one shape side by side in a row.
#[derive(Clone, Copy)]
struct Stretch {
    row: usize,
    from: usize,
    to: usize,
}

fn collect(
    length: usize,
    rows: usize,
    label: impl Fn(usize, usize) -> u32,
    mut add: impl FnMut(u32, Stretch),
) {
    for row in 0..rows {
        let mut from = 0;
        while from < length {
            let own = label(from, row);
            let mut to = from + 1;
            while to < length && label(to, row) == own {
                to += 1;
            }
            if own != 0 {
                add(own, Stretch { row, from, to });
            }
            from = to;
        }
    }
}

/// Links runs that overlap one in the row before, where neither has another partner.
fn chains(runs: &[Stretch]) -> Vec<Chain> {
    let mut above: Vec<usize> = Vec::new(); // runs of the row before
    let mut start = 0;
    let mut parent = vec![None; runs.len()];
    let mut last_row = usize::MAX;
    while start < runs.len() {
        let row = runs[start].row;
        let end = start + runs[start..].iter().take_while(|r| r.row == row).count();
        let here: Vec<usize> = (start..end).collect();
        if last_row.wrapping_add(1) != row {
            above.clear();
        }
        let touch = |a: usize, b: usize| runs[a].from < runs[b].to && runs[b].from < runs[a].to;
        for &run in &here {
            let mut partners = above.iter().filter(|&&a| touch(a, run));
            if let (Some(&a), None) = (partners.next(), partners.next())
                && here.iter().filter(|&&b| touch(a, b)).count() == 1
            {
                parent[run] = Some(a);
            }
        }
        (above, start, last_row) = (here, end, row);
    }
    let mut chain_of = vec![0; runs.len()];
    let mut chains: Vec<Chain> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let chain = match parent[index] {
            Some(parent) => chain_of[parent],
            None => {
                chains.push(Chain { top: run.row, sums: vec![[0.0; 4]] });
                chains.len() - 1
            }
        };
        chain_of[index] = chain;
        let (from, to) = (run.from as f64, run.to as f64);
        let sums = &mut chains[chain].sums;
        let before = sums[sums.len() - 1];
        sums.push([before[0] + from, before[1] + from * from, before[2] + to, before[3] + to * to]);
    }
    chains
}

impl Piece {
    /// The rectangles of the better direction.
    fn cut(&self, price: f64, least: usize) -> Vec<[f64; 4]> {
        let all = |chains: &[Chain]| {
            let cuts = chains.iter().map(|chain| chain.cut(price / self.weight, least));
            cuts.fold((0.0, Vec::new()), |(cost, mut slabs), (own, more)| {
                slabs.extend(more);
                (cost + own, slabs)
            })
        };
        let (by_rows, rows) = all(&self.rows);
        let (by_columns, columns) = all(&self.columns);
        match by_rows <= by_columns {
            true => rows,
            false => columns.into_iter().map(|[x0, y0, x1, y1]| [y0, x0, y1, x1]).collect(),
        }
    }
}

impl Chain {
    /// Σ (end − mean)² of rows `from..to`, and what leaving them out costs: half of Σ width².
    fn costs(&self, from: usize, to: usize) -> [f64; 2] {
        let rows = (to - from) as f64;
        let [a, a2, b, b2] = [0, 1, 2, 3].map(|i| self.sums[to][i] - self.sums[from][i]);
        let spread = (a2 - a * a / rows).max(0.0) + (b2 - b * b / rows).max(0.0);
        // Σ (b − a)² ≥ (Σ b − a)² / rows, with equality for equal widths.
        [spread, (b - a) * (b - a) / rows / 2.0]
    }

    /// The cheapest slabs: their cost and rectangles.
    fn cut(&self, price: f64, least: usize) -> (f64, Vec<[f64; 4]>) {
        let rows = self.sums.len() - 1;
        let least = least.min(rows);
        let mut best = vec![(f64::INFINITY, 0, false); rows + 1]; // cost, where the last slab begins, kept
        best[0].0 = 0.0;
        for to in least..=rows {
            for from in 0..=to - least {
                let before = best[from].0;
                let [spread, none] = self.costs(from, to);
                let (own, kept) = match spread + price <= none {
                    true => (spread + price, true),
                    false => (none, false),
                };
                if before + own < best[to].0 {
                    best[to] = (before + own, from, kept);
                }
            }
        }
        let mut slabs = Vec::new();
        let mut to = rows;
        while to > 0 {
            let (_, from, kept) = best[to];
            if kept {
                let count = (to - from) as f64;
                let mean = |i: usize| (self.sums[to][i] - self.sums[from][i]) / count;
                let y = |row: usize| (self.top + row) as f64;
                slabs.push([mean(0), y(from), mean(2), y(to)]);
            }
            to = from;
        }
        (best[rows].0, slabs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(inside: impl Fn(usize, usize) -> bool) -> Raster {
        let mut mask = Raster::new(128, 128, 2.0);
        for i in 0..128 * 128 {
            mask.data[i] = f32::from(u8::from(inside(i % 128, i / 128)));
        }
        mask
    }

    fn area(rectangles: &[Bounds]) -> f64 {
        rectangles.iter().map(|r| r.width() * r.height()).sum()
    }

    #[test]
    fn an_ell_is_two_rectangles_exactly() {
        let mask = drawn(|x, y| {
            (10..30).contains(&x) && (10..100).contains(&y)
                || (10..90).contains(&x) && (80..100).contains(&y)
        });
        let found = rectangles(&mask, &mask, 2, 16.0);
        assert_eq!(found.len(), 2);
        assert!((area(&found) - mask.area_nm2()).abs() < 1e-9);
    }

    /// A disk keeps its area, and more rectangles come nearer to it.
    #[test]
    fn a_disk_keeps_its_area_within_any_budget() {
        let mask = drawn(|x, y| (x as f64 - 63.2).hypot(y as f64 - 61.7) < 40.0);
        let mut last = f64::INFINITY;
        for budget in [3, 5, 9] {
            let found = rectangles(&mask, &mask, budget, 16.0);
            assert!(!found.is_empty() && found.len() <= budget);
            assert!((area(&found) / mask.area_nm2() - 1.0).abs() < 1e-9);
            let layout = crate::Layout::new(
                "disk",
                found
                    .iter()
                    .map(|r| crate::Polygon::rectangle(r.min[0], r.min[1], r.max[0], r.max[1]))
                    .collect(),
            );
            let frame =
                crate::Frame { origin_nm: [0.0; 2], pixel_nm: 2.0, width: 128, height: 128 };
            let image = layout.rasterize(&frame, crate::Coverage::Exact);
            let off: f32 = image.data.iter().zip(&mask.data).map(|(a, b)| (a - b).abs()).sum();
            assert!(f64::from(off) < last);
            last = f64::from(off);
        }
    }

    #[test]
    fn the_least_shapes_go_first() {
        let mask = drawn(|x, y| {
            (10..90).contains(&x) && (10..90).contains(&y)
                || (100..110).contains(&x) && (100..110).contains(&y)
        });
        let found = rectangles(&mask, &mask, 1, 16.0);
        assert_eq!(found, [Bounds { min: [20.0, 20.0], max: [180.0, 180.0] }]);
    }

    /// Two equal ells, of which the left one is the design's, drawn on coarser pixels: three rectangles are two for it and one for its assist
    /// feature.
    #[test]
    fn assist_features_are_followed_less_closely() {
        let ell = |x: usize, y: usize| {
            (10..30).contains(&x) && (10..50).contains(&y)
                || (10..50).contains(&x) && (30..50).contains(&y)
        };
        let mask = drawn(|x, y| ell(x, y) || (x >= 60 && ell(x - 60, y)));
        let mut design = Raster::new(32, 32, 8.0);
        design.data[4 * 32 + 4] = 1.0;
        let right = |found: &[Bounds]| found.iter().filter(|b| b.min[0] > 110.0).count();
        assert_eq!(right(&rectangles(&mask, &design, 4, 16.0)), 2);
        let found = rectangles(&mask, &design, 3, 16.0);
        assert_eq!((found.len(), right(&found)), (3, 1));
    }
}
