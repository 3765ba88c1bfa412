//! How to descend: levels, loss, and what they start from.

use burn::tensor::{Device, Tensor};
use lithoburn_bitmap::Marks;
use serde::{Deserialize, Serialize};

use super::Start;
use crate::LithoError;
use crate::binary::BinaryImages;
use crate::images::{resized, rounded};
use crate::loss::{Goal, PrintLoss, probes};

/// One resolution of the descent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// Steps of Adam.
    pub iterations: usize,
    /// Step size at the level's start; it falls along a cosine to a twentieth.
    pub learning_rate: f64,
    /// Slope of the mask's sigmoid at the level's start and end.
    pub steepness: [f64; 2],
    /// Side of the smoothing box, in nm.
    pub smooth_nm: f64,
    /// Slope of the resist's sigmoid, if it is not the loss's.
    #[serde(default)]
    pub resist_steepness: Option<f64>,
}

/// How to descend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IltConfig {
    /// Resolutions, coarse to fine.
    pub levels: Vec<Level>,
    /// Side of the square in which the mask may be open, in nm; outside it is dark.
    pub free_nm: f64,
    /// Parameter of a pixel inside the target at the start.
    pub start: f64,
    /// Parameter of a pixel outside it. Below 0 the mask begins darker there, and contacts at the limit of the optics print.
    #[serde(default)]
    pub dark: f64,
    /// Adam's decay of the gradient's mean and of its square's.
    pub betas: [f64; 2],
    /// Weight of the mask's grey pixels, growing over a level.
    pub grey: f64,
    /// The error to minimise.
    pub loss: PrintLoss,
    /// Radius of the target's corners, as the width of the Gaussian that rounds them, in nm; 0 leaves them.
    pub corner_nm: f64,
    /// When the mask is held against its constraint, as shares of the last level.
    pub mend_at: Vec<f64>,
    /// How much wider than drawn the openings are, on each side, from which a level is done again where nothing of a feature prints, attempt
    /// by attempt, in nm.
    #[serde(default = "wider")]
    pub wider_nm: Vec<f64>,
    /// Starts, of which each clip keeps the best end; they take as many times as long.
    #[serde(default = "one")]
    pub starts: usize,
    /// Size of a point of the mask that the levels' pixels are made of, in nm.
    pub point_nm: f64,
}

impl Default for IltConfig {
    /// `benches/runs/` has the sweeps that these come from. The resist is soft at first, since a feature that does not print
    /// yet would have no gradient, and then as steep as pixels allow: what counts is hard prints.
    fn default() -> Self {
        let level = |pixel_nm,
                     iterations,
                     learning_rate,
                     steepness,
                     [smooth_nm, resist]: [f64; 2]| {
            let resist_steepness = Some(resist);
            Level { pixel_nm, iterations, learning_rate, steepness, smooth_nm, resist_steepness }
        };
        Self {
            levels: vec![
                level(8.0, 200, 0.2, [4.0, 4.0], [24.0, 80.0]),
                level(4.0, 100, 0.05, [4.0, 4.0], [20.0, 160.0]),
                level(2.0, 80, 0.02, [4.0, 16.0], [30.0, 240.0]),
            ],
            free_nm: 2048.0 - 2.0 * FRAME_NM,
            start: 0.5,
            dark: -0.2,
            betas: [0.8, 0.99],
            grey: 0.02,
            loss: PrintLoss { band: 6.0, edge: 12.0, near: 2.0, ..PrintLoss::default() },
            corner_nm: 12.0,
            mend_at: vec![0.0, 0.375],
            wider_nm: wider(),
            starts: 1,
            point_nm: 1.0,
        }
    }
}

fn wider() -> Vec<f64> {
    vec![24.0, 32.0]
}

fn one() -> usize {
    1
}

/// Step sizes of a correction's levels, and slopes of their resists.
const RATES: [f64; 3] = [0.25, 0.1, 0.05];
const RESISTS: [f64; 3] = [80.0, 160.0, 320.0];

/// Width of the frame around a field in which the mask stays as it is, in nm.
const FRAME_NM: f64 = 128.0;

impl IltConfig {
    /// The correction of a mask that a network proposes: more than half of the steps at 8 nm, where they are cheap, a quarter at 4 nm, the rest
    /// at 2 nm. The mask is nearly right and the steps are few, so they are long at the end, unlike the solver's own, and the band weighs
    /// less.
    pub fn correction(iterations: usize) -> Self {
        // However few they are, they end at the mask's pixel.
        let fine = (iterations * 5 / 32).max(1).min(iterations);
        let middle = iterations * 9 / 32;
        let mut config = Self::default().stepping([iterations - middle - fine, middle, fine]);
        config.loss = PrintLoss { band: 5.0, edge: 8.0, ..config.loss };
        for (level, (rate, resist)) in config.levels.iter_mut().zip(RATES.into_iter().zip(RESISTS))
        {
            level.learning_rate = rate;
            level.resist_steepness = Some(resist);
        }
        config.levels.retain(|level| level.iterations > 0);
        config
    }

    /// The descent through a surrogate: fewer steps, each of which costs more, with the start, the resist and the loss that its table was
    /// measured with.
    pub fn through_surrogate() -> Self {
        let loss = PrintLoss::default();
        let mut config = Self { dark: 0.0, loss, ..Self::default().stepping([100, 100, 40]) };
        config.levels.iter_mut().for_each(|level| level.resist_steepness = None);
        config
    }

