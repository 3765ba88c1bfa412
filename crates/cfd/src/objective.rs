//! What is asked of a flow: forces, pressure drop, heat, dissipation, targets; their values and derivatives.
//!
//! Forces are sums over walls, of the same fluxes as in the equations. Therefore they equal the momentum balance of
//! any box around the body to round-off.

use std::sync::Arc;

use crate::{
    Grid,
    brinkman::Resistance,
    momentum::Friction,
    system::System,
    term::Sensitivity,
    transport::{Link, Node},
};

/// A number that a flow has.
#[derive(Clone, Debug)]
pub enum Objective {
    /// Force of the fluid on all bodies and on porous solid along a direction, times a factor.
    Force {
        /// Direction, usually of length one.
        along: [f64; 2],
        /// Factor: 2/(U² D) makes a coefficient of a force.
        scale: f64,
    },
    /// Mean pressure along one side less that along another: sides are 0 west, 1 east, 2 south, 3 north.
    PressureDrop {
        /// Where the pressure is high.
        from: usize,
        /// Where it is low.
        to: usize,
    },
    /// Pressure at one point less that at another; points on or in a body see the fluid nearest along x.
    PressureBetween {
        /// Where the pressure is high.
        from: [f64; 2],
        /// Where it is low.
        to: [f64; 2],
    },
    /// Heat per time from all bodies and heated sides into the fluid, over density times heat capacity, times a
    /// factor.
    Heat {
        /// Factor.
        scale: f64,
    },
    /// The same from the heated stretches of one side.
    SideHeat {
        /// 0 west, 1 east, 2 south, 3 north.
        side: usize,
        /// Factor.
        scale: f64,
    },
    /// Half the power lost: ½ ∫ ν |∇u|² + α u² (Borrvall & Petersson 2003).
    Dissipation,
    /// Mean temperature of the fluid and of porous solid.
    MeanTemperature,
    /// Half the squared distance of one component from a target, over all velocities: ½ Σ V (u − u*)².
    VelocityTarget {
        /// Component: 0 along x, 1 along y.
        axis: usize,
        /// Weight times target at a point: `(weight, u*)`.
        target: Target,
    },
    /// A weighted sum.
    Sum(Vec<(f64, Self)>),
}

/// Weight and wanted velocity at a point.
#[derive(Clone)]
pub struct Target(pub Arc<dyn Fn(f64, f64) -> (f64, f64) + Send + Sync>);

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Target")
    }
}

/// Value and derivatives of an objective at fixed unknowns.
#[derive(Debug)]
pub(crate) struct Evaluation {
    pub(crate) value: f64,
    /// By the unknowns.
    pub(crate) by_w: Vec<f64>,
    /// By all else, directly.
    pub(crate) by: Sensitivity,
}

impl Objective {
    /// Drag coefficient 2 F_x / (U² D).
    #[must_use]
    pub fn drag(speed: f64, length: f64) -> Self {
        Self::Force { along: [1.0, 0.0], scale: 2.0 / (speed * speed * length) }
    }

    /// Lift coefficient 2 F_y / (U² D).
    #[must_use]
    pub fn lift(speed: f64, length: f64) -> Self {
        Self::Force { along: [0.0, 1.0], scale: 2.0 / (speed * speed * length) }
    }

    /// Value and derivatives of the objective for unknowns `w`.
    pub(crate) fn evaluate(&self, system: &System, w: &[f64]) -> Evaluation {
        let mut out = Evaluation::nothing(system);
        self.add_to(&mut out, system, w, 1.0);
        out
    }

    /// Adds `factor` × value and derivatives to those at hand.
    pub(crate) fn add_to(&self, out: &mut Evaluation, system: &System, w: &[f64], factor: f64) {
        Sum { system, w, out }.add(self, factor);
    }
}

impl Evaluation {
    /// Of no objective.
    pub(crate) fn nothing(system: &System) -> Self {
        let by_w = vec![0.0; system.layout.len()];
        Self { value: 0.0, by_w, by: system.no_sensitivity() }
    }
}

