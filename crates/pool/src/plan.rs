//! Who does what, decided before any device is touched: plain data, to be printed, compared and stored.
//!
//! A job is a number of tiles, each of which goes through all stages of a network. A [`Rank`] has some tiles (data
//! parallel), some stages (pipeline), one part of n (tensor and spatial), or a mixture. Every tile's every stage is
//! done whole by one rank, or by all n parts.

use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use crate::balance::StageCost;
use crate::case::Case;

/// Ways to use several devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Whatever is predicted to be fastest among those that fit.
    Auto,
    /// One replica a device; tiles are shared.
    Data,
    /// One stage of the network a device; tiles flow through.
    Pipeline,
    /// Channels are shared: all devices work on each tile.
    Tensor,
    /// Rows are shared: all devices work on each tile.
    Spatial,
    /// Several pipelines beside each other.
    Hybrid,
}

impl Strategy {
    /// All, as they are written.
    const NAMES: [(Self, &'static str); 6] = [
        (Self::Auto, "auto"),
        (Self::Data, "data"),
        (Self::Pipeline, "pipeline"),
        (Self::Tensor, "tensor"),
        (Self::Spatial, "spatial"),
        (Self::Hybrid, "hybrid"),
    ];
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::NAMES.iter().find(|(_, name)| *name == text);
        named.map(|(strategy, _)| *strategy).ok_or_else(|| {
            let names = Self::NAMES.map(|(_, name)| name).join(", ");
            format!("{text:?} is no way to use devices in parallel: expected one of {names}")
        })
    }
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::NAMES.iter().find(|(strategy, _)| strategy == self);
        f.pad(name.map_or("", |(_, name)| name))
    }
}

/// One device's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rank {
    /// The device's name, e.g. `cuda:0`.
    pub device: String,
    /// Tiles, by number. Of replicas this is what is expected: whoever is idle takes the next batch.
    pub batches: Range<usize>,
    /// Stages of the network, by number.
    pub stages: Range<usize>,
    /// Which part of how many, counted from 0; (0, 1) is the whole.
    pub shard: (usize, usize),
}

/// A device as it is found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceState {
    /// Name, e.g. `cuda:0`.
    pub name: String,
    /// The card's own name.
    pub card: String,
    /// Bytes that are free; `None` if that is not known or does not matter.
    pub free_bytes: Option<u64>,
    /// Most bytes that may be used; `None` for all.
    pub budget_bytes: Option<u64>,
    /// Speed: relative, or tiles a second from a probe. Only the ratio of devices counts.
    pub speed: f64,
}

/// What a network gains and pays if a tile is split among devices.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Most parts: channels of the narrowest layer, or rows at the network's stride.
    pub most: usize,
    /// Part of the time, and of the activations' memory, that is divided: 0 to 1.
    pub divided: f64,
    /// Whether the weights are divided, too.
    pub divides_weights: bool,
    /// How often the devices wait for each other in a tile.
    pub exchanges: usize,
    /// Seconds for each of those, however little is sent.
    pub exchange_seconds: f64,
    /// Bytes that a device sends and waits for in a tile, all in all.
    pub exchange_bytes: u64,
}

/// How a network's tile can be split among devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parallelisable {
    /// By channels, if it can.
    pub tensor: Option<Split>,
    /// By rows, if it can.
    pub spatial: Option<Split>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// The model's name.
    pub model: String,
    /// Side of a tile, in pixels.
    pub tile_px: usize,
    /// Tiles.
    pub tiles: usize,
    /// Tiles in a batch on the fastest device; 0 to choose.
    pub batch: usize,
    /// Bytes of a replica without any tile: weights and what the runtime takes.
    pub fixed_bytes: u64,
    /// Further bytes for each pixel of a batch, from a probe.
    pub bytes_per_pixel: f64,
    /// The network's layers, measured with one tile on the fastest device. May be empty if only replicas are
    /// considered.
    pub stages: Vec<StageCost>,
    /// Bytes a second from device to device.
    pub link_bytes_per_s: f64,
    /// How a tile can be split.
    pub parallelisable: Parallelisable,
}

