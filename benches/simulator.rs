#![recursion_limit = "256"]
//! Speed of the simulator on the device that `LITHOBURN_BENCH_DEVICE` names (`cpu` if it is not set):
//! `cargo bench --bench simulator`.

mod shared;

use lithoburn::burn::tensor::{Tensor, TensorData};
use lithoburn::engine::default_kernels;
use lithoburn::layout::generate::ClipRules;
use lithoburn::layout::{Coverage, Frame};
use lithoburn::litho::forward::ThinMask;
use lithoburn::litho::ilt::{Ilt, IltConfig, Level, Start};
use lithoburn::litho::images::smoothed;
use lithoburn::litho::loss::{Goal, PrintLoss};
use lithoburn::litho::{Aerial, ProcessWindow, Sampling, Simulator};
use shared::device;

fn main() {
    divan::main();
}

/// Three corners of a batch of 2048² masks: two foci, and a dose that is a factor.
#[divan::bench(args = [1, 8], sample_count = 20)]
fn three_corners_2048(bencher: divan::Bencher, batch: usize) {
    let device = device();
    let kernels = default_kernels().expect("built in");
    let simulator = Simulator::new(&kernels, &device);
    let grid = simulator.sampling(1.0, 1).expect("fits");
    let clip = ClipRules::default().clip(3);
    let frame = Frame::centred(&clip, 2048.0, 1.0).expect("fits");
    let data = TensorData::new(clip.rasterize(&frame, Coverage::Exact).data, [1, 2048, 2048]);
    let mask = Tensor::<3>::from_data(data, &device).repeat_dim(0, batch);
    let images = || {
        let aerial = simulator.aerial(mask.clone(), &grid, &grid);
        let outer = aerial.best.clone() * 1.0404;
        // One pixel of each image is read, so that each is computed.
        let pixel = |image: Tensor<3>| image.narrow(1, 1000, 1).narrow(2, 1000, 1).sum();
        (pixel(aerial.best) + pixel(aerial.defocus) + pixel(outer)).into_scalar::<f32>()
    };
    images();
    bencher.bench_local(images);
}

/// What the solver's step is made of, on `n`² pixels with a batch: `(n, batch)`.
const STEPS: [(usize, usize); 4] = [(256, 1), (512, 1), (1024, 1), (512, 10)];
/// Repetitions per reading, so that waiting for the device is not what is measured.
const REPEATS: usize = 10;

/// A simulator, a grid, a mask and a goal for a step.
struct Step {
    simulator: Simulator,
    grid: Sampling,
    mask: Tensor<3>,
    goal: Goal,
}

fn step((n, batch): (usize, usize)) -> Step {
    let device = device();
    let kernels = default_kernels().expect("built in");
    let simulator = Simulator::new(&kernels, &device);
    let pixel = 2048.0 / n as f64;
    let grid = simulator.sampling(pixel, pixel as usize).expect("fits");
    let clip = ClipRules::default().clip(3);
    let frame = Frame::centred(&clip, 2048.0, pixel).expect("fits");
    let data = TensorData::new(clip.rasterize(&frame, Coverage::Exact).data, [1, n, n]);
    let mask = Tensor::<3>::from_data(data, &device).repeat_dim(0, batch);
    let goal = Goal { target: mask.clone(), design: mask.clone(), strips: Some(mask.clone()) };
    Step { simulator, grid, mask, goal }
}

/// Runs the work some times, and reads one pixel of its last result.
fn timed(bencher: divan::Bencher, work: impl Fn() -> Tensor<3>) {
    let read = || {
        let last = (0..REPEATS).map(|_| work()).last().expect("some");
        last.narrow(1, 100, 1).narrow(2, 100, 1).sum().into_scalar::<f32>()
    };
    read();
    bencher.counter(divan::counter::ItemsCount::new(REPEATS)).bench_local(read);
}

#[divan::bench(args = STEPS, sample_count = 20)]
fn ten_exposures(bencher: divan::Bencher, size: (usize, usize)) {
    let s = step(size);
    timed(bencher, || s.simulator.aerial(s.mask.clone(), &s.grid, &s.grid).best);
}

#[divan::bench(args = STEPS, sample_count = 20)]
fn ten_adjoints(bencher: divan::Bencher, size: (usize, usize)) {
    let s = step(size);
    let exposure = s.simulator.expose(s.mask.clone(), &s.grid, &s.grid);
    let gradient = Aerial { best: s.mask.clone(), defocus: s.mask.clone() };
    timed(bencher, || s.simulator.pull_back(&exposure, &gradient, &s.grid, &s.grid));
}

#[divan::bench(args = STEPS, sample_count = 20)]
fn ten_loss_gradients(bencher: divan::Bencher, size: (usize, usize)) {
    let s = step(size);
    let aerial = s.simulator.aerial(s.mask.clone(), &s.grid, &s.grid);
    let images = aerial.at_corners(&ProcessWindow::default());
    let loss = PrintLoss::default();
    timed(bencher, || {
        let gradient = loss.gradient(&images, &s.goal);
        gradient.nominal + gradient.outer + gradient.inner
    });
}

#[divan::bench(args = STEPS, sample_count = 20)]
fn ten_smoothings(bencher: divan::Bencher, size: (usize, usize)) {
    let s = step(size);
    timed(bencher, || smoothed(s.mask.clone(), 5));
}

/// A whole level of the solver: its steps, the goal before and the candidates after them.
#[divan::bench(args = STEPS, sample_count = 10)]
fn forty_solver_steps(bencher: divan::Bencher, size: (usize, usize)) {
    let s = step(size);
    let pixel_nm = s.grid.pixel_nm;
    let config = IltConfig::default();
    let level = Level { pixel_nm, iterations: 40, ..config.levels[0] };
    let config = IltConfig { levels: vec![level], ..config };
    let model = ThinMask::new(s.simulator.clone(), ProcessWindow::default());
    let solver = Ilt::new(&config, &model);
    let solve = || {
        let found = solver.run(&s.mask, &Start::Target, &mut |_| true).expect("solves");
        found.masks.into_packed(0).expect("a mask").words.len()
    };
    solve();
    bencher.bench_local(solve);
}
