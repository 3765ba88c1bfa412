//! What the scheduler's threads have in common.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::call::Call;
use super::catalog::Catalog;
use super::hub::Hub;
use super::refusal::Reason;
use super::worker::{Command, Worker};

/// What the scheduler allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Most requests that may wait; further ones are refused.
    pub capacity: usize,
    /// How long a batch may take before its like was ever computed; a device that takes longer is given up.
    pub first_patience: Duration,
    /// The least that a batch may take later; else it is `patience` times what batches take.
    pub least_patience: Duration,
    /// How many times as long as its like a batch may take.
    pub patience: u32,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            capacity: 1024,
            first_patience: Duration::from_secs(600),
            least_patience: Duration::from_secs(30),
            patience: 20,
        }
    }
}

impl Terms {
    /// How long a batch may take whose like took so long.
    pub(crate) fn patience(&self, batch: Option<Duration>) -> Duration {
        let known = |batch: Duration| (batch * self.patience).max(self.least_patience);
        batch.map_or(self.first_patience, known)
    }
}

/// What all threads share.
pub(crate) struct Shared {
    /// Where clients and devices meet.
    pub hub: Hub<Arc<Call>, Command>,
    /// The devices.
    pub workers: Vec<Worker>,
    /// Notified when a device has loaded a model, or was given up.
    pub settled: Notify,
    /// What is served.
    pub catalog: Catalog,
    /// Requests that were refused before a model was known.
    pub refused: Mutex<BTreeMap<Reason, u64>>,
    /// What is allowed.
    pub terms: Terms,
    /// Devices' threads that have not ended.
    pub threads: AtomicUsize,
    /// Notified when one of them ends.
    pub ended: Notify,
}
