#![recursion_limit = "256"]
//! Speed of the simulator on the CPU: `cargo bench --bench simulator`.

use lithoburn::burn::tensor::{Device, Tensor, TensorData};
use lithoburn::engine::default_kernels;
use lithoburn::layout::generate::ClipRules;
use lithoburn::layout::{Coverage, Frame};
use lithoburn::litho::Simulator;

fn main() {
    divan::main();
}

/// Three corners of a 2048² mask: two foci, and a dose that is a factor.
#[divan::bench(sample_count = 20)]
fn three_corners_2048(bencher: divan::Bencher) {
    let device = Device::flex();
    let kernels = default_kernels().expect("built in");
    let simulator = Simulator::new(&kernels, &device);
    let grid = simulator.sampling(1.0, 1).expect("fits");
    let clip = ClipRules::default().clip(3);
    let frame = Frame::centred(&clip, 2048.0, 1.0).expect("fits");
    let data = TensorData::new(clip.rasterize(&frame, Coverage::Exact).data, [1, 2048, 2048]);
    let mask = Tensor::<3>::from_data(data, &device);
    bencher.bench_local(|| {
        let aerial = simulator.aerial(mask.clone(), &grid, &grid);
        let outer = aerial.best.clone() * 1.0404;
        let sum = (aerial.best + aerial.defocus + outer).sum();
        sum.into_scalar::<f32>()
    });
}
