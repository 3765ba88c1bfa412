//! The forward model of Surrogate-ILT: learned from masks and their images, whatever made them.
//!
//! ```text
//! mask ─► its low frequencies S ─ learned kernels, few ─► J_f,c = Σ_k |K_f,c,k ∗ mask|²      f: in focus, out of it
//!      ─ dose ─► learned resist: three small convolutions, or none ─► interpolation ─► images at the three corners
//! ```
//!
//! Any partially coherent image is a sum of squares of filtered masks, so the surrogate is one too, with its kernels
//! learned, and fewer of them than the true optics have: they fit the masks that occur, not all masks. A resist that
//! is no plain threshold needs more: then there are several such intensities, and a convolutional network on
//! the coarse grid makes the image of them. It sees the intensities times the dose, so one network does for all
//! corners.
//!
//! Relatives: DOINN (Yang et al., ISPD 2022) learns a Fourier layer with a convolutional branch, 343 thousand
//! parameters; Nitho (Chen et al., ISPD 2023) learns the kernels themselves. This is nearer to the latter. What is ours is
//! the network behind it, and that a file says which true model it was learned from: it is of no use for another.

use std::f64::consts::PI;
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use lithoburn_litho::forward::{ForwardModel, Imager, interpolation};
use lithoburn_litho::{
    Corner, CornerImages, Focus, KernelSet, LithoError, ProcessWindow, pixel_average,
};
use serde::{Deserialize, Serialize};

use crate::convolution::{biased, same_convolution};
use crate::truth::Truth;
use crate::weights::{self, WeightsError};

/// The architecture's name in `config.json`.
pub const ARCHITECTURE: &str = "surrogate-ilt";
/// Pixels that the network's two 3 x 3 convolutions look across a border.
const REACH: usize = 2;
/// Width of the random kernels' spectrum at the start, in bins.
const FIRST_WIDTH: f64 = 8.0;

/// Shape of the surrogate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SurrogateConfig {
    /// Name of the architecture, so that a file of another one is refused.
    pub architecture: String,
    /// Field period, in nm.
    pub period_nm: f64,
    /// Frequencies on each side of zero.
    pub half: usize,
    /// Points of the coarse grid on a side; more than four times `half`.
    pub coarse: usize,
    /// Kernels of an intensity at one focus.
    pub kernels: usize,
    /// Intensities; 1 without a network.
    pub intensities: usize,
    /// Channels of the learned resist; 0 leaves it out, and dose is a factor on the image.
    pub width: usize,
    /// What it was learned from.
    pub truth: Option<Truth>,
}

impl SurrogateConfig {
    /// A surrogate for the thin mask and threshold resist of these optics: eight kernels a focus.
    pub fn thin(set: &KernelSet) -> Self {
        let half = set.focus.side / 2;
        Self {
            architecture: ARCHITECTURE.into(),
            period_nm: set.period_nm,
            half,
            coarse: (4 * half + 1).next_multiple_of(8),
            kernels: 8,
            intensities: 1,
            width: 0,
            truth: None,
        }
    }

    /// A surrogate for a resist with a bake: two intensities of eight kernels, and a network.
    pub fn baked(set: &KernelSet) -> Self {
        let coarse = (4 * (set.focus.side / 2) + 1).next_power_of_two();
        Self { coarse, intensities: 2, width: 16, ..Self::thin(set) }
    }

    /// What is wrong with it, if something is.
    ///
    /// # Errors
    ///
    /// In words.
    pub fn check(&self) -> Result<(), String> {
        match self {
            c if !(c.period_nm.is_finite() && c.period_nm > 0.0) => {
                Err(format!("period_nm is {}; expected a positive length", c.period_nm))
            }
            c if c.half == 0 || c.half > 1000 || c.coarse <= 4 * c.half || c.coarse > 8000 => {
                Err(format!(
                    "coarse is {} for half {}; expected more than {}",
                    c.coarse,
                    c.half,
                    4 * c.half
                ))
            }
            c if c.kernels == 0 || c.intensities == 0 || c.kernels * c.intensities > 1000 => {
                Err("kernels and intensities must be positive, and 1000 together at most".into())
            }
            c if c.width > 1000 || (c.width == 0 && c.intensities > 1) => {
                Err(format!("{} intensities with width {} make no image", c.intensities, c.width))
            }
            _ => Ok(()),
        }
    }

