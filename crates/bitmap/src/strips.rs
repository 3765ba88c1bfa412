//! Marks around the sites where a target's edges are checked.
//!
//! A pixel is on an edge if it is set and one of its eight neighbours is not. Along columns and along rows, edges are runs of such
//! pixels that have not two of them at their sides; sites lie on them at even distances, and a run between two sides of the target
//! has none. Columns are rows of the transposed image.

#[cfg(feature = "gpu")]
mod kernels;
#[cfg(feature = "gpu")]
mod launch;

use burn::backend::tensor::IntTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
#[cfg(feature = "gpu")]
use burn_cubecl::CubeBackend;

use crate::Bitmaps;

/// Where sites lie on an edge and marks around them, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// How far marks reach along the edge, on either side of a site.
    pub along: usize,
    /// Least and greatest distance of marks from the edge's pixel, on either side of the edge.
    pub depths: [usize; 2],
    /// Distance between the sites of a long edge, and of the first from its end; at least 1.
    pub step: usize,
    /// The longest edge, from its first to its last pixel, that has one site, in its middle.
    pub short: usize,
}

/// Marks as an operation of a backend.
#[backend_extension(Cube: cfg(feature = "gpu"), Fusion: cfg(feature = "gpu"))]
pub(crate) trait Marking: Backend {
    /// The marks around the sites of targets.
    #[fusion(meta = |target, _| target.clone())]
    fn strips(target: IntTensor<Self>, marks: Marks) -> IntTensor<Self>;
}

#[cfg(feature = "gpu")]
impl Marking for CubeBackend {
    fn strips(target: IntTensor<Self>, marks: Marks) -> IntTensor<Self> {
        launch::strips(target, marks)
    }
}

impl Bitmaps {
    /// Strips along the edges of these targets, as deep inside and outside of them as `marks` says, around each site.
    ///
    /// # Panics
    ///
    /// If sites would be no pixel apart.
    pub fn strips(&self, marks: Marks) -> Self {
        assert!(marks.step > 0, "sites lie pixels apart: {marks:?}");
        Self::from_dispatch(<Dispatch as Marking>::strips(self.to_dispatch(), marks))
    }
}
