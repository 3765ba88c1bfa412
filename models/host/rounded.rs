//! Steps on the CPU whose images are rounded as a card rounds them: what its numbers in eight bits are calibrated by, and tried against.

use burn::tensor::bf16;
use rayon::prelude::*;

use super::Pass;
use super::picture::Picture;
use crate::e4m3;
use crate::program::Program;
use crate::steps::{Steps, Work};

/// The largest value of each image in f32, over inputs of a size that are one after another in memory.
///
/// # Errors
///
/// What the device says that has the weights.
pub(crate) fn largest(
    program: &Program,
    steps: &Steps,
    inputs: &[f32],
    size: [usize; 2],
) -> Result<Vec<f32>, String> {
    let pass = Pass::new(program, steps)?;
    let none = || vec![0.0_f32; steps.images.len()];
    let of_one = |input: &[f32]| {
        let (mut most, mut logits) = (none(), vec![0.0; input.len()]);
        pass.run_one(input, size, &mut logits, |to, picture| {
            if let Some(most) = most.get_mut(to - 1) {
                let values = picture.pixels_mut().flat_map(|row| row.iter());
                *most = values.fold(*most, |most, value| most.max(value.abs()));
            }
        });
        most
    };
    let larger = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).map(|(a, b)| a.max(*b)).collect();
    Ok(inputs.par_chunks(size[0] * size[1]).map(of_one).reduce(none, larger))
}

/// How a picture is kept.
#[derive(Clone, Copy, Debug)]
enum Kept {
    /// In eight bits, in such units.
    Eight(f32),
    Sixteen,
    Whole,
}

impl Kept {
    fn round(self, value: f32) -> f32 {
        match self {
            Self::Eight(unit) => e4m3::rounded(value / unit) * unit,
            Self::Sixteen => bf16::from_f32(value).to_f32(),
            Self::Whole => value,
        }
    }

    fn round_all(self, picture: &mut Picture) {
        let values = picture.pixels_mut().flat_map(|row| row.iter_mut());
        values.for_each(|value| *value = self.round(*value));
    }
}

/// A network on the CPU whose images are rounded. Its weights must be already.
#[derive(Debug)]
pub(crate) struct Rounded {
    pass: Pass,
    /// Of each picture of the pass.
    kept: Vec<Kept>,
    images: usize,
}

impl Rounded {
    /// A network with images in such units.
    ///
    /// # Errors
    ///
    /// What the device says that has the weights.
    pub(crate) fn new(program: &Program, steps: &Steps, units: &[f32]) -> Result<Self, String> {
        let pass = Pass::new(program, steps)?;
        // A folded stem multiplies in bf16, what a last 1×1 convolution reads is bf16, too, and logits are f32.
        let folded = steps.steps.iter().any(|s| matches!(s.work, Work::Stem { folded: true, .. }));
        let mut kept = vec![if folded { Kept::Sixteen } else { Kept::Whole }];
        kept.extend(units.iter().enumerate().map(|(image, &unit)| match steps.bytes(image) {
            1 => Kept::Eight(unit),
            _ => Kept::Sixteen,
        }));
        kept.resize(pass.pictures.len() - 1, Kept::Sixteen);
        kept.push(Kept::Whole);
        Ok(Self { pass, kept, images: units.len() })
    }

    /// What the images and, last, the logits of inputs of a size are. A step reads the images that are `given`, of all inputs, and its own where none is.
    pub(crate) fn images(
        &self,
        inputs: &[f32],
        size: [usize; 2],
        given: &[Vec<f32>],
    ) -> Vec<Vec<f32>> {
        let mut made = vec![Vec::new(); self.images + 1];
        for input in inputs.chunks(size[0] * size[1]) {
            let input: Vec<f32> = input.iter().map(|&value| self.kept[0].round(value)).collect();
            let mut logits = vec![0.0; input.len()];
            self.pass.run_one(&input, size, &mut logits, |to, picture| {
                self.kept[to].round_all(picture);
                if to > self.images {
                    return;
                }
                let made = &mut made[to - 1];
                let start = made.len();
                picture.pixels_mut().for_each(|row| made.extend_from_slice(row));
                if let Some(given) = given.get(to - 1) {
                    let own = picture.width * picture.channels;
                    let rows = given[start..].chunks_exact(own);
                    picture.pixels_mut().zip(rows).for_each(|(row, own)| row.copy_from_slice(own));
                }
            });
            made[self.images].extend(logits);
        }
        made
    }
}
