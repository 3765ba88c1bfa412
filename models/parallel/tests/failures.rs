//! What does not fit is refused, and what fails ends the pass: nobody waits.

use burn::tensor::{DType, Device, Tensor};
use lithoburn_ranks::PipelineError;

use super::super::*;
use super::{even, places, terms, values, wave};
use crate::neural_ilt::NeuralIltConfig;
use crate::program::{Layer, LayerKind};

/// Refused images do no harm, and smaller ones are computed.
#[test]
fn an_image_that_does_not_fit_is_refused_and_a_smaller_one_runs() {
    let network = NeuralIltConfig { width: 4, ..NeuralIltConfig::default() };
    let program = network.init(&Device::flex()).program();
    let (layers, terms) = (program.layers.len(), PipelineTerms::default());
    let bytes = program.stage_bytes(0..layers, [1, 1, 16, 16], terms);
    let place = Place::limited("small", &Device::flex(), bytes);
    let pipelined = Pipelined::new(&program, &[place], &even(layers, 1), terms).expect("fits");
    let (large, small) = (wave([1, 1, 64, 64], 0.4), wave([2, 1, 16, 16], 0.4));
    for _ in 0..2 {
        assert!(pipelined.try_logits(large.clone()).expect_err("large").is_out_of_memory());
        let found = pipelined.try_logits(small.clone()).expect("small");
        assert_eq!(values(found), values(program.run(small.clone())));
    }
}

/// Two convolutions changed places: a shape that no convolution takes, which panics in the middle of a pass.
fn broken(network: &dyn Parallel) -> Program {
    let mut program = network.program();
    let is_convolution = |layer: &Layer| matches!(layer.kind, LayerKind::Convolve { .. });
    let places: Vec<usize> =
        (0..program.layers.len()).filter(|&i| is_convolution(&program.layers[i])).collect();
    program.layers.swap(places[1], places[places.len() - 1]);
    program
}

#[test]
fn a_panic_on_a_device_is_an_error_and_nobody_waits() {
    let network = NeuralIltConfig { width: 4, ..NeuralIltConfig::default() };
    let network = network.init(&Device::flex());
    let (program, x) = (broken(&network), wave([3, 1, 16, 16], 0.37));
    let layers = program.layers.len();
    let panicked = |result: Result<Tensor<4>, ParallelError>| {
        let error = result.expect_err("panics");
        assert!(matches!(error, ParallelError::Rank(PipelineError::Panicked(_))), "{error}");
    };
    let ended = |result: Result<Tensor<4>, ParallelError>| {
        let error = result.expect_err("ended");
        assert!(matches!(error, ParallelError::Rank(PipelineError::Ended(_))), "{error}");
    };
    let terms = PipelineTerms::default();
    let pipelined = Pipelined::new(&program, &places(3), &even(layers, 3), terms).expect("fits");
    panicked(pipelined.try_logits(x.clone()));
    ended(pipelined.try_logits(x.clone()));
    let spatial = Spatial::new(&program, &places(2), DType::F32).expect("fits");
    panicked(spatial.try_logits(x.clone()));
    ended(spatial.try_logits(x.clone()));
    // One layer at a time, nothing is left over, so this one goes on.
    let offloaded = Offloaded::new(&program, &places(1)[0], DType::F32).expect("reads");
    panicked(offloaded.try_logits(x.clone()));
    panicked(offloaded.try_logits(x));
}

#[test]
fn a_rank_without_memory_stops_the_others() {
    let network = NeuralIltConfig { width: 16, ..NeuralIltConfig::default() };
    let program = network.init(&Device::flex()).program();
    let mut places = places(3);
    places[1] = Place::limited("small", &Device::flex(), program.weight_bytes() / 2);
    let sharded = Sharded::new(&program, &places, terms(1e16)).expect("weights fit");
    let error = sharded.try_logits(wave([4, 1, 128, 128], 0.3)).expect_err("images do not");
    assert!(error.is_out_of_memory() && error.to_string().contains("rank 1 on small"), "{error}");
    let spatial = Spatial::new(&program, &places, DType::F32).expect_err("weights do not fit");
    assert!(spatial.is_out_of_memory(), "{spatial}");
}

#[test]
fn wrong_cuts_and_images_are_refused() {
    let network = NeuralIltConfig { width: 2, ..NeuralIltConfig::default() };
    let program = network.init(&Device::flex()).program();
    let (layers, terms) = (program.layers.len(), PipelineTerms::default());
    for cuts in [vec![0..3, 3..layers - 1], vec![0..3, 4..layers], vec![1..layers, 0..1], vec![]] {
        let error = Pipelined::new(&program, &places(2), &cuts, terms).expect_err("no cut");
        assert!(matches!(error, ParallelError::Cut(_)), "{error}");
    }
    let pipelined = Pipelined::new(&program, &places(1), &even(layers, 1), terms).expect("fits");
    let spatial = Spatial::new(&program, &places(1), DType::F32).expect("fits");
    for shape in [[1, 1, 12, 16], [1, 2, 16, 16], [1, 1, 16, 0]] {
        let x = Tensor::zeros(shape, &Device::flex());
        for result in [pipelined.try_logits(x.clone()), spatial.try_logits(x.clone())] {
            let error = result.expect_err("no image").to_string();
            assert!(error.contains("multiples of 8") && error.contains(&format!("{shape:?}")));
        }
    }
    assert!(Sharded::new(&program, &[], ShardTerms::default()).is_err());
    assert!(Spatial::new(&program, &[], DType::F32).is_err());
}
