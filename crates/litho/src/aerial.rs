//! Aerial image: the intensity at the wafer, from the mask.
//!
//! The kernels keep the frequencies −K..K, so the mask matters only through (2K+1)² numbers, and the
//! intensity has frequencies −2K..2K. It is therefore summed on a coarse grid of at least 4K+1 points
//! a side, and interpolated exactly to whatever grid is asked for. For K = 17 and a 2048² mask that
//! is 72² instead of 2048² points for each of 24 kernels. Every step is a product with a small
//! constant matrix, so it runs, and differentiates, on every device.
//!
//! ```text
//! mask [B,n,n] ─ columns, rows ─► S [B,2K+1,2K+1] ─ ∘H_k ─► [B,k,2K+1,2K+1] ─ spread twice ─► E_k
//!      Σ_k |E_k|² ─► [B,C,C] ─ interpolate twice ─► I [B,m,m]                           (C ≥ 4K+1)
//! ```
//!
//! Complex numbers are stored as the halves `[re | im]` of a last dimension, and multiplied as
//! real matrices `[[re, im], [-im, re]]`.

use std::f64::consts::PI;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::tensor::{Device, Tensor, TensorData};

use crate::forward::has_kernels;
use crate::ilt::steps;
use crate::images::{gapless, matrix};
use crate::waves::{self, Field};
use crate::{Corner, CornerImages, Focus, KernelSet, Kernels, LithoError, ProcessWindow};

/// Most pixels on a field's side: an image then has 16 GiB.
const MOST_PIXELS: usize = 1 << 16;

/// The optics of one field, on one device.
#[derive(Clone, Debug)]
pub struct Simulator {
    period_nm: f64,
    diffusion_nm: f64,
    pub(crate) half: usize,
    pub(crate) coarse: usize,
    pub(crate) kernels: Coherent,
    /// Kernels of one focus.
    count: usize,
    /// Real basis to complex frequencies, twice: S and i·S. `[2(2K+1), 4(2K+1)]`.
    mix: Tensor<2>,
    /// Complex frequencies to complex field at the coarse points. `[2(2K+1), 2C]`.
    pub(crate) spread: Tensor<2>,
    device: Device,
    /// Grids that were asked for, with their points: a fine one's constants take longer than an exposure.
    grids: Arc<Mutex<Vec<(usize, Sampling)>>>,
}

/// Kernels times the root of their weights, `[1, 2 * count, 2K+1, 2(2K+1)]`, each half of the last dimension the
/// same: first those in focus, then those out of it.
#[derive(Clone, Debug)]
pub(crate) struct Coherent {
    pub(crate) re: Tensor<4>,
    pub(crate) im: Tensor<4>,
    /// The same as [`waves::in_pairs`] orders them, `[2 * count, 32P²]`, where transforms fold.
    pub(crate) pairs: Option<Tensor<2>>,
}

/// A grid of pixels on a simulator's field: the constants that lead there and back.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// Pixels on a side.
    pub size: usize,
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// Points along a pixel of a mask.
    pub(crate) points: usize,
    /// Tables of folded transforms, once they were asked for; a part of a grid has none.
    folded: Arc<OnceLock<Option<Folded>>>,
    /// Mask columns to the real basis 1, cos, sin. `[n, 2K+1]`.
    pub(crate) columns: Tensor<2>,
    /// Mask rows to complex frequencies. `[n, 2(2K+1)]`.
    pub(crate) rows: Tensor<2>,
    /// Coarse points to pixels. `[C, n]`.
    pub(crate) interpolate: Tensor<2>,
}

/// Tables of folded transforms on a grid, as [`Field`] makes them.
#[derive(Clone, Debug)]
pub(crate) struct Folded {
    /// [`Field::of_mask`], once to be read by fours and once by places.
    pub(crate) mask: [Tensor<2>; 2],
    /// [`Field::interpolate`].
    pub(crate) interpolate: Tensor<2>,
    /// [`Field::along_y`].
    pub(crate) along_y: Tensor<2>,
    /// [`Field::collect`], and turned.
    pub(crate) collect: [Tensor<2>; 2],
}

impl Sampling {
    /// The pixels `first..first + size` of each axis: images of that part alone, at its share of the work, and masks that are dark
    /// elsewhere.
    #[must_use]
    pub fn part(&self, first: usize, size: usize) -> Self {
        Self {
            size,
            pixel_nm: self.pixel_nm,
            points: self.points,
            folded: Arc::new(OnceLock::from(None)),
            columns: self.columns.clone().narrow(0, first, size),
            rows: self.rows.clone().narrow(0, first, size),
            interpolate: self.interpolate.clone().narrow(1, first, size),
        }
    }
}

