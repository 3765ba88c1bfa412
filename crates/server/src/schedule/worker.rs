//! A device, as all threads see it.

use std::sync::{Arc, Mutex, PoisonError};

use super::catalog::Entry;
use super::statistics::DeviceCounts;
use crate::model::Device;

/// What a device is to do beside batches.
pub(crate) enum Command {
    /// Load a version.
    Load(Arc<Entry>),
    /// Drop one.
    Unload(Arc<Entry>),
}

/// A device, as all threads see it.
pub(crate) struct Worker {
    /// Its names.
    pub device: Device,
    /// Its name, as answers carry it.
    pub label: Arc<str>,
    counts: Mutex<DeviceCounts>,
}

impl Worker {
    pub(crate) fn new(device: Device) -> Self {
        let label = device.name.as_str().into();
        Self { device, label, counts: Mutex::default() }
    }

    pub(crate) fn counts(&self) -> DeviceCounts {
        self.count().clone()
    }

    /// Its counts, to add to.
    pub(crate) fn count(&self) -> std::sync::MutexGuard<'_, DeviceCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
