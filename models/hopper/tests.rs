//! The steps, as text and on the CPU: what the kernels read, and from where. On a Hopper card, the kernels themselves.

mod eight_bits;
mod emulation;

use burn::tensor::{DType, Device, Tensor, TensorData, bf16};
#[cfg(feature = "cuda")]
use lithoburn_pool::cards_opened;
use lithoburn_testing::Need;

use super::tiles::{FewTiling, Finish, GradientTiling, Sizes, Tiling};
use super::training::{AdamStep, Training, reference};
use super::weights::{NOWHERE, Packed, WeightLayout};
use super::*;
use crate::encoder_decoder::EncoderDecoderConfig;
use crate::flat::Flat;
use crate::gan_opc::GanOpcConfig;
use crate::neural_ilt::NeuralIltConfig;
use crate::program::run;
use crate::steps::back::Back;
use crate::steps::{Steps, Then, Work};
use crate::trial::{distance, noise};

fn unet(width: usize, last_side: usize) -> Program {
    NeuralIltConfig { width, last_side, ..NeuralIltConfig::default() }.random_program(7)
}

pub(super) fn fast(widths: &[usize], refine: usize) -> Program {
    let fast = Some(EncoderDecoderConfig::new(widths.to_vec(), true, refine));
    NeuralIltConfig { fast, ..NeuralIltConfig::default() }.random_program(7)
}

pub(super) fn gan(widths: &[usize], skips: bool) -> Program {
    let generator = EncoderDecoderConfig::new(widths.to_vec(), skips, 0);
    GanOpcConfig { generator, ..GanOpcConfig::default() }.random_program(7)
}

