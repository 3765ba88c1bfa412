//! The simulator's own kernels against Burn's graph on the CPU.
//!
//! They run on OpenGL, which Mesa computes without a card, or on CUDA where `LITHOBURN_TEST_DEVICE` says so; else they are skipped, and say so.

use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, TensorData};
use lithoburn_litho::optics::Optics;
use lithoburn_models::{MaskNetwork, NeuralIltConfig};
use lithoburn_pool::{DeviceName, choose};
use lithoburn_testing::Need;

use super::*;
use crate::config::Network;
use crate::objective::Objective;
use crate::{TrainConfig, field_clip};

/// Pixels of the network's image on a side, on pixels of 32 nm.
const SIDE: usize = 64;

/// OpenGL is opened once in a process.
fn device() -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let open = || {
        let on_card = std::env::var("LITHOBURN_TEST_DEVICE").is_ok_and(|name| name == "cuda");
        let name = if on_card { DeviceName::Cuda(Some(0)) } else { DeviceName::Gl };
        choose(name).ok().map(|chosen| chosen.device)
    };
    let why = "no OpenGL here, and LITHOBURN_TEST_DEVICE names no device";
    Need::Gpu.met(DEVICE.get_or_init(open).clone(), why)
}

fn network() -> NeuralIltConfig {
    NeuralIltConfig {
        width: 2,
        pixel_nm: 32.0,
        upsample: 8,
        logit_scale: 0.5,
        ..Default::default()
    }
}

fn objective(device: &Device) -> (Objective, Batch) {
    let kernels = Optics { count: 2, source_step: 0.2, ..Optics::default() };
    let kernels = kernels.kernels().expect("optics");
    let config = TrainConfig { network: Network::NeuralIlt(network()), ..TrainConfig::default() };
    let config = Arc::new(config);
    let module = network().init(&Device::flex());
    let objective = Objective::new(&config, &module, &kernels, device).expect("fits");
    let clip = |i| field_clip(&config.clips, 5, i, kernels.period_nm, 4.0);
    let batch = objective.batch(&[clip(0), clip(3)]);
    (objective, batch)
}

/// Both sides of 0, so that some pixels of the masks are grey.
fn wave<const D: usize>(shape: [usize; D], pitch: f32, device: &Device) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| 4.0 * (i as f32 * pitch).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// ‖difference‖ / ‖reference‖
fn distance(found: Tensor<4>, expected: Tensor<4>) -> f64 {
    let values = |x: Tensor<4>| x.try_into_vec_as::<f32>().expect("f32");
    let (found, expected) = (values(found), values(expected));
    assert_eq!(found.len(), expected.len());
    let square = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|v| f64::from(v).powi(2)).sum()
    };
    let off = square(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
    (off / square(&mut expected.iter().copied())).sqrt()
}

#[test]
fn the_simulators_kernels_lead_back_where_the_graph_does() {
    let Some(device) = device() else { return };
    let _alone = crate::first::alone();
    let logits = |device: &Device| wave([2, 1, SIDE, SIDE], 0.37, device);
    let expected = {
        let (objective, batch) = objective(&Device::flex());
        assert!(!objective.has_kernels());
        let logits = logits(&Device::flex()).autodiff().require_grad();
        let mask = network().init(&Device::flex()).mask(batch.seen, logits.clone());
        let gradients = objective.loss(&mask, &batch.target, 0.5).backward();
        logits.grad(&gradients).expect("a gradient")
    };
    let (objective, batch) = objective(&device);
    assert!(objective.has_kernels());
    let head = network().init(&Device::flex()).head();
    let mask = head.opened(batch.seen, logits(&device));
    let off = distance(objective.slope(head, &mask, &batch.target, 0.5), expected);
    assert!(off <= 1e-4, "{off}"); // f32 sums of some thousand terms
}

/// A window and a full field, drawn by either from the same edges.
#[test]
fn clips_and_what_the_network_sees_are_the_cpus_to_the_last_bit() {
    let Some(device) = device() else { return };
    let _alone = crate::first::alone();
    let values = |x: Tensor<3>| x.try_into_vec_as::<f32>().expect("f32");
    let both = |device: &Device| {
        let (_, batch) = objective(device);
        [values(batch.target), values(batch.seen)]
    };
    let (found, expected) = (both(&device), both(&Device::flex()));
    assert!(expected.iter().flatten().any(|v| *v > 0.0 && *v < 1.0), "pixels covered in part");
    assert!(found == expected);
}

#[test]
fn an_opinion_of_masks_leads_back_where_the_graph_does() {
    let Some(device) = device() else { return };
    let _alone = crate::first::alone();
    let cpu = Device::flex();
    let (logits, by_means) =
        (wave([2, 1, SIDE, SIDE], 0.37, &cpu), wave([2, SIDE, SIDE], 0.11, &cpu));
    let target = wave([2, SIDE, SIDE], 0.05, &cpu) / 8.0 + 0.5;
    let module = network().init(&cpu);
    let expected = {
        let logits = logits.clone().autodiff().require_grad();
        let mask = module.mask(target.clone(), logits.clone());
        let cost = resized(mask, SIDE) * by_means.clone().autodiff();
        logits.grad(&cost.sum().backward()).expect("a gradient")
    };
    let head = module.head();
    let mask = head.opened(target.to_device(&device), logits.to_device(&device));
    let off = distance(of_means(head, &mask, &by_means.to_device(&device)), expected);
    assert!(off <= 1e-5, "{off}");
}
