//! Against reference data: OpenILT's images and scores, a true gradient, a published network.

use std::collections::HashMap;
use std::path::Path;

use lithoburn::burn::tensor::{Device, Tensor, TensorData};
use lithoburn::engine::Evaluator;
use lithoburn::layout::{Coverage, Frame, Layout, Raster, ReadOptions, png};
use lithoburn::litho::Process;
use lithoburn::litho::loss::PrintLoss;
use lithoburn::litho::{Focus, KernelSet, ProcessWindow, Resist, Simulator};
use lithoburn::models::{UNetConfig, weights};
use lithoburn_compare::largest_difference;
use lithoburn_testing::reference;

use crate::reference::npz;

fn contest_kernels() -> Option<KernelSet> {
    let path = reference("golden/kernels/iccad13_openilt.safetensors")?;
    Some(KernelSet::load(&path).expect("reference kernels"))
}

fn image(path: &Path) -> Raster {
    let bytes = std::fs::read(path).expect("reference image");
    png::decode(path, &bytes, 1.0).expect("reference image").binarized()
}

/// The largest difference of an image's every 16th pixel from the reference, and where it is.
fn apart(image: &Raster, expected: &[f32], dose: f64) -> f64 {
    let at = |i: usize| f64::from(image.data[(i / 128) * 16 * image.width + (i % 128) * 16]) * dose;
    largest_difference((0..expected.len()).map(at), expected)
}

fn check_aerials(archive: &str, masks: &[(String, String)]) {
    let (Some(kernels), Some(path)) = (contest_kernels(), reference(archive)) else { return };
    let expected = npz(&path);
    let evaluator = Evaluator::new(&kernels, &Process::default());
    for (key, mask) in masks {
        let Some(file) = reference(&format!("golden/images/{mask}.png")) else { return };
        let [best, defocus] = evaluator.aerial(&image(&file), 1.0).expect("simulates");
        for (name, (_, corner)) in ["nom", "max", "min"].iter().zip(evaluator.window().corners()) {
            let image = if corner.focus == Focus::Best { &best } else { &defocus };
            let (_, values) = &expected[&format!("{key}_{name}")];
            let off = apart(image, values, corner.dose);
            // The bar: f32 products of 2048 terms on both sides.
            assert!(off <= 2e-6, "{key} {name}: {off:e}");
        }
    }
}

#[test]
fn aerial_images_of_the_designs_are_openilts() {
    let masks: Vec<_> = (1..=10).map(|i| (format!("t{i}"), format!("M1_test{i}_target"))).collect();
    check_aerials("golden/aerial_unopt_stride16.npz", &masks);
}

#[test]
fn aerial_images_of_optimised_masks_are_openilts() {
    let solvers = ["simpleilt", "multilevel", "curvmulti"];
    let names = |i: usize| solvers.map(|s| (format!("{s}_t{i}"), format!("M1_test{i}_{s}_mask")));
    let masks: Vec<_> = (1..=10).flat_map(names).collect();
    check_aerials("golden/aerial_opt_stride16.npz", &masks);
}

#[test]
fn scores_of_published_masks_are_the_published_scores() {
    let (Some(kernels), Some(path)) = (contest_kernels(), reference("golden/metrics.json")) else {
        return;
    };
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).expect("metrics")).expect("JSON");
    let evaluator = Evaluator::new(&kernels, &Process::default());
    let sets = [
        ("simpleilt", "repo_shipped_masks_OpenILT_tmp_MOSAIC_test"),
        ("multilevel", "repo_shipped_masks_OpenILT_tmp_MultiLevel_mask"),
        ("curvmulti", "repo_shipped_masks_OpenILT_tmp_CurvILT_mask"),
    ];
    for case in 1..=10 {
        let find = |name: &str| reference(&format!("golden/images/M1_test{case}_{name}.png"));
        let Some(target) = find("target") else { return };
        for (solver, set) in sets {
            let Some(mask) = find(&format!("{solver}_mask")) else { return };
            let found =
                evaluator.evaluate(&image(&mask), &image(&target), 0).expect("scores").metrics;
            let expected = &json[set][case.to_string()];
            let number = |key: &str| expected[key].as_f64().expect("a number");
            // Pixels at the very threshold may fall either way: the bar allows five.
            assert!(
                (found.l2_nm2 - number("l2")).abs() <= 5.0,
                "{solver} {case}: {found:?} vs {expected}"
            );
            assert!(
                (found.pvb_nm2 - number("pvb")).abs() <= 5.0,
                "{solver} {case}: {found:?} vs {expected}"
            );
            assert_eq!(found.epe_violations as f64, number("epe"), "{solver} {case}");
        }
    }
}

