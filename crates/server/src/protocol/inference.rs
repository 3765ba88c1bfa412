//! A request and its answer, between the wire and the model.

use std::sync::Arc;
use std::time::Duration;

use super::bits;
use super::numbers;
use super::problem::Problem;
use super::regions::{Region, Regions};
use crate::model::{Parameters, Port, Request, RequestError, Signature, Wanted};
use crate::tensor::{Data, Datatype, Tensor};

/// A request as the wire has it.
#[derive(Debug, Default)]
pub struct Inference {
    /// The model.
    pub model: String,
    /// Its version; without one the newest that is ready.
    pub version: Option<u64>,
    /// The client's name for it, which the answer carries.
    pub id: String,
    /// Its tensors.
    pub inputs: Vec<InputTensor>,
    /// What is wanted; all outputs if there is none.
    pub outputs: Vec<OutputTensor>,
    /// What else was said.
    pub parameters: Parameters,
    /// How long the client waits, if the transport says so.
    pub timeout: Option<Duration>,
}

/// A place in a registered region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The region's name.
    pub region: String,
    /// Where it begins there.
    pub offset: u64,
    /// Its length in bytes.
    pub byte_size: u64,
}

/// Values of an input.
#[derive(Debug)]
pub enum Content {
    /// Bytes of the wire.
    Raw(Data),
    /// Numbers, listed.
    Numbers(Vec<f64>),
    /// A place in shared memory.
    Shared(Span),
}

/// An input as the wire has it.
#[derive(Debug)]
pub struct InputTensor {
    /// Its name.
    pub name: String,
    /// Its datatype's name.
    pub datatype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub content: Content,
}

/// A wanted output as the wire has it.
#[derive(Debug, Default)]
pub struct OutputTensor {
    /// Its name.
    pub name: String,
    /// In which datatype, if that was said.
    pub datatype: Option<String>,
    /// Whether its bytes are wanted rather than numbers, if that was said.
    pub binary: Option<bool>,
    /// Where it is to be written.
    pub shared: Option<Span>,
}

/// An answer, for the wire.
#[derive(Debug)]
pub struct Outcome {
    /// The model.
    pub model: String,
    /// The version that computed it.
    pub version: u64,
    /// The client's name for it.
    pub id: String,
    /// Its tensors.
    pub outputs: Vec<Produced>,
}

/// An output, for the wire.
#[derive(Debug)]
pub struct Produced {
    /// Its name.
    pub name: String,
    /// Its datatype.
    pub datatype: Datatype,
    /// Its shape on the wire.
    pub shape: Vec<usize>,
    /// Its values.
    pub delivered: Delivered,
    /// Whether its bytes are wanted rather than numbers, if that was said.
    pub binary: Option<bool>,
}

/// Where an output is.
#[derive(Debug)]
pub enum Delivered {
    /// Here: bytes of the wire.
    Data(Data),
    /// In shared memory, so many bytes of it.
    Shared(Span),
}

/// A request that fits its model, and what becomes of its answer.
#[derive(Debug)]
pub(super) struct Resolved {
    pub request: Request,
    pub sinks: Vec<Sink>,
}

/// What becomes of an output.
#[derive(Debug)]
pub(super) struct Sink {
    pub name: String,
    pub binary: Option<bool>,
    pub shared: Option<(Span, Arc<Region>)>,
}

impl Inference {
    /// The request for its model.
    pub(super) fn resolve(
        self,
        signature: &Signature,
        regions: &Regions,
    ) -> Result<Resolved, Problem> {
        let inputs = ordered(self.inputs, signature)?;
        let inputs = signature
            .inputs
            .iter()
            .zip(inputs)
            .map(|(port, input)| input.resolve(port, signature, regions));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let came = inputs.first().map(|tensor: &Tensor| tensor.datatype);
        let (wanted, sinks) = resolve_outputs(self.outputs, signature, came, regions)?;
        let request = Request { inputs, outputs: wanted, parameters: self.parameters };
        signature.check(&request)?;
        Ok(Resolved { request, sinks })
    }
}

