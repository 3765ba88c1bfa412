//! Training on a Hopper card: a network's forward pass, its way back and its optimiser as one operation each.
//!
//! Weights are f32, in one run of numbers ([`Flat`]), beside Adam's two memories of the same length. After each step the card gathers from them what
//! its kernels read, in bf16. The forward pass keeps every image on a tape; the way back ([`Back`]) makes the gradient of all
//! weights from it. Nothing is read back to the host.
#![cfg_attr(
    not(feature = "gpu"),
    allow(unused_variables, dead_code, reason = "a program without GPUs has no backend of these")
)]

mod trial;

use std::ops::Range;
use std::sync::Arc;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
#[cfg(feature = "gpu")]
use {
    super::{Extent, backward, forward, tape::tape_places},
    crate::adjoints::adam,
    burn::backend::fusion::custom::TensorSpec,
    burn::tensor::Shape,
    burn_cubecl::CubeBackend,
};

#[cfg(test)]
pub(crate) use self::trial::reference;
pub use super::plan::AdamStep;
use super::plan::Plan;
use super::weights::{NOWHERE, WeightLayout};
use super::{Compiled, NotFused, is_hopper};
use crate::flat::Flat;
use crate::head::{Head, MaskNetwork};
use crate::program::Program;
use crate::steps::back::Back;
use crate::steps::{Grain, Steps};
use crate::trial::brief;

/// Numbers of a chunk, which a cube of the optimiser moves.
const CHUNK: usize = 8192;
/// Numbers that a unit has under way at once where weights are moved and picked: with one at a time it mostly waits for memory.
pub(crate) const AT_ONCE: usize = 4;

