//! A network as steps: which layers become one kernel's work, as plain data.
//!
//! Folding, unfolding and joining are addresses, so they cost nothing: a step reads one or two [`View`]s of images and writes one. Bias and
//! ReLU belong to a convolution, and so do the pooling or the last 1×1 convolution that follow it.

use std::fmt;

use crate::kernel::Kernel;
use crate::program::{Layer, LayerKind, Program};

/// Channels that a convolution's product takes at a time: 128 bytes of bf16, the longest swizzle of shared memory …
const WIDE_BLOCK: usize = 64;
/// … or half of them.
const NARROW_BLOCK: usize = 32;
/// Most channels that a last layer may make: the columns of its product.
const MOST_LOGITS: usize = 8;

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
}

impl Grain {
    /// A Hopper card's: channels in swizzled rows of 64 bytes at least.
    pub const HOPPER: Self = Self { run: 32, stem: [8, 32], last_blocks: 4, whole_last: true };
    /// The CPU's: any.
    pub const HOST: Self =
        Self { run: 1, stem: [1, 1], last_blocks: usize::MAX, whole_last: false };
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

/// An image that a step makes, bf16, `[batch, height / shrink, width / shrink, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its channels.
    pub channels: usize,
    /// Pixels of the network's input for one of its own, along a side.
    pub shrink: usize,
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
        let mut fuser = Fuser::new(&program.layers, grain);
        while let Some(layer) = program.layers.get(fuser.at) {
            fuser.take(layer)?;
        }
        match fuser.value {
            Value::Logits => Ok(Self { steps: fuser.steps, images: fuser.images }),
            _ => Err(NoStep { layer: "last".into(), reason: "makes no logits".into() }),
        }
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
                    Then::Store(view) => vec![view.image],
                    Then::Pool(view, pooled) => vec![view.image, pooled],
                    Then::Last(_) => Vec::new(),
                };
                (read, written)
            }
        }
    }
}

/// What the last layer left.
#[derive(Clone, Debug)]
enum Value {
    Input { folded: bool },
    Views(Vec<View>),
    Logits,
}

/// Takes layers, as many at a time as become one step.
struct Fuser<'a> {
    layers: &'a [Layer],
    grain: Grain,
    at: usize,
    value: Value,
    skips: Vec<View>,
    steps: Vec<Step>,
    images: Vec<Image>,
}

impl<'a> Fuser<'a> {
    fn new(layers: &'a [Layer], grain: Grain) -> Self {
        let (value, skips, steps, images) =
            (Value::Input { folded: false }, Vec::new(), Vec::new(), Vec::new());
        Self { layers, grain, at: 0, value, skips, steps, images }
    }

    /// Takes a layer and those after it that belong to its step.
    fn take(&mut self, layer: &Layer) -> Result<(), NoStep> {
        let no = |reason: &str| NoStep { layer: layer.name.clone(), reason: reason.into() };
        match (&layer.kind, self.value.clone()) {
            (LayerKind::Enter | LayerKind::Leave, _) => {}
            (LayerKind::Fold, Value::Input { folded: false }) => {
                self.value = Value::Input { folded: true };
            }
            (LayerKind::Fold, Value::Views(views)) => match views[..] {
                [View { image, folded: false }] => {
                    self.value = Value::Views(vec![View { image, folded: true }]);
                }
                _ => return Err(no("folds what is folded or joined")),
            },
            (LayerKind::Push, Value::Views(views)) if views.len() == 1 => self.skips.push(views[0]),
            (LayerKind::Join, Value::Views(mut views)) if views.len() == 1 => {
                views.extend(self.skips.pop());
                self.value = Value::Views(views);
            }
            (LayerKind::Double, Value::Views(views)) => self.double(layer, &views)?,
            (LayerKind::Convolve { kernel, relu }, Value::Input { folded }) => {
                self.stem(layer, kernel, *relu, folded)?;
            }
            (LayerKind::Convolve { kernel, relu }, Value::Views(views)) => {
                self.convolve(layer, kernel, *relu, views)?;
            }
            (kind, _) => return Err(no(&format!("cannot {} what is before it", kind.word()))),
        }
        self.at += 1;
        Ok(())
    }

