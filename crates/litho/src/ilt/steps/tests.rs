//! The kernels against Burn's operations and against finite differences.
//!
//! They run on OpenGL, which Mesa computes without a card, or on what `LITHOBURN_TEST_DEVICE` names: `cuda` or
//! `vulkan`. Without such a device they are skipped, and say so. Compiling takes most of their time, so they are one test.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::WgpuBackend;
use burn::tensor::{Device, DeviceKind};
use lithoburn_compare::{largest, largest_difference};
use lithoburn_testing::Need;

use super::*;
use crate::forward::{ForwardModel, ThinMask};
use crate::ilt::descent::Descent;
use crate::ilt::models::{Models, Tally};
use crate::ilt::{IltConfig, Level};
use crate::images::from_bits;
use crate::{KernelSet, Kernels, Simulator};

fn device() -> Option<Device> {
    let open = || match std::env::var("LITHOBURN_TEST_DEVICE").as_deref() {
        Ok("cuda") => Some(Device::cuda(0)),
        Ok("vulkan") => Some(Device::vulkan(DeviceKind::DefaultDevice)),
        _ => Device::wgpu_options().graphics_api(WgpuBackend::Gl).init().ok(),
    };
    let works = |device: Device| {
        let sum = Tensor::<1>::ones([8], &device).sum().try_into_vec_as::<f32>().ok()?;
        (sum == [8.0]).then_some(device)
    };
    catch_unwind(AssertUnwindSafe(|| open().and_then(works))).ok().flatten()
}

/// Kernels without symmetry, so that swapped axes and signs show; as bright as the resist wants it.
fn kernels() -> KernelSet {
    let side = 7;
    let set = |seed: f32| {
        let wave = |seed: f32| -> Vec<f32> {
            let value = |i: usize| 0.1 * (seed + i as f32 * 0.7).sin();
            let mut values: Vec<f32> = (0..3 * side * side).map(value).collect();
            values[side * side / 2] = 0.6;
            values
        };
        Kernels {
            side,
            re: wave(seed),
            im: wave(seed + 1.0),
            scales: vec![1.5, 0.4, 0.2],
            kept: None,
        }
    };
    KernelSet { period_nm: 120.0, focus: set(0.1), defocus: set(0.6), recipe: None, ambit_nm: None }
}

/// 60 pixels a side: no multiple of any tile, cube or part.
fn config() -> IltConfig {
    let level = Level {
        pixel_nm: 2.0,
        iterations: 6,
        learning_rate: 0.1,
        steepness: [4.0, 6.0],
        smooth_nm: 10.0,
    };
    IltConfig { levels: vec![level], free_nm: 100.0, ..IltConfig::default() }
}

const SHAPE: [usize; 3] = [2, 60, 60];

fn pattern(pitch: usize, device: &Device) -> Tensor<3> {
    let count = SHAPE.iter().product();
    from_bits(
        (0..count).map(|i: usize| (i / 60 * 3 + i % 60) % pitch < pitch / 2).collect(),
        SHAPE,
        device,
    )
}

fn goal(device: &Device) -> Goal {
    let (target, design) = (pattern(17, device), pattern(19, device));
    Goal { target, design, strips: Some(pattern(7, device)) }
}

fn model(device: &Device) -> ThinMask {
    ThinMask::new(Simulator::new(&kernels(), device), ProcessWindow::default())
}

fn values(x: Tensor<3>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().expect("f32")
}

/// The descent after some steps: parameters, Adam's means, mask, and the errors of the mask, soft and hard.
fn stand(device: &Device) -> Vec<(&'static str, Vec<f32>)> {
    let (config, model) = (config(), model(device));
    let models = Models::new(&model, None, 2.0, 2).expect("fits");
    let first = pattern(23, device) * 0.4 + 0.1;
    let mut descent = Descent::new(&config, &config.levels[0], models, goal(device), first);
    let (mut tally, mut step, mut look) = (Tally::default(), 0, None);
    while step < 5 {
        let (steps, loss) = descent.advance(step, |s| s == 4, &mut tally).expect("steps");
        (step, look) = (step + steps, loss.or(look));
    }
    let [mean, square] = descent.memory();
    let mask = descent.mask();
    let hard = descent.hard_error(descent.hard(), &mut tally);
    vec![
        ("parameters", values(descent.parameters)),
        ("mean", values(mean)),
        ("square", values(square)),
        ("mask", values(mask)),
        ("hard error", values(hard)),
        ("loss", vec![look.expect("a look") as f32]),
    ]
}

/// Burn's operations on the CPU are the second implementation.
fn agrees_with_burn(device: &Device) {
    let cpu = stand(&Device::flex());
    for ((name, found), (_, expected)) in stand(device).iter().zip(&cpu) {
        assert_eq!(found.len(), expected.len(), "{name}");
        let scale = largest(expected.iter().map(|v| v.abs()));
        let off = largest_difference(found, expected);
        // Adam divides by the gradient's size: where that is nearly 0, rounding shows.
        let most = if *name == "hard error" { 0.0 } else { 2e-3 };
        assert!(scale > 0.0 && off <= most * scale, "{name}: {off} of {scale}");
    }
}

/// The first step's mean is the gradient; the loss that it belongs to, moved along it, is the second
/// implementation.
fn is_the_slope_of_the_loss(device: &Device) {
    let model = model(device);
    let imager = model.on(2.0, 2).expect("fits");
    let fused = imager.fused().expect("kernels of our own");
    let goal = Goal { strips: None, ..goal(device) };
    let loss = PrintLoss::default();
    let step = |rate: f32| Step { steepness: 4.0, grey: 0.0, rate, unbias: 1.0 };
    let plan = |rate: f32| Plan {
        steps: vec![step(rate)],
        reach: 2,
        betas: [0.0, 0.0],
        weights: PrintWeights::new(&loss, fused.window),
    };
    let stand = |parameters: Tensor<3>| Stand {
        mean: parameters.zeros_like(),
        square: parameters.zeros_like(),
        parameters,
    };
    let start = pattern(23, device) * 0.4 + 0.1;
    let open = start.ones_like();
    let (after, _) = fused.descend(stand(start.clone()), &open, &goal, plan(0.0));
    let gradient = after.mean;
    let at = |parameters: Tensor<3>| -> f64 {
        let (_, mask) = fused.descend(stand(parameters), &open, &goal, plan(0.0));
        let errors = fused.errors(mask, &goal, &loss, false);
        values(errors).iter().map(|&e| f64::from(e)).sum()
    };
    let slope: f64 = values(gradient.clone()).iter().map(|&g| f64::from(g).powi(2)).sum();
    let most = largest(values(gradient.clone()).iter().map(|v| v.abs()));
    let length = 2e-3 / most;
    let up = at(start.clone() + gradient.clone() * length);
    let down = at(start - gradient * length);
    let found = (up - down) / (2.0 * length);
    assert!(slope > 0.0 && (found / slope - 1.0).abs() < 1e-2, "{found} vs {slope}");
}

#[test]
fn the_kernels_take_burns_steps_down_the_slope() {
    let why = "no OpenGL here, and LITHOBURN_TEST_DEVICE names no device";
    let Some(device) = Need::Gpu.met(device(), why) else { return };
    is_the_slope_of_the_loss(&device);
    agrees_with_burn(&device);
}
