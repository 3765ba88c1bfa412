//! The steps in eight bits: as text, laid out, rounded on the CPU, and on a card.

use burn::tensor::bf16;

use super::emulation::Emulator;
use super::*;
use crate::e4m3;
use crate::hopper::eight_bits::trial::TOLERANCE;
use crate::hopper::eight_bits::{Numbers, units};
use crate::host::rounded::{Rounded, largest};
use crate::program::Activations;
use crate::steps::Convolution;

const FAST: &str = "\
fast.down.0.first  stem of folded input, to #0 (32 at 1/2, e4m3)
fast.down.1.first  convolve #0 (32 at 1/2, e4m3) folded by 64, relu, to #1 (64 at 1/4, e4m3)
fast.down.1.refine.0 convolve #1 (64 at 1/4, e4m3) by 64, relu, to #2 (64 at 1/4, e4m3)
fast.down.2.first  convolve #2 (64 at 1/4, e4m3) folded by 128, relu, to #3 (128 at 1/8, e4m3)
fast.down.2.refine.0 convolve #3 (128 at 1/8, e4m3) by 128, relu, to #4 (128 at 1/8, e4m3)
fast.up.2          convolve #4 (128 at 1/8, e4m3) by 128, relu, to #5 (64 at 1/4, e4m3) unfolded
fast.join.1.first  convolve #5 (64 at 1/4, e4m3) + #2 (64 at 1/4, e4m3) by 64, relu, to #6 (64 at 1/4, e4m3)
fast.join.1.refine.0 convolve #6 (64 at 1/4, e4m3) by 64, relu, to #7 (64 at 1/4, e4m3)
fast.up.1          convolve #7 (64 at 1/4, e4m3) by 64, relu, to #8 (32 at 1/2, e4m3) unfolded
fast.join.0.first  convolve #8 (32 at 1/2, e4m3) + #0 (32 at 1/2, e4m3) by 32, rows in pairs, relu, to #9 (32 at 1/2)
fast.up.0          last convolution of #9 (32 at 1/2), unfolded, to logits
";

fn steps_of(program: &Program) -> Steps {
    let steps = Steps::of(program, Grain::HOPPER).expect("known");
    steps.in_eight_bits().expect("known")
}

