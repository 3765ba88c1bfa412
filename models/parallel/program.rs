//! A network's forward pass as a list of layers.
//!
//! Both backbones are chains: each layer takes what the one before made, and skips wait on a stack, like values of a
//! calculator. So a network can be cut between any two layers, and what has to travel is the activation and the skips.

use std::ops::Range;
use std::sync::Arc;

use burn::nn::conv::Conv2d;
use burn::tensor::activation::relu;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::convolution::{biased, same_convolution};
use crate::encoder_decoder::{folded, unfolded};
use crate::head::Head;
use crate::unet::{doubled, halved};

/// A network's forward pass: from `[batch, 1, height, width]` to logits of that shape.
#[derive(Clone, Debug)]
pub struct Program {
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
    pub step: Step,
}

/// What a layer does. Images have their channels last.
#[derive(Clone, Debug)]
pub enum Step {
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
    /// Keeps the image for a later [`Step::Join`].
    Push,
    /// Appends the channels of the image that was kept last.
    Join,
    /// `[batch, height, width, 1]` to `[batch, 1, height, width]`.
    Leave,
}

/// A convolution's weights, wherever they are.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Channels that it makes.
    pub to: usize,
    /// Channels that it reads.
    pub from: usize,
    /// Its side in pixels, odd.
    pub side: usize,
    /// Whether it adds a bias.
    pub bias: bool,
    weights: Weights,
}

#[derive(Clone, Debug)]
enum Weights {
    /// On a device: `[to, from, side, side]` and `[to]`.
    Placed(Arc<(Tensor<4>, Option<Tensor<1>>)>),
    /// In host memory.
    Host(Arc<(TensorData, Option<TensorData>)>),
    /// Not made yet.
    Random(u64),
}

/// What is between two layers.
#[derive(Clone, Debug)]
pub struct Activations {
    /// The image.
    pub x: Tensor<4>,
    /// Images that wait for their [`Step::Join`]; the last one is next.
    pub skips: Vec<Tensor<4>>,
}

/// Makes the layers of a network, given what to make of its convolutions.
pub(crate) struct Chain<'a> {
    kernel: &'a mut dyn FnMut(&Conv2d) -> Kernel,
    layers: Vec<Layer>,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(kernel: &'a mut dyn FnMut(&Conv2d) -> Kernel) -> Self {
        Self { kernel, layers: Vec::new() }
    }

    pub(crate) fn push(&mut self, name: &str, step: Step) {
        self.layers.push(Layer { name: name.into(), step });
    }

    pub(crate) fn convolve(&mut self, name: &str, conv: &Conv2d, relu: bool) {
        let kernel = (self.kernel)(conv);
        self.push(name, Step::Convolve { kernel, relu });
    }

    pub(crate) fn into_layers(self) -> Vec<Layer> {
        self.layers
    }
}

/// Runs layers on an image `[batch, 1, height, width]`.
pub(crate) fn run(layers: &[Layer], x: Tensor<4>) -> Tensor<4> {
    let start = Activations { x, skips: Vec::new() };
    layers.iter().fold(start, |state, layer| layer.step.run(state)).x
}

/// Kernels without weights: each is made, always the same, when it is placed. `conv` is not initialised by that.
pub(crate) fn random_kernels(seed: u64) -> impl FnMut(&Conv2d) -> Kernel {
    let mut number = 0;
    move |conv| {
        number += 1;
        let weights = Weights::Random(seed.wrapping_mul(0x1_0000).wrapping_add(number));
        let [to, from, side, _] = conv.weight.lazy_shape().dims();
        Kernel { to, from, side, bias: conv.bias.is_some(), weights }
    }
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
        match &self.step {
            Step::Convolve { kernel, .. } => kernel.count(),
            _ => 0,
        }
    }

    /// The same with its weights on a device.
    pub fn placed(&self, device: &Device, precision: DType) -> Self {
        let step = match &self.step {
            Step::Convolve { kernel, relu } => {
                Step::Convolve { kernel: kernel.placed(device, precision), relu: *relu }
            }
            other => other.clone(),
        };
        Self { name: self.name.clone(), step }
    }
}

