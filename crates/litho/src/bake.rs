//! A chemically amplified resist through its depth: exposure, post-exposure bake, deprotection.
//!
//! ```text
//! I_p(x)  aerial image at plane p of the resist, each with its own kernels, dimmed by absorption
//! a = 1 − exp(−C dose I_p)                   acid, as a share of the generator (Dill's C)
//! ∂a/∂t = D_a ∇²a − k a q                    diffusion in three dimensions, and neutralisation
//! ∂q/∂t = D_q ∇²q − k a q                    by the quencher
//! ∂m/∂t = −k_amp a m                         what is still protected
//! ```
//!
//! The image is the mean of 1 − m over the depth, scaled so that the middle of a large straight edge prints
//! where the threshold resist prints it and has the aerial image's slope there. Focus alone would
//! not make such a model costly: intensities are linear in the TCC, so a stack of foci averages into one TCC and one
//! set of kernels. The resist's response is not linear in the intensity, and dose is no factor on its image: three
//! corners are three bakes.
//!
//! Time is split: diffusion over a step is exact (a Gaussian on every frequency of the grid, a cosine series in depth
//! with walls that nothing passes), then the reaction over the step is linearly implicit, which keeps a − q exactly and
//! both positive. Everything is a product with a small matrix or pointwise, so Burn's autodiff gives the gradient.
//!
//! Source: Dill et al. (1975) for exposure; Byers and Petersen (SPIE 2000) and Mack, *Fundamental Principles of Optical
//! Lithography*, chapter 6, for the bake. The numbers are typical of 193 nm resists, and of none in particular.

mod diffusion;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::forward::{ForwardModel, Imager, interpolation};
use crate::images::read_back;
use crate::optics::Optics;
use crate::optics::kernels::Recipe;
use crate::optics::pupil::Pupil;
use crate::{
    Corner, CornerImages, KernelSet, LithoError, ProcessWindow, Resist, Sampling, Simulator,
};
use diffusion::Diffusion;

/// The resist and its bake.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BakeConfig {
    /// Thickness of the resist, in nm.
    pub thickness_nm: f64,
    /// Planes that it is cut into.
    pub planes: usize,
    /// Absorption, per µm (Dill's B).
    pub absorption_per_um: f64,
    /// Dill's C times the dose of the clear field.
    pub exposure: f64,
    /// Quencher before the bake, as a share of the acid generator.
    pub quencher: f64,
    /// Rate of neutralisation times the bake's duration, per generator concentration.
    pub neutralization: f64,
    /// Rate of deprotection times the bake's duration, per generator concentration.
    pub amplification: f64,
    /// Diffusion length of the acid over the bake, as the standard deviation along an axis, in nm.
    pub acid_diffusion_nm: f64,
    /// The same of the quencher.
    pub quencher_diffusion_nm: f64,
    /// Steps in time.
    pub steps: usize,
    /// Side of a pixel of the bake's grid, in nm.
    pub pixel_nm: f64,
}

impl Default for BakeConfig {
    fn default() -> Self {
        Self {
            thickness_nm: 60.0,
            planes: 5,
            absorption_per_um: 1.2,
            exposure: 1.5,
            quencher: 0.1,
            neutralization: 50.0,
            amplification: 4.0,
            acid_diffusion_nm: 10.0,
            quencher_diffusion_nm: 3.0,
            steps: 16,
            pixel_nm: 16.0,
        }
    }
}

