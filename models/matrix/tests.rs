//! The steps as data, and the kernels on a device: number by number on OpenGL, which Mesa computes without a card, and by matrix units on what
//! `LITHOBURN_TEST_DEVICE` names.

use std::collections::HashSet;

use lithoburn_testing::Need;

use super::means::{MOST_SHARED, PLANE};
use super::tiles::Tile;
use super::*;
use crate::encoder_decoder::EncoderDecoderConfig;
use crate::flat::Flat;
use crate::gan_opc::GanOpcConfig;
use crate::hopper::Extent;
use crate::neural_ilt::NeuralIltConfig;
use crate::program::run;
use crate::steps::Work;
use crate::trial::{distance, noise};

fn unet(width: usize, last_side: usize) -> Program {
    NeuralIltConfig { width, last_side, ..NeuralIltConfig::default() }.random_program(7)
}

fn fast(widths: &[usize], refine: usize) -> Program {
    let fast = Some(EncoderDecoderConfig::new(widths.to_vec(), true, refine));
    NeuralIltConfig { fast, ..NeuralIltConfig::default() }.random_program(7)
}

fn gan(widths: &[usize]) -> Program {
    let generator = EncoderDecoderConfig::new(widths.to_vec(), false, 0);
    GanOpcConfig { generator, ..GanOpcConfig::default() }.random_program(7)
}

