//! Masks as a farm's work: blocks are shares of tiles, results are their cores.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lithoburn_engine::{Shares, Solver, Unsolved};
use lithoburn_farm::manifest::Block;
use lithoburn_farm::worker::{Work, WorkError};

/// How often a block that takes its time looks whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Devices that compute blocks.
pub(crate) struct Masks<'a>(pub(crate) Solver<'a>);

impl Work for Masks<'_> {
    fn run(
        &mut self,
        blocks: &mut (dyn Iterator<Item = (u64, Block)> + Send),
        stop: &(dyn Fn() -> bool + Sync),
        done: &mut dyn FnMut(u64, Vec<u8>) -> Result<(), WorkError>,
    ) -> Result<(), WorkError> {
        let drawn: Mutex<Vec<u64>> = Mutex::new(Vec::new());
        let number =
            |share: usize| drawn.lock().unwrap_or_else(PoisonError::into_inner).get(share).copied();
        let mut shares = blocks.map(|(number, block)| {
            drawn.lock().unwrap_or_else(PoisonError::into_inner).push(number);
            block.items
        });
        let mut take = |share: usize, bytes: Vec<u8>| {
            number(share).map_or(Err(WorkError::Closed), |number| done(number, bytes))
        };
        match self.0.solve(&mut shares, stop, &mut take) {
            Ok(()) => Ok(()),
            Err(Unsolved::Taken(error)) => Err(error),
            Err(Unsolved::Devices(error)) => Err(WorkError::Machine(error.to_string())),
            Err(Unsolved::Share { share, reason }) => Err(match number(share) {
                Some(block) => WorkError::Block { block, reason },
                None => WorkError::Machine(reason),
            }),
        }
    }
}

/// Blocks that take a certain time a tile, with the design in the mask's place.
pub(crate) struct Rehearsal<'a> {
    pub(crate) shares: &'a Shares<'a>,
    pub(crate) tile: Duration,
}

impl Work for Rehearsal<'_> {
    fn run(
        &mut self,
        blocks: &mut (dyn Iterator<Item = (u64, Block)> + Send),
        stop: &(dyn Fn() -> bool + Sync),
        done: &mut dyn FnMut(u64, Vec<u8>) -> Result<(), WorkError>,
    ) -> Result<(), WorkError> {
        for (number, block) in blocks {
            let start = Instant::now();
            let failed = |e: lithoburn_engine::EngineError| WorkError::Block {
                block: number,
                reason: e.to_string(),
            };
            let bytes = self.shares.rehearse(&block.items).map_err(failed)?;
            let takes = self.tile * block.items.len() as u32;
            while start.elapsed() < takes && !stop() {
                std::thread::sleep((takes.saturating_sub(start.elapsed())).min(LOOK_EVERY));
            }
            if stop() {
                break;
            }
            done(number, bytes)?;
        }
        Ok(())
    }
}