/// A number of the bake: its name, its value, and whether it must be above 0.
type Named = (&'static str, f64, bool);

impl BakeConfig {
    fn numbers(&self) -> [Named; 11] {
        [
            ("thickness_nm", self.thickness_nm, true),
            ("planes", self.planes as f64, true),
            ("absorption_per_um", self.absorption_per_um, false),
            ("exposure", self.exposure, true),
            ("quencher", self.quencher, false),
            ("neutralization", self.neutralization, false),
            ("amplification", self.amplification, true),
            ("acid_diffusion_nm", self.acid_diffusion_nm, false),
            ("quencher_diffusion_nm", self.quencher_diffusion_nm, false),
            ("steps", self.steps as f64, true),
            ("pixel_nm", self.pixel_nm, true),
        ]
    }

    /// The first number in which another bake differs, by its name; a file may have rounded them.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let pairs = self.numbers().into_iter().zip(other.numbers());
        let mut differing = pairs.filter(|(a, b)| (a.1 - b.1).abs() > 1e-9 * a.1.abs());
        differing.next().map(|(a, _)| a.0)
    }

    fn check(&self) -> Result<(), LithoError> {
        let bad = |&(_, value, positive): &Named| {
            !value.is_finite() || value < 0.0 || (positive && value == 0.0)
        };
        match self.numbers().into_iter().find(bad) {
            Some((name, value, positive)) => Err(LithoError::Optics(format!(
                "{name} of the bake is {value}; expected a finite number {} 0",
                if positive { "above" } else { "of at least" }
            ))),
            None => Ok(()),
        }
    }

    /// Distance of plane `p` from the middle of the resist, in nm, downwards.
    fn depth_nm(&self, p: usize) -> f64 {
        self.thickness_nm * ((p as f64 + 0.5) / self.planes as f64 - 0.5)
    }
}

/// A scale from deprotection to that of the threshold resist.
#[derive(Clone, Copy, Debug)]
struct Scale {
    factor: f64,
    offset: f64,
}

/// The forward model, on a device.
#[derive(Clone, Debug)]
pub struct Bake {
    config: BakeConfig,
    window: ProcessWindow,
    /// The thin-mask images at each plane.
    planes: Vec<Simulator>,
    /// The grid of the bake.
    size: usize,
    acid: Diffusion,
    quencher: Diffusion,
    scale: Scale,
}

impl Bake {
    /// A resist under these optics. `resist` is the threshold model that a straight edge is matched to.
    ///
    /// # Errors
    ///
    /// [`LithoError::Optics`] if the kernels hold no recipe (other planes need kernels at other foci), or a number of
    /// the resist makes no sense; [`LithoError::Grid`] if its pixels do not fit the field or hold too few
    /// frequencies.
    pub fn new(
        set: &KernelSet,
        config: &BakeConfig,
        window: ProcessWindow,
        resist: &Resist,
        device: &Device,
    ) -> Result<Self, LithoError> {
        config.check()?;
        let Some(Recipe { optics }) = &set.recipe else {
            return Err(LithoError::Optics(
                "a resist through its depth needs kernels at several foci, and these hold no recipe: use the \
                 built-in ones, or make a set with `lithoburn kernels make`"
                    .into(),
            ));
        };
        let planes: Result<Vec<KernelSet>, LithoError> =
            (0..config.planes).map(|p| at_depth(optics, config.depth_nm(p))).collect();
        let planes = planes?;
        let size = (set.period_nm / config.pixel_nm).round() as usize;
        // The image has frequencies up to 2K; the grid must hold them.
        if size <= 2 * (set.focus.side - 1) {
            return Err(LithoError::Grid(format!(
                "pixels of {} nm are too coarse for the bake: expected at least {} on a field of {} nm",
                config.pixel_nm,
                2 * set.focus.side - 1,
                set.period_nm
            )));
        }
        let unscaled = |device: &Device| {
            let diffusion = |sigma_nm: f64| {
                let step = sigma_nm / (config.steps as f64).sqrt();
                let spacing = config.thickness_nm / config.planes as f64;
                Diffusion::new(step / config.pixel_nm, size, step / spacing, config.planes, device)
            };
            Self {
                config: *config,
                window,
                planes: planes.iter().map(|set| Simulator::new(set, device)).collect(),
                size,
                acid: diffusion(config.acid_diffusion_nm),
                quencher: diffusion(config.quencher_diffusion_nm),
                scale: Scale { factor: 1.0, offset: 0.0 },
            }
        };
        // A slope is a difference of near numbers: on the CPU, since GPUs may multiply f32 in TF32.
        let scale = unscaled(&Device::flex()).calibrated(set, resist)?;
        Ok(Self { scale, ..unscaled(device) })
    }

