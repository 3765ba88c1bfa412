//! The simulator that teaches, and the clips that judge, on one device.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor};
use lithoburn_litho::images::resized;
use lithoburn_litho::{CornerImages, Grids, KernelSet, MaskCost, Sampling, Simulator};
use lithoburn_models::{Head, MaskNetwork};

use crate::config::CornerLoss;
use crate::target::on_device;
use crate::{ClipSource, Sample, Target, TrainConfig, TrainError, scalar};

/// Side of a pixel of the simulated image and of the target, in nm.
pub(crate) const IMAGE_PIXEL_NM: f64 = 4.0;
/// Seeds of validation clips are this far from those of training.
const VALIDATION_SEED: u64 = 1 << 40;

/// Clips of a step, on a device.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Targets `[batch, n, n]` at [`IMAGE_PIXEL_NM`].
    pub(crate) target: Tensor<3>,
    /// The same as the network sees them.
    pub(crate) seen: Tensor<3>,
}

/// The simulator and the validation clips, on a device.
pub(crate) struct Objective {
    config: Arc<TrainConfig>,
    simulator: Simulator,
    mask: Sampling,
    image: Sampling,
    network_size: usize,
    validation: Vec<Vec<Target>>,
}

impl Objective {
    /// The simulator of a device, once it is known that network and clips fit the field.
    pub(crate) fn new(
        config: &Arc<TrainConfig>,
        network: &dyn MaskNetwork,
        kernels: &KernelSet,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let simulator = Simulator::new(kernels, device);
        let mask_pixel = network.mask_pixel_nm();
        let mask = simulator.sampling(mask_pixel, mask_pixel.round().max(1.0) as usize)?;
        let image = simulator.sampling(IMAGE_PIXEL_NM, 1)?;
        let network_size = mask.size / network.head().upsample.max(1);
        let halvings = config.adversarial.as_ref().map_or(0, |a| a.discriminator.len());
        let discriminator = 1 << halvings;
        let problem = match network_size {
            size if size % network.stride() != 0 => format!(
                "the network's image of {size} pixels is no multiple of {}",
                network.stride()
            ),
            _ if f64::from(config.clips.window_nm[1]) > kernels.period_nm => {
                format!("clips of {} nm exceed the field", config.clips.window_nm[1])
            }
            size if size % discriminator != 0 => format!(
                "the network's image of {size} pixels is no multiple of {discriminator}, \
                 which the discriminator's halvings need"
            ),
            _ => String::new(),
        };
        if !problem.is_empty() {
            return Err(TrainError::Config(problem));
        }
        let (config, validation) = (Arc::clone(config), Vec::new());
        Ok(Self { config, simulator, mask, image, network_size, validation })
    }

    /// Pixels of the network's image on a side.
    pub(crate) fn network_size(&self) -> usize {
        self.network_size
    }

    /// Draws the clips that judge.
    pub(crate) fn validates_on(&mut self, source: &ClipSource, field_nm: f64) {
        let clip =
            |i: usize| source.clip(true, VALIDATION_SEED, i as u64, field_nm, IMAGE_PIXEL_NM);
        let clips: Vec<Target> = (0..self.config.validation_clips).map(clip).collect();
        self.validation = clips.chunks(self.config.batch).map(<[Target]>::to_vec).collect();
    }

    /// Clips on the device.
    pub(crate) fn batch(&self, clips: &[Target]) -> Batch {
        self.batch_of(self.images(clips))
    }

    /// Clips that are on the device.
    pub(crate) fn batch_of(&self, target: Tensor<3>) -> Batch {
        Batch { seen: self.seen(&target), target }
    }

    /// Clips as images `[batch, n, n]` at [`IMAGE_PIXEL_NM`], on the device.
    pub(crate) fn images(&self, clips: &[Target]) -> Tensor<3> {
        on_device(clips, self.image.size, self.simulator.device())
    }

    /// An image as the network sees it.
    pub(crate) fn seen(&self, target: &Tensor<3>) -> Tensor<3> {
        resized(target.clone(), self.network_size)
    }

    /// The network's precision.
    pub(crate) fn precision(&self) -> DType {
        if self.config.bf16 { DType::BF16 } else { DType::F32 }
    }

    /// The network's masks for clips.
    pub(crate) fn mask(&self, network: &dyn MaskNetwork, batch: &Batch) -> Tensor<3> {
        network.forward(batch.seen.clone(), self.precision())
    }

