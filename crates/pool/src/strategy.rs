//! How each strategy would be done, and what that would take: the planner's arithmetic.

use crate::balance::{BalanceError, Cut, Room, StageCost, cut, least_bytes};
use crate::pace::{Cost, Hand, allot};
use crate::plan::{Demand, DeviceState, Plan, PlanError, Rank, Split, Strategy};

/// Tiles in a batch where nobody asked for a number: beyond that, a large card gains little.
const BATCH: usize = 16;
/// Micro-batches for each stage, if the batch has as many tiles: the bubble is then under a fifth.
const MICRO_BATCHES_PER_STAGE: usize = 4;
/// Part of the free memory that is planned with; the rest is for what allocators lose.
const USABLE: f64 = 0.95;
/// How much faster splitting a tile has to be before `auto` does it.
const WORTH: f64 = 1.05;

/// A demand and devices for it.
pub(crate) struct Case<'a> {
    demand: &'a Demand,
    devices: &'a [DeviceState],
    fastest: f64,
}

/// Devices that form one pipeline.
struct Line<'a> {
    devices: Vec<&'a DeviceState>,
    cut: Cut,
    batch: usize,
    micro_batches: usize,
}

impl Line<'_> {
    /// Tiles a second.
    fn rate(&self) -> f64 {
        self.batch as f64 / self.cut.seconds_for(self.micro_batches).max(f64::MIN_POSITIVE)
    }
}

impl<'a> Case<'a> {
    pub(crate) fn new(demand: &'a Demand, devices: &'a [DeviceState]) -> Self {
        let fastest = devices.iter().map(|device| device.speed).fold(0.0, f64::max);
        Self { demand, devices, fastest }
    }

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

    /// One pipeline over all devices, or as many as there are layers.
    pub(crate) fn pipeline(&self) -> Result<Plan, PlanError> {
        self.has_stages(Strategy::Pipeline)?;
        let stages = self.devices.len().min(self.demand.stages.len());
        let mut plan = self.line_of(stages).ok_or_else(|| self.too_big())?;
        if stages < self.devices.len() {
            plan.reason += &format!("; there are only {stages} layers, one for a device");
        }
        Ok(plan)
    }

    /// Several pipelines; one, or single devices, only if there is no other way.
    pub(crate) fn hybrid(&self) -> Result<Plan, PlanError> {
        self.has_stages(Strategy::Hybrid)?;
        let mixed = fastest(self.lines(true).into_iter().filter(|plan| {
            let several = plan.ranks.iter().filter(|rank| rank.stages.start == 0).count() > 1;
            several && plan.ranks.len() > 2 && plan.ranks[0].stages.end < self.demand.stages.len()
        }));
        mixed.or_else(|| fastest(self.lines(true))).ok_or_else(|| self.too_big())
    }

    /// All pipelines, and groups of pipelines, that fit. `whole` lets a single device be a pipeline.
    fn lines(&self, whole: bool) -> Vec<Plan> {
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
        let all = |order: Vec<&'a DeviceState>| -> Option<Vec<Line<'a>>> {
            order.chunks_exact(stages).map(|devices| self.line(devices).ok()).collect()
        };
        let rate = |lines: &Vec<Line>| lines.iter().map(Line::rate).sum::<f64>();
        let groups = self.orders().into_iter().filter_map(all);
        let best = groups.max_by(|a, b| rate(a).total_cmp(&rate(b)))?;
        let reason = format!("{count} pipelines of {stages} stages");
        Some(self.plan_of(Strategy::Hybrid, &best, reason))
    }

