//! What the host does for each clip of a training batch, on one thread: `cargo bench -p lithoburn-layout --bench clip`.
//!
//! A card of the field of 2048 nm has its clips drawn from their edges; the raster is there to compare with.

use divan::Bencher;
use divan::counter::ItemsCount;
use lithoburn_layout::generate::ClipRules;
use lithoburn_layout::{Coverage, Edges, Frame, Layout};

/// Clips of a run.
const CLIPS: u64 = 16;

fn main() {
    divan::main();
}

/// A window in a field, or clips that fill it, as one in four of training's does.
fn rules(fills: bool) -> ClipRules {
    match fills {
        true => ClipRules { window_nm: [2048; 2], attempts: 500, ..ClipRules::default() },
        false => ClipRules::default(),
    }
}

fn clips(fills: bool) -> Vec<(Layout, Frame)> {
    let clip = |seed| {
        let clip = rules(fills).clip(seed);
        let frame = Frame::centred(&clip, 2048.0, 4.0).expect("a clip within the field");
        (clip, frame)
    };
    (0..CLIPS).map(clip).collect()
}

/// As training has them: one in four fills the field.
#[divan::bench]
fn a_batch(bencher: Bencher) {
    let own = [false, false, false, true].map(rules);
    let clip = |seed: u64| {
        let clip = own[seed as usize % own.len()].clip(seed);
        let frame = Frame::centred(&clip, 2048.0, 4.0).expect("a clip within the field");
        Edges::of(&clip.polygons, &frame).expect("wires")
    };
    let all = || (0..CLIPS).map(clip).collect::<Vec<_>>();
    bencher.counter(ItemsCount::new(CLIPS)).bench_local(all);
}

#[divan::bench(args = [false, true])]
fn generated(bencher: Bencher, fills: bool) {
    let rules = rules(fills);
    let all = || (0..CLIPS).map(|seed| rules.clip(seed).polygons.len()).sum::<usize>();
    bencher.counter(ItemsCount::new(CLIPS)).bench_local(all);
}

#[divan::bench(args = [false, true])]
fn edges(bencher: Bencher, fills: bool) {
    let clips = clips(fills);
    let of =
        |(clip, frame): &(Layout, Frame)| Edges::of(&clip.polygons, frame).map(|e| e.list.len());
    bencher
        .counter(ItemsCount::new(CLIPS))
        .bench_local(|| clips.iter().filter_map(of).sum::<usize>());
}

#[divan::bench(args = [false, true])]
fn raster(bencher: Bencher, fills: bool) {
    let clips = clips(fills);
    let of = |(clip, frame): &(Layout, Frame)| clip.rasterize(frame, Coverage::Exact).data[0];
    bencher.counter(ItemsCount::new(CLIPS)).bench_local(|| clips.iter().map(of).sum::<f32>());
}
