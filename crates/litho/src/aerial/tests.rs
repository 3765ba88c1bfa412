//! The image against its definition, autodiff and closed forms.

use lithoburn_compare::{largest, largest_difference};

use super::*;

/// A set whose kernels have no symmetry, so that swapped axes or signs show.
fn set(half: usize) -> KernelSet {
    let side = 2 * half + 1;
    let wave = |seed: f32| -> Vec<f32> {
        (0..2 * side * side).map(|i| (seed + i as f32 * 0.7).sin()).collect()
    };
    let kernels = |seed: f32| Kernels {
        side,
        re: wave(seed),
        im: wave(seed + 1.0),
        scales: vec![1.5, 0.4],
        kept: None,
    };
    KernelSet {
        period_nm: 32.0,
        focus: kernels(0.1),
        defocus: kernels(0.6),
        recipe: None,
        ambit_nm: None,
    }
}

fn mask(n: usize) -> Vec<f32> {
    (0..n * n).map(|i| ((i * i + 3 * i) % 11) as f32 / 10.0).collect()
}

/// A part of an image is that part, and a mask that is dark outside a part is its part.
#[test]
fn parts_of_a_grid_are_parts_of_its_images() {
    let (n, first, size) = (32, 5, 11);
    let simulator = Simulator::new(&set(2), &Device::flex());
    let grid = simulator.sampling(1.0, 1).expect("fits");
    let part = grid.part(first, size);
    let crop = |x: Tensor<3>| x.narrow(1, first, size).narrow(2, first, size);
    let off = |a: Tensor<3>, b: Tensor<3>| (a - b).abs().max().into_scalar::<f32>();
    let whole = Tensor::<1>::from_floats(mask(n).as_slice(), &Device::flex());
    let whole = whole.reshape([1, n, n]);
    let all = simulator.aerial(whole.clone(), &grid, &grid);
    let some = simulator.aerial(whole.clone(), &grid, &part);
    assert!(off(crop(all.best), some.best) < 1e-6);
    assert!(off(crop(all.defocus), some.defocus) < 1e-6);
    let edge = |n: usize| (first..first + size).contains(&n);
    let inside: Vec<f32> =
        (0..n * n).map(|i| f32::from(u8::from(edge(i % n) && edge(i / n)))).collect();
    let inside = Tensor::<1>::from_floats(inside.as_slice(), &Device::flex());
    let framed = whole.clone() * inside.reshape([1, n, n]);
    let framed = simulator.aerial(framed, &grid, &grid);
    let alone = simulator.aerial(crop(whole), &part, &grid);
    assert!(off(framed.best, alone.best) < 1e-6);
}

/// The definition, term by term in f64: the second implementation.
fn direct(kernels: &Kernels, mask: &[f32], n: usize) -> Vec<f64> {
    let (side, half) = (kernels.side, kernels.side as i64 / 2);
    let wave = |f: i64, x: usize| 2.0 * PI * f as f64 * (x as f64 + 0.5) / n as f64;
    let mut intensity = vec![0.0; n * n];
    for k in 0..kernels.count() {
        let mut passed = Vec::new();
        for (u, v) in
            (0..side * side).map(|i| (i as i64 / side as i64 - half, i as i64 % side as i64 - half))
        {
            let (mut re, mut im) = (0.0, 0.0);
            for (i, &m) in mask.iter().enumerate() {
                let phase = -(wave(u, i / n) + wave(v, i % n));
                re += f64::from(m) * phase.cos() / (n * n) as f64;
                im += f64::from(m) * phase.sin() / (n * n) as f64;
            }
            let at = (k * side * side) + passed.len();
            let (hr, hi) = (f64::from(kernels.re[at]), f64::from(kernels.im[at]));
            passed.push((hr * re - hi * im, hr * im + hi * re));
        }
        for (i, value) in intensity.iter_mut().enumerate() {
            let (mut re, mut im) = (0.0, 0.0);
            for (j, &(pr, pi)) in passed.iter().enumerate() {
                let (u, v) = (j as i64 / side as i64 - half, j as i64 % side as i64 - half);
                let phase = wave(u, i / n) + wave(v, i % n);
                re += pr * phase.cos() - pi * phase.sin();
                im += pr * phase.sin() + pi * phase.cos();
            }
            *value += f64::from(kernels.scales[k]) * (re * re + im * im);
        }
    }
    intensity
}

#[test]
fn the_image_is_hopkins_sum_term_by_term() -> Result<(), LithoError> {
    let (set, device) = (set(2), Device::flex());
    let simulator = Simulator::new(&set, &device);
    let grid = simulator.sampling(2.0, 1)?;
    let data = TensorData::new(mask(16), [1, 16, 16]);
    let aerial = simulator.aerial(Tensor::from_data(data, &device), &grid, &grid);
    for (focus, kernels) in [(Focus::Best, &set.focus), (Focus::Defocus, &set.defocus)] {
        let ours: Vec<f32> = aerial.at(focus).try_into_vec_as::<f32>().expect("f32");
        let expected = direct(kernels, &mask(16), 16);
        for (a, b) in ours.iter().zip(&expected) {
            assert!((f64::from(*a) - b).abs() < 1e-5, "{a} vs {b}"); // f32 sums of order 1
        }
    }
    Ok(())
}