/// Intensity in focus and out of it, relative to the clear field. `[batch, height, width]`.
#[derive(Clone, Debug)]
pub struct Aerial {
    /// At best focus.
    pub best: Tensor<3>,
    /// Out of focus.
    pub defocus: Tensor<3>,
}

/// An exposure: the images, and the fields that the gradient needs again.
#[derive(Clone, Debug)]
pub struct Exposure {
    /// The images.
    pub aerial: Aerial,
    fields: Tensor<2>,
}

impl Aerial {
    /// The image at a focus.
    pub fn at(&self, focus: Focus) -> Tensor<3> {
        match focus {
            Focus::Best => self.best.clone(),
            Focus::Defocus => self.defocus.clone(),
        }
    }

    /// The images at the corners of a process, dose included.
    pub fn at_corners(&self, window: &ProcessWindow) -> CornerImages {
        let at = |corner: Corner| self.at(corner.focus) * corner.dose;
        CornerImages {
            nominal: at(window.nominal),
            outer: at(window.outer),
            inner: at(window.inner),
        }
    }
}

impl Simulator {
    /// Puts a set of kernels on a device.
    pub fn new(set: &KernelSet, device: &Device) -> Self {
        let side = set.focus.side;
        let half = side / 2;
        let coarse = (4 * half + 1).next_multiple_of(8);
        let frequency = |i: usize| i as f64 - half as f64;
        let mix = matrix(2 * side, 4 * side, |i, j| mixing(half, i, j), device);
        let spread = |i: usize, j: usize| {
            let phase = 2.0 * PI * frequency(i % side) * (j % coarse) as f64 / coarse as f64;
            match (i < side, j < coarse) {
                (true, true) | (false, false) => phase.cos(),
                (true, false) => phase.sin(),
                (false, true) => -phase.sin(),
            }
        };
        Self {
            period_nm: set.period_nm,
            diffusion_nm: 0.0,
            half,
            coarse,
            kernels: Coherent::new(set, device),
            count: set.focus.count().max(set.defocus.count()),
            mix,
            spread: matrix(2 * side, 2 * coarse, spread, device),
            device: device.clone(),
            grids: Arc::default(),
        }
    }

    /// Blurs images by the diffusion of the resist's acid, a Gaussian of this standard deviation, in nm. The
    /// image has few frequencies, so the blur is a factor on each, exact and at no cost.
    #[must_use]
    pub fn with_diffusion(self, diffusion_nm: f64) -> Self {
        Self { diffusion_nm, grids: Arc::default(), ..self }
    }

    /// Period of the field, in nm: the image repeats after it.
    pub fn period_nm(&self) -> f64 {
        self.period_nm
    }

    /// Where the constants are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The grid with pixels of `pixel_nm`.
    ///
    /// `points` is how finely a mask pixel is resolved: with 1, the pixel acts as a point at its
    /// middle (the convention of the 1 nm benchmarks); with p, as p × p of them, so that a coarse
    /// mask simulates exactly as its enlargement by p does.
    ///
    /// # Errors
    ///
    /// [`LithoError::Grid`] if the field is no whole number of such pixels, or they are too coarse to
    /// hold the frequencies that the lens passes.
    pub fn sampling(&self, pixel_nm: f64, points: usize) -> Result<Sampling, LithoError> {
        let count = self.period_nm / pixel_nm;
        let size = count.round() as usize;
        let whole = count.is_finite() && (count - count.round()).abs() <= 1e-6;
        if !whole || !(2 * self.half + 1..=MOST_PIXELS).contains(&size) {
            return Err(self.misfit(pixel_nm));
        }
        // A panic elsewhere cannot have left half a grid.
        let mut grids = self.grids.lock().unwrap_or_else(PoisonError::into_inner);
        let known = grids.iter().find(|(p, grid)| *p == points && grid.size == size);
        if let Some((_, grid)) = known {
            return Ok(grid.clone());
        }
        let grid = self.constants(size, pixel_nm, points);
        grids.push((points, grid.clone()));
        Ok(grid)
    }

    /// What diffusion leaves of a frequency of the image.
    pub(crate) fn left_by_diffusion(&self, f: usize) -> f64 {
        (-2.0 * (PI * f as f64 * self.diffusion_nm / self.period_nm).powi(2)).exp()
    }

