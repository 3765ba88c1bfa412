//! The learned kernels, the learned resist, and the images they make.

use std::f64::consts::PI;

use burn::module::{Module, Param};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_litho::forward::interpolation;
use lithoburn_litho::{Corner, CornerImages, Focus, LithoError, ProcessWindow, pixel_average};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::SurrogateConfig;
use crate::convolution::{biased, same_convolution};
use crate::truth::Truth;

/// Pixels that the network's two 3 x 3 convolutions look across a border.
const REACH: usize = 2;
/// Width of the random kernels' spectrum at the start, in bins.
const FIRST_WIDTH: f64 = 8.0;
/// Deviation of the random kernels at the start, where the spectrum is 1.
const FIRST_DEVIATION: f64 = 0.2;
/// Weight of the first kernel of each intensity at the start, a plain lens.
const FIRST_LENS: f32 = 0.9;

impl SurrogateConfig {
    fn side(&self) -> usize {
        2 * self.half + 1
    }

    /// A surrogate with random weights, the same on every device.
    pub fn init(&self, seed: u64, device: &Device) -> Surrogate {
        let mut normal = Normal(ChaCha8Rng::seed_from_u64(seed));
        let re = self.first_kernels(FIRST_LENS, &mut normal);
        let im = self.first_kernels(0.0, &mut normal);
        let (count, side) = (2 * self.intensities * self.kernels, self.side());
        let kernels = |values: Vec<f32>| {
            let data = TensorData::new(values, [1, count, side, side]);
            Param::from_tensor(Tensor::from_data(data, device))
        };
        let resist = (self.width > 0)
            .then(|| LearnedResist::random(self.width, self.intensities, &mut normal, device));
        Surrogate { re: kernels(re), im: kernels(im), resist, config: self.clone() }
    }

    /// Smooth in frequency, and the first kernel of each intensity is a plain lens.
    fn first_kernels(&self, lens: f32, normal: &mut Normal) -> Vec<f32> {
        let window: Vec<f32> = (0..self.side().pow(2)).map(|i| self.window(i)).collect();
        let mut kernel = |k: usize| -> Vec<f32> {
            match k % self.kernels {
                0 => window.iter().map(|w| w * lens).collect(),
                _ => window.iter().map(|w| w * normal.next(FIRST_DEVIATION)).collect(),
            }
        };
        (0..2 * self.intensities * self.kernels).flat_map(&mut kernel).collect()
    }

    /// The first weight of a frequency.
    fn window(&self, i: usize) -> f32 {
        let side = self.side();
        let f2 = [i / side, i % side].map(|f| (f as f64 - self.half as f64).powi(2));
        (-(f2[0] + f2[1]) / (2.0 * FIRST_WIDTH * FIRST_WIDTH)).exp() as f32
    }
}

/// Normal numbers (Box and Muller, 1958), from a generator of its own: Burn's belongs to the whole process.
struct Normal(ChaCha8Rng);

impl Normal {
    fn next(&mut self, deviation: f64) -> f32 {
        let (radius, turn) = (1.0 - self.0.random::<f64>(), self.0.random::<f64>());
        (deviation * (-2.0 * radius.ln()).sqrt() * (2.0 * PI * turn).cos()) as f32
    }
}

/// The network that makes an image of intensities. Channels are last.
#[derive(Module, Debug)]
struct LearnedResist {
    enter: Param<Tensor<4>>,
    enter_bias: Param<Tensor<1>>,
    inner: Param<Tensor<4>>,
    inner_bias: Param<Tensor<1>>,
    leave: Param<Tensor<4>>,
    leave_bias: Param<Tensor<1>>,
}

impl LearnedResist {
    /// Weights that keep the variance of what enters (He et al., ICCV 2015), and at first add little.
    fn random(width: usize, inputs: usize, normal: &mut Normal, device: &Device) -> Self {
        let mut weight = |shape: [usize; 4], gain: f64| {
            let [_, tall, wide, from] = shape;
            let deviation = gain * (2.0 / (tall * wide * from) as f64).sqrt();
            let values = (0..shape.iter().product()).map(|_| normal.next(deviation)).collect();
            Param::from_tensor(Tensor::from_data(TensorData::new::<f32, _>(values, shape), device))
        };
        let zeros = |n: usize| Param::from_tensor(Tensor::<1>::zeros([n], device));
        Self {
            enter: weight([width, 3, 3, inputs], 1.0),
            enter_bias: zeros(width),
            inner: weight([width, 3, 3, width], 1.0),
            inner_bias: zeros(width),
            leave: weight([1, 1, 1, width], 0.1),
            leave_bias: zeros(1),
        }
    }

