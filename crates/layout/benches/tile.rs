//! What the host does for each tile of a layout, on one thread.
//!
//! `cargo bench -p lithoburn-layout`; the ways over a float a pixel are there to compare with.

use divan::Bencher;
use lithoburn_layout::generate::ClipRules;
use lithoburn_layout::{
    Bits, Coverage, Edges, Frame, Layout, MaskRules, Polygon, contour, distance, trace,
};
use sha2::{Digest, Sha256};

fn main() {
    divan::main();
}

/// The wires of a tile of 2048 nm, in clips side by side.
fn wires() -> Vec<Polygon> {
    let rules = ClipRules { window_nm: [1000, 1000], ..ClipRules::default() };
    let clip = |i: u32| {
        let by = [f64::from(i % 2) * 1040.0, f64::from(i / 2) * 1040.0];
        let polygons = rules.clip(u64::from(i)).polygons;
        polygons.into_iter().map(move |p| p.shifted(by)).collect::<Vec<_>>()
    };
    (0..4).flat_map(clip).collect()
}

fn frame(side: usize, pixel_nm: f64) -> Frame {
    Frame { origin_nm: [0.0; 2], pixel_nm, width: side, height: side }
}

/// A mask of round shapes, as a corrected one is, on pixels of 2 nm.
fn mask(side: usize) -> Bits {
    let target = Layout::new("wires", wires()).rasterize(&frame(side, 2.0), Coverage::Exact);
    Bits::of_bools(&distance::grown(&target.binary(), side, 9.0), side)
}

#[divan::bench]
fn edges_and_key_of_a_tile(bencher: Bencher) {
    let wires = wires();
    let of = || Edges::of(&wires, &frame(1024, 2.0)).expect("simple wires").key();
    bencher.bench_local(of);
}

#[divan::bench]
fn tile_drawn_from_edges(bencher: Bencher) {
    let edges = Edges::of(&wires(), &frame(1024, 2.0)).expect("simple wires");
    bencher.bench_local(|| edges.rasterize());
}

/// As it was: drawn at 1 nm, averaged, its floats hashed.
#[divan::bench]
fn tile_drawn_averaged_and_hashed(bencher: Bencher) {
    let layout = Layout::new("wires", wires());
    bencher.bench_local(|| {
        let small = layout.rasterize(&frame(2048, 1.0), Coverage::Exact).averaged(2);
        let bytes: Vec<u8> = small.data.iter().flat_map(|v| v.to_le_bytes()).collect();
        Sha256::digest(bytes)
    });
}

#[divan::bench]
fn seam_rules_of_a_window_of_768_px(bencher: Bencher) {
    let mask = mask(768);
    bencher.bench_local(|| MaskRules::default().met(&mask, 2.0));
}

#[divan::bench]
fn polygons_of_a_core_of_512_px(bencher: Bencher) {
    let mask = mask(516);
    bencher.bench_local(|| contour::bits_within(&mask, 2.0, [2, 2, 514, 514], 1.0, [0.0; 2]));
}

#[divan::bench]
fn polygons_of_a_core_of_512_px_from_floats(bencher: Bencher) {
    let mask = mask(516).to_raster(2.0);
    bencher.bench_local(|| contour::polygons_within(&mask, [2, 2, 514, 514], 1.0, [0.0; 2]));
}

#[divan::bench]
fn outlines_of_a_core_of_512_px(bencher: Bencher) {
    let mask = mask(516);
    bencher.bench_local(|| trace::bits_within(&mask, 2.0, [2, 2, 514, 514], [0.0; 2]));
}

/// From words to runs and back, as a core goes into the journal and comes out.
#[divan::bench]
fn core_of_512_px_as_runs_and_back(bencher: Bencher) {
    let words = mask(512).to_words();
    bencher.bench_local(|| {
        let (core, mut drawn) = (Bits::of_words(&words, 512, 512), Bits::dark(512, 512));
        for y in 0..512 {
            core.runs(y, |start, end| drawn.set_run(y, start, end));
        }
        drawn
    });
}

#[divan::bench]
fn core_of_512_px_into_a_window(bencher: Bencher) {
    let core = mask(512);
    bencher.bench_local(|| {
        let mut window = Bits::dark(768, 768);
        window.paste(&core, [125, 128]);
        window
    });
}

#[divan::bench]
fn picture_of_a_core_of_512_px(bencher: Bencher) {
    let core = mask(512);
    bencher.bench_local(|| core.averaged(8, 2.0));
}
