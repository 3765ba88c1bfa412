//! Flow as a layer of a network.
//!
//! A [`FlowLayer`] takes numbers that describe a case (an outline's parameters, a viscosity, an inflow profile, a
//! design by density) and returns drag, lift, heat or any other objective of its steady flow. It is differentiable:
//! what stands in the graph is the linearised flow y₀ + J (x − x₀) with constants y₀, J and x₀. Its value and its
//! slopes are those of the flow; J comes from the adjoint, one transposed solve for each objective while the factors of
//! the solution are at hand, so that nothing large waits for the way back. Flows are solved in f64 on the CPU, those
//! of a batch side by side, on whatever device the tensors are.

mod variable;

use burn::tensor::{Tensor, TensorData, TensorReadError};
use lithoburn_cfd::{Case, Objective};
use rayon::prelude::*;

pub use variable::Variable;

/// Why a layer has no output.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The case has no such body or side, or no density.
    #[error("{0}")]
    Variable(String),
    /// The input is not what the variables take.
    #[error("the layer takes {expected} numbers a sample ({variables}), got {got}")]
    Width {
        /// Numbers of all variables together.
        expected: usize,
        /// What they are.
        variables: String,
        /// The input's last dimension.
        got: usize,
    },
    /// The flow of a sample.
    #[error("sample {sample}: {source}")]
    Flow {
        /// Which sample of the batch.
        sample: usize,
        /// What went wrong.
        source: lithoburn_cfd::Error,
    },
    /// The input could not be read from its device.
    #[error("cannot read the layer's input")]
    Read(#[from] TensorReadError),
}

/// Objectives of a steady flow as a differentiable function of a case's variables.
#[derive(Clone, Debug)]
pub struct FlowLayer {
    case: Case,
    variables: Vec<Variable>,
    objectives: Vec<Objective>,
}

/// Objectives of one flow, and their derivatives by the variables if they are asked for.
struct Sample {
    values: Vec<f64>,
    slopes: Vec<f64>,
}

impl FlowLayer {
    /// A layer on `case`, whose `variables` are replaced by the input, in their order.
    ///
    /// # Errors
    ///
    /// [`Error::Variable`] if the case has no such variable.
    pub fn new(
        case: Case,
        variables: Vec<Variable>,
        objectives: Vec<Objective>,
    ) -> Result<Self, Error> {
        variables.iter().try_for_each(|variable| variable.check(&case))?;
        Ok(Self { case, variables, objectives })
    }

    /// Numbers that a sample takes.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.variables.iter().map(|variable| variable.count(&self.case)).sum()
    }

    /// The case's own values of the variables, a start for whoever varies them.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        self.variables.iter().flat_map(|variable| variable.values(&self.case)).collect()
    }

    /// Objectives `[batch, objectives]` of the flows of `[batch, inputs]`, differentiable once.
    ///
    /// # Errors
    ///
    /// [`Error::Width`]; [`Error::Flow`] of the first sample whose flow makes no sense or is not found;
    /// [`Error::Read`].
    pub fn forward(&self, input: Tensor<2>) -> Result<Tensor<2>, Error> {
        let [batch, width] = input.dims();
        if width != self.inputs() {
            let variables: Vec<String> = self.variables.iter().map(ToString::to_string).collect();
            let variables = variables.join(", ");
            return Err(Error::Width { expected: self.inputs(), variables, got: width });
        }
        let tracked = input.is_tracked();
        let numbers = input.clone().try_into_vec_as::<f64>()?;
        let samples = (0..batch).into_par_iter().map(|sample| {
            let values = &numbers[sample * width..(sample + 1) * width];
            let solved = self.sample(values, tracked);
            solved.map_err(|source| Error::Flow { sample, source })
        });
        let samples: Vec<Sample> = samples.collect::<Result<_, Error>>()?;
        Ok(self.in_graph(input, &samples))
    }

    /// One flow.
    fn sample(&self, values: &[f64], slopes: bool) -> Result<Sample, lithoburn_cfd::Error> {
        let mut case = self.case.clone();
        let mut rest = values;
        for variable in &self.variables {
            let (own, others) = rest.split_at(variable.count(&self.case));
            variable.set(&mut case, own)?;
            rest = others;
        }
        let flow = case.solve()?;
        if !slopes {
            let values = self.objectives.iter().map(|objective| flow.value(objective));
            return Ok(Sample { values: values.collect(), slopes: Vec::new() });
        }
        let mut sample = Sample { values: Vec::new(), slopes: Vec::new() };
        for objective in &self.objectives {
            let gradient = flow.gradient(objective)?;
            sample.values.push(gradient.value);
            let parts = self.variables.iter().map(|variable| variable.part(&gradient));
            sample.slopes.extend(parts.flatten());
        }
        Ok(sample)
    }

    /// Values as constants and, where slopes are known, the line through them.
    fn in_graph(&self, input: Tensor<2>, samples: &[Sample]) -> Tensor<2> {
        let [batch, width] = input.dims();
        let outputs = self.objectives.len();
        let options = (&input.device(), input.dtype());
        let values: Vec<f64> = samples.iter().flat_map(|sample| sample.values.clone()).collect();
        let values = Tensor::<2>::from_data(TensorData::new(values, [batch, outputs]), options);
        let slopes: Vec<f64> = samples.iter().flat_map(|sample| sample.slopes.clone()).collect();
        if slopes.is_empty() {
            return values;
        }
        let slopes = TensorData::new(slopes, [batch, outputs, width]);
        let slopes = Tensor::<3>::from_data(slopes, (&input.device(), input.dtype()));
        // Nothing in value; in the graph, the whole input.
        let step = input.clone() - input.detach();
        values + (slopes * step.reshape([batch, 1, width])).sum_dim(2).reshape([batch, outputs])
    }
}
