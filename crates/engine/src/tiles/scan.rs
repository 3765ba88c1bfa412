//! Tiles as tasks: read, cut off, hashed; each different target once.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;

use lithoburn_layout::{Bits, Coverage, Frame, Layout, Library, Raster, TileGrid};
use rayon::prelude::*;
use tracing::info_span;

use super::Flow;
use super::drawing::Drawing;
use super::journal::Key;
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
    pub(super) fn tile(&self, index: usize) -> Result<Tile, EngineError> {
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

/// The frame on larger pixels, if they are whole numbers of its own and divide it.
fn with_pixels(frame: &Frame, pixel_nm: f64) -> Option<Frame> {
    let factor = pixel_nm / frame.pixel_nm;
    let count = factor.round().max(1.0) as usize;
    let divides = (factor - factor.round()).abs() < 1e-6
        && frame.width.is_multiple_of(count)
        && frame.height.is_multiple_of(count);
    (count > 1 && divides).then(|| Frame {
        pixel_nm: frame.pixel_nm * count as f64,
        width: frame.width / count,
        height: frame.height / count,
        ..*frame
    })
}

/// The target on pixels of a size that its own divide; else as it is.
pub(crate) fn on_pixels(target: &Raster, pixel_nm: f64) -> Cow<'_, Raster> {
    let Raster { width, height, pixel_nm: own, .. } = *target;
    let frame = Frame { origin_nm: [0.0; 2], pixel_nm: own, width, height };
    match with_pixels(&frame, pixel_nm) {
        Some(small) => Cow::Owned(target.averaged(width / small.width)),
        None => Cow::Borrowed(target),
    }
}
