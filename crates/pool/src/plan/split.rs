//! Split tiles: all devices work on each one, by channels or by rows.

use super::problem::{Problem, fastest, size};
use super::{DeviceState, Plan, PlanError, Rank, Split, Strategy};

impl Problem<'_> {
    /// All devices work on each tile.
    pub(super) fn split(&self, strategy: Strategy) -> Result<Plan, PlanError> {
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
    pub(super) fn best_split(&self, strategy: Strategy) -> Option<Plan> {
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
