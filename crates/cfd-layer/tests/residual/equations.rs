//! Residual and objective of steady flow with heat in a channel, as tensors.

use burn::tensor::Tensor;

use super::geometry::{Geometry, Places, cell_volume, geometry, mask};
use super::{REFERENCE, RESISTANCE, SOLID, WARM, WEIGHTS};

/// The unknowns: u on upright faces [ny, nx + 1], v on level ones [ny + 1, nx], p and T in cells [ny, nx].
pub(crate) struct Unknowns {
    pub(crate) u: Tensor<2>,
    pub(crate) v: Tensor<2>,
    pub(crate) p: Tensor<2>,
    pub(crate) t: Tensor<2>,
}

/// What the equations depend on besides.
pub(crate) struct Inputs {
    /// Signed distances on the half-spaced grid.
    pub(crate) phi: Tensor<2>,
    pub(crate) viscosity: Tensor<2>,
    pub(crate) diffusivity: Tensor<2>,
    pub(crate) buoyancy: Tensor<2>,
    /// Density of the design, one in fluid.
    pub(crate) design: Tensor<2>,
    /// Velocity through each face of the west side.
    pub(crate) inflow: Tensor<2>,
}

/// One component with its surroundings; it runs along the columns.
struct Component<'a> {
    places: Places,
    own: Tensor<2>,
    other: Tensor<2>,
    /// Open lengths of the other component's faces.
    other_open: Tensor<2>,
    pressure: Tensor<2>,
    /// Resistance of cells.
    resistance: Tensor<2>,
    viscosity: Tensor<2>,
    geometry: &'a Geometry,
    /// Whether the last faces along are an outlet, or the last border across is one.
    outlet: [bool; 2],
}

/// Before and behind: a field with a column of zeros in front, less the same with one at its end.
fn spread(places: &Places, flux: &Tensor<2>) -> Tensor<2> {
    let zero = places.zeros([flux.dims()[0], 1]);
    Tensor::cat(vec![flux.clone(), zero.clone()], 1) - Tensor::cat(vec![zero, flux.clone()], 1)
}

/// Mean of a cell field on faces along; at the ends, the one cell that is there.
fn on_faces(field: &Tensor<2>, n: usize) -> Tensor<2> {
    let part = |from: usize, count: usize| field.clone().narrow(1, from, count);
    let inner = (part(0, n - 1) + part(1, n - 1)) * 0.5;
    Tensor::cat(vec![part(0, 1), inner, part(n - 1, 1)], 1)
}

impl Component<'_> {
    fn carried(&self) -> Tensor<2> {
        self.geometry.open.clone() * self.own.clone()
    }

    /// Through the middles of cells and out of the outlet, and what closed faces swallow of it.
    fn along(&self) -> (Tensor<2>, Tensor<2>) {
        let ([n, _], live) = (self.places.cells(), &self.geometry.live);
        let [before, behind] = [0, 1].map(|m| self.own.clone().narrow(1, m, n));
        let mass = self.carried();
        let mass = (mass.clone().narrow(1, 0, n) + mass.narrow(1, 1, n)) * 0.5;
        let [a, b] = &self.geometry.along;
        let diffused = a.clone() * before.clone() + b.clone() * behind.clone();
        let flux = mass * (before + behind) * 0.5 + diffused * self.viscosity.clone();
        let lost = live.clone().narrow(1, 0, n) - live.clone().narrow(1, 1, n);
        let mut out = spread(&self.places, &flux);
        if self.outlet[0] {
            let leaving = (self.carried() * self.own.clone()).narrow(1, n, 1);
            let none = self.places.zeros([leaving.dims()[0], n]);
            out = out + Tensor::cat(vec![none, leaving], 1);
        }
        (out, (flux * lost).sum().reshape([1, 1]))
    }

    /// Between rows, and from the borders: walls at rest or an outlet.
    fn across(&self) -> (Tensor<2>, Tensor<2>) {
        let ([_, t], live) = (self.places.cells(), &self.geometry.live);
        let mass = self.other_open.clone() * self.other.clone();
        let none = self.places.zeros([t + 1, 1]);
        let mass =
            Tensor::cat(vec![none.clone(), mass.clone()], 1) + Tensor::cat(vec![mass, none], 1);
        let mass = mass * 0.5;
        let g = self.geometry.across.clone() * self.viscosity.clone();
        let row = |field: &Tensor<2>, k: usize, count: usize| field.clone().narrow(0, k, count);
        let (below, above) = (row(&self.own, 0, t - 1), row(&self.own, 1, t - 1));
        let inner = row(&mass, 1, t - 1) * (below.clone() + above.clone()) * 0.5
            + row(&g, 1, t - 1) * (below - above);
        let lost = row(live, 0, t - 1) - row(live, 1, t - 1);
        let first = row(&g, 0, 1) * row(&self.own, 0, 1).neg();
        let end = row(&self.own, t - 1, 1);
        let last = if self.outlet[1] { row(&mass, t, 1) * end } else { row(&g, t, 1) * end };
        let flux = Tensor::cat(vec![first, inner.clone(), last], 0);
        (row(&flux, 1, t) - row(&flux, 0, t), (inner * lost).sum().reshape([1, 1]))
    }

    /// The momentum equation before boundary rows, and the force on bodies and porous solid.
    fn momentum(&self, free: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let ([n, t], g) = (self.places.cells(), self.geometry);
        let ((along, a), (across, b)) = (self.along(), self.across());
        let friction = g.wall.clone() * self.own.clone() * self.viscosity.clone();
        let porous = on_faces(&self.resistance, n) * g.volume.clone() * self.own.clone();
        let none = self.places.zeros([t, 1]);
        let behind = Tensor::cat(vec![self.pressure.clone(), none.clone()], 1);
        let before = Tensor::cat(vec![none, self.pressure.clone()], 1);
        let pressed = g.open.clone() * (behind - before);
        let rubbed = ((friction.clone() + porous.clone()) * free.clone()).sum();
        let force = rubbed.reshape([1, 1]) + pressed.clone().sum().reshape([1, 1]) + a + b;
        (along + across + friction + porous + pressed, force)
    }
}

