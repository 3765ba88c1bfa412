//! Rectangles that descend: which of their edges may move, which move together, and what rules want of them.

use lithoburn_layout::{Bounds, MaskRules, Raster};

/// Least side of a rectangle if there are no rules, in nm.
const LEAST_NM: f64 = 8.0;
/// How far apart two coordinates may be that are the same, in nm.
const SAME_NM: f64 = 0.5;
/// Adam's decays.
const BETAS: [f64; 2] = [0.8, 0.98];

/// A rectangle: left, top, right, bottom, in nm from the field's corner.
pub(crate) type Shot = [f64; 4];

/// An edge: the number of its rectangle, and which of the four it is.
type Edge = (usize, usize);

/// The rectangles of a mask.
#[derive(Clone, Debug)]
pub(super) struct Rectangles {
    pub(super) shots: Vec<Shot>,
    /// Whether each edge meets no other rectangle.
    free: Vec<[bool; 4]>,
    /// Edges that meet face to face, and nothing else: they move together.
    tied: Vec<Vec<Edge>>,
    /// For each rectangle the number of the shape it belongs to.
    parts: Vec<usize>,
    /// Adam's means, of edges and of tied ones.
    moments: Vec<[[f64; 2]; 4]>,
    of_tied: Vec<[f64; 2]>,
    /// Steps since the means began.
    steps: i32,
    rules: Option<MaskRules>,
}

/// Least side of a rectangle, in nm.
pub(super) fn least_side(rules: Option<&MaskRules>) -> f64 {
    rules.map_or(LEAST_NM, |r| r.min_width_nm.max(LEAST_NM))
}

impl Rectangles {
    /// Rectangles at rest.
    pub(super) fn new(bounds: &[Bounds], rules: Option<MaskRules>) -> Self {
        let shot = |b: &Bounds| [b.min[0], b.min[1], b.max[0], b.max[1]];
        let shots: Vec<Shot> = bounds.iter().map(shot).collect();
        let (free, tied) = edges(&shots);
        let parts = parts(&shots);
        let (moments, of_tied) = (Vec::new(), Vec::new());
        let mut found = Self { shots, free, tied, parts, moments, of_tied, steps: 0, rules };
        found.rest();
        found
    }

    /// Lets Adam begin anew.
    pub(super) fn rest(&mut self) {
        self.moments = vec![[[0.0; 2]; 4]; self.shots.len()];
        self.of_tied = vec![[0.0; 2]; self.tied.len()];
        self.steps = 0;
    }

    /// A step of `rate` nm against an error's derivative by the mask.
    pub(super) fn step(&mut self, by_mask: &Raster, rate: f64) {
        self.steps += 1;
        let (steps, least) = (self.steps, least_side(self.rules.as_ref()));
        let slopes: Vec<[f64; 4]> = self.shots.iter().map(|s| edge_slopes(by_mask, s)).collect();
        for (i, moments) in self.moments.iter_mut().enumerate() {
            for edge in (0..4).filter(|&edge| self.free[i][edge]) {
                self.shots[i][edge] -= adam(&mut moments[edge], slopes[i][edge], steps, rate);
            }
            keep_sides(&mut self.shots[i], &self.free[i], least, self.rules.as_ref());
        }
        for (tied, moments) in self.tied.iter().zip(&mut self.of_tied) {
            let slope = tied.iter().map(|&(i, edge)| slopes[i][edge]).sum();
            let by = adam(moments, slope, steps, rate);
            if tied.iter().all(|&(i, edge)| stays_wide(&self.shots[i], edge, by, least)) {
                tied.iter().for_each(|&(i, edge)| self.shots[i][edge] -= by);
            }
        }
        self.keep_apart();
    }

    /// The rectangles on whole nanometres, without those of shapes that are smaller than the rules want.
    pub(super) fn whole(&self) -> Vec<Shot> {
        let shots: Vec<Shot> = self.shots.iter().map(|s| s.map(f64::round)).collect();
        let least = self.rules.map_or(0.0, |r| r.min_area_nm2);
        let side = self.rules.map_or(0.0, |r| r.min_width_nm - 2.0);
        let area = |s: &Shot| (s[2] - s[0]).max(0.0) * (s[3] - s[1]).max(0.0);
        let of = |part: usize| {
            let own = shots.iter().zip(&self.parts).filter(move |(_, p)| **p == part);
            own.map(|(shot, _)| shot)
        };
        let kept = |(shot, part): &(&Shot, &usize)| {
            let thin = (shot[2] - shot[0]).min(shot[3] - shot[1]) < side;
            of(**part).map(area).sum::<f64>() >= least && !(thin && of(**part).count() == 1)
        };
        shots.iter().zip(&self.parts).filter(kept).map(|(shot, _)| *shot).collect()
    }

