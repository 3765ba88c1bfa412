//! A network's forward pass on the CPU, as the fused [`steps`](crate::steps) of its [`Program`].
//!
//! Layer by layer, Burn gathers every neighbourhood of an image into a matrix before it multiplies. Here a convolution needs a quarter of the
//! products and writes no neighbourhood down (`host::winograd`), folding, unfolding and joining are addresses, and images keep their memory
//! from pass to pass. The layers one by one are the reference, and the way of gradients.

mod enlarge;
mod numbers;
mod picture;
mod product;
pub(crate) mod rounded;
#[cfg(test)]
mod tests;
mod winograd;

use std::sync::{Arc, Mutex};

use burn::tensor::{DType, Device, Tensor, TensorData};
use lithoburn_processor::Processor;
use rayon::prelude::*;

use self::picture::Picture;
use self::winograd::{Convolution, Input, Output, Spare};
use crate::head::{Head, MaskNetwork};
use crate::program::{LayerKind, Program};
use crate::steps::{Grain, Step, Steps, Then, View, Work};

/// Where the network's input is among the pictures of a pass; the steps' images follow.
const INPUT: usize = 0;

/// What is done to pictures, in order.
#[derive(Debug)]
enum Action {
    Convolve { convolution: Convolution, to: usize },
    Pool { from: usize, to: usize },
    Double { from: usize, to: usize },
    Project { from: usize, to: usize, weights: Vec<f32> },
}

/// A network on the CPU.
#[derive(Clone, Debug)]
pub struct Host {
    pass: Arc<Pass>,
    head: Head,
    stride: usize,
}

#[derive(Debug)]
struct Pass {
    actions: Vec<Action>,
    /// Channels of each picture, and how many pixels of the input are one of its own; the last one is the logits.
    pictures: Vec<[usize; 2]>,
    /// Pictures of passes that are over.
    spare: Mutex<Vec<Vec<Picture>>>,
    /// Memory of convolutions that are over.
    scratch: Spare,
}

impl Host {
    /// A network on the CPU.
    ///
    /// # Errors
    ///
    /// In words, why it runs layer by layer.
    pub fn new(program: &Program) -> Result<Self, String> {
        let steps = Steps::of(program, Grain::HOST).map_err(|e| e.to_string())?;
        let pass = Arc::new(Pass::new(program, &steps)?);
        Ok(Self { pass, head: program.head, stride: program.stride })
    }
}

impl MaskNetwork for Host {
    fn head(&self) -> Head {
        self.head
    }

    fn stride(&self) -> usize {
        self.stride
    }

    /// Computes in f32, whatever the input's precision.
    fn logits(&self, x: Tensor<4>) -> Tensor<4> {
        let ([batch, _, height, width], dtype, device) = (x.dims(), x.dtype(), x.device());
        let logits = self.pass.run(&values(x.cast(DType::F32)), [height, width]);
        let logits = TensorData::new(logits, [batch, 1, height, width]);
        Tensor::<4>::from_data(logits, (&device, DType::F32)).cast(dtype)
    }

    fn mask(&self, target: Tensor<3>, change: Tensor<4>) -> Tensor<3> {
        let ([batch, height, width], device) = (target.dims(), target.device());
        let logits = values(self.head.logits(target, change));
        let factor = self.head.upsample.max(1);
        let masks = enlarge::masks(&logits, [height, width], factor);
        let masks = TensorData::new(masks, [batch, height * factor, width * factor]);
        Tensor::from_data(masks, &device)
    }
}

/// A tensor of the CPU, which is in this process's memory.
fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    let values = x.try_into_vec_as::<f32>();
    values.unwrap_or_else(|e| unreachable!("the CPU gives what it has: {e}"))
}

/// Whether a device is the CPU.
pub fn is_host(device: &Device) -> bool {
    *device == Device::flex()
}

impl Pass {
    fn new(program: &Program, steps: &Steps) -> Result<Self, String> {
        let mut pictures = vec![[1, 1]];
        pictures.extend(steps.images.iter().map(|image| [image.channels, image.shrink]));
        let (spare, scratch) = (Mutex::default(), Spare::default());
        let mut pass = Self { actions: Vec::new(), pictures, spare, scratch };
        for step in &steps.steps {
            pass.add(program, step)?;
        }
        Ok(pass)
    }

