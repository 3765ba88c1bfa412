//! Names, versions, inputs and outputs of a model, and the requests that fit them.

use super::request::Request;
use crate::tensor::{Datatype, Tensor};

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The datatype that metadata declare, which every client knows.
    pub datatype: Datatype,
    /// Those that are taken or given as well.
    pub also: Vec<Datatype>,
    /// Lengths of its axes without that of the batch; `None` is any length.
    pub shape: Vec<Option<usize>>,
}

/// What clients have to know of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name.
    pub name: String,
    /// Its version, from 1 on.
    pub version: u64,
    /// What computes it, e.g. `lithoburn`.
    pub platform: String,
    /// Most items of a request and of a batch; 0 if shapes have no axis for items, so that a request is a batch.
    pub max_batch: usize,
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
}

/// Why a request does not fit its model. Texts begin as Triton's do, for those who look for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It has more or fewer inputs.
    #[error("expected {expected} inputs but got {came} inputs for model '{model}'")]
    Count {
        /// The model.
        model: String,
        /// Inputs of the model.
        expected: usize,
        /// Inputs of the request.
        came: usize,
    },
    /// An input has a type that the model does not take.
    #[error(
        "inference input '{input}' data-type is '{came}', but model '{model}' expects {expected}"
    )]
    Datatype {
        /// The model.
        model: String,
        /// The input.
        input: String,
        /// What the model takes, quoted.
        expected: String,
        /// The datatype that came.
        came: Datatype,
    },
    /// An input has another shape.
    #[error(
        "unexpected shape for input '{input}' for model '{model}'. Expected [{expected}], got [{came}]{note}"
    )]
    Shape {
        /// The model.
        model: String,
        /// The input.
        input: String,
        /// Its axes; -1 is any length.
        expected: String,
        /// The axes that came.
        came: String,
        /// About the batch's axis, if it has one.
        note: &'static str,
    },
    /// An axis is empty, so that nothing is to be computed.
    #[error(
        "input '{input}' for model '{model}' has no elements: every axis must be at least 1, got [{came}]"
    )]
    Empty {
        /// The model.
        model: String,
        /// The input.
        input: String,
        /// The axes that came.
        came: String,
    },
    /// Its inputs have different numbers of items.
    #[error("inputs of model '{model}' must have the same number of items, got {came:?}")]
    Items {
        /// The model.
        model: String,
        /// Items of each input.
        came: Vec<usize>,
    },
    /// It has more items than a batch.
    #[error("inference request batch-size must be <= {most} for '{model}', got {came}")]
    Batch {
        /// The model.
        model: String,
        /// Most items.
        most: usize,
        /// Items that came.
        came: usize,
    },
    /// It asks for an output that there is not.
    #[error("unexpected inference output {output} for model '{model}', which has {outputs}")]
    Output {
        /// The model.
        model: String,
        /// The index asked for.
        output: usize,
        /// Outputs of the model.
        outputs: usize,
    },
    /// It asks for an output in a type that the model does not give.
    #[error("output '{output}' of model '{model}' is given as {expected}, not as '{came}'")]
    OutputDatatype {
        /// The model.
        model: String,
        /// The output.
        output: String,
        /// What the model gives, quoted.
        expected: String,
        /// What was asked for.
        came: Datatype,
    },
}

const BATCH_NOTE: &str = ". NOTE: the first axis is the batch";

impl Port {
    /// A port that declares FP32, and takes or gives all datatypes of pixels.
    #[must_use]
    pub fn pixels(name: impl Into<String>, shape: Vec<Option<usize>>) -> Self {
        let others = Datatype::PIXELS.into_iter().filter(|&other| other != Datatype::Fp32);
        Self { name: name.into(), datatype: Datatype::Fp32, also: others.collect(), shape }
    }

    /// Whether it takes or gives this.
    #[must_use]
    pub fn has(&self, datatype: Datatype) -> bool {
        self.datatype == datatype || self.also.contains(&datatype)
    }

    /// Its datatypes, as an error lists them.
    fn datatypes(&self) -> String {
        let all = std::iter::once(&self.datatype).chain(&self.also);
        all.map(|datatype| format!("'{datatype}'")).collect::<Vec<_>>().join(" or ")
    }
}

