//! Masks as a farm's work: blocks are shares of tiles, results are their cores.

use std::sync::{Mutex, PoisonError};

use lithoburn_engine::{Solver, Unsolved};
use lithoburn_farm::manifest::Block;
use lithoburn_farm::worker::{Work, WorkError};

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
