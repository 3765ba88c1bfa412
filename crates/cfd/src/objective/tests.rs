//! Forces, torques and walls against what they must equal.

use super::*;
use crate::{Error, boundary::Body, cases, flow::Flow, grid::stretched, shape::Circle};

/// What leaves a box of velocities `[m, k]` through its sides, pressure included, must push on what is inside.
fn box_balance(flow: &Flow, axis: usize, [m0, m1]: [usize; 2], [k0, k1]: [usize; 2]) -> f64 {
    let (system, w) = (&flow.system, &flow.w);
    let (d, at) = (system.grid().direction(axis), system.at(w));
    let mut inside = vec![false; system.layout.faces];
    for (m, k) in crate::cut::pairs(d.n + 1, d.t) {
        inside[d.face(m, k)] = (m0..=m1).contains(&m) && (k0..=k1).contains(&k);
    }
    let holds = |end: Option<usize>| end.is_some_and(|i| inside[i]);
    let leaving = |link: &Link| {
        let [from, to] = link.rows().map(holds);
        let flux = system.momentum.convected(at, link) + system.momentum.diffused(at, link);
        flux * (f64::from(u8::from(from)) - f64::from(u8::from(to)))
    };
    let carried: f64 = system.momentum.links.iter().map(leaving).sum();
    let pushed = |k: usize| {
        let part = |m: usize, cell: usize| {
            let p = w[system.layout.pressure(d.cell(cell, k))];
            system.cut.metric.open[d.face(m, k)] * p
        };
        part(m1, m1) - part(m0, m0 - 1)
    };
    -carried - (k0..=k1).map(pushed).sum::<f64>()
}

#[test]
fn force_is_the_momentum_balance_of_any_box_around_the_body() -> Result<(), Error> {
    let x = stretched([-0.8, 1.2], 0.1, (12, -8.0), (16, 12.0));
    let y = stretched([-0.8, 0.8], 0.1, (10, -8.0), (10, 8.0));
    // Touching lines of the grid, where faces close: the rule for blocked sides must balance too.
    for centre in [[0.0137, 0.0071], [0.0, 0.0]] {
        let body = Body::new(Circle { centre, radius: 0.5 });
        let flow = cases::stream(40.0, Grid::new(x.clone(), y.clone())?, body)?.solve()?;
        for (axis, n, t) in [(0, 48, 36), (1, 36, 48)] {
            let along = if axis == 0 { [1.0, 0.0] } else { [0.0, 1.0] };
            let force = flow.value(&Objective::Force { along, scale: 1.0 });
            for (m, k) in
                [([10, n - 10], [8, t - 9]), ([2, n - 3], [1, t - 2]), ([9, n - 9], [9, t - 6])]
            {
                let balance = box_balance(&flow, axis, m, k);
                assert!((force - balance).abs() < 1e-11, "{axis} {m:?} {k:?}: {force} {balance}");
            }
        }
    }
    Ok(())
}