    /// Why pixels of this size do not fit, and which do.
    fn misfit(&self, pixel_nm: f64) -> LithoError {
        let (period_nm, least) = (self.period_nm, 2 * self.half + 1);
        // Nearest are those of which an even number fits, so that a field has a middle.
        let wanted = (period_nm / pixel_nm / 2.0).clamp(1.0, MOST_PIXELS as f64 / 2.0);
        let nearest =
            [wanted.ceil(), wanted.floor()].map(|n| 2 * (n as usize).max(least.div_ceil(2)));
        let [finer, coarser] = nearest.map(|n| format!("{} nm ({n})", period_nm / n as f64));
        let like = if finer == coarser { finer } else { format!("{finer} or {coarser}") };
        LithoError::Grid(format!(
            "pixels of {pixel_nm} nm do not fit the kernels' field of {period_nm} nm: expected a whole number of at \
             least {least} and at most {MOST_PIXELS} pixels on its side, like those of {like}"
        ))
    }

    /// A grid's constants.
    fn constants(&self, size: usize, pixel_nm: f64, points: usize) -> Sampling {
        let (half, side, device) = (self.half, 2 * self.half + 1, &self.device);
        // Phase of frequency f at the middle of pixel x, and what averaging over a pixel leaves of it.
        let phase = |f: f64, x: usize| 2.0 * PI * f * (x as f64 + 0.5) / size as f64;
        let kept = |f: f64| pixel_average(f, size, points) / size as f64;
        let columns = |x: usize, c: usize| match c {
            0 => kept(0.0),
            c if c <= half => phase(c as f64, x).cos() * kept(c as f64),
            c => phase((c - half) as f64, x).sin() * kept((c - half) as f64),
        };
        let rows = |y: usize, c: usize| {
            let f = (c % side) as f64 - half as f64;
            kept(f) * if c < side { phase(f, y).cos() } else { -phase(f, y).sin() }
        };
        let left: Vec<f64> = (1..=2 * half).map(|f| self.left_by_diffusion(f)).collect();
        let interpolate = |c: usize, x: usize| {
            let from = 2.0 * PI * c as f64 / self.coarse as f64;
            let once = 2.0 * (phase(1.0, x) - from).cos();
            // cos (f + 1)a = 2 cos a cos fa - cos (f - 1)a: exact to 1e-12, and twenty times as fast as cosines.
            let (mut before, mut wave, mut sum) = (1.0, once / 2.0, 1.0);
            for left in &left {
                sum += 2.0 * left * wave;
                (before, wave) = (wave, once * wave - before);
            }
            sum / self.coarse as f64
        };
        Sampling {
            size,
            pixel_nm,
            points,
            folded: Arc::default(),
            columns: matrix(size, side, columns, device),
            rows: matrix(size, 2 * side, rows, device),
            interpolate: matrix(self.coarse, size, interpolate, device),
        }
    }

    /// The tables of folded transforms on a grid of this simulator, if its field and it have them.
    pub(crate) fn folded(&self, grid: &Sampling) -> Option<Folded> {
        let tables = || {
            let field = Field::new(2 * self.half + 1, grid.size)?;
            let n = grid.size;
            let kept = |f: usize| pixel_average(f as f64, n, grid.points) / n as f64;
            let table = |values: Vec<f32>, rows: usize| gapless(values, rows, &self.device);
            let mask = field.of_mask(kept);
            let collect = field.collect(|f| self.left_by_diffusion(f));
            let columns = collect.len() / self.coarse;
            let turned = |i: usize| collect[i % self.coarse * columns + i / self.coarse];
            let turned = table((0..collect.len()).map(turned).collect(), columns);
            Some(Folded {
                mask: [table(mask.clone(), n / 4), table(mask, n / 4)],
                interpolate: table(field.interpolate(|f| self.left_by_diffusion(f)), n / 4),
                along_y: table(field.along_y(), n / 8),
                collect: [table(collect, self.coarse), turned],
            })
        };
        grid.folded.get_or_init(tables).clone()
    }

    /// The image of a mask `[batch, n, n]` on the grid `image`, in focus and out of it.
    pub fn aerial(&self, mask: Tensor<3>, grid: &Sampling, image: &Sampling) -> Aerial {
        self.expose(mask, grid, image).aerial
    }

    /// As [`Simulator::aerial`], in f32 products and sums on every device: a GPU's matrix products may be in TF32. For scores.
    pub fn aerial_in_f32(&self, mask: Tensor<3>, grid: &Sampling, image: &Sampling) -> Aerial {
        match has_kernels(&self.device) {
            true => steps::aerial(&mask, self, grid, image),
            false => self.aerial(mask, grid, image),
        }
    }

