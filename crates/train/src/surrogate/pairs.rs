//! Masks, and the images that the true model makes of them.

use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_litho::forward::ForwardModel;
use lithoburn_litho::{CornerImages, LithoError};
use lithoburn_models::surrogate::SurrogateGrid;
use lithoburn_models::{LearnedModel, Surrogate};
use rayon::prelude::*;

use super::{IMAGES, SurrogateTraining};
use crate::masks::{COARSE, MaskPool};
use crate::{TrainError, read};

/// Masks and their true images at the corners, on the host.
pub(super) struct Pairs {
    masks: Vec<Vec<f32>>,
    images: Vec<[Vec<f32>; 3]>,
    pixel_nm: f64,
}

/// Points along a pixel of a pair's mask.
pub(super) fn points(pixel_nm: f64) -> usize {
    pixel_nm.round().max(1.0) as usize
}

fn tensor(data: Vec<f32>, device: &Device) -> Tensor<3> {
    let batch = data.len() / (COARSE * COARSE);
    Tensor::from_data(TensorData::new(data, [batch, COARSE, COARSE]), device)
}

impl Pairs {
    pub(super) fn new(
        config: &SurrogateTraining,
        pool: &MaskPool,
        seed: u64,
        count: usize,
        truth: &dyn ForwardModel,
    ) -> Result<Self, TrainError> {
        let pixel_nm = truth.period_nm() / COARSE as f64;
        let imager = truth.on(pixel_nm, points(pixel_nm))?;
        let masks: Vec<Vec<f32>> =
            (0..count as u64).into_par_iter().map(|i| pool.mask(seed, i)).collect();
        let mut images = Vec::new();
        for masks in masks.chunks(config.batch) {
            let exposed = imager.images(tensor(masks.concat(), truth.device()));
            let [a, b, c] = [0, 1, 2].map(|i| read(exposed.each()[i].clone(), IMAGES));
            let (a, b, c) = (a?, b?, c?);
            let size = COARSE * COARSE;
            images.extend(
                (0..masks.len())
                    .map(|i| [&a, &b, &c].map(|corner| corner[i * size..(i + 1) * size].to_vec())),
            );
        }
        Ok(Self { masks, images, pixel_nm })
    }

    pub(super) fn len(&self) -> usize {
        self.masks.len()
    }

    pub(super) fn grid(
        &self,
        surrogate: &Surrogate,
        device: &Device,
    ) -> Result<SurrogateGrid, LithoError> {
        surrogate.grid(self.pixel_nm, points(self.pixel_nm), device)
    }

    pub(super) fn batch(&self, indices: &[usize], device: &Device) -> (Tensor<3>, CornerImages) {
        let masks: Vec<f32> = indices.iter().flat_map(|&i| self.masks[i].clone()).collect();
        let corner = |c: usize| {
            let images = indices.iter().flat_map(|&i| self.images[i][c].clone());
            tensor(images.collect(), device)
        };
        let images = CornerImages { nominal: corner(0), outer: corner(1), inner: corner(2) };
        (tensor(masks, device), images)
    }

    /// Mean square error of a model's images.
    pub(super) fn error(&self, model: &LearnedModel, device: &Device) -> Result<f64, TrainError> {
        let imager = model.on(self.pixel_nm, points(self.pixel_nm))?;
        let mut sum = 0.0;
        let all: Vec<usize> = (0..self.len()).collect();
        for indices in all.chunks(8) {
            let (mask, images) = self.batch(indices, device);
            let errors = read(images.mean_square_error(&imager.images(mask)), IMAGES)?;
            sum += errors.iter().map(|&e| f64::from(e)).sum::<f64>();
        }
        Ok(sum / self.len() as f64)
    }
}
