//! The two ways to a mask beside each other: through the true model at every step, and through its surrogate.

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_layout::Raster;
use lithoburn_litho::ilt::{Found, Ilt, IltConfig, MaskConstraint, Progress, Start, Usage};
use lithoburn_litho::{LithoError, Resist};
use lithoburn_models::LearnedModel;
use serde::Serialize;

use crate::EngineError;
use crate::surrogate::TrueModel;

/// One descent, measured by the true model at the mask's own pixels.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Descended {
    /// Area where the nominal print is not the target, in nm².
    pub l2_nm2: f64,
    /// Area between the outer and the inner print, in nm².
    pub pvb_nm2: f64,
    /// Seconds of the descent.
    pub seconds: f64,
    /// What it asked of its models.
    #[serde(flatten)]
    pub usage: Usage,
}

/// A clip, corrected with the true model alone and with the surrogate.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Compared {
    /// With the true model's gradient at every step.
    pub exact: Descended,
    /// With the surrogate's, corrected now and then.
    pub surrogate: Descended,
}

/// The two ways to a mask, side by side.
pub struct Comparison<'a> {
    /// The true model.
    pub model: &'a TrueModel,
    /// Its surrogate, and what it is corrected by.
    pub surrogate: &'a LearnedModel,
    /// Steps between corrections.
    pub correct_every: usize,
    /// The descent.
    pub descent: &'a IltConfig,
    /// What masks must be like.
    pub constraint: Option<&'a dyn MaskConstraint>,
    /// Where to compute.
    pub device: &'a Device,
}

impl Comparison<'_> {
    /// Corrects a field's target both ways.
    ///
    /// # Errors
    ///
    /// [`EngineError::Litho`] if a pixel size does not fit, the device fails, or `watch` said stop.
    pub fn run(
        &self,
        target: &Raster,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Compared, EngineError> {
        let truth = self.model.on(self.device)?;
        let tensor = |raster: &Raster, device: &Device| {
            let data = TensorData::new(raster.data.clone(), [1, raster.height, raster.width]);
            Tensor::<3>::from_data(data, device)
        };
        let target_there = tensor(target, self.device);
        let exact = Ilt::new(self.descent, truth.as_ref());
        let surrogate = Ilt::new(self.descent, truth.as_ref())
            .with_surrogate(self.surrogate, self.correct_every);
        let [exact, surrogate] = [exact, surrogate].map(|descent| {
            let descent = descent.with_constraint(self.constraint);
            self.timed(target, || descent.run(&target_there, &Start::Target, &mut *watch))
        });
        Ok(Compared { exact: exact?, surrogate: surrogate? })
    }

    /// Runs a descent against the clock and measures its mask, in f32 on the CPU.
    fn timed(
        &self,
        target: &Raster,
        descend: impl FnOnce() -> Result<Found, LithoError>,
    ) -> Result<Descended, EngineError> {
        let start = Instant::now();
        let Found { masks, usage, .. } = descend()?;
        let masks = masks.into_packed(0)?;
        let n = masks.side;
        let seconds = start.elapsed().as_secs_f64();
        let host = Device::flex();
        let truth = self.model.on(&host)?;
        let pixel_nm = truth.period_nm() / n as f64;
        let imager =
            truth.on(pixel_nm, (pixel_nm / self.descent.point_nm).round().max(1.0) as usize)?;
        let images = imager.images(masks.to_tensor(&host));
        let level = Resist::default().threshold as f32;
        let printed = |image: &Tensor<3>| -> Result<Vec<bool>, LithoError> {
            Ok(values(image.clone())?.into_iter().map(|v| v >= level).collect())
        };
        let [nominal, outer, inner] = images.each();
        let (nominal, outer, inner) = (printed(nominal)?, printed(outer)?, printed(inner)?);
        let target = on_grid(target, n)?.binary();
        let differ =
            |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| a != b).count() as f64;
        let area = pixel_nm * pixel_nm;
        Ok(Descended {
            l2_nm2: differ(&nominal, &target) * area,
            pvb_nm2: differ(&outer, &inner) * area,
            seconds,
            usage,
        })
    }
}

/// A target on `n` pixels a side.
fn on_grid(target: &Raster, n: usize) -> Result<Raster, EngineError> {
    match target.width {
        width if width == n => Ok(target.clone()),
        width if width.is_multiple_of(n) => Ok(target.averaged(width / n)),
        width => Err(EngineError::Setting(format!(
            "a target of {width} pixels has no whole number of them in each of the mask's {n}"
        ))),
    }
}

fn values(image: Tensor<3>) -> Result<Vec<f32>, LithoError> {
    image
        .try_into_vec_as::<f32>()
        .map_err(|e| LithoError::Device { doing: "read the mask", problem: e.to_string() })
}
