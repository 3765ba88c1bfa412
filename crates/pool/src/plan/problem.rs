//! A planning problem in numbers: what a demand takes on a device, and what there is.

use lithoburn_compare::largest;

use super::balance::{Room, least_bytes};
use super::{Demand, DeviceState, Plan, PlanError, Strategy};
use crate::crew::{Cost, Hand, allot};

/// Tiles in a batch where nobody asked for a number: beyond that, a large card gains little.
const BATCH: usize = 16;
/// Part of the free memory that is planned with; the rest is for what allocators lose.
const USABLE: f64 = 0.95;

/// A demand and devices for it.
pub(super) struct Problem<'a> {
    pub(super) demand: &'a Demand,
    pub(super) devices: &'a [DeviceState],
    fastest: f64,
}

impl<'a> Problem<'a> {
    pub(super) fn new(demand: &'a Demand, devices: &'a [DeviceState]) -> Self {
        let fastest = largest(devices.iter().map(|device| device.speed));
        Self { demand, devices, fastest }
    }

    /// Seconds of a tile on the fastest device. Without measured layers, ratios are all that counts.
    pub(super) fn tile_seconds(&self) -> f64 {
        if self.demand.stages.is_empty() {
            return 1.0;
        }
        self.demand.stages.iter().map(|stage| stage.seconds).sum()
    }

    /// Speed relative to the fastest device.
    pub(super) fn speed(&self, device: &DeviceState) -> f64 {
        device.speed / self.fastest
    }

    /// Bytes that may be planned with.
    pub(super) fn room(&self, device: &DeviceState) -> Option<u64> {
        let free = device.free_bytes.map(|bytes| (bytes as f64 * USABLE) as u64);
        free.into_iter().chain(device.budget_bytes).min()
    }

    /// What a stage may take on a device; `None` if not even the runtime fits.
    pub(super) fn stage_room(&self, device: &DeviceState) -> Option<Room> {
        let bytes = match self.room(device) {
            Some(room) => Some(room.checked_sub(self.overhead())?),
            None => None,
        };
        Some(Room { speed: self.speed(device), bytes })
    }

    pub(super) fn weights(&self) -> u64 {
        self.demand.stages.iter().map(|stage| stage.weight_bytes).sum()
    }

    /// Bytes that every device takes, whatever its part of the network.
    pub(super) fn overhead(&self) -> u64 {
        self.demand.fixed_bytes.saturating_sub(self.weights())
    }

    /// Bytes of a batch beside the fixed ones.
    pub(super) fn tile_bytes(&self, batch: usize) -> f64 {
        let side = self.demand.tile_px as f64;
        self.demand.bytes_per_pixel * side * side * batch as f64
    }

    /// Bytes of a replica with a batch.
    pub(super) fn replica_bytes(&self, batch: usize) -> u64 {
        self.demand.fixed_bytes.saturating_add(self.tile_bytes(batch).ceil() as u64)
    }

    /// The batch asked for, or the usual one.
    pub(super) fn batch(&self) -> usize {
        if self.demand.batch == 0 { BATCH } else { self.demand.batch }
    }

    /// The batch for a device: smaller on a slower one, so that batches take equally long everywhere.
    pub(super) fn batch_for(&self, device: &DeviceState) -> usize {
        ((self.batch() as f64 * self.speed(device)).round() as usize).max(1)
    }

    /// The batch for a device, or as much of it as fits; 0 if a replica does not.
    pub(super) fn batch_on(&self, device: &DeviceState) -> usize {
        let fits =
            |batch: usize| self.room(device).is_none_or(|room| self.replica_bytes(batch) <= room);
        let (mut fit, mut over) = (0, self.batch_for(device) + 1);
        while over - fit > 1 {
            let middle = fit + (over - fit) / 2;
            if fits(middle) { fit = middle } else { over = middle }
        }
        fit
    }

    pub(super) fn has_stages(&self, strategy: Strategy) -> Result<(), PlanError> {
        if self.demand.stages.is_empty() {
            return Err(self.unable(strategy, "its layers have not been measured".into()));
        }
        Ok(())
    }

    pub(super) fn unable(&self, strategy: Strategy, reason: String) -> PlanError {
        let model = self.demand.model.clone();
        PlanError::Unable { model, strategy, devices: self.devices.len(), reason }
    }

    pub(super) fn big(&self, needs: String) -> PlanError {
        let model = self.demand.model.clone();
        PlanError::TooBig { model, tile_px: self.demand.tile_px, needs }
    }

    pub(super) fn no_replica(&self) -> PlanError {
        let (need, room) = (size(self.replica_bytes(1)), self.most_room());
        self.big(format!(
            "a replica with one tile takes {need}, and no device has more than {room}"
        ))
    }

    /// No way fits.
    pub(super) fn too_big(&self) -> PlanError {
        let stages = self.devices.len().min(self.demand.stages.len()).max(1);
        let part = self.overhead().saturating_add(least_bytes(&self.demand.stages, stages));
        let replica = size(self.replica_bytes(1));
        self.big(format!(
            "a replica takes {replica}; cut into {stages} stages, the largest takes {} at least with one tile at a \
             time, and the devices have {} to {}",
            size(part),
            self.least_room(),
            self.most_room()
        ))
    }

    pub(super) fn most_room(&self) -> String {
        let rooms: Option<Vec<u64>> = self.devices.iter().map(|device| self.room(device)).collect();
        rooms.and_then(|rooms| rooms.into_iter().max()).map_or("any amount".into(), size)
    }

    pub(super) fn least_room(&self) -> String {
        let rooms = self.devices.iter().filter_map(|device| self.room(device));
        rooms.min().map_or("any amount".into(), size)
    }

    /// Orders of the devices that are tried: as given, fast first, much room first.
    pub(super) fn orders(&self) -> Vec<Vec<&'a DeviceState>> {
        let given: Vec<&DeviceState> = self.devices.iter().collect();
        let (mut fast, mut roomy) = (given.clone(), given.clone());
        fast.sort_by(|a, b| b.speed.total_cmp(&a.speed));
        roomy.sort_by_key(|device| std::cmp::Reverse(self.room(device).unwrap_or(u64::MAX)));
        vec![given, fast, roomy]
    }
}

/// Deals tiles so that all are done together, given each one's seconds for a tile.
pub(super) fn shares(seconds: &[f64], tiles: usize) -> Vec<usize> {
    // Layers that were measured to take no time at all are still dealt.
    let cost = |each: &f64| Cost { start: 0.0, each: each.max(1e-12) };
    let hand = |each: &f64| Hand { free_in: 0.0, cost: cost(each), batch: 1 };
    allot(&seconds.iter().map(hand).collect::<Vec<_>>(), tiles)
}

/// The plan with the highest predicted speedup; the first of equals.
pub(super) fn fastest(plans: impl IntoIterator<Item = Plan>) -> Option<Plan> {
    let better = |best: Plan, plan: Plan| {
        if plan.predicted_speedup > best.predicted_speedup { plan } else { best }
    };
    plans.into_iter().reduce(better)
}

/// Bytes as a person reads them.
pub(super) fn size(bytes: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    match bytes as f64 / MIB {
        mib if mib >= 1024.0 => format!("{:.2} GiB", mib / 1024.0),
        mib => format!("{mib:.1} MiB"),
    }
}
