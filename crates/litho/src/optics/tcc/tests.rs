//! The optics against closed forms and against a second implementation.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::optics::source::{Polarization, Source};
use crate::optics::zernike::Aberrations;
use crate::{Focus, Simulator};

/// Pixels on a side of the masks here.
const N: usize = 16;

fn small() -> Optics {
    Optics { count: 8, source_step: 0.06, ..Optics::default() }
}

#[test]
fn kernels_are_orthonormal_and_weights_descend() -> Result<(), LithoError> {
    let set = small().kernels()?;
    for kernels in [&set.focus, &set.defocus] {
        for i in 0..8 {
            for j in 0..8 {
                let expected = f64::from(u8::from(i == j));
                // f32 storage of unit vectors of 1225 entries.
                assert!((kernels.overlap(i, kernels, j).norm() - expected).abs() < 1e-5);
            }
        }
        assert!(kernels.scales.windows(2).all(|w| w[0] >= w[1]));
    }
    Ok(())
}

/// One point on the axis is coherent light: one kernel, and it is the pupil.
#[test]
fn coherent_light_has_one_kernel() -> Result<(), LithoError> {
    let source = Source::Conventional { sigma: 0.0015 };
    let optics = Optics { source, source_step: 0.002, count: 3, ..Optics::default() };
    let kernels = Optics { polarization: Polarization::CrossPoles, ..optics.clone() }.kernels()?;
    // A field along y alone has three components behind a steep lens, so look at a flat one.
    let flat = Optics { pupil: Pupil { sine: 1e-6, ..optics.pupil }, ..optics }.kernels()?;
    assert!(flat.focus.scales[1] / flat.focus.scales[0] < 1e-6);
    assert!(kernels.focus.scales[1] / kernels.focus.scales[0] > 1e-3);
    Ok(())
}

#[test]
fn a_lens_that_passes_more_than_is_kept_is_refused() {
    let optics = Optics { half: 8, ..small() };
    assert!(optics.kernels().unwrap_err().to_string().contains("only 8 are kept"));
}

/// A lens so flat that light is a scalar, its pupil's radius in bins; all kernels are kept.
fn scalar(radius_bins: f64, source: Source, source_step: f64) -> Result<Optics, LithoError> {
    let pupil = Pupil { na: 0.8, sine: 1e-3, ..Optics::default().pupil };
    let period_nm = radius_bins * pupil.wavelength_nm / pupil.na;
    let polarization = Polarization::Unpolarized;
    let optics = Optics { source, source_step, pupil, period_nm, ..Optics::default() };
    let optics = Optics { polarization, ..optics }.with_passed_frequencies()?;
    Optics { count: (2 * optics.half + 1).pow(2), ..optics }.exposed_to_clear_field()
}

/// The image in focus of a mask of `N` x `N` points.
fn image(optics: &Optics, mask: &[f64]) -> Result<Vec<f64>, LithoError> {
    image_of(&optics.kernels()?, mask, N)
}

fn image_of(set: &KernelSet, mask: &[f64], n: usize) -> Result<Vec<f64>, LithoError> {
    let device = Device::flex();
    let simulator = Simulator::new(set, &device);
    let grid = simulator.sampling(set.period_nm / n as f64, 1)?;
    let values: Vec<f32> = mask.iter().map(|&v| v as f32).collect();
    let mask = Tensor::<3>::from_data(TensorData::new(values, [1, n, n]), &device);
    let image = simulator.aerial(mask, &grid, &grid).at(Focus::Best);
    let values = image.try_into_vec_as::<f32>().expect("f32");
    Ok(values.into_iter().map(f64::from).collect())
}

/// Lines along y, the same in each row.
fn lines(row: impl Fn(usize) -> f64) -> Vec<f64> {
    (0..N * N).map(|i| row(i % N)).collect()
}

fn angle(x: usize) -> f64 {
    2.0 * PI * (x as f64 + 0.5) / N as f64
}

