//! The same on devices that are not the CPU: threads have queues of their own there, and images travel.
//!
//! On OpenGL, which Mesa computes without a card, beside the CPU; or on what `LITHOBURN_TEST_DEVICE` names: `cuda` (every card) or
//! `vulkan`. Without such a device this is skipped, and says so. Compiling takes most of its time, so it is one test.

use burn::tensor::{DType, Device, Tensor};
use lithoburn_pool::{DeviceName, choose};
use lithoburn_ranks::collective::Sums;
use lithoburn_ranks::transfer::link;

use super::*;
use crate::neural_ilt::NeuralIltConfig;
use crate::tested::device;

/// Two devices, of which the second may be the CPU, and what their rounding shows.
fn devices() -> Option<([Device; 2], f32)> {
    let first = device()?;
    let on_cuda = std::env::var("LITHOBURN_TEST_DEVICE").is_ok_and(|name| name == "cuda");
    let second = || choose(DeviceName::Cuda(Some(1))).ok().map(|chosen| chosen.device);
    let second = on_cuda.then(second).flatten().unwrap_or_else(Device::flex);
    // Cards multiply in TF32.
    Some(([first, second], if on_cuda { 2e-2 } else { 1e-4 }))
}

#[test]
fn every_way_is_one_device_on_other_devices_too() {
    let Some(([card, other], tolerance)) = devices() else { return };
    let config = NeuralIltConfig { width: 8, ..NeuralIltConfig::default() };
    let program = config.init(&Device::flex()).program();
    let images = [3, 1, 32, 16];
    let wave: Vec<f32> = (0..3 * 32 * 16).map(|i| (i as f32 * 0.37).sin()).collect();
    let x = Tensor::<1>::from_floats(wave.as_slice(), &Device::flex()).reshape(images);
    let expected = program.run(x.clone());
    let scale: f32 = expected.clone().abs().max().into_scalar();
    let place = |device: &Device| Place::unlimited("card", device);
    let mixed = [place(&card), place(&other), place(&card)];
    let terms = PipelineTerms::default();
    let cuts = program.even_cuts(3, images);
    let free = Speeds { link: 1e16, latency: 1e-9, ..Speeds::default() };
    let shard = |sums| ShardTerms { images, speeds: free, sums, ..ShardTerms::default() };
    let ways: Vec<(&str, Box<dyn Distributed>)> = vec![
        ("stages", Box::new(Pipelined::new(&program, &mixed, &cuts, terms).expect("fits"))),
        ("weights in host memory", {
            Box::new(Offloaded::new(&program, &mixed[0], DType::F32).expect("reads"))
        }),
        ("rows", Box::new(Spatial::new(&program, &mixed, DType::F32).expect("fits"))),
        ("channels, sums of our own", {
            Box::new(Sharded::new(&program, &mixed, shard(Sums::Portable)).expect("fits"))
        }),
        ("channels, the fastest sums", {
            Box::new(Sharded::new(&program, &mixed[..2], shard(Sums::Fastest)).expect("fits"))
        }),
    ];
    eprintln!("from card to card: {:?}", link(&card, &other).expect("copies"));
    for (name, network) in ways {
        for home in [&card, &other] {
            let x = x.clone().to_device(home);
            let found = network.try_logits(x).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(found.device(), *home, "{name}");
            let found = found.to_device(&Device::flex());
            let off: f32 = (found - expected.clone()).abs().max().into_scalar();
            assert!(off <= tolerance * scale, "{name}: {off} of {scale}");
        }
        eprintln!("{name}: {:?}", network.summary());
    }
}
