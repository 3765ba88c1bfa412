//! A request, after the protocol and before a device.

use std::collections::BTreeMap;

use crate::tensor::{Datatype, Tensor};

/// What is asked of a model.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// One tensor for each input of the signature, in its order.
    pub inputs: Vec<Tensor>,
    /// What the answer holds, in this order.
    pub outputs: Vec<Wanted>,
    /// What else was said, e.g. a dose. Scheduling (`priority`, `timeout`) is not among them.
    pub parameters: Parameters,
}

/// An output that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its index in the signature.
    pub output: usize,
    /// In which datatype.
    pub datatype: Datatype,
}

/// Named values of a request.
pub type Parameters = BTreeMap<String, Parameter>;

/// A value of the protocol's `parameters`.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
}

impl Request {
    /// Pixels of its largest input, all items.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.inputs.iter().map(Tensor::pixels).max().unwrap_or(0)
    }

    /// Whether a batch may hold both: equal shapes and parameters; datatypes may differ, and so may the number of items where there is
    /// an axis for them.
    #[must_use]
    pub fn fits_with(&self, other: &Self, batched: bool) -> bool {
        let from = usize::from(batched);
        let shapes = |request: &Self| request.inputs.len();
        shapes(self) == shapes(other)
            && self.parameters == other.parameters
            && self
                .inputs
                .iter()
                .zip(&other.inputs)
                .all(|(a, b)| a.shape.get(from..) == b.shape.get(from..))
    }
}
