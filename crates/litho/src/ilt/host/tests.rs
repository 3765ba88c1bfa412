//! The steps on the processor against Burn's operations.

use burn::tensor::{Device, Tensor, TensorData};

use crate::forward::{Exposed, ForwardModel, Imager, ThinMask};
use crate::ilt::descent::Descent;
use crate::ilt::models::{Models, Tally};
use crate::ilt::{IltConfig, Level};
use crate::loss::Goal;
use crate::optics::Optics;
use crate::{CornerImages, LithoError, ProcessWindow, Simulator};

/// The same model, without steps of its own.
struct InBurn(ThinMask);

impl ForwardModel for InBurn {
    fn period_nm(&self) -> f64 {
        self.0.period_nm()
    }

    fn device(&self) -> &Device {
        self.0.device()
    }

    fn on(&self, pixel_nm: f64, points: usize) -> Result<Box<dyn Imager + '_>, LithoError> {
        Ok(Box::new(WithAdjoint(self.0.on(pixel_nm, points)?)))
    }
}

struct WithAdjoint<'a>(Box<dyn Imager + 'a>);

impl Imager for WithAdjoint<'_> {
    fn images(&self, mask: Tensor<3>) -> CornerImages {
        self.0.images(mask)
    }

    fn expose(&self, mask: Tensor<3>) -> Exposed<'_> {
        self.0.expose(mask)
    }
}

const SHAPE: [usize; 3] = [2, 128, 128];

fn pattern(pitch: usize) -> Tensor<3> {
    let bit = |i: usize| f32::from(u8::from((i / 128 * 3 + i % 128) % pitch < pitch / 2));
    let values: Vec<f32> = (0..SHAPE.iter().product()).map(bit).collect();
    Tensor::from_data(TensorData::new(values, SHAPE), &Device::flex())
}

/// Parameters, Adam's means, mask, and the errors of the mask, soft and hard, after some steps.
fn stand(model: &dyn ForwardModel, steps: usize) -> Vec<(&'static str, Vec<f32>)> {
    let level = Level {
        pixel_nm: 16.0,
        iterations: 41,
        learning_rate: 0.1,
        steepness: [4.0, 6.0],
        smooth_nm: 80.0,
        resist_steepness: None,
    };
    let config = IltConfig { levels: vec![level], free_nm: 1900.0, ..IltConfig::default() };
    let models = Models::new(model, None, 16.0, 16).expect("fits");
    let goal = Goal { target: pattern(37), design: pattern(41), strips: Some(pattern(7)) };
    let first = pattern(43) * 0.6 + 0.2;
    let mut descent = Descent::new(&config, &config.levels[0], models, goal, first);
    let (mut tally, mut step, mut look) = (Tally::default(), 0, None);
    while step < steps {
        let (taken, loss) = descent.advance(step, |s| s + 1 == steps, &mut tally).expect("steps");
        (step, look) = (step + taken, loss.or(look));
    }
    assert_eq!(tally.true_calls, steps);
    let [mean, square] = descent.memory();
    let hard = descent.hard_error(descent.hard(), &mut tally);
    let values = |x: Tensor<3>| x.try_into_vec_as::<f32>().expect("f32");
    vec![
        ("parameters", values(descent.parameters.clone())),
        ("mean", values(mean)),
        ("square", values(square)),
        ("mask", values(descent.mask())),
        ("hard error", values(hard)),
        ("loss", vec![look.expect("a look") as f32]),
    ]
}

fn thin_mask(diffusion_nm: f64) -> ThinMask {
    let optics = Optics { count: 6, source_step: 0.1, ..Optics::default() };
    let simulator = Simulator::new(&optics.kernels().expect("optics"), &Device::flex());
    ThinMask::new(simulator.with_diffusion(diffusion_nm), ProcessWindow::default())
}

/// The first step's mean is the gradient: within rounding of Burn's.
#[test]
fn a_step_on_the_processor_is_that_of_burns_operations() {
    for diffusion_nm in [0.0, 12.0] {
        let model = thin_mask(diffusion_nm);
        assert!(model.on(16.0, 16).expect("fits").fused().is_some());
        let found = stand(&model, 1);
        for ((name, found), (_, expected)) in found.iter().zip(stand(&InBurn(model), 1)) {
            let scale = expected.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
            let off: Vec<f32> = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).collect();
            let most = off.iter().copied().fold(0.0, f32::max);
            // Adam's first step is the gradient's sign, which rounding decides where the gradient is nearly 0.
            // Elsewhere two orders of f32 sums of some hundred terms differ by 1.1e-5 of the largest.
            let least = if *name == "parameters" { 1e-2 } else { 2e-5 };
            assert!(
                scale > 0.0 && off.iter().all(|o| *o <= least * scale),
                "{name}: {most} of {scale}"
            );
        }
    }
}

/// Rounding decides which way a pixel goes whose gradient is nearly 0, so pixels differ, and what they print does not.
#[test]
fn many_steps_on_the_processor_are_those_of_burns_operations() {
    let model = thin_mask(0.0);
    let found = stand(&model, 41);
    for ((name, found), (_, expected)) in found.iter().zip(stand(&InBurn(model), 41)) {
        match *name {
            "mask" => {
                let pairs = found.iter().zip(&expected);
                let mean = pairs.map(|(a, b)| (a - b).abs()).sum::<f32>() / found.len() as f32;
                assert!(mean < 5e-3, "{mean}");
            }
            "hard error" | "loss" => {
                for (a, b) in found.iter().zip(&expected) {
                    assert!((a - b).abs() <= 1e-2 * b, "{name}: {a} vs {b}");
                }
            }
            _ => {}
        }
    }
}

/// The loss's derivative and hard errors, edges' cost included: within rounding of Burn's, for every mask of a batch.
#[test]
fn slopes_and_hard_errors_on_the_processor_are_those_of_burns_operations() -> Result<(), LithoError>
{
    let model = thin_mask(12.0);
    let goal = Goal { target: pattern(37) * 0.9, design: pattern(41), strips: Some(pattern(7)) };
    let (mask, loss) = (pattern(43) * 0.8 + 0.1, IltConfig::default().loss);
    let imager = model.on(16.0, 16)?;
    assert!(imager.fused().is_some());
    let found = imager.slopes(mask.clone(), &goal, &loss)?;
    let error = imager.hard_error(mask.clone(), &goal, &loss);
    let in_burn = WithAdjoint(model.on(16.0, 16)?);
    let values = |x: Tensor<3>| x.try_into_vec_as::<f32>().expect("f32");
    let expected = values(in_burn.slopes(mask.clone(), &goal, &loss)?);
    let scale = expected.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    for (found, expected) in values(found).iter().zip(&expected) {
        assert!((found - expected).abs() <= 2e-5 * scale, "{found} vs {expected} of {scale}");
    }
    assert!(scale > 0.0);
    assert_eq!(values(error), values(in_burn.hard_error(mask, &goal, &loss)));
    Ok(())
}
