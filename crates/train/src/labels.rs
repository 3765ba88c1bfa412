//! Masks by the ILT solver, as examples for a discriminator.
//!
//! They are kept beside the weights, in shards of safetensors: a run that is killed while it makes them
//! goes on with the next shard.

use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_layout::write_whole;
use lithoburn_litho::forward::{ForwardModel, ThinMask};
use lithoburn_litho::ilt::{Ilt, IltConfig, Start};
use lithoburn_litho::images::resized;
use lithoburn_litho::{KernelSet, ProcessWindow, Simulator};
use lithoburn_models::kernels_sha256;
use lithoburn_models::weights::hash_of;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

use crate::bench::IMAGE_PIXEL_NM;
use crate::config::Adversarial;
use crate::{ClipSource, TrainConfig, TrainError};

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
pub(crate) fn clip(
    config: &TrainConfig,
    source: &ClipSource,
    field_nm: f64,
    index: u64,
) -> Vec<f32> {
    let seed = config.seed.wrapping_add(LABEL_SEED);
    source.clip(false, seed, index, field_nm, IMAGE_PIXEL_NM)
}

impl Labels {
    /// Reads the first `count` masks, and makes those that are missing. `watch` hears how many there are; false
    /// stops, and what is whole stays.
    pub(crate) fn ready(
        maker: &Maker,
        count: usize,
        watch: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Self>, TrainError> {
        let mut masks = Vec::new();
        for shard in 0..count.div_ceil(SHARD) {
            let done = shard * SHARD;
            if !watch(done) {
                return Ok(None);
            }
            let clips = done..(done + SHARD).min(count);
            masks.extend(match maker.read(shard, clips.len())? {
                Some(masks) => masks,
                None => match maker.make(shard, clips, watch)? {
                    Some(masks) => masks,
                    None => return Ok(None),
                },
            });
        }
        Ok(Some(Self { masks, pixels: maker.size * maker.size }))
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
pub(crate) struct Maker<'a> {
    config: &'a TrainConfig,
    source: &'a ClipSource,
    optics: ThinMask,
    descent: IltConfig,
    size: usize,
    folder: PathBuf,
    identity: String,
}

impl<'a> Maker<'a> {
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

    /// A shard's masks; none if it is not there, or belongs to other clips, optics or settings.
    fn read(&self, shard: usize, count: usize) -> Result<Option<Vec<u8>>, TrainError> {
        let path = self.path(shard);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(TrainError::Resume(path, e.to_string())),
        };
        let Ok((_, header)) = SafeTensors::read_metadata(&bytes) else { return Ok(None) };
        let identity = header.metadata().as_ref().and_then(|m| m.get(IDENTITY));
        if identity != Some(&self.identity) {
            return Ok(None);
        }
        let tensors = SafeTensors::deserialize(&bytes).ok();
        let masks = tensors.as_ref().and_then(|t| t.tensor(MASKS).ok());
        Ok(masks.map(|view| view.data().to_vec()).filter(|m| m.len() == count * self.size.pow(2)))
    }

    fn make(
        &self,
        shard: usize,
        clips: Range<usize>,
        watch: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Vec<u8>>, TrainError> {
        let mut masks = Vec::with_capacity(clips.len() * self.size * self.size);
        for first in clips.clone().step_by(BATCH) {
            let next = (first + BATCH).min(clips.end);
            masks.extend(self.solve(first..next)?);
            if !watch(next) {
                return Ok(None);
            }
        }
        self.write(shard, clips.len(), &masks)?;
        Ok(Some(masks))
    }

    fn solve(&self, clips: Range<usize>) -> Result<Vec<u8>, TrainError> {
        let field = self.optics.period_nm();
        let (count, n) = (clips.len(), (field / IMAGE_PIXEL_NM).round() as usize);
        let clips: Vec<usize> = clips.collect();
        let data: Vec<Vec<f32>> =
            clips.par_iter().map(|&i| clip(self.config, self.source, field, i as u64)).collect();
        let data = TensorData::new(data.concat(), [count, n, n]);
        let target = Tensor::<3>::from_data(data, self.optics.device());
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
