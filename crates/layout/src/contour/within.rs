//! Contours of a part of a mask, so that the polygons of neighbouring parts abut.
//!
//! The contour is traced with the pixels around the part, cut at its border, and closed along it. Where it meets the
//! border is computed from the two pixels on both sides alone, in exact numbers: lengths in pixels are multiples of
//! 1/1024. So two parts that see the same pixels there have the same point. These points stay; what is between
//! them loses corners.
//!
//! The part's rectangle is cut smaller by a quarter of 1/1024. No corner of the contour lies on it, so that a contour which
//! runs along the border, or touches it, needs no cases of its own.

use super::{Ring, binary, crossing, keep, lines, share, signed_area, simplified, without_holes};
use crate::{Bits, Polygon, Raster};

/// Lengths in pixels are multiples of one over this.
const STEPS: f64 = 1024.0;
/// By how much the rectangle is cut smaller.
const LESS: f64 = 0.25 / STEPS;
/// Pixels around a part that its contour needs.
const AROUND: usize = 1;

/// As [`super::polygons`] of a part of the mask: its pixels `x0..x1`, `y0..y1`, given as `[x0, y0, x1, y1]`.
///
/// Polygons end at the part's border. Those of parts side by side, of one mask or of masks that agree within two pixels
/// of the border, abut without a gap, an overlap or a step, and meet the border at equal points, to the last bit.
pub fn polygons_within(
    mask: &Raster,
    core: [usize; 4],
    tolerance_nm: f64,
    origin_nm: [f64; 2],
) -> Vec<Polygon> {
    match is_empty(core) {
        true => Vec::new(),
        false => polygons_of(&rings(mask, core), core, mask.pixel_nm, tolerance_nm, origin_nm),
    }
}

/// As [`polygons_within`] of a binary mask of pixels of `pixel_nm`, whose raster has the same polygons.
pub fn bits_within(
    mask: &Bits,
    pixel_nm: f64,
    core: [usize; 4],
    tolerance_nm: f64,
    origin_nm: [f64; 2],
) -> Vec<Polygon> {
    match is_empty(core) {
        true => Vec::new(),
        false => polygons_of(&rings_of(mask, core), core, pixel_nm, tolerance_nm, origin_nm),
    }
}

fn is_empty([x0, y0, x1, y1]: [usize; 4]) -> bool {
    x0 >= x1 || y0 >= y1
}

/// The polygons of a part around which contours run so.
fn polygons_of(
    rings: &[Ring],
    core: [usize; 4],
    pixel_nm: f64,
    tolerance_nm: f64,
    origin_nm: [f64; 2],
) -> Vec<Polygon> {
    let [x0, y0, x1, y1] = core;
    let part = Part { width: (x1 - x0) as f64, height: (y1 - y0) as f64 };
    let tolerance = tolerance_nm / pixel_nm;
    let nm = |v: f64, i: usize| snapped(origin_nm[i] + (core[i] as f64 + v) * pixel_nm);
    let ring = |piece: Piece| -> Ring {
        piece.simplified(tolerance).iter().map(|p| [nm(p[0], 0), nm(p[1], 1)]).collect()
    };
    let rings = part.pieces(rings).into_iter().map(ring).filter(|ring| signed_area(ring) != 0.0);
    without_holes(rings.collect())
}

/// Without the last bits, in which sums of different origins differ.
fn snapped(nm: f64) -> f64 {
    const BITS: f64 = 1_048_576.0;
    (nm * BITS).round() / BITS
}

/// The closed contours in and around a part, in pixels from its corner.
fn rings(mask: &Raster, [x0, y0, x1, y1]: [usize; 4]) -> Vec<Ring> {
    let at = [x0, y0].map(|v| v as isize - AROUND as isize);
    let around = mask.crop(at, x1 - x0 + 2 * AROUND, y1 - y0 + 2 * AROUND);
    // A dark frame, so that every line closes.
    let framed = around.crop([-1, -1], around.width + 2, around.height + 2);
    let point = |&edge: &usize| {
        let share = (share(&framed, 0.5, edge) * STEPS).round().clamp(1.0, STEPS - 1.0) / STEPS;
        crossing(edge, framed.width, share).map(|v| v - (AROUND + 1) as f64)
    };
    let ring = |line: Vec<usize>| line[..line.len() - 1].iter().map(point).collect();
    lines(&framed, 0.5).into_iter().map(ring).collect()
}

