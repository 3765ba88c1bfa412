//! What stays on a device: fields in, fields out, as often as asked.
//!
//! [`Correction::run`](crate::Correction::run) loads a model, corrects, and lets the model go. Whoever answers many, one after the other, keeps it. The
//! answers are the same to the last bit, whatever fields are computed at once.

mod fields;

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
use crate::proposer::{Proposer, Target, Targets, quickest};
use crate::setup::Setup;
pub use fields::{Fields, Sizes};

/// Fields that a simulator is asked for at once: it computes one after the other.
const IMAGES: usize = 16;

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
    sizes: Sizes,
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
        Ok(Self { means, device: device.device.clone(), sizes: Sizes { side, field_nm } })
    }

    /// The sizes of fields that it takes.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Computes once with few steps, so that what is compiled at first use is compiled.
    ///
    /// # Errors
    ///
    /// As [`Loaded::run`].
    pub fn warm_up(&mut self) -> Result<(), EngineError> {
        let Sizes { side, .. } = self.sizes;
        let dark = PackedImages::of_pixels(&vec![false; side * side], side);
        match &mut self.means {
            Means::Method(proposer) => proposer.briefly(|proposer| {
                proposer.answer(&Targets::Bits(&dark), &mut |_| true).map(drop)
            }),
            _ => self.run(Fields::Bits(dark), &mut || true).map(drop),
        }
    }

    /// What comes out of fields, values from 0 to 1: for each of [`Part::outputs`] as many fields. `go_on` is asked now and then.
    ///
    /// # Errors
    ///
    /// [`EngineError::Setting`] if a field has no size that fits, [`EngineError::Litho`] if the device fails or `go_on` said no.
    pub fn run(
        &self,
        fields: Fields,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Fields>, EngineError> {
        fields.sizes().iter().try_for_each(|&[width, height]| self.sizes.check(width, height))?;
        match &self.means {
            Means::Method(proposer) => self.corrected(proposer, fields, go_on),
            Means::Network(network) => self.proposed(network.as_ref(), fields),
            Means::Simulator(evaluator) => self.simulated(evaluator, fields, go_on),
        }
    }

    /// A method's masks.
    fn corrected(
        &self,
        proposer: &Proposer,
        fields: Fields,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Fields>, EngineError> {
        let Sizes { side, field_nm } = self.sizes;
        let mut answer = |targets: &Targets| proposer.answer(targets, &mut |_| go_on());
        let masks = match fields {
            Fields::Bits(bits) if bits.side == side => answer(&Targets::Bits(&bits))?,
            Fields::Bits(bits) if bits.side < side => {
                answer(&Targets::Bits(&bits.refined(side / bits.side)))?
            }
            // Of a part of a pixel is covered what of its finer pixels is.
            fields => {
                let fields = fields.into_rasters(field_nm);
                let fine = fields.par_iter().map(|field| refined(field, side, field_nm));
                let fine: Vec<Cow<Raster>> = fine.collect();
                answer(&Targets::Each(fine.iter().map(|fine| Target::Raster(fine)).collect()))?
            }
        };
        Ok(vec![Fields::Bits(masks)])
    }

    /// Images and prints of masks, one after the other.
    fn simulated(
        &self,
        evaluator: &Evaluator,
        fields: Fields,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Fields>, EngineError> {
        let mut images = [const { Vec::new() }; 2];
        let mut prints: [Option<PackedImages>; 3] = [const { None }; 3];
        for field in fields.into_rasters(self.sizes.field_nm) {
            if !go_on() {
                return Err(LithoError::Interrupted.into());
            }
            let (aerial, print) = exposed(evaluator, &field)?;
            images.iter_mut().zip(aerial).for_each(|(all, image)| all.push(image));
            for (all, print) in prints.iter_mut().zip(print) {
                match all {
                    Some(all) => all.words.extend(print.words),
                    None => *all = Some(print),
                }
            }
        }
        let none = || PackedImages { side: 0, words: Vec::new() };
        let prints = prints.into_iter().map(|print| Fields::Bits(print.unwrap_or_else(none)));
        Ok(images.into_iter().map(Fields::Values).chain(prints).collect())
    }

    /// A network's logits, and the masks that they mean.
    fn proposed(
        &self,
        network: &dyn MaskNetwork,
        fields: Fields,
    ) -> Result<Vec<Fields>, EngineError> {
        if fields.is_empty() {
            return Ok(vec![Fields::Values(Vec::new()); 2]);
        }
        let target = match &fields {
            Fields::Bits(bits) => bits.to_tensor(&self.device),
            Fields::Values(values) => self.uploaded(values),
        };
        let target = resized(target, self.sizes.side);
        let logits = network.logits(target.clone().unsqueeze_dim::<4>(1));
        let mask = network.mask(target, logits.clone());
        let logits = logits.cast(DType::F32).squeeze_dim::<3>(1);
        [logits, mask].map(|images| self.read(images)).into_iter().collect()
    }

    /// Fields on the device.
    fn uploaded(&self, fields: &[Raster]) -> Tensor<3> {
        let [width, height] = fields.first().map_or([0; 2], |field| [field.width, field.height]);
        let area = width * height;
        let mut data = vec![0.0; fields.len() * area];
        data.par_chunks_mut(area.max(1))
            .zip(fields)
            .for_each(|(data, field)| data.copy_from_slice(&field.data));
        Tensor::from_data(TensorData::new(data, [fields.len(), height, width]), &self.device)
    }

    /// Images from the device.
    fn read(&self, images: Tensor<3>) -> Result<Fields, EngineError> {
        let [_, height, width] = images.dims();
        let failed = |problem: String| LithoError::Device { doing: "read the images", problem };
        let data = images.try_into_data().map_err(|e| failed(format!("{e:?}")))?;
        let data =
            data.convert::<f32>().try_into_vec::<f32>().map_err(|e| failed(format!("{e:?}")))?;
        let pixel_nm = self.sizes.pixel_nm(width);
        let raster = |data: &[f32]| Raster { width, height, pixel_nm, data: data.to_vec() };
        Ok(Fields::Values(data.par_chunks_exact((width * height).max(1)).map(raster).collect()))
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
fn exposed(
    evaluator: &Evaluator,
    mask: &Raster,
) -> Result<([Raster; 2], [PackedImages; 3]), EngineError> {
    let [best, defocus] = evaluator.aerial(mask, mask.pixel_nm)?;
    let (window, resist) = (evaluator.window(), evaluator.resist());
    let prints = Prints::develop(&best.data, &defocus.data, best.width, window, resist);
    Ok(([best, defocus], [prints.nominal, prints.outer, prints.inner]))
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