    fn side(&self) -> usize {
        2 * self.half + 1
    }

    /// A surrogate with random weights, the same on every device.
    pub fn init(&self, seed: u64, device: &Device) -> Surrogate {
        let host = Device::flex();
        host.seed(seed);
        let side = self.side();
        let count = 2 * self.intensities * self.kernels;
        let random = |shape: [usize; 4], deviation: f64| {
            let values = Tensor::<4>::random(shape, Distribution::Normal(0.0, deviation), &host);
            Param::from_tensor(Tensor::from_data(values.into_data(), device))
        };
        // Smooth in frequency, and the first kernel of each intensity is a plain lens.
        let window: Vec<f32> = (0..side * side).map(|i| self.window(i)).collect();
        let window = Tensor::<4>::from_data(TensorData::new(window, [1, 1, side, side]), &host);
        let kernels = |lens: f64| {
            let noise = Distribution::Normal(0.0, 0.2);
            let all = Tensor::<4>::random([1, count, side, side], noise, &host) * window.clone();
            let first = window.clone() * lens;
            let parts = (0..count).map(|k| match k % self.kernels {
                0 => first.clone(),
                _ => all.clone().narrow(1, k, 1),
            });
            let all = Tensor::cat(parts.collect(), 1);
            Param::from_tensor(Tensor::from_data(all.into_data(), device))
        };
        let resist = (self.width > 0).then(|| {
            let (width, inputs) = (self.width, self.intensities);
            let zeros = |n: usize| Param::from_tensor(Tensor::<1>::zeros([n], device));
            let scale = |inputs: usize| (2.0 / inputs as f64).sqrt();
            LearnedResist {
                enter: random([width, 3, 3, inputs], scale(9 * inputs)),
                enter_bias: zeros(width),
                inner: random([width, 3, 3, width], scale(9 * width)),
                inner_bias: zeros(width),
                leave: random([1, 1, 1, width], 0.1 * scale(width)),
                leave_bias: zeros(1),
            }
        });
        Surrogate { re: kernels(0.9), im: kernels(0.0), resist, config: self.clone() }
    }

    /// The first weight of a frequency.
    fn window(&self, i: usize) -> f32 {
        let side = self.side();
        let f2 = [i / side, i % side].map(|f| (f as f64 - self.half as f64).powi(2));
        (-(f2[0] + f2[1]) / (2.0 * FIRST_WIDTH * FIRST_WIDTH)).exp() as f32
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
    re: Param<Tensor<4>>,
    /// Their imaginary parts.
    im: Param<Tensor<4>>,
    resist: Option<LearnedResist>,
    #[module(skip)]
    config: SurrogateConfig,
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

    /// Loads `config.json` and the weights of a directory.
    ///
    /// # Errors
    ///
    /// [`WeightsError`], naming the file and tensor.
    pub fn load(directory: &Path, device: &Device) -> Result<Self, WeightsError> {
        let config: SurrogateConfig = weights::config(directory, ARCHITECTURE)?;
        let mut surrogate = checked(config, &directory.join("config.json"))?.init(0, device);
        weights::load(&mut surrogate, directory)?;
        Ok(surrogate)
    }

    /// Builds a surrogate from the bytes of its `config.json` and its tensors.
    ///
    /// # Errors
    ///
    /// As [`Surrogate::load`].
    pub fn from_bytes(
        config: &[u8],
        tensors: &[u8],
        device: &Device,
    ) -> Result<Self, WeightsError> {
        let origin = Path::new("built-in weights");
        let config: SurrogateConfig = weights::parse_config(origin, config, ARCHITECTURE)?;
        let mut surrogate = checked(config, origin)?.init(0, device);
        weights::load_bytes(&mut surrogate, origin, tensors.to_vec())?;
        Ok(surrogate)
    }
}

fn checked(config: SurrogateConfig, path: &Path) -> Result<SurrogateConfig, WeightsError> {
    let wrong = |problem| WeightsError::Config { path: path.to_path_buf(), problem };
    config.check().map_err(wrong)?;
    Ok(config)
}

/// Coarse images `[images, C, C]` on the grid's pixels.
fn interpolated(x: Tensor<3>, grid: &SurrogateGrid) -> Tensor<3> {
    let ([images, coarse, _], [_, n]) = (x.dims(), grid.interpolate.dims());
    let rows = x.reshape([images * coarse, coarse]).matmul(grid.interpolate.clone());
    let rows = rows.reshape([images, coarse, n]).swap_dims(1, 2);
    let pixels = rows.reshape([images * n, coarse]).matmul(grid.interpolate.clone());
    pixels.reshape([images, n, n]).swap_dims(1, 2)
}

/// A surrogate at its corners, as a forward model.
#[derive(Debug)]
pub struct LearnedModel {
    surrogate: Surrogate,
    window: ProcessWindow,
    device: Device,
}

impl LearnedModel {
    /// The images of a surrogate at these corners.
    pub fn new(surrogate: Surrogate, window: ProcessWindow, device: &Device) -> Self {
        Self { surrogate, window, device: device.clone() }
    }
}

impl ForwardModel for LearnedModel {
    fn period_nm(&self) -> f64 {
        self.surrogate.config.period_nm
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn on(&self, pixel_nm: f64, points: usize) -> Result<Box<dyn Imager + '_>, LithoError> {
        let grid = self.surrogate.grid(pixel_nm, points, &self.device)?;
        Ok(Box::new(LearnedImager { model: self, grid }))
    }
}

struct LearnedImager<'a> {
    model: &'a LearnedModel,
    grid: SurrogateGrid,
}

