//! Every way of running a network gives what one device gives. Ranks share the CPU here.

mod failures;

use std::ops::Range;

use burn::tensor::{DType, Device, Tensor};
use lithoburn_compare::largest;
use lithoburn_ranks::collective::Sums;
use proptest::prelude::*;

use super::*;
use crate::encoder_decoder::EncoderDecoderConfig;
use crate::gan_opc::GanOpcConfig;
use crate::kernel::random_kernels;
use crate::neural_ilt::NeuralIltConfig;
use crate::program::Layer;

fn networks() -> Vec<(&'static str, Box<dyn Parallel>)> {
    let device = Device::flex();
    let unet = |width, last_side| {
        NeuralIltConfig { width, last_side, ..NeuralIltConfig::default() }.init(&device)
    };
    let fast = EncoderDecoderConfig::new(vec![6, 8, 8], true, 1);
    let fast = NeuralIltConfig { fast: Some(fast), ..NeuralIltConfig::default() };
    let gan = |widths: &[usize], skips| {
        let generator = EncoderDecoderConfig::new(widths.to_vec(), skips, 0);
        GanOpcConfig { generator, ..GanOpcConfig::default() }.init(&device)
    };
    vec![
        ("neural-ilt", Box::new(unet(4, 1))),
        ("neural-ilt, 3x3 at the end", Box::new(unet(2, 3))),
        ("neural-ilt-fast", Box::new(fast.init(&device))),
        ("gan-opc", Box::new(gan(&[4, 6, 8], true))),
        ("gan-opc as published", Box::new(gan(&[8, 16], false))),
    ]
}

fn wave(shape: [usize; 4], pitch: f32) -> Tensor<4> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * pitch).sin()).collect();
    Tensor::<1>::from_floats(values.as_slice(), &Device::flex()).reshape(shape)
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().expect("f32")
}

/// Largest difference, relative to the largest value.
fn off(found: &Tensor<4>, expected: &Tensor<4>) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let scale: f32 = expected.clone().abs().max().into_scalar();
    let off: f32 = (found.clone() - expected.clone()).abs().max().into_scalar();
    assert!(scale > 0.0);
    off / scale
}

fn places(count: usize) -> Vec<Place> {
    (0..count).map(|i| Place::unlimited(&format!("cpu {i}"), &Device::flex())).collect()
}

/// Cuts at these shares of the layers, as far as they differ.
fn cuts(layers: usize, shares: &[f64]) -> Vec<Range<usize>> {
    let mut ends: Vec<usize> = shares.iter().map(|s| (s * layers as f64) as usize).collect();
    ends.extend([0, layers]);
    ends.sort_unstable();
    ends.dedup();
    ends.windows(2).map(|w| w[0]..w[1]).collect()
}

fn even(layers: usize, stages: usize) -> Vec<Range<usize>> {
    cuts(layers, &(1..stages).map(|i| i as f64 / stages as f64).collect::<Vec<_>>())
}

