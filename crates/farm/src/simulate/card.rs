//! A simulated card: what it holds, from the lease to the receipt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::store::Counted;
use crate::Digest;
use crate::clock::Set;
use crate::desk::{Lease, Receipt};
use crate::source::{Beat, Shared};
use crate::worker::BEHIND;

/// A lease, and when it was got.
pub(super) type Held = (Lease, Duration);

/// A card.
pub(super) struct Card {
    number: usize,
    /// None before it starts, and while it is dead.
    pub source: Option<Shared<Arc<Counted>, Set>>,
    /// The next block.
    pub drawn: Option<Held>,
    computing: Option<Held>,
    /// Blocks whose results are being written.
    writing: BTreeMap<u64, Held>,
    /// There was no other block when it asked last.
    waits: bool,
    /// Counts its lives: events of an earlier one are void.
    pub life: u32,
    beats: u64,
}

impl Card {
    pub(super) fn new(number: usize) -> Self {
        let (source, drawn, computing) = (None, None, None);
        let (writing, waits) = (BTreeMap::new(), false);
        Self { number, source, drawn, computing, writing, waits, life: 0, beats: 0 }
    }

    /// A name that no other card has, nor this one in another life.
    pub(super) fn name(&self) -> String {
        format!("card-{:05}-{}", self.number, self.life)
    }

    /// Begins the block that was drawn; none if there is none, another one is computed, or too many results wait.
    pub(super) fn begin(&mut self, now: Duration) -> Option<&Lease> {
        let is_free = self.computing.is_none() && self.writing.len() < BEHIND;
        // Its lease may be answered later than the card is free.
        let held = self.drawn.take_if(|(_, since)| is_free && *since <= now)?;
        Some(&self.computing.insert(held).0)
    }

    /// A block was computed, and its result is written from now on; false if it was given up before.
    pub(super) fn computed(&mut self, block: u64) -> bool {
        let held = self.computing.take_if(|(lease, _)| lease.block == block);
        let is_held = held.is_some();
        self.writing.extend(held.map(|held| (block, held)));
        is_held
    }

    /// Nothing is open: it asks again once it has nothing any more. False if that is so now.
    pub(super) fn waits(&mut self) -> bool {
        self.waits = !self.is_idle();
        self.waits
    }

    /// Whether everything is done that it had when nothing else was open; told once.
    pub(super) fn is_through(&mut self) -> bool {
        let is_through = self.waits && self.is_idle();
        self.waits &= !is_through;
        is_through
    }

    /// Gives up what it has.
    pub(super) fn give_up(&mut self) -> Vec<Held> {
        let held = self.held().cloned().collect();
        (self.drawn, self.computing) = (None, None);
        self.writing.clear();
        held
    }

    /// A result is written: its lease and its receipt.
    pub(super) fn written(
        &mut self,
        block: u64,
        now: Duration,
        bytes: u64,
    ) -> Option<(Lease, Receipt)> {
        let (lease, since) = self.writing.remove(&block)?;
        let receipt = Receipt {
            digest: Digest::of(&block.to_le_bytes()),
            bytes,
            attempt: lease.attempt,
            worker: self.name(),
            device: "simulated".into(),
            seconds: now.saturating_sub(since).as_secs_f64(),
        };
        Some((lease, receipt))
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        self.drawn.iter().chain(&self.computing).chain(self.writing.values())
    }

    fn is_idle(&self) -> bool {
        self.held().next().is_none()
    }

    /// Its leases.
    pub(super) fn leases(&self) -> Vec<Lease> {
        self.held().map(|(lease, _)| lease.clone()).collect()
    }

    /// Its next beat.
    pub(super) fn beat(&mut self) -> Beat {
        self.beats += 1;
        Beat { beat: self.beats, ..Beat::default() }
    }

    /// It is gone, with what it held.
    pub(super) fn die(&mut self) -> Vec<Held> {
        let held = self.held().cloned().collect();
        *self = Self { life: self.life + 1, ..Self::new(self.number) };
        held
    }
}
