//! What becomes of a block: tries, results, and blocks that are parked. The same rules over every ledger, whoever hands out the work.
//!
//! * A try is *claimed* by one worker. It ends with a result, or *failed* (its worker said so, or was not heard of any more), or was
//!   *released* (the worker left, or could not go on, through no fault of the block).
//! * After [`TRIES`] failed tries a block is *parked*: it is reported, and the rest goes on.
//! * The first result that is committed counts, whoever held the lease by then. Work is deterministic: a second result must be equal,
//!   and if it is not, the block is parked with both.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ledger::{About, Entry, Kind, Ledger};
use crate::{Digest, FarmError};

/// Tries of a block before it is parked.
pub const TRIES: usize = 3;

/// The right and the duty to compute a block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The block's number.
    pub block: u64,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// Another worker has the try, and this one computes its block too: whatever becomes of a copy, the try is that worker's.
    pub is_copy: bool,
}

impl Lease {
    /// A try of one's own.
    pub fn of(block: u64, attempt: u32) -> Self {
        Self { block, attempt, is_copy: false }
    }
}

/// A result, and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// SHA-256 of the result's bytes, which is the name of its file.
    pub digest: Digest,
    /// Bytes.
    pub bytes: u64,
    /// The try.
    pub attempt: u32,
    /// Who computed it.
    pub worker: String,
    /// On what.
    pub device: String,
    /// Seconds from the lease to the result.
    pub seconds: f64,
}

/// What came of a commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Committed {
    /// This is the block's result.
    First,
    /// Another worker was first, with the same bytes.
    Same(Receipt),
    /// Another worker was first, with other bytes: the block is parked.
    Different(Receipt),
}

/// How a try ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It counts: the block may be the cause.
    Failed(String),
    /// It does not count.
    Released(String),
}

/// What becomes of a block whose try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is tried again.
    Again,
    /// It was tried too often.
    Parked,
}

/// A block that was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parked {
    /// Why, one for each try.
    pub reasons: Vec<String>,
}

/// Two results of one block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mismatch {
    /// The one that was committed.
    pub first: Receipt,
    /// The one that came later.
    pub second: Receipt,
}

/// Who holds a lease.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    worker: String,
}

/// A try that ended.
#[derive(Debug, Serialize, Deserialize)]
struct Reason {
    reason: String,
    told_by: String,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Blocks of the job.
    pub total: u64,
    /// Blocks with one result.
    pub done: u64,
    /// Blocks that were given up, and blocks with two results.
    pub parked: Vec<u64>,
}

impl Progress {
    /// Whether nothing is left to compute.
    pub fn is_finished(&self) -> bool {
        self.done + self.parked.len() as u64 >= self.total
    }
}

/// A worker's side of the ledger.
#[derive(Debug)]
pub struct Desk<L> {
    ledger: L,
    me: String,
    /// Claims that came to an error: they may have succeeded.
    in_doubt: Mutex<BTreeSet<(u64, u32)>>,
}

impl<L: Ledger> Desk<L> {
    /// The desk of a worker.
    pub fn new(ledger: L, me: impl Into<String>) -> Self {
        Self { ledger, me: me.into(), in_doubt: Mutex::default() }
    }

    /// The ledger.
    pub fn ledger(&self) -> &L {
        &self.ledger
    }

