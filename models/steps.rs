//! A network as steps: which layers become one kernel's work, as plain data.
//!
//! Folding, unfolding and joining are addresses, so they cost nothing: a step reads one or two [`View`]s of images and writes one. Bias and
//! ReLU belong to a convolution, and so do the pooling or the last 1×1 convolution that follow it.

pub mod back;
mod eight_bits;
mod fuse;

use std::fmt;

use self::fuse::Fuser;
use crate::program::Program;

/// Channels that a convolution's product takes at a time: 128 bytes of bf16, the longest swizzle of shared memory …
const WIDE_BLOCK: usize = 64;
/// … or half of them.
const NARROW_BLOCK: usize = 32;

/// What a device's kernels take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grain {
    /// What channels that lie side by side in memory are a multiple of, read or written.
    pub run: usize,
    /// What a first convolution's output channels are a multiple of, plain and folded.
    pub stem: [usize; 2],
    /// Most input channels of the last convolution, in blocks.
    pub last_blocks: usize,
    /// Whether a last 1×1 convolution is of 32 or 64 channels, which are in one place then.
    pub whole_last: bool,
    /// Whether every image is kept, for gradients.
    pub keep: bool,
}

impl Grain {
    /// A Hopper card's: channels in swizzled rows of 64 bytes at least.
    pub const HOPPER: Self =
        Self { run: 32, stem: [8, 32], last_blocks: 4, whole_last: true, keep: false };
    /// The same where gradients follow.
    pub const HOPPER_TRAINING: Self = Self { keep: true, ..Self::HOPPER };
    /// That of a GPU with matrix units: sides of a matrix.
    pub const MATRIX: Self =
        Self { run: 16, stem: [8, 8], last_blocks: usize::MAX, whole_last: false, keep: false };
    /// The CPU's: any.
    pub const HOST: Self =
        Self { run: 1, stem: [1, 1], last_blocks: usize::MAX, whole_last: false, keep: false };
}

/// Why a network has no steps: a layer, and what is not known about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layer {layer} {reason}")]
pub struct NoStep {
    /// The layer's name.
    pub layer: String,
    /// What there is no kernel for.
    pub reason: String,
}

/// An image that a step makes, `[batch, height / shrink, width / shrink, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its channels.
    pub channels: usize,
    /// Pixels of the network's input for one of its own, along a side.
    pub shrink: usize,
    /// Whether a card keeps it in eight bits (e4m3), not in sixteen.
    pub eight_bits: bool,
}

/// An image as it is, or with two by two of its pixels as one with four times the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its number among [`Steps::images`].
    pub image: usize,
    /// Whether it is folded.
    pub folded: bool,
}

/// What happens to a convolution's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It becomes an image, maybe an unfolded one.
    Store(View),
    /// It becomes an image, and the largest of each two by two of its pixels another.
    Pool(View, usize),
    /// A 1×1 convolution to one channel makes the logits. The layer's number.
    Last(usize),
    /// It becomes an image, and a 1×1 convolution to one channel makes the logits.
    StoreLast(View, usize),
}

/// What a step computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// The first convolution, of an input with one channel, which may be folded.
    Stem {
        /// Whether the input is folded.
        folded: bool,
        /// What it makes.
        to: usize,
    },
    /// A 3×3 convolution.
    Convolve(Convolution),
    /// Twice the size.
    Double {
        /// What it reads.
        from: usize,
        /// What it makes.
        to: usize,
    },
    /// The last convolution, 3×3, to one channel, or to four that are unfolded to one.
    Narrow {
        /// What it reads.
        from: usize,
        /// Channels of a block.
        block: usize,
        /// Whether its output is unfolded.
        unfold: bool,
    },
}

/// A 3×3 convolution with what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// What it reads: two images are joined along their channels.
    pub from: Vec<View>,
    /// Channels that a product takes at a time.
    pub block: usize,
    /// Output channels in parts of 32 and two rows of pixels in a product, where they are no multiple of 64.
    pub pair: bool,
    /// Output channels.
    pub channels: usize,
    /// Output channels that lie side by side in memory.
    pub run: usize,
    /// Pixels of the network's input for one of the output's, as it is convolved.
    pub shrink: usize,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// What happens to the output.
    pub then: Then,
}

/// One launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name of its layer.
    pub name: String,
    /// The number of its layer.
    pub layer: usize,
    /// What it computes.
    pub work: Work,
}

