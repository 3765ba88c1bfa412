//! The kernels against Burn's operations and against finite differences.
//!
//! They run on OpenGL, which Mesa computes without a card, or on what `LITHOBURN_TEST_DEVICE` names: `cuda` or
//! `vulkan`. Without such a device they are skipped, and say so. Compiling takes most of their time, so they are one test.

use burn::tensor::Device;
use burn::tensor::activation::sigmoid;
use lithoburn_compare::{largest, largest_difference};

use super::*;
use crate::binary::BinaryImages;
use crate::forward::{ForwardModel, ThinMask};
use crate::ilt::descent::Descent;
use crate::ilt::models::{Models, Tally};
use crate::ilt::{IltConfig, Level};
use crate::images::from_bits;
use crate::loss::probes;
use crate::{Grids, KernelSet, Kernels, MaskCost, Simulator};

lithoburn_testing::test_device!(device);

/// A field and its corners.
#[derive(Clone, Debug)]
struct Case {
    /// Pixels on a side, of 2 nm.
    side: usize,
    window: ProcessWindow,
}

/// Sides that are no multiple of any tile, cube or part, and corners that only the general kernels know; and what folds.
fn cases() -> [Case; 3] {
    let window = ProcessWindow::default();
    let far = |corner: Corner| Corner { focus: Focus::Defocus, ..corner };
    let other = ProcessWindow { outer: far(window.outer), ..window };
    [Case { side: 60, window }, Case { side: 256, window: other }, Case { side: 256, window }]
}

/// Kernels without symmetry, so that swapped axes and signs show; as bright as the resist wants it.
fn kernels(case: &Case) -> KernelSet {
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
    KernelSet {
        period_nm: 2.0 * case.side as f64,
        focus: set(0.1),
        defocus: set(0.6),
        recipe: None,
        ambit_nm: None,
    }
}

fn config() -> IltConfig {
    let level = Level {
        pixel_nm: 2.0,
        iterations: 6,
        learning_rate: 0.1,
        steepness: [4.0, 6.0],
        smooth_nm: 10.0,
        resist_steepness: None,
    };
    IltConfig { levels: vec![level], free_nm: 100.0, ..IltConfig::default() }
}

fn pattern(pitch: usize, side: usize, device: &Device) -> Tensor<3> {
    let bit = |i: usize| (i / side * 3 + i % side) % pitch < pitch / 2;
    from_bits((0..2 * side * side).map(bit).collect(), [2, side, side], device)
}

fn goal(side: usize, device: &Device) -> Goal {
    let (target, design) = (pattern(17, side, device), pattern(19, side, device));
    Goal { target, design, strips: Some(pattern(7, side, device)) }
}

fn model(case: &Case, device: &Device) -> ThinMask {
    ThinMask::new(Simulator::new(&kernels(case), device), case.window)
}

fn values(x: Tensor<3>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().expect("f32")
}

