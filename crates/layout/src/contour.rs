//! Contours: where an image crosses a level, and masks as polygons along it.

mod binary;
mod within;

use std::collections::{HashMap, HashSet};

use crate::{Polygon, Raster};

pub use within::{bits_within, polygons_within};

/// Iso-lines of an image at a level, by marching squares with linear interpolation.
///
/// Points are in pixels, a pixel's centre at +0.5. A closed line repeats its first point; a line is
/// open where it meets the border of the image. The side of values of at least `level` is always to
/// the same hand. Where two lines nearly meet, the mean of the four pixels decides which touch.
pub fn contours(image: &Raster, level: f64) -> Vec<Vec<[f64; 2]>> {
    let points = |line: Vec<usize>| {
        line.into_iter()
            .map(|edge| crossing(edge, image.width, share(image, level, edge)))
            .collect()
    };
    lines(image, level).into_iter().map(points).collect()
}

/// The edges that each line crosses.
fn lines(image: &Raster, level: f64) -> Vec<Vec<usize>> {
    let steps = steps(image, level);
    let mut next: HashMap<usize, usize> = steps.iter().copied().collect();
    let entered: HashSet<usize> = steps.iter().map(|step| step.1).collect();
    let edges = || steps.iter().map(|step| step.0);
    // Open lines first: a line followed from its middle would come out in two parts.
    let starts = edges().filter(|edge| !entered.contains(edge)).chain(edges());
    starts.map(|start| follow(start, &mut next)).filter(|line| line.len() > 1).collect()
}

/// Follows a line from edge to edge, and takes it out of the map.
fn follow(start: usize, next: &mut HashMap<usize, usize>) -> Vec<usize> {
    let mut line = vec![start];
    let mut edge = start;
    while let Some(to) = next.remove(&edge) {
        line.push(to);
        edge = to;
    }
    line
}

/// The lines' steps through each square of four pixel centres, from edge to edge.
///
/// Edge `2 i` joins pixel `i` to the pixel on its right, edge `2 i + 1` to the one below it.
fn steps(image: &Raster, level: f64) -> Vec<(usize, usize)> {
    let width = image.width;
    if image.data.len() < width * image.height {
        return Vec::new();
    }
    let mut steps = Vec::new();
    for y in 1..image.height {
        let rows = &image.data[(y - 1) * width..][..2 * width];
        let inside = |x: usize| [rows[x], rows[width + x]].map(|v| f64::from(v) >= level);
        let mut left = inside(0);
        for x in 1..width {
            let right = inside(x);
            let same = left == right && left[0] == left[1];
            left = right;
            if !same {
                let values =
                    [rows[x - 1], rows[x], rows[width + x], rows[width + x - 1]].map(f64::from);
                let inside = values.map(|v| v >= level);
                let pixel = (y - 1) * width + x - 1;
                let edges = [2 * pixel, 2 * pixel + 3, 2 * (pixel + width), 2 * pixel + 1];
                let joined = values.iter().sum::<f64>() >= 4.0 * level;
                steps.extend(square(inside, joined).map(|(i, j)| (edges[i], edges[j])));
            }
        }
    }
    steps
}

/// The steps through one square, as pairs of its edges; corners and edges go round alike.
///
/// A step starts on an edge that leaves the inside, and ends on the next edge that enters it:
/// forwards if the inside is `joined` through the middle of the square, else backwards.
fn square(inside: [bool; 4], joined: bool) -> impl Iterator<Item = (usize, usize)> {
    let leaves = move |i: usize| inside[i] && !inside[(i + 1) % 4];
    let enters = move |i: usize| !inside[i] && inside[(i + 1) % 4];
    let turn = if joined { 1 } else { 3 };
    let partner = move |i: usize| (1..4).map(|k| (i + k * turn) % 4).find(|&j| enters(j));
    (0..4).filter(move |&i| leaves(i)).filter_map(move |i| Some((i, partner(i)?)))
}

