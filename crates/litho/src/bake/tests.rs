//! The bake against closed forms, conservation and finite differences.

use lithoburn_compare::largest_difference;

use super::*;

fn optics() -> KernelSet {
    let optics = Optics { count: 6, source_step: 0.1, ..Optics::default() };
    optics.kernels().expect("optics")
}

fn bake(config: BakeConfig) -> Bake {
    let (window, resist) = (ProcessWindow::default(), Resist::default());
    Bake::new(&optics(), &config, window, &resist, &Device::flex()).expect("fits")
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().expect("f32")
}

/// Two bars and a square on 128 pixels of 16 nm.
fn mask(grey: f32) -> Tensor<3> {
    let open = |i: usize| {
        let (x, y) = (i % 128, i / 128);
        let bars = (40..46).contains(&x) || (52..58).contains(&x);
        (bars && (30..90).contains(&y)) || ((70..80).contains(&x) && (50..60).contains(&y))
    };
    let data: Vec<f32> = (0..128 * 128).map(|i| if open(i) { 1.0 - grey } else { grey }).collect();
    Tensor::from_data(TensorData::new(data, [1, 128, 128]), &Device::flex())
}

/// Without diffusion, quencher and depth, what is deprotected grows with the light alone.
#[test]
fn without_chemistry_it_prints_what_the_threshold_resist_prints() -> Result<(), LithoError> {
    let config = BakeConfig {
        planes: 1,
        absorption_per_um: 0.0,
        quencher: 0.0,
        acid_diffusion_nm: 0.0,
        quencher_diffusion_nm: 0.0,
        ..BakeConfig::default()
    };
    let bake = bake(config);
    let baked = bake.on(16.0, 16)?.images(mask(0.0));
    let thin = crate::forward::ThinMask::new(
        Simulator::new(&optics(), &Device::flex()),
        ProcessWindow::default(),
    );
    let images = thin.on(16.0, 16)?.images(mask(0.0));
    for (baked, image) in baked.each().into_iter().zip(images.each()) {
        let (baked, image) = (values(baked.clone()), values(image.clone()));
        let mut printed = 0;
        for (&b, &i) in baked.iter().zip(&image) {
            // The edge is matched between pixels of 2 nm: 1e-3 of intensity.
            assert!((i - 0.225).abs() < 1e-3 || (b >= 0.225) == (i >= 0.225), "{b} for {i}");
            printed += usize::from(b >= 0.225);
        }
        assert!(printed > 100, "{printed}");
    }
    Ok(())
}

/// A large bar's edge lies where the threshold resist has it, the whole chemistry on.
#[test]
fn a_straight_edge_prints_where_the_threshold_resist_prints_it() -> Result<(), LithoError> {
    let bake = bake(BakeConfig::default());
    let bar: Vec<f32> =
        (0..256 * 256).map(|i| f32::from(u8::from((80..176).contains(&(i % 256))))).collect();
    let bar = || Tensor::from_data(TensorData::new(bar.clone(), [1, 256, 256]), &Device::flex());
    let thin = crate::forward::ThinMask::new(
        Simulator::new(&optics(), &Device::flex()),
        ProcessWindow::default(),
    );
    let edge = |image: Tensor<3>| {
        let row = values(image.narrow(1, 128, 1));
        let x = (0..128).find(|&x| row[x] < 0.225 && row[x + 1] >= 0.225).expect("an edge");
        (x as f32 + (0.225 - row[x]) / (row[x + 1] - row[x])) * 8.0
    };
    let baked = edge(bake.on(8.0, 8)?.images(bar()).nominal);
    let sharp = edge(thin.on(8.0, 8)?.images(bar()).nominal);
    // Crossings are interpolated linearly between pixels of 8 nm.
    assert!((baked - sharp).abs() < 0.5, "{baked} vs {sharp} nm");
    Ok(())
}

