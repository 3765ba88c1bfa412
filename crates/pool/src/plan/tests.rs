//! Plans of textbook cases, and a property that holds for all: everything is done once, within memory.

use lithoburn_compare::largest;
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
    assert!(plan.reason.contains("small is left out: one tile takes 10.00 GiB"), "{}", plan.reason);
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
            let has = |rank: &&Rank| rank.batches.contains(&tile) && rank.stages.contains(&stage);
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
    let part = (1_usize..10, 0.0..1.0_f64, any::<bool>(), 0_usize..50, 0.0..1e-3_f64, 0_u64..1000);
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
    (stages, numbers, any_split(), any_split()).prop_map(|(stages, numbers, tensor, spatial)| {
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
    })
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
            let most = largest(devices.iter().map(|d| d.speed));
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