/// The descent after some steps: parameters, Adam's means, mask, and the errors of the mask, soft and hard.
fn stand(config: &IltConfig, case: &Case, device: &Device) -> Vec<(&'static str, Vec<f32>)> {
    let (model, goal) = (model(case, device), goal(case.side, device));
    let models = Models::new(&model, None, 2.0, 2).expect("fits");
    let first = pattern(23, case.side, device) * 0.4 + 0.1;
    let mut descent = Descent::new(config, &config.levels[0], models, goal, first);
    let (mut tally, mut step, mut look) = (Tally::default(), 0, None);
    let steps_of = config.levels[0].iterations.min(5);
    while step < steps_of {
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
fn agrees_with_burn(case: &Case, device: &Device) {
    let config = config();
    let cpu = stand(&config, case, &Device::flex());
    let found = stand(&config, case, device);
    for ((name, found), (_, expected)) in found.iter().zip(&cpu) {
        assert_eq!(found.len(), expected.len(), "{name}");
        let scale = largest(expected.iter().map(|v| v.abs()));
        let off = largest_difference(found, expected);
        // Adam divides by the gradient's size: where that is nearly 0, rounding shows.
        assert!(scale > 0.0 && off <= 2e-3 * scale, "{case:?}, {name}: {off} of {scale}");
    }
    assert!(found == stand(&config, case, device), "{case:?}: other bits in a second run");
}

/// Without memory Adam's mean is the gradient itself.
fn the_gradient_is_burns(case: &Case, device: &Device) {
    let mut config = IltConfig { betas: [0.0, 0.0], ..config() };
    config.levels[0].iterations = 1;
    let cpu = stand(&config, case, &Device::flex());
    let gpu = stand(&config, case, device);
    let mean = |stand: &[(&str, Vec<f32>)]| stand[1].1.clone();
    let (found, expected) = (mean(&gpu), mean(&cpu));
    let square = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|v| f64::from(v).powi(2)).sum()
    };
    let off = square(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
    let off = (off / square(&mut expected.iter().copied())).sqrt();
    assert!(off <= 1e-5, "{case:?}: {off}"); // f32 sums of some hundred terms
}

/// The first step's mean is the gradient; the loss that it belongs to, moved along it, is the second
/// implementation.
fn is_the_slope_of_the_loss(case: &Case, device: &Device) {
    let model = model(case, device);
    let imager = model.on(2.0, 2).expect("fits");
    let fused = imager.fused().expect("kernels of our own");
    let goal = Goal { strips: None, ..goal(case.side, device) };
    let loss = PrintLoss::default();
    let step = |rate: f32| DescentStep { steepness: 4.0, grey: 0.0, rate, unbias: 1.0 };
    let plan = |rate: f32| Plan {
        steps: vec![step(rate)],
        reach: 2,
        betas: [0.0, 0.0],
        weights: PrintWeights::new(&loss, fused.window),
        first_launch: 0,
    };
    let stand = |parameters: Tensor<3>| Stand {
        mean: parameters.zeros_like(),
        square: parameters.zeros_like(),
        parameters,
    };
    let start = pattern(23, case.side, device) * 0.4 + 0.1;
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
    assert!(slope > 0.0 && (found / slope - 1.0).abs() < 1e-2, "{case:?}: {found} vs {slope}");
}

/// The whole batch at once is the second implementation: masks do not see each other.
fn shares_of_a_batch_are_the_batch(case: &Case, device: &Device) {
    let simulator = Simulator::new(&kernels(case), device);
    let grid = simulator.sampling(2.0, 2).expect("fits");
    let (goal, first) = (goal(case.side, device), pattern(23, case.side, device) * 0.4 + 0.1);
    let plan = Plan {
        steps: vec![DescentStep { steepness: 4.0, grey: 0.1, rate: 0.1, unbias: 1.0 }; 2],
        reach: 2,
        betas: [0.9, 0.99],
        weights: PrintWeights::new(&PrintLoss::default(), &case.window),
        first_launch: 0,
    };
    let after = |most: usize| {
        let stand = Stand {
            parameters: first.clone(),
            mean: first.zeros_like(),
            square: first.zeros_like(),
        };
        let open = first.ones_like();
        let (stand, mask) =
            descend_in_shares(stand, &open, &goal, (&simulator, &grid), &plan, most);
        [stand.parameters, stand.mean, stand.square, mask].map(values)
    };
    assert!(after(1) == after(2), "{case:?}: a mask depends on its batch");
}

/// Burn's operations on the CPU are the second implementation: of a mask of 2 nm pixels a part of the images, on pixels of 1 nm.
fn images_are_burns(case: &Case, device: &Device) {
    let part = |device: &Device| {
        let simulator = Simulator::new(&kernels(case), device);
        let mask = pattern(23, case.side, device) * 0.9 + 0.05;
        let grid = simulator.sampling(2.0, 2).expect("fits");
        let image = simulator.sampling(1.0, 1).expect("fits").part(11, case.side);
        let Aerial { best, defocus } = simulator.aerial_in_f32(mask, &grid, &image);
        [best, defocus].map(values)
    };
    for (found, expected) in part(device).iter().zip(part(&Device::flex())) {
        let (scale, off) =
            (largest(expected.iter().copied()), largest_difference(found, &expected));
        assert!(scale > 0.0 && off <= 1e-5 * scale, "{case:?}: {off} of {scale}");
    }
}

/// Burn's autodiff on the CPU is the second implementation: masks of 2 nm pixels, compared on pixels of 4 nm with targets that are covered
/// in part, as a network is trained.
fn slopes_are_autodiffs(case: &Case, device: &Device) {
    let cost = MaskCost {
        print: PrintLoss { band: 2.0, ..PrintLoss::default() },
        window: case.window,
        error: 16.0,
        grey: 0.3,
    };
    let made = |device: &Device| {
        let simulator = Simulator::new(&kernels(case), device);
        let target = pattern(17, case.side / 2, device) * 0.75 + 0.125;
        let logits = pattern(23, case.side, device) * 3.0 - 1.0;
        let mask = simulator.sampling(2.0, 2).expect("fits");
        let image = simulator.sampling(4.0, 1).expect("fits");
        (simulator, mask, image, target, logits)
    };
    let (simulator, mask, image, target, logits) = made(&Device::flex());
    let logits = logits.autodiff().require_grad();
    let grids = Grids { mask: &mask, image: &image };
    let value = cost.value(&simulator, grids, &sigmoid(logits.clone()), &target.autodiff());
    let expected = values(logits.grad(&value.backward()).expect("a gradient"));

    let (simulator, mask, image, target, logits) = made(device);
    assert!(simulator.has_kernels());
    let grids = Grids { mask: &mask, image: &image };
    let slope = || values(cost.slope(&simulator, grids, &sigmoid(logits.clone()), &target));
    let found = slope();
    let square = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|v| f64::from(v).powi(2)).sum()
    };
    let off = square(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
    let off = (off / square(&mut expected.iter().copied())).sqrt();
    assert!(off <= 1e-4, "{case:?}: {off}"); // f32 sums of some hundred terms, on either side
    assert!(found == slope(), "{case:?}: other bits in a second run");
}

