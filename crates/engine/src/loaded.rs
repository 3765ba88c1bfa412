//! What stays on a device: fields in, fields out, as often as asked.
//!
//! [`Correction::run`](crate::Correction::run) loads a model, corrects, and lets the model go. Whoever answers many, one after the other, keeps it. The
//! answers are the same to the last bit, whatever fields are computed at once.

use std::borrow::Cow;

use burn::tensor::{DType, Device, Tensor, TensorData};
use lithoburn_layout::Raster;
use lithoburn_litho::images::resized;
use lithoburn_litho::metrics::Prints;
use lithoburn_litho::{LithoError, PackedImages};
use lithoburn_models::MaskNetwork;
use lithoburn_pool::Chosen;
use rayon::prelude::*;

use crate::EngineError;
use crate::devices::fleet::{MOST_BATCH, Wish, fleet};
use crate::evaluate::Evaluator;
use crate::proposer::{Proposer, Target, quickest};
use crate::setup::Setup;

/// Fields that a simulator is asked for at once: it computes one after the other.
const IMAGES: usize = 16;
/// Least pixels on a side of a field.
const LEAST: usize = 16;

/// What is kept of a correction's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The method, network and descent: a target in, the corrected mask out.
    Method,
    /// Its network alone: a target in, logits and the mask they mean out.
    Network,
    /// The optics: a mask in, images and prints out.
    Simulator,
}

impl Part {
    /// Names of what comes out, in order.
    pub fn outputs(self) -> &'static [&'static str] {
        match self {
            Self::Method => &["mask"],
            Self::Network => &["logits", "mask"],
            Self::Simulator => &["aerial", "aerial_defocus", "print", "print_outer", "print_inner"],
        }
    }

    /// Name of what goes in.
    pub fn input(self) -> &'static str {
        match self {
            Self::Method | Self::Network => "target",
            Self::Simulator => "mask",
        }
    }
}

/// A part of a correction, ready on a device.
pub struct Loaded {
    means: Means,
    device: Device,
    /// Side of a field, in nm.
    field_nm: f64,
    /// Pixels on a side of what goes in, at least.
    side: usize,
}

enum Means {
    Method(Box<Proposer>),
    Network(Box<dyn MaskNetwork>),
    Simulator(Box<Evaluator>),
}

impl Loaded {
    pub(crate) fn new(setup: &Setup, part: Part, device: &Chosen) -> Result<Self, EngineError> {
        let field_nm = setup.kernels.period_nm;
        let pixels = |pixel_nm: f64| (field_nm / pixel_nm).round() as usize;
        let (means, side) = match part {
            Part::Method => {
                let proposer = Proposer::new(setup, &device.device, None)?;
                let side = pixels(setup.model.finest_nm());
                (Means::Method(Box::new(proposer)), side)
            }
            Part::Network => {
                let none = || {
                    let name = setup.model.model.name();
                    EngineError::Setting(format!("{name} has no network"))
                };
                let method = setup.model.model.network().ok_or_else(none)?;
                let weights = setup.model.weights.as_deref();
                let (network, _) = quickest(method, weights, &device.device)?;
                let side = pixels(network.head().pixel_nm);
                (Means::Network(network), side)
            }
            Part::Simulator => {
                let evaluator = Evaluator::on(&device.device, &setup.kernels, &setup.process);
                (Means::Simulator(Box::new(evaluator)), pixels(setup.pixel_nm))
            }
        };
        Ok(Self { means, device: device.device.clone(), field_nm, side })
    }

    /// Pixels on a side of the field that is computed with. Fields may have a whole multiple of them, or a whole part.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Side of a pixel of a field of so many a side, in nm.
    pub fn pixel_nm(&self, side: usize) -> f64 {
        self.field_nm / side as f64
    }

    /// Computes once with few steps, so that what is compiled at first use is compiled.
    ///
    /// # Errors
    ///
    /// As [`Loaded::run`].
    pub fn warm_up(&mut self) -> Result<(), EngineError> {
        let dark = Raster::new(self.side, self.side, self.pixel_nm(self.side));
        match &mut self.means {
            Means::Method(proposer) => proposer.briefly(|proposer| {
                proposer.propose(&[Target::Raster(&dark)], &mut |_| true).map(drop)
            }),
            _ => self.run(&[dark], &mut || true).map(drop),
        }
    }