    /// The kind of a layer after this one.
    fn ahead(&self, by: usize) -> Option<&'a LayerKind> {
        self.layers.get(self.at + by).map(|layer| &layer.kind)
    }

    fn image(&mut self, channels: usize, shrink: usize) -> usize {
        self.images.push(Image { channels, shrink });
        self.images.len() - 1
    }

    fn push(&mut self, layer: &Layer, work: Work) {
        self.steps.push(Step { name: layer.name.clone(), layer: self.at, work });
    }

    fn double(&mut self, layer: &Layer, views: &[View]) -> Result<(), NoStep> {
        let [View { image: from, folded: false }] = views else {
            let reason = "doubles what is folded or joined".into();
            return Err(NoStep { layer: layer.name.clone(), reason });
        };
        let Image { channels, shrink } = self.images[*from];
        let to = self.image(channels, shrink / 2);
        self.push(layer, Work::Double { from: *from, to });
        self.value = Value::Views(vec![View { image: to, folded: false }]);
        Ok(())
    }

    fn stem(
        &mut self,
        layer: &Layer,
        kernel: &Kernel,
        relu: bool,
        folded: bool,
    ) -> Result<(), NoStep> {
        let multiple = self.grain.stem[usize::from(folded)];
        if kernel.side != 3 || !relu || !kernel.to.is_multiple_of(multiple) {
            let reason = format!(
                "is a first convolution of {0} x {0} to {1} channels{2}; kernels know 3 x 3 to a multiple of {multiple} with a ReLU",
                kernel.side,
                kernel.to,
                if relu { "" } else { " without a ReLU" }
            );
            return Err(NoStep { layer: layer.name.clone(), reason });
        }
        let to = self.image(kernel.to, if folded { 2 } else { 1 });
        self.push(layer, Work::Stem { folded, to });
        self.value = Value::Views(vec![View { image: to, folded: false }]);
        Ok(())
    }

    fn convolve(
        &mut self,
        layer: &Layer,
        kernel: &Kernel,
        relu: bool,
        from: Vec<View>,
    ) -> Result<(), NoStep> {
        let no = |reason: String| NoStep { layer: layer.name.clone(), reason };
        if kernel.side != 3 {
            return Err(no(format!(
                "is a convolution of {0} x {0}; kernels know 3 x 3",
                kernel.side
            )));
        }
        let runs: Vec<usize> = from.iter().map(|&view| self.run(view)).collect();
        let multiple = self.grain.run;
        if let Some(run) = runs.iter().find(|run| !run.is_multiple_of(multiple)) {
            return Err(no(format!("reads {run} channels; kernels know multiples of {multiple}")));
        }
        let all_wide = runs.iter().all(|run| run.is_multiple_of(WIDE_BLOCK));
        let block = if all_wide { WIDE_BLOCK } else { NARROW_BLOCK };
        if !relu && kernel.to <= MOST_LOGITS {
            return self.narrow(layer, kernel, block, &from);
        }
        let shrink = self.shrink(from[0]);
        let unfold = matches!(self.ahead(1), Some(LayerKind::Unfold));
        let run = if unfold { kernel.to / 2 } else { kernel.to };
        let pair = !kernel.to.is_multiple_of(WIDE_BLOCK) || !run.is_multiple_of(WIDE_BLOCK);
        if !run.is_multiple_of(multiple) {
            let most = if unfold { 2 * multiple } else { multiple };
            return Err(no(format!(
                "makes {} channels; kernels know multiples of {most}",
                kernel.to
            )));
        }
        let block = if pair { NARROW_BLOCK } else { block };
        let then = self.then(kernel, shrink, unfold, pair);
        let channels = kernel.to;
        let work = Convolution { from, block, pair, channels, run, shrink, relu, then };
        self.push(layer, Work::Convolve(work));
        self.at += self.follow(then, unfold);
        Ok(())
    }

    /// What follows a convolution in its own step.
    fn then(&mut self, kernel: &Kernel, shrink: usize, unfold: bool, pair: bool) -> Then {
        if unfold {
            let image = self.image(kernel.to / 4, shrink / 2);
            return Then::Store(View { image, folded: true });
        }
        let whole = kernel.to == if pair { NARROW_BLOCK } else { WIDE_BLOCK };
        let whole = whole || !self.grain.whole_last;
        if let (Some(LayerKind::Convolve { kernel: last, relu: false }), true) =
            (self.ahead(1), whole)
            && (last.side, last.to) == (1, 1)
            && matches!(self.ahead(2), Some(LayerKind::Leave))
        {
            return Then::Last(self.at + 1);
        }
        let view = View { image: self.image(kernel.to, shrink), folded: false };
        match (self.ahead(1), self.ahead(2)) {
            (Some(LayerKind::Halve), _) | (Some(LayerKind::Push), Some(LayerKind::Halve)) => {
                Then::Pool(view, self.image(kernel.to, 2 * shrink))
            }
            _ => Then::Store(view),
        }
    }

    /// Leaves what a convolution makes; says how many layers after it are in its step.
    fn follow(&mut self, then: Then, unfold: bool) -> usize {
        let plain = |image| View { image, folded: false };
        match then {
            Then::Store(view) => {
                self.value = Value::Views(vec![plain(view.image)]);
                usize::from(unfold)
            }
            Then::Pool(view, pooled) => {
                self.value = Value::Views(vec![plain(pooled)]);
                let pushed = matches!(self.ahead(1), Some(LayerKind::Push));
                self.skips.extend(pushed.then_some(view));
                if pushed { 2 } else { 1 }
            }
            Then::Last(_) => {
                self.value = Value::Logits;
                1
            }
        }
    }

    /// The last convolution, if it is one.
    fn narrow(
        &mut self,
        layer: &Layer,
        kernel: &Kernel,
        block: usize,
        from: &[View],
    ) -> Result<(), NoStep> {
        let unfold = kernel.to == 4
            && matches!(
                (self.ahead(1), self.ahead(2)),
                (Some(LayerKind::Unfold), Some(LayerKind::Leave))
            );
        let plain = kernel.to == 1 && matches!(self.ahead(1), Some(LayerKind::Leave));
        let few = kernel.from.div_ceil(block) <= self.grain.last_blocks;
        let [View { image, folded: false }] = from else {
            let reason = "is a last convolution of folded or joined images".into();
            return Err(NoStep { layer: layer.name.clone(), reason });
        };
        if !(unfold || plain) || !few {
            let (from, to) = (kernel.from, kernel.to);
            let reason =
                format!("is a convolution of {from} channels to {to}, which no kernel does");
            return Err(NoStep { layer: layer.name.clone(), reason });
        }
        self.push(layer, Work::Narrow { from: *image, block, unfold });
        self.value = Value::Logits;
        self.at += usize::from(unfold);
        Ok(())
    }

    fn run(&self, view: View) -> usize {
        self.images[view.image].channels * if view.folded { 2 } else { 1 }
    }

    fn shrink(&self, view: View) -> usize {
        self.images[view.image].shrink * if view.folded { 2 } else { 1 }
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
        let Image { channels, shrink } = self.images[image];
        format!("#{image} ({channels} at 1/{shrink})")
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
        }
    }
}