/// As [`rings`], of a binary mask.
fn rings_of(mask: &Bits, [x0, y0, x1, y1]: [usize; 4]) -> Vec<Ring> {
    let at = [x0, y0].map(|v| v as isize - AROUND as isize);
    let framed = mask.crop(at, x1 - x0 + 2 * AROUND, y1 - y0 + 2 * AROUND).framed(1);
    let point = |p: &[usize; 2]| p.map(|half| half as f64 / 2.0 - (AROUND + 1) as f64);
    binary::lines(&framed).iter().map(|line| line.iter().map(point).collect()).collect()
}

/// A rectangle with a corner at 0.
struct Part {
    width: f64,
    height: f64,
}

/// A closed line of which some points stay.
#[derive(Default)]
struct Piece {
    points: Ring,
    stays: Vec<bool>,
}

/// A line through the part, from border to border.
struct Chain {
    points: Ring,
    /// Where it begins and ends on the way around the border.
    ends: [f64; 2],
}

/// Where a line crosses the border.
#[derive(Clone, Copy)]
struct Crossing {
    point: [f64; 2],
    /// Place on the way around.
    place: f64,
}

impl Part {
    /// The contours within the part, closed along its border.
    fn pieces(&self, rings: &[Ring]) -> Vec<Piece> {
        let (mut pieces, mut chains) = (Vec::new(), Vec::new());
        for ring in rings {
            match ring.iter().position(|p| !self.inside(*p)) {
                Some(outside) => self.cut(ring, outside, &mut chains),
                None => {
                    pieces.push(Piece { points: ring.clone(), stays: vec![false; ring.len()] });
                }
            }
        }
        match chains.is_empty() {
            true if covers(rings, [LESS, LESS]) => {
                let points = self.corners().to_vec();
                pieces.push(Piece { points, stays: vec![true; 4] });
            }
            true => {}
            false => self.close(&chains, &mut pieces),
        }
        pieces
    }

    fn corners(&self) -> [[f64; 2]; 4] {
        let (w, h) = (self.width, self.height);
        [[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]]
    }

    fn inside(&self, [x, y]: [f64; 2]) -> bool {
        x > LESS && x < self.width - LESS && y > LESS && y < self.height - LESS
    }

    /// The chains of a ring, walked from a point outside.
    fn cut(&self, ring: &Ring, outside: usize, chains: &mut Vec<Chain>) {
        let mut open: Option<Chain> = None;
        for i in 0..ring.len() {
            let [a, b] = [i, i + 1].map(|i| ring[(outside + i) % ring.len()]);
            let Some([from, to]) = self.clip(a, b) else { continue };
            if let Some(Crossing { point, place }) = from {
                open = Some(Chain { points: vec![point], ends: [place, place] });
            }
            if let Some(mut chain) = open.take() {
                match to {
                    None => {
                        chain.points.push(b);
                        open = Some(chain);
                    }
                    Some(Crossing { point, place }) => {
                        chain.points.push(point);
                        chain.ends[1] = place;
                        chains.push(chain);
                    }
                }
            }
        }
    }

    /// Where a segment enters and leaves the smaller rectangle, if it touches it (Liang and Barsky).
    fn clip(&self, a: [f64; 2], b: [f64; 2]) -> Option<[Option<Crossing>; 2]> {
        let size = [self.width, self.height];
        let (mut enters, mut leaves) = ((0.0, None), (1.0, None));
        for axis in 0..2 {
            let step = b[axis] - a[axis];
            let borders = [(LESS, 0.0), (size[axis] - LESS, size[axis])];
            if step == 0.0 {
                if a[axis] < borders[0].0 || a[axis] > borders[1].0 {
                    return None;
                }
                continue;
            }
            let [low, high] = borders.map(|(line, border)| ((line - a[axis]) / step, border));
            let (first, last) = if step > 0.0 { (low, high) } else { (high, low) };
            if first.0 > enters.0 {
                enters = (first.0, Some((axis, first.1)));
            }
            if last.0 < leaves.0 {
                leaves = (last.0, Some((axis, last.1)));
            }
        }
        (enters.0 < leaves.0).then(|| {
            [enters, leaves].map(|(share, side)| {
                side.map(|(axis, border)| self.crossing(a, b, share, axis, border))
            })
        })
    }