/// Inputs in the order of the signature.
fn ordered(came: Vec<InputTensor>, signature: &Signature) -> Result<Vec<InputTensor>, Problem> {
    let model = &signature.name;
    let mut slots: Vec<Option<InputTensor>> = signature.inputs.iter().map(|_| None).collect();
    let count = came.len();
    for input in came {
        let at = signature.inputs.iter().position(|port| port.name == input.name);
        let at = at.ok_or_else(|| {
            let name = &input.name;
            Problem::invalid(format!("unexpected inference input '{name}' for model '{model}'"))
        })?;
        if slots[at].is_some() {
            let text = format!("input '{}' already exists in request", input.name);
            return Err(Problem::invalid(text));
        }
        slots[at] = Some(input);
    }
    let missing: Vec<_> =
        signature.inputs.iter().zip(&slots).filter(|(_, slot)| slot.is_none()).collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|(port, _)| format!("'{}'", port.name)).collect();
        let expected = signature.inputs.len();
        let error = RequestError::Count { model: model.clone(), expected, came: count };
        return Err(Problem::invalid(format!("{error}: missing {}", names.join(", "))));
    }
    Ok(slots.into_iter().flatten().collect())
}

impl InputTensor {
    fn resolve(
        self,
        port: &Port,
        signature: &Signature,
        regions: &Regions,
    ) -> Result<Tensor, Problem> {
        let Self { name, datatype, shape, content } = self;
        let known = datatype.parse::<Datatype>();
        let datatype = known.map_err(|()| {
            Problem::invalid(format!("invalid datatype for input {name}: '{datatype}'"))
        })?;
        let data = match content {
            Content::Raw(data) => data,
            Content::Shared(span) => {
                let len = usize::try_from(span.byte_size).unwrap_or(usize::MAX);
                regions.get(&span.region)?.data(&span.region, span.offset, len)?
            }
            Content::Numbers(values) => {
                signature.check_input(port, datatype, &shape)?;
                return numbers::tensor(&name, datatype, shape, &values);
            }
        };
        if datatype == Datatype::Bytes && port.has(datatype) {
            return bits::unpack(&name, shape, &data);
        }
        signature.check_input(port, datatype, &shape)?;
        Tensor::new(datatype, shape, data).map_err(|error| {
            let model = &signature.name;
            Problem::invalid(format!(
                "input byte size mismatch for input '{name}' for model '{model}': {error}"
            ))
        })
    }
}

fn resolve_outputs(
    asked: Vec<OutputTensor>,
    signature: &Signature,
    came: Option<Datatype>,
    regions: &Regions,
) -> Result<(Vec<Wanted>, Vec<Sink>), Problem> {
    let model = &signature.name;
    let asked = if asked.is_empty() {
        let all = signature.outputs.iter();
        all.map(|port| OutputTensor { name: port.name.clone(), ..Default::default() }).collect()
    } else {
        asked
    };
    let mut outputs = (Vec::with_capacity(asked.len()), Vec::with_capacity(asked.len()));
    for OutputTensor { name, datatype, binary, shared } in asked {
        let output =
            signature.outputs.iter().position(|port| port.name == name).ok_or_else(|| {
                Problem::invalid(format!(
                    "unexpected inference output '{name}' for model '{model}'"
                ))
            })?;
        let datatype = output_datatype(&signature.outputs[output], datatype, came)?;
        let shared = shared.map(|span| regions.get(&span.region).map(|region| (span, region)));
        outputs.0.push(Wanted { output, datatype });
        outputs.1.push(Sink { name, binary, shared: shared.transpose()? });
    }
    Ok(outputs)
}

/// As it was asked for; else as the input came, if it came in another than the declared type and the output has that; else as declared.
fn output_datatype(
    port: &Port,
    asked: Option<String>,
    came: Option<Datatype>,
) -> Result<Datatype, Problem> {
    if let Some(asked) = asked {
        let known = asked.parse::<Datatype>();
        return known.map_err(|()| {
            Problem::invalid(format!("invalid datatype for output {}: '{asked}'", port.name))
        });
    }
    Ok(came.filter(|&came| port.has(came)).unwrap_or(port.datatype))
}

impl Sink {
    /// An output for the wire, or written where it was asked to be.
    pub(super) fn deliver(self, tensor: Tensor) -> Result<Produced, Problem> {
        let datatype = tensor.datatype;
        let (shape, data) = if datatype == Datatype::Bytes {
            let (shape, wire) = bits::pack(&tensor)?;
            (shape, wire.into())
        } else {
            (tensor.shape, tensor.data)
        };
        let delivered = match self.shared {
            None => Delivered::Data(data),
            Some((span, region)) => {
                region.write(&span.region, span.offset, span.byte_size, &data)?;
                Delivered::Shared(Span { byte_size: data.len() as u64, ..span })
            }
        };
        Ok(Produced { name: self.name, datatype, shape, delivered, binary: self.binary })
    }
}
