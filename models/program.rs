//! A network's forward pass as a list of layers.
//!
//! A backbone describes itself once, as this list: its forward pass runs it, several devices share it ([`crate::parallel`]), and its ONNX
//! file is drawn from it.
//!
//! Both backbones are chains: each layer takes what the one before made, and skips wait on a stack, like values of a
//! calculator. So a network can be cut between any two layers, and what has to travel is the activation and the skips.

use std::ops::Range;

use burn::nn::conv::Conv2d;
use burn::tensor::activation::relu;
use burn::tensor::{DType, Device, Tensor};

use crate::head::Head;
use crate::kernel::Kernel;
use crate::resample::{doubled, folded, halved, unfolded};

/// A network's forward pass: from `[batch, 1, height, width]` to logits of that shape.
#[derive(Clone, Debug)]
pub struct Program {
    /// The architecture's name, as in `config.json`.
    pub architecture: String,
    /// How logits become a mask.
    pub head: Head,
    /// What sides of images must be multiples of.
    pub stride: usize,
    /// The layers, in order.
    pub layers: Vec<Layer>,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name; a convolution's is that of its weights on disk.
    pub name: String,
    /// What it does.
    pub kind: LayerKind,
}

/// What a layer does. Images have their channels last.
#[derive(Clone, Debug)]
pub enum LayerKind {
    /// `[batch, 1, height, width]` to `[batch, height, width, 1]`.
    Enter,
    /// A convolution of the same size, with its bias.
    Convolve {
        /// The weights.
        kernel: Kernel,
        /// Whether a ReLU follows.
        relu: bool,
    },
    /// The largest of each two by two pixels.
    Halve,
    /// Twice the size, bilinear with aligned corners.
    Double,
    /// Two by two pixels into channels.
    Fold,
    /// Channels into two by two pixels.
    Unfold,
    /// Keeps the image for a later [`LayerKind::Join`].
    Push,
    /// Appends the channels of the image that was kept last.
    Join,
    /// `[batch, height, width, 1]` to `[batch, 1, height, width]`.
    Leave,
}

/// What is between two layers.
#[derive(Clone, Debug)]
pub struct Activations {
    /// The image.
    pub x: Tensor<4>,
    /// Images that wait for their [`LayerKind::Join`]; the last one is next.
    pub skips: Vec<Tensor<4>>,
}

/// Makes the layers of a network, given what to make of its convolutions.
pub(crate) struct LayerChain<'a> {
    kernel: &'a mut dyn FnMut(&Conv2d) -> Kernel,
    layers: Vec<Layer>,
}

impl<'a> LayerChain<'a> {
    pub(crate) fn new(kernel: &'a mut dyn FnMut(&Conv2d) -> Kernel) -> Self {
        Self { kernel, layers: Vec::new() }
    }

    pub(crate) fn push(&mut self, name: &str, kind: LayerKind) {
        self.layers.push(Layer { name: name.into(), kind });
    }

    pub(crate) fn convolve(&mut self, name: &str, conv: &Conv2d, relu: bool) {
        let kernel = (self.kernel)(conv);
        self.push(name, LayerKind::Convolve { kernel, relu });
    }

    pub(crate) fn into_layers(self) -> Vec<Layer> {
        self.layers
    }
}

/// Runs layers on an image `[batch, 1, height, width]`.
pub(crate) fn run(layers: &[Layer], x: Tensor<4>) -> Tensor<4> {
    let start = Activations { x, skips: Vec::new() };
    layers.iter().fold(start, |state, layer| layer.kind.run(state)).x
}

impl Program {
    /// Logits of images `[batch, 1, height, width]`, on the device where the weights are, in the input's precision.
    pub fn run(&self, x: Tensor<4>) -> Tensor<4> {
        run(&self.layers, x)
    }

    /// The layers of a range with their weights on a device in a precision, and nothing of the others.
    pub fn placed(&self, range: Range<usize>, device: &Device, precision: DType) -> Vec<Layer> {
        self.layers[range].iter().map(|layer| layer.placed(device, precision)).collect()
    }

    /// Bytes of all weights in f32.
    pub fn weight_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.weight_count() as u64 * 4).sum()
    }
}

impl Layer {
    /// Values in its weights.
    pub fn weight_count(&self) -> usize {
        match &self.kind {
            LayerKind::Convolve { kernel, .. } => kernel.count(),
            _ => 0,
        }
    }

    /// The same, of whose weights gradients are wanted.
    pub fn tracked(&self, device: &Device) -> Self {
        let kind = match &self.kind {
            LayerKind::Convolve { kernel, relu } => {
                LayerKind::Convolve { kernel: kernel.tracked(device), relu: *relu }
            }
            other => other.clone(),
        };
        Self { name: self.name.clone(), kind }
    }

    /// The same with its weights on a device.
    pub fn placed(&self, device: &Device, precision: DType) -> Self {
        let kind = match &self.kind {
            LayerKind::Convolve { kernel, relu } => {
                LayerKind::Convolve { kernel: kernel.placed(device, precision), relu: *relu }
            }
            other => other.clone(),
        };
        Self { name: self.name.clone(), kind }
    }
}

impl LayerKind {
    /// Does it.
    pub fn run(&self, state: Activations) -> Activations {
        let Activations { x, mut skips } = state;
        let x = match self {
            Self::Enter => entered(x),
            Self::Convolve { kernel, relu: false } => kernel.convolved(x),
            Self::Convolve { kernel, relu: true } => relu(kernel.convolved(x)),
            Self::Halve => halved(x),
            Self::Double => doubled(x),
            Self::Fold => folded(x),
            Self::Unfold => unfolded(x),
            Self::Push => {
                skips.push(x.clone());
                x
            }
            Self::Join => match skips.pop() {
                Some(skip) => Tensor::cat(vec![x, skip], 3),
                None => unreachable!("a network joins what it has pushed"),
            },
            Self::Leave => left(x),
        };
        Activations { x, skips }
    }

    /// A word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Convolve { .. } => "convolve",
            Self::Halve => "halve",
            Self::Double => "double",
            Self::Fold => "fold",
            Self::Unfold => "unfold",
            Self::Push => "push",
            Self::Join => "join",
            Self::Leave => "leave",
        }
    }
}

/// One channel: moving it is only another name.
fn entered(x: Tensor<4>) -> Tensor<4> {
    let [batch, _, height, width] = x.dims();
    x.reshape([batch, height, width, 1])
}

fn left(x: Tensor<4>) -> Tensor<4> {
    let [batch, height, width, _] = x.dims();
    x.reshape([batch, 1, height, width])
}