/// Half of the period bright: amplitudes 1/2 at order 0, ∓1/(N sin π/N) at ±1, nothing at ±2.
fn half_bright() -> (Vec<f64>, f64) {
    (
        lines(|x| f64::from(u8::from(!(N / 4..3 * N / 4).contains(&x)))),
        1.0 / (N as f64 * (PI / N as f64).sin()),
    )
}

/// Orders −1, 0 and 1 of a grating pass: I = (1/2 + 2 a cos)².
#[test]
fn a_coherent_grating_is_three_beams() -> Result<(), LithoError> {
    let optics = scalar(1.66, Source::Conventional { sigma: 0.0015 }, 0.002)?;
    let (mask, first) = half_bright();
    for (i, found) in image(&optics, &mask)?.into_iter().enumerate() {
        let expected = (0.5 + 2.0 * first * angle(i % N).cos()).powi(2);
        // f32 sums, and a lens that is flat to 1e-6.
        assert!((found - expected).abs() < 2e-5, "{i}: {found} vs {expected}");
    }
    Ok(())
}

/// Light from the side lets orders 0 and −1 through: I = 1/4 + a² + a cos.
#[test]
fn a_coherent_grating_lit_from_the_side_is_two_beams() -> Result<(), LithoError> {
    let point = SourcePoint { at: [0.7, 0.0], weight: 1.0 };
    let optics = scalar(1.66, Source::Points(vec![point]), 0.02)?;
    let (mask, first) = half_bright();
    for (i, found) in image(&optics, &mask)?.into_iter().enumerate() {
        let expected = 0.25 + first * first + first * angle(i % N).cos();
        assert!((found - expected).abs() < 2e-5, "{i}: {found} vs {expected}"); // f32 sums
    }
    Ok(())
}

/// Incoherent light images |mask|², each frequency f (of the cutoff 2 NA / wavelength) times
/// 2/π (acos f − f √(1 − f²)). The mask (1 + cos) / 2 has |mask|² = 3/8 + cos / 2 + …
#[test]
fn incoherent_light_has_the_diffraction_limited_mtf() -> Result<(), LithoError> {
    for f in [0.25, 0.35, 0.45_f64] {
        let optics = scalar(0.5 / f, Source::Conventional { sigma: 2.0 }, 0.04)?;
        let mask = lines(|x| 0.5 + 0.5 * angle(x).cos());
        let row = &image(&optics, &mask)?[..N];
        let mean = row.iter().sum::<f64>() / N as f64;
        let waves = row.iter().enumerate().map(|(x, v)| 2.0 * v * angle(x).cos());
        let modulation = waves.sum::<f64>() / N as f64 / mean;
        let mtf = 2.0 / PI * (f.acos() - f * (1.0 - f * f).sqrt());
        let expected = 0.5 / 0.375 * mtf;
        // The area of a disc of 25 steps' radius, counted in points.
        assert!((modulation - expected).abs() < 4e-3, "{f}: {modulation} vs {expected}");
    }
    Ok(())
}

/// A small system in which everything matters: poles, a steep lens, aberrations, defocus.
fn aberrated() -> Result<Optics, LithoError> {
    let lens = Optics::default().pupil;
    let aberrations = Aberrations::default().with(7, 0.05)?.with(5, -0.04)?.with(10, 0.03)?;
    let pupil = Pupil { na: 1.2, sine: 0.7, defocus_rad: 0.4, aberrations, ..lens };
    let source = Source::Quadrupole { inner: 0.5, outer: 0.9, half_angle_deg: 25.0 };
    let optics = Optics { source, pupil, period_nm: 300.0, source_step: 0.08, ..Optics::default() };
    let optics = Optics { polarization: Polarization::Azimuthal, ..optics };
    let optics = optics.with_passed_frequencies()?;
    Optics { count: (2 * optics.half + 1).pow(2), ..optics }.exposed_to_clear_field()
}

