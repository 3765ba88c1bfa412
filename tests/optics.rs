//! The committed kernels, remade and compared.

use lithoburn::burn::tensor::{Device, Tensor, TensorData};
use lithoburn::engine::default_kernels;
use lithoburn::litho::forward::ThinMask;
use lithoburn::litho::ilt::{Ilt, IltConfig, Level, Start};
use lithoburn::litho::loss::PrintLoss;
use lithoburn::litho::optics::Optics;
use lithoburn::litho::{KernelSet, ProcessWindow, Simulator};
use lithoburn_testing::reference;

#[test]
fn the_committed_kernels_are_what_their_recipe_makes() {
    let committed = default_kernels().expect("built in");
    assert_eq!(committed.recipe.as_ref().map(|r| &r.optics), Some(&Optics::default()));
    let made = Optics::default().kernels().expect("makes");
    // f32 storage of a TCC; eigenvectors of equal weights may rotate, their TCC does not.
    assert!(made.focus.tcc_distance(&committed.focus) < 1e-4);
    assert!(made.defocus.tcc_distance(&committed.defocus) < 1e-4);
}

#[test]
fn the_kernels_are_the_contests_to_a_few_percent() {
    let load = |name: &str| {
        let path = reference(&format!("golden/kernels/{name}.safetensors"))?;
        Some(KernelSet::load(&path).expect("reference kernels"))
    };
    let (Some(contest), Some(model)) = (load("iccad13_hdr24"), load("model_vector_cquad")) else {
        return;
    };
    let ours = default_kernels().expect("built in");
    let focus = ours.focus.tcc_distance(&contest.focus);
    let defocus = ours.defocus.tcc_distance(&contest.defocus);
    assert!(focus <= 0.05, "focus {focus}");
    assert!(defocus <= 0.05, "defocus {defocus}");
    assert!(ours.focus.tcc_distance(&model.focus) <= 0.02);
}

/// A finite difference is the independent check of the whole chain mask → print → loss.
#[test]
fn the_gradient_is_the_finite_difference() {
    let device = Device::flex();
    let simulator = Simulator::new(&default_kernels().expect("built in"), &device);
    let grid = simulator.sampling(16.0, 1).expect("128 pixels");
    let n = grid.size;
    let bar = |i: usize| (50..78).contains(&(i % n)) && (40..88).contains(&(i / n));
    let target: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(bar(i)))).collect();
    let mask: Vec<f32> =
        target.iter().enumerate().map(|(i, t)| 0.2 + 0.6 * t + 0.1 * (i as f32).sin()).collect();
    let tensor =
        |v: &[f32]| Tensor::<3>::from_data(TensorData::new(v.to_vec(), [1, n, n]), &device);
    let loss = PrintLoss::default();
    let window = ProcessWindow::default();
    let value = |mask: Tensor<3>| {
        let images = simulator.aerial(mask, &grid, &grid).at_corners(&window);
        loss.value(&images, &tensor(&target))
    };
    let leaf = tensor(&mask).autodiff().require_grad();
    let gradient = leaf.grad(&value(leaf.clone()).backward()).expect("a gradient");
    let gradient = gradient.try_into_vec_as::<f32>().expect("f32");
    // Along a smooth direction, so that f32 differences have digits left.
    let direction: Vec<f32> =
        (0..n * n).map(|i| ((i % n) as f32 * 0.2).sin() * ((i / n) as f32 * 0.15).cos()).collect();
    let along: f64 =
        gradient.iter().zip(&direction).map(|(&g, &d)| f64::from(g) * f64::from(d)).sum();
    let at = |step: f32| {
        let moved: Vec<f32> = mask.iter().zip(&direction).map(|(m, d)| m + step * d).collect();
        f64::from(value(tensor(&moved)).into_scalar::<f32>())
    };
    let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
    // Third derivative times step², and f32 sums of 16,384 terms.
    assert!((along / difference - 1.0).abs() < 1e-2, "{along} vs {difference}");
}

#[test]
fn ilt_halves_the_error_of_a_bar() {
    let device = Device::flex();
    let kernels = default_kernels().expect("built in");
    let simulator = Simulator::new(&kernels, &device);
    let level = Level {
        pixel_nm: 16.0,
        iterations: 40,
        learning_rate: 0.2,
        steepness: [4.0, 4.0],
        smooth_nm: 16.0,
        resist_steepness: None,
    };
    let config = IltConfig { levels: vec![level], ..IltConfig::default() };
    let n = 128;
    let bar = |i: usize| (60..66).contains(&(i % n)) && (44..84).contains(&(i / n));
    let target: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(bar(i)))).collect();
    let target = Tensor::<3>::from_data(TensorData::new(target, [1, n, n]), &device);
    let model = ThinMask::new(simulator.clone(), ProcessWindow::default());
    let found = Ilt::new(&config, &model).run(&target, &Start::Target, &mut |_| true);
    let mask = found.expect("runs").masks.to_tensor(&device);
    let grid = simulator.sampling(16.0, 16).expect("128 pixels");
    let error = |mask: Tensor<3>| {
        let print = simulator.aerial(mask, &grid, &grid).best.greater_equal_elem(0.225).float();
        (print - target.clone()).abs().sum().into_scalar::<f32>()
    };
    let (before, after) = (error(target.clone()), error(mask));
    assert!(after * 2.0 <= before, "{before} → {after}");
}
