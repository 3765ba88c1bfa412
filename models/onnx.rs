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
//! A network is written by drawing it: its [`Exported::draw`] calls one function of [`Graph`] per operation, in
//! the order of its `forward`. The messages are declared in [`proto`], and `prost` encodes them.

mod graph;
pub mod proto;

pub use graph::{Graph, Value};

use prost::Message;
use proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};

use crate::gan_opc::GanOpc;
use crate::neural_ilt::NeuralIlt;
use crate::parallel::Parallel;

/// Version of the file format.
const IR_VERSION: i64 = 8;
/// Version of the operators.
const OPSET: i64 = 18;

/// Why a network could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// A size that the network cannot take.
    #[error("the network takes sides that are multiples of {stride} pixels, got {size}")]
    Size {
        /// The size that was asked for.
        size: usize,
        /// What it must be a multiple of.
        stride: usize,
    },
    /// The weights are on a device that does not answer.
    #[error("cannot read the weights: {0}")]
    Read(String),
}

/// A network that can be written.
pub trait Exported: Parallel {
    /// The architecture's name.
    fn architecture(&self) -> &str;

    /// Draws what [`MaskNetwork::logits`](crate::MaskNetwork::logits) computes.
    ///
    /// # Errors
    ///
    /// [`OnnxError::Read`] if the weights cannot be read from their device.
    fn draw(&self, graph: &mut Graph, x: &Value) -> Result<Value, OnnxError>;
}

impl Exported for NeuralIlt {
    fn architecture(&self) -> &str {
        &self.config().architecture
    }

    fn draw(&self, graph: &mut Graph, x: &Value) -> Result<Value, OnnxError> {
        match (self.encoder_decoder(), self.unet()) {
            (Some(fast), _) => fast.draw(graph, "fast", x),
            (None, Some(unet)) => unet.draw(graph, "unet", x),
            (None, None) => unreachable!("a network has one of the two"),
        }
    }
}

impl Exported for GanOpc {
    fn architecture(&self) -> &str {
        &self.config().architecture
    }

    fn draw(&self, graph: &mut Graph, x: &Value) -> Result<Value, OnnxError> {
        self.generator().draw(graph, "generator", x)
    }
}

/// The bytes of an ONNX file for targets of `size` by `size` pixels, in batches of any number.
///
/// # Errors
///
/// [`OnnxError::Size`] if the network cannot take this size, [`OnnxError::Read`] if its weights cannot be read.
pub fn export(network: &dyn Exported, size: usize) -> Result<Vec<u8>, OnnxError> {
    Ok(model(network, size)?.encode_to_vec())
}

fn model(network: &dyn Exported, size: usize) -> Result<ModelProto, OnnxError> {
    let stride = network.stride();
    if size == 0 || !size.is_multiple_of(stride) {
        return Err(OnnxError::Size { size, stride });
    }
    let mut graph = Graph::new(network.architecture());
    let target = graph.input("target", [1, size, size]);
    let logits = network.draw(&mut graph, &target)?;
    let mask = draw_head(network, &mut graph, &target, logits);
    let head = network.head();
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
            nm("mask_pixel_nm", network.mask_pixel_nm()),
        ],
    })
}

/// From the network's logits to the mask, as [`MaskNetwork::forward`](crate::MaskNetwork::forward).
fn draw_head(
    network: &dyn Exported,
    graph: &mut Graph,
    target: &Value,
    mut logits: Value,
) -> Value {
    let head = network.head();
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
