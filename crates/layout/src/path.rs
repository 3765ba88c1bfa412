//! Paths: centre lines with a width, as polygons.

use std::f64::consts::PI;

/// A centre line with a width.
#[derive(Debug)]
pub(crate) struct Wide {
    /// The centre line.
    pub(crate) points: Vec<[f64; 2]>,
    /// Half of the width.
    pub(crate) half: f64,
    /// How far it goes on before its first and after its last point.
    pub(crate) ends: [f64; 2],
    /// Whether it ends in half disks, which are drawn as octagons.
    pub(crate) round: bool,
}

impl Wide {
    /// The path's area: a box for each segment, and a square at each corner, which together are the
    /// path with mitred right angles.
    pub(crate) fn outlines(&self) -> Vec<Vec<[f64; 2]>> {
        let Self { points, half, ends, round } = self;
        let half = *half;
        if half == 0.0 || points.len() < 2 {
            return Vec::new();
        }
        let last = points.len() - 2;
        let segment = |i: usize| {
            let before = if i == 0 { ends[0] } else { 0.0 };
            let after = if i == last { ends[1] } else { 0.0 };
            segment_outline(points[i], points[i + 1], half, before, after)
        };
        let mut outlines: Vec<_> = (0..=last).filter_map(segment).collect();
        outlines.extend(points.windows(3).filter_map(|p| corner_outline([p[0], p[1], p[2]], half)));
        if *round {
            outlines.extend([points[0], points[last + 1]].map(|p| disk(p, half, 8)));
        }
        outlines
    }
}

fn direction(from: [f64; 2], to: [f64; 2]) -> Option<[f64; 2]> {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let length = dx.hypot(dy);
    (length > 0.0).then(|| [dx / length, dy / length])
}

fn segment_outline(
    from: [f64; 2],
    to: [f64; 2],
    half: f64,
    before: f64,
    after: f64,
) -> Option<Vec<[f64; 2]>> {
    let [dx, dy] = direction(from, to)?;
    let a = [from[0] - dx * before, from[1] - dy * before];
    let b = [to[0] + dx * after, to[1] + dy * after];
    let side = |p: [f64; 2], s: f64| [p[0] - dy * half * s, p[1] + dx * half * s];
    Some(vec![side(a, 1.0), side(b, 1.0), side(b, -1.0), side(a, -1.0)])
}

/// The outer wedge between two segments: the two outer corners, the mitre's tip and the joint.
fn corner_outline(points: [[f64; 2]; 3], half: f64) -> Option<Vec<[f64; 2]>> {
    let (a, b) = (direction(points[0], points[1])?, direction(points[1], points[2])?);
    let cross = a[0] * b[1] - a[1] * b[0];
    let dot = a[0] * b[0] + a[1] * b[1];
    if cross.abs() < 1e-12 || dot < -0.95 {
        return None; // straight on, or so sharp that a mitre would shoot far out
    }
    let [x, y] = points[1];
    let outer = -cross.signum() * half;
    let one = [x - a[1] * outer, y + a[0] * outer];
    let two = [x - b[1] * outer, y + b[0] * outer];
    let reach = outer / (1.0 + dot);
    let tip = [x - (a[1] + b[1]) * reach, y + (a[0] + b[0]) * reach];
    Some(vec![[x, y], one, tip, two])
}

/// A polygon of `sides` sides around a disk.
pub(crate) fn disk(centre: [f64; 2], radius: f64, sides: u32) -> Vec<[f64; 2]> {
    let step = 2.0 * PI / f64::from(sides);
    let corner = |i: u32| {
        let (sin, cos) = ((f64::from(i) + 0.5) * step).sin_cos();
        let r = radius / (step / 2.0).cos();
        [centre[0] + r * cos, centre[1] + r * sin]
    };
    (0..sides).map(corner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Coverage, Frame, Layout, Polygon};

    #[test]
    fn a_path_with_a_corner_has_the_area_of_its_outline() {
        let points = vec![[0.0, 0.0], [1000.0, 0.0], [1000.0, 1000.0]];
        let path = Wide { points, half: 50.0, ends: [50.0; 2], round: false };
        let polygons = path.outlines().into_iter().map(Polygon::new).collect();
        let frame = Frame { origin_nm: [-100.0, -100.0], pixel_nm: 10.0, width: 200, height: 200 };
        let area = Layout::new("path", polygons).rasterize(&frame, Coverage::Exact).area_nm2();
        // Two arms of 1100 x 100 nm that share a corner of 100 x 100 nm.
        assert!((area - (2.0 * 1100.0 * 100.0 - 100.0 * 100.0)).abs() < 1.0, "{area}");
    }

    /// n r² tan(π / n), the area of a polygon around a circle.
    #[test]
    fn a_disk_is_a_polygon_around_its_circle() {
        let polygon = Polygon::new(disk([300.0, -20.0], 100.0, 64));
        let expected = 64.0 * 1e4 * (PI / 64.0).tan();
        assert!((polygon.signed_area() - expected).abs() < 1e-6);
    }
}
