//! Tiles as tasks: read, drawn, hashed; each different target once.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;

use lithoburn_layout::{Coverage, Layout, Library, Raster, TileGrid};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tracing::info_span;

use super::Flow;
use super::journal::Key;
use crate::EngineError;

/// A target that has to be computed.
pub(crate) struct Tile {
    /// The SHA-256 of its pixels.
    pub key: Key,
    /// The pixels.
    pub target: Raster,
}

/// Where tiles come from.
pub(crate) struct Source<'a> {
    /// The layout.
    pub library: &'a Library,
    /// How it is cut.
    pub grid: TileGrid,
    /// How polygons become pixels.
    pub coverage: Coverage,
    /// Side of the pixels that answers depend on, in nm; none takes the grid's.
    pub finest_nm: Option<f64>,
}

impl Source<'_> {
    /// A tile's target on the grid's pixels.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if the tile holds more polygons than memory should.
    pub(crate) fn target(&self, index: usize) -> Result<Raster, EngineError> {
        let frame = self.grid.frame(index);
        let polygons = self.library.polygons_in(frame.bounds())?;
        Ok(Layout::new("tile", polygons).rasterize(&frame, self.coverage))
    }

    /// A tile's target on the pixels that its answer depends on.
    fn tile(&self, index: usize) -> Result<Tile, EngineError> {
        let _span = info_span!("draw").entered();
        let mut target = self.target(index)?;
        let small = self.finest_nm.map(|finest| on_pixels(&target, finest));
        if let Some(Cow::Owned(small)) = small {
            target = small;
        }
        Ok(Tile { key: digest(&target), target })
    }
}

/// Makes tasks of the tiles that have to be computed, some at a time.
pub(super) struct Scan<'a> {
    flow: &'a Flow<'a>,
    rest: &'a [usize],
    made: VecDeque<Tile>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(flow: &'a Flow<'a>) -> Self {
        Self { flow, rest: flow.occupied.tiles(), made: VecDeque::new() }
    }

    /// Looks at the next tiles, as many as there are processors; false if there are none.
    fn look(&mut self) -> Result<bool, EngineError> {
        let flow = self.flow;
        let (next, rest) = self.rest.split_at(rayon::current_num_threads().min(self.rest.len()));
        self.rest = rest;
        let start = Instant::now();
        let seen: Result<Vec<Tile>, EngineError> =
            next.par_iter().map(|&index| flow.source.tile(index)).collect();
        flow.drew(start.elapsed());
        for (&index, tile) in next.iter().zip(seen?) {
            let known = flow.journal().has(flow.kind, &tile.key);
            if flow.ledger.place(index, tile.key, known) {
                self.made.push_back(tile);
            }
        }
        Ok(!next.is_empty())
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Tile, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.made.is_empty() {
            match self.look() {
                Ok(true) => (),
                Ok(false) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        self.made.pop_front().map(Ok)
    }
}

/// The SHA-256 of a raster's pixels, row by row, so that no second copy of them is made.
pub(crate) fn digest(raster: &Raster) -> Key {
    let mut hash = Sha256::new();
    let mut bytes = Vec::with_capacity(4 * raster.width);
    for row in raster.data.chunks_exact(raster.width) {
        bytes.clear();
        row.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
        hash.update(&bytes);
    }
    hash.finalize().into()
}

/// The target on pixels of a size that its own divide; else as it is.
pub(crate) fn on_pixels(target: &Raster, pixel_nm: f64) -> Cow<'_, Raster> {
    let factor = pixel_nm / target.pixel_nm;
    let count = factor.round().max(1.0) as usize;
    match count > 1 && (factor - factor.round()).abs() < 1e-6 && target.width.is_multiple_of(count)
    {
        true => Cow::Owned(target.averaged(count)),
        false => Cow::Borrowed(target),
    }
}