/// Networks with each kind of step, and sides of an image.
fn cases() -> [(&'static str, Program, [usize; 2]); 5] {
    [
        ("fast", fast(&[32, 64, 64], 1), [16, 24]),
        ("wide blocks", gan(&[64, 64], true), [12, 8]),
        ("no skips", gan(&[32, 96], false), [8, 12]),
        ("u-net", unet(32, 1), [16, 8]),
        ("u-net, 3 x 3 at the end", unet(32, 3), [8, 16]),
    ]
}

/// A network's numbers in eight bits, calibrated on noise.
struct Calibrated {
    flat: Flat,
    steps: Steps,
    units: Vec<f32>,
    numbers: Numbers,
}

impl Calibrated {
    fn of(program: &Program, size: [usize; 2], factor: f32) -> Self {
        let (flat, steps) = (Flat::of(program), steps_of(program));
        let x: Vec<f32> = (0..2 * size[0] * size[1]).map(|i| factor * noise(i)).collect();
        let units = units(&steps, &largest(program, &steps, &x, size).expect("on the CPU"));
        let values = flat.values(program).expect("on the host");
        let numbers = Numbers::of(&flat, &steps, &units, &values);
        Self { flat, steps, units, numbers }
    }

    fn host(&self, program: &Program) -> Rounded {
        let meant = self.numbers.meant(&self.flat, program);
        Rounded::new(&meant, &self.steps, &self.units).expect("on the CPU")
    }
}

fn layers_on_the_cpu(program: &Program) -> Vec<crate::program::Layer> {
    program.placed(0..program.layers.len(), &Device::flex(), DType::F32)
}

#[test]
fn all_images_but_the_last_convolutions_are_in_eight_bits() {
    assert_eq!(steps_of(&fast(&[32, 64, 128], 1)).to_string(), FAST);
    for (name, program) in known() {
        let steps = steps_of(&program);
        let kept = steps.images.iter().filter(|image| !image.eight_bits).count();
        assert_eq!(kept, usize::from(!name.starts_with("neural-ilt ")), "{name}:\n{steps}");
    }
}

/// What the last convolution reads cannot be read by another, which would multiply in eight bits.
#[test]
fn what_no_kernel_computes_in_eight_bits_is_named() {
    let mut steps = Steps::of(&fast(&[32, 64], 0), Grain::HOPPER).expect("known");
    let Some(Work::Narrow { from, .. }) = steps.steps.last_mut().map(|step| &mut step.work) else {
        panic!("a last convolution");
    };
    *from = 0;
    let problem = steps.in_eight_bits().expect_err("reads two kinds").to_string();
    assert!(problem.contains("down.1.first") && problem.contains("eight bits"), "{problem}");
    let mut steps = Steps::of(&fast(&[32, 64], 0), Grain::HOPPER).expect("known");
    let Work::Convolve(work) = &mut steps.steps[1].work else { panic!("a convolution") };
    work.relu = false;
    let problem = steps.in_eight_bits().expect_err("negative numbers").to_string();
    assert!(problem.contains("down.1.first") && problem.contains("no ReLU"), "{problem}");
    let unet = cases().into_iter().find(|(name, ..)| *name == "u-net").expect("a case").1;
    let steps = Steps::of(&unet, Grain::HOPPER_TRAINING).expect("known");
    let problem = steps.in_eight_bits().expect_err("an image in sixteen bits").to_string();
    assert!(problem.contains("keeps what a last 1x1 convolution reads"), "{problem}");
}

#[test]
fn units_are_powers_of_two_that_maxima_and_doubled_images_share() {
    for (name, program, size) in cases() {
        let Calibrated { steps, units, .. } = Calibrated::of(&program, size, 1.0);
        for (image, unit) in units.iter().enumerate() {
            assert_eq!(unit.log2().fract(), 0.0, "{name}, #{image}");
        }
        for step in &steps.steps {
            match step.work {
                Work::Double { from, to } => assert_eq!(units[from], units[to], "{name}"),
                Work::Convolve(Convolution { then: Then::Pool(view, pooled), .. }) => {
                    assert_eq!(units[view.image], units[pooled], "{name}");
                }
                _ => {}
            }
        }
    }
}

/// The network with rounded weights, layer by layer in f32, is the second implementation. Images are not rounded in either.
#[test]
fn the_steps_in_eight_bits_read_the_weights_that_were_rounded() {
    for (name, program, size @ [height, width]) in cases() {
        let own = Calibrated::of(&program, size, 1.0);
        let packed = Packed::laid_out(&own.flat, &own.steps, &own.numbers.scaled);
        let meant = own.numbers.meant(&own.flat, &program);
        let layers = layers_on_the_cpu(&meant);
        let expected = values(run(&layers, input([1, height, width], &Device::flex())));
        let x: Vec<f32> = (0..height * width).map(noise).collect();
        let mut emulator = Emulator::new(&own.steps, &packed, [1, height, width], &x);
        emulator.run();
        let off = distance(&emulator.logits, &expected);
        assert!(off < 1e-4, "{name}: {off}");
        let whole =
            values(run(&layers_on_the_cpu(&program), input([1, height, width], &Device::flex())));
        let rounded = distance(&expected, &whole);
        assert!((1e-3..0.2).contains(&rounded), "{name}: weights are off by {rounded}");
    }
}

fn each(x: Tensor<4>, round: impl Fn(f32) -> f32) -> Tensor<4> {
    let shape = x.dims();
    let rounded: Vec<f32> = values(x).into_iter().map(round).collect();
    Tensor::from_data(TensorData::new(rounded, shape), &Device::flex())
}

/// Burn's layers, rounded one by one, are the second implementation. A sum in another order may become another number, and what follows of it, too.
#[test]
fn the_reference_rounds_each_image_once() {
    for (name, program, size @ [height, width]) in cases() {
        let own = Calibrated::of(&program, size, 1.0);
        let meant = own.numbers.meant(&own.flat, &program);
        let x = input([1, height, width], &Device::flex());
        let half = |value: f32| bf16::from_f32(value).to_f32();
        let folded = matches!(own.steps.steps[0].work, Work::Stem { folded: true, .. });
        let first = if folded { each(x.clone(), half) } else { x.clone() };
        let mut state = Activations { x: first, skips: Vec::new() };
        for (number, layer) in layers_on_the_cpu(&meant).iter().enumerate() {
            state = layer.kind.run(state);
            let Some(step) = own.steps.steps.iter().find(|step| step.layer == number) else {
                continue;
            };
            state.x = match step.work.reads_and_writes().1.first() {
                Some(&image) if own.steps.bytes(image) == 1 => {
                    let unit = own.units[image];
                    each(state.x, |value| e4m3::rounded(value / unit) * unit)
                }
                None if matches!(step.work, Work::Narrow { .. }) => state.x,
                _ => each(state.x, half),
            };
        }
        let expected = values(state.x);
        let found = own.host(&program).images(&values(x.clone()), size, &[]);
        let off = distance(&found[found.len() - 1], &expected);
        let whole = values(run(&layers_on_the_cpu(&program), x));
        let rounding = distance(&expected, &whole);
        println!("{name}: off by {off:.2e}, of f32 by {rounding:.2e}");
        assert!(off < rounding / 10.0, "{name}: {off}, of f32 {rounding}");
        assert!((5e-3..0.4).contains(&rounding), "{name}: {rounding}");
    }
}

/// Calibrated on a hundredth of what comes, numbers are the largest and no more; one pixel that is no number is not hidden.
#[test]
fn what_is_out_of_range_saturates_and_what_is_no_number_is_seen() {
    for (name, program, size @ [height, width]) in cases() {
        let host = Calibrated::of(&program, size, 0.01).host(&program);
        let mut x: Vec<f32> = (0..height * width).map(noise).collect();
        let images = host.images(&x, size, &[]);
        assert!(images.iter().flatten().all(|value| value.is_finite()), "{name}");
        x[height * width / 2] = f32::NAN;
        let images = host.images(&x, size, &[]);
        assert!(images[images.len() - 1].iter().any(|value| value.is_nan()), "{name}");
    }
}

/// Each step of a card, made of the card's own images, is the CPU's; logits of an image have the same bits in any batch, launched or replayed.
#[test]
fn on_a_hopper_card_steps_in_eight_bits_are_the_cpus_and_do_not_depend_on_the_batch() {
    let why = "LITHOBURN_TEST_DEVICE=cuda does not name a Hopper card";
    let Some(device) = Need::Gpu.met(card(), why) else { return };
    for (name, program) in known() {
        let targets = input([2, 64, 64], &Device::flex());
        let prepared = Prepared::in_eight_bits(&program, &targets).expect("known");
        let Proof::Images(trial) = prepared.proof.clone() else { panic!("a trial of images") };
        let fused = prepared.on(&device).unwrap_or_else(|e| panic!("{name}: {e}"));
        for shape @ [_, height, width] in [[1, 256, 256], [5, 96, 160], [17, 32, 64]] {
            let offs = trial.offs(&fused, input(shape, &device), None).expect("on the card");
            let worst = offs.iter().map(|(_, off)| *off).fold(0.0, f64::max);
            println!("{name}, {shape:?}: steps are off by {worst:.1e} at most");
            for (step, off) in offs {
                let near = off <= TOLERANCE;
                assert!(near, "{name}, {shape:?}: {step} is off by {off}");
            }
            let found = values(fused.logits(input(shape, &device)));
            let first = input(shape, &Device::flex()).narrow(0, 0, 1).into_data();
            for pass in 1..=3 {
                let alone = values(fused.logits(Tensor::from_data(first.clone(), &device)));
                let same = alone == found[..height * width];
                assert!(same, "{name}, {shape:?}: other bits in a batch, pass {pass}");
            }
        }
    }
}

/// In eight bits sixteen images are recorded, too. Launched one by one, the steps are the second implementation.
#[cfg(feature = "cuda")]
#[test]
fn on_a_hopper_card_sixteen_images_in_eight_bits_are_replayed() {
    let why = "LITHOBURN_TEST_DEVICE=cuda does not name a Hopper card";
    let Some(device) = Need::Gpu.met(card(), why) else { return };
    let why = "several cards are open, where nothing is recorded: run it alone";
    let Some(()) = Need::Gpu.met((cards_opened() <= 1).then_some(()), why) else { return };
    let program = fast(&[32, 64, 128], 1);
    let prepared = Prepared::in_eight_bits(&program, &input([2, 64, 64], &Device::flex()));
    let fused = prepared.and_then(|prepared| prepared.on(&device)).expect("a Hopper card");
    let extent = Extent { batch: 16, height: 256, width: 256 };
    for pass in 1..=4 {
        let x = input([16, 256, 256], &device) * (1.0 / pass as f32);
        let expected = values(fused.pass(x.clone(), Some(extent)));
        assert!(values(fused.logits(x)) == expected, "pass {pass}");
    }
    assert_eq!(fused.recordings.count(), 1);
}