/// The share of an edge before a line crosses it.
fn share(image: &Raster, level: f64, edge: usize) -> f64 {
    let pixel = edge / 2;
    let other = pixel + if edge % 2 == 1 { image.width } else { 1 };
    let [from, to] = [pixel, other].map(|p| f64::from(image.data[p]));
    let share = (level - from) / (to - from);
    if share.is_finite() { share } else { 0.5 } // next to an infinity or NaN
}

/// The point on an edge after a share of it.
fn crossing(edge: usize, width: usize, share: f64) -> [f64; 2] {
    let pixel = edge / 2;
    let centre = [pixel % width, pixel / width].map(|v| v as f64 + 0.5);
    if edge % 2 == 1 { [centre[0], centre[1] + share] } else { [centre[0] + share, centre[1]] }
}

/// A mask's shapes as polygons along the contour of one half, in nm, from pixels' middles.
///
/// Corners are left out as long as no point of the contour is further than `tolerance_nm` from the polygon.
/// A hole is joined to its outline by a cut of no width, as formats without holes want it. `origin_nm` is the
/// corner of the first pixel.
pub fn polygons(mask: &Raster, tolerance_nm: f64, origin_nm: [f64; 2]) -> Vec<Polygon> {
    // A dark frame, so that every line closes.
    let framed = mask.crop([-1, -1], mask.width + 2, mask.height + 2);
    let nm = |p: &[f64; 2]| [0, 1].map(|i| (p[i] - 1.0) * mask.pixel_nm + origin_nm[i]);
    let rings = contours(&framed, 0.5).into_iter().map(|line| {
        let ring: Vec<[f64; 2]> = line[..line.len() - 1].iter().map(nm).collect();
        simplified(&ring, tolerance_nm)
    });
    without_holes(rings.filter(|ring| ring.len() >= 3).collect())
}

/// Outlines with their holes joined to them.
fn without_holes(rings: Vec<Ring>) -> Vec<Polygon> {
    let (mut holes, mut outlines): (Vec<Ring>, Vec<Ring>) =
        rings.into_iter().partition(|ring| signed_area(ring) < 0.0);
    // From the left, so that a cut to the left meets the outline or a hole that is already joined.
    holes.sort_by(|a, b| leftmost(a).1[0].total_cmp(&leftmost(b).1[0]));
    for hole in holes {
        join(&hole, &mut outlines);
    }
    outlines.into_iter().map(Polygon::new).collect()
}

/// A closed line; the last point joins the first.
type Ring = Vec<[f64; 2]>;

/// Twice the area, positive for outlines as [`contours`] turns them.
fn signed_area(ring: &[[f64; 2]]) -> f64 {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum()
}

fn leftmost(ring: &[[f64; 2]]) -> (usize, [f64; 2]) {
    let least = ring.iter().copied().enumerate().min_by(|a, b| a.1[0].total_cmp(&b.1[0]));
    least.unwrap_or((0, [0.0; 2]))
}

/// Joins a hole to the nearest outline on its left.
fn join(hole: &Ring, outlines: &mut [Ring]) {
    let (start, at) = leftmost(hole);
    let mut nearest: Option<(f64, usize, usize)> = None; // x of the crossing, outline, its edge
    for (index, ring) in outlines.iter().enumerate() {
        for (edge, a) in ring.iter().enumerate() {
            let b = ring[(edge + 1) % ring.len()];
            if (a[1] <= at[1]) == (b[1] <= at[1]) {
                continue;
            }
            let x = a[0] + (at[1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0]);
            if x <= at[0] && nearest.is_none_or(|(best, _, _)| x > best) {
                nearest = Some((x, index, edge));
            }
        }
    }
    if let Some((x, index, edge)) = nearest {
        let foot = [x, at[1]];
        let around = hole[start..].iter().chain(&hole[..=start]).copied();
        let cut: Vec<[f64; 2]> = std::iter::once(foot).chain(around).chain([foot]).collect();
        outlines[index].splice(edge + 1..edge + 1, cut);
    }
}

