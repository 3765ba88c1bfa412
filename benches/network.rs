#![recursion_limit = "256"]
//! Speed of the U-Net, forward and in training, on the device that `LITHOBURN_BENCH_DEVICE` names
//! (`cpu` if it is not set): `cargo bench --bench network`.

mod shared;

use divan::Bencher;
use lithoburn::burn::tensor::{DType, Device, Tensor};
use lithoburn::models::convolution::same_convolution;
use lithoburn::models::{UNet, UNetConfig};
use shared::device;

fn main() {
    divan::main();
}

/// Waits for a tensor: a value nobody reads may never be computed.
fn read<const D: usize>(x: Tensor<D>) -> f32 {
    x.cast(DType::F32).sum().into_scalar::<f32>()
}

const F32: [(&str, DType); 1] = [("f32", DType::F32)];
const BOTH: [(&str, DType); 2] = [("f32", DType::F32), ("bf16", DType::BF16)];

/// bf16 is for cards; the CPU has no fast path for it.
fn precisions() -> &'static [(&'static str, DType)] {
    if std::env::var("LITHOBURN_BENCH_DEVICE").is_ok_and(|d| d != "cpu") { &BOTH } else { &F32 }
}

fn cases() -> Vec<(usize, usize, &'static str, DType)> {
    let batches: &[usize] = if precisions().len() > 1 { &[1, 16, 64] } else { &[1] };
    let case = |&b: &usize| precisions().iter().map(move |&(name, dtype)| (32, b, name, dtype));
    batches.iter().flat_map(case).collect()
}

fn case(args: (usize, usize, &str, DType), device: &Device) -> (UNet, Tensor<4>) {
    let (width, batch, _, dtype) = args;
    let net = UNetConfig::new().with_width(width).init(device);
    (net, Tensor::<4>::ones([batch, 1, 256, 256], device).cast(dtype))
}

/// Tiles of 256² through the network.
#[divan::bench(args = cases(), sample_count = 5, max_time = 20)]
fn forward(bencher: Bencher, args: (usize, usize, &str, DType)) {
    let (net, x) = case(args, &device());
    read(net.forward(x.clone()));
    bencher.bench_local(|| read(net.forward(x.clone())));
}

/// Forward and backward.
#[divan::bench(args = cases(), sample_count = 5, max_time = 20)]
fn gradient(bencher: Bencher, args: (usize, usize, &str, DType)) {
    let (net, x) = case(args, &device().autodiff());
    // The input's gradient is known last, so reading it waits for all of them.
    let x = x.require_grad();
    let step = || {
        let y = net.forward(x.clone()).cast(DType::F32);
        let gradients = (y.clone() * y).sum().backward();
        x.grad(&gradients).map(read)
    };
    step();
    bencher.bench_local(step);
}

/// The largest convolution of the network at width 32, and its gradients.
#[divan::bench(args = cases(), sample_count = 5, max_time = 20)]
fn largest_convolution_gradient(bencher: Bencher, args: (usize, usize, &str, DType)) {
    let device = device().autodiff();
    let x = Tensor::<4>::ones([args.1, 256, 256, 96], &device).cast(args.3).require_grad();
    let weight = Tensor::<4>::ones([32, 3, 3, 96], &device).cast(args.3).require_grad();
    let step = || {
        let gradients = same_convolution(x.clone(), weight.clone()).sum().backward();
        x.grad(&gradients).map(read).zip(weight.grad(&gradients).map(read))
    };
    step();
    bencher.bench_local(step);
}
