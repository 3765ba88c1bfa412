//! Layers of published networks as convolutions of ours.
//!
//! Three identities, all exact: batch normalisation scales and shifts, which the convolution before it can do; a
//! strided convolution is one on folded pixels; and a pixel shuffle in another order is ours after
//! another order of channels.

use std::collections::HashSet;

use crate::ExchangeError;
use crate::pytorch::{Array, Checkpoint};

/// What PyTorch adds to a variance before the root, unless told otherwise.
const EPSILON: f64 = 1e-5;

/// A square convolution: weight `[to, from, side, side]`, bias `[to]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Convolution {
    pub(super) to: usize,
    pub(super) from: usize,
    pub(super) side: usize,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// A scale and a shift for each channel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Affine {
    /// What batch normalisation does when it is not training.
    pub(super) fn normalisation(
        gamma: &[f32],
        beta: &[f32],
        mean: &[f32],
        variance: &[f32],
    ) -> Self {
        let pairs = gamma.iter().zip(variance);
        let scale: Vec<f64> =
            pairs.map(|(&g, &v)| f64::from(g) / (f64::from(v) + EPSILON).sqrt()).collect();
        let shifts = beta.iter().zip(mean).zip(&scale);
        let shift = shifts.map(|((&b, &m), s)| f64::from(b) - f64::from(m) * s).collect();
        Self { scale, shift }
    }
}

impl Convolution {
    fn taps(&self) -> usize {
        self.from * self.side * self.side
    }

    /// Followed by a scale and a shift; `repeat` output channels in a row share one.
    pub(super) fn then(mut self, affine: &Affine, repeat: usize) -> Self {
        let taps = self.taps();
        for (o, (row, bias)) in self.weight.chunks_mut(taps).zip(&mut self.bias).enumerate() {
            let (scale, shift) = (affine.scale[o / repeat], affine.shift[o / repeat]);
            row.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
            *bias = (f64::from(*bias) * scale + shift) as f32;
        }
        self
    }

    /// Of 5×5 with stride 2 and two zeros around the image: as a 3×3 convolution of folded pixels.
    ///
    /// Output y reads inputs 2y + k - 2, k = 0..5, of one row. Input 2(y + d) + r is in row r of folded pixel
    /// y + d, so k = 2(d + 1) + r: tap d + 1 of channel r. The sixth, k = 5, is not there and is zero.
    pub(super) fn on_folded_pixels(&self) -> Self {
        let (from, side) = (4 * self.from, 3);
        let mut weight = Vec::with_capacity(self.to * from * side * side);
        for row in self.weight.chunks(self.taps()) {
            for channel in 0..from {
                let (corner, inner) = (channel / self.from, channel % self.from);
                for tap in 0..side * side {
                    let k = [2 * (tap / side) + corner / 2, 2 * (tap % side) + corner % 2];
                    let inside = k.iter().all(|&k| k < self.side);
                    let at = (inner * self.side + k[0]) * self.side + k[1];
                    weight.push(if inside { row[at] } else { 0.0 });
                }
            }
        }
        Self { from, side, weight, ..self.clone() }
    }

    /// Before a pixel shuffle: PyTorch's output channels are ordered by channel, row, column, and ours by row,
    /// column, channel.
    pub(super) fn before_unfolding(&self) -> Self {
        let (channels, taps) = (self.to / 4, self.taps());
        let theirs = |ours: usize| (ours % channels) * 4 + ours / channels;
        let row = |ours: usize| &self.weight[theirs(ours) * taps..][..taps];
        let weight = (0..self.to).flat_map(row).copied().collect();
        let bias = (0..self.to).map(|ours| self.bias[theirs(ours)]).collect();
        Self { weight, bias, ..self.clone() }
    }
}

/// The layers of a state dictionary, wherever in the checkpoint it is.
pub(super) struct Layers<'a> {
    checkpoint: &'a Checkpoint,
    prefix: String,
    used: HashSet<String>,
}

