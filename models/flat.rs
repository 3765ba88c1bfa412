//! All weights of a network as one run of numbers: what an optimiser moves at once, and what a card's kernels take their weights from.
//!
//! Layer by layer as in the program: a convolution's weight `[to, side, side, from]`, its channels side by side as images have them, then its bias.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::kernel::{Kernel, Values};
use crate::program::{Layer, LayerKind, Program};

/// Where a convolution's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlatKernel {
    /// Where its weight begins.
    pub weight: usize,
    /// Where its bias begins, if it has one.
    pub bias: Option<usize>,
    /// Output channels.
    pub to: usize,
    /// Input channels.
    pub from: usize,
    /// Its side in pixels.
    pub side: usize,
}

/// Where each layer's numbers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flat {
    /// By layer of the program; none has no weights.
    pub layers: Vec<Option<FlatKernel>>,
    /// Numbers in all.
    pub count: usize,
}

impl FlatKernel {
    /// Where a weight is; none outside the kernel.
    pub fn at(&self, to: usize, from: usize, row: usize, column: usize) -> Option<usize> {
        let Self { side, .. } = *self;
        let inside = to < self.to && from < self.from && row < side && column < side;
        inside.then(|| self.weight + ((to * side + row) * side + column) * self.from + from)
    }

    /// Where an output channel's bias is.
    pub fn bias_at(&self, to: usize) -> Option<usize> {
        self.bias.filter(|_| to < self.to).map(|bias| bias + to)
    }

    /// Where its weights and its bias are, which follows them.
    pub(crate) fn all(&self) -> Range<usize> {
        self.weight..self.biases().map_or(self.weights().end, |biases| biases.end)
    }

    pub(crate) fn weights(&self) -> Range<usize> {
        self.weight..self.weight + self.to * self.side * self.side * self.from
    }

    fn biases(&self) -> Option<Range<usize>> {
        self.bias.map(|bias| bias..bias + self.to)
    }
}

impl Flat {
    /// The numbers of a program.
    pub fn of(program: &Program) -> Self {
        let mut count = 0;
        let mut place = |kind: &LayerKind| {
            let LayerKind::Convolve { kernel, .. } = kind else { return None };
            let weight = count;
            count += kernel.to * kernel.from * kernel.side * kernel.side;
            let bias = kernel.bias.then_some(count);
            count += if kernel.bias { kernel.to } else { 0 };
            Some(FlatKernel { weight, bias, to: kernel.to, from: kernel.from, side: kernel.side })
        };
        let layers = program.layers.iter().map(|layer| place(&layer.kind)).collect();
        Self { layers, count }
    }

    /// Each parameter's range: weights and biases, in order.
    pub fn parameters(&self) -> Vec<Range<usize>> {
        let kernels = self.layers.iter().flatten();
        kernels.flat_map(|kernel| [Some(kernel.weights()), kernel.biases()]).flatten().collect()
    }

    /// Each parameter's name, in that order.
    pub fn names(&self, program: &Program) -> Vec<String> {
        let layers = program.layers.iter().zip(&self.layers);
        let of = |(layer, own): (&Layer, &Option<FlatKernel>)| {
            let parts = own.map_or([None; 2], |own| [Some("weight"), own.bias.map(|_| "bias")]);
            parts.map(|part| part.map(|part| format!("{}.{part}", layer.name)))
        };
        layers.flat_map(of).flatten().collect()
    }

    /// The numbers of a program's weights.
    ///
    /// # Errors
    ///
    /// What the device says that has the weights.
    pub fn values(&self, program: &Program) -> Result<Vec<f32>, String> {
        let mut values = vec![0.0; self.count];
        for (layer, own) in program.layers.iter().zip(&self.layers) {
            if let (LayerKind::Convolve { kernel, .. }, Some(own)) = (&layer.kind, own) {
                own.fill(&mut values, &kernel.values()?);
            }
        }
        Ok(values)
    }

    /// A layer's weight `[to, from, side, side]` and its bias `[to]` among all numbers.
    pub fn tensors(&self, all: &Tensor<1>, layer: usize) -> Option<(Tensor<4>, Option<Tensor<1>>)> {
        let own = (*self.layers.get(layer)?)?;
        let part = |range: Range<usize>| all.clone().narrow(0, range.start, range.len());
        let weight = part(own.weights()).reshape([own.to, own.side, own.side, own.from]);
        Some((weight.permute([0, 3, 1, 2]), own.biases().map(part)))
    }

    /// A program's layers with other numbers, on their device.
    pub fn placed(&self, program: &Program, all: &Tensor<1>) -> Vec<Layer> {
        let own = |(number, layer): (usize, &Layer)| {
            let kind = match (&layer.kind, self.tensors(all, number)) {
                (LayerKind::Convolve { relu, .. }, Some((weight, bias))) => {
                    LayerKind::Convolve { kernel: Kernel::on_device(weight, bias), relu: *relu }
                }
                (kind, _) => kind.clone(),
            };
            Layer { name: layer.name.clone(), kind }
        };
        program.layers.iter().enumerate().map(own).collect()
    }
}

impl FlatKernel {
    pub(crate) fn fill(&self, values: &mut [f32], kernel: &Values) {
        for to in 0..self.to {
            for from in 0..self.from {
                for tap in 0..self.side * self.side {
                    let (row, column) = (tap / self.side, tap % self.side);
                    if let Some(at) = self.at(to, from, row, column) {
                        values[at] = kernel.at(to, from, row, column);
                    }
                }
            }
            if let Some(at) = self.bias_at(to) {
                values[at] = kernel.bias[to];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neural_ilt::NeuralIltConfig;
    use burn::tensor::{Device, TensorData};

    /// The kernels' own tensors are the second form.
    #[test]
    fn every_weight_is_once_among_all_numbers() {
        let config = NeuralIltConfig { width: 2, last_side: 3, ..NeuralIltConfig::default() };
        let program = config.random_program(3);
        let flat = Flat::of(&program);
        let values = flat.values(&program).expect("on the host");
        assert_eq!(values.len() * 4, program.weight_bytes() as usize);
        let parameters = flat.parameters();
        assert!(parameters.windows(2).all(|two| two[0].end == two[1].start));
        assert_eq!(parameters.last().map(|range| range.end), Some(flat.count));
        let names = flat.names(&program);
        assert_eq!((names.len(), &names[1][..]), (parameters.len(), "unet.down1.conv1.bias"));
        let all = TensorData::new(values, [flat.count]);
        let all = Tensor::<1>::from_data(all, &Device::flex());
        for (number, layer) in program.layers.iter().enumerate() {
            let found = flat.tensors(&all, number);
            let LayerKind::Convolve { kernel, .. } = &layer.kind else {
                assert!(found.is_none());
                continue;
            };
            let (weight, bias) = found.expect("has weights");
            let (own, own_bias) = kernel.tensors(&Device::flex());
            let numbers = |x: Tensor<1>| x.try_into_vec_as::<f32>().expect("f32");
            let count = kernel.count() - kernel.to;
            assert_eq!(numbers(weight.reshape([count])), numbers(own.reshape([count])));
            assert_eq!(bias.map(numbers), own_bias.map(numbers));
        }
    }
}
