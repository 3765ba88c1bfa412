#![recursion_limit = "256"]
//! Speed of the networks, forward and in training, on the device that `LITHOBURN_BENCH_DEVICE` names
//! (`cpu` if it is not set): `cargo bench --bench network`.

mod shared;

use divan::Bencher;
use lithoburn::burn::tensor::{DType, Device, Tensor};
use lithoburn::models::convolution::same_convolution;
use lithoburn::models::{GanOpcConfig, MaskNetwork, NeuralIltConfig};
use shared::device;

fn main() {
    divan::main();
}

/// Waits for a tensor: a value nobody reads may never be computed.
fn read<const D: usize>(x: Tensor<D>) -> f32 {
    let (rows, count) = (x.dims()[0], x.shape().num_elements());
    // By steps: Burn gives a single sum to one thread.
    let x = x.cast(DType::F32).reshape([rows, count / rows / 32, 32]);
    x.sum_dim(1).sum_dim(2).sum().into_scalar::<f32>()
}

const F32: [(&str, DType); 1] = [("f32", DType::F32)];
const BOTH: [(&str, DType); 2] = [("f32", DType::F32), ("bf16", DType::BF16)];

/// bf16 is for cards; the CPU has no fast path for it.
fn precisions() -> &'static [(&'static str, DType)] {
    if std::env::var("LITHOBURN_BENCH_DEVICE").is_ok_and(|d| d != "cpu") { &BOTH } else { &F32 }
}

/// A network of the shape that is shipped.
type Case = (&'static str, usize, &'static str, DType);

fn cases() -> Vec<Case> {
    let batches: &[usize] = if precisions().len() > 1 { &[1, 16, 64] } else { &[1] };
    let mut cases = Vec::new();
    for name in ["neural-ilt", "neural-ilt-fast", "gan-opc"] {
        for &batch in batches {
            cases.extend(precisions().iter().map(|&(p, dtype)| (name, batch, p, dtype)));
        }
    }
    cases
}

fn case(args: Case, device: &Device) -> (Box<dyn MaskNetwork>, Tensor<4>) {
    let (name, batch, _, dtype) = args;
    let unet = NeuralIltConfig { width: 32, ..NeuralIltConfig::default() };
    let net: Box<dyn MaskNetwork> = match name {
        "neural-ilt" => Box::new(unet.init(device)),
        "neural-ilt-fast" => Box::new(NeuralIltConfig::fast().init(device)),
        _ => Box::new(GanOpcConfig::default().init(device)),
    };
    (net, Tensor::<4>::ones([batch, 1, 256, 256], device).cast(dtype))
}

/// Logits of targets of 256² pixels.
#[divan::bench(args = cases(), sample_count = 5, max_time = 10)]
fn forward(bencher: Bencher, args: Case) {
    let (net, x) = case(args, &device());
    read(net.logits(x.clone()));
    bencher.bench_local(|| read(net.logits(x.clone())));
}

/// Forward and backward.
#[divan::bench(args = cases(), sample_count = 5, max_time = 10)]
fn gradient(bencher: Bencher, args: Case) {
    let (net, x) = case(args, &device().autodiff());
    // The input's gradient is known last, so reading it waits for all of them.
    let x = x.require_grad();
    let step = || {
        let y = net.logits(x.clone()).cast(DType::F32);
        let gradients = (y.clone() * y).sum_dim(3).sum_dim(2).sum().backward();
        x.grad(&gradients).map(read)
    };
    step();
    bencher.bench_local(step);
}

/// The largest convolution of the network at width 32, and its gradients.
#[divan::bench(args = cases().into_iter().filter(|c| c.0 == "neural-ilt"), sample_count = 5, max_time = 10)]
fn largest_convolution_gradient(bencher: Bencher, args: Case) {
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
