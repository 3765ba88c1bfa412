//! Where the way back leaves the gradients of a layer's weights among all numbers, as plain data.
//!
//! The run of all gradients is memory that something else had before, and several cards sum it where it lies. A number that no part of the way back
//! writes would be what the last step left there, summed once more in each step, until it is no number any more. So the parts are held
//! against the run by a test: together they write every number, and each once.

use super::tiles::Sizes;
use crate::adjoints::sums::Blocks;
use crate::adjoints::tables::Target;
use crate::flat::Flat;
use crate::steps::back::Thin;
use crate::steps::{Convolution, Steps, View};

/// Taps of a kernel.
const TAPS: usize = 9;

/// Where a layer's gradients go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<W> {
    /// Its weight's.
    pub(super) weight: W,
    /// Its bias's, if it has one.
    pub(super) bias: Option<Target>,
}

/// Where the gradient of a layer's bias goes, if it has one: a sum for each channel that it makes.
pub(super) fn of_bias(flat: &Flat, layer: usize, channels: usize) -> Option<Target> {
    flat.layers[layer]?.bias.map(|start| Target::run(start, channels))
}

impl Places<Target> {
    /// Those of the last convolution, on an image.
    pub(super) fn of_last(flat: &Flat, steps: &Steps, image: usize, thin: Thin) -> Option<Self> {
        let Thin { layer, side, few } = thin;
        let (kernel, channels) = (flat.layers[layer]?, steps.images[image].channels);
        let taps = side * side;
        let weight = Target {
            start: kernel.weight,
            shape: [taps * few, channels],
            few,
            strides: [channels, taps * channels, 1],
        };
        Some(Self { weight, bias: of_bias(flat, layer, few) })
    }

    /// Those of the first convolution, which makes an image.
    pub(super) fn of_stem(flat: &Flat, steps: &Steps, thin: Thin, to: usize) -> Option<Self> {
        let Thin { layer, few, .. } = thin;
        let (kernel, channels) = (flat.layers[layer]?, steps.images[to].channels);
        let weight = Target {
            start: kernel.weight,
            shape: [TAPS * few, channels],
            few,
            strides: [few, 1, TAPS * few],
        };
        Some(Self { weight, bias: of_bias(flat, layer, channels) })
    }
}

impl Places<Blocks> {
    /// Those of a convolution that makes a view of an image: one that is unfolded has a bias for each of four pixels.
    pub(super) fn of_convolution(
        flat: &Flat,
        steps: &Steps,
        (layer, work): (usize, &Convolution),
        made: View,
        sizes: &Sizes,
    ) -> Option<Self> {
        let kernel = flat.layers[layer]?;
        let (one, two) = (work.from[0], work.from.get(1).copied().unwrap_or(work.from[0]));
        let weight = Blocks {
            splits: sizes.splits,
            to: sizes.parts,
            from: sizes.blocks,
            first: sizes.first,
            runs: [made, one, two].map(|view| steps.run(view)),
            channels: [steps.channels(one), kernel.from],
            start: kernel.weight,
        };
        Some(Self { weight, bias: of_bias(flat, layer, steps.channels(made)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hopper::Extent;
    use crate::hopper::tests::{fast, gan, known};
    use crate::hopper::tiles::GradientTiling;
    use crate::program::Program;
    use crate::steps::back::{Back, Pull};
    use crate::steps::{Grain, Then, Work};

    /// Every place that the way back writes, in its order.
    fn written(program: &Program) -> Vec<usize> {
        let steps = Steps::of(program, Grain::HOPPER_TRAINING).expect("known");
        let (back, flat) = (Back::of(&steps).expect("known"), Flat::of(program));
        let of_pull = |pull: &Pull| match *pull {
            Pull::Gather(_) | Pull::Ask(_) => Vec::new(),
            Pull::Last { image, thin } => {
                all(Places::of_last(&flat, &steps, image, thin), Target::places)
            }
            Pull::Stem(number) => {
                let step = &steps.steps[number];
                let Work::Stem { folded, to } = step.work else { panic!("{step:?}") };
                let thin = Thin { layer: step.layer, side: 3, few: if folded { 4 } else { 1 } };
                all(Places::of_stem(&flat, &steps, thin, to), Target::places)
            }
            Pull::Weights(number) => {
                let step = &steps.steps[number];
                let Work::Convolve(work) = &step.work else { panic!("{step:?}") };
                let (Then::Store(made) | Then::Pool(made, _) | Then::StoreLast(made, _)) =
                    work.then
                else {
                    panic!("{step:?}")
                };
                let extent = Extent { batch: 2, height: 256, width: 256 };
                let (_, sizes) = GradientTiling::of(work, made, &steps, extent, 132);
                let places =
                    Places::of_convolution(&flat, &steps, (step.layer, work), made, &sizes);
                all(places, Blocks::places)
            }
        };
        back.pulls.iter().flat_map(of_pull).collect()
    }

    fn all<W, I: Iterator<Item = usize>>(
        places: Option<Places<W>>,
        of_weight: impl Fn(W) -> I,
    ) -> Vec<usize> {
        let Places { weight, bias } = places.expect("has weights");
        of_weight(weight).chain(bias.into_iter().flat_map(Target::places)).collect()
    }

    /// The numbers themselves are the check: none is left as it was, none is written twice, none is outside.
    #[test]
    fn the_way_back_writes_every_gradient_once() {
        let more = [
            ("no skips", gan(&[32, 96], false)),
            ("odd blocks", gan(&[32, 96, 160], true)),
            ("refined twice", fast(&[32, 64], 2)),
        ];
        for (name, program) in known().into_iter().chain(more) {
            let mut places = written(&program);
            places.sort_unstable();
            let whole = 0..Flat::of(&program).count;
            assert!(places.iter().copied().eq(whole), "{name}: not every number, or one twice");
        }
    }
}