/// What is shipped, what was published, and widths and last layers of imported checkpoints.
fn known() -> [(&'static str, Program); 6] {
    [
        ("neural-ilt-fast", NeuralIltConfig::fast().random_program(7)),
        ("gan-opc", GanOpcConfig::default().random_program(7)),
        ("neural-ilt 32", unet(32, 1)),
        ("neural-ilt 48", unet(48, 1)),
        ("neural-ilt 64, last 3 x 3", unet(64, 3)),
        ("gan-opc as published", GanOpcConfig::published().random_program(7)),
    ]
}

/// CUDA's, Vulkan's, and those of a device without matrix units.
fn means() -> [Means; 3] {
    let card = |pad, words| Means {
        dtype: DType::F16,
        lanes: 8,
        pad,
        shared: MOST_SHARED,
        words,
        plain: false,
    };
    [card(16, false), card(8, true), plain()]
}

/// OpenGL has 32 KiB of shared memory.
fn plain() -> Means {
    Means { dtype: DType::F32, lanes: 4, pad: 4, shared: 32 << 10, words: false, plain: true }
}

/// Every tile of known networks, with its step's work.
fn each_tile(mut see: impl FnMut(&str, &crate::steps::Convolution, Means, Tile)) {
    for (name, program) in known() {
        let steps = Steps::of(&program, Grain::MATRIX).unwrap_or_else(|e| panic!("{name}: {e}"));
        for step in &steps.steps {
            let Work::Convolve(work) = &step.work else { continue };
            for (means, batch, side) in
                means().into_iter().flat_map(|m| [(m, 1, 64), (m, 1, 256), (m, 16, 256)])
            {
                let extent = Extent { batch, height: side, width: side };
                see(name, work, means, Tile::of(work, &steps, means, extent, 132));
            }
        }
    }
}

#[test]
fn tiles_cut_every_known_network_into_whole_parts_that_fit_into_shared_memory() {
    each_tile(|name, work, means, tile| {
        assert!(work.channels.is_multiple_of(tile.channels()), "{name}: {tile:?} of {work:?}");
        assert!(work.run.is_multiple_of(tile.own_channels()), "{name}: {tile:?} of {work:?}");
        assert!(tile.rows.is_multiple_of(tile.lines()), "{name}: {tile:?}");
        assert_eq!(tile.planes(), 4, "{name}: {tile:?}");
        assert!(tile.planes() * tile.own_rows() >= tile.tall() + 2, "{name}: {tile:?}");
        assert!(tile.reads() * PLANE >= tile.slots(), "{name}: {tile:?}");
        let bytes = if means.dtype == DType::F32 { 4 } else { 2 };
        let shared = tile.shared_bytes(bytes);
        assert!(shared <= means.shared, "{name}: {shared} bytes, {tile:?}");
        // CUDA's and Vulkan's rules for where matrices begin, and how far apart their rows are.
        let align = if tile.pad == 16 { 32 } else { 16 };
        assert!((tile.pitch() * bytes).is_multiple_of(align), "{name}: {tile:?}");
        assert!((tile.stage_pitch() * 4).is_multiple_of(32), "{name}: {tile:?}");
        assert!((tile.stage() * 4).is_multiple_of(32), "{name}: {tile:?}");
    });
}

/// A card of 132 processors has work for all of them in each layer of a full batch, and small tiles for one image.
#[test]
fn tiles_are_large_where_there_are_many() {
    let steps =
        Steps::of(&NeuralIltConfig::fast().random_program(7), Grain::MATRIX).expect("known");
    let tall = |batch: usize, number: usize| {
        let Work::Convolve(work) = &steps.steps[number].work else { panic!("a convolution") };
        let extent = Extent { batch, height: 256, width: 256 };
        let tile = Tile::of(work, &steps, means()[0], extent, 132);
        (tile.tall(), tile.channels(), tile.block)
    };
    assert_eq!(tall(16, 1), (16, 64, 32));
    assert_eq!(tall(1, 1), (4, 64, 32));
    assert_eq!(tall(16, 14), (16, 32, 32));
}

/// A driver compiles a kernel for a second: once there are images enough for each processor, more of them need no other kernels.
#[test]
fn large_batches_need_no_kernels_of_their_own() {
    for (name, program) in known() {
        let steps = Steps::of(&program, Grain::MATRIX).unwrap_or_else(|e| panic!("{name}: {e}"));
        let kernels = |batch: usize| -> HashSet<Tile> {
            let extent = Extent { batch, height: 256, width: 256 };
            let works = steps.steps.iter().filter_map(|step| match &step.work {
                Work::Convolve(work) => Some(work),
                _ => None,
            });
            works.map(|work| Tile::of(work, &steps, means()[1], extent, 128)).collect()
        };
        let few: HashSet<Tile> = [1, 4, 8, 16].into_iter().flat_map(kernels).collect();
        for batch in [48, 64, 96] {
            let many = kernels(batch);
            assert!(many.is_subset(&few), "{name}, {batch} images: {many:?}");
            assert!(many.len() < steps.steps.len(), "{name}: a kernel for each step");
        }
    }
}

#[test]
fn what_no_kernel_computes_is_named() {
    let problem = Steps::of(&unet(24, 1), Grain::MATRIX).expect_err("24 channels").to_string();
    assert!(problem.contains("24 channels"), "{problem}");
    let problem = Steps::of(&unet(32, 5), Grain::MATRIX).expect_err("5 x 5").to_string();
    assert!(problem.contains("unet.last") && problem.contains("5 x 5"), "{problem}");
}

/// Numbers that are their own places: each weight is where one kernel reads it, once, and so is each bias.
#[test]
fn every_weight_is_packed_once() {
    for program in [fast(&[16, 32], 1), unet(16, 1), unet(16, 3), gan(&[16, 48])] {
        let (flat, steps) =
            (Flat::of(&program), Steps::of(&program, Grain::MATRIX).expect("known"));
        let values: Vec<f32> = (1..=flat.count).map(|i| i as f32).collect();
        let packed = Packed::laid_out(&flat, &values, &steps);
        let mut seen = vec![0; flat.count + 1];
        packed.products.iter().chain(&packed.numbers).for_each(|&at| seen[at as usize] += 1);
        assert!(seen[1..].iter().all(|&seen| seen == 1));
        assert_eq!(packed.places.len(), steps.steps.len());
    }
}

/// Nothing but a device that reports matrix units has this way, and what has not says why.
#[test]
fn the_cpu_has_no_matrix_units() {
    let none = MatrixUnits::new(&fast(&[32, 64], 0), &Device::flex()).map(|_| ());
    assert_eq!(none, Err(NoMatrixUnits::Device));
}

/// Noise, never zeros: they hide what is not written.
fn input([batch, height, width]: [usize; 3], device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..batch * height * width).map(noise).collect();
    Tensor::from_data(TensorData::new(values, [batch, 1, height, width]), device)
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().expect("f32")
}

/// The f32 network on the CPU, layer by layer, is the second implementation; an image has the same bits alone and in a batch, by whatever tiles.
#[cfg(all(feature = "wgpu", feature = "cuda"))]
fn logits_are_the_cpus(
    name: &str,
    program: &Program,
    units: &MatrixUnits,
    device: &Device,
    (shape, tiled_for): ([usize; 3], Option<Extent>),
    most: f64,
) {
    let layers = program.placed(0..program.layers.len(), &Device::flex(), DType::F32);
    let x = input(shape, &Device::flex());
    let expected = values(run(&layers, x.clone()));
    let found = values(units.pass(input(shape, device), tiled_for));
    let off = distance(&found, &expected);
    println!("{name}, {shape:?}: off by {off:.2e}");
    assert!(off <= most, "{name}, {shape:?}: {off}");
    let [batch, height, width] = shape;
    let last = Tensor::from_data(x.narrow(0, batch - 1, 1).into_data(), device);
    let alone = values(units.logits(last));
    assert_eq!(alone, found[(batch - 1) * height * width..], "{name}, {shape:?}: other bits");
}