    fn add(&mut self, program: &Program, step: &Step) -> Result<(), String> {
        let own = |view: &View| (view.image + 1, view.folded);
        match &step.work {
            Work::Double { from, to } => {
                self.actions.push(Action::Double { from: from + 1, to: to + 1 });
            }
            Work::Stem { folded, to } => {
                self.convolve(program, step, &[(INPUT, *folded)], (to + 1, false), true)?;
            }
            Work::Narrow { from, unfold, .. } => {
                self.pictures.push([1, 1]);
                let logits = self.pictures.len() - 1;
                self.convolve(program, step, &[(from + 1, false)], (logits, *unfold), false)?;
            }
            Work::Convolve(work) => {
                let from: Vec<_> = work.from.iter().map(own).collect();
                let to = match work.then {
                    Then::Store(view) | Then::Pool(view, _) | Then::StoreLast(view, _) => {
                        own(&view)
                    }
                    Then::Last(_) => {
                        self.pictures.push([work.channels, work.shrink]);
                        (self.pictures.len() - 1, false)
                    }
                };
                self.convolve(program, step, &from, to, work.relu)?;
                self.follow(program, work.then, to.0)?;
            }
        }
        Ok(())
    }

    fn follow(&mut self, program: &Program, then: Then, from: usize) -> Result<(), String> {
        match then {
            Then::Store(_) => {}
            Then::Pool(_, pooled) => self.actions.push(Action::Pool { from, to: pooled + 1 }),
            Then::Last(layer) | Then::StoreLast(_, layer) => {
                self.pictures.push([1, 1]);
                let to = self.pictures.len() - 1;
                if let LayerKind::Convolve { kernel, .. } = &program.layers[layer].kind {
                    let values = kernel.values()?;
                    let weights = values.weight.into_iter().chain(values.bias).collect();
                    self.actions.push(Action::Project { from, to, weights });
                }
            }
        }
        Ok(())
    }

    fn convolve(
        &mut self,
        program: &Program,
        step: &Step,
        from: &[(usize, bool)],
        (to, unfolded): (usize, bool),
        relu: bool,
    ) -> Result<(), String> {
        let LayerKind::Convolve { kernel, .. } = &program.layers[step.layer].kind else {
            return Err(format!("layer {} has no weights", step.name));
        };
        let input = |&(picture, folded): &(usize, bool)| {
            let [channels, _] = self.pictures[picture];
            Input { picture, folded, run: channels * if folded { 2 } else { 1 } }
        };
        let inputs = from.iter().map(input).collect();
        let values = kernel.values()?;
        let weight = |to, from, row, column| values.at(to, from, row, column);
        let (processor, output) = (Processor::here(), Output { unfolded, relu });
        let convolution = Convolution::new(processor, inputs, &values.bias, output, weight);
        self.actions.push(Action::Convolve { convolution, to });
        Ok(())
    }

    /// Logits of images of a size, one after another in memory.
    fn run(&self, images: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
        let mut logits = vec![0.0; images.len()];
        let size = (height * width).max(1);
        let each = images.par_chunks(size).zip(logits.par_chunks_mut(size));
        each.for_each(|(image, logits)| self.run_one(image, [height, width], logits, |_, _| {}));
        logits
    }

    /// Logits of one image; `made` gets each picture once it is made, with its number.
    fn run_one(
        &self,
        image: &[f32],
        size: [usize; 2],
        logits: &mut [f32],
        mut made: impl FnMut(usize, &mut Picture),
    ) {
        let mut pictures = self.taken(size);
        pictures[INPUT].fill(image);
        for action in &self.actions {
            action.run(&mut pictures, &self.scratch);
            made(action.to(), &mut pictures[action.to()]);
        }
        if let Some(last) = pictures.last() {
            last.copy_to(logits);
        }
        self.give_back(pictures);
    }

    /// Pictures for images of a size: those of an earlier pass, if there are any. Their borders are zero still.
    fn taken(&self, [height, width]: [usize; 2]) -> Vec<Picture> {
        let spare = self.spare.lock().ok().and_then(|mut spare| spare.pop());
        let fits = |pictures: &Vec<Picture>| {
            pictures.first().is_some_and(|input| [input.height, input.width] == [height, width])
        };
        let new = |&[channels, shrink]: &[usize; 2]| {
            Picture::new(height / shrink, width / shrink, channels)
        };
        spare.filter(fits).unwrap_or_else(|| self.pictures.iter().map(new).collect())
    }

    fn give_back(&self, pictures: Vec<Picture>) {
        if let Ok(mut spare) = self.spare.lock() {
            spare.push(pictures);
        }
    }
}

impl Action {
    /// The picture that it makes.
    fn to(&self) -> usize {
        let (Self::Convolve { to, .. }
        | Self::Pool { to, .. }
        | Self::Double { to, .. }
        | Self::Project { to, .. }) = self;
        *to
    }

    fn run(&self, pictures: &mut [Picture], spare: &Spare) {
        let mut made = std::mem::take(&mut pictures[self.to()]);
        match self {
            Self::Convolve { convolution, .. } => convolution.run(pictures, &mut made, spare),
            Self::Pool { from, .. } => made.pool(&pictures[*from]),
            Self::Double { from, .. } => made.double(&pictures[*from]),
            Self::Project { from, weights, .. } => made.project(&pictures[*from], weights),
        }
        pictures[self.to()] = made;
    }
}
