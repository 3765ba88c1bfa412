//! The bodies of requests: the JSON part, and raw tensors after it.

use bytes::{BufMut, Bytes, BytesMut};
use half::{bf16, f16};
use hyper::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::connection::Message;
use super::link::Ask;
use super::target::Port;
use super::{LoadError, Target};
use crate::grpc::wire::inference::ModelInferRequest;
use crate::grpc::wire::inference::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};

/// What requests carry.
#[derive(Clone, Debug, PartialEq)]
pub struct Cargo {
    /// Items in a request.
    pub batch: usize,
    /// Sides for what the model leaves free, in px: height, width.
    pub sides: [usize; 2],
    /// Datatype of inputs; the model's own without one.
    pub datatype: Option<String>,
    /// What is in the inputs.
    pub source: Source,
}

/// What is in the inputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// So many different binary targets: rectangles at random.
    Random {
        /// Different requests.
        different: usize,
        /// Seed of the rectangles.
        seed: u64,
    },
    /// Images, row after row, each pixel between 0 and 1; a request takes the next ones, and begins anew after the last.
    Images(Vec<Vec<f32>>),
}

impl Default for Cargo {
    fn default() -> Self {
        let source = Source::Random { different: 16, seed: 1 };
        Self { batch: 1, sides: [256, 256], datatype: None, source }
    }
}

/// An input of a request.
struct Input<'a> {
    name: &'a str,
    datatype: &'a str,
    /// In pixels.
    shape: Vec<usize>,
}

impl Cargo {
    /// The requests that are sent in turn, over gRPC or HTTP.
    pub(crate) fn asks(&self, target: &Target, grpc: bool) -> Result<Vec<Ask>, LoadError> {
        let most = if target.batched { target.most_batch.unwrap_or(usize::MAX) } else { 1 };
        if self.batch == 0 || self.batch > most {
            return Err(LoadError::Option {
                option: "--batch",
                given: self.batch.to_string(),
                problem: format!("{} takes 1 to {most} items", target.model),
            });
        }
        let inputs: Vec<Input<'_>> =
            target.inputs.iter().map(|port| self.input(port, target)).collect();
        let ask = |index| {
            let raw = self.tensors(&inputs, index)?;
            Ok(match grpc {
                true => Ask::Grpc(Box::new(call(target, &inputs, raw))),
                false => Ask::Http(message(target, &inputs, &raw)),
            })
        };
        (0..self.different()).map(ask).collect()
    }

    fn different(&self) -> usize {
        match &self.source {
            Source::Random { different, .. } => (*different).max(1),
            Source::Images(images) => images.len().div_ceil(self.batch).max(1),
        }
    }

    /// An input as it is sent: the model's shape with what it leaves free filled in.
    fn input<'a>(&'a self, port: &'a Port, target: &Target) -> Input<'a> {
        let mut sides = self.sides.iter().copied().cycle();
        let batched = target.batched;
        let fill = |(axis, side): (usize, &Option<usize>)| match (side, axis) {
            (_, 0) if batched => self.batch,
            (Some(side), _) => *side,
            (None, _) => sides.next().unwrap_or(1),
        };
        let datatype = self.datatype.as_deref().unwrap_or(&port.datatype);
        Input {
            name: &port.name,
            datatype,
            shape: port.shape.iter().enumerate().map(fill).collect(),
        }
    }