impl Signature {
    /// Whether shapes begin with an axis of items.
    #[must_use]
    pub fn batched(&self) -> bool {
        self.max_batch > 0
    }

    /// A port's axes as clients see them: the batch's first, -1 for any length.
    #[must_use]
    pub fn axes(&self, port: &Port) -> Vec<i64> {
        let own = port.shape.iter().map(|axis| axis.map_or(-1, |n| i64::try_from(n).unwrap_or(-1)));
        self.batched().then_some(-1).into_iter().chain(own).collect()
    }

    /// Items of a request that fits; 1 if there is no axis for them.
    #[must_use]
    pub fn items(&self, request: &Request) -> usize {
        let first = request.inputs.first().and_then(|tensor| tensor.shape.first());
        if self.batched() { first.copied().unwrap_or(0) } else { 1 }
    }

    /// Whether the model can do this request.
    ///
    /// # Errors
    ///
    /// [`RequestError`], which names what does not fit.
    pub fn check(&self, request: &Request) -> Result<(), RequestError> {
        let (expected, came) = (self.inputs.len(), request.inputs.len());
        if came != expected {
            return Err(RequestError::Count { model: self.name.clone(), expected, came });
        }
        for (port, tensor) in self.inputs.iter().zip(&request.inputs) {
            self.check_input(port, tensor.datatype, &tensor.shape)?;
        }
        self.check_items(&request.inputs)?;
        request
            .outputs
            .iter()
            .try_for_each(|wanted| self.check_output(wanted.output, wanted.datatype))
    }

    /// Whether an input may have this datatype and this shape.
    ///
    /// # Errors
    ///
    /// [`RequestError::Datatype`], [`RequestError::Shape`], [`RequestError::Empty`].
    pub fn check_input(
        &self,
        port: &Port,
        datatype: Datatype,
        shape: &[usize],
    ) -> Result<(), RequestError> {
        let (model, input) = (self.name.clone(), port.name.clone());
        if !port.has(datatype) {
            let expected = port.datatypes();
            return Err(RequestError::Datatype { model, input, expected, came: datatype });
        }
        let own = shape.get(usize::from(self.batched())..).unwrap_or_default();
        let rank = port.shape.len() + usize::from(self.batched());
        let fits = |(axis, &came): (&Option<usize>, &usize)| axis.is_none_or(|n| n == came);
        if shape.len() != rank || !port.shape.iter().zip(own).all(fits) {
            let (expected, came) = (listed(&self.axes(port)), listed(shape));
            let note = if self.batched() { BATCH_NOTE } else { "" };
            return Err(RequestError::Shape { model, input, expected, came, note });
        }
        if shape.contains(&0) {
            return Err(RequestError::Empty { model, input, came: listed(shape) });
        }
        Ok(())
    }

    fn check_items(&self, inputs: &[Tensor]) -> Result<(), RequestError> {
        if !self.batched() {
            return Ok(());
        }
        let model = self.name.clone();
        let items = inputs.iter().filter_map(|tensor| tensor.shape.first().copied());
        let items: Vec<usize> = items.collect();
        let came = items.first().copied().unwrap_or(0);
        if items.iter().any(|&n| n != came) {
            return Err(RequestError::Items { model, came: items });
        }
        if came > self.max_batch {
            return Err(RequestError::Batch { model, most: self.max_batch, came });
        }
        Ok(())
    }

    fn check_output(&self, output: usize, datatype: Datatype) -> Result<(), RequestError> {
        let model = self.name.clone();
        let Some(port) = self.outputs.get(output) else {
            return Err(RequestError::Output { model, output, outputs: self.outputs.len() });
        };
        if port.has(datatype) {
            return Ok(());
        }
        let (output, expected) = (port.name.clone(), port.datatypes());
        Err(RequestError::OutputDatatype { model, output, expected, came: datatype })
    }
}

/// Axes as the protocol writes them.
fn listed<T: ToString>(axes: &[T]) -> String {
    axes.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}
