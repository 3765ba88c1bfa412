//! Grids: stretched Cartesian cells with velocities on their faces.
//!
//! Pressure and temperature live in cells, `u` on faces normal to x, `v` on faces normal to y (Harlow & Welch 1965).
//! What is true of `u` along x is true of `v` along y: a `Direction` numbers faces, cells and corners as one of the
//! two components sees them, so that each term of the equations is written once.

use crate::Error;

/// A tensor-product grid, given by the places of its faces.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Grid {
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Grid {
    /// A grid whose cells lie between neighbouring values of `x` and of `y`.
    ///
    /// # Errors
    ///
    /// [`Error::Case`] unless both increase strictly, are finite and have at least three values.
    pub fn new(x: Vec<f64>, y: Vec<f64>) -> Result<Self, Error> {
        for (name, faces) in [("x", &x), ("y", &y)] {
            let rising = faces.windows(2).all(|pair| pair[0] < pair[1] && pair[1].is_finite());
            if faces.len() < 3 || !rising || !faces[0].is_finite() {
                return Err(Error::case(format!(
                    "grid: the faces in {name} must be at least three finite, increasing numbers"
                )));
            }
        }
        Ok(Self { x, y })
    }

    /// `nx` × `ny` equal cells over a box `[x0, x1]` × `[y0, y1]`.
    ///
    /// # Errors
    ///
    /// As [`Grid::new`].
    pub fn uniform(x: [f64; 2], y: [f64; 2], nx: usize, ny: usize) -> Result<Self, Error> {
        Self::new(spread(x, nx), spread(y, ny))
    }

    /// `nx` × `ny` cells over a box, finer towards its walls: a hyperbolic tangent of the given strength.
    ///
    /// # Errors
    ///
    /// As [`Grid::new`].
    pub fn clustered(
        x: [f64; 2],
        y: [f64; 2],
        nx: usize,
        ny: usize,
        strength: f64,
    ) -> Result<Self, Error> {
        let faces = |[low, high]: [f64; 2], n: usize| {
            let place =
                |s: f64| 0.5 * (1.0 + (strength * (2.0 * s - 1.0)).tanh() / strength.tanh());
            spread([0.0, 1.0], n).iter().map(|&s| low + (high - low) * place(s)).collect()
        };
        Self::new(faces(x, nx), faces(y, ny))
    }

    /// Cells in x.
    #[must_use]
    pub fn nx(&self) -> usize {
        self.x.len() - 1
    }

    /// Cells in y.
    #[must_use]
    pub fn ny(&self) -> usize {
        self.y.len() - 1
    }

    /// Number of cells.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.nx() * self.ny()
    }

    /// Places of the faces normal to x.
    #[must_use]
    pub fn x(&self) -> &[f64] {
        &self.x
    }

    /// Places of the faces normal to y.
    #[must_use]
    pub fn y(&self) -> &[f64] {
        &self.y
    }

    /// Middle of cell `c`, numbered row by row from the lower left: `c = j nx + i`.
    #[must_use]
    pub fn centre(&self, c: usize) -> [f64; 2] {
        let (i, j) = (c % self.nx(), c / self.nx());
        [0.5 * (self.x[i] + self.x[i + 1]), 0.5 * (self.y[j] + self.y[j + 1])]
    }

    /// Size of cell `c`.
    #[must_use]
    pub fn size(&self, c: usize) -> [f64; 2] {
        let (i, j) = (c % self.nx(), c / self.nx());
        [self.x[i + 1] - self.x[i], self.y[j + 1] - self.y[j]]
    }

    /// The cell that holds a point, if the grid does.
    #[must_use]
    pub fn find(&self, x: f64, y: f64) -> Option<usize> {
        let place = |faces: &[f64], s: f64| {
            let inside = faces[0] <= s && s <= faces[faces.len() - 1];
            inside.then(|| faces[1..faces.len() - 1].partition_point(|&f| f <= s))
        };
        Some(place(&self.y, y)? * self.nx() + place(&self.x, x)?)
    }

    /// The grid of every second face, if the numbers of cells are even and it still has eight cells each way.
    #[must_use]
    pub fn coarser(&self) -> Option<Self> {
        let fits = |n: usize| n.is_multiple_of(2) && n >= 16;
        let halve = |faces: &[f64]| faces.iter().copied().step_by(2).collect();
        (fits(self.nx()) && fits(self.ny())).then(|| Self { x: halve(&self.x), y: halve(&self.y) })
    }

    /// The grid of cells halved each way.
    #[must_use]
    pub fn finer(&self) -> Self {
        Self { x: halved(&self.x), y: halved(&self.y) }
    }

    /// Faces along `axis` (0 for x, 1 for y).
    pub(crate) fn faces(&self, axis: usize) -> &[f64] {
        if axis == 0 { &self.x } else { &self.y }
    }

    /// How the component along `axis` sees the grid.
    pub(crate) fn direction(&self, axis: usize) -> Direction {
        Direction::new(axis, self.nx(), self.ny())
    }

    /// Faces, middles of cells, faces: the places at which signed distances are sampled.
    pub(crate) fn half(&self, axis: usize) -> Vec<f64> {
        halved(self.faces(axis))
    }
}