    /// What is added to the first intensity: `[images, C, C, intensities]` to `[images, C, C, 1]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [images, n, _, _] = x.dims();
        let x = wrapped(wrapped(x, 1), 2);
        let x = biased(same_convolution(x, self.enter.val()), self.enter_bias.val());
        let x = biased(same_convolution(gelu(x), self.inner.val()), self.inner_bias.val());
        let x = biased(same_convolution(gelu(x), self.leave.val()), self.leave_bias.val());
        x.slice([0..images, REACH..REACH + n, REACH..REACH + n, 0..1])
    }
}

/// The field is periodic: what lies beyond a border is what lies at the other one.
fn wrapped(x: Tensor<4>, dim: usize) -> Tensor<4> {
    let n = x.dims()[dim];
    let (last, first) = (x.clone().narrow(dim, n - REACH, REACH), x.clone().narrow(dim, 0, REACH));
    Tensor::cat(vec![last, x, first], dim)
}

/// The learned forward model.
#[derive(Module, Debug)]
pub struct Surrogate {
    /// Kernels' real parts by focus, intensity and kernel, `[1, 2 * intensities * kernels, side, side]`.
    pub(super) re: Param<Tensor<4>>,
    /// Their imaginary parts.
    pub(super) im: Param<Tensor<4>>,
    resist: Option<LearnedResist>,
    #[module(skip)]
    pub(super) config: SurrogateConfig,
}

/// The constants of a grid of pixels.
#[derive(Clone, Debug)]
pub struct SurrogateGrid {
    /// Pixels to frequencies, cosines then sines. `[n, 2 side]`.
    analyze: Tensor<2>,
    /// Complex frequencies to the complex field at coarse points. `[2 side, 2 C]`.
    spread: Tensor<2>,
    /// Coarse points to pixels. `[C, n]`.
    interpolate: Tensor<2>,
}