/// Abbe's image: the sum over source points of what each would image alone.
fn abbe(optics: &Optics, mask: &[f64]) -> Vec<f64> {
    let (half, radius) = (optics.half as i64, optics.pupil.radius_bins(optics.period_nm));
    let wave = |f: i64, x: usize| 2.0 * PI * f as f64 * (x as f64 + 0.5) / N as f64;
    let orders: Vec<[i64; 2]> =
        (-half..=half).flat_map(|u| (-half..=half).map(move |v| [u, v])).collect();
    let spectrum = |[u, v]: [i64; 2]| {
        let pixel = |(i, &value): (usize, &f64)| {
            let phase = -wave(u, i / N) - wave(v, i % N);
            c64::new(phase.cos(), phase.sin()) * (value / (N * N) as f64)
        };
        mask.iter().enumerate().map(pixel).sum::<c64>()
    };
    let spectrum: Vec<c64> = orders.iter().map(|&order| spectrum(order)).collect();
    let mut image = vec![0.0; N * N];
    for point in optics.source.points(optics.source_step) {
        for (field, share) in optics.polarization.fields(point.at) {
            for (i, intensity) in image.iter_mut().enumerate() {
                let mut behind = [c64::new(0.0, 0.0); 3];
                for (&[u, v], amplitude) in orders.iter().zip(&spectrum) {
                    let rho = [v as f64 / radius + point.at[0], u as f64 / radius + point.at[1]];
                    let Some(passed) = optics.pupil.transmit(rho, field) else { continue };
                    let phase = wave(u, i / N) + wave(v, i % N);
                    let beam = c64::new(phase.cos(), phase.sin()) * amplitude;
                    behind.iter_mut().zip(passed).for_each(|(sum, p)| *sum += beam * p);
                }
                let energy: f64 = behind.iter().map(|c| c.norm_sqr()).sum();
                *intensity += point.weight * share * optics.exposure[0] * energy;
            }
        }
    }
    image
}

#[test]
fn abbes_sum_over_the_source_is_the_same_image() -> Result<(), LithoError> {
    let optics = aberrated()?;
    // An L: no symmetry may hide a sign or a transpose.
    let lit = |x: usize, y: usize| {
        (3..6).contains(&x) && (2..13).contains(&y) || (3..12).contains(&x) && y == 12
    };
    let mask: Vec<f64> = (0..N * N).map(|i| f64::from(u8::from(lit(i % N, i / N)))).collect();
    let (kernels, points) = (image(&optics, &mask)?, abbe(&optics, &mask));
    for (i, (a, b)) in kernels.iter().zip(&points).enumerate() {
        assert!((a - b).abs() < 1e-5, "{i}: {a} vs {b}"); // f32 against f64
    }
    Ok(())
}

#[test]
fn the_clear_field_is_one() -> Result<(), LithoError> {
    let optics = aberrated()?;
    for intensity in image(&optics, &[1.0; N * N])? {
        assert!((intensity - 1.0).abs() < 1e-5, "{intensity}"); // f32 sums
    }
    let few = Optics { count: 5, ..optics }.exposed_to_clear_field()?.kernels()?;
    assert!((few.focus.clear_field() - 1.0).abs() < 1e-5);
    Ok(())
}

/// Z2 is a tilt: the image moves by its waves · wavelength / NA, here two pixels, and keeps its shape.
#[test]
fn a_tilt_moves_the_image() -> Result<(), LithoError> {
    let straight = scalar(1.66, Source::Conventional { sigma: 0.3 }, 0.1)?;
    let waves = 2.0 / N as f64 * 1.66;
    let aberrations = Aberrations::default().with(2, waves)?;
    let pupil = Pupil { aberrations, ..straight.pupil };
    let tilted = Optics { pupil, ..straight.clone() };
    let mask = lines(|x| f64::from(u8::from(x < 5)));
    let (at, moved) = (image(&straight, &mask)?, image(&tilted, &mask)?);
    for x in 0..N {
        assert!((moved[x] - at[(x + 2) % N]).abs() < 1e-5, "{x}"); // f32 sums
    }
    Ok(())
}