/// Resistance and diffusivity of cells.
fn mixed(inputs: &Inputs) -> [Tensor<2>; 2] {
    let solid = |penalty: f64| {
        let gamma = inputs.design.clone();
        (gamma.clone().neg() + 1.0) / (gamma * penalty + 1.0)
    };
    let ([least, most, penalty], (conducts, q)) = (RESISTANCE, SOLID);
    let fluid = inputs.diffusivity.clone();
    [solid(penalty) * (most - least) + least, fluid.clone() + (fluid.neg() + conducts) * solid(q)]
}

/// Heat that passes faces along, from one cell to the next: 2ab/(a + b) of the diffusivities.
fn conducted(
    geometry: &Geometry,
    carried: &Tensor<2>,
    t: &Tensor<2>,
    k: &Tensor<2>,
    n: usize,
) -> Tensor<2> {
    let pair = |field: &Tensor<2>| [0, 1].map(|m| field.clone().narrow(1, m, n - 1));
    let ([a, b], [ka, kb]) = (pair(t), pair(k));
    let inner = |field: &Tensor<2>| field.clone().narrow(1, 1, n - 1);
    let conductance = inner(&geometry.through) * (ka.clone() * kb.clone() * 2.0 / (ka + kb));
    inner(carried) * (a.clone() + b.clone()) * 0.5 + conductance * (a - b)
}

/// Energy of each cell, and the heat that the floor gives.
fn energy(
    places: &Places,
    [upright, level]: [&Geometry; 2],
    unknowns: &Unknowns,
    k: &Tensor<2>,
) -> (Tensor<2>, Tensor<2>) {
    let [nx, ny] = places.cells();
    let t = &unknowns.t;
    let swapped = |field: &Tensor<2>| field.clone().transpose();
    let through = upright.open.clone() * unknowns.u.clone();
    let inner = conducted(upright, &through, t, k, nx);
    let column = |field: &Tensor<2>, m: usize| field.clone().narrow(1, m, 1);
    // Cold fluid enters in the west; what leaves in the east takes its temperature along.
    let west = column(&upright.through, 0) * column(k, 0) * column(t, 0).neg();
    let east = column(&through, nx) * column(t, nx - 1);
    let flux = Tensor::cat(vec![west, inner, east], 1);
    let along = flux.clone().narrow(1, 1, nx) - flux.narrow(1, 0, nx);

    let up = level.open.clone() * swapped(&unknowns.v);
    let inner = conducted(level, &up, &swapped(t), &swapped(k), ny);
    let (first, last) = (column(&swapped(t), 0), column(&swapped(t), ny - 1));
    let centres: Vec<f64> = places.half[0].iter().skip(1).step_by(2).copied().collect();
    let warm = centres.iter().map(|x| f64::from(u8::from(WARM[0] <= *x && *x <= WARM[1])));
    let warm = places.column(warm.collect());
    let given = column(&level.through, 0) * column(&swapped(k), 0) * (first.clone().neg() + 1.0);
    let given = given * warm.clone();
    let south = column(&up, 0) * (warm.clone() + (warm.neg() + 1.0) * first) + given.clone();
    let flux = Tensor::cat(vec![south, inner, column(&up, ny) * last], 1);
    let across = flux.clone().narrow(1, 1, ny) - flux.narrow(1, 0, ny);
    (along + across.transpose(), given.sum().reshape([1, 1]))
}