fn matrix(shape: [usize; 2], f: impl Fn(usize, usize) -> f64, device: &Device) -> Tensor<2> {
    let value = |i: usize| f(i / shape[1], i % shape[1]) as f32;
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(value).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl Surrogate {
    /// Its configuration.
    pub fn config(&self) -> &SurrogateConfig {
        &self.config
    }

    /// The same, learned from this model.
    #[must_use]
    pub fn learned_from(mut self, truth: Truth) -> Self {
        self.config.truth = Some(truth);
        self
    }

    /// The constants for pixels of `pixel_nm`, `points` as in [`lithoburn_litho::Simulator::sampling`].
    ///
    /// # Errors
    ///
    /// [`LithoError::Grid`] if such pixels do not fit the field.
    pub fn grid(
        &self,
        pixel_nm: f64,
        points: usize,
        device: &Device,
    ) -> Result<SurrogateGrid, LithoError> {
        let SurrogateConfig { period_nm, half, coarse, .. } = self.config;
        let (side, count) = (2 * half + 1, period_nm / pixel_nm);
        let n = count.round() as usize;
        if !count.is_finite() || (count - count.round()).abs() > 1e-6 || n <= 2 * half {
            return Err(LithoError::Grid(format!(
                "pixels of {pixel_nm} nm do not fit the surrogate's field of {period_nm} nm"
            )));
        }
        let frequency = |i: usize| (i % side) as f64 - half as f64;
        let phase = |f: f64, x: usize, n: usize| 2.0 * PI * f * (x as f64 + 0.5) / n as f64;
        let analyze = |x: usize, i: usize| {
            let phase = phase(frequency(i), x, n);
            let wave = if i < side { phase.cos() } else { phase.sin() };
            wave * pixel_average(frequency(i), n, points) / n as f64
        };
        let spread = |i: usize, j: usize| {
            let phase = phase(frequency(i), j % coarse, coarse);
            match (i < side, j < coarse) {
                (true, true) | (false, false) => phase.cos(),
                (true, false) => phase.sin(),
                (false, true) => -phase.sin(),
            }
        };
        Ok(SurrogateGrid {
            analyze: matrix([n, 2 * side], analyze, device),
            spread: matrix([2 * side, 2 * coarse], spread, device),
            interpolate: interpolation(coarse, n, device),
        })
    }

    /// The images of masks `[batch, n, n]` at these corners, on the grid's pixels.
    pub fn forward(
        &self,
        mask: Tensor<3>,
        grid: &SurrogateGrid,
        window: &ProcessWindow,
    ) -> CornerImages {
        let ([batch, _, _], coarse) = (mask.dims(), self.config.coarse);
        let intensity = self.intensity(self.fields(mask, grid), batch);
        let at = |focus: Focus| match focus {
            Focus::Best => intensity.clone().narrow(1, 0, 1),
            Focus::Defocus => intensity.clone().narrow(1, 1, 1),
        };
        let corners = [window.nominal, window.outer, window.inner];
        let Some(resist) = &self.resist else {
            let of = |x: Tensor<5>| interpolated(x.reshape([batch, coarse, coarse]), grid);
            let images = [Focus::Best, Focus::Defocus].map(|focus| of(at(focus)));
            let dosed = |c: Corner| images[usize::from(c.focus == Focus::Defocus)].clone() * c.dose;
            let [nominal, outer, inner] = corners.map(dosed);
            return CornerImages { nominal, outer, inner };
        };
        let intensities = self.config.intensities;
        let exposed = |c: Corner| {
            let x = at(c.focus).reshape([batch, intensities, coarse, coarse]);
            x.permute([0, 2, 3, 1]) * c.dose
        };
        let exposed = Tensor::cat(corners.map(exposed).to_vec(), 0);
        let image = exposed.clone().narrow(3, 0, 1) + resist.forward(exposed);
        let images = interpolated(image.reshape([3 * batch, coarse, coarse]), grid);
        let corner = |i: usize| images.clone().narrow(0, i * batch, batch);
        CornerImages { nominal: corner(0), outer: corner(1), inner: corner(2) }
    }

    /// Complex fields at the coarse points, `[batch * kernels of all * C, 2 C]`: y before x.
    fn fields(&self, mask: Tensor<3>, grid: &SurrogateGrid) -> Tensor<2> {
        let ([batch, n, _], side) = (mask.dims(), self.config.side());
        let along_x = mask.reshape([batch * n, n]).matmul(grid.analyze.clone());
        let along_x = along_x.reshape([batch, n, 2 * side]).swap_dims(1, 2);
        let both = along_x.reshape([batch * 2 * side, n]).matmul(grid.analyze.clone());
        let both = both.reshape([batch, 1, 2 * side, 2 * side]);
        let part =
            |x: usize, y: usize| both.clone().narrow(2, x * side, side).narrow(3, y * side, side);
        // exp(−i(ux + vy)) from the products of cosines and sines.
        let re = part(0, 0) - part(1, 1);
        let im = (part(0, 1) + part(1, 0)) * -1.0;
        let (k_re, k_im) = (self.re.val(), self.im.val());
        let passed_re = re.clone() * k_re.clone() - im.clone() * k_im.clone();
        let passed_im = re * k_im + im * k_re;
        let ([_, count, _, _], coarse) = (passed_re.dims(), self.config.coarse);
        let passed = Tensor::cat(vec![passed_re, passed_im], 3);
        let along_y = passed.reshape([batch * count * side, 2 * side]).matmul(grid.spread.clone());
        let along_y = along_y.reshape([batch * count, side, 2, coarse]).permute([0, 3, 2, 1]);
        along_y.reshape([batch * count * coarse, 2 * side]).matmul(grid.spread.clone())
    }

    /// Intensities at the coarse points, `[batch, 2, intensities, C, C]`.
    fn intensity(&self, fields: Tensor<2>, batch: usize) -> Tensor<5> {
        let SurrogateConfig { coarse, kernels, intensities, .. } = self.config;
        let groups = batch * 2 * intensities;
        let power = fields.clone() * fields;
        let power = power.reshape([groups, kernels, 2 * coarse * coarse]).sum_dim(1);
        let power = power.reshape([groups * coarse, 2, coarse]).sum_dim(1);
        power.reshape([batch, 2, intensities, coarse, coarse])
    }
}

/// Coarse images `[images, C, C]` on the grid's pixels.
fn interpolated(x: Tensor<3>, grid: &SurrogateGrid) -> Tensor<3> {
    let ([images, coarse, _], [_, n]) = (x.dims(), grid.interpolate.dims());
    let rows = x.reshape([images * coarse, coarse]).matmul(grid.interpolate.clone());
    let rows = rows.reshape([images, coarse, n]).swap_dims(1, 2);
    let pixels = rows.reshape([images * n, coarse]).matmul(grid.interpolate.clone());
    pixels.reshape([images, n, n]).swap_dims(1, 2)
}
