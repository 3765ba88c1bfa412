//! Replicas: one a device, which share the tiles.

use lithoburn_compare::largest;

use super::problem::{Problem, shares, size};
use super::{DeviceState, Plan, PlanError, Rank, Strategy};

impl Problem<'_> {
    /// Replicas.
    pub(super) fn data(&self) -> Result<Plan, PlanError> {
        let able: Vec<(&DeviceState, usize)> = self
            .devices
            .iter()
            .map(|device| (device, self.batch_on(device)))
            .filter(|(_, batch)| *batch > 0)
            .collect();
        if able.is_empty() {
            return Err(self.no_replica());
        }
        let seconds: Vec<f64> = able.iter().map(|(device, _)| 1.0 / self.speed(device)).collect();
        let tiles = shares(&seconds, self.demand.tiles);
        let slowest = largest(tiles.iter().zip(&seconds).map(|(n, s)| *n as f64 * s));
        let used: Vec<usize> = (0..able.len()).filter(|&i| tiles[i] > 0).collect();
        let stages = 0..self.demand.stages.len().max(1);
        let mut next = 0;
        let mut rank = |&i: &usize| {
            let batches = next..next + tiles[i];
            next = batches.end;
            Rank { device: able[i].0.name.clone(), batches, stages: stages.clone(), shard: (0, 1) }
        };
        let batch: Vec<usize> = used.iter().map(|&i| able[i].1).collect();
        Ok(Plan {
            strategy: Strategy::Data,
            ranks: used.iter().map(&mut rank).collect(),
            predicted_bytes: batch.iter().map(|&batch| self.replica_bytes(batch)).collect(),
            batch,
            micro_batches: 1,
            predicted_speedup: self.demand.tiles as f64 / slowest,
            reason: self.data_reason(&able, used.len()),
        })
    }

    fn data_reason(&self, able: &[(&DeviceState, usize)], used: usize) -> String {
        let mut reason = format!("a replica fits {} of {} devices", able.len(), self.devices.len());
        for device in self.devices.iter().filter(|device| self.batch_on(device) == 0) {
            let room = self.room(device).map_or("all".into(), size);
            reason += &format!(
                "; {} is left out: one tile takes {} and it has {room}",
                device.name,
                size(self.replica_bytes(1))
            );
        }
        if used < able.len() {
            reason += &format!("; {} tiles keep {used} devices busy", self.demand.tiles);
        }
        for (device, batch) in able {
            let wanted = self.batch_for(device);
            if *batch < wanted {
                reason +=
                    &format!("; memory of {} holds batches of {batch}, not {wanted}", device.name);
            }
        }
        reason
    }
}
