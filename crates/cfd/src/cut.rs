//! Cut cells: what a signed distance says about faces, walls and volumes, and how they change with it.
//!
//! The distance φ (positive in the fluid) is sampled on the half-spaced grid. An edge with ends a and b is open over
//! its whole length, not at all, or over a/(a − b) of it (the outline is straight within an edge; LS-STAG, Cheny &
//! Botella 2010). A velocity lives in the middle of its face's open part; its distance to the wall is φ there. The
//! control volume of a velocity is a cut cell of its own, whose embedded wall closes it: S = (A_w − A_e, A_s − A_n).
//!
//! **A face that leads to a face without opening leads to a wall.** Without that rule the equations jump when a
//! body touches a line of the grid.
//!
//! An [`Entry`] is one number of the [`Metric`]: its formula and the few samples that it depends on. The same list of
//! entries gives the metric, and its derivatives in both directions.

use crate::{
    aperture::{Entry, Rule, Target},
    grid::{Direction, Grid, Layout},
    metric::{Metric, Slots},
};

/// Open shares below this are closed: they carry no flow worth an equation.
const CLOSED: f64 = 1e-6;

/// A rigid rotation: angular velocity and centre. About the centre of a circle.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Spin {
    /// Angular velocity, counter-clockwise.
    pub rate: f64,
    /// Centre of the rotation.
    pub centre: [f64; 2],
}

/// A grid cut by a signed distance.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) metric: Metric,
    /// Which faces are open.
    pub(crate) live_faces: Vec<bool>,
    /// Which cells have an open face.
    pub(crate) live_cells: Vec<bool>,
    /// Signed distances on the half-spaced grid.
    pub(crate) phi: Vec<f64>,
    grid: Grid,
    /// Motion of the wall nearest to each face.
    spins: Vec<Spin>,
    half: [Vec<f64>; 2],
}

impl Cut {
    /// Cuts `grid` by the samples `phi`; `spins` gives, for each face, the motion of the nearest wall.
    pub(crate) fn new(grid: &Grid, phi: Vec<f64>, spins: Vec<Spin>) -> Self {
        let layout = Layout::new(grid, false);
        let mut cut = Self {
            metric: Metric::zero(grid),
            live_faces: vec![false; layout.faces],
            live_cells: vec![false; layout.cells],
            phi,
            grid: grid.clone(),
            spins,
            half: [grid.half(0), grid.half(1)],
        };
        cut.open_faces();
        let mut metric = Metric::zero(grid);
        cut.each_entry(&mut |entry| metric.set(entry.target, entry.value(&cut.phi)));
        cut.metric = metric;
        cut
    }

    /// Derivative with respect to φ of a function whose derivative with respect to the metric is `by`.
    pub(crate) fn pull(&self, by: &Metric) -> Vec<f64> {
        let mut phi = vec![0.0; self.phi.len()];
        self.each_entry(&mut |entry| {
            for (i, slope) in entry.slopes(&self.phi) {
                phi[i] += slope * by.at(entry.target);
            }
        });
        phi
    }

    /// Change of the metric along a change of φ.
    pub(crate) fn push(&self, along: &[f64]) -> Metric {
        let mut tangent = Metric::zero(&self.grid);
        self.each_entry(&mut |entry| {
            let change = entry.slopes(&self.phi).map(|(i, slope)| slope * along[i]).sum();
            tangent.set(entry.target, change);
        });
        tangent
    }

    fn open_faces(&mut self) {
        for axis in 0..2 {
            let d = self.grid.direction(axis);
            for (m, k) in pairs(d.n + 1, d.t) {
                let entry = self.open(axis, m, k);
                let Rule::Open { length, .. } = entry.rule else { continue };
                if entry.value(&self.phi) > CLOSED * length {
                    self.live_faces[d.face(m, k)] = true;
                    let cells = [m.checked_sub(1), (m < d.n).then_some(m)];
                    cells.iter().flatten().for_each(|&m| self.live_cells[d.cell(m, k)] = true);
                }
            }
        }
    }

