//! Outlines of the user's, and what is asked of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use lithoburn_cfd::shape::Shape;
use lithoburn_cfd::{Body, Case};

use crate::cases::Point;
use crate::pictures::Window;
use crate::shape_file::{self, Placement};
use crate::study::Study;

/// An outline of the user's.
#[derive(Args, Debug)]
pub(super) struct ShapeOptions {
    /// Outlines to put into the flow: closed paths of an .svg, polygons of a .gds or .oas; several files run beside each
    /// other.
    #[arg(long, value_name = "FILE,…", value_delimiter = ',', num_args = 1)]
    pub(super) shape: Vec<PathBuf>,
}

impl ShapeOptions {
    /// A case for each file, or none, and each Reynolds number.
    pub(super) fn with_each(
        &self,
        reynolds: &[f64],
        study: impl Fn(Option<&Path>, f64) -> Result<Study>,
    ) -> Result<Vec<Point>> {
        let mut shapes: Vec<Option<&Path>> = self.shape.iter().map(|p| Some(p.as_path())).collect();
        if shapes.is_empty() {
            shapes.push(None);
        }
        let all = shapes.iter().flat_map(|shape| reynolds.iter().map(move |re| (*shape, *re)));
        let point = |(shape, re): (Option<&Path>, f64)| {
            let name = shape.map_or(String::new(), |path| path.to_string_lossy().into_owned());
            Ok(Point::new(&[("shape", name), ("re", re.to_string())], study(shape, re)?))
        };
        all.map(point).collect()
    }
}

/// The body of a file.
pub(super) fn read_body(path: &Path, placement: Placement) -> Result<Body> {
    let shape: Arc<dyn Shape> = shape_file::read(path, placement)?.into();
    Ok(Body { shape, spin: lithoburn_cfd::Spin::default(), temperature: None })
}

/// Refuses bodies that leave the grid, and those that it cannot resolve.
pub(super) fn check_body(case: &Case, body: &Body, option: &str) -> Result<()> {
    const LEAST: f64 = 8.0;
    let [low, high] = body.shape.bounds();
    let grid = Window::all(&case.grid);
    for (axis, [from, to]) in [grid.x, grid.y].into_iter().enumerate() {
        if low[axis] <= from || high[axis] >= to {
            bail!(
                "{option}: the body reaches from {:.3} to {:.3} in {}, the flow from {from:.3} to {to:.3}; make it smaller or move it",
                low[axis],
                high[axis],
                ["x", "y"][axis]
            );
        }
    }
    let middle = [0, 1].map(|i| (low[i] + high[i]) / 2.0);
    let Some(cell) = case.grid.find(middle[0], middle[1]) else { return Ok(()) };
    let size = case.grid.size(cell);
    let across = (high[1] - low[1]) / size[1];
    if across < LEAST {
        bail!(
            "{option}: only {across:.1} cells lie across the body; expected {LEAST} or more: take a finer --grid"
        );
    }
    Ok(())
}