#[cfg(all(feature = "wgpu", feature = "cuda"))]
mod on_a_device {
    use cubecl::ir::features::{MmaConfig, Plane};
    use cubecl::ir::{DeviceProperties, ElemType, FloatKind};

    use super::*;
    use crate::tested::device;

    /// Sums of a few thousand terms in f32 lose six digits of them at most; layers are joined, folded, unfolded, pooled, doubled, and last ones are
    /// of side 1 and 3. Sides are no multiples of a tile's. Compiling takes most of the time, so that it is one test.
    #[test]
    fn number_by_number_the_kernels_are_the_network() {
        let Some(device) = device() else { return };
        let cases = [
            ("folded, joined, unfolded", fast(&[16, 32], 1), [2, 20, 36]),
            ("pooled, doubled, last 1 x 1", unet(16, 1), [2, 32, 48]),
            ("last 3 x 3", unet(16, 3), [1, 16, 16]),
            ("48 channels", gan(&[16, 48]), [3, 8, 40]),
        ];
        for (name, program, shape) in cases {
            let prepared = Prepared::of(&program).unwrap_or_else(|e| panic!("{name}: {e}"));
            let units = prepared.by(plain(), &device).unwrap_or_else(|e| panic!("{name}: {e}"));
            logits_are_the_cpus(name, &program, &units, &device, (shape, None), 1e-5);
        }
    }

    /// A card's reports, made from this device's: what NVIDIA's cards of each kind, AMD's and drivers without the extension say.
    #[test]
    fn a_device_is_taken_by_what_it_reports() {
        let Some(device) = device() else { return };
        let burn::backend::DispatchDevice::Cube(cube) = device.as_dispatch() else { return };
        let own = cube.client().properties().clone();
        let card = |kinds: &[FloatKind], planes: [u32; 2], side: u32| {
            let mut card: DeviceProperties = own.clone();
            card.features.matmul.cmma.clear();
            for &kind in kinds {
                let (a_type, cd_type) = (ElemType::Float(kind), ElemType::Float(FloatKind::F32));
                let config =
                    MmaConfig { a_type, b_type: a_type, cd_type, m: side, n: side, k: side };
                card.features.matmul.cmma.insert(config);
            }
            card.features.plane.insert(Plane::Sync);
            [card.hardware.plane_size_min, card.hardware.plane_size_max] = planes;
            card.hardware.max_shared_memory_size = MOST_SHARED;
            card.hardware.max_units_per_cube = 1024;
            card
        };
        let pad = |cuda, card: &DeviceProperties| Means::reported(cuda, card).map(|m| m.pad);
        let both = [FloatKind::F16, FloatKind::BF16];
        assert_eq!(pad(true, &card(&both, [32, 32], 16)), Some(16));
        assert_eq!(pad(true, &card(&[FloatKind::F16], [32, 32], 16)), Some(16));
        assert_eq!(pad(false, &card(&both, [32, 32], 16)), Some(8));
        assert_eq!(pad(false, &card(&[FloatKind::BF16], [32, 32], 16)), None);
        assert_eq!(pad(false, &card(&both, [32, 64], 16)), None);
        assert_eq!(pad(false, &card(&both, [32, 32], 8)), None);
        let mut small = card(&both, [32, 32], 16);
        small.hardware.max_shared_memory_size = MOST_SHARED / 2;
        assert_eq!(pad(false, &small), None);
    }

    fn card() -> Option<Device> {
        let named = std::env::var("LITHOBURN_TEST_DEVICE").is_ok();
        device().filter(|device| named && Means::of(device).is_some())
    }

    const MANY: Extent = Extent { batch: 24, height: 256, width: 256 };

    /// As for Hopper's kernels: 2e-2 is what rounding seventeen images to 8 bits leaves with random weights.
    #[test]
    fn on_a_card_with_matrix_units_logits_are_the_cpus_and_do_not_depend_on_the_batch() {
        let why = "LITHOBURN_TEST_DEVICE names no device with matrix units";
        let Some(device) = Need::Gpu.met(card(), why) else { return };
        for (name, program) in known() {
            let units =
                MatrixUnits::new(&program, &device).unwrap_or_else(|e| panic!("{name}: {e}"));
            // The tiles of many large images, and those of few small ones.
            for of in [([3, 96, 160], Some(MANY)), ([5, 32, 64], None)] {
                logits_are_the_cpus(name, &program, &units, &device, of, 2e-2);
            }
        }
    }
}
