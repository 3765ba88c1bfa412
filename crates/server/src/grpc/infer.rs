//! Requests and answers of gRPC, as the protocol's and back.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};

use super::wire::inference::infer_parameter::ParameterChoice;
use super::wire::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::wire::inference::model_infer_response::InferOutputTensor;
use super::wire::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
};
use crate::model::{Parameter, Parameters};
use crate::protocol::{
    Content, Delivered, Inference, InputTensor, Kind, Outcome, OutputTensor, Problem, Produced,
    Span, version_of,
};
use crate::tensor::Data;

impl Kind {
    /// Its code in gRPC.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::Invalid | Self::TooLarge => Code::InvalidArgument,
            Self::Unavailable => Code::Unavailable,
            Self::Exhausted => Code::ResourceExhausted,
            Self::Deadline => Code::DeadlineExceeded,
            Self::Canceled => Code::Cancelled,
            Self::Unsupported => Code::Unimplemented,
            Self::Internal => Code::Internal,
        }
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        Self::new(problem.kind.code(), problem.text)
    }
}

/// Named values of a message.
type Named = HashMap<String, InferParameter>;

fn parameter(named: &Named, name: &str) -> Option<Parameter> {
    named.get(name).and_then(value)
}

fn value(parameter: &InferParameter) -> Option<Parameter> {
    Some(match parameter.parameter_choice.as_ref()? {
        ParameterChoice::BoolParam(value) => Parameter::Bool(*value),
        ParameterChoice::Int64Param(value) => Parameter::Int(*value),
        ParameterChoice::Uint64Param(value) => {
            i64::try_from(*value).map_or(Parameter::Float(*value as f64), Parameter::Int)
        }
        ParameterChoice::DoubleParam(value) => Parameter::Float(*value),
        ParameterChoice::StringParam(value) => Parameter::Text(value.clone()),
    })
}

fn number(named: &Named, name: &str) -> Result<Option<u64>, Problem> {
    match parameter(named, name) {
        None => Ok(None),
        Some(Parameter::Int(n)) if n >= 0 => Ok(Some(n.unsigned_abs())),
        Some(other) => Err(Problem::invalid(format!(
            "parameter '{name}' must be a whole number from 0 on, got {other:?}"
        ))),
    }
}

fn text(named: &Named, name: &str) -> Result<Option<String>, Problem> {
    match parameter(named, name) {
        None => Ok(None),
        Some(Parameter::Text(text)) => Ok(Some(text)),
        Some(other) => {
            Err(Problem::invalid(format!("parameter '{name}' must be a text, got {other:?}")))
        }
    }
}

fn span(named: &Named) -> Result<Option<Span>, Problem> {
    let Some(region) = text(named, "shared_memory_region")? else { return Ok(None) };
    let byte_size = number(named, "shared_memory_byte_size")?.ok_or_else(|| {
        Problem::invalid("'shared_memory_region' needs 'shared_memory_byte_size' beside it")
    })?;
    let offset = number(named, "shared_memory_offset")?.unwrap_or(0);
    Ok(Some(Span { region, offset, byte_size }))
}

/// Parameters that are the protocol's, not the model's.
const RESERVED: [&str; 4] = ["binary_data_output", "sequence_id", "sequence_start", "sequence_end"];

/// The request of a message, and of the bytes of its tensors.
pub(super) fn inference(message: ModelInferRequest, raw: Vec<Data>) -> Result<Inference, Problem> {
    let model = message.model_name;
    let version = version_of(&message.model_version)?;
    let mut raw = raw.into_iter();
    let from_raw = raw.len() > 0;
    let inputs = message.inputs.into_iter().map(|mut input| {
        let contents = input.contents.take();
        let content = match span(&input.parameters)? {
            Some(span) => Content::Shared(span),
            None if from_raw && contents.is_some() => {
                let name = &input.name;
                let text = format!("contents field must not be specified when using raw_input_contents for '{name}' for model '{model}'");
                return Err(Problem::invalid(text));
            }
            None if from_raw => Content::Raw(raw.next().ok_or_else(|| {
                let name = &input.name;
                Problem::invalid(format!("raw_input_contents has nothing for input '{name}' for model '{model}'"))
            })?),
            None => Content::Numbers(listed(&input.name, &input.datatype, contents.unwrap_or_default())?),
        };
        input_tensor(input, content)
    });
    let inputs = inputs.collect::<Result<_, Problem>>()?;
    if raw.next().is_some() {
        let text = format!(
            "raw_input_contents has more elements than there are inputs without shared memory, for model '{model}'"
        );
        return Err(Problem::invalid(text));
    }
    let outputs = message.outputs.into_iter().map(output_tensor).collect::<Result<_, _>>()?;
    let own = message.parameters.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
    let parameters: Parameters =
        own.filter_map(|(name, parameter)| Some((name.clone(), value(parameter)?))).collect();
    Ok(Inference { model, version, id: message.id, inputs, outputs, parameters, timeout: None })
}

