//! The surrogates that ship: as good as their cards say, and of no use for other optics.

use lithoburn::burn::tensor::{Device, Tensor, TensorData};
use lithoburn::engine::{TrueModel, default_kernels};
use lithoburn::layout::{Coverage, Frame, Layout, ReadOptions};
use lithoburn::litho::bake::BakeConfig;
use lithoburn::litho::forward::ForwardModel;
use lithoburn::litho::ilt::{Ilt, IltConfig, Start};
use lithoburn::litho::{KernelSet, ProcessWindow};
use lithoburn_testing::reference;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/layouts/metal_clip.glp");

fn model(kernels: KernelSet, bake: Option<BakeConfig>) -> TrueModel {
    TrueModel { kernels, diffusion_nm: 0.0, bake, window: ProcessWindow::default() }
}

/// The example's clip on 256 pixels of 8 nm.
fn target() -> Tensor<3> {
    let layout = Layout::read(EXAMPLE.as_ref(), &ReadOptions::default()).expect("example");
    let frame = Frame::centred(&layout, 2048.0, 8.0).expect("fits");
    let data = layout.rasterize(&frame, Coverage::Exact).data;
    Tensor::from_data(TensorData::new(data, [1, 256, 256]), &Device::flex())
}

/// A descent of one level.
fn short(iterations: usize) -> IltConfig {
    let mut config = IltConfig::default();
    config.levels.truncate(1);
    config.levels[0].iterations = iterations;
    config
}

fn number(x: Tensor<3>) -> f32 {
    x.try_into_vec_as::<f32>().expect("f32")[0]
}

/// Mean square error on the design and on a mask that the surrogate itself led to.
fn check(model: &TrueModel) {
    let device = Device::flex();
    let truth = model.on(&device).expect("true model");
    let (learned, _) = model.surrogate(None, &device).expect("a built-in surrogate");
    let config = short(24);
    let descent = Ilt::new(&config, &learned);
    let found = descent.run(&target(), &Start::Target, &mut |_| true).expect("descends");
    let mask = found.masks.to_tensor(&device);
    let (truth, learned) = (truth.on(8.0, 8).expect("fits"), learned.on(8.0, 8).expect("fits"));
    for mask in [target(), mask] {
        let error = truth.images(mask.clone()).mean_square_error(&learned.images(mask));
        let error = number(error);
        assert!(error <= 1e-5, "{error:e}");
    }
}

#[test]
fn shipped_surrogates_image_masks_to_1e_5() {
    check(&model(default_kernels().expect("kernels"), None));
    if let Some(path) = reference("golden/kernels/iccad13_openilt.safetensors") {
        check(&model(KernelSet::load(&path).expect("kernels"), None));
    }
}

#[test]
fn the_shipped_surrogate_of_a_bake_images_masks_to_1e_5() {
    check(&model(default_kernels().expect("kernels"), Some(BakeConfig::default())));
}

/// A tenth of the calls, 3 % of the quality: the method's promise, on a short descent.
#[test]
fn a_descent_through_the_surrogate_ends_where_the_exact_one_does() {
    let (model, device) = (model(default_kernels().expect("kernels"), None), Device::flex());
    let truth = model.on(&device).expect("true model");
    let (learned, _) = model.surrogate(None, &device).expect("a built-in surrogate");
    let config = short(40);
    let error = |descent: Ilt| {
        let found = descent.run(&target(), &Start::Target, &mut |_| true).expect("descends");
        let images = truth.on(8.0, 8).expect("fits").images(found.masks.to_tensor(&device));
        let printed = |image: &Tensor<3>| image.clone().greater_equal_elem(0.225).float();
        let design = target().greater_equal_elem(0.5).float();
        let l2 = (printed(&images.nominal) - design).abs();
        let band = (printed(&images.outer) - printed(&images.inner)).abs();
        (number((l2 + band).sum_dim(2).sum_dim(1)), found.usage)
    };
    let (exact, usual) = error(Ilt::new(&config, truth.as_ref()));
    let learned = Ilt::new(&config, truth.as_ref()).with_surrogate(&learned, 20);
    let (found, usage) = error(learned);
    assert!(found <= 1.03 * exact, "{found} vs {exact}");
    assert_eq!((usual.true_model_calls, usage.true_model_calls), (42, 4));
    assert!(usage.surrogate_mse.is_some_and(|mse| mse <= 1e-5), "{usage:?}");
}

#[test]
fn a_surrogate_of_other_optics_is_refused_with_what_to_do() {
    let mut kernels = default_kernels().expect("kernels");
    kernels.focus.re[0] += 1e-3;
    let device = Device::flex();
    let refused = |model: &TrueModel, directory: Option<&str>| {
        let found = model.surrogate(directory.map(str::as_ref), &device);
        found.expect_err("refused").to_string()
    };
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../weights/surrogate-ilt");
    let problem = refused(&model(kernels.clone(), None), Some(shipped));
    assert!(
        problem.contains("optical kernels") && problem.contains("lithoburn train"),
        "{problem}"
    );
    assert!(problem.contains(shipped), "{problem}");
    let problem = refused(&model(kernels, None), None);
    assert!(problem.contains("lithoburn train --model surrogate-ilt"), "{problem}");
    let baked = model(default_kernels().expect("kernels"), Some(BakeConfig::default()));
    assert!(refused(&baked, Some(shipped)).contains("threshold resist"));
}
