//! Against the simulator, by finite differences, and what is refused.

use burn::module::Param;
use burn::tensor::TensorData;
use lithoburn_litho::bake::BakeConfig;
use lithoburn_litho::forward::ThinMask;
use lithoburn_litho::optics::Optics;
use lithoburn_litho::{Kernels, Simulator};

use super::*;
use crate::truth::kernels_sha256;

fn kernels() -> KernelSet {
    Optics { count: 3, source_step: 0.1, ..Optics::default() }.kernels().expect("optics")
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().expect("f32")
}

/// A mask without symmetry, so that swapped axes show.
fn mask() -> Tensor<3> {
    let open = |i: usize| {
        let (x, y) = (i % 128, i / 128);
        ((40..46).contains(&x) && (30..90).contains(&y))
            || ((46..80).contains(&x) && (50..56).contains(&y))
    };
    let data: Vec<f32> = (0..128 * 128).map(|i| f32::from(u8::from(open(i)))).collect();
    Tensor::from_data(TensorData::new(data, [1, 128, 128]), &Device::flex())
}

/// With the true kernels for learned ones it must be the simulator: the second implementation.
#[test]
fn with_the_true_kernels_it_is_the_simulator() -> Result<(), LithoError> {
    let (set, device, window) = (kernels(), Device::flex(), ProcessWindow::default());
    let config = SurrogateConfig { kernels: 3, ..SurrogateConfig::thin(&set) };
    let mut surrogate = config.init(0, &device);
    let side = set.focus.side;
    let turned = |part: fn(&Kernels) -> &[f32]| {
        let scaled = |k: &Kernels| -> Vec<f32> {
            let at = |i: usize| {
                let (kernel, u, v) = (i / (side * side), i % side, i / side % side);
                // The file has the row's frequency first, the surrogate the column's.
                part(k)[(kernel * side + u) * side + v] * k.scales[kernel].sqrt()
            };
            (0..3 * side * side).map(at).collect()
        };
        let data = [scaled(&set.focus), scaled(&set.defocus)].concat();
        let data = TensorData::new(data, [1, 6, side, side]);
        Param::from_tensor(Tensor::from_data(data, &device))
    };
    surrogate.re = turned(|k| &k.re);
    surrogate.im = turned(|k| &k.im);
    let learned = LearnedModel::new(surrogate, window, &device);
    let truth = ThinMask::new(Simulator::new(&set, &device), window);
    for (pixel, points) in [(16.0, 16), (16.0, 1)] {
        let found = learned.on(pixel, points)?.images(mask());
        let expected = truth.on(pixel, points)?.images(mask());
        for (a, b) in found.each().into_iter().zip(expected.each()) {
            let off: f32 = (a.clone() - b.clone()).abs().max().into_scalar();
            assert!(off < 1e-5, "{off}"); // f32 sums of order 1
        }
    }
    Ok(())
}

#[test]
fn its_gradient_by_the_mask_is_the_finite_difference() -> Result<(), LithoError> {
    let set = kernels();
    let config = SurrogateConfig { kernels: 2, width: 4, ..SurrogateConfig::baked(&set) };
    let device = Device::flex();
    let surrogate = config.init(3, &device);
    let learned = LearnedModel::new(surrogate, ProcessWindow::default(), &device);
    let imager = learned.on(16.0, 16)?;
    let wave = |pitch: f32| {
        let wave: Vec<f32> = (0..128 * 128).map(|i| (i as f32 * pitch).cos()).collect();
        Tensor::<3>::from_data(TensorData::new(wave, [1, 128, 128]), &device)
    };
    let (weight, toward) = (wave(0.013), wave(0.37));
    let sum = |images: CornerImages| -> f64 {
        let each = images.nominal + images.outer * 0.5 - images.inner;
        values(each * weight.clone()).iter().map(|&v| f64::from(v)).sum()
    };
    let exposed = imager.expose(mask());
    let by = |factor: f64| weight.clone() * factor;
    let gradient =
        exposed.pull_back(CornerImages { nominal: by(1.0), outer: by(0.5), inner: by(-1.0) })?;
    let along: f64 = values(gradient * toward.clone()).iter().map(|&v| f64::from(v)).sum();
    let h = 0.02;
    let moved = |by: f64| sum(imager.images(mask() + toward.clone() * by));
    let expected = (moved(h) - moved(-h)) / (2.0 * h);
    assert!((along - expected).abs() < 5e-3 * expected.abs().max(0.1), "{along} vs {expected}");
    Ok(())
}