/// Burn's autodiff is the second implementation.
#[test]
fn the_gradient_pulled_back_is_that_of_autodiff() -> Result<(), LithoError> {
    let device = Device::flex();
    let mut set = set(3);
    set.defocus.scales.truncate(1); // foci with different numbers of kernels
    let length = 49;
    set.defocus.re.truncate(length);
    set.defocus.im.truncate(length);
    let simulator = Simulator::new(&set, &device);
    let (grid, image) = (simulator.sampling(1.0, 2)?, simulator.sampling(2.0, 1)?);
    let masks: Vec<f32> = (0..2 * 32 * 32).map(|i| ((i * 7) % 13) as f32 / 12.0).collect();
    let masks = Tensor::<3>::from_data(TensorData::new(masks, [2, 32, 32]), &device);
    let cubes = |a: &Aerial| [a.best.clone().powi_scalar(3), a.defocus.clone().powi_scalar(3)];

    let tracked = masks.clone().autodiff().require_grad();
    let [best, defocus] = cubes(&simulator.aerial(tracked.clone(), &grid, &image));
    let gradients = (best.sum() + defocus.sum() * 0.5).backward();
    let expected = tracked.grad(&gradients).expect("a gradient");

    let exposure = simulator.expose(masks, &grid, &image);
    let square = |a: &Tensor<3>, weight: f64| a.clone() * a.clone() * (3.0 * weight);
    let gradient = Aerial {
        best: square(&exposure.aerial.best, 1.0),
        defocus: square(&exposure.aerial.defocus, 0.5),
    };
    let found = simulator.pull_back(&exposure, &gradient, &grid, &image);
    let values = |t: Tensor<3>| t.try_into_vec_as::<f32>().expect("f32");
    let (found, expected) = (values(found), values(expected));
    let most = largest(expected.iter().map(|v| v.abs()));
    let off = largest_difference(&found, &expected);
    assert!(most > 0.0 && off < 1e-5 * most, "{off} of {most}");
    Ok(())
}

/// A Gaussian blur, summed over the pixels, is the second implementation.
#[test]
fn diffusion_is_a_gaussian_blur_of_the_image() -> Result<(), LithoError> {
    let (device, sigma) = (Device::flex(), 2.5);
    let plain = Simulator::new(&set(3), &device);
    let grid = plain.sampling(1.0, 1)?;
    let blurred = plain.clone().with_diffusion(sigma);
    let blurred_grid = blurred.sampling(1.0, 1)?;
    let mask = || Tensor::from_data(TensorData::new(mask(32), [1, 32, 32]), &device);
    let values = |t: Tensor<3>| t.try_into_vec_as::<f32>().expect("f32");
    let sharp = values(plain.aerial(mask(), &grid, &grid).best);
    let soft = values(blurred.aerial(mask(), &blurred_grid, &blurred_grid).best);
    // The period is 32 nm: three of them on each side hold all of the Gaussian.
    let weight = |d: i64| (-0.5 * (d as f64 / sigma).powi(2)).exp();
    let total: f64 = (-48..=48).map(weight).sum();
    for y in [0_i64, 7, 20] {
        for x in [3_i64, 15, 31] {
            let mut sum = 0.0;
            for dy in -48..=48_i64 {
                for dx in -48..=48_i64 {
                    let at = (y + dy).rem_euclid(32) * 32 + (x + dx).rem_euclid(32);
                    sum += weight(dx) * weight(dy) * f64::from(sharp[at as usize]);
                }
            }
            let expected = sum / total / total;
            let found = f64::from(soft[(y * 32 + x) as usize]);
            assert!((found - expected).abs() < 1e-4, "{found} vs {expected}");
        }
    }
    Ok(())
}

/// A pixel of two by two points is the same mask as its enlargement.
#[test]
fn a_coarse_mask_images_as_its_enlargement() -> Result<(), LithoError> {
    let device = Device::flex();
    let simulator = Simulator::new(&set(3), &device);
    let (coarse, fine) = (simulator.sampling(2.0, 2)?, simulator.sampling(1.0, 1)?);
    let small = mask(16);
    let large: Vec<f32> = (0..32 * 32).map(|i| small[(i / 64) * 16 + (i % 32) / 2]).collect();
    let tensor =
        |v: Vec<f32>, n: usize| Tensor::<3>::from_data(TensorData::new(v, [1, n, n]), &device);
    let a = simulator.aerial(tensor(small, 16), &coarse, &fine).best;
    let b = simulator.aerial(tensor(large, 32), &fine, &fine).best;
    let apart: f32 = (a - b).abs().max().into_scalar();
    assert!(apart < 1e-5, "{apart}");
    Ok(())
}

#[test]
fn pixels_that_do_not_fit_are_refused_with_sizes_that_do() {
    let simulator = Simulator::new(&set(3), &Device::flex());
    let problem = |pixel_nm: f64| simulator.sampling(pixel_nm, 1).expect_err("32 nm").to_string();
    let between = problem(3.0);
    assert!(
        between.contains("3.2 nm (10)") && between.contains("2.6666666666666665 nm (12)"),
        "{between}"
    );
    assert!(problem(8.0).contains("at least 7") && problem(8.0).contains("4 nm (8)"));
    for wrong in [f64::NAN, 0.0, -1.0, f64::INFINITY, 1e-300] {
        assert!(problem(wrong).contains("do not fit"), "{wrong}");
    }
    for fits in [4.0, 3.2, 1.6, 0.8] {
        assert!(simulator.sampling(fits, 1).is_ok(), "{fits}");
    }
}