/// A part of training as an operation of a backend.
#[backend_extension(Cube: cfg(feature = "gpu"), Fusion: cfg(feature = "gpu"))]
pub(crate) trait FusedTraining: Backend {
    /// Logits of `[batch, 1, height, width]`, both f32, and the tape of its images.
    #[fusion(meta = recorded_meta)]
    fn recorded_pass(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        plan: Arc<Plan>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of all weights, `values`, in the plan's precision.
    #[fusion(meta = gradient_meta)]
    fn weight_gradients(
        x: FloatTensor<Self>,
        tape: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        values: FloatTensor<Self>,
        of_logits: FloatTensor<Self>,
        plan: Arc<Plan>,
    ) -> FloatTensor<Self>;

    /// Values, mean, square and faults after a step of Adam.
    #[fusion(meta = adam_meta)]
    #[allow(clippy::too_many_arguments, reason = "tensors of an operation are arguments")]
    fn adam_step(
        values: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        square: FloatTensor<Self>,
        faults: FloatTensor<Self>,
        chunks: IntTensor<Self>,
        parameters: IntTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Numbers by their places: weights of products in bf16, and others in f32.
    #[fusion(meta = gathered_meta)]
    fn gathered_weights(
        values: FloatTensor<Self>,
        halves: IntTensor<Self>,
        numbers: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

#[cfg(feature = "gpu")]
fn recorded_meta(
    x: &TensorSpec,
    _weights: &TensorSpec,
    _numbers: &TensorSpec,
    plan: &Arc<Plan>,
) -> (TensorSpec, TensorSpec) {
    let [batch, _, height, width] = x.shape.dims::<4>();
    let (_, length) = tape_places(&plan.compiled.steps, Extent { batch, height, width });
    (x.clone(), TensorSpec::new(Shape::from([length]), DType::BF16))
}

#[cfg(feature = "gpu")]
fn gradient_meta(
    _x: &TensorSpec,
    _tape: &TensorSpec,
    _weights: &TensorSpec,
    _numbers: &TensorSpec,
    values: &TensorSpec,
    _of_logits: &TensorSpec,
    plan: &Arc<Plan>,
) -> TensorSpec {
    TensorSpec::new(values.shape.clone(), plan.gradients)
}

#[cfg(feature = "gpu")]
#[allow(clippy::too_many_arguments, reason = "those of the operation")]
fn adam_meta(
    values: &TensorSpec,
    _gradient: &TensorSpec,
    _mean: &TensorSpec,
    _square: &TensorSpec,
    faults: &TensorSpec,
    _chunks: &TensorSpec,
    _parameters: &TensorSpec,
    _step: &AdamStep,
) -> (TensorSpec, TensorSpec, TensorSpec, TensorSpec) {
    (values.clone(), values.clone(), values.clone(), faults.clone())
}

#[cfg(feature = "gpu")]
fn gathered_meta(
    _values: &TensorSpec,
    halves: &TensorSpec,
    numbers: &TensorSpec,
) -> (TensorSpec, TensorSpec) {
    let spec = |places: &TensorSpec, dtype| TensorSpec::new(places.shape.clone(), dtype);
    (spec(halves, DType::BF16), spec(numbers, DType::F32))
}

#[cfg(feature = "gpu")]
impl FusedTraining for CubeBackend {
    fn recorded_pass(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        plan: Arc<Plan>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        forward::recorded(x, [weights, numbers], &plan.compiled, None)
    }

    fn weight_gradients(
        input: FloatTensor<Self>,
        tape: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        flat: FloatTensor<Self>,
        of_logits: FloatTensor<Self>,
        plan: Arc<Plan>,
    ) -> FloatTensor<Self> {
        let weights = [weights, numbers];
        backward::run(backward::Inputs { input, tape, weights, flat, of_logits }, &plan)
    }

    fn adam_step(
        values: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        square: FloatTensor<Self>,
        faults: FloatTensor<Self>,
        chunks: IntTensor<Self>,
        parameters: IntTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        adam::stepped([values, gradient, mean, square], faults, [chunks, parameters], step)
    }

    fn gathered_weights(
        values: FloatTensor<Self>,
        halves: IntTensor<Self>,
        numbers: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        adam::picked(&values, [&halves, &numbers], DType::BF16)
    }
}

/// A network in training on a Hopper card.
#[derive(Clone, Debug)]
pub struct Training {
    plan: Arc<Plan>,
    /// The weights, and Adam's mean and square.
    values: Tensor<1>,
    memory: [Tensor<1>; 2],
    /// The first step, from 1, in which each parameter's gradient was no number; 0 if there was none.
    faults: Tensor<1>,
    /// The parameters' names.
    names: Arc<Vec<String>>,
    /// What the kernels read, and which of the values that is.
    packed: [Tensor<1>; 2],
    places: [Tensor<1, Int>; 2],
    /// The optimiser's chunks, and those of each parameter.
    chunks: [Tensor<1, Int>; 2],
    head: Head,
    stride: usize,
    off: f64,
}

/// A parameter whose gradient was no number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The parameter's name.
    pub parameter: String,
    /// The step of the optimiser, from 1.
    pub step: u64,
}

/// A forward pass whose images are kept for the way back.
#[derive(Clone, Debug)]
pub struct RecordedPass {
    /// `[batch, 1, height, width]` in f32.
    pub logits: Tensor<4>,
    input: Tensor<4>,
    tape: Tensor<1>,
}

impl Training {
    /// A network on a card, once a small batch's gradient was there what the CPU computes. Gradients are summed in f32, and given out in the precision
    /// `gradients`, f32 or bf16: cards that have to tell each other theirs have half as much to say in bf16.
    ///
    /// # Errors
    ///
    /// [`NotFused`], in words for the user: the network is trained layer by layer then.
    pub fn new(program: &Program, device: &Device, gradients: DType) -> Result<Self, NotFused> {
        if !is_hopper(device) {
            return Err(NotFused::Card);
        }
        if !matches!(gradients, DType::F32 | DType::BF16) {
            return Err(NotFused::Precision(gradients));
        }
        let steps = Steps::of(program, Grain::HOPPER_TRAINING)?;
        let back = Back::of(&steps)?;
        let placed = Self::placed(program, steps, back, (device, gradients));
        let mut training = placed.map_err(NotFused::Trial)?;
        training.off = training.trial(program).map_err(NotFused::Trial)?;
        Ok(training)
    }

    fn placed(
        program: &Program,
        steps: Steps,
        back: Back,
        (device, gradients): (&Device, DType),
    ) -> Result<Self, String> {
        let flat = Flat::of(program);
        let layout = WeightLayout::of(&flat, &steps, Some(&back));
        let WeightLayout { halves, numbers, places, asks: ask_places, .. } = layout;
        let values = flat.values(program)?;
        let values = Tensor::<1>::from_data(TensorData::new(values, [flat.count]), device);
        let table = |places: Vec<i32>| {
            let count = places.len();
            Tensor::<1, Int>::from_data(TensorData::new(places, [count]), (device, DType::I32))
        };
        // What is nowhere among the values becomes -1, and so does what fills up a vector.
        let signed = |mut places: Vec<u32>| {
            places.resize(places.len().next_multiple_of(AT_ONCE), NOWHERE);
            table(places.into_iter().map(|at| at as i32).collect())
        };
        let places_on_card = [signed(halves), signed(numbers)];
        let chunks = chunks(&flat.parameters()).map(table);
        let memory = [values.zeros_like(), values.zeros_like()];
        let names = Arc::new(flat.names(program));
        let faults = Tensor::zeros([names.len()], (device, DType::F32));
        let packed = packed(&values, &places_on_card);
        let compiled = Compiled { steps, places };
        let plan = Plan {
            compiled,
            back,
            flat,
            ask_places,
            gradients,
            marked: false,
            needs: Arc::default(),
            #[cfg(feature = "gpu")]
            told: Arc::default(),
        };
        let (head, stride) = (program.head, program.stride);
        Ok(Self {
            plan: Arc::new(plan),
            values,
            memory,
            faults,
            names,
            packed,
            places: places_on_card,
            chunks,
            head,
            stride,
            off: f64::NAN,
        })
    }

    /// Logits of images `[batch, 1, height, width]`, whose sides are multiples of the stride.
    pub fn pass(&self, x: Tensor<4>) -> RecordedPass {
        let input = x.cast(DType::F32);
        let [weights, numbers] = self.packed.each_ref().map(|t| t.clone().into_dispatch());
        let (logits, tape) = <Dispatch as FusedTraining>::recorded_pass(
            input.clone().into_dispatch(),
            weights,
            numbers,
            self.plan.clone(),
        );
        let (logits, tape) = (Tensor::from_dispatch(logits), Tensor::from_dispatch(tape));
        RecordedPass { logits, input, tape }
    }

    /// The gradient of all weights, given that of a pass's logits, in the precision that was asked for.
    pub fn gradient(&self, pass: RecordedPass, of_logits: Tensor<4>) -> Tensor<1> {
        let [weights, numbers] = self.packed.each_ref().map(|t| t.clone().into_dispatch());
        let gradient = <Dispatch as FusedTraining>::weight_gradients(
            pass.input.into_dispatch(),
            pass.tape.into_dispatch(),
            weights,
            numbers,
            self.values.clone().into_dispatch(),
            of_logits.cast(DType::F32).into_dispatch(),
            self.plan.clone(),
        );
        Tensor::from_dispatch(gradient)
    }

    /// Moves the weights against a gradient in f32 or bf16. A parameter's gradient that is no number somewhere counts as zero, so that no weight is lost
    /// by it, and is a [`Training::fault`].
    pub fn step(&mut self, gradient: Tensor<1>, step: AdamStep) {
        let [mean, square] = self.memory.each_ref().map(|t| t.clone().into_dispatch());
        let [chunks, parameters] = self.chunks.each_ref().map(|t| t.clone().into_dispatch());
        let values = self.values.clone().into_dispatch();
        let (gradient, faults) = (gradient.into_dispatch(), self.faults.clone().into_dispatch());
        let (values, mean, square, faults) = <Dispatch as FusedTraining>::adam_step(
            values, gradient, mean, square, faults, chunks, parameters, step,
        );
        self.memory = [Tensor::from_dispatch(mean), Tensor::from_dispatch(square)];
        self.faults = Tensor::from_dispatch(faults);
        self.set_values(Tensor::from_dispatch(values));
    }

    /// The first of all steps so far in which a gradient was no number, and whose that was. Waits for the card.
    ///
    /// # Errors
    ///
    /// What the device says, in a line.
    pub fn fault(&self) -> Result<Option<Fault>, String> {
        let faults = self.faults.clone().try_into_vec_as::<f32>();
        let faults = faults.map_err(|e| brief(&e.to_string()))?;
        let found = faults.iter().zip(&*self.names).filter(|(step, _)| **step > 0.0);
        let first = found.min_by(|a, b| a.0.total_cmp(b.0));
        Ok(first.map(|(&step, name)| Fault { parameter: name.clone(), step: step as u64 }))
    }

    /// The first parameter whose gradient is no number somewhere.
    pub fn unsound<'a>(&'a self, gradient: &[f32]) -> Option<&'a str> {
        let mut parameters = self.plan.flat.parameters().into_iter().zip(&*self.names);
        let lost = |own: &[f32]| own.iter().any(|value| !value.is_finite());
        let found = parameters.find(|(range, _)| gradient.get(range.clone()).is_none_or(lost));
        found.map(|(_, name)| name.as_str())
    }

    /// How far the trial's gradient was from the CPU's: ‖difference‖ / ‖reference‖.
    pub fn off(&self) -> f64 {
        self.off
    }

    /// Where its numbers are.
    pub fn flat(&self) -> &Flat {
        &self.plan.flat
    }

    /// All weights, in the order of [`Training::flat`].
    pub fn values(&self) -> &Tensor<1> {
        &self.values
    }

    /// Takes other weights.
    pub fn set_values(&mut self, values: Tensor<1>) {
        self.packed = packed(&values, &self.places);
        self.values = values;
    }

    /// Mean and square of the gradient, decaying.
    pub fn memory(&self) -> &[Tensor<1>; 2] {
        &self.memory
    }

    /// Takes other memories.
    pub fn set_memory(&mut self, memory: [Tensor<1>; 2]) {
        self.memory = memory;
    }

    /// What its layers became, there and back, as text.
    pub fn shown(&self) -> String {
        let Plan { compiled: Compiled { steps, .. }, back, .. } = &*self.plan;
        format!("{steps}{}", back.shown(steps))
    }
}

impl MaskNetwork for Training {
    fn head(&self) -> Head {
        self.head
    }