    /// As [`Simulator::aerial`], with what [`Simulator::pull_back`] needs.
    pub fn expose(&self, mask: Tensor<3>, grid: &Sampling, image: &Sampling) -> Exposure {
        let [batch, _, _] = mask.dims();
        let fields = self.fields(self.spectrum(mask, grid));
        let images = self.image(self.intensity(fields.clone(), batch), image);
        let images = images.reshape([batch, 2, image.size * image.size]);
        let at = |focus: usize| {
            images.clone().narrow(1, focus, 1).reshape([batch, image.size, image.size])
        };
        Exposure { aerial: Aerial { best: at(0), defocus: at(1) }, fields }
    }

    /// The gradient of the mask from that of its images: the adjoint of [`Simulator::expose`], written out.
    ///
    /// Burn's autodiff finds the same numbers; without its graph there are half as many operations, and on a
    /// GPU a single clip's time is their number.
    pub fn pull_back(
        &self,
        exposure: &Exposure,
        gradient: &Aerial,
        grid: &Sampling,
        image: &Sampling,
    ) -> Tensor<3> {
        let ([batch, m, _], side, coarse) = (gradient.best.dims(), 2 * self.half + 1, self.coarse);
        let (count, n) = (self.count, grid.size);
        // Images back to the coarse points, x before y: [batch, 2, 1, C, 1, C].
        let both =
            [&gradient.best, &gradient.defocus].map(|g| g.clone().reshape([batch, 1, m * m]));
        let both = Tensor::cat(both.to_vec(), 1).reshape([batch * 2 * m, m]);
        let points = image.interpolate.clone().transpose();
        let rows = both.matmul(points.clone()).reshape([batch * 2, m, coarse]).swap_dims(1, 2);
        let coarse_gradient = rows.reshape([batch * 2 * coarse, m]).matmul(points);
        let coarse_gradient = coarse_gradient.reshape([batch, 2, 1, coarse, 1, coarse]) * 2.0;
        // Intensity back to fields, fields back to frequencies.
        let fields = exposure.fields.clone().reshape([batch, 2, count, coarse, 2, coarse]);
        let fields = (fields * coarse_gradient).reshape([batch * 2 * count * coarse, 2 * coarse]);
        let gather = self.spread.clone().transpose();
        let along_y = fields.matmul(gather.clone()).reshape([batch, 2 * count, coarse, 2, side]);
        let along_y = along_y.permute([0, 1, 4, 3, 2]);
        let passed = along_y.reshape([batch * 2 * count * side, 2 * coarse]).matmul(gather);
        let passed = passed.reshape([batch, 2 * count, side, 2 * side]);
        let plain = (passed.clone() * self.kernels.re.clone()).sum_dim(1);
        let turned = (passed * self.kernels.im.clone()).sum_dim(1);
        // Frequencies back to the mask.
        let spectrum = Tensor::cat(vec![plain, turned], 3).reshape([batch * side, 4 * side]);
        let by_row = spectrum.matmul(self.mix.clone().transpose());
        let both = by_row.reshape([batch, side, 2, side]).permute([0, 3, 2, 1]);
        let columns = both.reshape([batch * side, 2 * side]).matmul(grid.rows.clone().transpose());
        let columns = columns.reshape([batch, side, n]).swap_dims(1, 2);
        let mask = columns.reshape([batch * n, side]).matmul(grid.columns.clone().transpose());
        mask.reshape([batch, n, n])
    }

    /// The mask's low frequencies S and i·S: `[batch, 2K+1, 4(2K+1)]`.
    fn spectrum(&self, mask: Tensor<3>, grid: &Sampling) -> Tensor<3> {
        let ([batch, n, _], side) = (mask.dims(), 2 * self.half + 1);
        let columns = mask.reshape([batch * n, n]).matmul(grid.columns.clone());
        let columns = columns.reshape([batch, n, side]).swap_dims(1, 2);
        let both = columns.reshape([batch * side, n]).matmul(grid.rows.clone());
        let by_row = both.reshape([batch, side, 2, side]).permute([0, 3, 2, 1]);
        by_row.reshape([batch * side, 2 * side]).matmul(self.mix.clone()).reshape([
            batch,
            side,
            4 * side,
        ])
    }