impl Imager for LearnedImager<'_> {
    fn images(&self, mask: Tensor<3>) -> CornerImages {
        self.model.surrogate.forward(mask, &self.grid, &self.model.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::kernels_sha256;
    use lithoburn_litho::Kernels;
    use lithoburn_litho::Simulator;
    use lithoburn_litho::bake::BakeConfig;
    use lithoburn_litho::forward::ThinMask;
    use lithoburn_litho::optics::Optics;

    fn kernels() -> KernelSet {
        Optics { count: 3, source_step: 0.1, ..Optics::default() }.kernels().expect("optics")
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.try_into_vec_as::<f32>().expect("f32")
    }

    /// A mask without symmetry, so that swapped axes show.
    fn mask() -> Tensor<3> {
        let open = |i: usize| {
            let (x, y) = (i % 128, i / 128);
            ((40..46).contains(&x) && (30..90).contains(&y))
                || ((46..80).contains(&x) && (50..56).contains(&y))
        };
        let data: Vec<f32> = (0..128 * 128).map(|i| f32::from(u8::from(open(i)))).collect();
        Tensor::from_data(TensorData::new(data, [1, 128, 128]), &Device::flex())
    }

    /// With the true kernels for learned ones it must be the simulator: the second implementation.
    #[test]
    fn with_the_true_kernels_it_is_the_simulator() -> Result<(), LithoError> {
        let (set, device, window) = (kernels(), Device::flex(), ProcessWindow::default());
        let config = SurrogateConfig { kernels: 3, ..SurrogateConfig::thin(&set) };
        let mut surrogate = config.init(0, &device);
        let side = set.focus.side;
        let turned = |part: fn(&Kernels) -> &[f32]| {
            let scaled = |k: &Kernels| -> Vec<f32> {
                let at = |i: usize| {
                    let (kernel, u, v) = (i / (side * side), i % side, i / side % side);
                    // The file has the row's frequency first, the surrogate the column's.
                    part(k)[(kernel * side + u) * side + v] * k.scales[kernel].sqrt()
                };
                (0..3 * side * side).map(at).collect()
            };
            let data = [scaled(&set.focus), scaled(&set.defocus)].concat();
            let data = TensorData::new(data, [1, 6, side, side]);
            Param::from_tensor(Tensor::from_data(data, &device))
        };
        surrogate.re = turned(|k| &k.re);
        surrogate.im = turned(|k| &k.im);
        let learned = LearnedModel::new(surrogate, window, &device);
        let truth = ThinMask::new(Simulator::new(&set, &device), window);
        for (pixel, points) in [(16.0, 16), (16.0, 1)] {
            let found = learned.on(pixel, points)?.images(mask());
            let expected = truth.on(pixel, points)?.images(mask());
            for (a, b) in found.each().into_iter().zip(expected.each()) {
                let off: f32 = (a.clone() - b.clone()).abs().max().into_scalar();
                assert!(off < 1e-5, "{off}"); // f32 sums of order 1
            }
        }
        Ok(())
    }

    #[test]
    fn its_gradient_by_the_mask_is_the_finite_difference() -> Result<(), LithoError> {
        let set = kernels();
        let config = SurrogateConfig { kernels: 2, width: 4, ..SurrogateConfig::baked(&set) };
        let device = Device::flex();
        let surrogate = config.init(3, &device);
        let learned = LearnedModel::new(surrogate, ProcessWindow::default(), &device);
        let imager = learned.on(16.0, 16)?;
        let wave = |pitch: f32| {
            let wave: Vec<f32> = (0..128 * 128).map(|i| (i as f32 * pitch).cos()).collect();
            Tensor::<3>::from_data(TensorData::new(wave, [1, 128, 128]), &device)
        };
        let (weight, toward) = (wave(0.013), wave(0.37));
        let sum = |images: CornerImages| -> f64 {
            let each = images.nominal + images.outer * 0.5 - images.inner;
            values(each * weight.clone()).iter().map(|&v| f64::from(v)).sum()
        };
        let exposed = imager.expose(mask());
        let by = |factor: f64| weight.clone() * factor;
        let gradient = exposed.pull_back(CornerImages {
            nominal: by(1.0),
            outer: by(0.5),
            inner: by(-1.0),
        })?;
        let along: f64 = values(gradient * toward.clone()).iter().map(|&v| f64::from(v)).sum();
        let h = 0.02;
        let moved = |by: f64| sum(imager.images(mask() + toward.clone() * by));
        let expected = (moved(h) - moved(-h)) / (2.0 * h);
        assert!((along - expected).abs() < 5e-3 * expected.abs().max(0.1), "{along} vs {expected}");
        Ok(())
    }

    #[test]
    fn another_true_model_is_told_from_its_own() {
        let set = kernels();
        let truth = Truth {
            kernels_sha256: kernels_sha256(&set),
            diffusion_nm: 0.0,
            bake: None,
            window: ProcessWindow::default(),
        };
        let mut other = set.clone();
        other.defocus.im[7] += 1e-3;
        let of = |truth: Truth, other: Truth| truth.is(&other).expect_err("differs");
        let kernels = Truth { kernels_sha256: kernels_sha256(&other), ..truth.clone() };
        assert!(of(truth.clone(), kernels).contains("kernels"));
        let baked = Truth { bake: Some(BakeConfig::default()), ..truth.clone() };
        assert!(of(truth.clone(), baked.clone()).contains("threshold resist"));
        assert!(of(baked.clone(), truth.clone()).contains("bake"));
        let longer = BakeConfig { steps: 20, ..BakeConfig::default() };
        let longer = Truth { bake: Some(longer), ..truth.clone() };
        assert!(of(baked.clone(), longer).contains("steps"));
        let written = serde_json::to_vec(&baked).expect("JSON");
        let read: Truth = serde_json::from_slice(&written).expect("a truth");
        assert_eq!(read.is(&baked), Ok(()));
        assert!(of(truth.clone(), Truth { diffusion_nm: 5.0, ..truth.clone() }).contains("5 nm"));
        let mut window = truth.clone();
        window.window.outer.dose = 1.1;
        assert_eq!(truth.is(&window), Ok(()));
        let dosed = Truth { bake: Some(BakeConfig::default()), ..window };
        assert!(of(baked, dosed).contains("corners"));
    }

    #[test]
    fn a_configuration_that_makes_no_image_is_refused() {
        let config = SurrogateConfig { intensities: 2, ..SurrogateConfig::thin(&kernels()) };
        assert!(config.check().is_err());
        let config = serde_json::to_vec(&config).expect("JSON");
        let refused = Surrogate::from_bytes(&config, &[], &Device::flex()).expect_err("refused");
        assert!(refused.to_string().contains("intensities"), "{refused}");
    }
}
