//! Outlines from files: polygons of a GDSII or OASIS layout, paths and polygons of an SVG drawing.

use std::path::Path;

use anyhow::{Context, Result, bail};
use lithoburn_cfd::shape::{Point, Polygon, Shape, Union};
use lithoburn_layout::{Layout, ReadOptions};

mod svg;

/// Where an outline from a file goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    /// Middle of its bounding box.
    pub(crate) centre: Point,
    /// Height of its bounding box.
    pub(crate) height: f64,
}

/// Reads outlines and places them, keeping their proportions.
pub(crate) fn read(path: &Path, placement: Placement) -> Result<Box<dyn Shape>> {
    let lines = lines(path)?;
    let placed = place(&lines, placement)
        .with_context(|| format!("{}: its outlines have no height", path.display()))?;
    let body = |line: &Vec<Point>| -> Result<Box<dyn Shape>> {
        let polygon = Polygon::new(line);
        let polygon = polygon.with_context(|| format!("{}: an outline", path.display()))?;
        Ok(Box::new(polygon))
    };
    let mut bodies: Vec<Box<dyn Shape>> = placed.iter().map(body).collect::<Result<_>>()?;
    if bodies.len() == 1
        && let Some(only) = bodies.pop()
    {
        return Ok(only);
    }
    Ok(Box::new(Union::new(bodies)?))
}

fn lines(path: &Path) -> Result<Vec<Vec<Point>>> {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    let lines = match ending.as_deref() {
        Some("svg") => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read outlines from {}", path.display()))?;
            svg::outlines(&text).with_context(|| path.display().to_string())?
        }
        Some("gds" | "oas" | "gdsii") => {
            let options = ReadOptions { layer: None, cell: None, pixel_nm: 1.0 };
            let polygons = Layout::read(path, &options)?.polygons;
            polygons.iter().map(|polygon| polygon.points.clone()).collect()
        }
        _ => bail!("{}: expected outlines as .svg, .gds or .oas", path.display()),
    };
    if lines.is_empty() {
        bail!("{}: has no closed outline", path.display());
    }
    Ok(lines)
}

/// Scales and moves outlines; none if they have no height.
fn place(lines: &[Vec<Point>], to: Placement) -> Option<Vec<Vec<Point>>> {
    let all = || lines.iter().flatten();
    let ends = |axis: usize| {
        all()
            .map(|p| p[axis])
            .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)])
    };
    let [x, y] = [ends(0), ends(1)];
    let scale = to.height / (y[1] - y[0]);
    let middle = [x, y].map(|[low, high]| (low + high) / 2.0);
    let moved = |p: &Point| [0, 1].map(|i| to.centre[i] + scale * (p[i] - middle[i]));
    let placed = lines.iter().map(|line| line.iter().map(moved).collect()).collect();
    scale.is_finite().then_some(placed)
}
