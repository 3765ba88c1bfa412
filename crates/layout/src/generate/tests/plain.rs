//! Clips as they were first made: every wire is built, and every leg measured against every other. It is what the quick way is held to.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{ClipRules, Style};
use crate::{Bounds, Layout, Polygon};

/// A wire along its centre line, as the rectangles of its segments.
struct Wire {
    outline: Polygon,
    segments: Vec<Bounds>,
}

/// The clip of a seed.
pub(super) fn clip(rules: &ClipRules, seed: u64) -> Layout {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let side =
        |rng: &mut ChaCha8Rng| f64::from(rng.random_range(rules.window_nm[0]..=rules.window_nm[1]));
    let window = [side(&mut rng), side(&mut rng)];
    let style = Style::draw(rules, &mut rng);
    let mut placed: Vec<Wire> = Vec::new();
    for _ in 0..rules.attempts {
        let wire = drawn(&style, rules, window, &mut rng);
        let fits = |b: &Bounds| (0..2).all(|i| b.min[i] >= 0.0 && b.max[i] <= window[i]);
        let space = style.space;
        let clear =
            || placed.iter().all(|other| wires_apart(&wire.segments, &other.segments, space));
        if wire.segments.iter().all(fits) && own_space(&wire.segments, space) && clear() {
            placed.push(wire);
        }
    }
    if placed.is_empty() {
        let width = f64::from(rules.least_width_nm) * 1.5;
        let ends = [[width, window[1] / 2.0], [window[0] - width, window[1] / 2.0]];
        placed.push(wire(&ends, width));
    }
    Layout::new(format!("clip_{seed}"), placed.into_iter().map(|w| w.outline).collect())
}

fn drawn(style: &Style, rules: &ClipRules, window: [f64; 2], rng: &mut ChaCha8Rng) -> Wire {
    let snap = |v: f64| (v / f64::from(rules.grid_nm)).round() * f64::from(rules.grid_nm);
    let width = 2.0 * snap(f64::from(rng.random_range(style.widths[0]..=style.widths[1])) / 2.0);
    let start = [0, 1].map(|i| snap(rng.random_range(0.0..window[i])));
    if rng.random_bool(style.blocks) {
        let [w, h] = [0, 1].map(|_| snap(rng.random_range(width..width * 2.5) / 2.0));
        return wire(&[[start[0] - w, start[1]], [start[0] + w, start[1]]], 2.0 * h);
    }
    let mut points = vec![start];
    let mut axis = usize::from(!rng.random_bool(style.horizontal));
    let bends = *[0, 0, 0, 1, 1, 2].choose(rng).unwrap_or(&0);
    let sign = |rng: &mut ChaCha8Rng| if rng.random_bool(0.5) { 1.0 } else { -1.0 };
    let mut turn = sign(rng);
    for bend in 0..=bends {
        let least = if bends == 0 { width * 1.2 } else { width * 1.5 + style.space };
        let reach = least + f64::from(rng.random_range(0..style.longest)) / f64::from(bends + 1);
        let mut next = points[points.len() - 1];
        // Every other leg of a U runs back, of a Z on.
        let way = if bend == 2 && rng.random_bool(0.5) { -turn } else { turn };
        next[axis] += way * snap(reach);
        points.push(next);
        if bend == 1 {
            turn = sign(rng);
        }
        axis = 1 - axis;
    }
    wire(&points, width)
}

/// The wire of a width along axis-parallel segments. Straight ends are flush, corners mitred.
fn wire(points: &[[f64; 2]], width: f64) -> Wire {
    let half = width / 2.0;
    let headings: Vec<[f64; 2]> = points
        .windows(2)
        .map(|p| {
            [0, 1].map(|i| (p[1][i] - p[0][i]).signum() * f64::from(u8::from(p[1][i] != p[0][i])))
        })
        .collect();
    let normal = |h: [f64; 2]| [-h[1] * half, h[0] * half];
    let last = headings.len() - 1;
    let offset = |i: usize| {
        let (a, b) = (normal(headings[i.saturating_sub(1)]), normal(headings[i.min(last)]));
        if i == 0 || i > last || headings[i - 1] == headings[i] {
            b
        } else {
            [a[0] + b[0], a[1] + b[1]]
        }
    };
    let side =
        |i: usize, s: f64| [points[i][0] + s * offset(i)[0], points[i][1] + s * offset(i)[1]];
    let left = (0..points.len()).map(|i| side(i, 1.0));
    let right = (0..points.len()).rev().map(|i| side(i, -1.0));
    let outline = Polygon::new(left.chain(right).collect());
    let segment = |i: usize| {
        let corner = |p: usize| [side(p, 1.0), side(p, -1.0)];
        Polygon::new(corner(i).into_iter().chain(corner(i + 1)).collect()).bounds()
    };
    Wire { outline, segments: (0..=last).map(segment).collect() }
}

/// Distance between two rectangles, 0 if they touch.
fn distance(a: &Bounds, b: &Bounds) -> f64 {
    let gap = |i: usize| (b.min[i] - a.max[i]).max(a.min[i] - b.max[i]).max(0.0);
    gap(0).hypot(gap(1))
}

fn wires_apart(a: &[Bounds], b: &[Bounds], space: f64) -> bool {
    a.iter().all(|a| b.iter().all(|b| distance(a, b) >= space))
}

/// Whether the legs of one wire keep the space between them.
fn own_space(segments: &[Bounds], space: f64) -> bool {
    match segments {
        [a, _, c] => distance(a, c) >= space,
        _ => true,
    }
}