impl Step {
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
    pub fn kind(&self) -> &'static str {
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

impl Kernel {
    /// A convolution's own weights, not copied.
    pub fn of(conv: &Conv2d) -> Self {
        Self::on_device(conv.weight.val(), conv.bias.as_ref().map(|bias| bias.val()))
    }

    fn on_device(weight: Tensor<4>, bias: Option<Tensor<1>>) -> Self {
        let [to, from, side, _] = weight.dims();
        let has_bias = bias.is_some();
        let weights = Weights::Placed(Arc::new((weight, bias)));
        Self { to, from, side, bias: has_bias, weights }
    }

    /// Values in it.
    pub fn count(&self) -> usize {
        self.to * self.from * self.side * self.side + if self.bias { self.to } else { 0 }
    }

    /// The weight `[to, from, side, side]` and the bias `[to]`; those that are on no device yet come to `home`.
    pub fn tensors(&self, home: &Device) -> (Tensor<4>, Option<Tensor<1>>) {
        match &self.weights {
            Weights::Placed(both) => both.as_ref().clone(),
            Weights::Host(both) => {
                let (weight, bias) = both.as_ref().clone();
                let bias = bias.map(|bias| Tensor::from_data(bias, home));
                (Tensor::from_data(weight, home), bias)
            }
            Weights::Random(seed) => self.made(*seed, home, DType::F32),
        }
    }

    /// Makes random weights, some output channels at a time: neither the host nor the device holds all of them in f32.
    fn made(&self, seed: u64, home: &Device, precision: DType) -> (Tensor<4>, Option<Tensor<1>>) {
        let row = self.from * self.side * self.side;
        // The variance of what enters is kept (He et al., ICCV 2015).
        let most = (6.0 / row as f32).sqrt();
        let rows = (MOST_AT_ONCE / row).max(1);
        let block = |start: usize| {
            let count = rows.min(self.to - start);
            let values = random(seed, start * row, count * row, most);
            let data = TensorData::new(values, [count, self.from, self.side, self.side]);
            in_dtype(Tensor::<4>::from_data(data, home), precision)
        };
        let mut blocks: Vec<Tensor<4>> = (0..self.to).step_by(rows).map(block).collect();
        let weight = match blocks.len() {
            1 => blocks.swap_remove(0),
            _ => Tensor::cat(blocks, 0),
        };
        let bias = || {
            let values = random(seed, self.to * row, self.to, most);
            in_dtype(Tensor::from_data(TensorData::new(values, [self.to]), home), precision)
        };
        (weight, self.bias.then(bias))
    }

    /// The same on a device, in a precision.
    pub fn placed(&self, device: &Device, precision: DType) -> Self {
        if let Weights::Random(seed) = &self.weights {
            let (weight, bias) = self.made(*seed, device, precision);
            return Self::on_device(weight, bias);
        }
        let (weight, bias) = self.tensors(device);
        let weight = in_dtype(weight, precision).to_device(device);
        let bias = bias.map(|bias| in_dtype(bias, precision).to_device(device));
        Self::on_device(weight, bias)
    }

    /// The same in host memory, in a precision.
    ///
    /// # Errors
    ///
    /// What the device says that has the weights.
    pub fn on_host(&self, precision: DType) -> Result<Self, String> {
        let (weight, bias) = match &self.weights {
            Weights::Random(seed) => self.made(*seed, &Device::flex(), precision),
            _ => self.tensors(&Device::flex()),
        };
        let weight = in_dtype(weight, precision).try_into_data().map_err(|e| e.to_string())?;
        let bias = bias.map(|bias| in_dtype(bias, precision).try_into_data()).transpose();
        let bias = bias.map_err(|e| e.to_string())?;
        Ok(Self { weights: Weights::Host(Arc::new((weight, bias))), ..*self })
    }

    /// The part with these channels of output and of input, with its bias if `bias` says so, on a device. It is cut where the
    /// weights are, so that no device gets more than its part.
    pub fn part(
        &self,
        to: &[usize],
        from: &[usize],
        bias: bool,
        device: &Device,
        precision: DType,
    ) -> Self {
        let (weight, all) = self.tensors(&Device::flex());
        let weight = picked(picked(weight, 0, to), 1, from);
        let weight = in_dtype(weight, precision).to_device(device);
        let all = all.filter(|_| bias);
        let bias = all.map(|all| in_dtype(picked(all, 0, to), precision).to_device(device));
        Self::on_device(weight, bias)
    }