/// u = φ beside a plane wall at an angle: every equation that only sees the wall must hold to round-off.
#[test]
fn shear_along_a_plane_wall_is_exact_at_any_angle() -> Result<(), Error> {
    let wall = crate::Side::wall;
    for angle in [0.3, 0.9, 1.4, 2.2, 4.0] {
        let (c, s) = (f64::cos(angle), f64::sin(angle));
        let plane =
            crate::shape::Rectangle::new([0.013 - 9.0 * c, 0.007 - 9.0 * s], [9.0, 90.0], angle)?;
        let grid = Grid::uniform([-1.0, 1.0], [-1.0, 1.0], 20, 24)?;
        let sides = crate::Sides::new(wall(), wall(), wall(), wall());
        let case = crate::Case::new("shear", grid, sides, 1.0).with_body(Body::new(plane));
        let mut system = System::new(&case)?;
        system.physics.inertia = 0.0;
        let distance = |x: f64, y: f64| (x - 0.013) * c + (y - 0.007) * s;
        for axis in 0..2 {
            let d = system.grid().direction(axis);
            let (along, across) = (system.grid().half(axis), system.grid().half(1 - axis));
            let live = |m: usize, k: usize| system.cut.live_faces[d.face(m, k)];
            let at = |a: f64, t: f64| if axis == 0 { distance(a, t) } else { distance(t, a) };
            let mut w = vec![0.0; system.layout.len()];
            for (m, k) in crate::cut::pairs(d.n + 1, d.t).filter(|&(m, k)| live(m, k)) {
                let (x, [low, high]) = (along[2 * m], [across[2 * k], across[2 * k + 2]]);
                let ([a, b], length) = ([at(x, low), at(x, high)], high - low);
                // The middle of the open part of a straight cut.
                let middle = match (a > 0.0, b > 0.0) {
                    (true, false) => low + 0.5 * length * a / (a - b),
                    (false, true) => high - 0.5 * length * b / (b - a),
                    _ => 0.5 * (low + high),
                };
                w[d.face(m, k)] = at(x, middle);
            }
            let residual = system.terms_at(system.at(&w));
            for (m, k) in crate::cut::pairs(d.n - 3, d.t - 4).map(|(m, k)| (m + 2, k + 2)) {
                let off = residual[d.face(m, k)];
                assert!(off.abs() < 1e-10, "angle {angle}, axis {axis}, face {m} {k}: {off:e}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_flows_in_flows_out() -> Result<(), Error> {
    let flow = cases::exchanger(32, 32)?.solve()?;
    let system = &flow.system;
    let through = |side: usize| -> f64 {
        let flux = |f: usize| system.cut.metric.open[f] * flow.w[f];
        system.side_faces(side).into_iter().map(flux).sum()
    };
    assert!((through(0) - 1.0).abs() < 1e-12 && (through(1) - 1.0).abs() < 1e-11);
    Ok(())
}

/// Fluid that turns with its cylinder like a solid is sheared nowhere: every equation off the sides holds to round-off.
#[test]
fn a_solid_rotation_has_no_friction() -> Result<(), Error> {
    let wall = crate::Side::wall;
    let sides = crate::Sides::new(wall(), wall(), wall(), wall());
    let centre = [0.0137, 0.0071];
    let grid = Grid::uniform([-1.2, 1.2], [-1.2, 1.2], 24, 20)?;
    let body = Body::new(Circle { centre, radius: 0.5 }).turning(1.3, centre);
    let case = crate::Case::new("rotation", grid, sides, 1.0).with_body(body);
    let mut system = System::new(&case)?;
    system.physics.inertia = 0.0;
    let mut w = vec![0.0; system.layout.len()];
    for axis in 0..2 {
        let d = system.grid().direction(axis);
        let across = system.grid().half(1 - axis);
        let rate = if axis == 0 { -1.3 } else { 1.3 };
        for (m, k) in crate::cut::pairs(d.n + 1, d.t) {
            let [a, b] =
                [d.half(2 * m, 2 * k), d.half(2 * m, 2 * k + 2)].map(|i| system.cut.phi[i]);
            let (low, high) = (across[2 * k], across[2 * k + 2]);
            let middle = match (a > 0.0, b > 0.0) {
                (true, false) => low + 0.5 * (high - low) * a / (a - b),
                (false, true) => high - 0.5 * (high - low) * b / (b - a),
                _ => 0.5 * (low + high),
            };
            w[d.face(m, k)] = rate * (middle - centre[1 - axis]);
        }
    }
    let residual = system.terms_at(system.at(&w));
    for axis in 0..2 {
        let d = system.grid().direction(axis);
        for (m, k) in crate::cut::pairs(d.n - 3, d.t - 4).map(|(m, k)| (m + 2, k + 2)) {
            let off = residual[d.face(m, k)];
            assert!(off.abs() < 1e-10, "axis {axis}, face {m} {k}: {off:e}");
        }
    }
    Ok(())
}
