//! The edges of a window's polygons, in whole numbers: all that its raster is drawn from, on any processor.
//!
//! Lengths are multiples of 1/4096 of a pixel from the window's corner. An edge that goes up covers what is right of it, one that
//! goes down takes that away: a place is covered as often as the edges left of it say. So edges below, above and right of the window
//! are not needed, and those left of it may as well lie on its border.
//!
//! Some hundred edges stand for a million pixels: they are quickly hashed, to find equal windows, and sent to a card.

mod clip;
mod winding;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::raster::Sums;
use crate::{Bits, Frame, Polygon, Raster};
use clip::Clipped;

/// Lengths are multiples of a pixel over this.
const PARTS: f64 = 4096.0;
/// Most pixels on a side, so that lengths in parts of pixels fit.
const MOST_SIDE: usize = 1 << 16;
/// Parts of a pixel from the window's corner from which on coordinates would lose digits.
const FARTHEST: f64 = (1_u64 << 40) as f64;
/// Rows that are drawn together.
const BAND: usize = 64;
/// Most pixels on a side of a window that one thread draws.
const MOST_ALONE: usize = 2048;

/// The edges in a square window.
#[derive(Clone, Debug, PartialEq)]
pub struct Edges {
    /// Pixels on a side of the window.
    pub side: usize,
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// Each from `[x0, y0` to `x1, y1]`, in 1/4096 of a pixel from the window's corner; all within the window, none horizontal,
    /// in ascending order.
    pub list: Vec<[i32; 4]>,
}

impl Edges {
    /// The edges of polygons in a window, such that their sum is what [`crate::Coverage::Exact`] draws.
    ///
    /// Corners, and points where a slanted edge meets the window's border, are rounded to 1/4096 of a pixel. None if there are no
    /// such edges: a polygon crosses itself or goes round a place twice, coordinates are no numbers or too large, or the window is
    /// not square or has more than 65,536 pixels on a side.
    pub fn of(polygons: &[Polygon], frame: &Frame) -> Option<Self> {
        let side = frame.width;
        if side != frame.height || side > MOST_SIDE {
            return None;
        }
        let border = side as f64 * PARTS;
        let scale = PARTS / frame.pixel_nm;
        let mut list = Vec::with_capacity(2 * polygons.len());
        let mut corners = Vec::new();
        for polygon in polygons {
            let part = |p: &[f64; 2]| [0, 1].map(|i| ((p[i] - frame.origin_nm[i]) * scale).round());
            corners.clear();
            corners.extend(polygon.points.iter().map(part));
            if !corners.iter().flatten().all(|v| v.abs() < FARTHEST) {
                return None;
            }
            add(&corners, border, &mut list)?;
        }
        list.sort_unstable();
        Some(Self { side, pixel_nm: frame.pixel_nm, list })
    }

    /// Draws the coverage, of windows of up to 2048 pixels on the caller's thread alone: the reference for other processors.
    pub fn rasterize(&self) -> Raster {
        let mut raster = Raster::new(self.side, self.side, self.pixel_nm);
        let band = BAND * self.side.max(1);
        match self.side > MOST_ALONE {
            true => {
                let bands = raster.data.par_chunks_mut(band).enumerate();
                bands.for_each(|(index, rows)| self.draw(index * BAND, rows));
            }
            false => {
                let bands = raster.data.chunks_mut(band).enumerate();
                bands.for_each(|(index, rows)| self.draw(index * BAND, rows));
            }
        }
        raster
    }

    /// The pixels of which at least half is covered, drawn on the caller's thread alone: those of [`Edges::rasterize`].
    ///
    /// A row that no edge begins, ends or leans in is the row before it; wires have few others.
    pub fn bits(&self) -> Bits {
        let mut bits = Bits::dark(self.side, self.side);
        let mut sums = Sums::new(0, self.side, 1);
        let mut row = vec![0.0; self.side];
        for (y, differs) in self.differing_rows().into_iter().enumerate() {
            if !differs {
                bits.repeat_row(y);
                continue;
            }
            sums.clear();
            self.list.iter().for_each(|edge| self.add(edge, y, &mut sums));
            row.fill(0.0);
            sums.write_row(0, &mut row);
            bits.cover_row(y, &row);
        }
        bits
    }