/// `n + 1` equally spaced numbers from `low` to `high`.
#[must_use]
pub fn spread([low, high]: [f64; 2], n: usize) -> Vec<f64> {
    (0..=n).map(|i| low + (high - low) * i as f64 / n as f64).collect()
}

/// Faces that are uniform (of spacing about `h`) over `core`, with geometric flanks of `cells` cells out to `reach`.
///
/// `below` and `above` are `(cells, reach)` of the two flanks; a flank of no cells ends at the core.
#[must_use]
pub fn stretched(core: [f64; 2], h: f64, below: (usize, f64), above: (usize, f64)) -> Vec<f64> {
    let middle = spread(core, ((core[1] - core[0]) / h).round().max(1.0) as usize);
    let step = middle[1] - middle[0];
    let mut faces: Vec<f64> =
        flank(step, below.0, core[0] - below.1).iter().rev().map(|d| core[0] - d).collect();
    faces.extend(&middle);
    faces.extend(flank(step, above.0, above.1 - core[1]).iter().map(|d| core[1] + d));
    faces
}

/// Distances of `n` faces whose spacing grows geometrically from `first` to cover `length`.
fn flank(first: f64, n: usize, length: f64) -> Vec<f64> {
    let sum = |ratio: f64| (1..=n).map(|i| first * ratio.powi(i as i32)).sum::<f64>();
    let (mut low, mut high) = (0.2, 10.0);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if sum(middle) < length { low = middle } else { high = middle }
    }
    let mut reached = 0.0;
    let places = (1..=n).map(|i| {
        reached += first * low.powi(i as i32);
        reached
    });
    let places: Vec<f64> = places.collect();
    let scale = length / places.last().copied().unwrap_or(1.0);
    places.iter().map(|d| d * scale).collect()
}

fn halved(faces: &[f64]) -> Vec<f64> {
    let pairs = faces.windows(2).flat_map(|pair| [pair[0], 0.5 * (pair[0] + pair[1])]);
    pairs.chain(faces.last().copied()).collect()
}

/// A velocity component's view of the grid: `n` counts along the component, `t` across it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direction {
    /// Cells along the component.
    pub(crate) n: usize,
    /// Cells across it.
    pub(crate) t: usize,
    axis: usize,
    nx: usize,
    ny: usize,
}

impl Direction {
    fn new(axis: usize, nx: usize, ny: usize) -> Self {
        let (n, t) = if axis == 0 { (nx, ny) } else { (ny, nx) };
        Self { n, t, axis, nx, ny }
    }

    /// Column and row of a pair counted along and across.
    fn turned(self, along: usize, across: usize) -> (usize, usize) {
        if self.axis == 0 { (along, across) } else { (across, along) }
    }

