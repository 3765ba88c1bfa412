//! How narrow a polygon is: the least distance between edges that face each other through its inside.

/// Pairs of edges that are compared in one file: about a second's work.
pub(crate) const MOST_COMPARED: u64 = 100_000_000;
/// Edges that run against each other within this sine face each other.
const PARALLEL: f64 = 0.1;

/// A side of a polygon, the inside on its left.
#[derive(Clone, Copy)]
struct Edge {
    from: [f64; 2],
    /// Unit vector along it.
    along: [f64; 2],
    length: f64,
    /// Least and greatest x.
    reach: [f64; 2],
}

/// The least width of a polygon, in its corners' unit; none if no edges face each other, or after `compared` pairs.
pub(crate) fn smallest(corners: &[[f64; 2]], compared: &mut u64) -> Option<f64> {
    let mut edges = edges(corners);
    edges.sort_by(|a, b| a.reach[0].total_cmp(&b.reach[0]));
    let mut least = f64::INFINITY;
    for (i, a) in edges.iter().enumerate() {
        for b in &edges[i + 1..] {
            if b.reach[0] > a.reach[1] + least {
                break;
            }
            *compared = compared.checked_sub(1)?;
            if let Some(distance) = distance(a, b) {
                least = least.min(distance);
            }
        }
    }
    least.is_finite().then_some(least)
}

/// The edges, so that the inside is on their left.
fn edges(corners: &[[f64; 2]]) -> Vec<Edge> {
    let next = corners.iter().cycle().skip(1);
    let sides = corners.iter().zip(next);
    let area: f64 = sides.clone().map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
    let edge = |(a, b): (&[f64; 2], &[f64; 2])| {
        let (from, to) = if area >= 0.0 { (*a, *b) } else { (*b, *a) };
        let step = [to[0] - from[0], to[1] - from[1]];
        let length = step[0].hypot(step[1]);
        let reach = [from[0].min(to[0]), from[0].max(to[0])];
        (length > 0.0).then(|| Edge { from, along: step.map(|v| v / length), length, reach })
    };
    sides.filter_map(edge).collect()
}

/// How far two edges are from each other where they face each other through the inside.
fn distance(a: &Edge, b: &Edge) -> Option<f64> {
    let [ax, ay] = a.along;
    let opposite = ax * b.along[0] + ay * b.along[1] < 0.0;
    let sine = (ax * b.along[1] - ay * b.along[0]).abs();
    if !opposite || sine > PARALLEL {
        return None;
    }
    // Along a, and to its left.
    let local = |p: [f64; 2]| {
        let [x, y] = [p[0] - a.from[0], p[1] - a.from[1]];
        [x * ax + y * ay, y * ax - x * ay]
    };
    let end = [0, 1].map(|i| b.from[i] + b.along[i] * b.length);
    let (start, end) = (local(b.from), local(end));
    let (low, high) = (end[0].max(0.0), start[0].min(a.length));
    if high <= low {
        return None; // they do not overlap
    }
    let at = |along: f64| {
        let share = (along - start[0]) / (end[0] - start[0]);
        start[1] + share * (end[1] - start[1])
    };
    let nearest = at(low).min(at(high));
    (nearest > 0.0).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(corners: &[[f64; 2]]) -> Option<f64> {
        let backwards: Vec<[f64; 2]> = corners.iter().rev().copied().collect();
        let found = smallest(corners, &mut 10_000);
        assert_eq!(found, smallest(&backwards, &mut 10_000));
        found
    }

    #[test]
    fn the_width_is_through_the_inside_and_not_across_a_notch() {
        assert_eq!(of(&[[0.0, 0.0], [90.0, 0.0], [90.0, 40.0], [0.0, 40.0]]), Some(40.0));
        // A U with arms of 30, a bottom of 50 and 10 between the arms.
        let u = [
            [0.0, 0.0],
            [70.0, 0.0],
            [70.0, 200.0],
            [40.0, 200.0],
            [40.0, 50.0],
            [30.0, 50.0],
            [30.0, 200.0],
            [0.0, 200.0],
        ];
        assert_eq!(of(&u), Some(30.0));
    }

    #[test]
    fn slanted_bars_and_disks_have_their_widths() {
        let (c, s) = (0.6, 0.8);
        let turned = |p: [f64; 2]| [c * p[0] - s * p[1], s * p[0] + c * p[1]];
        let bar = [[0.0, 0.0], [200.0, 0.0], [200.0, 25.0], [0.0, 25.0]].map(turned);
        assert!((of(&bar).expect("a width") - 25.0).abs() < 1e-9);
        let disk = crate::path::disk([5.0, 5.0], 50.0, 64);
        assert!((of(&disk).expect("a width") - 100.0).abs() < 0.6);
    }

    #[test]
    fn what_has_no_facing_edges_or_too_many_has_no_width() {
        assert_eq!(of(&[[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]]), None);
        assert_eq!(smallest(&[[0.0, 0.0], [9.0, 0.0], [9.0, 4.0], [0.0, 4.0]], &mut 2), None);
    }
}