    /// Whether each row may differ from the one before it.
    fn differing_rows(&self) -> Vec<bool> {
        let mut differs = vec![false; self.side + 1];
        differs[0] = true;
        for &[x0, y0, x1, y1] in &self.list {
            let rows = [y0.min(y1), y0.max(y1)].map(|y| y as usize / PARTS as usize);
            for (y, row) in [y0.min(y1), y0.max(y1)].into_iter().zip(rows) {
                differs[row] = true;
                // Of a row in which an edge ends there is a part of it, in the next all or nothing.
                let is_partly = y % PARTS as i32 != 0;
                differs[row + usize::from(is_partly)] = true;
            }
            if x0 != x1 {
                differs[rows[0]..=rows[1]].fill(true);
            }
        }
        differs.truncate(self.side);
        differs
    }

    /// Draws the rows that begin at `first`.
    fn draw(&self, first: usize, data: &mut [f32]) {
        let mut sums = Sums::new(0, self.side, data.len() / self.side);
        self.list.iter().for_each(|edge| self.add(edge, first, &mut sums));
        for (y, row) in data.chunks_exact_mut(self.side).enumerate() {
            sums.write_row(y, row);
        }
    }

    /// Adds an edge to sums whose first row is `first`.
    fn add(&self, &[x0, y0, x1, y1]: &[i32; 4], first: usize, sums: &mut Sums) {
        let point = |x: i32, y: i32| [f64::from(x) / PARTS, f64::from(y) / PARTS - first as f64];
        sums.add_edge(point(x0, y0), point(x1, y1));
    }

    /// The SHA-256 of the window: of two windows with equal keys the coverage is equal. Copies that are whole pixels apart have
    /// equal keys.
    pub fn key(&self) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(32 + 16 * self.list.len());
        bytes.extend_from_slice(b"edges of a window");
        bytes.extend_from_slice(&(self.side as u64).to_le_bytes());
        bytes.extend_from_slice(&self.pixel_nm.to_le_bytes());
        self.list.iter().flatten().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
        Sha256::digest(&bytes).into()
    }
}

/// Adds a polygon's edges, turned such that they cover; none if a sum cannot say what it covers.
fn add(corners: &[[f64; 2]], border: f64, list: &mut Vec<[i32; 4]>) -> Option<()> {
    if is_outside(corners, border) {
        return Some(());
    }
    let mut clipped = Clipped::new(border);
    if let Some([x0, y0, x1, y1]) = rectangle(corners) {
        clipped.add([x0, y0], [x0, y1]);
        clipped.add([x1, y1], [x1, y0]);
        list.extend(clipped.edges()?);
        return Some(());
    }
    let next = corners.iter().cycle().skip(1);
    corners.iter().zip(next).for_each(|(&from, &to)| clipped.add(from, to));
    let edges = clipped.edges()?;
    match winding::of(&edges, border)? {
        winding::Sense::Covers => list.extend(edges),
        winding::Sense::TakesAway => {
            list.extend(edges.iter().map(|&[x0, y0, x1, y1]| [x1, y1, x0, y0]))
        }
    }
    Some(())
}

/// Whether nothing of a polygon is in the window.
fn is_outside(corners: &[[f64; 2]], border: f64) -> bool {
    (0..2).any(|axis| {
        let beyond = |side: fn(f64, f64) -> bool, line| corners.iter().all(|p| side(p[axis], line));
        beyond(|v, line| v <= line, 0.0) || beyond(|v, line| v >= line, border)
    })
}

/// Least and greatest x and y of a rectangle along the axes.
fn rectangle(corners: &[[f64; 2]]) -> Option<[f64; 4]> {
    let &[a, b, c, d] = corners else { return None };
    let level_first = a[1] == b[1] && b[0] == c[0] && c[1] == d[1] && d[0] == a[0];
    let upright_first = a[0] == b[0] && b[1] == c[1] && c[0] == d[0] && d[1] == a[1];
    (level_first || upright_first)
        .then(|| [a[0].min(c[0]), a[1].min(c[1]), a[0].max(c[0]), a[1].max(c[1])])
}

#[cfg(test)]
mod tests;
