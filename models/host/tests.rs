//! The steps of the CPU against the layers one by one.

use super::*;
use crate::encoder_decoder::EncoderDecoderConfig;
use crate::gan_opc::GanOpcConfig;
use crate::neural_ilt::NeuralIltConfig;
use crate::program::run;

fn programs() -> Vec<(&'static str, Program)> {
    let unet = |width, last_side| {
        NeuralIltConfig { width, last_side, ..NeuralIltConfig::default() }.random_program(3)
    };
    let fast = |widths: &[usize], refine| {
        let fast = Some(EncoderDecoderConfig::new(widths.to_vec(), true, refine));
        NeuralIltConfig { fast, ..NeuralIltConfig::default() }.random_program(3)
    };
    let generator = EncoderDecoderConfig::new(vec![16, 64], false, 0);
    let published = GanOpcConfig { generator, ..GanOpcConfig::published() };
    vec![
        ("u-net", unet(8, 1)),
        ("u-net of 5 channels, 3 x 3 at the end", unet(5, 3)),
        ("fast", fast(&[32, 64], 1)),
        ("fast of odd widths", fast(&[6, 10, 22], 1)),
        ("without skips", published.random_program(3)),
    ]
}

/// Burn's layers are the second implementation; both sum in f32, in other orders.
#[test]
fn the_steps_are_the_layers() {
    for (name, program) in programs() {
        let host = Host::new(&program).expect(name);
        let layers = program.placed(0..program.layers.len(), &Device::flex(), DType::F32);
        for [batch, height, width] in [[1, 16, 16], [3, 24, 40], [2, 8, 56]] {
            let wave = |i: usize| (i as f32 * 0.61).sin();
            let x: Vec<f32> = (0..batch * height * width).map(wave).collect();
            let data = TensorData::new(x, [batch, 1, height, width]);
            let x = Tensor::<4>::from_data(data, &Device::flex());
            let expected = run(&layers, x.clone());
            // Twice, so that memory of an earlier pass is used.
            for _ in 0..2 {
                let found = host.logits(x.clone());
                assert_eq!(found.dims(), expected.dims());
                let scale: f32 = expected.clone().abs().max().into_scalar();
                let off: f32 = (found - expected.clone()).abs().max().into_scalar();
                assert!(scale > 0.0 && off <= 3e-5 * scale, "{name}: {off} of {scale}");
            }
        }
    }
}

/// An image's logits do not depend on the images beside it, and NaN is not hidden by a ReLU.
#[test]
fn images_of_a_batch_are_apart() {
    let (_, program) = programs().swap_remove(2);
    let host = Host::new(&program).expect("known");
    let wave: Vec<f32> = (0..2 * 256).map(|i| (i as f32 * 0.37).sin()).collect();
    let alone = host.pass.run(&wave[256..], [16, 16]);
    assert_eq!(host.pass.run(&wave, [16, 16])[256..], alone);
    let mut broken = wave.clone();
    broken[40] = f32::NAN;
    let found = host.pass.run(&broken, [16, 16]);
    assert!(found[..256].iter().all(|v| v.is_nan()), "16² is within the network's reach");
    assert_eq!(found[256..], alone);
}

#[test]
fn logits_of_targets_in_memory_are_those_of_the_tensor() {
    let (_, program) = programs().swap_remove(2);
    let host = Host::new(&program).expect("known");
    let x = Tensor::<4>::from_data(
        TensorData::new((0..2 * 256).map(|i| (i as f32 * 0.37).sin()).collect(), [2, 1, 16, 16]),
        &Device::flex(),
    );
    let found = host.host_logits(x.to_data(), &Device::flex(), DType::F32).expect("logits");
    assert_eq!(found.shape().as_slice(), [2, 1, 16, 16]);
    assert_eq!(found.try_into_vec::<f32>().expect("f32"), values(host.logits(x)));
}

/// The head's own interpolation and sigmoid, in Burn's operations, are the second implementation.
#[test]
fn a_mask_is_the_heads() {
    let (_, program) = programs().swap_remove(0);
    for upsample in [1, 3, 4] {
        let mut host = Host::new(&program).expect("known");
        host.head = Head { upsample, logit_scale: 0.7, ..host.head };
        let wave = |shape: [usize; 3], pitch: f32| {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|i| 9.0 * (i as f32 * pitch).sin()).collect();
            Tensor::<3>::from_data(TensorData::new(values, shape), &Device::flex())
        };
        let (target, change) = (wave([2, 7, 7], 0.3), wave([2, 7, 7], 1.1).unsqueeze_dim::<4>(1));
        let found = host.mask(target.clone(), change.clone());
        let expected = Plain(host.head).mask(target, change);
        assert_eq!(found.dims(), [2, 7 * upsample, 7 * upsample]);
        let off: f32 = (found - expected).abs().max().into_scalar();
        assert!(off < 1e-5, "{upsample}: {off}");
    }
}

/// A network of which only the head is asked.
struct Plain(Head);

impl MaskNetwork for Plain {
    fn head(&self) -> Head {
        self.0
    }

    fn stride(&self) -> usize {
        1
    }

    fn logits(&self, x: Tensor<4>) -> Tensor<4> {
        x
    }
}