/// Who does what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// How; never `auto`.
    pub strategy: Strategy,
    /// The parts.
    pub ranks: Vec<Rank>,
    /// Most tiles in a batch of each rank; in a pipeline this is cut into micro-batches.
    pub batch: Vec<usize>,
    /// Micro-batches that a pipeline's batch is cut into; 1 without a pipeline.
    pub micro_batches: usize,
    /// Bytes that each rank is expected to use.
    pub predicted_bytes: Vec<u64>,
    /// Expected speed over that of the fastest device alone, as if the network fitted it.
    pub predicted_speedup: f64,
    /// Why this, and which devices are left out.
    pub reason: String,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// There are no devices.
    #[error("no devices to plan for: at least one is needed")]
    NoDevices,
    /// A device is named twice.
    #[error("device {0} is named twice: each can be used once")]
    Twice(String),
    /// There is nothing to do.
    #[error("nothing to plan: {0} tiles of {1} px; both have to be at least 1")]
    NoTiles(usize, usize),
    /// A measured number makes no sense.
    #[error("{what} is {value}: {expected}")]
    Number {
        /// What it is.
        what: String,
        /// Its value.
        value: f64,
        /// What was expected.
        expected: &'static str,
    },
    /// The network cannot be used in this way.
    #[error("{model} cannot be run {strategy}-parallel on {devices} devices: {reason}")]
    Unable {
        /// The model.
        model: String,
        /// The way.
        strategy: Strategy,
        /// How many devices.
        devices: usize,
        /// Why.
        reason: String,
    },
    /// It fits nowhere.
    #[error("{model} with tiles of {tile_px} px does not fit: {needs}")]
    TooBig {
        /// The model.
        model: String,
        /// Side of a tile.
        tile_px: usize,
        /// What would be needed, and what there is.
        needs: String,
    },
}

/// Decides who does what. Nothing is touched or measured.
///
/// `auto` takes replicas if one fits at least one device; devices that it does not fit are left out. If it fits
/// none, the network is cut: into a pipeline, several, or shards, whichever is predicted to be fastest. If there
/// are fewer tiles than devices, tiles are split if that is predicted to be faster by 5 %.
///
/// A way that is asked for by name is planned on all devices it can use, even where that is slower than one.
///
/// # Errors
///
/// [`PlanError`]: what was expected, or what would be needed.
pub fn plan(demand: &Demand, devices: &[DeviceState], wanted: Strategy) -> Result<Plan, PlanError> {
    check(demand, devices)?;
    let case = Case::new(demand, devices);
    match wanted {
        Strategy::Auto => case.auto(),
        Strategy::Data => case.data(),
        Strategy::Pipeline => case.pipeline(),
        Strategy::Hybrid => case.hybrid(),
        Strategy::Tensor | Strategy::Spatial => case.split(wanted),
    }
}