    /// Mean size of the network's logits for the first validation clips.
    pub(crate) fn loudness(&self, network: &dyn MaskNetwork) -> Result<f64, TrainError> {
        let Some(clips) = self.validation.first() else { return Ok(0.0) };
        let seen = self.seen(&self.images(clips));
        let logits = network.logits(seen.unsqueeze_dim::<4>(1)).abs();
        let mean = logits.mean_dim(3).mean_dim(2).mean();
        Ok(f64::from(scalar(mean, "measure the logits")?))
    }

    /// What masks cost, all clips together, in nm².
    fn cost(&self, share: f64) -> MaskCost {
        let CornerLoss { print, window } = self.config.loss;
        let (error, area) = (IMAGE_PIXEL_NM.powi(2), self.mask.pixel_nm.powi(2));
        MaskCost { print, window, error, grey: self.config.grey * share * area }
    }

    fn grids(&self) -> Grids<'_> {
        Grids { mask: &self.mask, image: &self.image }
    }

    /// Soft error of masks per clip, in nm².
    pub(crate) fn loss(&self, mask: &Tensor<3>, target: &Tensor<3>, share: f64) -> Tensor<1> {
        let [batch, _, _] = target.dims();
        let cost = self.cost(share).value(&self.simulator, self.grids(), mask, target);
        cost / batch as f64
    }

    /// The gradient of [`Objective::loss`] by a network's logits, `[batch, 1, n, n]`, from the masks that its head opened: by the
    /// simulator's own kernels, if the device [has them](Objective::has_kernels).
    pub(crate) fn slope(
        &self,
        head: Head,
        mask: &Tensor<3>,
        target: &Tensor<3>,
        share: f64,
    ) -> Tensor<4> {
        let [batch, _, _] = target.dims();
        let slope = self.cost(share).slope(&self.simulator, self.grids(), mask, target);
        head.led_back(slope, 1.0 / batch as f64)
    }

    /// Whether the device has the simulator's kernels.
    pub(crate) fn has_kernels(&self) -> bool {
        self.simulator.has_kernels()
    }

    /// L2 and PV band of hard masks, per validation clip, in nm².
    pub(crate) fn validate(&self, network: &dyn MaskNetwork) -> Result<[f64; 2], TrainError> {
        let mut sums = [0.0; 2];
        for clips in &self.validation {
            let batch = self.batch(clips);
            let mask = self.mask(network, &batch).greater_equal_elem(0.5).float();
            let CornerImages { nominal, outer, inner } = self.prints(mask);
            let target = batch.target.greater_equal_elem(0.5).float();
            let (l2, band) = ((nominal - target).abs(), (outer - inner).abs());
            for (sum, image) in sums.iter_mut().zip([l2, band]) {
                *sum += f64::from(scalar(image.sum_dim(2).sum_dim(1).sum(), "validate")?);
            }
        }
        Ok(sums.map(|s| s * IMAGE_PIXEL_NM.powi(2) / self.config.validation_clips as f64))
    }

    /// Hard prints at the nominal, outer and inner corner.
    fn prints(&self, mask: Tensor<3>) -> CornerImages {
        let CornerLoss { print, window } = self.config.loss;
        let aerial = self.simulator.aerial(mask, &self.mask, &self.image);
        let threshold = print.resist.threshold;
        aerial.at_corners(&window).map(|image| image.greater_equal_elem(threshold).float())
    }

    /// The first validation clips with the network's masks and their prints.
    pub(crate) fn samples(
        &self,
        network: &dyn MaskNetwork,
        count: usize,
    ) -> Result<Vec<Sample>, TrainError> {
        let n = self.image.size;
        let Some(clips) = self.validation.first() else { return Ok(Vec::new()) };
        let count = count.min(clips.len());
        let batch = self.batch(&clips[..count]);
        let mask = self.mask(network, &batch);
        let print = self.prints(mask.clone().greater_equal_elem(0.5).float()).nominal;
        let image = |t: Tensor<3>| crate::read(resized(t, n), "draw samples");
        let (target, mask, print) = (image(batch.target)?, image(mask)?, image(print)?);
        let own = |all: &[f32], i: usize| all[i * n * n..(i + 1) * n * n].to_vec();
        let sample = |i: usize| Sample {
            size: n,
            target: own(&target, i),
            mask: own(&mask, i),
            print: own(&print, i),
        };
        Ok((0..count).map(sample).collect())
    }
}
