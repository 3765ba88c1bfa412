//! Models and their versions: which are served, which are about to be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Notify;

use super::statistics::ModelCounts;
use crate::model::Model;

/// Whether requests are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Models are still being loaded.
    Starting,
    /// All devices serve all models.
    Ready,
    /// Requests are answered, but not by all that was promised: what is missing, and why.
    Degraded(Vec<String>),
    /// Some model is served by no device: which, and why.
    Failed(Vec<String>),
    /// No new work is taken.
    Stopping,
}

impl Readiness {
    /// Whether requests for every model are answered.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready | Self::Degraded(_))
    }

    /// A word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded(_) => "degraded",
            Self::Failed(_) => "failed",
            Self::Stopping => "stopping",
        }
    }

    /// What is missing, and why.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        match self {
            Self::Degraded(problems) | Self::Failed(problems) => problems,
            _ => &[],
        }
    }
}

/// What a version of a model is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Devices load it.
    Loading,
    /// It is served.
    Ready,
    /// It takes no new requests.
    Unloading,
    /// No device could load it, or none that had it is left.
    Unavailable(String),
}

impl VersionState {
    /// Triton's word for it, and why it is not ready.
    #[must_use]
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Loading => ("LOADING", ""),
            Self::Ready => ("READY", ""),
            Self::Unloading => ("UNLOADING", ""),
            Self::Unavailable(why) => ("UNAVAILABLE", why),
        }
    }
}

/// A version of a model.
pub(crate) struct Entry {
    /// Its number, never given twice.
    pub id: u64,
    /// What it is.
    pub model: Arc<dyn Model>,
    /// Whether it takes no new requests.
    pub retiring: AtomicBool,
    /// Notified when a device has loaded it, or has failed to.
    pub settled: Notify,
    counts: Mutex<ModelCounts>,
    /// Devices that are to load it and have not.
    pending: Mutex<BTreeSet<usize>>,
    /// Why devices have it not.
    problems: Mutex<BTreeMap<usize, String>>,
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        &self.model.signature().name
    }

    pub(crate) fn version(&self) -> u64 {
        self.model.signature().version
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut ModelCounts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn counts(&self) -> ModelCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A device is to load it.
    pub(crate) fn expect(&self, device: usize) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(device);
    }

    /// A device has loaded it, or why it has not.
    pub(crate) fn settle(&self, device: usize, problem: Option<String>) {
        if let Some(problem) = problem {
            let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
            problems.insert(device, problem);
        }
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&device);
        self.settled.notify_waiters();
    }

    /// Whether a device has still to load it; any of them if none is named.
    pub(crate) fn is_pending(&self, device: Option<usize>) -> bool {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        device.map_or(!pending.is_empty(), |device| pending.contains(&device))
    }

    /// Returns when it is loaded, or failed to be: there, or everywhere.
    pub(crate) async fn settled(&self, device: Option<usize>) {
        loop {
            let notified = self.settled.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if !self.is_pending(device) {
                return;
            }
            notified.await;
        }
    }

    /// Why devices have it not, by device.
    pub(crate) fn problems(&self) -> BTreeMap<usize, String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All models.
#[derive(Default)]
pub(crate) struct Catalog {
    models: RwLock<BTreeMap<String, BTreeMap<u64, Arc<Entry>>>>,
    numbers: Mutex<u64>,
}

impl Catalog {
    /// Adds a version. `None` if it is there already.
    pub(crate) fn add(&self, model: Arc<dyn Model>) -> Option<Arc<Entry>> {
        let signature = model.signature();
        let (name, version) = (signature.name.clone(), signature.version);
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let versions = models.entry(name).or_default();
        if versions.contains_key(&version) {
            return None;
        }
        let entry = Arc::new(Entry {
            id: self.number(),
            model,
            retiring: AtomicBool::new(false),
            settled: Notify::new(),
            counts: Mutex::default(),
            pending: Mutex::default(),
            problems: Mutex::default(),
        });
        versions.insert(version, entry.clone());
        Some(entry)
    }

    fn number(&self) -> u64 {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        *numbers += 1;
        *numbers
    }

    /// Takes a version out.
    pub(crate) fn remove(&self, entry: &Entry) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(versions) = models.get_mut(entry.name()) {
            versions.remove(&entry.version());
        }
        models.retain(|_, versions| !versions.is_empty());
    }

    /// Everything, by name and version.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// A version, or the newest of those for which `ready` holds, or else the newest.
    pub(crate) fn find(
        &self,
        name: &str,
        version: Option<u64>,
        ready: impl Fn(&Entry) -> bool,
    ) -> Option<Arc<Entry>> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let versions = models.get(name)?;
        if let Some(version) = version {
            return versions.get(&version).cloned();
        }
        // With a single version, which is the rule, nothing has to be asked.
        let mut newest = versions.values().rev();
        let found = if versions.len() == 1 {
            newest.next()
        } else {
            newest.find(|entry| !entry.retiring.load(Ordering::Relaxed) && ready(entry))
        };
        found.or_else(|| versions.values().next_back()).cloned()
    }
}