/// Rows of given unknowns read w − value.
fn with_given(
    equation: Tensor<2>,
    free: &Tensor<2>,
    unknown: &Tensor<2>,
    value: Tensor<2>,
) -> Tensor<2> {
    free.clone() * equation + (free.clone().neg() + 1.0) * (unknown.clone() - value)
}

/// Residuals [1, unknowns] in the order u, v, p, T, and the objective.
pub(crate) fn equations(
    places: &Places,
    unknowns: &Unknowns,
    inputs: &Inputs,
) -> (Tensor<2>, Tensor<2>) {
    let ([nx, ny], swapped) = (places.cells(), places.swapped());
    let turned = |field: &Tensor<2>| field.clone().transpose();
    let upright = geometry(places, &inputs.phi);
    let level = geometry(&swapped, &turned(&inputs.phi));
    let [resistance, diffusivity] = mixed(inputs);
    let u = Component {
        places: places.clone(),
        own: unknowns.u.clone(),
        other: unknowns.v.clone(),
        other_open: turned(&level.open),
        pressure: unknowns.p.clone(),
        resistance: resistance.clone(),
        viscosity: inputs.viscosity.clone(),
        geometry: &upright,
        outlet: [true, false],
    };
    let v = Component {
        places: swapped.clone(),
        own: turned(&unknowns.v),
        other: turned(&unknowns.u),
        other_open: turned(&upright.open),
        pressure: turned(&unknowns.p),
        resistance: turned(&resistance),
        viscosity: inputs.viscosity.clone(),
        geometry: &level,
        outlet: [false, true],
    };
    // The inlet's faces and the walls' are given.
    let inner = |m: usize, from: usize, to: usize| f64::from(u8::from(m >= from && m < to));
    let free_u = upright.live.clone() * places.row((0..=nx).map(|m| inner(m, 1, nx + 1)).collect());
    let free_v = level.live.clone() * places.row((0..=ny).map(|m| inner(m, 1, ny)).collect());
    let (along, drag) = u.momentum(&free_u);
    let (up, lift) = v.momentum(&free_v);
    let lifted = lifted(&swapped, &level, inputs, &turned(&unknowns.t));
    let inflow = Tensor::cat(vec![inputs.inflow.clone(), places.zeros([ny, nx])], 1);
    let still = swapped.zeros([nx, ny + 1]);
    let momentum_u = with_given(along, &free_u, &u.own, inflow);
    let momentum_v = with_given(up - lifted, &free_v, &v.own, still).transpose();

    let faces =
        |field: &Tensor<2>, n: usize| field.clone().narrow(1, 1, n) - field.clone().narrow(1, 0, n);
    let balance = faces(&u.carried(), nx) + faces(&v.carried(), ny).transpose();
    let wet = {
        let open = |field: &Tensor<2>, n: usize| {
            field.clone().narrow(1, 1, n) + field.clone().narrow(1, 0, n)
        };
        mask(&(open(&upright.live, nx) + open(&level.live, ny).transpose()), |sides| sides > 0.0)
    };
    let none = places.zeros([ny, nx]);
    let continuity = with_given(balance, &wet, &unknowns.p, none.clone());
    let (heat, given) = energy(places, [&upright, &level], unknowns, &diffusivity);
    let warmth = with_given(heat, &wet, &unknowns.t, none);

    let volume = cell_volume(places, &inputs.phi) * wet;
    let mean = (volume.clone() * unknowns.t.clone()).sum() / volume.sum();
    let value = drag * WEIGHTS[0]
        + lift * WEIGHTS[1]
        + given * WEIGHTS[2]
        + mean.reshape([1, 1]) * WEIGHTS[3];
    let flat = |field: Tensor<2>| {
        let count = field.shape().num_elements();
        field.reshape([1, count])
    };
    let rows = [momentum_u, momentum_v, continuity, warmth].map(flat);
    (Tensor::cat(rows.to_vec(), 1), value)
}

/// What warm fluid is lifted by, on faces between two cells.
fn lifted(places: &Places, level: &Geometry, inputs: &Inputs, t: &Tensor<2>) -> Tensor<2> {
    let [ny, nx] = places.cells();
    let part = |m: usize| t.clone().narrow(1, m, ny - 1);
    let warmth = (part(0) + part(1)) * 0.5 - REFERENCE;
    let end = || places.zeros([nx, 1]);
    let warmth = Tensor::cat(vec![end(), warmth, end()], 1);
    level.volume.clone() * warmth * inputs.buoyancy.clone()
}
