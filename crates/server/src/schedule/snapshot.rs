//! The scheduler as plain data: for statistics, metrics and reports.

use std::collections::BTreeMap;

use super::catalog::{Readiness, VersionState};
use super::refusal::Reason;
use super::statistics::{DeviceCounts, ModelCounts};
use crate::model::{Device, Signature};

/// The scheduler at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Whether requests are answered.
    pub readiness: Readiness,
    /// Requests that wait.
    pub waiting: usize,
    /// Most requests that may wait.
    pub capacity: usize,
    /// Models, by name and version.
    pub models: Vec<ModelSnapshot>,
    /// Devices, in their order.
    pub devices: Vec<DeviceSnapshot>,
    /// Requests refused before a model was known.
    pub refused: BTreeMap<Reason, u64>,
}

/// A version of a model.
#[derive(Clone, Debug)]
pub struct ModelSnapshot {
    /// What clients know of it.
    pub signature: Signature,
    /// What it is at.
    pub state: VersionState,
    /// Requests for it that wait.
    pub waiting: usize,
    /// What was done.
    pub counts: ModelCounts,
}

/// What a device is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// It waits for work.
    Idle,
    /// It computes, or loads a model.
    Busy,
    /// It was given up, for this reason.
    Lost(String),
}

/// A device.
#[derive(Clone, Debug)]
pub struct DeviceSnapshot {
    /// Its names.
    pub device: Device,
    /// What it is at.
    pub state: DeviceState,
    /// Requests that it has.
    pub running: usize,
    /// What it did.
    pub counts: DeviceCounts,
}
