//! Networks as ONNX files, which other programs run.
//!
//! What is written is the whole way from a target to a mask: the network, the target's own logits, the
//! enlargement and the sigmoid, in f32. Not the simulator, not the correction, and not the mean over the square's
//! symmetries. ONNX Runtime's masks differ from ours by f32 rounding (`examples/check_onnx.py`).
//!
//! | | name | shape | |
//! |---|---|---|---|
//! | input | `target` | `[batch, 1, n, n]` | covered share of each pixel, at the network's pixel size |
//! | output | `mask` | `[batch, 1, u·n, u·n]` | 0 to 1; the mask is where it is 0.5 or more |
//!
//! The file's metadata hold `target_pixel_nm` and `mask_pixel_nm`. Weights keep the names that they have in
//! `model.safetensors`. Format: ONNX IR version 8, operators of version 18.
//!
//! What is drawn is the network's [`Program`], the list of layers that its forward pass runs. The messages are declared in [`proto`].

mod graph;
pub mod proto;

pub use graph::{Graph, Value};

use lithoburn_models::{Head, Layer, LayerKind, Program};
use prost::Message;
use proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};

use crate::ExchangeError;

/// Version of the file format.
const IR_VERSION: i64 = 8;
/// Version of the operators.
const OPSET: i64 = 18;

/// The bytes of an ONNX file for targets of `size` by `size` pixels, in batches of any number.
///
/// # Errors
///
/// [`ExchangeError::Size`] if the network cannot take this size, [`ExchangeError::Device`] if its weights cannot be read.
pub fn export(program: &Program, size: usize) -> Result<Vec<u8>, ExchangeError> {
    Ok(model(program, size)?.encode_to_vec())
}

fn model(program: &Program, size: usize) -> Result<ModelProto, ExchangeError> {
    let Program { architecture, head, stride, layers } = program;
    let stride = *stride;
    if size == 0 || !size.is_multiple_of(stride) {
        return Err(ExchangeError::Size { size, stride });
    }
    let mut graph = Graph::new(architecture);
    let target = graph.input("target", [1, size, size]);
    let logits = draw(&mut graph, layers, &target)?;
    let mask = draw_head(&mut graph, head, &target, logits);
    let nm = |key: &str, nm: f64| StringStringEntryProto {
        key: Some(key.into()),
        value: Some(nm.to_string()),
    };
    Ok(ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("lithoburn".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        doc_string: Some("target (covered share of a pixel) to mask (0 to 1, cut at 0.5)".into()),
        graph: Some(graph.output("mask", &mask)),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
        metadata_props: vec![
            nm("target_pixel_nm", head.pixel_nm),
            nm("mask_pixel_nm", head.mask_pixel_nm()),
        ],
    })
}

/// Draws layers: what [`Program::run`] computes. Channels are second here throughout, so entering and leaving is nothing.
fn draw(graph: &mut Graph, layers: &[Layer], target: &Value) -> Result<Value, ExchangeError> {
    let (mut x, mut kept) = (target.clone(), Vec::new());
    for layer in layers {
        x = match &layer.kind {
            LayerKind::Enter | LayerKind::Leave => x,
            LayerKind::Convolve { kernel, relu } => {
                let y = graph.conv(&layer.name, kernel, &x)?;
                if *relu { graph.relu(&y) } else { y }
            }
            LayerKind::Halve => graph.max_pool2(&x),
            LayerKind::Double => graph.doubled(&x),
            LayerKind::Fold => graph.space_to_depth(&x),
            LayerKind::Unfold => graph.depth_to_space(&x),
            LayerKind::Push => {
                kept.push(x.clone());
                x
            }
            LayerKind::Join => match kept.pop() {
                Some(skip) => graph.concat(&x, &skip),
                None => unreachable!("a network joins what it has pushed"),
            },
        };
    }
    Ok(x)
}

/// From the network's logits to the mask, as [`MaskNetwork::forward`](lithoburn_models::MaskNetwork::forward).
fn draw_head(graph: &mut Graph, head: &Head, target: &Value, mut logits: Value) -> Value {
    if head.target_logit != 0.0 {
        // (2 t - 1) L
        let inside = graph.mul_const(target, 2.0 * head.target_logit as f32);
        let own = graph.add_const(&inside, -head.target_logit as f32);
        logits = graph.add(&own, &logits);
    }
    if head.logit_scale != 1.0 {
        logits = graph.mul_const(&logits, head.logit_scale as f32);
    }
    if head.upsample > 1 {
        logits = graph.enlarged(&logits, head.upsample);
    }
    graph.sigmoid(&logits)
}

#[cfg(test)]
mod tests;
