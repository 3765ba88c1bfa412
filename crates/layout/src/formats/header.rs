//! What GDSII and OASIS share: how a file of theirs begins, and polygons on database units.

use std::path::{Path, PathBuf};

use crate::{Layer, LayoutError, Polygon};

/// What a file begins with.
pub(crate) struct Header<'a> {
    pub(crate) path: &'a Path,
    pub(crate) cell: String,
    pub(crate) layer: Layer,
    pub(crate) unit_nm: f64,
}

impl<'a> Header<'a> {
    pub(crate) fn new(
        path: &'a Path,
        cell: &str,
        layer: Layer,
        unit_nm: f64,
    ) -> Result<Self, LayoutError> {
        if !(unit_nm.is_finite() && unit_nm > 0.0) {
            return Err(LayoutError::Grid(format!(
                "the database unit must be positive, got {unit_nm} nm"
            )));
        }
        Ok(Self { path, cell: cell_name(cell), layer, unit_nm })
    }
}

/// GDSII allows letters, digits and `_?$`, 32 of them; OASIS takes these too.
pub(crate) fn cell_name(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "_?$".contains(c) { c } else { '_' };
    let name: String = name.chars().map(legal).take(32).collect();
    if name.is_empty() { "layout".into() } else { name }
}

/// Rounds polygons to database units.
pub(crate) struct Grid {
    pub(crate) path: PathBuf,
    pub(crate) unit_nm: f64,
}

impl Grid {
    /// The corners, without those that repeat the one before; `None` if nothing is left inside.
    pub(crate) fn corners(&self, polygon: &Polygon) -> Result<Option<Vec<[i32; 2]>>, LayoutError> {
        let mut corners = Vec::with_capacity(polygon.points.len());
        for &p in &polygon.points {
            corners.push(self.point(p)?);
        }
        corners.dedup();
        while corners.len() > 1 && corners.first() == corners.last() {
            corners.pop();
        }
        Ok((corners.len() > 2).then_some(corners))
    }

    pub(crate) fn point(&self, p: [f64; 2]) -> Result<[i32; 2], LayoutError> {
        Ok([self.units(p[0])?, self.units(p[1])?])
    }

    fn units(&self, nm: f64) -> Result<i32, LayoutError> {
        let units = (nm / self.unit_nm).round();
        match units.abs() <= f64::from(i32::MAX) {
            true => Ok(units as i32),
            false => {
                Err(LayoutError::Coordinate { path: self.path.clone(), nm, unit_nm: self.unit_nm })
            }
        }
    }

    pub(crate) fn failed(&self, error: std::io::Error) -> LayoutError {
        LayoutError::Write(self.path.clone(), error)
    }
}