    /// What comes out of fields of equal sizes, values from 0 to 1: for each of [`Part::outputs`] a raster a field. `go_on` is asked now
    /// and then.
    ///
    /// # Errors
    ///
    /// [`EngineError::Setting`] if a field has no such size, [`EngineError::Litho`] if the device fails or `go_on` said no.
    pub fn run(
        &self,
        fields: &[Raster],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Vec<Raster>>, EngineError> {
        fields.iter().try_for_each(|field| self.fits(field))?;
        match &self.means {
            Means::Method(proposer) => {
                let (side, field_nm) = (self.side, self.field_nm);
                let fine = fields.par_iter().map(|field| refined(field, side, field_nm));
                let fine: Vec<Cow<Raster>> = fine.collect();
                let targets: Vec<Target> = fine.iter().map(|fine| Target::Raster(fine)).collect();
                Ok(vec![proposer.propose(&targets, &mut |_| go_on())?])
            }
            Means::Network(network) => self.proposed(network.as_ref(), fields),
            Means::Simulator(evaluator) => {
                let mut outputs = vec![Vec::new(); Part::Simulator.outputs().len()];
                for field in fields {
                    if !go_on() {
                        return Err(LithoError::Interrupted.into());
                    }
                    let images = exposed(evaluator, field)?;
                    outputs.iter_mut().zip(images).for_each(|(all, image)| all.push(image));
                }
                Ok(outputs)
            }
        }
    }

    /// Whether a field has a size that is computed with.
    fn fits(&self, field: &Raster) -> Result<(), EngineError> {
        let Raster { width, height, .. } = *field;
        let own = self.side;
        let whole = width.is_multiple_of(own) || own.is_multiple_of(width);
        match width == height && width >= LEAST.min(own) && whole {
            true => Ok(()),
            false => Err(EngineError::Setting(format!(
                "a field of {width} x {height} pixels does not fit: expected {own} x {own} pixels for its {} nm, or a whole multiple or part \
                 of that ({} to {})",
                self.field_nm,
                LEAST.min(own),
                own * 4
            ))),
        }
    }

    /// A network's logits, and the masks that they mean.
    fn proposed(
        &self,
        network: &dyn MaskNetwork,
        fields: &[Raster],
    ) -> Result<Vec<Vec<Raster>>, EngineError> {
        let Some(first) = fields.first() else { return Ok(vec![Vec::new(); 2]) };
        let area = first.height * first.width;
        let mut data = vec![0.0; fields.len() * area];
        data.par_chunks_mut(area.max(1))
            .zip(fields)
            .for_each(|(data, field)| data.copy_from_slice(&field.data));
        let data = TensorData::new(data, [fields.len(), first.height, first.width]);
        let target = resized(Tensor::<3>::from_data(data, &self.device), self.side);
        let logits = network.logits(target.clone().unsqueeze_dim::<4>(1));
        let mask = network.mask(target, logits.clone());
        let logits = logits.cast(DType::F32).squeeze_dim::<3>(1);
        [logits, mask].map(|images| self.read(images)).into_iter().collect()
    }

    /// Images from the device.
    fn read(&self, images: Tensor<3>) -> Result<Vec<Raster>, EngineError> {
        let [_, height, width] = images.dims();
        let failed = |problem: String| LithoError::Device { doing: "read the images", problem };
        let data = images.try_into_data().map_err(|e| failed(format!("{e:?}")))?;
        let data =
            data.convert::<f32>().try_into_vec::<f32>().map_err(|e| failed(format!("{e:?}")))?;
        let pixel_nm = self.pixel_nm(width);
        let raster = |data: &[f32]| Raster { width, height, pixel_nm, data: data.to_vec() };
        Ok(data.par_chunks_exact((width * height).max(1)).map(raster).collect())
    }
}

/// A field of so many nm with at least so many pixels on a side: a coarse pixel is a square of fine ones, as its polygon is.
fn refined(field: &Raster, least: usize, field_nm: f64) -> Cow<'_, Raster> {
    let factor = (least / field.width.max(1)).max(1);
    let side = field.width * factor;
    let pixel_nm = field_nm / side as f64;
    if factor == 1 && field.pixel_nm == pixel_nm {
        return Cow::Borrowed(field);
    }
    let row = |y: usize| &field.data[y / factor * field.width..][..field.width];
    let wide = |y: usize| row(y).iter().flat_map(move |&v| std::iter::repeat_n(v, factor));
    let data = (0..side).flat_map(wide).collect();
    Cow::Owned(Raster { width: side, height: side, pixel_nm, data })
}

/// A mask's images and prints, as [`Part::outputs`] names them.
fn exposed(evaluator: &Evaluator, mask: &Raster) -> Result<[Raster; 5], EngineError> {
    let [best, defocus] = evaluator.aerial(mask, mask.pixel_nm)?;
    let (window, resist) = (evaluator.window(), evaluator.resist());
    let prints = Prints::develop(&best.data, &defocus.data, best.width, window, resist);
    let raster = |print: &PackedImages| Raster {
        data: print.to_pixels().iter().map(|&on| f32::from(u8::from(on))).collect(),
        ..Raster::new(best.width, best.height, best.pixel_nm)
    };
    let [nominal, outer, inner] = [&prints.nominal, &prints.outer, &prints.inner].map(raster);
    Ok([best, defocus, nominal, outer, inner])
}

/// Fields that a device holds at once, as the plan of a tiled layout has it: what the method takes of the device is tried if its memory is
/// its own.
pub(crate) fn room(setup: &Setup, part: Part, device: &Chosen) -> Result<usize, EngineError> {
    if part == Part::Simulator {
        return Ok(IMAGES);
    }
    let wish = Wish { tiles: MOST_BATCH, ..Wish::default() };
    let fleet = fleet(setup, std::slice::from_ref(device), &wish)?;
    Ok(fleet.lanes.first().map_or(1, |lane| lane.batch.max(1)))
}

#[cfg(test)]
mod tests;