/// Splitting all that can be split, or what pays at these speeds.
fn terms(link: f64) -> ShardTerms {
    let speeds = Speeds { link, latency: 1e7 / link, ..Speeds::default() };
    ShardTerms { speeds, ..ShardTerms::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Images do not know of each other, and a stage computes what one device computes.
    #[test]
    fn batches_in_parts_and_pipelines_are_one_device_to_the_last_bit(
        batch in 1_usize..5,
        tall in 1_usize..3,
        wide in 1_usize..3,
        micro_batch in 1_usize..4,
        ahead in 0_usize..3,
        shares in prop::collection::vec(0.0..1.0, 0..8),
    ) {
        for (name, network) in networks() {
            let side = network.stride();
            let x = wave([batch, 1, tall * side, wide * side], 0.37);
            let program = network.program();
            let expected = values(network.logits(x.clone()));
            prop_assert_eq!(&values(program.run(x.clone())), &expected, "{} as a program", name);
            let parts = x.clone().split(micro_batch, 0);
            let parts = parts.into_iter().map(|part| network.logits(part)).collect();
            prop_assert_eq!(&values(Tensor::cat(parts, 0)), &expected, "{} in parts", name);
            let cuts = cuts(program.layers.len(), &shares);
            let terms = PipelineTerms { micro_batch, ahead, ..PipelineTerms::default() };
            let pipelined = Pipelined::new(&program, &places(cuts.len()), &cuts, terms);
            let found = pipelined.expect("fits").try_logits(x).expect("runs");
            prop_assert_eq!(&values(found), &expected, "{} as {:?}", name, cuts);
        }
    }

    /// Sums have another order: 1e-5 of the largest value is some roundings of f32.
    #[test]
    fn channels_and_rows_on_several_ranks_are_one_device(
        batch in 1_usize..4,
        tall in 1_usize..5,
        wide in 1_usize..3,
        ranks in 1_usize..9,
        link in prop::sample::select(vec![1e8, 1e11, 1e16]),
    ) {
        for (name, network) in networks() {
            let side = network.stride();
            let x = wave([batch, 1, tall * side, wide * side], 0.71);
            let (program, expected) = (network.program(), network.logits(x.clone()));
            let sharded = Sharded::new(&program, &places(ranks), terms(link)).expect("fits");
            let found = sharded.try_logits(x.clone()).expect("runs");
            prop_assert!(off(&found, &expected) <= 1e-5, "{name} {:?}", sharded.ways().acts);
            let spatial = Spatial::new(&program, &places(ranks), DType::F32).expect("fits");
            let found = spatial.try_logits(x).expect("runs");
            prop_assert!(off(&found, &expected) <= 1e-5, "{name} in rows of {ranks}");
        }
    }
}

/// A convolution's sums hardly depend on how many rows there are.
#[test]
fn rows_are_nearer_than_channels() {
    let (mut rows, mut channels) = (0.0_f32, 0.0_f32);
    for (_, network) in networks() {
        let side = network.stride();
        let x = wave([2, 1, 4 * side, 3 * side], 0.71);
        let (program, expected) = (network.program(), network.logits(x.clone()));
        for ranks in 2..=4 {
            let spatial = Spatial::new(&program, &places(ranks), DType::F32).expect("fits");
            rows = rows.max(off(&spatial.try_logits(x.clone()).expect("runs"), &expected));
            let sharded = Sharded::new(&program, &places(ranks), terms(1e16)).expect("fits");
            channels = channels.max(off(&sharded.try_logits(x.clone()).expect("runs"), &expected));
        }
    }
    eprintln!("off by {rows:e} in rows, {channels:e} in channels");
    assert!(rows <= 1e-6 && channels <= 1e-5, "{rows} {channels}");
}

/// The property above would hold if nothing were ever cut.
#[test]
fn channels_are_cut_and_the_parts_are_small() {
    let network = NeuralIltConfig { width: 16, ..NeuralIltConfig::default() };
    let program = network.init(&Device::flex()).program();
    let (x, ranks) = (wave([1, 1, 16, 24], 0.37), 4);
    let expected = program.run(x.clone());
    for sums in [Sums::Fastest, Sums::Portable] {
        let places = places(ranks);
        let sharded = Sharded::new(&program, &places, ShardTerms { sums, ..terms(1e16) });
        let sharded = sharded.expect("fits");
        let columns = sharded.ways().acts.iter().filter(|act| matches!(act, ways::Act::Column(_)));
        let rows = sharded.ways().acts.iter().filter(|act| matches!(act, ways::Act::Row(_)));
        assert!(columns.count() >= 5 && rows.count() >= 5, "{:?}", sharded.ways());
        // Only the last convolution's few weights and some biases are on every rank.
        let whole = program.weight_bytes();
        let held: Vec<u64> = places.iter().map(|place| place.budget.held()).collect();
        assert!(held.iter().all(|&h| h < whole * 11 / 40 && h > whole / 5), "{held:?} of {whole}");
        assert!(off(&sharded.try_logits(x.clone()).expect("runs"), &expected) <= 1e-5);
        let report = sharded.report();
        assert!(report.traffic.iter().all(|t| t.bytes > 0 && t.exchanges > 0), "{report:?}");
        drop(sharded);
        assert!(places.iter().all(|place| place.budget.held() == 0));
    }
}

/// Rows that a rank gets from its neighbours are fewer than its own.
#[test]
fn rows_travel_and_only_those_at_the_edges() {
    let network = NeuralIltConfig { width: 4, ..NeuralIltConfig::default() };
    let program = network.init(&Device::flex()).program();
    let x = wave([1, 1, 128, 16], 0.37);
    let spatial = Spatial::new(&program, &places(4), DType::F32).expect("fits");
    assert!(off(&spatial.try_logits(x.clone()).expect("runs"), &program.run(x)) <= 1e-5);
    let traffic = spatial.report().traffic;
    let bytes: Vec<u64> = traffic.iter().map(|t| t.bytes).collect();
    assert!(bytes[1] == bytes[2] && bytes[0] == bytes[3], "{bytes:?}");
    // Those in the middle have two neighbours, at most of the doubled images at other rows.
    assert_eq!(2 * bytes[0], bytes[1]);
}

/// The bar: a model that fits on no single device of the pool runs as a pipeline of them.
#[test]
fn a_network_too_large_for_one_device_runs_on_some() {
    for (name, network) in networks() {
        let (program, side) = (network.program(), network.stride());
        let (batch, layers) = (3, program.layers.len());
        let x = wave([batch, 1, 2 * side, 2 * side], 0.37);
        let expected = values(network.logits(x.clone()));
        let terms = PipelineTerms { ahead: 0, ..PipelineTerms::default() };
        let alone = program.stage_bytes(0..layers, [1, 1, 2 * side, 2 * side], terms);
        for ranks in 2..=4 {
            let cuts = even(layers, ranks);
            let images = [1, 1, 2 * side, 2 * side];
            let stage = |cut: &Range<usize>| program.stage_bytes(cut.clone(), images, terms);
            let limit = cuts.iter().map(stage).max().expect("some");
            let small = |i: usize| Place::limited(&format!("small {i}"), &Device::flex(), limit);
            let places: Vec<Place> = (0..ranks).map(small).collect();
            let pipelined = Pipelined::new(&program, &places, &cuts, terms).expect("fits");
            for _ in 0..2 {
                let found = pipelined.try_logits(x.clone()).expect("runs");
                assert_eq!(values(found), expected, "{name} on {ranks}");
            }
            assert!(places.iter().all(|p| p.budget.peak() <= limit && p.budget.peak() > 0));
            drop(pipelined);
            assert!(places.iter().all(|place| place.budget.held() == 0));
            // One of them alone is too small.
            assert!(limit < alone, "{name}: {limit} of {alone}");
            let one = Pipelined::new(&program, &places[..1], &even(layers, 1), terms);
            let refused = one.and_then(|one| one.try_logits(x.clone())).expect_err("too large");
            assert!(refused.is_out_of_memory(), "{refused}");
            for part in ["small 0", "out of memory"] {
                assert!(refused.to_string().contains(part), "{refused}");
            }
        }
    }
}

/// Micro-batches of different sizes come out in order, while later ones go in; one that is refused ends the stream, and what went in
/// before it comes out.
#[test]
fn a_stream_gives_logits_in_order_and_ends_at_what_it_refuses() {
    let program =
        NeuralIltConfig { width: 4, ..NeuralIltConfig::default() }.init(&Device::flex()).program();
    let (layers, terms) = (program.layers.len(), PipelineTerms { ahead: 0, ..Default::default() });
    let pipelined = Pipelined::new(&program, &places(3), &even(layers, 3), terms).expect("fits");
    let image = |i: usize| wave([1 + i % 2, 1, 8 * (1 + i % 3), 16], 0.1 + i as f32);
    let expected: Vec<Vec<f32>> = (0..9).map(|i| values(program.run(image(i)))).collect();
    let mut found = Vec::new();
    pipelined.stream((0..9).map(image), |x| found.push(values(x))).expect("runs");
    assert_eq!(found, expected);
    // Inputs of two images are two micro-batches, and come back as one.
    let all = pipelined.try_all((0..9).map(image).collect()).expect("runs");
    assert_eq!(all.into_iter().map(values).collect::<Vec<_>>(), expected);

    let asked = std::cell::Cell::new(0);
    let some = (0..9).map(|i| {
        asked.set(i);
        if i == 4 { wave([1, 1, 9, 16], 0.4) } else { image(i) }
    });
    found.clear();
    let refused = pipelined.stream(some, |x| found.push(values(x))).expect_err("9 is no stride");
    assert!(matches!(refused, ParallelError::Image { found: [1, 1, 9, 16], .. }), "{refused}");
    assert_eq!((found, asked.get()), (expected[..4].to_vec(), 4));
}

#[test]
fn weights_in_host_memory_give_the_same_bits_in_less_memory() {
    for (name, network) in networks() {
        let (program, side) = (network.program(), network.stride());
        let images = [2, 1, side, 2 * side];
        let x = wave(images, 0.37);
        let expected = values(network.logits(x.clone()));
        let bytes = program.offloaded_bytes(images, DType::F32);
        let place = Place::limited("small", &Device::flex(), bytes);
        let offloaded = Offloaded::new(&program, &place, DType::F32).expect("reads");
        for _ in 0..2 {
            assert_eq!(values(offloaded.try_logits(x.clone()).expect("runs")), expected, "{name}");
        }
        assert!(place.budget.held() == 0 && place.budget.peak() <= bytes);
        assert_eq!(offloaded.report().weight_bytes, program.weight_bytes());
        let whole = program.need(0..program.layers.len(), images, DType::F32);
        assert!(bytes < whole.weights + whole.working, "{name}");
        // Too little for the largest layer is refused, however the two threads meet.
        let place = Place::limited("tiny", &Device::flex(), bytes / 3);
        let tiny = Offloaded::new(&program, &place, DType::F32).expect("reads");
        for _ in 0..2 {
            let refused = tiny.try_logits(x.clone()).expect_err("too small");
            assert!(refused.is_out_of_memory(), "{refused}");
            assert_eq!(place.budget.held(), 0);
        }
    }
}

/// 460 GB of weights would take minutes and the machine.
#[test]
fn random_weights_are_made_where_they_are_placed_and_always_the_same() {
    let huge = NeuralIltConfig { width: 8192, ..NeuralIltConfig::default() }.random_program(1);
    assert!(huge.weight_bytes() > 400 << 30);
    let config = NeuralIltConfig { width: 4, ..NeuralIltConfig::default() };
    let (program, x) = (config.random_program(7), wave([2, 1, 16, 16], 0.4));
    let cuts = even(program.layers.len(), 3);
    let pipelined = Pipelined::new(&program, &places(3), &cuts, PipelineTerms::default());
    let found = values(pipelined.expect("fits").try_logits(x.clone()).expect("runs"));
    let offloaded = Offloaded::new(&program, &places(1)[0], DType::F32).expect("made");
    assert_eq!(values(offloaded.try_logits(x.clone()).expect("runs")), found);
    assert_ne!(values(config.random_program(8).run(x)), found);
    // Values neither vanish nor explode on their way.
    let most = largest(found.iter().map(|v| v.abs()));
    assert!((0.01..100.0).contains(&most), "{most}");
}

/// All of a network's parameters are in its program, once.
#[test]
fn a_program_has_all_weights() {
    use burn::module::Module;
    let network = NeuralIltConfig::fast().init(&Device::flex());
    let program = network.program();
    assert_eq!(program.weight_bytes(), 4 * network.num_params() as u64);
    let mut count = random_kernels(0);
    let unet = NeuralIltConfig { width: 3, ..NeuralIltConfig::default() }.init(&Device::flex());
    let kernels: usize = unet
        .unet()
        .expect("a U-Net")
        .layers("unet", &mut count)
        .iter()
        .map(Layer::weight_count)
        .sum();
    assert_eq!(kernels, unet.num_params());
}

#[test]
fn costs_are_those_of_the_shapes() {
    let network = NeuralIltConfig { width: 4, ..NeuralIltConfig::default() };
    let program = network.init(&Device::flex()).program();
    let images = [2, 1, 32, 32];
    let costs = costs(&program, &Device::flex(), images, DType::F32, 2).expect("runs");
    assert_eq!(costs.len(), program.layers.len());
    let weights: u64 = costs.iter().map(|cost| cost.weight_bytes).sum();
    assert_eq!(weights, program.weight_bytes());
    assert!(costs.iter().map(|cost| cost.seconds).sum::<f64>() > 0.0);
    // After the first pooling there are a skip of 4 channels and an image of 4 at half the size.
    let halve = costs.iter().find(|cost| cost.name.ends_with("down1.halve")).expect("a pooling");
    assert_eq!(halve.output_bytes, 4 * 2 * (4 * 32 * 32 + 4 * 16 * 16));
    assert_eq!(costs.last().map(|cost| cost.output_bytes), Some(4 * 2 * 32 * 32));
    // 2 operations for each weight and pixel of the last convolution, 1 x 1 on 4 channels.
    let last = program.layers.len() - 2;
    assert_eq!(program.operations(last..last + 1, images), (2 * 4 * 2 * 32 * 32) as f64);
}

#[test]
fn even_cuts_are_a_cut_and_about_even() {
    let images = [1, 1, 256, 256];
    for program in [
        NeuralIltConfig::default().random_program(1),
        NeuralIltConfig::fast().random_program(1),
        GanOpcConfig::default().random_program(1),
    ] {
        let layers = program.layers.len();
        for stages in 1..=4 {
            let cuts = program.even_cuts(stages, images);
            let covered: Vec<usize> = cuts.iter().cloned().flatten().collect();
            assert_eq!(covered, (0..layers).collect::<Vec<_>>());
            let work = cuts.iter().map(|cut| program.operations(cut.clone(), images));
            let share = largest(work) / program.operations(0..layers, images);
            assert!(cuts.len() == stages && share < 1.8 / stages as f64, "{cuts:?} {share}");
        }
    }
}

/// Stages report what they did, and a mask comes out of a pipeline as out of the network.
#[test]
fn a_pipeline_is_a_network() {
    let network = NeuralIltConfig { width: 4, ..NeuralIltConfig::default() };
    let network = network.init(&Device::flex());
    let program = network.program();
    let cuts = even(program.layers.len(), 3);
    let pipelined =
        Pipelined::new(&program, &places(3), &cuts, PipelineTerms::default()).expect("fits");
    let target = wave([4, 1, 16, 16], 0.9).squeeze_dim::<3>(1);
    // Eight symmetries are one batch of 32 there.
    let found = pipelined.forward_symmetric(target.clone(), DType::F32);
    let expected = network.forward_symmetric(target.clone(), DType::F32);
    assert_eq!(found.try_into_vec_as::<f32>().ok(), expected.try_into_vec_as::<f32>().ok());
    assert_eq!(pipelined.report().items, 32);
    let found = pipelined.forward(target.clone(), DType::F32);
    let expected = network.forward(target, DType::F32);
    assert_eq!(found.try_into_vec_as::<f32>().ok(), expected.try_into_vec_as::<f32>().ok());
    let report = pipelined.report();
    assert_eq!((report.items, report.busy_seconds.len()), (4, 3));
    assert!((0.0..1.0).contains(&report.bubble()), "{report:?}");
    let summary = pipelined.summary();
    assert!((summary.idle() - report.bubble()).abs() < 1e-12 && summary.exchanged_bytes > 0);
}
