//! The request's JSON.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::model::{Parameter, Parameters};
use crate::protocol::{OutputTensor, Problem, Span};

/// `POST …/infer`.
#[derive(Debug, Deserialize)]
pub(super) struct InferJson {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub parameters: Map<String, Value>,
    pub inputs: Vec<InputJson>,
    #[serde(default)]
    pub outputs: Vec<OutputJson>,
}

#[derive(Debug, Deserialize)]
pub(super) struct InputJson {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<usize>,
    #[serde(default)]
    pub parameters: Map<String, Value>,
    pub data: Option<Numbers>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OutputJson {
    pub name: String,
    #[serde(default)]
    pub parameters: Map<String, Value>,
}

/// Numbers in lists, nested or not, in their order.
#[derive(Debug, Default)]
pub(super) struct Numbers(pub Vec<f64>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut numbers = Vec::new();
        from.deserialize_any(Collect(&mut numbers))?;
        Ok(Self(numbers))
    }
}

/// Adds what it visits to the list.
struct Collect<'a>(&'a mut Vec<f64>);

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("numbers or truth values, in lists")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.visit_f64(f64::from(u8::from(value)))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.0.push(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Element(self.0))?.is_some() {}
        Ok(())
    }
}

/// An element, which may be a list again.
struct Element<'a>(&'a mut Vec<f64>);

impl<'de> serde::de::DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(Collect(self.0))
    }
}

/// A whole number of `parameters`.
pub(super) fn number(parameters: &Map<String, Value>, name: &str) -> Result<Option<u64>, Problem> {
    let Some(value) = parameters.get(name) else { return Ok(None) };
    value.as_u64().map(Some).ok_or_else(|| {
        Problem::invalid(format!(
            "parameter '{name}' must be a whole number from 0 on, got {value}"
        ))
    })
}

/// A truth value of `parameters`.
pub(super) fn truth(parameters: &Map<String, Value>, name: &str) -> Result<Option<bool>, Problem> {
    let Some(value) = parameters.get(name) else { return Ok(None) };
    value.as_bool().map(Some).ok_or_else(|| {
        Problem::invalid(format!("parameter '{name}' must be true or false, got {value}"))
    })
}

/// A text of `parameters`.
fn text(parameters: &Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    let Some(value) = parameters.get(name) else { return Ok(None) };
    let text = value.as_str().map(|text| Some(text.to_string()));
    text.ok_or_else(|| Problem::invalid(format!("parameter '{name}' must be a text, got {value}")))
}

/// A place in shared memory, if `parameters` name one.
pub(super) fn span(parameters: &Map<String, Value>) -> Result<Option<Span>, Problem> {
    let Some(region) = text(parameters, "shared_memory_region")? else { return Ok(None) };
    let byte_size = number(parameters, "shared_memory_byte_size")?.ok_or_else(|| {
        Problem::invalid("'shared_memory_region' needs 'shared_memory_byte_size' beside it")
    })?;
    let offset = number(parameters, "shared_memory_offset")?.unwrap_or(0);
    Ok(Some(Span { region, offset, byte_size }))
}

impl OutputJson {
    pub(super) fn into_output(self) -> Result<OutputTensor, Problem> {
        if number(&self.parameters, "classification")?.is_some_and(|n| n > 0) {
            let text = format!(
                "output '{}': classification is not supported: outputs are images",
                self.name
            );
            return Err(Problem::invalid(text));
        }
        Ok(OutputTensor {
            datatype: text(&self.parameters, "datatype")?,
            binary: truth(&self.parameters, "binary_data")?,
            shared: span(&self.parameters)?,
            name: self.name,
        })
    }
}

/// Parameters of a request that are the protocol's, not the model's. `priority` and `timeout` are the service's.
const RESERVED: [&str; 4] = ["binary_data_output", "sequence_id", "sequence_start", "sequence_end"];

/// What the model is told.
pub(super) fn parameters(all: Map<String, Value>) -> Result<Parameters, Problem> {
    let own = all.into_iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
    own.map(|(name, value)| Ok((parameter(&name, value)?, name)))
        .map(|pair: Result<_, Problem>| pair.map(|(value, name)| (name, value)))
        .collect()
}

fn parameter(name: &str, value: Value) -> Result<Parameter, Problem> {
    match value {
        Value::Bool(value) => Ok(Parameter::Bool(value)),
        Value::String(value) => Ok(Parameter::Text(value)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Ok(Parameter::Int(value)),
            (None, Some(value)) => Ok(Parameter::Float(value)),
            (None, None) => {
                Err(Problem::invalid(format!("parameter '{name}' is no number: {number}")))
            }
        },
        other => Err(Problem::invalid(format!(
            "parameter '{name}' must be a number, a text, true or false, got {other}"
        ))),
    }
}
