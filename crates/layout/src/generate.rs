//! Synthetic metal clips: seeded, and within width and space rules like those of ICCAD 2013's.
//!
//! A clip is a window with wires (bars, L, Z and U shapes) and blocks, placed at random and kept only
//! if they respect the space rule. The ten contest clips have widths of 54 to 140 nm, spaces of 50 to
//! 150 nm and extents of 200 to 1050 nm; the ranges here are drawn around these.

mod chip;
mod wire;

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::Layout;

pub use chip::Chip;
use wire::{Course, Wire};

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
            let course = style.course(self, window, &mut rng);
            if !course.is_within(window) {
                continue;
            }
            let wire = Wire::along(&course);
            let keeps = wire.is_within(window) && wire.keeps(style.space);
            if keeps && placed.iter().all(|other| wire.is_clear_of(other, style.space)) {
                placed.push(wire);
            }
        }
        if placed.is_empty() {
            placed.push(self.fallback(window));
        }
        Layout::new(format!("clip_{seed}"), placed.iter().map(Wire::outline).collect())
    }

    /// One bar in the middle, should no attempt have fitted.
    fn fallback(&self, window: [f64; 2]) -> Wire {
        let width = f64::from(self.least_width_nm) * 1.5;
        let ends = [[width, window[1] / 2.0], [window[0] - width, window[1] / 2.0]];
        Wire::along(&Course::new(&ends, width))
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

    fn course(&self, rules: &ClipRules, window: [f64; 2], rng: &mut ChaCha8Rng) -> Course {
        let snap = |v: f64| rounded(v / f64::from(rules.grid_nm)) * f64::from(rules.grid_nm);
        let width = 2.0 * snap(f64::from(rng.random_range(self.widths[0]..=self.widths[1])) / 2.0);
        let start = [0, 1].map(|i| snap(rng.random_range(0.0..window[i])));
        if rng.random_bool(self.blocks) {
            let [w, h] = [0, 1].map(|_| snap(rng.random_range(width..width * 2.5) / 2.0));
            return Course::new(&[[start[0] - w, start[1]], [start[0] + w, start[1]]], 2.0 * h);
        }
        let mut course = Course::new(&[start], width);
        let mut axis = usize::from(!rng.random_bool(self.horizontal));
        let bends: u8 = *[0, 0, 0, 1, 1, 2].choose(rng).unwrap_or(&0);
        let sign = |rng: &mut ChaCha8Rng| if rng.random_bool(0.5) { 1.0 } else { -1.0 };
        let mut turn = sign(rng);
        for bend in 0..=bends {
            let least = if bends == 0 { width * 1.2 } else { width * 1.5 + self.space };
            let reach = least + f64::from(rng.random_range(0..self.longest)) / f64::from(bends + 1);
            let mut next = course.end();
            // Every other leg of a U runs back, of a Z on.
            let way = if bend == 2 && rng.random_bool(0.5) { -turn } else { turn };
            next[axis] += way * snap(reach);
            course.go_to(next);
            if bend == 1 {
                turn = sign(rng);
            }
            axis = 1 - axis;
        }
        course
    }
}

/// A number that is not negative as the nearest whole one, a half as the next: [`f64::round`] of it, which is a call on processors that are not asked for more.
fn rounded(v: f64) -> f64 {
    let whole = v as u64 as f64;
    whole + f64::from(u8::from(v - whole >= 0.5))
}

#[cfg(test)]
mod tests;
