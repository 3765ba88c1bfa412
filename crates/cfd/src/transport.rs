//! Transport: a quantity carried and diffused from one place to the next.
//!
//! Between neighbours 0 and 1 passes q = F (φ₀ + φ₁)/2 + κ g (φ₀ − φ₁): a mass flux F times the mean of the two
//! values, and a conductance g (open length over distance) times their difference; two velocities beside a cut also
//! lean ([`crate::metric::Metric::lean`]). What leaves one side enters the other, so the sum is conserved; the mean
//! makes the convective part skew-symmetric, so it neither makes nor loses energy (Morinishi et al. 1998). The mass
//! flux through the side of a velocity's control volume is the mean of the two fluxes α A u beside it, so it obeys
//! continuity wherever cells do.
//!
//! Momentum and heat are both transported like this; they differ in their list of links.

use crate::term::{At, Emit, Sensitivity, Term};

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// An unknown.
    Unknown(u32),
    /// A value given on the side of the grid: what is carried there is this value.
    Given(u32),
    /// Beyond an outlet: what leaves carries the value inside, and nothing diffuses.
    Outside,
}

/// A way for a quantity from one place to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Where it leaves if the flux is positive.
    pub(crate) from: Node,
    /// Where it enters.
    pub(crate) to: Node,
    /// Faces whose fluxes α A u carry it, and their weights.
    pub(crate) carriers: [(u32, f64); 2],
    /// Which conductance, if anything diffuses.
    pub(crate) slot: Option<u32>,
}

impl Link {
    /// The unknown at each end.
    pub(crate) fn rows(&self) -> [Option<usize>; 2] {
        [self.from, self.to].map(|node| match node {
            Node::Unknown(i) => Some(i as usize),
            _ => None,
        })
    }

    /// Mass flux.
    pub(crate) fn mass(&self, at: At<'_>) -> f64 {
        let flux = |&(face, weight): &(u32, f64)| {
            weight * at.metric.open[face as usize] * at.w[face as usize]
        };
        self.carriers.iter().map(flux).sum()
    }

    /// Values at both ends.
    pub(crate) fn values(&self, at: At<'_>) -> [f64; 2] {
        let value = |node, other| match node {
            Node::Unknown(i) => at.w[i as usize],
            Node::Given(i) => at.physics.given[i as usize],
            Node::Outside => match other {
                Node::Unknown(i) => at.w[i as usize],
                _ => 0.0,
            },
        };
        [value(self.from, self.to), value(self.to, self.from)]
    }

    /// How much each end counts in the value that is carried.
    pub(crate) fn shares(&self) -> [f64; 2] {
        match (self.from, self.to) {
            (Node::Unknown(_), Node::Unknown(_)) => [0.5, 0.5],
            (Node::Given(_), _) | (_, Node::Outside) => [1.0, 0.0],
            _ => [0.0, 1.0],
        }
    }

    /// The value that is carried.
    pub(crate) fn carried(&self, at: At<'_>) -> f64 {
        let ([a, b], [share, other]) = (self.values(at), self.shares());
        share * a + other * b
    }
}

/// What is transported.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Quantity {
    /// Velocity, diffused by viscosity; the first `along` conductances are between velocities along their direction.
    Momentum { along: usize },
    /// Temperature, whose unknowns begin at `start`; two cells conduct like layers in series.
    Heat { start: usize },
}

/// Convection and diffusion along a list of links.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) links: Vec<Link>,
    pub(crate) quantity: Quantity,
}

impl Transport {
    fn inertia(&self, at: At<'_>) -> f64 {
        match self.quantity {
            Quantity::Momentum { .. } => at.physics.inertia,
            Quantity::Heat { .. } => at.physics.carriage,
        }
    }

    /// Viscosity or diffusivity along a link.
    pub(crate) fn coefficient(&self, at: At<'_>, link: &Link) -> f64 {
        let Quantity::Heat { start } = self.quantity else { return at.physics.viscosity };
        match link.rows().map(|row| row.map(|i| at.physics.diffusivity[i - start])) {
            [Some(a), Some(b)] => 2.0 * a * b / (a + b),
            [a, b] => a.or(b).unwrap_or(0.0),
        }
    }

    fn pull_coefficient(&self, at: At<'_>, link: &Link, by: f64, into: &mut Sensitivity) {
        let Quantity::Heat { start } = self.quantity else { return into.viscosity += by };
        let k = |i: usize| at.physics.diffusivity[i - start];
        match link.rows() {
            [Some(a), Some(b)] => {
                let square = (k(a) + k(b)).powi(2);
                into.diffusivity[a - start] += by * 2.0 * k(b) * k(b) / square;
                into.diffusivity[b - start] += by * 2.0 * k(a) * k(a) / square;
            }
            [Some(a), None] | [None, Some(a)] => into.diffusivity[a - start] += by,
            [None, None] => {}
        }
    }

    /// What the value at each end contributes to the flux by diffusion, per viscosity.
    fn conductances(&self, at: At<'_>, link: &Link) -> [f64; 2] {
        let Some(slot) = link.slot.map(|slot| slot as usize) else { return [0.0; 2] };
        let (g, lean) = (at.metric.conductance[slot], self.lean(slot));
        let [a, b] = lean.map_or([0.0; 2], |i| [at.metric.lean[i], at.metric.lean[i + 1]]);
        [g + a, b - g]
    }

    /// Where the leans of a pair of velocities are, if it has any: pairs along a direction come first.
    fn lean(&self, slot: usize) -> Option<usize> {
        (matches!(self.quantity, Quantity::Momentum { along } if slot < along)).then_some(2 * slot)
    }

