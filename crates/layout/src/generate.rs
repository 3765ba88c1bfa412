//! Synthetic metal clips: seeded, and within width and space rules like those of ICCAD 2013's.
//!
//! A clip is a window with wires (bars, L, Z and U shapes) and blocks, placed at random and kept only
//! if they respect the space rule. The ten contest clips have widths of 54 to 140 nm, spaces of 50 to
//! 150 nm and extents of 200 to 1050 nm; the ranges here are drawn around these.

mod chip;

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::{Bounds, Layout, Polygon};

pub use chip::Chip;

/// Rules and sizes of synthetic clips, all in nm.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ClipRules {
    /// Least width of a wire.
    pub least_width_nm: u32,
    /// Least space between shapes, and within one.
    pub least_space_nm: u32,
    /// Coordinates are multiples of this.
    pub grid_nm: u32,
    /// Smallest and largest side of the window that the shapes fill.
    pub window_nm: [u32; 2],
    /// Attempts to place a shape.
    pub attempts: usize,
}

impl Default for ClipRules {
    fn default() -> Self {
        Self {
            least_width_nm: 54,
            least_space_nm: 50,
            grid_nm: 2,
            window_nm: [320, 1100],
            attempts: 150,
        }
    }
}

/// A wire along its centre line, as the rectangles of its segments.
struct Wire {
    outline: Polygon,
    segments: Vec<Bounds>,
}

impl ClipRules {
    /// The clip of a seed. The same rules and seed make the same clip.
    pub fn clip(&self, seed: u64) -> Layout {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let side = |rng: &mut ChaCha8Rng| {
            f64::from(rng.random_range(self.window_nm[0]..=self.window_nm[1]))
        };
        let window = [side(&mut rng), side(&mut rng)];
        let style = Style::draw(self, &mut rng);
        let mut placed: Vec<Wire> = Vec::new();
        for _ in 0..self.attempts {
            let wire = style.wire(self, window, &mut rng);
            let fits = |b: &Bounds| (0..2).all(|i| b.min[i] >= 0.0 && b.max[i] <= window[i]);
            let space = style.space;
            let clear =
                || placed.iter().all(|other| wires_apart(&wire.segments, &other.segments, space));
            if wire.segments.iter().all(fits) && own_space(&wire.segments, space) && clear() {
                placed.push(wire);
            }
        }
        if placed.is_empty() {
            placed.push(self.fallback(window));
        }
        Layout::new(format!("clip_{seed}"), placed.into_iter().map(|w| w.outline).collect())
    }

    /// One bar in the middle, should no attempt have fitted.
    fn fallback(&self, window: [f64; 2]) -> Wire {
        let width = f64::from(self.least_width_nm) * 1.5;
        wire(&[[width, window[1] / 2.0], [window[0] - width, window[1] / 2.0]], width)
    }
}

/// What the shapes of one clip have in common.
struct Style {
    widths: [u32; 2],
    space: f64,
    longest: u32,
    blocks: f64,
    horizontal: f64,
}

impl Style {
    fn draw(rules: &ClipRules, rng: &mut ChaCha8Rng) -> Self {
        let least = rules.least_width_nm;
        let narrow = rng.random_range(least..=least + 40);
        Self {
            widths: [narrow, narrow + rng.random_range(0..=40)],
            space: f64::from(rng.random_range(rules.least_space_nm..=rules.least_space_nm * 2)),
            longest: rng.random_range(200..=900),
            blocks: rng.random_range(0.0..0.4),
            horizontal: *[0.1, 0.5, 0.9].choose(rng).unwrap_or(&0.5),
        }
    }

    fn wire(&self, rules: &ClipRules, window: [f64; 2], rng: &mut ChaCha8Rng) -> Wire {
        let snap = |v: f64| (v / f64::from(rules.grid_nm)).round() * f64::from(rules.grid_nm);
        let width = 2.0 * snap(f64::from(rng.random_range(self.widths[0]..=self.widths[1])) / 2.0);
        let start = [0, 1].map(|i| snap(rng.random_range(0.0..window[i])));
        if rng.random_bool(self.blocks) {
            let [w, h] = [0, 1].map(|_| snap(rng.random_range(width..width * 2.5) / 2.0));
            return wire(&[[start[0] - w, start[1]], [start[0] + w, start[1]]], 2.0 * h);
        }
        let mut points = vec![start];
        let mut axis = usize::from(!rng.random_bool(self.horizontal));
        let bends = *[0, 0, 0, 1, 1, 2].choose(rng).unwrap_or(&0);
        let sign = |rng: &mut ChaCha8Rng| if rng.random_bool(0.5) { 1.0 } else { -1.0 };
        let mut turn = sign(rng);
        for bend in 0..=bends {
            let least = if bends == 0 { width * 1.2 } else { width * 1.5 + self.space };
            let reach = least + f64::from(rng.random_range(0..self.longest)) / f64::from(bends + 1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Coverage, Frame, LayoutError, shapes};

    #[test]
    fn a_seed_makes_the_same_clip_and_another_seed_another() {
        let rules = ClipRules::default();
        assert_eq!(rules.clip(7), rules.clip(7));
        assert_ne!(rules.clip(7).polygons, rules.clip(8).polygons);
    }

    /// Space and width are measured on the raster, not by the code that placed the shapes.
    #[test]
    fn clips_keep_the_space_and_width_rules() -> Result<(), LayoutError> {
        let rules = ClipRules::default();
        for seed in 0..60 {
            let clip = rules.clip(seed);
            let frame = Frame::centred(&clip, 1280.0, 2.0)?;
            let raster = clip.rasterize(&frame, Coverage::Exact);
            if let Some(space) = shapes::smallest_distance_nm(&raster) {
                assert!(space >= 50.0 - 2.0, "seed {seed}: space {space}"); // one pixel of 2 nm
            }
            let narrowest = narrowest_run_nm(&raster);
            assert!(narrowest >= 54.0 - 4.0, "seed {seed}: width {narrowest}"); // two edges of 2 nm
        }
        Ok(())
    }

    fn narrowest_run_nm(raster: &crate::Raster) -> f64 {
        let inside = raster.binary();
        let mut least = usize::MAX;
        for y in 0..raster.height {
            let mut run = 0;
            for x in 0..raster.width {
                if inside[y * raster.width + x] {
                    run += 1;
                } else if run > 0 {
                    least = least.min(run);
                    run = 0;
                }
            }
        }
        least as f64 * raster.pixel_nm
    }

    #[test]
    fn outlines_have_the_area_of_their_segments_union() {
        let zed = wire(&[[0.0, 0.0], [300.0, 0.0], [300.0, 200.0], [600.0, 200.0]], 60.0);
        // Three legs along the centre line: 300 + 200 + 300 long, 60 wide; mitres fill the corners.
        assert_eq!(zed.outline.signed_area().abs(), 60.0 * 800.0);
    }
}
