//! Fields of a flow at any place: interpolated between the middles of cells.

use lithoburn_cfd::{Flow, Grid, Shape};

/// A part of the plane: least and greatest x, least and greatest y.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Window {
    pub(crate) x: [f64; 2],
    pub(crate) y: [f64; 2],
}

impl Window {
    /// All of a grid.
    pub(crate) fn all(grid: &Grid) -> Self {
        let ends = |faces: &[f64]| [faces[0], faces[faces.len() - 1]];
        Self { x: ends(grid.x()), y: ends(grid.y()) }
    }

    /// The part of it that lies on a grid.
    pub(crate) fn within(self, grid: &Grid) -> Self {
        let all = Self::all(grid);
        let part = |a: [f64; 2], b: [f64; 2]| [a[0].max(b[0]), a[1].min(b[1])];
        Self { x: part(self.x, all.x), y: part(self.y, all.y) }
    }

    pub(crate) fn width(&self) -> f64 {
        self.x[1] - self.x[0]
    }

    pub(crate) fn height(&self) -> f64 {
        self.y[1] - self.y[0]
    }
}

/// The fields of a flow.
pub(crate) struct Fields<'a> {
    pub(crate) flow: &'a Flow,
    x: Vec<f64>,
    y: Vec<f64>,
    /// Velocities in the middle of cells.
    pub(crate) velocity: Vec<[f64; 2]>,
    /// Vorticity in the middle of cells.
    pub(crate) vorticity: Vec<f64>,
    /// Pressure, continued into bodies from the fluid around.
    pub(crate) pressure: Vec<f64>,
    /// Temperature, continued likewise.
    pub(crate) temperature: Option<Vec<f64>>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(flow: &'a Flow) -> Self {
        let grid = &flow.case().grid;
        let fluid: Vec<bool> = flow.fluid().iter().map(|&share| share > 0.0).collect();
        let middles = |faces: &[f64]| faces.windows(2).map(|p| (p[0] + p[1]) / 2.0).collect();
        let continued = |values: &[f64]| continue_into_solid(grid, &fluid, values);
        Self {
            flow,
            x: middles(grid.x()),
            y: middles(grid.y()),
            velocity: flow.velocity(),
            vorticity: continued(&flow.vorticity()),
            pressure: continued(flow.pressure()),
            temperature: flow.temperature().map(continued),
        }
    }

    /// The same with the velocity and pressure of another instant, in the middle of cells.
    pub(crate) fn moving(self, velocity: Vec<[f64; 2]>, pressure: &[f64]) -> Self {
        let grid = &self.flow.case().grid;
        let fluid: Vec<bool> = self.flow.fluid().iter().map(|&share| share > 0.0).collect();
        let vorticity = continue_into_solid(grid, &fluid, &vorticity(grid, &velocity));
        let pressure = continue_into_solid(grid, &fluid, pressure);
        Self { velocity, vorticity, pressure, ..self }
    }

    /// The same with the temperatures of another instant, in the middle of cells.
    pub(crate) fn warmed(self, temperature: &[f64]) -> Self {
        let fluid: Vec<bool> = self.flow.fluid().iter().map(|&share| share > 0.0).collect();
        let temperature = continue_into_solid(&self.flow.case().grid, &fluid, temperature);
        Self { temperature: Some(temperature), ..self }
    }

    pub(crate) fn grid(&self) -> &Grid {
        &self.flow.case().grid
    }

    /// Speeds in the middle of cells.
    pub(crate) fn speed(&self) -> Vec<f64> {
        self.velocity.iter().map(|v| v[0].hypot(v[1])).collect()
    }

    /// Value at a place of a field given in the middle of cells.
    pub(crate) fn at(&self, values: &[f64], [x, y]: [f64; 2]) -> f64 {
        self.mix([x, y], |c| values[c])
    }

    /// Velocity at a place.
    pub(crate) fn velocity_at(&self, place: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|axis| self.mix(place, |c| self.velocity[c][axis]))
    }

    fn mix(&self, [x, y]: [f64; 2], value: impl Fn(usize) -> f64) -> f64 {
        let ((i, s), (j, t)) = (bracket(&self.x, x), bracket(&self.y, y));
        let nx = self.x.len();
        let row = |j: usize| (1.0 - s) * value(j * nx + i) + s * value(j * nx + i + 1);
        (1.0 - t) * row(j) + t * row(j + 1)
    }

    /// Distance from the nearest body; positive in the fluid, infinite without bodies.
    pub(crate) fn distance(&self, [x, y]: [f64; 2]) -> f64 {
        let bodies = self.flow.case().bodies.iter();
        bodies.map(|body| body.shape.distance(x, y)).fold(f64::INFINITY, f64::min)
    }

    /// Density of the design at a place: 1 in fluid.
    pub(crate) fn density(&self, place: [f64; 2]) -> f64 {
        let design = self.flow.case().density.as_ref().map(|density| &density.design);
        design.map_or(1.0, |design| self.mix(place, |c| design[c]))
    }

    /// Closed lines along all bodies.
    pub(crate) fn outlines(&self) -> Vec<Vec<[f64; 2]>> {
        let shapes = self.flow.case().bodies.iter().map(|body| body.shape.as_ref());
        shapes.flat_map(|shape: &dyn Shape| shape.outline(720)).collect()
    }
}

/// ∂v/∂x − ∂u/∂y by differences between the middles of neighbours.
fn vorticity(grid: &Grid, velocity: &[[f64; 2]]) -> Vec<f64> {
    let slope = |c: usize, axis: usize| {
        let (count, stride) = [(grid.nx(), 1), (grid.ny(), grid.nx())][axis];
        let place = c / stride % count;
        let low = if place > 0 { c - stride } else { c };
        let high = if place + 1 < count { c + stride } else { c };
        let distance = grid.centre(high)[axis] - grid.centre(low)[axis];
        (velocity[high][1 - axis] - velocity[low][1 - axis]) / distance
    };
    (0..grid.cells()).map(|c| slope(c, 0) - slope(c, 1)).collect()
}

/// The pair of places around `s` and how far between them it lies; constant beyond the ends.
fn bracket(places: &[f64], s: f64) -> (usize, f64) {
    let i = places[1..places.len() - 1].partition_point(|&p| p <= s);
    (i, ((s - places[i]) / (places[i + 1] - places[i])).clamp(0.0, 1.0))
}

/// Gives cells without fluid the mean of their neighbours, from the outline inwards, a few cells deep.
fn continue_into_solid(grid: &Grid, fluid: &[bool], values: &[f64]) -> Vec<f64> {
    const DEPTH: usize = 4;
    let (nx, ny) = (grid.nx(), grid.ny());
    let (mut known, mut values) = (fluid.to_vec(), values.to_vec());
    for _ in 0..DEPTH {
        let before = known.clone();
        for c in (0..nx * ny).filter(|&c| !before[c]) {
            let (i, j) = (c % nx, c / nx);
            let sides = [
                (i > 0).then(|| c - 1),
                (i + 1 < nx).then_some(c + 1),
                (j > 0).then(|| c.saturating_sub(nx)),
                (j + 1 < ny).then_some(c + nx),
            ];
            let around: Vec<f64> =
                sides.into_iter().flatten().filter(|&n| before[n]).map(|n| values[n]).collect();
            if !around.is_empty() {
                values[c] = around.iter().sum::<f64>() / around.len() as f64;
                known[c] = true;
            }
        }
    }
    values
}