impl<'a> Layers<'a> {
    /// The state dictionary that holds `first`: alone, within another dictionary, or of a `DataParallel` module.
    pub(super) fn find(checkpoint: &'a Checkpoint, first: &str) -> Result<Self, ExchangeError> {
        let prefix = |name: &String| {
            let prefix = name.strip_suffix(first)?;
            (prefix.is_empty() || prefix.ends_with('.')).then(|| prefix.to_string())
        };
        let shortest = checkpoint.tensors.keys().filter_map(prefix).min_by_key(String::len);
        let prefix = shortest.ok_or_else(|| {
            let names: Vec<&str> = checkpoint.tensors.keys().take(4).map(String::as_str).collect();
            let (count, names) = (checkpoint.tensors.len(), names.join(", "));
            wrong(
                checkpoint,
                format!("tensor {first:?} is missing; its {count} tensors are {names}, …"),
            )
        })?;
        Ok(Self { checkpoint, prefix, used: HashSet::new() })
    }

    /// The tensor of a name.
    pub(super) fn array(&mut self, name: &str) -> Result<&'a Array, ExchangeError> {
        let name = format!("{}{name}", self.prefix);
        let array = self.checkpoint.tensors.get(&name);
        let array =
            array.ok_or_else(|| wrong(self.checkpoint, format!("tensor {name:?} is missing")))?;
        self.used.insert(name);
        Ok(array)
    }

    fn shaped(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ExchangeError> {
        let array = self.array(name)?;
        if array.shape != shape {
            let problem =
                format!("tensor {name:?} has shape {:?}, expected {shape:?}", array.shape);
            return Err(wrong(self.checkpoint, problem));
        }
        Ok(array.data.clone())
    }

    /// A convolution, which must have these channels and side.
    pub(super) fn convolution(
        &mut self,
        name: &str,
        [from, to]: [usize; 2],
        side: usize,
    ) -> Result<Convolution, ExchangeError> {
        let weight = self.shaped(&format!("{name}.weight"), &[to, from, side, side])?;
        let bias = self.shaped(&format!("{name}.bias"), &[to])?;
        Ok(Convolution { to, from, side, weight, bias })
    }

    /// A batch normalisation of this many channels.
    pub(super) fn normalisation(
        &mut self,
        name: &str,
        channels: usize,
    ) -> Result<Affine, ExchangeError> {
        // How many batches the means are of.
        self.used.insert(format!("{}{name}.num_batches_tracked", self.prefix));
        let mut part = |part: &str| self.shaped(&format!("{name}.{part}"), &[channels]);
        let (gamma, beta) = (part("weight")?, part("bias")?);
        let (mean, variance) = (part("running_mean")?, part("running_var")?);
        if let Some(bad) = variance.iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
            let problem =
                format!("tensor \"{name}.running_var\" holds {bad}, which is no variance");
            return Err(wrong(self.checkpoint, problem));
        }
        Ok(Affine::normalisation(&gamma, &beta, &mean, &variance))
    }

    /// Makes sure that nothing is left over: it would belong to another network.
    pub(super) fn finish(self) -> Result<(), ExchangeError> {
        let ours = |name: &&String| name.starts_with(&self.prefix) && !self.used.contains(*name);
        match self.checkpoint.tensors.keys().find(ours) {
            Some(name) => {
                let problem = format!("tensor {name:?} has no place in this network");
                Err(wrong(self.checkpoint, problem))
            }
            None => Ok(()),
        }
    }

    /// An error about this checkpoint.
    pub(super) fn wrong(&self, problem: String) -> ExchangeError {
        wrong(self.checkpoint, problem)
    }
}

fn wrong(checkpoint: &Checkpoint, problem: String) -> ExchangeError {
    ExchangeError::Tensors { path: checkpoint.path.clone(), problem }
}