/// What is shipped, and the paper's width.
pub(super) fn known() -> [(&'static str, Program); 4] {
    [
        ("neural-ilt-fast", NeuralIltConfig::fast().random_program(7)),
        ("gan-opc", GanOpcConfig::default().random_program(7)),
        ("neural-ilt 32", unet(32, 1)),
        ("neural-ilt 64", unet(64, 1)),
    ]
}

const FAST: &str = "\
fast.down.0.first  stem of folded input, to #0 (32 at 1/2)
fast.down.1.first  convolve #0 (32 at 1/2) folded by 64, relu, to #1 (64 at 1/4)
fast.down.1.refine.0 convolve #1 (64 at 1/4) by 64, relu, to #2 (64 at 1/4)
fast.down.2.first  convolve #2 (64 at 1/4) folded by 64, relu, to #3 (128 at 1/8)
fast.down.2.refine.0 convolve #3 (128 at 1/8) by 64, relu, to #4 (128 at 1/8)
fast.down.3.first  convolve #4 (128 at 1/8) folded by 64, relu, to #5 (256 at 1/16)
fast.down.3.refine.0 convolve #5 (256 at 1/16) by 64, relu, to #6 (256 at 1/16)
fast.up.3          convolve #6 (256 at 1/16) by 64, relu, to #7 (128 at 1/8) unfolded
fast.join.2.first  convolve #7 (128 at 1/8) + #4 (128 at 1/8) by 64, relu, to #8 (128 at 1/8)
fast.join.2.refine.0 convolve #8 (128 at 1/8) by 64, relu, to #9 (128 at 1/8)
fast.up.2          convolve #9 (128 at 1/8) by 64, relu, to #10 (64 at 1/4) unfolded
fast.join.1.first  convolve #10 (64 at 1/4) + #2 (64 at 1/4) by 64, relu, to #11 (64 at 1/4)
fast.join.1.refine.0 convolve #11 (64 at 1/4) by 64, relu, to #12 (64 at 1/4)
fast.up.1          convolve #12 (64 at 1/4) by 64, relu, to #13 (32 at 1/2) unfolded
fast.join.0.first  convolve #13 (32 at 1/2) + #0 (32 at 1/2) by 32, rows in pairs, relu, to #14 (32 at 1/2)
fast.up.0          last convolution of #14 (32 at 1/2), unfolded, to logits
";

#[test]
fn the_default_network_is_sixteen_launches() {
    let steps =
        Steps::of(&NeuralIltConfig::fast().random_program(7), Grain::HOPPER).expect("known");
    assert_eq!(steps.to_string(), FAST);
}

#[test]
fn every_known_network_has_steps_and_each_image_is_made_before_it_is_read() {
    let launches = [16, 14, 17, 17];
    for ((name, program), launches) in known().into_iter().zip(launches) {
        let steps = Steps::of(&program, Grain::HOPPER).expect(name);
        assert_eq!(steps.steps.len(), launches, "{name}:\n{steps}");
        let mut made = vec![false; steps.images.len()];
        for step in &steps.steps {
            let (read, written) = step.work.reads_and_writes();
            assert!(read.iter().all(|&image| made[image]), "{name}: {step:?}");
            written.iter().for_each(|&image| made[image] = true);
        }
        assert!(made.iter().all(|&made| made), "{name}");
    }
}

/// A graph holds what lies between the caller's images and the caller's logits, and nothing that reads or writes either.
#[test]
fn all_steps_but_the_first_and_the_last_can_be_recorded() {
    for (name, program) in known() {
        let mut steps = Steps::of(&program, Grain::HOPPER).expect(name);
        assert_eq!(recording::inner(&steps), Some(1..steps.steps.len() - 1), "{name}");
        steps.steps.swap(0, 1);
        assert_eq!(recording::inner(&steps), None, "{name}: the input is read later");
        steps.steps.truncate(1);
        assert_eq!(recording::inner(&steps), None, "{name}: no list of steps");
    }
}

const BACK: &str = "\
weights of the last 3 x 3 on #3
sums of #3 from logits through 3 x 3, relu
weights of fast.join.0.first
fast.join.0.first asks @0 of #2 by 32, rows in pairs
fast.join.0.first asks @1 of #0 by 32, rows in pairs
sums of #2 from @0, relu
weights of fast.up.1
fast.up.1 asks @2 of #1 by 64
sums of #1 from @2, relu
weights of fast.down.1.first
fast.down.1.first asks @3 of #0 by 64
sums of #0 from @1 + @3, relu
weights of the stem fast.down.0.first
";

#[test]
fn the_way_back_is_a_list_too() {
    let shown = |program: &Program| {
        let steps = Steps::of(program, Grain::HOPPER_TRAINING).expect("known");
        Back::of(&steps).expect("known").shown(&steps)
    };
    assert_eq!(shown(&fast(&[32, 64], 0)), BACK);
    let text = shown(&unet(64, 1));
    for line in
        ["sums of #0 from @", " at the maxima, relu", " halved, relu", "logits through 1 x 1"]
    {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    assert_eq!(text.lines().count(), 1 + 14 + 14 + 16);
}

/// Where each number comes from is data as well: no weight is missing on the way back, and none is there twice.
#[test]
fn the_turned_weights_are_all_weights_of_the_convolutions() {
    for (name, program) in known() {
        let steps = Steps::of(&program, Grain::HOPPER_TRAINING).expect(name);
        let (back, flat) = (Back::of(&steps).expect(name), Flat::of(&program));
        let [there, both] = [None, Some(&back)].map(|back| WeightLayout::of(&flat, &steps, back));
        let mut seen = vec![0_u8; flat.count];
        let own = both.halves[there.halves.len()..].iter().filter(|&&at| at != NOWHERE);
        // Rows in pairs have each weight twice, for either row.
        own.for_each(|&at| seen[at as usize] = 1);
        for step in &steps.steps {
            let Some(kernel) = flat.layers[step.layer] else { continue };
            let asked = u8::from(matches!(step.work, Work::Convolve(_)));
            let places = kernel.weight..kernel.weight + kernel.to * 9 * kernel.from;
            assert!(seen[places].iter().all(|&seen| seen == asked), "{name}: {step:?}");
        }
    }
}

/// An H100's processors: no rest of a wave is left over that is worth a split, and small layers are split until the card is full.
#[test]
fn the_pixels_of_a_weights_gradient_are_split_until_the_card_is_full() {
    let steps = Steps::of(&NeuralIltConfig::fast().random_program(7), Grain::HOPPER_TRAINING)
        .expect("known");
    let extent = Extent { batch: 16, height: 256, width: 256 };
    let gradient = |number: usize| {
        let Work::Convolve(work) = &steps.steps[number].work else { panic!("a convolution") };
        let Then::Store(made) = work.then else { panic!("stored") };
        GradientTiling::of(work, made, &steps, extent, 132)
    };
    // 128 folded channels to 64, and 256 to 512 unfolded ones at a sixteenth of the size.
    let (tiling, sizes) = gradient(1);
    assert_eq!((tiling.rows, sizes.parts, sizes.blocks, sizes.runs), (32, 1, 2, [1, 1]));
    let (tiling, sizes) = gradient(7);
    assert_eq!((tiling.rows, sizes.parts, sizes.blocks, sizes.run), (16, 8, 4, 4));
    for number in [1, 2, 3, 4, 5, 6, 7, 8, 14] {
        let (_, sizes) = gradient(number);
        let cubes = sizes.parts * sizes.blocks * sizes.splits;
        assert!((60..=4 * 132).contains(&cubes), "{number}: {cubes}");
    }
}

#[test]
fn what_no_kernel_computes_is_named() {
    let published = GanOpcConfig::published().random_program(7);
    let problem = Steps::of(&published, Grain::HOPPER).expect_err("16 channels").to_string();
    assert!(problem.contains("down.0.first") && problem.contains("16 channels"), "{problem}");
    let problem = Steps::of(&unet(48, 1), Grain::HOPPER).expect_err("48 channels").to_string();
    assert!(problem.contains("48 channels"), "{problem}");
    let problem = Steps::of(&unet(32, 5), Grain::HOPPER).expect_err("5 x 5").to_string();
    assert!(problem.contains("unet.last") && problem.contains("5 x 5"), "{problem}");
}

/// 227 KiB a cube is what the card has; the kernels' text sums up the same parts.
#[test]
fn every_tiling_fits_into_shared_memory() {
    let aligned = |bytes: usize| bytes.next_multiple_of(1024);
    for (_, program) in known() {
        let steps = Steps::of(&program, Grain::HOPPER).expect("known");
        let eight_bits = steps.clone().in_eight_bits().expect("known");
        for (steps, step) in [&steps, &eight_bits]
            .into_iter()
            .flat_map(|all| all.steps.iter().map(move |s| (all, s)))
        {
            let Work::Convolve(work) = &step.work else { continue };
            for batch in [1, 4, 16, 64] {
                let extent = tiles(batch);
                let tiling = Tiling::of(work, steps, extent, 132);
                let [read, made] = tiling.bytes;
                let pixel = read * tiling.block;
                let x = aligned((tiling.tall() + 2) * 10 * pixel) * tiling.x_stages;
                let w = 3 * 64 * pixel * tiling.w_stages;
                let y = 2 * tiling.tall() * 8 * tiling.channels() * made;
                let barriers = 16 * (tiling.x_stages + tiling.w_stages);
                assert!(x + w + y + barriers <= 227 << 10, "{}: {tiling:?}", step.name);
                let few = FewTiling::of(work, steps, extent, 132);
                // A cube takes one KiB more than it asks for.
                let taken = few.map_or(0, |few| few.beside() * (few.shared() + 1024));
                assert!(taken <= 228 << 10, "{}: {few:?}", step.name);
            }
        }
    }
}

/// A batch of tiles of 2048 nm.
fn tiles(batch: usize) -> Extent {
    Extent { batch, height: 256, width: 256 }
}

#[test]
fn few_images_have_small_tiles_and_many_have_large_ones() {
    let steps =
        Steps::of(&NeuralIltConfig::fast().random_program(7), Grain::HOPPER).expect("known");
    let Work::Convolve(work) = &steps.steps[1].work else { panic!("a convolution") };
    let rows = |batch| Tiling::of(work, &steps, tiles(batch), 132).rows;
    assert_eq!([1, 4, 64].map(rows), [8, 16, 32]);
    let folded = |batch| Sizes::of(steps.images[0], tiles(batch)).stem_lines(132);
    assert_eq!([1, 4, 16].map(folded), [1, 4, 8], "rows of the first convolution");
    let narrow = |batch| Sizes::of(steps.images[0], tiles(batch)).narrow_rows(132);
    assert_eq!([1, 2, 16].map(narrow), [8, 32, 32], "rows of the last one");
    let tiling = Tiling::of(work, &steps, USUAL, 132);
    assert_eq!((tiling.finish, tiling.finish.word()), (Finish::Store, "STORE"));
    let tile = [tiling.tall(), tiling.channels()];
    let sizes = Sizes::convolution(work, &steps, tile, USUAL);
    // 8 by 2 tiles of 24 images; 128 channels in two blocks, one a row of folded pixels.
    assert_eq!((sizes.tiles(), sizes.blocks, sizes.runs), (384, 2, [1, 1]));
    assert_eq!(sizes.words().len(), 7);
    assert_eq!(sizes.words()[0], 8 | 2 << 32);
}

/// Convolutions of one tile of 2048 nm whose cubes the card has room for all at once; of many tiles, none.
#[test]
fn few_pixels_have_a_kernel_of_their_own() {
    let few = |program: &Program, batch| {
        let steps = Steps::of(program, Grain::HOPPER).expect("known");
        let of = |step: &crate::steps::Step| match &step.work {
            Work::Convolve(work) => FewTiling::of(work, &steps, tiles(batch), 132).map(
                |FewTiling { stages, pair, .. }| {
                    format!("{} {stages}{}", step.name, ["", " pair"][usize::from(pair)])
                },
            ),
            _ => None,
        };
        steps.steps.iter().filter_map(of).collect::<Vec<_>>()
    };
    let fast = NeuralIltConfig::fast().random_program(7);
    let found = few(&fast, 1);
    assert_eq!(found.len(), 13, "all convolutions but one: {found:?}");
    assert!(!found.contains(&"fast.up.1 2".into()), "256 tiles are too many");
    assert_eq!(found[0], "fast.down.1.first 2");
    assert_eq!(found[4], "fast.down.3.first 4");
    assert_eq!(found[12], "fast.join.0.first 2 pair");
    assert_eq!(few(&fast, 16), [""; 0]);
    let gan = GanOpcConfig::default().random_program(7);
    assert_eq!(few(&gan, 16), ["generator.down.4.first 4"], "8 x 8 pixels are few in any batch");
    assert_eq!(few(&gan, 64), [""; 0]);
    assert_eq!(few(&unet(64, 1), 1), [""; 0], "wide images fill the card as they are");
}

/// Nothing but a Hopper card has this way, and what has not says why.
#[test]
fn the_cpu_runs_layer_by_layer() {
    let program = fast(&[32, 64], 0);
    assert_eq!(Hopper::new(&program, &Device::flex()).map(|_| ()), Err(NotFused::Card));
}

fn card() -> Option<Device> {
    #[cfg(feature = "cuda")]
    if std::env::var("LITHOBURN_TEST_DEVICE").as_deref() == Ok("cuda") {
        return Some(Device::cuda(0)).filter(is_hopper);
    }
    None
}

/// Noise, never zeros: they hide what is not written.
fn input([batch, height, width]: [usize; 3], device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..batch * height * width).map(noise).collect();
    Tensor::from_data(TensorData::new(values, [batch, 1, height, width]), device)
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().expect("f32")
}

/// The f32 network on the CPU is the second implementation; 2e-2 is what rounding seventeen images to 8 bits leaves with random weights. Those that
/// are shipped are at half of 1.2e-2 (`bench networks`).
#[test]
fn on_a_hopper_card_logits_are_the_cpus_and_do_not_depend_on_the_batch() {
    let why = "LITHOBURN_TEST_DEVICE=cuda does not name a Hopper card";
    let Some(device) = Need::Gpu.met(card(), why) else { return };
    for (name, program) in known() {
        let fused = Hopper::new(&program, &device).unwrap_or_else(|e| panic!("{name}: {e}"));
        let layers = program.placed(0..program.layers.len(), &Device::flex(), DType::F32);
        for shape in [[1, 256, 256], [5, 96, 160], [17, 32, 64]] {
            let x = input(shape, &Device::flex());
            let expected = values(run(&layers, x.clone()));
            let found = values(fused.logits(input(shape, &device)));
            let off = distance(&found, &expected);
            assert!(off <= 2e-2, "{name}, {shape:?}: {off}");
            let [_, height, width] = shape;
            let first = Tensor::from_data(x.narrow(0, 0, 1).into_data(), &device);
            let alone = values(fused.logits(first));
            assert_eq!(alone, found[..height * width], "{name}, {shape:?}: other bits in a batch");
        }
    }
}

/// Launched one by one, the steps are the second implementation. The graph is made at the second pass of an extent, and later ones replay it on
/// other images; logits that are still held are not written over.
#[cfg(feature = "cuda")]
#[test]
fn on_a_hopper_card_a_replayed_pass_has_the_launched_ones_bits() {
    let why = "LITHOBURN_TEST_DEVICE=cuda does not name a Hopper card";
    let Some(device) = Need::Gpu.met(card(), why) else { return };
    for (name, program) in known() {
        let fused = Hopper::new(&program, &device).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut extents = 0;
        for shape @ [batch, height, width] in [[1, 256, 256], [2, 64, 96], [9, 256, 256]] {
            let extent = Extent { batch, height, width };
            let images: Vec<_> =
                (0..5).map(|i| input(shape, &device) * (1.0 - 0.2 * i as f32)).collect();
            let launched = |x: &Tensor<4>| values(fused.pass(x.clone(), Some(extent)));
            let expected: Vec<_> = images.iter().map(launched).collect();
            let found: Vec<_> = images.iter().map(|x| fused.logits(x.clone())).collect();
            // Passes from memory to memory come between passes that nobody has looked at yet.
            let data: Vec<_> = images.iter().map(Tensor::to_data).collect();
            let between: Vec<_> = (0..5).map(|i| fused.logits(images[4 - i].clone())).collect();
            for (i, (data, expected)) in data.iter().zip(&expected).enumerate() {
                let of_host = fused.host_logits(data.clone(), &device, DType::F32);
                let of_host = of_host.expect("logits").try_into_vec::<f32>().expect("f32");
                assert!(of_host == *expected, "{name}, {shape:?}: image {i} of the host");
            }
            let all = found.into_iter().chain(between.into_iter().rev());
            for (i, (found, expected)) in all.zip(expected.iter().cycle()).enumerate() {
                assert!(values(found) == *expected, "{name}, {shape:?}: image {i}");
            }
            // A test beside this one may have opened a second card.
            let alone = (cards_opened() <= 1).then_some(());
            let why = "several cards are open, where nothing is recorded: run it alone";
            let Some(()) = Need::Gpu.met(alone, why) else { return };
            extents += usize::from(batch < 9);
            assert_eq!(fused.recordings.count(), extents, "{name}, {shape:?}");
            let replayed = fused.recordings.there_and_back(data[0].clone());
            assert_eq!(matches!(replayed, Replayed::Made(Ok(_))), batch < 9, "{name}, {shape:?}");
        }
    }
}

/// The f32 network on the CPU, layer by layer, is the second implementation, for logits' gradients of one sign (as in the trial). Gradients have the
/// same bits in a second run, given out in bf16 they are the nearest of its numbers, and steps along them make the loss smaller.
#[test]
fn on_a_hopper_card_gradients_are_the_cpus_and_steps_descend() {
    let why = "LITHOBURN_TEST_DEVICE=cuda does not name a Hopper card";
    let Some(device) = Need::Gpu.met(card(), why) else { return };
    for (name, program) in known() {
        let mut training =
            Training::new(&program, &device, DType::F32).unwrap_or_else(|e| panic!("{name}: {e}"));
        let rounded = Training::new(&program, &device, DType::BF16);
        let rounded = rounded.unwrap_or_else(|e| panic!("{name}: {e}"));
        for shape in [[2, 64, 96], [3, 128, 64]] {
            let (x, goal) = (input(shape, &Device::flex()), input(shape, &Device::flex()) + 0.5);
            let on_card = |x: &Tensor<4>| Tensor::<4>::from_data(x.clone().into_data(), &device);
            let gradient = || {
                let found = training.gradient(training.pass(on_card(&x)), on_card(&goal));
                found.try_into_vec_as::<f32>().expect("f32")
            };
            let found = gradient();
            let expected = reference(&program, x.clone(), goal.clone()).expect("on the CPU");
            let off = distance(&found, &expected);
            println!("{name}, {shape:?}: off by {off:.2e}");
            assert!(off <= 5e-2, "{name}, {shape:?}: {off}");
            assert!(found == gradient(), "{name}, {shape:?}: other bits in a second run");
            let told = rounded.gradient(rounded.pass(on_card(&x)), on_card(&goal));
            assert_eq!(told.dtype(), DType::BF16, "{name}");
            let told = told.try_into_vec_as::<f32>().expect("numbers");
            let nearest = found.iter().map(|&v| bf16::from_f32(v).to_f32());
            assert!(nearest.eq(told), "{name}, {shape:?}: not the nearest of bf16");
        }
        let (x, goal) = (input([4, 64, 64], &device), input([4, 64, 64], &device) * 4.0);
        let mut losses = Vec::new();
        for count in 1..=20 {
            let pass = training.pass(x.clone());
            let off = pass.logits.clone() - goal.clone();
            losses.push(values(off.clone() * off.clone()).iter().sum::<f32>());
            let gradient = training.gradient(pass, off * 2.0);
            let step = AdamStep {
                betas: [0.9, 0.999],
                epsilon: 1e-5,
                most_norm: 1.0,
                scale: 1.0,
                rate: 1e-3,
                count,
            };
            training.step(gradient, step);
        }
        println!("{name}: losses {} to {}", losses[0], losses[19]);
        assert!(losses[19] < 0.7 * losses[0], "{name}: {losses:?}");
    }
}
