#![recursion_limit = "256"]
//! Speed of the simulator on the device that `LITHOBURN_BENCH_DEVICE` names (`cpu` if it is not set):
//! `cargo bench --bench simulator`.

mod shared;

use lithoburn::burn::tensor::{Tensor, TensorData};
use lithoburn::engine::default_kernels;
use lithoburn::layout::generate::ClipRules;
use lithoburn::layout::{Coverage, Frame};
use lithoburn::litho::Simulator;
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
