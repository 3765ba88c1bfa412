#![recursion_limit = "256"]
//! Speed of what is done to masks and targets on the CPU, on 1024² pixels of 2 nm: `cargo bench --bench mask`.

use lithoburn::layout::generate::ClipRules;
use lithoburn::layout::{Coverage, Frame, MaskRules, Raster, distance, fracture};
use lithoburn::litho::PackedImages;
use lithoburn::litho::metrics::epe_sites;

fn main() {
    divan::main();
}

fn design() -> Raster {
    let clip = ClipRules::default().clip(3);
    let frame = Frame::centred(&clip, 2048.0, 2.0).expect("fits");
    clip.rasterize(&frame, Coverage::Exact).binarized()
}

/// A design with a ragged halo around it, as a solver leaves it: small shapes, slits and spurs.
fn ragged() -> Vec<bool> {
    let design = design();
    let near = distance::squared(&design.binary(), design.width);
    let wave = |i: usize, pitch: f64| {
        ((i % 1024) as f64 * pitch).sin() * ((i / 1024) as f64 * pitch).cos()
    };
    let inside = |(i, &d): (usize, &u64)| match (d as f64).sqrt() {
        d if d < 4.0 => true,
        d if (30.0..45.0).contains(&d) => wave(i, 0.11) + 0.5 * wave(i, 0.37) > 0.1,
        _ => false,
    };
    near.iter().enumerate().map(inside).collect()
}

#[divan::bench]
fn enforce_rules(bencher: divan::Bencher) {
    let mask = ragged();
    bencher.bench_local(|| MaskRules::default().enforce(&mask, 1024, 2.0));
}

#[divan::bench]
fn forbidden_by_rules(bencher: divan::Bencher) {
    let mask = ragged();
    bencher.bench_local(|| MaskRules::default().forbidden(&mask, 1024, 2.0));
}

#[divan::bench]
fn check_rules(bencher: divan::Bencher) {
    let data = ragged().iter().map(|&b| f32::from(u8::from(b))).collect();
    let mask = Raster { width: 1024, height: 1024, pixel_nm: 2.0, data };
    bencher.bench_local(|| MaskRules::default().check(&mask));
}

#[divan::bench]
fn count_shots(bencher: divan::Bencher) {
    let data = ragged().iter().map(|&b| f32::from(u8::from(b))).collect();
    let mask = Raster { width: 1024, height: 1024, pixel_nm: 2.0, data };
    bencher.bench_local(|| fracture::shot_count(&mask));
}

#[divan::bench]
fn find_epe_sites(bencher: divan::Bencher) {
    let design = PackedImages::at_least(&design().data, 1024, 0.5);
    bencher.bench_local(|| epe_sites(design.bitmap(0), 2.0));
}
