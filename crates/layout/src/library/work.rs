//! How much a search of a library may do.

use std::path::{Path, PathBuf};

use crate::{Bounds, LayoutError};

/// Bytes that flat polygons may take, so that a small file cannot fill the memory.
const MOST_BYTES: u64 = 512 << 20;
/// How often polygons may cover a window: a few bytes can repeat a large one a million times where it is, and drawing
/// that takes days.
const MOST_COVERED: f64 = 4096.0;
/// Items that one search may look at: about a second's work.
pub(crate) const MOST_ITEMS: u64 = 12_000_000;

/// What a search may still do.
pub(crate) struct Work {
    path: PathBuf,
    items: u64,
    bytes: u64,
    /// How many times what was found covers the window.
    covered: f64,
}

impl Work {
    pub(crate) fn new(path: impl AsRef<Path>, items: u64) -> Self {
        Self { path: path.as_ref().to_path_buf(), items, bytes: MOST_BYTES, covered: 0.0 }
    }

    /// Looks at so many items.
    pub(crate) fn spend(&mut self, items: u64) -> Result<(), LayoutError> {
        self.items = self.items.checked_sub(items).ok_or_else(|| LayoutError::TooMuch {
            path: self.path.clone(),
            problem: "a window lies on more repeated cells than can be searched".into(),
        })?;
        Ok(())
    }

    /// Keeps so many polygons with so many corners.
    pub(crate) fn keep(&mut self, polygons: u64, corners: u64) -> Result<(), LayoutError> {
        let bytes = polygons.saturating_mul(40).saturating_add(corners.saturating_mul(16));
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| LayoutError::TooMuch {
            path: self.path.clone(),
            problem: format!(
                "its flat polygons take more than {} MiB: cut it into fields with --tile",
                MOST_BYTES >> 20
            ),
        })?;
        Ok(())
    }

    /// Finds a polygon with these bounds, which will be drawn in a window.
    pub(crate) fn cover(&mut self, bounds: &Bounds, window: &Bounds) -> Result<(), LayoutError> {
        let share = |i: usize| {
            let length = window.max[i] - window.min[i];
            let covered = bounds.max[i].min(window.max[i]) - bounds.min[i].max(window.min[i]);
            if length > 0.0 { (covered / length).clamp(0.0, 1.0) } else { 0.0 }
        };
        self.covered += share(0) * share(1);
        match self.covered > MOST_COVERED {
            false => Ok(()),
            true => Err(LayoutError::TooMuch {
                path: self.path.clone(),
                problem: format!("its polygons lie on one another more than {MOST_COVERED} times"),
            }),
        }
    }
}