fn input_tensor(input: InferInputTensor, content: Content) -> Result<InputTensor, Problem> {
    let InferInputTensor { name, datatype, shape, .. } = input;
    let axis = |axis: i64| {
        let wrong =
            || Problem::invalid(format!("input '{name}': an axis cannot have {axis} elements"));
        usize::try_from(axis).map_err(|_| wrong())
    };
    let shape = shape.into_iter().map(axis).collect::<Result<_, _>>()?;
    Ok(InputTensor { name, datatype, shape, content })
}

/// The numbers of a list; which list it has to be in, the datatype says.
fn listed(name: &str, datatype: &str, contents: InferTensorContents) -> Result<Vec<f64>, Problem> {
    let InferTensorContents { bool_contents, uint_contents, fp32_contents, .. } = contents;
    Ok(match datatype {
        "BOOL" => bool_contents.into_iter().map(|value| f64::from(u8::from(value))).collect(),
        "UINT8" => uint_contents.into_iter().map(f64::from).collect(),
        "FP32" => fp32_contents.into_iter().map(f64::from).collect(),
        "BYTES" => {
            let text = format!("input '{name}': BYTES must be sent in raw_input_contents");
            return Err(Problem::invalid(text));
        }
        // What the model says of other types is said where they are checked.
        _ => Vec::new(),
    })
}

fn output_tensor(output: InferRequestedOutputTensor) -> Result<OutputTensor, Problem> {
    let InferRequestedOutputTensor { name, parameters } = output;
    if number(&parameters, "classification")?.is_some_and(|n| n > 0) {
        let text = format!("output '{name}': classification is not supported: outputs are images");
        return Err(Problem::invalid(text));
    }
    let (datatype, shared) = (text(&parameters, "datatype")?, span(&parameters)?);
    Ok(OutputTensor { name, datatype, binary: None, shared })
}

/// How long a client waits, as gRPC's header says: up to eight digits and a unit.
pub(super) fn timeout(header: &str) -> Option<Duration> {
    let (digits, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    let n = (digits.len() <= 8).then(|| digits.parse::<u64>().ok())??;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// The message of an answer without the bytes of its tensors, and these.
pub(super) fn response(outcome: Outcome) -> (ModelInferResponse, Vec<Data>) {
    let mut raw = Vec::with_capacity(outcome.outputs.len());
    let outputs = outcome.outputs.into_iter().map(|output| produced(output, &mut raw));
    let message = ModelInferResponse {
        outputs: outputs.collect(),
        model_name: outcome.model,
        model_version: outcome.version.to_string(),
        id: outcome.id,
        ..ModelInferResponse::default()
    };
    (message, raw)
}

fn produced(output: Produced, raw: &mut Vec<Data>) -> InferOutputTensor {
    let Produced { name, datatype, shape, delivered, .. } = output;
    let mut parameters = HashMap::new();
    match delivered {
        Delivered::Data(data) => raw.push(data),
        Delivered::Shared(Span { region, offset, byte_size }) => {
            // Clients count outputs along these, also where there is nothing to be had.
            raw.push(bytes::Bytes::new().into());
            let choices = [
                ("shared_memory_region", ParameterChoice::StringParam(region)),
                ("shared_memory_offset", ParameterChoice::Int64Param(signed(offset))),
                ("shared_memory_byte_size", ParameterChoice::Int64Param(signed(byte_size))),
            ];
            parameters.extend(choices.map(|(name, choice)| {
                (name.to_string(), InferParameter { parameter_choice: Some(choice) })
            }));
        }
    }
    let shape = shape.into_iter().map(|axis| signed(axis as u64)).collect();
    let datatype = datatype.name().to_string();
    InferOutputTensor { name, datatype, shape, parameters, contents: None }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_patience_is_read_from_its_header() {
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "m", "1", "1x", "-1m", "123456789m", "1\u{b5}"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }
}