struct Sum<'a> {
    system: &'a System,
    w: &'a [f64],
    out: &'a mut Evaluation,
}

impl Sum<'_> {
    fn add(&mut self, objective: &Objective, factor: f64) {
        match objective {
            Objective::Force { along, scale } => {
                (0..2).for_each(|axis| self.force(axis, factor * scale * along[axis]));
            }
            Objective::PressureDrop { from, to } => {
                self.side_pressure(*from, factor);
                self.side_pressure(*to, -factor);
            }
            Objective::PressureBetween { from, to } => {
                self.point_pressure(*from, factor);
                self.point_pressure(*to, -factor);
            }
            Objective::Heat { scale } => self.heat(factor * scale),
            Objective::SideHeat { side, scale } => self.side_heat(*side, factor * scale),
            Objective::Dissipation => self.dissipation(factor),
            Objective::MeanTemperature => self.mean_temperature(factor),
            Objective::VelocityTarget { axis, target } => self.target(*axis, target, factor),
            Objective::Sum(parts) => {
                parts.iter().for_each(|(weight, part)| self.add(part, factor * weight));
            }
        }
    }

    /// Adds `weight` × unknown `i`.
    fn linear(&mut self, i: usize, weight: f64) {
        self.out.value += weight * self.w[i];
        self.out.by_w[i] += weight;
    }

    fn force(&mut self, axis: usize, factor: f64) {
        if factor == 0.0 {
            return;
        }
        let system = self.system;
        let d = system.grid().direction(axis);
        let second = system.grid().direction(1).face(0, 0);
        let faces = if axis == 0 { 0..second } else { second..system.layout.faces };
        for f in faces.clone() {
            if system.free[f] {
                self.friction(f, factor);
                self.porous_drag(f, factor);
            }
            self.pressure_on(f, factor);
        }
        debug_assert_eq!(faces.len(), (d.n + 1) * d.t);
        for link in &system.momentum.links {
            self.swallowed(link, &faces, factor);
        }
    }

    fn friction(&mut self, f: usize, factor: f64) {
        let at = self.system.at(self.w);
        self.out.value += factor * Friction::force(at, f);
        self.out.by_w[f] += factor * at.physics.viscosity * at.metric.wall[f];
        Friction::pull_force(at, f, factor, &mut self.out.by);
    }

    fn porous_drag(&mut self, f: usize, factor: f64) {
        let at = self.system.at(self.w);
        let resistance = Resistance { neighbours: &self.system.neighbours };
        let (mean, volume) = (resistance.mean(at, f), at.metric.volume[f]);
        self.out.value += factor * mean * volume * self.w[f];
        self.out.by_w[f] += factor * mean * volume;
        self.out.by.metric.volume[f] += factor * mean * self.w[f];
        resistance.pull_mean(f, factor * volume * self.w[f], &mut self.out.by);
    }

    /// p S: each cell pushes on the wall by the difference of its two openings.
    fn pressure_on(&mut self, f: usize, factor: f64) {
        let open = self.system.cut.metric.open[f];
        let cells = self.system.neighbours.of(f).into_iter().zip([-1.0, 1.0]);
        for (cell, sign) in cells {
            let Some(p) = cell.map(|c| self.system.layout.pressure(c)) else { continue };
            self.linear(p, factor * sign * open);
            self.out.by.metric.open[f] += factor * sign * self.w[p];
        }
    }

    /// Momentum that is carried into a closed face, where the equations see a wall.
    fn swallowed(&mut self, link: &Link, faces: &std::ops::Range<usize>, factor: f64) {
        let [Some(from), Some(to)] = link.rows() else { return };
        let live = |f: usize| self.system.cut.live_faces[f];
        if !faces.contains(&from) || live(from) == live(to) {
            return;
        }
        let by = if live(from) { factor } else { -factor };
        let transport = &self.system.momentum;
        let at = self.system.at(self.w);
        self.out.value += by * (transport.convected(at, link) + transport.diffused(at, link));
        let by_w = &mut self.out.by_w;
        transport.slopes(at, link, &mut |column, slope| by_w[column] += by * slope);
        transport.pull_link(at, link, by, &mut self.out.by);
    }

    /// Mean pressure on a side, extrapolated from the two cells beside it; zero outside an outlet.
    fn side_pressure(&mut self, side: usize, factor: f64) {
        let system = self.system;
        if matches!(system.case.sides.flow[side], crate::boundary::Side::Outlet) {
            return;
        }
        let (axis, end) = (side / 2, side % 2);
        let d = system.grid().direction(axis);
        let half = system.grid().half(axis);
        let (first, second, border) =
            if end == 0 { (0, 1, 0) } else { (d.n - 1, d.n - 2, 2 * d.n) };
        let places = [half[2 * first + 1], half[2 * second + 1], half[border]];
        let share = (places[2] - places[0]) / (places[1] - places[0]);
        let across = system.grid().faces(1 - axis);
        let width = across[d.t] - across[0];
        for k in 0..d.t {
            let weight = factor * (across[k + 1] - across[k]) / width;
            let p = |m: usize| system.layout.pressure(d.cell(m, k));
            self.linear(p(first), weight * (1.0 - share));
            self.linear(p(second), weight * share);
        }
    }

    fn point_pressure(&mut self, point: [f64; 2], factor: f64) {
        for (cell, weight) in pressure_stencil(self.system, point) {
            self.linear(self.system.layout.pressure(cell), factor * weight);
        }
    }

    fn heat(&mut self, factor: f64) {
        let Some((_, walls)) = &self.system.heat else { return };
        let at = self.system.at(self.w);
        for (c, body) in walls.touched(at) {
            self.out.value += factor * walls.received(at, c, body);
            let slope = at.physics.diffusivity[c] * at.metric.cell_wall[c];
            self.out.by_w[walls.start + c] -= factor * slope;
            walls.pull_received(at, (c, body), factor, &mut self.out.by);
        }
        self.out.value += factor * walls.sources.iter().sum::<f64>();
        (0..4).for_each(|side| self.side_heat(side, factor));
    }

    /// Heat by conduction through stretches of a side that have a temperature and let nothing through; what flows
    /// through a side carries its heat as enthalpy.
    fn side_heat(&mut self, side: usize, factor: f64) {
        let Some((transport, _)) = &self.system.heat else { return };
        let at = self.system.at(self.w);
        let second = self.system.grid().direction(1).face(0, 0) as u32;
        for link in &transport.links {
            let (end, sign) = match (link.from, link.to) {
                (Node::Given(_), _) => (0, factor),
                (_, Node::Given(_)) => (1, -factor),
                _ => continue,
            };
            let face = link.carriers[0].0;
            let still = !self.system.free[face as usize] && self.system.fixed[face as usize] == 0.0;
            if 2 * usize::from(face >= second) + end == side && still {
                self.out.value += sign * transport.diffused(at, link);
                let by_w = &mut self.out.by_w;
                transport.slopes(at, link, &mut |column, slope| by_w[column] += sign * slope);
                transport.pull_link(at, link, sign, &mut self.out.by);
            }
        }
    }

    fn dissipation(&mut self, factor: f64) {
        let system = self.system;
        let at = system.at(self.w);
        for link in system.momentum.links.iter().filter(|link| link.slot.is_some()) {
            let slot = link.slot.map_or(0, |slot| slot as usize);
            let ([a, b], g) = (link.values(at), at.metric.conductance[slot]);
            let (nu, half) = (at.physics.viscosity, 0.5 * factor * (a - b) * (a - b));
            self.out.value += half * nu * g;
            self.out.by.metric.conductance[slot] += half * nu;
            self.out.by.viscosity += half * g;
            for (node, sign) in [(link.from, 1.0), (link.to, -1.0)] {
                let slope = sign * factor * nu * g * (a - b);
                match node {
                    Node::Unknown(i) => self.out.by_w[i as usize] += slope,
                    Node::Given(i) => self.out.by.given[i as usize] += slope,
                    Node::Outside => {}
                }
            }
        }
        for f in (0..system.layout.faces).filter(|&f| system.cut.live_faces[f]) {
            self.dissipated_at(f, factor);
        }
    }

    /// In the porous solid and against the wall around one velocity.
    fn dissipated_at(&mut self, f: usize, factor: f64) {
        let at = self.system.at(self.w);
        let resistance = Resistance { neighbours: &self.system.neighbours };
        let (u, nu, metric) = (self.w[f], at.physics.viscosity, at.metric);
        let (mean, volume) = (resistance.mean(at, f), metric.volume[f]);
        let (wall, slide) = (metric.wall[f], metric.slide[f]);
        let speed = if wall > 0.0 { slide / wall } else { 0.0 };
        let (half, slip) = (0.5 * factor * u * u, u - speed);
        self.out.value += half * mean * volume + 0.5 * factor * nu * wall * slip * slip;
        self.out.by_w[f] += factor * (u * mean * volume + nu * wall * slip);
        let by = &mut self.out.by;
        by.metric.volume[f] += half * mean;
        by.metric.wall[f] += 0.5 * factor * nu * slip * (u + speed);
        by.metric.slide[f] -= factor * nu * slip;
        by.viscosity += 0.5 * factor * wall * slip * slip;
        resistance.pull_mean(f, half * volume, by);
    }

    fn mean_temperature(&mut self, factor: f64) {
        let Some((_, walls)) = &self.system.heat else { return };
        let volumes = &self.system.cut.metric.cell_volume;
        let total: f64 = volumes.iter().sum();
        let moment: f64 = volumes.iter().zip(&self.w[walls.start..]).map(|(v, t)| v * t).sum();
        let mean = moment / total;
        self.out.value += factor * mean;
        for (c, volume) in volumes.iter().enumerate() {
            self.out.by_w[walls.start + c] += factor * volume / total;
            let slope = (self.w[walls.start + c] - mean) / total;
            self.out.by.metric.cell_volume[c] += factor * slope;
        }
    }

    fn target(&mut self, axis: usize, target: &Target, factor: f64) {
        let system = self.system;
        let d = system.grid().direction(axis);
        let (along, across) = (system.grid().half(axis), system.grid().half(1 - axis));
        for (m, k) in crate::cut::pairs(d.n + 1, d.t) {
            let (f, place) = (d.face(m, k), [along[2 * m], across[2 * k + 1]]);
            let (weight, wanted) = (target.0)(place[axis], place[1 - axis]);
            let (volume, off) = (system.cut.metric.volume[f], self.w[f] - wanted);
            self.out.value += 0.5 * factor * weight * volume * off * off;
            self.out.by_w[f] += factor * weight * volume * off;
            self.out.by.metric.volume[f] += 0.5 * factor * weight * off * off;
        }
    }
}