    /// The worker's name.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// Begins a try; none if another worker has begun it.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn claim(&self, block: u64, attempt: u32) -> Result<Option<Lease>, FarmError> {
        let holder = json(&Holder { worker: self.me.clone() })?;
        let created = self.ledger.create(&Entry::of_try(Kind::Lease, block, attempt), &holder);
        let mut in_doubt = self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner);
        let claimed = match created {
            // The answer to an earlier claim of ours was lost on its way.
            Ok(false) if in_doubt.contains(&(block, attempt)) => {
                self.holder(block, attempt)?.as_deref() == Some(&self.me)
                    && !self.has_ended(block, attempt)?
            }
            Ok(created) => created,
            Err(error) => {
                in_doubt.insert((block, attempt));
                return Err(error);
            }
        };
        in_doubt.remove(&(block, attempt));
        Ok(claimed.then_some(Lease::of(block, attempt)))
    }

    /// Begins a second copy of a try; none if there is one.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn copy(&self, block: u64, attempt: u32) -> Result<Option<Lease>, FarmError> {
        let holder = json(&Holder { worker: self.me.clone() })?;
        let begun = self.ledger.create(&Entry::of_try(Kind::Copy, block, attempt), &holder)?;
        Ok(begun.then_some(Lease { is_copy: true, ..Lease::of(block, attempt) }))
    }

    /// Who began a try.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn holder(&self, block: u64, attempt: u32) -> Result<Option<String>, FarmError> {
        let holder: Option<Holder> = self.get(&Entry::of_try(Kind::Lease, block, attempt))?;
        Ok(holder.map(|holder| holder.worker))
    }

    /// Whether a try ended without a result.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn has_ended(&self, block: u64, attempt: u32) -> Result<bool, FarmError> {
        let has = |kind| Ok(self.ledger.read(&Entry::of_try(kind, block, attempt))?.is_some());
        Ok(has(Kind::Failed)? || has(Kind::Released)?)
    }

    /// Notes how a try ended, once: what was noted first stays. Of a copy nothing is noted.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn end(&self, lease: &Lease, ended: &Ended) -> Result<Fate, FarmError> {
        let Lease { block, attempt, is_copy } = *lease;
        if is_copy {
            return Ok(Fate::Again);
        }
        let (kind, reason) = match ended {
            Ended::Failed(reason) => (Kind::Failed, reason),
            Ended::Released(reason) => (Kind::Released, reason),
        };
        let note = Reason { reason: reason.clone(), told_by: self.me.clone() };
        if !self.has_ended(block, attempt)? {
            self.ledger.create(&Entry::of_try(kind, block, attempt), &json(&note)?)?;
        }
        let reasons = self.failures(block, attempt)?;
        if reasons.len() < TRIES {
            return Ok(Fate::Again);
        }
        let parked = json(&Parked { reasons })?;
        self.ledger.create(&Entry::of_block(Kind::Parked, block), &parked)?;
        Ok(Fate::Parked)
    }

    /// Why tries of a block failed, up to one.
    fn failures(&self, block: u64, attempt: u32) -> Result<Vec<String>, FarmError> {
        let mut reasons = Vec::new();
        for attempt in 1..=attempt {
            let failed: Option<Reason> = self.get(&Entry::of_try(Kind::Failed, block, attempt))?;
            reasons.extend(failed.map(|failed| failed.reason));
        }
        Ok(reasons)
    }

    /// Begins the next try of a block whose last one ended; none if it has not, or another worker has begun one.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn try_again(&self, block: u64) -> Result<Option<Lease>, FarmError> {
        let mut attempt = 1;
        while self.has_ended(block, attempt)? {
            attempt += 1;
        }
        self.claim(block, attempt)
    }

    /// Begins the next try of a block that somebody tried before and will not finish; none if it is parked, done, or another
    /// worker's by now.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn take_over(&self, block: u64, lost: &str) -> Result<Option<Lease>, FarmError> {
        if self.receipt(block)?.is_some() {
            return Ok(None);
        }
        for attempt in 1.. {
            if let Some(lease) = self.claim(block, attempt)? {
                return Ok(Some(lease));
            }
            let ended = Ended::Failed(lost.into());
            if self.end(&Lease::of(block, attempt), &ended)? == Fate::Parked {
                break;
            }
        }
        Ok(None)
    }

    /// Makes a result the block's, unless it has one.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn commit(&self, lease: &Lease, receipt: &Receipt) -> Result<Committed, FarmError> {
        let entry = Entry::of_block(Kind::Receipt, lease.block);
        if self.ledger.create(&entry, &json(receipt)?)? {
            return Ok(Committed::First);
        }
        let lost = || FarmError::Server(format!("{entry} was there and is not: try again"));
        let first: Receipt = self.get(&entry)?.ok_or_else(lost)?;
        if first == *receipt {
            // The answer to an earlier try of ours was lost on its way.
            return Ok(Committed::First);
        }
        if first.digest == receipt.digest {
            return Ok(Committed::Same(first));
        }
        let mismatch = Mismatch { first: first.clone(), second: receipt.clone() };
        self.ledger.create(&Entry::of_block(Kind::Mismatch, lease.block), &json(&mismatch)?)?;
        Ok(Committed::Different(first))
    }

    /// A block's result.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn receipt(&self, block: u64) -> Result<Option<Receipt>, FarmError> {
        self.get(&Entry::of_block(Kind::Receipt, block))
    }

    /// Forgets a result that is not there any more, or any more what it was: the block is computed again. True if it was this one.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn retract(&self, block: u64, receipt: &Receipt) -> Result<bool, FarmError> {
        if self.receipt(block)?.as_ref() != Some(receipt) {
            return Ok(false);
        }
        let lease = Lease::of(block, receipt.attempt);
        self.end(&lease, &Ended::Released("its result was lost".into()))?;
        self.ledger.remove(&Entry::of_block(Kind::Receipt, block))?;
        Ok(true)
    }

    /// Why a block is parked, in words; none if it is not.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn why_parked(&self, block: u64) -> Result<Option<String>, FarmError> {
        let two: Option<Mismatch> = self.get(&Entry::of_block(Kind::Mismatch, block))?;
        if let Some(Mismatch { first, second }) = two {
            let told =
                |r: &Receipt| format!("{} by {} on {}", r.digest.short(), r.worker, r.device);
            return Ok(Some(format!(
                "was computed twice with two results, {} and {}: one of the two machines errs",
                told(&first),
                told(&second)
            )));
        }
        let parked: Option<Parked> = self.get(&Entry::of_block(Kind::Parked, block))?;
        Ok(parked.map(|parked| format!("failed: {}", parked.reasons.join("; "))))
    }

    /// Forgets that a block was tried, failed, or has two results, so that it is tried anew.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn forgive(&self, block: u64) -> Result<(), FarmError> {
        for kind in [Kind::Failed, Kind::Released, Kind::Copy, Kind::Lease] {
            for about in self.ledger.list(kind)? {
                if matches!(about, About::Try(b, _) if b == block) {
                    self.ledger.remove(&Entry { kind, about })?;
                }
            }
        }
        for kind in [Kind::Receipt, Kind::Mismatch, Kind::Parked] {
            self.ledger.remove(&Entry::of_block(kind, block))?;
        }
        Ok(())
    }

    /// How far a job of so many blocks is.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn progress(&self, total: u64) -> Result<Progress, FarmError> {
        self.finished(total).map(|(progress, _)| progress)
    }

    /// How far a job is, and the blocks of which nothing is left to do.
    pub(crate) fn finished(&self, total: u64) -> Result<(Progress, Vec<u64>), FarmError> {
        let [done, parked, two] = [Kind::Receipt, Kind::Parked, Kind::Mismatch]
            .map(|kind| self.ledger.list(kind).map(|list| blocks(list, total)));
        let (mut done, two) = (done?, two?);
        done.retain(|block| !two.contains(block));
        let mut parked: Vec<u64> =
            parked?.into_iter().filter(|block| done.binary_search(block).is_err()).collect();
        parked.extend(two);
        parked.sort_unstable();
        parked.dedup();
        let count = done.len() as u64;
        done.extend(&parked);
        Ok((Progress { total, done: count, parked }, done))
    }

    fn get<T: DeserializeOwned>(&self, entry: &Entry) -> Result<Option<T>, FarmError> {
        let Some(bytes) = self.ledger.read(entry)? else { return Ok(None) };
        let damaged = |e: serde_json::Error| FarmError::Damaged {
            path: entry.to_string().into(),
            problem: format!(
                "the ledger's entry is not what lithoburn wrote: {e}; lithoburn farm retry --blocks forgets what is noted of a block"
            ),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }
}

/// The blocks of a ledger's list, of a job of `total`: what else lies in its folder is nobody's.
pub(crate) fn blocks(list: Vec<About>, total: u64) -> Vec<u64> {
    let block = |about| match about {
        About::Block(block) | About::Try(block, _) => Some(block),
        About::Name(_) => None,
    };
    list.into_iter().filter_map(block).filter(|&block| block < total).collect()
}

/// A value as the ledger keeps it.
pub(crate) fn json(value: &impl Serialize) -> Result<Vec<u8>, FarmError> {
    let failed = |e| FarmError::Setting(format!("an entry of the ledger has no JSON: {e}"));
    serde_json::to_vec(value).map_err(failed)
}

#[cfg(test)]
mod tests;
