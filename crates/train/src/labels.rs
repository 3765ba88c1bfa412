//! Masks by the ILT solver, as examples for a discriminator.
//!
//! They are kept beside the weights, in shards of safetensors: a run that is stopped while it makes them goes on with the next
//! mask, and one that is killed with the next shard.

use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use lithoburn_layout::write_whole;
use lithoburn_litho::forward::{ForwardModel, ThinMask};
use lithoburn_litho::ilt::{Ilt, IltConfig, Start};
use lithoburn_litho::images::resized;
use lithoburn_litho::{KernelSet, ProcessWindow, Simulator};
use lithoburn_models::kernels_sha256;
use lithoburn_models::weights::hash_of;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

use crate::config::Adversarial;
use crate::objective::IMAGE_PIXEL_NM;
use crate::target::on_device;
use crate::{ClipSource, Target, TrainConfig, TrainError};

/// Seeds of labelled clips are this far from those of training.
const LABEL_SEED: u64 = 1 << 41;
/// Masks in a shard.
const SHARD: usize = 256;
/// Clips solved at once.
const BATCH: usize = 32;
/// Key of the identity in a shard's metadata.
const IDENTITY: &str = "identity";
/// Name of the tensor in a shard.
const MASKS: &str = "masks";

/// Masks of the labelled clips, as shares of open area of the network's pixels, 0 to 255.
pub(crate) struct Labels {
    masks: Vec<u8>,
    /// Pixels of a mask.
    pixels: usize,
}

/// The labelled clip with this number, at the training's pixels.
pub(crate) fn clip(config: &TrainConfig, source: &ClipSource, field_nm: f64, index: u64) -> Target {
    let seed = config.seed.wrapping_add(LABEL_SEED);
    source.clip(false, seed, index, field_nm, IMAGE_PIXEL_NM)
}

impl Labels {
    /// Reads the first `count` masks, and makes those that are missing until they are `due`. `watch` hears how many there are; false
    /// ends it with what there is, which is kept.
    pub(crate) fn ready(
        maker: &LabelMaker,
        count: usize,
        due: &dyn Fn() -> bool,
        watch: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Self, TrainError> {
        let pixels = maker.size * maker.size;
        let mut all = Vec::new();
        for shard in 0..count.div_ceil(SHARD) {
            let clips = shard * SHARD..((shard + 1) * SHARD).min(count);
            let mut masks = maker.read(shard, clips.len())?;
            let goes_on = maker.fill(shard, clips, &mut masks, due, watch)?;
            all.extend(masks);
            if !goes_on {
                break;
            }
        }
        Ok(Self { masks: all, pixels })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.masks.len() / self.pixels
    }

    /// The masks of labelled clips, 0 to 1.
    pub(crate) fn masks(&self, indices: impl Iterator<Item = usize>) -> Vec<f32> {
        let mask = |i: usize| &self.masks[i * self.pixels..(i + 1) * self.pixels];
        indices.flat_map(mask).map(|&v| f32::from(v) / 255.0).collect()
    }
}

/// Makes and reads shards.
pub(crate) struct LabelMaker<'a> {
    config: &'a TrainConfig,
    source: &'a ClipSource,
    optics: ThinMask,
    descent: IltConfig,
    size: usize,
    folder: PathBuf,
    identity: String,
}

impl<'a> LabelMaker<'a> {
    /// A maker of masks with `size` pixels on a side, which keeps them in `out/labels`.
    pub(crate) fn new(
        config: &'a TrainConfig,
        source: &'a ClipSource,
        settings: &Adversarial,
        size: usize,
        kernels: &KernelSet,
        device: &Device,
        out: &Path,
    ) -> Result<Self, TrainError> {
        let folder = out.join("labels");
        let mut descent = IltConfig::default();
        let steps = settings.label_steps;
        descent.levels.truncate(steps.len());
        descent.levels.iter_mut().zip(steps).for_each(|(level, steps)| level.iterations = steps);
        // Clips may fill the whole field.
        descent.free_nm = kernels.period_nm;
        let parts = (&config.clips, &config.layouts, config.seed, size, &descent);
        let problem = |e: serde_json::Error| TrainError::Save(folder.clone(), e.to_string());
        let text = serde_json::to_string(&parts).map_err(problem)? + &kernels_sha256(kernels);
        let optics = ThinMask::new(Simulator::new(kernels, device), ProcessWindow::default());
        let identity = hash_of(text.as_bytes());
        Ok(Self { config, source, optics, descent, size, folder, identity })
    }