    /// Every number of the metric that is not zero, with its formula.
    fn each_entry(&self, act: &mut dyn FnMut(Entry)) {
        for axis in 0..2 {
            let d = self.grid.direction(axis);
            for (m, k) in pairs(d.n + 1, d.t).filter(|&(m, k)| self.live_faces[d.face(m, k)]) {
                act(self.open(axis, m, k));
                act(self.through(axis, m, k));
                act(self.volume(axis, m, k));
                let wall = self.wall(axis, m, k);
                act(wall);
                self.slide(axis, m, k, wall).into_iter().for_each(&mut *act);
            }
            for (m, k) in pairs(d.n, d.t) {
                if let Some(along) = self.along(axis, m, k) {
                    act(along);
                    self.lean(axis, m, k).into_iter().flatten().for_each(&mut *act);
                }
            }
            pairs(d.n + 1, d.t + 1)
                .filter_map(|(m, k)| self.across(axis, m, k))
                .for_each(&mut *act);
        }
        for c in (0..self.grid.cells()).filter(|&c| self.live_cells[c]) {
            self.cell(c).into_iter().flatten().for_each(&mut *act);
        }
    }

    fn open(&self, axis: usize, m: usize, k: usize) -> Entry {
        let (d, t) = (self.grid.direction(axis), &self.half[1 - axis]);
        let ends = [d.half(2 * m, 2 * k), d.half(2 * m, 2 * k + 2)];
        let length = t[2 * k + 2] - t[2 * k];
        Entry::new(Target::Open(d.face(m, k)), &ends, Rule::Open { length, distance: 1.0 })
    }

    /// Conductance for heat: from the middle of one cell to that of the next, or to the border of the grid.
    fn through(&self, axis: usize, m: usize, k: usize) -> Entry {
        let (d, n) = (self.grid.direction(axis), &self.half[axis]);
        let distance = n[(2 * m + 1).min(2 * d.n)] - n[(2 * m).saturating_sub(1)];
        let slot = Slots::new(&self.grid).through(d.face(m, k));
        let Entry { stencil, rule, .. } = self.open(axis, m, k);
        let Rule::Open { length, .. } = rule else { unreachable!("open faces have open lengths") };
        Entry { target: Target::Conductance(slot), stencil, rule: Rule::Open { length, distance } }
    }

    fn along(&self, axis: usize, m: usize, k: usize) -> Option<Entry> {
        let (d, n, t) = (self.grid.direction(axis), &self.half[axis], &self.half[1 - axis]);
        if !(self.live_faces[d.face(m, k)] && self.live_faces[d.face(m + 1, k)]) {
            return None;
        }
        let ends = [d.half(2 * m + 1, 2 * k), d.half(2 * m + 1, 2 * k + 2)];
        let slot = Slots::new(&self.grid).along(axis, d.cell(m, k));
        let rule =
            Rule::Open { length: t[2 * k + 2] - t[2 * k], distance: n[2 * m + 2] - n[2 * m] };
        Some(Entry::new(Target::Conductance(slot), &ends, rule))
    }

    /// How two velocities lean against each other where one of their faces is cut.
    fn lean(&self, axis: usize, m: usize, k: usize) -> [Option<Entry>; 3] {
        let (d, n, t) = (self.grid.direction(axis), &self.half[axis], &self.half[1 - axis]);
        let [low, high] = [2 * k, 2 * k + 2];
        let stencil = [2 * m + 1, 2 * m, 2 * m + 2].map(|a| [d.half(a, low), d.half(a, high)]);
        let cut = |ends: &[usize; 2]| ends.iter().any(|&i| self.phi[i] <= 0.0);
        if !stencil[1..].iter().any(cut) {
            return [None; 3];
        }
        let size = [n[2 * m + 2] - n[2 * m], t[high] - t[low]];
        let slot = Slots::new(&self.grid).along(axis, d.cell(m, k));
        let entry = |target, rule| Some(Entry::new(target, stencil.as_flattened(), rule));
        let spin = self.spins.get(d.face(m, k)).filter(|spin| spin.rate != 0.0);
        let drift = spin.and_then(|spin| {
            let rate = if axis == 0 { -spin.rate } else { spin.rate };
            let start = t[low] - spin.centre[1 - axis];
            entry(Target::Drift(slot), Rule::Drift { size, rate, start })
        });
        [
            entry(Target::Lean(2 * slot), Rule::Lean { size, behind: false }),
            entry(Target::Lean(2 * slot + 1), Rule::Lean { size, behind: true }),
            drift,
        ]
    }