    /// Convolves in the input's own precision: weights of another one are cast on the way.
    pub fn convolved(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = self.tensors(&x.device());
        let dtype = x.dtype();
        let y = same_convolution(x, in_dtype(weight, dtype).permute([0, 2, 3, 1]));
        match bias {
            Some(bias) => biased(y, in_dtype(bias, dtype)),
            None => y,
        }
    }

    /// Its bias, if it has one and is on a device.
    pub(crate) fn placed_bias(&self) -> Option<Tensor<1>> {
        match &self.weights {
            Weights::Placed(both) => both.1.clone(),
            _ => None,
        }
    }

    /// The same without its bias.
    pub(crate) fn unbiased(&self) -> Self {
        match &self.weights {
            Weights::Placed(both) => Self::on_device(both.0.clone(), None),
            _ => self.clone(),
        }
    }
}

fn in_dtype<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}

/// These places along a dimension.
pub(crate) fn picked<const D: usize>(x: Tensor<D>, dim: usize, places: &[usize]) -> Tensor<D> {
    let first = places.first().copied().unwrap_or(0);
    if places.iter().enumerate().all(|(i, &place)| place == first + i) {
        return match places.len() == x.dims()[dim] {
            true => x,
            false => x.narrow(dim, first, places.len()),
        };
    }
    let places: Vec<i32> = places.iter().map(|&place| place as i32).collect();
    let places = Tensor::from_data(TensorData::from(places.as_slice()), &x.device());
    x.select(dim, places)
}

/// Values that are made at once, on the host and on the device: 256 MiB of f32.
const MOST_AT_ONCE: usize = 1 << 26;

/// Numbers `start..start + count` of a sequence between `-most` and `most` that is the same for a seed on every machine.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. Each number depends on its place
/// alone, so threads make parts of them.
fn random(seed: u64, start: usize, count: usize, most: f32) -> Vec<f32> {
    let number = |i: usize| {
        let z = seed.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 24 bits, which is what f32 has.
        most * (((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 23) as f32 - 1.0)
    };
    let mut values = vec![0.0; count];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = count.div_ceil(threads).max(1 << 16);
    std::thread::scope(|scope| {
        for (j, values) in values.chunks_mut(part).enumerate() {
            let first = start + j * part;
            let mut fill = move || {
                values.iter_mut().enumerate().for_each(|(i, value)| *value = number(first + i));
            };
            // A small one is not worth a thread.
            match count <= part {
                true => fill(),
                false => drop(scope.spawn(fill)),
            }
        }
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bounds, mean and variance of the uniform distribution; other seeds are other numbers.
    #[test]
    fn random_numbers_are_uniform_and_do_not_depend_on_how_they_are_made() {
        let all = random(3, 0, 300_000, 2.0);
        let parts = [random(3, 0, 1000, 2.0), random(3, 1000, 299_000, 2.0)].concat();
        assert_eq!(all, parts);
        assert_ne!(all[..9], random(4, 0, 9, 2.0)[..]);
        let count = all.len() as f64;
        let mean = all.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let square = all.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / count;
        // Of a uniform distribution on -2..2 the variance is 4/3; deviations of means are 2e-3.
        assert!(all.iter().all(|v| v.abs() <= 2.0) && mean.abs() < 0.01, "{mean}");
        assert!((square - 4.0 / 3.0).abs() < 0.01, "{square}");
    }

    #[test]
    fn picked_places_are_those_places() {
        let x = Tensor::<1>::from_floats([0.0, 1.0, 2.0, 3.0], &Device::flex());
        for places in [vec![0, 1, 2, 3], vec![1, 2], vec![3, 0, 2], vec![2]] {
            let expected: Vec<f32> = places.iter().map(|&place| place as f32).collect();
            let found = picked(x.clone(), 0, &places);
            assert_eq!(found.try_into_vec_as::<f32>().expect("f32"), expected);
        }
    }
}