    /// So many steps of each level.
    fn stepping(mut self, steps: [usize; 3]) -> Self {
        for (level, steps) in self.levels.iter_mut().zip(steps) {
            level.iterations = steps;
        }
        self
    }

    /// The same for a field of another period.
    #[must_use]
    pub fn on_field(self, period_nm: f64) -> Self {
        Self { free_nm: period_nm - 2.0 * FRAME_NM, ..self }
    }

    /// Steps of all levels, from one start.
    pub fn iterations(&self) -> usize {
        self.levels.iter().map(|level| level.iterations).sum()
    }

    /// What to print, on the last level's grid, and where the design is. `target` is `[batch, n, n]`.
    ///
    /// # Errors
    ///
    /// [`LithoError::Grid`] if there is no level, [`LithoError::Device`] if the device fails.
    pub fn goal(
        &self,
        target: &Tensor<3>,
        period_nm: f64,
    ) -> Result<(Goal, BinaryImages), LithoError> {
        let none = || LithoError::Grid("the descent has no level".into());
        let level = self.levels.last().ok_or_else(none)?;
        let design = resized(target.clone(), (period_nm / level.pixel_nm).round() as usize);
        let bits = BinaryImages::of(design.clone(), 0.5, "read the target")?;
        let strips = self.strips(&bits, level.pixel_nm, &design.device())?;
        let target = rounded(design.clone(), self.corner_nm, level.pixel_nm);
        Ok((Goal { target, design, strips }, bits))
    }

    /// What an error costs near the edges and at the depth of the EPE probes, as a share of [`PrintLoss::strips`].
    fn strips(
        &self,
        design: &BinaryImages,
        pixel_nm: f64,
        device: &Device,
    ) -> Result<Option<Tensor<3>>, LithoError> {
        let most = self.loss.strips();
        let marked = |weight: f64, marks: Marks| -> Result<Option<Tensor<3>>, LithoError> {
            let strips = (weight > 0.0).then(|| probes::strips(design, marks, pixel_nm, device));
            Ok(strips.transpose()?.map(|strips| strips * (weight / most)))
        };
        let far = marked(self.loss.edge, probes::at_probes(pixel_nm))?;
        let near = marked(self.loss.near, probes::near_edges(self.loss.near_nm, pixel_nm))?;
        Ok(match (far, near) {
            (Some(far), Some(near)) => Some(far.max_pair(near)),
            (far, near) => far.or(near),
        })
    }

    /// Whether the mask is held against its constraint after this step of the last level.
    pub(super) fn mends(&self, step: usize, level: &Level) -> bool {
        let at = |share: &f64| (share * level.iterations as f64).round() as usize == step;
        self.mend_at.iter().any(at)
    }

    /// Parameters at the start, on the target's grid.
    pub(super) fn first(&self, target: &Tensor<3>, start: &Start, level: &Level) -> Tensor<3> {
        match start {
            Start::Target => target.clone() * (self.start - self.dark) + self.dark,
            Start::Mask(mask) => {
                // The inverse of the mask's sigmoid, where it is not saturated.
                let mask = resized(mask.clone(), target.dims()[2]).clamp(0.02, 0.98);
                let logit = (mask.clone() / (mask * -1.0 + 1.0)).log();
                logit / level.steepness[0] + 0.5
            }
        }
    }

    /// Points along a mask's pixel.
    pub(super) fn points(&self, pixel_nm: f64) -> usize {
        (pixel_nm / self.point_nm).round().max(1.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::values;
    use burn::tensor::TensorData;

    /// Of one step to six, none was at the mask's pixel.
    #[test]
    fn few_steps_of_correction_still_end_at_the_masks_pixel() {
        for iterations in 1..=100 {
            let config = IltConfig::correction(iterations);
            assert_eq!(config.iterations(), iterations);
            assert_eq!(config.levels.last().map(|level| level.pixel_nm), Some(2.0), "{iterations}");
        }
        let steps =
            |i| IltConfig::correction(i).levels.iter().map(|l| l.iterations).collect::<Vec<_>>();
        assert_eq!(steps(64), [36, 18, 10]);
        assert!(steps(0).is_empty());
    }

    /// A square of 96 nm: along its edges an error costs half of one at the depth of the probes.
    #[test]
    fn strips_are_shares_of_the_dearest() -> Result<(), LithoError> {
        let inside = |i: usize| (40..64).contains(&(i % 128)) && (40..64).contains(&(i / 128));
        let target: Vec<f32> = (0..128 * 128).map(|i| f32::from(u8::from(inside(i)))).collect();
        let target = TensorData::new(target, [1, 128, 128]);
        let target = Tensor::<3>::from_data(target, &Device::flex());
        let mut config = IltConfig::default();
        config.levels.last_mut().expect("levels").pixel_nm = 4.0;
        (config.loss.edge, config.loss.near, config.loss.near_nm) = (4.0, 2.0, 8.0);
        let (goal, _) = config.goal(&target, 512.0)?;
        let strips = values(goal.strips.expect("edges cost something"));
        let row: Vec<f32> = strips[50 * 128 + 33..][..12].to_vec();
        // Before the edge's pixel, 40: the probes' strip, 13 to 19 nm from it, then what is nearer than 8 nm.
        assert_eq!(row, [0.0, 0.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0]);
        assert_eq!(config.loss.strips(), 4.0);
        (config.loss.edge, config.loss.near) = (0.0, 0.0);
        assert!(config.goal(&target, 512.0)?.0.strips.is_none());
        Ok(())
    }
}
