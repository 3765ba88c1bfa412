//! Seconds of the published set-ups: a flow, its gradient, a step in time.
//!
//! `cargo bench -p lithoburn-cfd`; one thread unless a name says otherwise.

use divan::Bencher;
use lithoburn_cfd::shape::{Circle, Naca};
use lithoburn_cfd::{Body, Case, Grid, March, Objective, cases};

fn main() {
    divan::main();
}

fn cylinder(fineness: usize) -> Case {
    cases::cylinder(40.0, 50.0, fineness).expect("a case")
}

fn airfoil(fineness: usize) -> Case {
    let foil = Naca::digits("0012").expect("a section");
    cases::airfoil(500.0, foil, 20.0, fineness).expect("a case")
}

fn channel() -> Case {
    let body = Body::new(Circle::new([0.5013, 0.5007], 0.125).expect("a circle"));
    cases::channel(100.0, 2.0, 256, 128).expect("a case").with_body(body)
}

fn cavity(n: usize) -> Case {
    let grid = Grid::clustered([0.0, 1.0], [0.0, 1.0], n, n, 1.2).expect("a grid");
    cases::cavity(100.0, grid).expect("a case")
}

/// The four problems of the guide that this crate set out from, and a cavity.
fn case(name: &str) -> Case {
    match name {
        "cylinder 128x64" => cylinder(1),
        "channel 256x128" => channel(),
        "airfoil 256x128" => airfoil(2),
        "exchanger 64x64" => cases::exchanger(64, 64).expect("a case"),
        _ => cavity(64),
    }
}

const NAMES: [&str; 5] =
    ["cavity 64x64", "cylinder 128x64", "channel 256x128", "airfoil 256x128", "exchanger 64x64"];

#[divan::bench(args = NAMES, sample_count = 5, sample_size = 1)]
fn forward(bencher: Bencher, name: &str) {
    let case = case(name);
    bencher.bench_local(|| case.solve().expect("a flow"));
}

#[divan::bench(args = NAMES, sample_count = 10, sample_size = 1)]
fn gradient(bencher: Bencher, name: &str) {
    let flow = case(name).solve().expect("a flow");
    let objective = match name {
        "cavity 64x64" => Objective::Dissipation,
        "exchanger 64x64" => Objective::Heat { scale: 1.0 },
        _ => Objective::drag(1.0, 1.0),
    };
    bencher.bench_local(|| flow.gradient(&objective).expect("a gradient"));
}

#[divan::bench(args = [1, 2], sample_count = 20)]
fn step_in_time(bencher: Bencher, fineness: usize) {
    let march = March::new(&cylinder(fineness), 0.01).expect("a scheme");
    let mut state = march.rest();
    bencher.bench_local(|| state = march.advance(&state).expect("a step"));
}
