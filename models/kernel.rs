//! A convolution's weights: on a device, in host memory, or not made yet.

use std::sync::Arc;

use burn::nn::conv::Conv2d;
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use lithoburn_ranks::transfer::moved;

use crate::convolution::{biased, same_convolution};

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

impl Kernel {
    /// A convolution's own weights, not copied.
    pub fn of(conv: &Conv2d) -> Self {
        Self::on_device(conv.weight.val(), conv.bias.as_ref().map(|bias| bias.val()))
    }

    /// Weights `[to, from, side, side]` and a bias `[to]` as they are.
    pub(crate) fn on_device(weight: Tensor<4>, bias: Option<Tensor<1>>) -> Self {
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
                let dtype = weight.dtype();
                let bias = bias.map(|bias| Tensor::from_data(bias, (home, dtype)));
                (Tensor::from_data(weight, (home, dtype)), bias)
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
        let weight = moved(in_dtype(weight, precision), device);
        let bias = bias.map(|bias| moved(in_dtype(bias, precision), device));
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
        let weight = own(in_dtype(weight, precision).try_into_data()).map_err(|e| e.to_string())?;
        let bias = bias.map(|bias| own(in_dtype(bias, precision).try_into_data())).transpose();
        let bias = bias.map_err(|e| e.to_string())?;
        Ok(Self { weights: Weights::Host(Arc::new((weight, bias))), ..*self })
    }

    /// Its values in host memory.
    ///
    /// # Errors
    ///
    /// As [`Kernel::on_host`].
    pub(crate) fn values(&self) -> Result<Values, String> {
        let (weight, bias) = self.on_host(DType::F32)?.tensors(&Device::flex());
        let weight = weight.try_into_vec_as::<f32>().map_err(|e| e.to_string())?;
        let bias = match bias {
            Some(bias) => bias.try_into_vec_as::<f32>().map_err(|e| e.to_string())?,
            None => vec![0.0; self.to],
        };
        let Self { to, from, side, .. } = *self;
        Ok(Values { to, from, side, weight, bias })
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
        let weight = moved(in_dtype(weight, precision), device);
        let all = all.filter(|_| bias);
        let bias = all.map(|all| moved(in_dtype(picked(all, 0, to), precision), device));
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

    /// The same, whose gradients are wanted.
    pub(crate) fn tracked(&self, device: &Device) -> Self {
        let (weight, bias) = self.tensors(device);
        Self::on_device(leaf(weight), bias.map(leaf))
    }

    /// The gradients of its weights in host memory; zero where nothing depends on them.
    pub(crate) fn gradients(&self, all: &Gradients, home: &Device) -> Result<Values, String> {
        let (weight, bias) = self.tensors(home);
        let weight = weight.grad(all).unwrap_or_else(|| weight.clone().inner().zeros_like());
        let bias = bias.map(|bias| bias.grad(all).unwrap_or_else(|| bias.inner().zeros_like()));
        Self::on_device(weight, bias).values()
    }

    /// The same without its bias.
    pub(crate) fn unbiased(&self) -> Self {
        match &self.weights {
            Weights::Placed(both) => Self::on_device(both.0.clone(), None),
            _ => self.clone(),
        }
    }
}

/// A kernel's values in host memory, in f32.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub(crate) to: usize,
    pub(crate) from: usize,
    side: usize,
    /// `[to, from, side, side]`.
    pub(crate) weight: Vec<f32>,
    /// `[to]`, of zeros if the kernel has no bias.
    pub(crate) bias: Vec<f32>,
}

impl Values {
    /// A weight, or zero outside the kernel.
    pub(crate) fn at(&self, to: usize, from: usize, row: usize, column: usize) -> f32 {
        let side = self.side;
        match to < self.to && from < self.from && row < side && column < side {
            true => self.weight[((to * self.from + from) * side + row) * side + column],
            false => 0.0,
        }
    }
}

/// What was read, in memory of our own: a device may use its own again (see [`moved`]).
fn own<E>(read: Result<TensorData, E>) -> Result<TensorData, E> {
    read.map(|data| {
        let bytes = data.as_bytes().to_vec();
        TensorData::from_bytes_vec(bytes, data.shape().clone(), data.dtype())
    })
}

/// A tensor whose gradient is wanted.
fn leaf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let x = if x.device().is_autodiff() { x } else { Tensor::from_inner(x) };
    x.require_grad()
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

/// Values that are made at once, on the host and on the device: 64 MiB of f32. CubeCL sends what is less than 100 MiB through pinned
/// memory, which is several times faster.
const MOST_AT_ONCE: usize = 1 << 24;

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