    /// Deprotection at the corners, `[3 * batch, n, n]` on the bake's grid, of masks on `grids`, one a plane.
    fn deprotection(&self, mask: &Tensor<3>, grids: &[[Sampling; 2]]) -> Tensor<3> {
        let ([batch, _, _], n) = (mask.dims(), self.size);
        let exposed = self.planes.iter().zip(grids).enumerate().map(|(p, (simulator, grids))| {
            let aerial = simulator.aerial(mask.clone(), &grids[0], &grids[1]);
            let depth_um = (self.config.depth_nm(p) + self.config.thickness_nm / 2.0) / 1000.0;
            let light = (-self.config.absorption_per_um * depth_um).exp() * self.config.exposure;
            let exposed = |corner: Corner| aerial.at(corner.focus) * (-light * corner.dose);
            let corners = self.window.corners().map(|(_, corner)| exposed(corner));
            Tensor::cat(corners.to_vec(), 0).reshape([1, 3 * batch, n, n])
        });
        let acid = Tensor::cat(exposed.collect(), 0).exp() * -1.0 + 1.0;
        self.baked(acid).mean_dim(0).reshape([3 * batch, n, n])
    }

    /// Deprotection after the bake, from acid before it: `[planes, images, n, n]`.
    fn baked(&self, mut acid: Tensor<4>) -> Tensor<4> {
        let step = 1.0 / self.config.steps as f64;
        let mut quencher = acid.zeros_like() + self.config.quencher;
        let mut dose: Option<Tensor<4>> = None;
        for _ in 0..self.config.steps {
            acid = self.acid.over_a_step(acid);
            if self.config.quencher > 0.0 {
                quencher = self.quencher.over_a_step(quencher);
                [acid, quencher] = neutralized(acid, quencher, self.config.neutralization * step);
            }
            dose = Some(dose.map_or(acid.clone(), |sum| sum + acid.clone()));
        }
        let dose = dose.unwrap_or_else(|| unreachable!("the number of steps was checked"));
        (dose * (-self.config.amplification * step)).exp() * -1.0 + 1.0
    }

    /// The scale on which a straight edge prints where, and with the slope that, the threshold resist has it.
    fn calibrated(&self, set: &KernelSet, resist: &Resist) -> Result<Scale, LithoError> {
        const FINE: usize = 8;
        let (n, fine) = (self.size, self.size * FINE);
        let thin = Simulator::new(set, self.device());
        let grid = thin.sampling(self.config.pixel_nm, self.points())?;
        let image = thin.sampling(self.config.pixel_nm / FINE as f64, 1)?;
        let bar = |i: usize| f32::from(u8::from((n / 4..n - n / 4).contains(&(i % n))));
        let bar: Vec<f32> = (0..n * n).map(bar).collect();
        let bar = Tensor::<3>::from_data(TensorData::new(bar, [1, n, n]), self.device());
        let aerial = thin.aerial(bar.clone(), &grid, &image).best.narrow(1, 0, 1);
        let baked = self.deprotection(&bar, &self.grids(self.config.pixel_nm, self.points())?);
        let row = baked.narrow(0, 0, 1).narrow(1, 0, 1).reshape([1, n]);
        let row = row.matmul(interpolation(n, fine, self.device())).reshape([1, 1, fine]);
        let aerial = read_back(aerial, "read the image of an edge")?;
        let baked = read_back(row, "read the bake of an edge")?;
        let level = resist.threshold / self.window.nominal.dose;
        let crossing = (0..fine / 2)
            .find(|&x| f64::from(aerial[x]) < level && f64::from(aerial[x + 1]) >= level);
        let none =
            || LithoError::Optics("a straight edge does not print with these kernels".into());
        let x = crossing.ok_or_else(none)?;
        let value = |v: &[f32], x: usize| f64::from(v[x]);
        let rise = value(&aerial, x + 1) - value(&aerial, x);
        let share = (level - value(&aerial, x)) / rise;
        let of_bake = value(&baked, x + 1) - value(&baked, x);
        if of_bake <= 0.0 {
            return Err(LithoError::Optics(
                "the bake leaves no edge to print: lower its diffusion".into(),
            ));
        }
        let factor = rise * self.window.nominal.dose / of_bake;
        let at_edge = value(&baked, x) + share * of_bake;
        Ok(Scale { factor, offset: resist.threshold - factor * at_edge })
    }