#[test]
fn another_true_model_is_told_from_its_own() {
    let set = kernels();
    let truth = Truth {
        kernels_sha256: kernels_sha256(&set),
        diffusion_nm: 0.0,
        bake: None,
        window: ProcessWindow::default(),
    };
    let mut other = set.clone();
    other.defocus.im[7] += 1e-3;
    let of = |truth: Truth, other: Truth| truth.is(&other).expect_err("differs");
    let kernels = Truth { kernels_sha256: kernels_sha256(&other), ..truth.clone() };
    assert!(of(truth.clone(), kernels).contains("kernels"));
    let baked = Truth { bake: Some(BakeConfig::default()), ..truth.clone() };
    assert!(of(truth.clone(), baked.clone()).contains("threshold resist"));
    assert!(of(baked.clone(), truth.clone()).contains("bake"));
    let longer = BakeConfig { steps: 20, ..BakeConfig::default() };
    let longer = Truth { bake: Some(longer), ..truth.clone() };
    assert!(of(baked.clone(), longer).contains("steps"));
    let written = serde_json::to_vec(&baked).expect("JSON");
    let read: Truth = serde_json::from_slice(&written).expect("a truth");
    assert_eq!(read.is(&baked), Ok(()));
    assert!(of(truth.clone(), Truth { diffusion_nm: 5.0, ..truth.clone() }).contains("5 nm"));
    let mut window = truth.clone();
    window.window.outer.dose = 1.1;
    assert_eq!(truth.is(&window), Ok(()));
    let dosed = Truth { bake: Some(BakeConfig::default()), ..window };
    assert!(of(baked, dosed).contains("corners"));
}

#[test]
fn a_configuration_that_makes_no_image_is_refused_by_its_field() {
    let thin = SurrogateConfig::thin(&kernels());
    let cases = [
        ("width", SurrogateConfig { intensities: 2, ..thin.clone() }),
        ("period_nm", SurrogateConfig { period_nm: f64::NAN, ..thin.clone() }),
        ("half", SurrogateConfig { half: 0, ..thin.clone() }),
        ("coarse", SurrogateConfig { coarse: 4 * thin.half, ..thin.clone() }),
        (
            "intensities",
            SurrogateConfig { kernels: 1000, intensities: 2, width: 4, ..thin.clone() },
        ),
        ("kernels", SurrogateConfig { kernels: usize::MAX, ..thin.clone() }),
    ];
    for (field, config) in cases {
        let problem = config.check().expect_err("refused");
        assert!(problem.starts_with(field), "{problem}");
    }
    let config = SurrogateConfig { intensities: 2, ..thin };
    let stored = Stored::of(&serde_json::to_vec(&config).expect("JSON"), &[]);
    let refused = Surrogate::of(&stored, &Device::flex()).expect_err("refused");
    assert!(refused.to_string().contains("width"), "{refused}");
}

/// Burn's generator is the process's own: whoever else draws from it must not be told where to begin.
#[test]
fn first_weights_follow_the_seed_and_leave_burns_generator_alone() {
    let device = Device::flex();
    let config = SurrogateConfig { kernels: 2, width: 4, ..SurrogateConfig::baked(&kernels()) };
    let draw = || {
        let normal = burn::tensor::Distribution::Default;
        values(Tensor::<1>::random([8], normal, &device))
    };
    let after = |seed| {
        device.seed(seed);
        config.init(3, &device);
        draw()
    };
    assert_ne!(after(11), after(12));
    let weights = |seed| values(config.init(seed, &device).re.val());
    assert_eq!(weights(3), weights(3));
    assert_ne!(weights(3), weights(4));
    // The lens apart: noise of deviation 0.2 under the window, at whose middle it is 1.
    let middle = config.half * (2 * config.half + 2);
    let side = 2 * config.half + 1;
    let noise: Vec<f64> =
        (0..200).map(|seed| f64::from(weights(seed)[side * side + middle])).collect();
    let square = noise.iter().map(|v| v * v).sum::<f64>() / noise.len() as f64;
    // Of 200 squares of normal numbers, the mean is within 10 % of the variance four times in five.
    assert!((square / 0.04 - 1.0).abs() < 0.35, "{square}");
}