    /// Complex fields at the coarse points, of every kernel, `[batch * 2 * count * C, 2C]`: batch, focus,
    /// kernel and x make the rows, y the columns.
    fn fields(&self, spectrum: Tensor<3>) -> Tensor<2> {
        let ([batch, side, _], coarse) = (spectrum.dims(), self.coarse);
        let spectrum = spectrum.unsqueeze_dim::<4>(1);
        let plain = spectrum.clone().narrow(3, 0, 2 * side);
        let turned = spectrum.narrow(3, 2 * side, 2 * side);
        let passed = plain * self.kernels.re.clone() + turned * self.kernels.im.clone();
        let count = 2 * self.count;
        let along_x = passed.reshape([batch * count * side, 2 * side]).matmul(self.spread.clone());
        let along_x = along_x.reshape([batch, count, side, 2, coarse]).permute([0, 1, 4, 3, 2]);
        along_x.reshape([batch * count * coarse, 2 * side]).matmul(self.spread.clone())
    }

    /// Intensity at the coarse points, x before y, in focus and out of it: `[batch * 2, C, C]`.
    fn intensity(&self, fields: Tensor<2>, batch: usize) -> Tensor<3> {
        let coarse = self.coarse;
        let power = fields.clone() * fields;
        let power = power.reshape([batch * 2, self.count, 2 * coarse * coarse]).sum_dim(1);
        let power = power.reshape([batch * 2, coarse, 2, coarse]).sum_dim(2);
        power.reshape([batch * 2, coarse, coarse])
    }

    /// Interpolates from the coarse points to pixels: `[batch, m, m]`.
    fn image(&self, intensity: Tensor<3>, image: &Sampling) -> Tensor<3> {
        let ([batch, coarse, _], m) = (intensity.dims(), image.size);
        let rows = intensity.reshape([batch * coarse, coarse]).matmul(image.interpolate.clone());
        let rows = rows.reshape([batch, coarse, m]).swap_dims(1, 2);
        let pixels = rows.reshape([batch * m, coarse]).matmul(image.interpolate.clone());
        pixels.reshape([batch, m, m])
    }
}

impl Coherent {
    fn new(set: &KernelSet, device: &Device) -> Self {
        let (count, side) = (set.focus.count().max(set.defocus.count()), set.focus.side);
        let scaled = |kernels: &Kernels, part: fn(&Kernels) -> &[f32], at: usize| {
            let kernel = at / (side * side);
            if kernel >= kernels.count() {
                return 0.0;
            }
            let scale = f64::from(kernels.scales[kernel]).max(0.0).sqrt();
            (f64::from(part(kernels)[at]) * scale) as f32
        };
        let all = |part: fn(&Kernels) -> &[f32]| -> Vec<f32> {
            let of = |kernels| (0..count * side * side).map(move |at| scaled(kernels, part, at));
            of(&set.focus).chain(of(&set.defocus)).collect()
        };
        let (re, im) = (all(|k| &k.re), all(|k| &k.im));
        let twice = |values: &[f32]| {
            let data: Vec<f32> = values.chunks(side).flat_map(|row| [row, row].concat()).collect();
            Tensor::from_data(TensorData::new(data, [1, 2 * count, side, 2 * side]), device)
        };
        let pairs = waves::places(side).map(|places| {
            let kernel = |k: usize| {
                let at = |u: usize, v: usize| (k * side + u) * side + v;
                waves::in_pairs(places, |u, v| [re[at(u, v)], im[at(u, v)]])
            };
            let data: Vec<f32> = (0..2 * count).flat_map(kernel).collect();
            gapless(data, 2 * count, device)
        });
        Self { re: twice(&re), im: twice(&im), pairs }
    }
}

/// What remains of frequency `f` when a pixel is `points` samples wide: the mean of their phases.
pub fn pixel_average(f: f64, size: usize, points: usize) -> f64 {
    let angle = PI * f / size as f64;
    match (points, f == 0.0) {
        (0 | 1, _) | (_, true) => 1.0,
        (p, false) => angle.sin() / (p as f64 * (angle / p as f64).sin()),
    }
}

/// Entry of the matrix from `[Y_re | Y_im]`, rows complex and columns in the real basis, to
/// `[S_re | S_im | -S_im | S_re]`: exp(-ivx) = cos vx - i sin vx.
fn mixing(half: usize, i: usize, j: usize) -> f64 {
    let side = 2 * half + 1;
    let (basis, v) = (i % side, (j % side) as i64 - half as i64);
    let (re, im) = match basis {
        0 => (f64::from(u8::from(v == 0)), 0.0),
        b if b <= half => (f64::from(u8::from(v.unsigned_abs() as usize == b)), 0.0),
        b if v.unsigned_abs() as usize == b - half => (0.0, -(v.signum() as f64)),
        _ => (0.0, 0.0),
    };
    match (i < side, j / side) {
        (true, 0 | 3) | (false, 1) => re,
        (true, 1) => im,
        (true, _) | (false, 0 | 3) => -im,
        (false, _) => -re,
    }
}

#[cfg(test)]
mod tests;