    /// Draws rectangles of different shapes apart until they are as far as the rules want, where their edges
    /// may move.
    fn keep_apart(&mut self) {
        // A nanometre more, for rounding.
        let Some(least) = self.rules.map(|r| r.min_distance_nm.max(r.min_space_nm) + 1.0) else {
            return;
        };
        for i in 0..self.shots.len() {
            for j in i + 1..self.shots.len() {
                if self.parts[i] != self.parts[j] {
                    self.draw_apart(i, j, least);
                }
            }
        }
    }

    /// Moves the edges of two rectangles between which there is less than `least`.
    fn draw_apart(&mut self, i: usize, j: usize, least: f64) {
        let (shots, free) = (&mut self.shots, &self.free);
        let gaps = [0, 1].map(|axis| {
            (shots[i][axis].max(shots[j][axis])) - (shots[i][axis + 2].min(shots[j][axis + 2]))
        });
        if gaps[0].max(0.0).hypot(gaps[1].max(0.0)) >= least {
            return;
        }
        // Along the axis on which they are further apart: less has to move.
        let axis = usize::from(gaps[1] > gaps[0]);
        let (low, high) = if shots[i][axis] <= shots[j][axis] { (i, j) } else { (j, i) };
        let other = gaps[1 - axis].max(0.0);
        let wanted = (least * least - other * other).max(0.0).sqrt() - gaps[axis];
        let moves = [free[low][axis + 2], free[high][axis]];
        let share = wanted / f64::from(u8::from(moves[0]) + u8::from(moves[1])).max(1.0);
        if moves[0] {
            shots[low][axis + 2] = (shots[low][axis + 2] - share).max(shots[low][axis] + 1.0);
        }
        if moves[1] {
            shots[high][axis] = (shots[high][axis] + share).min(shots[high][axis + 2] - 1.0);
        }
    }
}

/// Whether a rectangle keeps the least side, or what it has of it, when an edge moves.
fn stays_wide(shot: &Shot, edge: usize, by: f64, least: f64) -> bool {
    let side = shot[edge % 2 + 2] - shot[edge % 2];
    let after = if edge < 2 { side + by } else { side - by };
    after >= least.min(side)
}

/// Keeps a rectangle's sides at least as long as the rules want widths, and one that can grow to all sides
/// at least as large as they want shapes.
fn keep_sides(shot: &mut Shot, free: &[bool; 4], least: f64, rules: Option<&MaskRules>) {
    for axis in [0, 1] {
        let short = least - (shot[axis + 2] - shot[axis]);
        if short > 0.0 && free[axis] && free[axis + 2] {
            shot[axis] -= short / 2.0;
            shot[axis + 2] += short / 2.0;
        }
    }
    let area = (shot[2] - shot[0]) * (shot[3] - shot[1]);
    let wanted = rules.map_or(0.0, |r| r.min_area_nm2) * 1.02;
    if free.iter().all(|&f| f) && area > 0.0 && area < wanted {
        let factor = ((wanted / area).sqrt() - 1.0) / 2.0;
        for axis in [0, 1] {
            let more = (shot[axis + 2] - shot[axis]) * factor;
            shot[axis] -= more;
            shot[axis + 2] += more;
        }
    }
}

/// For each rectangle the number of the shape it belongs to: those that touch are one.
fn parts(shots: &[Shot]) -> Vec<usize> {
    let touch = |a: &Shot, b: &Shot| {
        (0..2).all(|axis| a[axis] <= b[axis + 2] + SAME_NM && b[axis] <= a[axis + 2] + SAME_NM)
    };
    let mut parts: Vec<usize> = (0..shots.len()).collect();
    for i in 0..shots.len() {
        for j in 0..i {
            if touch(&shots[i], &shots[j]) && parts[i] != parts[j] {
                let (from, to) = (parts[i], parts[j]);
                parts.iter_mut().filter(|p| **p == from).for_each(|p| *p = to);
            }
        }
    }
    parts
}

/// Whether each edge of each rectangle meets no other rectangle, and those that meet face to face and nothing else.
fn edges(shots: &[Shot]) -> (Vec<[bool; 4]>, Vec<Vec<Edge>>) {
    let mut free = vec![[true; 4]; shots.len()];
    // For each edge the number of those that it moves with, and whether something else holds it.
    let mut together: Vec<usize> = (0..4 * shots.len()).collect();
    let mut held = vec![false; 4 * shots.len()];
    for (i, edge) in (0..shots.len()).flat_map(|i| [0, 1, 2, 3].map(|edge| (i, edge))) {
        let (at, opposite) = (shots[i][edge], (edge + 2) % 4);
        for j in (0..shots.len()).filter(|&j| meets(shots, i, edge, j)) {
            free[i][edge] = false;
            if (shots[j][opposite] - at).abs() < SAME_NM {
                let (from, to) = (together[4 * i + edge], together[4 * j + opposite]);
                together.iter_mut().filter(|t| **t == from).for_each(|t| *t = to);
            } else {
                held[4 * i + edge] = true;
            }
        }
    }
    let mut tied = vec![Vec::new(); 4 * shots.len()];
    let mut stuck = vec![false; 4 * shots.len()];
    for (edge, (&number, held)) in together.iter().zip(held).enumerate() {
        tied[number].push((edge / 4, edge % 4));
        stuck[number] |= held;
    }
    let moving = tied.into_iter().zip(stuck).filter(|(tied, stuck)| tied.len() > 1 && !stuck);
    (free, moving.map(|(tied, _)| tied).collect())
}

