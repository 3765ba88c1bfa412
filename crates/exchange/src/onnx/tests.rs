//! The written file, decoded again. That ONNX Runtime computes the same mask from it is what
//! `examples/check_onnx.py` shows.

use std::collections::{BTreeMap, HashSet};

use burn::tensor::{DType, Device, Tensor};
use lithoburn_models::{
    EncoderDecoderConfig, GanOpc, GanOpcConfig, MaskNetwork, NeuralIlt, NeuralIltConfig, Parallel,
    weights,
};
use safetensors::SafeTensors;

use super::*;

fn u_net() -> NeuralIlt {
    NeuralIltConfig { width: 2, ..NeuralIltConfig::default() }.init(&Device::flex())
}

fn encoder_decoder(skips: bool, refine: usize) -> GanOpc {
    let generator = EncoderDecoderConfig::new(vec![2, 3, 4], skips, refine);
    GanOpcConfig { generator, ..GanOpcConfig::default() }.init(&Device::flex())
}

fn decoded(network: &dyn Parallel, size: usize) -> ModelProto {
    ModelProto::decode(&export(&network.program(), size).expect("exports")[..]).expect("decodes")
}

/// Every name is defined once and before it is used; every constant has as many elements as its shape says.
fn check(model: &ModelProto) {
    let graph = model.graph.as_ref().expect("a graph");
    let mut known: HashSet<&str> = HashSet::new();
    for tensor in &graph.initializer {
        let count: i64 = tensor.dims.iter().product();
        assert_eq!(tensor.raw_data.as_ref().map(Vec::len), Some(4 * count as usize));
        assert!(known.insert(tensor.name.as_deref().expect("a name")), "{:?}", tensor.name);
    }
    for input in &graph.input {
        assert!(known.insert(input.name.as_deref().expect("a name")));
    }
    let mut used: HashSet<&str> = HashSet::new();
    let mut nodes = HashSet::new();
    for node in &graph.node {
        assert!(nodes.insert(node.name.as_deref().expect("a name")));
        for input in node.input.iter().filter(|name| !name.is_empty()) {
            assert!(known.contains(input.as_str()), "{input} of {:?}", node.name);
            used.insert(input);
        }
        assert!(node.output.iter().all(|name| known.insert(name)), "{:?}", node.output);
    }
    let results: HashSet<&str> = graph.output.iter().filter_map(|o| o.name.as_deref()).collect();
    let unused: Vec<_> =
        known.iter().filter(|n| !used.contains(**n) && !results.contains(**n)).collect();
    assert!(results.is_subset(&known) && unused.is_empty(), "{unused:?}");
}

fn shape(info: &proto::ValueInfoProto) -> Vec<i64> {
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).expect("a tensor");
    assert_eq!(tensor.elem_type, Some(1));
    let dims = &tensor.shape.as_ref().expect("a shape").dim;
    assert_eq!(dims[0].dim_param.as_deref(), Some("batch"));
    dims[1..].iter().map(|d| d.dim_value.expect("a number")).collect()
}

#[test]
fn the_u_net_is_a_sound_graph_of_its_layers() {
    let model = decoded(&u_net(), 24);
    check(&model);
    let graph = model.graph.expect("a graph");
    assert_eq!(shape(&graph.input[0]), [1, 24, 24]);
    assert_eq!(shape(&graph.output[0]), [1, 96, 96]);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &graph.node {
        *counts.entry(node.op_type.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let expected = [
        ("Add", 2),
        ("Concat", 3),
        ("Conv", 15),
        ("Identity", 1),
        ("MatMul", 6),
        ("MaxPool", 3),
        ("Mul", 1),
        ("Relu", 14),
        ("Resize", 1),
        ("Sigmoid", 1),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
    assert_eq!(model.opset_import[0].version, Some(18));
    let nm = |i: usize| model.metadata_props[i].value.as_deref();
    assert_eq!([nm(0), nm(1)], [Some("8"), Some("2")]);
}

#[test]
fn every_form_of_the_encoder_decoder_is_a_sound_graph() {
    for (skips, refine) in [(false, 0), (true, 0), (true, 1), (false, 2)] {
        let network = encoder_decoder(skips, refine);
        let model = decoded(&network, 16);
        check(&model);
        let graph = model.graph.expect("a graph");
        let side =
            network.forward(Tensor::zeros([1, 16, 16], &Device::flex()), DType::F32).dims()[1];
        assert_eq!(shape(&graph.output[0]), [1, side as i64, side as i64], "{skips} {refine}");
        let count =
            |op: &str| graph.node.iter().filter(|n| n.op_type.as_deref() == Some(op)).count();
        assert_eq!((count("SpaceToDepth"), count("DepthToSpace")), (3, 3));
        assert_eq!(count("Concat"), if skips { 2 } else { 0 });
    }
}

/// Names and values of the weights are those of the weights' file.
fn same_weights<N: Parallel + burn::module::Module + burn::store::ModuleSnapshot>(network: &N) {
    let model = decoded(network, 16);
    let bytes = weights::encode_f32(network).expect("encodes");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let graph = model.graph.expect("a graph");
    for (name, tensor) in file.tensors() {
        let found = graph.initializer.iter().find(|t| t.name.as_deref() == Some(name.as_str()));
        let found = found.unwrap_or_else(|| panic!("{name} is missing"));
        let dims: Vec<usize> = found.dims.iter().map(|&n| n as usize).collect();
        assert_eq!(dims, tensor.shape(), "{name}");
        assert_eq!(found.raw_data.as_deref(), Some(tensor.data()), "{name}");
    }
    // Settings are named after their node: an operator and a number.
    let setting = |name: &str| name.starts_with(char::is_uppercase);
    let weights = graph.initializer.iter().filter(|t| !t.name.as_deref().is_some_and(setting));
    assert_eq!(weights.count(), file.len());
}

#[test]
fn weights_keep_their_names_and_values() {
    same_weights(&u_net());
    same_weights(&encoder_decoder(true, 1));
}

#[test]
fn a_size_that_does_not_fit_is_refused() {
    for size in [0, 20] {
        let error = export(&u_net().program(), size).expect_err("does not fit").to_string();
        assert!(error.contains("multiples of 8") && error.contains(&size.to_string()), "{error}");
    }
}