    /// Between the velocities below and above corner `k`, or between one of them and the border of the grid.
    fn across(&self, axis: usize, m: usize, k: usize) -> Option<Entry> {
        let (d, t) = (self.grid.direction(axis), &self.half[1 - axis]);
        let below = k.checked_sub(1);
        let above = (k < d.t).then_some(k);
        let live = |k: Option<usize>| k.is_none_or(|k| self.live_faces[d.face(m, k)]);
        if !(live(below) && live(above)) {
            return None;
        }
        let span = |k: usize| [t[2 * k], t[2 * k + 2]];
        let (low, high, length) = self.reach(axis, m);
        let stencil = [
            d.half(low, 2 * k),
            d.half(high, 2 * k),
            d.half(2 * m, (2 * k).saturating_sub(2)),
            d.half(2 * m, 2 * k),
            d.half(2 * m, (2 * k + 2).min(2 * d.t)),
        ];
        let slot = Slots::new(&self.grid).across(axis, d.corner(m, k));
        let rule = Rule::Across {
            length,
            border: t[2 * k],
            below: below.map(span),
            above: above.map(span),
        };
        Some(Entry::new(Target::Conductance(slot), &stencil, rule))
    }

    fn wall(&self, axis: usize, m: usize, k: usize) -> Entry {
        let (d, t) = (self.grid.direction(axis), &self.half[1 - axis]);
        let (low, high, length) = self.reach(axis, m);
        let [s, n] = [2 * k, 2 * k + 2];
        let stencil = [
            d.half(low, s),
            d.half(low, n),
            d.half(high, s),
            d.half(high, n),
            d.half(2 * m, s),
            d.half(2 * m, n),
        ];
        let rule = Rule::Wall { size: [length, t[n] - t[s]], blocked: self.blocked(d, m, k) };
        Entry::new(Target::Wall(d.face(m, k)), &stencil, rule)
    }

    /// Whether the neighbours before, behind, below and above a face are faces without opening.
    fn blocked(&self, d: Direction, m: usize, k: usize) -> [bool; 4] {
        let dead = |m: usize, k: usize| !self.live_faces[d.face(m, k)];
        [
            m > 0 && dead(m - 1, k),
            m < d.n && dead(m + 1, k),
            k > 0 && dead(m, k - 1),
            k + 1 < d.t && dead(m, k + 1),
        ]
    }

    fn slide(&self, axis: usize, m: usize, k: usize, wall: Entry) -> Option<Entry> {
        let (d, t) = (self.grid.direction(axis), &self.half[1 - axis]);
        let spin = self.spins.get(d.face(m, k)).filter(|spin| spin.rate != 0.0)?;
        let Rule::Wall { size, blocked } = wall.rule else { return None };
        let rate = if axis == 0 { -spin.rate } else { spin.rate };
        let rule = Rule::Slide { size, blocked, rate, start: t[2 * k] - spin.centre[1 - axis] };
        Some(Entry { target: Target::Slide(d.face(m, k)), rule, ..wall })
    }

    fn volume(&self, axis: usize, m: usize, k: usize) -> Entry {
        let (d, t) = (self.grid.direction(axis), &self.half[1 - axis]);
        let (low, high, length) = self.reach(axis, m);
        let [s, n] = [2 * k, 2 * k + 2];
        let corners = [d.half(low, s), d.half(high, s), d.half(high, n), d.half(low, n)];
        let rule = Rule::Volume { size: [length, t[n] - t[s]] };
        Entry::new(Target::Volume(d.face(m, k)), &corners, rule)
    }

    fn cell(&self, c: usize) -> [Option<Entry>; 3] {
        let (d, size) = (self.grid.direction(0), self.grid.size(c));
        let (i, j) = (2 * (c % d.n), 2 * (c / d.n));
        let corners = [d.half(i, j), d.half(i + 2, j), d.half(i + 2, j + 2), d.half(i, j + 2)];
        let entry = |target, rule| Some(Entry::new(target, &corners, rule));
        let spin = self.spins.get(d.face(i / 2, j / 2)).filter(|spin| spin.rate != 0.0);
        let chord = spin.filter(|_| corners.iter().any(|&i| self.phi[i] <= 0.0)).and_then(|spin| {
            let corner = [self.half[0][i] - spin.centre[0], self.half[1][j] - spin.centre[1]];
            entry(Target::Chord(c), Rule::Chord { size, rate: spin.rate, corner })
        });
        [
            entry(Target::CellVolume(c), Rule::Volume { size }),
            entry(Target::CellWall(c), Rule::CellWall { size }),
            chord,
        ]
    }

    /// Where the control volume of face `m` begins and ends on the half-spaced grid, and its length.
    fn reach(&self, axis: usize, m: usize) -> (usize, usize, f64) {
        let (n, last) = (&self.half[axis], self.half[axis].len() - 1);
        let (low, high) = ((2 * m).saturating_sub(1), (2 * m + 1).min(last));
        (low, high, n[high] - n[low])
    }
}

/// All pairs of `0..n` and `0..t`, row by row.
pub(crate) fn pairs(n: usize, t: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..t).flat_map(move |k| (0..n).map(move |m| (m, k)))
}