/// Whether an edge of a rectangle lies on or in another one.
fn meets(shots: &[Shot], i: usize, edge: usize, j: usize) -> bool {
    let (own, other, axis) = (shots[i], shots[j], edge % 2);
    let overlap = own[3 - axis].min(other[3 - axis]) - own[1 - axis].max(other[1 - axis]);
    let within = other[axis] - SAME_NM..=other[axis + 2] + SAME_NM;
    j != i && overlap > 0.0 && within.contains(&own[edge])
}

/// Derivatives of the error by the four edges, per nm.
pub(super) fn edge_slopes(field: &Raster, shot: &Shot) -> [f64; 4] {
    let px = |nm: f64| nm / field.pixel_nm;
    // Along an edge at `at`, over `from..to` of the other axis.
    let along = |axis: usize, at: f64, from: f64, to: f64| {
        let last = field.width as f64 - 1.0;
        let line = px(at).floor().clamp(0.0, last) as usize;
        let (from, to) = (px(from).max(0.0), px(to).min(last));
        let mut sum = 0.0;
        for other in from.floor() as usize..to.ceil().max(0.0) as usize {
            let share = (to.min(other as f64 + 1.0) - from.max(other as f64)).max(0.0);
            let (x, y) = if axis == 0 { (line, other) } else { (other, line) };
            sum += share * f64::from(field.data[y * field.width + x]);
        }
        sum / field.pixel_nm
    };
    let [x0, y0, x1, y1] = *shot;
    [-along(0, x0, y0, y1), -along(1, y0, x0, x1), along(0, x1, y0, y1), along(1, y1, x0, x1)]
}

/// One number's step, the first being 1.
fn adam(moments: &mut [f64; 2], slope: f64, step: i32, rate: f64) -> f64 {
    let [b1, b2] = BETAS;
    moments[0] = b1 * moments[0] + (1.0 - b1) * slope;
    moments[1] = b2 * moments[1] + (1.0 - b2) * slope * slope;
    let unbiased = |v: f64, beta: f64| v / (1.0 - beta.powi(step));
    rate * unbiased(moments[0], b1) / (unbiased(moments[1], b2).sqrt() + 1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rectangles(shots: &[Shot]) -> Rectangles {
        let bounds = |s: &Shot| Bounds { min: [s[0], s[1]], max: [s[2], s[3]] };
        Rectangles::new(&shots.iter().map(bounds).collect::<Vec<_>>(), None)
    }

    /// A bar of two slabs, and a stem that reaches into the upper one.
    #[test]
    fn edges_face_to_face_are_tied_and_those_within_anothers_side_are_held() {
        let found = rectangles(&[
            [100.0, 100.0, 200.0, 300.0],
            [110.0, 300.0, 190.0, 500.0],
            [150.0, 150.0, 400.0, 200.0],
        ]);
        assert_eq!(found.free[0], [true, true, false, false]);
        assert_eq!(found.free[1], [true, false, true, true]);
        assert_eq!(found.free[2], [false, false, true, false]);
        assert_eq!(found.tied, [vec![(0, 3), (1, 1)]]);
        assert_eq!(found.parts[0], found.parts[2]);
    }

    /// The error wants the mask dark beyond x = 176 for y of 120 to 160: there the wider slab ends, and the edge at which it meets the narrower
    /// one moves up with that one's; no gap opens.
    #[test]
    fn tied_edges_move_together_and_leave_no_gap() {
        let mut found = rectangles(&[[100.0, 100.0, 200.0, 140.0], [100.0, 140.0, 180.0, 180.0]]);
        let mut by_mask = Raster::new(64, 64, 8.0);
        let pixels = by_mask.data.iter_mut().enumerate();
        pixels.for_each(|(i, v)| {
            *v = f32::from(u8::from(i % 64 >= 22 && (15..20).contains(&(i / 64))))
        });
        for _ in 0..100 {
            found.step(&by_mask, 1.0);
            let [upper, lower] = [found.shots[0], found.shots[1]];
            assert_eq!(upper[3], lower[1]);
            assert!(upper[3] - upper[1] >= LEAST_NM && lower[3] - lower[1] >= LEAST_NM);
        }
        assert!(found.shots[0][2] < 185.0, "{:?}", found.shots);
        assert!(found.shots[0][3] < 130.0, "{:?}", found.shots);
    }
}