#[test]
fn kernels_at_a_focus_are_those_of_its_rim_phase() -> Result<(), LithoError> {
    let optics = aberrated()?;
    let phase = optics.pupil.defocus_rad + optics.pupil.rim_phase(-35.0);
    let set = Optics { defocus_rad: phase, ..optics.clone() }.kernels()?;
    // f32 storage of a TCC.
    assert!(optics.at_focus(-35.0)?.tcc_distance(&set.defocus) < 1e-4);
    assert!(optics.at_focus(0.0)?.tcc_distance(&set.focus) < 1e-4);
    assert!(optics.at_focus(-35.0)?.tcc_distance(&set.focus) > 1e-2);
    assert!(optics.at_focus(f64::NAN).is_err());
    Ok(())
}

/// A mask that repeats after 1024 nm has the same image in a field of twice that period.
#[test]
fn the_period_does_not_matter_to_a_mask_that_repeats() -> Result<(), LithoError> {
    // 150 kernels are all: 3 components of about 50 points.
    let fine = Optics { source_step: 0.1, count: 160, ..Optics::default() };
    let short = Optics { period_nm: 1024.0, ..fine.clone() }.with_passed_frequencies()?;
    let n = 64; // 16 nm
    let lit = |x: usize, y: usize| {
        (10..16).contains(&x) && (8..50).contains(&y)
            || (30..52).contains(&x) && (20..27).contains(&y)
    };
    let at = |x: usize, y: usize| f64::from(u8::from(lit(x % n, y % n)));
    let mask: Vec<f64> = (0..n * n).map(|i| at(i % n, i / n)).collect();
    let twice: Vec<f64> = (0..4 * n * n).map(|i| at(i % (2 * n), i / (2 * n))).collect();
    let once = image_of(&short.kernels()?, &mask, n)?;
    let both = image_of(&fine.kernels()?, &twice, 2 * n)?;
    for (i, value) in both.iter().enumerate() {
        let (x, y) = (i % (2 * n), i / (2 * n));
        let expected = once[y % n * n + x % n];
        assert!((value - expected).abs() < 5e-5, "{x} {y}: {value} vs {expected}"); // f32 sums
    }
    Ok(())
}

#[test]
fn optics_that_cannot_be_are_refused() {
    let lens = Optics::default().pupil;
    let problem = |optics: Optics| optics.kernels().expect_err("no such optics").to_string();
    let of = |pupil: Pupil| problem(Optics { pupil, ..small() });
    assert!(of(Pupil { na: -0.8, ..lens }).contains("NA must be positive, got -0.8"));
    assert!(of(Pupil { sine: 1.2, ..lens }).contains("NA / index"));
    assert!(of(Pupil { defocus_rad: f64::NAN, ..lens }).contains("finite"));
    let far = Optics { period_nm: 1e6, ..small() };
    assert!(far.with_passed_frequencies().unwrap_err().to_string().contains("at most 64"));
}

/// Sets made before there were aberrations still say how.
#[test]
fn an_old_recipe_is_read() -> Result<(), serde_json::Error> {
    let mut json = serde_json::to_value(Optics::default())?;
    assert!(json["pupil"].get("aberrations").is_none());
    assert_eq!(serde_json::from_value::<Optics>(json.clone())?, Optics::default());
    json["pupil"]["aberrations"] = serde_json::json!({ "Z9": 0.02 });
    let optics = serde_json::from_value::<Optics>(json)?;
    assert_eq!(optics.pupil.aberrations.terms().collect::<Vec<_>>(), [(9, 0.02)]);
    Ok(())
}
