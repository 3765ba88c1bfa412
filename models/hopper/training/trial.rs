//! What a card must show before a network is trained on it: a small batch's gradient is the CPU's, parameter by parameter.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::Training;
use crate::flat::Flat;
use crate::hopper::plan::Plan;
use crate::program::{Layer, LayerKind, Program, run};
use crate::trial::{TRIAL_SIDE, brief, distance, noise};

/// Largest ‖difference‖ / ‖reference‖ of all gradients. Rounding to 8 bits leaves 1 %; a wrong kernel is off by tens of per cent.
const TOLERANCE: f64 = 5e-2;
/// The same of one parameter, whose rounding need not cancel. What is no gradient of it is off by all its size.
const TOLERANCE_OF_ONE: f64 = 0.5;

impl Training {
    /// How far a small batch's gradient is from the CPU's. Not a number is a failure, and gradients begin as that, so that one that no kernel
    /// writes is found.
    ///
    /// Logits' gradients are of one sign, so that pixels' shares add up: an image rounded to 8 bits closes ReLUs that were just open, and where
    /// shares cancel, that alone is a tenth of the gradient.
    pub(super) fn trial(&self, program: &Program) -> Result<f64, String> {
        let side = TRIAL_SIDE.next_multiple_of(self.stride);
        let image = |shift: f32| -> Tensor<4> {
            let values: Vec<f32> = (0..2 * side * side).map(|i| noise(i) - shift).collect();
            Tensor::from_data(TensorData::new(values, [2, 1, side, side]), &Device::flex())
        };
        let (x, of_logits) = (image(0.0), image(-0.5));
        let expected = reference(program, x.clone(), of_logits.clone())?;
        let on_card = |x: Tensor<4>| Tensor::from_data(x.into_data(), &self.values.device());
        let plan = Plan { marked: true, ..(*self.plan).clone() };
        let marked = Self { plan: Arc::new(plan), ..self.clone() };
        let found = marked.gradient(marked.pass(on_card(x)), on_card(of_logits));
        let found = found.try_into_vec_as::<f32>().map_err(|e| brief(&e.to_string()))?;
        compared(&found, &expected, &self.plan.flat.parameters(), &self.names)
    }
}

/// ‖difference‖ / ‖expected‖ of all gradients, if that and every parameter's are small enough.
fn compared(
    found: &[f32],
    expected: &[f32],
    parameters: &[Range<usize>],
    names: &[String],
) -> Result<f64, String> {
    for (range, name) in parameters.iter().zip(names) {
        let off = match (found.get(range.clone()), expected.get(range.clone())) {
            (Some(found), Some(expected)) if found == expected => 0.0,
            (Some(found), Some(expected)) => distance(found, expected),
            _ => f64::INFINITY,
        };
        // Not a number is not below anything.
        let near = off <= TOLERANCE_OF_ONE;
        if !near {
            return Err(format!("gradients of {name} are off by {off:.1e} of their size"));
        }
    }
    let off = distance(found, expected);
    match off <= TOLERANCE {
        true => Ok(off),
        false => Err(format!("gradients are off by {off:.1e} of their size")),
    }
}

/// The gradient of all weights, layer by layer on the CPU in f32, given images and the gradient of their logits.
pub(crate) fn reference(
    program: &Program,
    x: Tensor<4>,
    of_logits: Tensor<4>,
) -> Result<Vec<f32>, String> {
    let device = Device::flex().autodiff();
    let tracked = |layer: &Layer| layer.placed(&Device::flex(), DType::F32).tracked(&device);
    let layers: Vec<Layer> = program.layers.iter().map(tracked).collect();
    let on_device = |x: Tensor<4>| Tensor::<4>::from_data(x.into_data(), &device);
    let gradients = (run(&layers, on_device(x)) * on_device(of_logits)).sum().backward();
    let flat = Flat::of(program);
    let mut values = vec![0.0; flat.count];
    for (layer, own) in layers.iter().zip(&flat.layers) {
        if let (LayerKind::Convolve { kernel, .. }, Some(own)) = (&layer.kind, own) {
            own.fill(&mut values, &kernel.gradients(&gradients, &device)?);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neural_ilt::NeuralIltConfig;

    fn small() -> (Vec<f32>, Vec<Range<usize>>, Vec<String>) {
        let program = NeuralIltConfig { width: 2, ..NeuralIltConfig::default() }.random_program(7);
        let flat = Flat::of(&program);
        let gradient = (0..flat.count).map(|i| noise(i) - 0.5).collect();
        let (parameters, names) = (flat.parameters(), flat.names(&program));
        (gradient, parameters, names)
    }

    #[test]
    fn a_parameter_that_was_not_written_fails_the_trial_by_its_name() {
        let (expected, parameters, names) = small();
        assert_eq!(compared(&expected, &expected, &parameters, &names), Ok(0.0));
        for lost in [f32::NAN, f32::INFINITY, 1e3] {
            let mut found = expected.clone();
            found[parameters[3].start] = lost;
            let problem = compared(&found, &expected, &parameters, &names).expect_err("is lost");
            assert!(problem.contains(&names[3]), "{lost}: {problem}");
        }
        // Zeros where gradients should be: a few among many, which all together are off by 1 %.
        let mut found = expected.clone();
        let smallest = (0..parameters.len()).min_by_key(|&i| parameters[i].len()).expect("some");
        found[parameters[smallest].clone()].fill(0.0);
        assert!(distance(&found, &expected) < TOLERANCE, "all together are near");
        let problem = compared(&found, &expected, &parameters, &names).expect_err("is zero");
        assert!(problem.contains(&names[smallest]), "{problem}");
        assert!(compared(&found[1..], &expected, &parameters, &names).is_err(), "one is missing");
    }
}
