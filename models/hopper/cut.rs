//! Where the way back is cut, so that several cards sum what is ready beside the rest of it.
//!
//! The way back goes from the last layer to the first, and all weights lie in a run from the first layer to the last: what is ready lies together, at the run's end.
//! Most weights are those of small images with many channels, and most work is at large images with few, which come last.

use std::ops::Range;

use burn::tensor::Device;

use crate::flat::Flat;
use crate::steps::Steps;
use crate::steps::back::{Back, Pull};

/// Of all gradients, those that are missing at the cut are at most one in so many.
const MISSING: usize = 6;

/// A place in the way back, and what is ready there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Parts of the way back before it.
    pub(crate) parts: usize,
    /// All gradients from this one on are ready.
    pub(crate) from: usize,
}

impl Cut {
    /// The first place at which all but a sixth of the gradients are ready, and lie together; none if there is none.
    pub(crate) fn of(back: &Back, steps: &Steps, flat: &Flat) -> Option<Self> {
        let written: Vec<Option<Range<usize>>> =
            back.pulls.iter().map(|pull| written(pull, steps, flat)).collect();
        let cut = |parts: usize| {
            let (before, after) = written.split_at(parts);
            let from = before.iter().flatten().map(|own| own.start).min()?;
            let missing = after.iter().flatten().map(|own| own.end).max()?;
            (missing == from && MISSING * from <= flat.count).then_some(Self { parts, from })
        };
        (1..written.len()).find_map(cut)
    }
}

/// The gradients that a part of the way back makes.
fn written(pull: &Pull, steps: &Steps, flat: &Flat) -> Option<Range<usize>> {
    let layer = match *pull {
        Pull::Weights(step) | Pull::Stem(step) => steps.steps[step].layer,
        Pull::Last { thin, .. } => thin.layer,
        Pull::Gather(_) | Pull::Ask(_) => return None,
    };
    flat.layers[layer].map(|kernel| kernel.all())
}

/// Sums over cards that the way back begins by itself.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) cut: Cut,
    /// All of them, in the order that they agree on.
    pub(crate) cards: Vec<Device>,
    /// Processors of each that are left to the sum from the cut on.
    pub(crate) spared: usize,
}