    /// Points of 1 nm along a pixel of the bake's grid, so that it acts as an area when it is a mask's.
    fn points(&self) -> usize {
        self.config.pixel_nm.round().max(1.0) as usize
    }

    /// For each plane the grid of the mask and that of the bake.
    fn grids(&self, pixel_nm: f64, points: usize) -> Result<Vec<[Sampling; 2]>, LithoError> {
        let of = |plane: &Simulator| {
            Ok([plane.sampling(pixel_nm, points)?, plane.sampling(self.config.pixel_nm, 1)?])
        };
        self.planes.iter().map(of).collect()
    }
}

/// The kernels `depth_nm` below the middle of the resist, where best focus is.
fn at_depth(optics: &Optics, depth_nm: f64) -> Result<KernelSet, LithoError> {
    let phase = optics.pupil.rim_phase(depth_nm);
    let pupil = Pupil { defocus_rad: optics.pupil.defocus_rad + phase, ..optics.pupil };
    Optics { pupil, defocus_rad: optics.defocus_rad + phase, ..optics.clone() }.kernels()
}

/// Acid and quencher after they met for a while; `rate` is the reaction's constant times the time.
///
/// The reaction has gone by ξ with ξ' = k (a − ξ)(q − ξ). One linearly implicit Euler step from 0 is
/// ξ = kt a q / (1 + kt (a + q)), which is less than a and than q.
fn neutralized(acid: Tensor<4>, quencher: Tensor<4>, rate: f64) -> [Tensor<4>; 2] {
    let gone = acid.clone() * quencher.clone() * rate;
    let gone = gone / ((acid.clone() + quencher.clone()) * rate + 1.0);
    [acid - gone.clone(), quencher - gone]
}

impl ForwardModel for Bake {
    fn period_nm(&self) -> f64 {
        self.planes[0].period_nm()
    }

    fn device(&self) -> &Device {
        self.planes[0].device()
    }

    fn on(&self, pixel_nm: f64, points: usize) -> Result<Box<dyn Imager + '_>, LithoError> {
        let grids = self.grids(pixel_nm, points)?;
        let pixels = (self.period_nm() / pixel_nm).round() as usize;
        let interpolate = interpolation(self.size, pixels, self.device());
        Ok(Box::new(BakeImager { model: self, grids, interpolate }))
    }
}

struct BakeImager<'a> {
    model: &'a Bake,
    grids: Vec<[Sampling; 2]>,
    /// The bake's pixels to the image's. `[n, m]`.
    interpolate: Tensor<2>,
}

impl Imager for BakeImager<'_> {
    fn images(&self, mask: Tensor<3>) -> CornerImages {
        let [batch, _, _] = mask.dims();
        let [n, m] = self.interpolate.dims();
        let Scale { factor, offset } = self.model.scale;
        let baked = self.model.deprotection(&mask, &self.grids) * factor + offset;
        let rows = baked.reshape([3 * batch * n, n]).matmul(self.interpolate.clone());
        let rows = rows.reshape([3 * batch, n, m]).swap_dims(1, 2);
        let pixels = rows.reshape([3 * batch * m, n]).matmul(self.interpolate.clone());
        let pixels = pixels.reshape([3 * batch, m, m]).swap_dims(1, 2);
        let corner = |i: usize| pixels.clone().narrow(0, i * batch, batch);
        CornerImages { nominal: corner(0), outer: corner(1), inner: corner(2) }
    }
}

#[cfg(test)]
mod tests;
