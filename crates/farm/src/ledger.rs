//! The ledger: what every worker of a job can know, and what only one of several can write.
//!
//! Entries are written once ([`Ledger::create`], a compare-and-set: of several workers one succeeds), but for those that have one
//! owner ([`Ledger::put`]). So the state of a block is what entries there are, and no order of writes can confuse it:
//!
//! ```text
//! lease.BLOCK.N      try N has begun, by whom      worker.NAME   a beat, renewed by its owner
//! failed.BLOCK.N     try N failed, or its worker   drain         workers finish what they have and leave
//! released.BLOCK.N   try N was given back
//! copy.BLOCK.N       try N is computed a second time, by whom
//! receipt.BLOCK      the result                    parked.BLOCK  tried too often
//!                                                  mismatch.BLOCK  computed twice, with two results
//! ```

mod files;
mod memory;
mod nats;

pub use files::FileLedger;
pub use memory::MemoryLedger;
pub use nats::NatsLedger;

use std::fmt;
use std::str::FromStr;

use crate::FarmError;

/// Kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A try has begun.
    Lease,
    /// A try failed.
    Failed,
    /// A try was given back, and does not count.
    Released,
    /// A worker that has nothing else to do computes a try's block too.
    Copy,
    /// A block's result.
    Receipt,
    /// A block that was tried too often.
    Parked,
    /// A block with two results.
    Mismatch,
    /// A worker's beat.
    Worker,
    /// Workers are asked to leave.
    Drain,
    /// The blocks are in their queue.
    Published,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Lease,
        Self::Failed,
        Self::Released,
        Self::Copy,
        Self::Receipt,
        Self::Parked,
        Self::Mismatch,
        Self::Worker,
        Self::Drain,
        Self::Published,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Failed => "failed",
            Self::Released => "released",
            Self::Copy => "copy",
            Self::Receipt => "receipt",
            Self::Parked => "parked",
            Self::Mismatch => "mismatch",
            Self::Worker => "worker",
            Self::Drain => "drain",
            Self::Published => "published",
        }
    }

    /// Whether it must outlive a power cut: the loss of others costs a second try at most.
    fn is_durable(self) -> bool {
        matches!(self, Self::Receipt | Self::Mismatch)
    }
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About {
    /// A try of a block, counted from 1.
    Try(u64, u32),
    /// A block.
    Block(u64),
    /// A worker; `all` for entries of the whole job.
    Name(String),
}

/// The name of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Its kind.
    pub kind: Kind,
    /// What it is about.
    pub about: About,
}

impl Entry {
    /// Of a try.
    pub fn of_try(kind: Kind, block: u64, attempt: u32) -> Self {
        Self { kind, about: About::Try(block, attempt) }
    }

    /// Of a block.
    pub fn of_block(kind: Kind, block: u64) -> Self {
        Self { kind, about: About::Block(block) }
    }

    /// Of a worker.
    pub fn of_worker(name: &str) -> Self {
        Self { kind: Kind::Worker, about: About::Name(name.into()) }
    }

    /// The wish that all workers leave.
    pub fn drain() -> Self {
        Self { kind: Kind::Drain, about: About::Name("all".into()) }
    }

    /// The note that a job's blocks are in their queue.
    pub fn published() -> Self {
        Self { kind: Kind::Published, about: About::Name("all".into()) }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Try(block, attempt) => write!(f, "{block}.{attempt}"),
            Self::Block(block) => write!(f, "{block}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind.name(), self.about)
    }
}

/// Reads what [`Entry`] writes.
impl FromStr for Entry {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, about) = text.split_once('.').ok_or(())?;
        let kind = Kind::ALL.into_iter().find(|k| k.name() == kind).ok_or(())?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| ());
        let about = match kind {
            Kind::Lease | Kind::Failed | Kind::Released | Kind::Copy => {
                let (block, attempt) = about.split_once('.').ok_or(())?;
                About::Try(number(block)?, attempt.parse().map_err(|_| ())?)
            }
            Kind::Receipt | Kind::Parked | Kind::Mismatch => About::Block(number(about)?),
            Kind::Worker | Kind::Drain | Kind::Published => About::Name(about.into()),
        };
        Ok(Self { kind, about })
    }
}

/// A store of small entries that all workers share.
pub trait Ledger: Send + Sync {
    /// Writes an entry that is not there; false if it is, and then nothing changes.
    ///
    /// # Errors
    ///
    /// [`FarmError`] if the store cannot be reached or written. The entry may then be there or not.
    fn create(&self, entry: &Entry, value: &[u8]) -> Result<bool, FarmError>;

    /// Writes an entry of which this worker is the only owner.
    ///
    /// # Errors
    ///
    /// As [`Ledger::create`].
    fn put(&self, entry: &Entry, value: &[u8]) -> Result<(), FarmError>;

    /// An entry's value; none if it is not there.
    ///
    /// # Errors
    ///
    /// [`FarmError`] if the store cannot be reached or read.
    fn read(&self, entry: &Entry) -> Result<Option<Vec<u8>>, FarmError>;

    /// Takes an entry away; nothing happens if it is not there.
    ///
    /// # Errors
    ///
    /// As [`Ledger::create`].
    fn remove(&self, entry: &Entry) -> Result<(), FarmError>;

    /// The entries of a kind, in rising order.
    ///
    /// # Errors
    ///
    /// As [`Ledger::read`].
    fn list(&self, kind: Kind) -> Result<Vec<About>, FarmError>;
}

impl<L: Ledger + ?Sized> Ledger for std::sync::Arc<L> {
    fn create(&self, entry: &Entry, value: &[u8]) -> Result<bool, FarmError> {
        (**self).create(entry, value)
    }

    fn put(&self, entry: &Entry, value: &[u8]) -> Result<(), FarmError> {
        (**self).put(entry, value)
    }

    fn read(&self, entry: &Entry) -> Result<Option<Vec<u8>>, FarmError> {
        (**self).read(entry)
    }

    fn remove(&self, entry: &Entry) -> Result<(), FarmError> {
        (**self).remove(entry)
    }

    fn list(&self, kind: Kind) -> Result<Vec<About>, FarmError> {
        (**self).list(kind)
    }
}

#[cfg(test)]
mod tests;
