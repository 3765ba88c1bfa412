//! Blocks of a layout, handed to any number of machines, and their results, exactly once each.
//!
//! ```text
//! plan ─► job.json, blocks.bin ─► BlockSource ─ lease ─► worker ─ Work ─► results, by their hash
//!                                     ▲                     │
//!                                     └─── receipt ◄────────┘   ledger ─► collect ─► what merges
//! ```
//!
//! * A [job](job::Job) is known by the hash of everything that determines its result. A worker of another build, or with other weights, is
//!   [refused](job::Opened::admit).
//! * Execution is at least once: a [lease](desk::Lease) that is not renewed is another worker's. The result is exactly once: the first
//!   [receipt](desk::Receipt) counts ([`desk`]).
//! * Who hands out the blocks is a [`BlockSource`](source::BlockSource): the [ledger] alone, on a shared folder or in memory;
//!   NATS JetStream; or a batch system's array tasks.
//! * What is computed is a [`Work`](worker::Work). This crate knows neither layouts nor devices.

mod bucket;
pub mod clock;
pub mod collect;
pub mod desk;
mod digest;
mod error;
pub mod events;
mod files;
pub mod job;
pub mod ledger;
pub mod manifest;
mod names;
pub mod nats;
mod results;
pub mod simulate;
pub mod source;
pub mod tally;
pub mod timeline;
pub mod worker;

pub use bucket::{Bucket, is_bucket};
pub use digest::Digest;
pub use error::FarmError;
pub use names::worker_name;
pub use results::Results;
