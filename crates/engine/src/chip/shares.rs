//! A layout's tiles in the hands of several machines: which targets there are, the cores of some of them, and all cores put together.
//!
//! Nothing here knows who the machines are. A share is a list of tiles, one for each different target; its cores are bytes, each with
//! the target's key; and whoever has the cores of all targets has the mask, put together as in a run of one machine.

mod cores;
mod rehearsal;
mod solver;

use std::collections::HashSet;
use std::path::Path;

use lithoburn_layout::{Library, TileGrid};
use lithoburn_pool::Report as PoolReport;
use rayon::prelude::*;

use super::Chip;
use super::assemble::{Assembler, Computed};
use crate::EngineError;
use crate::event::{Event, Phase};
use crate::report::Report;
use crate::threads::threads;
use crate::tiles::folder::Folder;
use crate::tiles::journal::{Key, Kind};
use crate::tiles::occupied::Occupied;
use crate::tiles::scan::Source;
use crate::tiles::{Answers, Flow};
pub use cores::{PackedCore, packed, unpacked};
pub use solver::{Solver, Unsolved};

/// Tiles that each thread looks at between two looks at the user's wish to stop.
const TOGETHER: usize = 128;

/// A layout of many tiles whose work is shared out by somebody else.
pub struct Shares<'a> {
    chip: Chip<'a>,
    /// The design stands for the mask.
    is_rehearsal: bool,
}

impl<'a> Shares<'a> {
    pub(crate) fn new(chip: Chip<'a>) -> Self {
        Self { chip, is_rehearsal: false }
    }

    /// What determines the cores besides the layout: model, weights, kernels, process, rules, tiles, and the program's own file.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the weights cannot be read.
    pub fn fingerprint(&self) -> Result<[u8; 32], EngineError> {
        let fingerprint = self.chip.setup.fingerprint(&self.chip.grid)?;
        Ok(if self.is_rehearsal { rehearsal::fingerprint(&fingerprint) } else { fingerprint })
    }

    /// Columns and rows of tiles.
    pub fn grid(&self) -> [usize; 2] {
        [self.chip.grid.columns, self.chip.grid.rows]
    }

    /// Tiles that hold something.
    pub fn occupied(&self) -> usize {
        self.chip.occupied.len()
    }

    fn source(&self) -> Source<'a> {
        source(&self.chip)
    }

    /// The first tile of each different target, in rising order: what has to be computed, once for all machines.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if a tile holds too much; [`EngineError::Stopped`] once `watch` says no.
    pub fn targets(&self, watch: &mut dyn FnMut(Event) -> bool) -> Result<Vec<u64>, EngineError> {
        let (source, all) = (self.source(), self.chip.occupied.tiles());
        let scan = threads("scan", 1)?;
        // Half of a key tells any two of the tiles that memory can hold apart.
        let mut seen: HashSet<[u8; 16]> = HashSet::new();
        let (mut first, mut done) = (Vec::new(), 0);
        for tiles in all.chunks(TOGETHER * scan.current_num_threads()) {
            if !watch(Event::new(Phase::Rasterize, done, all.len())) {
                return Err(EngineError::Stopped("nothing was written".into()));
            }
            let key = |&tile: &usize| source.tile(tile).map(|tile| tile.key);
            let keys: Result<Vec<Key>, EngineError> =
                scan.install(|| tiles.par_iter().map(key).collect());
            for (&tile, key) in tiles.iter().zip(keys?) {
                let mut half = [0; 16];
                half.copy_from_slice(&key[..16]);
                if seen.insert(half) {
                    first.push(tile as u64);
                }
            }
            done += tiles.len();
        }
        Ok(first)
    }

    /// Devices that compute shares, one after the other, and keep what they loaded.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if there are no devices or no threads.
    pub fn solver(&self) -> Result<Solver<'a>, EngineError> {
        Solver::new(&self.chip)
    }

    /// Puts the cores of all targets together, as they come, and leaves the mask and its report in a folder. It goes on from what a run
    /// that was stopped left there. `answers` is asked for more until it has no more; it may give none at the moment.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; also if a target has no answer in the end.
    pub fn collect_in(
        &self,
        directory: &Path,
        answers: &mut Answers<'_>,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Report, EngineError> {
        let folder = Folder::claim(directory)?;
        let fingerprint = self.fingerprint()?;
        let occupied = Occupied::clone(self.chip.occupied);
        let flow = Flow::open(self.source(), occupied, &folder, Kind::Mask, &fingerprint)?;
        let assembler = Assembler::new(&self.chip, &flow, &folder, Computed::Elsewhere)?;
        let gather = |watch: &mut dyn FnMut(Event) -> bool| {
            flow.gather(answers, Phase::Optimize, stop, watch).map(|()| PoolReport::default())
        };
        let ran = flow.drive(gather, || assembler.all(), Phase::Evaluate, stop, watch)?;
        self.chip.leave(flow, ran, &folder)
    }
}

fn source<'a>(chip: &Chip<'a>) -> Source<'a> {
    let (library, grid): (&'a Library, TileGrid) = (chip.library, chip.grid);
    let finest_nm = Some(chip.setup.model.finest_nm());
    Source { library, grid, coverage: chip.setup.coverage, finest_nm }
}
