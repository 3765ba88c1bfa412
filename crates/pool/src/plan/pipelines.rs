//! Pipelines: one over all devices, or several beside each other.

use lithoburn_compare::largest;

use super::balance::{BalanceError, Cut, Room, StageCost, cut, least_bytes};
use super::problem::{Problem, fastest, shares};
use super::{DeviceState, Plan, PlanError, Rank, Strategy};

/// Micro-batches for each stage, if the batch has as many tiles: the bubble is then under a fifth.
const MICRO_BATCHES_PER_STAGE: usize = 4;

/// Devices that form one pipeline.
struct StageLine<'a> {
    devices: Vec<&'a DeviceState>,
    cut: Cut,
    batch: usize,
    micro_batches: usize,
}

impl StageLine<'_> {
    /// Tiles a second.
    fn rate(&self) -> f64 {
        self.batch as f64 / self.cut.seconds_for(self.micro_batches).max(f64::MIN_POSITIVE)
    }
}

impl<'a> Problem<'a> {
    /// One pipeline over all devices, or as many as there are layers.
    pub(super) fn pipeline(&self) -> Result<Plan, PlanError> {
        self.has_stages(Strategy::Pipeline)?;
        let stages = self.devices.len().min(self.demand.stages.len());
        let mut plan = self.line_of(stages).ok_or_else(|| self.too_big())?;
        if stages < self.devices.len() {
            plan.reason += &format!("; there are only {stages} layers, one for a device");
        }
        Ok(plan)
    }

    /// Several pipelines; one, or single devices, only if there is no other way.
    pub(super) fn hybrid(&self) -> Result<Plan, PlanError> {
        self.has_stages(Strategy::Hybrid)?;
        let mixed = fastest(self.lines(true).into_iter().filter(|plan| {
            let several = plan.ranks.iter().filter(|rank| rank.stages.start == 0).count() > 1;
            several && plan.ranks.len() > 2 && plan.ranks[0].stages.end < self.demand.stages.len()
        }));
        mixed.or_else(|| fastest(self.lines(true))).ok_or_else(|| self.too_big())
    }

    /// All pipelines, and groups of pipelines, that fit. `whole` lets a single device be a pipeline.
    pub(super) fn lines(&self, whole: bool) -> Vec<Plan> {
        let most = self.devices.len().min(self.demand.stages.len());
        let least = if whole { 1 } else { 2 };
        let single = (least..=most).filter_map(|stages| self.line_of(stages));
        let several = (least..=most).filter_map(|stages| self.lines_of(stages));
        single.chain(several).collect()
    }

    /// One pipeline of so many stages, on the devices and in the order that are best.
    fn line_of(&self, stages: usize) -> Option<Plan> {
        let lines = self.orders().into_iter().filter_map(|order| self.line(&order[..stages]).ok());
        let best = lines.max_by(|a, b| a.rate().total_cmp(&b.rate()))?;
        let reason = format!("the network is cut into {stages} stages");
        Some(self.plan_of(Strategy::Pipeline, &[best], reason))
    }

    /// As many pipelines of so many stages as there are devices for, at least two.
    fn lines_of(&self, stages: usize) -> Option<Plan> {
        let count = self.devices.len() / stages;
        if count < 2 {
            return None;
        }
        let all = |order: Vec<&'a DeviceState>| -> Option<Vec<StageLine<'a>>> {
            order.chunks_exact(stages).map(|devices| self.line(devices).ok()).collect()
        };
        let rate = |lines: &Vec<StageLine>| lines.iter().map(StageLine::rate).sum::<f64>();
        let groups = self.orders().into_iter().filter_map(all);
        let best = groups.max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
        let reason = format!("{count} pipelines of {stages} stages");
        Some(self.plan_of(Strategy::Hybrid, &best, reason))
    }

    /// A pipeline over these devices, with the largest micro-batches that fit.
    fn line(&self, devices: &[&'a DeviceState]) -> Result<StageLine<'a>, BalanceError> {
        let batch = self.batch().min(self.demand.tiles);
        let rooms: Option<Vec<Room>> =
            devices.iter().map(|device| self.stage_room(device)).collect();
        let needed = self.overhead() + least_bytes(&self.demand.stages, devices.len());
        let rooms = rooms.ok_or(BalanceError::Memory { stages: devices.len(), needed })?;
        let most = (MICRO_BATCHES_PER_STAGE * devices.len()).min(batch);
        let mut tiles = batch.div_ceil(most);
        loop {
            match cut(&self.layers(tiles), &rooms, self.demand.link_bytes_per_s) {
                Ok(cut) => {
                    let micro_batches = batch.div_ceil(tiles);
                    return Ok(StageLine { devices: devices.to_vec(), cut, batch, micro_batches });
                }
                Err(error) if tiles == 1 => return Err(error),
                Err(_) => tiles -= 1,
            }
        }
    }

    /// The layers' costs for a micro-batch of so many tiles.
    fn layers(&self, tiles: usize) -> Vec<StageCost> {
        let scaled = |layer: &StageCost| StageCost {
            name: String::new(),
            seconds: layer.seconds * tiles as f64,
            weight_bytes: layer.weight_bytes,
            activation_bytes: layer.activation_bytes.saturating_mul(tiles as u64),
            transfer_bytes: layer.transfer_bytes.saturating_mul(tiles as u64),
        };
        self.demand.stages.iter().map(scaled).collect()
    }

    /// The plan of pipelines beside each other.
    fn plan_of(&self, strategy: Strategy, lines: &[StageLine], reason: String) -> Plan {
        let seconds: Vec<f64> = lines.iter().map(|line| 1.0 / line.rate()).collect();
        let tiles = shares(&seconds, self.demand.tiles);
        let slowest = largest(tiles.iter().zip(&seconds).map(|(n, s)| *n as f64 * s));
        let one = self.tile_seconds() * self.demand.tiles as f64;
        let mut plan = Plan {
            strategy,
            ranks: Vec::new(),
            batch: Vec::new(),
            micro_batches: lines.iter().map(|line| line.micro_batches).max().unwrap_or(1),
            predicted_bytes: Vec::new(),
            predicted_speedup: if slowest > 0.0 && one > 0.0 { one / slowest } else { 1.0 },
            reason,
        };
        let mut next = 0;
        for (line, tiles) in lines.iter().zip(tiles).filter(|(_, tiles)| *tiles > 0) {
            let batches = next..next + tiles;
            next = batches.end;
            for ((device, stages), bytes) in
                line.devices.iter().zip(&line.cut.ranges).zip(&line.cut.bytes)
            {
                let (device, stages) = (device.name.clone(), stages.clone());
                plan.ranks.push(Rank { device, batches: batches.clone(), stages, shard: (0, 1) });
                plan.batch.push(line.batch);
                plan.predicted_bytes.push(self.overhead().saturating_add(*bytes));
            }
        }
        plan
    }
}