    /// A crossing of a border at `border` along `axis`, and after a share of the segment of the smaller one.
    fn crossing(&self, a: [f64; 2], b: [f64; 2], share: f64, axis: usize, border: f64) -> Crossing {
        let other = 1 - axis;
        let along = (border - a[axis]) / (b[axis] - a[axis]) * (b[other] - a[other]);
        // Only the difference is rounded, which is the same on both sides of the border.
        let exact = a[other] + (along * STEPS + 0.5).floor() / STEPS;
        let size = [self.width, self.height];
        let mut point = [border; 2];
        point[other] = exact.clamp(0.0, size[other]);
        let at = a[other] + share * (b[other] - a[other]);
        let (w, h) = (self.width, self.height);
        let place = match (axis, border == 0.0) {
            (1, true) => at,
            (0, false) => w + at,
            (1, false) => w + h + (w - at),
            _ => 2.0 * w + h + (h - at),
        };
        Crossing { point, place }
    }

    /// Joins chains along the border: from where one leaves to where the next enters, the inside on the same hand.
    fn close(&self, chains: &[Chain], pieces: &mut Vec<Piece>) {
        let mut entries: Vec<usize> = (0..chains.len()).collect();
        entries.sort_by(|&a, &b| chains[a].ends[0].total_cmp(&chains[b].ends[0]));
        let mut used = vec![false; chains.len()];
        for start in 0..chains.len() {
            let mut piece = Piece::default();
            let mut at = start;
            while !std::mem::replace(&mut used[at], true) {
                let Chain { points, ends } = &chains[at];
                for (i, &point) in points.iter().enumerate() {
                    piece.push(point, i == 0 || i + 1 == points.len());
                }
                let after = entries.partition_point(|&e| chains[e].ends[0] < ends[1]);
                at = entries[after % entries.len()];
                self.walk(ends[1], chains[at].ends[0], &mut piece);
            }
            if !piece.points.is_empty() {
                pieces.push(piece);
            }
        }
    }

    /// Adds the corners between two places on the way around.
    fn walk(&self, from: f64, to: f64, piece: &mut Piece) {
        let (w, h) = (self.width, self.height);
        let round = 2.0 * (w + h);
        let to = if to < from { to + round } else { to };
        let corners = self.corners();
        let places = [0.0, w, w + h, 2.0 * w + h].into_iter().zip(corners);
        let twice = places.clone().chain(places.map(|(place, corner)| (place + round, corner)));
        for (place, corner) in twice {
            if place > from && place < to {
                piece.push(corner, true);
            }
        }
    }
}

/// Whether a point lies inside an odd number of rings.
fn covers(rings: &[Ring], [x, y]: [f64; 2]) -> bool {
    let crossings = |ring: &Ring| {
        let next = ring.iter().cycle().skip(1);
        let crosses = |(a, b): &(&[f64; 2], &[f64; 2])| {
            (a[1] > y) != (b[1] > y) && x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
        };
        ring.iter().zip(next).filter(crosses).count()
    };
    rings.iter().map(crossings).sum::<usize>() % 2 == 1
}

impl Piece {
    fn push(&mut self, point: [f64; 2], stays: bool) {
        match self.points.last() == Some(&point) {
            true => {
                let last = self.stays.len() - 1;
                self.stays[last] |= stays;
            }
            false => {
                self.points.push(point);
                self.stays.push(stays);
            }
        }
    }

    /// The points that stay, and those between them that must.
    fn simplified(mut self, tolerance: f64) -> Ring {
        let Some(first) = self.stays.iter().position(|&stays| stays) else {
            return simplified(&self.points, tolerance);
        };
        if tolerance <= 0.0 {
            return self.points;
        }
        self.points.rotate_left(first);
        self.stays.rotate_left(first);
        self.points.push(self.points[0]);
        self.stays.push(true);
        let fixed: Vec<usize> = (0..self.stays.len()).filter(|&i| self.stays[i]).collect();
        for pair in fixed.windows(2) {
            keep(&self.points, pair[0], pair[1], tolerance, &mut self.stays);
        }
        let last = self.points.len() - 1;
        let kept = self.points[..last].iter().zip(&self.stays).filter(|(_, stays)| **stays);
        kept.map(|(p, _)| *p).collect()
    }
}

#[cfg(test)]
mod tests;