    /// The flux by diffusion per viscosity.
    fn gradient(&self, at: At<'_>, link: &Link) -> f64 {
        let ([a, b], [from, to]) = (link.values(at), self.conductances(at, link));
        let drift = link.slot.and_then(|slot| self.lean(slot as usize));
        from * a + to * b - drift.map_or(0.0, |i| at.metric.drift[i / 2])
    }

    /// What passes along a link by convection.
    pub(crate) fn convected(&self, at: At<'_>, link: &Link) -> f64 {
        self.inertia(at) * link.mass(at) * link.carried(at)
    }

    /// What passes along a link by diffusion.
    pub(crate) fn diffused(&self, at: At<'_>, link: &Link) -> f64 {
        self.coefficient(at, link) * self.gradient(at, link)
    }

    /// Emits ∂q/∂w.
    pub(crate) fn slopes(&self, at: At<'_>, link: &Link, emit: &mut dyn FnMut(usize, f64)) {
        let diffusion = self.conductances(at, link).map(|g| self.coefficient(at, link) * g);
        self.slopes_beside(at, link, diffusion, emit);
    }

    /// Emits the slopes of what passes by convection alone.
    pub(crate) fn convected_slopes(
        &self,
        at: At<'_>,
        link: &Link,
        emit: &mut dyn FnMut(usize, f64),
    ) {
        self.slopes_beside(at, link, [0.0; 2], emit);
    }

    fn slopes_beside(
        &self,
        at: At<'_>,
        link: &Link,
        diffusion: [f64; 2],
        emit: &mut dyn FnMut(usize, f64),
    ) {
        let (s, carried) = (self.inertia(at), link.carried(at));
        let mass = s * link.mass(at);
        let [share, other] = link.shares();
        let ends = link.rows();
        let slopes = [mass * share + diffusion[0], mass * other + diffusion[1]];
        for (end, slope) in ends.into_iter().zip(slopes) {
            if let Some(i) = end {
                emit(i, slope);
            }
        }
        for (face, weight) in link.carriers.iter().filter(|carrier| carrier.1 != 0.0) {
            emit(*face as usize, s * weight * at.metric.open[*face as usize] * carried);
        }
    }

    /// Adds `by` × ∂q/∂θ for all that is not an unknown.
    pub(crate) fn pull_link(&self, at: At<'_>, link: &Link, by: f64, into: &mut Sensitivity) {
        self.pull_convected(at, link, by, into);
        self.pull_diffused(at, link, by, into);
    }

    /// The part of convection.
    pub(crate) fn pull_convected(&self, at: At<'_>, link: &Link, by: f64, into: &mut Sensitivity) {
        let (s, carried) = (self.inertia(at), link.carried(at));
        if s == 0.0 {
            return;
        }
        for &(face, weight) in &link.carriers {
            into.metric.open[face as usize] += by * s * weight * at.w[face as usize] * carried;
        }
        let mass = s * link.mass(at);
        for node in [link.from, link.to] {
            if let Node::Given(i) = node {
                into.given[i as usize] += by * mass;
            }
        }
    }

    fn pull_diffused(&self, at: At<'_>, link: &Link, by: f64, into: &mut Sensitivity) {
        let (coefficient, [a, b]) = (self.coefficient(at, link), link.values(at));
        if let Some(slot) = link.slot.map(|slot| slot as usize) {
            into.metric.conductance[slot] += by * coefficient * (a - b);
            if let Some(i) = self.lean(slot) {
                into.metric.lean[i] += by * coefficient * a;
                into.metric.lean[i + 1] += by * coefficient * b;
                into.metric.drift[slot] -= by * coefficient;
            }
            self.pull_coefficient(at, link, by * self.gradient(at, link), into);
        }
        let conductances = self.conductances(at, link);
        for (node, g) in [link.from, link.to].into_iter().zip(conductances) {
            if let Node::Given(i) = node {
                into.given[i as usize] += by * coefficient * g;
            }
        }
    }

    /// Adds convection alone to the residual.
    pub(crate) fn convect(&self, at: At<'_>, out: &mut [f64]) {
        for link in &self.links {
            let flux = self.convected(at, link);
            let [from, to] = link.rows();
            from.into_iter().for_each(|row| out[row] += flux);
            to.into_iter().for_each(|row| out[row] -= flux);
        }
    }
}

impl Term for Transport {
    fn residual(&self, at: At<'_>, out: &mut [f64]) {
        for link in &self.links {
            let flux = self.convected(at, link) + self.diffused(at, link);
            let [from, to] = link.rows();
            from.into_iter().for_each(|row| out[row] += flux);
            to.into_iter().for_each(|row| out[row] -= flux);
        }
    }

    fn jacobian(&self, at: At<'_>, emit: &mut Emit<'_>) {
        for link in &self.links {
            let rows = link.rows().into_iter().zip([1.0, -1.0]);
            self.slopes(at, link, &mut |column, slope| {
                for (row, sign) in rows.clone() {
                    if let Some(row) = row {
                        emit(row, column, sign * slope);
                    }
                }
            });
        }
    }

    fn pull(&self, at: At<'_>, row: &[f64], into: &mut Sensitivity) {
        for link in &self.links {
            let [from, to] = link.rows().map(|end| end.map_or(0.0, |i| row[i]));
            if from != to {
                self.pull_link(at, link, from - to, into);
            }
        }
    }
}
