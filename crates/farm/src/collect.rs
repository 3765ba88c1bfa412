//! Results as they are committed: what merges them reads each once, as soon as it is there. A few are read at once, and memory holds
//! no more than those.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::desk::{Desk, Progress, blocks};
use crate::ledger::{Kind, Ledger};
use crate::{FarmError, Results};

/// Between two looks at a ledger that has nothing new.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Results that are read at once: a shared file system answers late, and many at a time.
const AT_ONCE: usize = 8;
/// Parked blocks that are named.
const NAMED: usize = 5;

/// Reads a job's results.
pub struct Collector<'a, L> {
    desk: &'a Desk<L>,
    results: &'a Results,
    total: u64,
    taken: BTreeSet<u64>,
    /// Blocks with a result that was not read, the first last.
    ready: Vec<u64>,
    /// Results that were read.
    read: VecDeque<Read>,
}

/// A block's result, or why it has none any more.
type Read = (u64, Result<Vec<u8>, String>);

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
        let taken = taken.into_iter().collect();
        Self { desk, results, total, taken, ready: Vec::new(), read: VecDeque::new() }
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
        if self.read.is_empty() {
            if self.ready.is_empty() {
                self.refresh()?;
            }
            self.read_some()?;
        }
        match self.read.pop_front() {
            Some((block, Ok(bytes))) => {
                self.taken.insert(block);
                Ok(Look::Result(block, bytes))
            }
            Some((block, Err(lost))) => Ok(Look::Lost(block, lost)),
            None => self.nothing(),
        }
    }

    /// Reads some results that are ready.
    fn read_some(&mut self) -> Result<(), FarmError> {
        let first = self.ready.len().saturating_sub(AT_ONCE);
        let blocks = self.ready.split_off(first);
        let this = &*self;
        let read: Result<VecDeque<Read>, FarmError> = std::thread::scope(|scope| {
            let reading = |&block: &u64| scope.spawn(move || this.read_one(block));
            let threads: Vec<_> = blocks.iter().rev().map(reading).collect();
            let joined = threads.into_iter().map(|thread| {
                // A panic there is a bug of ours, and goes on here as one.
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            joined.collect()
        });
        self.read = read?;
        Ok(())
    }

    /// Reads a block's result. If it is not there any more, or not what it was, its receipt is taken back.
    fn read_one(&self, block: u64) -> Result<Read, FarmError> {
        let Some(receipt) = self.desk.receipt(block)? else {
            return Ok((block, Err("its receipt is gone".into())));
        };
        let lost = match self.results.get(&receipt.digest) {
            Ok(Some(bytes)) => return Ok((block, Ok(bytes))),
            Ok(None) => "the file of its result is gone".into(),
            Err(error @ FarmError::Damaged { .. }) => error.to_string(),
            Err(error) => return Err(error),
        };
        self.desk.retract(block, &receipt)?;
        Ok((block, Err(lost)))
    }

    /// Finds receipts that were not read.
    fn refresh(&mut self) -> Result<(), FarmError> {
        let ledger = self.desk.ledger();
        let listed = |kind| Ok::<_, FarmError>(blocks(ledger.list(kind)?, self.total).into_iter());
        let two: BTreeSet<u64> = listed(Kind::Mismatch)?.collect();
        let new = listed(Kind::Receipt)?.rev();
        self.ready = new.filter(|b| !self.taken.contains(b) && !two.contains(b)).collect();
        Ok(())
    }

    /// How far the job is, if something of it is still to come.
    fn nothing(&self) -> Result<Look, FarmError> {
        let progress = self.desk.progress(self.total)?;
        // What was committed a moment ago is not nothing.
        let news = progress.done > self.taken.len() as u64;
        match progress.is_finished() && !news && !progress.parked.is_empty() {
            true => Err(self.parked(&progress.parked)?),
            false => Ok(Look::Nothing(progress)),
        }
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
