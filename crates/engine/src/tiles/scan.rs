//! Tiles as tasks: read, cut off, hashed; each different target once.

use std::collections::VecDeque;
use std::time::Instant;

use lithoburn_layout::{Bits, Coverage, Layout, Library, Raster, TileGrid};
use rayon::prelude::*;
use tracing::info_span;

use super::Flow;
use super::drawing::Drawing;
use super::journal::Key;
use super::pixels::{on_pixels, with_pixels};
use crate::EngineError;
use crate::threads::{Threads, threads};

/// Tiles that each thread looks at before they are passed on.
const AT_ONCE: usize = 4;

/// A target that has to be computed.
pub(crate) struct Tile {
    /// The hash of the drawing.
    pub key: Key,
    /// The target, on the pixels that its answer depends on.
    pub drawing: Drawing,
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

    /// The pixels of the grid that a tile's target covers at least half of.
    ///
    /// # Errors
    ///
    /// As [`Source::target`].
    pub(crate) fn bits(&self, index: usize) -> Result<Bits, EngineError> {
        let frame = self.grid.frame(index);
        let polygons = self.library.polygons_in(frame.bounds())?;
        Ok(Drawing::of(polygons, &frame, self.coverage).bits())
    }

    /// A tile's target on the pixels that its answer depends on.
    ///
    /// # Errors
    ///
    /// As [`Source::target`].
    pub(crate) fn tile(&self, index: usize) -> Result<Tile, EngineError> {
        let _span = info_span!("edges").entered();
        let frame = self.grid.frame(index);
        let polygons = self.library.polygons_in(frame.bounds())?;
        let small = self.finest_nm.and_then(|finest| with_pixels(&frame, finest));
        let drawing = match (self.coverage, small) {
            (Coverage::Exact, Some(small)) => Drawing::of(polygons, &small, self.coverage),
            // Which pixels are covered is a question of the grid's.
            (Coverage::Inclusive, Some(small)) => {
                let target = Layout::new("tile", polygons).rasterize(&frame, self.coverage);
                Drawing::Raster(on_pixels(&target, small.pixel_nm).into_owned())
            }
            (_, None) => Drawing::of(polygons, &frame, self.coverage),
        };
        Ok(Tile { key: drawing.key(), drawing })
    }
}

/// Makes tasks of the tiles that have to be computed, some at a time.
pub(super) struct Scan<'a> {
    flow: &'a Flow<'a>,
    rest: &'a [usize],
    made: VecDeque<Tile>,
    /// Its own, so that neither devices nor whoever puts tiles together can keep it waiting.
    threads: Threads,
}

impl<'a> Scan<'a> {
    /// # Errors
    ///
    /// [`EngineError::Setting`] if the system gives no threads.
    pub(super) fn new(flow: &'a Flow<'a>) -> Result<Self, EngineError> {
        let threads = threads("scan", 4)?;
        Ok(Self { flow, rest: flow.occupied.tiles(), made: VecDeque::new(), threads })
    }

    /// Looks at the next tiles, some for each thread; false if there are none.
    fn look(&mut self) -> Result<bool, EngineError> {
        let flow = self.flow;
        let count = AT_ONCE * self.threads.current_num_threads();
        let (next, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        let start = Instant::now();
        let seen = || next.par_iter().map(|&index| flow.source.tile(index)).collect();
        let seen: Result<Vec<Tile>, EngineError> = self.threads.install(seen);
        flow.drew(start.elapsed());
        for (&index, tile) in next.iter().zip(seen?) {
            let known = || flow.journal().has(flow.kind, &tile.key);
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
