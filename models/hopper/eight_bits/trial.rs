//! What a card must show before it computes in eight bits: each step's image, made of the card's own images, is what the CPU makes of those.
//!
//! Logits alone would not tell: a sum that is off in its last place becomes another number of eight bits now and then, later images differ by as
//! much as rounding itself does, and two right passes' logits are as far apart as either is from f32. Step by step little differs:
//! tensor cores keep 13 places of a sum, and one number in a hundred is its neighbour.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, bf16};

use super::super::tape::tape_places;
use super::super::{Extent, Hopper, USUAL};
use super::e4m3;
use crate::host::rounded::Rounded;
use crate::steps::Steps;
use crate::trial::{brief, distance, images};

/// Largest ‖difference‖ / ‖reference‖ of an image. One number in a hundred that is its neighbour makes 1 %, a little more where few large numbers are
/// most of the norm; a channel or a scale that is another's, tens of per cent.
pub(crate) const TOLERANCE: f64 = 5e-2;

/// What a card's kernels in eight bits must find.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    host: Arc<Rounded>,
    steps: Steps,
    units: Vec<f32>,
    stride: usize,
}

impl Trial {
    pub(super) fn new(host: Arc<Rounded>, steps: &Steps, units: Vec<f32>, stride: usize) -> Self {
        Self { host, steps: steps.clone(), units, stride }
    }

    /// Compares what a card makes of two small images. Not a number is a failure.
    pub(crate) fn passed(&self, card: &Hopper, device: &Device) -> Result<(), String> {
        let offs = self.offs(card, images(self.stride, device), Some(USUAL))?;
        // Not a number is not below anything.
        let near = |off: f64| off <= TOLERANCE;
        match offs.into_iter().find(|(_, off)| !near(*off)) {
            Some((step, off)) => Err(format!("{step} is off by {off:.1e} of its size")),
            None => Ok(()),
        }
    }

    /// How far each step's image, and the logits, are from what the CPU makes of the images that the card made before.
    pub(crate) fn offs(
        &self,
        card: &Hopper,
        x: Tensor<4>,
        tiled_for: Option<Extent>,
    ) -> Result<Vec<(String, f64)>, String> {
        let [batch, _, height, width] = x.dims();
        let extent = Extent { batch, height, width };
        let (logits, tape) = card.taped(x.clone(), tiled_for);
        let read = |x: Tensor<4>| x.try_into_vec_as::<f32>().map_err(|e| brief(&e.to_string()));
        let tape = tape.try_into_data().map_err(|e| brief(&e.to_string()))?;
        let mut found = self.images_on(tape.as_bytes(), extent);
        let expected = self.host.images(&read(x)?, [height, width], &found);
        found.push(read(logits)?);
        let offs = found.iter().zip(&expected).enumerate().map(|(number, (found, expected))| {
            let off = if found == expected { 0.0 } else { distance(found, expected) };
            (self.name(number), off)
        });
        Ok(offs.collect())
    }

    /// What the numbers of each image on a tape stand for.
    fn images_on(&self, tape: &[u8], extent: Extent) -> Vec<Vec<f32>> {
        let (places, _) = tape_places(&self.steps, extent);
        let image = |(number, &place): (usize, &usize)| {
            let image = self.steps.images[number];
            let [height, width] = extent.shrunk(image.shrink);
            let count = extent.batch * height * width * image.channels;
            let bytes = &tape[2 * place..][..count * self.steps.bytes(number)];
            match image.eight_bits {
                true => bytes.iter().map(|&byte| e4m3::number(byte) * self.units[number]).collect(),
                false => {
                    let half = |two: &[u8]| bf16::from_le_bytes([two[0], two[1]]).to_f32();
                    bytes.chunks_exact(2).map(half).collect()
                }
            }
        };
        places.iter().enumerate().map(image).collect()
    }

    /// Whose image it is; beyond the images come the logits.
    fn name(&self, image: usize) -> String {
        let makes = |step: &&crate::steps::Step| step.work.reads_and_writes().1.contains(&image);
        let step = self.steps.steps.iter().find(makes);
        step.map_or("the logits' image".into(), |step| format!("image #{image} of {}", step.name))
    }
}