/// A network's steps, in order, and the images that they make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The steps.
    pub steps: Vec<Step>,
    /// The images.
    pub images: Vec<Image>,
}

impl Steps {
    /// The steps of a network.
    ///
    /// # Errors
    ///
    /// [`NoStep`] for the first layer that no kernel computes.
    pub fn of(program: &Program, grain: Grain) -> Result<Self, NoStep> {
        Fuser::new(&program.layers, grain).steps()
    }

    /// The number of the last step that reads or writes each image.
    pub fn last_uses(&self) -> Vec<usize> {
        let mut last = vec![0; self.images.len()];
        for (number, step) in self.steps.iter().enumerate() {
            let (read, written) = step.work.reads_and_writes();
            read.into_iter().chain(written).for_each(|image| last[image] = number);
        }
        last
    }

    /// Bytes of a number of an image on a card.
    pub fn bytes(&self, image: usize) -> usize {
        if self.images[image].eight_bits { 1 } else { 2 }
    }

    /// Whether a step multiplies in eight bits.
    pub fn reads_eight_bits(&self, step: &Step) -> bool {
        match &step.work {
            Work::Convolve(work) => self.images[work.from[0].image].eight_bits,
            _ => false,
        }
    }

    /// Channels of an image's view that lie side by side in memory.
    pub fn run(&self, view: View) -> usize {
        self.images[view.image].channels * if view.folded { 2 } else { 1 }
    }

    /// All channels of a view.
    pub fn channels(&self, view: View) -> usize {
        self.images[view.image].channels * if view.folded { 4 } else { 1 }
    }
}

impl Work {
    /// Images that it reads, and those that it writes.
    pub(crate) fn reads_and_writes(&self) -> (Vec<usize>, Vec<usize>) {
        match self {
            Self::Stem { to, .. } => (Vec::new(), vec![*to]),
            Self::Double { from, to } => (vec![*from], vec![*to]),
            Self::Narrow { from, .. } => (vec![*from], Vec::new()),
            Self::Convolve(convolution) => {
                let read = convolution.from.iter().map(|view| view.image).collect();
                let written = match convolution.then {
                    Then::Store(view) | Then::StoreLast(view, _) => vec![view.image],
                    Then::Pool(view, pooled) => vec![view.image, pooled],
                    Then::Last(_) => Vec::new(),
                };
                (read, written)
            }
        }
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            write!(f, "{:<18} ", step.name)?;
            match &step.work {
                Work::Stem { folded, to } => {
                    let what = if *folded { "stem of folded input" } else { "stem" };
                    write!(f, "{what}, to {}", self.shown(*to))?;
                }
                Work::Double { from, to } => {
                    write!(f, "double {} to {}", self.shown(*from), self.shown(*to))?;
                }
                Work::Narrow { from, unfold, .. } => {
                    let what = if *unfold { ", unfolded" } else { "" };
                    write!(f, "last convolution of {}{what}, to logits", self.shown(*from))?;
                }
                Work::Convolve(convolution) => self.write_convolution(f, convolution)?,
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Steps {
    fn shown(&self, image: usize) -> String {
        let Image { channels, shrink, eight_bits } = self.images[image];
        let numbers = if eight_bits { ", e4m3" } else { "" };
        format!("#{image} ({channels} at 1/{shrink}{numbers})")
    }

    fn write_convolution(&self, f: &mut fmt::Formatter<'_>, work: &Convolution) -> fmt::Result {
        let view = |view: &View| {
            let folded = if view.folded { " folded" } else { "" };
            format!("{}{folded}", self.shown(view.image))
        };
        let from: Vec<String> = work.from.iter().map(view).collect();
        let pair = if work.pair { ", rows in pairs" } else { "" };
        let relu = if work.relu { ", relu" } else { "" };
        write!(f, "convolve {} by {}{pair}{relu}, to ", from.join(" + "), work.block)?;
        match work.then {
            Then::Store(View { image, folded: true }) => {
                write!(f, "{} unfolded", self.shown(image))
            }
            Then::Store(to) => f.write_str(&self.shown(to.image)),
            Then::Pool(to, pooled) => {
                write!(f, "{} and its maxima {}", self.shown(to.image), self.shown(pooled))
            }
            Then::Last(_) => f.write_str("1 x 1, to logits"),
            Then::StoreLast(to, _) => write!(f, "{} and 1 x 1, to logits", self.shown(to.image)),
        }
    }
}