#[test]
fn the_inclusive_raster_is_openilts() {
    for case in 1..=10 {
        let glp = reference(&format!("iccad13/M1_test{case}.glp"));
        let png = reference(&format!("golden/images/M1_test{case}_target.png"));
        let (Some(glp), Some(png)) = (glp, png) else { return };
        let layout = Layout::read(&glp, &ReadOptions::default()).expect("clip");
        let frame = Frame::centred(&layout, 2048.0, 1.0).expect("fits");
        assert_eq!(
            layout.rasterize(&frame, Coverage::Inclusive).data,
            image(&png).data,
            "case {case}"
        );
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn the_gradient_is_the_true_one() {
    let archive = reference("golden/grad_M1_test1_256.npz");
    let (Some(kernels), Some(path)) = (contest_kernels(), archive) else { return };
    let arrays = npz(&path);
    let device = Device::flex();
    let tensor = |name: &str| {
        Tensor::<3>::from_data(TensorData::new(arrays[name].1.clone(), [1, 256, 256]), &device)
    };
    let simulator = Simulator::new(&kernels, &device);
    let grid = simulator.sampling(8.0, 1).expect("256 pixels");
    let resist = Resist::default();
    let loss = PrintLoss {
        nominal: 1.0,
        outer: 1.0,
        inner: 1.0,
        band: 0.0,
        resist,
        ..PrintLoss::default()
    };
    let mask = tensor("mask").autodiff().require_grad();
    let value = {
        let images = simulator.aerial(mask.clone(), &grid, &grid);
        loss.value(&images.at_corners(&ProcessWindow::default()), &tensor("target"))
    };
    let gradient = mask.grad(&value.backward()).expect("a gradient");
    let gradient = gradient.try_into_vec_as::<f32>().expect("f32");
    let like = cosine(&gradient, &arrays["grad_true"].1);
    assert!(like >= 0.9999, "{like}");
    // Known failure of the reference code: its own gradient is not the derivative of its loss.
    let theirs = cosine(&gradient, &arrays["grad_openilt_exact"].1);
    assert!(theirs < 0.99, "{theirs}");
}

/// Weights by the formula that the reference was made with: entry j, element i.
fn formula(j: usize, shape: &[usize], weight: bool) -> Vec<f32> {
    let fan_in: usize = shape[1..].iter().product();
    let scale = if weight { (2.0 / fan_in as f64).sqrt() } else { 0.01 };
    let value = |i: usize| (scale * (1.0 + 0.37 * j as f64 + 0.7131 * i as f64).sin()) as f32;
    (0..shape.iter().product()).map(value).collect()
}

#[test]
fn the_u_net_is_neural_ilts() {
    let Some(path) = reference("golden/nn/nn_formula_init.npz") else { return };
    let device = Device::flex();
    let mut net = UNetConfig::new().init(&device);
    let w = 64;
    let blocks = [
        ("down1", 1, w),
        ("down2", w, 2 * w),
        ("down3", 2 * w, 4 * w),
        ("down4", 4 * w, 8 * w),
        ("up3", 12 * w, 4 * w),
        ("up2", 6 * w, 2 * w),
        ("up1", 3 * w, w),
    ];
    let convs = blocks.iter().flat_map(|&(name, from, to)| {
        [
            (format!("{name}.conv1"), vec![to, from, 3, 3]),
            (format!("{name}.conv2"), vec![to, to, 3, 3]),
        ]
    });
    let convs = convs.chain([("last".to_string(), vec![1, w, 1, 1])]);
    let mut tensors: HashMap<String, (Vec<usize>, Vec<u8>)> = HashMap::new();
    for (index, (name, shape)) in convs.enumerate() {
        let bytes = |v: Vec<f32>| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let bias = vec![shape[0]];
        tensors.insert(
            format!("{name}.bias"),
            (bias.clone(), bytes(formula(2 * index + 1, &bias, false))),
        );
        let weight = formula(2 * index, &shape, true);
        tensors.insert(format!("{name}.weight"), (shape, bytes(weight)));
    }
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.clone(), view.expect("shape and bytes agree"))
    });
    let file = safetensors::serialize(views, None).expect("serializes");
    weights::load_bytes(&mut net, Path::new("formula"), file).expect("loads");
    let n = 64;
    let inside = |y: usize, x: usize| {
        let one = (n / 4..n / 4 + n / 8).contains(&y) && (n / 8..n - n / 8).contains(&x);
        let two = (n / 2..n - n / 8).contains(&y) && (n / 3..n / 3 + n / 8).contains(&x);
        f32::from(u8::from(one || two))
    };
    let input: Vec<f32> = (0..n * n).map(|i| inside(i / n, i % n)).collect();
    let input = Tensor::<4>::from_data(TensorData::new(input, [1, 1, n, n]), &device);
    let output = net.forward(input).try_into_vec_as::<f32>().expect("f32");
    let expected = &npz(&path)["neuralilt_unet_logits"].1;
    let off = largest_difference(&output, expected);
    assert!(off <= 1e-4, "{off:e}");
}