/// Refuses numbers that make no sense.
fn check(demand: &Demand, devices: &[DeviceState]) -> Result<(), PlanError> {
    if devices.is_empty() {
        return Err(PlanError::NoDevices);
    }
    if demand.tiles == 0 || demand.tile_px == 0 {
        return Err(PlanError::NoTiles(demand.tiles, demand.tile_px));
    }
    let number = |what: String, value: f64, good: bool, expected| {
        if good { Ok(()) } else { Err(PlanError::Number { what, value, expected }) }
    };
    for (i, DeviceState { name, speed, .. }) in devices.iter().enumerate() {
        if devices[..i].iter().any(|other| other.name == *name) {
            return Err(PlanError::Twice(name.clone()));
        }
        let good = speed.is_finite() && *speed > 0.0;
        number(format!("the speed of {name}"), *speed, good, "it must be positive and finite")?;
    }
    for StageCost { name, seconds, .. } in &demand.stages {
        let good = seconds.is_finite() && *seconds >= 0.0;
        number(format!("the time of stage {name}, in s"), *seconds, good, "it must be at least 0")?;
    }
    let bytes = demand.bytes_per_pixel;
    let good = bytes.is_finite() && bytes >= 0.0;
    number("the number of bytes per pixel".into(), bytes, good, "it must be at least 0")?;
    let link = demand.link_bytes_per_s;
    number("the link's bytes per second".into(), link, link > 0.0, "it must be positive")?;
    let Parallelisable { tensor, spatial } = demand.parallelisable;
    for split in [tensor, spatial].into_iter().flatten() {
        let (part, wait) = (split.divided, split.exchange_seconds);
        let good = (0.0..=1.0).contains(&part);
        number("the part that is divided".into(), part, good, "it must be within 0 and 1")?;
        let good = wait.is_finite() && wait >= 0.0;
        number("the time of an exchange, in s".into(), wait, good, "it must be at least 0")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use proptest::strategy::Strategy as Generator;
    use proptest::test_runner::{Config, TestCaseError};

    use super::*;

    const GIB: u64 = 1 << 30;

    fn device(name: &str, gib: u64, speed: f64) -> DeviceState {
        let (free_bytes, budget_bytes) = (None, Some(gib * GIB));
        DeviceState { name: name.into(), card: "card".into(), free_bytes, budget_bytes, speed }
    }

    fn equal(count: usize, gib: u64) -> Vec<DeviceState> {
        (0..count).map(|i| device(&format!("cuda:{i}"), gib, 1.0)).collect()
    }

    /// Eight equal layers of 1 GiB of weights and 1 ms, a runtime of 1 GiB, 1 GiB for a tile in a replica.
    fn demand(tiles: usize) -> Demand {
        let stage = |i| StageCost {
            name: format!("layer {i}"),
            seconds: 1e-3,
            weight_bytes: GIB,
            activation_bytes: GIB / 16,
            transfer_bytes: 0,
        };
        Demand {
            model: "net".into(),
            tile_px: 1024,
            tiles,
            batch: 16,
            fixed_bytes: 9 * GIB,
            bytes_per_pixel: 1024.0,
            stages: (0..8).map(stage).collect(),
            link_bytes_per_s: 1e10,
            parallelisable: Parallelisable::default(),
        }
    }

    fn split(divided: f64, exchange_bytes: u64) -> Split {
        Split {
            most: 64,
            divided,
            divides_weights: true,
            exchanges: 10,
            exchange_seconds: 0.0,
            exchange_bytes,
        }
    }

    #[test]
    fn strategies_are_read_and_written() {
        for (strategy, name) in Strategy::NAMES {
            assert_eq!((name.parse(), strategy.to_string().as_str()), (Ok(strategy), name));
        }
        assert!("both".parse::<Strategy>().is_err_and(|error| error.contains("hybrid")));
    }

    #[test]
    fn equal_devices_with_room_get_equal_parts() {
        let plan = plan(&demand(64), &equal(4, 80), Strategy::Auto).expect("there is room");
        assert_eq!((plan.strategy, plan.predicted_speedup), (Strategy::Data, 4.0));
        let ranges: Vec<_> = plan.ranks.iter().map(|rank| rank.batches.clone()).collect();
        assert_eq!(ranges, [0..16, 16..32, 32..48, 48..64]);
        // 9 GiB and 16 tiles of 1 GiB.
        assert_eq!((plan.batch[0], plan.predicted_bytes[0]), (16, 25 * GIB));
    }

    #[test]
    fn memory_limits_the_batch_and_devices_without_room_are_left_out() {
        let devices = [device("big", 80, 1.0), device("mid", 14, 1.0), device("small", 9, 1.0)];
        let plan = plan(&demand(64), &devices, Strategy::Auto).expect("two have room");
        assert_eq!((plan.strategy, plan.batch.as_slice()), (Strategy::Data, &[16, 5][..]));
        assert!(
            plan.reason.contains("small is left out: one tile takes 10.00 GiB"),
            "{}",
            plan.reason
        );
    }

    #[test]
    fn a_slow_device_gets_fewer_tiles_and_smaller_batches() {
        let devices = [device("fast", 80, 400.0), device("slow", 80, 100.0)];
        let plan = plan(&demand(100), &devices, Strategy::Data).expect("both have room");
        assert_eq!((plan.batch.as_slice(), plan.predicted_speedup), (&[16, 4][..], 1.25));
        assert_eq!(plan.ranks[1].batches, 80..100);
    }

    /// S·M / (M + S − 1), the textbook's speedup of a pipeline with equal stages.
    #[test]
    fn a_network_over_the_room_of_each_device_becomes_a_pipeline() {
        let plan = plan(&demand(64), &equal(4, 4), Strategy::Auto).expect("two layers fit each");
        assert_eq!((plan.strategy, plan.micro_batches), (Strategy::Pipeline, 16));
        let stages: Vec<_> = plan.ranks.iter().map(|rank| rank.stages.clone()).collect();
        assert_eq!(stages, [0..2, 2..4, 4..6, 6..8]);
        let (s, m) = (4.0, 16.0);
        assert!((plan.predicted_speedup - s * m / (m + s - 1.0)).abs() < 1e-9, "{plan:?}");
        assert!(plan.predicted_bytes.iter().all(|bytes| *bytes <= 4 * GIB), "{plan:?}");
        assert!(plan.reason.contains("a replica with one tile takes 10.00 GiB"), "{}", plan.reason);
    }

    #[test]
    fn two_short_pipelines_beat_a_long_one_where_they_fit() {
        let plan = plan(&demand(64), &equal(8, 6), Strategy::Auto).expect("four layers fit each");
        assert_eq!((plan.strategy, plan.ranks.len()), (Strategy::Hybrid, 8));
        assert!(plan.predicted_speedup > 7.0, "{plan:?}");
        assert_eq!(plan.ranks[0].batches, 0..16);
    }

    #[test]
    fn one_tile_is_split_only_where_that_wins() {
        let mut demand = demand(1);
        demand.parallelisable.tensor = Some(split(0.9, 0));
        let found = plan(&demand, &equal(4, 80), Strategy::Auto).expect("there is room");
        assert_eq!((found.strategy, found.ranks[3].shard), (Strategy::Tensor, (3, 4)));
        // Amdahl: 1 / (0.1 + 0.9 / 4).
        assert!((found.predicted_speedup - 1.0 / 0.325).abs() < 1e-9, "{found:?}");
        // 100 MB at 10 GB/s are 10 ms, more than the 8 ms of the tile.
        demand.parallelisable.tensor = Some(split(0.9, 100_000_000));
        let found = plan(&demand, &equal(4, 80), Strategy::Auto).expect("there is room");
        assert_eq!((found.strategy, found.ranks.len()), (Strategy::Data, 1));
        let forced = plan(&demand, &equal(4, 80), Strategy::Tensor).expect("there is room");
        assert!((forced.predicted_speedup - 8.0 / (8.0 * 0.325 + 10.0)).abs() < 1e-9, "{forced:?}");
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        let text = |demand: &Demand, devices: &[DeviceState], wanted| {
            plan(demand, devices, wanted).expect_err("it is nonsense").to_string()
        };
        let good = equal(2, 80);
        assert!(text(&demand(8), &[], Strategy::Auto).contains("no devices"));
        assert!(text(&demand(0), &good, Strategy::Auto).contains("0 tiles"));
        let twice = [good[0].clone(), good[0].clone()];
        assert!(text(&demand(8), &twice, Strategy::Auto).contains("cuda:0 is named twice"));
        let stopped = [device("cpu", 8, 0.0)];
        assert!(text(&demand(8), &stopped, Strategy::Auto).contains("speed of cpu is 0"));
        let mut odd = demand(8);
        odd.bytes_per_pixel = f64::NAN;
        assert!(text(&odd, &good, Strategy::Auto).contains("bytes per pixel is NaN"));
        let tensor = text(&demand(8), &good, Strategy::Tensor);
        assert!(tensor.contains("net cannot be run tensor-parallel on 2 devices"), "{tensor}");
        let mut unmeasured = demand(8);
        unmeasured.stages.clear();
        assert!(text(&unmeasured, &good, Strategy::Pipeline).contains("not been measured"));
    }

    #[test]
    fn what_does_not_fit_says_what_it_needs() {
        let error = plan(&demand(8), &equal(2, 4), Strategy::Auto).expect_err("it is too big");
        let text = error.to_string();
        // Two stages of 4 GiB and 1/16 GiB, and the runtime's 1 GiB.
        assert!(
            text.contains("a replica takes 10.00 GiB") && text.contains("takes 5.06 GiB"),
            "{text}"
        );
        assert!(text.contains("4.00 GiB"), "{text}");
    }

    #[test]
    fn free_memory_is_not_planned_to_the_last_byte() {
        let mut devices = equal(1, 80);
        devices[0].free_bytes = Some(26 * GIB);
        let plan = plan(&demand(64), &devices, Strategy::Data).expect("there is room");
        // 95 % of 26 GiB, less 9, hold 15 tiles.
        assert_eq!((plan.batch[0], plan.predicted_speedup), (15, 1.0));
    }

    /// Each (tile, stage) is done whole by one rank, or by all n distinct parts.
    fn assert_covers(plan: &Plan, tiles: usize, stages: usize) -> Result<(), TestCaseError> {
        for tile in 0..tiles {
            for stage in 0..stages {
                let has =
                    |rank: &&Rank| rank.batches.contains(&tile) && rank.stages.contains(&stage);
                let mut shards: Vec<_> = plan.ranks.iter().filter(has).map(|r| r.shard).collect();
                shards.sort_unstable();
                let parts = shards.len();
                let all: Vec<_> = (0..parts).map(|part| (part, parts)).collect();
                prop_assert!(parts > 0, "nobody does stage {stage} of tile {tile}: {plan:?}");
                prop_assert_eq!(&shards, &all, "tile {}, stage {}: {:?}", tile, stage, plan);
            }
        }
        Ok(())
    }

    fn any_device(name: usize) -> impl Generator<Value = DeviceState> {
        let bytes = || proptest::option::of(0_u64..4000);
        (bytes(), bytes(), 0.05..20.0_f64).prop_map(move |(free_bytes, budget_bytes, speed)| {
            DeviceState {
                name: format!("d{name}"),
                card: String::new(),
                free_bytes,
                budget_bytes,
                speed,
            }
        })
    }

    fn any_split() -> impl Generator<Value = Option<Split>> {
        let part =
            (1_usize..10, 0.0..1.0_f64, any::<bool>(), 0_usize..50, 0.0..1e-3_f64, 0_u64..1000);
        proptest::option::of(part.prop_map(
            |(most, divided, divides_weights, exchanges, exchange_seconds, exchange_bytes)| Split {
                most,
                divided,
                divides_weights,
                exchanges,
                exchange_seconds,
                exchange_bytes,
            },
        ))
    }

    fn any_demand() -> impl Generator<Value = Demand> {
        let cost = (0.0..0.1_f64, 0_u64..300, 0_u64..100, 0_u64..50).prop_map(
            |(seconds, weight_bytes, activation_bytes, transfer_bytes)| StageCost {
                name: String::new(),
                seconds,
                weight_bytes,
                activation_bytes,
                transfer_bytes,
            },
        );
        let stages = proptest::collection::vec(cost, 0..12);
        let numbers = (1_usize..40, 0_usize..20, 0_u64..500, 0.0..0.1_f64, 1e3..1e9_f64);
        (stages, numbers, any_split(), any_split()).prop_map(
            |(stages, numbers, tensor, spatial)| {
                let (tiles, batch, runtime, bytes_per_pixel, link_bytes_per_s) = numbers;
                let weights: u64 = stages.iter().map(|stage| stage.weight_bytes).sum();
                Demand {
                    model: "net".into(),
                    tile_px: 64,
                    tiles,
                    batch,
                    fixed_bytes: runtime + weights,
                    bytes_per_pixel,
                    stages,
                    link_bytes_per_s,
                    parallelisable: Parallelisable { tensor, spatial },
                }
            },
        )
    }

    fn any_devices() -> impl Generator<Value = Vec<DeviceState>> {
        (1_usize..9).prop_flat_map(|count| (0..count).map(any_device).collect::<Vec<_>>())
    }

    proptest! {
        #![proptest_config(Config::with_cases(512))]

        #[test]
        fn every_plan_does_everything_once_within_memory(
            demand in any_demand(),
            devices in any_devices(),
        ) {
            for (wanted, _) in Strategy::NAMES {
                let plan = match plan(&demand, &devices, wanted) {
                    Ok(plan) => plan,
                    Err(error) => {
                        let roomy = devices.iter().any(|d| d.free_bytes.or(d.budget_bytes).is_none());
                        prop_assert!(!roomy || !matches!(wanted, Strategy::Auto | Strategy::Data), "{}", error);
                        prop_assert!(!error.to_string().is_empty());
                        continue;
                    }
                };
                prop_assert!(plan.strategy != Strategy::Auto);
                assert_covers(&plan, demand.tiles, demand.stages.len().max(1))?;
                let ranks = plan.ranks.len();
                prop_assert_eq!((plan.batch.len(), plan.predicted_bytes.len()), (ranks, ranks));
                prop_assert!(plan.batch.iter().all(|batch| *batch > 0) && plan.micro_batches > 0);
                prop_assert!(plan.predicted_speedup > 0.0 && plan.predicted_speedup.is_finite());
                let total: f64 = devices.iter().map(|d| d.speed).sum();
                let most = devices.iter().map(|d| d.speed).fold(0.0, f64::max);
                // Nothing is faster than all devices together.
                prop_assert!(plan.predicted_speedup <= total / most * (1.0 + 1e-9), "{:?}", plan);
                for (i, (rank, bytes)) in plan.ranks.iter().zip(&plan.predicted_bytes).enumerate() {
                    prop_assert!(plan.ranks[..i].iter().all(|other| other.device != rank.device));
                    let device = devices.iter().find(|device| device.name == rank.device);
                    let Some(device) = device else { panic!("{rank:?} has no device") };
                    let limits = device.free_bytes.into_iter().chain(device.budget_bytes);
                    prop_assert!(limits.min().is_none_or(|room| *bytes <= room), "{:?}", plan);
                }
            }
        }
    }
}
