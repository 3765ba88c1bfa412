//! What a ledger says of all blocks at one moment.

use super::open::OpenBlocks;
use crate::FarmError;
use crate::desk::{Desk, Progress};
use crate::ledger::{About, Kind, Ledger};

/// Blocks as they are at one moment, or a little later.
pub(super) struct Listing {
    /// Blocks that nobody tried.
    pub(super) open: OpenBlocks,
    /// Blocks whose last try came to nothing, the first last.
    pub(super) again: Vec<u64>,
    /// What is known besides, if that was listed.
    pub(super) whole: Option<Whole>,
}

/// The other half.
pub(super) struct Whole {
    /// Tries that run, in rising order.
    pub(super) running: Vec<(u64, u32)>,
    /// How far the job is.
    pub(super) progress: Progress,
}

impl Listing {
    /// Lists tries, and what came of them if `whole` is asked for, or is needed: a try that was given back may have a result.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub(super) fn of<L: Ledger>(
        desk: &Desk<L>,
        total: u64,
        whole: bool,
    ) -> Result<Self, FarmError> {
        let mut open = OpenBlocks::open(total);
        // First: what begins after this is found out by a collision.
        let mut last: Vec<u32> = vec![0; total as usize];
        for (block, attempt) in tries(desk, Kind::Lease, total)? {
            open.close(block);
            let latest = &mut last[block as usize];
            *latest = attempt.max(*latest);
        }
        let mut again = Vec::new();
        for kind in [Kind::Failed, Kind::Released] {
            for (block, attempt) in tries(desk, kind, total)? {
                let latest = &mut last[block as usize];
                if *latest == attempt {
                    *latest = 0;
                    again.push(block);
                }
            }
        }
        if !whole && again.is_empty() {
            return Ok(Self { open, again, whole: None });
        }
        let (progress, done) = desk.finished(total)?;
        let mut is_done = OpenBlocks::open(total);
        for block in done {
            is_done.close(block);
            open.close(block);
            last[block as usize] = 0;
        }
        again.retain(|&block| is_done.is_open(block));
        again.sort_unstable_by(|a, b| b.cmp(a));
        let running = (0..).zip(last).filter(|(_, attempt)| *attempt > 0).collect();
        Ok(Self { open, again, whole: Some(Whole { running, progress }) })
    }
}

/// The tries of a kind of entries; what else lies in the ledger's folder is nobody's.
fn tries<L: Ledger>(desk: &Desk<L>, kind: Kind, total: u64) -> Result<Vec<(u64, u32)>, FarmError> {
    let of_try = |about| match about {
        About::Try(block, attempt) if block < total && attempt > 0 => Some((block, attempt)),
        _ => None,
    };
    Ok(desk.ledger().list(kind)?.into_iter().filter_map(of_try).collect())
}