/// The walk over pixels in memory is the second implementation.
fn strips_are_those_in_memory(device: &Device) {
    let n = 256;
    let inside = |i: usize| {
        let (x, y) = (i % n, i / n);
        let bar = |a: usize, b: usize| (a..b).contains(&x) && (40..200).contains(&y);
        bar(20, 60) || bar(66, 68) || bar(100, 180) && (y / 50) % 2 == 0 || (x + y) % 256 < 9
    };
    let strips = |device: &Device| {
        let target = from_bits((0..n * n).map(inside).collect(), [1, n, n], device);
        let target = BinaryImages::of(target, 0.5, "test").expect("a target");
        values(probes::strips(&target, probes::at_probes(2.0), 2.0, device).expect("strips"))
    };
    let (found, expected) = (strips(device), strips(&Device::flex()));
    assert!(expected.contains(&1.0) && expected.contains(&0.0));
    assert!(found == expected, "other strips on the device");
}

#[test]
fn the_kernels_take_burns_steps_down_the_slope() {
    let Some(device) = device() else { return };
    for case in cases() {
        the_gradient_is_burns(&case, &device);
        // Of a larger field the errors, summed in f32, drown the difference: 1 to 4 % at 256². Burn's gradient is its check.
        if case.side == 60 {
            is_the_slope_of_the_loss(&case, &device);
        }
        agrees_with_burn(&case, &device);
        shares_of_a_batch_are_the_batch(&case, &device);
        images_are_burns(&case, &device);
    }
    strips_are_those_in_memory(&device);
}

/// Of three fields the last one folds, with its images on a coarser grid.
#[test]
fn slopes_of_masks_are_those_of_autodiff() {
    let Some(device) = device() else { return };
    let [small, other, usual] = cases();
    for case in [small, other, Case { side: 512, ..usual }] {
        slopes_are_autodiffs(&case, &device);
    }
}
