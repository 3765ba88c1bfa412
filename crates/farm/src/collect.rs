//! Results as they are committed: what merges them reads each once, as soon as it is there, and memory holds one at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::desk::{Desk, Progress, Receipt, blocks};
use crate::ledger::{Kind, Ledger};
use crate::{FarmError, Results};

/// Between two looks at a ledger that has nothing new.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Parked blocks that are named.
const NAMED: usize = 5;

/// Reads a job's results.
pub struct Collector<'a, L> {
    desk: &'a Desk<L>,
    results: &'a Results,
    total: u64,
    taken: BTreeSet<u64>,
    ready: Vec<u64>,
}

/// A look at the ledger.
#[derive(Debug)]
pub enum Look {
    /// A block and its result.
    Result(u64, Vec<u8>),
    /// A result was lost: its block is computed again.
    Lost(u64, String),
    /// Nothing new.
    Nothing(Progress),
    /// Every block was read.
    All,
}

impl<'a, L: Ledger> Collector<'a, L> {
    /// Reads the results of a job of `total` blocks, but for those in `taken`.
    pub fn new(
        desk: &'a Desk<L>,
        results: &'a Results,
        total: u64,
        taken: impl IntoIterator<Item = u64>,
    ) -> Self {
        Self { desk, results, total, taken: taken.into_iter().collect(), ready: Vec::new() }
    }

    /// The next result.
    ///
    /// # Errors
    ///
    /// [`FarmError::Parked`] if some blocks have none and nothing else is to be done; [`FarmError`] of the ledger.
    pub fn look(&mut self) -> Result<Look, FarmError> {
        if self.taken.len() as u64 >= self.total {
            return Ok(Look::All);
        }
        if self.ready.is_empty() {
            let progress = self.refresh()?;
            if self.ready.is_empty() {
                return Ok(Look::Nothing(progress));
            }
        }
        let Some(block) = self.ready.pop() else { return Ok(Look::All) };
        let Some(receipt) = self.desk.receipt(block)? else {
            return Ok(Look::Lost(block, "its receipt is gone".into()));
        };
        let lost = match self.results.get(&receipt.digest) {
            Ok(Some(bytes)) => {
                self.taken.insert(block);
                return Ok(Look::Result(block, bytes));
            }
            Ok(None) => "the file of its result is gone".into(),
            Err(error @ FarmError::Damaged { .. }) => error.to_string(),
            Err(error) => return Err(error),
        };
        self.retract(block, &receipt)?;
        Ok(Look::Lost(block, lost))
    }

    fn retract(&self, block: u64, receipt: &Receipt) -> Result<(), FarmError> {
        self.desk.retract(block, receipt).map(drop)
    }

    /// Finds receipts that were not read.
    fn refresh(&mut self) -> Result<Progress, FarmError> {
        let ledger = self.desk.ledger();
        let two: BTreeSet<u64> = blocks(ledger.list(Kind::Mismatch)?).into_iter().collect();
        let new = blocks(ledger.list(Kind::Receipt)?).into_iter().rev();
        self.ready = new.filter(|b| !self.taken.contains(b) && !two.contains(b)).collect();
        let progress = self.desk.progress(self.total)?;
        if self.ready.is_empty() && progress.is_finished() && !progress.parked.is_empty() {
            return Err(self.parked(&progress.parked)?);
        }
        Ok(progress)
    }

    /// What is said of blocks that have no result.
    fn parked(&self, parked: &[u64]) -> Result<FarmError, FarmError> {
        let mut text = format!(
            "{} of {} blocks have no result; the others are done and kept",
            parked.len(),
            self.total
        );
        for &block in parked.iter().take(NAMED) {
            let why = self.desk.why_parked(block)?.unwrap_or_default();
            text.push_str(&format!("\n  block {block} {why}"));
        }
        if parked.len() > NAMED {
            text.push_str("\n  …; lithoburn farm status lists all");
        }
        text.push_str("\nlithoburn farm retry tries them again");
        Ok(FarmError::Parked(text))
    }

    /// All results to come, in any order, waiting for them as long as `wait` says so.
    ///
    /// # Errors
    ///
    /// As [`Collector::look`]; [`FarmError::Stopped`] once `wait` says no; what `take` returns.
    pub fn all(
        &mut self,
        wait: &mut dyn FnMut(&Progress) -> bool,
        take: &mut dyn FnMut(u64, Vec<u8>) -> Result<(), FarmError>,
    ) -> Result<(), FarmError> {
        loop {
            match self.look()? {
                Look::All => return Ok(()),
                Look::Result(block, bytes) => take(block, bytes)?,
                Look::Lost(..) => {}
                Look::Nothing(progress) => {
                    if !wait(&progress) {
                        return Err(FarmError::Stopped(format!(
                            "{} of {} blocks are done and kept: the same command goes on from there",
                            progress.done, progress.total
                        )));
                    }
                    std::thread::sleep(LOOK_EVERY);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
