//! The numbers that the equations know of geometry.

use crate::{
    aperture::Target,
    grid::{Grid, Layout},
    vector::dot,
};

/// All that the equations know of geometry; also the shape of a derivative with respect to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metric {
    /// Open length of each face.
    pub(crate) open: Vec<f64>,
    /// Wetted area over distance, for the control volume of each face's velocity.
    pub(crate) wall: Vec<f64>,
    /// The same times the wall's own velocity.
    pub(crate) slide: Vec<f64>,
    /// Fluid part of the control volume of each face's velocity.
    pub(crate) volume: Vec<f64>,
    /// Open length over distance, for each pair of neighbours (see [`Slots`]).
    pub(crate) conductance: Vec<f64>,
    /// What each of two velocities on either side of a cell adds to the flux between them because their open middles
    /// lie at different heights, in pairs; numbered like the conductances along.
    pub(crate) lean: Vec<f64>,
    /// The same of walls that turn.
    pub(crate) drift: Vec<f64>,
    /// Fluid part of each cell.
    pub(crate) cell_volume: Vec<f64>,
    /// Wetted area over distance of each cell.
    pub(crate) cell_wall: Vec<f64>,
    /// What a wall that turns pushes out of each cell: an outline of chords does not slide along itself.
    pub(crate) chord: Vec<f64>,
}

impl Metric {
    /// Scalar product of all numbers.
    pub(crate) fn dot(&self, other: &Self) -> f64 {
        self.parts().into_iter().zip(other.parts()).map(|(a, b)| dot(a, b)).sum()
    }

    fn parts(&self) -> [&[f64]; 10] {
        [
            &self.open,
            &self.wall,
            &self.slide,
            &self.volume,
            &self.conductance,
            &self.lean,
            &self.drift,
            &self.cell_volume,
            &self.cell_wall,
            &self.chord,
        ]
    }

    pub(crate) fn at(&self, target: Target) -> f64 {
        match target {
            Target::Open(i) => self.open[i],
            Target::Wall(i) => self.wall[i],
            Target::Slide(i) => self.slide[i],
            Target::Volume(i) => self.volume[i],
            Target::Conductance(i) => self.conductance[i],
            Target::Lean(i) => self.lean[i],
            Target::Drift(i) => self.drift[i],
            Target::CellVolume(i) => self.cell_volume[i],
            Target::CellWall(i) => self.cell_wall[i],
            Target::Chord(i) => self.chord[i],
        }
    }

    pub(crate) fn set(&mut self, target: Target, value: f64) {
        *match target {
            Target::Open(i) => &mut self.open[i],
            Target::Wall(i) => &mut self.wall[i],
            Target::Slide(i) => &mut self.slide[i],
            Target::Volume(i) => &mut self.volume[i],
            Target::Conductance(i) => &mut self.conductance[i],
            Target::Lean(i) => &mut self.lean[i],
            Target::Drift(i) => &mut self.drift[i],
            Target::CellVolume(i) => &mut self.cell_volume[i],
            Target::CellWall(i) => &mut self.cell_wall[i],
            Target::Chord(i) => &mut self.chord[i],
        } = value;
    }

    /// All zero.
    pub(crate) fn zero(grid: &Grid) -> Self {
        let faces = Layout::new(grid, false).faces;
        let cells = grid.cells();
        Self {
            open: vec![0.0; faces],
            wall: vec![0.0; faces],
            slide: vec![0.0; faces],
            volume: vec![0.0; faces],
            conductance: vec![0.0; Slots::new(grid).len()],
            lean: vec![0.0; 4 * cells],
            drift: vec![0.0; 2 * cells],
            cell_volume: vec![0.0; cells],
            cell_wall: vec![0.0; cells],
            chord: vec![0.0; cells],
        }
    }
}

/// Where the conductances of each kind begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    cells: usize,
    corners: usize,
    faces: usize,
}

impl Slots {
    pub(crate) fn new(grid: &Grid) -> Self {
        let corners = (grid.nx() + 1) * (grid.ny() + 1);
        Self { cells: grid.cells(), corners, faces: Layout::new(grid, false).faces }
    }

    /// Between two velocities of component `axis` on either side of a cell.
    pub(crate) fn along(self, axis: usize, cell: usize) -> usize {
        axis * self.cells + cell
    }

    /// Between two velocities of component `axis` on either side of a corner.
    pub(crate) fn across(self, axis: usize, corner: usize) -> usize {
        2 * self.cells + axis * self.corners + corner
    }

    /// Between the middles of the two cells on either side of a face.
    pub(crate) fn through(self, face: usize) -> usize {
        2 * (self.cells + self.corners) + face
    }

    fn len(self) -> usize {
        2 * (self.cells + self.corners) + self.faces
    }
}
