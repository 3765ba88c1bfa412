//! Tiles as tasks: read, drawn, hashed; each different target once.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lithoburn_layout::{Layout, Raster};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::Run;
use crate::EngineError;
use crate::proposer::on_pixels;
use crate::tiles::journal::{Key, Kind};

/// A target that has to be solved.
pub(super) struct Tile {
    pub key: Key,
    pub target: Raster,
}

/// Where every tile stands; readers can wait.
pub(super) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Each tile's target, as far as tiles were looked at.
    keys: Vec<Option<Key>>,
    /// Targets that are not solved yet, and how many tiles have them.
    open: HashMap<Key, usize>,
    ready: usize,
    closed: bool,
}

impl Board {
    pub(super) fn new(tiles: usize) -> Self {
        let state =
            State { keys: vec![None; tiles], open: HashMap::new(), ready: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change below is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tiles whose mask is known.
    pub(super) fn ready(&self) -> usize {
        self.lock().ready
    }

    /// Notes a tile's target; true if it is new and has to be solved.
    fn place(&self, tile: usize, key: Key, known: bool) -> bool {
        let mut state = self.lock();
        state.keys[tile] = Some(key);
        let fresh = match state.open.get_mut(&key) {
            Some(waiting) => {
                *waiting += 1;
                false
            }
            None if known => {
                state.ready += 1;
                false
            }
            None => {
                state.open.insert(key, 1);
                true
            }
        };
        self.changed.notify_all();
        fresh
    }

    /// Notes that a target's mask is in the journal.
    pub(super) fn solved(&self, key: &Key) {
        let mut state = self.lock();
        let waiting = state.open.remove(key).unwrap_or(0);
        state.ready += waiting;
        self.changed.notify_all();
    }

    /// Nothing more will come.
    pub(super) fn all_scanned(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits for the masks of a range of tiles; none if the run ends before they are there.
    pub(super) fn wait(
        &self,
        tiles: std::ops::Range<usize>,
        ended: &dyn Fn() -> bool,
    ) -> Option<Vec<Key>> {
        let mut state = self.lock();
        loop {
            let keys: Option<Vec<Key>> = state.keys[tiles.clone()].iter().copied().collect();
            if let Some(keys) = keys
                && keys.iter().all(|key| !state.open.contains_key(key))
            {
                return Some(keys);
            }
            if state.closed || ended() {
                return None;
            }
            let waited = self.changed.wait_timeout(state, Duration::from_millis(100));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Makes tasks of the tiles that have to be solved, some at a time.
pub(super) struct Scan<'a> {
    run: &'a Run<'a>,
    next: usize,
    made: VecDeque<Tile>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(run: &'a Run<'a>) -> Self {
        Self { run, next: 0, made: VecDeque::new() }
    }

    /// Looks at the next tiles, as many as there are processors.
    fn look(&mut self) -> Result<(), EngineError> {
        let run = self.run;
        let end = (self.next + rayon::current_num_threads()).min(run.grid.len());
        let seen: Result<Vec<Tile>, EngineError> =
            (self.next..end).into_par_iter().map(|index| run.tile(index)).collect();
        for (index, tile) in (self.next..end).zip(seen?) {
            let known = run.lock().has(Kind::Mask, &tile.key);
            if run.board.place(index, tile.key, known) {
                self.made.push_back(tile);
            }
        }
        self.next = end;
        Ok(())
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Tile, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.made.is_empty() && self.next < self.run.grid.len() {
            if let Err(error) = self.look() {
                return Some(Err(error));
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

impl Run<'_> {
    /// A tile's target on the layout's pixels.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if the tile holds more polygons than memory should.
    pub(super) fn target(&self, index: usize) -> Result<Raster, EngineError> {
        let frame = self.grid.frame(index);
        let polygons = self.chip.library.polygons_in(frame.bounds())?;
        Ok(Layout::new("tile", polygons).rasterize(&frame, self.chip.job.coverage))
    }

    /// A tile's target on the solver's pixels, which are all that its mask depends on.
    fn tile(&self, index: usize) -> Result<Tile, EngineError> {
        let mut target = self.target(index)?;
        if let Cow::Owned(small) = on_pixels(&target, self.chip.job.model.finest_nm()) {
            target = small;
        }
        Ok(Tile { key: digest(&target), target })
    }
}