/// Cells and weights whose sum is the pressure at a point: linear across x between rows, and along x from the two
/// nearest fluid cells, on the side where the fluid is.
fn pressure_stencil(system: &System, [x, y]: [f64; 2]) -> Vec<(usize, f64)> {
    let grid: &Grid = system.grid();
    let middles =
        |axis: usize| -> Vec<f64> { grid.half(axis).into_iter().skip(1).step_by(2).collect() };
    let (xs, ys) = (middles(0), middles(1));
    let j = ys[1..ys.len() - 1].partition_point(|&p| p <= y);
    let t = (y - ys[j]) / (ys[j + 1] - ys[j]);
    let rows = [(j, 1.0 - t), (j + 1, t)];
    let part = |(j, weight): (usize, f64)| {
        let fluid = |i: &usize| system.cut.metric.cell_volume[j * grid.nx() + i] > 0.0;
        let mut cells: Vec<usize> = (0..grid.nx()).filter(fluid).collect();
        cells.sort_by(|&a, &b| (xs[a] - x).abs().total_cmp(&(xs[b] - x).abs()));
        let [a, b] = [cells[0], cells[1]];
        let s = (x - xs[a]) / (xs[b] - xs[a]);
        let row = j * grid.nx();
        [(row + a, weight * (1.0 - s)), (row + b, weight * s)]
    };
    rows.into_iter().flat_map(part).collect()
}

#[cfg(test)]
mod tests;