    /// Orders of the devices that are tried: as given, fast first, much room first.
    fn orders(&self) -> Vec<Vec<&'a DeviceState>> {
        let given: Vec<&DeviceState> = self.devices.iter().collect();
        let (mut fast, mut roomy) = (given.clone(), given.clone());
        fast.sort_by(|a, b| b.speed.total_cmp(&a.speed));
        roomy.sort_by_key(|device| std::cmp::Reverse(self.room(device).unwrap_or(u64::MAX)));
        vec![given, fast, roomy]
    }

    /// A pipeline over these devices, with the largest micro-batches that fit.
    fn line(&self, devices: &[&'a DeviceState]) -> Result<Line<'a>, BalanceError> {
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
                    return Ok(Line { devices: devices.to_vec(), cut, batch, micro_batches });
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
    fn plan_of(&self, strategy: Strategy, lines: &[Line], reason: String) -> Plan {
        let seconds: Vec<f64> = lines.iter().map(|line| 1.0 / line.rate()).collect();
        let tiles = shares(&seconds, self.demand.tiles);
        let slowest = tiles.iter().zip(&seconds).map(|(n, s)| *n as f64 * s).fold(0.0, f64::max);
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

    /// Seconds of a tile on the fastest device. Without measured layers, ratios are all that counts.
    fn tile_seconds(&self) -> f64 {
        if self.demand.stages.is_empty() {
            return 1.0;
        }
        self.demand.stages.iter().map(|stage| stage.seconds).sum()
    }

    /// Speed relative to the fastest device.
    fn speed(&self, device: &DeviceState) -> f64 {
        device.speed / self.fastest
    }

    /// Bytes that may be planned with.
    fn room(&self, device: &DeviceState) -> Option<u64> {
        let free = device.free_bytes.map(|bytes| (bytes as f64 * USABLE) as u64);
        free.into_iter().chain(device.budget_bytes).min()
    }

    /// What a stage may take on a device; `None` if not even the runtime fits.
    fn stage_room(&self, device: &DeviceState) -> Option<Room> {
        let bytes = match self.room(device) {
            Some(room) => Some(room.checked_sub(self.overhead())?),
            None => None,
        };
        Some(Room { speed: self.speed(device), bytes })
    }

    fn weights(&self) -> u64 {
        self.demand.stages.iter().map(|stage| stage.weight_bytes).sum()
    }

    /// Bytes that every device takes, whatever its part of the network.
    fn overhead(&self) -> u64 {
        self.demand.fixed_bytes.saturating_sub(self.weights())
    }

    /// Bytes of a batch beside the fixed ones.
    fn tile_bytes(&self, batch: usize) -> f64 {
        let side = self.demand.tile_px as f64;
        self.demand.bytes_per_pixel * side * side * batch as f64
    }

    /// Bytes of a replica with a batch.
    fn replica_bytes(&self, batch: usize) -> u64 {
        self.demand.fixed_bytes.saturating_add(self.tile_bytes(batch).ceil() as u64)
    }

    /// The batch asked for, or the usual one.
    fn batch(&self) -> usize {
        if self.demand.batch == 0 { BATCH } else { self.demand.batch }
    }

    /// The batch for a device: smaller on a slower one, so that batches take equally long everywhere.
    fn batch_for(&self, device: &DeviceState) -> usize {
        ((self.batch() as f64 * self.speed(device)).round() as usize).max(1)
    }

    /// The batch for a device, or as much of it as fits; 0 if a replica does not.
    fn batch_on(&self, device: &DeviceState) -> usize {
        let fits =
            |batch: usize| self.room(device).is_none_or(|room| self.replica_bytes(batch) <= room);
        let (mut fit, mut over) = (0, self.batch_for(device) + 1);
        while over - fit > 1 {
            let middle = fit + (over - fit) / 2;
            if fits(middle) { fit = middle } else { over = middle }
        }
        fit
    }

    fn has_stages(&self, strategy: Strategy) -> Result<(), PlanError> {
        if self.demand.stages.is_empty() {
            return Err(self.unable(strategy, "its layers have not been measured".into()));
        }
        Ok(())
    }

    fn unable(&self, strategy: Strategy, reason: String) -> PlanError {
        let model = self.demand.model.clone();
        PlanError::Unable { model, strategy, devices: self.devices.len(), reason }
    }

    fn big(&self, needs: String) -> PlanError {
        let model = self.demand.model.clone();
        PlanError::TooBig { model, tile_px: self.demand.tile_px, needs }
    }

    fn no_replica(&self) -> PlanError {
        let (need, room) = (size(self.replica_bytes(1)), self.most_room());
        self.big(format!(
            "a replica with one tile takes {need}, and no device has more than {room}"
        ))
    }

    /// No way fits.
    fn too_big(&self) -> PlanError {
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

    fn most_room(&self) -> String {
        let rooms: Option<Vec<u64>> = self.devices.iter().map(|device| self.room(device)).collect();
        rooms.and_then(|rooms| rooms.into_iter().max()).map_or("any amount".into(), size)
    }

    fn least_room(&self) -> String {
        let rooms = self.devices.iter().filter_map(|device| self.room(device));
        rooms.min().map_or("any amount".into(), size)
    }
}

/// Deals tiles so that all are done together, given each one's seconds for a tile.
fn shares(seconds: &[f64], tiles: usize) -> Vec<usize> {
    // Layers that were measured to take no time at all are still dealt.
    let cost = |each: &f64| Cost { start: 0.0, each: each.max(1e-12) };
    let hand = |each: &f64| Hand { free_in: 0.0, cost: cost(each), batch: 1 };
    allot(&seconds.iter().map(hand).collect::<Vec<_>>(), tiles)
}

/// The plan with the highest predicted speedup; the first of equals.
fn fastest(plans: impl IntoIterator<Item = Plan>) -> Option<Plan> {
    let better = |best: Plan, plan: Plan| {
        if plan.predicted_speedup > best.predicted_speedup { plan } else { best }
    };
    plans.into_iter().reduce(better)
}

/// Bytes as a person reads them.
fn size(bytes: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    match bytes as f64 / MIB {
        mib if mib >= 1024.0 => format!("{:.2} GiB", mib / 1024.0),
        mib => format!("{mib:.1} MiB"),
    }
}