    /// The tensors of a request, one for each input.
    fn tensors(&self, inputs: &[Input<'_>], index: usize) -> Result<Vec<Bytes>, LoadError> {
        let tensor = |(slot, input): (usize, &Input<'_>)| {
            encode(input.datatype, &input.shape, &self.pixels(&input.shape, index, slot)?)
        };
        inputs.iter().enumerate().map(tensor).collect()
    }

    /// Pixels of an input of a request, between 0 and 1.
    fn pixels(&self, shape: &[usize], index: usize, slot: usize) -> Result<Vec<f32>, LoadError> {
        let count: usize = shape.iter().product();
        let images = match &self.source {
            Source::Random { seed, .. } => {
                let seed = seed.wrapping_add((index as u64) << 20).wrapping_add(slot as u64);
                return Ok(rectangles(shape, &mut StdRng::seed_from_u64(seed)));
            }
            Source::Images(images) => images,
        };
        let each = count / self.batch;
        let turn = images.iter().cycle().skip(index * self.batch).take(self.batch);
        if let Some(other) = images.iter().find(|image| image.len() != each) {
            return Err(LoadError::Option {
                option: "--data",
                given: format!("{} pixels", other.len()),
                problem: format!("an item of shape {shape:?} has {each}; check --size"),
            });
        }
        Ok(turn.flatten().copied().collect())
    }
}

/// A request over HTTP: JSON, and then the tensors.
fn message(target: &Target, inputs: &[Input<'_>], raw: &[Bytes]) -> Message {
    let output = |name: &String| json!({"name": name, "parameters": {"binary_data": true}});
    let input = |(input, raw): (&Input<'_>, &Bytes)| {
        json!({
            "name": input.name, "datatype": input.datatype, "shape": wire_shape(input),
            "parameters": {"binary_data_size": raw.len()},
        })
    };
    let head: Value = json!({
        "inputs": inputs.iter().zip(raw).map(input).collect::<Vec<_>>(),
        "outputs": target.outputs.iter().map(output).collect::<Vec<_>>(),
    });
    let head = head.to_string();
    let mut body = BytesMut::with_capacity(head.len() + raw.iter().map(Bytes::len).sum::<usize>());
    body.put_slice(head.as_bytes());
    raw.iter().for_each(|tensor| body.put_slice(tensor));
    let path = format!("{}/infer", target.path());
    Message { method: Method::POST, path, header_length: Some(head.len()), body: body.freeze() }
}

/// A request over gRPC.
fn call(target: &Target, inputs: &[Input<'_>], raw: Vec<Bytes>) -> ModelInferRequest {
    let input = |input: &Input<'_>| InferInputTensor {
        name: input.name.into(),
        datatype: input.datatype.into(),
        shape: wire_shape(input).iter().map(|&side| side as i64).collect(),
        ..InferInputTensor::default()
    };
    let output = |name: &String| InferRequestedOutputTensor {
        name: name.clone(),
        ..InferRequestedOutputTensor::default()
    };
    ModelInferRequest {
        model_name: target.model.clone(),
        model_version: target.version.clone().unwrap_or_default(),
        inputs: inputs.iter().map(input).collect(),
        outputs: target.outputs.iter().map(output).collect(),
        raw_input_contents: raw,
        ..ModelInferRequest::default()
    }
}

/// Rectangles at random in every plane of a shape.
fn rectangles(shape: &[usize], random: &mut StdRng) -> Vec<f32> {
    /// Rectangles in a plane.
    const COUNT: usize = 24;
    let width = shape.last().copied().unwrap_or(1).max(1);
    let height = shape.iter().rev().nth(1).copied().unwrap_or(1).max(1);
    let mut pixels = vec![0.0; shape.iter().product()];
    for plane in pixels.chunks_mut(width * height) {
        for _ in 0..COUNT {
            let [left, top] = [random.random_range(0..width), random.random_range(0..height)];
            let right = left + random.random_range(1..=width.div_ceil(4));
            let bottom = top + random.random_range(1..=height.div_ceil(16));
            for row in plane.chunks_mut(width).take(bottom).skip(top) {
                row[left..right.min(width)].fill(1.0);
            }
        }
    }
    pixels
}

/// Shape as the protocol has it: packed rows are elements of their own.
fn wire_shape(input: &Input<'_>) -> Vec<usize> {
    match input.datatype {
        "BYTES" => input.shape[..input.shape.len().saturating_sub(1)].to_vec(),
        _ => input.shape.clone(),
    }
}

/// Pixels in a datatype, little-endian.
fn encode(datatype: &str, shape: &[usize], pixels: &[f32]) -> Result<Bytes, LoadError> {
    let each = |of: &dyn Fn(f32, &mut BytesMut)| {
        let mut bytes = BytesMut::with_capacity(4 * pixels.len());
        pixels.iter().for_each(|&pixel| of(pixel, &mut bytes));
        Ok(bytes.freeze())
    };
    match datatype {
        "FP32" => each(&|pixel, bytes| bytes.put_f32_le(pixel)),
        "FP16" => each(&|pixel, bytes| bytes.put_u16_le(f16::from_f32(pixel).to_bits())),
        "BF16" => each(&|pixel, bytes| bytes.put_u16_le(bf16::from_f32(pixel).to_bits())),
        "UINT8" | "BOOL" => each(&|pixel, bytes| bytes.put_u8(u8::from(pixel >= 0.5))),
        "BYTES" => Ok(packed(shape.last().copied().unwrap_or(1), pixels)),
        _ => Err(LoadError::Option {
            option: "--datatype",
            given: datatype.into(),
            problem: "expected FP32, FP16, BF16, UINT8, BOOL or BYTES (a bit a pixel)".into(),
        }),
    }
}

/// Rows of bits, most significant first, each with its length before it, as the protocol has its strings.
fn packed(width: usize, pixels: &[f32]) -> Bytes {
    let mut bytes = BytesMut::new();
    for row in pixels.chunks(width.max(1)) {
        bytes.put_u32_le(row.len().div_ceil(8) as u32);
        for eight in row.chunks(8) {
            let bit = |(place, &pixel): (usize, &f32)| u8::from(pixel >= 0.5) << (7 - place);
            bytes.put_u8(eight.iter().enumerate().map(bit).sum());
        }
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Address;

    fn target() -> Target {
        let free = vec![None, Some(1), None, None];
        Target {
            address: Address::parse("localhost").expect("an address"),
            model: "tile".into(),
            version: None,
            inputs: vec![Port { name: "target".into(), datatype: "FP32".into(), shape: free }],
            outputs: vec!["mask".into()],
            batched: true,
            most_batch: Some(8),
        }
    }

    fn messages(cargo: &Cargo) -> Result<Vec<Message>, LoadError> {
        let http = |ask| match ask {
            Ask::Http(message) => message,
            Ask::Grpc(_) => panic!("HTTP was asked for"),
        };
        Ok(cargo.asks(&target(), false)?.into_iter().map(http).collect())
    }

    #[test]
    fn a_call_carries_the_tensors_of_the_message() -> Result<(), LoadError> {
        let cargo = Cargo { datatype: Some("BYTES".into()), batch: 2, ..Cargo::default() };
        let message = &messages(&cargo)?[3];
        let Ask::Grpc(call) = &cargo.asks(&target(), true)?[3] else {
            panic!("gRPC was asked for")
        };
        let (_, raw) = message.body.split_at(message.header_length.expect("a length"));
        assert_eq!(&call.raw_input_contents[0][..], raw);
        assert_eq!(
            (call.inputs[0].shape.as_slice(), call.model_name.as_str()),
            (&[2, 1, 256][..], "tile")
        );
        Ok(())
    }

    #[test]
    fn a_message_is_json_and_then_the_pixels() -> Result<(), LoadError> {
        let image: Vec<f32> = (0..12).map(|i| f32::from(u8::from(i % 3 == 0))).collect();
        for (datatype, bytes) in [("FP32", 4), ("FP16", 2), ("BF16", 2), ("UINT8", 1)] {
            let cargo = Cargo {
                sides: [3, 4],
                datatype: Some(datatype.into()),
                source: Source::Images(vec![image.clone()]),
                ..Cargo::default()
            };
            let messages = messages(&cargo)?;
            let length = messages[0].header_length.expect("a length");
            let (head, raw) = messages[0].body.split_at(length);
            let head: Value = serde_json::from_slice(head).expect("JSON");
            assert_eq!(head["inputs"][0]["shape"], json!([1, 1, 3, 4]));
            assert_eq!(head["inputs"][0]["parameters"]["binary_data_size"], json!(12 * bytes));
            assert_eq!(raw.len(), 12 * bytes);
            let lit = |i: usize| raw[i * bytes..(i + 1) * bytes].iter().any(|&b| b != 0);
            assert!((0..12).all(|i| lit(i) == (image[i] > 0.5)), "{datatype}");
        }
        Ok(())
    }

    #[test]
    fn bits_are_packed_row_by_row() {
        let bytes = packed(10, &[vec![1.0; 10], vec![0.0; 10]].concat());
        assert_eq!(&bytes[..], [2, 0, 0, 0, 0xff, 0xc0, 2, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn random_targets_differ_and_come_again_with_their_seed() -> Result<(), LoadError> {
        let cargo = Cargo { batch: 2, ..Cargo::default() };
        let (a, b) = (messages(&cargo)?, messages(&cargo)?);
        assert!(a.iter().zip(&b).all(|(a, b)| a.body == b.body));
        assert!((1..16).all(|i| a[i].body != a[0].body));
        Ok(())
    }

    #[test]
    fn what_does_not_fit_the_model_names_the_option() {
        let text = |cargo: Cargo| cargo.asks(&target(), true).expect_err("wrong").to_string();
        let large = text(Cargo { batch: 9, ..Cargo::default() });
        assert!(large.contains("--batch 9") && large.contains("1 to 8"), "{large}");
        let strange = text(Cargo { datatype: Some("INT3".into()), ..Cargo::default() });
        assert!(strange.contains("--datatype INT3"), "{strange}");
        let other = Cargo { source: Source::Images(vec![vec![0.0; 5]]), ..Cargo::default() };
        assert!(text(other).contains("5 pixels"));
    }
}