    /// Unknown at face `m` of row `k`; `m` is 0 to `n`.
    pub(crate) fn face(self, m: usize, k: usize) -> usize {
        let (i, j) = self.turned(m, k);
        if self.axis == 0 { j * (self.nx + 1) + i } else { self.v_start() + j * self.nx + i }
    }

    /// Unknown of the other component on the side of cell row `m`, at corner `k` of 0 to `t`.
    pub(crate) fn other(self, m: usize, k: usize) -> usize {
        let (i, j) = self.turned(m, k);
        if self.axis == 0 { self.v_start() + j * self.nx + i } else { j * (self.nx + 1) + i }
    }

    /// Cell `m` of row `k`.
    pub(crate) fn cell(self, m: usize, k: usize) -> usize {
        let (i, j) = self.turned(m, k);
        j * self.nx + i
    }

    /// Corner of cells at face `m` and across-face `k`.
    pub(crate) fn corner(self, m: usize, k: usize) -> usize {
        let (i, j) = self.turned(m, k);
        j * (self.nx + 1) + i
    }

    /// Place on the half-spaced grid: even numbers are faces, odd numbers middles of cells.
    pub(crate) fn half(self, a: usize, b: usize) -> usize {
        let (i, j) = self.turned(a, b);
        j * (2 * self.nx + 1) + i
    }

    fn v_start(self) -> usize {
        (self.nx + 1) * self.ny
    }
}

/// Where each kind of unknown begins: `[u | v | p | T]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Faces of both directions: the velocities.
    pub(crate) faces: usize,
    /// Cells: pressures, and as many temperatures if there is heat.
    pub(crate) cells: usize,
    /// Whether temperatures are unknowns.
    pub(crate) heat: bool,
}

impl Layout {
    pub(crate) fn new(grid: &Grid, heat: bool) -> Self {
        let (nx, ny) = (grid.nx(), grid.ny());
        Self { faces: (nx + 1) * ny + nx * (ny + 1), cells: nx * ny, heat }
    }

    /// Unknown of cell `c`'s pressure; also the row of its continuity equation.
    pub(crate) fn pressure(self, c: usize) -> usize {
        self.faces + c
    }

    /// Where the pressures are among the unknowns.
    pub(crate) fn pressures(self) -> std::ops::Range<usize> {
        self.faces..self.faces + self.cells
    }

    /// Unknown of cell `c`'s temperature.
    pub(crate) fn temperature(self, c: usize) -> usize {
        self.faces + self.cells + c
    }

    pub(crate) fn len(self) -> usize {
        self.faces + self.cells * (1 + usize::from(self.heat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretched_grid_has_its_core_and_reaches_its_ends() {
        let x = stretched([-0.8, 1.2], 0.05, (30, -50.0), (58, 75.0));
        assert_eq!(x.len(), 129);
        assert!((x[0] + 50.0).abs() < 1e-9 && (x[128] - 75.0).abs() < 1e-9);
        assert!((x[30] + 0.8).abs() < 1e-12 && (x[31] - x[30] - 0.05).abs() < 1e-12);
        assert!(x.windows(2).all(|w| w[1] > w[0]));
    }

    #[test]
    fn faces_that_do_not_increase_are_refused() {
        assert!(Grid::new(vec![0.0, 1.0, 1.0], vec![0.0, 1.0, 2.0]).is_err());
        assert!(Grid::new(vec![0.0, f64::NAN, 1.0], vec![0.0, 1.0, 2.0]).is_err());
    }

    #[test]
    fn a_point_lies_in_the_cell_that_is_found_for_it() -> Result<(), Error> {
        let grid = Grid::clustered([0.0, 2.0], [-1.0, 1.0], 9, 7, 1.5)?;
        for c in 0..grid.cells() {
            let [x, y] = grid.centre(c);
            assert_eq!(grid.find(x, y), Some(c));
        }
        assert_eq!(grid.find(2.1, 0.0), None);
        Ok(())
    }
}
