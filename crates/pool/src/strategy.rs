//! Replicas, split tiles, and the choice among all ways.

use crate::case::{Case, fastest, shares, size};
use crate::plan::{DeviceState, Plan, PlanError, Rank, Split, Strategy};

/// How much faster splitting a tile has to be before `auto` does it.
const WORTH: f64 = 1.05;

impl Case<'_> {
    /// The best of all ways that fit.
    pub(crate) fn auto(&self) -> Result<Plan, PlanError> {
        let splits =
            || [Strategy::Tensor, Strategy::Spatial].into_iter().filter_map(|s| self.best_split(s));
        let too_big = match self.data() {
            Ok(data) if self.demand.tiles >= self.devices.len() => return Ok(data),
            Ok(data) => {
                let least = data.predicted_speedup * WORTH;
                return Ok(
                    fastest(splits().filter(|p| p.predicted_speedup > least)).unwrap_or(data)
                );
            }
            Err(error) => error,
        };
        let lines = self.lines(false).into_iter().chain(splits());
        let mut plan = fastest(lines).ok_or_else(|| self.too_big())?;
        plan.reason = format!("{} ({too_big})", plan.reason);
        Ok(plan)
    }

    /// Replicas.
    pub(crate) fn data(&self) -> Result<Plan, PlanError> {
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
        let slowest = tiles.iter().zip(&seconds).map(|(n, s)| *n as f64 * s).fold(0.0, f64::max);
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

    /// All devices work on each tile.
    pub(crate) fn split(&self, strategy: Strategy) -> Result<Plan, PlanError> {
        let parts = self.devices.len();
        let split = self.how_to_split(strategy).ok_or_else(|| {
            self.unable(strategy, format!("its tiles cannot be split {strategy}-wise"))
        })?;
        if parts > split.most.max(1) {
            let reason = format!("a tile can be split into at most {} parts", split.most);
            return Err(self.unable(strategy, reason));
        }
        let devices: Vec<&DeviceState> = self.devices.iter().collect();
        self.split_over(strategy, &split, &devices).ok_or_else(|| {
            let (most, room) = (size(self.part_bytes(&split, parts, 1)), self.least_room());
            self.big(format!(
                "in {parts} parts, one tile takes {most} a device, and one has {room}"
            ))
        })
    }

    /// The fastest way to split a tile over two or more devices, if there is one that fits.
    fn best_split(&self, strategy: Strategy) -> Option<Plan> {
        let split = self.how_to_split(strategy)?;
        let over = |parts: usize| {
            let plans = self.orders().into_iter();
            plans.filter_map(move |order| self.split_over(strategy, &split, &order[..parts]))
        };
        fastest((2..=self.devices.len().min(split.most)).flat_map(over))
    }

    fn how_to_split(&self, strategy: Strategy) -> Option<Split> {
        match strategy {
            Strategy::Tensor => self.demand.parallelisable.tensor,
            _ => self.demand.parallelisable.spatial,
        }
    }

    /// Each tile split over these devices, if it fits all of them.
    fn split_over(
        &self,
        strategy: Strategy,
        split: &Split,
        devices: &[&DeviceState],
    ) -> Option<Plan> {
        let parts = devices.len();
        let fits = |batch: usize| {
            let bytes = self.part_bytes(split, parts, batch);
            devices.iter().all(|device| self.room(device).is_none_or(|room| bytes <= room))
        };
        let batch = (1..=self.batch().min(self.demand.tiles)).rev().find(|&batch| fits(batch))?;
        let rank = |(part, device): (usize, &&DeviceState)| Rank {
            device: device.name.clone(),
            batches: 0..self.demand.tiles,
            stages: 0..self.demand.stages.len().max(1),
            shard: (part, parts),
        };
        let (one, all) = (self.tile_seconds(), self.split_seconds(split, devices));
        Some(Plan {
            strategy,
            ranks: devices.iter().enumerate().map(rank).collect(),
            batch: vec![batch; parts],
            micro_batches: 1,
            predicted_bytes: vec![self.part_bytes(split, parts, batch); parts],
            predicted_speedup: if one > 0.0 && all > 0.0 { one / all } else { 1.0 },
            reason: format!("each tile is split over {parts} devices"),
        })
    }

    /// Seconds for a tile that is split: what is divided, what is not, and what is exchanged.
    fn split_seconds(&self, split: &Split, devices: &[&DeviceState]) -> f64 {
        let slowest = devices.iter().map(|device| self.speed(device)).fold(f64::INFINITY, f64::min);
        let parts = devices.len() as f64;
        let computing =
            self.tile_seconds() * (1.0 - split.divided + split.divided / parts) / slowest;
        if devices.len() == 1 {
            return computing;
        }
        let sending = split.exchange_bytes as f64 / self.demand.link_bytes_per_s;
        computing + sending + split.exchanges as f64 * split.exchange_seconds
    }

    /// Bytes of one of `parts` parts.
    fn part_bytes(&self, split: &Split, parts: usize, batch: usize) -> u64 {
        let weights = self.weights();
        let weights = if split.divides_weights { weights.div_ceil(parts as u64) } else { weights };
        let part = 1.0 - split.divided + split.divided / parts as f64;
        let rest = self.demand.fixed_bytes.saturating_sub(self.weights());
        rest.saturating_add(weights).saturating_add((self.tile_bytes(batch) * part).ceil() as u64)
    }
}