/// The ring without the points that are within the tolerance of what is left (Ramer, Douglas, Peucker).
fn simplified(ring: &[[f64; 2]], tolerance: f64) -> Ring {
    if ring.len() < 4 || tolerance <= 0.0 {
        return ring.to_vec();
    }
    // Two points far apart stay; each side between them is simplified.
    let far = furthest(ring, [ring[0]; 2], 0.0).map_or(0, |(far, _)| far);
    let mut closed = ring.to_vec();
    closed.push(ring[0]);
    let mut kept = vec![false; closed.len()];
    (kept[0], kept[far]) = (true, true);
    keep(&closed, 0, far, tolerance, &mut kept);
    keep(&closed, far, ring.len(), tolerance, &mut kept);
    ring.iter().zip(kept).filter(|(_, kept)| *kept).map(|(p, _)| *p).collect()
}

/// Marks the points between two kept ones that must be kept too.
fn keep(line: &[[f64; 2]], from: usize, to: usize, tolerance: f64, kept: &mut [bool]) {
    let mut open = vec![(from, to)];
    while let Some((from, to)) = open.pop() {
        let segment = [line[from], line[to]];
        if let Some((first, distance)) = furthest(&line[from + 1..to], segment, tolerance)
            && distance > tolerance
        {
            let middle = from + 1 + first;
            kept[middle] = true;
            open.extend([(from, middle), (middle, to)]);
        }
    }
}