    fn path(&self, shard: usize) -> PathBuf {
        self.folder.join(format!("labels-{shard:05}.safetensors"))
    }

    /// A shard's masks, as far as they were made; none of other clips, optics or settings.
    fn read(&self, shard: usize, count: usize) -> Result<Vec<u8>, TrainError> {
        let path = self.path(shard);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(TrainError::Resume(path, e.to_string())),
        };
        Ok(self.known(&bytes, count).unwrap_or_default())
    }

    /// The masks of a shard's file, if they are these.
    fn known(&self, bytes: &[u8], count: usize) -> Option<Vec<u8>> {
        let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
        if header.metadata().as_ref()?.get(IDENTITY) != Some(&self.identity) {
            return None;
        }
        let tensors = SafeTensors::deserialize(bytes).ok()?;
        let masks = tensors.tensor(MASKS).ok()?;
        let (made, pixels) = (masks.data(), self.size * self.size);
        let whole = made.len().is_multiple_of(pixels);
        whole.then(|| made[..made.len().min(count * pixels)].to_vec())
    }

    /// Makes the masks that a shard still lacks, and keeps it; false if that came to an early end. There is one batch at least,
    /// however short the time is.
    fn fill(
        &self,
        shard: usize,
        clips: Range<usize>,
        masks: &mut Vec<u8>,
        due: &dyn Fn() -> bool,
        watch: &mut dyn FnMut(usize) -> bool,
    ) -> Result<bool, TrainError> {
        let pixels = self.size * self.size;
        let (read, mut next) = (masks.len(), clips.start + masks.len() / pixels);
        let mut goes_on = watch(next);
        while goes_on && next < clips.end && (next == 0 || !due()) {
            let batch = next..(next + BATCH).min(clips.end);
            next = batch.end;
            masks.extend(self.solve(batch)?);
            goes_on = watch(next);
        }
        if masks.len() > read {
            self.write(shard, masks.len() / pixels, masks)?;
        }
        Ok(goes_on && next == clips.end)
    }

    fn solve(&self, clips: Range<usize>) -> Result<Vec<u8>, TrainError> {
        let field = self.optics.period_nm();
        let side = (field / IMAGE_PIXEL_NM).round() as usize;
        let clips = clips.map(|i| clip(self.config, self.source, field, i as u64));
        let target = on_device(&clips.collect::<Vec<_>>(), side, self.optics.device());
        let found =
            Ilt::new(&self.descent, &self.optics).run(&target, &Start::Target, &mut |_| true)?;
        let mask = found.masks.to_tensor(self.optics.device());
        let shares = crate::read(resized(mask, self.size), "read labels")?;
        Ok(shares.iter().map(|v| (v * 255.0).round() as u8).collect())
    }

    fn write(&self, shard: usize, count: usize, masks: &[u8]) -> Result<(), TrainError> {
        let path = self.path(shard);
        let failed = |problem: String| TrainError::Save(path.clone(), problem);
        std::fs::create_dir_all(&self.folder).map_err(|e| failed(e.to_string()))?;
        let shape = vec![count, self.size, self.size];
        let view = TensorView::new(Dtype::U8, shape, masks).map_err(|e| failed(e.to_string()))?;
        let metadata = Some([(IDENTITY.to_string(), self.identity.clone())].into());
        let bytes = serialize([(MASKS, view)], metadata).map_err(|e| failed(e.to_string()))?;
        Ok(write_whole(&path, &bytes)?)
    }
}