/// What reacts, reacts one to one; and the closed form of a ⇌ q with equal amounts, a / (1 + k a t).
#[test]
fn neutralisation_takes_as_much_acid_as_quencher() {
    let device = Device::flex();
    let tensor = |v: [f32; 4]| Tensor::<1>::from_floats(v, &device).reshape([1, 1, 2, 2]);
    let (mut acid, mut quencher) = (tensor([0.5, 0.3, 0.1, 0.0]), tensor([0.1, 0.3, 0.3, 0.2]));
    let before = values(acid.clone() - quencher.clone());
    for _ in 0..2000 {
        [acid, quencher] = neutralized(acid, quencher, 20.0 / 2000.0);
    }
    let after = values(acid.clone() - quencher.clone());
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-4));
    let (acid, quencher) = (values(acid), values(quencher));
    assert!(acid.iter().chain(&quencher).all(|&v| v >= 0.0));
    let expected = 0.3 / (1.0 + 20.0 * 0.3);
    assert!((acid[1] - expected).abs() < 1e-3, "{} vs {expected}", acid[1]); // first order in the step
}

/// More steps and finer pixels change little: the defaults have converged.
#[test]
fn steps_and_pixels_have_converged() -> Result<(), LithoError> {
    // Deprotection less that of the edge: the slope that scales it is finer than the pixels can hold.
    let depths = |pixel_nm: f64, steps: usize| -> Result<Vec<f64>, LithoError> {
        let bake = bake(BakeConfig { planes: 1, pixel_nm, steps, ..BakeConfig::default() });
        let image = values(bake.on(16.0, 16)?.images(mask(0.0)).nominal);
        Ok(image.iter().map(|&v| (f64::from(v) - 0.225) / bake.scale.factor).collect())
    };
    let BakeConfig { pixel_nm, steps, .. } = BakeConfig::default();
    let usual = depths(pixel_nm, steps)?;
    for (finer, bar) in [((8.0, steps), 2e-3), ((pixel_nm, 64), 2e-2)] {
        let other = depths(finer.0, finer.1)?;
        let off = largest_difference(&usual, &other);
        // The grid's error falls faster than any power; the step's is of first order.
        assert!(off < bar, "{finer:?}: {off}");
    }
    Ok(())
}

#[test]
fn the_gradient_pulled_back_is_the_finite_difference() -> Result<(), LithoError> {
    let config = BakeConfig { planes: 2, steps: 4, ..BakeConfig::default() };
    let bake = bake(config);
    let imager = bake.on(16.0, 16)?;
    let weight: Vec<f32> = (0..128 * 128).map(|i| (i as f32 * 0.013).sin()).collect();
    let weight = Tensor::<3>::from_data(TensorData::new(weight, [1, 128, 128]), &Device::flex());
    let sum = |images: CornerImages| -> f64 {
        let each = images.nominal + images.outer * 0.5 - images.inner;
        values(each * weight.clone()).iter().map(|&v| f64::from(v)).sum()
    };
    let exposed = imager.expose(mask(0.1));
    let by = |factor: f64| weight.clone() * factor;
    let gradient = CornerImages { nominal: by(1.0), outer: by(0.5), inner: by(-1.0) };
    let gradient = exposed.pull_back(gradient)?;
    let toward: Vec<f32> = (0..128 * 128).map(|i| (i as f32 * 0.37).cos()).collect();
    let toward = Tensor::<3>::from_data(TensorData::new(toward, [1, 128, 128]), &Device::flex());
    let along: f64 = values(gradient * toward.clone()).iter().map(|&v| f64::from(v)).sum();
    let h = 0.02;
    let moved = |by: f64| sum(imager.images(mask(0.1) + toward.clone() * by));
    let expected = (moved(h) - moved(-h)) / (2.0 * h);
    assert!((along - expected).abs() < 5e-3 * expected.abs().max(0.1), "{along} vs {expected}");
    Ok(())
}

#[test]
fn kernels_without_a_recipe_and_senseless_numbers_are_refused() {
    let refused = |set: &KernelSet, config: &BakeConfig| {
        let (window, resist) = (ProcessWindow::default(), Resist::default());
        Bake::new(set, config, window, &resist, &Device::flex()).expect_err("refused").to_string()
    };
    let bare = KernelSet { recipe: None, ..optics() };
    assert!(refused(&bare, &BakeConfig::default()).contains("recipe"));
    let thin = BakeConfig { thickness_nm: 0.0, ..BakeConfig::default() };
    assert!(refused(&optics(), &thin).contains("thickness_nm"));
    let coarse = BakeConfig { pixel_nm: 32.0, ..BakeConfig::default() };
    assert!(refused(&optics(), &coarse).contains("too coarse"));
}