/// The last of the points that are furthest from a segment, and how far; none if all are clearly within the tolerance.
fn furthest(points: &[[f64; 2]], segment: [[f64; 2]; 2], tolerance: f64) -> Option<(usize, f64)> {
    // Squares are quick to find; only among those that are equal within rounding does a root decide.
    const ROUNDING: f64 = 1.0 - 1e-9;
    let squared = |p: &[f64; 2]| {
        let [dx, dy] = to_segment(*p, segment);
        dx * dx + dy * dy
    };
    let most = points.iter().map(squared).fold(0.0, f64::max);
    if most < tolerance * tolerance * ROUNDING {
        return None;
    }
    let near = points.iter().enumerate().filter(|(_, p)| squared(p) >= most * ROUNDING);
    near.map(|(i, p)| (i, from_segment(*p, segment))).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Distance of a point from a segment.
fn from_segment(p: [f64; 2], segment: [[f64; 2]; 2]) -> f64 {
    let [dx, dy] = to_segment(p, segment);
    dx.hypot(dy)
}

/// The way from the nearest point of a segment to a point.
fn to_segment(p: [f64; 2], [a, b]: [[f64; 2]; 2]) -> [f64; 2] {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let length2 = dx * dx + dy * dy;
    let share = match length2 > 0.0 {
        true => (((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length2).clamp(0.0, 1.0),
        false => 0.0,
    };
    [p[0] - a[0] - share * dx, p[1] - a[1] - share * dy]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Coverage, Frame, Layout};

    fn image(size: usize, value: impl Fn(f64, f64) -> f64) -> Raster {
        let centre = |i: usize| i as f64 + 0.5;
        let at = |i: usize| value(centre(i % size), centre(i / size)) as f32;
        let data = (0..size * size).map(at).collect();
        Raster { width: size, height: size, pixel_nm: 4.0, data }
    }

    #[test]
    fn the_contour_of_a_cone_is_one_closed_circle() {
        let distance = |x: f64, y: f64| (x - 31.3).hypot(y - 32.8);
        let lines = contours(&image(64, |x, y| 40.0 - distance(x, y)), 20.0);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].first(), lines[0].last());
        for [x, y] in &lines[0] {
            // A chord of 1 px is within 1 / (8 r) = 0.006 px of the circle.
            assert!((distance(*x, *y) - 20.0).abs() < 0.01, "{x} {y}");
        }
        let turn = lines[0].windows(2).map(|p| p[0][0] * p[1][1] - p[1][0] * p[0][1]);
        let area = turn.sum::<f64>() / 2.0;
        assert!((area.abs() - 400.0 * std::f64::consts::PI).abs() < 2.0, "{area}");
    }

    #[test]
    fn a_line_that_leaves_the_image_stays_whole() {
        let lines = contours(&image(16, |x, y| x + 0.25 * y), 9.0);
        assert_eq!(lines.len(), 1);
        for [x, y] in &lines[0] {
            assert!((x + 0.25 * y - 9.0).abs() < 1e-5, "{x} {y}"); // f32 pixels
        }
        let ends = [lines[0][0][1], lines[0][lines[0].len() - 1][1]];
        assert_eq!((ends[0].min(ends[1]), ends[0].max(ends[1])), (0.5, 15.5));
    }

    #[test]
    fn a_saddle_joins_what_its_mean_says() {
        let mut saddle = Raster::new(4, 4, 1.0);
        (saddle.data[5], saddle.data[10]) = (1.0, 1.0);
        let apart = contours(&saddle, 0.6);
        assert_eq!(apart.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5]);
        let joined = contours(&saddle, 0.4);
        assert_eq!(joined.iter().map(Vec::len).collect::<Vec<_>>(), [9]);
        assert!(apart.iter().chain(&joined).all(|line| line.first() == line.last()));
    }

    #[test]
    fn a_constant_or_empty_image_has_no_contours() {
        for value in [0.0, 0.5, 1.0, f64::NAN] {
            assert!(contours(&image(8, |_, _| value), 0.5).is_empty());
        }
        for side in [0, 1] {
            assert!(contours(&Raster::new(side, side, 1.0), 0.5).is_empty());
        }
    }

    /// A ring of two circles: drawn back from its polygon, hardly a pixel's worth of its edge is off.
    #[test]
    fn a_ring_with_a_hole_is_drawn_back_from_one_polygon() {
        let size = 64;
        let inside = |x: f64, y: f64| {
            let distance = (x - 32.0).hypot(y - 31.0);
            f64::from(u8::from((10.0..25.0).contains(&distance)))
        };
        let mask = image(size, inside);
        let tolerance = 2.0; // half a pixel
        let found = polygons(&mask, tolerance, [100.0, -40.0]);
        assert_eq!(found.len(), 1);
        assert!(found[0].points.len() < 60, "{}", found[0].points.len());
        let frame = Frame { origin_nm: [100.0, -40.0], pixel_nm: 4.0, width: size, height: size };
        let drawn = Layout::new("ring", found).rasterize(&frame, Coverage::Exact);
        let off: f32 = drawn.data.iter().zip(&mask.data).map(|(a, b)| (a - b).abs()).sum();
        let edge = 2.0 * std::f64::consts::PI * 35.0;
        assert!(f64::from(off) < 0.6 * edge, "{off} of {edge}");
    }

    #[test]
    fn no_point_is_further_than_the_tolerance() {
        let mask = image(64, |x, y| {
            f64::from(u8::from((x - 30.0).hypot((y - 33.0) * 0.6) < 17.0 + 3.0 * (x * 0.9).sin()))
        });
        let (fine, rough) = (polygons(&mask, 0.0, [0.0; 2]), polygons(&mask, 3.0, [0.0; 2]));
        assert!(rough[0].points.len() * 3 < fine[0].points.len());
        for p in &fine[0].points {
            let ring = &rough[0].points;
            let sides =
                (0..ring.len()).map(|i| from_segment(*p, [ring[i], ring[(i + 1) % ring.len()]]));
            assert!(sides.fold(f64::INFINITY, f64::min) <= 3.0 + 1e-9);
        }
    }
}