    fn stride(&self) -> usize {
        self.stride
    }

    /// Computes in bf16 with sums in f32, whatever the input's precision.
    fn logits(&self, x: Tensor<4>) -> Tensor<4> {
        let dtype = x.dtype();
        self.pass(x).logits.cast(dtype)
    }

    /// In one launch.
    fn mask(&self, target: Tensor<3>, change: Tensor<4>) -> Tensor<3> {
        self.head.opened(target, change)
    }
}

/// What the kernels read.
fn packed(values: &Tensor<1>, places: &[Tensor<1, Int>; 2]) -> [Tensor<1>; 2] {
    let [halves, numbers] = places.each_ref().map(|t| t.clone().into_dispatch());
    let values = values.clone().into_dispatch();
    let (halves, numbers) = <Dispatch as FusedTraining>::gathered_weights(values, halves, numbers);
    [Tensor::from_dispatch(halves), Tensor::from_dispatch(numbers)]
}

/// Start, length and parameter of each chunk; first chunk and number of chunks of each parameter, one at least.
fn chunks(parameters: &[Range<usize>]) -> [Vec<i32>; 2] {
    let (mut chunks, mut own) = (Vec::new(), Vec::new());
    for (number, range) in parameters.iter().enumerate() {
        let first = chunks.len() / 3;
        for start in range.clone().step_by(CHUNK) {
            let length = CHUNK.min(range.end - start);
            chunks.extend([start, length, number].map(|value| value as i32));
        }
        own.extend([first, chunks.len() / 3 - first].map(|value| value as i32));
    }
    [chunks, own]
}
